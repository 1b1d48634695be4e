// The module as it is published.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { parse } from 'acorn'
import type { Node } from 'acorn'
import type { Swarm } from '../src/api.js'
import { next, text, url, wowcool } from './harness.js'
import { Code, Network, failure, frames, peerFrame } from './network.js'

const dist = new URL('../dist/', import.meta.url)
const file = new URL('swarmgate.js', dist)
const source = readFileSync(file, 'utf8')

/** Calls `f` for each node of a program. */
function walk (node: Node, f: (node: Node) => void): void {
  f(node)
  for (const child of Object.values(node).flat()) if (typeof child?.type === 'string') walk(child, f)
}

test('it has less than 10,000 bytes, minified and gzipped', () => {
  const size = gzipSync(source, { level: 9 }).length
  assert.ok(size < 10_000, `${size} bytes`)
})

test('it can be loaded where there is neither window nor document, and exports what is documented', async () => {
  const module = await import(file.href)
  assert.deepEqual(Object.keys(module).sort(), ['Code', 'SwarmError', 'codeName', 'connect', 'topicFromName'])
  assert.equal(String(new module.SwarmError(module.Code.BUSY, 'no room', { remote: true })), 'SwarmError: BUSY (remote): no room')
  assert.equal(String(new module.SwarmError(0x1234)), 'SwarmError: 0x1234')
  await assert.rejects(module.connect('http://gate.example'), TypeError)
})

test('as it is published, with its names shortened, it joins, meets, echoes and leaves', async () => {
  const net = new Network()
  const { fetch, WebTransport } = globalThis
  Object.assign(globalThis, { fetch: net.platform.fetch, WebTransport: net.platform.WebTransport })
  try {
    const { connect } = await import(file.href)
    net.documents.set(url, { webtransport: `${url}/swarm`, certificate: { kind: 'pinned', hashes: ['ab'.repeat(32)] } })
    const events: string[] = []
    const connecting = connect({ url, token: 'sésame', agent: 'page/1' })
    const transport = await net.dial()
    assert.deepEqual(transport.hashes, ['ab'.repeat(32)])
    const { hello } = await transport.begin()
    assert.deepEqual([text('sésame'), 'page/1'], [Uint8Array.from(hello.token), hello.agent])
    transport.welcome()
    const swarm: Swarm = await connecting
    assert.deepEqual([swarm.state, swarm.gateway], ['connected', url])
    const joining = swarm.join('wowcool', { maxPeers: 3, streams: true, networks: ['dht'] })
    const { control } = transport
    assert.deepEqual(await control.expect(frames.Join), { topic: wowcool, flags: 11, maxPeers: 3, networks: ['dht'] })
    control.send(frames.Joined.encode({ topic: wowcool }))
    const topic = await joining
    for (const type of ['peer', 'leave', 'status'] as const) topic.addEventListener(type, () => { events.push(type) })
    const network = { name: 'dht', state: 1, found: 1, connecting: 2, refused: 3, lastCode: 14, reason: 'why' }
    control.send(frames.Status.encode({ topic: wowcool, more: true, known: 4, connected: 5, networks: [network] }))
    const stream = transport.open(peerFrame(1, wowcool, { flags: 3, address: 'there' }))
    const peer = await next(topic[Symbol.asyncIterator]())
    assert.deepEqual(topic.status, {
      known: 4, more: true, connected: 5, networks: [{ name: 'dht', state: 'searching', found: 1, connecting: 2, refused: 3, code: 14, reason: 'why' }]
    })
    const { id, address, initiator, client, further } = peer
    assert.deepEqual([id, peer.network, address, initiator, client, further, peer.topic], ['0001', 'dht', 'there', true, true, false, wowcool])
    stream.send(text('hello'))
    stream.fin()
    await peer.readable.pipeTo(peer.writable)
    assert.deepEqual(await stream.bytes(5), text('hello'))
    await stream.end()
    await peer.closed
    const opening = peer.open()
    const asked = await transport.accept()
    assert.equal((await asked.expect(frames.Connect)).network, 'dht')
    asked.send(frames.Refused.encode({ code: Code.DECLINED, reason: 'no' }))
    assert.equal((await failure(opening)).code, Code.DECLINED)
    const leaving = topic.leave()
    await control.expect(frames.Leave)
    control.send(frames.Left.encode({ topic: wowcool, code: 0, reason: '' }))
    await leaving
    assert.deepEqual(events, ['status', 'peer', 'leave'])
    swarm.close()
    await swarm.closed
  } finally {
    Object.assign(globalThis, { fetch, WebTransport })
  }
})

test('it loads nothing else but what connects by WebSocket, which has 2,400 bytes at most and imports nothing', async () => {
  const rest = source.replace('import("./websocket.js")', '')
  assert.notEqual(rest, source)
  assert.doesNotMatch(rest, /\bimport\b|https?:\/\//)
  const chunk = readFileSync(new URL('websocket.js', dist), 'utf8')
  assert.doesNotMatch(chunk, /\bimport\b/)
  const size = gzipSync(chunk, { level: 9 }).length
  assert.ok(size <= 2400, `${size} bytes`)
  assert.deepEqual(Object.keys(await import(new URL('websocket.js', dist).href)), ['race'])
})

test('the package brings its licence', () => {
  assert.equal(readFileSync(new URL('../LICENSE', import.meta.url), 'utf8'), readFileSync(new URL('../../LICENSE', import.meta.url), 'utf8'))
})

test('the entry for gateway URLs has 1,000 bytes at most, and reads what it writes', async () => {
  const size = gzipSync(readFileSync(new URL('url.js', dist)), { level: 9 }).length
  assert.ok(size <= 1000, `${size} bytes`)
  const { formatGatewayURL, parseGatewayURL } = await import(new URL('url.js', dist).href)
  const what = { url: 'https://gate.example:4433', hashes: ['ab'.repeat(32)], topic: 'a b' }
  assert.deepEqual(parseGatewayURL(formatGatewayURL(what)), what)
})

test('the entry for messages has 1,500 bytes at most, and imports nothing', async () => {
  const text = readFileSync(new URL('messages.js', dist), 'utf8')
  const size = gzipSync(text, { level: 9 }).length
  assert.ok(size <= 1500, `${size} bytes`)
  assert.doesNotMatch(text, /\bimport\b/)
  const module = await import(new URL('messages.js', dist).href)
  assert.deepEqual(Object.keys(module).sort(), ['FIRST_OWN', 'MessageDecoder', 'MessageError', 'Messages', 'encodeMessage'])
  const decoder = new module.MessageDecoder()
  decoder.push(module.encodeMessage(2, new TextEncoder().encode('{"to":"e4"}')))
  assert.deepEqual(decoder.next(), { type: 'json', value: { to: 'e4' } })
})

test('the entry for secret rooms has 5,000 bytes at most, and imports nothing', async () => {
  const text = readFileSync(new URL('secret.js', dist), 'utf8')
  const size = gzipSync(text, { level: 9 }).length
  assert.ok(size <= 5000, `${size} bytes`)
  assert.doesNotMatch(text, /\bimport\b/)
  const module = await import(new URL('secret.js', dist).href)
  assert.deepEqual(Object.keys(module).sort(), ['SecretError', 'identity', 'keyHex', 'keyWords', 'secret'])
  const room = await module.secret(new Uint8Array(32))
  assert.equal(Buffer.from(room.topic).toString('hex'), '625c6f8a1d640fdbf4db2766f38b00ed6214e4b11601b3bb5edadbb352784e33')
  assert.equal(room.key.length, 32)
})

test('the entry for React has 1,000 bytes at most, and imports nothing but React', () => {
  const react = readFileSync(new URL('react.js', dist), 'utf8')
  const size = gzipSync(react, { level: 9 }).length
  assert.ok(size <= 1000, `${size} bytes`)
  assert.deepEqual(react.match(/from ?"[^"]*"/g)?.map(s => s.replace(' ', '')), ['from"react"'])
  assert.match(react, /export\{\w+ as useTopic\}/)
})

test('the entry for old programs has 40,000 bytes at most, in syntax of 2019, loads nothing, and names its libraries', () => {
  const text = readFileSync(new URL('discovery-swarm.cjs', dist), 'utf8')
  const size = gzipSync(text, { level: 9 }).length
  assert.ok(size <= 40_000, `${size} bytes`)
  let loads = 0
  walk(parse(text, { ecmaVersion: 2019, sourceType: 'script' }), node => {
    if (node.type === 'CallExpression' && (node as any).callee.name === 'require') loads++
  })
  assert.equal(loads, 0)
  assert.match(text, /^\/\*! .*discovery-swarm\.LICENSES\.txt/)
  const licences = readFileSync(new URL('discovery-swarm.LICENSES.txt', dist), 'utf8')
  for (const library of ['buffer', 'events', 'streamx']) assert.match(licences, new RegExp(`^${library}\\n\\n`, 'm'))
})

test('types tell nothing that is not public', () => {
  const files = readdirSync(new URL('types/', dist)).sort()
  assert.deepEqual(files, ['api.d.ts', 'codes.d.ts', 'connect.d.ts', 'discoveryswarm.d.cts', 'discoveryswarmapi.d.ts', 'errors.d.ts', 'index.d.ts', 'key.d.ts', 'messages.d.ts', 'react.d.ts', 'secret.d.ts', 'secretapi.d.ts', 'secreterror.d.ts', 'secretkeys.d.ts', 'shared.d.ts', 'url.d.ts'])
})
