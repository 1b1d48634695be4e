/** What a gateway URL says (docs/PROTOCOL.md, 2.3). */
export interface GatewayURL {
  /** `https://host:port`. */
  url: string
  /** SHA-256 of its certificates, in 64 hexadecimal digits. Left out with a certificate of an authority. */
  hashes?: string[]
  /** A name or 64 hexadecimal digits. Empty for none. */
  topic: string
}

const SCHEME = 'swarmgate://'
const MAX_HASHES = 8
const form = /^swarmgate:\/\/(\[[\da-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?\/?(?:\?([^#]*))?(?:#(.*))?$/is

/** Reports whether a text is meant to be a gateway URL. */
export function isGatewayURL (text: string): boolean { return text.trim().toLowerCase().startsWith(SCHEME) }

/** Reads a gateway URL. It throws a TypeError if the text is none. */
export function parseGatewayURL (text: string): GatewayURL {
  const [, host, port = '443', query = '', topic = ''] = form.exec(text.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '')) ?? []
  const url = `https://${host}:${Number(port)}`
  const hashes = query.split('&').filter(p => p.startsWith('h=')).map(p => p.slice(2).toLowerCase())
  if (host === undefined || Number(port) === 0 || !URL.canParse(url)) throw new TypeError('not the address of a gateway')
  if (hashes.length > MAX_HASHES || hashes.some(h => !/^[\da-f]{64}$/.test(h))) throw new TypeError('not the hashes of certificates')
  const name = unescapeTopic(topic)
  if (name === undefined) throw new TypeError('the topic is not UTF-8')
  return { url, ...hashes.length > 0 && { hashes }, topic: name }
}

/** Writes a gateway URL. `address` is `host:port`, with brackets around IPv6. */
export function writeGatewayURL (address: string, hashes: readonly string[], topic: string): string {
  const query = hashes.length > 0 ? `?${hashes.map(h => `h=${h}`).join('&')}` : ''
  return `${SCHEME}${address}/${query}${topic && `#${escapeTopic(topic)}`}`
}

/** Returns a topic as it stands behind the `#` of a URL. */
export function escapeTopic (topic: string): string {
  return Array.from(new TextEncoder().encode(topic), b => {
    const c = String.fromCharCode(b)
    return /[\w.~-]/.test(c) ? c : `%${b.toString(16).toUpperCase().padStart(2, '0')}`
  }).join('')
}

/** Returns the topic that stands behind the `#` of a URL, or undefined if its escapes are broken. */
export function unescapeTopic (text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
