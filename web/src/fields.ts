import { Code } from './codes.js'
import { SwarmError } from './errors.js'
import { hex, unhex32 } from './hex.js'

/** Reads the fields of a payload in order. What follows the last one is not looked at. */
export class Fields {
  readonly #name: string
  readonly #bytes: Uint8Array
  #at = 0

  /** Begins at the first byte; `name` is that of the frame, for errors. */
  constructor (name: string, bytes: Uint8Array) {
    this.#name = name
    this.#bytes = bytes
  }

  /** Returns an error about a field. */
  error (code: number, field: string, problem: string): SwarmError {
    return new SwarmError(code, `${this.#name}: ${field}: ${problem}`)
  }

  /** Fails unless `n` more bytes are there. */
  need (n: number, field: string): void {
    if (n > this.#bytes.length - this.#at) throw this.error(Code.PROTOCOL, field, 'too short')
  }

  /** Reads `n` bytes, which share the payload's memory. */
  take (n: number, field: string): Uint8Array {
    this.need(n, field)
    return this.#bytes.subarray(this.#at, this.#at += n)
  }

  /**
   * Reads a varint (RFC 9000, section 16), not necessarily of the shortest form. A number of 2^53 or more becomes another one, 2^52 or
   * more, with the same low 52 bits: too large for every limit, and with the same flags (docs/PROTOCOL.md, section 4).
   */
  varint (field: string): number {
    this.need(1, field)
    const bytes = this.take(varintSize(this.#bytes[this.#at]!), field)
    return bytes.reduce((n, b, i) => (n < 2 ** 45 ? n : n % 2 ** 44 + 2 ** 44) * 256 + (i > 0 ? b : b & 0x3f), 0)
  }

  /** Reads a varint length of at most `limit`, which is as many elements of at least `size` bytes as the payload still has. */
  count (limit: number, size: number, field: string): number {
    const n = this.varint(field)
    if (n > limit) throw this.error(Code.TOO_LARGE, field, 'too long')
    this.need(n * size, field)
    return n
  }
}

/** Returns how many bytes the varint has that begins with `first`. */
export function varintSize (first: number): number { return 1 << (first >> 6) }

/** Adds the shortest form of a number to `b`. */
export function putVarint (b: number[], n: number): void {
  const size = n < 64 ? 0 : n < 2 ** 14 ? 1 : n < 2 ** 30 ? 2 : 3
  const at = b.length
  for (let i = 1 << size; i-- > 0;) b.push(n / 256 ** i & 255)
  b[at]! |= size << 6
}

/** How a field stands in a payload. */
export interface Field<T> {
  /** Adds `v` to `b`. */
  put: (b: number[], v: T) => void
  /** Reads it; `name` is for errors. */
  get: (f: Fields, name: string) => T
}

/** A varint. */
export const number: Field<number> = { put: putVarint, get: (f, name) => f.varint(name) }

/** A varint of at most 32 bits. */
export const code: Field<number> = {
  put: putVarint,
  get (f, name) {
    const n = f.varint(name)
    if (n >= 2 ** 32) throw f.error(Code.PROTOCOL, name, 'more than 32 bits')
    return n
  }
}

/** The id of a circuit, never 0. */
export const circuit: Field<number> = {
  put: putVarint,
  get (f, name) {
    const n = f.varint(name)
    if (n === 0) throw f.error(Code.PROTOCOL, name, '0 is none')
    return n
  }
}

/** Flags of which the lowest says that there is more than what is told. */
export const more: Field<boolean> = { put: (b, v) => { b.push(Number(v)) }, get: (f, name) => (f.varint(name) & 1) !== 0 }

/** `n` bytes. */
export function fixed (n: number): Field<Uint8Array> {
  return { put: (b, v) => { b.push(...v) }, get: (f, name) => f.take(n, name).slice() }
}

/** The 32 bytes of a topic, as 64 lower-case hexadecimal digits, for they are a key to many things. */
export const topic: Field<string> = { put: (b, v) => { b.push(...unhex32(v)!) }, get: (f, name) => hex(f.take(32, name)) }

/** A varint length and at most `limit` bytes. */
export function bytes (limit: number): Field<Uint8Array> {
  return {
    put (b, v) {
      putVarint(b, v.length)
      b.push(...v)
    },
    get: (f, name) => f.take(f.count(limit, 1, name), name).slice()
  }
}

/** A varint length and at most `limit` bytes of UTF-8. A longer text is cut between two characters when it is put. */
export function text (limit: number): Field<string> {
  const { put, get } = bytes(limit)
  return {
    put (b, v) {
      const all = new TextEncoder().encode(v)
      let end = Math.min(limit, all.length)
      while ((all[end]! & 0xc0) === 0x80) end--
      put(b, all.subarray(0, end))
    },
    get (f, name) {
      const b = get(f, name)
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(b)
      } catch {
        throw f.error(Code.PROTOCOL, name, 'not UTF-8')
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
    get: (f, name) => Array.from({ length: f.count(limit, size, name) }, () => element.get(f, name))
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
    get: f => Object.fromEntries(entries.map(([name, field]) => [name, field.get(f, name)])) as Values<S>
  }
}
