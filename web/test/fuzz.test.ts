import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { SwarmError } from '../src/errors.js'
import { fieldsOf, putVarint } from '../src/fields.js'
import { readFrame } from '../src/frames.js'
import { hex } from '../src/hex.js'
import { byteStream, concat } from './bytes.js'
import { messages } from './messages.js'

const runs = { numRuns: 500 }

/** Mostly payloads that are nearly right: a good one, cut, changed or made longer. */
function payloads () {
  const good = fc.constantFrom(...messages).chain(m => values(m.name).map(v => m.encode(v)))
  return good.chain(frame => fc.tuple(
    fc.nat(frame.length), fc.array(fc.tuple(fc.nat(Math.max(0, frame.length - 1)), fc.nat(255)), { maxLength: 4 }), fc.uint8Array({ maxLength: 40 })
  ).map(([cut, changes, more]) => {
    const b = concat(frame.subarray(0, cut), more)
    for (const [at, to] of changes) if (at < b.length) b[at] = to
    return b
  }))
}

const num = fc.oneof(fc.nat(100), fc.maxSafeNat())
const code = fc.nat(2 ** 32 - 1)
const circuit = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
const fixed = (n: number) => fc.uint8Array({ minLength: n, maxLength: n })
const text = fc.string({ unit: 'binary', maxLength: 12 })
const digest = fixed(32)
const topic = digest.map(hex)
const plain = { noNullPrototype: true }
const endpoints = fc.array(fixed(16), { maxLength: 4 })

/** Messages that can be told. */
function values (name: string): fc.Arbitrary<any> {
  const more = fc.boolean()
  const all: Record<string, Record<string, fc.Arbitrary<unknown>>> = {
    HELLO: { version: circuit, flags: num, credit: fc.integer({ min: 4096 }), secret: fixed(16), token: fc.uint8Array(), agent: text, circuits: num },
    WELCOME: { version: num, session: fixed(16), maxTopics: num, maxCircuits: num, hashes: fc.array(digest, { maxLength: 8 }), agent: text },
    JOIN: { topic, flags: num, maxPeers: num, networks: fc.array(text, { maxLength: 16 }) },
    JOINED: { topic },
    LEAVE: { topic },
    LEFT: { topic, code, reason: text },
    STATUS: {
      topic,
      more,
      known: num,
      connected: num,
      networks: fc.array(fc.record({ name: text, state: num, found: num, connecting: num, refused: num, lastCode: code, reason: text }, plain), { maxLength: 16 })
    },
    PEER: { circuit, topic, flags: num, network: text, id: fc.uint8Array({ maxLength: 128 }), address: text },
    ACCEPT: { circuit },
    DECLINE: { circuit, code },
    WITHDRAW: { circuit, code },
    CREDIT: { circuit, offset: num },
    GOAWAY: { code, retryAfter: code, reason: text },
    PING: { data: fixed(8) },
    PONG: { data: fixed(8) },
    CONNECT: { topic, flags: num, network: text, id: fc.uint8Array({ maxLength: 128 }) },
    REFUSED: { code, reason: text },
    MEET: { digest, proof: digest, flags: num, state: num, endpoints },
    MET: { digest, code, proof: digest, state: num, endpoints },
    ENDPOINTS: { digest, state: num, endpoints },
    OPEN: { digest, proof: digest, from: fixed(16), to: fixed(16), flags: num },
    OPENED: { code, proof: digest },
    HOST: { flags: num, run: fixed(16) },
    PART: { digest, code },
    GUESS: { tags: fc.array(fixed(8), { maxLength: 1024 }) }
  }
  return fc.record(all[name]!, plain)
}

test('a parser throws nothing but SwarmError', () => {
  fc.assert(fc.property(fc.constantFrom(...messages), fc.oneof(payloads(), fc.uint8Array({ maxLength: 300 })), (m, payload) => {
    try {
      m.parse(payload)
    } catch (e) {
      assert.ok(e instanceof SwarmError, String(e))
    }
  }), runs)
})

test('the reader of frames rejects with nothing but SwarmError, and reads no byte too many', async () => {
  const streams = fc.array(fc.oneof(payloads(), fc.uint8Array({ maxLength: 60 })), { maxLength: 5 }).map(parts => concat(...parts))
  await fc.assert(fc.asyncProperty(streams, fc.integer({ min: 1, max: 50 }), async (bytes, size) => {
    const reader = byteStream(bytes, size).getReader({ mode: 'byob' })
    let read = 0
    try {
      for (;;) {
        const frame = await readFrame(reader)
        if (typeof frame === 'string') return assert.equal(frame === 'EOF', read === bytes.length)
        const f = fieldsOf(0, bytes.subarray(read))
        assert.equal(f.varint(), frame.type)
        assert.deepEqual(f.take(f.count(16384)), frame.payload.length === 0 ? new Uint8Array() : frame.payload)
        read = bytes.length - f.left()
        const m = messages.find(m => m.type === frame.type)
        m?.parse(frame.payload)
      }
    } catch (e) {
      assert.ok(e instanceof SwarmError, String(e))
    }
  }), { numRuns: 300 })
})

test('what is encoded is read', async () => {
  await fc.assert(fc.asyncProperty(fc.constantFrom(...messages).chain(m => fc.tuple(fc.constant(m), values(m.name))), async ([m, value]) => {
    const frame = await readFrame(byteStream(m.encode(value)).getReader({ mode: 'byob' }))
    assert.ok(typeof frame !== 'string')
    assert.deepEqual(m.parse(frame.payload), value)
    assert.deepEqual(m.parse(concat(frame.payload, Uint8Array.of(1, 2, 3))), value, 'payloads may grow')
  }), runs)
})

test('a varint is as short as can be, and may be longer', () => {
  fc.assert(fc.property(num, n => {
    const b: number[] = []
    putVarint(b, n)
    assert.equal(b.length, n < 64 ? 1 : n < 2 ** 14 ? 2 : n < 2 ** 30 ? 4 : 8)
    assert.equal(fieldsOf(0, Uint8Array.from(b)).varint(), n)
    const long = new DataView(new ArrayBuffer(8))
    long.setBigUint64(0, BigInt(n) | 3n << 62n)
    assert.equal(fieldsOf(0, new Uint8Array(long.buffer)).varint(), n)
  }), runs)
})

test('a number that JavaScript does not have is read as one that is as large, and has the same flags', () => {
  fc.assert(fc.property(fc.bigInt(2n ** 53n, 2n ** 62n - 1n), n => {
    const b = new DataView(new ArrayBuffer(8))
    b.setBigUint64(0, n | 3n << 62n)
    assert.equal(fieldsOf(0, new Uint8Array(b.buffer)).varint(), Number(2n ** 52n + n % 2n ** 52n))
  }), runs)
})
