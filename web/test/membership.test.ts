import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Membership } from '../src/membership.js'

// j: JOIN is sent. J: JOINED comes. l: LEAVE is sent. L: LEFT comes, and is not the last word. E: it
// is.
for (const [name, steps] of [
  ['joined and left', 'jJlE'],
  ['refused', 'jE'],
  ['taken away', 'jJE'],
  ['joined twice, taken away', 'jjJJE'],
  ['left and joined anew before the answer', 'jJljLJ'],
  ['left and joined anew, and the gateway refuses', 'jJljLE'],
  ['left at once', 'jlJE'],
  ['two JOINs, both refused', 'jjLE'],
  ['a JOIN that crosses the end', 'jJjLJE'],
  ['JOINED that nobody asked for', 'jJJE']
] as const) {
  test(`membership: ${name}`, async () => {
    const m = new Membership<string>()
    for (const [i, step] of [...steps].entries()) {
      if (step === 'j') m.asked('it')
      else if (step === 'J') m.taken()
      else if (step === 'l') m.topic = undefined
      else {
        const { gone } = m
        assert.equal(m.left(), step === 'E', `${steps.slice(0, i)}: LEFT`)
        await gone
      }
    }
  })
}
