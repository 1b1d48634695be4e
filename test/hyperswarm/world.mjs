// Hyperswarm as it is elsewhere, on 127.0.0.1: nodes of a DHT, and a peer.
//   node world.mjs FILE SIZE
// The peer shares a hypercore with the bytes of FILE in blocks of SIZE, and floods who asks for the topic of 32 bytes
// 0xff. It prints {"bootstrap": ["HOST:PORT"], "key": "…"}, and {"flooded": BYTES} when a flood has ended.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { require } from './modules.mjs'
const createTestnet = require('hyperdht/testnet.js')
const Hypercore = require('hypercore-11')
const HyperDHT = require('hyperdht')
const Hyperswarm = require('hyperswarm')

const say = object => process.stdout.write(JSON.stringify(object) + '\n')
const [file, size] = process.argv.slice(2)
const testnet = await createTestnet(3)
const bootstrap = testnet.bootstrap.map(({ host, port }) => `${host}:${port}`)

const dir = mkdtempSync(join(tmpdir(), 'hypercore-'))
process.on('exit', () => rmSync(dir, { recursive: true }))
process.stdin.resume().on('end', () => process.exit())
const core = new Hypercore(dir)
const bytes = readFileSync(file)
for (let i = 0; i < bytes.length; i += Number(size)) await core.append(bytes.subarray(i, i + Number(size)))
const reads = new Hyperswarm({ dht: new HyperDHT({ bootstrap, host: '127.0.0.1', firewalled: false }) })
reads.on('connection', connection => {
  connection.on('error', () => {})
  core.replicate(connection)
})

const floods = new Hyperswarm({ dht: new HyperDHT({ bootstrap, host: '127.0.0.1', firewalled: false }) })
floods.on('connection', async connection => {
  connection.on('error', () => {})
  connection.setMaxListeners(0)
  let flooded = 0
  while (!connection.destroyed && flooded < 1 << 30) {
    flooded += 1 << 16
    if (!connection.write(Buffer.alloc(1 << 16))) {
      await Promise.race(['drain', 'close'].map(event => new Promise(resolve => connection.once(event, resolve))))
    }
  }
  say({ flooded })
})

await Promise.all([
  reads.join(core.discoveryKey, { client: false }).flushed(),
  floods.join(Buffer.alloc(32, 0xff), { client: false }).flushed()
])
say({ bootstrap, key: core.key.toString('hex') })
