import { hex, unhex32 } from './hex.js'

/** Returns the topic of a name: SHA-256 of its UTF-8 text as it is, without any normalization. */
export async function topicFromName (name: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(name)))
}

/**
 * Returns a topic in hexadecimal digits: 64 such digits and 32 bytes are one themselves, any other
 * text is a name.
 */
export async function topicFrom (topic: string | Uint8Array): Promise<string> {
  const key = typeof topic === 'string' ? unhex32(topic) ?? await topicFromName(topic) : topic
  if (!(key instanceof Uint8Array) || key.length !== 32) throw new TypeError('a topic is a name or 32 bytes')
  return hex(key)
}
