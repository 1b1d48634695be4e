// Against a gateway that is scripted from docs/PROTOCOL.md.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Offer } from '../src/api.js'
import { deferred } from '../src/deferred.js'
import { concat } from './bytes.js'
import { bye, circuit, joined, next, text, wowcool } from './harness.js'
import { Code, failure, frames, peerFrame, settled } from './network.js'

describe('offers', () => {
  test('offer only: accepted', async () => {
    const { net, swarm, transport, control, peers } = await joined<Offer>({ offerOnly: true })
    control.send(peerFrame(7, wowcool, { flags: 3, id: Uint8Array.of(7), address: 'there' }))
    const offer = await next(peers)
    assert.deepEqual([offer.id, offer.network, offer.address, offer.initiator, offer.client, offer.topic.slice(0, 4)], ['07', 'dht', 'there', true, true, 'ff5d'])
    const accepting = offer.accept()
    assert.equal(offer.accept(), accepting)
    offer.decline() // too late
    const stream = await transport.accept()
    assert.deepEqual(await stream.expect(frames.Accept), { circuit: 7 })
    const peer = await accepting
    await peer.writable.getWriter().write(text('hi'))
    assert.deepEqual(await stream.bytes(2), Uint8Array.from(text('hi')))
    await bye(swarm, net)
  })

  test('offer only: declined', async () => {
    const { net, swarm, control, peers } = await joined<Offer>({ offerOnly: true })
    control.send(peerFrame(7, wowcool), peerFrame(8, wowcool))
    const a = await next(peers)
    a.decline()
    a.decline(5)
    ;(await next(peers)).decline(0x1234)
    assert.deepEqual(await control.expect(frames.Decline), { circuit: 7, code: Code.DECLINED })
    assert.deepEqual(await control.expect(frames.Decline), { circuit: 8, code: 0x1234 })
    assert.equal((await failure(a.accept())).code, Code.DECLINED)
    await bye(swarm, net)
  })

  test('offer only: a stream of the gateway is decided about as well', async () => {
    const { net, swarm, transport, peers } = await joined<Offer>({ offerOnly: true })
    const a = transport.open(peerFrame(1, wowcool))
    ;(await next(peers)).decline()
    assert.deepEqual(await a.wasReset(), [Code.DECLINED, Code.DECLINED])
    const b = transport.open(peerFrame(2, wowcool))
    const peer = await (await next(peers)).accept()
    b.send(text('x'))
    assert.equal((await peer.readable.getReader().read()).value!.length, 1)
    await bye(swarm, net)
  })

  test('WITHDRAW before it is taken from the queue', async () => {
    const { net, swarm, control, peers } = await joined<Offer>({ offerOnly: true })
    control.send(peerFrame(1, wowcool), frames.Withdraw.encode({ circuit: 1, code: Code.WITHDRAWN }), peerFrame(2, wowcool))
    await settled()
    assert.equal((await next(peers)).id, '0002')
    await bye(swarm, net)
  })

  test('WITHDRAW before it is accepted', async () => {
    const { net, swarm, transport, control, peers } = await joined<Offer>({ offerOnly: true })
    control.send(peerFrame(1, wowcool))
    const offer = await next(peers)
    control.send(frames.Withdraw.encode({ circuit: 1, code: 0 }))
    await settled()
    const e = await failure(offer.accept())
    assert.deepEqual([e.code, e.remote], [Code.WITHDRAWN, true])
    offer.decline()
    const opened = transport.open(peerFrame(2, wowcool))
    await (await next(peers)).accept()
    opened.fin()
    await bye(swarm, net)
  })

  test('WITHDRAW crosses ACCEPT: it is the end of the circuit', async () => {
    const { net, swarm, control, stream, peer } = await circuit('offered')
    control.send(frames.Withdraw.encode({ circuit: 1, code: Code.PEER_GONE }))
    const e = await failure(peer.closed)
    assert.deepEqual([e.code, e.remote], [Code.PEER_GONE, true])
    assert.deepEqual(await stream.wasReset(), [Code.PEER_GONE, Code.PEER_GONE])
    await bye(swarm, net)
  })

  test('ACCEPT is too late: the stream is reset with WITHDRAWN', async () => {
    const { net, swarm, stream, peer } = await circuit('offered')
    stream.reset(Code.WITHDRAWN)
    assert.equal((await failure(peer.closed)).code, Code.WITHDRAWN)
    await bye(swarm, net)
  })

  test('WITHDRAW while the stream is being opened', async () => {
    const { net, swarm, transport, control, peers } = await joined()
    const opens = deferred()
    transport.opens = opens.promise
    control.send(concat(peerFrame(1, wowcool), frames.Withdraw.encode({ circuit: 1, code: Code.WITHDRAWN })))
    await settled()
    opens.resolve()
    const stream = await transport.accept()
    control.send(peerFrame(2, wowcool))
    assert.deepEqual(await (await transport.accept()).expect(frames.Accept), { circuit: 2 })
    assert.equal((await next(peers)).id, '0002')
    assert.deepEqual(await stream.wasReset(), [0, 0])
    assert.equal(stream.toGateway.writes, 0, 'no ACCEPT')
    await bye(swarm, net)
  })

  test('WITHDRAW of anything else means nothing', async () => {
    const { net, swarm, control } = await joined()
    control.send(frames.Withdraw.encode({ circuit: 99, code: 0 }), frames.Ping.encode({ data: new Uint8Array(8) }))
    await control.expect(frames.Pong)
    await bye(swarm, net)
  })

  test('without a stream the offer is declined', async () => {
    const { net, swarm, transport, control } = await joined()
    transport.full = true
    control.send(peerFrame(1, wowcool))
    assert.deepEqual(await control.expect(frames.Decline), { circuit: 1, code: Code.BUSY })
    await bye(swarm, net)
  })

  test('leaving declines offers that wait', async () => {
    const { net, swarm, control, topic } = await joined<Offer>({ offerOnly: true })
    control.send(peerFrame(1, wowcool), peerFrame(2, wowcool))
    await settled()
    const writes = control.toGateway.writes
    void topic.leave()
    const said = []
    for (let i = 0; i < 3; i++) said.push((await control.frame()).type)
    assert.deepEqual(said.sort(), ['DECLINE', 'DECLINE', 'LEAVE'])
    assert.equal(control.toGateway.writes, writes + 1, 'in one write')
    await bye(swarm, net)
  })

  test('no more than 100 are declined at once, and 50 a second', async () => {
    const { net, swarm, control, topic } = await joined<Offer>({ offerOnly: true })
    const offers = (from: number, n: number) => control.send(concat(...Array.from({ length: n }, (_, i) => peerFrame(from + i, wowcool))))
    const declines = async (n: number) => {
      await settled()
      control.send(frames.Ping.encode({ data: new Uint8Array(8) }))
      for (let i = 0; i < n; i++) await control.expect(frames.Decline)
      await control.expect(frames.Pong)
    }
    offers(1, 120)
    await settled()
    void topic.leave()
    for (let i = 0; i < 100; i++) await control.expect(frames.Decline)
    await control.expect(frames.Leave)
    offers(200, 5)
    await declines(0)
    net.clock.advance(1000)
    offers(300, 60)
    await declines(50)
    await bye(swarm, net)
  })
})
