/** Lets so many things pass a second, and some at once. */
export class Bucket {
  readonly #rate: number
  readonly #burst: number
  #left: number
  #at: number

  /** `now` is in ms, here and below. */
  constructor (rate: number, burst: number, now: number) {
    this.#rate = rate
    this.#burst = burst
    this.#left = burst
    this.#at = now
  }

  /** Reports whether one more may pass, and counts it if so. */
  take (now: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + (now - this.#at) * this.#rate / 1000)
    this.#at = now
    if (this.#left < 1) return false
    this.#left--
    return true
  }
}
