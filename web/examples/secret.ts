// A secret room, with swarmgate/secret: pages that meet by a link, whose fragment is the secret.
import type { Swarm } from 'swarmgate'
import { SecretError, identity, keyWords, secret } from 'swarmgate/secret'
import type { SealedPeer } from 'swarmgate/secret'

export async function meet (swarm: Swarm, show: (text: string) => void): Promise<void> {
  if (!location.hash) location.hash = Array.from(crypto.getRandomValues(new Uint8Array(32)), b => b.toString(16).padStart(2, '0')).join('')
  const room = await secret(location.hash.slice(1), { identity: await identity() })
  show(`Send others the address of this page. Your key is ${keyWords(room.key)}.`)
  const topic = await room.join(swarm, { refused: peer => show(`${peer.id} does not know the secret`) })
  for await (const peer of topic) talk(peer, show).catch(show).finally(() => peer.close())
}

async function talk (peer: SealedPeer, show: (text: string) => void): Promise<void> {
  const name = keyWords(peer.key) // nobody else can have this key
  const writer = peer.writable.getWriter()
  await writer.write(new TextEncoder().encode(`hello, ${name}`))
  await writer.close()
  try {
    for await (const bytes of peer) show(`${name}: ${new TextDecoder().decode(bytes)}`)
  } catch (e) {
    if (!(e instanceof SecretError)) throw e
    show(`somebody between you and ${name} has changed something: ${e.message}`)
  }
}
