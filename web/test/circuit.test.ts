// Against a gateway that is scripted from docs/PROTOCOL.md.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { open } from '../src/swarm.js'
import { concat } from './bytes.js'
import { bye, circuit, joined, next, text, url, wowcool } from './harness.js'
import { Code, Network, failure, frames, peerFrame, settled } from './network.js'

describe('circuits', () => {
  test('what PEER says', async () => {
    const { net, swarm, transport, peers } = await joined()
    transport.open(peerFrame(1, wowcool, { flags: 1, network: 'lan', id: Uint8Array.of(0xab, 1), address: '10.0.0.1:80' }))
    transport.open(peerFrame(2, wowcool, { flags: 2, network: 'client', id: new Uint8Array(16) }))
    const a = await next(peers)
    const b = await next(peers)
    assert.deepEqual([a.initiator, a.client, a.network, a.id, a.address, a.topic], [true, false, 'lan', 'ab01', '10.0.0.1:80', wowcool])
    assert.deepEqual([b.initiator, b.client, b.network, b.id, b.address], [false, true, 'client', '00'.repeat(16), ''])
    await bye(swarm, net)
    await Promise.all([a.closed, b.closed])
  })

  for (const how of ['opened', 'offered'] as const) {
    test(`${how}: bytes both ways, half-close both ways`, async () => {
      const { net, swarm, stream, peer } = await circuit(how)
      let closed = false
      peer.addEventListener('close', () => { closed = true })
      stream.send(text('hello '), text('page'))
      const reader = peer.readable.getReader()
      let got = ''
      while (got.length < 10) got += new TextDecoder().decode((await reader.read()).value)
      assert.equal(got, 'hello page')
      stream.fin()
      assert.equal((await reader.read()).done, true)
      await reader.closed
      const writer = peer.writable.getWriter()
      await writer.write(text('still open'))
      assert.equal(new TextDecoder().decode(await stream.bytes(10)), 'still open')
      assert.ok(!closed)
      await writer.close()
      await stream.end()
      await peer.closed
      assert.ok(closed)
      await bye(swarm, net)
    })
  }

  test('bytes may come with the first frame', async () => {
    const { net, swarm, transport, peers } = await joined()
    const stream = transport.open(concat(peerFrame(1, wowcool), text('early')))
    stream.fin()
    const got = []
    for await (const bytes of await next(peers)) got.push(...bytes)
    assert.deepEqual(Uint8Array.from(got), text('early'))
    await bye(swarm, net)
  })

  test('a stream that overtakes WELCOME waits for it, and one before JOINED is taken', async () => {
    const net = new Network()
    const connecting = open({ url, hashes: [] }, undefined, net.platform)
    const first = await net.dial()
    await first.begin()
    first.welcome()
    const swarm = await connecting
    const joining = swarm.join('wowcool')
    await first.control.expect(frames.Join)
    void first.lose()
    await settled()
    net.clock.advance(250)
    const t = await net.dial()
    await t.begin(1)
    t.open(peerFrame(1, wowcool, { id: Uint8Array.of(1) }))
    await settled()
    t.welcome()
    t.control.send(frames.Joined.encode({ topic: wowcool }))
    assert.equal((await next((await joining)[Symbol.asyncIterator]())).id, '01')
    await bye(swarm, net)
  })

  test('a stream without a whole PEER ends alone', async () => {
    const { net, swarm, transport, control } = await joined()
    const frame = peerFrame(1, wowcool)
    for (const cut of [0, 1, 5, frame.length - 1]) {
      const fin = transport.open(frame.slice(0, cut))
      fin.fin()
      await fin.toGateway.aborted.promise
      const reset = transport.open(frame.slice(0, cut))
      reset.toClient.reset(Code.INTERNAL)
      await reset.toGateway.aborted.promise
    }
    const other = transport.open(frames.Ping.encode({ data: new Uint8Array(8) }))
    assert.deepEqual(await other.wasReset(), [Code.PROTOCOL, Code.PROTOCOL])
    const unknown = transport.open(Uint8Array.of(0x1e, 0))
    assert.deepEqual(await unknown.wasReset(), [Code.PROTOCOL, Code.PROTOCOL])
    control.send(frames.Ping.encode({ data: new Uint8Array(8) }))
    await control.expect(frames.Pong)
    await bye(swarm, net)
  })

  test('a malformed PEER, or a circuit that came before, ends the session', async () => {
    for (const bad of [Uint8Array.of(0x08, 1, 0), Uint8Array.of(0x08, 0x80, 1, 0, 0), peerFrame(1, wowcool)]) {
      const { swarm, transport, peers } = await joined()
      transport.open(peerFrame(1, wowcool))
      await next(peers)
      transport.open(bad)
      assert.ok([Code.PROTOCOL, Code.TOO_LARGE].includes((await failure(swarm.closed)).code))
      assert.ok(transport.left?.closeCode)
    }
  })

  test('BYOB reads need no copy: what is read stands in the reader\'s own buffer', async () => {
    const { net, swarm, stream, peer } = await circuit()
    const reader = peer.readable.getReader({ mode: 'byob' })
    const read = reader.read(new Uint8Array(new ArrayBuffer(100), 10, 50))
    await settled()
    stream.send(text('bytes'))
    const { value, done } = await read
    assert.ok(!done)
    assert.deepEqual([value.byteOffset, value.buffer.byteLength, new TextDecoder().decode(value)], [10, 100, 'bytes'])
    const last = reader.read(new Uint8Array(8))
    await settled()
    stream.fin()
    const end = await last
    assert.deepEqual([end.done, end.value?.byteLength, end.value?.buffer.byteLength], [true, 0, 8])
    await bye(swarm, net)
  })

  test('large reads come with their buffer, small ones as a copy', async () => {
    const { net, swarm, stream, peer } = await circuit()
    const reader = peer.readable.getReader()
    stream.send(new Uint8Array(20_000))
    assert.equal((await reader.read()).value!.buffer.byteLength, 65_536)
    stream.send(new Uint8Array(100))
    const small = (await reader.read()).value!
    assert.equal(small.buffer.byteLength, 100)
    stream.send(new Uint8Array(99).fill(7))
    assert.deepEqual([small[0], (await reader.read()).value![98]], [0, 7])
    await bye(swarm, net)
  })

  test('iterating a peer, and stopping, leaves it open', async () => {
    const { net, swarm, stream, peer } = await circuit()
    stream.send(text('one'))
    for await (const bytes of peer) {
      assert.deepEqual(bytes, Uint8Array.from(text('one')))
      break
    }
    stream.send(text('two'))
    const rest = []
    stream.fin()
    for await (const bytes of peer) rest.push(...bytes)
    assert.deepEqual(Uint8Array.from(rest), Uint8Array.from(text('two')))
    await bye(swarm, net)
  })

  test('writes wait for the stream: no more than two chunks are on their way', async () => {
    const { net, swarm, stream, peer } = await circuit()
    stream.toGateway.block()
    const writer = peer.writable.getWriter()
    let written = 0
    for (let i = 0; i < 5; i++) void writer.write(new Uint8Array(10)).then(() => written++, () => {})
    await settled()
    assert.deepEqual([stream.toGateway.writes, written, writer.desiredSize], [1, 0, -4])
    stream.toGateway.unblock()
    await stream.bytes(50)
    await writer.ready
    assert.equal(written, 5)
    await bye(swarm, net)
  })

  test('all kinds of bytes can be written; anything else ends the circuit', async () => {
    const { net, swarm, stream, peer } = await circuit()
    const writer = peer.writable.getWriter()
    await writer.write(Uint8Array.of(1, 2, 3).subarray(1))
    await writer.write(new DataView(Uint8Array.of(4).buffer))
    assert.deepEqual(await stream.bytes(3), Uint8Array.of(2, 3, 4))
    const e = await failure(writer.write('text' as never))
    assert.equal(e.code, Code.INTERNAL)
    assert.equal(await failure(peer.closed), e)
    assert.equal((await stream.wasReset())[1], Code.INTERNAL)
    await bye(swarm, net)
  })
})

describe('credit', () => {
  test('frames are exact, one a quarter of the window', async () => {
    const { net, swarm, stream, control, peer } = await circuit()
    net.clock.advance(100) // slower than a round trip: the window stays
    const reader = peer.readable.getReader({ mode: 'byob' })
    const read = async (n: number) => {
      stream.send(new Uint8Array(n))
      for (let got = 0; got < n;) got += (await reader.read(new Uint8Array(n - got))).value!.length
      net.clock.advance(100)
    }
    await read(8191)
    await settled()
    const writes = control.toGateway.writes
    await read(1)
    assert.deepEqual(await control.expect(frames.Credit), { circuit: 1, offset: 32_768 + 8192 })
    assert.equal(control.toGateway.writes, writes + 1)
    await read(8192)
    assert.deepEqual(await control.expect(frames.Credit), { circuit: 1, offset: 32_768 + 16_384 })
    await read(30_000)
    assert.deepEqual(await control.expect(frames.Credit), { circuit: 1, offset: 32_768 + 16_384 + 30_000 })
    await bye(swarm, net)
  })

  test('a window grows that is read promptly', async () => {
    const { net, swarm, stream, control, peer } = await circuit()
    stream.send(new Uint8Array(8192))
    await peer.readable.getReader().read()
    assert.deepEqual(await control.expect(frames.Credit), { circuit: 1, offset: 8192 + 65_536 })
    await bye(swarm, net)
  })

  test('prompt is what takes no longer than the last round trip', async () => {
    for (const [took, window] of [[300, 65_536], [301, 32_768]] as const) {
      const { net, swarm, stream, control, peer } = await circuit()
      net.clock.advance(2000)
      await control.expect(frames.Ping)
      net.clock.advance(300)
      control.send(frames.Pong.encode({ data: new Uint8Array(8) }))
      await settled()
      const reader = peer.readable.getReader()
      stream.send(new Uint8Array(8192))
      await reader.read()
      const { offset } = await control.expect(frames.Credit)
      assert.equal(offset, 8192 + 32_768, 'the first was slow')
      net.clock.advance(took)
      stream.send(new Uint8Array(8192))
      await reader.read()
      assert.equal((await control.expect(frames.Credit)).offset, 16_384 + window)
      await bye(swarm, net)
    }
  })

  test('none is granted to a circuit that has ended', async () => {
    const { net, swarm, stream, control, peer } = await circuit()
    control.toGateway.block()
    const ping = (n: number) => frames.Ping.encode({ data: new Uint8Array(8).fill(n) })
    control.send(ping(1))
    await settled()
    stream.send(new Uint8Array(8192))
    await peer.readable.getReader().read()
    peer.abort()
    control.toGateway.unblock()
    await control.expect(frames.Pong)
    control.send(ping(2))
    assert.equal((await control.expect(frames.Pong)).data[0], 2)
    await bye(swarm, net)
  })

  test('what has come and nobody reads is not read', async () => {
    const { net, swarm, stream, control, peer } = await circuit()
    stream.send(new Uint8Array(32_768))
    await settled()
    const writes = control.toGateway.writes
    assert.equal(peer.readable.locked, false)
    await settled()
    assert.equal(control.toGateway.writes, writes)
    await bye(swarm, net)
  })

  test('more than was granted ends the session', async () => {
    const { swarm, transport, stream, peer } = await circuit()
    stream.send(new Uint8Array(32_769))
    const closed = failure(swarm.closed)
    const reader = peer.readable.getReader()
    while (swarm.state !== 'closed') await reader.read().catch(() => {})
    assert.equal((await closed).code, Code.PROTOCOL)
    assert.equal(transport.left?.closeCode, Code.PROTOCOL)
  })

  test('256 circuits have a place, the next is refused until one has ended; nobody has to take them', async () => {
    const { net, swarm, transport, control, peers } = await joined()
    const streams = []
    for (let i = 1; i <= 200; i++) streams.push(transport.open(peerFrame(i, wowcool)))
    for (let i = 201; i <= 256; i++) {
      control.send(peerFrame(i, wowcool))
      streams.push(await transport.accept())
    }
    await settled()
    assert.deepEqual(await transport.open(peerFrame(257, wowcool)).wasReset(), [Code.CIRCUIT_LIMIT, Code.CIRCUIT_LIMIT])
    control.send(peerFrame(258, wowcool))
    assert.deepEqual(await control.expect(frames.Decline), { circuit: 258, code: Code.CIRCUIT_LIMIT })
    streams[0]!.reset(Code.PEER_GONE)
    await settled()
    transport.open(peerFrame(259, wowcool))
    assert.equal((await next(peers)).id, '0002', 'the first has ended before it was taken')
    for (let i = 3; i <= 256; i++) await next(peers)
    assert.equal((await next(peers)).id, `00${(259 & 255).toString(16).padStart(2, '0')}`)
    await bye(swarm, net)
  })

  test('a circuit whose peer has ended gives its place back, though this side goes on', async () => {
    const { net, swarm, transport, peers } = await joined()
    for (let i = 1; i <= 256; i++) transport.open(peerFrame(i, wowcool)).fin()
    const all = []
    for (let i = 1; i <= 256; i++) all.push(await next(peers))
    for (const p of all) for await (const _ of p) assert.fail('there is nothing')
    const more = transport.open(peerFrame(257, wowcool))
    assert.equal((await next(peers)).id, '0001')
    more.fin()
    await bye(swarm, net)
  })
})
