import { Circuit } from './circuit.js'
import type { Clock } from './clock.js'
import { Code } from './codes.js'
import type { Account } from './credit.js'
import { Budget, RESERVE } from './credit.js'
import type { Deferred } from './deferred.js'
import { deferred, ignore } from './deferred.js'
import { SwarmError, codeOf } from './errors.js'
import {
  Accept, Connect, Decline, Goaway, Hello, Join, Joined, Leave, Left, Peer, Ping, Pong, Refused, Status, VERSION, Welcome, Withdraw, known, readFrame
} from './frames.js'
import type { Frame, Of, Reader } from './frames.js'
import type { Gateway } from './gateway.js'
import { Liveness } from './liveness.js'
import { Outbox } from './outbox.js'
import type { Platform } from './platform.js'
import { reset } from './streams.js'
import type { JoinedTopic } from './topic.js'

const LAST_WORD = 1000 // ms that the reason of a session's end may come after the end of its control stream
const DELIVERY = 30_000 // ms that what was written last has to reach the peers before a session is closed that was left

// A PING is longer than it has to be: QUIC answers a packet of a connection that it does not know,
// as a gateway does that was restarted, only if the packet is longer than that answer.
const PING = Ping.encode({ data: new Uint8Array(32) })

type Writer = WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>

/** What a session tells its client. */
export interface SessionHost {
  welcomed: (s: Session) => void
  /**
   * It ended by itself, or the gateway ended it. Never told before `start` returns, nor after
   * `close`.
   */
  ended: (s: Session, error: SwarmError) => void
  heard: (s: Session) => void
  silent: (s: Session) => void
  goaway: (s: Session, m: Of<typeof Goaway>) => void
  /** The gateway refused a topic, or took it away. */
  refused: (s: Session, topic: JoinedTopic, error: SwarmError) => void
}

/** What a session knows of a topic. */
interface Membership {
  topic: JoinedTopic | undefined // JOIN was sent, and no LEAVE since
  unanswered: number // JOINs that wait for JOINED or LEFT
  held: boolean // JOINED came, and no LEFT since
  gone: Deferred<void> // resolves when the gateway knows of it no more
}

/**
 * One WebTransport session: its control stream, the topics that it has joined, its circuits and
 * their credit.
 */
export class Session {
  readonly clock: Clock
  readonly gateway: Gateway
  readonly #platform: Platform
  readonly #hello: Omit<Of<typeof Hello>, 'token'>
  readonly #host: SessionHost
  readonly #abort = new AbortController() // of the info document and the token
  readonly #adopted = deferred()
  readonly #memberships = new Map<string, Membership>()
  readonly #circuits = new Map<number, Circuit>()
  readonly #budget = new Budget()
  readonly #outbox = new Outbox()

  #transport: WebTransport | undefined
  #control: Writer | undefined
  #flushing = false
  #life: Liveness | undefined
  #asked = 0 // when HELLO or PING was sent
  #rtt = 0 // in ms, of the last answer
  #declined = -Infinity // up to when DECLINE is paid for
  #greeted = false
  #retired = false
  #going = false // GOAWAY came
  #error: SwarmError | undefined // it has ended
  #cancelWatch = () => {}
  #cancelEnd = () => {}

  /** Prepares a session with a gateway; nothing happens before `start`. */
  constructor (platform: Platform, host: SessionHost, gateway: Gateway, secret: Uint8Array, agent: string) {
    this.clock = platform.clock
    this.#platform = platform
    this.#host = host
    this.gateway = gateway
    this.#hello = { version: VERSION, flags: 0, credit: RESERVE, secret, agent }
  }

  /** Connects, and says HELLO and what was joined before in one go. */
  start (): void { void this.#run() }

  /** Page and topics get its circuits from now on. */
  adopt (): void { this.#adopted.resolve() }

  /** Asks the gateway for a sign of life: this page, or the network, was away. */
  wake (): void { if (this.#life) this.#watch(true) }

  /** Ends it as something that comes back: this page goes away. */
  sleep (): void { if (this.#greeted) this.#fail(new SwarmError(Code.PEER_GONE, 'the page was left')) }

  /** Joins a topic, or tells its new options. Does nothing once it is retired. */
  join (topic: JoinedTopic): void {
    let m = this.#memberships.get(topic.hex)
    if (this.#retired || (this.#going && !m)) return
    if (!m) {
      m = { topic, unanswered: 0, held: false, gone: deferred() }
      this.#memberships.set(topic.hex, m)
    }
    m.topic = topic
    m.unanswered++
    this.#send(Join.encode(topic.frame))
  }

  /**
   * Leaves a topic, and resolves when the gateway knows of it no more, or the session has ended.
   */
  async leave (topic: JoinedTopic): Promise<void> {
    const m = this.#memberships.get(topic.hex)
    if (m?.topic === topic) this.#leave(m)
    await m?.gone.promise
  }

  #leave (m: Membership): void {
    if (m.topic) this.#send(Leave.encode({ topic: m.topic.hex }))
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

  /** Ends it without telling the host. */
  close (error = new SwarmError(Code.NONE, 'closed')): void { this.#end(error) }

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
    this.#outbox.credit(c)
    this.#wake()
  }

  /**
   * Sends DECLINE: 50 a second, after 100 at once, for a gateway ends a session that says too
   * much. An offer that is not declined is withdrawn in time, and a circuit reset without a code.
   */
  decline (circuit: number, code: number): void {
    const now = this.clock.now()
    const at = Math.max(this.#declined, now - 2000) + 20
    if (at > now) return
    this.#declined = at
    this.#send(Decline.encode({ circuit, code }))
  }

  /** Opens the stream of an offered circuit. Where that fails the circuit has ended. */
  async accept (c: Circuit): Promise<void> {
    try {
      const [reader, writer] = await this.#open()
      if (c.error) return reset(reader, writer, Code.NONE) // nobody has seen it
      ignore(writer.write(Accept.encode({ circuit: c.frame.circuit })))
      c.attach(reader, writer)
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
      const [reader, writer] = await this.#open()
      stop = () => reset(reader, writer, Code.WITHDRAWN)
      signal?.throwIfAborted()
      signal?.addEventListener('abort', stop)
      ignore(writer.write(Connect.encode({ topic, flags: 0, network, id })))
      const { type, payload } = await readFrame(reader) as Frame // or an end, which has no type
      signal?.throwIfAborted()
      if (type === Refused.type) {
        const { code, reason } = Refused.parse(payload)
        throw new SwarmError(code, reason, { remote: true })
      }
      if (type !== Peer.type) throw undefined
      const c = this.#circuit(joined, Peer.parse(payload), account)
      c.attach(reader, writer, true)
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
  async #open (): Promise<[Reader, Writer]> {
    const { readable, writable } = await this.#transport!.createBidirectionalStream()
    return [readable.getReader({ mode: 'byob' }), writable.getWriter()]
  }

  async #run (): Promise<void> {
    try {
      const { signal } = this.#abort
      const [{ url, hashes }, token] = await Promise.all([this.gateway.resolve(this.#platform.fetch, signal), this.gateway.token(signal)])
      if (this.#error) return
      this.#outbox.begin(Hello.encode({ ...this.#hello, token }))
      const { WebTransport } = this.#platform
      if (!WebTransport) throw new SwarmError(Code.INTERNAL, 'no WebTransport')
      const transport = this.#transport = new WebTransport(url, {
        protocols: ['swarmgate'],
        ...hashes.length > 0 && { serverCertificateHashes: hashes.map(value => ({ algorithm: 'sha-256', value })) }
      })
      ignore(transport.ready)
      transport.closed.then(
        ({ closeCode, reason }) => this.#fail(new SwarmError(closeCode ?? Code.NONE, reason, { remote: true })),
        cause => this.#fail(this.#lost(cause))
      )
      const [reader, writer] = await this.#open()
      this.#control = writer
      this.#life = new Liveness(this.#asked = this.clock.now())
      this.#watch()
      this.#wake()
      void this.#takeStreams(transport)
      await this.#readControl(reader)
    } catch (e) {
      this.#broken(e)
    }
  }

  /** Returns the error of a session that nobody ended. */
  #lost (cause: unknown): SwarmError {
    return this.#control
      ? new SwarmError(Code.PEER_GONE, 'the connection was lost', { cause })
      : new SwarmError(Code.PEER_UNREACHABLE, `no answer from ${this.gateway.origin}`, { cause })
  }

  /**
   * A stream that is needed failed. Why is told by the end of the session, which comes on another
   * stream.
   */
  #broken (e: unknown): void {
    if (this.#error) return
    if (e instanceof SwarmError || !this.#transport) return this.#fail(e instanceof SwarmError ? e : this.#lost(e))
    this.#endAfter(LAST_WORD, this.#lost(e))
  }

  /** Ends it by itself in a while, unless it ends before. */
  #endAfter (ms: number, error: SwarmError): void {
    this.#cancelEnd()
    if (!this.#error) this.#cancelEnd = this.clock.after(ms, () => this.#fail(error))
  }

  /** Ends it by itself. */
  #fail (error: SwarmError): void {
    if (this.#error) return
    this.#end(error)
    this.#host.ended(this, error)
  }

  #end (error: SwarmError): void {
    if (this.#error) return
    this.#error = error
    this.#abort.abort()
    this.#cancelWatch()
    this.#cancelEnd()
    if (!this.#greeted) this.gateway.failed()
    try {
      this.#transport?.close(error.remote ? {} : { closeCode: error.code, reason: error.reason })
    } catch {} // it has ended already
    const end = error.code === Code.NONE && !error.remote ? error : new SwarmError(Code.PEER_GONE, 'the connection was lost', { cause: error })
    for (const c of [...this.#circuits.values()]) c.lost(end)
    for (const m of this.#memberships.values()) m.gone.resolve()
  }

  #closeIfDrained (): void {
    if (this.#retired && !this.#going && this.#circuits.size === 0) this.#endAfter(DELIVERY, new SwarmError(Code.NONE, 'moved'))
  }

  #send (frame: Uint8Array): void {
    this.#outbox.push(frame)
    this.#wake()
  }

  /** Writes what the outbox has, all that this turn of the event loop puts there in one go. */
  #wake (): void {
    if (!this.#control || this.#flushing || this.#error) return
    this.#flushing = true
    void this.#flush(this.#control)
  }

  async #flush (control: Writer): Promise<void> {
    try {
      await undefined
      for (let b; (b = this.#outbox.take()).length > 0;) await control.write(b)
      this.#flushing = false
    } catch (e) {
      this.#broken(e)
    }
  }

  /** Asks the gateway for signs of life, with `ask` at once. */
  #watch (ask?: boolean): void {
    if (this.#error) return
    this.#cancelWatch()
    const now = this.clock.now()
    const sign = this.#life!.check(now, this.#circuits.size > 0, ask)
    if (sign === 'lost') return this.#fail(new SwarmError(Code.IDLE, 'the gateway is silent'))
    this.#cancelWatch = this.clock.after(this.#life!.deadline - now, () => this.#watch())
    if (sign === 'silent') this.#host.silent(this)
    if (sign !== 'quiet') return
    this.#asked = now
    this.#send(PING)
  }

  async #readControl (reader: Reader): Promise<void> {
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
      case Ping.type:
        this.#outbox.pong(Ping.parse(payload).data)
        return this.#wake()
      case Pong.type:
        Pong.parse(payload)
        this.#rtt = this.clock.now() - this.#asked
        return
      default: refuse()
    }
  }

  #greet (m: Of<typeof Welcome>): void {
    if (m.version !== VERSION) throw new SwarmError(Code.VERSION, `the gateway chose version ${m.version}`)
    this.#greeted = true
    this.#rtt = this.clock.now() - this.#asked
    this.gateway.renew(m.hashes)
    this.#host.welcomed(this)
  }

  #onJoined (m: Of<typeof Joined>): void {
    const of = this.#memberships.get(m.topic)
    if (!of) return
    of.held = true
    of.unanswered = Math.max(0, of.unanswered - 1)
    of.topic?.taken()
  }

  /**
   * LEFT is the last word on a topic unless a JOIN is under way, which the gateway takes for a new
   * one.
   */
  #onLeft ({ topic, code, reason }: Of<typeof Left>): void {
    const of = this.#memberships.get(topic)
    if (!of) return
    if (!of.held) of.unanswered-- // it is the answer to a JOIN
    of.held = false
    of.gone.resolve()
    of.gone = deferred()
    if (of.unanswered > 0) return
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
  async #takeStreams (transport: WebTransport): Promise<void> {
    try {
      const streams: ReadableStreamDefaultReader<WebTransportBidirectionalStream> = transport.incomingBidirectionalStreams.getReader()
      for (;;) {
        const { value, done } = await streams.read()
        if (done) return
        void this.#takeStream(value)
      }
    } catch {} // the session is over, and says so itself
  }

  /**
   * Makes a circuit of a stream that the gateway opened. One that ends before its first frame ends
   * alone.
   */
  async #takeStream ({ readable, writable }: WebTransportBidirectionalStream): Promise<void> {
    let code: number = Code.NONE
    try {
      const reader = readable.getReader({ mode: 'byob' })
      const frame = await readFrame(reader)
      if (typeof frame !== 'string') {
        if (frame.type === Peer.type) {
          const m = Peer.parse(frame.payload)
          await this.#adopted.promise // a stream may overtake WELCOME
          return this.#admit(m, reader, writable)
        }
        code = Code.PROTOCOL
      }
      reset(reader, writable, code)
    } catch (e) {
      ignore(writable.abort())
      if (e instanceof SwarmError) this.#fail(e)
    }
  }

  /** Takes a circuit, which has a stream already or is an offer. */
  #admit (m: Of<typeof Peer>, reader?: Reader, writable?: WritableStream): void {
    if (this.#error) return
    const topic = this.#memberships.get(m.topic)?.topic
    const account = topic && this.#budget.open(this.clock.now())
    if (!account) {
      const code = topic ? Code.CIRCUIT_LIMIT : Code.LEFT
      return reader ? reset(reader, writable!, code) : this.decline(m.circuit, code)
    }
    const c = this.#circuit(topic, m, account)
    if (reader) c.attach(reader, writable!.getWriter())
    if (reader || (topic.options.offerOnly && !c.further)) topic.push(c)
    else c.accept().then(() => topic.push(c), () => {}) // it has ended, and nobody has seen it
  }

  /** Makes the circuit that PEER tells of. */
  #circuit (topic: JoinedTopic, m: Of<typeof Peer>, account: Account): Circuit {
    if (this.#circuits.has(m.circuit)) throw new SwarmError(Code.PROTOCOL, 'a circuit came twice')
    const c = new Circuit(this, topic, m, account)
    this.#circuits.set(m.circuit, c)
    if (this.#circuits.size === 1) this.#watch()
    return c
  }
}
