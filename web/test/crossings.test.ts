// What crosses: ends, losses and calls of the page that meet in one moment. Each of these went
// wrong once. Where the moment is a microtask or two, all of them are tried.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Offer } from '../src/api.js'
import { deferred } from '../src/deferred.js'
import { open } from '../src/swarm.js'
import { bye, circuit, joined, next, text, url, wowcool } from './harness.js'
import { Code, Network, failure, frames, peerFrame, settled } from './network.js'

/** Tells whether a promise is settled soon. */
const pending = async (p: Promise<unknown>): Promise<boolean> => await Promise.race([p.then(() => false, () => false), settled().then(() => true)])

/** Lets `n` microtasks pass. */
async function microtasks (n: number): Promise<void> { for (let i = 0; i < n; i++) await undefined }

describe('readers', () => {
  for (const how of ['the peer ends', 'the page closes'] as const) {
    test(`a BYOB read goes on where a default reader was released, until ${how}`, async () => {
      const { net, swarm, stream, peer } = await circuit()
      const first = peer.readable.getReader()
      const dropped = first.read().catch(() => {})
      await settled()
      first.releaseLock()
      await dropped
      const read = peer.readable.getReader({ mode: 'byob' }).read(new Uint8Array(8))
      await settled()
      if (how === 'the peer ends') stream.fin()
      else peer.close()
      assert.equal(await pending(read), false)
      await bye(swarm, net)
    })
  }

  test('the end of the peer and close() at once end a read', async () => {
    for (let k = 0; k < 40; k++) {
      const { net, swarm, stream, peer } = await circuit()
      const read = peer.readable.getReader().read()
      await settled()
      stream.fin()
      await microtasks(k)
      peer.close()
      assert.equal(await pending(read), false, `close() ${k} microtasks later`)
      await bye(swarm, net)
    }
  })
})

describe('writers', () => {
  test('writer.close() that waits is not failed by peer.close()', async () => {
    const { net, swarm, stream, peer } = await circuit()
    stream.toGateway.block()
    const writer = peer.writable.getWriter()
    const writing = writer.write(text('x'))
    const closing = writer.close()
    peer.close()
    stream.toGateway.unblock()
    assert.deepEqual(await stream.bytes(1), text('x'))
    await stream.end()
    await writing
    await closing
    stream.fin()
    await peer.closed
    await bye(swarm, net)
  })

  for (const how of ['peer.abort()', 'swarm.close()'] as const) {
    test(`a write that never left does not succeed by ${how}`, async () => {
      const { net, swarm, stream, peer } = await circuit()
      stream.toGateway.block()
      const writer = peer.writable.getWriter()
      const writing = failure(writer.write(text('x')))
      await settled()
      if (how === 'peer.abort()') peer.abort()
      else swarm.close()
      assert.equal((await writing).code, Code.NONE)
      await bye(swarm, net)
    })
  }
})

describe('the page closes the swarm', () => {
  test('in the event connected, while a stream has overtaken WELCOME', async () => {
    const { net, swarm, transport, topic } = await joined()
    await transport.lose()
    net.clock.advance(250)
    const again = await net.dial()
    await again.begin(1)
    again.open(peerFrame(1, wowcool))
    await settled()
    swarm.addEventListener('connected', () => swarm.close())
    again.welcome()
    await settled()
    await topic.closed
    assert.equal(net.clock.waiting, 0)
  })

  test('in the event close of a circuit that it has aborted', async () => {
    const { net, swarm, peer } = await circuit()
    peer.addEventListener('close', () => swarm.close())
    peer.abort(300)
    await settled()
    assert.equal(net.clock.waiting, 0)
  })

  test('in the event close of the last circuit of a session that was left', async () => {
    const net = new Network()
    const connecting = open([{ url: 'https://a.example', hashes: [] }, { url: 'https://b.example', hashes: [] }], undefined, net.platform)
    const a = await net.dial()
    await a.begin()
    a.welcome()
    const swarm = await connecting
    const joining = swarm.join(wowcool)
    await a.control.expect(frames.Join)
    a.control.send(frames.Joined.encode({ topic: wowcool }))
    const peers = (await joining)[Symbol.asyncIterator]()
    const stream = a.open(peerFrame(1, wowcool))
    const peer = await next(peers)
    a.control.send(frames.Goaway.encode({ code: Code.SHUTDOWN, retryAfter: 0, reason: '' }))
    const b = await net.dial()
    await b.begin(1)
    b.welcome()
    await settled()
    peer.addEventListener('close', () => swarm.close())
    peer.close()
    stream.fin()
    await peer.closed
    await settled()
    assert.equal(net.clock.waiting, 0)
  })

  test('when its control stream has just opened', async () => {
    for (let k = 0; k < 30; k++) {
      const net = new Network()
      const abort = new AbortController()
      const connecting = failure(open({ url, hashes: [] }, abort.signal, net.platform))
      const transport = await net.dial()
      transport.ready.resolve()
      await microtasks(k)
      abort.abort()
      await connecting
      await settled()
      assert.equal(net.clock.waiting, 0, `${k} microtasks later`)
    }
  })
})

describe('a session is lost', () => {
  test('when a stream has said PEER: its circuit never shows', async () => {
    for (let k = 0; k < 60; k++) {
      const { net, swarm, transport, peers } = await joined()
      transport.open(peerFrame(1, wowcool))
      await microtasks(k)
      await transport.lose()
      assert.equal(net.clock.waiting, 1, `${k} microtasks later: the wait, and nothing else`)
      assert.ok(await pending(peers.next()), `${k} microtasks later`)
      await bye(swarm, net)
    }
  })

  test('when the stream of an offer has opened: its circuit never shows', async () => {
    for (let k = 0; k < 30; k++) {
      const { net, swarm, transport, control, peers } = await joined()
      const opens = deferred()
      transport.opens = opens.promise
      control.send(peerFrame(1, wowcool))
      await settled()
      opens.resolve()
      await microtasks(k)
      await transport.lose()
      assert.ok(await pending(peers.next()), `${k} microtasks later`)
      await bye(swarm, net)
    }
  })
})

test('an offer that is withdrawn while its stream is being opened: accept() rejects', async () => {
  const { net, swarm, transport, control, peers } = await joined<Offer>({ offerOnly: true })
  const opens = deferred()
  transport.opens = opens.promise
  control.send(peerFrame(1, wowcool))
  const accepting = failure((await next(peers)).accept())
  await settled()
  control.send(frames.Withdraw.encode({ circuit: 1, code: Code.WITHDRAWN }))
  assert.equal((await accepting).code, Code.WITHDRAWN)
  opens.resolve()
  await bye(swarm, net)
})

test('a stream that failed, close() and WITHDRAW leave no timer', async () => {
  const { net, swarm, control, stream, peer } = await circuit()
  stream.reset(0)
  await settled()
  peer.close()
  control.send(frames.Withdraw.encode({ circuit: 1, code: 300 }))
  assert.equal((await failure(peer.closed)).code, 300)
  assert.equal(net.clock.waiting, 1, 'nothing but the signs of life')
  await bye(swarm, net)
})
