import type { Peer } from './api.js'
import { deferred, ignore } from './deferred.js'
import type { SealedPeer } from './secretapi.js'
import { codeOf } from './secretcode.js'
import { Incoming } from './secretin.js'
import type { Secured } from './secretnoise.js'
import { Outgoing } from './secretout.js'
import type { MessageReader } from './secretreader.js'

const LINGER = 30_000 // ms that a circuit which was closed waits until all is written

/** What there is beside a sealed circuit. */
export type Further = Pick<SealedPeer, 'open' | 'streams'>

/** A circuit after its handshake. */
export class Sealed implements SealedPeer {
  declare readonly id: string
  declare readonly network: string
  declare readonly address: string
  declare readonly initiator: boolean
  declare readonly client: boolean
  declare readonly further: boolean
  declare readonly topic: string
  readonly peer: Peer
  readonly key: Uint8Array
  readonly binding: Uint8Array
  readonly #in: Incoming
  readonly #out: Outgoing
  readonly #beside: Further
  readonly #closed = deferred()
  #closing = false
  #linger: ReturnType<typeof setTimeout> | undefined

  constructor (peer: Peer, messages: MessageReader, writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>, secured: Secured, beside: Further) {
    const { id, network, address, initiator, client, further, topic } = peer
    Object.assign(this, { id, network, address, initiator, client, further, topic })
    this.peer = peer
    this.key = secured.key
    this.binding = secured.binding
    this.#beside = beside
    const abort = (reason: unknown) => peer.abort(codeOf(reason))
    this.#out = new Outgoing(writer, secured.out, abort)
    this.#in = new Incoming(messages, secured.in, e => {
      this.#closed.reject(e)
      this.#out.fail(e)
      abort(e)
    }, abort)
    // What came last may not have been looked at when the circuit has ended.
    peer.closed.then(() => this.#in.over.catch(() => {})).then(this.#closed.resolve, this.#closed.reject).finally(() => clearTimeout(this.#linger))
  }

  get readable (): ReadableStream<Uint8Array> { return this.#in.readable }

  get writable (): WritableStream<Uint8Array | ArrayBuffer | ArrayBufferView> { return this.#out.writable }

  get closed (): Promise<void> { return this.#closed.promise }

  get streams (): AsyncIterable<SealedPeer> { return this.#beside.streams }

  open (options?: { signal?: AbortSignal }): Promise<SealedPeer> { return this.#beside.open(options) }

  close (): void {
    if (this.#closing) return
    this.#closing = true
    this.#linger = setTimeout(() => this.abort(), LINGER)
    this.#in.discard()
    ignore(this.#out.close().then(() => {
      clearTimeout(this.#linger) // the circuit has its own
      this.peer.close()
    }))
  }

  abort (code?: number): void { this.peer.abort(code) }

  async * [Symbol.asyncIterator] (): AsyncGenerator<Uint8Array, void> {
    const reader = this.readable.getReader()
    try {
      for (;;) {
        const { value, done } = await reader.read()
        if (done) return
        yield value
      }
    } finally {
      reader.releaseLock()
    }
  }
}
