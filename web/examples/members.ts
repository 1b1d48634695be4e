// A React component, with swarmgate/secret: who is in a secret room. It joins the room while it is
// mounted; show one for each room.
import { createElement as h, useEffect, useState } from 'react'
import type { Swarm } from 'swarmgate'
import { keyWords } from 'swarmgate/secret'
import type { Room, SealedPeer } from 'swarmgate/secret'

/** The members of a room, in the order in which they came, or why it ended. */
export function useRoom (swarm: Swarm | undefined, room: Room | undefined): { peers: readonly SealedPeer[], error: unknown } {
  const [peers, setPeers] = useState<readonly SealedPeer[]>([])
  const [error, setError] = useState<unknown>()
  useEffect(() => {
    if (!swarm || !room) return
    const end = new AbortController()
    const taken = new Set<SealedPeer>()
    const run = async () => {
      for await (const peer of await room.join(swarm, { signal: end.signal })) {
        taken.add(peer)
        setPeers([...taken])
        const gone = () => {
          taken.delete(peer)
          if (!end.signal.aborted) setPeers([...taken])
        }
        peer.closed.then(gone, gone)
      }
    }
    run().catch((e: unknown) => { if (!end.signal.aborted) setError(e) })
    return () => {
      end.abort()
      for (const peer of taken) peer.close()
      setPeers([])
    }
  }, [swarm, room])
  return { peers, error }
}

export function Members ({ swarm, room }: { swarm: Swarm | undefined, room: Room | undefined }) {
  const { peers, error } = useRoom(swarm, room)
  if (error) return h('p', null, String(error))
  return h('ul', null, peers.map(p => h('li', { key: p.id }, keyWords(p.key))))
}
