// Programs of the old world in a page, as they are published: all that is not theirs is where the gateway is.
import DatSDK from 'dat-sdk'
import Dat from 'dat-js'
import hyperdiscovery from 'hyperdiscovery'
import hyperdrive from 'hyperdrive'
import ram from 'random-access-memory'
import DSS from 'discovery-swarm-stream/client'
import DSW from 'discovery-swarm-web'

/** Resolves with a file of an archive as text, as soon as it is there. */
function read (archive, name) {
  return new Promise((resolve, reject) => {
    const attempt = () => archive.readFile(name, 'utf-8', (error, text) => {
      if (!error) resolve(text)
      else if (/not be found|ENOENT|No such/i.test(String(error))) archive.metadata.update(attempt)
      else reject(error)
    })
    archive.ready(error => { error ? reject(error) : archive.metadata.length ? attempt() : archive.metadata.update(attempt) })
  })
}

const open = {}
const programs = {
  hyperdiscovery ({ gateway, key }) {
    const archive = hyperdrive(ram, key, { sparse: true })
    const swarm = hyperdiscovery(archive, { discovery: gateway })
    return { archive, emitter: swarm, count: () => swarm.totalConnections, close: () => swarm.close() }
  },
  'dat-sdk' ({ gateway, key }) {
    const sdk = DatSDK({ swarmOpts: { discovery: gateway } })
    const archive = sdk.Hyperdrive(key, { persist: false })
    return { archive, close: () => new Promise(resolve => sdk.destroy(resolve)) }
  },
  'dat-js' ({ gateway, key }) {
    const dat = new Dat({ discovery: gateway })
    const archive = dat.get(`dat://${key}`, { persist: false })
    return { archive, emitter: dat.swarm, count: () => dat.swarm.connections.length, close: () => new Promise(resolve => { dat.swarm.once('close', resolve); dat.close() }) }
  },
  // A class that extends the client of discovery-swarm-stream, as in its README.
  'discovery-swarm-stream' ({ gateway, key, options }) {
    const archive = hyperdrive(ram, key, { sparse: true })
    class Mine extends DSS {
      constructor (options) {
        super(options)
        this.mine = true
      }
    }
    const swarm = new Mine({ connection: gateway, stream: () => archive.replicate({ sparse: true, live: true }), ...options })
    archive.ready(() => swarm.join(archive.discoveryKey))
    return { archive, emitter: swarm, count: () => swarm.connected, close: () => new Promise(resolve => swarm.close(resolve)) }
  },
  // The other end of a page's archive, by discovery-swarm-web alone: it creates one, and writes a file.
  create ({ gateway }) {
    const archive = hyperdrive(ram)
    const swarm = new DSW({ discovery: gateway, stream: () => archive.replicate({ live: true }) })
    archive.ready(() => {
      archive.writeFile('/dat.json', 'of a page', () => swarm.join(archive.discoveryKey))
    })
    return { archive, emitter: swarm, count: () => swarm.connections.length, close: () => new Promise(resolve => swarm.destroy(resolve)) }
  },
  // The example of discovery-swarm-web.
  'discovery-swarm-web' ({ gateway, key }) {
    const archive = hyperdrive(ram, key, { sparse: true })
    DSW.defaultGateway = gateway
    const swarm = DSW({ stream: () => archive.replicate({ live: true }) })
    archive.ready(() => swarm.join(archive.discoveryKey))
    return { archive, emitter: swarm, count: () => swarm.connections.length, close: () => new Promise(resolve => swarm.destroy(resolve)) }
  }
}

const EVENTS = ['listening', 'peer', 'connecting', 'handshaking', 'handshake-timeout', 'connection', 'connection-closed', 'redundant-connection', 'disconnected', 'error']

/** Starts a program, and returns a file of the archive that it holds. */
globalThis.start = async ({ program, file, ...args }) => {
  const p = open[program] = programs[program](args)
  p.events = []
  for (const event of p.emitter ? EVENTS : []) {
    p.emitter.on(event, (...args) => {
      const info = args.find(a => a?.type === 'proxy')
      p.events.push({ event, ...info && { ...info, channel: info.channel.toString('hex') }, ...args[0] instanceof Error && { error: String(args[0]) } })
    })
  }
  const text = await read(p.archive, file)
  return { text, key: p.archive.key.toString('hex'), discoveryKey: p.archive.discoveryKey.toString('hex') }
}

/**
 * Joins a name with peers that hash it and shake hands, and returns what a peer sends back, and how
 * its stream ended.
 */
globalThis.echo = ({ gateway, name, text }) => new Promise((resolve, reject) => {
  const swarm = new DSS({ url: gateway, defaultHash: true, defaultHandshake: true })
  const events = []
  swarm.on('error', reject)
  swarm.join(name)
  swarm.on('connection', (stream, info) => {
    let back = ''
    stream.setEncoding('utf8')
    stream.on('data', data => {
      back += data
      if (back.length >= text.length) stream.end()
    })
    for (const event of ['end', 'finish', 'close']) stream.on(event, () => events.push(event))
    stream.on('close', () => swarm.close(() => resolve({ back, events: events.sort(), channel: info.channel.toString(), network: info.network, initiator: info.initiator })))
    stream.write(text)
  })
})

/**
 * Has a program join `n` topics, and returns the errors that it is told, up to when the gateway has
 * answered for all of them.
 */
globalThis.many = async ({ program, gateway, n }) => {
  const options = { discovery: gateway, networks: ['client'] }
  const swarm = program === 'hyperdiscovery' ? hyperdiscovery({ discovery: gateway }) : new DSS(options)
  const keys = Array.from({ length: n }, (_, i) => Buffer.alloc(32, i + 1))
  const errors = []
  swarm.on('error', ({ code, channel }) => { errors.push({ code, index: keys.findIndex(key => key.equals(channel)) }) })
  const join = (key, ...args) => (swarm._swarm ?? swarm).join(key, ...args)
  for (const key of keys) swarm.rejoin ? swarm.rejoin(key) : join(key)
  await new Promise(resolve => join(Buffer.alloc(32, 255), resolve))
  await new Promise(resolve => { swarm._swarm ? swarm.close().then(resolve) : swarm.close(resolve) })
  return errors
}

/** Returns another file, once it is there. */
globalThis.read = async ({ program, file }) => ({ text: await read(open[program].archive, file) })
globalThis.report = ({ program }) => ({ events: open[program].events, count: open[program].count?.() })
globalThis.stop = ({ program }) => open[program].close().then(() => null)
