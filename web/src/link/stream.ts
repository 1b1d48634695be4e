import { Code } from '../codes.js'
import { ignore } from '../deferred.js'
import type { Reader } from '../frames.js'
import type { Link, Pair } from './link.js'

/** The writer of a stream's bytes. */
export type Writer = WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>

/** A stream of a session. It has both directions for itself. */
export class Stream {
  readonly reader: Reader
  readonly writer: Writer
  readonly #transport: Link['transport']

  /** Locks both directions. */
  constructor ({ readable, writable }: Pair, transport?: Link['transport']) {
    this.reader = readable.getReader({ mode: 'byob' })
    this.writer = writable.getWriter()
    this.#transport = transport
  }

  /** Reports whether a reset carries the code: with WebTransport a code has one byte in many browsers. */
  carries (code: number): boolean { return this.#error(code).streamErrorCode === code }

  /** Ends both directions, with the code if a reset can carry it. */
  reset (code: number): void {
    const error = this.#error(this.carries(code) ? code : Code.NONE)
    ignore(this.writer.abort(error)) // first: Firefox sends no code for the other one
    ignore(this.reader.cancel(error))
  }

  /**
   * Returns what it is aborted with. Its code is another one if this browser's resets cannot carry
   * `code`.
   */
  #error (code: number): Pick<WebTransportError, 'streamErrorCode'> {
    const init = { streamErrorCode: code }
    if (this.#transport) return init
    try {
      return new WebTransportError('', init)
    } catch {
      return new WebTransportError(init as never) // as it was before there was a message
    }
  }
}
