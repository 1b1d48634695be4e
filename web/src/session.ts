import type { Transport } from './api.js'
import { Circuit } from './circuit.js'
import type { CircuitHost, CircuitTopic } from './circuit.js'
import type { Clock } from './clock.js'
import { Code } from './codes.js'
import { Control } from './control.js'
import type { Account } from './credit.js'
import { Budget, RESERVE } from './credit.js'
import { deferred, ignore } from './deferred.js'
import { SwarmError, codeOf } from './errors.js'
import {
  Accept, Connect, Goaway, Hello, Join, Joined, Leave, Left, Peer, Ping, Pong, Refused, Status, VERSION, Welcome, Withdraw, known, readFrame
} from './frames.js'
import type { Frame, Of } from './frames.js'
import type { Gateway } from './gateway.js'
import { dial } from './link/dial.js'
import type { Link } from './link/link.js'
import { Stream } from './link/stream.js'
import { Liveness } from './liveness.js'
import { Membership } from './membership.js'
import type { Platform } from './platform.js'
import type { JoinedTopic } from './topic.js'

// Circuits over WebSocket: a browser has 200 (Firefox) or 255 a host (Chromium) in all.
const SOCKETS = 190
const LAST_WORD = 1000 // ms that the reason of a session's end may come after the end of its control stream
const DELIVERY = 30_000 // ms that what was written last has to reach the peers before a session is closed that was left

// A PING is longer than it has to be: QUIC answers a packet of a connection that it does not know,
// as a gateway does that was restarted, only if the packet is longer than that answer.
const PING = Ping.encode({ data: new Uint8Array(32) })

/** Who says HELLO. */
export type Who = Pick<Of<typeof Hello>, 'secret' | 'agent'>

/** What a session tells its client. */
export interface SessionHost {
  welcomed: (s: Session) => void
  /**
   * It ended by itself, or the gateway ended it. Never told before `start` returns, nor after
   * `close`.
   */
  ended: (s: Session, error: SwarmError) => void
  heard: (s: Session) => void
  /** Its PING was not answered. `again`: the same gateway may be reached in another way. */
  silent: (s: Session, again: boolean) => void
  goaway: (s: Session, m: Of<typeof Goaway>) => void
  /** The gateway refused a topic, or took it away. */
  refused: (s: Session, topic: JoinedTopic, error: SwarmError) => void
}

/**
 * One WebTransport session: its control stream, the topics that it has joined, its circuits and
 * their credit.
 */
export class Session implements CircuitHost {
  readonly clock: Clock
  readonly gateway: Gateway
  readonly control: Control
  readonly #platform: Platform
  readonly #who: Who
  readonly #host: SessionHost
  readonly #abort = new AbortController() // of the info document and the token
  /** Page and topics get its circuits once it is resolved. */
  readonly adopted = deferred()
  readonly #memberships = new Map<string, Membership<JoinedTopic>>()
  readonly #circuits = new Map<number, Circuit>()
  readonly #budget = new Budget()

  readonly #links: Link[] = [] // all that it has made
  #link: Link | undefined // the one that it has
  #life: Liveness | undefined
  #asked = 0 // when HELLO or PING was sent
  #rtt = 0 // in ms, of the last answer
  #greeted = false
  #retired?: boolean
  #going?: boolean // GOAWAY came
  #error: SwarmError | undefined // it has ended
  #cancelWatch = () => {}
  #cancelEnd = () => {}

  /** Prepares a session with a gateway; nothing happens before `start`. */
  constructor (platform: Platform, host: SessionHost, gateway: Gateway, who: Who) {
    this.clock = platform.clock
    this.#platform = platform
    this.#host = host
    this.gateway = gateway
    this.control = new Control(platform.clock, e => this.#broken(e))
    this.#who = who
  }

  /** How it is connected, once it is. */
  get transport (): Transport { return this.#link!.transport ?? 'webtransport' }

  /** Asks the gateway for a sign of life: this page, or the network, was away. */
  wake (): void { if (this.#life) this.#watch(true) }

  /** Ends it as something that comes back: this page goes away. */
  sleep (): void { if (this.#greeted) this.#fail(new SwarmError(Code.PEER_GONE, 'the page was left')) }

  /**
   * Joins a topic, or tells its new options, unless it is retired. Circuits that stayed when the
   * topic was left belong to `topic` from now on.
   */
  join (topic: JoinedTopic): void {
    for (const c of this.#circuits.values()) c.rejoin(topic)
    let m = this.#memberships.get(topic.hex)
    if (this.#retired || (this.#going && !m)) return
    if (!m) this.#memberships.set(topic.hex, m = new Membership())
    m.asked(topic)
    this.control.send(Join.encode(topic.frame))
  }

  /**
   * Leaves a topic, and resolves when the gateway knows of it no more, or the session has ended.
   */
  async leave (topic: JoinedTopic): Promise<void> {
    const m = this.#memberships.get(topic.hex)
    if (m?.topic === topic) this.#leave(m)
    await m?.gone.promise
  }

  #leave (m: Membership<JoinedTopic>): void {
    if (m.topic) this.control.send(Leave.encode({ topic: m.topic.hex }))
    m.topic = undefined
  }

  /**
   * Lets it have no new circuits, and closes it in a while after those it has have ended; after
   * GOAWAY the gateway does, which knows when the peers have all that was written. It may be
   * called again.
   */
  retire (): void {
    if (this.#retired) return
    this.#retired = true
    for (const m of this.#memberships.values()) this.#leave(m)
    this.#closeIfDrained()
  }

  /** Takes back the credit of a circuit whose gateway has sent all. */
  settle (c: Circuit): void { this.#budget.close(c.account) }

  /** Takes back the place of a circuit. */
  remove (c: Circuit): void {
    this.settle(c)
    this.#circuits.delete(c.frame.circuit)
    this.#closeIfDrained()
  }

  /** Counts bytes that the page has read, and grants credit for more. */
  consumed (c: Circuit, n: number): void {
    if (!c.account.count(n)) return this.#fail(new SwarmError(Code.PROTOCOL, 'more bytes than credit'))
    if (!this.#budget.grant(c.account, this.clock.now(), this.#rtt)) return
    this.control.credit(c)
  }

  /** Opens the stream of an offered circuit. Where that fails the circuit has ended. */
  async accept (c: Circuit): Promise<void> {
    try {
      const stream = await this.#open()
      if (c.error) return stream.reset(Code.NONE) // nobody has seen it
      ignore(stream.writer.write(Accept.encode({ circuit: c.frame.circuit })))
      c.attach(stream)
    } catch {
      c.abort(Code.BUSY)
    }
  }

  /** Asks for one more circuit with the peer of another one, until `signal` is aborted. */
  async connect ({ joined, frame: { topic, network, id } }: Circuit, signal?: AbortSignal): Promise<Circuit> {
    const account = this.#budget.open(this.clock.now())
    if (!account) throw new SwarmError(Code.CIRCUIT_LIMIT, 'too many circuits')
    let stop = () => {}
    try {
      const stream = await this.#open()
      stop = () => stream.reset(Code.WITHDRAWN)
      signal?.throwIfAborted()
      signal?.addEventListener('abort', stop)
      ignore(stream.writer.write(Connect.encode({ topic, flags: 0, network, id })))
      const { type, payload } = await readFrame(stream.reader) as Frame // or an end, which has no type
      signal?.throwIfAborted()
      if (type === Refused.type) {
        const { code, reason } = Refused.parse(payload)
        throw new SwarmError(code, reason, { remote: true })
      }
      if (type !== Peer.type) throw undefined
      const c = this.#circuit(joined, Peer.parse(payload), account)
      c.attach(stream, true)
      if (c.error) throw c.error
      return c
    } catch (e) {
      stop()
      this.#budget.close(account)
      signal?.throwIfAborted()
      if (!(e instanceof SwarmError)) throw new SwarmError(codeOf(e) || Code.PEER_GONE, 'the circuit was refused', { remote: true, cause: e })
      if (!e.remote && e.code !== Code.LEFT) this.#fail(e)
      throw e
    } finally {
      signal?.removeEventListener('abort', stop)
    }
  }

  /** Opens a stream. */
  async #open (): Promise<Stream> { return new Stream(await this.#link!.createBidirectionalStream(), this.#link!.transport) }

  /** Connects, and says HELLO and what was joined before in one go. Its end is told to the host. */
  async start (): Promise<void> {
    try {
      const { signal } = this.#abort
      const [route, token] = await Promise.all([this.gateway.resolve(this.#platform.fetch, signal), this.gateway.token(signal)])
      if (this.#error) return
      const link = this.#link = await dial(this.#platform, this.gateway, route, this.#links, signal)
      link.closed.then(
        ({ closeCode, reason }) => this.#fail(new SwarmError(closeCode ?? Code.NONE, reason, { remote: true })),
        cause => this.#fail(this.#lost(cause))
      )
      const { reader, writer } = await this.#open()
      this.#life = new Liveness(this.#asked = this.clock.now())
      this.#watch()
      this.control.open(writer, Hello.encode({ ...this.#who, version: VERSION, flags: 0, credit: RESERVE, token, circuits: link.transport ? SOCKETS : 0 }))
      void this.#takeStreams(link)
      await this.#readControl(reader)
    } catch (e) {
      this.#broken(e)
    }
  }

  /** Returns the error of a session that nobody ended. */
  #lost (cause: unknown): SwarmError {
    return this.control.opened
      ? new SwarmError(Code.PEER_GONE, 'the connection was lost', { cause })
      : new SwarmError(Code.PEER_UNREACHABLE, `no answer from ${this.gateway.origin}`, { cause })
  }

  /**
   * A stream that is needed failed. Why is told by the end of the session, which comes on another
   * stream.
   */
  #broken (e: unknown): void {
    if (this.#error) return
    const error = e instanceof SwarmError ? e : this.#lost(e)
    if (error === e || !this.#link) this.#fail(error)
    else this.#endAfter(LAST_WORD, error)
  }

  /** Ends it by itself in a while, unless it ends before. */
  #endAfter (ms: number, error: SwarmError): void {
    this.#cancelEnd()
    if (!this.#error) this.#cancelEnd = this.clock.after(ms, () => this.#fail(error))
  }

  /** Ends it by itself. */
  #fail (error: SwarmError): void {
    if (this.#error) return
    this.close(error)
    this.#host.ended(this, error)
  }

  /** Ends it without telling the host. */
  close (error = new SwarmError(Code.NONE, 'closed')): void {
    if (this.#error) return
    this.#error = error
    this.#abort.abort()
    this.#cancelWatch()
    this.#cancelEnd()
    if (!this.#greeted) this.gateway.failed()
    for (const link of this.#links) {
      try {
        link.close(error.remote ? {} : { closeCode: error.code, reason: error.reason })
      } catch {} // it has ended already
    }
    const end = error.code === Code.NONE && !error.remote ? error : new SwarmError(Code.PEER_GONE, 'the connection was lost', { cause: error })
    for (const c of [...this.#circuits.values()]) c.lost(end)
    for (const m of this.#memberships.values()) m.left()
    this.#memberships.clear()
  }

  #closeIfDrained (): void {
    if (this.#retired && !this.#going && this.#circuits.size === 0) this.#endAfter(DELIVERY, new SwarmError(Code.NONE, 'moved'))
  }

  /** Asks the gateway for signs of life, with `ask` at once. */
  #watch (ask?: boolean): void {
    if (this.#error) return
    this.#cancelWatch()
    const now = this.clock.now()
    const sign = this.#life!.check(now, this.#circuits.size > 0, ask)
    if (sign === 'lost') return this.#fail(new SwarmError(Code.IDLE, 'the gateway is silent'))
    this.#cancelWatch = this.clock.after(this.#life!.deadline - now, () => this.#watch())
    if (sign === 'silent') {
      const again = !this.#link!.transport && !!this.gateway.webSocket
      if (again) this.gateway.webSocketUntil = Infinity
      this.#host.silent(this, again)
    }
    if (sign !== 'quiet') return
    this.#asked = now
    this.control.send(PING)
  }

  async #readControl (reader: ReadableStreamBYOBReader): Promise<void> {
    while (!this.#error) {
      const frame = await readFrame(reader)
      if (typeof frame === 'string') throw frame === 'EOF' ? new Error(frame) : new SwarmError(Code.PROTOCOL, frame)
      if (this.#error) return
      this.#life!.hear(this.clock.now())
      this.#host.heard(this)
      this.#handle(frame)
    }
  }

  #handle ({ type, payload }: Frame): void {
    const refuse = () => { // unless it is of a later version
      if (known(type)) throw new SwarmError(Code.PROTOCOL, `frame ${type} is out of order`)
    }
    if (this.#greeted === (type === Welcome.type)) refuse()
    switch (type) {
      case Welcome.type: return this.#greet(Welcome.parse(payload))
      case Joined.type: return this.#onJoined(Joined.parse(payload))
      case Left.type: return this.#onLeft(Left.parse(payload))
      case Status.type: return this.#onStatus(Status.parse(payload))
      case Peer.type: return this.#admit(Peer.parse(payload))
      case Withdraw.type: return this.#onWithdraw(Withdraw.parse(payload))
      case Goaway.type:
        this.#going = true
        return this.#host.goaway(this, Goaway.parse(payload))
      case Ping.type: return this.control.pong(Ping.parse(payload).data)
      case Pong.type:
        Pong.parse(payload)
        this.#rtt = this.clock.now() - this.#asked
        return
      default: refuse()
    }
  }

  #greet (m: Of<typeof Welcome>): void {
    if (m.version !== VERSION) throw new SwarmError(Code.VERSION, 'no common version')
    this.#greeted = true
    this.#rtt = this.clock.now() - this.#asked
    this.gateway.renew(m.hashes)
    this.#host.welcomed(this)
  }

  #onJoined (m: Of<typeof Joined>): void {
    const of = this.#memberships.get(m.topic)
    of?.taken()
    of?.topic?.taken()
  }

  #onLeft ({ topic, code, reason }: Of<typeof Left>): void {
    const of = this.#memberships.get(topic)
    if (!of?.left()) return
    this.#memberships.delete(topic)
    if (of.topic) this.#host.refused(this, of.topic, new SwarmError(code, reason, { remote: true }))
  }

  #onStatus (m: Of<typeof Status>): void { this.#memberships.get(m.topic)?.topic?.update(m) }

  /**
   * Ends a circuit that was offered, or one whose reset does not tell its code in every browser.
   */
  #onWithdraw ({ circuit, code }: Of<typeof Withdraw>): void {
    this.#circuits.get(circuit)?.end(new SwarmError(code || Code.WITHDRAWN, 'the circuit was withdrawn', { remote: true }))
  }

  /** Takes the streams that the gateway opens. */
  async #takeStreams (link: Link): Promise<void> {
    try {
      const streams: ReadableStreamDefaultReader<WebTransportBidirectionalStream> = link.incomingBidirectionalStreams.getReader()
      for (;;) {
        const { value, done } = await streams.read()
        if (done) return
        void this.#takeStream(new Stream(value))
      }
    } catch {} // the session is over, and says so itself
  }

  /**
   * Makes a circuit of a stream that the gateway opened. One that ends before its first frame ends
   * alone.
   */
  async #takeStream (stream: Stream): Promise<void> {
    try {
      const frame = await readFrame(stream.reader)
      if (typeof frame === 'string') return stream.reset(Code.NONE)
      if (frame.type !== Peer.type) return stream.reset(Code.PROTOCOL)
      const m = Peer.parse(frame.payload)
      await this.adopted.promise // a stream may overtake WELCOME
      this.#admit(m, stream)
    } catch (e) {
      if (e instanceof SwarmError) this.#fail(e)
      else stream.reset(Code.NONE)
    }
  }

  /** Takes a circuit, which has a stream already or is an offer. */
  #admit (m: Of<typeof Peer>, stream?: Stream): void {
    if (this.#error) return
    const topic = this.#memberships.get(m.topic)?.topic
    const account = topic && this.#budget.open(this.clock.now())
    if (!account) {
      const code = topic ? Code.CIRCUIT_LIMIT : Code.LEFT
      return stream ? stream.reset(code) : this.control.decline(m.circuit, code)
    }
    const c = this.#circuit(topic, m, account)
    if (stream) c.attach(stream)
    if (stream || (topic.options.offerOnly && !c.further)) topic.push(c)
    else c.accept().then(() => topic.push(c), () => {}) // it has ended, and nobody has seen it
  }

  /** Makes the circuit that PEER tells of. */
  #circuit (topic: CircuitTopic, m: Of<typeof Peer>, account: Account): Circuit {
    if (this.#circuits.has(m.circuit)) throw new SwarmError(Code.PROTOCOL, 'a circuit came twice')
    const c = new Circuit(this, topic, m, account)
    this.#circuits.set(m.circuit, c)
    if (this.#circuits.size === 1) this.#watch()
    return c
  }
}
