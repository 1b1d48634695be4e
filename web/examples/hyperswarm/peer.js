// A peer of Hyperswarm, which knows nothing of swarmgate. It shares a hypercore, and appends to it:
//   node peer.js [--bootstrap HOST:PORT]… [--bind ADDRESS]
// --bootstrap is for another DHT than the public one, --bind for an address that others reach as it is. It prints
// {"key": "…"} once it can be found, with the hypercore's public key.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import Hypercore from 'hypercore-11'
import HyperDHT from 'hyperdht'
import Hyperswarm from 'hyperswarm'

const { values: flags } = parseArgs({ options: { bootstrap: { type: 'string', multiple: true }, bind: { type: 'string' } } })
const dir = mkdtempSync(join(tmpdir(), 'hypercore-'))
process.on('exit', () => rmSync(dir, { recursive: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit())
const core = new Hypercore(dir)
await core.append('the first block')
const swarm = new Hyperswarm({ dht: new HyperDHT({ bootstrap: flags.bootstrap, host: flags.bind, firewalled: !flags.bind }) })
swarm.on('connection', connection => {
  connection.on('error', () => {}) // a peer that is gone
  core.replicate(connection)
})
await swarm.join(core.discoveryKey, { client: false }).flushed()
console.log(JSON.stringify({ key: core.key.toString('hex') }))
setInterval(() => core.append(`it is ${new Date().toLocaleTimeString()}`), 2_000)
