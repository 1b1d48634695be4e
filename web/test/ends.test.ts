// Against a gateway that is scripted from docs/PROTOCOL.md.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Peer } from '../src/api.js'
import { SwarmError } from '../src/errors.js'
import { bye, circuit, next, text, wowcool } from './harness.js'
import { Code, FakeError, failure, frames, peerFrame, settled } from './network.js'

describe('ends', () => {
  test('a reset by the peer arrives with its code, though nobody reads or writes', async () => {
    for (const code of [Code.PEER_GONE, Code.STALLED, Code.APPLICATION, 0xffffffff]) {
      const { net, swarm, stream, peer } = await circuit()
      stream.reset(code)
      const e = await failure(peer.closed)
      assert.ok(e instanceof SwarmError)
      assert.deepEqual([e.code, e.remote], [code, true])
      assert.equal(await failure(peer.readable.getReader().read()), e)
      assert.equal(await failure(peer.writable.getWriter().write(text('x'))), e)
      await bye(swarm, net)
    }
  })

  test('one direction that is reset ends the other one too', async () => {
    for (const which of ['RESET_STREAM', 'STOP_SENDING']) {
      const { net, swarm, stream, peer } = await circuit()
      if (which === 'RESET_STREAM') stream.toClient.reset(Code.STALLED)
      else stream.toGateway.stop(FakeError.reset(Code.STALLED))
      assert.equal((await failure(peer.closed)).code, Code.STALLED)
      if (which === 'RESET_STREAM') assert.equal(await stream.toGateway.aborted.promise, Code.STALLED)
      else assert.equal(await stream.toClient.stopped.promise, Code.STALLED)
      await bye(swarm, net)
    }
  })

  test('a read and a write under way fail with the code', async () => {
    const { net, swarm, stream, peer } = await circuit()
    stream.toGateway.block()
    const writing = failure(peer.writable.getWriter().write(text('x')))
    const reading = failure(peer.readable.getReader({ mode: 'byob' }).read(new Uint8Array(10)))
    await settled()
    stream.reset(Code.PEER_RESET)
    stream.toGateway.unblock()
    const errors = await Promise.all([writing, reading, failure(peer.closed)])
    assert.deepEqual(errors.map(e => [e.code, e.remote]), Array(3).fill([Code.PEER_RESET, true]))
    await bye(swarm, net)
  })

  test('a writer that fails before its reader knows the code', async () => {
    const { net, swarm, stream, peer } = await circuit()
    stream.toGateway.stop(new DOMException('the stream was aborted by the remote server', 'NetworkError'))
    await settled()
    stream.toClient.reset(300)
    assert.equal((await failure(peer.closed)).code, 300)
    await bye(swarm, net)
  })

  test('a code that the browser cannot tell comes by WITHDRAW, or is PEER_RESET after a second', async () => {
    const { net, swarm, transport, control, stream, peer, peers } = await circuit()
    stream.reset(0)
    await settled()
    control.send(frames.Withdraw.encode({ circuit: 1, code: 300 }))
    const e = await failure(peer.closed)
    assert.deepEqual([e.code, e.remote], [300, true])
    const other = transport.open(peerFrame(2, wowcool))
    const second = await next(peers)
    other.reset(0)
    await settled()
    net.clock.advance(1000)
    assert.equal((await failure(second.closed)).code, Code.PEER_RESET)
    await bye(swarm, net)
  })

  test('abort resets both directions with the code; the first counts', async () => {
    const { net, swarm, stream, peer } = await circuit()
    const reading = failure(peer.readable.getReader().read())
    await settled()
    peer.abort(Code.DECLINED)
    peer.abort(Code.INTERNAL)
    peer.close()
    assert.deepEqual(await stream.wasReset(), [Code.DECLINED, Code.DECLINED])
    const e = await failure(peer.closed)
    assert.deepEqual([e.code, e.remote], [Code.DECLINED, false])
    assert.equal(await reading, e)
    assert.throws(() => peer.abort(-1), RangeError)
    assert.throws(() => peer.abort(2 ** 32), RangeError)
    await bye(swarm, net)
  })

  test('abort without a code is no error', async () => {
    const { net, swarm, stream, peer } = await circuit()
    peer.abort()
    assert.deepEqual(await stream.wasReset(), [0, 0])
    await peer.closed
    await bye(swarm, net)
  })

  test('to cancel and to abort a stream end the circuit, with the code of the reason', async () => {
    for (const [end, want] of [
      [(p: Peer) => p.readable.cancel(new SwarmError(Code.INTERNAL, 'mine')), Code.INTERNAL],
      [(p: Peer) => p.readable.cancel(77), 77],
      [(p: Peer) => p.readable.cancel(), 0],
      [(p: Peer) => p.writable.abort(new FakeError({ streamErrorCode: 99 })), 99],
      [(p: Peer) => p.writable.abort(new TypeError('mine')), 0]
    ] as const) {
      const { net, swarm, stream, peer } = await circuit()
      await end(peer)
      assert.deepEqual(await stream.wasReset(), [want, want])
      await peer.closed.catch(e => assert.equal(e.code, want))
      await bye(swarm, net)
    }
  })

  test('to abort does not wait for a write that is under way', async () => {
    const { net, swarm, stream, peer } = await circuit()
    stream.toGateway.block()
    const writer = peer.writable.getWriter()
    const writing = failure(writer.write(text('x')))
    await settled()
    void writer.abort(5).catch(() => {})
    assert.deepEqual(await stream.wasReset(), [5, 5])
    assert.equal((await writing).code, 5)
    await bye(swarm, net)
  })

  test('a code that a reset cannot carry goes by the control stream', async () => {
    for (const gateway of ['answers', 'does not']) {
      const { net, swarm, control, stream, peer } = await circuit()
      peer.abort(300)
      assert.equal((await failure(peer.closed)).code, 300)
      assert.deepEqual(await control.expect(frames.Decline), { circuit: 1, code: 300 })
      if (gateway === 'answers') stream.reset(300)
      else net.clock.advance(1000)
      await settled()
      assert.equal(net.clock.waiting, 1, 'nothing but the signs of life')
      if (gateway === 'does not') assert.deepEqual(await stream.wasReset(), [0, 0])
      await bye(swarm, net)
    }
  })

  test('after the end of what it sends, too', async () => {
    const { net, swarm, control, stream, peer } = await circuit()
    await peer.writable.close()
    await stream.end()
    peer.abort(7)
    assert.deepEqual(await control.expect(frames.Decline), { circuit: 1, code: 7 })
    net.clock.advance(1000)
    assert.equal(await stream.toClient.stopped.promise, 7)
    await bye(swarm, net)
  })

  test('a browser whose resets carry any code', async () => {
    FakeError.maxCode = 2 ** 32 - 1
    try {
      const { net, swarm, stream, peer } = await circuit()
      peer.abort(300)
      assert.deepEqual(await stream.wasReset(), [300, 300])
      await bye(swarm, net)
    } finally {
      FakeError.maxCode = 255
    }
  })

  test('close: what was written arrives, then the end; what still comes is thrown away, and no more is granted', async () => {
    const { net, swarm, control, stream, peer } = await circuit()
    stream.toGateway.block()
    const writer = peer.writable.getWriter()
    const writes = Promise.all([writer.write(text('all of ')), writer.write(text('it'))])
    const reading = peer.readable.getReader().read()
    await settled()
    peer.close()
    peer.close()
    assert.equal((await reading).done, true)
    const frames = control.toGateway.writes
    stream.send(new Uint8Array(32_768))
    await settled()
    net.clock.advance(1500)
    assert.deepEqual([control.toGateway.writes, stream.toGateway.writes], [frames, 1], 'it is still at it, without CREDIT')
    stream.toGateway.unblock()
    await writes
    assert.equal(new TextDecoder().decode(await stream.bytes(9)), 'all of it')
    await stream.end()
    assert.equal((await failure(writer.write(text('more')))).code, Code.NONE)
    stream.fin()
    await peer.closed
    await settled()
    assert.equal(net.clock.waiting, 1, 'nothing but the signs of life')
    await bye(swarm, net)
  })

  test('close ends a BYOB read, and after 30 s the circuit', async () => {
    const { net, swarm, control, stream, peer } = await circuit()
    const reading = failure(peer.readable.getReader({ mode: 'byob' }).read(new Uint8Array(9)))
    await settled()
    peer.close()
    assert.equal((await reading).code, Code.NONE)
    await stream.end()
    for (let i = 0; i < 14; i++) { // the gateway is alive
      net.clock.advance(2000)
      await control.expect(frames.Ping)
      control.send(frames.Pong.encode({ data: new Uint8Array(8) }))
      await settled()
    }
    net.clock.advance(2000)
    await peer.closed
    net.clock.advance(1000)
    assert.equal(await stream.toClient.stopped.promise, 0)
    await bye(swarm, net)
  })

  test('close after both ends is nothing', async () => {
    const { net, swarm, stream, peer } = await circuit()
    stream.fin()
    for await (const _ of peer) assert.fail('there is nothing')
    peer.close()
    await stream.end()
    await peer.closed
    peer.close()
    await bye(swarm, net)
  })

  test('a lost session ends circuits with PEER_GONE', async () => {
    for (const how of ['lost', 'ended']) {
      const { net, swarm, transport, peer } = await circuit()
      const reading = failure(peer.readable.getReader().read())
      await settled()
      if (how === 'lost') await transport.lose()
      else await transport.end(Code.SHUTDOWN, 'restart')
      const e = await failure(peer.closed)
      assert.equal(e.code, Code.PEER_GONE)
      assert.equal(e.cause.code, how === 'lost' ? Code.PEER_GONE : Code.SHUTDOWN)
      assert.equal(await reading, e)
      await bye(swarm, net)
    }
  })

  test('to close the swarm ends everything without an error', async () => {
    const { net, swarm, topic, peers, peer } = await circuit()
    const waiting = peers.next()
    await bye(swarm, net)
    swarm.close()
    await Promise.all([peer.closed, topic.closed])
    assert.equal((await waiting).done, true)
    assert.equal((await failure(swarm.join('x'))).code, Code.NONE)
    await topic.leave()
  })
})
