/**
 * Why a session, a join or a circuit ended (docs/PROTOCOL.md, Codes). Numbers from
 * `Code.APPLICATION` on belong to the programs at the two ends of a circuit and pass through
 * gateways unchanged.
 */
export const Code = {
  /** A regular end. */
  NONE: 0x00,
  /** A fault of the side that sends it. */
  INTERNAL: 0x01,
  /** Malformed or out of order. */
  PROTOCOL: 0x02,
  /** Longer than a limit of the protocol. */
  TOO_LARGE: 0x03,
  /** No common version. */
  VERSION: 0x04,
  /** No token, or one that is not valid. */
  UNAUTHORIZED: 0x05,
  /** Known, and not allowed: origin, topic. */
  FORBIDDEN: 0x06,
  /** Too many topics in the session. */
  TOPIC_LIMIT: 0x07,
  /** Too many circuits in the session, or with the peer. */
  CIRCUIT_LIMIT: 0x08,
  /** Too many frames or sessions. */
  RATE_LIMITED: 0x09,
  /** The sender of the code has no room now, or the receiver reads too slowly. */
  BUSY: 0x0a,
  /** Silent for too long. */
  IDLE: 0x0b,
  /** The gateway is going away. */
  SHUTDOWN: 0x0c,
  /** The connection with the peer, or with the gateway, was lost. */
  PEER_GONE: 0x0d,
  /** The peer, or the gateway, could not be reached. */
  PEER_UNREACHABLE: 0x0e,
  /** The peer reset without a code. */
  PEER_RESET: 0x0f,
  /** The offer, or the circuit, is not wanted. */
  DECLINED: 0x10,
  /** The offer no longer holds. */
  WITHDRAWN: 0x11,
  /** The topic was left. */
  LEFT: 0x12,
  /** The token was valid once. */
  TOKEN_EXPIRED: 0x13,
  /** Not read for too long while memory was short. */
  STALLED: 0x14,
  /** A newer one with the same identity took over. */
  REPLACED: 0x15,
  /** The first number that is free for programs. */
  APPLICATION: 0x100
} as const

/** Returns the name of a code in docs/PROTOCOL.md, or its number in hex. */
export function codeName (code: number): string {
  return Object.keys(Code).find(name => Code[name as keyof typeof Code] === code) ?? `0x${code.toString(16)}`
}

/**
 * Reports whether a session that ended with this code is not to be tried again (docs/PROTOCOL.md,
 * Coming back).
 */
export function isPermanent (code: number): boolean {
  return (code >= Code.PROTOCOL && code <= Code.FORBIDDEN) || code === Code.TOKEN_EXPIRED || code === Code.REPLACED
}
