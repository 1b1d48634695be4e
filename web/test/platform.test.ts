import assert from 'node:assert/strict'
import { test } from 'node:test'
import { platform, watch } from '../src/platform.js'

test('a page wakes at online, pageshow, and when it becomes visible, and sleeps at pagehide', () => {
  const document = Object.assign(new EventTarget(), { hidden: true })
  const page = Object.assign(new EventTarget(), { document })
  const log: string[] = []
  const stop = watch(() => { log.push('wake') }, () => { log.push('sleep') }, page as never)
  page.dispatchEvent(new Event('online'))
  page.dispatchEvent(new Event('pagehide'))
  page.dispatchEvent(new Event('pageshow'))
  assert.deepEqual(log.splice(0), ['wake', 'sleep', 'wake'])
  document.dispatchEvent(new Event('visibilitychange'))
  assert.deepEqual(log, [])
  document.hidden = false
  document.dispatchEvent(new Event('visibilitychange'))
  assert.deepEqual(log.splice(0), ['wake'])
  stop()
  for (const type of ['online', 'pageshow', 'pagehide']) page.dispatchEvent(new Event(type))
  document.dispatchEvent(new Event('visibilitychange'))
  assert.deepEqual(log, [])
})

test('a Worker wakes at online; what has no events never does', () => {
  const worker = new EventTarget()
  let woken = 0
  const stop = watch(() => { woken++ }, () => assert.fail('a Worker is not left'), worker as never)
  worker.dispatchEvent(new Event('online'))
  stop()
  assert.equal(woken, 1)
  watch(() => { woken++ }, () => {}, {})()
  platform.watch(() => {}, () => {})()
})

test('the clock is that of the platform', async () => {
  const { clock } = platform
  const before = clock.now()
  const cancel = clock.after(0, () => assert.fail('it was cancelled'))
  cancel()
  await new Promise<void>(resolve => clock.after(1, resolve))
  assert.ok(clock.now() >= before)
  assert.ok(clock.random() < 1)
  assert.equal(platform.WebTransport, undefined)
})
