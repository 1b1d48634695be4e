import { Code } from '../codes.js'
import { deferred } from '../deferred.js'
import { isCode } from '../errors.js'
import { isLoopback } from '../gateway.js'
import { hex } from '../hex.js'
import type { Link, Pair } from './link.js'

const MESSAGE = 65536 // most bytes of a message, and the window that a stream begins with
const CLOSE = 4000 // what a code is added to where a WebSocket is closed with it
const OPENED = 10_000 // ms that a further WebSocket has to come about
const ENDED = 5000 // ms after which a stream that has ended is closed, if the gateway has not
const NEWS = 1000 // ms that the reason of a session's end may come after that of a stream

/** Calls `f` in `ms` milliseconds, unless the function that it returns was called before. */
type After = (ms: number, f: () => void) => () => void

/** An error that tells a code as WebTransport's do; undefined is none. */
class StreamError extends Error {
  readonly streamErrorCode: number | null
  constructor (code?: number) {
    super('the stream has ended')
    this.streamErrorCode = code ?? null
  }
}

/** Returns the code that a stream is aborted with. */
function codeOf (reason: unknown): number {
  const code = (reason as StreamError | null | undefined)?.streamErrorCode
  return isCode(code) ? code : Code.NONE
}

/** Returns the code that a WebSocket was closed with, or undefined if it was lost. */
function closeCode ({ code }: CloseEvent): number | undefined { return code < CLOSE ? undefined : code - CLOSE }

/**
 * A session over WebSocket (docs/PROTOCOL.md, 2.4), with the members of WebTransport that a
 * session uses: each stream is a WebSocket of its own.
 */
export class WebSocketTransport implements Link {
  readonly transport = 'websocket'
  readonly ready: Promise<undefined>
  readonly closed: Promise<WebTransportCloseInfo>
  /** Gives none: only clients open streams. */
  readonly incomingBidirectionalStreams = new ReadableStream<WebTransportBidirectionalStream>()
  readonly #url: string
  readonly #after: After
  readonly #key = hex(crypto.getRandomValues(new Uint8Array(16)))
  readonly #closed = deferred<WebTransportCloseInfo>()
  readonly #streams = new Set<SocketStream>()
  readonly #control: SocketStream
  #begun = false // the control stream is somebody's
  #over = false

  /**
   * Connects to a URL, of WebSocket or with http in its place. It throws a TypeError if that would
   * be without TLS to another computer.
   */
  constructor (url: string, after: After) {
    this.#url = url.replace(/^http/, 'ws')
    const { protocol, hostname } = new URL(this.#url)
    if (protocol !== 'wss:' && !isLoopback(hostname)) throw new TypeError(`${url}: want wss, or ws on loopback`)
    this.#after = after
    this.closed = this.#closed.promise
    this.#control = this.#new('session', Infinity)
    this.ready = this.#control.opened
    this.#control.lost.promise.then(e => {
      const code = closeCode(e)
      this.#end()
      if (code === undefined) this.#closed.reject(new StreamError())
      else this.#closed.resolve({ closeCode: code, reason: e.reason })
    })
  }

  /** Returns the control stream at first, and a further stream when its WebSocket is open. */
  async createBidirectionalStream (): Promise<Pair> {
    const stream = this.#begun ? this.#new('stream', MESSAGE) : this.#control
    this.#begun = true
    const cancelTimer = this.#after(OPENED, () => stream.end(Code.BUSY))
    try {
      await stream.opened
    } finally {
      cancelTimer()
    }
    return stream as Pair
  }

  /** Ends the session, and with it all streams. */
  close ({ closeCode = Code.NONE, reason = '' }: WebTransportCloseInfo = {}): void {
    if (this.#over) return
    const { read } = new TextEncoder().encodeInto(reason, new Uint8Array(123)) // most bytes of a reason
    this.#control.close(closeCode, reason.slice(0, read))
    this.#end()
    this.#closed.resolve({ closeCode, reason })
  }

  #end (): void {
    this.#over = true
    for (const stream of this.#streams) stream.end()
  }

  #new (kind: string, window: number): SocketStream {
    if (this.#over) throw new StreamError()
    const stream = new SocketStream(new WebSocket(this.#url, ['swarmgate']), `${kind} ${this.#key}`, window, this.#after)
    this.#streams.add(stream)
    void stream.lost.promise.then(() => this.#streams.delete(stream))
    return stream
  }
}

/** One WebSocket as a stream. */
class SocketStream {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<BufferSource>
  /** Resolves when the WebSocket is open, rejects if it never is. */
  readonly opened: Promise<undefined>
  /** Resolves when the WebSocket is over. */
  readonly lost = deferred<CloseEvent>()
  readonly #socket: WebSocket
  readonly #after: After
  readonly #opened = deferred<undefined>()
  #source!: ReadableByteStreamController
  #sink!: WritableStreamDefaultController
  #window: number // how many bytes may be sent in all
  #sent = 0
  #room = deferred() // for more bytes
  #stopped = false // what comes is dropped
  #eof = false // the gateway sends no more
  #fin = false // nothing is sent any more
  #cancelTimer = () => {}

  constructor (socket: WebSocket, first: string, window: number, after: After) {
    this.#socket = socket
    this.#after = after
    this.#window = window
    this.opened = this.#opened.promise
    socket.binaryType = 'arraybuffer'
    socket.onopen = () => {
      socket.send(first)
      this.#opened.resolve(undefined)
    }
    socket.onmessage = ({ data }) => typeof data === 'string' ? this.#signal(data) : this.#receive(new Uint8Array(data))
    socket.onclose = e => {
      this.lost.resolve(e)
      this.#cancelTimer()
      if (this.#eof && this.#fin) return
      const code = closeCode(e)
      // The end of the session may come a moment later, and says why.
      if (code === undefined && window < Infinity) this.#cancelTimer = after(NEWS, () => this.end(Code.PEER_GONE))
      else this.end(code)
    }
    this.readable = new ReadableStream({
      type: 'bytes',
      start: c => { this.#source = c },
      cancel: reason => {
        this.#stopped = true
        this.#say(`stop ${codeOf(reason)}`)
        this.#eof = true
        this.#half()
      }
    })
    this.writable = new WritableStream({
      start: c => {
        this.#sink = c
        c.signal.addEventListener('abort', () => this.#finish(`reset ${codeOf(c.signal.reason)}`)) // also while a write waits
      },
      write: chunk => this.#write(chunk),
      close: () => this.#finish('fin')
    })
  }

  /** Closes the WebSocket. */
  close (code: number, reason?: string): void {
    this.#socket.close(CLOSE + (code < 1000 ? code : Code.INTERNAL), reason)
  }

  /** Ends both directions, with the code if there is one, and the WebSocket. */
  end (code?: number): void {
    const error = new StreamError(code)
    this.#cancelTimer()
    this.#opened.reject(error)
    if (!this.#eof) this.#source.error(error)
    this.#stop(error)
    this.#stopped = this.#eof = true
    this.#socket.close()
  }

  /** Nothing is sent any more: a write that waits fails. */
  #stop (error: StreamError): void {
    if (this.#fin) return
    this.#fin = true
    this.#sink.error(error)
    this.#room.reject(error)
  }

  #say (signal: string): void { if (this.#socket.readyState === 1) this.#socket.send(signal) }

  async #write (chunk: BufferSource): Promise<void> {
    const bytes = ArrayBuffer.isView(chunk) ? new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength) : new Uint8Array(chunk)
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(at + MESSAGE, at + this.#window - this.#sent, bytes.length)
      if (end === at) {
        await this.#room.promise
        continue
      }
      this.#socket.send(bytes.subarray(at, end))
      this.#sent += end - at
      at = end
    }
  }

  /** Ends what is sent. */
  #finish (signal: string): void {
    if (this.#fin) return
    this.#say(signal)
    this.#fin = true
    this.#room.reject(new StreamError())
    this.#half()
  }

  #receive (bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#stopped) return
    if (this.#eof || bytes.length > MESSAGE) return this.#fault(this.#eof ? Code.PROTOCOL : Code.TOO_LARGE)
    if (bytes.length > 0) this.#source.enqueue(bytes)
  }

  #signal (text: string): void {
    const [, word, digits] = /^(fin|reset|stop|window)(?: (\d{1,20}))?$/.exec(text) ?? []
    if (!word) return /^(fin|reset|stop|window)\b/.test(text) ? this.#fault(Code.PROTOCOL) : undefined
    const n = Number(digits)
    if ((word === 'fin') !== (digits === undefined) || (/^[rs]/.test(word) && !isCode(n))) return this.#fault(Code.PROTOCOL)
    switch (word) {
      case 'window':
        this.#window = Math.max(this.#window, n)
        this.#room.resolve()
        this.#room = deferred()
        return
      case 'stop':
        this.#stop(new StreamError(n))
        return this.#half()
    }
    if (this.#eof) return
    this.#eof = true
    if (word === 'reset') this.#source.error(new StreamError(n))
    else {
      this.#source.close()
      this.#source.byobRequest?.respond(0)
    }
    this.#half()
  }

  /** The gateway does not keep to the protocol. */
  #fault (code: number): void {
    this.close(code)
    this.end(code)
  }

  /** A direction has ended; after both the WebSocket does. */
  #half (): void {
    if (!this.#eof || !this.#fin) return
    this.#cancelTimer()
    this.#cancelTimer = this.#after(ENDED, () => this.#socket.close(1000))
  }
}
