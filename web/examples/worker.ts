// A Worker that keeps the swarm away from the page: new Worker('worker.js', { type: 'module' }).
// The page posts { gateway, topic }, and gets the two streams of each peer, transferred, so that
// bytes do not pass through this worker's messages.
import { connect } from 'swarmgate'

interface Order { gateway: string, topic: string }

addEventListener('message', (event: MessageEvent<Order>) => {
  serve(event.data).catch((err: unknown) => postMessage({ error: String(err) }))
})

async function serve ({ gateway, topic }: Order): Promise<void> {
  const swarm = await connect(gateway)
  for await (const peer of await swarm.join(topic)) {
    const { id, network, initiator, readable, writable } = peer
    postMessage({ id, network, initiator, readable, writable }, { transfer: [readable, writable] })
    peer.closed.then(() => postMessage({ id, closed: true }), (err: unknown) => postMessage({ id, closed: true, error: String(err) }))
  }
}
