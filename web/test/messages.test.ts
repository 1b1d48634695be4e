// swarmgate/messages, with the vectors of client/messages/testdata.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { MessageDecoder, MessageError, Messages, encodeMessage } from '../src/messages.js'
import type { Message } from '../src/messages.js'
import { hex } from '../src/hex.js'

interface Vector {
  name: string
  stream: string
  messages: Array<{ kind: number, text?: string, json?: unknown, bytes?: string }>
  end: string
  skipped?: boolean
}

const { streams } = JSON.parse(readFileSync(new URL('../../client/messages/testdata/vectors.json', import.meta.url), 'utf8')) as { streams: Vector[] }

/** Reads parts of hexadecimal digits; 0a*3 is 0a0a0a. */
function unhex (text: string): Uint8Array<ArrayBuffer> {
  const digits = text.split(' ').map(part => {
    const [digits, times = '1'] = part.split('*')
    return digits!.repeat(Number(times))
  }).join('')
  return Uint8Array.from(digits.match(/../g) ?? [], d => parseInt(d, 16))
}

/** Turns a message into what a vector says of it. */
function plain (m: Message): Vector['messages'][0] {
  switch (m.type) {
    case 'text': return { kind: 1, text: m.text }
    case 'json': return { kind: 2, json: m.value }
    case 'bytes': return { kind: 3, bytes: hex(m.bytes) }
    case 'own': return { kind: m.kind, bytes: hex(m.bytes) }
  }
}

function spell (m: Vector['messages'][0]): Vector['messages'][0] { return m.bytes === undefined ? m : { ...m, bytes: hex(unhex(m.bytes)) } }

/** A stream that gives out `bytes` in pieces of `size`. */
function pieces (bytes: Uint8Array<ArrayBuffer>, size: number): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start (c) {
      for (let at = 0; at < bytes.length; at += size) c.enqueue(bytes.subarray(at, at + size))
      c.close()
    }
  })
}

/** Returns the two ends of a connection that holds one message at most. */
function pair (): [{ readable: ReadableStream<Uint8Array>, writable: WritableStream<Uint8Array> }, typeof there] {
  const a = new TransformStream<Uint8Array, Uint8Array>()
  const b = new TransformStream<Uint8Array, Uint8Array>()
  const there = { readable: b.readable, writable: a.writable }
  return [{ readable: a.readable, writable: b.writable }, there]
}

for (const v of streams) {
  test(`${v.name} is read as the vector says, in pieces of any size`, async () => {
    const stream = unhex(v.stream)
    for (const size of [1, 2, 7, 4096]) {
      const messages = new Messages({ readable: pieces(stream, size), writable: new WritableStream() }, { maxSize: 1000 })
      const got: Message[] = []
      let end = 'end'
      try {
        for await (const m of messages) got.push(m)
      } catch (e) {
        assert.ok(e instanceof MessageError)
        end = e.message
      }
      assert.deepEqual(got.map(plain), v.messages.map(spell))
      const means = { end: /^end$/, 'unexpected end': /within a message/, 'too large': /at most 1000/, malformed: /not UTF-8|not JSON/ }[v.end]!
      assert.match(end, means)
      if (end !== 'end') await assert.rejects(messages.receive(), { message: end }, 'the end stays the end')
    }
  })
}

test('messages are written as the vectors say', async () => {
  for (const v of streams.filter(v => !v.skipped && v.end === 'end')) {
    const written: Uint8Array[] = []
    const messages = new Messages({ readable: pieces(unhex(''), 1), writable: new WritableStream({ write (b) { written.push(b) } }) })
    for (const m of v.messages) {
      if (m.text !== undefined) await messages.send(m.text)
      else if (m.bytes === undefined) await messages.sendJSON(m.json)
      else if (m.kind === 3) await messages.send(unhex(m.bytes))
      else await messages.sendOwn(m.kind, unhex(m.bytes))
    }
    assert.equal(hex(Buffer.concat(written)), hex(unhex(v.stream)), v.name)
  }
})

test('what is too large is not sent, and what follows is', async () => {
  const [x, y] = pair()
  const [a, b] = [new Messages(x, { maxSize: 5 }), new Messages(y)]
  await assert.rejects(a.send('hello!'), { name: 'MessageError', message: 'a message of 6 bytes, at most 5 are allowed' })
  await assert.rejects(a.sendJSON('hello'), MessageError)
  await assert.rejects(a.sendJSON(undefined), TypeError)
  await assert.rejects(a.sendJSON(1n), TypeError)
  void a.send('hello')
  assert.deepEqual(await b.receive(), { type: 'text', text: 'hello' })
})

test('send waits for a peer that does not read', async () => {
  const [x, y] = pair()
  const [a, b] = [new Messages(x), new Messages(y)]
  let sent = 0
  void (async () => {
    for (let i = 0; i < 20; i++) {
      await a.send(new Uint8Array(1000))
      sent++
    }
  })()
  for (let n = 0; n < 18; n++) {
    await new Promise(resolve => setImmediate(resolve))
    assert.ok(sent <= n + 2, `${sent} were sent, ${n} received`)
    await b.receive()
  }
})

test('messages that are sent and received at once keep their order', async () => {
  const [x, y] = pair()
  const [a, b] = [new Messages(x), new Messages(y)]
  const sent = Array.from({ length: 50 }, (_, i) => a.sendJSON(i))
  const got = await Promise.all(sent.map(() => b.receive()))
  assert.deepEqual(got, sent.map((_, i) => ({ type: 'json', value: i })))
  await Promise.all(sent)
})

test('a loop that was left can be entered again', async () => {
  const [x, y] = pair()
  const [a, b] = [new Messages(x), new Messages(y)]
  void a.send('one').then(() => a.send('two')).then(() => a.close())
  for await (const m of b) {
    assert.deepEqual(m, { type: 'text', text: 'one' })
    break
  }
  const rest: Message[] = []
  for await (const m of b) rest.push(m)
  assert.deepEqual(rest, [{ type: 'text', text: 'two' }])
})

test('the error of a stream is that of send and receive', async () => {
  const gone = new Error('gone')
  const readable = new ReadableStream<Uint8Array>({ pull (c) { c.error(gone) } })
  const writable = new WritableStream({ write () { throw gone } })
  const messages = new Messages({ readable, writable })
  await assert.rejects(messages.receive(), gone)
  await assert.rejects(messages.send('hi'), gone)
})

test('abort ends both sides at once', async () => {
  const reasons: unknown[] = []
  const readable = new ReadableStream<Uint8Array>({ cancel (reason) { reasons.push(reason) } })
  const writable = new WritableStream({ abort (reason) { reasons.push(reason) } })
  const messages = new Messages({ readable, writable })
  const waiting = messages.receive()
  await messages.abort('enough')
  assert.deepEqual(reasons, ['enough', 'enough'])
  assert.equal(await waiting, undefined)
})

test('what a decoder has not decoded is not lost', () => {
  const decoder = new MessageDecoder({ maxSize: 10 })
  const bytes = Buffer.concat([encodeMessage(1, unhex('61')), Buffer.from('GET / HTTP/1.1')])
  for (const b of bytes) decoder.push(Uint8Array.of(b))
  assert.deepEqual(decoder.next(), { type: 'text', text: 'a' })
  assert.throws(() => decoder.next(), MessageError)
  assert.ok(decoder.within)
  assert.equal(Buffer.from(decoder.rest()).toString(), 'GET / HTTP/1.1')
  assert.ok(!decoder.within)
})
