import type { PeerInfo } from 'swarmgate'
import type { Kind } from './link.js'

/** A short text for people, and what it means. */
export interface Word {
  text: string
  title: string
}

/**
 * Says how a peer is connected with this page. `local` tells that the gateway is on this computer.
 */
export function way ({ network, client, initiator }: Pick<PeerInfo, 'network' | 'client' | 'initiator'>, local: boolean): Word {
  const { text, title } = wayTo(network, client, local)
  return { text, title: `${title} ${initiator ? 'This side' : 'The other side'} opened the connection.` }
}

function wayTo (network: string, client: boolean, local: boolean): Word {
  switch (network) {
    case 'client': return { text: 'through this gateway', title: 'Another client of this gateway.' }
    case 'dht': return client
      ? { text: 'through another gateway', title: 'A client of another gateway, which was found on the DHT.' }
      : { text: 'direct', title: 'A peer with an address of its own, which was found on the DHT.' }
    case 'lan': return {
      text: local ? 'on your network' : 'on the gateway’s network',
      title: client ? 'A client of another gateway on the local network.' : 'Found on the local network.'
    }
    case 'static': return { text: 'set up by the operator', title: 'The gateway’s operator has named it.' }
    case 'dat': return { text: 'on the Dat network', title: 'Found on the Dat network.' }
    default: return { text: network, title: `Found on the network “${network}”.` }
  }
}

/** Says what a peer is. */
export function kindOf (kind: Kind, client: boolean): Word {
  switch (kind) {
    case 'console': return { text: 'console', title: 'Somebody with this page open.' }
    case 'unknown': return { text: 'asking …', title: 'It has not said yet whether it is a console.' }
    case 'raw': return { text: 'program', title: `${client ? 'A page or program at a gateway' : 'A program of its own'}: its bytes are shown as they come.` }
  }
}
