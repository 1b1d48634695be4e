import { unhex32 } from './hex.js'

/** Returns the topic of a name: SHA-256 of its UTF-8 text as it is, without any normalization. */
export async function topicFromName (name: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(name)))
}

/** Returns the topic that 64 hexadecimal digits stand for; any other text is a name, and 32 bytes are a topic themselves. */
export async function topicFrom (topic: string | Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  if (typeof topic === 'string') return unhex32(topic) ?? topicFromName(topic)
  if (!(topic instanceof Uint8Array) || topic.length !== 32) throw new TypeError('a topic is a name or 32 bytes')
  return Uint8Array.from(topic)
}
