// A program for the client of discovery-swarm-stream in a page. It is bundled twice: with that client,
// and with what stands in for it.
const Swarm = require('discovery-swarm-stream/client')
const websocket = require('websocket-stream')
const measure = require('./measure.js')({ ...require('readable-stream'), hyperdrive: require('hyperdrive'), ram: require('random-access-memory') })

/** What the client's README does: a WebSocket to the server. */
const original = url => async (options, wait) => {
  const connection = websocket(url)
  if (wait) await new Promise((resolve, reject) => connection.once('connect', resolve).once('error', reject))
  const swarm = new Swarm({ connection, ...options })
  return { swarm, close: () => { swarm.close(); connection.destroy() } }
}

/** The same with an address of a gateway in place of the WebSocket. A topic that is joined says that it is there. */
const gateway = url => async (options, wait) => {
  const swarm = new Swarm({ url, ...options })
  if (wait) {
    const nobody = Buffer.from(crypto.getRandomValues(new Uint8Array(32)))
    await new Promise((resolve, reject) => swarm.join(nobody, { networks: ['client'] }, error => error ? reject(error) : resolve()))
    swarm.leave(nobody)
  }
  return { swarm, close: () => swarm.close() }
}

for (const name of ['first', 'bulk', 'echo']) {
  globalThis[name] = ({ url, ...args }) => measure[name]({ make: (url.startsWith('ws:') ? original : gateway)(url), ...args })
}
