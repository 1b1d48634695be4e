// A relay between Hyperswarm's DHT and clients that connect by TCP. Each client has a DHT node of its own, which
// ends with it:
//   node relay.js [--listen 127.0.0.1:49443] [--clients 32] [--waiting 32] [--bootstrap HOST:PORT]… [--bind ADDRESS]
// --clients is how many there may be at once. --waiting is how many MiB may wait for one of them, or for a peer of
// it: who has more is disconnected. --bootstrap is for another DHT than the public one, --bind for an address that
// others reach as it is. It prints {"listen": "HOST:PORT"} once it listens.
import { createServer } from 'node:net'
import { parseArgs } from 'node:util'
import { relay } from '@hyperswarm/dht-relay'
import FramedStream from 'framed-stream'
import HyperDHT from 'hyperdht'

const { values: flags } = parseArgs({
  options: {
    listen: { type: 'string', default: '127.0.0.1:49443' },
    clients: { type: 'string', default: '32' },
    waiting: { type: 'string', default: '32' },
    bootstrap: { type: 'string', multiple: true },
    bind: { type: 'string' }
  }
})

/** Destroys a stream once more than --waiting is written to it and not taken yet. Returns the stream. */
function bound (stream) {
  const { write, _write } = stream
  let waiting = 0
  stream.write = function (data) {
    waiting += data.byteLength
    if (waiting > flags.waiting * 1024 * 1024) this.destroy(new Error('too slow'))
    return write.call(this, data)
  }
  stream._write = function (data, cb) {
    _write.call(this, data, err => {
      waiting -= data.byteLength
      cb(err)
    })
  }
  return stream
}

/** Returns a handshake that takes the first answer: two nodes may bring the peer's, and dht-relay expects one. */
function single (handshake) {
  const recv = handshake.recv.bind(handshake)
  let answered = false
  handshake.recv = async noise => {
    if (answered) return null
    answered = true
    return recv(noise)
  }
  return handshake
}

/** Returns a stream that says something at once: a peer may give up before a slow client's first bytes. */
function eager (stream) {
  const { start } = stream
  stream.start = function (rawStream, options) {
    start.call(this, rawStream, options)
    rawStream.trySend(Buffer.alloc(0)) // apart from the stream's bytes; peers ignore a message that is too short
  }
  return stream
}

/** Returns the options of a connection, or a server, with what is above. */
const careful = ({ createHandshake, createSecretStream, ...options }) => ({
  ...options,
  createHandshake: (...args) => single(createHandshake(...args)),
  createSecretStream: (...args) => eager(bound(createSecretStream(...args)))
})

class Node extends HyperDHT {
  connect (key, options) { return super.connect(key, careful(options)) }
  createServer (options, listener) { return super.createServer(careful(options), listener) }
}

// dht-relay throws at messages that it does not understand, and must not end the other clients then.
process.on('uncaughtException', err => console.error(err))

const server = createServer(socket => {
  const dht = new Node({ bootstrap: flags.bootstrap, host: flags.bind, firewalled: !flags.bind })
  const stream = bound(new FramedStream(socket, { bits: 24 }))
  stream.on('error', () => {}) // a client that is gone, or too slow
  stream.on('close', () => dht.destroy({ force: true }).catch(console.error))
  relay(dht, stream).then(client => {
    if (client._defaultKeyPair.secretKey) stream.destroy() // it is custodial, and gave away its secret key
  })
})
server.maxConnections = Number(flags.clients)
server.on('error', err => {
  console.error(String(err))
  process.exit(1)
})
const [, host, port] = /^(.*):(\d+)$/.exec(flags.listen)
server.listen(port, host, () => console.log(JSON.stringify({ listen: `${server.address().address}:${server.address().port}` })))
