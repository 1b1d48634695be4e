// A React component, with swarmgate/react: who is on a topic. Any number of them may be shown at
// once.
import { createElement as h } from 'react'
import type { Swarm } from 'swarmgate'
import { useTopic } from 'swarmgate/react'

export function People ({ swarm, topic }: { swarm: Swarm | undefined, topic: string }) {
  const { peers, status, error } = useTopic(swarm, topic)
  if (error) return h('p', null, String(error))
  return h('ul', { title: `${status?.known ?? 0} known` }, peers.map(p => h('li', { key: p.id }, `${p.id.slice(0, 12)} on ${p.network}`)))
}
