// Circuits as the streams of Node that old programs know.
import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, test } from 'node:test'
import type { Peer } from '../src/api.js'
import { CircuitStream } from '../src/discoveryswarmstream.js'
import { event } from './event.js'
import { text } from './harness.js'
import { settled } from './network.js'

describe('the stream of a circuit', () => {
  /** A peer that has sent `ahead` chunks, and takes what it is sent when it is let. */
  function fakePeer ({ takes = true } = {}) {
    const fake = { pulled: 0, taken: [] as number[], ends: [] as string[], let: () => {}, fail: (_: unknown) => {} }
    const gate = takes ? Promise.resolve() : new Promise<void>(resolve => { fake.let = resolve })
    let source!: ReadableStreamDefaultController
    const peer = {
      readable: new ReadableStream({
        start: c => { source = c },
        pull: async c => {
          await new Promise(resolve => setImmediate(resolve))
          fake.pulled++
          c.enqueue(new Uint8Array(16384))
        }
      }, { highWaterMark: 0 }),
      writable: new WritableStream<Uint8Array>({ write: async chunk => { await gate; fake.taken.push(chunk.length) } }),
      close: () => { fake.ends.push('close') },
      abort: () => { fake.ends.push('abort') }
    } as unknown as Peer
    fake.fail = e => source.error(e)
    return { peer, fake }
  }

  test('does not read what nobody takes', async () => {
    const { peer, fake } = fakePeer()
    const stream = new CircuitStream(peer)
    await event(stream.on('data', () => {}), 'data')
    stream.pause()
    const pulled = fake.pulled
    for (let i = 0; i < 10; i++) await settled()
    const paused = fake.pulled
    assert.ok(paused - pulled <= 5, `${paused - pulled} chunks of 16 KiB were read ahead`)
    await settled()
    assert.equal(fake.pulled, paused)
    stream.resume()
    for (let i = 0; i < 10; i++) await settled()
    assert.ok(fake.pulled > paused)
    stream.destroy()
  })

  test('says when the peer takes no more, and when it does again', async () => {
    const { peer, fake } = fakePeer({ takes: false })
    const stream = new CircuitStream(peer)
    const told: unknown[] = []
    let accepted = 0
    while (stream.write(new Uint8Array(16384), (e: unknown) => { told.push(e) })) accepted++
    assert.ok(accepted < 5)
    await settled()
    assert.deepEqual([fake.taken, told], [[], []])
    const drained = event(stream, 'drain')
    fake.let()
    await drained
    await settled()
    assert.deepEqual([fake.taken.length, told.length, stream.bytesWritten], [accepted + 1, accepted + 1, 16384 * (accepted + 1)])
    stream.end('6869', 'hex', () => fake.ends.push('finish'))
    await settled()
    assert.deepEqual([fake.taken.at(-1), fake.ends], [2, ['finish']])
    stream.destroy()
  })

  test('calls back once for each write, and goes on if a callback throws', async t => {
    const thrown: string[] = []
    const catcher = (e: Error) => { thrown.push(e.message) }
    const mine = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection')
    process.on('unhandledRejection', catcher)
    t.after(() => {
      process.removeAllListeners('unhandledRejection')
      for (const f of mine) process.on('unhandledRejection', f)
    })
    const { peer, fake } = fakePeer()
    const stream = new CircuitStream(peer)
    let called = 0
    const cb = () => { called++ }
    for (let i = 0; i < 3; i++) stream.write('x', cb)
    stream.write('y', () => { throw new Error('a callback') })
    stream.write('z', cb)
    await settled()
    assert.deepEqual([called, fake.taken.length, thrown], [4, 5, ['a callback']])
    stream.end('last', cb)
    await settled()
    assert.deepEqual([called, fake.taken.length], [5, 6])
    stream.destroy()
  })

  test('calls back who ends it, or writes after that, whatever becomes of it', async () => {
    const told: string[] = []
    const tell = (name: string) => (error?: Error | null) => { told.push(error ? `${name} ${error.message}` : name) }
    const ends = new CircuitStream(fakePeer().peer)
    ends.end(tell('end'))
    assert.equal(ends.write('late', tell('write')), false)
    await settled()
    ends.end(tell('again'))
    await settled()
    assert.deepEqual(told.splice(0).sort(), ['again', 'end', 'write the stream has ended'])
    ends.destroy()
    const stuck = new CircuitStream(fakePeer({ takes: false }).peer)
    stuck.write('x')
    stuck.end(tell('stuck'))
    await settled()
    stuck.destroy(new Error('enough'))
    stuck.end(tell('after'))
    await settled()
    assert.deepEqual(told.sort(), ['after enough', 'stuck enough'])
  })

  test('says at once that it is destroyed, what can be read and what be written', async () => {
    const state = (s: CircuitStream) => [s.readable, s.writable, s.writableFinished, s.destroyed]
    const stream = new CircuitStream(fakePeer().peer, { halfOpen: true })
    assert.deepEqual(state(stream), [true, true, false, false])
    stream.end()
    assert.deepEqual(state(stream), [true, false, false, false])
    await settled()
    assert.deepEqual(state(stream), [true, false, true, false])
    stream.destroy()
    assert.deepEqual(state(stream), [false, false, true, true])
  })

  test('reads as many bytes as are asked for, and says when they are there', async () => {
    const chunks = ['a', 'bcd', 'ef'].map(text)
    const sent: Array<(chunk: Uint8Array | undefined) => void> = []
    const peer = {
      readable: new ReadableStream({
        pull: c => new Promise<void>(resolve => {
          sent.push(chunk => {
            if (chunk) c.enqueue(chunk)
            else c.close()
            resolve()
          })
        })
      }, { highWaterMark: 0 }),
      writable: new WritableStream(),
      close: () => {},
      abort: () => {}
    } as unknown as Peer
    const stream = new CircuitStream(peer)
    const next = async (chunk?: Uint8Array) => {
      await settled()
      sent.shift()!(chunk)
      await settled()
    }
    const read = (n?: number) => stream.read(n)?.toString() ?? null
    const got: Array<string | null> = []
    stream.on('readable', () => { got.push(read(3)) })
    await next(chunks[0])
    await next(chunks[1])
    assert.deepEqual(got.filter(g => g !== null), ['abc'])
    await next(chunks[2])
    assert.deepEqual([got.filter(g => g !== null), read(9)], [['abc', 'def'], null])
    const large = 3 * 65536 // more than it reads ahead
    stream.removeAllListeners('readable')
    assert.equal(stream.read(large), null)
    const ready = event(stream, 'readable')
    for (let i = 0; i < 4; i++) await next(new Uint8Array(65536 - i).fill(i))
    await ready
    const bytes = stream.read(large)!
    assert.deepEqual([bytes.length, bytes[0], bytes.at(-1)], [large, 0, 3])
    const rest = 65536 - 6
    assert.equal(stream.read(rest + 1), null)
    const ended = event(stream, 'end')
    await next()
    assert.equal(stream.read(rest + 1)!.length, rest) // all that there is
    await ended
  })

  test('ends at once if it is destroyed, whatever waits, and tells the peer of an error', async () => {
    for (const [error, end] of [[undefined, 'close'], [new Error('enough'), 'abort']] as const) {
      const { peer, fake } = fakePeer({ takes: false })
      const stream = new CircuitStream(peer)
      const told: unknown[] = []
      for (let i = 0; i < 3; i++) stream.write('x', 'utf8', e => told.push(e))
      await settled()
      const closed = event(stream, 'close')
      stream.destroy(error)
      await closed
      assert.deepEqual([fake.ends, told.length, told.every(e => e instanceof Error && (!error || e === error))], [[end], 3, true])
      assert.equal(stream.write('late', (e: unknown) => { told.push(e) }), false)
      await settled()
      assert.equal(told.length, 4)
    }
  })

  test('that is reset is closed, and an error only for who listens', async () => {
    for (const listens of [false, true]) {
      const { peer, fake } = fakePeer()
      const stream = new CircuitStream(peer)
      const errors: unknown[] = []
      if (listens) stream.on('error', (e: unknown) => { errors.push(e) })
      const closed = event(stream, 'close')
      fake.fail(new Error('reset'))
      await closed
      assert.deepEqual([errors.map(String), stream.destroyed], [listens ? ['Error: reset'] : [], true])
    }
    assert.throws(() => new CircuitStream(fakePeer().peer).write(7 as never), TypeError)
  })

  test('works in the pipes and pipelines of Node', async () => {
    const { peer, fake } = fakePeer()
    const stream = new CircuitStream(peer)
    await pipeline(Readable.from([Buffer.alloc(100_000), Buffer.alloc(5)]), stream as unknown as NodeJS.WritableStream)
    assert.deepEqual(fake.taken, [100_000, 5])
    const sink = new PassThrough()
    const other = new CircuitStream(fakePeer().peer)
    ;(other as unknown as NodeJS.ReadableStream).pipe(sink)
    for await (const chunk of sink) {
      assert.ok(chunk.length > 0)
      break
    }
    other.destroy()
  })
})
