import type { NodeDuplex } from './discoveryswarmapi.js'
import type { CircuitStream } from './discoveryswarmstream.js'

const SILENCE = 20_000 // ms that a peer may say nothing at all before its handshake
const LINGER = 10_000 // ms that a replication stream may go on writing after its peer's end

/** What is told of a circuit that has a replication stream. */
export interface WireHost {
  /** The handshake is done. */
  shaken: (remoteId?: Uint8Array) => void
  /** The peer has said nothing, and the circuit is ended. */
  silent: () => void
}

/** Connects a circuit with the replication stream that is for it. One does not outlive the other. */
export function wire (stream: CircuitStream, replication: NodeDuplex, host: WireHost): void {
  if (typeof replication?.pipe !== 'function') throw new TypeError('the option stream returned something that is not a stream')
  let ended = false
  let linger: ReturnType<typeof setTimeout> | undefined
  const silence = setTimeout(() => {
    if (stream.bytesRead > 0) return
    host.silent()
    stream.destroy()
  }, SILENCE)
  replication.once('handshake', (remoteId?: Uint8Array) => {
    if (stream.destroyed) return
    clearTimeout(silence)
    host.shaken(remoteId)
  })
  replication.on('error', (error: Error) => stream.destroy(error))
  replication.on('end', () => { ended = true })
  replication.on('close', () => {
    // Nobody takes what the peer still sends. What was written before the end reaches it.
    if (ended && !stream.writableFinished) stream.once('finish', () => stream.destroy())
    else stream.destroy()
  })
  stream.on('data', bytes => { if (replication.write(bytes) === false) stream.pause() })
  replication.on('drain', () => { stream.resume() })
  stream.on('end', () => {
    replication.end()
    clearTimeout(silence)
    linger = setTimeout(() => stream.destroy(), LINGER)
  })
  stream.on('close', () => {
    clearTimeout(silence)
    clearTimeout(linger)
    replication.destroy?.()
  })
  replication.pipe(stream as NodeDuplex)
}
