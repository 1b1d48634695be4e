import { Code } from '../codes.js'
import { deferred, ignore } from '../deferred.js'
import { SwarmError } from '../errors.js'
import type { Gateway, Route } from '../gateway.js'
import type { Platform } from '../platform.js'
import type { Link } from './link.js'

const STAGGER = 500 // ms that WebTransport has before WebSocket is tried beside it
const HOUR = 3_600_000 // ms that WebSocket stays first

/**
 * Connects with a gateway: by WebTransport, and by WebSocket if that fails, is missing or slow, or
 * was so less than an hour ago. Each link that is made is added to `links`, whose owner closes it;
 * once `signal` is aborted none is made any more.
 */
export async function dial ({ WebTransport, clock }: Platform, gateway: Gateway, { url, hashes }: Route, links: Link[], signal: AbortSignal): Promise<Link> {
  const { webSocket } = gateway
  const open = gateway.may('webtransport') && WebTransport ? () => {
    const link = new WebTransport(url, {
      protocols: ['swarmgate'],
      ...hashes[0] && { serverCertificateHashes: hashes.map(value => ({ algorithm: 'sha-256', value })) }
    })
    ignore(link.ready)
    ignore(link.closed) // its owner may close it before it is ready
    links.push(link)
    return link
  } : undefined
  if (!webSocket) {
    if (!open) throw new SwarmError(Code.INTERNAL, 'no transport')
    return open()
  }
  const key = `swarmgate ${gateway.origin}`
  const now = Date.now()
  // Safari's WebTransport stops after 16 MiB. Its engine alone has lines in its errors.
  let webSocketFirst = gateway.webSocketUntil > now || 'line' in Error()
  try {
    webSocketFirst ||= localStorage[key] > now
  } catch {} // there is none in a Worker, or the page may not use it
  let first: Link | undefined
  if (open && !webSocketFirst) {
    first = open()
    const { promise, resolve } = deferred<boolean | void>()
    first.ready.then(() => resolve(true), () => resolve())
    const cancelTimer = clock.after(STAGGER, resolve)
    const ready = await promise
    cancelTimer()
    if (ready || signal.aborted) return first
  }
  const chunk = await import('./race.js').catch(() => {})
  if (!chunk) return first ?? open!()
  const link = await chunk.race(first, open, webSocket, clock.after, links, signal, key)
  gateway.webSocketUntil = link.transport ? now + HOUR : 0
  return link
}
