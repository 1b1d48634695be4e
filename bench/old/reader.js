// node reader.js PORT: a program that uses discovery-swarm-stream over TCP. Commands:
//   bulk, echo   as in measure.js
//   stop key     reads a bulk stream for a moment, and then nothing more
const net = require('net')
const { need, say, serve } = require('./old.js')
const Swarm = need('discovery-swarm-stream/client')
const measure = require('./measure.js')(need('readable-stream'))

const make = async options => {
  const connection = net.connect(Number(process.argv[2]), '127.0.0.1')
  connection.setNoDelay(true)
  await new Promise((resolve, reject) => connection.once('connect', resolve).once('error', reject))
  const swarm = new Swarm({ connection, ...options })
  return { swarm, connection, close: () => connection.destroy() }
}

serve({
  bulk: args => measure.bulk({ make, ...args }),
  echo: args => measure.echo({ make, ...args }),
  async stop ({ key }) {
    let connection
    const { wires: [wire] } = await measure.wires(async options => {
      const made = await make(options)
      connection = made.connection
      return made
    }, [key])
    connection.unpipe()
    connection.pause()
    wire.push('b')
    return {}
  }
})
say('ready')
