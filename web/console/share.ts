import { formatGatewayURL } from '../src/url.js'
import { isLocal } from './info.js'
import type { Info } from './info.js'

/**
 * Returns the topic that the fragment of the page's address names, or nothing. A fragment that is
 * no escaped text is one as it is.
 */
export function topicOf (hash: string): string {
  const text = hash.replace(/^#/, '')
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

/** Returns the fragment that names a topic. */
export function fragmentOf (topic: string): string { return `#${encodeURIComponent(topic)}` }

/** Reports whether a text is meant to be a gateway URL. */
export function isGatewayURL (text: string): boolean { return /^\s*swarmgate:\/\//i.test(text) }

/** Returns the string that programs, and this page, take for the gateway and the topic. */
export function programText (info: Info, topic: string): string {
  return formatGatewayURL({ url: `https://${info.quic}`, hashes: info.certificate.kind === 'pinned' ? info.certificate.hashes ?? [] : [], topic })
}

/**
 * Returns the address of this page with the topic: where it came from, unless others reach the
 * gateway under another address. The topic is in the fragment, which browsers tell no server.
 */
export function pageText (origin: string, info: Info | undefined, topic: string): string {
  const from = info && isLocal(origin) && !isLocal(info.webtransport) ? new URL(info.webtransport).origin : origin
  return `${from}/${fragmentOf(topic)}`
}

/** Reports whether a topic is a name, which others may guess, and not a key. */
export function isName (topic: string): boolean { return !/^[\da-f]{64}$/i.test(topic) }

/** Returns a topic that nobody guesses. */
export function privateTopic (): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(32)), b => b.toString(16).padStart(2, '0')).join('')
}
