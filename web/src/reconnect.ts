import type { State } from './api.js'
import type { Clock } from './clock.js'
import { LATE } from './clock.js'
import { Code, isPermanent } from './codes.js'
import { SwarmError } from './errors.js'

const ATTEMPT = 10_000 // ms without WELCOME from any gateway
const STAGGER = 500 // ms that a gateway has before the next one is tried beside it
const FIRST_DELAY = 500
const MAX_DELAY = 30_000
const LIVED = 30_000 // ms after which a session begins the row of delays anew
const NUDGE = 1000 // ms between two waits that are cut short

/** A wait before the next attempt to connect. */
export interface Wait {
  /** Number of the attempt that follows, from 1 since the session was lost. */
  attempt: number
  /** How long it waits before, in ms. */
  delay: number
  /** Why the session, or the last attempt, failed. */
  error: SwarmError
}

/** What the state machine has done by others. S is a session, or what will be one. */
export interface Hooks<S> {
  /**
   * Opens a session with a gateway, with the JOINs of all topics. Its end is told by `ended`, and
   * never before `dial` returns.
   */
  dial: (gateway: number) => S
  /** Ends a session that did not come about, without telling `ended`. */
  drop: (session: S) => void
  /**
   * Topics and circuits belong to this session from now on; one before it, if there still is one,
   * is let go.
   */
  connected: (session: S, gateway: number) => void
  disconnected: (error: SwarmError) => void
  reconnecting: (wait: Wait) => void
  /** Nothing follows. */
  closed: (error: SwarmError) => void
}

/** Returns the n-th delay in a row, n from 0, in ms. */
export function delay (n: number, clock: Clock): number {
  return Math.min(MAX_DELAY, FIRST_DELAY * 2 ** n) * (1 + clock.random()) / 2
}

/**
 * Keeps a client connected to one of several gateways (docs/PROTOCOL.md, Coming back). It knows
 * nothing of what a session is.
 */
export class Reconnect<S> {
  readonly #hooks: Hooks<S>
  readonly #clock: Clock
  readonly #renews: boolean // each attempt has a token of its own
  readonly #rested: number[] // by gateway: not to be tried before, because of its GOAWAY
  readonly #tries = new Map<S, number>() // those that have not said WELCOME yet, and their gateways

  /** The session that topics and circuits belong to, if there is one. */
  current: S | undefined
  #at = -1 // the gateway of the current session
  #since = 0 // when that began
  #leaving?: boolean // it is to be left whatever comes
  #again?: boolean // its gateway is to be tried in another way
  #best = 0 // the gateway that worked last
  #met?: boolean // there has been a session

  #search: State = 'connecting' // what the search for a session is at: 'connected' is that there is none
  #until = 0 // when the race is over
  #order: number[] = [] // gateways that are still to be tried in this race
  #next = 0 // when the first of them is
  #beside = -Infinity // when a gateway was last tried beside another one or a session
  #hopeless: SwarmError | undefined // of the race: the first error that is permanent
  #error: SwarmError | undefined // the first

  #waits = 0 // in a row
  #attempt = 0 // since the session was lost
  #refused: number | undefined // the attempt in which a token was refused first since WELCOME
  #nudged = -Infinity
  #cancelTimer = () => {}

  /** Does nothing before `start`. */
  constructor (gateways: number, renews: boolean, hooks: Hooks<S>, clock: Clock) {
    this.#renews = renews
    this.#hooks = hooks
    this.#clock = clock
    this.#rested = Array<number>(gateways).fill(-Infinity)
  }

  get state (): State { return this.#at < 0 ? this.#search : 'connected' }

  /** Makes the first attempt. Where that fails, it is over. */
  start (): void { this.#race() }

  /** WELCOME came on a session. It takes the place of the one before. */
  welcomed (session: S): void {
    const gateway = this.#tries.get(session)
    if (gateway === undefined) return
    this.#tries.delete(session)
    this.#stop()
    this.#age()
    this.current = session
    this.#at = this.#best = gateway
    this.#since = this.#clock.now()
    this.#met = true
    this.#leaving = this.#again = false
    this.#attempt = 0
    this.#refused = undefined
    this.#hooks.connected(session, gateway)
  }

  /** A session ended without our will. */
  ended (session: S, error: SwarmError): void {
    if (session === this.current) return this.#lost(error)
    if (!this.#tries.delete(session)) return
    this.#error ??= error
    if (this.#permanent(error)) this.#hopeless ??= error
    this.#next = this.#clock.now()
    this.#advance()
  }

  /**
   * GOAWAY came on a session, the current one or one that was left: its gateway is to be left
   * alone for so many ms.
   */
  goaway (session: S, gateway: number, retryAfter: number): void {
    this.#rested[gateway] = this.#clock.now() + retryAfter
    if (session !== this.current) return
    this.#leaving = true
    this.#move()
  }

  /**
   * A PING of a session with circuits was not answered for 3 s. `again`: its gateway may be reached
   * in another way, and is tried as well.
   */
  silent (session: S, again = false): void {
    if (session !== this.current) return
    this.#again = again
    this.#move()
  }

  /** A frame came on a session. */
  heard (session: S): void {
    if (session !== this.current || this.#leaving) return
    this.#again = false
    this.#stop()
  }

  /**
   * Something says that the network is back: a wait ends, unless all gateways want to be left
   * alone.
   */
  nudge (): void {
    const now = this.#clock.now()
    if (this.state !== 'waiting' || now - this.#nudged < NUDGE || now < this.#rested[this.#inOrder()[0]!]!) return
    this.#nudged = now
    this.#race()
  }

  /** Ends it without a word. The current session is the caller's. */
  close (): void {
    this.#stop()
    this.#search = 'closed'
    this.current = undefined
    this.#at = -1
  }

  /**
   * Looks for another gateway beside the current session, if there is one and this is not done
   * already.
   */
  #move (): void {
    if (this.#search !== 'connected' || this.#inOrder().length === 0) return
    this.#age()
    this.#race()
  }

  /** Begins the row of delays anew if there is a session that has lived for long enough. */
  #age (): void {
    if (this.#at >= 0 && this.#clock.now() - this.#since >= LIVED) this.#waits = 0
  }

  /**
   * Returns the gateways, of which that of the session only if it is tried again: what may be
   * tried first comes first, and of these what worked last.
   */
  #inOrder (): number[] {
    const now = this.#clock.now()
    const rest = (g: number) => Math.max(0, this.#rested[g]! - now)
    return [...this.#rested.keys()].filter(g => this.#again || g !== this.#at)
      .sort((a, b) => rest(a) - rest(b) || Number(b === this.#best) - Number(a === this.#best))
  }

  /** Begins to try gateways. */
  #race (): void {
    this.#search = 'connecting'
    this.#next = this.#clock.now()
    this.#until = this.#next + ATTEMPT
    this.#order = this.#inOrder()
    this.#error = this.#hopeless = undefined
    this.#advance()
  }

  /** When the next gateway is tried. */
  get #due (): number { return this.#order.length > 0 ? Math.max(this.#next, this.#rested[this.#order[0]!]!) : Infinity }

  /** Tries the gateways whose time has come. The race is over when none is tried. */
  #advance (): void {
    for (const now = this.#clock.now(); this.#due <= now; this.#next = now + STAGGER) {
      if (this.#at >= 0 || this.#tries.size > 0) this.#beside = now
      const gateway = this.#order.shift()!
      this.#tries.set(this.#hooks.dial(gateway), gateway)
    }
    if (this.#tries.size > 0) this.#schedule(Math.min(this.#due, this.#until))
    else this.#fail(new SwarmError(Code.SHUTDOWN, 'no gateway is free'))
  }

  #schedule (due: number): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#clock.after(due - this.#clock.now(), () => this.#tick(due))
  }

  /**
   * Does what was due. In a race, a timer that comes late says that this page did not run, and
   * nothing about gateways.
   */
  #tick (due: number): void {
    const now = this.#clock.now()
    if (this.#search === 'waiting') return this.#race()
    if (now - due > LATE) this.#until = now + ATTEMPT
    if (now < this.#until) this.#advance()
    else this.#fail(new SwarmError(Code.PEER_UNREACHABLE, 'no answer'))
  }

  /** Ends a race that nobody won. Beside a session that is no reason to end. */
  #fail (otherwise: SwarmError): void {
    const error = this.#hopeless ?? this.#error ?? otherwise
    if (this.#at < 0 && (!this.#met || this.#hopeless)) this.#close(error)
    else this.#wait(error)
  }

  #lost (error: SwarmError): void {
    this.#age()
    this.current = undefined
    this.#at = -1
    if (this.#permanent(error)) return this.#close(error)
    this.#error = this.#hopeless = undefined // what was said beside a session ends nothing
    if (this.#search === 'connected') this.#search = 'waiting'
    this.#hooks.disconnected(error)
    if (this.#search === 'connecting') this.#reconnecting(0, error) // with one that was to take its place
    else if (this.#search === 'waiting') this.#wait(error)
  }

  /**
   * Waits before the next race. Without a session it is told, with the error of what came before.
   */
  #wait (error: SwarmError): void {
    this.#stop()
    this.#search = 'waiting'
    const now = this.#clock.now()
    const due = Math.max(now + delay(this.#waits++, this.#clock), this.#rested[this.#inOrder()[0]!]!)
    this.#schedule(due)
    if (this.#at < 0) this.#reconnecting(due - now, error)
  }

  #reconnecting (delay: number, error: SwarmError): void {
    this.#hooks.reconnecting({ attempt: ++this.#attempt, delay, error })
  }

  /** Ends a search, its timer and what it tries. */
  #stop (): void {
    this.#search = 'connected'
    this.#cancelTimer()
    this.#order = []
    const tries = [...this.#tries.keys()]
    this.#tries.clear()
    for (const session of tries) this.#hooks.drop(session)
  }

  /**
   * Reports whether trying again cannot help. That a session was replaced may be this client's own
   * doing, if two addresses lead to one gateway. If a gateway refused a token, another one
   * may help, once after each session.
   */
  #permanent ({ code, remote }: SwarmError): boolean {
    if (code === Code.REPLACED) return this.#clock.now() - this.#beside >= ATTEMPT
    if (this.#renews && this.#met && remote && (code === Code.UNAUTHORIZED || code === Code.TOKEN_EXPIRED)) {
      return (this.#refused ??= this.#attempt) !== this.#attempt
    }
    return isPermanent(code)
  }

  #close (error: SwarmError): void {
    this.close()
    this.#hooks.closed(error)
  }
}
