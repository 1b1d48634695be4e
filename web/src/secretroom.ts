import type { Peer, Swarm } from './api.js'
import { Code } from './codes.js'
import { ignore } from './deferred.js'
import type { Room, RoomOptions, SealedPeer, SealedTopic } from './secretapi.js'
import { codeOf } from './secretcode.js'
import { SecretError } from './secreterror.js'
import { newPair, publicBytes, shake } from './secretnoise.js'
import { Sealed } from './secretpeer.js'
import type { Further } from './secretpeer.js'
import { SealedQueue } from './secretqueue.js'
import { MessageReader, truncated } from './secretreader.js'

type Bytes = Uint8Array<ArrayBuffer>

const PATIENCE = 10_000 // ms for a handshake

/** A room with its keys. */
export class SecretRoom implements Room {
  readonly topic: Bytes
  readonly key: Bytes
  readonly #psk: Bytes
  readonly #identity: CryptoKeyPair
  readonly #interval: number

  private constructor (topic: Bytes, key: Bytes, psk: Bytes, identity: CryptoKeyPair, interval: number) {
    this.topic = topic
    this.key = key
    this.#psk = psk
    this.#identity = identity
    this.#interval = interval
  }

  /** Makes a room. */
  static async of (topic: Bytes, psk: Bytes, identity: CryptoKeyPair, interval: number): Promise<Room> {
    return new SecretRoom(topic, await publicBytes(identity), psk, identity, interval)
  }

  seal (peer: Peer, { signal, ephemeral }: SealOptions = {}): Promise<SealedPeer> { return this.#seal(peer, { signal, ephemeral }) }

  async join (swarm: Swarm, options: RoomOptions = {}): Promise<SealedTopic> {
    const topic = await swarm.join(this.topic, options)
    const peers = new SealedQueue(topic, (peer, signal) => this.#seal(peer, { signal }), options.refused)
    void peers.run()
    return { topic, leave: () => topic.leave(), [Symbol.asyncIterator]: () => peers[Symbol.asyncIterator]() }
  }

  /** Seals a circuit with whoever has `key`, or with anybody. */
  async #seal (peer: Peer, { signal, ephemeral }: SealOptions, key?: Bytes): Promise<SealedPeer> {
    signal?.throwIfAborted()
    const messages = new MessageReader(peer.readable)
    const writer = peer.writable.getWriter() as WritableStreamDefaultWriter<Bytes>
    ignore(writer.closed) // write says why
    let cause: { error: unknown } | undefined
    const end = (error: unknown, code: number) => {
      cause ??= { error }
      peer.abort(code)
    }
    const silent = setTimeout(() => end(new SecretError(Code.PROTOCOL, 'the handshake took more than 10 s'), Code.PROTOCOL), PATIENCE)
    const aborted = () => end(signal!.reason, codeOf(signal!.reason))
    signal?.addEventListener('abort', aborted)
    try {
      const secured = await shake({
        initiator: peer.initiator,
        topic: this.topic,
        psk: this.#psk,
        identity: this.#identity,
        ephemeral: ephemeral ?? await newPair(),
        interval: this.#interval,
        receive: async () => {
          const m = await messages.next()
          if (!m) throw truncated()
          return m
        },
        send: async m => {
          const message = new Uint8Array(2 + m.length)
          new DataView(message.buffer).setUint16(0, m.length)
          message.set(m, 2)
          await writer.write(message)
        }
      })
      if (key?.some((b, i) => b !== secured.key[i])) throw new SecretError(Code.PROTOCOL, 'the stream is with another member of the room')
      if (cause) throw cause
      return new Sealed(peer, messages, writer, secured, this.#beside(peer, secured.key))
    } catch (e) {
      end(e, codeOf(e))
      throw cause!.error
    } finally {
      clearTimeout(silent)
      signal?.removeEventListener('abort', aborted)
    }
  }

  /** Returns what there is beside a sealed circuit with whoever has `key`. */
  #beside (peer: Peer, key: Bytes): Further {
    const seal = (stream: Peer, signal?: AbortSignal) => this.#seal(stream, { signal }, key)
    let streams: SealedQueue | undefined
    return {
      open: async options => seal(await peer.open(options), options?.signal),
      get streams () { return streams ??= new SealedQueue(peer.streams, seal) }
    }
  }
}

/** Options of `seal`. */
interface SealOptions {
  signal?: AbortSignal | undefined
  /** For vectors. */
  ephemeral?: CryptoKeyPair | undefined
}
