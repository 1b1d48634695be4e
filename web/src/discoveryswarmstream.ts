import { Buffer } from 'buffer'
import { Duplex } from 'streamx'
import type { Peer } from './api.js'
import type { PeerStream } from './discoveryswarmapi.js'

const AHEAD = 65536 // bytes that wait here in either direction

type Callback = (error: Error | null) => void

/** What was written, and who is told when the circuit has taken it. */
interface Written { bytes: Uint8Array, cb: Callback | undefined }

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
  readonly #waiting = new Set<Callback>() // of what the circuit has not taken
  #error: Error | undefined // with which it was destroyed
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
    if (!halfOpen) this.on('end', () => { this.end() })
  }

  override read (): Uint8Array | null { return super.read() as Uint8Array | null }

  override write (chunk: Uint8Array | string, encoding?: unknown, cb?: Callback): boolean {
    const told = typeof encoding === 'function' ? encoding as Callback : cb
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk, typeof encoding === 'string' ? encoding as 'utf8' : 'utf8') : chunk
    if (!ArrayBuffer.isView(bytes)) throw new TypeError('write a Buffer, a Uint8Array, or a string')
    if (told && this.destroying) queueMicrotask(() => told(this.#gone()))
    else if (told) this.#waiting.add(told)
    return super.write({ bytes, cb: told } satisfies Written)
  }

  override end (...args: any[]): this {
    const cb: unknown = args.at(-1)
    if (typeof cb === 'function') this.once('finish', () => cb())
    if (args[0] !== undefined && args[0] !== null && typeof args[0] !== 'function') this.write(args[0], args[1])
    super.end(undefined)
    return this
  }

  override destroy (error?: Error | null): void {
    this.#error ??= error ?? undefined
    super.destroy(error)
  }

  override _read (cb: Callback): void {
    const done = this.#reading = once(cb)
    this.#reader.read().then(({ value }) => {
      if (value) this.bytesRead += value.length
      if (!this.destroying) this.push(value ? Buffer.from(value.buffer, value.byteOffset, value.length) : null)
      done(null)
    }, done)
  }

  override _write (written: unknown, cb: Callback): void {
    const { bytes, cb: told } = written as Written
    const done = this.#writing = once(cb)
    this.#writer.write(bytes).then(() => {
      this.bytesWritten += bytes.length
      if (told && this.#waiting.delete(told)) told(null)
      done(null)
    }, done)
  }

  override _final (cb: Callback): void {
    const done = this.#writing = once(cb)
    this.#writer.close().then(() => done(null), done)
  }

  /** Ends the circuit, and what waits for it: else that would wait for the peer. */
  override _predestroy (): void {
    if (this.#error) this.#peer.abort()
    else this.#peer.close()
    this.#reading(null)
    this.#writing(null)
  }

  override _destroy (cb: Callback): void {
    for (const told of this.#waiting) told(this.#gone())
    this.#waiting.clear()
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
