/**
 * Why a session, a join or a circuit ended (docs/PROTOCOL.md, Codes). Numbers from
 * `Code.APPLICATION` on belong to the programs at the two ends of a circuit and pass through
 * gateways unchanged.
 */
export declare const Code: {
    /** A regular end. */
    readonly NONE: 0;
    /** A fault of the side that sends it. */
    readonly INTERNAL: 1;
    /** Malformed or out of order. */
    readonly PROTOCOL: 2;
    /** Longer than a limit of the protocol. */
    readonly TOO_LARGE: 3;
    /** No common version. */
    readonly VERSION: 4;
    /** No token, or one that is not valid. */
    readonly UNAUTHORIZED: 5;
    /** Known, and not allowed: origin, topic. */
    readonly FORBIDDEN: 6;
    /** Too many topics in the session. */
    readonly TOPIC_LIMIT: 7;
    /** Too many circuits in the session, or with the peer. */
    readonly CIRCUIT_LIMIT: 8;
    /** Too many frames or sessions. */
    readonly RATE_LIMITED: 9;
    /** The sender of the code has no room now, or the receiver reads too slowly. */
    readonly BUSY: 10;
    /** Silent for too long. */
    readonly IDLE: 11;
    /** The gateway is going away. */
    readonly SHUTDOWN: 12;
    /** The connection with the peer, or with the gateway, was lost. */
    readonly PEER_GONE: 13;
    /** The peer, or the gateway, could not be reached. */
    readonly PEER_UNREACHABLE: 14;
    /** The peer reset without a code. */
    readonly PEER_RESET: 15;
    /** The offer, or the circuit, is not wanted. */
    readonly DECLINED: 16;
    /** The offer no longer holds. */
    readonly WITHDRAWN: 17;
    /** The topic was left. */
    readonly LEFT: 18;
    /** The token was valid once. */
    readonly TOKEN_EXPIRED: 19;
    /** Not read for too long while memory was short. */
    readonly STALLED: 20;
    /** A newer one with the same identity took over. */
    readonly REPLACED: 21;
    /** The first number that is free for programs. */
    readonly APPLICATION: 256;
};
/** Returns the name of a code in docs/PROTOCOL.md, or its number in hex. */
export declare function codeName(code: number): string;
/**
 * Reports whether a session that ended with this code is not to be tried again (docs/PROTOCOL.md,
 * Coming back).
 */
export declare function isPermanent(code: number): boolean;
