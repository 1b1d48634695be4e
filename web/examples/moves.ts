// Messages, with swarmgate/messages: two pages that play with each other.
import type { Peer } from 'swarmgate'
import { MessageError, Messages } from 'swarmgate/messages'

export async function play (peer: Peer, show: (text: string) => void) {
  const messages = new Messages(peer, { maxSize: 10_000 })
  if (peer.initiator) await messages.sendJSON({ from: 'e2', to: 'e4' }) // exactly one of the two begins
  try {
    for await (const m of messages) {
      if (m.type === 'text') show(m.text)
      if (m.type === 'json') show(`moved to ${m.value.to}`)
    }
    await messages.close()
  } catch (e) {
    if (!(e instanceof MessageError)) throw e
    await messages.abort(e)
  }
}
