// node hypercore.mjs FOLDER: a hypercore 11 that replicates over TCP, each connection a Noise stream that it answers, and a
// page that reads it. {"append": text} appends a block.
import { once } from 'node:events'
import { createServer as createSite } from 'node:http'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const here = path => fileURLToPath(new URL(path, import.meta.url))
const example = '../../web/examples/hyperswarm' // what it needs is needed here
const require = createRequire(here(`${example}/page.js`))
const Hypercore = require('hypercore-11')

const core = new Hypercore(process.argv[2])
await core.append('the first block')
const peer = createServer(socket => {
  const stream = core.replicate(false)
  for (const s of [socket, stream]) s.on('error', () => {}) // a client that is gone
  socket.on('close', () => stream.destroy())
  stream.on('close', () => socket.destroy())
  stream.pipe(socket).pipe(stream)
}).listen(0, '127.0.0.1')
await once(peer, 'listening')

const { outputFiles: [script] } = await require('esbuild').build({
  entryPoints: [here('../web/hypercorepage.js')],
  bundle: true,
  format: 'esm',
  alias: { 'sodium-native': here(`${example}/sodium.cjs`), 'swarmgate/discovery-swarm': here('../../web/dist/discovery-swarm.cjs') },
  nodePaths: [here(`${example}/node_modules`)],
  write: false,
  logLevel: 'warning'
})
const site = createSite((req, res) => {
  const js = req.url === '/page.js'
  res.setHeader('content-type', js ? 'text/javascript' : 'text/html')
  res.end(js ? script.text : '<!doctype html><link rel="icon" href="data:,"><pre id="log"></pre><script type="module" src="page.js"></script>')
}).listen(0, '127.0.0.1')
await once(site, 'listening')

console.log(JSON.stringify({
  event: 'ready',
  topic: core.discoveryKey.toString('hex'),
  key: core.key.toString('hex'),
  peer: `127.0.0.1:${peer.address().port}`,
  site: `http://127.0.0.1:${site.address().port}`
}))
for await (const line of createInterface({ input: process.stdin })) await core.append(JSON.parse(line).append)
process.exit()
