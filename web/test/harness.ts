// Swarms that are connected, joined, or have a circuit, to begin tests with.
import assert from 'node:assert/strict'
import { after } from 'node:test'
import type { JoinOptions, Offer, Peer, Swarm, Topic } from '../src/api.js'
import { open } from '../src/swarm.js'
import type { FakeStream } from './network.js'
import { Network, frames, peerFrame, settled } from './network.js'

/** Topic of the name wowcool, which nobody has to compute. */
export const wowcool = 'ff5d0af858154dce24e27d66068a4ec57e619abeb763de0e7242ab6a4b52b61d'
/** Address of the gateway, which has no info document. */
export const url = 'https://gate.example'
const alive = setInterval(() => {}, 1000)
after(() => clearInterval(alive))
/** UTF-8. */
export const text = (s: string): Uint8Array => Uint8Array.from(new TextEncoder().encode(s))

/** A swarm that is connected to a gateway which has no certificate hashes. */
export async function connected () {
  const net = new Network()
  const connecting = open({ url, hashes: [] }, undefined, net.platform)
  const transport = await net.dial()
  const { hello } = await transport.begin()
  transport.welcome()
  return { net, transport, hello, swarm: await connecting, control: transport.control }
}

/** The same, on a topic. */
export async function joined<T extends Peer | Offer = Peer> (options: JoinOptions = {}) {
  const c = await connected()
  const joining = c.swarm.join('wowcool', options) as Promise<Topic<Peer | Offer>>
  const join = await c.control.expect(frames.Join)
  c.control.send(frames.Joined.encode({ topic: wowcool }))
  const topic = await joining as Topic<T>
  return { ...c, join, topic, peers: topic[Symbol.asyncIterator]() }
}

/** The same, with a circuit that the gateway opened, or one that it offered. */
export async function circuit (how: 'opened' | 'offered' = 'opened') {
  const j = await joined()
  let stream: FakeStream
  if (how === 'opened') {
    stream = j.transport.open(peerFrame(1, wowcool))
  } else {
    j.control.send(peerFrame(1, wowcool))
    stream = await j.transport.accept()
    assert.deepEqual(await stream.expect(frames.Accept), { circuit: 1 })
  }
  return { ...j, stream, peer: await next(j.peers) }
}

/** Takes what comes next. */
export async function next<T> (iterator: AsyncIterator<T>): Promise<T> {
  const { value, done } = await iterator.next()
  assert.ok(!done, 'there are no more')
  return value
}

/** Ends a test: nothing is left behind. */
export async function bye (swarm: Swarm, net: Network): Promise<void> {
  swarm.close()
  await swarm.closed
  await settled()
  assert.deepEqual([net.clock.waiting, net.wake], [0, undefined], 'timers, or listeners, are left')
}
