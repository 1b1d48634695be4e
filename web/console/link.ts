import type { Peer } from 'swarmgate'
import { ANSWER, CALL, FramingError, HEAD, encode, parse, parseHead } from './framing.js'
import type { Message } from './framing.js'
import { Input } from './input.js'
import { Meter } from './meter.js'

const MAX_QUEUED = 1 << 20 // bytes of messages for a console that does not read

/**
 * What is at the other end: `unknown` until it has said something, `console` after the lines of FRAMING.md, and anything else is
 * `raw`: its bytes are shown and it is sent what somebody types.
 */
export type Kind = 'unknown' | 'console' | 'raw'

/** What a link tells. None of it is called before `run`. */
export interface LinkEvents {
  /** `link.kind` has changed. */
  kind: (link: Link) => void
  /** A raw peer has sent bytes. */
  bytes: (link: Link, b: Uint8Array) => void
  /** A console has said something. */
  message: (link: Link, m: Message) => void
  /** The peer sends no more; it may still read. */
  eof: (link: Link) => void
  /** It is over. `link.error` is why, unless it is a regular end. */
  ended: (link: Link) => void
}

/** One circuit: finds out what is at its other end, reads all that comes, and counts both ways. */
export class Link {
  readonly peer: Peer
  readonly received: Meter
  readonly sent: Meter
  readonly since = Date.now()
  kind: Kind = 'unknown'
  error: unknown
  ended = false
  readonly #events: LinkEvents
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  readonly #input: Input
  #queued = 0 // bytes of messages that the circuit has not taken

  constructor (peer: Peer, events: LinkEvents) {
    this.peer = peer
    this.#events = events
    this.received = new Meter(performance.now())
    this.sent = new Meter(performance.now())
    this.#writer = peer.writable.getWriter()
    this.#writer.closed.catch(() => {}) // peer.closed says why
    this.#input = new Input(peer.readable, n => this.received.add(n))
  }

  /** Lives as long as the circuit. `quiet` is for topics of other programs: nothing is sent unless somebody types it. */
  async run (quiet = false): Promise<void> {
    void this.#read(quiet)
    try {
      await this.peer.closed
    } catch (e) {
      this.error = e
    }
    this.ended = true
    this.#events.ended(this)
  }

  /** Sends bytes that somebody typed: the peer is raw from now on. It reports whether the circuit took them. */
  async type (b: Uint8Array): Promise<boolean> {
    if (this.kind === 'unknown') this.#become('raw')
    return await this.write(b)
  }

  /** Sends a message to a console, unless too much waits for it already. It reports whether the circuit took it. */
  async say (m: Message): Promise<boolean> {
    if (this.#queued > MAX_QUEUED) return false
    const b = encode(m)
    this.#queued += b.length
    const taken = await this.write(b)
    this.#queued -= b.length
    return taken
  }

  /** Writes all parts, with nothing between them, and reports whether the circuit took them. It resolves when there is room for more. */
  async write (...parts: Uint8Array[]): Promise<boolean> {
    try {
      await Promise.all(parts.map(p => this.#writer.write(p)))
    } catch {
      return false // peer.closed says why
    }
    for (const p of parts) this.sent.add(p.length)
    return true
  }

  /** Ends the circuit: what was written reaches the peer. */
  close (): void { this.peer.close() }

  async #read (quiet: boolean): Promise<void> {
    try {
      if (!quiet && this.peer.client) await this.#meet()
      else this.#become('raw')
      if (this.kind === 'console') await this.#listen()
      for (let b; (b = await this.#input.read());) {
        this.#events.bytes(this, b)
      }
      if (!this.ended) this.#events.eof(this)
    } catch {
      // the circuit was reset or lost: peer.closed says why
    }
  }

  /** Finds out whether the peer is a console. Whoever is the initiator asks. */
  async #meet (): Promise<void> {
    const { initiator } = this.peer
    if (initiator) void this.write(CALL)
    const line = initiator ? ANSWER : CALL
    if (!await this.#input.skip(line)) return this.#become('raw')
    if (this.kind !== 'unknown') return this.#events.bytes(this, line) // it was sent what somebody typed
    if (!initiator) void this.write(ANSWER)
    this.#become('console')
  }

  /** Reads messages until the end, or until what comes is none. */
  async #listen (): Promise<void> {
    try {
      for (let head; (head = await this.#input.take(HEAD));) {
        const { type, length } = parseHead(head)
        const payload = await this.#input.take(length)
        if (!payload) return
        const m = parse(type, payload)
        if (m) this.#events.message(this, m)
      }
    } catch (e) {
      if (!(e instanceof FramingError)) throw e
      this.#become('raw')
    }
  }

  #become (kind: Kind): void {
    if (this.kind === kind) return
    this.kind = kind
    this.#events.kind(this)
  }
}
