// Against a gateway that is scripted from docs/PROTOCOL.md.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RESERVE } from '../src/credit.js'
import { SwarmError } from '../src/errors.js'
import { open } from '../src/swarm.js'
import { concat } from './bytes.js'
import { bye, circuit, connected, text, url, wowcool } from './harness.js'
import { Code, Network, failure, frames, settled } from './network.js'

describe('a session', () => {
  test('begins with HELLO', async () => {
    const { net, swarm, transport, hello } = await connected()
    assert.equal(transport.url, 'https://gate.example/swarm')
    assert.deepEqual(transport.options, { protocols: ['swarmgate'] })
    assert.equal(hello.secret.length, 16)
    assert.ok(hello.secret.some(b => b !== 0))
    assert.deepEqual({ ...hello, secret: 0 }, { version: 1, flags: 0, credit: RESERVE, secret: 0, token: new Uint8Array(), agent: 'swarmgate-web', circuits: 0 })
    assert.deepEqual([swarm.state, swarm.gateway], ['connected', url])
    await bye(swarm, net)
    assert.deepEqual(transport.left, { closeCode: Code.NONE, reason: 'the swarm was closed' })
    assert.equal(swarm.state, 'closed')
  })

  test('tells the token and the agent', async () => {
    const net = new Network()
    const connecting = open({ url, hashes: [], token: 'sésame', agent: 'page/1' }, undefined, net.platform)
    const transport = await net.dial()
    const { hello } = await transport.begin()
    assert.deepEqual([hello.token, hello.agent], [Uint8Array.from(text('sésame')), 'page/1'])
    transport.welcome()
    await bye(await connecting, net)
  })

  test('is over with a second WELCOME, or a frame before it, or one that comes from clients only', async () => {
    for (const frame of [
      frames.Welcome.encode({ version: 1, session: new Uint8Array(16), maxTopics: 0, maxCircuits: 0, hashes: [], agent: '' }),
      frames.Join.encode({ topic: wowcool, flags: 0, maxPeers: 0, networks: [] }),
      frames.Leave.encode({ topic: wowcool }),
      frames.Accept.encode({ circuit: 1 }),
      frames.Credit.encode({ circuit: 1, offset: 1 }),
      Uint8Array.of(0x08, 0x00), // PEER that is too short
      frames.Withdraw.encode({ circuit: 0, code: 0 })
    ]) {
      const { net, swarm, transport, control } = await connected()
      control.send(frame)
      const e = await failure(swarm.closed)
      assert.deepEqual([e.code, e.remote], [Code.PROTOCOL, false])
      assert.equal(transport.left?.closeCode, Code.PROTOCOL)
      assert.equal(transport.left?.reason, e.reason)
      assert.equal(net.clock.waiting, 0)
    }
    const net = new Network()
    const connecting = open({ url, hashes: [] }, undefined, net.platform)
    const transport = await net.dial()
    await transport.begin()
    transport.control.send(frames.Ping.encode({ data: new Uint8Array(8) }))
    assert.equal((await failure(connecting)).code, Code.PROTOCOL)
  })

  test('is over with a frame that is too large, before it was sent', async () => {
    const { swarm, transport, control } = await connected()
    control.send(Uint8Array.of(0x3f, 0x80, 0x00, 0x40, 0x01))
    assert.equal((await failure(swarm.closed)).code, Code.TOO_LARGE)
    assert.equal(transport.left?.closeCode, Code.TOO_LARGE)
  })

  test('is over with a version that it does not speak', async () => {
    for (const version of [0, 2]) {
      const net = new Network()
      const connecting = open({ url, hashes: [] }, undefined, net.platform)
      const transport = await net.dial()
      await transport.begin()
      transport.welcome([], version)
      const e = await failure(connecting)
      assert.ok(e instanceof SwarmError)
      assert.equal(e.code, Code.VERSION)
      assert.equal(transport.left?.closeCode, Code.VERSION)
      assert.equal(net.clock.waiting, 0)
    }
  })

  test('skips frames that it does not know', async () => {
    const { net, swarm, control } = await connected()
    control.send(Uint8Array.of(0, 1, 0x55), Uint8Array.of(0x1f, 1, 0), Uint8Array.of(0xff, 255, 255, 255, 255, 255, 255, 255, 0))
    control.send(frames.Ping.encode({ data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) }))
    assert.deepEqual(await control.expect(frames.Pong), { data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) })
    await bye(swarm, net)
  })

  test('is over with a frame that is not one of sessions', async () => {
    for (const type of [0x01, 0x20, 0x24]) {
      const { swarm, transport, control } = await connected()
      control.send(Uint8Array.of(type, 0))
      assert.equal((await failure(swarm.closed)).code, Code.PROTOCOL)
      assert.equal(transport.left?.closeCode, Code.PROTOCOL)
    }
  })

  test('answers the newest of several PINGs', async () => {
    const { net, swarm, control } = await connected()
    control.toGateway.block()
    const joining = failure(swarm.join(wowcool))
    await settled()
    const ping = (n: number) => frames.Ping.encode({ data: new Uint8Array(8).fill(n) })
    control.send(concat(ping(1), ping(2), ping(3)))
    await settled()
    control.toGateway.unblock()
    await control.expect(frames.Join)
    assert.deepEqual(await control.expect(frames.Pong), { data: new Uint8Array(8).fill(3) })
    await bye(swarm, net)
    assert.equal((await joining).code, Code.LEFT)
  })

  for (const [where, frame, code] of [
    ['between two frames', [], Code.PEER_GONE], ['within a frame', [4, 32, 1, 2], Code.PROTOCOL]
  ] as const) {
    test(`whose control stream the gateway ends ${where}: ${where === 'within a frame' ? 'PROTOCOL' : 'it is lost'}`, async () => {
      const { net, swarm, transport, control } = await connected()
      const ends = new Promise<number>(resolve => {
        swarm.addEventListener('disconnected', e => resolve(e.detail.error.code))
        swarm.closed.catch(e => resolve(e.code))
      })
      control.send(Uint8Array.from(frame))
      control.fin()
      await settled()
      net.clock.advance(1000)
      assert.deepEqual([await ends, transport.left?.closeCode], [code, code])
      swarm.close()
    })
  }

  test('that the gateway ends tells its code and reason, though streams fail first', async () => {
    const { net, swarm, transport } = await connected()
    void transport.end(Code.UNAUTHORIZED, 'no such token')
    const e = await failure(swarm.closed)
    assert.ok(e instanceof SwarmError)
    assert.deepEqual([e.code, e.remote, e.reason, e.message], [Code.UNAUTHORIZED, true, 'no such token', 'UNAUTHORIZED (remote): no such token'])
    assert.deepEqual([swarm.state, net.clock.waiting], ['closed', 0])
    assert.equal(await failure(swarm.join('wowcool')), e)
    swarm.close()
  })

  test('whose control stream ends is lost', async () => {
    for (const how of ['fin', 'reset'] as const) {
      const { net, swarm, transport, control } = await connected()
      const lost = new Promise<CustomEvent>(resolve => swarm.addEventListener('disconnected', resolve as EventListener))
      if (how === 'fin') control.fin()
      else control.reset(Code.INTERNAL)
      await settled()
      assert.equal(swarm.state, 'connected', 'the reason may still come')
      net.clock.advance(1000)
      assert.equal((await lost).detail.error.code, Code.PEER_GONE)
      assert.equal(transport.left?.closeCode, Code.PEER_GONE)
      await bye(swarm, net)
    }
  })
})

describe('signs of life', () => {
  test('PING after 2 s with a circuit, once; lost after 25 s', async () => {
    const { net, swarm, transport, control } = await circuit()
    const lost = new Promise<CustomEvent>(resolve => swarm.addEventListener('disconnected', resolve as EventListener))
    net.clock.advance(1999)
    await settled()
    const before = control.toGateway.writes
    net.clock.advance(1)
    await settled()
    assert.equal(control.toGateway.writes, before + 1)
    await control.expect(frames.Ping)
    net.clock.advance(22_999)
    await settled()
    assert.equal(control.toGateway.writes, before + 1)
    net.clock.advance(1)
    assert.equal((await lost).detail.error.code, Code.IDLE)
    assert.equal(transport.left?.closeCode, Code.IDLE)
    await bye(swarm, net)
  })

  test('without circuits after 15 s', async () => {
    const { net, swarm, control } = await connected()
    net.clock.advance(15_000)
    await control.expect(frames.Ping)
    control.send(frames.Pong.encode({ data: new Uint8Array(8) }))
    await settled()
    net.clock.advance(24_999)
    assert.equal(swarm.state, 'connected')
    await bye(swarm, net)
  })

  test('late timers prove nothing', async () => {
    const { net, swarm, control } = await circuit()
    net.clock.sleep(60_000)
    await settled()
    assert.equal(swarm.state, 'connected')
    net.clock.advance(2000)
    await control.expect(frames.Ping)
    await bye(swarm, net)
  })
})
