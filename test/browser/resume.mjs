// node resume.mjs chromium|firefox GATEWAY: opens the console of a gateway, started from the program GATEWAY, in two pages of a headless
// browser. The gateway is killed while a file is on its way between them, and started again. It ends with status 0 if the file arrives whole.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { launch } from './launch.mjs'

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
  const page = await browser.newPage()
  page.on('pageerror', e => { throw e })
  await page.evaluateOnNewDocument((name, held) => {
    localStorage.setItem('swarmgate-console-name', name)
    const make = URL.createObjectURL
    URL.createObjectURL = blob => make.call(URL, globalThis.saved = blob)
    if ('showSaveFilePicker' in globalThis) { // the browser's private disk asks nobody
      globalThis.showSaveFilePicker = async ({ suggestedName }) => {
        const file = await (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true })
        globalThis.saved = file
        return file
      }
    }
    const write = FileSystemWritableFileStream.prototype.write
    globalThis.written = 0
    const released = new Promise(resolve => { globalThis.release = resolve })
    FileSystemWritableFileStream.prototype.write = async function (b) {
      globalThis.written += b.size ?? b.length
      if (globalThis.written > held) await released
      return await write.call(this, b)
    }
  }, name, HELD)
  await page.goto(url)
  return page
}

/** Waits until a text is shown in what a selector finds. */
const shows = (page, selector, text) => page.waitForFunction(
  (selector, text) => [...document.querySelectorAll(selector)].some(e => e.checkVisibility() && e.textContent.includes(text)), patience, selector, text
).catch(e => { throw new Error(`${selector} does not show ${text}: ${e.message}`) })

const browser = await launch(browserName, join(dir, 'profile'))
let { gateway, told } = await start()
try {
  const { origin, host } = new URL(told.info)
  const url = `${origin}/?topic=${browserName}`
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
  await ann.waitForSelector('.file[data-state=done]', patience)
  const saved = await ann.evaluate(async () => {
    const file = globalThis.saved instanceof Blob ? globalThis.saved : await globalThis.saved.getFile()
    const hash = await crypto.subtle.digest('SHA-256', await file.arrayBuffer())
    return { size: file.size, written: globalThis.written, hash: Array.from(new Uint8Array(hash), x => x.toString(16).padStart(2, '0')).join('') }
  })
  assert.deepEqual(saved, { size: SIZE, written: SIZE, hash: createHash('sha256').update(data).digest('hex') })
} finally {
  gateway.kill('SIGKILL')
  await browser.close()
  await rm(dir, { recursive: true, force: true })
}
