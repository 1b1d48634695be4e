import { Queue } from './queue.js'
import type { Waiting } from './queue.js'

/** The time of a peer on a topic, from its first open circuit to the end of its last. */
export class Stay<C extends Waiting> {
  /**
   * What the page knows it by: the circuit that came first. Undefined while only further ones have
   * come.
   */
  peer: C | undefined
  /** Those that are open. */
  readonly circuits = new Set<C>()
  /** Of them, those that the peer opened beside the first, and the page has not taken. */
  readonly streams = new Queue<C>()
  /** Stops the wait for the first one. */
  cancelTimer = (): void => {}
}
