import type { Deferred } from './deferred.js'
import { deferred } from './deferred.js'

/**
 * What a session and its gateway have said to each other of one topic (docs/PROTOCOL.md, Joining).
 * T is who the topic is for. It does no I/O.
 */
export class Membership<T> {
  /** Who it is for: JOIN was sent, and no LEAVE since. */
  topic: T | undefined
  /** JOINs that wait for JOINED or LEFT. */
  #unanswered = 0
  /** JOINED came, and no LEFT since. */
  #held = false
  /** Resolves when the gateway knows of the topic no more; another one waits for the next time. */
  gone: Deferred<void> = deferred()

  /** JOIN was sent for `topic`. */
  asked (topic: T): void {
    this.topic = topic
    this.#unanswered++
  }

  /** JOINED came. */
  taken (): void {
    this.#held = true
    this.#unanswered = Math.max(0, this.#unanswered - 1)
  }

  /**
   * LEFT came, or the session has ended. It reports whether that is the last word, which it is not
   * if a JOIN is under way, which the gateway takes for a new one.
   */
  left (): boolean {
    if (!this.#held) this.#unanswered-- // it is the answer to a JOIN
    this.#held = false
    this.gone.resolve()
    this.gone = deferred()
    return this.#unanswered <= 0
  }
}
