import { Duplex } from 'streamx'

/**
 * Returns the streams of a swarmgate peer as a duplex stream of streamx. Back-pressure passes both ways: it reads
 * only what is asked for, and a write ends when the circuit has taken it.
 */
export function duplex ({ readable, writable }) {
  const reader = readable.getReader()
  const writer = writable.getWriter()
  return new Duplex({
    read (cb) {
      reader.read().then(({ done, value }) => { this.push(done ? null : value) }).then(() => cb(null), cb)
    },
    write (data, cb) {
      writer.write(data).then(() => cb(null), cb)
    },
    final (cb) {
      writer.close().then(() => cb(null), cb)
    },
    predestroy () {
      reader.cancel().catch(() => {})
      writer.abort().catch(() => {})
    }
  })
}
