// node token.mjs chromium|firefox URL BRIEF GOOD: opens the console of a gateway that asks for
// tokens: BRIEF expires soon, GOOD does not. It ends with status 0 if the page asks for one, says
// why, and keeps it for its tab.
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { launch } from './launch.mjs'
import { shows, visitor } from './visitor.mjs'

const [browserName, url, brief, good] = process.argv.slice(2)
const dir = await mkdtemp(join(tmpdir(), 'swarmgate-console-'))
const browser = await launch(browserName, join(dir, 'profile'))

/** Gives the page a token. */
async function give (page, token) {
  await page.waitForSelector('#token', { timeout: 120_000 })
  await page.evaluate(() => { document.querySelector('#token').value = '' })
  await page.type('#token', token)
  await page.keyboard.press('Enter')
}

try {
  const page = await visitor(browser, 'Ann')
  await page.goto(url)
  await shows(page, '#trouble', 'asks for a token')
  await shows(page, '#phase', 'Disconnected')
  await give(page, 'wrong')
  await shows(page, '#trouble', 'not known here')
  await give(page, brief)
  await shows(page, '#trouble', 'has expired') // after a session, or at once on a slow machine
  await give(page, good)
  await shows(page, '#phase', 'Connected')
  await shows(page, '#log .note', 'You joined')
  assert.equal(await page.$eval('#trouble', e => e.checkVisibility()), false)
  await page.reload()
  await shows(page, '#phase', 'Connected') // it is kept
  const other = await visitor(browser, 'Bob')
  await other.goto(url)
  await shows(other, '#trouble', 'asks for a token') // for its tab
} finally {
  await browser.close()
  await rm(dir, { recursive: true, force: true })
}
