// What the scripts of this folder share: the packages of test/dat, and how a script talks with its test.
// Everything listens on loopback, and knows no server of dns-discovery but the one of the test, and
// no node of the DHT but those of the test.
const net = require('net')
const path = require('path')
const { createInterface } = require('readline')
const { createRequire } = require('module')

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port, ...rest) {
  return typeof port === 'number' && typeof rest[0] !== 'string' ? listen.call(this, port, '127.0.0.1', ...rest) : listen.call(this, port, ...rest)
}

/** Requires a package of test/dat. */
exports.need = createRequire(path.join(__dirname, '../../test/dat/package.json'))

/** Tells the test an event. */
const say = exports.say = (event, more = {}) => console.log(JSON.stringify({ event, ...more }))

/** Returns options for hyperdiscovery. */
exports.options = ({ port, dht }) => ({ port, utp: false, dht: dht ? { bootstrap: dht, host: '127.0.0.1' } : false })

/**
 * Gives a hyperdiscovery that was just made the servers of dns-discovery that it uses. It takes no
 * option for them, and opens its sockets in a later turn.
 */
exports.confine = ({ _swarm }, dns) => {
  _swarm._options.dns = dns ? { server: dns, domain: 'dat.local', multicast: false } : false
}

/** Answers commands of the test, which are objects with the field do, until it ends. */
exports.serve = commands => {
  createInterface({ input: process.stdin }).on('line', async line => {
    const { do: name, ...args } = JSON.parse(line)
    try {
      say(name, await commands[name](args))
    } catch (error) {
      say(name, { error: String(error.stack) })
    }
  }).on('close', () => process.exit())
}
