import type { Swarm } from './api.js';
import type { TopicOptions, TopicView } from './shared.js';
export type { TopicOptions, TopicView } from './shared.js';
/**
 * Joins a topic of `swarm` while the component is mounted. Components with the same topic share it
 * and see the same peers; when the last one goes, the topic is left and its circuits are closed.
 * Without a swarm there is nothing.
 *
 * ```ts
 * const { peers, status, error } = useTopic(swarm, 'wowcool')
 * ```
 */
export declare function useTopic(swarm: Swarm | undefined, name: string, options?: TopicOptions): TopicView;
