import { Code } from './codes.js'
import { SecretError } from './secreterror.js'

type Bytes = Uint8Array<ArrayBuffer>

/** Separates this use of the primitives from others (docs/SECRET.md). */
export const LABEL = utf8('swarmgate/secret/1')

const PROTOCOL_NAME = utf8('Noise_XXpsk0_25519_AESGCM_SHA256') // 32 bytes, so it is not hashed
/** Bytes that a message is longer than what is in it. */
export const TAG = 16
/** Bytes of a record, at most. */
export const MAX_DATA = 65535 - TAG
/** Records of a direction that are worked on at once. */
export const IN_FLIGHT = 4

const KEY = 32 // bytes of any key
const NOTHING = new Uint8Array(0)
const AES = { name: 'AES-GCM', length: 256 }
const X25519 = { name: 'X25519' }

/** Returns a text as UTF-8. */
export function utf8 (text: string): Bytes { return Uint8Array.from(new TextEncoder().encode(text)) }

/** Returns arrays one after the other. */
export function concat (...parts: Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    all.set(p, at)
    at += p.length
  }
  return all
}

/** Returns `n` keys of 32 bytes by HKDF-SHA-256. */
export async function hkdf (ikm: Bytes, salt: Bytes, info: Bytes, n = 1): Promise<Bytes[]> {
  const key = await crypto.subtle.importKey('raw', ikm, 'HKDF', false, ['deriveBits'])
  const all = new Uint8Array(await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt, info }, key, n * KEY * 8))
  return Array.from({ length: n }, (_, i) => all.slice(i * KEY, (i + 1) * KEY))
}

/** Makes a key pair whose private half nobody can read. A browser without X25519 is an error. */
export async function newPair (): Promise<CryptoKeyPair> {
  try {
    return await crypto.subtle.generateKey(X25519, false, ['deriveBits']) as CryptoKeyPair
  } catch (e) {
    throw new SecretError(Code.INTERNAL, 'secret rooms need X25519 in Web Crypto: a page from https or localhost, in Chrome 133, Firefox 130, Safari 17 or later', e)
  }
}

/** Returns the 32 bytes of a public key. */
export async function publicBytes ({ publicKey }: CryptoKeyPair): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.exportKey('raw', publicKey))
}

async function agree ({ privateKey }: CryptoKeyPair, theirs: Bytes): Promise<Bytes> {
  const key = await crypto.subtle.importKey('raw', theirs, X25519, false, [])
  return new Uint8Array(await crypto.subtle.deriveBits({ ...X25519, public: key }, privateKey, KEY * 8))
}

function importAES (key: Bytes): Promise<CryptoKey> { return crypto.subtle.importKey('raw', key, AES, false, ['encrypt', 'decrypt']) }

/** The key of one direction, and how many messages it has had. */
export class Cipher {
  /** While another key is made, which the next message has to wait for. */
  turning: Promise<void> | undefined
  #key: CryptoKey
  #n = 0
  readonly #interval: number

  /** Another key takes the place of `key` after each `interval` messages. */
  constructor (key: CryptoKey, interval = Infinity) {
    this.#key = key
    this.#interval = interval
  }

  /** Makes a cipher of 32 bytes. */
  static async of (key: Bytes, interval?: number): Promise<Cipher> { return new Cipher(await importAES(key), interval) }

  /** Encrypts the next message. `data` may be changed as soon as it has been called. */
  seal (data: Bytes, ad: Bytes = NOTHING): Promise<ArrayBuffer> { return crypto.subtle.encrypt(...this.#next(ad), data) }

  /** Decrypts the next message. `data` may be changed as soon as it has been called. */
  open (data: Bytes, ad: Bytes = NOTHING): Promise<ArrayBuffer> { return crypto.subtle.decrypt(...this.#next(ad), data) }

  #next (additionalData: Bytes): [AesGcmParams, CryptoKey] {
    const used = this.#key
    const iv = new Uint8Array(12)
    const view = new DataView(iv.buffer)
    view.setUint32(4, Math.floor(this.#n / 2 ** 32))
    view.setUint32(8, this.#n)
    if (++this.#n % this.#interval === 0) this.turning = this.#turn()
    return [{ ...AES, iv, additionalData }, used]
  }

  /** REKEY of the Noise specification. */
  async #turn (): Promise<void> {
    const iv = new Uint8Array(12).fill(0xff, 4)
    const next = await crypto.subtle.encrypt({ ...AES, iv }, this.#key, new Uint8Array(KEY))
    this.#key = await importAES(new Uint8Array(next, 0, KEY))
    this.turning = undefined
  }
}

/** What a handshake begins with. */
export interface Handshake {
  initiator: boolean
  topic: Bytes
  psk: Bytes
  identity: CryptoKeyPair
  /** Of this circuit only. */
  ephemeral: CryptoKeyPair
  /** See `Cipher`; of the records. */
  interval: number
  /** Returns the next message of the other end. */
  receive: () => Promise<Bytes>
  send: (message: Bytes) => Promise<void>
}

/** What a handshake gives. */
export interface Secured {
  out: Cipher
  in: Cipher
  /** The other end's static key. */
  key: Bytes
  /** The hash of the handshake, the same at both ends and at no others. */
  binding: Bytes
}

/**
 * Runs Noise XXpsk0 over a circuit. It rejects with a SecretError if the other end is not a member
 * of the room, or if it is this end itself, and as `receive` and `send` do.
 */
export async function shake ({ initiator, topic, psk, identity, ephemeral, interval, receive, send }: Handshake): Promise<Secured> {
  let hash: Bytes = PROTOCOL_NAME
  let chain: Bytes = PROTOCOL_NAME
  let cipher!: Cipher
  let theirs!: Bytes // ephemeral
  let key!: Bytes // static

  const mixHash = async (data: Bytes) => { hash = new Uint8Array(await crypto.subtle.digest('SHA-256', concat(hash, data))) }
  const mixKey = async (ikm: Bytes) => {
    const [next, k] = await hkdf(ikm, chain, NOTHING, 2)
    chain = next!
    cipher = await Cipher.of(k!)
  }
  const sealAndHash = async (data: Bytes) => {
    const sealed = new Uint8Array(await cipher.seal(data, hash))
    await mixHash(sealed)
    return sealed
  }
  const openAndHash = async (sealed: Bytes) => {
    const data = new Uint8Array(await cipher.open(sealed, hash))
    await mixHash(sealed)
    return data
  }
  const mixEphemeral = async (e: Bytes) => {
    await mixHash(e)
    await mixKey(e)
  }
  const own = await publicBytes(identity)
  const ownEphemeral = await publicBytes(ephemeral)
  /** The tokens of a static key: the key itself, and what it makes with the other ephemeral. */
  const sendStatic = async () => {
    const sealed = await sealAndHash(own)
    await mixKey(await agree(identity, theirs))
    return sealed
  }
  const receiveStatic = async (sealed: Bytes) => {
    key = await openAndHash(sealed)
    if (key.every((b, i) => b === own[i])) throw new SecretError(Code.PROTOCOL, 'the other end has this end’s own key')
    await mixKey(await agree(ephemeral, key))
  }
  const read = async (least: number) => {
    const m = await receive()
    if (m.length < least) throw new SecretError(Code.PROTOCOL, `a handshake message of ${m.length} bytes, ${least} at least are wanted`)
    return m.slice() // receive may use its memory again
  }

  await mixHash(concat(LABEL, topic))
  const [next, mixed, k] = await hkdf(psk, chain, NOTHING, 3)
  chain = next!
  await mixHash(mixed!)
  cipher = await Cipher.of(k!)
  try {
    if (initiator) {
      await mixEphemeral(ownEphemeral)
      await send(concat(ownEphemeral, await sealAndHash(NOTHING)))
      const m = await read(2 * KEY + 2 * TAG)
      theirs = m.slice(0, KEY)
      await mixEphemeral(theirs)
      await mixKey(await agree(ephemeral, theirs))
      await receiveStatic(m.slice(KEY, 2 * KEY + TAG))
      await openAndHash(m.slice(2 * KEY + TAG))
      await send(concat(await sendStatic(), await sealAndHash(NOTHING)))
    } else {
      const m = await read(KEY + TAG)
      theirs = m.slice(0, KEY)
      await mixEphemeral(theirs)
      await openAndHash(m.slice(KEY))
      await mixEphemeral(ownEphemeral)
      await mixKey(await agree(ephemeral, theirs))
      await send(concat(ownEphemeral, await sendStatic(), await sealAndHash(NOTHING)))
      const last = await read(KEY + 2 * TAG)
      await receiveStatic(last.slice(0, KEY + TAG))
      await openAndHash(last.slice(KEY + TAG))
    }
  } catch (e) {
    // Web Crypto tells what does not open, and keys that agree on nothing, by a DOMException.
    throw (e as Error).name === 'OperationError' || (e as Error).name === 'DataError' ? new SecretError(Code.PROTOCOL, 'the other end does not know the secret', e) : e
  }
  const [first, second] = await Promise.all((await hkdf(NOTHING, chain, NOTHING, 2)).map(k => Cipher.of(k, interval)))
  return { out: initiator ? first! : second!, in: initiator ? second! : first!, key, binding: hash }
}
