// Peers of the old world for tests in Go: peers.js ROLE OPTIONS. All addresses come from the options, so that nobody outside is
// asked. See package test/node for how it talks with its test.
//   hyper   hyperdiscovery 9 or 10 (version) with hyperdrives in folders (archives), which listens at a port
//   swarm   discovery-swarm 5 or 6 (version) with its default handshake, on keys (join)
//   reader  a hyperdrive (key) that is replicated over a TCP connection to a port, and reads a file of it
const path = require('path')
const net = require('net')
const { createInterface } = require('readline')

const [role, text] = process.argv.slice(2)
const options = JSON.parse(text)
const say = (event, more) => console.log(JSON.stringify({ event, ...more }))

// hyperdiscovery has no options for where peers are found, and takes these defaults.
function setDefaults (from) {
  const file = require.resolve('dat-swarm-defaults', { paths: [path.dirname(require.resolve(from))] })
  require(file)
  require.cache[file].exports = opts => ({ ...opts, dns: options.dns || false, dht: options.dht || false })
}

function archives (done) {
  const hyperdrive = require('hyperdrive')
  const list = options.archives.map(dir => hyperdrive(dir))
  let missing = list.length
  for (const archive of list) {
    archive.ready(() => {
      if (archive.version > 0) return --missing || done(list)
      const about = { title: 'an archive', key: archive.key.toString('hex') }
      archive.writeFile('/dat.json', JSON.stringify(about, null, 2) + '\n', err => {
        if (err) throw err
        if (!--missing) done(list)
      })
    })
  }
}

function hyper () {
  const from = options.version === 10 ? 'hyperdiscovery' : 'hyperdiscovery-9'
  setDefaults(from)
  const hyperdiscovery = require(from)
  archives(list => {
    const node = hyperdiscovery({ utp: false, port: options.port })
    node.on('connection', (stream, info) => {
      say('connection', { at: `${info.host}:${info.port}`, initiator: info.initiator, id: info.id && info.id.toString('hex') })
    })
    node.on('connection-closed', (stream, info) => say('closed', { at: `${info.host}:${info.port}` }))
    node.on('redundant-connection', () => say('redundant'))
    node.on('error', err => say('error', { text: err.message }))
    node.on('listening', port => {
      for (const archive of list) node.add(archive)
      say('ready', { port, archives: list.map(a => ({ key: a.key.toString('hex'), topic: a.discoveryKey.toString('hex') })) })
    })
  })
}

function swarm () {
  const node = require(options.version === 6 ? 'discovery-swarm' : 'discovery-swarm-5')({
    utp: false, hash: false, dns: options.dns || false, dht: options.dht || false
  })
  node.on('connection', (stream, info) => {
    say('connection', { at: `${info.host}:${info.port}`, initiator: info.initiator, id: info.id.toString('hex') })
    stream.on('data', data => {
      say('data', { text: data.toString() })
      stream.write('echo of ' + data)
    })
    stream.on('error', () => {})
    stream.on('close', () => say('closed', { at: `${info.host}:${info.port}` }))
    stream.write('hello from ' + node.id.toString('hex'))
  })
  node.on('redundant-connection', () => say('redundant'))
  node.on('error', err => say('error', { text: err.message }))
  node.listen(options.port, () => {
    for (const key of options.join) node.join(Buffer.from(key, 'hex'))
    say('ready', { port: node.address().port, id: node.id.toString('hex') })
  })
}

function reader () {
  const archive = require('hyperdrive')(require('random-access-memory'), Buffer.from(options.key, 'hex'))
  archive.on('error', err => say('error', { text: err.message }))
  archive.ready(() => {
    const socket = net.connect(options.port, '127.0.0.1')
    const stream = archive.replicate({ live: true })
    for (const s of [socket, stream]) s.on('error', err => say('error', { text: err.message }))
    socket.pipe(stream).pipe(socket)
    archive.readFile('/dat.json', (err, data) => say('file', err ? { text: err.message } : { data: data.toString('base64') }))
  })
}

createInterface({ input: process.stdin }).on('close', () => process.exit())
;({ hyper, swarm, reader })[role]()
