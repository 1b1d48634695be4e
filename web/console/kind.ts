import type { PeerInfo } from 'swarmgate'

const ENDPOINT = 32 // hexadecimal digits of a client's endpoint id

/**
 * Reports whether a peer is a client of this or another gateway, as a console is. Others, native programs and TCP services, are never
 * sent a byte that nobody asked for. See docs/PROTOCOL.md, PEER, for what the ids look like.
 */
export function isClient ({ network, id }: Pick<PeerInfo, 'network' | 'id'>): boolean {
  if (network === 'client') return true
  const host = 2 * (2 + Number.parseInt(id.slice(2, 4), 16)) // a multihash: a type, a length, and so many bytes
  return id.length === host + ENDPOINT
}
