// The vectors of wtproto/testdata/vectors, as its README says.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { describe, test } from 'node:test'
import { codeName } from '../src/codes.js'
import { SwarmError } from '../src/errors.js'
import type { Message } from '../src/frames.js'
import { readFrame } from '../src/frames.js'
import { hex, unhex32 } from '../src/hex.js'
import { Gateway } from '../src/gateway.js'
import { topicFrom, topicFromName } from '../src/key.js'
import { formatGatewayURL, parseGatewayURL } from '../src/url.js'
import { messages } from './messages.js'
import { cidOf, digestOf, endpointOf, guessOf, proofOf } from './hosts.js'
import { byteStream } from './bytes.js'

const directory = new URL('../../wtproto/testdata/vectors/', import.meta.url)

interface Vector {
  name: string
  frame: string
  message?: Record<string, unknown>
  canonical?: string
  error?: string
}

function load (file: string): any { return JSON.parse(readFileSync(new URL(file, directory), 'utf8')) }

/** `0a 5a*3` is 0a5a5a5a. */
function unhex (text: string): Uint8Array<ArrayBuffer> {
  const parts = text.split(' ').map(part => {
    const [digits, times = '1'] = part.split('*')
    return digits!.repeat(Number(times))
  })
  const all = parts.join('')
  assert.match(all, /^([0-9a-f]{2})*$/)
  return Uint8Array.from(all.match(/../g) ?? [], d => parseInt(d, 16))
}

/** Turns a message into what a vector says of it. */
function plain (value: unknown): unknown {
  if (value instanceof Uint8Array) return hex(value)
  if (typeof value === 'number') return String(value)
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object') return Object.fromEntries(Object.entries(value!).map(([k, v]) => [k, plain(v)]))
  return value
}

/**
 * Writes out the bytes in what a vector says, guided by what was read. A number that JavaScript
 * does not have becomes what is read instead.
 */
function spell (want: unknown, got: unknown): unknown {
  if (got instanceof Uint8Array && typeof want === 'string') return hex(unhex(want))
  if (typeof got === 'number' && !Number.isSafeInteger(Number(want))) return String(2n ** 52n + BigInt(want as string) % 2n ** 52n)
  if (Array.isArray(want) && Array.isArray(got)) return want.map((w, i) => spell(w, got[i]))
  if (typeof want === 'object' && typeof got === 'object' && got !== null) {
    return Object.fromEntries(Object.entries(want!).map(([k, v]) => [k, k === 'topic' ? hex(unhex(v as string)) : spell(v, (got as Record<string, unknown>)[k])]))
  }
  return want
}

/** Reads the first message of a known type, or says why there is none. */
async function read (bytes: Uint8Array<ArrayBuffer>, of: Message<unknown>): Promise<{ message?: unknown, error?: string, rest: number }> {
  const stream = byteStream(bytes)
  const reader = stream.getReader({ mode: 'byob' })
  try {
    for (;;) {
      const frame = await readFrame(reader)
      if (typeof frame === 'string') return { error: frame, rest: 0 }
      if (!messages.some(m => m.type === frame.type)) continue
      assert.equal(frame.type, of.type)
      const message = of.parse(frame.payload)
      let rest = 0
      for (;;) {
        const { value, done } = await reader.read(new Uint8Array(1024))
        if (done) return { message, rest }
        rest += value.length
      }
    }
  } catch (e) {
    assert.ok(e instanceof SwarmError, String(e))
    return { error: codeName(e.code), rest: 0 }
  }
}

describe('vectors', () => {
  const files = readdirSync(directory).filter(f => f.endsWith('.json') && f !== 'derived.json' && f !== 'urls.json')

  test('there is a file for each message', () => {
    assert.deepEqual(files.sort(), messages.map(m => `${m.name.toLowerCase()}.json`).sort())
  })

  for (const file of files) {
    const { type, vectors } = load(file) as { type: string, vectors: Vector[] }
    const of = messages.find(m => m.name === type)!
    for (const v of vectors) {
      test(`${type}: ${v.name}`, async () => {
        const unknown = Object.keys(v).filter(k => !['name', 'frame', 'message', 'canonical', 'error'].includes(k))
        assert.deepEqual(unknown, [])
        const frame = unhex(v.frame)
        const got = await read(frame, of)
        if (v.error !== undefined) return assert.equal(got.error, v.error)
        assert.equal(got.error, undefined)
        const want = spell(v.message, got.message)
        assert.deepEqual(plain(got.message), want)
        assert.equal(got.rest, 0)
        if (JSON.stringify(v.message).includes('4611686018427387903')) return // such a number cannot be written
        assert.equal(hex(of.encode(got.message)), hex(v.canonical === undefined ? frame : unhex(v.canonical)))
      })
    }
  }
})

describe('gateway URLs', () => {
  const { urls } = load('urls.json') as {
    urls: Array<{ name: string, url: string, host: string, port: string, hashes: string[], topic: string, secret?: string, canonical?: string, error?: boolean }>
  }
  for (const v of urls) {
    test(v.name, async () => {
      assert.deepEqual(Object.keys(v).filter(k => !['name', 'url', 'host', 'port', 'hashes', 'topic', 'secret', 'canonical', 'error'].includes(k)), [])
      if (v.error) return assert.throws(() => parseGatewayURL(v.url), /./)
      const url = `https://${v.host.includes(':') ? `[${v.host}]` : v.host}:${v.port}`
      const got = parseGatewayURL(v.url)
      assert.deepEqual(got, { url, topic: v.topic, ...v.hashes.length > 0 && { hashes: v.hashes }, ...v.secret !== undefined && { secret: v.secret } })
      assert.equal(formatGatewayURL(got), v.canonical ?? v.url)
      const gateway = new Gateway({ url: v.url }) // as connect reads it
      assert.equal(gateway.origin, new URL(url).origin)
      if (v.hashes.length === 0) return
      const route = await gateway.resolve(async () => assert.fail('it asks for the info document'), new AbortController().signal)
      assert.deepEqual([route.url, route.hashes.map(hex)], [`${gateway.origin}/swarm`, v.hashes])
    })
  }
})

describe('derived', () => {
  const derived = load('derived.json')

  test('all members are known', () => {
    assert.deepEqual(Object.keys(derived).sort(), ['digests', 'endpoints', 'guesses', 'proofs', 'texts', 'topics'])
  })
  test('topics', async () => {
    for (const { name, topic } of derived.topics) assert.equal(hex(await topicFromName(name)), topic, name)
  })
  test('texts', async () => {
    for (const { text, topic, error } of derived.texts) {
      const key = unhex32(text)
      assert.equal(key && hex(key), error ? undefined : topic, text)
      assert.equal(await topicFrom(text), error ? hex(await topicFromName(text)) : topic)
    }
  })
  test('digests', async () => {
    for (const { topic, digest, cid } of derived.digests) {
      const d = await digestOf(unhex(topic))
      assert.deepEqual([hex(d), cidOf(d)], [digest, cid])
    }
  })
  test('endpoints', async () => {
    for (const { secret, endpoint } of derived.endpoints) assert.equal(hex(await endpointOf(unhex(secret))), endpoint)
  })
  test('proofs', async () => {
    for (const { label, topic, sender, receiver, input, proof } of derived.proofs) {
      const got = await proofOf(label, unhex(topic), unhex(sender), unhex(receiver))
      assert.deepEqual([hex(got.input), hex(got.proof)], [input, proof])
    }
  })
  test('guesses', async () => {
    for (const { topic, sender, receiver, run, input, tag } of derived.guesses) {
      const got = await guessOf(unhex(topic), unhex(sender), unhex(receiver), unhex(run))
      assert.deepEqual([hex(got.input), hex(got.tag)], [input, tag])
    }
  })
})
