// node original.js {"port": PORT, "dns": [HOST:PORT], "dht": [HOST:PORT]}: the server of
// discovery-swarm-stream, as its README sets it up, for pages over WebSocket and for programs over TCP.
const http = require('http')
const net = require('net')
const { need, say, options, confine, serve } = require('./old.js')
const Server = need('discovery-swarm-stream/server')
const websocket = need('websocket-stream')

async function main ({ port, dns, dht }) {
  const swarm = new Server(options({ port, dht }))
  confine(swarm._discovery, dns)
  await new Promise(resolve => swarm._discovery.once('listening', resolve))
  const pages = http.createServer()
  websocket.createServer({ server: pages }, stream => {
    stream.on('error', () => {})
    swarm.addClient(stream)
  })
  const programs = net.createServer(socket => {
    socket.setNoDelay(true) // else it waits 40 ms for the acknowledgement of each length
    socket.on('error', () => {})
    swarm.addClient(socket)
  })
  await new Promise(resolve => pages.listen(0, resolve))
  await new Promise(resolve => programs.listen(0, resolve))
  // Peers that it dials a second time may be gone by then, which would stop it.
  process.on('uncaughtException', error => console.error(String(error.stack)))
  serve({})
  say('ready', { pid: process.pid, url: `ws://127.0.0.1:${pages.address().port}`, tcp: programs.address().port })
}

main(JSON.parse(process.argv[2]))
