import { formatGatewayURL } from '../src/url.js'
import { isLocal } from './info.js'
import type { Info } from './info.js'

/** What a page joins: the secret room of a secret, or a public topic. */
export interface Place {
  kind: 'secret' | 'topic'
  /** The secret or the topic as people write it: a text, or 64 hexadecimal digits. */
  text: string
}

const SECRET = 'secret=' // what a fragment begins with that holds a secret, as that of a gateway URL

/**
 * Returns the place that the fragment of the page's address names, or undefined. What is not
 * escaped rightly stands for itself.
 */
export function placeOf (hash: string): Place | undefined {
  const fragment = hash.replace(/^#/, '')
  const kind = fragment.startsWith(SECRET) ? 'secret' : 'topic'
  const text = unescaped(kind === 'secret' ? fragment.slice(SECRET.length) : fragment)
  return text === '' ? undefined : { kind, text }
}

function unescaped (text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Returns the fragment that names a place. */
export function fragmentOf ({ kind, text }: Place): string { return `#${kind === 'secret' ? SECRET : ''}${encodeURIComponent(text)}` }

/** Reports whether a text is meant to be a gateway URL. */
export function isGatewayURL (text: string): boolean { return /^\s*swarmgate:\/\//i.test(text) }

/** Returns the string that programs, and this page, take for the gateway and the place. */
export function programText (info: Info, { kind, text }: Place): string {
  return formatGatewayURL({ url: `https://${info.quic}`, hashes: info.certificate.kind === 'pinned' ? info.certificate.hashes ?? [] : [], [kind]: text })
}

/**
 * Returns the address of this page with the place: where it came from, unless others reach the
 * gateway under another address. The place is in the fragment, which browsers tell no server.
 */
export function pageText (origin: string, info: Info | undefined, place: Place): string {
  const from = info && isLocal(origin) && !isLocal(info.webtransport) ? new URL(info.webtransport).origin : origin
  return `${from}/${fragmentOf(place)}`
}

/** Reports whether a topic or a secret is a text that others may guess. */
export function isGuessable (text: string): boolean { return !/^[\da-f]{64}$/i.test(text) }

/** Returns a secret room of which nobody knows. */
export function newRoom (): Place {
  const text = Array.from(crypto.getRandomValues(new Uint8Array(32)), b => b.toString(16).padStart(2, '0')).join('')
  return { kind: 'secret', text }
}
