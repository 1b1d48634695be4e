import { concat } from './framing.js'

/** Reads a stream of bytes: so many at once, or what comes next. */
export class Input {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #count: (n: number) => void
  #rest: Uint8Array = new Uint8Array(0) // read from the stream, and not taken

  /** `count` is told how many bytes came from the stream. */
  constructor (readable: ReadableStream<Uint8Array>, count: (n: number) => void) {
    this.#reader = readable.getReader()
    this.#count = count
  }

  /** Returns what comes next, or undefined at the end. */
  async read (): Promise<Uint8Array | undefined> {
    const rest = this.#rest
    if (rest.length === 0) return await this.#next()
    this.#rest = rest.subarray(rest.length)
    return rest
  }

  /** Returns `n` bytes, or undefined where the stream ends before. */
  async take (n: number): Promise<Uint8Array | undefined> {
    if (this.#rest.length < n) {
      const parts = [this.#rest]
      for (let got = this.#rest.length; got < n;) {
        const b = await this.#next()
        if (!b) {
          this.#rest = concat(...parts)
          return undefined
        }
        parts.push(b)
        got += b.length
      }
      this.#rest = concat(...parts)
    }
    const taken = this.#rest.subarray(0, n)
    this.#rest = this.#rest.subarray(n)
    return taken
  }

  /** Takes `line` if it comes next, and reports whether it did. It decides with the first byte that is another one. */
  async skip (line: Uint8Array): Promise<boolean> {
    for (;;) {
      const n = Math.min(this.#rest.length, line.length)
      for (let i = 0; i < n; i++) if (this.#rest[i] !== line[i]) return false
      if (n === line.length) {
        this.#rest = this.#rest.subarray(n)
        return true
      }
      const b = await this.#next()
      if (!b) return false
      this.#rest = concat(this.#rest, b)
    }
  }

  async #next (): Promise<Uint8Array | undefined> {
    const { value } = await this.#reader.read()
    if (value) this.#count(value.length)
    return value
  }
}
