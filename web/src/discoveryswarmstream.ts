import { Buffer } from 'buffer'
import { Duplex } from 'streamx'
import type { Peer } from './api.js'
import type { PeerStream } from './discoveryswarmapi.js'
import { safely } from './safely.js'

const AHEAD = 65536 // bytes that wait here in either direction

type Callback = (error: Error | null) => void

/** Who is told when the circuit has taken something, or never will. */
interface Waiting { told?: Callback | undefined }

/** What was written. */
interface Written extends Waiting { bytes: Uint8Array }

/** What streamx has for what can be read. */
interface ReadableState { buffered: number, highWaterMark: number, updateNextTick: () => void }

/**
 * A circuit as a duplex stream of Node, with back-pressure both ways. Who listens to no `error` is
 * told of the end by `close` alone. A peer's end ends this side too, unless `halfOpen` is set.
 */
export class CircuitStream extends Duplex implements PeerStream {
  bytesRead = 0
  bytesWritten = 0
  readonly #peer: Peer
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>
  readonly #waiting = new Set<Waiting>()
  #error: Error | undefined // with which it was destroyed
  #eof = false // all has come
  #ended = false // all was read
  #wanted = false // more than had come was to be read
  #ending = false // no more is written
  #finished = false // all was written
  #reading: Callback = () => {} // ends the read that is under way
  #writing: Callback = () => {} // ends the write that is under way

  /** Takes both streams of a peer. */
  constructor (peer: Peer, { halfOpen = false }: { halfOpen?: boolean } = {}) {
    super({ highWaterMark: AHEAD, byteLengthWritable: w => (w as Written).bytes.length })
    this.#peer = peer
    this.#reader = peer.readable.getReader()
    this.#writer = peer.writable.getWriter()
    this.#reader.closed.catch(e => this.destroy(e))
    this.#writer.closed.catch(e => this.destroy(e))
    this.on('error', () => {})
    this.on('end', () => {
      this.#ended = true
      if (!halfOpen) this.end()
    })
  }

  override get destroyed (): boolean { return this.destroying } // from the call on, as in Node

  override get readable (): boolean { return !this.destroying && !this.#ended }

  override get writable (): boolean { return !this.destroying && !this.#ending }

  get writableFinished (): boolean { return this.#finished }

  override read (n?: number): Uint8Array | null {
    if (n === undefined) return super.read() as Uint8Array | null
    const state = (this as unknown as { _readableState: ReadableState })._readableState
    this.#wanted = !this.#eof && n > state.buffered
    if (this.#wanted) {
      state.highWaterMark = Math.max(state.highWaterMark, n)
      state.updateNextTick() // it may have to read on, or to begin
      return null
    }
    const parts: Uint8Array[] = []
    for (let rest = n; rest > 0;) {
      const part = super.read() as Uint8Array | null
      if (!part) break
      parts.push(part)
      rest -= part.length
    }
    if (parts.length === 0) return null
    const all = parts.length === 1 ? parts[0]! : Buffer.concat(parts)
    if (all.length > n) this.unshift(all.subarray(n))
    return all.subarray(0, n)
  }

  override write (chunk: Uint8Array | string, encoding?: unknown, cb?: Callback): boolean {
    const told = typeof encoding === 'function' ? encoding as Callback : cb
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding as 'utf8' : 'utf8') : chunk
    if (!ArrayBuffer.isView(bytes)) throw new TypeError('write a Buffer, a Uint8Array, or a string')
    if (!this.writable) {
      if (told) queueMicrotask(() => told(this.#gone()))
      return false
    }
    const written: Written = { bytes, told }
    if (told) this.#waiting.add(written)
    return super.write(written)
  }

  override end (...args: any[]): this {
    const cb: unknown = args.at(-1)
    const told = typeof cb === 'function' ? args.pop() as Callback : undefined
    if (args[0] !== undefined && args[0] !== null) this.write(args[0], args[1])
    this.#ending = true
    if (told) this.#whenFinished(told)
    super.end(undefined)
    return this
  }

  #whenFinished (told: Callback): void {
    if (this.#finished || this.destroying) return queueMicrotask(() => told(this.#finished ? null : this.#gone()))
    const waiting: Waiting = { told }
    this.#waiting.add(waiting)
    this.once('finish', () => { if (this.#waiting.delete(waiting)) told(null) })
  }

  override destroy (error?: Error | null): void {
    this.#error ??= error ?? undefined
    super.destroy(error)
  }

  override _read (cb: Callback): void {
    const done = this.#reading = once(cb)
    this.#reader.read().then(({ value }) => {
      this.#eof = !value
      if (value) this.bytesRead += value.length
      if (!this.destroying) this.push(value ? Buffer.from(value.buffer as ArrayBuffer, value.byteOffset, value.length) : null)
      done(null)
      if (this.#wanted) this.emit('readable')
    }, done)
  }

  override _write (data: unknown, cb: Callback): void {
    const written = data as Written
    const { bytes, told } = written
    const done = this.#writing = once(cb)
    this.#writer.write(bytes).then(() => {
      this.bytesWritten += bytes.length
      const waits = this.#waiting.delete(written)
      done(null)
      if (waits) told!(null)
    }, done)
  }

  override _final (cb: Callback): void {
    const done = this.#writing = once(cb)
    this.#writer.close().then(() => {
      this.#finished = true
      done(null)
    }, done)
  }

  /** Ends the circuit, and what waits for it: else that would wait for the peer. */
  override _predestroy (): void {
    if (this.#error) this.#peer.abort()
    else this.#peer.close()
    this.#reading(null)
    this.#writing(null)
  }

  override _destroy (cb: Callback): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const { told } of waiting) safely(() => told?.(this.#gone()))
    cb(null)
  }

  /** Why what was written is not. */
  #gone (): Error { return this.#error ?? new Error('the stream has ended') }
}

/** Returns a function that calls `f` at its first call only. */
function once (f: Callback): Callback {
  let called = false
  return error => {
    if (!called) f(error)
    called = true
  }
}
