import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ANSWER, CALL, FramingError, HEAD, MAX_CHUNK, MAX_PAYLOAD, concat, dataHead, encode, parse, parseHead, utf8 } from '../framing.js'
import type { Message } from '../framing.js'

const hex = (b: Uint8Array) => Buffer.from(b).toString('hex')
const unhex = (s: string) => Uint8Array.from(Buffer.from(s.replaceAll(' ', ''), 'hex'))

/** The examples of FRAMING.md. */
const vectors: Array<[Message, string]> = [
  [{ type: 'name', name: 'Ann' }, '01 00000003 416e6e'],
  [{ type: 'text', text: 'hi ✓' }, '02 00000006 686920e29c93'],
  [{ type: 'file', id: 7, size: 4_294_967_296, ask: '11'.repeat(16), answer: '22'.repeat(16), name: 'a.bin' },
    `03 00000031 00000007 0000000100000000 ${'11'.repeat(16)} ${'22'.repeat(16)} 612e62696e`],
  [{ type: 'data', id: 7, bytes: unhex('00ff') }, '04 00000006 00000007 00ff'],
  [{ type: 'cancel', id: 7, reason: 'no' }, '05 00000006 00000007 6e6f'],
  [{ type: 'grant', id: 7, offset: 4_194_304 }, '06 0000000c 00000007 0000000000400000'],
  [{ type: 'saved', id: 7 }, '07 00000004 00000007'],
  [{ type: 'refuse', id: 7, reason: '' }, '08 00000004 00000007'],
  [{ type: 'again', id: 7, ask: '11'.repeat(16) }, `09 00000014 00000007 ${'11'.repeat(16)}`],
  [{ type: 'from', id: 7, offset: 3_145_728, answer: '22'.repeat(16) }, `0a 0000001c 00000007 0000000000300000 ${'22'.repeat(16)}`]
]

test('messages are written and read as the document says', () => {
  for (const [m, want] of vectors) {
    const b = encode(m)
    assert.equal(hex(b), want.replaceAll(' ', ''), m.type)
    const { type, length } = parseHead(b.subarray(0, HEAD))
    assert.equal(length, b.length - HEAD)
    assert.deepEqual(parse(type, b.subarray(HEAD)), m)
  }
})

test('the head of data and the bytes after it are a frame', () => {
  const bytes = new Uint8Array(MAX_CHUNK).fill(5)
  assert.equal(hex(concat(dataHead(9, bytes.length), bytes)), hex(encode({ type: 'data', id: 9, bytes })))
  assert.equal(parseHead(dataHead(9, MAX_CHUNK)).length, MAX_PAYLOAD)
})

test('a malformed frame is an error, an unknown one is none', () => {
  assert.equal(parse(99, unhex('00')), undefined)
  for (const [type, payload] of [[3, '00000007'], [3, '00000007 0020000000000000'], [3, '00000007 0000000000000001' + '11'.repeat(31)], [4, '0000'], [9, '00000007 11'], [10, '00000007 0000000000000001 11'], [6, '00000007 00'], [2, 'ff'], [1, '61'.repeat(256)]] as const) {
    assert.throws(() => parse(type, unhex(payload)), FramingError, `${type} ${payload}`)
  }
  assert.throws(() => parseHead(unhex('04 00010005')), FramingError)
})

test('what is too long to be said is cut between characters', () => {
  const m = parse(1, encode({ type: 'name', name: '✓'.repeat(100) }).subarray(HEAD))
  assert.deepEqual(m, { type: 'name', name: '✓'.repeat(85) })
})

test('the two lines differ, and are text', () => {
  assert.notEqual(hex(CALL), hex(ANSWER))
  for (const line of [CALL, ANSWER]) assert.match(new TextDecoder().decode(line), /^[ -~]+\n$/)
  assert.equal(hex(CALL), hex(utf8('swarmgate-console/1 hello\n')))
})
