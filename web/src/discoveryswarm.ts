import { Buffer } from 'buffer'
import { EventEmitter } from 'events'
import type { Peer, Swarm, Topic, TopicStatus } from './api.js'
import type {
  DiscoverySwarm as API, DiscoverySwarmConstructor, DiscoverySwarmJoinOptions, DiscoverySwarmOptions, Info, NodeDuplex
} from './discoveryswarmapi.js'
import { keyFrom, topicOf, whereIs, whereOf } from './discoveryswarmkey.js'
import { Link } from './discoveryswarmlink.js'
import { Known } from './discoveryswarmpeers.js'
import { CircuitStream } from './discoveryswarmstream.js'
import { wire } from './discoveryswarmwire.js'
import { safely } from './safely.js'

const GOODBYE = 1000 // ms that a swarm which is closed waits for its peers

type Callback = (error?: Error | null) => void

/** What was joined. */
interface Channel {
  /** The caller's. */
  key: Buffer
  options: DiscoverySwarmJoinOptions
  /** Called when the topic is joined, or cannot be. */
  told: Callback[]
  /** Ends when it is left, or when another gateway is wanted. */
  end: AbortController
  /** The gateway was asked for it, with options that hold no longer if there are others now. */
  asked?: boolean
  topic?: Topic
}

/** Implements `DiscoverySwarm`, on top of what the package's main entry exports. */
class Implementation extends EventEmitter implements API {
  readonly connections: CircuitStream[] = []
  readonly id: Buffer
  destroyed = false
  readonly #options: DiscoverySwarmOptions
  readonly #channels = new Map<string, Channel>() // by their keys in hexadecimal digits
  readonly #open = new Map<CircuitStream, Peer>()
  readonly #known: Known<CircuitStream>
  #closed: Promise<void> | undefined // once `close` was called
  #warned = false // that the gateway has not the network of old peers
  #connection: DiscoverySwarmOptions['connection']
  #link: Link

  constructor (options: DiscoverySwarmOptions = {}) {
    super()
    const { id = crypto.getRandomValues(new Uint8Array(32)), keepExistingConnections = false } = options
    this.#options = options
    this.id = Buffer.from(id as Uint8Array)
    this.#known = new Known(keepExistingConnections)
    this.#connection = options.connection ?? options.url ?? options.discovery as string
    this.#link = this.#linkTo(whereOf(options, DiscoverySwarm.defaultGateway))
  }

  get connected (): number { return this.connections.length }

  get totalConnections (): number { return this.#open.size }

  get connecting (): number { return this.#open.size - this.connections.length }

  get queued (): number { return 0 }

  address () { return { address: '', family: '', port: -1 } }

  listen (port?: number | (() => void), cb: unknown = port): void {
    if (typeof cb === 'function') this.once('listening', () => cb())
    setTimeout(() => { if (!this.destroyed) this.#tell('listening') }, 0)
  }

  join (key: Uint8Array | string, options?: DiscoverySwarmJoinOptions | Callback | null, cb?: Callback): void {
    if (typeof options === 'function') return this.join(key, null, options)
    const bytes = keyFrom(key, !!this.#options.defaultHash)
    if (this.destroyed) return void queueMicrotask(() => cb?.(new Error('the swarm was closed')))
    const hex = bytes.toString('hex')
    const channel = this.#channels.get(hex) ?? { key: bytes, options: {}, told: [], end: new AbortController() }
    if (cb) channel.told.push(cb)
    if (options) channel.options = options
    if (this.#channels.get(hex) !== channel) {
      this.#channels.set(hex, channel)
      void this.#serve(channel)
    } else if (this.#link.failed) void this.#serve(channel)
    else if (channel.topic || options && channel.asked) void this.#serve(channel, true)
  }

  leave (key: Uint8Array | string, cb?: () => void): void {
    const hex = keyFrom(key, !!this.#options.defaultHash).toString('hex')
    const channel = this.#channels.get(hex)
    this.#channels.delete(hex)
    const left = channel?.topic?.leave() ?? Promise.resolve()
    channel?.end.abort()
    const done = () => {
      if (channel) this.#answer(channel, new Error('the topic was left'))
      cb?.()
    }
    void left.then(done, done)
  }

  reconnect (connection?: DiscoverySwarmOptions['connection']): void {
    const where = connection && whereIs(connection, this.#options)
    if (this.destroyed) return
    if (!where || connection === this.#connection) return this.#link.retry()
    this.#connection = connection
    this.#link.close()
    this.#link = this.#linkTo(where)
    for (const channel of this.#channels.values()) {
      channel.end.abort()
      channel.end = new AbortController()
      delete channel.topic
      delete channel.asked
      void this.#serve(channel)
    }
  }

  close (cb?: () => void): void {
    this.destroyed = true
    this.#closed ??= this.#close()
    void this.#closed.then(() => safely(() => cb?.()))
  }

  destroy (cb?: () => void): void { this.close(cb) }

  async #close (): Promise<void> {
    const ends = Array.from(this.#channels.values(), async channel => {
      const { topic, end } = channel
      queueMicrotask(() => this.#answer(channel, new Error('the swarm was closed')))
      await topic?.leave()
      end.abort()
    })
    this.#channels.clear()
    for (const [stream, peer] of this.#open) {
      ends.push(peer.closed)
      stream.destroy()
    }
    await Promise.race([Promise.allSettled(ends), new Promise(resolve => setTimeout(resolve, GOODBYE))])
    this.#link.close()
    this.#tell('close')
  }

  #linkTo (where: ConstructorParameters<typeof Link>[0]): Link {
    return new Link(where, {
      disconnected: error => { if (!this.destroyed) this.#tell('disconnected', error) },
      failed: error => { if (!this.destroyed) this.#fail(error) }
    })
  }

  /** Has a channel joined, and takes its peers, unless it is only joined `again`. */
  async #serve (channel: Channel, again = false): Promise<void> {
    const { signal } = channel.end
    const link = this.#link
    const hex = channel.key.toString('hex')
    const gone = () => signal.aborted || this.#channels.get(hex) !== channel
    try {
      const topic = channel.topic = await this.#join(channel, signal)
      this.#answer(channel, null)
      if (again) return
      topic.addEventListener('status', e => this.#status(channel, e.detail))
      if (topic.status) this.#status(channel, topic.status) // it came together with JOINED
      for await (const peer of topic) this.#connect(channel, peer)
      if (!gone() && !link.failed) this.#channels.delete(hex) // a swarm that others use has left it
    } catch (error) {
      if (gone()) return
      const asked = this.#answer(channel, error as Error)
      if (link.failed) return // that was told, and the next gateway may take it
      if (!again) this.#channels.delete(hex)
      if (!asked) this.#fail(Object.assign(error as Error, { channel: channel.key }))
    }
  }

  /** Tells who waits for a channel, and reports whether anybody does. */
  #answer ({ told }: Channel, error: Error | null): boolean {
    const all = told.splice(0)
    for (const f of all) safely(() => f(error))
    return all.length > 0
  }

  async #join (channel: Channel, signal: AbortSignal): Promise<Topic> {
    const { defaultHash, maxConnections = 0 } = this.#options
    const topic = await topicOf(channel.key, !!defaultHash)
    const swarm: Swarm = await this.#link.swarm
    signal.throwIfAborted()
    channel.asked = true
    const { options } = channel
    return swarm.join(topic, {
      announce: options.announce ?? true,
      lookup: options.lookup ?? true,
      maxPeers: maxConnections >>> 0 === maxConnections ? maxConnections : 0,
      networks: this.#networks(channel),
      signal
    })
  }

  #networks ({ options }: Channel): readonly string[] {
    return options.networks ?? this.#options.networks ?? [this.#old, 'client', 'static', 'lan', 'dht']
  }

  /** The network of old peers that shake hands as this program does. */
  get #old (): string { return this.#options.defaultHandshake ? 'discovery-swarm' : 'dat' }

  /** Tells what the gateway knows of a channel, and once if it cannot look for old peers. */
  #status (channel: Channel, status: TopicStatus): void {
    this.#tell('status', status, channel.key)
    const old = status.networks.find(n => n.name === this.#old)
    if (this.#warned || !this.#networks(channel).includes(this.#old) || old && old.state !== 'ended') return
    this.#warned = true
    console.warn(`swarmgate: no peers of the network ${this.#old} will be found: ${old?.reason || 'the gateway was started without --dat'}`)
  }

  /** Takes a peer. */
  #connect (channel: Channel, peer: Peer): void {
    const info: Info = {
      type: 'proxy', channel: channel.key, initiator: peer.initiator, host: peer.id, port: -1, id: null, network: peer.network
    }
    const { stream: replicate } = this.#options
    const stream = new CircuitStream(peer, { halfOpen: replicate !== undefined })
    this.#open.set(stream, peer)
    stream.once('close', () => {
      this.#open.delete(stream)
      const at = this.connections.indexOf(stream)
      if (at >= 0) this.connections.splice(at, 1)
      this.#tell('connection-closed', stream, info)
    })
    this.#tell('peer', info)
    if (info.initiator) this.#tell('connecting', info)
    if (!replicate) {
      this.#tell('handshaking', stream, info)
      this.#connected(stream, info)
      return
    }
    try {
      const replication = replicate.call(this, info)
      wire(stream, replication, {
        shaken: remoteId => this.#shaken(stream, replication, info, remoteId),
        silent: () => this.#tell('handshake-timeout', stream, info)
      })
      this.#tell('handshaking', stream, info)
    } catch (error) {
      stream.destroy()
      this.#fail(error)
    }
  }

  /** The handshake of a replication stream is done. */
  #shaken (stream: CircuitStream, replication: NodeDuplex, info: Info, remoteId?: Uint8Array): void {
    const { id, remoteId: theirs, discoveryKey, channel } = replication as NodeDuplex & Record<string, unknown>
    const remote = remoteId ?? theirs
    info.id = hex(remote) ?? info.host
    if (hex(remote) !== undefined) {
      const of = hex(discoveryKey ?? channel)
      const suffix = of === undefined ? '' : `@${of}`
      const name = info.id + suffix
      const own = (hex(id) ?? this.id.toString('hex')) + suffix
      const dropped = this.#known.add(stream, own, name, info.initiator)
      stream.once('close', () => this.#known.remove(stream, name))
      if (dropped) {
        if (name === own) this.#tell('peer-banned', { peer: info, reason: 'detected-self' })
        else this.#tell('redundant-connection', dropped, info)
        dropped.destroy()
        if (dropped === stream) return
      }
    }
    this.#connected(stream, info)
  }

  #connected (stream: CircuitStream, info: Info): void {
    info.id ??= info.host
    this.connections.push(stream)
    this.#tell('connection', stream, info)
  }

  /** Tells an error, if only those who look at the console. */
  #fail (error: unknown): void {
    if (this.listenerCount('error') > 0) this.#tell('error', error)
    else console.error(error)
  }

  #tell (event: string, ...args: unknown[]): void { safely(() => this.emit(event, ...args)) }
}

/** Returns bytes in hexadecimal digits; undefined if they are none. */
function hex (bytes: unknown): string | undefined {
  return ArrayBuffer.isView(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex') : undefined
}

/**
 * The client of discovery-swarm-stream, and discovery-swarm-web, over a gateway: a class to extend,
 * which works without `new` as well.
 */
const DiscoverySwarm = new Proxy(Implementation, {
  apply: (swarm, _, [options]) => new swarm(options)
}) as unknown as DiscoverySwarmConstructor
DiscoverySwarm.defaultGateway = 'http://localhost:8080'
Object.assign(DiscoverySwarm, { DiscoverySwarmWeb: DiscoverySwarm, DiscoverySwarmStreamWebsocket: DiscoverySwarm })

export default DiscoverySwarm
