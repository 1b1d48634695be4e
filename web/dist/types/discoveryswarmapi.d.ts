import type { ConnectOptions, GatewayAddress, Swarm } from './api.js';
/** Bytes that know how to write themselves: a `Buffer`. */
export interface Bytes extends Uint8Array {
    toString(encoding?: string): string;
}
/** Events as in Node. */
export interface Emitter {
    on(event: string, listener: (...args: any[]) => void): this;
    once(event: string, listener: (...args: any[]) => void): this;
    off(event: string, listener: (...args: any[]) => void): this;
    addListener(event: string, listener: (...args: any[]) => void): this;
    removeListener(event: string, listener: (...args: any[]) => void): this;
    removeAllListeners(event?: string): this;
    emit(event: string, ...args: any[]): boolean;
    listenerCount(event: string): number;
}
/** A duplex stream of Node, as much of it as is needed here. */
export interface NodeDuplex extends Emitter {
    write(chunk: any, encoding?: any, cb?: any): boolean;
    end(...args: any[]): any;
    pipe(to: any, options?: any): any;
    destroy?(error?: any): any;
}
/** A circuit with a peer, as a duplex stream of Node. It always ends with `close`. */
export interface PeerStream extends NodeDuplex {
    /** Bytes that came. */
    readonly bytesRead: number;
    /** Bytes that the circuit has taken. */
    readonly bytesWritten: number;
    /** `destroy` was called, or both directions have ended. */
    readonly destroyed: boolean;
    /** There is more to read, or may be. */
    readonly readable: boolean;
    /** It may be written to. */
    readonly writable: boolean;
    /** All was written, the end too. */
    readonly writableFinished: boolean;
    write(chunk: Uint8Array | string, encoding?: string, cb?: (error?: Error | null) => void): boolean;
    write(chunk: Uint8Array | string, cb?: (error?: Error | null) => void): boolean;
    pipe<T>(to: T): T;
    pause(): this;
    resume(): this;
    /** Returns what has come, or `n` bytes of it; null if there are not as many, unless no more come. */
    read(n?: number): Uint8Array | null;
    /** Ends both directions; with an error the peer is told at once. */
    destroy(error?: Error | null): void;
}
/** Who a connection is with. */
export interface Info {
    type: 'proxy';
    /** What was joined: the bytes that `join` was given, and as many. */
    channel: Bytes;
    /** This end is the initiator, and the other one is not. */
    initiator: boolean;
    /** Names the peer at the gateway: hexadecimal digits. */
    host: string;
    port: -1;
    /**
     * From `connection` on, hexadecimal digits: the id that the peer's replication stream told, or
     * `host` if it told none.
     */
    id: string | null;
    /** How the gateway reaches the peer: `dat`, `discovery-swarm`, `client`, … */
    network: string;
}
/** Where to connect to, and what to do with connections. */
export interface DiscoverySwarmOptions extends ConnectOptions {
    /**
     * The gateway, in place of `url`: an address, several, options of `connect`, or a swarm that is
     * connected already, which `close` leaves open.
     */
    connection?: GatewayAddress | readonly GatewayAddress[] | ConnectOptions | Swarm | Promise<Swarm>;
    /** The same as `url`, or several: what discovery-swarm-web calls it. `wss:` is read as `https:`. */
    discovery?: string | readonly string[];
    /**
     * Makes the replication stream of a connection, which emits `handshake`. Without it a connection
     * is the peer's bytes alone.
     */
    stream?: (info: Info) => NodeDuplex;
    /** Tells connections of this program apart from those of others. 32 random bytes by default. */
    id?: Uint8Array | string;
    /** Topics are the SHA-1 of what is joined, as with discovery-swarm by default. */
    defaultHash?: boolean;
    /** Peers do discovery-swarm's default handshake, which the gateway does for this program. */
    defaultHandshake?: boolean;
    /**
     * Names of networks to be on, in place of `dat` (or `discovery-swarm`, with `defaultHandshake`),
     * `client`, `static`, `lan` and `dht`.
     */
    networks?: readonly string[];
    /** Connections at once on a topic, at most. */
    maxConnections?: number;
    /** Of two connections with one peer, keep the first. */
    keepExistingConnections?: boolean;
}
/** How to join. */
export interface DiscoverySwarmJoinOptions {
    /** Be found by others. True unless given. */
    announce?: boolean;
    /** Find others. True unless given. */
    lookup?: boolean;
    /** In place of those of the swarm. */
    networks?: readonly string[];
}
/**
 * What programs of discovery-swarm-stream and discovery-swarm-web know. Events: `peer` (info),
 * `connecting` (info), `handshaking` (stream, info), `handshake-timeout` (stream, info),
 * `connection` (stream, info), `connection-closed` (stream, info), `redundant-connection` (stream,
 * info), `peer-banned` ({ peer, reason }), `status` (what the gateway knows of a topic, channel),
 * `disconnected` (error), `listening`, `close`, `error` (error, whose `channel` is what was not
 * joined, or was taken away, if it is about that).
 */
export interface DiscoverySwarm extends Emitter {
    /** Connections whose handshake is done, or that have none. */
    readonly connections: PeerStream[];
    /** How many these are. */
    readonly connected: number;
    /** Connections whose handshake is not done. */
    readonly connecting: number;
    /** 0: the gateway has the queue. */
    readonly queued: number;
    /** All connections. */
    readonly totalConnections: number;
    readonly id: Bytes;
    readonly destroyed: boolean;
    /**
     * Joins what a key stands for: 20 or 32 bytes, or as many hexadecimal digits; anything with
     * `defaultHash`. It throws a TypeError for others. `cb` is called when a gateway has taken the
     * topic, or with the error.
     */
    join(key: Uint8Array | string, options?: DiscoverySwarmJoinOptions | null, cb?: (error?: Error | null) => void): void;
    join(key: Uint8Array | string, cb?: (error?: Error | null) => void): void;
    /** Leaves it. Connections stay. */
    leave(key: Uint8Array | string, cb?: () => void): void;
    /**
     * Tries the gateway at once, if it is not connected, or goes to another one, where all is joined
     * again. It is never needed: a swarm comes back by itself.
     */
    reconnect(connection?: DiscoverySwarmOptions['connection']): void;
    /** Emits `listening`, and nothing else: the gateway listens. */
    listen(port?: number | (() => void), cb?: () => void): void;
    address(): {
        address: string;
        family: string;
        port: number;
    };
    /**
     * Leaves everything, ends all connections, and calls `cb`. It may be called more than once. Who
     * waits for a topic to be joined is called with an error; so `leave` does.
     */
    close(cb?: () => void): void;
    /** The same. */
    destroy(cb?: () => void): void;
}
/** A class to extend, which works without `new` as well. */
export interface DiscoverySwarmConstructor {
    new (options?: DiscoverySwarmOptions): DiscoverySwarm;
    (options?: DiscoverySwarmOptions): DiscoverySwarm;
    readonly prototype: DiscoverySwarm;
    /** The gateway of those who name none: `http://localhost:8080` until a program sets it. */
    defaultGateway: string | readonly string[];
    /** The same, by the names that discovery-swarm-web has for it. */
    readonly DiscoverySwarmWeb: DiscoverySwarmConstructor;
    readonly DiscoverySwarmStreamWebsocket: DiscoverySwarmConstructor;
}
