// A client in Node of a relay at a TCP address:
//   node client.mjs HOST:PORT read KEY BLOCKS    prints what read.js returns
//   node client.mjs HOST:PORT custodial    gives the relay a secret key, and prints {"secretKey": "…", "closed": true}
//     when that has ended it
//   node client.mjs HOST:PORT meet    meets the peer that floods, and prints {"met": true}
import net from 'node:net'
import { hyperswarm } from '../../web/examples/hyperswarm/client.js'
import { require } from './modules.mjs'
import { read } from './read.js'
const DHT = require('@hyperswarm/dht-relay')
const FramedStream = require('framed-stream')
const Hypercore = require('hypercore')
const RAM = require('random-access-memory')

const say = object => process.stdout.write(JSON.stringify(object) + '\n')
const [address, what, key, blocks] = process.argv.slice(2)
const [host, port] = address.split(':')
const socket = net.connect(Number(port), host)
if (what === 'meet') {
  const hyper = hyperswarm(socket)
  hyper.once('connection', () => say({ met: true }))
  hyper.join(Buffer.alloc(32, 0xff), { server: false })
} else if (what === 'custodial') {
  const { defaultKeyPair } = new DHT(new FramedStream(socket, { bits: 24 }))
  socket.once('close', () => say({ secretKey: defaultKeyPair.secretKey.toString('hex'), closed: true }))
} else {
  say(await read({ hyperswarm, Hypercore, RAM }, socket, { key, blocks: Number(blocks) }))
  process.exit()
}
