import type { JoinOptions, Offer, Peer, Topic, TopicStatus } from './api.js'
import type { Circuit } from './circuit.js'
import { Code } from './codes.js'
import type { Clock } from './clock.js'
import { deferred } from './deferred.js'
import { emit } from './emit.js'
import { SwarmError } from './errors.js'
import { ANNOUNCE, LOOK_UP, OFFER_ONLY, STREAMS } from './frames.js'
import type { Join, Of, Status } from './frames.js'
import { unhex32 } from './hex.js'
import { Queue } from './queue.js'
import { Stay } from './stay.js'

const OVERTAKEN = 1000 // ms that the first circuit with a peer may come after a further one

const states = ['starting', 'searching', 'failing', 'ended', 'queued'] as const

/** What a topic has done by its client. */
export interface TopicHost {
  clock: Clock
  /** Leaves it at gateways. */
  leave: (topic: JoinedTopic) => Promise<void>
  /** Opens one more circuit with the peer of `c`. */
  connect: (c: Circuit, signal?: AbortSignal) => Promise<Peer>
}

/** A topic that the page wants, whatever becomes of sessions. */
export class JoinedTopic extends EventTarget implements Topic<Peer | Offer> {
  readonly hex: string
  status: TopicStatus | undefined
  /** What JOIN says. */
  options: JoinOptions = {}
  /** Refusals in a row, for the delay before the next JOIN. */
  refusals = 0
  /** Resolves when a gateway has taken the topic, rejects when it has ended. */
  readonly joined = deferred()
  /** Stops that delay. */
  cancelTimer = (): void => {}

  readonly host: TopicHost
  readonly #closed = deferred()
  readonly #queue = new Queue<Circuit>()
  readonly #stays = new Map<string, Stay<Circuit>>() // by network and id
  #left: Promise<void> | undefined

  /** Makes a topic that nobody knows of yet. */
  constructor (hex: string, host: TopicHost) {
    super()
    this.hex = hex
    this.host = host
  }

  get key (): Uint8Array { return unhex32(this.hex)! }

  get closed (): Promise<void> { return this.#closed.promise }

  get peers (): Peer[] { return [...this.#stays.values()].flatMap(s => s.peer ?? []) }

  /** Returns the JOIN that asks for the topic. */
  get frame (): Of<typeof Join> {
    const { announce = true, lookup = true, offerOnly, streams, maxPeers = 0, networks = [] } = this.options
    const flags = (announce ? ANNOUNCE : 0) | (lookup ? LOOK_UP : 0) | (offerOnly ? OFFER_ONLY : 0) | (streams ? STREAMS : 0)
    return { topic: this.hex, flags, maxPeers, networks: [...networks] }
  }

  leave (): Promise<void> { return this.#left ??= this.host.leave(this) }

  async * [Symbol.asyncIterator] (): AsyncGenerator<Peer | Offer, void> {
    for await (const c of this.#queue) yield c.attached && !this.options.offerOnly ? c : c.offer()
  }

  /** JOINED came. */
  taken (): void {
    this.refusals = 0
    this.joined.resolve()
  }

  /** STATUS came. */
  update ({ topic, networks, ...counts }: Of<typeof Status>): void {
    this.status = {
      ...counts,
      networks: networks.map(({ lastCode: code, state, ...n }) => ({ ...n, state: states[state] ?? 'unknown', code }))
    }
    emit(this, 'status', this.status)
  }

  /**
   * A circuit is open; `asked` says that the page knows it already. Its peer is here, unless it is
   * a further one that has overtaken the first.
   */
  enter (c: Circuit, asked?: boolean): void {
    if (this.#queue.ended) return c.abort(Code.LEFT)
    const name = c.network + c.id
    const stay = c.stay = this.#stays.get(name) ?? new Stay<Circuit>()
    this.#stays.set(name, stay)
    stay.circuits.add(c)
    if (asked ? !stay.peer : !c.further) this.#meet(stay, c)
  }

  /** Has the page take a circuit, or the offer of one. */
  push (c: Circuit): void {
    if (this.#queue.ended || c.error) return c.abort(Code.LEFT)
    if (!c.further) return this.#queue.push(c)
    if (!this.options.streams) return c.abort(Code.DECLINED)
    const { stay } = c
    stay.streams.push(c)
    if (stay.peer) return
    stay.cancelTimer()
    stay.cancelTimer = this.host.clock.after(OVERTAKEN, () => {
      const peer = stay.streams.take()!
      this.#meet(stay, peer)
      this.#queue.push(peer)
    })
  }

  /** A circuit has ended. */
  drop (c: Circuit): void {
    const { stay } = c
    this.#queue.drop(c)
    if (!stay) return // it was never open
    stay.streams.drop(c)
    stay.circuits.delete(c)
    if (stay.circuits.size === 0) this.#part(c.network + c.id, stay)
  }

  /** Ends the topic; without an error it was left, and circuits that were not taken are reset. */
  end (error?: SwarmError): void {
    if (this.#queue.ended) return
    this.cancelTimer()
    if (error) this.#closed.reject(error)
    else this.#closed.resolve()
    this.joined.reject(error ?? new SwarmError(Code.LEFT, 'the topic was left'))
    this.#queue.end(error)
    for (const [name, stay] of this.#stays) this.#part(name, stay, error)
  }

  /** The page knows a peer by this circuit from now on. */
  #meet (stay: Stay<Circuit>, peer: Circuit): void {
    stay.cancelTimer()
    if (stay.peer) emit(this, 'leave', stay.peer)
    stay.peer = peer
    emit(this, 'peer', peer)
  }

  /** Ends a stay. */
  #part (name: string, stay: Stay<Circuit>, error?: SwarmError): void {
    if (this.#stays.get(name) !== stay) return
    this.#stays.delete(name)
    stay.cancelTimer()
    stay.streams.end(error)
    if (stay.peer) emit(this, 'leave', stay.peer)
  }
}
