// A React hook: the peers of a topic, for as long as a component is shown.
//
//   const { peers, status, error } = useTopic(swarm, 'wowcool')
import { useEffect, useState } from 'react'
import type { Peer, Swarm, TopicStatus } from 'swarmgate'

/** What a component sees of a topic. */
export interface TopicView {
  /** Those whose circuits are open, in order of arrival. */
  peers: readonly Peer[]
  /** What the gateway said last. */
  status: TopicStatus | undefined
  /** Why the topic ended. */
  error: unknown
}

const nothing: TopicView = { peers: [], status: undefined, error: undefined }

/** Joins a topic of `swarm` while the component is mounted, and leaves it then; its circuits are closed. */
export function useTopic (swarm: Swarm | undefined, name: string): TopicView {
  const [view, setView] = useState(nothing)
  useEffect(() => {
    if (!swarm) return
    const leave = new AbortController()
    const open = new Set<Peer>()
    const show = (change: Partial<TopicView>) => {
      if (!leave.signal.aborted) setView(before => ({ ...before, ...change }))
    }
    const run = async () => {
      const topic = await swarm.join(name, { signal: leave.signal })
      topic.addEventListener('status', e => show({ status: e.detail }), { signal: leave.signal })
      for await (const peer of topic) {
        open.add(peer)
        show({ peers: [...open] })
        peer.addEventListener('close', () => {
          open.delete(peer)
          show({ peers: [...open] })
        })
      }
    }
    run().catch((error: unknown) => show({ error }))
    return () => {
      leave.abort()
      for (const peer of open) peer.close()
      setView(nothing)
    }
  }, [swarm, name])
  return view
}
