// What old programs join, where their gateway is, and which of two connections stays.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import DiscoverySwarm from '../src/discoveryswarm.js'
import type { DiscoverySwarmOptions } from '../src/discoveryswarmapi.js'
import { keyFrom, topicOf, whereIs, whereOf } from '../src/discoveryswarmkey.js'
import { Known } from '../src/discoveryswarmpeers.js'
import { text } from './harness.js'

const key = Buffer.alloc(32, 7)

describe('keys and addresses', () => {
  test('20 or 32 bytes or hexadecimal digits are keys as they are, anything is with a hash', async () => {
    for (const k of [Buffer.alloc(20, 1), new Uint8Array(32).fill(2), '01'.repeat(20), 'AB'.repeat(32)]) {
      const bytes = keyFrom(k, false)
      assert.ok(Buffer.isBuffer(bytes))
      assert.equal(bytes.toString('hex'), typeof k === 'string' ? k.toLowerCase() : Buffer.from(k).toString('hex'))
    }
    for (const k of ['wowcool', '', '01'.repeat(19), new Uint8Array(21), new Uint8Array(0), 7, null]) {
      assert.throws(() => keyFrom(k as string, false), TypeError, String(k))
    }
    assert.throws(() => keyFrom('wowcool', false), /defaultHash/)
    assert.equal(keyFrom('wowcool', true).toString(), 'wowcool')
    assert.equal(keyFrom(new Uint8Array(3), true).length, 3)
    assert.deepEqual(await topicOf(new Uint8Array(20).fill(3), false), new Uint8Array([...new Uint8Array(20).fill(3), ...new Uint8Array(12)]))
    assert.deepEqual(await topicOf(key, false), new Uint8Array(key))
    assert.deepEqual(await topicOf(text('wowcool'), true), new Uint8Array([...createHash('sha1').update('wowcool').digest(), ...new Uint8Array(12)]))
  })

  test('where the gateway is', () => {
    const target = (options: DiscoverySwarmOptions) => (whereOf(options, 'http://localhost:8080') as { target: unknown }).target
    assert.deepEqual(target({}), { gateways: ['http://localhost:8080'] })
    assert.deepEqual(target({ url: 'swarmgate://192.0.2.7:4433/?h=ab#x', token: 't', stream: () => assert.fail() }), { url: 'swarmgate://192.0.2.7:4433/?h=ab#x', token: 't' })
    assert.deepEqual(target({ discovery: 'wss://gate.example:3472', hashes: ['ab'] }), { gateways: ['https://gate.example:3472'], hashes: ['ab'] })
    assert.deepEqual(target({ discovery: ['ws://localhost:3472', 'ws://[::1]', 'ws://127.0.0.1/', 'ws://localhost.example'] }),
      { gateways: ['http://localhost:3472', 'http://[::1]', 'http://127.0.0.1/', 'https://localhost.example'] })
    assert.deepEqual(target({ connection: ' wss://a.example ', agent: '', transports: ['websocket'] }), { url: 'https://a.example', agent: '', transports: ['websocket'] })
    assert.deepEqual(target({ connection: [new URL('https://a.example'), { url: 'wss://b.example', hashes: [] }], token: 't' }),
      { gateways: ['https://a.example/', { url: 'https://b.example', hashes: [] }], token: 't' })
    assert.deepEqual(target({ connection: { url: 'https://a.example', token: 'its own' }, token: 't' }), { url: 'https://a.example', token: 'its own' })
    const later = new Promise<never>(() => {})
    assert.deepEqual(whereIs(later), { swarm: later })
  })

  test('what is no gateway is refused with words that help', () => {
    for (const connection of [new PassThrough(), { send () {}, addEventListener () {} }]) {
      assert.throws(() => new DiscoverySwarm({ connection: connection as never }), /write url: 'https:\/\/gateway\.example'/)
      const dss = DiscoverySwarm({ connection: new Promise(() => {}) })
      assert.throws(() => dss.reconnect(connection as never), TypeError)
      dss.close()
    }
  })
})

describe('which of two connections is dropped', () => {
  test('the one that both ends agree on', () => {
    const [small, large] = ['aa', 'bb']
    for (const [own, remote] of [[small, large], [large, small]] as const) {
      const mine = own < remote // those that the smaller id has opened stay
      const known = new Known<string>(false)
      assert.equal(known.add('opened here', own, remote, true), undefined)
      assert.equal(known.add('opened there', own, remote, false), mine ? 'opened there' : 'opened here')
      assert.equal(known.add('opened there again', own, remote, false), mine ? 'opened there again' : 'opened there')
    }
  })

  test('the later one if the first is to be kept, and one with ourselves always', () => {
    const known = new Known<number>(true)
    assert.deepEqual([known.add(1, 'aa', 'bb', true), known.add(2, 'aa', 'bb', true), known.add(3, 'bb', 'aa', false)], [undefined, 2, undefined])
    assert.equal(known.add(4, 'aa', 'aa', true), 4)
    known.remove(2, 'bb') // it has no place
    assert.equal(known.add(5, 'aa', 'bb', true), 5)
    known.remove(1, 'bb')
    assert.equal(known.add(6, 'aa', 'bb', true), undefined)
  })
})
