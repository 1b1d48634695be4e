// A page that reads a hypercore from its peers on Hyperswarm, and shows each block as it comes. Its address says
// where: #gateway=URL&key=KEY, with the hypercore's public key in hexadecimal digits.
import Hypercore from 'hypercore'
import RAM from 'random-access-memory'
import { connect } from 'swarmgate'
import { hyperswarm } from './client.js'
import { duplex } from './duplex.js'

const log = document.querySelector('#log')
const say = line => log.append(line + '\n') // text, never HTML: it comes from strangers

const { gateway, key } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)))
const core = new Hypercore(RAM, key)
await core.ready()
show().catch(err => say(`! ${err}`))

const swarm = await connect(gateway)
const topic = await swarm.join('hyper', { announce: false, networks: ['static'] }) // the relay alone, no other pages
for await (const peer of topic) { // again after the relay was away
  say('+ the relay')
  const hyper = hyperswarm(duplex(peer))
  hyper.on('connection', connection => {
    connection.on('error', () => {}) // a peer that is gone
    say(`+ ${connection.remotePublicKey.toString('hex').slice(0, 12)}`)
    core.replicate(connection)
  })
  hyper.join(core.discoveryKey, { server: false })
  peer.closed.catch(() => {}).then(() => {
    say('- the relay')
    return hyper.destroy({ force: true })
  }).catch(console.warn)
}

async function show () {
  for (let i = 0; ; i++) say(`${i}: ${new TextDecoder().decode(await core.get(i))}`)
}
