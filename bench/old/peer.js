// node peer.js {"port": PORT, "dns": [HOST:PORT], "dht": [HOST:PORT]}: the peers, which both gateways find
// in the same way: a hyperdiscovery 9 that holds hyperdrives and listens on the port, and a plain TCP
// service that sends and echoes. Commands:
//   archives n   puts n new archives with a /dat.json online
//   topics n     puts the service on n new topics
//   sent         tells how many bytes the service has sent on its last connection
// A client of the service first sends h, which the service answers with H. Then it sends b, and gets
// up to 1 GiB; or e, and gets what it sends.
const net = require('net')
const { randomBytes } = require('crypto')
const { need, say, options, confine, serve } = require('./old.js')
const hyperdiscovery = need('hyperdiscovery-9')
const hyperdrive = need('hyperdrive')
const ram = need('random-access-memory')
const discovery = need('discovery-channel')

const GIB = 1 << 30
const block = randomBytes(64 << 10)
let last = { sent: 0 }

function flood (socket) {
  const state = last = { sent: 0 }
  const more = () => {
    while (!socket.destroyed && state.sent < GIB) {
      state.sent += block.length
      if (!socket.write(block)) return
    }
  }
  socket.on('drain', more)
  more()
}

function talk (socket) {
  socket.setNoDelay(true)
  socket.on('error', () => {})
  socket.on('end', () => socket.destroy())
  let heard = ''
  socket.on('data', bytes => {
    for (let i = 0; i < bytes.length; i++) {
      if (heard === 'he') return socket.write(bytes.subarray(i))
      heard = (heard + String.fromCharCode(bytes[i])).slice(0, 3)
      if (heard === 'h') socket.write('H')
      else if (heard === 'hb') flood(socket)
      else if (heard !== 'he') return socket.destroy()
    }
  })
}

async function main ({ port, dns, dht }) {
  const swarm = hyperdiscovery(options({ port, dht }))
  confine(swarm, dns)
  await new Promise(resolve => swarm.once('listening', resolve))
  const service = net.createServer(talk)
  await new Promise(resolve => service.listen(0, resolve))
  const channel = discovery({ hash: false, dht: options({ dht }).dht, dns: dns ? { server: dns, domain: 'dat.local', multicast: false } : false })
  serve({
    async archives ({ n }) {
      const all = []
      for (let i = 0; i < n; i++) {
        const archive = hyperdrive(ram)
        await new Promise((resolve, reject) => archive.writeFile('/dat.json', '{"title":"old"}', error => error ? reject(error) : resolve()))
        swarm.add(archive)
        all.push({ key: archive.key.toString('hex'), discoveryKey: archive.discoveryKey.toString('hex') })
      }
      return { all }
    },
    async topics ({ n }) {
      const all = Array.from({ length: n }, () => randomBytes(32))
      await Promise.all(all.map(id => new Promise((resolve, reject) => channel.join(id, service.address().port, error => error ? reject(error) : resolve()))))
      return { all: all.map(id => id.toString('hex')) }
    },
    sent: () => last
  })
  say('ready')
}

main(JSON.parse(process.argv[2]))
