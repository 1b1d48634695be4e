import type { Peer, PeerInfo } from 'swarmgate'
import { MessageDecoder, MessageError } from 'swarmgate/messages'
import { ANSWER, CALL, MAX_PAYLOAD, concat, encode, parse } from './messages.js'
import type { Message } from './messages.js'
import { Meter } from './meter.js'

const MAX_QUEUED = 1 << 20 // bytes of messages for a console that does not read

/**
 * What is at the other end: `unknown` until it has said something, `console` after it has called
 * or answered (docs/MESSAGES.md), and anything else is `raw`: its bytes are shown and it is sent
 * what somebody types.
 */
export type Kind = 'unknown' | 'console' | 'raw'

/** A circuit with a peer, sealed or not. */
export interface Circuit extends PeerInfo, Pick<Peer, 'readable' | 'writable' | 'closed' | 'close' | 'abort'> {
  /** The static key of the peer if it is sealed. */
  readonly key?: Uint8Array
}

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

/**
 * One circuit: finds out what is at its other end, reads all that comes, and counts both ways.
 */
export class Link {
  readonly peer: Circuit
  readonly received: Meter
  readonly sent: Meter
  readonly since = Date.now()
  kind: Kind = 'unknown'
  error: unknown
  ended = false
  readonly #events: LinkEvents
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  #rest: Uint8Array = new Uint8Array(0) // read, and not looked at
  #queued = 0 // bytes of messages that the circuit has not taken

  constructor (peer: Circuit, events: LinkEvents) {
    this.peer = peer
    this.#events = events
    this.received = new Meter(performance.now())
    this.sent = new Meter(performance.now())
    this.#writer = peer.writable.getWriter()
    this.#writer.closed.catch(() => {}) // peer.closed says why
    this.#reader = peer.readable.getReader()
  }

  /**
   * Lives as long as the circuit. `quiet` is for topics of other programs: nothing is sent unless
   * somebody types it.
   */
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

  /**
   * Sends bytes that somebody typed: the peer is raw from now on. It reports whether the circuit
   * took them.
   */
  async type (b: Uint8Array): Promise<boolean> {
    if (this.kind === 'unknown') this.#become('raw')
    return await this.write(b)
  }

  /**
   * Sends a message to a console, unless too much waits for it already. It reports whether the
   * circuit took it.
   */
  async say (m: Message): Promise<boolean> {
    if (this.#queued > MAX_QUEUED) return false
    const b = encode(m)
    this.#queued += b.length
    const taken = await this.write(b)
    this.#queued -= b.length
    return taken
  }

  /**
   * Writes bytes, and reports whether the circuit took them. It resolves when there is room for
   * more.
   */
  async write (b: Uint8Array): Promise<boolean> {
    try {
      await this.#writer.write(b)
    } catch {
      return false // peer.closed says why
    }
    this.sent.add(b.length)
    return true
  }

  /** Ends the circuit: what was written reaches the peer. */
  close (): void { this.peer.close() }

  async #read (quiet: boolean): Promise<void> {
    try {
      if (!quiet && this.peer.client) await this.#meet()
      else this.#become('raw')
      if (this.kind === 'console') await this.#listen()
      for (let b; (b = await this.#next());) {
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
    if (!await this.#skip(line)) return this.#become('raw')
    if (this.kind !== 'unknown') return this.#events.bytes(this, line) // it was sent what somebody typed
    if (!initiator) void this.write(ANSWER)
    this.#become('console')
  }

  /**
   * Takes `line` if it comes next, and reports whether it did. It decides with the first byte
   * that is another one.
   */
  async #skip (line: Uint8Array): Promise<boolean> {
    let seen: Uint8Array = new Uint8Array(0)
    let same = true
    for (let b; same && seen.length < line.length && (b = await this.#next());) {
      seen = concat(seen, b)
      same = seen.subarray(0, line.length).every((x, i) => x === line[i])
    }
    const whole = same && seen.length >= line.length
    this.#rest = whole ? seen.subarray(line.length) : seen
    return whole
  }

  /** Reads messages until the end, or until what comes is not a message. */
  async #listen (): Promise<void> {
    const decoder = new MessageDecoder({ maxSize: MAX_PAYLOAD })
    try {
      for (let b; (b = await this.#next());) {
        decoder.push(b)
        for (let m; (m = decoder.next());) {
          const said = parse(m)
          if (said) this.#events.message(this, said)
        }
      }
    } catch (e) {
      if (!(e instanceof MessageError)) throw e
      this.#rest = decoder.rest()
      this.#become('raw')
    }
  }

  /** Returns what comes next, or undefined at the end. */
  async #next (): Promise<Uint8Array | undefined> {
    if (this.#rest.length > 0) {
      const rest = this.#rest
      this.#rest = new Uint8Array(0)
      return rest
    }
    const { value } = await this.#reader.read()
    if (value) this.received.add(value.length)
    return value
  }

  #become (kind: Kind): void {
    if (this.kind === kind) return
    this.kind = kind
    this.#events.kind(this)
  }
}
