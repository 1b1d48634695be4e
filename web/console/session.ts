import { Code, SwarmError, connect } from 'swarmgate'
import type { Peer, Swarm, Topic } from 'swarmgate'
import { identity, secret } from 'swarmgate/secret'
import type { Circuit } from './link.js'
import type { Place } from './share.js'
import { loadToken, saveToken } from './token.js'

const FIRST_DELAY = 1000
const MAX_DELAY = 30_000

/** Where the connection with the gateway is. */
export type Phase =
  | { name: 'connecting' }
  | { name: 'connected' }
  | { name: 'waiting', until: number, attempt: number, error: unknown } // until is that of Date.now
  | { name: 'closed', error: unknown }

/** A place that was joined. */
export interface Joined {
  topic: Topic
  /** Peers as they come. */
  peers: AsyncIterable<Circuit>
  /** The key that peers in a secret room see of this page. */
  key?: Uint8Array
}

/** What a session tells. */
export interface SessionEvents {
  phase: (phase: Phase) => void
}

/** The connection of this page with its gateway. */
export class Session {
  phase: Phase = { name: 'connecting' }
  readonly #url: string
  readonly #events: SessionEvents
  #swarm: Promise<Swarm> = new Promise(() => {}) // before start
  #retry = () => {} // ends the wait, ours or the swarm's
  #token = loadToken()
  #identity: Promise<CryptoKeyPair> | undefined

  /** Does nothing before `start`. */
  constructor (url: string, events: SessionEvents) {
    this.#url = url
    this.#events = events
  }

  /** Connects, and stays connected. */
  start (): void {
    this.#swarm = this.#open()
    this.#swarm.catch(() => {}) // told as the phase
  }

  /** Connects anew, with a token that is kept for this tab. It is for a session that is closed. */
  enter (token: string): void {
    this.#token = token
    saveToken(token)
    this.start()
  }

  /**
   * Joins a place, once there is a connection. `refused` is called for those who are on the topic
   * of a secret room and do not know the secret.
   */
  async join ({ kind, text }: Place, { signal, refused }: { signal: AbortSignal, refused: (peer: Peer) => void }): Promise<Joined> {
    const swarm = await this.#swarm
    if (kind === 'topic') {
      const topic = await swarm.join(text, { signal })
      return { topic, peers: topic }
    }
    const room = await secret(text, { identity: await (this.#identity ??= identity('console')) })
    const sealed = await room.join(swarm, { signal, refused })
    return { topic: sealed.topic, peers: sealed, key: room.key }
  }

  /** Ends a wait. */
  retry (): void { this.#retry() }

  /** Connects for the first time, again and again. Later the swarm itself does. */
  async #open (): Promise<Swarm> {
    for (let attempt = 1; ; attempt++) {
      this.#set({ name: 'connecting' })
      try {
        return this.#watch(await connect({ url: this.#url, agent: 'swarmgate console', token: this.#token }))
      } catch (error) {
        if (!(error instanceof SwarmError) || error.permanent) { // or a mistake of the caller, such as an address that is none
          this.#set({ name: 'closed', error })
          throw error
        }
        const ms = Math.min(MAX_DELAY, FIRST_DELAY * 2 ** (attempt - 1)) * (1 + Math.random()) / 2
        await new Promise<void>(resolve => {
          const timer = setTimeout(resolve, ms)
          this.#retry = () => {
            clearTimeout(timer)
            resolve()
          }
          this.#set({ name: 'waiting', until: Date.now() + ms, attempt, error })
        })
      }
    }
  }

  #watch (swarm: Swarm): Swarm {
    this.#retry = () => swarm.retry()
    this.#set({ name: 'connected' })
    swarm.addEventListener('connected', () => this.#set({ name: 'connected' }))
    swarm.addEventListener('disconnected', () => this.#set({ name: 'connecting' }))
    swarm.addEventListener('reconnecting', ({ detail: { attempt, delay, error } }) => {
      this.#set({ name: 'waiting', until: Date.now() + delay, attempt, error })
    })
    swarm.closed.catch((error: unknown) => this.#set({ name: 'closed', error }))
    return swarm
  }

  #set (phase: Phase): void {
    this.phase = phase
    this.#events.phase(phase)
  }
}

/** Reports whether another token may help after an error. */
export function wantsToken (e: unknown): boolean {
  return e instanceof SwarmError && (e.code === Code.UNAUTHORIZED || e.code === Code.TOKEN_EXPIRED)
}

/** Says for people why there is no connection, and what to do. */
export function excuse (e: unknown, origin: string): { text: string, todo: string } {
  const text = e instanceof SwarmError && e.reason !== '' ? e.reason : String(e)
  const code = e instanceof SwarmError ? e.code : Code.INTERNAL
  switch (code) {
    case Code.FORBIDDEN: return {
      text: `The gateway takes no sessions from pages of ${origin}.`,
      todo: `Its operator can allow them with --allow-origin ${origin}, or with --name for the name it is known by.`
    }
    case Code.UNAUTHORIZED: return { text: `The gateway lets in who has a token (${text}).`, todo: 'Its operator has them.' }
    case Code.TOKEN_EXPIRED: return { text: 'The token of this page has expired.', todo: 'The gateway’s operator has new ones.' }
    case Code.VERSION: return { text: 'This page and the gateway speak different versions of the protocol.', todo: 'Reload the page.' }
    case Code.REPLACED: return { text: 'Another session with the identity of this page took over.', todo: 'Reload the page.' }
    case Code.BUSY:
    case Code.RATE_LIMITED: return { text: 'The gateway has no room for this page now.', todo: 'It is tried again.' }
    case Code.SHUTDOWN: return { text: 'The gateway is being restarted.', todo: 'It is tried again.' }
    case Code.PEER_UNREACHABLE:
    case Code.PEER_GONE:
    case Code.IDLE: return {
      text: `The gateway does not answer (${text}).`,
      todo: 'Does it run, and does the network let UDP through to its port? It is tried again.'
    }
    default: return {
      text: 'WebTransport' in globalThis ? text : 'This browser has no WebTransport.',
      todo: 'WebTransport' in globalThis ? 'Reload the page.' : 'Use a current Chromium, Chrome, Edge or Firefox; the page has to come from https, or from this computer.'
    }
  }
}
