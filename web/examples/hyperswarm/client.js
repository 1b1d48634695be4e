import DHT from '@hyperswarm/dht-relay'
import FramedStream from 'framed-stream'
import Hyperswarm from 'hyperswarm'

/**
 * Returns a Hyperswarm whose DHT is behind the relay at the other end of `stream`, a duplex stream of bytes. It
 * takes the options of Hyperswarm. Join with `server: false`.
 */
export function hyperswarm (stream, options) {
  // Without custodial: false the relay would be given the secret key, and would read everything.
  const dht = new DHT(new FramedStream(stream, { bits: 24 }), { custodial: false })
  // dht-relay 0.4.3 knows a connection only some time after the message that opens it, and drops what comes with that.
  dht._protocol.prependListener('open', ({ alias, remoteAlias }) => {
    const connection = dht._connecting.get(remoteAlias)
    if (connection) dht._connections.set(alias, connection)
  })
  return new Hyperswarm({ ...options, dht })
}
