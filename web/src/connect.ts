import type { ConnectOptions, GatewayAddress, Swarm } from './api.js'
import { platform } from './platform.js'
import { open } from './swarm.js'

/**
 * Connects to a gateway, or to the first of several that answers, and stays connected until the
 * swarm is closed or trying again cannot help. It rejects with a SwarmError if no gateway
 * answers (`Code.PEER_UNREACHABLE`) or they refuse, with a TypeError if an address is not valid, and
 * with the reason of `signal`. A signal that is aborted later closes the swarm.
 *
 * ```ts
 * const swarm = await connect('https://gateway.example')
 * const topic = await swarm.join('wowcool')
 * for await (const peer of topic) talk(peer).catch(console.warn) // without await: peers do not
 * wait for each other
 *
 * async function talk (peer: Peer) {
 *   try {
 *     await peer.writable.getWriter().write(new TextEncoder().encode('hello'))
 *     for await (const bytes of peer) console.log(new TextDecoder().decode(bytes))
 *   } finally { peer.close() }
 * }
 * ```
 */
export async function connect (
  target: GatewayAddress | readonly GatewayAddress[] | ConnectOptions, { signal }: { signal?: AbortSignal } = {}
): Promise<Swarm> {
  return open(target, signal, platform)
}
