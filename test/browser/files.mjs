// node files.mjs chromium|firefox URL SWARM FLAG…: opens the console at URL, a page for each
// direction, in a headless browser, and runs the program SWARM with FLAG… in the same secret room. It
// ends with status 0 if a file of each side arrives whole at the other one.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { launch } from './launch.mjs'
import { saved, shows, visitor } from './visitor.mjs'

const SIZE = 9_000_001 // more than two windows

const [browserName, url, program, ...flags] = process.argv.slice(2)
const dir = await mkdtemp(join(tmpdir(), 'swarmgate-files-'))
const browser = await launch(browserName, join(dir, 'profile'))
const hash = data => createHash('sha256').update(data).digest('hex')

/** Runs swarm, and returns a promise of its output. It rejects if the status is not 0. */
function swarm (...args) {
  const child = spawn(program, [...args, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  child.stdout.on('data', b => { output += b })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', status => { status === 0 ? resolve(output) : reject(new Error(`swarm ${args[0]}: status ${status}\n${output}`)) })
  })
}

/** Opens the console in the room of a secret. */
async function open (name, secret) {
  const page = await visitor(browser, name)
  await page.goto(`${url}/#secret=${secret}`)
  await shows(page, '#phase', 'Connected')
  await shows(page, '#privacy', 'Secret room')
  return page
}

try {
  const data = Buffer.alloc(SIZE, 'from the shell to a page ')
  await writeFile(join(dir, 'a file.bin'), data)
  const ann = await open('Ann', `send-${browserName}`)
  const sent = swarm('send', join(dir, 'a file.bin'), `send-${browserName}`)
  sent.catch(() => {}) // it is awaited below
  await shows(ann, '.file-name', 'a file.bin')
  await ann.click('.file .primary')
  assert.deepEqual(await saved(ann), { size: SIZE, hash: hash(data) })
  assert.ok((await sent).includes(`${hash(data)}  a file.bin\n`))

  const back = Buffer.alloc(SIZE, 'from a page to the shell ')
  await writeFile(join(dir, 'another file.bin'), back)
  const secret = createHash('sha256').update(`receive-${browserName}`).digest('hex')
  const bob = await open('Bob', secret)
  await bob.bringToFront()
  const received = swarm('receive', secret, '-o', join(dir, 'here'))
  received.catch(() => {})
  await shows(bob, '#peer-count', '1')
  await shows(bob, '.peer:not(.gone) .chip', 'console')
  await (await bob.$('#files')).uploadFile(join(dir, 'another file.bin'))
  await shows(bob, '.file [data-state=done]', 'saved')
  await bob.click('#join-button') // to leave is the end of all files
  assert.ok((await received).includes(`${hash(back)}  ${join(dir, 'here', 'another file.bin')}\n`))
  assert.equal(hash(await readFile(join(dir, 'here', 'another file.bin'))), hash(back))
} finally {
  await browser.close()
  await rm(dir, { recursive: true, force: true })
}
