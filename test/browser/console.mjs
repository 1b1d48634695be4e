// node console.mjs chromium|firefox URL: opens the console of a demo at URL in two pages of a
// headless browser and looks at what they show. It ends with status 0 if all is as it should be.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { launch } from './launch.mjs'
import { saved, shows, visitor } from './visitor.mjs'

const [browserName, url] = process.argv.slice(2)
const { origin, hostname } = new URL(url)
const patience = { timeout: 120_000, polling: 100 }
const dir = await mkdtemp(join(tmpdir(), 'swarmgate-console-'))
const browser = await launch(browserName, join(dir, 'profile'))

/** Opens the console for somebody. */
async function open (name, address = url) {
  const page = await visitor(browser, name)
  page.on('request', r => assert.ok(/^(data|blob):/.test(r.url()) || new URL(r.url()).hostname === hostname, `${r.url()} is another host`))
  await page.goto(address)
  return page
}

/** Returns the placeholders of which the page shows a part only. */
const cutPlaceholders = page => page.evaluate(() => [...document.querySelectorAll('[placeholder]')].filter(e => {
  const style = getComputedStyle(e)
  const pen = document.createElement('canvas').getContext('2d')
  pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`
  return pen.measureText(e.placeholder).width > e.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)
}).map(e => e.placeholder))

try {
  const ann = await open('Ann')
  await shows(ann, '#phase', 'Connected')
  await shows(ann, '.peer .chip.way', 'direct')
  await shows(ann, '.raw-line.in .raw-text', 'Do you echo?') // the demo's peer was sent a line, and it came back
  await shows(ann, '#why-short', 'You are connected')
  assert.deepEqual(await cutPlaceholders(ann), [])
  await ann.evaluate(() => [...document.querySelectorAll('.raw button')].find(b => b.textContent === 'Echo test').click())
  await shows(ann, '.raw-result', 'All came back unchanged')

  for (let n = 2; n <= 3; n++) { // whoever leaves and joins again finds the same peers again
    await shows(ann, '#join-button', 'Leave')
    await ann.click('#join-button')
    await shows(ann, '#join-button', 'Join')
    await shows(ann, '#why-list', 'You are on no topic')
    await shows(ann, '#peer-count', '0')
    await ann.click('#join-button')
    await ann.waitForFunction(n => document.querySelectorAll('#log .note').length === 2 * n - 1, patience, n)
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
  const tops = await ann.evaluate(() => ['talk', 'peers', 'why', 'use'].map(id => document.getElementById(id).getBoundingClientRect().top))
  assert.deepEqual(tops, tops.toSorted((a, b) => a - b), 'the conversation comes first on a phone')
  assert.deepEqual(await cutPlaceholders(ann), [])

  await bob.close()
  await shows(ann, '#peer-count', '1')
  await shows(ann, '#log .note', 'Bob is gone')

  const lonely = `nobody <i>is</i> in ${browserName}` // no other browser, whose page may be remembered for a minute after it was killed
  await ann.evaluate(topic => { document.querySelector('#topic').value = topic }, lonely)
  await ann.focus('#topic')
  await ann.keyboard.press('Enter')
  await shows(ann, '#log .note', `You joined the public topic “${lonely}”`)
  await shows(ann, '#why-title', 'Why do I find nobody?')
  await shows(ann, '#why-list', 'Still looking')
  assert.equal(decodeURIComponent(new URL(ann.url()).hash), `#${lonely}`)
  assert.equal(await ann.$eval('#share-button', e => e.disabled), false)
  await ann.click('#share-button')
  await shows(ann, '#share-open', 'Whoever guesses')
  const shared = `#${encodeURIComponent(lonely)}`
  await ann.waitForFunction(() => document.querySelector('#share-text').value.startsWith('swarmgate://'), patience)
  const text = await ann.$eval('#share-text', e => e.value)
  assert.match(text, /^swarmgate:\/\/127\.0\.0\.1:\d+\/\?h=[0-9a-f]{64}&h=[0-9a-f]{64}#/)
  assert.ok(text.endsWith(shared), text)
  assert.ok(await ann.$eval('#share-qr path', e => e.getAttribute('d').length > 1000))
  await shows(ann, '#share-local', 'on this computer only')
  await ann.click('#share-page')
  assert.equal(await ann.$eval('#share-text', e => e.value), `${origin}/${shared}`)
  await ann.click('#share-private')
  await shows(ann, '#share-secret', 'It holds the secret')
  assert.equal(await ann.$eval('#share-open', e => e.checkVisibility()), false)
  await ann.click('#share-program')
  const secret = await ann.$eval('#share-text', e => e.value)
  assert.match(secret, /#secret=[0-9a-f]{64}$/)
  assert.match(ann.url(), /#secret=[0-9a-f]{64}$/)
  await ann.click('#share-close')
  await shows(ann, '#privacy', 'Sealed from end to end')

  const carl = await open('Carl', `${origin}/#${lonely}`) // an address with a topic opens it
  await shows(carl, '#log .note', `You joined the public topic “${lonely}”`)
  await carl.evaluate(text => { document.querySelector('#topic').value = text }, secret) // and so does what was shared
  await carl.focus('#topic')
  await carl.keyboard.press('Enter')
  await shows(carl, '.peer-name', 'Ann')
  await shows(carl, '.chip.way', 'through this gateway')
  await shows(carl, '#privacy', 'Secret room')
  const keys = page => page.evaluate(() => [...document.querySelectorAll('#my-key, .peer:not(.gone) .peer-key')].map(e => e.textContent.match(/(\w{5}-){3}\w{5}.*[\da-f ]{19}/)[0].replace('(', '')))
  const [mine, hers] = await keys(carl) // which people can compare
  assert.deepEqual(await keys(ann), [hers, mine])
  await carl.type('#text', 'only for Ann')
  await carl.keyboard.press('Enter')
  await ann.bringToFront()
  await shows(ann, '#log .theirs .text', 'only for Ann')
  await carl.bringToFront()
  await carl.evaluate(() => { location.hash = '#another' })
  await shows(carl, '#log .note', 'You joined the public topic “another”')
  await carl.close()
  await ann.bringToFront()
  await ann.evaluate(() => document.querySelector('#use-details').open = true)
  await shows(ann, '#use-body pre', `import { connect } from '${origin}/client.js'`)
  await shows(ann, '#use-body', 'hashes: [')
  await shows(ann, '#use-body', 'https://address.of.this.computer:') // its own is of use to nobody elsewhere
} finally {
  await browser.close()
  await rm(dir, { recursive: true, force: true })
}
