/** Time and chance, which tests replace. */
export interface Clock {
  /** Milliseconds since some moment; never goes back. */
  now: () => number
  /**
   * Calls `f` once in `ms` milliseconds or later, unless the function that it returns was called
   * before.
   */
  after: (ms: number, f: () => void) => () => void
  /** From 0 up to 1. */
  random: () => number
}

/** The clock of this page or Worker. */
export const realClock: Clock = {
  now: () => performance.now(),
  after (ms, f) {
    const id = setTimeout(f, ms)
    return () => clearTimeout(id)
  },
  random: Math.random
}

/** How many ms late a timer has to be to prove nothing: a hidden page, a sleeping computer. */
export const LATE = 1000
