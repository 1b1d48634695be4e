// What is measured, for the client of discovery-swarm-stream in a page and in Node, and for what stands
// in for it in a page. `make` is a function that returns {swarm, close} with a swarm whose gateway
// is there, unless that is not to be awaited. The packages come from where this file is used.
module.exports = ({ Duplex, hyperdrive, ram }) => {
  const now = () => performance.now()
  let progress = () => '' // what is known when a measurement takes too long
  const FILE = '{"title":"old"}'

  /** Resolves with a file of an archive as text, as soon as it is there. */
  function read (archive, name) {
    return new Promise((resolve, reject) => {
      const attempt = () => archive.readFile(name, 'utf-8', (error, text) => {
        if (!error) resolve(text)
        else if (/not be found|ENOENT|No such/i.test(String(error))) archive.metadata.update(attempt)
        else reject(error)
      })
      archive.metadata.length ? attempt() : archive.metadata.update(attempt)
    })
  }

  /** How long it takes from join, or from nothing if `cold`, to the first byte of /dat.json, in ms. */
  async function first ({ make, key, cold }) {
    const archive = hyperdrive(ram, key, { sparse: true })
    await new Promise((resolve, reject) => archive.ready(error => error ? reject(error) : resolve()))
    const options = { stream: () => archive.replicate({ sparse: true, live: true }).on('error', () => {}) }
    const began = now()
    const { swarm, close } = await make(options, !cold)
    const joined = now()
    const at = {}
    for (const event of ['handshaking', 'connection']) swarm.once(event, () => { at[event] = now() - joined })
    swarm.join(archive.discoveryKey)
    const text = await read(archive, '/dat.json')
    const took = now() - (cold ? began : joined)
    if (text !== FILE) throw new Error(`/dat.json is ${text}`)
    swarm.leave(archive.discoveryKey)
    close()
    return { took, ...at }
  }

  /** A replication stream that speaks with the service of peer.js. */
  class Wire extends Duplex {
    constructor () {
      super()
      this.ready = new Promise(resolve => { this.taken = resolve })
      this.push('h')
    }

    _read () {}
    _write (bytes, encoding, cb) {
      this.taken(bytes)
      cb()
    }

    _destroy (error, cb) { cb(null) }
  }

  /** Returns a swarm with a wire for each topic to the service. */
  async function wires (make, keys) {
    const found = new Map()
    let all
    const complete = new Promise(resolve => { all = resolve })
    const stream = ({ channel }) => {
      const wire = new Wire()
      const name = channel.toString('hex')
      wire.ready.then(() => { // others, such as the server itself, do not answer
        if (!found.has(name)) found.set(name, wire)
        if (found.size === keys.length) all()
      })
      return wire
    }
    const { swarm, close } = await make({ stream }, true)
    for (const key of keys) swarm.join(key)
    progress = () => `${found.size} of ${keys.length} wires`
    await complete
    return { swarm, wires: keys.map(key => found.get(key)), close: () => { for (const key of keys) swarm.leave(key); close() } }
  }

  /** How fast `total` bytes come over a stream for each key, in MB/s. */
  async function bulk ({ make, keys, total }) {
    const { wires: all, close } = await wires(make, keys)
    let rest = total
    progress = () => `${rest} of ${total} bytes are missing`
    const began = now()
    await new Promise(resolve => {
      for (const wire of all) {
        wire.taken = bytes => { if ((rest -= bytes.length) <= 0) resolve() }
        wire.push('b')
      }
    })
    const rate = (total - rest) / 1000 / (now() - began)
    close()
    return { rate }
  }

  /**
   * The round trips of up to `n` messages of 64 bytes, in ms, sorted; beside a bulk stream if there are two keys. After
   * 10 s it ends, and the one that is under way counts as if it were back.
   */
  async function echo ({ make, keys, n }) {
    const { wires: [wire, bulk], close } = await wires(make, keys)
    if (bulk) {
      let begun
      const begins = new Promise(resolve => { begun = resolve })
      let bytes = 0
      bulk.taken = b => { if ((bytes += b.length) > 4 << 20) begun() }
      bulk.push('b')
      await begins
    }
    const trips = []
    const end = now() + 10_000
    wire.push('e')
    for (let i = 0; i < n && now() < end; i++) {
      let missing = 64
      const began = now()
      await new Promise(resolve => {
        setTimeout(resolve, end - began)
        wire.taken = bytes => { if ((missing -= bytes.length) <= 0) resolve() }
        wire.push(Buffer.alloc(64))
      })
      trips.push(now() - began)
    }
    close()
    return { trips: trips.sort((a, b) => a - b) }
  }

  /** Has a measurement fail if it takes a minute. */
  const bounded = f => args => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`it took too long: ${progress()}`)), 60_000)
    f(args).then(resolve, reject).finally(() => clearTimeout(timer))
  })

  return { wires, first: bounded(first), bulk: bounded(bulk), echo: bounded(echo) }
}
