// How a session chooses between WebTransport and WebSocket.
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, mock, test } from 'node:test'
import type { ConnectOptions, Swarm } from '../src/api.js'
import { open } from '../src/swarm.js'
import { bye, text, url, wowcool } from './harness.js'
import { Code, Network, failure, frames, peerFrame, settled } from './network.js'
import type { FakeSocket } from './sockets.js'
import { fakeSockets } from './sockets.js'

const key = `swarmgate ${url}`
let sockets: FakeSocket[]
let storage: Record<string, string>

beforeEach(() => {
  sockets = fakeSockets()
  storage = {}
  Object.assign(globalThis, { localStorage: Object.assign(storage, { setItem (k: string, v: string) { storage[k] = v } }) })
})
afterEach(() => {
  mock.timers.reset()
  Reflect.deleteProperty(globalThis, 'localStorage')
  Reflect.deleteProperty(globalThis, 'WebSocket')
})

/** Begins to connect with a gateway that has both. */
async function connecting (options: Partial<ConnectOptions> = {}, net = new Network()) {
  const swarm = open({ url, hashes: [], ...options }, undefined, net.platform)
  swarm.catch(() => {})
  await settled()
  return { net, swarm }
}

/** Has a socket become a session, and returns its HELLO. */
async function welcome (socket: FakeSocket): Promise<any> {
  if (socket.readyState === 0) await socket.open()
  const hello = socket.bytes
  await socket.say(frames.Welcome.encode({ version: 1, session: new Uint8Array(16), maxTopics: 64, maxCircuits: 190, hashes: [], agent: 'fake' }))
  return frames.Hello.parse(hello.subarray(2))
}

describe('WebTransport', () => {
  test('that is ready within 500 ms is all that is tried', async () => {
    const { net, swarm } = await connecting()
    const transport = await net.dial()
    net.clock.advance(499)
    const { hello } = await transport.begin()
    transport.welcome()
    assert.equal((await swarm).transport, 'webtransport')
    assert.deepEqual([hello.circuits, sockets.length, net.clock.waiting], [0, 0, 1])
    await bye(await swarm, net)
    assert.equal((await swarm).transport, undefined)
  })

  test('that is slow has WebSocket beside it; the first that is ready wins', async () => {
    for (const winner of ['websocket', 'webtransport']) {
      sockets.length = 0
      Reflect.deleteProperty(storage, key)
      const { net, swarm } = await connecting()
      const transport = await net.dial()
      net.clock.advance(500)
      await settled()
      const [socket] = sockets
      assert.equal(socket!.url, 'wss://gate.example/swarm')
      if (winner === 'websocket') {
        assert.equal((await welcome(socket!)).circuits, 190)
        assert.ok(transport.left, 'the loser is closed')
      } else {
        await transport.begin()
        transport.welcome()
        assert.ok(socket!.left, 'the loser is closed')
      }
      assert.equal((await swarm).transport, winner)
      assert.equal(Number(storage[key]) > Date.now(), winner === 'websocket')
      await bye(await swarm, net)
    }
  })

  test('that fails or is missing makes place at once', async () => {
    for (const missing of [false, true]) {
      sockets.length = 0
      Reflect.deleteProperty(storage, key)
      const net = new Network()
      if (missing) net.platform.WebTransport = undefined
      const { swarm } = await connecting({}, net)
      if (!missing) await (await net.dial()).lose()
      await welcome(sockets[0]!)
      assert.equal((await swarm).transport, 'websocket')
      await bye(await swarm, net)
    }
  })

  test('alone is used if it is the only one that may be, or there is no WebSocket', async () => {
    for (const options of [{ transports: ['webtransport'] }, { hashes: ['ab'.repeat(32)] }] as const) {
      const { net, swarm } = await connecting(options)
      const transport = await net.dial()
      net.clock.advance(2000)
      await settled()
      assert.equal(sockets.length, 0)
      await transport.begin()
      transport.welcome()
      await bye(await swarm, net)
    }
  })

  test('is tried as before if this browser refuses to make a WebSocket', async () => {
    Object.assign(globalThis, { WebSocket: class { constructor () { throw new Error('mixed content') } } })
    const { net, swarm } = await connecting()
    const transport = await net.dial()
    net.clock.advance(1000)
    await settled()
    await transport.begin()
    transport.welcome()
    assert.equal((await swarm).transport, 'webtransport')
    await bye(await swarm, net)
  })
})

test('a swarm that is closed while it connects makes nothing more', async () => {
  for (const first of ['webtransport', 'websocket']) {
    sockets.length = 0
    storage[key] = first === 'websocket' ? String(Date.now() + 1_000_000) : '0'
    const net = new Network()
    const end = new AbortController()
    const swarm = open({ url, hashes: [] }, end.signal, net.platform)
    await settled()
    end.abort(new Error('enough'))
    assert.equal((await failure(swarm)).message, 'enough')
    for (const socket of sockets) await socket.end()
    await settled()
    assert.deepEqual([net.dials, sockets.length, net.clock.waiting], first === 'websocket' ? [0, 1, 0] : [1, 0, 0])
  }
})

describe('WebSocket', () => {
  test('alone is used if it is the only one that may be', async () => {
    const { net, swarm } = await connecting({ transports: ['websocket'] })
    await welcome(sockets[0]!)
    assert.equal(net.dials, 0)
    await bye(await swarm, net)
    assert.deepEqual(sockets[0]!.left, [4000, 'the swarm was closed'])
  })

  test('that has won is first for an hour', async () => {
    mock.timers.enable({ apis: ['Date'], now: 1e12 })
    storage[key] = String(1e12 + 3_600_000)
    const { net, swarm } = await connecting()
    await welcome(sockets[0]!)
    assert.deepEqual([net.dials, (await swarm).transport], [0, 'websocket'])
    await bye(await swarm, net)
    mock.timers.setTime(1e12 + 3_600_000)
    storage[key] = String(1e12 + 3_600_000)
    const later = await connecting()
    const transport = await later.net.dial()
    assert.equal(sockets.length, 1)
    await transport.begin()
    transport.welcome()
    await bye(await later.swarm, later.net)
  })

  test('that has won is first in a Worker too, which stores nothing, and where storage is forbidden', async () => {
    for (const storage of [undefined, { get [key] () { throw new Error('forbidden') }, setItem () { throw new Error('forbidden') } }]) {
      sockets.length = 0
      Object.assign(globalThis, { localStorage: storage })
      const { net, swarm } = await connecting()
      await (await net.dial()).lose()
      await welcome(sockets[0]!)
      await swarm
      await sockets[0]!.end()
      net.clock.advance(500)
      await settled()
      assert.deepEqual([sockets.length, net.dials], [2, 0])
      await bye(await swarm, net)
    }
  })

  test('that is first and fails, or takes 3 s, has WebTransport after it, which is first from then on', async () => {
    for (const how of ['fails', 'is slow']) {
      sockets.length = 0
      storage[key] = String(Date.now() + 1_000_000)
      const { net, swarm } = await connecting()
      if (how === 'fails') await sockets[0]!.end()
      else net.clock.advance(3000)
      const transport = await net.dial()
      await transport.begin()
      transport.welcome()
      assert.equal((await swarm).transport, 'webtransport')
      assert.equal(storage[key], '0')
      await bye(await swarm, net)
    }
  })

  test('is first in Safari', async () => {
    Object.assign(Error.prototype, { line: 1 }) // JavaScriptCore's errors have one
    try {
      const { net, swarm } = await connecting()
      await welcome(sockets[0]!)
      assert.equal(net.dials, 0)
      await bye(await swarm, net)
    } finally {
      Reflect.deleteProperty(Error.prototype, 'line')
    }
  })

  test('is where the info document says, beside it', async () => {
    for (const [websocket, want] of [['/swarm', 'ws://127.0.0.1:8080/swarm'], ['https://gate.example/swarm', 'wss://gate.example/swarm']] as const) {
      sockets.length = 0
      const net = new Network()
      net.documents.set('http://127.0.0.1:8080', { webtransport: 'https://127.0.0.1:4433/swarm', websocket, certificate: { kind: 'pinned', hashes: ['ab'.repeat(32)] } })
      const { swarm } = await connecting({ url: 'http://127.0.0.1:8080', hashes: undefined as never, transports: ['websocket'] }, net)
      assert.equal(sockets[0]!.url, want)
      await welcome(sockets[0]!)
      await bye(await swarm, net)
    }
  })

  test('is not used if the info document names one without TLS elsewhere', async () => {
    for (const websocket of ['http://gate.example/swarm', 'ws://gate.example/swarm']) {
      const net = new Network()
      net.documents.set(url, { webtransport: `${url}/swarm`, websocket, certificate: { kind: 'ca' } })
      const { swarm } = await connecting({ hashes: undefined as never, transports: ['websocket'] }, net)
      const e = await failure(swarm)
      assert.deepEqual([e.code, sockets.length, net.clock.waiting], [Code.PEER_UNREACHABLE, 0, 0])
    }
  })

  test('carries a topic and its circuits, each offered', async () => {
    const { net, swarm: connectingSwarm } = await connecting({ transports: ['websocket'] })
    const [control] = sockets
    await welcome(control!)
    const swarm = await connectingSwarm
    const joining = swarm.join(wowcool)
    await settled()
    await control!.say(frames.Joined.encode({ topic: wowcool }))
    const peers = (await joining)[Symbol.asyncIterator]()
    await control!.say(peerFrame(1, wowcool))
    const socket = sockets[1]!
    await socket.open()
    const accept = frames.Accept.encode({ circuit: 1 })
    assert.deepEqual(socket.bytes, accept)
    const { value: peer } = await peers.next()
    await socket.say(text('hello'), 'fin')
    const reader = peer!.readable.getReader()
    assert.deepEqual(Uint8Array.from((await reader.read()).value!), text('hello'))
    assert.equal((await reader.read()).done, true)
    peer!.abort(0xabcdef)
    await settled()
    assert.equal(socket.signals.at(-1), `reset ${0xabcdef}`)
    assert.equal((await failure(peer!.closed)).code, 0xabcdef)
    await bye(swarm, net)
  })
})

/** A swarm over WebTransport with a circuit, whose gateway then says nothing for 5 s. */
async function silent () {
  const { net, swarm: connectingSwarm } = await connecting()
  const transport = await net.dial()
  await transport.begin()
  transport.welcome()
  const swarm: Swarm = await connectingSwarm
  const joining = swarm.join('wowcool')
  await transport.control.expect(frames.Join)
  transport.control.send(frames.Joined.encode({ topic: wowcool }))
  const topic = await joining
  transport.open(peerFrame(1, wowcool))
  const { value: peer } = await topic[Symbol.asyncIterator]().next()
  const events: string[] = []
  for (const type of ['disconnected', 'reconnecting', 'connected'] as const) swarm.addEventListener(type, () => { events.push(type) })
  net.clock.advance(2000)
  await settled()
  net.clock.advance(2999)
  await settled()
  assert.equal(sockets.length, 0)
  net.clock.advance(1)
  await settled()
  assert.equal(sockets.length, 1, 'WebSocket is tried beside it')
  return { net, swarm, transport, topic, peer: peer!, events, socket: sockets[0]! }
}

describe('a session over WebTransport that falls silent', () => {
  test('is left for WebSocket once that works, with its circuits', async () => {
    const { net, swarm, transport, peer, events, socket } = await silent()
    await welcome(socket)
    assert.deepEqual([swarm.transport, events], ['websocket', ['connected']])
    assert.equal((await failure(peer.closed)).code, Code.PEER_GONE)
    assert.equal(transport.left?.closeCode, Code.PEER_GONE)
    assert.ok(Number(storage[key]) > Date.now(), 'it is remembered')
    await bye(swarm, net)
  })

  test('is kept if it is heard again before', async () => {
    const { net, swarm, transport, peer, events, socket } = await silent()
    transport.control.send(frames.Pong.encode({ data: new Uint8Array(8) }))
    await settled()
    assert.ok(socket.left)
    assert.deepEqual([swarm.transport, events, peer.closed instanceof Promise], ['webtransport', [], true])
    await bye(swarm, net)
  })

  test('is lost after 25 s, and WebSocket is first then', async () => {
    const { net, swarm, socket, events } = await silent()
    await socket.end()
    const again = net.dials // WebTransport, beside it
    for (let i = 0; i < 25; i++) {
      net.clock.advance(1000)
      await settled()
    }
    assert.ok(events.includes('disconnected'))
    assert.ok(sockets.length > 1 && again <= 1)
    swarm.close()
  })
})
