// Opens a page of this folder in a headless browser and answers calls of its functions:
//   node drive.mjs chromium|firefox PAGE
// The page's server also has the other pages and scripts of this folder, the modules as /client.js
// and /messages.js, web/test's vectors and fuzz as /vectors.js, and React with the package's hook
// as /react.js. The first line out is {"origin": "http://127.0.0.1:port", "pid": of the browser}.
// Then each line in is {"call": name, "args": object, "tab": number}, and each line out {"result":
// value} or {"error": text}. Calls of the driver's own:
//   tab         opens the page once more, and returns the number of the tab
//   goto        opens args.url, and returns when that was asked for, in ms since 1970
//   back        goes back to the page before
//   close       closes the tab, and returns when that was asked for, in ms since 1970
//   shows       waits until what args.selector finds has args.text, and returns all of its text
//   complaints  returns the errors and warnings of the tab
//   screenshot  saves args.path, at args.width and with args.scheme
import { createServer } from 'node:http'
import { readFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { launch } from './launch.mjs'

const [browserName, pageName] = process.argv.slice(2)
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript' }

/** Returns the body of an answer. */
async function read (path) {
  switch (path) {
    case '/client.js': return readFile(new URL('../../web/dist/swarmgate.js', import.meta.url))
    case '/messages.js': return readFile(new URL('../../web/dist/messages.js', import.meta.url))
    case '/vectors.js': return (await import('./bundle.mjs')).bundle()
    case '/react.js': return (await import('./bundle.mjs')).react()
    default: return readFile(new URL(`.${path}`, import.meta.url))
  }
}

const server = createServer(async (req, res) => {
  const path = req.url === '/' ? `/${pageName}` : req.url
  const type = types[extname(path)]
  const body = type && await read(path).catch(err => { if (err.code !== 'ENOENT') console.error(err) })
  res.writeHead(body ? 200 : 404, { 'content-type': type ?? 'text/plain' })
  res.end(body)
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${server.address().port}`

const profile = await mkdtemp(join(tmpdir(), 'swarmgate-browser-'))
const browser = await launch(browserName, profile)
const tabs = []
const complaints = new Map()
const crashes = new Map() // promises that reject

async function open () {
  const tab = await browser.newPage()
  const list = []
  complaints.set(tab, list)
  tab.on('console', m => { if (['error', 'warn'].includes(m.type())) list.push(m.text()) })
  crashes.set(tab, new Promise((resolve, reject) => tab.on('error', reject)))
  crashes.get(tab).catch(() => {})
  tab.on('pageerror', err => list.push(String(err)))
  await tab.goto(origin)
  return tabs.push(tab) - 1
}

const own = {
  tab: open,
  goto: async (tab, { url }) => {
    const at = Date.now()
    await tab.goto(url)
    return at
  },
  back: async tab => { await tab.goBack({ waitUntil: 'domcontentloaded' }) },
  close: async tab => {
    const at = Date.now()
    await tab.close()
    return at
  },
  shows: async (tab, { selector, text }) => {
    await tab.waitForFunction((selector, text) => document.querySelector(selector)?.textContent.includes(text), { timeout: 60_000 }, selector, text)
    return tab.$eval(selector, e => e.textContent)
  },
  complaints: tab => complaints.get(tab),
  screenshot: async (tab, { path, width = 1200, height = 900, scheme = 'light' }) => {
    await tab.setViewport({ width, height })
    await tab.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
    await tab.screenshot({ path })
  }
}

const say = object => process.stdout.write(JSON.stringify(object) + '\n')
try {
  await open()
  say({ origin, pid: browser.process().pid })
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, args, tab } = JSON.parse(line)
    try {
      const result = own[call] ? own[call](tabs[tab], args) : tabs[tab].evaluate((call, args) => globalThis[call](args), call, args)
      say({ result: (await Promise.race([result, crashes.get(tabs[tab])])) ?? null })
    } catch (err) {
      say({ error: String(err) })
    }
  }
} finally {
  await browser.close()
  server.close()
  await rm(profile, { recursive: true, force: true })
}
