import Hypercore from 'hypercore'
import RAM from 'random-access-memory'
import { connect } from 'swarmgate'
import { hyperswarm } from '../../web/examples/hyperswarm/client.js'
import { duplex } from '../../web/examples/hyperswarm/duplex.js'
import { read } from './read.js'

/** Reads a hypercore through a gateway, and returns what read does. */
globalThis.readCore = async ({ target, ...what }) => {
  const swarm = await connect(target)
  try {
    for await (const peer of await swarm.join('hyper', { announce: false, networks: ['static'] })) {
      return await read({ hyperswarm, Hypercore, RAM }, duplex(peer), what)
    }
  } finally {
    swarm.close()
  }
}
