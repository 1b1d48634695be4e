import type { Clock } from '../src/clock.js'

/** A clock that stands until it is moved. */
export class FakeClock implements Clock {
  /** What `random` returns. */
  chance = 0
  #now = 0
  #timers: Array<{ at: number, f: () => void }> = []

  now (): number { return this.#now }

  after = (ms: number, f: () => void): () => void => {
    const timer = { at: this.#now + ms, f }
    this.#timers.push(timer)
    return () => { this.#timers = this.#timers.filter(t => t !== timer) }
  }

  random (): number { return this.chance }

  /** How many timers wait. */
  get waiting (): number { return this.#timers.length }

  /** When the next timer is due. */
  get next (): number { return Math.min(...this.#timers.map(t => t.at)) }

  /** Goes on for `ms`, and fires each timer in its time. */
  advance (ms: number): void {
    const end = this.#now + ms
    for (let next; (next = this.#take(end)) !== undefined;) {
      this.#now = next.at
      next.f()
    }
    this.#now = end
  }

  /** Sleeps for `ms`: timers that were due in the meantime fire late, at its end. */
  sleep (ms: number): void {
    this.#now += ms
    for (let next; (next = this.#take(this.#now)) !== undefined;) next.f()
  }

  /** Takes out the timer that is due first, at `end` at the latest. */
  #take (end: number) {
    const next = this.#timers.filter(t => t.at <= end).sort((a, b) => a.at - b.at)[0]
    this.#timers = this.#timers.filter(t => t !== next)
    return next
  }
}
