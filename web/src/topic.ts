import type { JoinOptions, Offer, Peer, Topic, TopicStatus } from './api.js'
import type { Circuit } from './circuit.js'
import { Code } from './codes.js'
import { deferred } from './deferred.js'
import { SwarmError } from './errors.js'
import { ANNOUNCE, LOOK_UP, OFFER_ONLY } from './frames.js'
import type { Join, Of, Status } from './frames.js'
import { unhex32 } from './hex.js'

const states = ['starting', 'searching', 'failing', 'ended', 'queued'] as const

/** A topic that the page wants, whatever becomes of sessions. */
export class JoinedTopic extends EventTarget implements Topic<Peer | Offer> {
  readonly hex: string
  status: TopicStatus | undefined
  /** What JOIN says. */
  options: JoinOptions = {}
  /** Refusals in a row, for the delay before the next JOIN. */
  refusals = 0
  /** Stops that delay. */
  cancelTimer = (): void => {}

  readonly #leave: (topic: JoinedTopic) => Promise<void>
  readonly #joined = deferred()
  readonly #closed = deferred()
  #queue: Array<{ circuit: Circuit, peer: Peer | Offer }> = [] // not taken by the page; each has a place in its session
  #changed = deferred() // the queue, or the end
  #left: Promise<void> | undefined
  #ended = false
  #error: SwarmError | undefined

  /** `leave` is what leaving does beyond this object. */
  constructor (hex: string, leave: (topic: JoinedTopic) => Promise<void>) {
    super()
    this.hex = hex
    this.#leave = leave
  }

  get key (): Uint8Array { return unhex32(this.hex)! }

  get closed (): Promise<void> { return this.#closed.promise }

  /** Resolves when a gateway has taken the topic, rejects when it has ended. */
  get joined (): Promise<void> { return this.#joined.promise }

  /** Returns the JOIN that asks for the topic. */
  get frame (): Of<typeof Join> {
    const { announce = true, lookup = true, offerOnly = false, maxPeers = 0 } = this.options
    const flags = (announce ? ANNOUNCE : 0) | (lookup ? LOOK_UP : 0) | (offerOnly ? OFFER_ONLY : 0)
    return { topic: this.hex, flags, maxPeers, networks: [] }
  }

  leave (): Promise<void> { return this.#left ??= this.#leave(this) }

  async * [Symbol.asyncIterator] (): AsyncGenerator<Peer | Offer, void> {
    for (;;) {
      const next = this.#queue.shift()
      if (next) yield next.peer
      else if (this.#error) throw this.#error
      else if (this.#ended) return
      else await this.#changed.promise
    }
  }

  /** JOINED came. */
  taken (): void {
    this.refusals = 0
    this.#joined.resolve()
  }

  /** STATUS came. */
  update (m: Of<typeof Status>): void {
    this.status = {
      known: m.known,
      more: m.more,
      connected: m.connected,
      networks: m.networks.map(n => ({
        name: n.name,
        state: states[n.state] ?? 'unknown',
        found: n.found,
        connecting: n.connecting,
        refused: n.refused,
        code: n.lastCode,
        reason: n.reason
      }))
    }
    this.dispatchEvent(new CustomEvent('status', { detail: this.status }))
  }

  /** Queues a circuit, or the offer of one. */
  push (circuit: Circuit): void {
    if (this.#ended || circuit.error) return circuit.abort(Code.LEFT)
    this.#queue.push({ circuit, peer: this.options.offerOnly ? circuit.offer() : circuit })
    this.#change()
  }

  /** Takes a circuit that has ended out of the queue. */
  drop (circuit: Circuit): void {
    this.#queue = this.#queue.filter(x => x.circuit !== circuit)
  }

  /** Ends the topic; without an error it was left, and circuits that were not taken are reset. */
  end (error?: SwarmError): void {
    if (this.#ended) return
    this.#ended = true
    this.#error = error
    this.cancelTimer()
    if (error) this.#closed.reject(error)
    else this.#closed.resolve()
    this.#joined.reject(error ?? new SwarmError(Code.LEFT, 'the topic was left'))
    if (!error) for (const { circuit } of this.#queue.splice(0)) circuit.abort(Code.LEFT)
    this.#change()
  }

  #change (): void {
    this.#changed.resolve()
    this.#changed = deferred()
  }
}
