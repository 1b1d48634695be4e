import type { SwarmError } from './errors.js'

/**
 * What a gateway asks for to let clients in, at most 8,192 bytes; or a function that returns it,
 * which is called before each attempt to connect. An error that it throws fails the attempt, and it
 * is called again later, unless that is a SwarmError whose `permanent` is true. Its signal is
 * aborted when the attempt is given up.
 */
export type Token = string | Uint8Array | ((signal: AbortSignal) => string | Uint8Array | Promise<string | Uint8Array>)

/**
 * Where a gateway is: an address such as `https://gateway.example` whose info document tells the
 * rest, or one with the SHA-256 hashes of its certificates, each 32 bytes or 64 hexadecimal
 * digits, which needs no document. A gateway URL (`swarmgate://host:4433/?h=…`) says both; a topic
 * in it is ignored here.
 */
export type GatewayAddress = string | URL | {
  url: string | URL
  hashes?: ReadonlyArray<string | Uint8Array>
  /** Instead of that of all gateways. */
  token?: Token
}

/** How a session reaches its gateway. */
export type Transport = 'webtransport' | 'websocket'

/** How to connect. */
export interface ConnectOptions {
  /** The gateway; or `gateways`. */
  url?: string | URL
  /** Several gateways, each once: the first that answers is used, the others if it fails. */
  gateways?: readonly GatewayAddress[]
  /** Certificate hashes of gateways that have none of their own. */
  hashes?: ReadonlyArray<string | Uint8Array>
  /** What the gateways ask for to let clients in. */
  token?: Token
  /** Told to the gateway, for people; at most 256 bytes. */
  agent?: string
  /**
   * What may be used: both unless given. WebTransport is tried first, and WebSocket 500 ms later or
   * when that fails; the first that is ready is used. If it was WebSocket, that is tried first for
   * an hour, and so it is in Safari.
   */
  transports?: readonly Transport[]
}

/** How to join a topic. */
export interface JoinOptions {
  /** Be found by others. True unless given. */
  announce?: boolean
  /** Find others. True unless given. */
  lookup?: boolean
  /** Circuits at once on this topic, at most; below 2^32. 0 or nothing leaves it to the gateway. */
  maxPeers?: number
  /**
   * Let peers open further circuits, which come out of `peer.streams`. Without it the gateway
   * refuses them. `peer.open` works in either case.
   */
  streams?: boolean
  /**
   * Names of the networks to be on, such as `dht` and `client`; at most 16. None, or an empty
   * list, leaves it to the gateway.
   */
  networks?: readonly string[]
  /** Yield an `Offer` for every peer, to be accepted or declined, instead of the peer. */
  offerOnly?: boolean
  /** Ends the join: `join` rejects with its reason, and a topic that is joined is left. */
  signal?: AbortSignal
}

/** How one network does on a topic. */
export interface NetworkStatus {
  /** `dht`, `lan`, `static`, … */
  name: string
  /**
   * `starting`: has not answered yet. `searching`: works. `failing`: its last attempt failed, and
   * it goes on. `ended`: gave up. `queued`: works, and waits for its turn to look for the topic
   * the first time.
   */
  state: 'starting' | 'searching' | 'failing' | 'ended' | 'queued' | 'unknown'
  /** Peers remembered. */
  found: number
  /** Of them, those that are being dialed. */
  connecting: number
  /** Of them, those whose last dial failed. */
  refused: number
  /**
   * Why the last attempt of the network, or the last dial of a peer of it, failed; see `Code`. 0
   * if none did.
   */
  code: number
  /**
   * Why nobody may be found, or find this client, on the network, and what can be done: for
   * people. Empty while nothing is wrong.
   */
  reason: string
}

/** What the gateway knows of a topic. */
export interface TopicStatus {
  /** Others on the topic. */
  known: number
  /** There may be more than `known`. */
  more: boolean
  /** Circuits that this client has on the topic. */
  connected: number
  networks: NetworkStatus[]
}

/**
 * Events of a `Swarm`. They come in this order, each once a change; `connected` alone is a move to
 * another gateway.
 */
export interface SwarmEvents {
  /** The session was lost, and no other one took its place. */
  disconnected: CustomEvent<{ error: SwarmError }>
  /** A wait begins; an attempt to connect follows it. */
  reconnecting: CustomEvent<{
    /** From 1 since the session was lost. */
    attempt: number
    /** Milliseconds before it. */
    delay: number
    /** Why the session, or the last attempt, failed. */
    error: SwarmError
  }>
  /**
   * There is a session again, or one with another gateway in place of the one before; the topics
   * are joined again.
   */
  connected: CustomEvent<{ gateway: string }>
}

/** Events of a `Topic`. */
export interface TopicEvents {
  /** `topic.status` has changed. */
  status: CustomEvent<TopicStatus>
  /** A peer has come: its first circuit is open. The iteration yields the same object. */
  peer: CustomEvent<Peer>
  /**
   * A peer that came has left: its last circuit has ended, or the topic has. If it is connected
   * anew before that, another `peer` follows.
   */
  leave: CustomEvent<Peer>
}

/** Events of a `Peer`. */
export interface PeerEvents {
  /** The circuit has ended; `peer.closed` says how. */
  close: Event
}

/** An EventTarget that knows its events. */
export interface Target<Events> extends EventTarget {
  addEventListener<K extends keyof Events & string> (
    type: K, listener: ((event: Events[K]) => unknown) | EventListenerObject | null, options?: boolean | AddEventListenerOptions): void
  addEventListener (type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void
  removeEventListener<K extends keyof Events & string> (
    type: K, listener: ((event: Events[K]) => unknown) | EventListenerObject | null, options?: boolean | EventListenerOptions): void
  removeEventListener (type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | EventListenerOptions): void
}

/** What a swarm is doing (docs/PROTOCOL.md, Coming back). */
export type State = 'connecting' | 'connected' | 'waiting' | 'closed'

/**
 * A client of one or several gateways, made by `connect`. It stays connected, and joins its topics
 * again, until it is closed.
 */
export interface Swarm extends Target<SwarmEvents> {
  /** What it is doing. */
  readonly state: State
  /** Address of the gateway that it is connected to, or was last. */
  readonly gateway: string
  /** How it is connected; undefined while it is not. */
  readonly transport: Transport | undefined
  /**
   * Resolves after `close`; rejects with a SwarmError if trying again cannot help, such as one
   * with `Code.UNAUTHORIZED`.
   */
  readonly closed: Promise<void>
  /**
   * Joins a topic: 32 bytes, 64 hexadecimal digits, or a name. It resolves when a gateway has
   * taken it, and waits for one if there is none. It rejects with a SwarmError if the
   * gateway refuses or the swarm is closed, with the signal's reason, and with a TypeError or a
   * RangeError. A topic that is joined already is returned again, with its options changed.
   */
  join (topic: string | Uint8Array, options: JoinOptions & { offerOnly: true }): Promise<Topic<Offer>>
  join (topic: string | Uint8Array, options?: JoinOptions & { offerOnly?: false }): Promise<Topic>
  join (topic: string | Uint8Array, options?: JoinOptions): Promise<Topic<Peer | Offer>>
  /**
   * Ends a wait: gateways are tried at once, but no more than once a second, and none that is
   * going away before its time.
   */
  retry (): void
  /**
   * Ends everything at once; what peers were not sent yet is lost. It may be called more than
   * once.
   */
  close (): void
}

/**
 * A topic that is joined. Iterating it yields its peers as they come, each once; several
 * iterations share them. It ends after `leave` and after the swarm was closed, and throws a
 * SwarmError if the gateway took the topic away or the swarm failed.
 */
export interface Topic<T extends Peer | Offer = Peer> extends Target<TopicEvents>, AsyncIterable<T> {
  /** The 32 bytes. */
  readonly key: Uint8Array
  /** The 32 bytes as 64 hexadecimal digits. */
  readonly hex: string
  /**
   * Who is here: the peers with open circuits, whether the page has taken them or not, in the
   * order in which they came. If the topic was left and is joined again, those whose circuits are
   * still open from before are here at once.
   */
  readonly peers: readonly Peer[]
  /** What the gateway said last, undefined before it has said anything. */
  readonly status: TopicStatus | undefined
  /**
   * Resolves after `leave` and after the swarm was closed, rejects with a SwarmError if the
   * iteration throws it.
   */
  readonly closed: Promise<void>
  /**
   * Leaves the topic: peers that were not taken yet are reset, those that were stay. It resolves
   * when the gateway has said so, and may be called more than once.
   */
  leave (): Promise<void>
}

/** Who is at the other end of a circuit, or would be. */
export interface PeerInfo {
  /** Names the peer on its network: hexadecimal digits. */
  readonly id: string
  /**
   * How the gateway reaches it: `dht`, `lan`, `static`, or `client` for another client of the same
   * gateway.
   */
  readonly network: string
  /** Where it is, for people. Empty unless the gateway tells. */
  readonly address: string
  /** This end is the initiator; the peer was told that it is not. */
  readonly initiator: boolean
  /**
   * It is a client of a gateway, this one (network `client`) or another. Else it is a native peer
   * or a TCP service.
   */
  readonly client: boolean
  /**
   * The circuit is one beside the first with this peer. One of the two has asked for it: the
   * initiator.
   */
  readonly further: boolean
  /** Where it was met: 64 hexadecimal digits. */
  readonly topic: string
}

/**
 * A circuit with a peer, and the peer. Iterating it yields what it sends, and ends at its end; to
 * stop iterating does not end the circuit.
 */
export interface Peer extends PeerInfo, Target<PeerEvents>, AsyncIterable<Uint8Array> {
  /**
   * What the peer sends: a byte stream, which is read fastest with a BYOB reader. A peer whose
   * bytes are not read is held up alone. To cancel it ends the circuit both ways, with the code of
   * a SwarmError or the number that is the reason.
   */
  readonly readable: ReadableStream<Uint8Array>
  /**
   * What it is sent. To close it tells the peer that no more comes; to abort it ends the circuit
   * both ways, as cancelling does.
   */
  readonly writable: WritableStream<Uint8Array | ArrayBuffer | ArrayBufferView>
  /**
   * Further circuits that the peer opens, if the topic was joined with `streams`; several
   * iterations share them. Those that nobody takes wait, and count as circuits. It ends when the
   * last circuit with the peer has ended, and with the topic as its iteration does. A peer that
   * opens one after that comes out of the topic's iteration again.
   */
  readonly streams: AsyncIterable<Peer>
  /**
   * Opens one more circuit with the peer, also if this one has ended: a stream, or with a TCP
   * service a connection of its own. It resolves when the peer has answered, and rejects with a
   * SwarmError (`Code.DECLINED` if the peer wants none, `Code.PEER_GONE` also if there is no
   * session) or with the signal's reason. The signal does not end a circuit that is open.
   */
  open (options?: { signal?: AbortSignal }): Promise<Peer>
  /**
   * Resolves when both directions have ended or this side ended it without a code, rejects with a
   * SwarmError if it was reset or lost.
   */
  readonly closed: Promise<void>
  /**
   * Ends the circuit: what was written reaches the peer, followed by the end; what it still sends
   * is thrown away, until it ends too or 30 s have passed. It does not wait, and may be called
   * more than once.
   */
  close (): void
  /**
   * Ends the circuit at once, both ways. The peer is told the code if its network can carry
   * one; numbers from `Code.APPLICATION` on are the programs' own. It may be called more than
   * once, and after `close`; the first code counts.
   */
  abort (code?: number): void
}

/** A peer that waits for the page to decide, for 10 s. */
export interface Offer extends PeerInfo {
  /**
   * Takes it. It rejects with a SwarmError if the offer holds no longer. A second call returns
   * the same peer.
   */
  accept (): Promise<Peer>
  /**
   * Refuses it, with `Code.DECLINED` unless another code is given. The peer is not offered again
   * until one side joins anew.
   */
  decline (code?: number): void
}
