// What useTopic of swarmgate/react shares between components.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nothing, sharedTopic } from '../src/shared.js'
import { bye, connected, wowcool } from './harness.js'
import { frames, peerFrame, settled } from './network.js'

test('two components see the same peers, and the last one that goes leaves the topic', async () => {
  const { net, swarm, transport, control } = await connected()
  const topic = sharedTopic(swarm, 'wowcool')
  assert.equal(sharedTopic(swarm, 'wowcool'), topic)
  let changes = 0
  const first = topic.watch(() => changes++, { streams: true })
  const second = topic.watch(() => changes++)
  assert.equal((await control.expect(frames.Join)).flags & frames.STREAMS, frames.STREAMS)
  control.send(frames.Joined.encode({ topic: wowcool }))
  await settled()
  const s = transport.open(peerFrame(1, wowcool))
  await settled()
  assert.deepEqual([topic.view.peers.map(p => p.id), changes > 0], [['0001'], true])
  assert.equal(topic.view, topic.view)
  first()
  await settled()
  assert.equal(topic.view.peers.length, 1)
  second()
  const third = topic.watch(() => {}) // another one in its place
  await new Promise(resolve => setTimeout(resolve, 1))
  assert.equal(topic.view.peers.length, 1)
  third()
  assert.deepEqual(await control.expect(frames.Leave), { topic: wowcool })
  await s.end() // closed, not reset
  assert.equal(topic.view, nothing)
  s.fin()
  await bye(swarm, net)
})

test('it tells why it could not be joined', async () => {
  const { net, swarm, control } = await connected()
  const topic = sharedTopic(swarm, 'wowcool')
  const end = topic.watch(() => {})
  await control.expect(frames.Join)
  control.send(frames.Left.encode({ topic: wowcool, code: 6, reason: 'no' }))
  await settled()
  assert.equal((topic.view.error as { code: number }).code, 6)
  end()
  await bye(swarm, net)
})
