/**
 * What a gateway URL says: where a gateway is, how it is trusted, and perhaps a topic. `connect`
 * takes it as a gateway's address.
 */
export interface GatewayURL {
  /** `https://host:port`. */
  url: string
  /**
   * SHA-256 of certificates of which the gateway has one, in 64 hexadecimal digits. Left out with
   * a certificate of an authority.
   */
  hashes?: string[]
  /** A name, or 64 hexadecimal digits, as `join` takes it. Empty for none. */
  topic: string
}

const form = /^[ \t\r\n]*swarmgate:\/\/(\[[\da-f:.]+]|[\w.-]+)(?::(\d{1,5}))?\/?(?:\?([^#]*?))?(?:#(.*?))?[ \t\r\n]*$/is

/**
 * Reads a gateway URL such as `swarmgate://gateway.example:4433/?h=9f64…#wowcool`
 * (docs/PROTOCOL.md, 2.3). It throws a TypeError or a URIError.
 */
export function parseGatewayURL (text: string): GatewayURL {
  const [, host, port = '443', query = '', topic = ''] = form.exec(text) ?? []
  const url = `https://${host}:${+port}`
  const hashes = query.split('&').filter(p => p.startsWith('h=')).map(p => p.slice(2).toLowerCase())
  if (!host || +port < 1 || !URL.canParse(url) || hashes.length > 8 || hashes.some(h => !/^[\da-f]{64}$/.test(h))) {
    throw new TypeError('not a gateway URL')
  }
  return { url, ...hashes.length > 0 && { hashes }, topic: decodeURIComponent(topic) }
}

/** Writes a gateway URL. It throws a TypeError if `url` or a hash is not one. */
export function formatGatewayURL ({ url, hashes = [], topic = '' }: { url: string, hashes?: readonly string[], topic?: string }): string {
  const [, host, port = '443'] = /^https:\/\/(\[[\da-f:.]+]|[\w.-]+)(?::(\d+))?\/?$/i.exec(url) ?? []
  const name = encodeURIComponent(topic).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  const text = `swarmgate://${host}:${port}/${hashes.map((h, i) => (i ? '&' : '?') + `h=${h.toLowerCase()}`).join('')}${name && `#${name}`}`
  parseGatewayURL(host ? text : '')
  return text
}
