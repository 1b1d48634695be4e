import type { Peer } from './api.js'
import { Code } from './codes.js'
import { deferred, ignore } from './deferred.js'
import type { SealedPeer } from './secretapi.js'
import { SecretError } from './secreterror.js'

/** Seals circuits as they come, each by itself, and keeps those that nobody has taken. */
export class SealedQueue implements AsyncIterable<SealedPeer> {
  readonly #source: AsyncIterable<Peer>
  readonly #seal: (peer: Peer, signal: AbortSignal) => Promise<SealedPeer>
  readonly #refused: (peer: Peer, error: SecretError) => void
  readonly #end = new AbortController() // of what is not sealed yet
  #waiting: SealedPeer[] = []
  #changed = deferred() // what waits, or the end
  #running = false
  #over: { error?: unknown } | undefined

  /** Takes nothing from `source` before it runs, or somebody iterates it. */
  constructor (
    source: AsyncIterable<Peer>, seal: (peer: Peer, signal: AbortSignal) => Promise<SealedPeer>, refused: (peer: Peer, error: SecretError) => void = () => {}
  ) {
    this.#source = source
    this.#seal = seal
    this.#refused = refused
  }

  async * [Symbol.asyncIterator] (): AsyncGenerator<SealedPeer, void> {
    void this.run()
    for (;;) {
      const next = this.#waiting.shift()
      if (next) yield next
      else if (!this.#over) await this.#changed.promise
      else if ('error' in this.#over) throw this.#over.error
      else return
    }
  }

  /** Takes circuits until there are no more; those that nobody has taken then are reset. */
  async run (): Promise<void> {
    if (this.#running) return
    this.#running = true
    try {
      for await (const peer of this.#source) void this.#add(peer)
      this.#over = {}
    } catch (error) {
      this.#over = { error }
    }
    this.#end.abort(new SecretError(Code.LEFT, 'the topic was left'))
    if (!('error' in this.#over)) for (const peer of this.#waiting.splice(0)) peer.abort(Code.LEFT)
    this.#change()
  }

  async #add (peer: Peer): Promise<void> {
    ignore(peer.closed)
    try {
      const sealed = await this.#seal(peer, this.#end.signal)
      if (this.#over) return sealed.abort(Code.LEFT)
      this.#waiting.push(sealed)
      const drop = () => { this.#waiting = this.#waiting.filter(p => p !== sealed) }
      sealed.closed.then(drop, drop)
      this.#change()
    } catch (e) {
      if (e instanceof SecretError && !this.#over) this.#refused(peer, e)
    }
  }

  #change (): void {
    this.#changed.resolve()
    this.#changed = deferred()
  }
}
