// Joins topics for pages and echoes their peers, as a Worker for one page or as a SharedWorker
// with one session for all. A message is { target, topic }, target being what connect takes; the
// answer is the topic's 64 digits, or { error }.
import { connect as once } from '/client.js'
import { patient } from '/patient.js'

const connect = patient(once)

let swarm

function serve (port) {
  port.onmessage = async ({ data: { target, topic } }) => {
    try {
      swarm ??= connect(target)
      const joined = await (await swarm).join(topic)
      port.postMessage(joined.hex)
      for await (const peer of joined) {
        peer.closed.catch(() => {})
        peer.readable.pipeTo(peer.writable).catch(() => {})
      }
    } catch (err) {
      port.postMessage({ error: String(err) })
    }
  }
}

if ('SharedWorkerGlobalScope' in globalThis) globalThis.onconnect = ({ ports: [port] }) => serve(port)
else serve(globalThis)
