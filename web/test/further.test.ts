// Further circuits with a peer, and who is here (docs/PROTOCOL.md, 7.1).
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Peer } from '../src/api.js'
import { Code, failure, frames, peerFrame, settled } from './network.js'
import { bye, circuit, joined, next, text, wowcool } from './harness.js'

const FURTHER = frames.FURTHER | frames.INITIATOR
const refused = (code: number) => ({ code, remote: true })

/** Collects what a topic says of its peers: + and - with what it gives out. */
function watch (topic: EventTarget) {
  const events: Array<[string, Peer]> = []
  for (const type of ['peer', 'leave']) topic.addEventListener(type, e => events.push([type, (e as CustomEvent<Peer>).detail]))
  return events
}

describe('peer.open', () => {
  test('sends CONNECT, and is the circuit that PEER tells of', async () => {
    const { net, swarm, transport, control, peer, topic } = await circuit()
    const opening = peer.open()
    const s = await transport.accept()
    assert.deepEqual(await s.expect(frames.Connect), { topic: wowcool, flags: 0, network: 'dht', id: Uint8Array.of(0, 1) })
    s.send(peerFrame(2, wowcool, { flags: FURTHER, id: Uint8Array.of(0, 1) }), text('hello'))
    const more = await opening
    assert.deepEqual([more.id, more.further, more.initiator, peer.further], [peer.id, true, true, false])
    const reader = more.readable.getReader({ mode: 'byob' })
    assert.deepEqual((await reader.read(new Uint8Array(100))).value, text('hello'))
    const writer = more.writable.getWriter()
    await writer.write(text('bye'))
    assert.deepEqual(await s.bytes(3), text('bye'))
    s.send(new Uint8Array((32 << 10) - 5)) // its credit counts from after PEER, as that of others
    for (let n = 5; n < 32 << 10;) n += (await reader.read(new Uint8Array(1 << 16))).value!.length
    assert.equal((await control.expect(frames.Credit)).circuit, 2)
    assert.deepEqual(topic.peers, [peer])
    more.abort(0x42)
    assert.deepEqual(await s.wasReset(), [0x42, 0x42])
    await bye(swarm, net)
  })

  for (const [name, answer, error] of [
    ['REFUSED', frames.Refused.encode({ code: Code.DECLINED, reason: 'one only' }), { ...refused(Code.DECLINED), reason: 'one only' }],
    ['nothing', new Uint8Array(), refused(Code.PEER_GONE)],
    ['half a frame', Uint8Array.of(0x11), refused(Code.PEER_GONE)],
    ['another frame', frames.Joined.encode({ topic: wowcool }), refused(Code.PEER_GONE)]
  ] as const) {
    test(`answered with ${name}`, async () => {
      const { net, swarm, transport, peer } = await circuit()
      const opening = failure(peer.open())
      const s = await transport.accept()
      await s.expect(frames.Connect)
      s.send(answer)
      s.fin()
      const { code, remote } = await opening
      assert.deepEqual({ code, remote }, { code: error.code, remote: true })
      assert.equal(swarm.state, 'connected')
      await bye(swarm, net)
    })
  }

  test('answered with a reset, whose code it tells', async () => {
    const { net, swarm, transport, peer } = await circuit()
    const opening = failure(peer.open())
    const s = await transport.accept()
    s.reset(Code.BUSY)
    assert.equal((await opening).code, Code.BUSY)
    await bye(swarm, net)
  })

  test('answered with what is malformed ends the session', async () => {
    const { net, swarm, transport, peer } = await circuit()
    const opening = failure(peer.open())
    const s = await transport.accept()
    s.send(Uint8Array.of(0x08, 0x00))
    assert.equal((await opening).code, Code.PROTOCOL)
    assert.equal(transport.left?.closeCode, Code.PROTOCOL)
    await bye(swarm, net).catch(() => {})
  })

  test('is taken back both ways', async () => {
    const { net, swarm, transport, peer } = await circuit()
    const end = new AbortController()
    const opening = failure(peer.open({ signal: end.signal }))
    const s = await transport.accept()
    await s.expect(frames.Connect)
    end.abort(new Error('never mind'))
    assert.equal((await opening).message, 'never mind')
    assert.deepEqual(await s.wasReset(), [Code.WITHDRAWN, Code.WITHDRAWN])
    assert.equal((await failure(peer.open({ signal: end.signal }))).message, 'never mind')
    await bye(swarm, net)
  })

  test('works after the end of the first, and the peer is here again', async () => {
    const { net, swarm, transport, peer, topic, stream } = await circuit()
    const events = watch(topic)
    stream.reset(Code.DECLINED)
    await failure(peer.closed)
    assert.deepEqual([topic.peers, events], [[], [['leave', peer]]])
    const opening = peer.open()
    const s = await transport.accept()
    await s.expect(frames.Connect)
    s.send(peerFrame(2, wowcool, { flags: FURTHER, id: Uint8Array.of(0, 1) }))
    const more = await opening
    assert.deepEqual([topic.peers, events.slice(1)], [[more], [['peer', more]]])
    await bye(swarm, net)
  })

  test('a topic that was left, or a session that is gone, has none', async () => {
    const { net, swarm, transport, control, peer, topic } = await circuit()
    const left = topic.leave()
    control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }))
    await left
    const opening = failure(peer.open())
    const s = await transport.accept()
    await s.expect(frames.Connect)
    s.send(peerFrame(2, wowcool, { flags: FURTHER, id: Uint8Array.of(0, 1) })) // had crossed
    assert.equal((await opening).code, Code.LEFT)
    assert.deepEqual(await s.wasReset(), [Code.LEFT, Code.LEFT])
    const lost = failure(peer.open())
    await transport.accept()
    await transport.lose()
    assert.equal((await lost).code, Code.PEER_GONE)
    assert.equal((await failure(peer.open())).code, Code.PEER_GONE)
    await bye(swarm, net)
  })

  test('256 circuits are all', async () => {
    const { net, swarm, transport, peer } = await circuit()
    const all = Array.from({ length: 255 }, () => peer.open().catch(() => {}))
    assert.equal((await failure(peer.open())).code, Code.CIRCUIT_LIMIT)
    for (const _ of all) (await transport.accept()).send(frames.Refused.encode({ code: Code.BUSY, reason: '' }))
    await Promise.all(all)
    const opening = peer.open()
    const s = await transport.accept()
    s.send(peerFrame(2, wowcool, { flags: FURTHER, id: Uint8Array.of(0, 1) }))
    await opening
    await bye(swarm, net)
  })
})

describe('peer.streams', () => {
  const further = { flags: frames.FURTHER, id: Uint8Array.of(0, 1) }

  test('JOIN says that they are welcome, and on which networks', async () => {
    const { net, swarm, join } = await joined({ streams: true, networks: ['dht', 'client'] })
    assert.deepEqual([join.flags & frames.STREAMS, join.networks], [frames.STREAMS, ['dht', 'client']])
    await assert.rejects(swarm.join('x', { networks: Array(17).fill('a') }), RangeError)
    await bye(swarm, net)
  })

  test('yields what the peer opens, by stream or by offer, and ends with the last circuit', async () => {
    const { net, swarm, transport, control, topic, peers } = await joined({ streams: true })
    const stream = transport.open(peerFrame(1, wowcool))
    const peer = await next(peers)
    const streams = peer.streams[Symbol.asyncIterator]()
    const one = transport.open(peerFrame(2, wowcool, further), text('one'))
    const first = await next(streams)
    assert.equal(first.further, true)
    for await (const b of first) { assert.deepEqual(b, text('one')); break }
    control.send(peerFrame(3, wowcool, further))
    const two = await transport.accept()
    assert.deepEqual(await two.expect(frames.Accept), { circuit: 3 })
    const second = await next(first.streams[Symbol.asyncIterator]()) // the same
    stream.reset(0x100)
    one.reset(0x100)
    await settled()
    assert.deepEqual(topic.peers, [peer])
    second.abort()
    assert.equal((await streams.next()).done, true)
    assert.deepEqual(topic.peers, [])
    await bye(swarm, net)
  })

  test('offerOnly is about the first', async () => {
    const { net, swarm, transport, control, topic, peers } = await joined({ streams: true, offerOnly: true })
    control.send(peerFrame(1, wowcool))
    const offer = await next(peers) as any
    assert.deepEqual(topic.peers, [])
    const accepting = offer.accept()
    await transport.accept()
    const peer = await accepting
    assert.deepEqual(topic.peers, [peer])
    control.send(peerFrame(2, wowcool, further))
    await transport.accept()
    assert.equal((await next(peer.streams[Symbol.asyncIterator]()) as any).further, true)
    await bye(swarm, net)
  })

  test('where they are not welcome they are declined', async () => {
    const { net, swarm, transport } = await circuit()
    const s = transport.open(peerFrame(2, wowcool, further))
    assert.deepEqual(await s.wasReset(), [Code.DECLINED, Code.DECLINED])
    await bye(swarm, net)
  })

  test('one that overtakes the first waits for it', async () => {
    const { net, swarm, transport, topic, peers } = await joined({ streams: true })
    const events = watch(topic)
    transport.open(peerFrame(2, wowcool, further))
    await settled()
    assert.deepEqual([topic.peers, events], [[], []])
    transport.open(peerFrame(1, wowcool))
    const peer = await next(peers)
    assert.deepEqual([peer.further, topic.peers, events], [false, [peer], [['peer', peer]]])
    assert.equal((await next(peer.streams[Symbol.asyncIterator]())).further, true)
    await bye(swarm, net)
  })

  test('if there is no first, it is how the peer comes', async () => {
    const { net, swarm, transport, topic, peers } = await joined({ streams: true })
    transport.open(peerFrame(2, wowcool, further))
    transport.open(peerFrame(3, wowcool, further))
    await settled()
    net.clock.advance(1000)
    const peer = await next(peers)
    assert.deepEqual([peer.further, topic.peers], [true, [peer]])
    await next(peer.streams[Symbol.asyncIterator]())
    await bye(swarm, net)
  })

  test('those that nobody took are reset when the topic is left', async () => {
    const { net, swarm, transport, topic, peers } = await joined({ streams: true })
    transport.open(peerFrame(1, wowcool))
    const peer = await next(peers)
    const s = transport.open(peerFrame(2, wowcool, further))
    await settled()
    const events = watch(topic)
    void topic.leave()
    assert.deepEqual(await s.wasReset(), [Code.LEFT, Code.LEFT])
    assert.equal((await peer.streams[Symbol.asyncIterator]().next()).done, true)
    assert.deepEqual([topic.peers, events], [[], [['leave', peer]]])
    await bye(swarm, net)
  })
})

describe('topic.peers', () => {
  test('has who is here, taken or not, and many may listen', async () => {
    const { net, swarm, transport, topic } = await joined()
    const [one, other] = [watch(topic), watch(topic)]
    const a = transport.open(peerFrame(1, wowcool))
    transport.open(peerFrame(2, wowcool))
    await settled()
    assert.deepEqual(topic.peers.map(p => p.id), ['0001', '0002'])
    a.reset(0x100)
    await settled()
    assert.deepEqual(topic.peers.map(p => p.id), ['0002'])
    assert.deepEqual([one.map(e => e[0]), other], [['peer', 'peer', 'leave'], one])
    await transport.lose()
    assert.deepEqual([topic.peers, one.map(e => e[0])], [[], ['peer', 'peer', 'leave', 'leave']])
    await bye(swarm, net)
  })

  test('one that is connected anew while another circuit is open leaves and comes', async () => {
    const { net, swarm, transport, topic, peers } = await joined({ streams: true })
    const first = transport.open(peerFrame(1, wowcool))
    const peer = await next(peers)
    transport.open(peerFrame(2, wowcool, { flags: frames.FURTHER, id: Uint8Array.of(0, 1) }))
    await settled()
    first.reset(Code.PEER_GONE)
    await settled()
    const events = watch(topic)
    transport.open(peerFrame(3, wowcool, { id: Uint8Array.of(0, 1) }))
    const again = await next(peers)
    assert.deepEqual([topic.peers, events], [[again], [['leave', peer], ['peer', again]]])
    assert.equal((await next(again.streams[Symbol.asyncIterator]())).further, true)
    await bye(swarm, net)
  })
})
