// A peer of the Dat network: a hyperdrive with the files of a folder, on the swarm by hyperdiscovery.
//
//   node peer.js [--files DIR] [--storage DIR] [--port N] [--dns HOST:PORT]
//
// It prints the drive's dat:// URL and the port that it listens on. Each line that it reads becomes a line of /news.txt.
// With --storage the drive is kept, and is the same after a restart. With --dns the peer is found by that dns-discovery
// server alone, which may be on your machine; otherwise as any Dat peer, on the public networks.
import { readFile, readdir } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import hyperdiscovery from 'hyperdiscovery'
import hyperdrive from 'hyperdrive'
import ram from 'random-access-memory'

const { values: { files, storage, port, dns } } = parseArgs({
  options: {
    files: { type: 'string', default: fileURLToPath(new URL('files', import.meta.url)) },
    storage: { type: 'string' },
    port: { type: 'string', default: '0' },
    dns: { type: 'string' }
  }
})
const news = '/news.txt'

const drive = hyperdrive(storage ?? ram)
await promisify(drive.ready)()
const read = promisify(drive.readFile).bind(drive)
const write = promisify(drive.writeFile).bind(drive)
if (drive.version === 0) { // else it was kept
  for (const name of await readdir(files)) await write(`/${name}`, await readFile(`${files}/${name}`))
}

const swarm = hyperdiscovery({ port: Number(port), utp: false, dht: !dns, autoListen: false })
if (!Number(port)) swarm._port = 0 // any; hyperdiscovery itself begins with 3282
if (dns) swarm._swarm._options.dns = { server: dns, domain: 'dat.local', multicast: false } // hyperdiscovery has no option for it
swarm.on('error', err => {
  console.error(err)
  process.exit(1)
})
swarm.on('listening', port => {
  console.log(`dat://${drive.key.toString('hex')}`)
  console.log(`port ${port}`)
})
swarm.listen()
swarm.add(drive)

for await (const line of createInterface({ input: process.stdin })) {
  await write(news, await read(news, 'utf8').catch(() => '') + line + '\n')
}
