import { Code } from './codes.js'
import { deferred } from './deferred.js'
import type { SwarmError } from './errors.js'

/** What a queue needs of what waits in it. */
export interface Waiting { abort: (code: number) => void }

/**
 * Circuits, or offers of them, that wait until the page takes them; each has a place in its
 * session. Several iterations share it.
 */
export class Queue<C extends Waiting> implements AsyncIterable<C> {
  /** Nothing is added any more. */
  ended = false
  #waiting: C[] = []
  #changed = deferred() // what waits, or the end
  #error: SwarmError | undefined

  async * [Symbol.asyncIterator] (): AsyncGenerator<C, void> {
    for (;;) {
      const next = this.take()
      if (next) yield next
      else if (this.#error) throw this.#error
      else if (this.ended) return
      else await this.#changed.promise
    }
  }

  /** Returns the one that has waited longest, if there is one. */
  take (): C | undefined { return this.#waiting.shift() }

  /** Adds a circuit. */
  push (circuit: C): void {
    this.#waiting.push(circuit)
    this.#change()
  }

  /** Takes a circuit out that has ended. */
  drop (circuit: C): void { this.#waiting = this.#waiting.filter(c => c !== circuit) }

  /**
   * Ends it. With an error iterations throw it after the last circuit; without one what waits is
   * reset.
   */
  end (error?: SwarmError): void {
    this.ended = true
    this.#error = error
    if (!error) for (const c of this.#waiting.splice(0)) c.abort(Code.LEFT)
    this.#change()
  }

  #change (): void {
    this.#changed.resolve()
    this.#changed = deferred()
  }
}
