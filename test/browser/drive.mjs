// Opens page.html in headless Chromium and answers calls of its functions: each line on stdin is {"call": name, "args": object}, and
// each line on stdout {"result": value} or {"error": text}. The first line out is {"origin": "http://127.0.0.1:port"}.
import { createServer } from 'node:http'
import { readFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import puppeteer from 'puppeteer-core'

const page = await readFile(new URL('page.html', import.meta.url))
const server = createServer((req, res) => {
  res.setHeader('content-type', 'text/html; charset=utf-8')
  res.end(page)
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${server.address().port}`

const profile = await mkdtemp(join(tmpdir(), 'swarmgate-chromium-'))
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  userDataDir: profile,
  headless: true,
  protocolTimeout: 300_000,
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync']
})
const say = object => process.stdout.write(JSON.stringify(object) + '\n')
try {
  const tab = await browser.newPage()
  await tab.goto(origin)
  say({ origin })
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, args } = JSON.parse(line)
    try {
      say({ result: await tab.evaluate((call, args) => globalThis[call](args), call, args) })
    } catch (err) {
      say({ error: String(err) })
    }
  }
} finally {
  await browser.close()
  server.close()
  await rm(profile, { recursive: true, force: true })
}
