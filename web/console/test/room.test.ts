import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code } from 'swarmgate'
import { encodeMessage } from 'swarmgate/messages'
import { ANSWER, CALL, utf8 } from '../messages.js'
import { eventually, pipe } from './pipe.js'
import { keep, open, text, two } from './rooms.js'

test('consoles find each other, whoever opened, and talk', async () => {
  const { a, b } = await two()
  await eventually('names', () => [...a.room.links].some(l => a.room.nameOf(l) === 'Bob') && [...b.room.links].some(l => b.room.nameOf(l) === 'Ann'))
  assert.deepEqual(await a.room.say('hi <b>Bob</b>'), [])
  assert.deepEqual(await b.room.say('hi Ann'), [])
  await eventually('texts', () => a.seen.texts.length + b.seen.texts.length === 2)
  assert.deepEqual([a.seen.texts, b.seen.texts], [['hi Ann'], ['hi <b>Bob</b>']])
  assert.equal(a.seen.bytes + b.seen.bytes, '')
})

test('a native peer is sent nothing that nobody typed', async () => {
  const a = open('Ann')
  const [x, y] = pipe('dht', '002408011220' + 'ab'.repeat(32))
  a.room.add(x)
  const [link] = [...a.room.links]
  assert.equal(link!.kind, 'raw')
  const heard = y.readable.getReader().read()
  void link!.type(utf8('typed\n'))
  assert.equal(text((await heard).value!), 'typed\n')
  await eventually('it is counted', () => link!.sent.total === 6)
})

test('a client that says something else is raw, and is not answered', async () => {
  for (const says of ['SSH-2.0-OpenSSH\r\n', text(encodeMessage(0, utf8('swarmgate-console/2 hello\n'))), text(CALL)]) {
    const a = open('Ann')
    const [x, y] = pipe() // a is the initiator, and has asked
    a.room.add(x)
    const writer = y.writable.getWriter()
    void writer.write(utf8(says)) // an echo says what it heard
    await eventually(says, () => a.seen.bytes === says)
    const reader = y.readable.getReader()
    assert.equal(text((await reader.read()).value!), text(CALL))
    const next = reader.read()
    void [...a.room.links][0]!.type(utf8('typed'))
    assert.equal(text((await next).value!), 'typed', 'nothing came between')
  }
})

test('the end that did not open says nothing until it was asked', async () => {
  const a = open('Ann')
  const [x, y] = pipe()
  a.room.add(y)
  const writer = x.writable.getWriter()
  const reader = x.readable.getReader()
  const first = reader.read()
  void writer.write(CALL.slice(0, 5)) // in two parts
  void writer.write(CALL.slice(5))
  assert.equal(text((await first).value!), text(ANSWER))
  assert.equal([...a.room.links][0]!.kind, 'console')
})

test('somebody who was typed to is raw for good', async () => {
  const a = open('Ann')
  const [x, y] = pipe()
  a.room.add(y)
  const [link] = [...a.room.links]
  void link!.type(utf8('who are you?\n'))
  void x.writable.getWriter().write(CALL)
  await eventually('the line is shown', () => a.seen.bytes === text(CALL))
  assert.equal(text((await x.readable.getReader().read()).value!), 'who are you?\n')
  assert.equal(link!.kind, 'raw')
})

test('what is not a message makes a console raw, and loses its files', async () => {
  const a = open('Ann')
  const [x, y] = pipe()
  a.room.add(y)
  const writer = x.writable.getWriter()
  void writer.write(CALL)
  await eventually('console', () => a.room.consoles.length === 1)
  const [upload] = a.room.share(new File(['x'], 'x'))
  void writer.write(utf8('not a message'))
  await eventually('raw', () => [...a.room.links][0]!.kind === 'raw')
  assert.equal(upload!.state, 'failed')
  void writer.write(utf8(' and goes on'))
  await eventually('all of it is shown', () => a.seen.bytes === 'not a message and goes on')
})

test('a quiet room asks nobody', async () => {
  const a = open('Ann', true)
  const [x] = pipe()
  a.room.add(x)
  const [link] = [...a.room.links]
  assert.deepEqual([link!.kind, link!.sent.total], ['raw', 0])
})

test('a file arrives as it was, and both ends know it', async () => {
  const data = new Uint8Array(9_000_001).map((_, i) => i * 7 + (i >> 8))
  const { a, b } = await two()
  const [upload] = a.room.share(new File([data], 'a.bin'))
  await eventually('offer', () => b.seen.downloads.length === 1)
  const [download] = b.seen.downloads
  assert.deepEqual([download!.name, download!.size, download!.state], ['a.bin', data.length, 'offered'])
  const { sink, kept } = keep()
  download!.accept(sink)
  await eventually('done', () => upload!.state === 'done' && download!.state === 'done')
  assert.ok(kept.closed && !kept.aborted)
  assert.ok(Buffer.concat(kept.parts).equals(Buffer.from(data)))
  assert.equal(upload!.sent.total, data.length)
})

test('a disk that is slow holds up its file, and nothing else', async () => {
  const { a, b } = await two()
  const [upload] = a.room.share(new File([new Uint8Array(20 << 20)], 'big'))
  const [small] = a.room.share(new File(['small'], 'small'))
  await eventually('offers', () => b.seen.downloads.length === 2)
  let release = () => {}
  const slow = keep(new Promise(resolve => { release = resolve }))
  const fast = keep()
  b.seen.downloads[0]!.accept(slow.sink)
  await eventually('the window is full', () => upload!.sent.total === 4 << 20)
  await a.room.say('are you there?')
  b.seen.downloads[1]!.accept(fast.sink)
  await eventually('the others pass', () => b.seen.texts.length === 1 && small!.state === 'done')
  assert.equal(upload!.sent.total, 4 << 20)
  assert.equal(slow.kept.size, 0)
  release()
  await eventually('it goes on', () => upload!.state === 'done')
  assert.equal(slow.kept.size, 20 << 20)
})

test('a file of nothing', async () => {
  const { a, b } = await two()
  const [upload] = a.room.share(new File([], 'empty'))
  await eventually('offer', () => b.seen.downloads.length === 1)
  const { sink, kept } = keep()
  b.seen.downloads[0]!.accept(sink)
  await eventually('done', () => upload!.state === 'done')
  assert.ok(kept.closed)
})

test('either end gives a file up', async () => {
  const { a, b } = await two()
  const [declined] = a.room.share(new File(['1'], 'one'))
  const [cancelled] = a.room.share(new File([new Uint8Array(20 << 20)], 'two'))
  await eventually('offers', () => b.seen.downloads.length === 2)
  const [one, two_] = b.seen.downloads
  one!.refuse('not wanted')
  await eventually('declined', () => declined!.state === 'refused' && declined!.reason === 'not wanted')
  const { sink, kept } = keep(new Promise(() => {}))
  two_!.accept(sink)
  await eventually('under way', () => cancelled!.sent.total > 0)
  cancelled!.cancel('cancelled by the sender')
  await eventually('cancelled', () => two_!.state === 'failed' && two_!.reason === 'cancelled by the sender')
  assert.ok(kept.aborted && !kept.closed)
  await a.room.say('still there')
  await eventually('the circuit goes on', () => b.seen.texts.length === 1)
})

test('a disk that fails ends the file at both ends', async () => {
  const { a, b } = await two()
  const [upload] = a.room.share(new File(['data'], 'x'))
  await eventually('offer', () => b.seen.downloads.length === 1)
  b.seen.downloads[0]!.accept({ write: () => Promise.reject(new Error('disk full')), close: async () => {}, abort: async () => {} })
  await eventually('both know', () => upload!.state === 'refused' && b.seen.downloads[0]!.state === 'failed')
  assert.match(b.seen.downloads[0]!.reason, /disk full/)
})

test('a circuit that was ended fails its files', async () => {
  const { a, b, link } = await two()
  const [upload] = a.room.share(new File(['data'], 'x'))
  await eventually('offer', () => b.seen.downloads.length === 1)
  link.close()
  await eventually('left', () => a.seen.left.length === 1)
  assert.deepEqual([upload!.state, a.room.links.size], ['failed', 0])
})

test('words without end are left out, and the circuit goes on', async t => {
  let now = 0
  t.mock.method(performance, 'now', () => now)
  const { a, b } = await two()
  for (let i = 0; i < 400; i++) void a.room.say(`word ${i}`)
  const [upload] = a.room.share(new File(['x'], 'x'))
  await eventually('too many at once', () => upload!.state === 'refused')
  assert.equal(b.seen.floods, 1)
  assert.equal(b.seen.texts.length, 99, 'after a name')
  now += 50
  void a.room.say('later')
  await eventually('there is room for one more', () => b.seen.texts.includes('later'))
})

test('a room is closed when its circuits have ended, and takes nobody any more', async () => {
  const { a, b } = await two()
  const [native] = pipe('static', '00'.repeat(16)) // which never ends by itself
  let aborted = -1
  a.room.add(Object.assign(native, { close () {}, abort: (code = 0) => { aborted = code } }))
  await Promise.race([a.room.close(), eventually('aborted', () => aborted === Code.LEFT)])
  await eventually('the other end knows', () => b.seen.left.length === 1)
  const [late] = pipe()
  a.room.add(late)
  assert.ok(late.isEnded())
  assert.equal(a.seen.left.length, 0, 'nothing is told after it')
})

test('offers without end are refused', async () => {
  const { a, b } = await two()
  const uploads = Array.from({ length: 40 }, (_, i) => a.room.share(new File(['x'], `f${i}`))[0]!)
  await eventually('the rest is refused', () => uploads.filter(u => u.state === 'refused').length === 8)
  assert.equal(b.seen.downloads.length, 32)
})
