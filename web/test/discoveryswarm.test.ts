// Old programs' swarms, against a scripted gateway.
import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import DiscoverySwarm from '../src/discoveryswarm.js'
import type { DiscoverySwarm as API, DiscoverySwarmOptions, Info, PeerStream } from '../src/discoveryswarmapi.js'
import { event } from './event.js'
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

/** A replication stream, which says that its handshake is done with a peer of this id. */
function replication () {
  const stream = new PassThrough()
  return Object.assign(stream, { shake: (id?: string) => { stream.emit('handshake', id === undefined ? undefined : Buffer.from(id, 'hex')) } })
}

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

  test('drops the first of two connections with one peer if that is what the other end does', async () => {
    const streams: Array<ReturnType<typeof replication>> = []
    const s = await start({ id: Buffer.from('bb', 'hex'), stream: () => streams[streams.push(replication()) - 1]! })
    const first = s.transport.open(peerFrame(1, topic, { flags: 1 }))
    await settled()
    const connected = event<[PeerStream, Info]>(s.dss, 'connection')
    streams[0]!.shake('aa')
    const [older] = await connected
    const second = s.transport.open(peerFrame(2, topic)) // by the smaller id
    await settled()
    const told: unknown[][] = []
    for (const name of ['redundant-connection', 'connection-closed', 'connection']) s.dss.on(name, (...args) => { told.push([name, ...args]) })
    const again = event<[PeerStream, Info]>(s.dss, 'connection')
    streams[1]!.shake('aa')
    const [newer, info] = await again
    await first.end()
    first.fin()
    await settled()
    assert.deepEqual(told.map(([name, stream]) => [name, stream === older, stream === newer]),
      [['redundant-connection', true, false], ['connection', false, true], ['connection-closed', true, false]])
    assert.deepEqual([told[0]![2], s.dss.connections, s.dss.totalConnections], [info, [newer], 1]) // as discovery-swarm has it
    second.send(text('x'))
    assert.deepEqual(await second.bytes(1), text('x'))
    assert.ok(streams[0]!.destroyed && !streams[1]!.destroyed)
    const third = s.transport.open(peerFrame(3, topic)) // the first is known no more, the second is
    await settled()
    streams[2]!.shake('aa')
    await second.end()
    second.fin()
    await settled()
    assert.deepEqual(s.dss.totalConnections, 1)
    third.send(text('y'))
    assert.deepEqual(await third.bytes(1), text('y'))
    await s.end()
  })

  test('goes on with the other connection if the gateway drops one of two with one peer', async () => {
    const s = await start({ defaultHandshake: true })
    const [older, newer] = [s.transport.open(peerFrame(1, topic, { network: 'discovery-swarm' })), s.transport.open(peerFrame(2, topic, { network: 'discovery-swarm' }))]
    await settled()
    const [stream, other] = s.dss.connections as [PeerStream, PeerStream]
    const error = event<[{ code: number }]>(stream, 'error')
    const closed = event<[PeerStream, Info]>(s.dss, 'connection-closed')
    older.reset(Code.REPLACED)
    assert.equal((await error)[0].code, Code.REPLACED)
    const [dropped, info] = await closed
    assert.deepEqual([dropped === stream, info.host, s.dss.connections], [true, '0001', [other]])
    newer.send(text('x'))
    assert.equal(String((await event<[Buffer]>(other, 'data'))[0]), 'x')
    assert.ok(!s.log.includes('error'))
    await s.end()
  })

  test('ends what its replication stream has closed, with all that this had written, while the peer still sends', async () => {
    const made = replication()
    const s = await start({ stream: () => made })
    const far = s.transport.open(peerFrame(1, topic))
    await settled()
    const closed = event(s.dss, 'connection-closed')
    made.shake()
    made.write('the last word')
    made.push(null) // its end, and not that of what it takes
    made.resume()
    assert.deepEqual(await far.bytes(13), text('the last word'))
    await far.end()
    made.destroy()
    for (let i = 0; i < 20; i++) far.send(new Uint8Array(16384)) // which nobody takes
    await closed
    assert.deepEqual([s.dss.totalConnections, s.log.includes('error')], [0, false])
    far.fin()
    await s.end()
  })

  test('lets a replication stream go on for 10 s after its peer has ended, whenever the handshake was', async t => {
    const made = new PassThrough({ allowHalfOpen: true })
    made.end = () => made // it does not end by itself
    const s = await start({ stream: () => made })
    const far = s.transport.open(peerFrame(1, topic))
    await settled()
    t.mock.timers.enable({ apis: ['setTimeout'] })
    far.fin()
    await settled()
    made.emit('handshake', Buffer.from('aa', 'hex'))
    t.mock.timers.tick(9_999)
    await settled()
    assert.equal(s.dss.connections.length, 1)
    t.mock.timers.tick(1)
    await settled()
    assert.equal(s.dss.totalConnections, 0)
    await far.end()
    t.mock.timers.reset()
    await s.end()
  })

  test('calls the option stream on itself, and takes only false for back-pressure', async () => {
    let self: unknown
    const made = replication()
    const taken: string[] = []
    made.write = ((bytes: Uint8Array) => { taken.push(Buffer.from(bytes).toString()) }) as never
    const s = await start({ stream: function (this: unknown) { self = this; return made } })
    const far = s.transport.open(peerFrame(1, topic))
    await settled()
    assert.equal(self, s.dss)
    far.send(text('a'))
    await settled()
    far.send(text('b'))
    await settled()
    assert.equal(taken.join(''), 'ab')
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

  test('tells who waits for a topic that it was left, or that the swarm was closed', async () => {
    const c = await connected()
    const dss = new DiscoverySwarm({ connection: c.swarm })
    const order: string[] = []
    const waits = (key: string) => new Promise<unknown>(resolve => dss.join(key, error => {
      order.push(key.slice(0, 2))
      resolve(error)
    }))
    const [left, closed] = [waits('0d'.repeat(32)), waits('0e'.repeat(32))]
    await c.control.expect(frames.Join)
    await c.control.expect(frames.Join)
    dss.leave('0d'.repeat(32), () => order.push('left'))
    assert.match(String(await left), /was left/)
    await settled()
    dss.close(() => order.push('closed'))
    assert.match(String(await closed), /was closed/)
    dss.removeAllListeners() // who has asked is told anyway
    dss.close(() => order.push('closed again'))
    await settled()
    assert.deepEqual(order, ['0d', 'left', '0e', 'closed', 'closed again'])
    await bye(c.swarm, c.net)
  })

  test('that is closed twice calls both back once it is closed', async () => {
    const s = await start()
    const log: string[] = []
    s.dss.on('close', () => log.push('close'))
    s.dss.close(() => log.push('first'))
    s.dss.close(() => log.push('second'))
    await settled()
    assert.deepEqual(log, [])
    s.control.send(frames.Left.encode({ topic, code: 0, reason: '' }))
    await settled()
    assert.deepEqual(log, ['close', 'first', 'second'])
    await bye(s.swarm, s.net)
  })

  test('tells of each topic beyond those that a session may have, which it is', async () => {
    const s = await start()
    const failed: unknown[] = []
    s.dss.on('error', (error: { code: number, channel: Buffer }) => failed.push([error.code, error.channel.toString('hex')]))
    for (const more of ['0e', '0f']) {
      s.dss.join(more.repeat(20))
      const { topic } = await s.control.expect(frames.Join)
      s.control.send(frames.Left.encode({ topic, code: Code.TOPIC_LIMIT, reason: '64 topics, which are all' }))
    }
    await settled()
    assert.deepEqual(failed, ['0e', '0f'].map(more => [Code.TOPIC_LIMIT, more.repeat(20)]))
    s.dss.join('0e'.repeat(20)) // once more, as if it were new
    const { topic } = await s.control.expect(frames.Join)
    s.control.send(frames.Joined.encode({ topic }))
    const connection = event<[PeerStream, Info]>(s.dss, 'connection')
    s.transport.open(peerFrame(1, topic))
    assert.equal((await connection)[1].channel.toString('hex'), '0e'.repeat(20))
    await s.end()
  })

  test('tells of options that cannot be, and stays on the topic', async () => {
    const s = await start()
    const wrong = { networks: Array.from({ length: 17 }, (_, i) => `n${i}`) }
    assert.ok(await new Promise(resolve => s.dss.join(key, wrong, resolve)) instanceof RangeError)
    const error = event<[{ channel: Buffer }]>(s.dss, 'error')
    s.dss.join(key, wrong)
    const [e] = await error
    assert.deepEqual([e instanceof RangeError, e.channel], [true, key])
    s.transport.open(peerFrame(1, topic))
    await event(s.dss, 'connection')
    await s.end()
  })

  test('takes the peers of a topic that others had left on its swarm', async () => {
    const s = await start()
    const theirs = s.swarm.join(topic)
    await s.control.expect(frames.Join)
    const leaving = (await theirs).leave()
    await s.control.expect(frames.Leave)
    s.control.send(frames.Left.encode({ topic, code: 0, reason: '' }))
    await leaving
    await settled()
    s.dss.join(key)
    await s.control.expect(frames.Join)
    s.control.send(frames.Joined.encode({ topic }))
    await settled()
    const connection = event(s.dss, 'connection')
    s.transport.open(peerFrame(1, topic))
    await connection
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

  test('that cannot be is followed by another one, where all is joined, if the program says so', async t => {
    const net = globals(t)
    const [closedTo, open] = ['https://a.example', 'https://b.example']
    net.documents.set(closedTo, 403)
    net.documents.set(open, document(open))
    for (const when of ['disconnected', 'error', 'later']) {
      const dss = new DiscoverySwarm({ connection: closedTo, transports: ['webtransport'] })
      const log = watch(dss)
      dss.join(key)
      if (when !== 'later') dss.once(when, () => { dss.reconnect(open) })
      await event(dss, when === 'disconnected' ? when : 'error')
      if (when === 'later') {
        await settled()
        dss.reconnect(open)
      }
      const transport = await net.dial()
      assert.equal((await welcome(transport)).topic, topic)
      assert.deepEqual(log, when === 'disconnected' ? ['disconnected'] : ['disconnected', 'error'])
      const connection = event(dss, 'connection')
      transport.open(peerFrame(1, topic))
      await connection
      dss.close()
    }
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
