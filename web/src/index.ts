/**
 * Join peer-to-peer swarms from a web page, through a swarmgate gateway: one WHATWG stream for
 * every peer.
 *
 * @packageDocumentation
 */
export { Code, codeName } from './codes.js'
export { connect } from './connect.js'
export { SwarmError } from './errors.js'
export { topicFromName } from './key.js'
export type {
  ConnectOptions, GatewayAddress, JoinOptions, NetworkStatus, Offer, Peer, PeerEvents, PeerInfo, State, Swarm, SwarmEvents, Target, Token,
  Topic, TopicEvents, TopicStatus, Transport
} from './api.js'
