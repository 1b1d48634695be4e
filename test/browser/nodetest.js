// As much of node:test and node:assert/strict as vectors and fuzz need in a browser.
const tests = []
let prefix = ''

export function describe (name, f) {
  prefix = `${name}: `
  f()
  prefix = ''
}

export function test (name, f) { tests.push([prefix + name, f]) }

/** Runs all tests, and returns how many have passed and what the others say. */
export async function run () {
  const failed = []
  for (const [name, f] of tests) {
    try {
      await f()
    } catch (e) {
      failed.push(`${name}: ${e.stack ?? e}`)
    }
  }
  return { passed: tests.length - failed.length, failed }
}

const show = x => JSON.stringify(x, (_, v) => typeof v === 'bigint' ? `${v}n` : v)

function fail (message, what) { throw new Error(message === undefined ? what : `${message}: ${what}`) }

/** Whether two values are the same all through: of one class, with the same members. */
function same (a, b) {
  if (Object.is(a, b)) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false
  const keys = Object.keys(a)
  return keys.length === Object.keys(b).length && keys.every(k => Object.hasOwn(b, k) && same(a[k], b[k]))
}

const assert = {
  ok (x, message) { if (!x) fail(message, `${show(x)} is not true`) },
  equal (a, b, message) { if (!Object.is(a, b)) fail(message, `${show(a)} is not ${show(b)}`) },
  deepEqual (a, b, message) { if (!same(a, b)) fail(message, `${show(a)} is not like ${show(b)}`) },
  match (s, pattern) { if (!pattern.test(s)) fail(undefined, `${show(s)} is not like ${pattern}`) },
  fail (message) { fail(message, 'it has failed') },
  throws (f, pattern) {
    let thrown
    try {
      f()
    } catch (e) {
      thrown = e
    }
    if (thrown === undefined) fail(undefined, `${f} does not throw`)
    assert.match(String(thrown), pattern)
  }
}

export default assert

test('these assertions fail where they have to', () => {
  const wrong = [
    () => assert.ok(0),
    () => assert.equal(1, 2),
    () => assert.deepEqual({ a: [1] }, { a: [2] }),
    () => assert.deepEqual(Uint8Array.of(1, 2), Uint8Array.of(1, 3)),
    () => assert.deepEqual([1], Uint8Array.of(1)),
    () => assert.deepEqual({ a: undefined }, { b: undefined }),
    () => assert.match('0g', /^[0-9a-f]+$/),
    () => assert.fail('on purpose'),
    () => assert.throws(() => {}, /./),
    () => assert.throws(() => { throw new Error('one') }, /another/)
  ]
  const passed = wrong.filter(f => {
    try {
      f()
      return true
    } catch {
      return false
    }
  })
  if (passed.length > 0) throw new Error(`they pass: ${passed.join(', ')}`)
})
