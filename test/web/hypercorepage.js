// Shows the blocks of a hypercore: #gateway=URL&key=HEX
import Hypercore from 'hypercore'
import RAM from 'random-access-memory'
import DSS from 'swarmgate/discovery-swarm'

const { gateway, key } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)))
const core = new Hypercore(RAM, key)
const swarm = new DSS({ url: gateway, networks: ['static'], stream: info => core.replicate(info.initiator) })
core.ready().then(() => swarm.join(core.discoveryKey))
show()

async function show () {
  const log = document.querySelector('#log')
  for (let i = 0; ; i++) log.append(`${new TextDecoder().decode(await core.get(i))}\n`)
}
