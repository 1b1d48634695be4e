import { Code } from './codes.js'
import { bytes, circuit, code, fieldsOf, fixed, list, more, number, putVarint, struct, text, topic, varintSize } from './fields.js'
import type { Schema, Values } from './fields.js'

/** The version of the protocol that this module speaks. */
export const VERSION = 1

/** Most bytes of a payload. */
export const MAX_PAYLOAD = 16384

/** Most bytes of a token. */
export const MAX_TOKEN = 8192

/** A frame: its type, and how its payload is written and read. */
export interface Message<T> {
  readonly type: number
  /** Returns the whole frame. */
  encode: (m: T) => Uint8Array<ArrayBuffer>
  /** Reads a payload, and throws a SwarmError if it is malformed. */
  parse: (payload: Uint8Array) => T
}

/** What a message looks like as an object. */
export type Of<M> = M extends Message<infer T> ? T : never

/** Returns the message with these fields. */
export function message<S extends Schema> (type: number, schema: S): Message<Values<S>> {
  const fields = struct(schema)
  return {
    type,
    encode (m) {
      const payload: number[] = []
      fields.put(payload, m)
      const head: number[] = []
      putVarint(head, type)
      putVarint(head, payload.length)
      return Uint8Array.from(head.concat(payload))
    },
    parse: payload => fields.get(fieldsOf(type, payload))
  }
}

const reason = text(1024)
const network = text(64)
const id = bytes(128)
const agent = text(256)

/** First on the control stream: who the client is. */
export const Hello = message(0x01, {
  version: number, flags: number, credit: number, secret: fixed(16), token: bytes(MAX_TOKEN), agent, circuits: number
})
/** First on the control stream: the answer to HELLO. */
export const Welcome = message(0x02, {
  version: number, session: fixed(16), maxTopics: number, maxCircuits: number, hashes: list(8, 32, fixed(32)), agent
})
/** Asks for the peers of a topic, or changes what was asked. */
export const Join = message(0x03, { topic, flags: number, maxPeers: number, networks: list(16, 1, network) })
/** The topic is joined. */
export const Joined = message(0x04, { topic })
/** Ends a join. */
export const Leave = message(0x05, { topic })
/** A join has ended, was refused or taken away. */
export const Left = message(0x06, { topic, code, reason })
/** What the gateway knows of a topic. */
export const Status = message(0x07, {
  topic,
  more,
  known: number,
  connected: number,
  networks: list(16, 7, struct({ name: network, state: number, found: number, connecting: number, refused: number, lastCode: code, reason: text(256) }))
})
/**
 * First on a stream that the gateway opens, the answer to CONNECT, or the offer of a circuit on
 * the control stream.
 */
export const Peer = message(0x08, { circuit, topic, flags: number, network, id, address: text(512) })
/** First on a stream that takes an offer. */
export const Accept = message(0x09, { circuit })
/** An offer is not wanted. */
export const Decline = message(0x0a, { circuit, code })
/** An offer no longer holds. */
export const Withdraw = message(0x0b, { circuit, code })
/** How many bytes the gateway may have sent on a circuit in all. */
export const Credit = message(0x0c, { circuit, offset: number })
/** The gateway gives this session nothing new. */
export const Goaway = message(0x0d, { code, retryAfter: code, reason })
/** Asks for a sign of life. */
export const Ping = message(0x0e, { data: fixed(8) })
/** Answers PING. */
export const Pong = message(0x0f, { data: fixed(8) })
/** First on a stream that asks for one more circuit with a peer. */
export const Connect = message(0x10, { topic, flags: number, network, id })
/** The answer to CONNECT if there is no circuit. */
export const Refused = message(0x11, { code, reason })

/**
 * Whether a frame is one of this version: of a session, or of those between hosts, which have no
 * place in one.
 */
export const known = (type: number): boolean => type > 0 && type < 0x12 || type >> 3 === 4

// The bits of JOIN's flags.
export const ANNOUNCE = 1
export const LOOK_UP = 2
export const OFFER_ONLY = 4
export const STREAMS = 8

// The bits of PEER's flags.
export const INITIATOR = 1
export const CLIENT = 2
export const FURTHER = 4

/** A frame of any type, known or not. */
export interface Frame {
  type: number
  payload: Uint8Array
}

/** How a stream ended: between two frames, or within one. */
export type End = 'EOF' | 'TRUNCATED'

/** The reader of a stream's bytes. */
export type Reader = ReadableStreamBYOBReader

/**
 * Reads the next frame and not a byte beyond it: what follows still belongs to the caller. It
 * rejects with a SwarmError if the payload is too long, before memory is taken for it, and with
 * the stream's error.
 */
export async function readFrame (reader: Reader): Promise<Frame | End> {
  let end: End = 'EOF'
  const read = async (n: number) => {
    let bytes = new Uint8Array(n)
    for (let at = 0; at < n;) {
      const { value, done } = await reader.read(bytes.subarray(at))
      if (done) throw end
      end = 'TRUNCATED'
      at += value.length
      bytes = new Uint8Array(value.buffer)
    }
    return bytes
  }
  const varint = async () => {
    const first = await read(1)
    return fieldsOf(0, Uint8Array.of(...first, ...await read(varintSize(first[0]!) - 1))).varint()
  }
  try {
    const type = await varint()
    const length = await varint()
    if (length > MAX_PAYLOAD) fieldsOf(type, new Uint8Array()).fail(Code.TOO_LARGE)
    return { type, payload: await read(length) }
  } catch (e) {
    if (e === end) return end
    throw e
  }
}
