import { Code } from './codes.js'
import { deferred, ignore } from './deferred.js'
import { SecretError } from './secreterror.js'
import type { Cipher } from './secretnoise.js'
import { IN_FLIGHT, MAX_DATA } from './secretnoise.js'

type Bytes = Uint8Array<ArrayBuffer>

/**
 * What is written to a sealed circuit: full records, up to four at once. What does not fill one is
 * sent when no other is on its way.
 */
export class Outgoing {
  readonly writable: WritableStream<Uint8Array | ArrayBuffer | ArrayBufferView>
  readonly #writer: WritableStreamDefaultWriter<Bytes>
  readonly #cipher: Cipher
  readonly #ended = deferred()
  #sink!: WritableStreamDefaultController
  #rest = new Uint8Array(0) // of what was written, for the next record
  #filled = 0 // bytes of it
  #sealing = 0 // records that the circuit has not taken
  #given: Promise<void> = Promise.resolve() // when the circuit was given all records
  #wake = (): void => {} // of who waits for room
  #unwritten = 0 // chunks that the page has written and that are not in a record
  #closing = false
  #finishing = false
  #error: unknown

  /** `aborted` is called with the page's reason, which may be a code. */
  constructor (writer: WritableStreamDefaultWriter<Bytes>, cipher: Cipher, aborted: (reason: unknown) => void) {
    this.#writer = writer
    this.#cipher = cipher
    this.writable = new WritableStream({
      start: c => {
        this.#sink = c
        // As in a circuit: it does not wait for a write that is under way.
        c.signal.addEventListener('abort', () => queueMicrotask(() => aborted(c.signal.reason)))
      },
      write: async chunk => {
        const bytes = bytesOf(chunk)
        if (!bytes) {
          aborted(Code.INTERNAL)
          throw new TypeError('not bytes: write a Uint8Array')
        }
        await this.#write(bytes)
      },
      close: () => this.#finish()
    }, {
      highWaterMark: 1,
      size: () => {
        this.#unwritten++ // each write asks once
        return 1
      }
    })
    writer.closed.catch(e => this.fail(e))
  }

  /**
   * Ends it after what was written. It resolves when the circuit has taken all, and rejects with
   * the circuit's error.
   */
  async close (): Promise<void> {
    this.#closing = true
    this.#finishWriting()
    await this.#ended.promise
    this.#sink.error(closedHere())
  }

  /** Ends it at once. */
  fail (e: unknown): void {
    this.#error ??= e
    this.#sink.error(e)
    this.#ended.reject(e)
    this.#wake()
  }

  async #write (bytes: Bytes): Promise<void> {
    if (this.#finishing) throw closedHere()
    for (let at = 0; at < bytes.length;) {
      const left = bytes.subarray(at)
      if (this.#filled === 0 && (left.length >= MAX_DATA || this.#idle)) {
        await this.#room()
        at += this.#seal(left.subarray(0, MAX_DATA))
        continue
      }
      if (this.#filled === 0) this.#rest = new Uint8Array(MAX_DATA)
      const some = left.subarray(0, MAX_DATA - this.#filled)
      this.#rest.set(some, this.#filled)
      this.#filled += some.length
      at += some.length
      if (this.#filled < MAX_DATA) break
      await this.#room()
      this.#flush()
    }
    this.#unwritten--
    this.#finishWriting()
  }

  /** Ends what is written after `close`, once all is. */
  #finishWriting (): void { if (this.#closing && this.#unwritten === 0) ignore(this.#finish()) }

  async #finish (): Promise<void> {
    if (this.#finishing) return this.#ended.promise
    this.#finishing = true
    await this.#room()
    this.#flush()
    await this.#room()
    this.#seal(new Uint8Array(0)) // the end record
    await this.#given
    await this.#writer.close()
    this.#ended.resolve()
  }

  /** Whether no record is on its way. */
  get #idle (): boolean { return this.#sealing === 0 && !this.#cipher.turning }

  /** Waits until one more record may be on its way. */
  async #room (): Promise<void> {
    while (this.#error === undefined && (this.#sealing >= IN_FLIGHT || this.#cipher.turning)) {
      await new Promise<void>(resolve => { this.#wake = resolve })
    }
    if (this.#error !== undefined) throw this.#error
  }

  /** A record has gone, or there is another key. */
  #changed (): void {
    this.#wake()
    if (this.#idle) this.#flush()
  }

  #flush (): void {
    if (this.#filled === 0) return
    this.#seal(this.#rest.subarray(0, this.#filled))
    this.#rest = new Uint8Array(0)
    this.#filled = 0
  }

  /** Sends a record, and returns how many bytes it has. */
  #seal (data: Bytes): number {
    const sealed = this.#cipher.seal(data)
    void this.#cipher.turning?.then(() => this.#changed())
    this.#sealing++
    this.#given = this.#given.then(async () => {
      const record = new Uint8Array(await sealed)
      const message = new Uint8Array(2 + record.length)
      new DataView(message.buffer).setUint16(0, record.length)
      message.set(record, 2)
      this.#writer.write(message).then(() => {
        this.#sealing--
        this.#changed()
      }, e => this.fail(e))
    })
    this.#given.catch(e => this.fail(e))
    return data.length
  }
}

function closedHere (): SecretError { return new SecretError(Code.NONE, 'the circuit was closed here') }

function bytesOf (chunk: unknown): Bytes | undefined {
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk)
  return ArrayBuffer.isView(chunk) ? new Uint8Array(chunk.buffer as ArrayBuffer, chunk.byteOffset, chunk.byteLength) : undefined
}
