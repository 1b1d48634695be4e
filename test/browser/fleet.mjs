// node fleet.mjs URL URL: opens the console at the first URL in Chromium and at the second in
// Firefox. It ends with status 0 if they meet, and each is told what the other says.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { launch } from './launch.mjs'
import { shows, visitor } from './visitor.mjs'

const [first, second] = process.argv.slice(2)
const dir = await mkdtemp(join(tmpdir(), 'swarmgate-fleet-test-'))
const browsers = []

/** Opens a console for somebody in a browser of their own. */
async function open (browserName, name, url) {
  const browser = await launch(browserName, join(dir, browserName))
  browsers.push(browser)
  const page = await visitor(browser, name)
  await page.goto(url)
  return page
}

async function say (page, text) {
  await page.type('#text', text)
  await page.keyboard.press('Enter')
}

try {
  const ann = await open('chromium', 'Ann', first)
  const bob = await open('firefox', 'Bob', second)
  await shows(ann, '.peer-name', 'Bob')
  await shows(bob, '.peer-name', 'Ann')
  await say(ann, 'hello from Chromium')
  await shows(bob, '#log .theirs .text', 'hello from Chromium')
  await say(bob, 'hello from Firefox')
  await shows(ann, '#log .theirs .text', 'hello from Firefox')
} finally {
  for (const browser of browsers) await browser.close()
  await rm(dir, { recursive: true, force: true })
}
