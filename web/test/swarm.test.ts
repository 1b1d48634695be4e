// A client that comes back, against gateways that are scripted from docs/PROTOCOL.md.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ConnectOptions, Swarm } from '../src/api.js'
import { SwarmError } from '../src/errors.js'
import { open } from '../src/swarm.js'
import { bye, connected, joined, next, text, url, wowcool } from './harness.js'
import type { FakeTransport } from './network.js'
import { Code, Network, failure, frames, peerFrame, settled } from './network.js'

const other = '07'.repeat(32)
const frameOf = { topic: wowcool }

/** Notes the events of a swarm. */
function watch (swarm: Swarm): string[] {
  const log: string[] = []
  swarm.addEventListener('disconnected', e => { log.push(`disconnected ${e.detail.error.code}`) })
  swarm.addEventListener('reconnecting', e => { log.push(`reconnecting ${e.detail.attempt} in ${e.detail.delay}: ${e.detail.error.code}`) })
  swarm.addEventListener('connected', e => { log.push(`connected ${e.detail.gateway}`) })
  return log
}

/** A swarm with two gateways that is on the topic with the first, and has a circuit there. */
async function two () {
  const net = new Network()
  const connecting = open({ gateways: ['https://a.example', 'https://b.example'], hashes: [], transports: ['webtransport'] }, undefined, net.platform)
  const a = await net.dial()
  const { hello } = await a.begin()
  a.welcome()
  const swarm = await connecting
  const joining = swarm.join(wowcool, { maxPeers: 5 })
  await a.control.expect(frames.Join)
  a.control.send(frames.Joined.encode(frameOf))
  const topic = await joining
  const peers = topic[Symbol.asyncIterator]()
  const stream = a.open(peerFrame(1, wowcool))
  return { net, a, hello, swarm, topic, peers, stream, peer: await next(peers), log: watch(swarm) }
}

/** Takes a dial, and has it welcomed with the JOINs of so many topics. */
async function welcome (net: Network, joins: number) {
  const transport = await net.dial()
  const first = await transport.begin(joins)
  transport.welcome()
  await settled()
  return { transport, ...first }
}

describe('a page that comes and goes', () => {
  test('that is left ends its session; when it is back it is connected at once, and joined again', async () => {
    const { net, swarm, transport, topic } = await joined()
    const log = watch(swarm)
    transport.open(peerFrame(1, wowcool))
    const peer = await next(topic[Symbol.asyncIterator]())
    net.sleep!()
    assert.deepEqual(transport.left, { closeCode: Code.PEER_GONE, reason: 'the page was left' })
    assert.deepEqual(log.splice(0), [`disconnected ${Code.PEER_GONE}`, `reconnecting 1 in 250: ${Code.PEER_GONE}`])
    assert.equal((await failure(peer.closed)).code, Code.PEER_GONE)
    net.wake!()
    await welcome(net, 1)
    assert.deepEqual(log, [`connected ${url}`])
    await bye(swarm, net)
  })

  test('that is left while it connects for the first time goes on with that', async () => {
    const net = new Network()
    const connecting = open({ url, hashes: [] }, undefined, net.platform)
    const transport = await net.dial()
    net.sleep!()
    net.wake!()
    await transport.begin()
    transport.welcome()
    await bye(await connecting, net)
  })

  test('that is back asks its gateway for a sign of life, at once and once', async () => {
    const { net, swarm, control } = await joined()
    net.clock.advance(1000)
    net.wake!()
    net.wake!()
    await control.expect(frames.Ping)
    control.send(frames.Pong.encode({ data: new Uint8Array(8) }))
    await settled()
    assert.deepEqual([swarm.state, control.toGateway.writes], ['connected', 3], 'HELLO, JOIN and PING')
    await bye(swarm, net)
  })
})

describe('a lost session', () => {
  test('events, the same secret, and the JOINs of all topics in one flight', async () => {
    const { net, swarm, transport, hello, control, topic, peers } = await joined({ maxPeers: 9, announce: false })
    const log = watch(swarm)
    const joining = swarm.join(other)
    await control.expect(frames.Join)
    control.send(frames.Joined.encode({ topic: other }))
    await joining
    await transport.lose()
    assert.deepEqual(log.splice(0), [`disconnected ${Code.PEER_GONE}`, `reconnecting 1 in 250: ${Code.PEER_GONE}`])
    assert.equal(swarm.state, 'waiting')
    net.clock.advance(250)
    const again = await net.dial()
    assert.equal(swarm.state, 'connecting')
    const first = await again.begin(2)
    assert.equal(again.control.toGateway.writes, 1, 'in one write')
    assert.deepEqual(first.hello, hello)
    assert.deepEqual(first.joins, [{ topic: wowcool, flags: 2, maxPeers: 9, networks: [] }, { topic: other, flags: 3, maxPeers: 0, networks: [] }])
    assert.deepEqual(log, [])
    again.welcome()
    await settled()
    assert.deepEqual(log, [`connected ${url}`])
    again.control.send(frames.Joined.encode(frameOf))
    again.open(peerFrame(1, wowcool, { id: Uint8Array.of(0xaa) }))
    assert.equal((await next(peers)).id, 'aa', 'the topic goes on')
    assert.equal(topic.hex, wowcool)
    await bye(swarm, net)
  })

  test('circuits that nobody took end with it', async () => {
    const { net, swarm, transport, peers } = await joined()
    transport.open(peerFrame(1, wowcool, { id: Uint8Array.of(1) }))
    await settled()
    await transport.lose()
    net.clock.advance(250)
    const { transport: again } = await welcome(net, 1)
    again.open(peerFrame(1, wowcool, { id: Uint8Array.of(2) }))
    assert.equal((await next(peers)).id, '02')
    await bye(swarm, net)
  })

  test('joining and leaving go on in the meantime', async () => {
    const { net, swarm, transport, topic } = await joined()
    await transport.lose()
    const joining = swarm.join(other)
    await topic.leave()
    await topic.closed
    net.clock.advance(250)
    const { transport: again, joins } = await welcome(net, 1)
    assert.deepEqual(joins[0]!.topic, other)
    const more = swarm.join(wowcool)
    again.control.send(frames.Joined.encode({ topic: other }))
    await joining
    assert.deepEqual((await again.control.expect(frames.Join)).topic, wowcool)
    again.control.send(frames.Joined.encode(frameOf))
    await more
    await bye(swarm, net)
  })

  test('leaving that waits for it is over', async () => {
    const { net, swarm, transport, control, topic } = await joined()
    const left = topic.leave()
    await control.expect(frames.Leave)
    await transport.lose()
    await left
    await bye(swarm, net)
  })

  test('joining while a session begins follows its first flight', async () => {
    const { net, swarm, transport } = await joined()
    await transport.lose()
    net.clock.advance(250)
    const again = await net.dial()
    await again.begin(1)
    const joining = swarm.join(other)
    assert.deepEqual((await again.control.expect(frames.Join)).topic, other)
    again.welcome()
    again.control.send(frames.Joined.encode({ topic: other }))
    await joining
    await bye(swarm, net)
  })

  test('a topic that the new session refuses', async () => {
    const { net, swarm, transport, topic } = await joined()
    await transport.lose()
    net.clock.advance(250)
    const { transport: again } = await welcome(net, 1)
    again.control.send(frames.Left.encode({ topic: wowcool, code: Code.BUSY, reason: '' }))
    await settled()
    net.clock.advance(250)
    await again.control.expect(frames.Join)
    again.control.send(frames.Left.encode({ topic: wowcool, code: Code.SHUTDOWN, reason: '' }))
    await settled()
    await again.lose()
    net.clock.advance(500)
    const { transport: third } = await welcome(net, 1)
    third.control.send(frames.Left.encode({ topic: wowcool, code: Code.FORBIDDEN, reason: 'never' }))
    assert.equal((await failure(topic.closed)).code, Code.FORBIDDEN)
    await third.lose()
    net.clock.advance(1000)
    await welcome(net, 0)
    await bye(swarm, net)
  })

  test('attempts that fail, with growing delays', async () => {
    const { net, swarm, transport } = await connected()
    const log = watch(swarm)
    await transport.lose()
    net.clock.advance(250)
    await (await net.dial()).lose()
    net.clock.advance(500)
    const third = await net.dial()
    await third.begin()
    await third.end(Code.BUSY, 'full')
    net.clock.advance(1000)
    const fourth = await net.dial()
    await settled()
    net.clock.advance(10_000)
    assert.deepEqual(fourth.left?.closeCode, Code.NONE)
    assert.deepEqual(log, [
      `disconnected ${Code.PEER_GONE}`, `reconnecting 1 in 250: ${Code.PEER_GONE}`, `reconnecting 2 in 500: ${Code.PEER_UNREACHABLE}`,
      `reconnecting 3 in 1000: ${Code.BUSY}`, `reconnecting 4 in 2000: ${Code.PEER_UNREACHABLE}`
    ])
    await bye(swarm, net)
  })

  test('the network is back: at once', async () => {
    const { net, swarm, transport } = await connected()
    await transport.lose()
    assert.equal(net.dials, 0)
    net.wake!()
    const again = await net.dial()
    await again.begin()
    again.welcome()
    await settled()
    assert.equal(swarm.state, 'connected')
    await bye(swarm, net)
  })

  for (const code of [Code.UNAUTHORIZED, Code.FORBIDDEN, Code.VERSION, Code.TOKEN_EXPIRED, Code.REPLACED]) {
    test(`code ${code} ends it all`, async () => {
      const { net, swarm, transport, topic, peers } = await joined()
      const log = watch(swarm)
      transport.open(peerFrame(1, wowcool))
      const peer = await next(peers)
      const waiting = failure(peers.next())
      await transport.end(code, 'never')
      const e = await failure(swarm.closed)
      assert.deepEqual([e.code, e.remote, e.reason], [code, true, 'never'])
      assert.equal(await waiting, e)
      assert.equal(await failure(topic.closed), e)
      assert.equal((await failure(peer.closed)).code, Code.PEER_GONE)
      assert.deepEqual([log, swarm.state, net.clock.waiting, net.dials], [[], 'closed', 0, 0])
    })
  }

  test('a swarm that is closed in an event stays closed', async () => {
    const { net, swarm, transport } = await connected()
    swarm.addEventListener('disconnected', () => swarm.close())
    await transport.lose()
    assert.equal(swarm.state, 'closed')
    await bye(swarm, net)
  })
})

describe('connecting', () => {
  test('fails with what the gateway says, or that nobody answers, and is not tried again', async () => {
    for (const [fail, code, remote] of [
      [async (t: FakeTransport) => t.lose(), Code.PEER_UNREACHABLE, false],
      [async (t: FakeTransport) => {
        await t.begin()
        await t.end(Code.FORBIDDEN, 'another origin')
      }, Code.FORBIDDEN, true],
      [async (t: FakeTransport) => {
        t.ready.resolve()
        await t.end(Code.BUSY, 'before any stream')
      }, Code.BUSY, true]
    ] as const) {
      const net = new Network()
      const connecting = failure(open({ url, hashes: [] }, undefined, net.platform))
      await fail(await net.dial())
      const e = await connecting
      assert.ok(e instanceof SwarmError)
      assert.deepEqual([e.code, e.remote], [code, remote])
      assert.equal(net.clock.waiting, 0)
    }
  })

  test('takes 10 s at most', async () => {
    const net = new Network()
    const connecting = failure(open({ url, hashes: [] }, undefined, net.platform))
    const t = await net.dial()
    net.clock.advance(10_000)
    assert.equal((await connecting).code, Code.PEER_UNREACHABLE)
    assert.equal(t.left?.closeCode, Code.NONE)
    assert.equal(net.clock.waiting, 0)
  })

  test('a signal ends it, and the swarm later', async () => {
    const net = new Network()
    const early = new AbortController()
    const connecting = failure(open({ url, hashes: [] }, early.signal, net.platform))
    const t = await net.dial()
    early.abort(new Error('enough'))
    assert.equal((await connecting).message, 'enough')
    assert.ok(t.left)
    assert.equal((await failure(open({ url, hashes: [] }, early.signal, net.platform))).message, 'enough')
    const late = new AbortController()
    const again = open({ url, hashes: [] }, late.signal, net.platform)
    const { transport } = await welcome(net, 0)
    const swarm = await again
    late.abort()
    await swarm.closed
    assert.ok(transport.left)
    assert.equal(net.clock.waiting, 0)
  })

  test('without a transport says so', async () => {
    for (const target of [{ url, hashes: [], transports: ['webtransport'] }, { url, hashes: ['ab'.repeat(32)] }] as const) {
      const net = new Network()
      net.platform.WebTransport = undefined
      const e = await failure(open(target, undefined, net.platform))
      assert.deepEqual([e.code, e.reason], [Code.INTERNAL, 'no transport'])
    }
  })
})

describe('refusals', () => {
  test('with SHUTDOWN, without GOAWAY: joined again after a delay', async () => {
    const { net, swarm, control } = await joined()
    control.send(frames.Left.encode({ topic: wowcool, code: Code.SHUTDOWN, reason: '' }))
    await settled()
    net.clock.advance(249)
    const { writes } = control.toGateway
    net.clock.advance(1)
    assert.deepEqual((await control.expect(frames.Join)).topic, wowcool)
    assert.equal(control.toGateway.writes, writes + 1)
    await bye(swarm, net)
  })

  test('with BUSY, before GOAWAY: joined again in the next session', async () => {
    const { net, swarm, transport, control } = await joined()
    control.send(frames.Left.encode({ topic: wowcool, code: Code.BUSY, reason: '' }))
    control.send(frames.Goaway.encode({ code: Code.SHUTDOWN, retryAfter: 0, reason: '' }))
    await settled()
    const { writes } = control.toGateway
    net.clock.advance(1000)
    await settled()
    assert.equal(control.toGateway.writes, writes)
    await transport.end(Code.SHUTDOWN)
    net.clock.advance(250)
    await welcome(net, 1)
    await bye(swarm, net)
  })

  test('however many topics there are, all of them come back in one flight', async () => {
    const { net, swarm, transport, control } = await joined()
    const joins = Array.from({ length: 2000 }, (_, i) => swarm.join(i.toString(16).padStart(64, '0')))
    for (let i = 0; i < joins.length; i++) control.send(frames.Joined.encode({ topic: (await control.expect(frames.Join)).topic }))
    await Promise.all(joins)
    await transport.lose()
    net.clock.advance(250)
    const again = await net.dial()
    await again.begin(2001)
    assert.equal(again.control.toGateway.writes, 1, 'in one write')
    await bye(swarm, net)
  })
})

describe('several gateways', () => {
  const hashes: string[] = []
  const both: ConnectOptions = { gateways: ['https://a.example', 'https://b.example'], hashes }

  test('the second is tried after 500 ms, and the first that answers is taken', async () => {
    const net = new Network()
    const connecting = open(both, undefined, net.platform)
    const a = await net.dial()
    assert.equal(a.url, 'https://a.example/swarm')
    net.clock.advance(499)
    assert.equal(net.dials, 0)
    net.clock.advance(1)
    const { transport: b } = await welcome(net, 0)
    assert.equal(b.url, 'https://b.example/swarm')
    const swarm = await connecting
    assert.equal(swarm.gateway, 'https://b.example')
    assert.equal(a.left?.closeCode, Code.NONE)
    await b.lose()
    net.clock.advance(250)
    assert.equal((await net.dial()).url, 'https://b.example/swarm', 'what worked is remembered')
    await bye(swarm, net)
  })

  test('a circuit of an attempt that is dropped never shows', async () => {
    const { net, a, swarm, peers, log } = await two()
    await a.lose()
    net.clock.advance(250)
    const slow = await net.dial()
    await slow.begin(1)
    const waiting = next(peers)
    slow.open(peerFrame(1, wowcool, { id: Uint8Array.of(1) }))
    await settled()
    net.clock.advance(500)
    const { transport: b } = await welcome(net, 1)
    b.open(peerFrame(1, wowcool, { id: Uint8Array.of(2) }))
    assert.equal((await waiting).id, '02')
    assert.deepEqual(log.at(-1), 'connected https://b.example')
    await bye(swarm, net)
  })

  test('GOAWAY: moves, and the old session ends with its circuits', async () => {
    const { net, a, hello, swarm, peers, stream, peer, log } = await two()
    a.control.send(frames.Goaway.encode({ code: Code.SHUTDOWN, retryAfter: 5000, reason: 'restart' }))
    const { transport: b, hello: again, joins } = await welcome(net, 1)
    assert.equal(b.url, 'https://b.example/swarm')
    assert.deepEqual(again.secret, hello.secret)
    assert.deepEqual(joins, [{ topic: wowcool, flags: 3, maxPeers: 5, networks: [] }])
    assert.equal(swarm.gateway, 'https://b.example')
    assert.deepEqual(await a.control.expect(frames.Leave), frameOf)
    a.control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }))
    b.control.send(frames.Joined.encode(frameOf))
    const late = a.open(peerFrame(2, wowcool))
    assert.deepEqual(await late.wasReset(), [Code.LEFT, Code.LEFT], 'the old one gets no new circuit')
    b.open(peerFrame(1, wowcool, { id: Uint8Array.of(2) }))
    assert.equal((await next(peers)).id, '02')
    await peer.writable.getWriter().write(text('on'))
    assert.deepEqual(await stream.bytes(2), text('on'), 'what is open goes on')
    const left = a.left
    assert.equal(left, undefined)
    peer.close()
    stream.fin()
    await peer.closed
    net.clock.advance(14_000)
    await settled()
    assert.equal(a.left, undefined, 'the gateway ends it, when the peers have what was written')
    await a.end(Code.SHUTDOWN)
    assert.deepEqual(log, ['connected https://b.example'])
    await bye(swarm, net)
  })

  test('silence without end: the old session is closed 30 s after its last circuit', async () => {
    const { net, a, swarm, peer, stream } = await two()
    net.clock.advance(5000)
    const { transport: b } = await welcome(net, 1)
    assert.equal((await a.control.expect(frames.Ping)).data.length, 8)
    assert.deepEqual(await a.control.expect(frames.Leave), frameOf)
    peer.close()
    stream.fin()
    await peer.closed
    for (let s = 0; s < 29; s++) {
      net.clock.advance(1000)
      for (const t of [a, b]) t.control.send(frames.Pong.encode({ data: new Uint8Array(8) }))
      await settled()
    }
    const early = a.left
    assert.equal(early, undefined, 'what was written last has the time to arrive')
    net.clock.advance(1000)
    assert.equal(a.left?.closeCode, Code.NONE)
    await bye(swarm, net)
  })

  test('GOAWAY of the only gateway: waits until the session ends, and then as long as it says', async () => {
    const { net, swarm, transport, control } = await joined()
    control.send(frames.Goaway.encode({ code: Code.SHUTDOWN, retryAfter: 1500, reason: 'restart' }))
    await settled()
    assert.equal(net.dials, 0)
    const joining = swarm.join(other)
    await settled()
    await transport.end(Code.SHUTDOWN, 'restart')
    net.wake!()
    net.clock.advance(1499)
    assert.equal(net.dials, 0)
    net.clock.advance(1)
    const { transport: again } = await welcome(net, 2)
    again.control.send(frames.Joined.encode({ topic: other }))
    await joining
    await bye(swarm, net)
  })

  test('silence: another gateway is tried beside, and moved to', async () => {
    const { net, a, swarm, log } = await two()
    net.clock.advance(2000)
    await a.control.expect(frames.Ping)
    net.clock.advance(2999)
    await settled()
    assert.equal(net.dials, 0)
    net.clock.advance(1)
    await welcome(net, 1)
    assert.equal(swarm.gateway, 'https://b.example')
    assert.deepEqual(log, ['connected https://b.example'])
    await bye(swarm, net)
  })

  test('silence that ends: a frame ends the attempt', async () => {
    const { net, a, swarm } = await two()
    net.clock.advance(5000)
    const b = await net.dial()
    await b.begin(1)
    a.control.send(frames.Pong.encode({ data: new Uint8Array(8) }))
    await settled()
    assert.equal(b.left?.closeCode, Code.NONE)
    assert.equal(swarm.gateway, 'https://a.example')
    await bye(swarm, net)
  })

  test('a session that moved ends its circuits when it is lost, and the swarm goes on', async () => {
    const { net, a, swarm, peer, log } = await two()
    a.control.send(frames.Goaway.encode({ code: Code.SHUTDOWN, retryAfter: 0, reason: '' }))
    await welcome(net, 1)
    await a.lose()
    assert.equal((await failure(peer.closed)).code, Code.PEER_GONE)
    assert.deepEqual([log, swarm.state], [['connected https://b.example'], 'connected'])
    await bye(swarm, net)
  })

  test('to close the swarm ends sessions that have moved', async () => {
    const { net, a, swarm, peer } = await two()
    a.control.send(frames.Goaway.encode({ code: Code.SHUTDOWN, retryAfter: 0, reason: '' }))
    await welcome(net, 1)
    await bye(swarm, net)
    assert.ok(a.left)
    await peer.closed
  })
})
