/**
 * What two consoles say to each other on a circuit: messages, with kinds of their own
 * (docs/MESSAGES.md, Consoles).
 */
import { FIRST_OWN, MessageError, encodeMessage } from 'swarmgate/messages'
import type { Message as Received } from 'swarmgate/messages'

const HELLO = 0
const TEXT = 1

/** Message with which the initiator of a circuit asks whether a console is at the other end. */
export const CALL = encodeMessage(HELLO, utf8('swarmgate-console/1 hello\n'))

/** Message with which a console answers `CALL`. It differs, so that an echo is not a console. */
export const ANSWER = encodeMessage(HELLO, utf8('swarmgate-console/1 here\n'))

/** Most bytes of a file in one message. */
export const MAX_CHUNK = 64 << 10

/** Most bytes of a message without its head. */
export const MAX_PAYLOAD = MAX_CHUNK + 4

/** Most bytes of a text. */
export const MAX_TEXT = 16 << 10

/** Most bytes of the name of somebody or of a file, and of a reason. */
export const MAX_NAME = 255

/** Bytes of each half of an offer's secret. */
export const HALF = 16

/**
 * What one console says to another. Ids of files are given by the side that has the file. The
 * halves of a secret are hexadecimal digits.
 */
export type Message =
  | { type: 'text', text: string }
  | { type: 'name', name: string }
  | { type: 'file', id: number, size: number, ask: string, answer: string, name: string }
  | { type: 'data', id: number, bytes: Uint8Array }
  | { type: 'cancel', id: number, reason: string }
  | { type: 'grant', id: number, offset: number }
  | { type: 'saved', id: number }
  | { type: 'refuse', id: number, reason: string }
  | { type: 'again', id: number, ask: string }
  | { type: 'from', id: number, offset: number, answer: string }

/** The kinds of a console's own, from `FIRST_OWN` on. */
const own = ['name', 'file', 'data', 'cancel', 'grant', 'saved', 'refuse', 'again', 'from'] as const

/** Returns a message as it is sent. Texts that are too long are cut. */
export function encode (m: Message): Uint8Array<ArrayBuffer> {
  return m.type === 'text' ? encodeMessage(TEXT, cut(m.text, MAX_TEXT)) : encodeMessage(FIRST_OWN + own.indexOf(m.type), ...fields(m))
}

function fields (m: Exclude<Message, { type: 'text' }>): Uint8Array[] {
  switch (m.type) {
    case 'name': return [cut(m.name, MAX_NAME)]
    case 'file': return [u32(m.id), u64(m.size), unhex(m.ask), unhex(m.answer), cut(m.name, MAX_NAME)]
    case 'data': return [u32(m.id), m.bytes]
    case 'grant': return [u32(m.id), u64(m.offset)]
    case 'saved': return [u32(m.id)]
    case 'cancel':
    case 'refuse': return [u32(m.id), cut(m.reason, MAX_NAME)]
    case 'again': return [u32(m.id), unhex(m.ask)]
    case 'from': return [u32(m.id), u64(m.offset), unhex(m.answer)]
  }
}

/**
 * Reads what came. It returns undefined for what consoles do not know, and throws a MessageError.
 */
export function parse (m: Received): Message | undefined {
  if (m.type === 'text') return { type: m.type, text: checked(m.text) }
  if (m.type !== 'own') return undefined
  const b = m.bytes
  const type = own[m.kind - FIRST_OWN]
  switch (type) {
    case 'name': return { type, name: text(b, 0) }
    case 'file': return { type, id: getU32(b), size: getU64(b), ask: getHalf(b, 12), answer: getHalf(b, 28), name: text(b, 44) }
    case 'data': return { type, id: getU32(b), bytes: b.subarray(4) }
    case 'grant': return { type, id: getU32(b), offset: getU64(b) }
    case 'saved': return { type, id: getU32(b) }
    case 'cancel':
    case 'refuse': return { type, id: getU32(b), reason: text(b, 4) }
    case 'again': return { type, id: getU32(b), ask: getHalf(b, 4) }
    case 'from': return { type, id: getU32(b), offset: getU64(b), answer: getHalf(b, 12) }
    default: return undefined
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
  if (b.length < 4) throw new MessageError('a message that is too short')
  return view(b).getUint32(0)
}

/** Reads the number that follows an id. */
function getU64 (b: Uint8Array): number {
  if (b.length < 12) throw new MessageError('a message that is too short')
  const n = view(b).getBigUint64(4)
  if (n > Number.MAX_SAFE_INTEGER) throw new MessageError(`a number of ${n}`)
  return Number(n)
}

function getHalf (b: Uint8Array, at: number): string {
  if (b.length < at + HALF) throw new MessageError('a message that is too short')
  return hex(b.subarray(at, at + HALF))
}

function text (b: Uint8Array, at: number): string {
  if (b.length < at || b.length - at > MAX_NAME) throw new MessageError(`a name of ${b.length - at} bytes`)
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(b.subarray(at))
  } catch {
    throw new MessageError('a name that is not UTF-8')
  }
}

/** Returns a text, unless it is too long. */
function checked (s: string): string {
  if (utf8(s).length > MAX_TEXT) throw new MessageError('a text that is too long')
  return s
}

function hex (b: Uint8Array): string { return Array.from(b, x => x.toString(16).padStart(2, '0')).join('') }

function unhex (s: string): Uint8Array { return Uint8Array.from(s.match(/../g) ?? [], x => Number.parseInt(x, 16)) }

function view (b: Uint8Array): DataView { return new DataView(b.buffer, b.byteOffset, b.byteLength) }
