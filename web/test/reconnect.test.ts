// docs/PROTOCOL.md, Coming back: every row and rule.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Code } from '../src/codes.js'
import { SwarmError } from '../src/errors.js'
import { Reconnect, delay } from '../src/reconnect.js'
import { FakeClock } from './clock.js'

/** A state machine whose sessions are names: the gateway's letter and a number that rises. */
function machine (gateways: number) {
  const clock = new FakeClock()
  const log: string[] = []
  let made = 0
  const r = new Reconnect<string>(gateways, {
    dial (gateway) {
      const name = 'abcdef'[gateway]! + ++made
      log.push(`dial ${name}`)
      return name
    },
    drop: s => { log.push(`drop ${s}`) },
    adopt: (s, gateway) => {
      assert.equal(s[0], 'abcdef'[gateway])
      log.push(`adopt ${s}`)
    },
    retire: s => { log.push(`retire ${s}`) },
    disconnected: e => { log.push(`disconnected ${e.reason}`) },
    reconnecting: w => { log.push(`reconnecting ${w.attempt} in ${w.delay} ${w.error.reason}`) },
    connected: gateway => { log.push(`connected ${'abcdef'[gateway]}`) },
    closed: e => { log.push(`closed ${e.reason}`) }
  }, clock)
  /** Compares what was done since the last call. */
  const did = (...want: string[]) => assert.deepEqual(log.splice(0), want)
  return { r, clock, did }
}

const loss = new SwarmError(Code.PEER_GONE, 'loss')
const permanent = [Code.PROTOCOL, Code.TOO_LARGE, Code.VERSION, Code.UNAUTHORIZED, Code.FORBIDDEN, Code.TOKEN_EXPIRED, Code.REPLACED]

/** A machine that is connected to its first gateway, with session a1. */
function connected (gateways = 1) {
  const m = machine(gateways)
  m.r.start()
  m.r.welcomed('a1')
  m.did('dial a1', 'adopt a1', 'connected a')
  return m
}

describe('connecting', () => {
  test('WELCOME: connected', () => {
    const { r, clock, did } = machine(1)
    assert.equal(r.state, 'connecting')
    r.start()
    did('dial a1')
    r.welcomed('a1')
    did('adopt a1', 'connected a')
    assert.equal(r.state, 'connected')
    assert.equal(clock.waiting, 0)
  })

  test('no answer within 10 s: waiting', () => {
    const { r, clock, did } = machine(1)
    r.start()
    clock.advance(9999)
    did('dial a1')
    clock.advance(1)
    did('drop a1', 'reconnecting 1 in 250 no gateway answered')
    assert.equal(r.state, 'waiting')
  })

  test('the timer of the attempt comes late: it has another 10 s', () => {
    const { r, clock, did } = machine(1)
    r.start()
    clock.sleep(11_001)
    did('dial a1')
    clock.advance(9999)
    assert.equal(r.state, 'connecting')
    clock.advance(1)
    did('drop a1', 'reconnecting 1 in 250 no gateway answered')
  })

  test('each ended the attempt: waiting', () => {
    const { r, did } = machine(2)
    r.start()
    r.ended('a1', loss)
    did('dial a1', 'dial b2')
    r.ended('b2', new SwarmError(Code.BUSY, 'busy'))
    did('reconnecting 1 in 250 busy')
    assert.equal(r.state, 'waiting')
  })

  for (const code of permanent) {
    test(`ended with code ${code}: closed`, () => {
      const { r, clock, did } = machine(1)
      r.start()
      r.ended('a1', new SwarmError(code, 'never'))
      did('dial a1', 'closed never')
      assert.equal(r.state, 'closed')
      assert.equal(clock.waiting, 0)
    })
  }

  test('a permanent code of one gateway does not matter where another one answers, and counts where none does', () => {
    for (const [answer, ...want] of [[true, 'adopt b2', 'connected b'], [false, 'closed never']] as const) {
      const { r, did } = machine(2)
      r.start()
      r.ended('a1', new SwarmError(Code.FORBIDDEN, 'never'))
      did('dial a1', 'dial b2')
      if (answer) r.welcomed('b2')
      else r.ended('b2', loss)
      did(...want)
    }
  })
})

describe('connected', () => {
  test('the session is lost: waiting, with events in order', () => {
    const { r, clock, did } = connected()
    r.ended('a1', loss)
    did('disconnected loss', 'reconnecting 1 in 250 loss')
    assert.equal(r.state, 'waiting')
    clock.advance(250)
    did('dial a2')
    r.welcomed('a2')
    did('adopt a2', 'connected a')
  })

  for (const code of permanent) {
    test(`the session ends with code ${code}: closed`, () => {
      const { r, clock, did } = connected(2)
      r.ended('a1', new SwarmError(code, 'never', { remote: true }))
      did('closed never')
      assert.equal(r.state, 'closed')
      assert.equal(clock.waiting, 0)
    })
  }

  test('other codes are a loss', () => {
    for (const code of Object.values(Code).filter(c => !permanent.some(p => p === c))) {
      const { r } = connected()
      r.ended('a1', new SwarmError(code, '', { remote: true }))
      assert.equal(r.state, 'waiting')
    }
  })

  test('GOAWAY of the only gateway changes nothing until the session ends; then the wait is no shorter than it says', () => {
    const { r, clock, did } = connected()
    r.goaway('a1', 5000)
    did()
    assert.equal(r.state, 'connected')
    clock.advance(1000)
    r.ended('a1', loss)
    did('disconnected loss', 'reconnecting 1 in 4000 loss')
    clock.advance(3999)
    r.nudge()
    did()
    clock.advance(1)
    did('dial a2')
  })

  test('GOAWAY with another gateway: connected, and moving', () => {
    const { r, clock, did } = connected(2)
    r.goaway('a1', 5000)
    did('dial b2')
    assert.equal(r.state, 'connected')
    r.heard('a1') // does not stop it
    r.welcomed('b2')
    did('adopt b2', 'retire a1')
    assert.equal(r.state, 'connected')
    assert.equal(clock.waiting, 0)
    r.ended('a1', loss) // what was retired does not matter
    r.goaway('a1', 1)
    did()
    r.ended('b2', loss)
    did('disconnected loss', 'reconnecting 1 in 250 loss')
    clock.advance(250)
    did('dial b3')
    clock.advance(500)
    did('dial a4')
  })

  test('where nobody else answers, moving is tried again, and ends with the session', () => {
    const { r, clock, did } = connected(2)
    r.goaway('a1', 60_000)
    r.ended('b2', new SwarmError(Code.FORBIDDEN, 'never'))
    did('dial b2')
    assert.equal(r.state, 'connected')
    clock.advance(250)
    did('dial b3')
    clock.advance(10_000)
    did('drop b3')
    clock.advance(499)
    did()
    clock.advance(1)
    did('dial b4')
    r.ended('b4', loss)
    r.ended('a1', loss)
    did('disconnected loss', 'reconnecting 1 in 2000 loss')
    clock.advance(2000)
    did('dial b5')
    clock.advance(500)
    did('dial a6') // because of its GOAWAY the last
  })

  test('the session is lost while another one is tried: it goes on', () => {
    const { r, did } = connected(2)
    r.goaway('a1', 5000)
    r.ended('a1', loss)
    did('dial b2', 'disconnected loss', 'reconnecting 1 in 0 loss')
    assert.equal(r.state, 'connecting')
    r.welcomed('b2')
    did('adopt b2', 'connected b')
  })

  test('REPLACED while another one is tried is a loss: two addresses may lead to one gateway', () => {
    const { r, did } = connected(2)
    r.goaway('a1', 5000)
    r.ended('a1', new SwarmError(Code.REPLACED, 'replaced'))
    did('dial b2', 'disconnected replaced', 'reconnecting 1 in 0 replaced')
  })
})

describe('silence', () => {
  test('with one gateway nothing happens', () => {
    const { r, clock, did } = connected()
    r.silent('a1')
    did()
    assert.equal(clock.waiting, 0)
  })

  test('another gateway is tried beside the session, and moved to when it answers', () => {
    const { r, did } = connected(2)
    r.silent('a1')
    did('dial b2')
    r.silent('a1')
    did()
    r.welcomed('b2')
    did('adopt b2', 'retire a1')
  })

  test('a frame of the session ends the attempt', () => {
    const { r, clock, did } = connected(3)
    r.silent('a1')
    clock.advance(500)
    did('dial b2', 'dial c3')
    r.heard('a1')
    did('drop b2', 'drop c3')
    assert.equal(clock.waiting, 0)
    r.welcomed('b2') // too late
    r.ended('c3', loss)
    did()
    r.silent('a1')
    did('dial b4')
  })

  test('a frame between two attempts ends it too', () => {
    const { r, clock, did } = connected(2)
    r.silent('a1')
    r.ended('b2', loss)
    r.heard('a1')
    did('dial b2')
    assert.equal(clock.waiting, 0)
  })

  test('GOAWAY during it: a frame ends nothing any more', () => {
    const { r, did } = connected(2)
    r.silent('a1')
    r.goaway('a1', 1000)
    r.heard('a1')
    r.welcomed('b2')
    did('dial b2', 'adopt b2', 'retire a1')
  })
})

describe('waiting', () => {
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

  test('delays rise in a row, attempts are numbered', () => {
    const { r, clock, did } = connected()
    r.ended('a1', loss)
    did('disconnected loss', 'reconnecting 1 in 250 loss')
    for (const [n, ms] of [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000].entries()) {
      clock.advance(ms - 1)
      did()
      clock.advance(1)
      did(`dial a${n + 2}`)
      r.ended(`a${n + 2}`, loss)
      did(`reconnecting ${n + 2} in ${[500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000][n]} loss`)
    }
  })

  test('a session that lived for 30 s begins the row anew, a shorter one does not', () => {
    for (const [lived, ms] of [[29_999, 1000], [30_000, 250]] as const) {
      const { r, clock, did } = connected()
      r.ended('a1', loss)
      clock.advance(250)
      r.ended('a2', loss)
      clock.advance(500)
      r.welcomed('a3')
      did('disconnected loss', 'reconnecting 1 in 250 loss', 'dial a2', 'reconnecting 2 in 500 loss', 'dial a3', 'adopt a3', 'connected a')
      clock.advance(lived)
      r.ended('a3', loss)
      did('disconnected loss', `reconnecting 1 in ${ms} loss`)
    }
  })

  test('one that lived for 30 s and was moved from does as well', () => {
    for (const [lived, ms] of [[29_000, 500], [30_000, 250]] as const) {
      const { r, clock, did } = connected(2)
      clock.advance(lived - 250)
      r.goaway('a1', 0)
      r.ended('b2', loss) // a wait of 250 ms
      clock.advance(250)
      r.welcomed('b3')
      did('dial b2', 'dial b3', 'adopt b3', 'retire a1')
      r.ended('b3', loss)
      did('disconnected loss', `reconnecting 1 in ${ms} loss`)
    }
  })

  test('something says that the network is back: connecting, at most once a second', () => {
    const { r, clock, did } = connected()
    r.nudge() // while connected it means nothing
    did()
    r.ended('a1', loss)
    r.nudge()
    did('disconnected loss', 'reconnecting 1 in 250 loss', 'dial a2')
    r.nudge()
    r.ended('a2', loss)
    clock.advance(499)
    r.nudge()
    did('reconnecting 2 in 500 loss')
    clock.advance(1)
    did('dial a3')
    r.ended('a3', loss)
    clock.advance(499)
    r.nudge()
    did('reconnecting 3 in 1000 loss')
    clock.advance(1)
    r.nudge()
    did('dial a4')
    clock.advance(9999)
    did() // the timer of the wait is gone
  })

  test('a late timer ends the wait all the same', () => {
    const { r, clock, did } = connected()
    r.ended('a1', loss)
    clock.sleep(1e6)
    did('disconnected loss', 'reconnecting 1 in 250 loss', 'dial a2')
  })
})

describe('several gateways', () => {
  test('the next one is tried beside after 500 ms; the first WELCOME wins', () => {
    const { r, clock, did } = machine(3)
    r.start()
    clock.advance(499)
    did('dial a1')
    clock.advance(1)
    did('dial b2')
    clock.advance(500)
    did('dial c3')
    r.welcomed('b2')
    did('drop a1', 'drop c3', 'adopt b2', 'connected b')
    assert.equal(clock.waiting, 0)
  })

  test('one that fails is followed at once, and the next by 500 ms', () => {
    const { r, clock, did } = machine(3)
    r.start()
    clock.advance(300)
    r.ended('a1', loss)
    did('dial a1', 'dial b2')
    clock.advance(499)
    did()
    clock.advance(1)
    did('dial c3')
    r.ended('b2', loss)
    assert.equal(r.state, 'connecting')
    r.welcomed('c3')
    did('adopt c3', 'connected c')
  })

  test('the limit is that of the whole attempt', () => {
    const { r, clock, did } = machine(2)
    r.start()
    clock.advance(10_000)
    did('dial a1', 'dial b2', 'drop a1', 'drop b2', 'reconnecting 1 in 250 no gateway answered')
  })

  test('what worked last comes first, and a gateway that said GOAWAY last', () => {
    const { r, clock, did } = machine(3)
    r.start()
    r.ended('a1', loss)
    r.welcomed('b2')
    r.goaway('b2', 5000)
    r.ended('a3', loss)
    r.ended('c4', loss)
    did('dial a1', 'dial b2', 'adopt b2', 'connected b', 'dial a3', 'dial c4')
    r.ended('b2', loss)
    did('disconnected loss', 'reconnecting 1 in 500 loss') // no longer: there are gateways that said nothing
    clock.advance(1500)
    did('dial a5', 'dial c6', 'dial b7')
    r.welcomed('b7')
    did('drop a5', 'drop c6', 'adopt b7', 'connected b')
    clock.advance(5000)
    r.ended('b7', loss)
    clock.advance(2000)
    did('disconnected loss', 'reconnecting 1 in 1000 loss', 'dial b8', 'dial a9', 'dial c10')
  })

  test('where all said GOAWAY, the wait is for the first that may be connected to again', () => {
    const { r, did } = connected(2)
    r.goaway('a1', 5000)
    r.welcomed('b2')
    r.goaway('b2', 3000)
    r.ended('a3', loss)
    r.ended('b2', loss)
    did('dial b2', 'adopt b2', 'retire a1', 'dial a3', 'disconnected loss', 'reconnecting 1 in 3000 loss')
  })
})

describe('closed', () => {
  test('nothing leaves it', () => {
    for (const closing of ['connecting', 'connected', 'moving', 'waiting']) {
      const { r, clock, did } = machine(2)
      r.start()
      if (closing !== 'connecting') r.welcomed('a1')
      if (closing === 'moving') r.goaway('a1', 10)
      if (closing === 'waiting') r.ended('a1', loss)
      r.close()
      r.close()
      did(...{
        connecting: ['dial a1', 'drop a1'],
        connected: ['dial a1', 'adopt a1', 'connected a'],
        moving: ['dial a1', 'adopt a1', 'connected a', 'dial b2', 'drop b2'],
        waiting: ['dial a1', 'adopt a1', 'connected a', 'disconnected loss', 'reconnecting 1 in 250 loss']
      }[closing]!)
      assert.equal(clock.waiting, 0)
      r.nudge()
      r.welcomed('a1')
      r.ended('a1', loss)
      r.goaway('a1', 1)
      r.silent('a1')
      r.heard('a1')
      clock.advance(1e6)
      did()
      assert.equal(r.state, 'closed')
    }
  })

  test('in an event it is the last one', () => {
    const clock = new FakeClock()
    const log: string[] = []
    const r: Reconnect<string> = new Reconnect<string>(1, {
      dial: () => 'a',
      drop: () => {},
      adopt: () => {},
      retire: () => {},
      disconnected: () => {
        log.push('disconnected')
        r.close()
      },
      reconnecting: () => { log.push('reconnecting') },
      connected: () => {},
      closed: () => { log.push('closed') }
    }, clock)
    r.start()
    r.welcomed('a')
    r.ended('a', loss)
    assert.deepEqual(log, ['disconnected'])
    assert.equal(clock.waiting, 0)
  })
})
