import { Code, SwarmError } from 'swarmgate'
import type { Peer } from 'swarmgate'

/** One end of a circuit. */
export type End = Peer & {
  isEnded: () => boolean
  /** Loses what is on its way from here, and the circuit. */
  lose: (code?: number) => void
}

/**
 * Returns the two ends of a circuit. The initiator is the first; both see a peer with the same id.
 */
export function pipe (network = 'client', id = 'ab'.repeat(16)): [End, End] {
  const there = wire()
  const back = wire()
  return [end(true, back.readable, there.writable), end(false, there.readable, back.writable)]

  function end (initiator: boolean, readable: ReadableStream<Uint8Array>, out: WritableStream<Uint8Array>): End {
    const writer = out.getWriter()
    const writable = new WritableStream<any>({ write: b => writer.write(b), close: () => writer.close() })
    let settle = () => {}
    let fail = (_: unknown) => {}
    const closed = new Promise<void>((resolve, reject) => {
      settle = resolve
      fail = reject
    })
    closed.catch(() => {})
    let ended = false
    const close = () => {
      if (ended) return
      ended = true
      settle()
      writer.close().catch(() => {}) // it may have been closed by the page
    }
    const lose = (code: number = Code.PEER_GONE) => {
      if (ended) return
      ended = true
      const error = new SwarmError(code)
      writer.abort(error).catch(() => {})
      fail(error)
    }
    return Object.assign(new EventTarget(), {
      id, network, initiator, client: network === 'client', further: false, address: '', topic: '00'.repeat(32), readable, writable, closed, close, abort: close, lose,
      isEnded: () => ended,
      streams: (async function * () {})(),
      open: () => Promise.reject(new SwarmError(Code.DECLINED)),
      async * [Symbol.asyncIterator] () { yield * readable as unknown as AsyncIterable<Uint8Array> }
    }) as End
  }
}

/**
 * Returns a stream that takes some chunks before they arrive, one after the other, as a network
 * does.
 */
function wire (): { readable: ReadableStream<Uint8Array>, writable: WritableStream<Uint8Array> } {
  const some = new CountQueuingStrategy({ highWaterMark: 8 })
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>({}, undefined, some)
  const slow = new TransformStream<Uint8Array, Uint8Array>({
    async transform (b, out) {
      await new Promise(resolve => setTimeout(resolve))
      out.enqueue(b)
    }
  })
  return { readable: readable.pipeThrough(slow), writable }
}

/** Returns what a condition waits for: it is asked again and again, until it holds. */
export async function eventually (what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 20_000; !holds();) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 1))
  }
}
