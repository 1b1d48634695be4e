import { Code } from './codes.js'
import { SwarmError } from './errors.js'
import { hex, unhex32 } from './hex.js'

/** What reads the fields of a payload in order. What follows the last one is not looked at. */
export interface Fields {
  /** Throws that the frame is malformed. */
  fail: (code: number) => never
  /** Reads `n` bytes, which share the payload's memory. */
  take: (n: number) => Uint8Array
  /**
   * Reads a varint (RFC 9000, section 16), not necessarily of the shortest form. A number of 2^53
   * or more becomes another one, 2^52 or more, with the same low 52 bits: too large for every
   * limit, and with the same flags (docs/PROTOCOL.md, section 4).
   */
  varint: () => number
  /**
   * Reads the number of elements that follow: at most `limit`, of at least `size` bytes each (1 by
   * default), and all of them have to be there.
   */
  count: (limit: number, size?: number) => number
  /** How many bytes are left. */
  left: () => number
}

/** Begins to read the payload of a frame. */
export function fieldsOf (type: number, payload: Uint8Array): Fields {
  let at = 0
  const fail = (code: number): never => { throw new SwarmError(code, `frame 0x${type.toString(16)} is malformed`) }
  const left = () => payload.length - at
  const need = (n: number) => { if (n > left()) fail(Code.PROTOCOL) }
  const take = (n: number) => {
    need(n)
    return payload.subarray(at, at += n)
  }
  const varint = () => {
    need(1)
    return take(varintSize(payload[at]!)).reduce((n, b, i) => (n < 2 ** 45 ? n : n % 2 ** 44 + 2 ** 44) * 256 + (i > 0 ? b : b & 63), 0)
  }
  const count = (limit: number, size = 1) => {
    const n = varint()
    if (n > limit) fail(Code.TOO_LARGE)
    need(n * size)
    return n
  }
  return { fail, take, varint, count, left }
}

/** Returns how many bytes the varint has that begins with `first`. */
export function varintSize (first: number): number { return 1 << (first >> 6) }

/** Adds the shortest form of a number to `b`. */
export function putVarint (b: number[], n: number): void {
  const at = b.length
  const size = n < 64 ? 0 : n < 2 ** 14 ? 1 : n < 2 ** 30 ? 2 : 3
  for (let i = 1 << size; i-- > 0;) b.push(n / 256 ** i & 255)
  b[at]! |= size << 6
}

/** How a field stands in a payload. */
export interface Field<T> {
  /** Adds `v` to `b`. */
  put: (b: number[], v: T) => void
  /** Reads it. */
  get: (f: Fields) => T
}

/** A varint between two numbers. */
function between (least: number, most: number): Field<number> {
  return {
    put: putVarint,
    get (f) {
      const n = f.varint()
      return n < least || n > most ? f.fail(Code.PROTOCOL) : n
    }
  }
}

/** A varint. */
export const number = between(0, Infinity)

/** A varint of at most 32 bits. */
export const code = between(0, 2 ** 32 - 1)

/** The id of a circuit, never 0. */
export const circuit = between(1, Infinity)

/** Flags of which the lowest says that there is more than what is told. */
export const more: Field<boolean> = { put: (b, v) => { b.push(Number(v)) }, get: f => (f.varint() & 1) !== 0 }

/** `n` bytes. */
export function fixed (n: number): Field<Uint8Array> {
  return { put: (b, v) => { b.push(...v) }, get: f => f.take(n).slice() }
}

/**
 * The 32 bytes of a topic, as 64 lower-case hexadecimal digits, for they are a key to many things.
 */
export const topic: Field<string> = { put: (b, v) => { b.push(...unhex32(v)!) }, get: f => hex(f.take(32)) }

/** A varint length and at most `limit` bytes. */
export function bytes (limit: number): Field<Uint8Array> {
  return {
    put (b, v) {
      putVarint(b, v.length)
      b.push(...v)
    },
    get: f => f.take(f.count(limit)).slice()
  }
}

/**
 * A varint length and at most `limit` bytes of UTF-8. A longer text is cut between two characters
 * when it is put.
 */
export function text (limit: number): Field<string> {
  const { put, get } = bytes(limit)
  return {
    put (b, v) {
      const room = new Uint8Array(limit)
      put(b, room.subarray(0, new TextEncoder().encodeInto(v, room).written))
    },
    get (f) {
      const b = get(f)
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(b)
      } catch {
        return f.fail(Code.PROTOCOL)
      }
    }
  }
}

/** A varint count and at most `limit` elements, of which each has at least `size` bytes. */
export function list<T> (limit: number, size: number, element: Field<T>): Field<T[]> {
  return {
    put (b, v) {
      putVarint(b, v.length)
      for (const x of v) element.put(b, x)
    },
    get: f => Array.from({ length: f.count(limit, size) }, () => element.get(f))
  }
}

/** Fields by their names, in order. */
export type Schema = Record<string, Field<any>>

/** The object that a schema stands for. */
export type Values<S extends Schema> = { [K in keyof S]: S[K] extends Field<infer T> ? T : never }

/** Several fields one after the other. */
export function struct<S extends Schema> (schema: S): Field<Values<S>> {
  const entries = Object.entries(schema)
  return {
    put (b, v) { for (const [name, field] of entries) field.put(b, v[name]) },
    get: f => Object.fromEntries(entries.map(([name, field]) => [name, field.get(f)])) as Values<S>
  }
}
