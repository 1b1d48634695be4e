// The module as it is published.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'

const dist = new URL('../dist/', import.meta.url)
const file = new URL('swarmgate.js', dist)
const source = readFileSync(file, 'utf8')

test('it has 10,000 bytes at most, minified and gzipped', () => {
  const size = gzipSync(source, { level: 9 }).length
  assert.ok(size <= 10_000, `${size} bytes`)
})

test('it can be loaded where there is neither window nor document, and exports what is documented', async () => {
  const module = await import(file.href)
  assert.deepEqual(Object.keys(module).sort(), ['Code', 'SwarmError', 'codeName', 'connect', 'topicFromName'])
  assert.equal(String(new module.SwarmError(module.Code.BUSY, 'no room', { remote: true })), 'SwarmError: BUSY (remote): no room')
  assert.equal(String(new module.SwarmError(0x1234)), 'SwarmError: 0x1234')
  await assert.rejects(module.connect('http://gate.example'), TypeError)
})

test('it loads nothing else', () => {
  assert.doesNotMatch(source, /\bimport\b|https?:\/\//)
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

test('the entry for React has 1,000 bytes at most, and imports nothing but React', () => {
  const react = readFileSync(new URL('react.js', dist), 'utf8')
  const size = gzipSync(react, { level: 9 }).length
  assert.ok(size <= 1000, `${size} bytes`)
  assert.deepEqual(react.match(/from ?"[^"]*"/g)?.map(s => s.replace(' ', '')), ['from"react"'])
  assert.match(react, /export\{\w+ as useTopic\}/)
})

test('types tell nothing that is not public', () => {
  const files = readdirSync(new URL('types/', dist)).sort()
  assert.deepEqual(files, ['api.d.ts', 'codes.d.ts', 'connect.d.ts', 'errors.d.ts', 'index.d.ts', 'key.d.ts', 'messages.d.ts', 'react.d.ts', 'shared.d.ts', 'url.d.ts'])
})
