import type { Circuit } from './circuit.js'
import { Code } from './codes.js'
import { deferred } from './deferred.js'
import type { SwarmError } from './errors.js'

/**
 * Circuits, or offers of them, that wait until the page takes them; each has a place in its
 * session. Several iterations share it.
 */
export class Queue implements AsyncIterable<Circuit> {
  /** Nothing is added any more. */
  ended = false
  #waiting: Circuit[] = []
  #changed = deferred() // what waits, or the end
  #error: SwarmError | undefined

  async * [Symbol.asyncIterator] (): AsyncGenerator<Circuit, void> {
    for (;;) {
      const next = this.take()
      if (next) yield next
      else if (this.#error) throw this.#error
      else if (this.ended) return
      else await this.#changed.promise
    }
  }

  /** Returns the one that has waited longest, if there is one. */
  take (): Circuit | undefined { return this.#waiting.shift() }

  /** Adds a circuit. */
  push (circuit: Circuit): void {
    this.#waiting.push(circuit)
    this.#change()
  }

  /** Takes a circuit out that has ended. */
  drop (circuit: Circuit): void { this.#waiting = this.#waiting.filter(c => c !== circuit) }

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
