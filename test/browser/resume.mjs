// node resume.mjs chromium|firefox GATEWAY: opens the console of a gateway, started from the
// program GATEWAY, in two pages of a headless browser. The gateway is killed while a file is on
// its way between them, and started again. It ends with status 0 if the file arrives whole.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { launch } from './launch.mjs'
import { saved, shows, visitor } from './visitor.mjs'

const SIZE = 100_000_007
const HELD = 40_000_000 // bytes at which the receiver's disk waits, until the gateway was killed

const [browserName, program] = process.argv.slice(2)
const patience = { timeout: 120_000, polling: 100 }
const dir = await mkdtemp(join(tmpdir(), 'swarmgate-resume-'))

/** Starts the gateway, and returns its process and what it says about itself. */
async function start (listen = '127.0.0.1:0', http = '127.0.0.1:0') {
  const gateway = spawn(program, ['--listen', listen, '--dev-http', http, '--dht=off', '--no-lan', '--state-dir', join(dir, 'state')],
    { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: gateway.stdout })) return { gateway, told: JSON.parse(line) }
  throw new Error('the gateway ended')
}

/** Opens the page for somebody. */
async function open (name, url) {
  const page = await visitor(browser, name)
  await page.evaluateOnNewDocument(held => {
    if (!location.protocol.startsWith('http')) return // as in visitor
    const write = FileSystemWritableFileStream.prototype.write
    globalThis.written = 0
    const released = new Promise(resolve => { globalThis.release = resolve })
    FileSystemWritableFileStream.prototype.write = async function (b) {
      globalThis.written += b.size ?? b.length
      if (globalThis.written > held) await released
      return await write.call(this, b)
    }
  }, HELD)
  await page.goto(url)
  return page
}

const browser = await launch(browserName, join(dir, 'profile'))
let { gateway, told } = await start()
process.on('exit', () => gateway.kill('SIGKILL')) // however this ends
try {
  const { origin, host } = new URL(told.info)
  const url = `${origin}/#${browserName}`
  const ann = await open('Ann', url)
  const bob = await open('Bob', url)
  await shows(bob, '.peer-name', 'Ann')
  const data = Buffer.alloc(SIZE, 'a file that is larger than what is on its way at once ')
  await writeFile(join(dir, 'a film.bin'), data)
  await (await bob.$('#files')).uploadFile(join(dir, 'a film.bin'))
  await ann.bringToFront()
  await shows(ann, '.file-name', 'a film.bin')
  await ann.click('.file .primary')
  await ann.waitForFunction(held => globalThis.written > held, patience, HELD)

  gateway.kill('SIGKILL')
  await shows(ann, '.file .progress', 'connection lost')
  await bob.bringToFront()
  await shows(bob, '.file .progress', 'connection lost')
  await ann.evaluate(() => globalThis.release())
  ;({ gateway } = await start(told.quic, host))

  await shows(bob, '.file [data-state=done]', 'saved')
  await ann.bringToFront()
  assert.deepEqual(await saved(ann), { size: SIZE, hash: createHash('sha256').update(data).digest('hex') })
  assert.equal(await ann.evaluate(() => globalThis.written), SIZE, 'nothing came twice')
} finally {
  gateway.kill('SIGKILL')
  await browser.close()
  await rm(dir, { recursive: true, force: true })
}
