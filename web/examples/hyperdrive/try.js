// Everything on this computer: node try.js [--gateway PROGRAM]
//
// It runs a dns-discovery server, a peer that holds a drive, the page's server and a gateway. It prints the address of
// the page, gives the peer each line that you type, and ends with Ctrl-C. Without --gateway it runs ../../../cmd/server,
// with Go.
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values: flags } = parseArgs({ options: { gateway: { type: 'string' } } })
const here = path => fileURLToPath(new URL(path, import.meta.url))
const children = []

/** Runs a program until this one ends, and returns what the pattern's groups find in a line of its output. */
function run (command, pattern, options) {
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'], ...options })
  children.push(child)
  return new Promise(resolve => {
    child.on('error', err => {
      console.error(`${command[0]}: ${err.message}`)
      end(1)
    })
    child.on('exit', code => end(code ?? 1)) // none of them ends by itself
    createInterface({ input: child.stdout }).on('line', line => {
      const found = line.match(pattern)
      if (found) resolve(found.slice(1))
    })
  })
}

function end (code) {
  for (const { pid, spawnargs: [command] } of children) {
    try {
      process.kill(command === 'go' ? -pid : pid) // what go runs is in a group with it
    } catch {} // it has ended
  }
  process.exit(code)
}
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => end(0))

/** Returns a UDP port that nobody uses. */
async function freePort () {
  const socket = createSocket('udp4').bind(0)
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  return port
}

const dns = `127.0.0.1:${await freePort()}`
const server = ['node', here('node_modules/dns-discovery/bin.js'), 'listen', `--port=${dns.split(':')[1]}`, '--domain=dat.local', '--no-multicast']
await run(server, /^Server is listening/)
const [[drive], [site]] = await Promise.all([
  run(['node', here('peer.js'), '--dns', dns], /^(dat:.*)/, { stdio: ['inherit', 'pipe', 'inherit'] }),
  run(['node', here('site.js'), '--port', '0'], /^(http:.*)\/$/)
])
if (!flags.gateway) console.error('Go builds the gateway')
const [gateway] = await run([...flags.gateway ? [flags.gateway] : ['go', 'run', './cmd/server'],
  '--listen', '127.0.0.1:0', '--dev-http', '127.0.0.1:0', '--allow-origin', site, '--dht', 'off', '--log-level', 'warn', '--drain', '1s',
  '--dat', '--dat-dns', dns, '--dat-bootstrap', 'none', '--dial-allow', '127.0.0.0/8'
], /"info":"([^"]*)\/\.well-known/, { cwd: here('../../..'), detached: !flags.gateway })
console.log(`
  Open           ${site}/?gateway=${gateway}#${drive}
  Type a line    and it is a line of news.txt, in the page too
  Ctrl-C         ends everything
`)
