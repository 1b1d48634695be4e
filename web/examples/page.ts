// A page: says hello to everybody on a topic and shows what they say. In HTML: <pre
// id="log"></pre> and this module.
import { Code, connect, SwarmError } from 'swarmgate'
import type { Peer } from 'swarmgate'

const log = document.querySelector('#log')!
const say = (line: string) => log.append(line + '\n') // text, never HTML: it comes from strangers

async function talk (peer: Peer): Promise<void> {
  say(`+ ${peer.id.slice(0, 12)} on ${peer.network}`)
  const writer = peer.writable.getWriter()
  await writer.write(new TextEncoder().encode('hello'))
  await writer.close()
  const text = new TextDecoder()
  for await (const bytes of peer) say(`  ${peer.id.slice(0, 12)}: ${text.decode(bytes, { stream: true })}`)
}

try {
  const swarm = await connect(location.origin)
  swarm.addEventListener('disconnected', e => say(`! ${e.detail.error.message}`))
  swarm.addEventListener('connected', e => say(`! connected to ${e.detail.gateway}`))
  const topic = await swarm.join('demo', { maxPeers: 20 })
  topic.addEventListener('status', e => { document.title = `${e.detail.connected} of ${e.detail.known}` })
  for await (const peer of topic) talk(peer).catch(err => say(`- ${peer.id.slice(0, 12)}: ${String(err)}`))
} catch (err) {
  if (!(err instanceof SwarmError)) throw err
  say(err.code === Code.FORBIDDEN ? 'This page may not use the gateway: start it with --allow-origin.' : err.message)
}
