// A native peer on js-libp2p, written from docs/PROTOCOL.md alone: sections 3, 4 and 10 to 12, and appendix B.
//
//   node peer.mjs --topic NAME|HEX --seed MULTIADDR [--listen MULTIADDR] [--mode announce|lookup]
//
// It announces the topic on the private DHT, or looks for hosts and sends them MEET; it echoes what circuits bring. Each event is a
// line of JSON on stdout: ready, announced, met, refused, opened, ended, left. It ends when its stdin does.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
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
const PONG = 0x0f, MEET = 0x20, MET = 0x21, ENDPOINTS = 0x22, OPEN = 0x23, OPENED = 0x24
const NONE = 0x00, BAD = 0x02, FORBIDDEN = 0x06, PEER_UNREACHABLE = 0x0e, REPLACED = 0x15 // BAD is PROTOCOL
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

// await reads frames until one of a type, and skips those that it does not know.
async function readAnswer (bytes, type, options) {
  for (;;) {
    const f = await readFrame(bytes, options)
    if (f.type === type) return new Fields(f.payload)
    if ((f.type > 0 && f.type <= PONG) || (f.type >= MEET && f.type <= OPENED)) throw new Error(`PROTOCOL: frame 0x${f.type.toString(16)}`)
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
    const more = this.varint() !== 0
    const count = this.varint()
    if (count > 64) throw new Error('TOO_LARGE')
    return { more, list: Array.from({ length: count }, () => this.fixed(16).toString('hex')) }
  }
}

const mine = Buffer.concat([varint(0), varint(1), NOBODY]) // no more, one endpoint

// Proofs.

const binary = peer => Buffer.from(peer.toMultihash().bytes)
const proof = (label, from, to) => createHmac('sha256', topic)
  .update(Buffer.concat([Buffer.from(label), binary(from), binary(to)].flatMap(b => [varint(b.length), b])))
  .digest()

// known says whether a frame's sender knows the topic. It works as much for a topic that is not ours.
const known = (d, p, label, from) => timingSafeEqual(p, proof(label, from, node.peerId)) & timingSafeEqual(d, digest)

// Meetings: one for each host, on the stream that stays.

const meetings = new Map() // by peer id in text, of { stream, sent }

async function served (stream, connection) {
  const peer = connection.remotePeer
  const bytes = byteStream(stream)
  const { type, payload } = await readFrame(bytes, { signal: AbortSignal.timeout(PATIENCE) })
  const f = new Fields(payload)
  if (type === MEET) await meetServed(stream, bytes, peer, f)
  else if (type === OPEN) await openServed(stream, bytes, peer, f)
  else throw new Error('PROTOCOL: neither MEET nor OPEN')
}

async function meetServed (stream, bytes, peer, f) {
  const d = f.fixed(32), p = f.fixed(32), flags = f.varint(), endpoints = f.endpoints()
  const refuse = async code => {
    await bytes.write(frame(MET, varint(code), ZEROS, varint(0), varint(0), varint(0)))
    await stream.close()
  }
  if (!known(d, p, 'meet', peer)) return refuse(FORBIDDEN)
  const other = meetings.get(peer.toString())
  if (other?.sent && smaller(node.peerId, peer)) return refuse(REPLACED)
  const meeting = { stream, sent: false }
  meetings.set(peer.toString(), meeting)
  other?.stream.abort(new Error('replaced'))
  await bytes.write(frame(MET, varint(NONE), proof('met', node.peerId, peer), varint(0), mine))
  await meet(meeting, bytes, peer, flags, endpoints)
}

async function sendMeet (peer) {
  const name = peer.toString()
  if (meetings.has(name)) return
  const signal = AbortSignal.timeout(PATIENCE)
  const meeting = { sent: true }
  meetings.set(name, meeting)
  try {
    const connection = await node.dial(peer, { signal })
    const stream = meeting.stream = await connection.newStream(PROTOCOL, { signal })
    const bytes = byteStream(stream)
    await bytes.write(frame(MEET, digest, proof('meet', node.peerId, peer), varint(0), mine), { signal })
    const f = await readAnswer(bytes, MET, { signal })
    const code = f.varint(), p = f.fixed(32), flags = f.varint(), endpoints = f.endpoints()
    if (code !== NONE) {
      say('refused', { peer: name, code })
      await stream.close()
      return
    }
    if (!timingSafeEqual(p, proof('met', peer, node.peerId))) throw new Error('FORBIDDEN: wrong proof')
    await meet(meeting, bytes, peer, flags, endpoints)
  } catch (e) {
    meeting.stream?.abort(e)
    say('unmet', { peer: name, error: String(e) })
  } finally {
    if (meetings.get(name) === meeting) meetings.delete(name)
  }
}

// meet keeps a meeting until it ends.
async function meet (meeting, bytes, peer, flags, endpoints) {
  const gateway = (flags & 1) !== 0
  say('met', { peer: peer.toString(), gateway, sent: meeting.sent, endpoints: endpoints.list })
  if (!gateway && smaller(node.peerId, peer)) {
    for (const e of endpoints.list) sendOpen(peer, Buffer.from(e, 'hex')).catch(err => say('unopened', { peer: peer.toString(), error: String(err) }))
  }
  try {
    for (;;) say('endpoints', { peer: peer.toString(), endpoints: (await readAnswer(bytes, ENDPOINTS)).endpoints().list })
  } catch {
    // The end of the stream is the departure, unless another stream has taken over.
  }
  meeting.stream.abort(new Error('the meeting has ended'))
  if (meetings.get(peer.toString()) === meeting) {
    meetings.delete(peer.toString())
    say('left', { peer: peer.toString() })
  }
}

const smaller = (a, b) => Buffer.compare(binary(a), binary(b)) < 0

// Circuits: one for each endpoint of another host.

const circuits = new Map() // by peer id and endpoint, of streams

async function openServed (stream, bytes, peer, f) {
  const d = f.fixed(32), p = f.fixed(32), from = f.fixed(16), to = f.fixed(16)
  const gateway = !from.equals(NOBODY)
  let code = NONE
  if (!known(d, p, 'open', peer)) code = FORBIDDEN
  else if (!gateway && smaller(node.peerId, peer)) code = BAD
  else if (!to.equals(NOBODY)) code = PEER_UNREACHABLE
  if (code !== NONE) {
    await bytes.write(frame(OPENED, varint(code), ZEROS))
    return stream.close()
  }
  await bytes.write(frame(OPENED, varint(NONE), proof('opened', node.peerId, peer)))
  await echo(bytes.unwrap(), peer, from)
}

async function sendOpen (peer, to) {
  const signal = AbortSignal.timeout(PATIENCE)
  const connection = await node.dial(peer, { signal })
  const stream = await connection.newStream(PROTOCOL, { signal })
  try {
    const bytes = byteStream(stream)
    await bytes.write(frame(OPEN, digest, proof('open', node.peerId, peer), NOBODY, to), { signal })
    const f = await readAnswer(bytes, OPENED, { signal })
    const code = f.varint()
    if (code !== NONE) throw new Error(`OPENED has code ${code}`)
    if (!timingSafeEqual(f.fixed(32), proof('opened', peer, node.peerId))) throw new Error('FORBIDDEN: wrong proof')
    await echo(bytes.unwrap(), peer, to)
  } catch (e) {
    stream.abort(e)
    throw e
  }
}

// echo sends back what comes, and its end after the other's.
async function echo (stream, peer, endpoint) {
  const name = peer.toString() + endpoint.toString('hex')
  circuits.get(name)?.abort(new Error('replaced'))
  circuits.set(name, stream)
  say('opened', { peer: peer.toString(), endpoint: endpoint.toString('hex') })
  let bytes = 0
  const done = Promise.withResolvers()
  stream.addEventListener('close', e => e.error ? done.reject(e.error) : done.resolve())
  stream.addEventListener('end', () => stream.close().catch(done.reject))
  stream.addEventListener('message', ({ data }) => {
    bytes += data.byteLength
    if (stream.send(data) || stream.readStatus !== 'readable') return
    stream.pause() // so that the sender waits
    stream.onDrain().then(() => { if (stream.readStatus === 'paused') stream.resume() }, () => {})
  })
  try {
    await done.promise
    say('ended', { peer: peer.toString(), endpoint: endpoint.toString('hex'), bytes })
  } catch (e) {
    say('ended', { peer: peer.toString(), endpoint: endpoint.toString('hex'), bytes, error: e.name })
  }
  if (circuits.get(name) === stream) circuits.delete(name)
}

// The host.

const node = await createLibp2p({
  addresses: { listen: [args.listen] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux({ maxMessageSize: 64 << 10, streamOptions: { maxStreamWindowSize: 1 << 20 } })],
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
}, { maxInboundStreams: 2048, maxOutboundStreams: 2048 })
process.stdin.resume().on('end', () => node.stop().finally(() => process.exit(0)))
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
