import type { JoinOptions, Peer, Swarm, TopicStatus } from './api.js';
/** What a component sees of a topic. */
export interface TopicView {
    /** Who is here, in the order in which they came: the same objects for all components. */
    readonly peers: readonly Peer[];
    /** What the gateway said last. */
    readonly status: TopicStatus | undefined;
    /** Why the topic ended, or could not be joined. */
    readonly error: unknown;
}
/** How to join; of several components on one topic the first one says it. */
export type TopicOptions = Omit<JoinOptions, 'signal' | 'offerOnly'>;
/** What is seen before a topic is joined. */
export declare const nothing: TopicView;
/** Returns the topic of this name that all components of a swarm share. */
export declare function sharedTopic(swarm: Swarm, name: string): SharedTopic;
/** A topic that is joined while somebody watches it. */
export declare class SharedTopic {
    #private;
    /** Joins nothing before `watch`. */
    constructor(swarm: Swarm, name: string);
    /** What it is now; another object after each change. */
    get view(): TopicView;
    /**
     * Calls `changed` after each change, until the function that it returns is called. The last one
     * that goes leaves the topic.
     */
    watch(changed: () => void, options?: TopicOptions): () => void;
}
