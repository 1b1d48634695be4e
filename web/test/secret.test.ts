// swarmgate/secret: the vectors of client/secret/testdata, and a gateway that lies.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Peer } from '../src/api.js'
import { hex } from '../src/hex.js'
import { SecretError, keyHex, keyWords, secret } from '../src/secret.js'
import type { SealedPeer } from '../src/secretapi.js'
import { Cipher } from '../src/secretnoise.js'
import { MessageReader } from '../src/secretreader.js'
import { byteStream, concat } from './bytes.js'
import { text } from './harness.js'
import { Code, failure, settled } from './network.js'
import { all, byMessage, end, pair, record, relay, roomOf, sealedPair } from './sealed.js'

interface Keys { private: string, public: string }
interface Member { static: Keys, ephemeral: Keys }
interface Transcript {
  secret: string
  topic: string
  rekey: number
  initiator: Member
  responder: Member
  messages: Array<{ from: string, wire: string }>
  binding: string
  records: Array<{ from: string, data: string, wire: string }>
}

const read = (name: string) => JSON.parse(readFileSync(new URL(`../../client/secret/testdata/${name}`, import.meta.url), 'utf8')) as unknown
const transcript = read('transcript.json') as Transcript
const derived = read('derived.json') as { secrets: Array<{ secret: string, text?: string, topic: string }> }
const unhex = (s = ''): Uint8Array<ArrayBuffer> => Uint8Array.from(s.match(/../g) ?? [], d => parseInt(d, 16))

/** Imports a key pair; Web Crypto takes private keys as JWK. */
async function imported ({ private: d, public: x }: Keys): Promise<CryptoKeyPair> {
  const jwk = { kty: 'OKP', crv: 'X25519', x: Buffer.from(x, 'hex').toString('base64url') }
  return {
    privateKey: await crypto.subtle.importKey('jwk', { ...jwk, d: Buffer.from(d, 'hex').toString('base64url') }, 'X25519', false, ['deriveBits']),
    publicKey: await crypto.subtle.importKey('jwk', jwk, 'X25519', true, [])
  }
}

/** Reports how a sealed circuit ended, as its three promises tell it. */
async function ends (peer: SealedPeer): Promise<unknown[]> {
  const writer = peer.writable.getWriter()
  return Promise.all([failure(peer.closed), failure(all(peer)), failure(writer.closed)])
}

describe('vectors', () => {
  test('topics', async () => {
    await Promise.all(derived.secrets.map(async v => {
      const same = v.text === undefined ? [v.secret, v.secret.toUpperCase(), unhex(v.secret)] : [v.text]
      for (const s of same) assert.equal(hex((await secret(s)).topic), v.topic, v.text)
    }))
  })

  for (const me of ['initiator', 'responder'] as const) {
    test(`the whole transcript, as the ${me}`, async () => {
      const other = me === 'initiator' ? 'responder' : 'initiator'
      const { stream, peer } = await end(me === 'initiator')
      const room = await secret(transcript.secret, { identity: await imported(transcript[me].static), interval: transcript.rekey })
      assert.deepEqual([hex(room.topic), hex(room.key)], [transcript.topic, transcript[me].static.public])
      const sealing = room.seal(peer, { ephemeral: await imported(transcript[me].ephemeral) } as object)
      const play = async (from: string, wire: string) => {
        if (from === me) assert.equal(hex(await stream.bytes(wire.length / 2)), wire)
        else stream.send(unhex(wire))
      }
      for (const m of transcript.messages) await play(m.from, m.wire)
      const sealed = await sealing
      assert.deepEqual([hex(sealed.key), hex(sealed.binding)], [transcript[other].static.public, transcript.binding])
      const writer = sealed.writable.getWriter()
      const reader = sealed.readable.getReader()
      for (const r of transcript.records) {
        const ended = r.data === ''
        if (r.from === me) await (ended ? void writer.close() : writer.write(unhex(r.data)))
        await play(r.from, r.wire)
        if (r.from === me && ended) await stream.end()
        if (r.from !== me && ended) stream.fin()
        if (r.from !== me) assert.equal(hex((await reader.read()).value ?? new Uint8Array()), r.data)
        await settled()
      }
      await sealed.closed
    })
  }
})

test('a secret is a text or 32 bytes', async () => {
  for (const s of ['', new Uint8Array(31), new Uint8Array(33)]) await assert.rejects(secret(s), TypeError)
})

test('a browser without X25519 is told so', async t => {
  t.mock.method(crypto.subtle, 'generateKey', async () => { throw new DOMException('no', 'NotSupportedError') })
  const e = await failure(secret('wowcool'))
  assert.ok(e instanceof SecretError)
  assert.match(e.message, /X25519 in Web Crypto.*Chrome 133, Firefox 130, Safari 17/)
})

test('a key for people is hexadecimal digits, as swarm shows it, and proquints', () => {
  const key = Uint8Array.of(0x7f, 0, 0, 1, 0x3f, 0x54, 0xdc, 0xc1, 0xff)
  assert.deepEqual([keyHex(key), keyWords(key)], ['7f00 0001 3f54 dcc1', 'lusab-babad-gutih-tugad'])
})

describe('a sealed circuit', () => {
  test('carries bytes both ways, which the gateway does not see', async () => {
    let seen = new Uint8Array(0)
    const spy = (b?: Uint8Array<ArrayBuffer>) => {
      if (b) seen = concat(seen, b)
      return [b]
    }
    const { a, b, rooms, ends } = await sealedPair({ there: spy, back: spy })
    assert.deepEqual([a.key, b.key, a.binding], [rooms[1].key, rooms[0].key, b.binding])
    assert.deepEqual([a.initiator, b.initiator, a.id, a.client, a.peer], [true, false, ends[0].peer.id, true, ends[0].peer])
    const writers = [a.writable.getWriter(), b.writable.getWriter()]
    await writers[0]!.write(text('hello, hello'))
    await writers[1]!.write(text('back').buffer as ArrayBuffer)
    void writers[0]!.close()
    assert.equal(String(await all(b)), 'hello, hello')
    await writers[1]!.write(text(' and more'))
    void writers[1]!.close()
    assert.equal(String(await all(a)), 'back and more')
    await Promise.all([a.closed, b.closed])
    assert.equal(Buffer.from(seen).includes('hello'), false)
  })

  test('takes another key every 3 records each way, while records are full and small', async () => {
    const { a, b } = await sealedPair({ interval: 3 })
    const data = crypto.getRandomValues(new Uint8Array(65519))
    const send = async (peer: SealedPeer) => {
      const w = peer.writable.getWriter()
      for (let i = 1; i < 30; i++) await w.write(data.subarray(0, i % 2 ? data.length : i))
      await w.write(new Uint8Array(0))
      await w.close()
    }
    const want = concat(...Array.from({ length: 29 }, (_, i) => data.subarray(0, i % 2 ? i + 1 : data.length)))
    const [, , x, y] = await Promise.all([send(a), send(b), all(a), all(b)])
    assert.ok(want.length === x.length && Buffer.compare(want, x) === 0 && Buffer.compare(want, y) === 0)
    await Promise.all([a.closed, b.closed])
  })

  test('a BYOB reader gets the bytes and the end, and an end that it waits for', async () => {
    const { a, b } = await sealedPair()
    const w = a.writable.getWriter()
    const reader = b.readable.getReader({ mode: 'byob' })
    const reading = reader.read(new Uint8Array(3))
    await w.write(text('hello'))
    assert.deepEqual((await reading).value, text('hel'))
    assert.deepEqual((await reader.read(new Uint8Array(3))).value, text('lo'))
    const last = reader.read(new Uint8Array(3))
    await w.close()
    assert.deepEqual((await last).done, true)
  })

  test('what is written while others are on their way goes in full records', async () => {
    const lengths: number[] = []
    const { a, b, ends: [end] } = await sealedPair({
      there: byMessage(b => {
        if (b) lengths.push(b.length - 18)
        return [b]
      })
    })
    lengths.length = 0
    end.stream.toGateway.block()
    const w = a.writable.getWriter()
    const piece = new Uint8Array(1000).fill(7)
    const written = Array.from({ length: 500 }, () => w.write(piece))
    let taken = 0
    for (const p of written) void p.then(() => taken++)
    await settled()
    await settled()
    assert.ok(taken < 5 * 66, `${taken * 1000} bytes were taken while the circuit took none`)
    end.stream.toGateway.unblock()
    void w.close()
    const got = await all(b)
    assert.ok(got.length === 500_000 && got.every(x => x === 7))
    assert.ok(lengths.filter(n => n === 65519).length >= 6, `records of ${String(lengths)} bytes`)
    assert.ok(lengths.length < 14 && lengths.at(-1) === 0, `records of ${String(lengths)} bytes`)
  })

  test('a peer that is not read is held up, after a bounded number of bytes', async () => {
    const ends = await pair()
    const [x, y] = await Promise.all([roomOf(), roomOf()])
    const { peer } = ends[1]
    const source = peer.readable.getReader({ mode: 'byob' })
    let came = 0
    const readable = new ReadableStream({
      type: 'bytes',
      async pull (c) {
        const { value, done } = await source.read(new Uint8Array(c.byobRequest!.view!.byteLength))
        came += value!.length
        if (!done) return c.enqueue(value!)
        c.close()
        c.byobRequest?.respond(0)
      }
    })
    const counted = { readable, writable: peer.writable, initiator: false, closed: peer.closed, abort: () => {}, close: () => {} }
    const [a, b] = await Promise.all([x.seal(ends[0].peer), y.seal(counted as Partial<Peer> as Peer)])
    const w = a.writable.getWriter()
    const writing = (async () => {
      for (let i = 0; i < 40; i++) await w.write(new Uint8Array(60_000).fill(i))
      await w.close()
    })()
    await settled()
    assert.ok(came < 1000, `${came} bytes came before anybody read`)
    const reader = b.readable.getReader()
    const first = await reader.read()
    for (let i = 0; i < 20; i++) await settled()
    assert.ok(came < 8 * 65_537, `${came} bytes came while nobody read`) // records and a buffer
    reader.releaseLock()
    assert.equal(first.value!.length + (await all(b)).length, 40 * 60_000)
    await writing
  })

  test('close lets what was written arrive, and the end', async () => {
    const { a, b } = await sealedPair()
    const w = a.writable.getWriter()
    for (let i = 0; i < 20; i++) void w.write(new Uint8Array(50_000).fill(i))
    const other = b.writable.getWriter()
    await other.write(text('this is thrown away'))
    a.close()
    a.close()
    assert.equal((await a.readable.getReader().read()).done, true)
    const got = await all(b)
    assert.equal(got.length, 1_000_000)
    await other.write(text('this too'))
    assert.equal((await failure(w.write(text('late')))).code, Code.NONE)
    b.close()
    await Promise.all([a.closed, b.closed])
  })

  test('abort ends it with the code, at both ends, and so do cancel and abort of the streams', async () => {
    for (const stop of [
      (p: SealedPeer) => p.abort(0x42),
      (p: SealedPeer) => void p.readable.cancel(0x42),
      (p: SealedPeer) => void p.writable.abort(new SecretError(0x42, ''))
    ]) {
      const { a, b } = await sealedPair()
      void all(b).catch(() => {})
      stop(a)
      assert.deepEqual([(await failure(a.closed)).code, (await failure(b.closed)).code], [0x42, 0x42])
    }
  })

  test('what is no bytes ends it with INTERNAL', async () => {
    const { a, b } = await sealedPair()
    const w = a.writable.getWriter()
    await assert.rejects(w.write('text' as never), TypeError)
    assert.equal((await failure(b.closed)).code, Code.INTERNAL)
  })

  test('a lost session is told as it is', async () => {
    const { a, ends: [{ stream }] } = await sealedPair()
    const told = ends(a)
    stream.reset(Code.PEER_GONE)
    for (const e of await told) assert.deepEqual([(e as Error).name, (e as SecretError).code], ['SwarmError', Code.PEER_GONE])
  })
})

/** Changes one bit of the `n`-th message, at a place in parts of its length. */
function flip (n: number, part: number, bit = 0) {
  let i = 0
  return byMessage(b => {
    if (b && i++ === n) b[Math.floor(part * (b.length - 1))]! ^= 1 << bit
    return [b]
  })
}

describe('a gateway that lies', () => {
  for (const [name, there, back] of [
    ['a bit of message 1', flip(0, 0.1), undefined],
    ['the tag of message 1', flip(0, 1), undefined],
    ['the ephemeral key of message 2', undefined, flip(0, 0.1)],
    ['the static key of message 2', undefined, flip(0, 0.5)],
    ['the tag of message 2', undefined, flip(0, 1)],
    ['the static key of message 3', flip(1, 0.3), undefined],
    ['the tag of message 3', flip(1, 1), undefined]
  ] as const) {
    test(`changes ${name}`, async () => {
      const [a, b] = await pair({ ...there && { there }, ...back && { back } })
      const [x, y] = await Promise.all([roomOf(), roomOf()])
      const sealing = [x.seal(a.peer), y.seal(b.peer)]
      const told = await Promise.allSettled(sealing)
      assert.ok(told.some(r => r.status === 'rejected' && r.reason instanceof SecretError && r.reason.code === Code.PROTOCOL), told.map(r => r.status).join())
      // The initiator that has sent message 3 learns of it from the reset.
      for (const r of told) {
        if (r.status === 'fulfilled') assert.equal((await failure(r.value.closed)).code, Code.PROTOCOL)
        else assert.equal(r.reason.code, Code.PROTOCOL)
      }
    })
  }

  test('changes one bit anywhere in records, which is told at once', async () => {
    await fc.assert(fc.asyncProperty(fc.nat(3), fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(7), fc.boolean(), async (n, part, bit, full) => {
      const { a, b, ends: [me] } = await sealedPair({ there: flip(2 + n, part, bit) })
      const w = a.writable.getWriter()
      const told = ends(b)
      void (async () => {
        for (let i = 0; i < 4; i++) await record(w, me, new Uint8Array(full ? 65519 : 100).fill(i))
        await w.close()
      })().catch(() => {})
      const [closed, read, written] = await told as [Error, Error, Error]
      assert.ok(closed instanceof SecretError && closed.code === Code.PROTOCOL, String(closed))
      assert.deepEqual([read, written], [closed, closed])
      assert.equal((await failure(a.closed)).code, Code.PROTOCOL)
    }), { numRuns: 12, examples: [[3, 0, 5, false]] })
  })

  test('a changed record is told with none behind it, after all before it', async () => {
    const { a, b, ends: [me] } = await sealedPair({ there: flip(4, 1) })
    const w = a.writable.getWriter()
    for (const s of ['one', 'two', 'three']) await record(w, me, text(s))
    const reader = b.readable.getReader()
    assert.deepEqual([(await reader.read()).value, (await reader.read()).value], [text('one'), text('two')])
    assert.ok(await failure(reader.read()) instanceof SecretError)
    assert.ok(await failure(b.closed) instanceof SecretError)
  })

  for (const [name, tamper, reason] of [
    ['at a record boundary', (n: number, m: Uint8Array<ArrayBuffer>) => n < 2 ? [m] : n === 2 ? [undefined] : [], /truncated/],
    ['within a record', (n: number, m: Uint8Array<ArrayBuffer>) => n < 2 ? [m] : n === 2 ? [m.slice(0, 7), undefined] : [], /truncated/],
    ['within a length', (n: number, m: Uint8Array<ArrayBuffer>) => n < 2 ? [m] : n === 2 ? [m.slice(0, 1), undefined] : [], /truncated/],
    ['after the end record, with a byte', (_: number, m: Uint8Array<ArrayBuffer>) => m.length === 18 ? [m, Uint8Array.of(0)] : [m], /after the end/],
    ['with a record that has no tag', (n: number, m: Uint8Array<ArrayBuffer>) => n === 2 ? [Uint8Array.of(0, 15), m] : [m], /15 bytes/]
  ] as const) {
    test(`ends the stream ${name}`, async () => {
      let n = -2 // those of the handshake
      const { a, b, ends: [me] } = await sealedPair({
        there: byMessage(m => {
          if (!m) return n < 2 ? [m] : []
          return n++ < 0 ? [m] : tamper(n - 1, m)
        })
      })
      const w = a.writable.getWriter()
      void (async () => {
        for (const s of ['one', 'two', 'three']) await record(w, me, text(s))
        await w.close()
      })().catch(() => {})
      let got = ''
      const e = await failure((async () => { for await (const x of b) got += Buffer.from(x).toString() })())
      assert.ok(e instanceof SecretError && e.code === Code.PROTOCOL, String(e))
      assert.match(e.message, reason)
      assert.equal(got, name.startsWith('after') ? 'onetwothree' : 'onetwo')
      assert.equal(await failure(b.closed), e)
    })
  }

  test('repeats, leaves out and swaps records', async () => {
    for (const tamper of [
      (n: number, m: Uint8Array<ArrayBuffer>) => n === 1 ? [m, m] : [m],
      (n: number, m: Uint8Array<ArrayBuffer>) => n === 1 ? [] : [m],
      (() => {
        let kept: Uint8Array<ArrayBuffer>
        return (n: number, m: Uint8Array<ArrayBuffer>) => {
          if (n === 1) kept = m
          return n === 1 ? [] : n === 2 ? [m, kept] : [m]
        }
      })()
    ]) {
      let n = -2
      const { a, b, ends: [me] } = await sealedPair({ there: byMessage(m => m ? tamper(n++, m) : [m]) })
      const told = failure(all(b))
      const w = a.writable.getWriter()
      await (async () => { for (let i = 0; i < 4; i++) await record(w, me, text('x')) })().catch(() => {})
      assert.ok(await told instanceof SecretError)
    }
  })

  test('sends what came back: reflection', async () => {
    for (const initiator of [true, false]) {
      const me = await end(initiator)
      const { peer, stream } = me
      void relay(me, me)
      if (!initiator) stream.send(Uint8Array.of(0, 48), new Uint8Array(48))
      const e = await failure((await roomOf()).seal(peer))
      assert.ok(e instanceof SecretError && e.code === Code.PROTOCOL, String(e))
    }
  })

  test('joins two circuits of one member', async () => {
    const [a, b] = await pair()
    const room = await roomOf()
    const told = await Promise.allSettled([room.seal(a.peer), room.seal(b.peer)])
    assert.ok(told[0]!.status === 'rejected')
    assert.match(String(told[0].reason), /own key/)
    const other = told[1]!
    assert.equal(other.status === 'rejected' ? other.reason.code : undefined, Code.PROTOCOL)
  })

  test('says to both that they are the initiator', async () => {
    const ends = await Promise.all([end(true), end(true)])
    void relay(ends[0], ends[1])
    void relay(ends[1], ends[0])
    const room = await Promise.all([roomOf(), roomOf()])
    for (const r of await Promise.allSettled(ends.map((e, i) => room[i]!.seal(e.peer)))) assert.equal(r.status === 'rejected' ? r.reason.code : undefined, Code.PROTOCOL)
  })

  test('says to neither that it is the initiator: it takes 10 s, then PROTOCOL', async t => {
    const { peer, stream } = await end(false)
    const room = await roomOf()
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const told = failure(room.seal(peer))
    t.mock.timers.tick(9999)
    await settled()
    assert.equal(stream.toGateway.writes, 0)
    t.mock.timers.tick(1)
    const e = await told
    assert.ok(e instanceof SecretError && e.code === Code.PROTOCOL && /10 s/.test(e.message), String(e))
    assert.deepEqual(await stream.wasReset(), [Code.PROTOCOL, Code.PROTOCOL])
  })
})

test('who has another secret is refused, with PROTOCOL', async () => {
  const [a, b] = await pair()
  const [x, y] = await Promise.all([roomOf(), roomOf({ last: 0 })])
  const told = await Promise.all([failure(x.seal(a.peer)), failure(y.seal(b.peer))])
  assert.deepEqual(told.map(e => e.code), [Code.PROTOCOL, Code.PROTOCOL])
  assert.match(told[1].message, /does not know the secret/)
})

test('a handshake is given up with its signal, and ends with its circuit', async () => {
  const { peer, stream } = await end(true)
  const stop = new AbortController()
  const told = failure((await roomOf()).seal(peer, { signal: stop.signal }))
  stop.abort(new Error('never mind'))
  assert.equal((await told).message, 'never mind')
  assert.deepEqual(await stream.wasReset(), [0, 0])
  assert.equal((await failure((await roomOf()).seal(peer, { signal: stop.signal }))).message, 'never mind')

  const lost = await end(true)
  const sealing = failure((await roomOf()).seal(lost.peer))
  lost.stream.reset(Code.PEER_GONE)
  assert.equal((await sealing).code, Code.PEER_GONE)

  const ended = await end(true)
  const short = failure((await roomOf()).seal(ended.peer))
  ended.stream.fin()
  assert.equal((await short).code, Code.PROTOCOL)
})

test('a message of the handshake may have a payload, which is ignored', async () => {
  const [x, y] = await Promise.all([roomOf(), roomOf()])
  const { seal } = Cipher.prototype
  let sealed = 0
  // The tag alone of each message becomes a payload.
  Cipher.prototype.seal = function (data, ad) { return seal.call(this, data.length === 0 ? Uint8Array.of(...Array(++sealed).keys()) : data, ad) }
  try {
    const [a, b] = await pair()
    const members = await Promise.all([x.seal(a.peer), y.seal(b.peer)])
    assert.deepEqual([sealed, members[0].binding], [3, members[1].binding])
  } finally {
    Cipher.prototype.seal = seal
  }
})

test('a message of the handshake that is too short is an error', async () => {
  const { peer, stream } = await end(false)
  const told = failure((await roomOf()).seal(peer))
  stream.send(Uint8Array.of(0, 47), new Uint8Array(47))
  assert.match((await told).message, /47 bytes, 48 at least/)
})

describe('messages are cut out of what comes', () => {
  test('as it was put in, in pieces of any size', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.nat(3000), { maxLength: 30 }), fc.integer({ min: 1, max: 5000 }), fc.nat(4), async (lengths, size, cut) => {
      const parts = lengths.map((n, i) => new Uint8Array(n).fill(i))
      const wire = concat(...parts.map(p => concat(Uint8Array.of(p.length >> 8, p.length & 255), p)))
      const whole = wire.subarray(0, Math.max(0, wire.length - cut))
      const reader = new MessageReader(byteStream(Uint8Array.from(whole), size))
      const got: Uint8Array[] = []
      let e: unknown
      try {
        for (let m; (m = await reader.next());) got.push(m.slice())
      } catch (error) { e = error }
      const want: Uint8Array[] = []
      let at = 0
      for (const p of parts) {
        at += 2 + p.length
        if (at <= whole.length) want.push(p)
      }
      assert.deepEqual(got, want)
      const used = want.reduce((n, p) => n + p.length + 2, 0)
      assert.equal(e instanceof SecretError, used < whole.length)
    }), { numRuns: 150 })
  })

  test('anything at all instead of a handshake, or of records, is an error', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.boolean(), async (junk, initiator) => {
      const { peer, stream } = await end(initiator)
      const told = failure((await roomOf()).seal(peer))
      stream.send(junk)
      stream.fin()
      assert.equal((await told).code, Code.PROTOCOL)
    }), { numRuns: 15 })
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async junk => {
      const { b } = await sealedPair({ there: (() => { let n = -2; return byMessage(m => n++ < 0 ? [m] : n === 1 ? [Uint8Array.from(junk), undefined] : []) })() })
        .then(s => { s.a.writable.getWriter().write(text('x')).catch(() => {}); return s })
      assert.equal((await failure(all(b))).code, Code.PROTOCOL)
    }), { numRuns: 15 })
  })
})
