// A native peer on js-libp2p, written from docs/PROTOCOL.md alone: sections 3, 4 and 10 to 12, and
// appendix B.
//
//   node peer.mjs --topic NAME|HEX --seed MULTIADDR [--listen MULTIADDR] [--mode announce|lookup]
//
// It announces the topic on the private DHT, or looks for hosts and sends them MEET; it echoes
// what first circuits bring, and does with further ones what their first byte says
// (test/native/streams_test.go). Each event is a line of JSON on stdout: ready, announced, met,
// refused, opened, ended, unread, hundred, left, lost. Lines on its stdin are commands, and it
// ends when that does:
//
//   hundred N SIZE   opens N further circuits at once, with the endpoint whose circuit began last, and sends SIZE bytes on each
//   unread           says what the circuit ended with that the other side did not read
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { byteStream } from '@libp2p/utils'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'

Promise.withResolvers ??= function () { // Node 20 lacks it
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}

const PROTOCOL = '/swarmgate/peer/1'
const REFUSED = 0x11, MEET = 0x20, MET = 0x21, ENDPOINTS = 0x22, OPEN = 0x23, OPENED = 0x24, HOST = 0x25, PART = 0x26, GUESS = 0x27
const NONE = 0x00, BAD = 0x02, FORBIDDEN = 0x06, PEER_UNREACHABLE = 0x0e, LEFT = 0x12 // BAD is PROTOCOL
const FURTHER = 1 // of OPEN's flags
const UNREAD = 16 << 20 // bytes on a circuit that nobody reads
const PATIENCE = 10_000 // ms, for a first frame and for an answer
const NOBODY = Buffer.alloc(16) // the endpoint of a native peer
const ZEROS = Buffer.alloc(32)

const { values: args } = parseArgs({
  options: {
    topic: { type: 'string' },
    seed: { type: 'string', multiple: true, default: [] },
    listen: { type: 'string', default: '/ip4/127.0.0.1/tcp/0' },
    mode: { type: 'string', default: 'announce' }
  }
})
if (!args.topic || !['announce', 'lookup'].includes(args.mode)) {
  console.error('usage: peer.mjs --topic NAME|HEX --seed MULTIADDR [--listen MULTIADDR] [--mode announce|lookup]')
  process.exit(2)
}
const sha256 = (...parts) => parts.reduce((h, p) => h.update(p), createHash('sha256')).digest()
const topic = /^[0-9a-fA-F]{64}$/.test(args.topic) ? Buffer.from(args.topic, 'hex') : sha256(args.topic)
const digest = sha256('swarmgate/topic/1\0', topic)
const cid = CID.createV1(0x55, Digest.create(0x12, digest))
const say = (event, more) => process.stdout.write(JSON.stringify({ event, ...more }) + '\n')

// Frames.

function varint (n) {
  if (n < 64) return Buffer.of(n)
  const b = Buffer.alloc(n < 16384 ? 2 : 4)
  if (b.length === 2) b.writeUInt16BE(n | 0x4000)
  else b.writeUInt32BE((n | 0x80000000) >>> 0)
  return b
}

function frame (type, ...parts) {
  const payload = Buffer.concat(parts)
  return Buffer.concat([varint(type), varint(payload.length), payload])
}

async function readVarint (bytes, options) {
  const [first] = (await bytes.read({ ...options, bytes: 1 })).subarray()
  const rest = (1 << (first >> 6)) - 1
  let n = first & 63
  if (rest > 0) for (const b of (await bytes.read({ ...options, bytes: rest })).subarray()) n = n * 256 + b
  return n
}

async function readFrame (bytes, options) {
  const type = await readVarint(bytes, options)
  const length = await readVarint(bytes, options)
  if (length > 16384) throw new Error('TOO_LARGE')
  const payload = length === 0 ? Buffer.alloc(0) : Buffer.from((await bytes.read({ ...options, bytes: length })).subarray())
  return { type, payload }
}

const isKnown = type => (type > 0 && type <= REFUSED) || (type >= MEET && type <= GUESS)

// readAnswer reads frames until one of a type, and skips those that it does not know.
async function readAnswer (bytes, type, options) {
  for (;;) {
    const f = await readFrame(bytes, options)
    if (f.type === type) return new Fields(f.payload)
    if (isKnown(f.type)) throw new Error(`PROTOCOL: frame 0x${f.type.toString(16)}`)
  }
}

class Fields {
  #b
  constructor (b) { this.#b = b }
  fixed (n) {
    if (this.#b.length < n) throw new Error('PROTOCOL: too short')
    const f = this.#b.subarray(0, n)
    this.#b = this.#b.subarray(n)
    return f
  }

  varint () {
    const first = this.fixed(1)[0]
    return this.fixed((1 << (first >> 6)) - 1).reduce((n, b) => n * 256 + b, first & 63)
  }

  endpoints () {
    const more = this.varint() % 2 === 1
    const count = this.varint()
    if (count > 64) throw new Error('TOO_LARGE')
    return { more, list: Array.from({ length: count }, () => this.fixed(16).toString('hex')) }
  }
}

const mine = Buffer.concat([varint(0), varint(1), NOBODY]) // nothing to say of it, one endpoint

// Proofs.

const binary = peer => Buffer.from(peer.toMultihash().bytes)
const proof = (label, from, to, ...more) => createHmac('sha256', topic)
  .update(Buffer.concat([Buffer.from(label), binary(from), binary(to), ...more].flatMap(b => [varint(b.length), b])))
  .digest()

// known says whether a frame's sender knows the topic. It works as much for a topic that is not
// ours.
const known = (d, p, label, from) => timingSafeEqual(p, proof(label, from, node.peerId)) & timingSafeEqual(d, digest)

// Links: one control stream with each host.

const run = randomBytes(16)
const hello = frame(HOST, varint(0), run)
const links = new Map() // by peer id in text, of { stream, bytes, gateway, asked, met, opened }
const trying = new Map() // by peer id in text, of our streams on which the other host has not said HOST yet

async function served (stream, connection) {
  const peer = connection.remotePeer
  const bytes = byteStream(stream)
  const { type, payload } = await readFrame(bytes, { signal: AbortSignal.timeout(PATIENCE) })
  const f = new Fields(payload)
  if (type === HOST) await hostServed(stream, bytes, peer, f)
  else if (type === OPEN) await openServed(stream, bytes, peer, f)
  else throw new Error('PROTOCOL: neither HOST nor OPEN')
}

async function hostServed (stream, bytes, peer, f) {
  const flags = f.varint()
  f.fixed(16) // run: this peer remembers nothing of a host that has left
  const ours = trying.get(peer.toString())
  if (ours && smaller(node.peerId, peer)) throw new Error('REPLACED: our own stream stays')
  trying.delete(peer.toString())
  ours?.abort(new Error('replaced'))
  await bytes.write(hello)
  await hold(peer, stream, bytes, flags)
}

// sendMeet meets a host that was found.
async function sendMeet (peer) {
  const name = peer.toString()
  if (trying.has(name)) return
  const link = links.get(name)
  if (link) return link.meet()
  const signal = AbortSignal.timeout(PATIENCE)
  let stream
  try {
    const connection = await node.dial(peer, { signal })
    stream = await connection.newStream(PROTOCOL, { signal })
    trying.set(name, stream)
    const bytes = byteStream(stream)
    await bytes.write(hello, { signal })
    const flags = (await readAnswer(bytes, HOST, { signal })).varint()
    if (trying.get(name) !== stream) throw new Error('replaced')
    trying.delete(name)
    await hold(peer, stream, bytes, flags, l => l.meet())
  } catch (e) {
    stream?.abort(e)
    say('unmet', { peer: name, error: String(e) })
  } finally {
    if (trying.get(name) === stream) trying.delete(name)
  }
}

// hold has a link until it ends.
async function hold (peer, stream, bytes, flags, begin) {
  const name = peer.toString()
  const link = {
    stream,
    asked: false, // MEET was sent, MET has not come
    met: false,
    meet (flags = 0) {
      if (this.asked || this.met) return
      this.asked = true
      return bytes.write(frame(MEET, digest, proof('meet', node.peerId, peer), varint(flags), mine))
    },
    part: () => bytes.write(frame(PART, digest, varint(LEFT)))
  }
  links.get(name)?.stream.abort(new Error('replaced'))
  links.set(name, link)
  try {
    await begin?.(link)
    for (;;) await heard(peer, link, bytes, (flags & 1) !== 0, await readFrame(bytes))
  } catch (e) {
    stream.abort(e)
  }
  if (links.get(name) === link) {
    links.delete(name)
    if (link.met) say('lost', { peer: name })
  }
}

// heard acts on a frame of a link.
async function heard (peer, link, bytes, gateway, { type, payload }) {
  const name = peer.toString()
  const f = new Fields(payload)
  const met = (sent, endpoints) => {
    link.met = true
    say('met', { peer: name, gateway, sent, endpoints: endpoints.list })
    if (gateway || smaller(peer, node.peerId)) return // the other one opens
    for (const e of endpoints.list) sendOpen(peer, Buffer.from(e, 'hex')).then(c => c.echo()).catch(err => say('unopened', { peer: name, error: String(err) }))
  }
  if (type === MEET) {
    const d = f.fixed(32), p = f.fixed(32)
    f.varint() // flags
    const endpoints = f.endpoints()
    if (!known(d, p, 'meet', peer)) {
      await bytes.write(frame(MET, d, varint(FORBIDDEN), ZEROS, varint(0), varint(0)))
      return
    }
    await bytes.write(frame(MET, d, varint(NONE), proof('met', node.peerId, peer), mine))
    if (!link.met) met(false, endpoints)
  } else if (type === MET) {
    const d = f.fixed(32), code = f.varint(), p = f.fixed(32), endpoints = f.endpoints()
    if (!link.asked || !d.equals(digest)) throw new Error('PROTOCOL: MET without MEET')
    link.asked = false
    if (code !== NONE) return say('refused', { peer: name, code })
    if (!timingSafeEqual(p, proof('met', peer, node.peerId))) throw new Error('FORBIDDEN: wrong proof')
    if (!link.met) met(true, endpoints)
  } else if (type === ENDPOINTS) {
    if (f.fixed(32).equals(digest)) say('endpoints', { peer: name, endpoints: f.endpoints().list })
  } else if (type === PART) {
    if (!f.fixed(32).equals(digest) || !link.met) return
    link.met = false
    say('left', { peer: name, code: f.varint() })
  } else if (type === GUESS) {
    const tag = proof('guess', peer, node.peerId, run).subarray(0, 8)
    const tags = Array.from({ length: f.varint() }, () => f.fixed(8))
    if (args.mode === 'announce' && tags.some(t => t.equals(tag))) await link.meet(1)
  } else if (isKnown(type)) {
    throw new Error(`PROTOCOL: frame 0x${type.toString(16)}`)
  }
}

const smaller = (a, b) => Buffer.compare(binary(a), binary(b)) < 0

// Circuits: one first circuit for each endpoint of another host, and any number of further ones.

const circuits = new Map() // by peer id and endpoint, of the streams of first circuits
const unread = Promise.withResolvers() // what the one ends with that the other side does not read
let last // what the circuit that began last is with: { peer, endpoint }

async function openServed (stream, bytes, peer, f) {
  const d = f.fixed(32), p = f.fixed(32), from = f.fixed(16), to = f.fixed(16)
  const further = f.varint() % 2 === FURTHER
  const gateway = !from.equals(NOBODY)
  let code = NONE
  if (!known(d, p, 'open', peer)) code = FORBIDDEN
  else if (!further && !gateway && smaller(node.peerId, peer)) code = BAD
  else if (!to.equals(NOBODY)) code = PEER_UNREACHABLE
  if (code !== NONE) {
    await bytes.write(frame(OPENED, varint(code), ZEROS))
    return stream.close()
  }
  await bytes.write(frame(OPENED, varint(NONE), proof('opened', node.peerId, peer)))
  last = { peer, endpoint: from }
  const circuit = new Circuit(bytes.unwrap(), peer, from, further)
  await (further ? circuit.serve() : circuit.echo())
}

// sendOpen returns a circuit with an endpoint.
async function sendOpen (peer, to, further = false) {
  const signal = AbortSignal.timeout(PATIENCE)
  const connection = await node.dial(peer, { signal })
  const stream = await connection.newStream(PROTOCOL, { signal })
  try {
    const bytes = byteStream(stream)
    await bytes.write(frame(OPEN, digest, proof('open', node.peerId, peer), NOBODY, to, varint(further ? FURTHER : 0)), { signal })
    const f = await readAnswer(bytes, OPENED, { signal })
    const code = f.varint()
    if (code !== NONE) throw new Error(`OPENED has code ${code}`)
    if (!timingSafeEqual(f.fixed(32), proof('opened', peer, node.peerId))) throw new Error('FORBIDDEN: wrong proof')
    last = { peer, endpoint: to }
    return new Circuit(bytes.unwrap(), peer, to, further)
  } catch (e) {
    stream.abort(e)
    throw e
  }
}

// Circuit is a stream after its first frames.
class Circuit {
  #stream; #told; #name
  #closed = Promise.withResolvers() // resolves after both ends, rejects after a reset
  #waiting = [] // chunks that came and were not taken
  #wake // of who waits for one
  #ended = false // no more chunks come
  #bytes = 0

  constructor (stream, peer, endpoint, further) {
    this.#stream = stream
    this.#told = { peer: peer.toString(), endpoint: endpoint.toString('hex'), further }
    this.#name = peer.toString() + endpoint.toString('hex')
    if (!further) {
      circuits.get(this.#name)?.abort(new Error('replaced'))
      circuits.set(this.#name, stream)
    }
    say('opened', this.#told)
    this.#closed.promise.then(() => this.#over(), e => this.#over(e))
    stream.addEventListener('close', e => {
      e.error ? this.#closed.reject(e.error) : this.#closed.resolve()
      this.#wake?.()
    })
    // byteStream gives back what came behind the first frame, and that is told of by 'message'
    // later. If all came with that frame, its end was told before, and is not told again.
    const end = () => {
      this.#ended = true
      this.#wake?.()
    }
    const before = stream.readableEnded
    if (!before) stream.addEventListener('end', end)
    else if (stream.readBufferLength === 0) end()
    stream.addEventListener('message', ({ data }) => {
      this.#bytes += data.byteLength
      this.#waiting.push(data)
      if (stream.readStatus === 'readable') stream.pause() // so that the sender waits
      this.#wake?.()
      if (before) end()
    })
  }

  #over (e) {
    say('ended', { ...this.#told, bytes: this.#bytes, ...e && { error: e.name } })
    if (circuits.get(this.#name) === this.#stream) circuits.delete(this.#name)
  }

  // read returns what comes next, or undefined after the end.
  async read () {
    for (;;) {
      if (this.#waiting.length > 0) return Buffer.from(this.#waiting.shift().subarray())
      if (this.#ended) return
      if (this.#stream.readStatus === 'paused') {
        this.#stream.resume()
        if (this.#waiting.length > 0) continue
      }
      await Promise.race([this.#closed.promise, new Promise(resolve => { this.#wake = resolve })])
      if (this.#stream.status === 'closed' && this.#waiting.length === 0) return
    }
  }

  // all returns what comes until the end.
  async all () {
    const chunks = []
    for (let b; (b = await this.read());) chunks.push(b)
    return Buffer.concat(chunks)
  }

  // write waits while the other side does not read.
  async write (b) {
    if (this.#stream.send(b)) return
    await Promise.race([this.#closed.promise, new Promise(resolve => this.#stream.addEventListener('drain', resolve, { once: true }))])
  }

  // end says that no more comes.
  end () { return this.#stream.close() }

  reset () { this.#stream.abort(new Error('reset')) }

  // closed resolves after both ends, and rejects after a reset.
  get closed () { return this.#closed.promise }

  // echo sends back what comes, and its end after the other's. begun is what came before.
  async echo (begun = Buffer.alloc(0)) {
    try {
      for (let b = begun; b; b = await this.read()) if (b.length > 0) await this.write(b)
      await this.end()
    } catch {} // 'ended' has said it
  }

  // serve does what the first byte says.
  async serve () {
    try {
      const first = await this.read()
      const rest = first.subarray(1)
      switch (String.fromCharCode(first[0])) {
        case 'e': return await this.echo(rest)
        case 'h': {
          const more = await this.all()
          await this.write(Buffer.concat([rest, more]))
          return await this.end()
        }
        case 'x': return this.reset()
        case 'w':
          this.write(Buffer.alloc(UNREAD)).catch(() => {})
          unread.resolve(this.closed.then(() => {}, e => e.name))
      }
    } catch {}
  }
}

// hundred opens n further circuits at once beside one that it does not read, and says what came of
// them.
async function hundred (n, size) {
  const { peer, endpoint } = last
  const got = { echoed: 0, halves: 0, resets: 0, stalled: false, failed: [] }
  const open = async purpose => {
    const c = await sendOpen(peer, endpoint, true)
    await c.write(Buffer.from(purpose))
    return c
  }
  const sentBack = async (purpose, i) => {
    const c = await open(purpose)
    const out = randomBytes(size - i)
    const writing = c.write(out).then(() => c.end())
    const back = await c.all()
    await writing
    await c.closed
    if (!back.equals(out)) throw new Error(`${back.length} bytes came back of ${out.length}, or others`)
  }
  const one = async i => {
    if (i % 10 === 1) return sentBack('h', i).then(() => got.halves++)
    if (i % 10 !== 2) return sentBack('e', i).then(() => got.echoed++)
    const c = await open('x')
    await c.closed.then(() => { throw new Error('a regular end instead of a reset') }, () => got.resets++)
  }
  try {
    const stalled = await open('w')
    await Promise.all(Array.from({ length: n }, (_, i) => one(i).catch(e => got.failed.push(`${i}: ${e}`))))
    got.stalled = (await stalled.read()).length > 0
    stalled.reset()
  } catch (e) {
    got.failed.push(String(e))
  }
  say('hundred', { ...got, failed: got.failed.slice(0, 3) })
}

// The host.

const node = await createLibp2p({
  addresses: { listen: [args.listen] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux({ maxInboundStreams: 2064, maxOutboundStreams: 2064, maxMessageSize: 64 << 10, streamOptions: { maxStreamWindowSize: 1 << 20 } })],
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({
      protocol: '/swarmgate/kad/1.0.0',
      clientMode: false,
      peerInfoMapper: passthroughMapper, // keeps loopback
      initialQuerySelfInterval: 100
    })
  }
})
await node.handle(PROTOCOL, (stream, connection) => {
  served(stream, connection).catch(e => stream.abort(e))
}, { maxInboundStreams: 2064, maxOutboundStreams: 2064 })
const commands = createInterface({ input: process.stdin })
commands.on('line', line => {
  const [command, n, size] = line.split(' ')
  if (command === 'hundred') hundred(Number(n), Number(size))
  if (command === 'unread') unread.promise.then(error => say('unread', { error }))
})
commands.on('close', async () => {
  await Promise.allSettled([...links.values()].map(l => l.part()))
  node.stop().finally(() => process.exit(0))
})
for (const s of args.seed) await node.dial(multiaddr(s))
say('ready', { id: node.peerId.toString(), binary: binary(node.peerId).toString('hex'), addrs: node.getMultiaddrs().map(String) })

const later = ms => new Promise(resolve => setTimeout(resolve, ms))
for (let wait = 100; ; wait = Math.min(wait * 2, 60_000)) {
  try {
    if (args.mode === 'announce') {
      let told = 0
      for await (const e of node.services.dht.provide(cid)) if (e.name === 'PEER_RESPONSE') told++
      if (told > 0) {
        say('announced', { told })
        wait = 600_000
      }
    } else {
      for await (const e of node.services.dht.findProviders(cid)) {
        if (e.name !== 'PROVIDER') continue
        for (const p of e.providers) {
          if (p.id.equals(node.peerId)) continue
          await node.peerStore.merge(p.id, { multiaddrs: p.multiaddrs }) // where it is
          sendMeet(p.id)
        }
      }
    }
  } catch (e) {
    say('retry', { error: String(e) })
  }
  await later(wait)
}
