import { deferred, ignore } from './deferred.js'
import { Code } from './codes.js'
import { SecretError } from './secreterror.js'
import type { Cipher } from './secretnoise.js'
import { IN_FLIGHT, MAX_DATA, TAG } from './secretnoise.js'
import { truncated } from './secretreader.js'
import type { MessageReader } from './secretreader.js'

/** What a sealed circuit brings: records that are opened, up to four at once, in order. */
export class Incoming {
  readonly readable: ReadableStream<Uint8Array>
  readonly #messages: MessageReader
  readonly #cipher: Cipher
  readonly #over = deferred()
  #source!: ReadableByteStreamController
  #given: Promise<void> = Promise.resolve() // when the page was given all records that came
  #opening = 0 // records that it was not given
  #pumping = false
  #discarding = false
  #atEnd = false // nothing more comes from the circuit
  #settled = false
  #error: SecretError | undefined // which follows what waits for the page

  /**
   * `failed` is called with what is wrong with the records, `cancelled` with the page's reason.
   */
  constructor (messages: MessageReader, cipher: Cipher, failed: (e: SecretError) => void, cancelled: (reason: unknown) => void) {
    this.#messages = messages
    this.#cipher = cipher
    this.readable = new ReadableStream({
      type: 'bytes',
      start: c => { this.#source = c },
      pull: () => {
        if (this.#error) this.#source.error(this.#error)
        else void this.#pump()
      },
      cancel: cancelled
    })
    messages.closed.then(() => {
      this.#atEnd = true
      return this.#pump()
    }, e => this.#fail(e))
    this.over.catch(e => { if (e instanceof SecretError) failed(e) })
  }

  /** Resolves when all has come, or was thrown away; rejects when it has failed. */
  get over (): Promise<void> { return this.#over.promise }

  /** Ends the stream, and throws away what still comes. */
  discard (): void {
    if (this.#settled) return
    this.#discarding = true
    this.#end()
    void this.#pump()
  }

  async #pump (): Promise<void> {
    if (this.#pumping || this.#settled) return
    this.#pumping = true
    const window: Array<Promise<void>> = []
    try {
      while (this.#mayRead()) {
        const record = await this.#messages.next(TAG)
        if (this.#discarding) break
        if (!record) throw truncated()
        this.#open(record)
        if (record.length === TAG) {
          await this.#given
          await this.#messages.end()
          if (!this.#discarding) this.#end()
          return this.#settle()
        }
        if (this.#cipher.turning) await this.#cipher.turning
        if (window.push(this.#given) >= IN_FLIGHT) await window.shift()
      }
      if (!this.#discarding) return
      await this.#messages.drain()
      this.#settle()
    } catch (e) {
      await this.#given.catch(() => {}) // those before it
      this.#fail(e)
    } finally {
      this.#pumping = false
    }
  }

  /** Reports whether more is to be read: not before the page asks, and a little ahead of it. */
  #mayRead (): boolean {
    return this.#discarding || this.#atEnd || this.#opening * MAX_DATA - this.#source.desiredSize! < IN_FLIGHT * MAX_DATA
  }

  #open (record: Uint8Array<ArrayBuffer>): void {
    const opened = this.#cipher.open(record)
    ignore(opened) // after those before it
    this.#opening++
    this.#given = this.#given.then(async () => {
      const data = await opened.catch(e => { throw new SecretError(Code.PROTOCOL, 'a record was changed on its way', e) })
      this.#opening--
      if (data.byteLength > 0 && !this.#discarding && !this.#settled) this.#source.enqueue(new Uint8Array(data))
    })
    this.#given.catch(e => this.#fail(e))
  }

  #end (): void {
    this.#source.close()
    this.#source.byobRequest?.respond(0)
  }

  #settle (): void {
    this.#settled = true
    this.#over.resolve()
  }

  /** What is wrong with the records the page is told after those before; all else at once. */
  #fail (e: unknown): void {
    if (this.#settled) return
    this.#settled = true
    if (this.#discarding) return this.#over.resolve()
    if (e instanceof SecretError && this.#source.desiredSize! < 0) this.#error = e
    else this.#source.error(e)
    this.#over.reject(e)
  }
}
