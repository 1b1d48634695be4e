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
  /** Opens a session with a gateway, with the JOINs of all topics. Its end is told by `ended`, and never before dial returns. */
  dial: (gateway: number) => S
  /** Ends a session that did not come about, without telling `ended`. */
  drop: (session: S) => void
  /** Topics and circuits belong to this session from now on. */
  adopt: (session: S, gateway: number) => void
  /** Lets a session go: another one has taken its place, and its circuits may end first. */
  retire: (session: S) => void
  disconnected: (error: SwarmError) => void
  reconnecting: (wait: Wait) => void
  connected: (gateway: number) => void
  /** Nothing follows. */
  closed: (error: SwarmError) => void
}

/** Returns the n-th delay in a row, n from 0, in ms. */
export function delay (n: number, clock: Clock): number {
  return Math.min(MAX_DELAY, FIRST_DELAY * 2 ** n) * (1 + clock.random()) / 2
}

/** Keeps a client connected to one of several gateways. It knows nothing of what a session is. */
export class Reconnect<S> {
  readonly #hooks: Hooks<S>
  readonly #clock: Clock
  readonly #until: number[] // of each gateway: not to be connected to before, because of its GOAWAY

  #state: State = 'connecting'
  #current: S | undefined
  #since = 0 // when the current session began
  #gateway = 0 // that of the current session, or that worked last
  #moving: 'goaway' | 'silence' | undefined // why another session is tried beside the current one

  #tries = new Map<S, number>() // sessions of the attempt, and their gateways
  #order: number[] = [] // gateways that the attempt has not tried yet
  #error: SwarmError | undefined // of the attempt: the first that is permanent, else the last

  #waits = 0 // in a row
  #attempt = 0 // since the session was lost
  #nudged = -Infinity
  #cancelTimer = () => {} // of the wait, or of the attempt's end
  #cancelStagger = () => {}

  /** Does nothing before `start`. */
  constructor (gateways: number, hooks: Hooks<S>, clock: Clock) {
    this.#hooks = hooks
    this.#clock = clock
    this.#until = Array<number>(gateways).fill(-Infinity)
  }

  get state (): State { return this.#state }

  /** Makes the first attempt. */
  start (): void { this.#connect() }

  /** WELCOME came on a session. */
  welcomed (session: S): void {
    const gateway = this.#tries.get(session)
    if (gateway === undefined) return
    this.#tries.delete(session)
    this.#stop()
    const old = this.#current
    if (old !== undefined) this.#age()
    this.#current = session
    this.#gateway = gateway
    this.#since = this.#clock.now()
    this.#moving = undefined
    this.#state = 'connected'
    this.#hooks.adopt(session, gateway)
    if (old !== undefined) {
      this.#hooks.retire(old)
    } else {
      this.#attempt = 0
      this.#hooks.connected(gateway)
    }
  }

  /** A session ended without our will. */
  ended (session: S, error: SwarmError): void {
    if (session === this.#current) {
      this.#lost(error)
    } else if (this.#tries.delete(session)) {
      if (!this.#error || !isPermanent(this.#error.code)) this.#error = error
      if (this.#order.length > 0) this.#next()
      else if (this.#tries.size === 0) this.#failed()
    }
  }

  /** GOAWAY came on a session: its gateway is to be left alone for so many ms. */
  goaway (session: S, retryAfter: number): void {
    if (session !== this.#current) return
    this.#until[this.#gateway] = this.#clock.now() + retryAfter
    const moving = this.#moving
    this.#moving = 'goaway'
    if (!moving) this.#move()
  }

  /** A PING of a session with circuits was not answered for 3 s. */
  silent (session: S): void {
    if (session !== this.#current || this.#moving) return
    this.#moving = 'silence'
    this.#move()
  }

  /** A frame came on a session. */
  heard (session: S): void {
    if (session !== this.#current || this.#moving !== 'silence') return
    this.#moving = undefined
    this.#stop()
  }

  /** Something says that the network is back: a wait ends, unless all gateways want to be left alone. */
  nudge (): void {
    const now = this.#clock.now()
    if (this.#state !== 'waiting' || now - this.#nudged < NUDGE || now < Math.min(...this.#until)) return
    this.#nudged = now
    this.#connect()
  }

  /** Ends it without a word. The current session is the caller's. */
  close (): void {
    this.#state = 'closed'
    this.#current = undefined
    this.#stop()
  }

  #connect (): void {
    this.#state = 'connecting'
    this.#begin(this.#inOrder())
  }

  /** Tries other gateways beside the current session, if there are any. */
  #move (): void {
    const others = this.#inOrder().filter(g => g !== this.#gateway)
    if (others.length > 0) this.#begin(others)
  }

  /** Returns all gateways: what worked last comes first, those that want to be left alone come last. */
  #inOrder (): number[] {
    const now = this.#clock.now()
    const rank = (g: number) => this.#until[g]! > now ? 2 : g === this.#gateway ? 0 : 1
    return [...this.#until.keys()].sort((a, b) => rank(a) - rank(b))
  }

  #begin (order: number[]): void {
    this.#stop()
    this.#order = order
    this.#error = undefined
    this.#limit()
    this.#next()
  }

  /** Tries the next gateway. */
  #next (): void {
    this.#cancelStagger()
    const gateway = this.#order.shift()!
    this.#tries.set(this.#hooks.dial(gateway), gateway)
    if (this.#order.length > 0) this.#cancelStagger = this.#clock.after(STAGGER, () => this.#next())
  }

  /** Limits the attempt. A timer that comes late proves nothing. */
  #limit (): void {
    const due = this.#clock.now() + ATTEMPT
    this.#cancelTimer = this.#clock.after(ATTEMPT, () => {
      if (this.#clock.now() - due > LATE) return this.#limit()
      this.#error ??= new SwarmError(Code.PEER_UNREACHABLE, 'no gateway answered')
      this.#failed()
    })
  }

  /** Ends an attempt and its timers. */
  #stop (): void {
    this.#cancelTimer()
    this.#cancelStagger()
    this.#order = []
    const tries = [...this.#tries.keys()]
    this.#tries.clear()
    for (const session of tries) this.#hooks.drop(session)
  }

  /** The attempt has failed. */
  #failed (): void {
    const error = this.#error!
    this.#stop()
    if (this.#current !== undefined) this.#cancelTimer = this.#clock.after(delay(this.#waits++, this.#clock), () => this.#move())
    else if (isPermanent(error.code)) this.#close(error)
    else this.#wait(error)
  }

  #lost (error: SwarmError): void {
    this.#current = undefined
    this.#moving = undefined
    const trying = this.#tries.size > 0
    // One that is replaced while another one is tried may be so by that one, where two addresses lead to one gateway.
    if (isPermanent(error.code) && !(trying && error.code === Code.REPLACED)) return this.#close(error)
    this.#age()
    this.#hooks.disconnected(error)
    if (this.#state === 'closed') return
    if (!trying) return this.#wait(error)
    this.#state = 'connecting'
    this.#hooks.reconnecting({ attempt: ++this.#attempt, delay: 0, error })
  }

  /** Begins the row of delays anew if the session, which is over, lived long enough. */
  #age (): void {
    if (this.#clock.now() - this.#since >= LIVED) this.#waits = 0
  }

  #wait (error: SwarmError): void {
    this.#stop()
    this.#state = 'waiting'
    const ms = Math.max(delay(this.#waits++, this.#clock), Math.min(...this.#until) - this.#clock.now())
    this.#cancelTimer = this.#clock.after(ms, () => this.#connect())
    this.#hooks.reconnecting({ attempt: ++this.#attempt, delay: ms, error })
  }

  #close (error: SwarmError): void {
    this.close()
    this.#hooks.closed(error)
  }
}
