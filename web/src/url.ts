/**
 * What a gateway URL says: where a gateway is, how it is trusted, and perhaps a topic or a secret.
 * `connect` takes it as a gateway's address.
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
  /** The secret of a secret room: a text, or 64 hexadecimal digits. Left out for none. */
  secret?: string
}

const SECRET = 'secret=' // what a fragment begins with that is not a topic; written topics escape "="

const form = /^[ \t\r\n]*swarmgate:\/\/(\[[\da-f:.]+]|[\w.\x80-\uffff-]+)(?::(\d{1,5}))?\/?(?:\?([^#]*?))?(?:#(.*?))?[ \t\r\n]*$/is

/**
 * Reads a gateway URL such as `swarmgate://gateway.example:4433/?h=9f64…#wowcool`
 * (docs/PROTOCOL.md, 2.3). It throws a TypeError or a URIError.
 */
export function parseGatewayURL (text: string): GatewayURL {
  const [, given, port = '443', query = '', fragment = ''] = form.exec(text) ?? []
  const host = inASCII(given)
  const url = `https://${host}:${+port}`
  const hashes = query.split('&').filter(p => p.startsWith('h=')).map(p => p.slice(2).toLowerCase())
  const isSecret = fragment.startsWith(SECRET)
  const name = decodeURIComponent(isSecret ? fragment.slice(SECRET.length) : fragment)
  if (!host || isSecret && !name || +port < 1 || !URL.canParse(url) || hashes.length > 8 || hashes.some(h => !/^[\da-f]{64}$/.test(h))) {
    throw new TypeError('not a gateway URL')
  }
  return { url, ...hashes.length > 0 && { hashes }, topic: isSecret ? '' : name, ...isSecret && { secret: name } }
}

/**
 * Writes a gateway URL, with `secret` rather than `topic`. It throws a TypeError if `url` or a hash
 * is not one.
 */
export function formatGatewayURL (
  { url, hashes = [], topic = '', secret }: { url: string, hashes?: readonly string[], topic?: string, secret?: string }
): string {
  const [, given, port = '443'] = /^https:\/\/(\[[\da-f:.]+]|[\w.\x80-\uffff-]+)(?::(\d+))?\/?$/i.exec(url) ?? []
  const host = inASCII(given)
  const name = encodeURIComponent(secret || topic).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
  const fragment = name && `#${secret ? SECRET : ''}${name}`
  const text = `swarmgate://${host}:${port}/${hashes.map((h, i) => (i ? '&' : '?') + `h=${h.toLowerCase()}`).join('')}${fragment}`
  parseGatewayURL(host ? text : '')
  return text
}

/** Returns a host as browsers write it if it is international, and others as they are. */
function inASCII (host: string | undefined): string | undefined {
  return host && /[^\0-\x7f]/.test(host) ? new URL(`https://${host}`).hostname : host
}
