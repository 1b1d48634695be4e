// Two members of a secret room, and the gateway between them, which a test may have lie.
import type { Peer } from '../src/api.js'
import type { Room, SealedPeer } from '../src/secretapi.js'
import { SecretRoom } from '../src/secretroom.js'
import { deferred } from '../src/deferred.js'
import { hkdf, newPair, utf8, LABEL } from '../src/secretnoise.js'
import { FakeError, frames, peerFrame } from './network.js'
import type { FakeStream } from './network.js'
import { joined, next, wowcool } from './harness.js'

/** A secret that is not random. */
export const bytes = Uint8Array.from({ length: 32 }, (_, i) => i)

/** Returns a room, whose secret ends in `last`, with an identity and an interval of rekeying. */
export async function roomOf ({ last = 31, interval = 65536, identity }: { last?: number, interval?: number, identity?: CryptoKeyPair } = {}): Promise<Room> {
  const secret = Uint8Array.from([...bytes.subarray(1), last])
  const [[topic], [psk]] = await Promise.all([hkdf(secret, LABEL, utf8('topic')), hkdf(secret, LABEL, utf8('psk'))])
  return SecretRoom.of(topic!, psk!, identity ?? await newPair(), interval)
}

/** One end: the circuit as the page has it, and its stream at the gateway. */
export interface End {
  peer: Peer
  stream: FakeStream
  /** What it has granted, which grows. */
  credit: Credit
}

/** How many bytes a circuit takes. */
export class Credit {
  #granted = 32 << 10
  #spent = 0
  #more = deferred()

  /** Learns of grants until the session ends. */
  async follow (control: FakeStream): Promise<void> {
    for (;;) {
      const { offset } = await control.expect(frames.Credit)
      this.#granted = offset
      this.#more.resolve()
    }
  }

  /** Waits until some of `n` bytes may be sent, and returns how many. */
  async take (n: number): Promise<number> {
    while (this.#granted === this.#spent) await (this.#more = deferred()).promise
    const taken = Math.min(n, this.#granted - this.#spent)
    this.#spent += taken
    return taken
  }

  /** How many bytes have been sent. */
  get spent (): number { return this.#spent }
}

/** Returns a circuit of a session of its own. */
export async function end (initiator: boolean): Promise<End> {
  const { transport, control, peers } = await joined()
  const stream = transport.open(peerFrame(1, wowcool, { flags: frames.CLIENT | (initiator ? frames.INITIATOR : 0) }))
  return { stream, credit: creditOf(control), peer: await next(peers) }
}

/** Returns the credit of the only circuit of a session that reads. */
export function creditOf (control: FakeStream): Credit {
  const credit = new Credit()
  credit.follow(control).catch(() => {}) // the circuit was declined, or the test is over
  return credit
}

/** What a gateway does to what comes from one end: what it passes on, or nothing for FIN. */
export type Tamper = (bytes: Uint8Array<ArrayBuffer> | undefined) => Array<Uint8Array<ArrayBuffer> | undefined>

/** Passes on what comes from one end to the other, as gateways do. */
export async function relay ({ stream: from }: Pick<End, 'stream'>, { stream: to, credit }: Pick<End, 'stream' | 'credit'>, tamper: Tamper = b => [b]): Promise<void> {
  void from.toGateway.aborted.promise.then(code => to.toClient.reset(code))
  void to.toClient.stopped.promise.then(code => from.toGateway.stop(FakeError.reset(code)))
  try {
    for (;;) {
      const came = await from.some()
      for (const b of tamper(came)) {
        for (let at = 0; b && at < b.length;) {
          const n = await credit.take(b.length - at)
          to.send(b.subarray(at, at += n))
        }
        if (!b) to.fin()
      }
      if (!came) return
    }
  } catch {
    // it was reset
  }
}

/** Cuts what comes from one end into messages with their lengths, and passes each to `tamper`. */
export function byMessage (tamper: Tamper): Tamper {
  let held = new Uint8Array(0)
  return b => {
    if (!b) return tamper(b)
    held = Uint8Array.from([...held, ...b])
    const out = []
    for (let n; held.length >= 2 && held.length >= (n = 2 + (held[0]! << 8 | held[1]!)); held = held.slice(n)) out.push(...tamper(held.slice(0, n)))
    return out
  }
}

/** Two ends that are joined, and what the gateway does to what each sends, the initiator first. */
export async function pair ({ there, back }: { there?: Tamper, back?: Tamper } = {}): Promise<[End, End]> {
  const [a, b] = await Promise.all([end(true), end(false)])
  void relay(a, b, there)
  void relay(b, a, back)
  return [a, b]
}

/** Two members of one room with a sealed circuit. */
export async function sealedPair (
  { interval = 65536, ...tampers }: { interval?: number, there?: Tamper, back?: Tamper } = {}
): Promise<{ a: SealedPeer, b: SealedPeer, ends: [End, End], rooms: [Room, Room] }> {
  const ends = await pair(tampers)
  const rooms = await Promise.all([roomOf({ interval }), roomOf({ interval })]) as [Room, Room]
  const [a, b] = await Promise.all([rooms[0].seal(ends[0].peer), rooms[1].seal(ends[1].peer)])
  return { a, b, ends, rooms }
}

/**
 * Writes something, and waits until its record has gone, so that the next is one of its own. It
 * rejects if the circuit fails.
 */
export async function record (writer: WritableStreamDefaultWriter, { stream }: End, data: Uint8Array): Promise<void> {
  const before = stream.toGateway.writes
  let failed = false
  writer.closed.catch(() => { failed = true })
  await writer.write(data)
  while (stream.toGateway.writes === before && !failed) await new Promise(resolve => setImmediate(resolve))
}

/** Reads all that a peer sends until its end. */
export async function all (peer: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts = []
  for await (const b of peer) parts.push(b)
  return Buffer.concat(parts)
}
