const SAMPLES = 40
const EVERY = 900 // ms between two samples, at least

/** Counts bytes and knows how fast they came lately. */
export class Meter {
  /** All bytes. */
  total = 0
  /** Bytes a second between the last two samples. */
  rate = 0
  /** The rates of the last samples, the oldest first. */
  readonly history: number[] = Array<number>(SAMPLES).fill(0)
  #at: number
  #counted = 0

  /** `now` is in ms, here and below. */
  constructor (now: number) { this.#at = now }

  add (n: number): void { this.total += n }

  /** Goes on from another total, which is no traffic. */
  jump (total: number): void {
    this.#counted += total - this.total
    this.total = total
  }

  /** Takes a sample, if it is time for one: about once a second. */
  sample (now: number): void {
    const ms = now - this.#at
    if (ms < EVERY) return
    this.rate = (this.total - this.#counted) * 1000 / ms
    this.#at = now
    this.#counted = this.total
    this.history.shift()
    this.history.push(this.rate)
  }
}
