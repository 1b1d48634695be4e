import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { MessageDecoder, MessageError } from 'swarmgate/messages'
import { ANSWER, CALL, encode, parse } from '../messages.js'
import type { Message } from '../messages.js'

const hex = (b: Uint8Array) => Buffer.from(b).toString('hex')

/** Reads parts of hexadecimal digits; 0a*3 is 0a0a0a. */
const digits = (s: string) => s.split(' ').map(part => {
  const [digits, times = '1'] = part.split('*')
  return digits!.repeat(Number(times))
}).join('')

const vectors: Array<{ name: string, stream: string, message?: any, error?: boolean, skipped?: boolean }> =
  JSON.parse(readFileSync('../client/messages/testdata/vectors.json', 'utf8')).consoles

/** Returns the message that a vector means. */
function meant (m: any): Message {
  const all = { ...m }
  for (const half of ['ask', 'answer']) if (half in all) all[half] = digits(all[half])
  return 'bytes' in all ? { ...all, bytes: new Uint8Array(Buffer.from(digits(all.bytes), 'hex')) } : all
}

test('consoles write and read what the vectors say', () => {
  for (const v of vectors) {
    const stream = digits(v.stream)
    if (v.message?.type === 'call') assert.equal(hex(CALL), stream)
    else if (v.message?.type === 'answer') assert.equal(hex(ANSWER), stream)
    else {
      const decoder = new MessageDecoder()
      decoder.push(new Uint8Array(Buffer.from(stream, 'hex')))
      const read = () => parse(decoder.next()!)
      if (v.error) assert.throws(read, MessageError, v.name)
      else if (v.skipped) assert.equal(read(), undefined, v.name)
      else {
        assert.deepEqual(read(), meant(v.message), v.name)
        assert.equal(hex(encode(meant(v.message))), stream, v.name)
      }
    }
  }
})

test('what is too long to be said is cut between characters', () => {
  assert.equal(hex(encode({ type: 'name', name: '✓'.repeat(100) })), hex(encode({ type: 'name', name: '✓'.repeat(85) })))
})
