// node console.mjs chromium|firefox URL: opens the console of a demo at URL in two pages of a headless browser and looks at what they
// show. It ends with status 0 if all is as it should be.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { launch } from './launch.mjs'
import { saved, shows, visitor } from './visitor.mjs'

const [browserName, url] = process.argv.slice(2)
const { origin, hostname } = new URL(url)
const patience = { timeout: 60_000, polling: 100 }
const dir = await mkdtemp(join(tmpdir(), 'swarmgate-console-'))
const browser = await launch(browserName, join(dir, 'profile'))

/** Opens the console for somebody. */
async function open (name) {
  const page = await visitor(browser, name)
  page.on('request', r => assert.ok(/^(data|blob):/.test(r.url()) || new URL(r.url()).hostname === hostname, `${r.url()} is another host`))
  await page.goto(url)
  return page
}

try {
  const ann = await open('Ann')
  await shows(ann, '#phase', 'Connected')
  await shows(ann, '.peer .chip', 'native peer')
  await shows(ann, '.raw-line.in .raw-text', 'Do you echo?') // the demo's peer was sent a line, and it came back
  await shows(ann, '#why-short', 'You are connected')
  await ann.evaluate(() => [...document.querySelectorAll('.raw button')].find(b => b.textContent === 'Echo test').click())
  await shows(ann, '.raw-result', 'All came back unchanged')

  for (let n = 2; n <= 3; n++) { // whoever joins again finds the same peers again
    await ann.click('#join-button')
    await ann.waitForFunction(n => document.querySelectorAll('#log .note').length === n, patience, n)
    await shows(ann, '.peer:not(.gone) .raw-line.in .raw-text', 'Do you echo?')
  }

  const bob = await open('Bob')
  await shows(bob, '.peer-name', 'Ann')
  await ann.bringToFront()
  await shows(ann, '.peer-name', 'Bob')
  await shows(ann, '#peer-count', '2')

  const html = '<b>bold</b> <img src=x onerror="document.title=1">'
  await bob.bringToFront()
  await bob.type('#text', html)
  await bob.keyboard.press('Enter')
  await ann.bringToFront()
  await shows(ann, '#log .theirs .text', html)
  assert.equal(await ann.evaluate(() => document.querySelectorAll('#log b, #log img').length), 0, 'what a peer says is text')

  const data = Buffer.alloc(24_000_001, 'swarmgate')
  await writeFile(join(dir, 'a recording.bin'), data)
  await bob.bringToFront()
  await (await bob.$('#files')).uploadFile(join(dir, 'a recording.bin'))
  await ann.bringToFront()
  await shows(ann, '.file-name', 'a recording.bin')
  await ann.click('.file .primary')
  assert.deepEqual(await saved(ann), { size: data.length, hash: createHash('sha256').update(data).digest('hex') })
  await bob.bringToFront()
  await shows(bob, '.file [data-state=done]', 'saved')

  await ann.bringToFront()
  await ann.setViewport({ width: 400, height: 860 })
  const [wide, room] = await ann.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth])
  assert.ok(room <= 400 && wide <= room, `${wide} pixels on a phone of ${room}`)

  await bob.close()
  await shows(ann, '#peer-count', '1')
  await shows(ann, '#log .note', 'Bob is gone')

  const lonely = `nobody <i>is</i> in ${browserName}` // no other browser, whose page may be remembered for a minute after it was killed
  await ann.evaluate(topic => { document.querySelector('#topic').value = topic }, lonely)
  await ann.focus('#topic')
  await ann.keyboard.press('Enter')
  await shows(ann, '#log .note', `You joined “${lonely}”`)
  await shows(ann, '#why-title', 'Why do I find nobody?')
  await shows(ann, '#why-list', 'Still looking')
  assert.equal(new URL(ann.url()).searchParams.get('topic'), lonely)
  await ann.evaluate(() => document.querySelector('#use-details').open = true)
  await shows(ann, '#use-body pre', `import { connect } from '${origin}/client.js'`)
  await shows(ann, '#use-body', 'hashes: [')
} finally {
  await browser.close()
  await rm(dir, { recursive: true, force: true })
}
