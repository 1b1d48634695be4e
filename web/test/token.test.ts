// A token that is fetched before each attempt.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Token } from '../src/api.js'
import { SwarmError } from '../src/errors.js'
import { open } from '../src/swarm.js'
import { bye, text, url, wowcool } from './harness.js'
import { Code, Network, failure, frames, settled } from './network.js'

/** Begins to connect with a token. */
function connecting (token: Token) {
  const net = new Network()
  const swarm = open({ url, hashes: [], token }, undefined, net.platform)
  swarm.catch(() => {})
  return { net, swarm }
}

test('each attempt shows a new one, in one flight with the JOINs', async () => {
  let fetched = 0
  const { net, swarm: opening } = connecting(async () => `token ${++fetched}`)
  const first = await net.dial()
  assert.deepEqual((await first.begin()).hello.token, text('token 1'))
  first.welcome()
  const swarm = await opening
  swarm.join(wowcool).catch(() => {}) // which is never answered
  await first.control.expect(frames.Join)
  await first.end(Code.TOKEN_EXPIRED, 'old')
  assert.equal(swarm.state, 'waiting')
  net.clock.advance(250)
  const second = await net.dial()
  const { hello, joins } = await second.begin(1)
  assert.deepEqual([hello.token, joins.length, second.control.toGateway.writes], [text('token 2'), 1, 1])
  second.welcome()
  await settled()
  await second.end(Code.UNAUTHORIZED, 'unknown')
  net.clock.advance(500)
  const third = await net.dial()
  assert.deepEqual((await third.begin(1)).hello.token, text('token 3'))
  await third.end(Code.UNAUTHORIZED, 'unknown')
  const e = await failure(swarm.closed)
  assert.deepEqual([e.code, e.remote, fetched, net.clock.waiting], [Code.UNAUTHORIZED, true, 3, 0])
})

test('one that is refused before there was a session is told at once', async () => {
  const { net, swarm } = connecting(() => Uint8Array.of(1))
  const transport = await net.dial()
  assert.deepEqual((await transport.begin()).hello.token, Uint8Array.of(1))
  await transport.end(Code.UNAUTHORIZED, 'no')
  assert.equal((await failure(swarm)).code, Code.UNAUTHORIZED)
})

test('an error is a loss with its cause, and a permanent one the end', async () => {
  const offline = new Error('offline')
  let answer: unknown = 'token'
  const { net, swarm: opening } = connecting(async () => {
    if (typeof answer !== 'string') throw answer
    return answer
  })
  const transport = await net.dial()
  await transport.begin()
  transport.welcome()
  const swarm = await opening
  const errors: SwarmError[] = []
  swarm.addEventListener('reconnecting', e => { errors.push(e.detail.error) })
  answer = offline
  await transport.lose()
  net.clock.advance(250)
  await settled()
  const [, e] = errors
  assert.deepEqual([e!.code, e!.remote, e!.cause, swarm.state, net.dials], [Code.INTERNAL, false, offline, 'waiting', 0])
  answer = new SwarmError(Code.UNAUTHORIZED, 'logged out')
  net.clock.advance(500)
  assert.equal(await failure(swarm.closed), answer)
})

test('one that is not there in time is given up, and its signal says so', async () => {
  let aborted: AbortSignal | undefined
  const { net, swarm } = connecting(signal => {
    aborted = signal
    return new Promise<string>(() => {})
  })
  await settled()
  net.clock.advance(10_000)
  assert.equal((await failure(swarm)).code, Code.PEER_UNREACHABLE)
  assert.equal(aborted?.aborted, true)
})

test('one that is too long is a mistake', async () => {
  const e = await failure(connecting(() => 'x'.repeat(8193)).swarm)
  assert.deepEqual([e.code, e.cause instanceof RangeError], [Code.INTERNAL, true])
})

test('a fixed one is as good', async () => {
  const { net, swarm } = connecting('fixed')
  const transport = await net.dial()
  assert.deepEqual((await transport.begin()).hello.token, text('fixed'))
  transport.welcome()
  await bye(await swarm, net)
})
