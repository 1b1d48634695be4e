import type { Swarm } from './api.js'
import { Code } from './codes.js'
import { connect } from './connect.js'
import { deferred } from './deferred.js'
import type { Where } from './discoveryswarmkey.js'
import { SwarmError } from './errors.js'

const FIRST = 500 // ms before the second attempt to connect
const LAST = 30_000 // ms before an attempt, at most
const APART = 1000 // ms between attempts that are asked for, at least

/** What is told of a link. */
export interface LinkHost {
  /** There was no gateway at first, or the session was lost. It comes back by itself. */
  disconnected: (error: unknown) => void
  /** It does not come back. */
  failed: (error: unknown) => void
}

/** The way to a gateway: a swarm that is being connected for as long as it takes. */
export class Link {
  /** Resolves when it is connected the first time, and rejects if that cannot be. */
  readonly swarm: Promise<Swarm>
  /** It has ended, and not by `close`. */
  failed = false
  readonly #swarm = deferred<Swarm>()
  readonly #host: LinkHost
  readonly #end = new AbortController()
  readonly #own: boolean
  #connected: Swarm | undefined
  #down = false // that was told
  #began = 0 // when the last attempt did
  #again = () => {} // ends the wait for the next attempt

  constructor (where: Where, host: LinkHost) {
    this.swarm = this.#swarm.promise
    this.#host = host
    this.#own = 'target' in where
    void this.#run(where)
  }

  /** Ends a wait for the gateway, at most once a second. */
  retry (): void {
    this.#connected?.retry()
    this.#again()
  }

  /** Gives the way up, and the swarm with it if it was made here. */
  close (): void {
    this.#end.abort(new SwarmError(Code.NONE, 'closed here'))
    this.#again()
    if (this.#own) this.#connected?.close()
    this.#swarm.reject(this.#end.signal.reason)
  }

  async #run (where: Where): Promise<void> {
    const { signal } = this.#end
    try {
      const swarm = this.#connected = 'swarm' in where ? await where.swarm : await this.#connect(where.target)
      if (signal.aborted) return this.close()
      this.#down = false
      swarm.addEventListener('connected', () => { this.#down = false }, { signal })
      swarm.addEventListener('disconnected', e => this.#lost(e.detail.error), { signal })
      this.#swarm.resolve(swarm)
      await swarm.closed
      throw new SwarmError(Code.NONE, 'the swarm was closed') // by who had connected it
    } catch (error) {
      if (signal.aborted) return
      this.failed = true
      this.#lost(error)
      this.#swarm.reject(error)
      if (!signal.aborted) this.#host.failed(error) // else it was given up when that was told
    }
  }

  /** Tries to connect until that has succeeded, or cannot. */
  async #connect (target: Parameters<typeof connect>[0]): Promise<Swarm> {
    const { signal } = this.#end
    for (let delay = FIRST; ; delay = Math.min(2 * delay, LAST)) {
      this.#began = Date.now()
      try {
        return await connect(target, { signal })
      } catch (error) {
        if (signal.aborted || !(error instanceof SwarmError) || error.permanent) throw error
        this.#lost(error)
      }
      await this.#wait(delay * (0.5 + Math.random() / 2))
      signal.throwIfAborted()
    }
  }

  /** Tells that it is not connected, once. */
  #lost (error: unknown): void {
    if (!this.#down) this.#host.disconnected(error)
    this.#down = true
  }

  #wait (delay: number): Promise<void> {
    return new Promise(resolve => {
      let timer = setTimeout(resolve, delay)
      this.#again = () => {
        clearTimeout(timer)
        timer = setTimeout(resolve, this.#end.signal.aborted ? 0 : Math.max(0, this.#began + APART - Date.now()))
      }
    })
  }
}
