/**
 * Secret rooms: topics whose circuits the peers seal themselves, so that the gateway neither reads
 * nor changes what is sent. Package `client/secret` is the same in Go; docs/SECRET.md has the
 * bytes.
 *
 * @packageDocumentation
 */
import { unhex32 } from './hex.js'
import type { Room } from './secretapi.js'
import { SecretRoom } from './secretroom.js'
import { LABEL, hkdf, newPair, utf8 } from './secretnoise.js'

export { SecretError } from './secreterror.js'
export { identity, keyHex, keyWords } from './secretkeys.js'
export type { Room, RoomOptions, SealedPeer, SealedTopic } from './secretapi.js'

const ROUNDS = 600_000

/** Options of `secret`. */
export interface SecretOptions {
  /**
   * What peers recognize this end by: an X25519 key pair, as `identity` returns one. One is made
   * for this room unless it is given.
   */
  identity?: CryptoKeyPair
  /** @internal Records of a direction between two keys. */
  interval?: number
}

/**
 * Returns the room of a secret: 32 bytes, 64 hexadecimal digits, or a text, which takes some
 * tenths of a second to become 32 bytes. A text that can be guessed protects from nobody. It
 * rejects with a TypeError for other secrets, and with a SecretError if the browser has no X25519.
 */
export async function secret (what: Uint8Array | string, options: SecretOptions = {}): Promise<Room> {
  const { identity, interval = 65536 } = options
  if (what.length === 0 || (typeof what !== 'string' && what.length !== 32)) throw new TypeError('a secret is a text or 32 bytes')
  const pair = identity ?? await newPair()
  const bytes = typeof what === 'string' ? unhex32(what) ?? await stretch(what) : what.slice()
  const [[topic], [psk]] = await Promise.all([hkdf(bytes, LABEL, utf8('topic')), hkdf(bytes, LABEL, utf8('psk'))])
  return SecretRoom.of(topic!, psk!, pair, interval)
}

/** Makes 32 bytes of a text, so slowly that guessing many is expensive. */
async function stretch (text: string): Promise<Uint8Array<ArrayBuffer>> {
  const key = await crypto.subtle.importKey('raw', utf8(text), 'PBKDF2', false, ['deriveBits'])
  return new Uint8Array(await crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-256', salt: LABEL, iterations: ROUNDS }, key, 256))
}
