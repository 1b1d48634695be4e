import assert from 'node:assert/strict'
import { test } from 'node:test'
import { platform, wakes } from '../src/platform.js'

test('a page wakes at online, pageshow, and when it becomes visible', () => {
  const document = Object.assign(new EventTarget(), { visibilityState: 'hidden' })
  const page = Object.assign(new EventTarget(), { document })
  let woken = 0
  const stop = wakes(page as never, () => { woken++ })
  page.dispatchEvent(new Event('online'))
  page.dispatchEvent(new Event('pageshow'))
  assert.equal(woken, 2)
  document.dispatchEvent(new Event('visibilitychange'))
  assert.equal(woken, 2)
  document.visibilityState = 'visible'
  document.dispatchEvent(new Event('visibilitychange'))
  assert.equal(woken, 3)
  stop()
  for (const [target, type] of [[page, 'online'], [page, 'pageshow'], [document, 'visibilitychange']] as const) target.dispatchEvent(new Event(type))
  assert.equal(woken, 3)
})

test('a Worker wakes at online; what has no events never does', () => {
  const worker = new EventTarget()
  let woken = 0
  const stop = wakes(worker as never, () => { woken++ })
  worker.dispatchEvent(new Event('online'))
  stop()
  assert.equal(woken, 1)
  wakes({}, () => { woken++ })()
  platform.wakes(() => {})()
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
