import type * as api from './discoveryswarmapi.js' with { 'resolution-mode': 'import' }

/** The client of discovery-swarm-stream, and discovery-swarm-web, over a gateway. */
declare const DiscoverySwarm: api.DiscoverySwarmConstructor
declare namespace DiscoverySwarm {
  export type DiscoverySwarm = api.DiscoverySwarm
  export type DiscoverySwarmJoinOptions = api.DiscoverySwarmJoinOptions
  export type DiscoverySwarmOptions = api.DiscoverySwarmOptions
  export type Info = api.Info
  export type NodeDuplex = api.NodeDuplex
  export type PeerStream = api.PeerStream
}
export = DiscoverySwarm
