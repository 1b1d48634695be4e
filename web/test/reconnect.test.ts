// docs/PROTOCOL.md, Coming back: the traces that every client follows, and what the web client has
// beyond them.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { Code, codeName } from '../src/codes.js'
import { SwarmError } from '../src/errors.js'
import { Reconnect, delay } from '../src/reconnect.js'
import { FakeClock } from './clock.js'

/** A step of a trace, and where the machine is after it: see the README beside the file. */
interface Step { at: number, do: string, tries?: string, next?: number, told?: string[], closed?: string }

const { traces } = JSON.parse(readFileSync(new URL('../../wtproto/testdata/machines/reconnect.json', import.meta.url), 'utf8')) as
  { traces: Array<{ name: string, gateways: string, renews?: boolean, steps: Step[] }> }

/** A state machine whose sessions are names: the gateway's letter and a number that rises. */
function machine (gateways: number, renews = false) {
  const clock = new FakeClock()
  const log: string[] = []
  const trying: string[] = []
  let made = 0
  let current = ''
  let closed: string | undefined
  const r = new Reconnect<string>(gateways, renews, {
    dial (gateway) {
      const name = 'abcdef'[gateway]! + ++made
      trying.push(name)
      return name
    },
    drop: s => {
      assert.ok(trying.includes(s), `${s} was dropped`)
      trying.splice(trying.indexOf(s), 1)
    },
    connected: (s, gateway) => {
      assert.equal(s[0], 'abcdef'[gateway])
      current = s
      log.push(`connected ${s[0]}`)
    },
    disconnected: e => { log.push(`disconnected ${codeName(e.code)}`) },
    reconnecting: w => { log.push(`reconnecting ${w.attempt} ${w.delay} ${codeName(w.error.code)}`) },
    closed: e => { closed = codeName(e.code) }
  }, clock)
  const error = (name: string) => new SwarmError(Code[name as keyof typeof Code], '', { remote: true })
  /** The session that a gateway's letter stands for, which is not tried any more. */
  const end = (gateway: string) => {
    const s = trying.find(s => s[0] === gateway)
    assert.ok(s, `${gateway} is not tried`)
    trying.splice(trying.indexOf(s), 1)
    return s
  }
  const acts: Record<string, (a: string, b: string) => void> = {
    start: () => r.start(),
    welcome: a => r.welcomed(end(a)),
    fail: (a, code) => r.ended(end(a), error(code)),
    lost: code => r.ended(current, error(code)),
    goaway: ms => r.goaway(current, 'abcdef'.indexOf(current[0]!), Number(ms)),
    rest: (a, ms) => r.goaway(`${a}-left`, 'abcdef'.indexOf(a), Number(ms)),
    silent: () => r.silent(current),
    heard: () => r.heard(current),
    nudge: () => r.nudge(),
    tick: () => {}
  }
  /** Takes a step, and returns where the machine is after it. */
  const take = (step: Step): Step => {
    if (step.do !== 'tick') assert.ok(!(clock.next <= step.at - 1), `at ${step.at} a timer is due since ${clock.next}`)
    clock.sleep(step.at - clock.now())
    const [what, a = '', b = ''] = step.do.split(' ')
    acts[what!]!(a, b)
    const tries = trying.map(s => s[0]).sort().join('')
    const told = log.splice(0)
    return {
      at: step.at,
      do: step.do,
      ...tries !== '' && { tries },
      ...clock.next < Infinity && { next: clock.next },
      ...told.length > 0 && { told },
      ...closed !== undefined && { closed }
    }
  }
  const follow = (steps: Step[]) => { for (const step of steps) assert.deepEqual(take(step), step) }
  return { r, clock, take, follow }
}

describe('traces', () => {
  for (const { name, gateways, renews, steps } of traces) test(name, () => machine(gateways.length, renews).follow(steps))
})

/** A machine that is connected to its first gateway. */
function connected (gateways = 1) {
  const m = machine(gateways)
  m.take({ at: 0, do: 'start' })
  m.take({ at: 0, do: 'welcome a' })
  return m
}

test('the states', () => {
  const { r, take } = machine(2)
  assert.equal(r.state, 'connecting')
  for (const [at, what, state] of [
    [0, 'start', 'connecting'], [0, 'welcome a', 'connected'], [1, 'goaway 9000', 'connected'], [2, 'fail b BUSY', 'connected'],
    [3, 'lost SHUTDOWN', 'waiting'], [1000, 'tick', 'connecting'], [1000, 'fail b BUSY', 'waiting'], [2000, 'tick', 'connecting'],
    [2001, 'welcome b', 'connected'], [3000, 'lost FORBIDDEN', 'closed']
  ] as const) {
    take({ at, do: what })
    assert.equal(r.state, state, `after ${what} at ${at}`)
  }
})

test('the delays: between half and the whole of 500 ms × 2^n, 30 s at most', () => {
  const clock = new FakeClock()
  const delays = (chance: number) => {
    clock.chance = chance
    return Array.from({ length: 8 }, (_, n) => delay(n, clock))
  }
  assert.deepEqual(delays(0), [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000])
  assert.deepEqual(delays(1), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  assert.equal(delay(100_000, clock), 30_000)
})

describe('something says that the network is back', () => {
  test('a wait ends, at most once a second', () => {
    connected().follow([
      { at: 0, do: 'nudge' },
      { at: 0, do: 'lost BUSY', next: 250, told: ['disconnected BUSY', 'reconnecting 1 250 BUSY'] },
      { at: 1, do: 'nudge', tries: 'a', next: 10_001 },
      { at: 2, do: 'nudge', tries: 'a', next: 10_001 },
      { at: 3, do: 'fail a BUSY', next: 503, told: ['reconnecting 2 500 BUSY'] },
      { at: 502, do: 'nudge', next: 503 },
      { at: 503, do: 'tick', tries: 'a', next: 10_503 },
      { at: 503, do: 'fail a BUSY', next: 1503, told: ['reconnecting 3 1000 BUSY'] },
      { at: 1000, do: 'nudge', next: 1503 },
      { at: 1001, do: 'nudge', tries: 'a', next: 11_001 }
    ])
  })

  test('a gateway that wants to be left alone is', () => {
    connected().follow([
      { at: 0, do: 'goaway 5000' },
      { at: 1, do: 'lost SHUTDOWN', next: 5000, told: ['disconnected SHUTDOWN', 'reconnecting 1 4999 SHUTDOWN'] },
      { at: 4000, do: 'nudge', next: 5000 }
    ])
  })
})

test('nothing leaves closed', () => {
  for (const steps of [['start'], ['start', 'welcome a'], ['start', 'welcome a', 'goaway 10'], ['start', 'welcome a', 'lost BUSY']]) {
    const { r, clock, take } = machine(2)
    for (const step of steps) take({ at: 0, do: step })
    r.close()
    r.close()
    for (const step of ['nudge', 'goaway 1', 'silent', 'heard', 'lost BUSY', 'tick']) {
      assert.deepEqual(take({ at: 1000, do: step }), { at: 1000, do: step })
    }
    assert.deepEqual([r.state, clock.waiting], ['closed', 0])
  }
})

test('what comes of a session that was left does not matter', () => {
  const m = connected(2)
  m.take({ at: 1, do: 'goaway 5000' })
  m.take({ at: 2, do: 'welcome b' })
  m.r.ended('a1', new SwarmError(Code.BUSY))
  m.r.goaway('a1', 0, 1)
  m.r.silent('a1')
  m.r.heard('a1')
  m.r.welcomed('a1')
  assert.deepEqual(m.take({ at: 3, do: 'tick' }), { at: 3, do: 'tick' })
  assert.equal(m.r.state, 'connected')
})

test('closed in an event, that is the last one', () => {
  const clock = new FakeClock()
  const log: string[] = []
  const r: Reconnect<string> = new Reconnect<string>(1, false, {
    dial: () => 'a',
    drop: () => {},
    connected: () => {},
    disconnected: () => {
      log.push('disconnected')
      r.close()
    },
    reconnecting: () => { log.push('reconnecting') },
    closed: () => { log.push('closed') }
  }, clock)
  r.start()
  r.welcomed('a')
  r.ended('a', new SwarmError(Code.BUSY))
  assert.deepEqual([log, clock.waiting], [['disconnected'], 0])
})
