import type { Offer, Peer, PeerInfo } from './api.js'
import type { Clock } from './clock.js'
import { Code } from './codes.js'
import type { Account } from './credit.js'
import { deferred, ignore } from './deferred.js'
import { SwarmError, codeOf, isCode } from './errors.js'
import { CLIENT, FURTHER, INITIATOR } from './frames.js'
import type { Of, Peer as PeerFrame } from './frames.js'
import { hex } from './hex.js'
import type { Stay } from './stay.js'
import type { Stream } from './link/stream.js'

const LINGER = 30_000 // ms that a circuit which was closed waits for its peer's end
const NEWS = 1000 // ms that the reason of an end may come after it, on another stream
const CHUNK = 65536 // bytes read at once where the page brings no buffer

/** What a circuit has done by its session. */
export interface CircuitHost {
  readonly clock: Clock
  readonly control: {
    /** Tells the gateway a code that a reset cannot carry, or that there is no stream for. */
    decline: (circuit: number, code: number) => void
  }
  /** Opens the stream of an offered circuit, or ends the circuit. */
  accept: (c: Circuit) => Promise<void>
  /** Counts bytes that were read. */
  consumed: (c: Circuit, n: number) => void
  /** All bytes were read. */
  settle: (c: Circuit) => void
  /** The circuit has ended. */
  remove: (c: Circuit) => void
}

/** What a circuit has done by its topic. */
export interface CircuitTopic {
  /** Its key. */
  readonly hex: string
  readonly host: {
    /** Opens one more circuit with the peer of `c`. */
    connect: (c: Circuit, signal?: AbortSignal) => Promise<Peer>
  }
  /** The circuit has a stream; `asked` says that the page knows it already. */
  enter: (c: Circuit, asked?: boolean) => void
  /** The circuit has ended. */
  drop: (c: Circuit) => void
}

/** A circuit: a stream of a session, its credit, and what the page sees of it. */
export class Circuit extends EventTarget implements Peer {
  declare readonly id: string
  declare readonly network: string
  declare readonly address: string
  declare readonly initiator: boolean
  declare readonly client: boolean
  declare readonly further: boolean
  declare readonly topic: string
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array | ArrayBuffer | ArrayBufferView>

  /** Who it is for: its topic, or the one that was joined anew after that was left. */
  joined: CircuitTopic
  /** PEER, which tells of it. */
  readonly frame: Of<typeof PeerFrame>
  /** That of its peer, from when it has a stream. */
  declare stay: Stay<Circuit>
  /** Its credit. */
  readonly account: Account
  /** How it ended, undefined before that and after a regular end. */
  error: SwarmError | undefined

  readonly #session: CircuitHost
  readonly #info: PeerInfo
  readonly #closed = deferred()
  #stream: Stream | undefined
  #source!: ReadableByteStreamController
  #sink!: WritableStreamDefaultController

  #lent?: boolean // the page's buffer, to a read that is under way
  #spare = new ArrayBuffer(0) // a buffer that nobody has
  #unwritten = 0 // chunks that the page has written and the stream has not taken
  #closing?: boolean // by the page
  #settled?: boolean // the page was told of the end
  #released?: boolean // the session has its place again
  #eof?: boolean // all was read
  #fin?: boolean // all was written
  #finishing?: boolean // the end is being written
  #cancelTimer = () => {}

  /** Makes a circuit that has a place in `session` and no stream yet. */
  constructor (session: CircuitHost, joined: CircuitTopic, m: Of<typeof PeerFrame>, account: Account) {
    super()
    this.#session = session
    this.joined = joined
    this.account = account
    this.frame = m
    const { network, address, topic } = m
    const has = (flag: number) => (m.flags & flag) !== 0
    this.#info = { id: hex(m.id), network, address, topic, initiator: has(INITIATOR), client: has(CLIENT), further: has(FURTHER) }
    Object.assign(this, this.#info)
    this.readable = new ReadableStream({
      type: 'bytes',
      start: c => { this.#source = c },
      pull: () => this.#pull(),
      cancel: reason => this.abort(codeOf(reason))
    })
    this.writable = new WritableStream({
      start: c => {
        this.#sink = c
        // Unlike a sink's abort(), it does not wait for a write that is under way. It comes before
        // the stream knows of it.
        c.signal.addEventListener('abort', () => queueMicrotask(() => this.abort(codeOf(c.signal.reason))))
      },
      write: chunk => this.#write(chunk),
      close: () => this.#finish()
    }, {
      highWaterMark: 1,
      size: () => {
        this.#unwritten++ // each write asks once
        return 1
      }
    })
  }

  get closed (): Promise<void> { return this.#closed.promise }

  get streams (): AsyncIterable<Peer> { return this.stay.streams }

  open ({ signal }: { signal?: AbortSignal } = {}): Promise<Peer> { return this.joined.host.connect(this, signal) }

  /**
   * Gives the circuit its stream, whose first frame is gone; `asked` says that the page has opened
   * it.
   */
  attach (stream: Stream, asked?: boolean): void {
    this.#stream = stream
    stream.reader.closed.catch(e => this.#failed(e))
    stream.writer.closed.catch(e => this.#failed(e))
    this.joined.enter(this, asked)
  }

  /** Belongs to a topic that is joined anew from now on, unless the page has ended it. */
  rejoin (joined: CircuitTopic): void {
    if (this.topic !== joined.hex || this.joined === joined || !this.stay || this.error || this.#closing) return
    this.joined = joined
    joined.enter(this, true)
  }

  /** Whether it has a stream. */
  get attached (): boolean { return this.#stream !== undefined }

  close (): void {
    if (this.#settled || this.#closing) return
    this.#closing = true
    this.#cancelTimer()
    this.#cancelTimer = this.#session.clock.after(LINGER, () => this.abort())
    if (!this.#eof) {
      // A BYOB read that is under way can only fail: its buffer is with the stream.
      if (this.#lent) this.#source.error(closedHere())
      else {
        this.#source.close()
        this.#source.byobRequest?.respond(0)
      }
      void this.#drain()
    }
    this.#finishWriting()
  }

  abort (code: number = Code.NONE): void {
    if (!isCode(code)) throw new RangeError('not a code')
    if (this.#settled) return
    this.#settle(new SwarmError(code, 'aborted here'))
    if (this.#stream?.carries(code) && !this.#finishing) return this.#end(code)
    // A code that a reset does not carry, or a direction that has ended and cannot be reset, is
    // told on the control stream. The gateway may end the circuit by that; else its stream ends a
    // moment later.
    this.#session.control.decline(this.frame.circuit, code)
    if (this.attached && !this.#released) this.#cancelTimer = this.#session.clock.after(NEWS, () => this.#end(code))
    else this.#end(code)
  }

  /** Returns what the page decides about. */
  offer (): Offer {
    let peer: Promise<Peer> | undefined
    return {
      ...this.#info,
      accept: () => peer ??= this.accept(),
      decline: (code = Code.DECLINED) => { if (!peer) this.abort(code) }
    }
  }

  /** Returns the circuit with its stream, which is opened if it was offered. */
  async accept (): Promise<Circuit> {
    if (!this.attached && !this.error) await Promise.race([this.#session.accept(this), this.closed])
    if (this.error) throw this.error
    return this
  }

  [Symbol.asyncIterator] (): AsyncGenerator<Uint8Array, void> { return chunks(this.readable) }

  /** Ends it at once, both ways. The error is the page's, its code the gateway's. */
  end (error: SwarmError): void {
    this.#settle(error)
    this.#end(error.code)
  }

  /**
   * Ends it with its session, whose end is that of the stream too: Chromium's pages crash if a
   * stream is reset while its session is being closed.
   */
  lost (error: SwarmError): void {
    this.#settle(error)
    if (!this.#released) this.#release()
  }

  /** Ends the stream and gives back the place. */
  #end (code: number): void {
    if (this.#released) return
    this.#stream?.reset(code)
    this.#release()
  }

  #release (): void {
    this.#released = true
    this.#cancelTimer()
    this.#session.remove(this)
  }

  /** Tells the page how it ended; undefined is a regular end. */
  #settle (error?: SwarmError): void {
    if (this.#settled) return
    this.#settled = true
    this.#cancelTimer()
    this.error = error
    if (error) {
      this.#source.error(error)
      this.#sink.error(error)
    }
    if (error && (error.code !== Code.NONE || error.remote)) this.#closed.reject(error)
    else this.#closed.resolve()
    this.joined.drop(this)
    this.dispatchEvent(new Event('close'))
  }

  /** A direction has ended; after both the circuit has. */
  #half (): void {
    if (!this.#eof || !this.#fin || this.#settled) return
    if (this.#closing) this.#sink.error(closedHere())
    this.#settle()
    this.#release()
  }

  /**
   * The stream failed. What it says is not always the reason: a lost session is told by the
   * session, Chromium's writer may fail before its reader knows the code, and a code that the
   * browser cannot carry comes by WITHDRAW.
   */
  #failed (e: unknown): void {
    if (this.#settled) return this.#end(Code.NONE)
    const code = (e as Partial<WebTransportError> | null)?.streamErrorCode
    if (isCode(code) && code !== Code.NONE) return this.end(new SwarmError(code, 'the circuit was reset', { remote: true }))
    this.#cancelTimer()
    this.#cancelTimer = this.#session.clock.after(NEWS, () => {
      this.end(new SwarmError(Code.PEER_RESET, 'the circuit was reset', { remote: true, cause: e }))
    })
  }

  /** Reads into `view` and counts it as read. */
  async #read (view: Uint8Array<ArrayBuffer>) {
    const { value, done } = await this.#stream!.reader.read(view)
    if (value?.byteLength && !this.#closing) this.#session.consumed(this, value.byteLength)
    if (done) this.#session.settle(this)
    return { value, done }
  }

  async #pull (): Promise<void> {
    const request = this.#source.byobRequest
    const { buffer, byteOffset, byteLength } = request?.view ?? { buffer: this.#spare, byteOffset: 0, byteLength: CHUNK }
    this.#lent = request !== null
    try {
      const view = new Uint8Array(buffer.byteLength > 0 ? buffer : new ArrayBuffer(CHUNK), byteOffset, byteLength)
      const { value, done } = await this.#read(view)
      if (this.#closing || this.#settled || !value) return
      this.#eof = done
      if (done) this.#source.close()
      if (request) request.respondWithNewView(value)
      else if (done) this.#source.byobRequest?.respond(0) // of a reader that came after this read had begun
      else this.#source.enqueue(this.#own(value))
      this.#half()
    } catch (e) {
      this.#failed(e)
    } finally {
      this.#lent = false
    }
  }

  /** Returns what was read, as the page's own: much of it with its buffer, a little as a copy. */
  #own (value: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const copy = value.length < CHUNK / 8
    this.#spare = copy ? value.buffer : new ArrayBuffer(0)
    return copy ? value.slice() : value
  }

  /** Throws away what comes until the end. */
  async #drain (): Promise<void> {
    try {
      while (!this.#eof) this.#eof = (await this.#read(new Uint8Array(CHUNK))).done
      this.#half()
    } catch (e) {
      this.#failed(e)
    }
  }

  async #write (chunk: unknown): Promise<void> {
    // A stream that is given something else fails, and leaves the other end in the dark.
    if (!ArrayBuffer.isView(chunk) && !(chunk instanceof ArrayBuffer)) this.end(new SwarmError(Code.INTERNAL, 'not bytes: write a Uint8Array'))
    if (this.#finishing) throw closedHere()
    await this.#sent(this.#stream!.writer.write(chunk as Uint8Array<ArrayBuffer>))
    this.#unwritten--
    this.#finishWriting()
  }

  /** Ends what is written after `close`, once all is. */
  #finishWriting (): void {
    if (!this.#closing || this.#unwritten > 0) return
    ignore(this.#finish())
  }

  /** Writes the end. */
  async #finish (): Promise<void> {
    if (this.#finishing) return
    this.#finishing = true
    await this.#sent(this.#stream!.writer.close())
    this.#fin = true
    this.#half()
  }

  /**
   * Waits for a write, or for the end of the circuit: what Firefox writes to a stream that the
   * other side has reset may neither succeed nor fail.
   */
  async #sent (written: Promise<void>): Promise<void> {
    await Promise.race([written, this.closed]).catch(e => {
      this.#failed(e)
      return this.closed // an error that says why
    })
    if (this.error) throw this.error
  }
}

function closedHere (): SwarmError { return new SwarmError(Code.NONE, 'closed here') }

/** Yields what a stream has, and gives the stream back. */
async function * chunks (readable: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void> {
  const reader = readable.getReader()
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
