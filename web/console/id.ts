import type { PeerInfo } from 'swarmgate'

const ENDPOINT = 32 // hexadecimal digits of a client's endpoint id
const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'

/**
 * Returns what stays the same of a client in all its sessions, at whatever gateway: its endpoint
 * id.
 */
export function endpoint ({ id }: Pick<PeerInfo, 'id'>): string { return id.slice(-ENDPOINT) }

/**
 * Returns an id as people know it from elsewhere: libp2p's hosts in base 58, with what follows,
 * and the rest as it is.
 */
export function showId ({ network, id }: Pick<PeerInfo, 'network' | 'id'>): string {
  const n = hostLength(id)
  if (network === 'client' || (id.length !== n && id.length !== n + ENDPOINT)) return id
  return base58(id.slice(0, n)) + (id.length > n ? '/' + id.slice(n) : '')
}

/** Returns an id in a few characters. */
export function shortId (peer: Pick<PeerInfo, 'network' | 'id'>): string {
  return showId(peer).split('/').map(part => part.length <= 12 ? part : `${part.slice(0, 4)}…${part.slice(-6)}`).join('/')
}

/**
 * Returns how many digits the id of a libp2p host has that begins so: a multihash is a type, a
 * length, and so many bytes.
 */
function hostLength (id: string): number { return 2 * (2 + Number.parseInt(id.slice(2, 4), 16)) }

/** Returns hexadecimal digits in Bitcoin's base 58. */
function base58 (hex: string): string {
  let s = ''
  for (let n = BigInt('0x' + hex); n > 0n; n /= 58n) s = ALPHABET[Number(n % 58n)]! + s
  for (let i = 0; hex.startsWith('00', i); i += 2) s = '1' + s
  return s
}
