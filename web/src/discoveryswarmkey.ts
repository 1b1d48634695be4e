import { Buffer } from 'buffer'
import type { ConnectOptions, GatewayAddress, Swarm } from './api.js'
import type { DiscoverySwarmOptions } from './discoveryswarmapi.js'

const HASH = 20 // bytes of a key on the old networks
const TOPIC = 32 // bytes of a topic

/** Where to connect to: what `connect` takes, or a swarm that somebody else has connected. */
export type Where = { target: GatewayAddress | readonly GatewayAddress[] | ConnectOptions } | { swarm: Swarm | Promise<Swarm> }

/**
 * Returns the bytes of a key as its caller has them, as a Buffer. It throws a TypeError if they are
 * not a topic and are not to be hashed either.
 */
export function keyFrom (key: Uint8Array | string, hashed: boolean): Buffer {
  if (typeof key === 'string') {
    if (/^([\da-f]{40}|[\da-f]{64})$/i.test(key)) return Buffer.from(key, 'hex')
    if (hashed) return Buffer.from(key)
    throw new TypeError(`${JSON.stringify(key)} is a name: join 20 or 32 bytes, or their hexadecimal digits; ` +
      'names are for peers that hash them, with the option defaultHash: true')
  }
  if (!ArrayBuffer.isView(key)) throw new TypeError('a key is a Buffer, a Uint8Array, or hexadecimal digits')
  if (!hashed && key.length !== HASH && key.length !== TOPIC) throw new TypeError(`a key of ${key.length} bytes: 20 or 32 are wanted`)
  return Buffer.isBuffer(key) ? key : Buffer.from(key)
}

/** Returns the topic of a key: 20 bytes are followed by zeros. */
export async function topicOf (key: Uint8Array, hashed: boolean): Promise<Uint8Array> {
  const topic = new Uint8Array(TOPIC)
  topic.set(hashed ? new Uint8Array(await crypto.subtle.digest('SHA-1', Uint8Array.from(key))) : key)
  return topic
}

/**
 * Returns where the options of a swarm say that its gateway is. It throws a TypeError if they have a
 * stream or a socket to a server of the original.
 */
export function whereOf ({ connection, discovery, ...options }: DiscoverySwarmOptions, otherwise: string | readonly string[]): Where {
  if (connection) return whereIs(connection, options)
  if (options.url || options.gateways) return { target: addresses(options) }
  return { target: addresses({ ...options, gateways: [discovery ?? otherwise].flat() }) }
}

/** The same of what stands for a connection, with options that hold for all gateways. */
export function whereIs (connection: NonNullable<DiscoverySwarmOptions['connection']>, options: ConnectOptions = {}): Where {
  const { pipe, send, join, then } = connection as Record<string, unknown>
  if (typeof pipe === 'function' || typeof send === 'function') {
    throw new TypeError('connection is a stream or a WebSocket to a server of discovery-swarm-stream, which a gateway is not: ' +
      "write url: 'https://gateway.example' in its place, and nothing to reconnect")
  }
  if (Array.isArray(connection)) return { target: addresses({ ...options, gateways: connection }) }
  if (typeof join === 'function' || typeof then === 'function') return { swarm: connection as Swarm }
  if (typeof connection === 'string' || connection instanceof URL) return { target: addresses({ ...options, url: connection }) }
  return { target: addresses({ ...options, ...connection as ConnectOptions }) }
}

/** Returns what `connect` takes of some options, with addresses as it takes them. */
function addresses ({ url, gateways, hashes, token, agent, transports }: ConnectOptions): ConnectOptions {
  return {
    ...url && { url: address(url) },
    ...gateways && { gateways: gateways.map(g => typeof g === 'string' || g instanceof URL ? address(g) : { ...g, url: address(g.url) }) },
    ...hashes && { hashes },
    ...token && { token },
    ...agent !== undefined && { agent },
    ...transports && { transports }
  }
}

/**
 * Returns an address of a gateway. That of a WebSocket server, which programs have for the original,
 * is the gateway's where a gateway has taken its place.
 */
function address (url: string | URL): string {
  return `${url}`.trim()
    .replace(/^ws:(?=\/\/(\[::1]|127[.\d]+|([^/:]+\.)?localhost)(:|\/|$))/i, 'http:')
    .replace(/^wss?:/i, 'https:')
}
