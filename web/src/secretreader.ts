import { Code } from './codes.js'
import { ignore } from './deferred.js'
import { SecretError } from './secreterror.js'

type Bytes = Uint8Array<ArrayBuffer>

const LENGTH = 2 // bytes before each message
const SMALL = 512 // bytes that a circuit holds while it waits
const LARGE = 1 << 17

/** Cuts what a circuit brings into messages, each with its length before it. */
export class MessageReader {
  readonly #reader: ReadableStreamBYOBReader
  #buffer: ArrayBuffer = new ArrayBuffer(SMALL)
  #start = 0 // what is between them was read and not returned
  #end = 0

  constructor (readable: ReadableStream<Uint8Array>) {
    this.#reader = readable.getReader({ mode: 'byob' })
    ignore(this.closed) // next says why
  }

  /** Resolves when the stream has ended, rejects when it has failed. */
  get closed (): Promise<void> { return this.#reader.closed }

  /**
   * Returns the next message of at least `least` bytes, which holds until the next call, or
   * undefined if the stream has ended before it. It rejects with a SecretError if the stream ends
   * within one, and with the stream's error.
   */
  async next (least = 0): Promise<Bytes | undefined> {
    for (;;) {
      const held = new DataView(this.#buffer, this.#start, this.#end - this.#start)
      let need = LENGTH
      if (held.byteLength >= LENGTH) {
        const n = held.getUint16(0)
        if (n < least) throw new SecretError(Code.PROTOCOL, `a message of ${n} bytes, ${least} at least are wanted`)
        need += n
        if (held.byteLength >= need) {
          this.#start += need
          return new Uint8Array(this.#buffer, this.#start - n, n)
        }
      }
      if (await this.#fill(need)) continue
      if (this.#end > this.#start) throw truncated()
      return
    }
  }

  /** Waits for the end of the stream. A byte before it is a SecretError. */
  async end (): Promise<void> {
    if (this.#end > this.#start || await this.#fill(1)) throw new SecretError(Code.PROTOCOL, 'bytes after the end')
  }

  /** Throws away what comes until the end. */
  async drain (): Promise<void> {
    do this.#start = this.#end
    while (await this.#fill(LARGE))
  }

  /** Reads something, with room for `need` bytes in all, and reports whether anything came. */
  async #fill (need: number): Promise<boolean> {
    const held = new Uint8Array(this.#buffer, this.#start, this.#end - this.#start)
    // What comes fast is read in large pieces. While nothing comes there is nearly nothing held.
    const size = this.#end >= SMALL ? LARGE : Math.max(need, SMALL)
    if (size > this.#buffer.byteLength || (size < this.#buffer.byteLength && held.length <= size)) {
      this.#buffer = new ArrayBuffer(size)
      new Uint8Array(this.#buffer).set(held)
    } else if (this.#start > 0) new Uint8Array(this.#buffer).set(held)
    this.#start = 0
    this.#end = held.length
    const { value, done } = await this.#reader.read(new Uint8Array(this.#buffer, this.#end))
    if (value) {
      this.#buffer = value.buffer
      this.#end += value.length
    } else { // the stream was closed here and has kept the buffer
      this.#buffer = new ArrayBuffer(SMALL)
      this.#end = 0
    }
    return !done
  }
}

/** Returns the error of a stream without its end record. */
export function truncated (): SecretError { return new SecretError(Code.PROTOCOL, 'truncated: the end was not the other end’s own') }
