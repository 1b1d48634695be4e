import type { JoinOptions, Peer, Swarm, TopicStatus } from './api.js'

/** What a component sees of a topic. */
export interface TopicView {
  /** Who is here, in the order in which they came: the same objects for all components. */
  readonly peers: readonly Peer[]
  /** What the gateway said last. */
  readonly status: TopicStatus | undefined
  /** Why the topic ended, or could not be joined. */
  readonly error: unknown
}

/** How to join; of several components on one topic the first one says it. */
export type TopicOptions = Omit<JoinOptions, 'signal' | 'offerOnly'>

/** What is seen before a topic is joined. */
export const nothing: TopicView = { peers: [], status: undefined, error: undefined }

const all = new WeakMap<Swarm, Map<string, SharedTopic>>()

/** Returns the topic of this name that all components of a swarm share. */
export function sharedTopic (swarm: Swarm, name: string): SharedTopic {
  let topics = all.get(swarm)
  if (!topics) all.set(swarm, topics = new Map())
  let topic = topics.get(name)
  if (!topic) topics.set(name, topic = new SharedTopic(swarm, name))
  return topic
}

/** A topic that is joined while somebody watches it. */
export class SharedTopic {
  readonly #swarm: Swarm
  readonly #name: string
  readonly #watchers = new Set<() => void>()
  #view = nothing
  #end: AbortController | undefined // of the join

  /** Joins nothing before `watch`. */
  constructor (swarm: Swarm, name: string) {
    this.#swarm = swarm
    this.#name = name
  }

  /** What it is now; another object after each change. */
  get view (): TopicView { return this.#view }

  /**
   * Calls `changed` after each change, until the function that it returns is called. The last one
   * that goes leaves the topic.
   */
  watch (changed: () => void, options: TopicOptions = {}): () => void {
    const watcher = () => changed() // a set has it once
    this.#watchers.add(watcher)
    if (!this.#end) this.#start(options)
    return () => {
      this.#watchers.delete(watcher)
      setTimeout(() => { if (this.#watchers.size === 0) this.#stop() }) // another component may take its place
    }
  }

  #start (options: TopicOptions): void {
    const { signal } = this.#end = new AbortController()
    const show = (change: Partial<TopicView>) => {
      if (signal.aborted) return
      this.#view = { ...this.#view, ...change }
      for (const watcher of this.#watchers) watcher()
    }
    const run = async () => {
      const topic = await this.#swarm.join(this.#name, { ...options, signal })
      const roster = () => show({ peers: topic.peers })
      topic.addEventListener('peer', roster, { signal })
      topic.addEventListener('leave', roster, { signal })
      topic.addEventListener('status', e => show({ status: e.detail }), { signal })
      show({ peers: topic.peers, status: topic.status })
      for await (const peer of topic) peer.closed.catch(() => {}) // those that are taken are not reset when the topic is left
    }
    run().catch((error: unknown) => show({ error }))
  }

  #stop (): void {
    if (!this.#end) return
    const { peers } = this.#view
    this.#end.abort()
    this.#end = undefined
    this.#view = nothing
    for (const peer of peers) peer.close()
  }
}
