import type { JoinOptions, Peer, PeerInfo, Swarm, Topic } from './api.js';
import type { SecretError } from './secreterror.js';
/**
 * A peer of a secret room: a circuit that nobody between its ends can read or change. Iterating it
 * yields what the peer sends, and ends at its end; to stop iterating does not end the circuit.
 */
export interface SealedPeer extends PeerInfo, AsyncIterable<Uint8Array> {
    /** The circuit below. Its streams are in use, and its `closed` does not know a false end. */
    readonly peer: Peer;
    /** The peer's static key, 32 bytes, by which it can be recognized; see `identity`. */
    readonly key: Uint8Array;
    /**
     * 32 bytes that are the same at both ends of this circuit and nowhere else, for programs that
     * prove something more to each other.
     */
    readonly binding: Uint8Array;
    /** As `Peer.readable`. It fails with a SecretError if what comes is not the peer's own. */
    readonly readable: ReadableStream<Uint8Array>;
    /** As `Peer.writable`. Small writes are sent together while others are on their way. */
    readonly writable: WritableStream<Uint8Array | ArrayBuffer | ArrayBufferView>;
    /**
     * As `Peer.streams`, each sealed by itself. One with another member of the room is reset, and
     * does not come out.
     */
    readonly streams: AsyncIterable<SealedPeer>;
    /**
     * As `Peer.open`. The peer has to take the circuit out of its `streams` within 10 s, and it
     * rejects with a SecretError if another member of the room has answered.
     */
    open(options?: {
        signal?: AbortSignal;
    }): Promise<SealedPeer>;
    /** As `Peer.closed`. It rejects with a SecretError if the end was not the peer's own. */
    readonly closed: Promise<void>;
    /** As `Peer.close`: what was written arrives. */
    close(): void;
    /** As `Peer.abort`. */
    abort(code?: number): void;
}
/** How to join a secret room. */
export interface RoomOptions extends Omit<JoinOptions, 'offerOnly'> {
    /**
     * Called for a peer of the topic that is not a member of the room: it has failed the handshake,
     * or has said nothing for 10 s. The circuit with it has ended.
     */
    refused?: (peer: Peer, error: SecretError) => void;
}
/** A secret room that is joined. Iterating it yields its peers as they come, as a `Topic`. */
export interface SealedTopic extends AsyncIterable<SealedPeer> {
    /** The topic below, for its `status`, its `closed` and so on. */
    readonly topic: Topic;
    /** As `Topic.leave`. */
    leave(): Promise<void>;
}
/** A secret room, made by `secret`. */
export interface Room {
    /** The 32 bytes that gateways are told, for `swarm.join`. */
    readonly topic: Uint8Array;
    /** This end's static key, 32 bytes: what peers see as `key`. */
    readonly key: Uint8Array;
    /**
     * Seals a circuit of the room's topic whose streams nobody has used. The other end does the
     * same. It rejects with a SecretError if the other end is not a member of the room, or says
     * nothing for 10 s; the circuit is reset with `Code.PROTOCOL` then. It rejects with the circuit's
     * error too, and with the signal's reason after it has reset the circuit.
     */
    seal(peer: Peer, options?: {
        signal?: AbortSignal;
    }): Promise<SealedPeer>;
    /**
     * Joins the room's topic and seals each circuit with a peer by itself: one that never answers
     * delays no other.
     */
    join(swarm: Swarm, options?: RoomOptions): Promise<SealedTopic>;
}
