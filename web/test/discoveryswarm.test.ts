// Old programs' swarms, against a scripted gateway.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { PassThrough, Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, test } from 'node:test'
import type { Peer } from '../src/api.js'
import DiscoverySwarm from '../src/discoveryswarm.js'
import type { DiscoverySwarm as API, DiscoverySwarmOptions, Info, PeerStream } from '../src/discoveryswarmapi.js'
import { keyFrom, topicOf, whereIs, whereOf } from '../src/discoveryswarmkey.js'
import { Known } from '../src/discoveryswarmpeers.js'
import { CircuitStream } from '../src/discoveryswarmstream.js'
import { bye, connected, text, url } from './harness.js'
import type { FakeTransport } from './network.js'
import { Code, Network, frames, peerFrame, settled } from './network.js'

const key = Buffer.alloc(32, 7)
const topic = key.toString('hex')
const names = ['listening', 'peer', 'connecting', 'handshaking', 'handshake-timeout', 'connection', 'connection-closed', 'redundant-connection', 'peer-banned', 'disconnected', 'error', 'close']

/** A swarm on a topic of a gateway that the test has connected. */
async function start (options: DiscoverySwarmOptions = {}, joinOptions = {}) {
  const c = await connected()
  const dss = new DiscoverySwarm({ connection: c.swarm, ...options })
  const log = watch(dss)
  dss.join(key, joinOptions)
  const join = await c.control.expect(frames.Join)
  c.control.send(frames.Joined.encode({ topic: join.topic }))
  await settled()
  const end = async () => {
    dss.destroy()
    await bye(c.swarm, c.net)
  }
  return { ...c, dss, log, join, end }
}

/** Notes events by name. */
function watch (dss: API): string[] {
  const log: string[] = []
  for (const name of names) dss.on(name, () => { log.push(name) })
  return log
}

/** Waits for an event, and returns what came with it. */
function event<T extends unknown[]> (dss: { once: (event: string, f: (...args: any[]) => void) => unknown }, name: string): Promise<T> {
  return new Promise(resolve => { dss.once(name, (...args) => resolve(args as T)) })
}

/** A replication stream, which says that its handshake is done with a peer of this id. */
function replication () {
  const stream = new PassThrough()
  return Object.assign(stream, { shake: (id?: string) => { stream.emit('handshake', id === undefined ? undefined : Buffer.from(id, 'hex')) } })
}

describe('keys and addresses', () => {
  test('20 or 32 bytes or hexadecimal digits are keys as they are, anything is with a hash', async () => {
    for (const k of [Buffer.alloc(20, 1), new Uint8Array(32).fill(2), '01'.repeat(20), 'AB'.repeat(32)]) {
      const bytes = keyFrom(k, false)
      assert.ok(Buffer.isBuffer(bytes))
      assert.equal(bytes.toString('hex'), typeof k === 'string' ? k.toLowerCase() : Buffer.from(k).toString('hex'))
    }
    for (const k of ['wowcool', '', '01'.repeat(19), new Uint8Array(21), new Uint8Array(0), 7, null]) {
      assert.throws(() => keyFrom(k as string, false), TypeError, String(k))
    }
    assert.throws(() => keyFrom('wowcool', false), /defaultHash/)
    assert.equal(keyFrom('wowcool', true).toString(), 'wowcool')
    assert.equal(keyFrom(new Uint8Array(3), true).length, 3)
    assert.deepEqual(await topicOf(new Uint8Array(20).fill(3), false), new Uint8Array([...new Uint8Array(20).fill(3), ...new Uint8Array(12)]))
    assert.deepEqual(await topicOf(key, false), new Uint8Array(key))
    assert.deepEqual(await topicOf(text('wowcool'), true), new Uint8Array([...createHash('sha1').update('wowcool').digest(), ...new Uint8Array(12)]))
  })

  test('where the gateway is', () => {
    const target = (options: DiscoverySwarmOptions) => (whereOf(options, 'http://localhost:8080') as { target: unknown }).target
    assert.deepEqual(target({}), { gateways: ['http://localhost:8080'] })
    assert.deepEqual(target({ url: 'swarmgate://192.0.2.7:4433/?h=ab#x', token: 't', stream: () => assert.fail() }), { url: 'swarmgate://192.0.2.7:4433/?h=ab#x', token: 't' })
    assert.deepEqual(target({ discovery: 'wss://gate.example:3472', hashes: ['ab'] }), { gateways: ['https://gate.example:3472'], hashes: ['ab'] })
    assert.deepEqual(target({ discovery: ['ws://localhost:3472', 'ws://[::1]', 'ws://127.0.0.1/', 'ws://localhost.example'] }),
      { gateways: ['http://localhost:3472', 'http://[::1]', 'http://127.0.0.1/', 'https://localhost.example'] })
    assert.deepEqual(target({ connection: ' wss://a.example ', agent: '', transports: ['websocket'] }), { url: 'https://a.example', agent: '', transports: ['websocket'] })
    assert.deepEqual(target({ connection: [new URL('https://a.example'), { url: 'wss://b.example', hashes: [] }], token: 't' }),
      { gateways: ['https://a.example/', { url: 'https://b.example', hashes: [] }], token: 't' })
    assert.deepEqual(target({ connection: { url: 'https://a.example', token: 'its own' }, token: 't' }), { url: 'https://a.example', token: 'its own' })
    const later = new Promise<never>(() => {})
    assert.deepEqual(whereIs(later), { swarm: later })
  })

  test('what is no gateway is refused with words that help', () => {
    for (const connection of [new PassThrough(), { send () {}, addEventListener () {} }]) {
      assert.throws(() => new DiscoverySwarm({ connection: connection as never }), /write url: 'https:\/\/gateway\.example'/)
      const dss = DiscoverySwarm({ connection: new Promise(() => {}) })
      assert.throws(() => dss.reconnect(connection as never), TypeError)
      dss.close()
    }
  })
})

describe('which of two connections is dropped', () => {
  test('the one that both ends agree on', () => {
    const [small, large] = ['aa', 'bb']
    for (const [own, remote] of [[small, large], [large, small]] as const) {
      const mine = own < remote // those that the smaller id has opened stay
      const known = new Known<string>(false)
      assert.equal(known.add('opened here', own, remote, true), undefined)
      assert.equal(known.add('opened there', own, remote, false), mine ? 'opened there' : 'opened here')
      assert.equal(known.add('opened there again', own, remote, false), mine ? 'opened there again' : 'opened there')
    }
  })

  test('the later one if the first is to be kept, and one with ourselves always', () => {
    const known = new Known<number>(true)
    assert.deepEqual([known.add(1, 'aa', 'bb', true), known.add(2, 'aa', 'bb', true), known.add(3, 'bb', 'aa', false)], [undefined, 2, undefined])
    assert.equal(known.add(4, 'aa', 'aa', true), 4)
    known.remove(2, 'bb') // it has no place
    assert.equal(known.add(5, 'aa', 'bb', true), 5)
    known.remove(1, 'bb')
    assert.equal(known.add(6, 'aa', 'bb', true), undefined)
  })
})

describe('a swarm', () => {
  test('asks for the networks of old peers, or for those that it names', async () => {
    for (const [options, joinOptions, networks, flags, maxPeers] of [
      [{}, {}, ['dat', 'client', 'static', 'lan', 'dht'], 3, 0],
      [{ defaultHandshake: true, maxConnections: 5 }, { announce: false }, ['discovery-swarm', 'client', 'static', 'lan', 'dht'], 2, 5],
      [{ networks: ['dat'], maxConnections: Infinity }, { lookup: false }, ['dat'], 1, 0],
      [{ networks: ['dat'] }, { networks: ['client'] }, ['client'], 3, 0]
    ] as const) {
      const s = await start(options, joinOptions)
      assert.deepEqual(s.join, { topic, flags, maxPeers, networks })
      await s.end()
    }
  })

  test('joins 20 bytes as a topic with zeros behind them, and tells connections what was joined', async () => {
    const c = await connected()
    const dss = new DiscoverySwarm({ connection: c.swarm })
    const short = new Uint8Array(20).fill(9)
    const told = new Promise(resolve => dss.join(short, resolve))
    const join = await c.control.expect(frames.Join)
    assert.equal(join.topic, '09'.repeat(20) + '00'.repeat(12))
    c.control.send(frames.Joined.encode({ topic: join.topic }))
    assert.equal(await told, null)
    const connection = event<[PeerStream, Info]>(dss, 'connection')
    const far = c.transport.open(peerFrame(1, join.topic, { flags: 1, network: 'dat' }))
    const [stream, info] = await connection
    assert.deepEqual(info, { type: 'proxy', channel: Buffer.from(short), initiator: true, host: '0001', id: '0001', port: -1, network: 'dat' })
    assert.equal(info.channel.toString('hex'), '09'.repeat(20))
    assert.deepEqual([dss.connections, dss.connected, dss.connecting, dss.queued, dss.totalConnections], [[stream], 1, 0, 0, 1])

    const written = new Promise(resolve => stream.write('hello', resolve))
    assert.deepEqual(await far.bytes(5), text('hello'))
    assert.equal(await written, null)
    const data = event<[Buffer]>(stream, 'data')
    far.send(text('there'))
    const [bytes] = await data
    assert.ok(Buffer.isBuffer(bytes))
    assert.deepEqual([bytes.toString(), stream.bytesRead, stream.bytesWritten], ['there', 5, 5])
    const closed = event(dss, 'connection-closed')
    far.fin() // its end is ours, too
    await far.end()
    assert.deepEqual(await closed, [stream, info])
    assert.deepEqual([dss.connections, dss.totalConnections, stream.destroyed], [[], 0, true])
    dss.close()
    await bye(c.swarm, c.net)
  })

  test('emits connection after the handshake of the replication stream, with the id that it tells', async () => {
    const streams: Array<ReturnType<typeof replication>> = []
    const infos: Info[] = []
    const s = await start({ stream: info => { infos.push({ ...info }); streams.push(replication()); return streams.at(-1)! } })
    const far = s.transport.open(peerFrame(1, topic))
    await settled()
    assert.deepEqual(s.log.splice(0), ['peer', 'handshaking'])
    assert.deepEqual([infos[0]!.id, infos[0]!.initiator, infos[0]!.channel === key, s.dss.connecting, s.dss.connected], [null, false, true, 1, 0])
    const connection = event<[PeerStream, Info]>(s.dss, 'connection')
    streams[0]!.shake('c0ffee')
    const [stream, info] = await connection
    assert.deepEqual([info.id, s.dss.connecting, s.dss.connected], ['c0ffee', 0, 1])
    far.send(text('echo'))
    assert.deepEqual(await far.bytes(4), text('echo')) // by the replication stream
    const closed = event(stream, 'close')
    far.fin()
    await far.end()
    await closed
    assert.ok(streams[0]!.destroyed)
    await settled()
    assert.deepEqual(s.log, ['connection', 'connection-closed'])
    await s.end()
  })

  test('drops a second connection with one peer, and one with itself', async () => {
    const streams: Array<ReturnType<typeof replication>> = []
    const s = await start({ id: Buffer.from('aa', 'hex'), stream: () => streams[streams.push(replication()) - 1]! })
    const first = s.transport.open(peerFrame(1, topic, { flags: 1 }))
    const second = s.transport.open(peerFrame(2, topic))
    await settled()
    streams[0]!.shake('bb')
    const redundant = event<[PeerStream, Info]>(s.dss, 'redundant-connection')
    streams[1]!.shake('bb')
    await redundant
    await second.end()
    second.fin()
    await settled()
    assert.equal(s.dss.connections.length, 1)
    const third = s.transport.open(peerFrame(3, topic))
    await settled()
    streams[2]!.shake('aa')
    await third.end()
    third.fin()
    await settled()
    assert.deepEqual([s.log.includes('peer-banned'), s.dss.connections.length], [true, 1])
    first.send(text('x')) // the first goes on
    assert.deepEqual(await first.bytes(1), text('x'))
    await s.end()
  })

  test('outlives a replication stream that fails, one that is none, and listeners that throw', async t => {
    const thrown = t.mock.method(globalThis, 'queueMicrotask', () => {})
    const complaints = t.mock.method(console, 'error', () => {})
    const streams: Array<ReturnType<typeof replication>> = []
    let wanted = 0
    const s = await start({
      stream: () => {
        if (++wanted === 2) return undefined as never
        if (wanted === 3) throw new Error('no stream today')
        return streams[streams.push(replication()) - 1]!
      }
    })
    s.dss.removeAllListeners('error') // it goes to the console then
    s.dss.on('peer', () => { throw new Error('a listener') })
    const ends = []
    for (const n of [1, 2, 3, 4]) ends.push(s.transport.open(peerFrame(n, topic)))
    await settled()
    assert.deepEqual(complaints.mock.calls.map(c => String(c.arguments[0]).slice(0, 5)), ['TypeE', 'Error'])
    assert.equal(thrown.mock.callCount() >= 4, true)
    streams[0]!.destroy(new Error('replication failed'))
    assert.deepEqual(await ends[0]!.wasReset(), [0, 0])
    streams[1]!.shake()
    await settled()
    assert.equal(s.dss.connections.length, 1)
    thrown.mock.restore()
    await s.end()
  })

  test('drops a peer that has said nothing for 20 s, and waits for one that has', async t => {
    const s = await start({ stream: () => replication() })
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const silent = s.transport.open(peerFrame(1, topic))
    const talks = s.transport.open(peerFrame(2, topic))
    talks.send(text('x'))
    await talks.bytes(1)
    t.mock.timers.tick(19_999)
    assert.ok(!s.log.includes('handshake-timeout'))
    t.mock.timers.tick(1)
    assert.equal(s.log.filter(name => name === 'handshake-timeout').length, 1)
    await silent.end()
    silent.fin()
    await settled()
    assert.equal(s.dss.totalConnections, 1)
    t.mock.timers.reset()
    await s.end()
  })

  test('leaves a topic and keeps its connections, joins it anew, and changes how', async () => {
    const s = await start()
    s.transport.open(peerFrame(1, topic))
    await event(s.dss, 'connection')
    const left = new Promise<void>(resolve => s.dss.leave(topic, resolve))
    await s.control.expect(frames.Leave)
    s.control.send(frames.Left.encode({ topic, code: 0, reason: '' }))
    await left
    assert.equal(s.dss.connections.length, 1)
    s.dss.leave(topic) // of which there is nothing
    s.dss.join(topic)
    await s.control.expect(frames.Join)
    s.control.send(frames.Joined.encode({ topic }))
    await settled()
    s.dss.join(key) // as it is
    s.dss.join(key, { announce: false })
    assert.equal((await s.control.expect(frames.Join)).flags, 2)
    s.transport.open(peerFrame(2, topic))
    await event(s.dss, 'connection')
    assert.equal(s.dss.connections.length, 2)
    await s.end()
  })

  test('tells what the gateway knows, and once if it cannot look for old peers', async t => {
    const warned = t.mock.method(console, 'warn', () => {})
    const networks = (name: string, state: number, reason = '') => [{ name, state, found: 0, connecting: 0, refused: 0, lastCode: 0, reason }]
    for (const [options, networkStatus, warning] of [
      [{}, networks('dat', 1), undefined],
      [{}, networks('dht', 1), /network dat .*without --dat/],
      [{ defaultHandshake: true }, networks('discovery-swarm', 3, 'not for you'), /network discovery-swarm .*: not for you/],
      [{ networks: ['client'] }, [], undefined]
    ] as const) {
      const s = await start(options)
      for (const known of [1, 2]) {
        const status = event<[{ known: number }, Buffer]>(s.dss, 'status')
        s.control.send(frames.Status.encode({ topic, more: false, known, connected: 0, networks: [...networkStatus] }))
        const [{ known: told }, channel] = await status
        assert.deepEqual([told, channel], [known, key])
      }
      const calls = warned.mock.calls.map(c => String(c.arguments[0]))
      warned.mock.resetCalls()
      assert.equal(calls.length, warning ? 1 : 0)
      if (warning) assert.match(calls[0]!, warning)
      await s.end()
    }
  })

  test('tells what came together with the answer to a join', async () => {
    const c = await connected()
    const dss = new DiscoverySwarm({ connection: c.swarm, networks: ['client'] })
    const status = event<[{ known: number }]>(dss, 'status')
    dss.join(key)
    await c.control.expect(frames.Join)
    c.control.send(Uint8Array.from([...frames.Joined.encode({ topic }), ...frames.Status.encode({ topic, more: false, known: 7, connected: 0, networks: [] })]))
    assert.equal((await status)[0].known, 7)
    dss.close()
    await bye(c.swarm, c.net)
  })

  test('tells that the swarm which it was given has ended', async () => {
    const s = await start()
    const error = event(s.dss, 'error')
    s.swarm.close()
    assert.equal(((await error)[0] as { code: number }).code, Code.NONE)
    assert.deepEqual(s.log, ['disconnected', 'error'])
    await s.end()
  })

  test('tells who asked, or everybody, that a topic is refused', async () => {
    const s = await start()
    const other = '0b'.repeat(32)
    for (const asks of [true, false]) {
      const error = asks ? new Promise(resolve => s.dss.join(other, resolve)) : event(s.dss, 'error').then(([e]) => e)
      if (!asks) s.dss.join(other)
      await s.control.expect(frames.Join)
      s.control.send(frames.Left.encode({ topic: other, code: Code.FORBIDDEN, reason: 'no' }))
      assert.equal((await error as { code: number }).code, Code.FORBIDDEN)
    }
    assert.deepEqual(s.log, ['error'])
    await s.end()
  })

  test('that is closed leaves, ends its connections, and tells it', async () => {
    const s = await start()
    const far = s.transport.open(peerFrame(1, topic))
    await event(s.dss, 'connection')
    const closed = new Promise<void>(resolve => s.dss.destroy(resolve))
    await s.control.expect(frames.Leave)
    s.control.send(frames.Left.encode({ topic, code: 0, reason: '' }))
    await far.end()
    far.fin()
    await closed
    assert.deepEqual([s.dss.destroyed, s.dss.totalConnections, s.swarm.state], [true, 0, 'connected']) // the swarm is not its own
    await new Promise<void>(resolve => s.dss.close(resolve)) // once more
    await new Promise(resolve => s.dss.join(key, resolve)) // an error
    s.dss.listen(1, () => assert.fail('it is closed'))
    await bye(s.swarm, s.net)
  })

  test('listens as hyperdiscovery expects it to', async () => {
    const dss = DiscoverySwarm({ connection: new Promise(() => {}) })
    const listened = new Promise<void>(resolve => dss.listen(3282, resolve))
    await event(dss, 'listening')
    await listened
    assert.equal(dss.address().port, -1)
    assert.ok(dss instanceof DiscoverySwarm && dss.id.length === 32)
    dss.close()
  })
})

describe('the way to the gateway', () => {
  /** Has the globals of a page be those of a fake network. */
  function globals (t: { after: (f: () => void) => void }): Network {
    const net = new Network()
    const { fetch, WebTransport } = globalThis
    Object.assign(globalThis, { fetch: net.platform.fetch, WebTransport: net.platform.WebTransport })
    t.after(() => { Object.assign(globalThis, { fetch, WebTransport }) })
    return net
  }
  const document = (origin: string) => ({ webtransport: `${origin}/swarm`, certificate: { kind: 'public' } })
  /** Lets a dial succeed, and the next topic be joined. */
  async function welcome (transport: FakeTransport) {
    await transport.begin()
    transport.welcome()
    const join = await transport.control.expect(frames.Join)
    transport.control.send(frames.Joined.encode({ topic: join.topic }))
    return join
  }

  test('is tried again until there is a gateway, and at once if that is asked for', async t => {
    const net = globals(t)
    const dss = new DiscoverySwarm({ url, transports: ['webtransport'] })
    const log = watch(dss)
    dss.join(key)
    await event(dss, 'disconnected') // no info document
    await new Promise(resolve => setTimeout(resolve, 0))
    net.documents.set(url, document(url))
    dss.reconnect()
    assert.equal((await welcome(await net.dial())).topic, topic)
    assert.deepEqual(log, ['disconnected'])
    dss.close()
  })

  test('leads to another gateway, where all is joined again; the same one is only asked for again', async t => {
    const net = globals(t)
    const [a, b] = ['https://a.example', 'https://b.example']
    for (const origin of [a, b]) net.documents.set(origin, document(origin))
    class Mine extends DiscoverySwarm { mine = true }
    const dss = new Mine({ connection: a, transports: ['webtransport'] })
    dss.join(key)
    const first = await net.dial()
    await welcome(first)
    dss.reconnect(a)
    await settled()
    assert.equal(net.dials, 0)
    dss.reconnect(b)
    const second = await net.dial()
    assert.deepEqual([second.url, first.left === undefined, dss.mine], [`${b}/swarm`, false, true])
    assert.equal((await welcome(second)).topic, topic)
    const lost = event(dss, 'disconnected')
    await second.lose()
    await lost
    assert.equal((await (await net.dial()).begin(1)).joins[0]!.topic, topic) // it comes back by itself
    dss.close()
  })

  test('that cannot be is an error, once', async t => {
    const net = globals(t)
    const [dss, wrong] = [new DiscoverySwarm({ url, transports: ['webtransport'] }), new DiscoverySwarm({ url: 'http://gate.example' })]
    const [log, wrongs] = [watch(dss), watch(wrong)]
    assert.ok((await event(wrong, 'error'))[0] instanceof TypeError)
    dss.join(key)
    net.documents.set(url, 403)
    const told = new Promise<{ code: number }>(resolve => dss.join('0c'.repeat(32), resolve as () => void))
    assert.equal((await told).code, Code.FORBIDDEN)
    await settled()
    assert.deepEqual([log, wrongs], [['disconnected', 'error'], ['disconnected', 'error']])
    for (const d of [dss, wrong]) d.close()
  })
})

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
