import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { hex } from '../src/hex.js'
import { gatewaysOf } from '../src/gateway.js'
import { open } from '../src/swarm.js'
import { bye } from './harness.js'
import { Code, Network, failure, settled } from './network.js'

const [one, two, three] = ['11', '22', '33'].map(b => b.repeat(32)) as [string, string, string]
const bytes = (h: string) => Uint8Array.from(Buffer.from(h, 'hex'))

function info (webtransport: string, certificate: object) {
  return { agent: 'fake', version: 1, quic: 'gate.example:4433', webtransport, certificate, limits: {}, unknown: true }
}

describe('addresses', () => {
  test('that can be trusted', () => {
    for (const [target, ...origins] of [
      ['https://gate.example', 'https://gate.example'],
      ['https://gate.example:4433/', 'https://gate.example:4433'],
      [new URL('https://[::1]:1'), 'https://[::1]:1'],
      ['http://localhost:8080', 'http://localhost:8080'],
      ['http://app.localhost:8080', 'http://app.localhost:8080'],
      ['https://B\u00fccher.example:4433', 'https://xn--bcher-kva.example:4433'],
      ['swarmgate://b\u00fccher.example:4433/', 'https://xn--bcher-kva.example:4433'],
      ['https://my_app_gateway:4433', 'https://my_app_gateway:4433'],
      ['http://127.0.0.1:8080/console', 'http://127.0.0.1:8080'],
      ['http://127.9.9.9', 'http://127.9.9.9'],
      ['http://[::1]:8080', 'http://[::1]:8080'],
      [{ url: 'https://gate.example', hashes: [one] }, 'https://gate.example'],
      [['https://a.example', { url: 'https://b.example', hashes: [bytes(one)] }], 'https://a.example', 'https://b.example'],
      [{ gateways: ['https://a.example', 'https://b.example'] }, 'https://a.example', 'https://b.example']
    ] as const) assert.deepEqual(gatewaysOf(target as never).map(g => g.origin), origins)
  })

  test('that cannot', () => {
    for (const target of [
      'http://gate.example', 'http://192.168.0.1', 'http://localhost.example', 'http://notlocalhost', 'http://127.0.0.1.example', 'http://[::2]', 'ws://localhost',
      'gate.example:4433', '', 'https://', {}, [], { gateways: [] }, { url: 'https://a.example', gateways: ['https://b.example'] },
      { url: 'http://localhost:8080', hashes: [one] }, { url: 'https://a.example', hashes: ['12'] }, { url: 'https://a.example', hashes: [one + '00'] },
      { url: 'https://a.example', hashes: [new Uint8Array(31)] }
    ]) assert.throws(() => gatewaysOf(target as never), TypeError, JSON.stringify(target))
    assert.throws(() => gatewaysOf({ url: 'https://a.example', token: 'x'.repeat(8193) }), RangeError)
    assert.throws(() => gatewaysOf({ url: 'https://a.example', token: new Uint8Array(8193) }), RangeError)
  })

  test('tokens and hashes of one\'s own come before those of all', async () => {
    const [a, b] = gatewaysOf({ gateways: [{ url: 'https://a.example', token: 'a' }, 'https://b.example'], token: Uint8Array.of(98) })
    const { signal } = new AbortController()
    const tokens = await Promise.all([a!.token(signal), b!.token(signal)])
    assert.deepEqual(tokens.map(t => Buffer.from(t).toString()), ['a', 'b'])
  })
})

/** Connects, and returns what was dialed. */
async function dial (net: Network, target: Parameters<typeof open>[0]) {
  const connecting = open(target, undefined, net.platform)
  connecting.catch(() => {})
  const transport = await net.dial()
  return { connecting, transport }
}

describe('the info document', () => {
  test('pinned: its hashes are passed on', async () => {
    const net = new Network()
    net.documents.set('http://localhost:8080', info('https://127.0.0.1:4433/swarm', { kind: 'pinned', hashes: [one, two] }))
    const { connecting, transport } = await dial(net, 'http://localhost:8080')
    assert.deepEqual([transport.url, transport.hashes], ['https://127.0.0.1:4433/swarm', [one, two]])
    assert.equal(transport.options.serverCertificateHashes![0]!.algorithm, 'sha-256')
    assert.deepEqual(net.fetched, ['http://localhost:8080/.well-known/swarmgate'])
    await transport.begin()
    transport.welcome([bytes(two), bytes(three)])
    const swarm = await connecting
    await transport.lose()
    net.clock.advance(250)
    assert.deepEqual((await net.dial()).hashes, [two, three], 'WELCOME renews them')
    assert.equal(net.fetched.length, 1)
    await bye(swarm, net)
  })

  test('ca: no hashes, whatever else it says, and whatever WELCOME says', async () => {
    const net = new Network()
    net.documents.set('https://gate.example', info('https://gate.example/swarm', { kind: 'ca', hashes: [one] }))
    const { connecting, transport } = await dial(net, 'https://gate.example/')
    assert.deepEqual([transport.url, transport.options.serverCertificateHashes], ['https://gate.example/swarm', undefined])
    await transport.begin()
    transport.welcome([bytes(two)])
    const swarm = await connecting
    await transport.lose()
    net.clock.advance(250)
    assert.equal((await net.dial()).options.serverCertificateHashes, undefined)
    await bye(swarm, net)
  })

  test('is not read where hashes are given; they are renewed too', async () => {
    const net = new Network()
    const { connecting, transport } = await dial(net, { url: 'https://gate.example:4433', hashes: [one.toUpperCase(), bytes(two)] })
    assert.deepEqual([transport.url, transport.hashes, net.fetched], ['https://gate.example:4433/swarm', [one, two], []])
    await transport.begin()
    transport.welcome([bytes(two), bytes(three)])
    const swarm = await connecting
    await transport.lose()
    net.clock.advance(250)
    const failed = await net.dial()
    assert.deepEqual(failed.hashes, [two, three])
    await failed.lose()
    net.clock.advance(500)
    assert.deepEqual((await net.dial()).hashes, [two, three])
    assert.deepEqual(net.fetched, [])
    await bye(swarm, net)
  })

  test('is read again after connecting failed; without it the route is the one before', async () => {
    const net = new Network()
    const origin = 'http://localhost:8080'
    net.documents.set(origin, info('https://127.0.0.1:1/swarm', { kind: 'pinned', hashes: [one] }))
    const { connecting, transport } = await dial(net, origin)
    await transport.begin()
    transport.welcome()
    const swarm = await connecting
    await transport.lose()
    net.clock.advance(250)
    await (await net.dial()).lose()
    assert.equal(net.fetched.length, 1)
    net.documents.set(origin, info('https://127.0.0.1:2/swarm', { kind: 'pinned', hashes: [three] }))
    net.clock.advance(500)
    const fresh = await net.dial()
    assert.deepEqual([fresh.url, fresh.hashes, net.fetched.length], ['https://127.0.0.1:2/swarm', [three], 2])
    await fresh.begin()
    fresh.welcome()
    await settled()
    await fresh.lose()
    net.clock.advance(1000)
    const known = await net.dial()
    assert.deepEqual([known.url, net.fetched.length], [fresh.url, 2], 'what worked is not read again')
    await known.lose()
    net.documents.clear()
    net.clock.advance(2000)
    assert.equal((await net.dial()).url, 'https://127.0.0.1:2/swarm')
    await bye(swarm, net)
  })

  test('that is not to be had, or makes no sense, is a gateway that does not answer', async () => {
    for (const document of [
      undefined, 404, 'elsewhere', 'text', {}, info('http://gate.example/swarm', { kind: 'ca' }), info('https://gate.example/swarm', { kind: 'pinned' }),
      info('https://gate.example/swarm', { kind: 'pinned', hashes: ['1'] }), { webtransport: 'https://gate.example/swarm' }
    ]) {
      const net = new Network()
      if (document !== undefined) net.documents.set('https://gate.example', document)
      const e = await failure(open('https://gate.example', undefined, net.platform))
      assert.deepEqual([e.name, e.code, e.remote, net.dials], ['SwarmError', Code.PEER_UNREACHABLE, false, 0], JSON.stringify(document))
    }
  })

  test('that pages of this origin must not read is told from a dead server', async () => {
    const net = new Network()
    net.documents.set('https://gate.example', 403)
    const e = await failure(open('https://gate.example', undefined, net.platform))
    assert.deepEqual([e.code, e.remote], [Code.FORBIDDEN, true])
    assert.deepEqual(net.fetched, ['https://gate.example/.well-known/swarmgate'])
  })

  test('a route that was known is used where the document must not be read any more', async () => {
    const net = new Network()
    net.documents.set('https://gate.example', info('https://gate.example/swarm', { kind: 'ca' }))
    const { connecting, transport } = await dial(net, 'https://gate.example')
    await transport.begin()
    transport.welcome()
    const swarm = await connecting
    net.documents.set('https://gate.example', 403)
    await transport.lose()
    net.clock.advance(250)
    await (await net.dial()).lose()
    net.clock.advance(500)
    await net.dial()
    await settled()
    assert.equal(swarm.state, 'connecting')
    await bye(swarm, net)
  })

  test('hex', () => assert.equal(hex(bytes(one)), one))
})
