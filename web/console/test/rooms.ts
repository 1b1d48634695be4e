import type { Download } from '../download.js'
import type { Link } from '../link.js'
import { Room } from '../room.js'
import type { Sink } from '../sink.js'
import { eventually, pipe } from './pipe.js'

/** Returns bytes as text. */
export const text = (b: Uint8Array) => new TextDecoder().decode(b)

/** A room and what it told. */
export function open (name: string, quiet = false) {
  const seen = { floods: 0, texts: [] as string[], bytes: '', downloads: [] as Download[], left: [] as Link[] }
  const room = new Room({
    came () {},
    changed () {},
    greeted () {},
    left: l => { seen.left.push(l) },
    bytes: (_, b) => { seen.bytes += text(b) },
    text: (_, t) => { seen.texts.push(t) },
    flooded: () => { seen.floods++ },
    offered: d => { seen.downloads.push(d) }
  }, name, quiet)
  return { room, seen }
}

/** Two rooms with a circuit, which have found each other. */
export async function two () {
  const a = open('Ann')
  const b = open('Bob')
  const [x, y] = pipe()
  a.room.add(x)
  b.room.add(y)
  await eventually('both are consoles', () => a.room.consoles.length + b.room.consoles.length === 2)
  return { a, b, link: a.room.consoles[0]! }
}

/** A sink that keeps what it is given, when `gate` lets it. */
export function keep (gate: Promise<void> = Promise.resolve()) {
  const kept = { parts: [] as Uint8Array[], closed: false, aborted: false, size: 0 }
  const sink: Sink = {
    async write (b) {
      await gate
      kept.parts.push(b.slice())
      kept.size += b.length
    },
    async close () { kept.closed = true },
    async abort () { kept.aborted = true }
  }
  return { sink, kept }
}
