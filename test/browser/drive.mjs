// Opens a page of this folder in a headless browser and answers calls of its functions:
//   node drive.mjs chromium|firefox PAGE
// The first line out is {"origin": "http://127.0.0.1:port", "pid": of the browser}. Then each line in is {"call": name, "args": object},
// and each line out {"result": value} or {"error": text}. The call "goto" opens args.url, "close" closes the page, "screenshot" saves
// args.path, at args.width and with args.scheme.
import { createServer } from 'node:http'
import { readFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { launch } from './launch.mjs'

const [browserName, pageName] = process.argv.slice(2)
const files = {
  '/': [await readFile(new URL(pageName, import.meta.url)), 'text/html; charset=utf-8'],
  '/client.js': [await readFile(new URL('../../web/dist/swarmgate.js', import.meta.url)), 'text/javascript']
}
const server = createServer((req, res) => {
  const file = files[req.url]
  res.writeHead(file ? 200 : 404, { 'content-type': file?.[1] ?? 'text/plain' })
  res.end(file?.[0])
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${server.address().port}`

const profile = await mkdtemp(join(tmpdir(), 'swarmgate-browser-'))
const browser = await launch(browserName, profile)
const say = object => process.stdout.write(JSON.stringify(object) + '\n')
try {
  const tab = await browser.newPage()
  await tab.goto(origin)
  const own = {
    goto: ({ url }) => tab.goto(url).then(() => null),
    close: () => tab.close().then(() => null),
    screenshot: async ({ path, width = 1200, height = 900, scheme = 'light' }) => {
      await tab.setViewport({ width, height })
      await tab.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
      await tab.screenshot({ path })
      return null
    }
  }
  say({ origin, pid: browser.process().pid })
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, args } = JSON.parse(line)
    try {
      say({ result: (await (own[call]?.(args) ?? tab.evaluate((call, args) => globalThis[call](args), call, args))) ?? null })
    } catch (err) {
      say({ error: String(err) })
    }
  }
} finally {
  await browser.close()
  server.close()
  await rm(profile, { recursive: true, force: true })
}
