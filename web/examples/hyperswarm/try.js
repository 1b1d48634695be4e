// Everything on this computer, with a small DHT of its own: node try.js [--gateway PROGRAM]
// It prints the address of the page, and ends with Ctrl-C. Without --gateway it runs ../../../cmd/server, with Go.
import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import createTestnet from 'hyperdht/testnet.js'
import { bundle } from './build.js'

const { values: flags } = parseArgs({ options: { gateway: { type: 'string' } } })
const here = path => fileURLToPath(new URL(path, import.meta.url))
const children = []

/** Runs a program until this one ends, and returns what the first line of its output says. */
async function run (program, args, options) {
  const child = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  child.on('error', err => {
    console.error(`${program}: ${err.message}`)
    end(1)
  })
  child.on('exit', code => end(code ?? 1)) // none of them ends by itself
  for await (const line of createInterface({ input: child.stdout })) {
    child.stdout.resume()
    return JSON.parse(line)
  }
}

function end (code) {
  for (const { pid, spawnfile } of children) {
    try {
      process.kill(spawnfile === 'go' ? -pid : pid) // what go runs is in a group with it
    } catch {} // it has ended
  }
  process.exit(code)
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => end(0))

const testnet = await createTestnet(3) // on 127.0.0.1
const network = ['--bind', '127.0.0.1', ...testnet.bootstrap.flatMap(({ host, port }) => ['--bootstrap', `${host}:${port}`])]

const page = await bundle(here('page.js'))
const site = createServer(async (req, res) => {
  const js = req.url === '/page.js'
  res.writeHead(js || req.url === '/' ? 200 : 404, { 'content-type': js ? 'text/javascript' : 'text/html' })
  res.end(js ? page : req.url === '/' ? await readFile(here('index.html')) : '')
})
await new Promise(resolve => site.listen(0, 'localhost', resolve))
const origin = `http://localhost:${site.address().port}`

const [{ key }, { listen }] = await Promise.all([
  run('node', [here('peer.js'), ...network]),
  run('node', [here('relay.js'), '--listen', '127.0.0.1:0', ...network])
])
const [program, ...args] = flags.gateway ? [flags.gateway] : ['go', 'run', './cmd/server']
const gateway = await run(program, [...args, '--listen', '127.0.0.1:0', '--dev-http', '127.0.0.1:0', '--dht', 'off', '--no-lan',
  '--static', `hyper=tcp://${listen}`, '--allow-origin', origin], { cwd: here('../../..'), detached: !flags.gateway })
console.log(`${origin}/#${new URLSearchParams({ gateway: new URL(gateway.info).origin, key })}`)
