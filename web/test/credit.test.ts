import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { Account, BUDGET, Budget, MAX_CIRCUITS, RESERVE } from '../src/credit.js'

const KiB = 1024
const MiB = 1024 * KiB

test('the numbers', () => {
  assert.deepEqual([BUDGET, MAX_CIRCUITS, RESERVE, new Budget().free], [12 * MiB, 256, 32 * KiB, 4 * MiB])
})

test('there are 256 places', () => {
  const b = new Budget()
  const accounts = Array.from({ length: MAX_CIRCUITS }, () => b.open(0)!)
  assert.ok(accounts.every(a => a instanceof Account))
  assert.equal(b.open(0), undefined)
  b.close(accounts[7]!)
  b.close(accounts[7]!)
  assert.equal(b.circuits, MAX_CIRCUITS - 1)
  assert.ok(b.open(0))
  assert.equal(b.open(0), undefined)
})

describe('grants', () => {
  const rtt = 100
  /**
   * A step reads `n` bytes `at` ms after the last grant, and expects the offset that is granted
   * then, 0 for none.
   */
  type Step = [n: number, at: number, want: number]
  const table: Array<[name: string, total: number, rtt: number, steps: Step[]]> = [
    ['less than a quarter', BUDGET, rtt, [[8 * KiB - 1, 0, 0], [1, 0, (8 + 64) * KiB]]],
    ['read slowly, the window stays', BUDGET, rtt, [[8 * KiB, rtt + 1, 40 * KiB], [8 * KiB - 1, 1e9, 0], [1, 1e9, 48 * KiB]]],
    ['read within a round trip, it doubles', BUDGET, rtt, [
      [8 * KiB, rtt, (8 + 64) * KiB], [16 * KiB, rtt, (24 + 128) * KiB], [32 * KiB, rtt, (56 + 256) * KiB], [64 * KiB, rtt + 1, (120 + 256) * KiB]
    ]],
    ['a short path has 5 ms', BUDGET, 0.1, [[8 * KiB, 5, (8 + 64) * KiB], [16 * KiB, 5.1, (24 + 64) * KiB]]],
    ['all of it at once', BUDGET, rtt, [[32 * KiB, 0, (32 + 64) * KiB]]],
    ['up to half of the pool', BUDGET, rtt, [
      [32 * KiB, 0, 96 * KiB], [64 * KiB, 0, 224 * KiB], [128 * KiB, 0, 480 * KiB], [256 * KiB, 0, 992 * KiB], [512 * KiB, 0, 2016 * KiB],
      [1024 * KiB, 0, (2016 + 2048) * KiB], [2048 * KiB, 0, (4064 + 2080) * KiB], [2080 * KiB, 0, (6144 + 2080) * KiB]
    ]],
    ['up to 4 MiB', 64 * MiB, rtt, [
      [32 * KiB, 0, 96 * KiB], [64 * KiB, 0, 224 * KiB], [128 * KiB, 0, 480 * KiB], [256 * KiB, 0, 992 * KiB], [512 * KiB, 0, 2016 * KiB],
      [1 * MiB, 0, 4064 * KiB], [2 * MiB, 0, (4064 + 4096) * KiB], [4 * MiB, 0, (8160 + 4096) * KiB]
    ]]
  ]
  for (const [name, total, rtt, steps] of table) {
    test(name, () => {
      const b = new Budget(total)
      const a = b.open(0)!
      for (const [i, [n, at, want]] of steps.entries()) {
        assert.ok(a.count(n), `step ${i}: ${a.read} read, ${a.granted} granted`)
        const got = b.grant(a, a.since + at, rtt) ? a.granted : 0
        assert.equal(got, want, `step ${i}: ${a.read} read of window ${a.window}`)
      }
      const pool = b.free + a.window - RESERVE
      b.close(a)
      assert.equal(b.free, pool)
    })
  }

  test('none beyond credit, and none after the end', () => {
    const b = new Budget()
    const a = b.open(0)!
    assert.ok(a.count(32 * KiB))
    assert.ok(!a.count(1))
    b.close(a)
    assert.ok(!b.grant(a, 0, rtt))
  })

  test('a circuit that was alone gives back what others need, and one that is not read keeps what was granted', () => {
    const b = new Budget(16 * MiB) // the pool has 8 MiB
    const accounts = Array.from({ length: 7 }, () => b.open(0)!)
    const grow = (a: Account) => {
      for (let i = 0; i < 64; i++) {
        assert.ok(a.count(Math.floor(a.window / 4)))
        b.grant(a, a.since, 0)
      }
    }
    grow(accounts[0]!)
    const alone = accounts[0]!.window
    assert.equal(alone, 4 * MiB)
    for (let i = 0; i < 64; i++) accounts.slice(1).forEach(grow)
    assert.equal(accounts[0]!.window, alone)
    for (let i = 0; i < 64; i++) accounts.forEach(grow)
    for (const [i, a] of accounts.entries()) { // n circuits and the next one have a share of the pool each
      const got = (a.window - RESERVE) / MiB
      assert.ok(got > 0.99 && got < 1.01, `circuit ${i} has ${got} MiB of the pool`)
    }
  })
})

test('whatever is opened, read and closed: the sum fits, reserves stay, offsets rise', () => {
  const op = fc.oneof(
    { weight: 2, arbitrary: fc.constant({ do: 'open' as const }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const), of: fc.nat() }) },
    { weight: 17, arbitrary: fc.record({ do: fc.constant('read' as const), of: fc.nat(), share: fc.double({ min: 0, max: 1, noNaN: true }), after: fc.nat(12), rtt: fc.nat(12) }) }
  )
  fc.assert(fc.property(fc.integer({ min: 8 * MiB, max: 64 * MiB }), fc.array(op, { minLength: 1, maxLength: 800, size: 'max' }), (total, ops) => {
    const b = new Budget(total)
    const pool = b.free
    const accounts: Account[] = []
    let now = 0
    for (const o of ops) {
      if (o.do === 'open') {
        const a = b.open(now)
        assert.equal(a !== undefined, accounts.length < MAX_CIRCUITS)
        if (a) accounts.push(a)
      } else if (accounts.length > 0) {
        const a = accounts[o.of % accounts.length]!
        if (o.do === 'close') {
          b.close(a)
          accounts.splice(accounts.indexOf(a), 1)
        } else {
          now += o.after
          const before = a.granted
          assert.ok(a.count(Math.floor((a.granted - a.read) * o.share)))
          const granted = b.grant(a, now, o.rtt)
          assert.ok(granted ? a.granted - before >= a.window / 4 : a.granted === before, 'offsets rise by a quarter of the window, or stay')
        }
      }
      let unread = 0
      let windows = 0
      for (const a of accounts) {
        unread += a.granted - a.read
        windows += a.window
        assert.ok(a.granted - a.read <= a.window)
        assert.ok(a.window >= RESERVE && a.window <= 4 * MiB && Number.isInteger(a.window))
      }
      assert.ok(unread + (MAX_CIRCUITS - accounts.length) * RESERVE <= total, 'what is granted and the reserve of who may come fit')
      assert.ok(b.free >= 0)
      assert.equal(b.free, pool - (windows - accounts.length * RESERVE))
    }
    for (const a of accounts) b.close(a)
    assert.deepEqual([b.free, b.circuits], [pool, 0])
  }), { numRuns: 100 })
})
