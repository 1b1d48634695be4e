import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Code } from 'swarmgate'
import type { NetworkStatus } from 'swarmgate'
import { explain } from '../explain.js'
import type { Facts } from '../explain.js'

const network = (n: Partial<NetworkStatus>): NetworkStatus => ({ name: 'dht', state: 'searching', found: 0, connecting: 0, refused: 0, code: 0, reason: '', ...n })
const facts = (f: Partial<Facts>, networks: NetworkStatus[] = [], known = 0): Facts =>
  ({ status: { known, more: false, connected: 0, networks }, peers: 0, joined: 60, ...f })

test('each cause has its answer', () => {
  for (const [name, given, tone, says] of [
    ['no status', { ...facts({}), status: undefined }, 'wait', /has not said anything/],
    ['just joined', facts({ joined: 2 }, [network({})]), 'wait', /Nobody was found yet/],
    ['nobody', facts({}, [network({})]), 'warn', /same to the letter/],
    ['no network', facts({ joined: 2 }), 'warn', /its own clients only/],
    ['connecting', facts({}, [network({ found: 1, connecting: 1 })], 1), 'wait', /is connecting/],
    ['known only', facts({}, [], 3), 'warn', /knows of 3 others/],
    ['unreachable only', facts({}, [network({ found: 2, refused: 2 })], 2), 'bad', /reached none/],
    ['there', facts({ peers: 1 }, [], 1), 'good', /1 peer is here/]
  ] as const) {
    const [first] = explain(given)
    assert.equal(first!.tone, tone, name)
    assert.match(first!.text, says, name)
  }
})

test('each state of a network has its answer', () => {
  for (const [n, tone, says, todo] of [
    [network({ state: 'starting' }), 'wait', /has not answered yet/, /log/],
    [network({ state: 'queued' }), 'wait', /waits for its turn/, undefined],
    [network({ state: 'failing', code: Code.PEER_UNREACHABLE }), 'bad', /No other host of the DHT/, /--dht-seed/],
    [network({ state: 'failing', code: Code.INTERNAL }), 'bad', /INTERNAL/, /log/],
    [network({ name: 'lan', state: 'failing', code: Code.INTERNAL }), 'bad', /last attempt failed/, /--lan-interface/],
    [network({ state: 'ended', code: Code.SHUTDOWN }), 'bad', /gave up \(SHUTDOWN\)/, /Join again/],
    [network({ state: 'unknown' }), 'wait', /does not know/, undefined],
    [network({ found: 2 }), 'good', /2 found\./, undefined],
    [network({ found: 3, refused: 1, connecting: 1, code: Code.PEER_UNREACHABLE }), 'good', /3 found, 1 connecting, 1 not reached/, /no answer/],
    [network({ found: 1, refused: 1, code: Code.FORBIDDEN }), 'bad', /The one peer that it found could not be reached.*must not dial/, /--dial-allow/],
    [network({ found: 2, refused: 2, code: 0x77 }), 'bad', /All 2 peers.*0x77/, /api\/topics/],
    [network({ name: 'new' }), 'wait', /has found nobody so far/, undefined],
    [network({ reason: 'open its port' }), 'wait', /has found nobody so far/, /^The gateway says: open its port\.$/],
    [network({ found: 1, reason: 'open its port' }), 'warn', /1 found/, /open its port/],
    [network({ name: 'client', state: 'ended', code: Code.FORBIDDEN, reason: '--no-connect-clients' }), 'warn', /kept apart/, /--no-connect-clients/]
  ] as const) {
    const found = explain(facts({}, [n]))[1]!
    assert.equal(found.tone, tone, JSON.stringify(n))
    assert.match(found.text, says, JSON.stringify(n))
    if (todo) assert.match(found.todo ?? '', todo, JSON.stringify(n))
    else assert.equal(found.todo, undefined, JSON.stringify(n))
  }
})

test('every code of the registry can be told', () => {
  for (const code of Object.values(Code)) {
    const [, found] = explain(facts({}, [network({ found: 1, refused: 1, code })]))
    assert.ok(found!.text.length > 20 && found!.todo, `0x${code.toString(16)}`)
  }
})
