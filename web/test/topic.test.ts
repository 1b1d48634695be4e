// Against a gateway that is scripted from docs/PROTOCOL.md.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { bye, connected, joined, next, text, wowcool } from './harness.js'
import { Code, failure, frames, peerFrame, settled } from './network.js'

describe('joining', () => {
  test('JOIN says the options', async () => {
    for (const [options, flags, maxPeers] of [
      [{}, 3, 0], [{ announce: false }, 2, 0], [{ lookup: false, maxPeers: 7 }, 1, 7], [{ announce: false, lookup: false }, 0, 0],
      [{ offerOnly: true }, 7, 0], [{ maxPeers: 2 ** 31 }, 3, 2 ** 31]
    ] as const) {
      const { net, swarm, join, topic } = await joined(options)
      assert.deepEqual(join, { topic: wowcool, flags, maxPeers, networks: [] })
      assert.equal(topic.hex, wowcool)
      assert.deepEqual(topic.key, Uint8Array.from(Buffer.from(wowcool, 'hex')))
      await bye(swarm, net)
    }
  })

  test('a topic is a name, 64 digits or 32 bytes', async () => {
    const { net, swarm, control } = await connected()
    const joins = ['wowcool', wowcool, wowcool.toUpperCase(), Uint8Array.from(Buffer.from(wowcool, 'hex'))].map(t => swarm.join(t))
    for (const _ of joins) assert.deepEqual((await control.expect(frames.Join)).topic, wowcool)
    for (const _ of joins) control.send(frames.Joined.encode({ topic: wowcool }))
    const [a, ...others] = await Promise.all(joins)
    assert.ok(others.every(t => t === a), 'a topic that is joined is returned again')
    for (const bad of [new Uint8Array(31), 7, undefined]) assert.ok(await failure(swarm.join(bad as never)) instanceof TypeError)
    for (const bad of [-1, 0.5, NaN, 2 ** 60]) assert.ok(await failure(swarm.join('x', { maxPeers: bad })) instanceof RangeError)
    await bye(swarm, net)
  })

  test('a refusal', async () => {
    const { net, swarm, control } = await connected()
    const joining = swarm.join('wowcool')
    await control.expect(frames.Join)
    control.send(frames.Left.encode({ topic: wowcool, code: Code.TOPIC_LIMIT, reason: '64 topics at most' }))
    const e = await failure(joining)
    assert.deepEqual([e.code, e.remote, e.reason], [Code.TOPIC_LIMIT, true, '64 topics at most'])
    const again = swarm.join('wowcool')
    await control.expect(frames.Join)
    control.send(frames.Joined.encode({ topic: wowcool }))
    await again
    await bye(swarm, net)
  })

  test('BUSY and RATE_LIMITED are tried again after growing delays', async () => {
    const { net, swarm, control } = await connected()
    const joining = swarm.join('wowcool')
    for (const [code, ms] of [[Code.BUSY, 250], [Code.RATE_LIMITED, 500], [Code.BUSY, 1000]] as const) {
      await control.expect(frames.Join)
      control.send(frames.Left.encode({ topic: wowcool, code, reason: '' }))
      await settled()
      const writes = control.toGateway.writes
      net.clock.advance(ms - 1)
      await settled()
      assert.equal(control.toGateway.writes, writes)
      net.clock.advance(1)
    }
    await control.expect(frames.Join)
    control.send(frames.Joined.encode({ topic: wowcool }))
    const topic = await joining
    control.send(frames.Left.encode({ topic: wowcool, code: Code.BUSY, reason: '' }))
    await settled()
    net.clock.advance(250)
    await control.expect(frames.Join)
    control.send(frames.Left.encode({ topic: wowcool, code: Code.BUSY, reason: '' }))
    await settled()
    await topic.leave()
    await bye(swarm, net)
  })

  test('a topic that is taken away', async () => {
    const { net, swarm, control, topic, peers } = await joined()
    control.send(frames.Left.encode({ topic: wowcool, code: Code.FORBIDDEN, reason: 'no more' }))
    const e = await failure(peers.next())
    assert.deepEqual([e.code, e.remote], [Code.FORBIDDEN, true])
    assert.equal(await failure(topic.closed), e)
    await topic.leave()
    await bye(swarm, net)
  })

  test('leaving', async () => {
    const { net, swarm, transport, control, topic, peers } = await joined()
    const taken = transport.open(peerFrame(1, wowcool))
    const peer = await next(peers)
    const waiting = transport.open(peerFrame(2, wowcool))
    await settled()
    const left = topic.leave()
    assert.equal(topic.leave(), left)
    assert.deepEqual(await control.expect(frames.Leave), { topic: wowcool })
    assert.deepEqual(await waiting.wasReset(), [Code.LEFT, Code.LEFT])
    assert.equal((await peers.next()).done, true)
    await topic.closed
    const late = transport.open(peerFrame(3, wowcool))
    assert.deepEqual(await late.wasReset(), [Code.LEFT, Code.LEFT])
    control.send(peerFrame(4, wowcool))
    assert.deepEqual(await control.expect(frames.Decline), { circuit: 4, code: Code.LEFT })
    control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }))
    await left
    taken.send(text('still here'))
    assert.equal(String((await peer.readable.getReader().read()).value), String(text('still here')))
    await bye(swarm, net)
  })

  // A page that left a topic and joined it again was alone: the circuit with its peer had stayed, so
  // there was no other one, and the new Topic did not know of it.
  test('peers whose circuits stayed are in the topic that is joined anew', async () => {
    const { net, swarm, transport, control, topic, peers } = await joined()
    const streams = [1, 2].map(n => transport.open(peerFrame(n, wowcool)))
    const [stays, ends] = [await next(peers), await next(peers)]
    const waiting = transport.open(peerFrame(3, wowcool)) // nobody takes it
    await settled()
    const again = async (old: typeof topic) => {
      const leaving = old.leave()
      await control.expect(frames.Leave)
      control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }))
      await leaving
      assert.deepEqual(old.peers, [])
      const joining = swarm.join('wowcool')
      await control.expect(frames.Join)
      control.send(frames.Joined.encode({ topic: wowcool }))
      return joining
    }
    const second = await again(topic)
    assert.deepEqual(await waiting.wasReset(), [Code.LEFT, Code.LEFT])
    assert.deepEqual(second.peers, [stays, ends])
    ends.close()
    const third = await again(second) // the page has closed one: it is not wanted any more
    assert.deepEqual(third.peers, [stays])
    const left: unknown[] = []
    for (const t of [topic, second, third]) t.addEventListener('leave', e => left.push(t, e.detail))
    const opening = stays.open()
    const further = await transport.accept()
    await further.expect(frames.Connect)
    further.send(peerFrame(4, wowcool, { flags: 4, id: Uint8Array.of(0, 1) }))
    const more = await opening
    streams[0]!.reset(Code.APPLICATION)
    await failure(stays.closed)
    assert.deepEqual([third.peers, left], [[stays], []]) // as long as it has a circuit
    further.fin()
    more.close()
    await more.closed
    assert.deepEqual([third.peers, left], [[], [third, stays]])
    await bye(swarm, net)
  })

  test('LEAVE and JOIN in one go: the answers are told apart', async () => {
    const { net, swarm, control, topic } = await joined()
    const left = topic.leave()
    const joining = swarm.join('wowcool')
    await control.expect(frames.Leave)
    await control.expect(frames.Join)
    control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }))
    await left
    control.send(frames.Joined.encode({ topic: wowcool }))
    const again = await joining
    assert.notEqual(again, topic)
    let gone = false
    const leftAgain = again.leave().then(() => { gone = true })
    await control.expect(frames.Leave)
    await settled()
    assert.ok(!gone, 'each LEAVE has its LEFT')
    control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }))
    await leftAgain
    await Promise.all([topic.closed, again.closed])
    await bye(swarm, net)
  })

  test('LEFT unasked after LEAVE and JOIN in one go is about the new join', async () => {
    const { net, swarm, control, topic } = await joined()
    void topic.leave()
    const joining = swarm.join(wowcool)
    control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }), frames.Joined.encode({ topic: wowcool }))
    const again = await joining
    control.send(frames.Left.encode({ topic: wowcool, code: Code.FORBIDDEN, reason: '' }))
    assert.equal((await failure(again.closed)).code, Code.FORBIDDEN)
    await topic.closed
    await bye(swarm, net)
  })

  test('LEFT that crosses a JOIN is not the last word', async () => {
    const { net, swarm, control, topic } = await joined()
    const changed = swarm.join('wowcool', { maxPeers: 9 })
    assert.equal((await control.expect(frames.Join)).maxPeers, 9)
    control.send(frames.Left.encode({ topic: wowcool, code: Code.FORBIDDEN, reason: '' }))
    control.send(frames.Joined.encode({ topic: wowcool }))
    assert.equal(await changed, topic)
    control.send(frames.Status.encode({ topic: wowcool, more: true, known: 5, connected: 1, networks: [] }))
    await new Promise(resolve => topic.addEventListener('status', resolve, { once: true }))
    assert.deepEqual(topic.status, { known: 5, more: true, connected: 1, networks: [] })
    await bye(swarm, net)
  })

  test('LEFT, JOINED and STATUS of topics that nobody knows mean nothing', async () => {
    const { net, swarm, control } = await connected()
    control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }), frames.Joined.encode({ topic: wowcool }))
    control.send(frames.Status.encode({ topic: wowcool, more: false, known: 0, connected: 0, networks: [] }))
    control.send(frames.Ping.encode({ data: new Uint8Array(8) }))
    await control.expect(frames.Pong)
    await bye(swarm, net)
  })

  test('STATUS', async () => {
    const { net, swarm, control, topic } = await joined()
    assert.equal(topic.status, undefined)
    const said = new Promise<CustomEvent>(resolve => topic.addEventListener('status', resolve))
    const dht = { name: 'dht', state: 1, found: 3, connecting: 1, refused: 1, lastCode: Code.PEER_UNREACHABLE, reason: 'no answer' }
    control.send(frames.Status.encode({
      topic: wowcool, more: true, known: 130, connected: 2, networks: [dht, { ...dht, name: 'lan', state: 2 ** 61 as number, lastCode: 0, reason: '' }, { ...dht, name: 'wait', state: 4, lastCode: 0, reason: '' }]
    }))
    assert.deepEqual((await said).detail, topic.status)
    const numbers = { found: 3, connecting: 1, refused: 1 }
    assert.deepEqual(topic.status, {
      known: 130,
      more: true,
      connected: 2,
      networks: [
        { name: 'dht', state: 'searching', ...numbers, code: Code.PEER_UNREACHABLE, reason: 'no answer' },
        { name: 'lan', state: 'unknown', ...numbers, code: 0, reason: '' },
        { name: 'wait', state: 'queued', ...numbers, code: 0, reason: '' }
      ]
    })
    await bye(swarm, net)
  })

  test('a signal ends a join that waits, and leaves a topic that is joined', async () => {
    const { net, swarm, control } = await connected()
    const early = new AbortController()
    const joining = swarm.join('wowcool', { signal: early.signal })
    await control.expect(frames.Join)
    early.abort(new Error('enough'))
    assert.equal((await failure(joining)).message, 'enough')
    await control.expect(frames.Leave)
    control.send(frames.Joined.encode({ topic: wowcool }), frames.Left.encode({ topic: wowcool, code: 0, reason: '' }))
    assert.equal((await failure(swarm.join('wowcool', { signal: early.signal }))).message, 'enough')
    const late = new AbortController()
    const again = swarm.join('wowcool', { signal: late.signal })
    await control.expect(frames.Join)
    control.send(frames.Joined.encode({ topic: wowcool }))
    const topic = await again
    late.abort()
    await control.expect(frames.Leave)
    await topic.closed
    await bye(swarm, net)
  })
})
