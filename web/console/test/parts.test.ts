import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Bucket } from '../bucket.js'
import { EchoError, EchoTest } from '../echo.js'
import { duration, plain, size } from '../format.js'
import { utf8 } from '../messages.js'
import { shortId, showId } from '../id.js'
import { Meter } from '../meter.js'
import { fileName } from '../sink.js'

test('ids are shown as other programs show them', () => {
  const id = '0024080112203d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c' // a vector of docs/PROTOCOL.md
  const host = '12D3KooWDwTirQce1RRKnasT5fPVFgzXCy6SiRgSwrwPGLC7zE91'
  const endpoint = 'de9571a4fa3ee9d9afee1424fb20a67d'
  for (const [network, id_, want, short] of [
    ['dht', id, host, '12D3…C7zE91'],
    ['dht', id + endpoint, `${host}/${endpoint}`, '12D3…C7zE91/de95…20a67d'],
    ['client', endpoint, endpoint, 'de95…20a67d'],
    ['static', endpoint, endpoint, 'de95…20a67d']
  ] as const) {
    assert.equal(showId({ network, id: id_ }), want)
    assert.equal(shortId({ network, id: id_ }), short)
  }
})

test('an echo is measured', async () => {
  const echo = new EchoTest(async b => {
    queueMicrotask(() => echo.feed(b))
    return true
  })
  const { trip, rate } = await echo.run(1 << 20)
  assert.ok(trip >= 0 && rate > 0)
})

test('what is no echo is told', async () => {
  const wrong = new EchoTest(async () => {
    queueMicrotask(() => wrong.feed(utf8('HTTP/1.1 400 Bad Request')))
    return true
  })
  await assert.rejects(wrong.run(), EchoError)
  await assert.rejects(new EchoTest(async () => false).run(), EchoError)
  const gone: EchoTest = new EchoTest(async () => {
    setTimeout(() => gone.stop())
    return true
  })
  await assert.rejects(gone.run(), /connection ended/)
})

test('a meter knows the last second', () => {
  const m = new Meter(0)
  m.add(1000)
  m.sample(500) // too early
  assert.equal(m.rate, 0)
  m.sample(2000)
  assert.deepEqual([m.rate, m.total], [500, 1000])
  m.sample(3000)
  assert.deepEqual([m.rate, m.total, m.history.at(-2)], [0, 1000, 500])
})

test('a bucket fills again', () => {
  const b = new Bucket(10, 2, 0)
  assert.deepEqual([b.take(0), b.take(0), b.take(0), b.take(99), b.take(100), b.take(100)], [true, true, false, false, true, false])
  assert.deepEqual([b.take(9000), b.take(9000), b.take(9000)], [true, true, false])
})

test('numbers for people', () => {
  for (const [n, want] of [[0, '0 B'], [999, '999 B'], [999.7, '1.00 kB'], [12345, '12.3 kB'], [999_600, '1.00 MB'], [5e15, '5.00 PB']] as const) assert.equal(size(n), want)
  for (const [n, want] of [[0.4, '0 s'], [61, '1 min 1 s'], [7322, '2 h 2 min']] as const) assert.equal(duration(n), want)
})

test('names of others do no harm', () => {
  assert.equal(plain(' a\u202eb\nc\u0000 '), 'a b c')
  for (const [name, want] of [['../../etc/passwd', '_.._etc_passwd'], ['a\u202egpj.exe', 'a_gpj.exe'], ['..', 'file'], ['', 'file'], ['C:\\x', 'C__x']] as const) assert.equal(fileName(name), want)
})
