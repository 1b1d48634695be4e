/** Who is connected with whom, by the ids that handshakes tell: as discovery-swarm 6 has it. */
export class Known<T> {
  readonly #keep: boolean
  readonly #connections = new Map<string, T>()

  /** `keep` prefers the connection that was there first. */
  constructor (keep: boolean) { this.#keep = keep }

  /**
   * Takes in a connection between two ids, in hexadecimal digits, and returns which one is to be
   * dropped, if any: both ends drop the same one of two that they have opened at the same time. A
   * connection with ourselves is to be dropped, too.
   */
  add (connection: T, own: string, remote: string, initiator: boolean): T | undefined {
    if (own === remote) return connection
    const old = this.#connections.get(remote)
    if (old !== undefined && (this.#keep || (initiator ? remote < own : remote > own))) return connection
    this.#connections.set(remote, connection)
    return old
  }

  /** Forgets a connection with an id, unless another one has taken its place. */
  remove (connection: T, remote: string): void {
    if (this.#connections.get(remote) === connection) this.#connections.delete(remote)
  }
}
