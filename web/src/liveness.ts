import { LATE } from './clock.js'

const PING_AFTER = 2000 // without a frame, while there are circuits
const PING_IDLE = 15_000 // without a frame, while there are none
const SILENT_AFTER = 3000 // without an answer, before another gateway is tried
const LOST_AFTER = 25_000 // without a frame, and without an answer

/**
 * What a check found: nothing, that a PING is to be sent, that another gateway is worth a try,
 * that the session is lost.
 */
export type Sign = 'alive' | 'quiet' | 'silent' | 'lost'

/**
 * Tells when to ask the gateway for a sign of life, and when to give it up (docs/PROTOCOL.md, 9).
 * It holds no clock and no timer.
 */
export class Liveness {
  /** When to check next, in ms; a check before it does no harm. */
  deadline = Infinity
  #heard: number
  #asked: number | undefined // when PING was sent that is not answered
  #told?: boolean // that it is silent

  /** Begins as if a frame had just come. */
  constructor (now: number) { this.#heard = now }

  /** A frame came. */
  hear (now: number): void {
    this.#heard = now
    this.#asked = undefined
    this.#told = false
  }

  /**
   * Says how it is with the gateway. A check that comes late says that this page did not run, and
   * nothing about the gateway: the wait begins anew. `ask` wants a PING at once, unless one is
   * under way.
   */
  check (now: number, circuits: boolean, ask = false): Sign {
    if (now - this.deadline > LATE) this.hear(now)
    const patience = circuits ? PING_AFTER : PING_IDLE
    let sign: Sign = 'alive'
    if (this.#asked === undefined) {
      if (ask || now - this.#heard >= patience) {
        sign = 'quiet'
        this.#asked = now
      }
    } else if (now - this.#heard >= LOST_AFTER) {
      return 'lost'
    } else if (circuits && !this.#told && now - this.#asked >= SILENT_AFTER) {
      sign = 'silent'
      this.#told = true
    }
    this.deadline = this.#heard + patience
    if (this.#asked !== undefined) {
      const silent = circuits && !this.#told ? this.#asked + SILENT_AFTER : Infinity
      // Whatever comes counts from its time, so look again as if it came now.
      this.deadline = Math.min(now + patience, this.#heard + LOST_AFTER, silent)
    }
    return sign
  }
}
