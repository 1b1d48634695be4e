// Secret rooms over a swarm: who comes out, who does not, and further circuits.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { hex } from '../src/hex.js'
import type { RoomOptions, SealedPeer } from '../src/secretapi.js'
import { SecretError } from '../src/secret.js'
import { newPair } from '../src/secretnoise.js'
import { bye, connected, next, text } from './harness.js'
import { Code, failure, frames, peerFrame, settled } from './network.js'
import type { FakeStream } from './network.js'
import type { End } from './sealed.js'
import { Credit, all, end, relay, roomOf } from './sealed.js'

/** A member whose gateway is played by hand. */
async function member (options: RoomOptions = {}) {
  const c = await connected()
  const room = await roomOf()
  const joining = room.join(c.swarm, options)
  const { topic: name, flags } = await c.control.expect(frames.Join)
  assert.equal(name, hex(room.topic))
  c.control.send(frames.Joined.encode({ topic: name }))
  const sealed = await joining
  /** A circuit with a peer of which `id` is the number. */
  const meet = (circuit: number, id: number, flags = 0) =>
    c.transport.open(peerFrame(circuit, name, { flags: flags | frames.CLIENT, network: 'client', id: Uint8Array.of(id) }))
  return { ...c, room, name, flags, sealed, meet, peers: sealed[Symbol.asyncIterator]() }
}

/** Joins a stream of a member with a circuit of somebody else. Neither sends much. */
function join (stream: FakeStream, other: End): void {
  void relay({ stream }, other)
  void relay(other, { stream, credit: new Credit() })
}

/** Meets somebody who is a member as well, and takes the circuit out. */
async function friend (m: Awaited<ReturnType<typeof member>>, identity?: CryptoKeyPair): Promise<{ peer: SealedPeer, far: SealedPeer }> {
  const other = await end(true)
  join(m.meet(1, 1), other)
  const [far, peer] = await Promise.all([(await roomOf(identity && { identity })).seal(other.peer), next(m.peers)])
  return { peer, far }
}

describe('room.join', () => {
  test('yields members as they are sealed: one that never answers delays no other', async t => {
    const refused: Array<[string, number]> = []
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const m = await member({ maxPeers: 3, refused: (peer, e) => refused.push([peer.id, e.code]) })
    assert.equal(m.sealed.topic.hex, m.name)
    const silent = m.meet(7, 7)
    const stranger = m.meet(8, 8)
    stranger.send(text('GET / HTTP/1.1\r\n'), new Uint8Array(0x4745)) // so long a message is that
    const { peer, far } = await friend(m)
    assert.deepEqual([peer.id, peer.network, peer.topic, peer.client], ['01', 'client', m.name, true])
    assert.deepEqual([peer.binding, far.key], [far.binding, m.room.key])
    assert.deepEqual(await stranger.wasReset(), [Code.PROTOCOL, Code.PROTOCOL])
    t.mock.timers.tick(10_000)
    assert.deepEqual(await silent.wasReset(), [Code.PROTOCOL, Code.PROTOCOL])
    await settled()
    assert.deepEqual(refused, [['08', Code.PROTOCOL], ['07', Code.PROTOCOL]])
    await bye(m.swarm, m.net)
  })

  test('leave resets what nobody has taken, and what is not sealed yet', async () => {
    const m = await member()
    const { peer } = await friend(m)
    const waiting = await end(true)
    const [stream, silent] = [m.meet(2, 2), m.meet(3, 3)]
    join(stream, waiting)
    const far = await (await roomOf()).seal(waiting.peer)
    while (m.sealed.topic.peers.length < 3) await settled()
    await settled()
    const left = m.sealed.leave()
    m.control.send(frames.Left.encode({ topic: m.name, code: 0, reason: '' }))
    await left
    assert.deepEqual((await m.peers.next()).done, true)
    assert.equal((await failure(far.closed)).code, Code.LEFT)
    assert.deepEqual(await silent.wasReset(), [Code.LEFT, Code.LEFT])
    let over = false
    void peer.closed.then(() => { over = true })
    await settled()
    assert.equal(over, false, 'who was taken stays')
    await bye(m.swarm, m.net)
  })

  test('throws what the topic ends with', async () => {
    const m = await member()
    m.control.send(frames.Left.encode({ topic: m.name, code: Code.FORBIDDEN, reason: 'no' }))
    assert.equal((await failure(m.peers.next())).code, Code.FORBIDDEN)
    await bye(m.swarm, m.net)
  })
})

describe('further circuits', () => {
  const FURTHER = frames.FURTHER | frames.INITIATOR

  for (const same of [true, false]) {
    test(`open, answered by ${same ? 'the peer' : 'another member of the room'}`, async () => {
      const m = await member()
      const identity = await newPair()
      const { peer } = await friend(m, identity)
      const opening = peer.open()
      opening.catch(() => {})
      const stream = await m.transport.accept()
      await stream.expect(frames.Connect)
      stream.send(peerFrame(9, m.name, { flags: FURTHER, network: 'client', id: Uint8Array.of(1) }))
      const other = await end(false)
      join(stream, other)
      const far = await (await roomOf(same ? { identity } : {})).seal(other.peer)
      if (same) {
        const more = await opening
        assert.deepEqual([more.further, more.initiator, more.id, more.key], [true, true, peer.id, peer.key])
        const w = more.writable.getWriter()
        await w.write(text('hello'))
        void w.close()
        assert.equal(String(await all(far)), 'hello')
      } else {
        const e = await failure(opening)
        assert.ok(e instanceof SecretError && e.code === Code.PROTOCOL && /another member/.test(e.message), String(e))
        assert.equal((await failure(far.closed)).code, Code.PROTOCOL)
      }
      await bye(m.swarm, m.net)
    })
  }

  test('come out of streams, those of another member do not, and the rest ends with the peer', async () => {
    const m = await member({ streams: true })
    assert.equal(m.flags & frames.STREAMS, frames.STREAMS)
    const identity = await newPair()
    const { peer, far } = await friend(m, identity)
    const streams = peer.streams[Symbol.asyncIterator]()
    const first = streams.next()
    const [liar, right] = await Promise.all([end(true), end(true)])
    join(m.meet(5, 1, frames.FURTHER), liar)
    const lie = await (await roomOf()).seal(liar.peer)
    assert.equal((await failure(lie.closed)).code, Code.PROTOCOL)
    join(m.meet(6, 1, frames.FURTHER), right)
    await (await roomOf({ identity })).seal(right.peer)
    const stream = (await first).value!
    assert.deepEqual([stream.further, stream.key], [true, peer.key])
    const last = streams.next()
    stream.abort()
    far.abort(0x42)
    assert.equal((await last).done, true)
    await bye(m.swarm, m.net)
  })
})
