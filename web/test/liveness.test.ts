import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Liveness } from '../src/liveness.js'

/**
 * A check at a time, with or without circuits or because the page is back, or a frame that comes;
 * what it finds and when it wants to look again.
 */
type Step = [at: number, what: 'circuits' | 'none' | 'back' | 'frame', sign?: string, deadline?: number]

const table: Array<[name: string, steps: Step[]]> = [
  ['with circuits: asked after 2 s, silent 3 s later, lost after 25 s', [
    [0, 'circuits', 'alive', 2000], [2000, 'circuits', 'quiet', 4000], [4000, 'circuits', 'alive', 5000], [5000, 'circuits', 'silent', 7000],
    [7000, 'circuits', 'alive', 9000], [9000, 'circuits', 'alive', 11000], [11000, 'circuits', 'alive', 13000],
    [13000, 'circuits', 'alive', 15000], [15000, 'circuits', 'alive', 17000], [17000, 'circuits', 'alive', 19000],
    [19000, 'circuits', 'alive', 21000], [21000, 'circuits', 'alive', 23000], [23000, 'circuits', 'alive', 25000], [25000, 'circuits', 'lost']
  ]],
  ['without circuits: asked after 15 s, never silent, lost after 25 s', [
    [0, 'none', 'alive', 15000], [15000, 'none', 'quiet', 25000], [18000, 'none', 'alive', 25000], [25000, 'none', 'lost']
  ]],
  ['one PING until something comes', [
    [0, 'circuits', 'alive', 2000], [2000, 'circuits', 'quiet', 4000], [2500, 'circuits', 'alive', 4500], [2600, 'frame'],
    [4500, 'circuits', 'alive', 4600], [4600, 'circuits', 'quiet', 6600]
  ]],
  ['a frame puts it off', [
    [0, 'circuits', 'alive', 2000], [1500, 'frame'], [2000, 'circuits', 'alive', 3500], [3400, 'frame'], [3500, 'circuits', 'alive', 5400]
  ]],
  ['the first circuit shortens the patience', [[0, 'none', 'alive', 15000], [9000, 'circuits', 'quiet', 11000], [11000, 'circuits', 'alive', 12000]]],
  ['a late timer proves nothing: the wait begins anew', [
    [0, 'circuits', 'alive', 2000], [3001, 'circuits', 'alive', 5001], [5001, 'circuits', 'quiet', 7001],
    [60_000, 'circuits', 'alive', 62_000], [62_000, 'circuits', 'quiet', 64_000], [64_000, 'circuits', 'alive', 65_000],
    [66_000, 'circuits', 'silent', 68_000], [68_000, 'circuits', 'alive', 70_000], [87_000, 'circuits', 'alive', 89_000]
  ]],
  ['a page that is back asks at once, and not again before an answer', [
    [0, 'none', 'alive', 15_000], [3000, 'back', 'quiet', 18_000], [4000, 'back', 'alive', 19_000], [4500, 'frame'], [4600, 'back', 'quiet', 19_600],
    [20_000, 'none', 'alive', 29_500], [29_500, 'none', 'lost']
  ]],
  ['a page that is back late asks anew', [[0, 'none', 'alive', 15_000], [3_600_000, 'back', 'quiet', 3_615_000]]],
  ['one that is not more than 1 s late counts', [[0, 'circuits', 'alive', 2000], [3000, 'circuits', 'quiet', 5000]]],
  ['after silence that ended it may be silent again', [
    [0, 'circuits', 'alive', 2000], [2000, 'circuits', 'quiet', 4000], [4000, 'circuits', 'alive', 5000], [5000, 'circuits', 'silent', 7000],
    [5500, 'frame'], [7000, 'circuits', 'alive', 7500], [7500, 'circuits', 'quiet', 9500], [9500, 'circuits', 'alive', 10500],
    [10500, 'circuits', 'silent', 12500]
  ]]
]

for (const [name, steps] of table) {
  test(name, () => {
    const life = new Liveness(0)
    for (const [at, what, sign, deadline] of steps) {
      if (what === 'frame') {
        life.hear(at)
        continue
      }
      assert.equal(life.check(at, what === 'circuits', what === 'back'), sign, `at ${at}`)
      if (sign !== 'lost') assert.equal(life.deadline, deadline, `deadline at ${at}`)
    }
  })
}
