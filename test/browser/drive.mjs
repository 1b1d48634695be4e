// Opens pages of this folder in a headless browser and answers calls of their functions:
//   node drive.mjs chromium|firefox [any-certificate]
// With any-certificate the browser's user has accepted every certificate of HTTPS.
// The pages' server also has the scripts of this folder, the modules as /client.js, /websocket.js, /messages.js
// and /secret.js, web/test's vectors and fuzz as /vectors.js, React with the package's hook as /react.js, and
// programs of the old world as /old.js, and bundled by webpack as /oldwebpack.js. The first line out is {"origin": "http://127.0.0.1:port", "pid": of the browser}. Then each line in is
// {"id": number, "call": name, "args": object, "tab": number}, and each line out {"id": number,
// "result": value} or {"id": number, "error": text}. Calls do not wait for each other. Those of the
// driver's own:
//   window      opens the page args.page in a window that shares nothing with others, such as
//               storage or workers, and returns the number of its tab
//   closeWindow closes what window opened, with all tabs
//   tab         opens the page once more in the same window, and returns the number of the tab
//   goto        opens args.url, and returns when that was asked for, in ms since 1970
//   back        goes back to the page before
//   close       closes the tab, and returns when that was asked for, in ms since 1970
//   shows       waits until what args.selector finds has args.text, and returns all of its text
//   complaints  returns the errors and warnings of the tab, but those of a WebSocket that lost a race
//   screenshot  saves args.path, at args.width and with args.scheme
import { createServer } from 'node:http'
import { readFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { isLostRace, launch, newTab } from './launch.mjs'

const [browserName, acceptInsecureCerts] = process.argv.slice(2)
const types = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript' }

let old, oldByWebpack // the texts of /old.js and /oldwebpack.js, which are large

/** Returns the body of an answer. */
async function read (path) {
  switch (path) {
    case '/client.js': return readFile(new URL('../../web/dist/swarmgate.js', import.meta.url))
    case '/websocket.js': return readFile(new URL('../../web/dist/websocket.js', import.meta.url))
    case '/messages.js': return readFile(new URL('../../web/dist/messages.js', import.meta.url))
    case '/secret.js': return readFile(new URL('../../web/dist/secret.js', import.meta.url))
    case '/vectors.js': return (await import('./bundle.mjs')).bundle()
    case '/old.js': return old ??= (await import('./bundle.mjs')).old()
    case '/oldwebpack.js': return oldByWebpack ??= (await import('./bundle.mjs')).oldByWebpack()
    case '/react.js': return (await import('./bundle.mjs')).react()
    default: return readFile(new URL(`.${path}`, import.meta.url))
  }
}

const server = createServer(async (req, res) => {
  const type = types[extname(req.url)]
  const body = type && await read(req.url).catch(err => { if (err.code !== 'ENOENT') console.error(err) })
  res.writeHead(body ? 200 : 404, { 'content-type': type ?? 'text/plain' })
  res.end(body)
})
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const origin = `http://127.0.0.1:${server.address().port}`

const profile = await mkdtemp(join(tmpdir(), 'swarmgate-browser-'))
const browser = await launch(browserName, profile, { acceptInsecureCerts: !!acceptInsecureCerts })
const tabs = []

/** Opens a page in a new tab of a context. */
async function open (context, page, type) {
  const tab = await newTab(context, { type })
  const complaints = []
  const complain = text => { if (!isLostRace(text)) complaints.push(text) }
  tab.on('console', m => { if (['error', 'warn'].includes(m.type())) complain(m.text()) })
  tab.on('pageerror', err => complain(String(err)))
  const crashed = new Promise((resolve, reject) => tab.on('error', reject))
  crashed.catch(() => {})
  await tab.goto(`${origin}/${page}`)
  return tabs.push({ tab, page, complaints, crashed }) - 1
}

const own = {
  tab: (tab, args, { page }) => open(tab.browserContext(), page, 'tab'),
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
    await tab.waitForFunction((selector, text) => document.querySelector(selector)?.textContent.includes(text), { timeout: 120_000 }, selector, text)
    return tab.$eval(selector, e => e.textContent)
  },
  complaints: (tab, args, { complaints }) => complaints,
  screenshot: async (tab, { path, width = 1200, height = 900, scheme = 'light' }) => {
    await tab.setViewport({ width, height })
    await tab.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }])
    await tab.screenshot({ path })
  }
}

/** Answers a call. */
async function answer ({ call, args, tab: number }) {
  if (call === 'window') return open(await browser.createBrowserContext(), args.page, 'window')
  const opened = tabs[number]
  if (call === 'closeWindow') return opened.tab.browserContext().close() // even if a page has crashed
  const result = own[call] ? own[call](opened.tab, args, opened) : opened.tab.evaluate((call, args) => globalThis[call](args), call, args)
  return Promise.race([result, opened.crashed])
}

const say = object => process.stdout.write(JSON.stringify(object) + '\n')
const lines = createInterface({ input: process.stdin })
browser.once('disconnected', () => lines.close())
try {
  say({ origin, pid: browser.process().pid })
  for await (const line of lines) {
    const { id, ...asked } = JSON.parse(line)
    answer(asked).then(result => say({ id, result: result ?? null }), err => say({ id, error: String(err) }))
  }
} finally {
  await browser.close()
  server.close()
  await rm(profile, { recursive: true, force: true })
}
