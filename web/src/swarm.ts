import type { ConnectOptions, GatewayAddress, JoinOptions, Offer, Peer, State, Swarm, Topic, Transport } from './api.js'
import { Code } from './codes.js'
import { deferred } from './deferred.js'
import { emit } from './emit.js'
import { SwarmError, isCode } from './errors.js'
import type { Gateway } from './gateway.js'
import { gatewaysOf } from './gateway.js'
import { topicFrom } from './key.js'
import type { Platform } from './platform.js'
import type { Hooks } from './reconnect.js'
import { Reconnect, delay } from './reconnect.js'
import type { SessionHost, Who } from './session.js'
import { Session } from './session.js'
import { JoinedTopic } from './topic.js'

/** Implements `connect`. */
export async function open (
  target: GatewayAddress | readonly GatewayAddress[] | ConnectOptions, signal: AbortSignal | undefined, platform: Platform
): Promise<Swarm> {
  signal?.throwIfAborted()
  const { agent = 'swarmgate-web' } = target as ConnectOptions
  const client = new Client(gatewaysOf(target), agent, platform)
  onAbort(signal, client.closed, () => client.close())
  try {
    await client.start()
  } catch (e) {
    signal?.throwIfAborted()
    throw e
  }
  return client
}

/** Calls `f` when a signal is aborted, until `end` is settled. */
function onAbort (signal: AbortSignal | undefined, end: Promise<void>, f: () => void): void {
  if (!signal) return
  const done = () => signal.removeEventListener('abort', f)
  signal.addEventListener('abort', f)
  end.then(done, done)
}

/** The topics that a page wants, and the sessions that serve them. */
class Client extends EventTarget implements Swarm {
  readonly #gateways: Gateway[]
  readonly #who: Who
  readonly #platform: Platform
  readonly #machine: Reconnect<Session>
  readonly #first = deferred()
  readonly #closed = deferred()
  readonly #topics = new Map<string, JoinedTopic>()
  readonly #sessions = new Set<Session>() // that have not ended: those of an attempt, the current one, and those that were retired
  readonly #cancelWatch: () => void
  #gateway = ''
  #end: SwarmError | undefined // it was closed

  constructor (gateways: Gateway[], agent: string, platform: Platform) {
    super()
    this.#gateways = gateways
    this.#who = { secret: crypto.getRandomValues(new Uint8Array(16)), agent }
    this.#platform = platform
    this.#machine = new Reconnect(gateways.length, gateways.some(g => g.renews), this.#hooks(), platform.clock)
    this.#cancelWatch = platform.watch(() => {
      for (const s of this.#sessions) s.wake()
      this.#machine.nudge()
    }, () => {
      for (const s of this.#sessions) s.sleep()
    })
  }

  get state (): State { return this.#machine.state }

  get gateway (): string { return this.#gateway }

  get transport (): Transport | undefined { return this.#machine.current?.transport }

  get closed (): Promise<void> { return this.#closed.promise }

  /** Makes the first attempt, and rejects if it fails. */
  start (): Promise<void> {
    this.#machine.start()
    return this.#first.promise
  }

  join (topic: string | Uint8Array, options: JoinOptions & { offerOnly: true }): Promise<Topic<Offer>>
  join (topic: string | Uint8Array, options?: JoinOptions & { offerOnly?: false }): Promise<Topic>
  join (topic: string | Uint8Array, options?: JoinOptions): Promise<Topic<Peer | Offer>>
  async join (topic: string | Uint8Array, options: JoinOptions = {}): Promise<Topic<any>> { // Peer or Offer, as the options say
    const { maxPeers = 0, networks = [], signal } = options
    if (!isCode(maxPeers) || networks.length > 16) throw new RangeError('maxPeers or networks')
    const name = await topicFrom(topic)
    signal?.throwIfAborted()
    if (this.#end) throw this.#end
    const t = this.#topics.get(name) ?? new JoinedTopic(name, {
      clock: this.#platform.clock,
      leave: async t => { await Promise.all(this.#forget(t)) },
      connect: async (c, signal) => {
        if (this.#machine.current) return this.#machine.current.connect(c, signal)
        throw new SwarmError(Code.PEER_GONE, 'the connection was lost')
      }
    })
    this.#topics.set(name, t)
    t.options = options
    for (const s of this.#sessions) s.join(t)
    onAbort(signal, t.closed, () => void t.leave())
    try {
      await t.joined.promise
    } catch (e) {
      signal?.throwIfAborted()
      throw e
    }
    return t
  }

  retry (): void { this.#machine.nudge() }

  close (): void { this.#finish() }

  /** Ends a topic here, and at gateways, which is what the promises wait for. */
  #forget (topic: JoinedTopic, error?: SwarmError): Array<Promise<void>> {
    if (this.#topics.get(topic.hex) === topic) this.#topics.delete(topic.hex)
    topic.end(error)
    return Array.from(this.#sessions, s => s.leave(topic))
  }

  #finish (error?: SwarmError): void {
    if (this.#end) return
    this.#end = error ?? new SwarmError(Code.NONE, 'the swarm was closed')
    this.#cancelWatch()
    this.#machine.close()
    for (const s of this.#sessions) s.close(this.#end)
    for (const t of this.#topics.values()) t.end(error)
    this.#topics.clear()
    this.#sessions.clear()
    this.#first.reject(this.#end)
    if (error) this.#closed.reject(error)
    else this.#closed.resolve()
  }

  /** What the state machine has us do. */
  #hooks (): Hooks<Session> {
    return {
      drop: s => {
        this.#sessions.delete(s)
        s.close()
      },
      dial: gateway => {
        const s = new Session(this.#platform, this.#host, this.#gateways[gateway]!, this.#who)
        for (const t of this.#topics.values()) s.join(t)
        this.#sessions.add(s)
        void s.start()
        return s
      },
      connected: (s, gateway) => {
        for (const old of this.#sessions) {
          if (old === s) continue
          if (old.gateway === s.gateway) old.sleep() // the gateway has ended it
          else old.retire()
        }
        s.adopted.resolve()
        this.#gateway = this.#gateways[gateway]!.origin
        this.#first.resolve()
        emit(this, 'connected', { gateway: this.#gateway })
      },
      disconnected: error => emit(this, 'disconnected', { error }),
      reconnecting: wait => emit(this, 'reconnecting', wait),
      closed: error => this.#finish(error)
    }
  }

  /** What sessions tell us. */
  readonly #host: SessionHost = {
    welcomed: s => this.#machine.welcomed(s),
    ended: (s, error) => {
      this.#sessions.delete(s)
      this.#machine.ended(s, error)
    },
    heard: s => this.#machine.heard(s),
    silent: (s, again) => this.#machine.silent(s, again),
    goaway: (s, m) => this.#machine.goaway(s, this.#gateways.indexOf(s.gateway), m.retryAfter),
    refused: (s, topic, error) => {
      const { clock } = this.#platform
      topic.cancelTimer()
      if (([Code.BUSY, Code.RATE_LIMITED, Code.SHUTDOWN] as number[]).includes(error.code)) {
        topic.cancelTimer = clock.after(delay(topic.refusals++, clock), () => s.join(topic))
      } else this.#forget(topic, error)
    }
  }
}
