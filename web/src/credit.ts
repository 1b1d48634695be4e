/** Circuits that have room in a budget. */
export const MAX_CIRCUITS = 256

/** Bytes of credit that a circuit starts with, and that stay reserved for it. */
export const RESERVE = 32 << 10

/**
 * Bytes that all circuits of a session may have granted and unread: less than the 15 MiB of
 * Chromium's connection window.
 */
export const BUDGET = 12 << 20

/**
 * Bytes that one circuit may have granted and unread: less than the 6 MiB of Chromium's stream
 * window.
 */
const MAX_WINDOW = 4 << 20

/**
 * How many ms a quarter of a window may take to be read, on a path of any length, when the window
 * is what holds the circuit up. On a longer path the round trip decides; on a shorter one so do
 * the delays of a busy machine.
 */
const PROMPTLY = 5

/** The credit of one circuit. Offsets count from the gateway's first byte after PEER or ACCEPT. */
export class Account {
  open = true
  /** Bytes that may be granted and unread; what is above the reserve is from the pool. */
  window = RESERVE
  /** Offset that the gateway was told, or will be. HELLO granted the first. */
  granted = RESERVE
  /** Offset up to which the page has read. */
  read = 0
  /** When `granted` last rose, in ms. */
  since: number

  constructor (now: number) { this.since = now }

  /** Adds `n` bytes that were read, and reports whether the gateway had the credit to send them. */
  count (n: number): boolean {
    this.read += n
    return this.read <= this.granted
  }

  /** Whether enough was read for a grant: a quarter of the window since the last one. */
  get due (): boolean { return this.open && this.read + this.window - this.granted >= this.window / 4 }
}

/**
 * Shares out what the gateway may have sent and the page has not read (docs/PROTOCOL.md, Credit).
 * It keeps a reserve for each of 256 circuits, and the rest is a pool on which those grow that are
 * read promptly. The sum over all accounts of granted - read is never above the sum of their
 * windows, and that is never above the budget.
 */
export class Budget {
  /** Bytes of the pool that no window has. */
  free: number
  /** Open accounts. */
  circuits = 0

  /** Takes `total` bytes, at least 8 MiB. */
  constructor (total = BUDGET) { this.free = total - MAX_CIRCUITS * RESERVE }

  /** Returns the account of a new circuit, or undefined if all places are taken. */
  open (now: number): Account | undefined {
    if (this.circuits === MAX_CIRCUITS) return undefined
    this.circuits++
    return new Account(now)
  }

  /** Takes back all that `a` has. It may be called again. */
  close (a: Account): void {
    if (!a.open) return
    a.open = false
    this.circuits--
    this.free += a.window - RESERVE
  }

  /**
   * Raises `a.granted` if a grant is due, and reports whether it did. A window that was read
   * promptly doubles. It never has more than half of what the pool would have without it, so that
   * the next circuit finds something; what others have taken meanwhile it gives back here. `rtt`
   * is the round trip in ms.
   */
  grant (a: Account, now: number, rtt: number): boolean {
    if (!a.due) return false
    let window = a.window
    if (now - a.since <= Math.max(rtt, PROMPTLY)) window *= 2
    window = Math.min(window, MAX_WINDOW, RESERVE + Math.floor((this.free + a.window - RESERVE) / 2))
    window = Math.max(window, a.granted - a.read) // a grant cannot be taken back
    this.free += a.window - window
    a.window = window
    if (!a.due) return false // the window shrank
    a.granted = a.read + window
    a.since = now
    return true
  }
}
