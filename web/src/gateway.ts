import type { ConnectOptions, GatewayAddress, Token } from './api.js'
import { Code } from './codes.js'
import { SwarmError } from './errors.js'
import { MAX_TOKEN } from './frames.js'
import { unhex32 } from './hex.js'

/** Where WebTransport is, and how its certificate is trusted. */
export interface Route {
  url: string
  /** Hashes of which the certificate has to have one. Empty with a certificate of an authority. */
  hashes: Uint8Array<ArrayBuffer>[]
}

/** A gateway, and what was learned about it. */
export class Gateway {
  /** The origin that it was given by. */
  readonly origin: string
  readonly #token: Token
  #route: Route | undefined
  #stale = false // the route failed since it was learned, and can be learned again
  readonly #given: boolean // the route was, by hand

  /** Throws a TypeError if the address is not one that can be trusted. */
  constructor (address: GatewayAddress, common: ConnectOptions = {}) {
    let { url, hashes = common.hashes, token = common.token ?? '' } =
      typeof address === 'string' || address instanceof URL ? { url: address } : address
    const { origin, protocol, hostname, pathname, searchParams } = new URL(`${url}`.replace(/^\s*swarmgate:/i, 'https:'))
    const own = searchParams.getAll('h').filter(h => h)
    if (own[0]) hashes = own // of a gateway URL
    this.#given = hashes !== undefined
    if (protocol !== 'https:' && (protocol !== 'http:' || this.#given || !isLoopback(hostname))) {
      throw new TypeError(`${url}: want https, or http on loopback`)
    }
    this.origin = origin
    this.#token = typeof token === 'function' ? token : tokenFrom(token)
    if (hashes) this.#route = { url: origin + (pathname === '/' ? '/swarm' : pathname), hashes: hashes.map(hash) }
  }

  /** Each attempt has a token of its own. */
  get renews (): boolean { return typeof this.#token === 'function' }

  /** Returns what HELLO tells it. It rejects with a SwarmError. */
  async token (signal: AbortSignal): Promise<Uint8Array> {
    try {
      return tokenFrom(typeof this.#token === 'function' ? await this.#token(signal) : this.#token)
    } catch (cause) {
      throw cause instanceof SwarmError ? cause : new SwarmError(Code.INTERNAL, 'no token', { cause })
    }
  }

  /**
   * Says where to connect: as it was told last, or, if that failed, by reading the info
   * document. It rejects with a SwarmError.
   */
  async resolve (get: typeof fetch, signal: AbortSignal): Promise<Route> {
    if (this.#route && !this.#stale) return this.#route
    try {
      this.#route = await readInfo(`${this.origin}/.well-known/swarmgate`, get, signal)
      this.#stale = false
    } catch (e) {
      if (!this.#route) throw e
    }
    return this.#route
  }

  /** Notes that connecting failed. */
  failed (): void { this.#stale = !this.#given }

  /** Notes the hashes that WELCOME told. They matter to a pinned certificate only. */
  renew (hashes: Uint8Array[]): void {
    if (this.#route?.hashes.length && hashes.length > 0) this.#route.hashes = hashes as Route['hashes'] // nobody else has them
  }
}

function tokenFrom (token: string | Uint8Array): Uint8Array {
  const bytes = typeof token === 'string' ? new TextEncoder().encode(token) : Uint8Array.from(token)
  if (bytes.length > MAX_TOKEN) throw new RangeError('the token is too long')
  return bytes
}

/** Returns the gateways that were asked for. */
export function gatewaysOf (target: GatewayAddress | readonly GatewayAddress[] | ConnectOptions): Gateway[] {
  const options: ConnectOptions = typeof target === 'string' || target instanceof URL
    ? { url: target }
    : Array.isArray(target) ? { gateways: target } : target as ConnectOptions
  const { url, gateways = [] } = options
  if (!url === !gateways.length) throw new TypeError('want url or gateways')
  return (url ? [url] : gateways).map(address => new Gateway(address, options))
}

/** 127.0.0.0/8, ::1 and localhost, as URL spells them. */
function isLoopback (hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d+){3}$/.test(hostname)
}

function hash (h: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = typeof h === 'string' ? unhex32(h) : Uint8Array.from(h)
  if (bytes?.length !== 32) throw new TypeError('a hash is 32 bytes or 64 digits')
  return bytes
}

async function readInfo (url: string, get: typeof fetch, signal: AbortSignal): Promise<Route> {
  let info: { webtransport: string, certificate: { kind: string, hashes?: string[] } }
  try {
    const response = await get(url, { signal, cache: 'no-store', credentials: 'omit', redirect: 'manual' })
    if (response.status === 403) throw new SwarmError(Code.FORBIDDEN, `${url} is not for pages of this origin`, { remote: true })
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    info = await response.json()
    if (new URL(info.webtransport).protocol !== 'https:') throw new Error('no https')
    return { url: info.webtransport, hashes: info.certificate.kind === 'pinned' ? info.certificate.hashes!.map(hash) : [] }
  } catch (cause) {
    throw cause instanceof SwarmError ? cause : new SwarmError(Code.PEER_UNREACHABLE, `${url}: ${cause}`, { cause })
  }
}
