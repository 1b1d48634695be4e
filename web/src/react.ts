/**
 * A React hook: who is on a topic, for as long as a component is shown.
 *
 * @packageDocumentation
 */
import { useCallback, useSyncExternalStore } from 'react'
import type { Swarm } from './api.js'
import type { TopicOptions, TopicView } from './shared.js'
import { nothing, sharedTopic } from './shared.js'

export type { TopicOptions, TopicView } from './shared.js'

/**
 * Joins a topic of `swarm` while the component is mounted. Components with the same topic share it
 * and see the same peers; when the last one goes, the topic is left and its circuits are closed.
 * Without a swarm there is nothing.
 *
 * ```ts
 * const { peers, status, error } = useTopic(swarm, 'wowcool')
 * ```
 */
export function useTopic (swarm: Swarm | undefined, name: string, options?: TopicOptions): TopicView {
  const watch = useCallback((changed: () => void) => swarm ? sharedTopic(swarm, name).watch(changed, options) : () => {}, [swarm, name])
  return useSyncExternalStore(watch, () => swarm ? sharedTopic(swarm, name).view : nothing, () => nothing)
}
