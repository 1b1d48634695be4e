// WebTransport in memory, with the gateway's side for a test to play by docs/PROTOCOL.md.
import assert from 'node:assert/strict'
import { Code } from '../src/codes.js'
import { deferred } from '../src/deferred.js'
import * as frames from '../src/frames.js'
import type { Message } from '../src/frames.js'
import { readFrame } from '../src/frames.js'
import type { Platform } from '../src/platform.js'
import { FakeClock } from './clock.js'
import { messages } from './messages.js'

/** Lets promises and streams go on until nothing more happens by itself. */
export async function settled (): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise(resolve => setImmediate(resolve))
}

/** As browsers have it today: a dictionary, and a byte for the code. */
export class FakeError extends Error {
  static maxCode = 255
  readonly source: string
  readonly streamErrorCode: number | null

  constructor (init: { streamErrorCode?: number, source?: string, message?: string }) {
    if (typeof init !== 'object') throw new TypeError('not a dictionary')
    super(init.message ?? '')
    this.name = 'WebTransportError'
    this.source = init.source ?? 'stream'
    this.streamErrorCode = init.streamErrorCode === undefined ? null : Math.min(init.streamErrorCode, FakeError.maxCode)
  }

  /** One that tells of a reset by the other side, which may have a larger code. */
  static reset (code: number): FakeError {
    const e = new FakeError({})
    Object.assign(e, { streamErrorCode: code })
    return e
  }
}
Object.assign(globalThis, { WebTransportError: FakeError })

/** A direction of a stream. What is written is there at once, unless the pipe is blocked. */
class Pipe {
  readonly readable: ReadableStream<Uint8Array<ArrayBuffer>>
  readonly writable: WritableStream<unknown>
  /** Code with which the reader has cancelled. */
  readonly stopped = deferred<number>()
  /** Code with which the writer has aborted. */
  readonly aborted = deferred<number>()
  /** How often it was written to. */
  writes = 0
  #source!: ReadableByteStreamController
  #sink!: WritableStreamDefaultController
  #gate = deferred()
  readonly #failed = deferred() // as a write does then that is under way

  constructor () {
    this.#gate.resolve()
    this.readable = new ReadableStream({
      type: 'bytes',
      start: c => { this.#source = c },
      cancel: e => {
        this.stopped.resolve(e?.streamErrorCode ?? 0)
        this.#sink.error(FakeError.reset(e?.streamErrorCode ?? 0))
      }
    })
    this.writable = new WritableStream({
      start: c => {
        this.#sink = c
        c.signal.addEventListener('abort', () => this.#failed.reject(c.signal.reason))
      },
      write: async chunk => {
        if (!ArrayBuffer.isView(chunk)) throw new TypeError('not bytes')
        this.writes++
        await Promise.race([this.#gate.promise, this.#failed.promise])
        const bytes = Uint8Array.from(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength))
        if (bytes.length > 0) this.#source.enqueue(bytes)
      },
      close: () => {
        this.#source.close()
        this.#source.byobRequest?.respond(0)
      },
      abort: e => this.reset(e?.streamErrorCode ?? 0)
    })
  }

  block (): void { this.#gate = deferred() }
  unblock (): void { this.#gate.resolve() }

  /** RESET_STREAM. */
  reset (code: number): void {
    this.aborted.resolve(code)
    this.#source.error(FakeError.reset(code))
  }

  /** STOP_SENDING. */
  stop (e: unknown): void {
    this.#sink.error(e)
    this.#failed.reject(e)
  }

  /** The session is gone. */
  lose (): void {
    const e = new FakeError({ source: 'session' })
    this.#source.error(e)
    this.stop(e)
  }
}

/** The gateway's side of a bidirectional stream. */
export class FakeStream {
  readonly toClient = new Pipe()
  readonly toGateway = new Pipe()
  readonly #writer = this.toClient.writable.getWriter()
  readonly #reader = this.toGateway.readable.getReader({ mode: 'byob' })

  /** The client's side. */
  get client (): { readable: ReadableStream, writable: WritableStream } {
    return { readable: this.toClient.readable, writable: this.toGateway.writable }
  }

  /** Writes bytes, or frames. */
  send (...parts: Uint8Array[]): void { for (const p of parts) this.#writer.write(p).catch(() => {}) }

  /** Sends FIN. */
  fin (): void { this.#writer.close().catch(() => {}) }

  /** Reads the next frame. */
  async frame (): Promise<{ type: string, message: any }> {
    const f = await readFrame(this.#reader)
    assert.ok(typeof f !== 'string', `the client's stream ended: ${String(f)}`)
    const m = messages.find(m => m.type === f.type)
    assert.ok(m, `the client sent a frame of type ${f.type}`)
    return { type: m.name, message: m.parse(f.payload) }
  }

  /** Reads the next frame, which has to be this one. */
  async expect<T> (of: Message<T>): Promise<T> {
    const { type, message } = await this.frame()
    assert.equal(type, messages.find(m => m.type === of.type)!.name)
    return message
  }

  /** Reads `n` bytes. */
  async bytes (n: number): Promise<Uint8Array> {
    const all: number[] = []
    while (all.length < n) {
      const { value, done } = await this.#reader.read(new Uint8Array(n - all.length))
      assert.ok(!done, `the client's stream ended after ${all.length} bytes of ${n}`)
      all.push(...value)
    }
    return Uint8Array.from(all)
  }

  /** Reads what the client sends next, or undefined after its FIN. */
  async some (): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const { value, done } = await this.#reader.read(new Uint8Array(1 << 16))
    return done ? undefined : value
  }

  /** Waits for the client's FIN, before which no more bytes come. */
  async end (): Promise<void> {
    const { value, done } = await this.#reader.read(new Uint8Array(1))
    assert.ok(done, `the client sent ${String(value)}`)
  }

  /** Resets both directions. */
  reset (code: number): void {
    this.toClient.reset(code)
    this.toGateway.stop(FakeError.reset(code))
  }

  /** The codes with which the client reset both directions: RESET_STREAM, STOP_SENDING. */
  async wasReset (): Promise<[number, number]> { return [await this.toGateway.aborted.promise, await this.toClient.stopped.promise] }

  lose (): void {
    this.toClient.lose()
    this.toGateway.lose()
  }
}

/** One dial, and the session that it becomes. */
export class FakeTransport {
  readonly ready = deferred()
  readonly closed = deferred<WebTransportCloseInfo>()
  /** What the client ended it with. */
  left: WebTransportCloseInfo | undefined
  readonly url: string
  readonly options: WebTransportOptions
  control!: FakeStream
  #incoming!: ReadableStreamDefaultController
  readonly incoming = new ReadableStream({ start: c => { this.#incoming = c } })
  readonly #opened: FakeStream[] = []
  #opening = deferred()
  readonly #streams = new Set<FakeStream>()
  #over = false
  /** No further stream can be opened by the client. */
  full = false
  /** What opening one waits for. */
  opens: Promise<void> = Promise.resolve()

  constructor (url: string, options: WebTransportOptions) {
    this.url = url
    this.options = options
  }

  /** The hashes that it was given, in hex. */
  get hashes (): string[] {
    return (this.options.serverCertificateHashes ?? []).map(h => Buffer.from(h.value as Uint8Array).toString('hex'))
  }

  /** The client's side. */
  get client (): object {
    return {
      ready: this.ready.promise,
      closed: this.closed.promise,
      incomingBidirectionalStreams: this.incoming,
      createBidirectionalStream: async () => {
        await this.ready.promise
        await this.opens
        if (this.#over || this.full) throw new FakeError({ source: 'session' })
        const s = this.#new()
        this.#opened.push(s)
        this.#opening.resolve()
        return s.client
      },
      close: (info: WebTransportCloseInfo = {}) => {
        if (this.#over) return
        this.left = info
        this.#end()
        this.closed.resolve(info)
      }
    }
  }

  #new (): FakeStream {
    const s = new FakeStream()
    this.#streams.add(s)
    return s
  }

  #end (): void {
    this.#over = true
    this.ready.reject(new FakeError({ source: 'session' }))
    for (const s of this.#streams) s.lose()
    try { this.#incoming.close() } catch {}
  }

  /** The next stream that the client opens. */
  async accept (): Promise<FakeStream> {
    while (this.#opened.length === 0) {
      await this.#opening.promise
      this.#opening = deferred()
    }
    return this.#opened.shift()!
  }

  /** Opens a stream toward the client. */
  open (...parts: Uint8Array[]): FakeStream {
    const s = this.#new()
    this.#incoming.enqueue(s.client)
    s.send(...parts)
    return s
  }

  /**
   * Lets the dial succeed, and returns the client's first frames: HELLO, and so many JOINs, which
   * have to come in one go.
   */
  async begin (joins = 0) {
    this.ready.resolve()
    this.control = await this.accept()
    const hello = await this.control.expect(frames.Hello)
    const joined = []
    for (let i = 0; i < joins; i++) joined.push(await this.control.expect(frames.Join))
    return { hello, joins: joined }
  }

  /** Says WELCOME. */
  welcome (hashes: Uint8Array[] = [], version = 1): void {
    this.control.send(frames.Welcome.encode({
      version, session: new Uint8Array(16), maxTopics: 64, maxCircuits: 256, hashes, agent: 'fake'
    }))
  }

  /** Ends the session with a code; streams fail before the client hears of it. */
  async end (closeCode: number, reason = ''): Promise<void> {
    this.#end()
    await settled()
    this.closed.resolve({ closeCode, reason })
    await settled()
  }

  /** Loses the session, or refuses the dial. */
  async lose (): Promise<void> {
    this.#end()
    this.closed.reject(new FakeError({ source: 'session' }))
    await settled()
  }
}

/** All gateways that a test has. */
export class Network {
  readonly clock = new FakeClock()
  readonly #dials: FakeTransport[] = []
  #dialed = deferred()
  /** Info documents by origin. */
  readonly documents = new Map<string, unknown>()
  /** What was fetched. */
  readonly fetched: string[] = []
  /** The network, or the page, is back. Undefined while nobody wants to know. */
  wake: (() => void) | undefined
  /** The page is left. */
  sleep: (() => void) | undefined

  readonly platform: Platform = {
    clock: this.clock,
    fetch: async (url, { redirect } = {}) => {
      this.fetched.push(String(url))
      const document = this.documents.get(new URL(String(url)).origin)
      if (document === undefined) throw new TypeError('failed to fetch')
      if (document === 'elsewhere') {
        assert.equal(redirect, 'manual', 'what comes from elsewhere is not to be trusted')
        return Response.error()
      }
      return typeof document === 'number' ? new Response('', { status: document }) : new Response(JSON.stringify(document))
    },
    WebTransport: this.#dialer(),
    watch: (wake, sleep) => {
      this.wake = wake
      this.sleep = sleep
      return () => { this.wake = this.sleep = undefined }
    }
  }

  #dialer (): typeof WebTransport {
    const dialed = (url: string, options: WebTransportOptions) => {
      if (!url.startsWith('https:')) throw new SyntaxError('not https') // as browsers do
      const t = new FakeTransport(url, options)
      this.#dials.push(t)
      this.#dialed.resolve()
      return t.client
    }
    return function (url: string, options: WebTransportOptions) { return dialed(url, options) } as unknown as typeof WebTransport
  }

  /** The next dial. */
  async dial (): Promise<FakeTransport> {
    while (this.#dials.length === 0) {
      await this.#dialed.promise
      this.#dialed = deferred()
    }
    return this.#dials.shift()!
  }

  /** How many dials nobody has looked at. */
  get dials (): number { return this.#dials.length }
}

/** PEER for a topic. */
export function peerFrame (circuit: number, topic: string, more: { flags?: number, id?: Uint8Array, network?: string, address?: string } = {}): Uint8Array {
  return frames.Peer.encode({ circuit, topic, flags: 0, network: 'dht', id: Uint8Array.of(0, circuit & 255), address: '', ...more })
}

/** Returns the error with which a promise rejects. */
export async function failure (promise: Promise<unknown>): Promise<any> {
  return promise.then(v => assert.fail(`resolved to ${String(v)}`), e => e)
}

export { Code, frames }
