// One of the parts by which old peers find each other, as npm has it: find.mjs ROLE OPTIONS.
//   dns      dns-discovery, which is a server if the options have the field listen
//   dht      a node of bittorrent-dht 11
//   channel  discovery-channel, whose dht is bittorrent-dht 7
// All addresses come from the options, so that nobody outside is asked. See package test/node for
// how it talks with its test.
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)
const [role, text] = process.argv.slice(2)
const options = JSON.parse(text)

const say = (event, more = {}) => console.log(JSON.stringify({ event, ...more }))
const hex = (b) => (typeof b === 'string' ? b : Buffer.from(b).toString('hex'))

function dns () {
  const node = require('dns-discovery')(options)
  const heard = [] // what was told with questions, in the order in which it came
  node.on('traffic', (type, { message }) => {
    if (type !== 'in:query') return
    for (const a of message.additionals || []) if (a.type === 'TXT') heard.push(a.data.map(String).filter((s) => !s.startsWith('token=')).join(' '))
  })
  node.on('peer', (id, peer) => say('peer', { id, at: `${peer.host}:${peer.port}` }))
  node.on('error', (err) => say('error', { text: err.message }))
  const commands = {
    announce: ({ id, port }) => node.announce(id, port, (err) => say('announced', { text: err && err.message })),
    lookup: ({ id }) => node.lookup(id, (err) => say('looked', { text: err && err.message })),
    unannounce: ({ id, port }) => node.unannounce(id, port),
    rotate: () => { node._rotateSecrets(); node._rotateSecrets(); say('rotated') },
    list: () => say('list', { all: node.toJSON().map((e) => ({ id: e.name, at: e.records.map((r) => r.address) })), heard })
  }
  if (!options.listen) return { commands, port: 0 }
  return new Promise((resolve) => node.listen(options.listen, () => resolve({ commands, port: options.listen })))
}

async function dht () {
  const { default: DHT } = await import('bittorrent-dht')
  const node = new DHT({ bootstrap: options.bootstrap || false, host: options.host })
  node.on('peer', (peer, id) => say('peer', { id: hex(id), at: `${peer.host}:${peer.port}` }))
  node.on('announce', (peer, id) => say('announce', { id: hex(id), at: `${peer.host}:${peer.port}` }))
  node.on('error', (err) => say('error', { text: err.message }))
  await new Promise((resolve) => node.listen(options.port || 0, options.host, resolve))
  if (options.bootstrap && options.bootstrap.length) node.on('ready', () => say('joined', { nodes: node.nodes.count() }))
  const commands = {
    announce: ({ id, port }) => node.announce(id, port, (err) => say('announced', { text: err && err.message })),
    lookup: ({ id }) => node.lookup(id, (err, n) => say('looked', { text: err && err.message, n })),
    nodes: () => say('nodes', { nodes: node.nodes.count() })
  }
  return { commands, port: node.address().port }
}

function channel () {
  const node = require('discovery-channel')({ ...options, hash: false })
  node.on('peer', (id, peer, type) => say('peer', { id: hex(id), at: `${peer.host}:${peer.port}`, type }))
  node.on('error', (err) => say('error', { text: err.message }))
  const commands = {
    join: ({ id, port }) => node.join(Buffer.from(id, 'hex'), port || undefined, (err) => say('joined', { text: err && err.message })),
    leave: ({ id, port }) => node.leave(Buffer.from(id, 'hex'), port || undefined)
  }
  return { commands, port: 0 }
}

const { commands, port } = await { dns, dht, channel }[role]()
createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line)
  commands[command.do](command)
}).on('close', () => process.exit())
say('ready', { port })
