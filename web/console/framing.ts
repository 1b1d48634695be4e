/** What two consoles say to each other on a circuit. FRAMING.md is its document. */

/** Line with which the initiator of a circuit asks whether a console is at the other end. */
export const CALL = utf8('swarmgate-console/1 hello\n')

/** Line with which a console answers `CALL`. It differs, so that an echo is no console. */
export const ANSWER = utf8('swarmgate-console/1 here\n')

/** Bytes of a frame before its payload: type and length. */
export const HEAD = 5

/** Most bytes of a file in one frame. */
export const MAX_CHUNK = 64 << 10

/** Most bytes of the payload of a frame. */
export const MAX_PAYLOAD = MAX_CHUNK + 4

/** Most bytes of a text. */
export const MAX_TEXT = 16 << 10

/** Most bytes of the name of somebody or of a file, and of a reason. */
export const MAX_NAME = 255

/** Bytes of each half of an offer's secret. */
export const HALF = 16

/** What one console says to another. Ids of files are given by the side that has the file. The halves of a secret are hexadecimal digits. */
export type Message =
  | { type: 'name', name: string }
  | { type: 'text', text: string }
  | { type: 'file', id: number, size: number, ask: string, answer: string, name: string }
  | { type: 'data', id: number, bytes: Uint8Array }
  | { type: 'cancel', id: number, reason: string }
  | { type: 'grant', id: number, offset: number }
  | { type: 'saved', id: number }
  | { type: 'refuse', id: number, reason: string }
  | { type: 'again', id: number, ask: string }
  | { type: 'from', id: number, offset: number, answer: string }

/** What comes is none of these. */
export class FramingError extends Error {
  override name = 'FramingError'
}

const types = { name: 1, text: 2, file: 3, data: 4, cancel: 5, grant: 6, saved: 7, refuse: 8, again: 9, from: 10 } as const
const names = new Map<number, Message['type']>(Object.entries(types).map(([name, type]) => [type, name as Message['type']]))

/** Returns the whole frame. Texts that are too long are cut. */
export function encode (m: Message): Uint8Array<ArrayBuffer> {
  switch (m.type) {
    case 'name': return frame(m.type, cut(m.name, MAX_NAME))
    case 'text': return frame(m.type, cut(m.text, MAX_TEXT))
    case 'file': return frame(m.type, u32(m.id), u64(m.size), unhex(m.ask), unhex(m.answer), cut(m.name, MAX_NAME))
    case 'data': return frame(m.type, u32(m.id), m.bytes)
    case 'grant': return frame(m.type, u32(m.id), u64(m.offset))
    case 'saved': return frame(m.type, u32(m.id))
    case 'cancel':
    case 'refuse': return frame(m.type, u32(m.id), cut(m.reason, MAX_NAME))
    case 'again': return frame(m.type, u32(m.id), unhex(m.ask))
    case 'from': return frame(m.type, u32(m.id), u64(m.offset), unhex(m.answer))
  }
}

/** Returns what stands before `length` bytes of a file, which follow it as they are. */
export function dataHead (id: number, length: number): Uint8Array<ArrayBuffer> {
  return concat(head('data', length + 4), u32(id))
}

/** Returns type and length of a frame. */
export function parseHead (b: Uint8Array): { type: number, length: number } {
  const length = view(b).getUint32(1)
  if (length > MAX_PAYLOAD) throw new FramingError(`a frame of ${length} bytes`)
  return { type: b[0]!, length }
}

/** Reads a payload. It returns undefined for a type that it does not know. */
export function parse (type: number, payload: Uint8Array): Message | undefined {
  const name = names.get(type)
  switch (name) {
    case 'name': return { type: name, name: text(payload, 0, MAX_NAME) }
    case 'text': return { type: name, text: text(payload, 0, MAX_TEXT) }
    case 'file': return { type: name, id: getU32(payload), size: getU64(payload), ask: getHalf(payload, 12), answer: getHalf(payload, 28), name: text(payload, 44, MAX_NAME) }
    case 'data': return { type: name, id: getU32(payload), bytes: payload.subarray(4) }
    case 'grant': return { type: name, id: getU32(payload), offset: getU64(payload) }
    case 'saved': return { type: name, id: getU32(payload) }
    case 'cancel':
    case 'refuse': return { type: name, id: getU32(payload), reason: text(payload, 4, MAX_NAME) }
    case 'again': return { type: name, id: getU32(payload), ask: getHalf(payload, 4) }
    case 'from': return { type: name, id: getU32(payload), offset: getU64(payload), answer: getHalf(payload, 12) }
    case undefined: return undefined
  }
}

/** Returns the UTF-8 bytes of a text. */
export function utf8 (s: string): Uint8Array<ArrayBuffer> { return new TextEncoder().encode(s) }

/** Returns half of a secret that nobody can guess. */
export function makeHalf (): string { return hex(crypto.getRandomValues(new Uint8Array(HALF))) }

/** Joins bytes. */
export function concat (...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    all.set(p, at)
    at += p.length
  }
  return all
}

function head (type: Message['type'], length: number): Uint8Array {
  return concat(Uint8Array.of(types[type]), u32(length))
}

function frame (type: Message['type'], ...fields: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concat(head(type, fields.reduce((n, f) => n + f.length, 0)), ...fields)
}

/** Returns at most `limit` bytes of UTF-8, cut between two characters. */
function cut (s: string, limit: number): Uint8Array {
  const b = utf8(s)
  let end = Math.min(limit, b.length)
  while ((b[end]! & 0xc0) === 0x80) end--
  return b.subarray(0, end)
}

function u32 (n: number): Uint8Array {
  const b = new Uint8Array(4)
  view(b).setUint32(0, n)
  return b
}

function u64 (n: number): Uint8Array {
  const b = new Uint8Array(8)
  view(b).setBigUint64(0, BigInt(n))
  return b
}

function getU32 (b: Uint8Array): number {
  if (b.length < 4) throw new FramingError('a frame that is too short')
  return view(b).getUint32(0)
}

/** Reads the number that follows an id. */
function getU64 (b: Uint8Array): number {
  if (b.length < 12) throw new FramingError('a frame that is too short')
  const n = view(b).getBigUint64(4)
  if (n > Number.MAX_SAFE_INTEGER) throw new FramingError(`a number of ${n}`)
  return Number(n)
}

function getHalf (b: Uint8Array, at: number): string {
  if (b.length < at + HALF) throw new FramingError('a frame that is too short')
  return hex(b.subarray(at, at + HALF))
}

function text (b: Uint8Array, at: number, limit: number): string {
  if (b.length < at || b.length - at > limit) throw new FramingError(`a text of ${b.length - at} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(b.subarray(at))
  } catch {
    throw new FramingError('a text that is not UTF-8')
  }
}

function hex (b: Uint8Array): string { return Array.from(b, x => x.toString(16).padStart(2, '0')).join('') }

function unhex (s: string): Uint8Array { return Uint8Array.from(s.match(/../g) ?? [], x => Number.parseInt(x, 16)) }

function view (b: Uint8Array): DataView { return new DataView(b.buffer, b.byteOffset, b.byteLength) }
