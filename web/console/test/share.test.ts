import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodeQR } from 'qr/decode.js'
import { isLocal } from '../info.js'
import { qrPath } from '../qr.js'
import { fragmentOf, isGatewayURL, isGuessable, newRoom, pageText, placeOf, programText } from '../share.js'
import { way } from '../words.js'

const hashes = ['cb'.repeat(32), '3e'.repeat(32)]
const info = (address: string, kind = 'pinned') => ({ quic: address, webtransport: `https://${address}/swarm`, certificate: { kind, hashes } })

const topic = (text: string) => ({ kind: 'topic' as const, text })
const secret = (text: string) => ({ kind: 'secret' as const, text })

test('the fragment of an address is a public topic, or the secret of a room', () => {
  for (const hash of ['', '#', '#secret=']) assert.equal(placeOf(hash), undefined)
  for (const [hash, want] of [
    ['#wowcool', 'wowcool'], ['#a%20b#c', 'a b#c'], ['#Gr%C3%BC%C3%9Fe', 'Grüße'], ['#100%', '100%'], ['#%FF', '%FF'], ['#a=b&c', 'a=b&c'],
    ['#secret', 'secret'], ['#secret%3Dx', 'secret=x'], ['#Secret=x', 'Secret=x']
  ] as const) assert.deepEqual(placeOf(hash), topic(want))
  for (const [hash, want] of [['#secret=x', 'x'], ['#secret=a%20b%3D', 'a b='], ['#secret=%FF', '%FF'], ['#secret==', '=']] as const) assert.deepEqual(placeOf(hash), secret(want))
  for (const text of ['wowcool', '# ?&%25/', 'Grüße 👋', '\ufeffx', '<b>', 'secret=x']) {
    for (const place of [topic(text), secret(text)]) assert.deepEqual(placeOf(fragmentOf(place)), place)
  }
})

test('a gateway URL is told from a name', () => {
  for (const text of ['swarmgate://x', ' SwarmGate://x/#y']) assert.ok(isGatewayURL(text))
  for (const text of ['wowcool', 'swarmgate', 'https://x']) assert.ok(!isGatewayURL(text))
})

test('what is shared leads to the gateway', () => {
  const there = info('gateway.example:4433')
  assert.equal(programText(there, topic('a b')), `swarmgate://gateway.example:4433/?h=${hashes[0]}&h=${hashes[1]}#a%20b`)
  assert.equal(programText(info('gateway.example:4433', 'ca'), secret('a b')), 'swarmgate://gateway.example:4433/#secret=a%20b')
  assert.equal(programText(info('gateway.example:4433', 'ca'), topic('x')), 'swarmgate://gateway.example:4433/#x')
  assert.equal(programText(info('[::1]:4433', 'ca'), topic('x')), 'swarmgate://[::1]:4433/#x')
  for (const [origin, about, want] of [
    ['https://gateway.example', there, 'https://gateway.example/#x'],
    ['http://127.0.0.1:8080', there, 'https://gateway.example:4433/#x'], // not where nobody else comes from
    ['http://127.0.0.1:8080', info('127.0.0.1:4433'), 'http://127.0.0.1:8080/#x'],
    ['http://localhost:8080', undefined, 'http://localhost:8080/#x']
  ] as const) assert.equal(pageText(origin, about, topic('x')), want)
  assert.equal(pageText('https://gateway.example', there, secret('x')), 'https://gateway.example/#secret=x')
  for (const url of ['http://127.0.0.1:8080', 'https://[::1]/swarm', 'http://localhost', 'http://app.localhost', 'http://127.1.2.3']) assert.ok(isLocal(url), url)
  for (const url of ['https://127.0.0.1.example', 'http://localhost.example', 'https://192.168.1.2:4433', 'https://[2001:db8::1]']) assert.ok(!isLocal(url), url)
  assert.ok(isGuessable('wowcool') && !isGuessable(newRoom().text) && newRoom().text !== newRoom().text && newRoom().kind === 'secret')
})

test('a QR code holds its text', () => {
  for (const text of ['x', programText(info('gateway.example:4433'), secret('Grüße')), 'y'.repeat(2000)]) {
    const { size, path } = qrPath(text)
    const scale = 4
    const side = size * scale
    const data = new Uint8Array(side * side * 4).fill(255)
    for (const [, x, y, n] of path.matchAll(/M(\d+) (\d+)h(\d+)v1h-\d+z/g)) {
      for (let row = Number(y) * scale; row < (Number(y) + 1) * scale; row++) {
        for (let column = Number(x) * scale; column < (Number(x) + Number(n)) * scale; column++) data.fill(0, (row * side + column) * 4, (row * side + column) * 4 + 3)
      }
    }
    assert.equal(decodeQR({ width: side, height: side, data }), text)
  }
  assert.throws(() => qrPath('z'.repeat(4000)))
})

test('how a peer is connected is told in words', () => {
  for (const [network, client, local, want] of [
    ['client', true, true, 'through this gateway'], ['dht', true, true, 'through another gateway'], ['dht', false, true, 'direct'],
    ['lan', false, true, 'on your network'], ['lan', true, false, 'on the gateway’s network'], ['static', false, true, 'set up by the operator'],
    ['dat', false, true, 'on the Dat network'], ['new', false, true, 'new']
  ] as const) {
    assert.equal(way({ network, client, initiator: true }, local).text, want)
    assert.match(way({ network, client, initiator: true }, local).title, /This side opened/)
    assert.match(way({ network, client, initiator: false }, local).title, /The other side opened/)
  }
})
