// Peers of the old world that find each other by a dns-discovery server alone: old.js ROLE HOST:PORT.
//   archive  a hyperdrive 9 on hyperdiscovery 9. {write: name, text} writes a file
//   echo     discovery-swarm 6 with its own hash and handshake, on the topic wowcool, which sends back what it gets
// See package test/node for how it talks with its test.
const { createInterface } = require('readline')
const discoverySwarm = require('discovery-swarm')
const hyperdiscovery = require('hyperdiscovery-9')
const hyperdrive = require('hyperdrive')
const ram = require('random-access-memory')

const [role, server] = process.argv.slice(2)
const dns = { server, domain: 'dat.local', multicast: false }
const say = (event, more) => console.log(JSON.stringify({ event, ...more }))
const roles = {
  archive () {
    const archive = hyperdrive(ram)
    const swarm = hyperdiscovery({ utp: false, dht: false, autoListen: false })
    swarm._port = 0 // it has no option for any port
    swarm._swarm._options.dns = dns // nor for its servers
    swarm.on('listening', port => say('ready', { key: archive.key.toString('hex'), discoveryKey: archive.discoveryKey.toString('hex'), port }))
    swarm.on('connection-closed', () => say('closed', { left: swarm.totalConnections }))
    archive.ready(() => {
      swarm.listen()
      swarm.add(archive)
    })
    return { write: ({ write, text }) => archive.writeFile(write, text, error => say('written', { error: error && String(error) })) }
  },
  echo () {
    const swarm = discoverySwarm({ utp: false, dht: false, dns })
    swarm.on('connection', (connection, info) => {
      say('connection', { id: info.id.toString('hex') })
      connection.on('error', () => {})
      connection.pipe(connection)
    })
    swarm.on('connection-closed', () => say('closed', { left: swarm.connections.length }))
    swarm.on('listening', () => say('ready', { port: swarm.address().port, id: swarm.id.toString('hex') }))
    swarm.listen(0)
    swarm.join('wowcool')
    return {}
  }
}

const commands = roles[role]()
createInterface({ input: process.stdin }).on('line', line => {
  const command = JSON.parse(line)
  for (const name of Object.keys(commands)) if (command[name] !== undefined) commands[name](command)
}).on('close', () => process.exit())
