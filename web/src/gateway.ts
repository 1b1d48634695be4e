import type { ConnectOptions, GatewayAddress, Token } from './api.js'
import { Code } from './codes.js'
import { SwarmError } from './errors.js'
import { MAX_TOKEN } from './frames.js'
import { unhex32 } from './hex.js'

/** Where a gateway's transports are, and how its certificate is trusted. */
export interface Route {
  /** Of WebTransport. */
  url: string
  /** Of WebSocket, with http in place of ws. Undefined if there is none that a browser may use. */
  websocket?: string | false | undefined
  /** Hashes of which the certificate has to have one. Empty with a certificate of an authority. */
  hashes: Uint8Array<ArrayBuffer>[]
}

/** What of the info document is used. */
interface Info {
  webtransport: string
  websocket?: string
  certificate: { kind: string, hashes?: string[] }
}

/** A gateway, and what was learned about it. */
export class Gateway {
  /** The origin that it was given by. */
  readonly origin: string
  readonly #transports: readonly string[] | undefined
  /** Until when WebSocket is tried first, in ms since 1970. */
  webSocketUntil = 0
  /** Each attempt has a token of its own. */
  readonly renews: boolean
  readonly #token: Token
  #route: Route | undefined
  #stale = false // the route failed since it was learned, and can be learned again
  readonly #given: boolean // the route was, by hand

  /** Throws a TypeError if the address is not one that can be trusted. */
  constructor (address: GatewayAddress, common: ConnectOptions = {}) {
    let { url = address, hashes = common.hashes, token = common.token ?? '' } = address as ConnectOptions // of which a string has none
    const { origin, protocol, hostname, pathname, searchParams } = new URL(`${url}`.replace(/^\s*swarmgate:/i, 'https:'))
    const own = searchParams.getAll('h').filter(h => h)
    if (own[0]) hashes = own // of a gateway URL
    this.#given = hashes !== undefined
    if (protocol !== 'https:' && (protocol !== 'http:' || this.#given || !isLoopback(hostname))) {
      throw new TypeError(`${url}: want https, or http on loopback`)
    }
    this.origin = origin
    this.#transports = common.transports
    this.renews = typeof token === 'function'
    this.#token = typeof token === 'function' ? token : tokenFrom(token)
    if (hashes) {
      const url = origin + (pathname === '/' ? '/swarm' : pathname)
      this.#route = { url, websocket: !hashes.length && url, hashes: hashes.map(hash) }
    }
  }

  /** Reports whether a transport may be used to reach it. */
  may (transport: string): boolean { return this.#transports?.includes(transport) ?? true }

  /** Where its WebSocket is, if it has one that may be used. */
  get webSocket (): string | false | undefined { return this.may('websocket') && this.#route?.websocket }

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
    const url = `${this.origin}/.well-known/swarmgate`
    try {
      const response = await get(url, { signal, cache: 'no-store', credentials: 'omit', redirect: 'manual' })
      if (response.status === 403) throw new SwarmError(Code.FORBIDDEN, `${url} is not for this origin`, { remote: true })
      if (!response.ok) throw new Error(`HTTP ${response.status}`)
      const { webtransport, websocket, certificate: { kind, hashes } }: Info = await response.json()
      this.#route = {
        url: new URL(webtransport).href,
        websocket: websocket && new URL(websocket, url).href,
        hashes: kind === 'pinned' ? hashes!.map(hash) : []
      }
      this.#stale = false
    } catch (cause) {
      if (!this.#route) throw cause instanceof SwarmError ? cause : new SwarmError(Code.PEER_UNREACHABLE, `${url}: ${cause}`, { cause })
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
  if (bytes.length > MAX_TOKEN) throw new RangeError('token too long')
  return bytes
}

/** Returns the gateways that were asked for. */
export function gatewaysOf (target: GatewayAddress | readonly GatewayAddress[] | ConnectOptions): Gateway[] {
  const options = target as ConnectOptions // a string, a URL and an array have none of its members
  const { url, gateways = Array.isArray(target) ? target : [url ?? target] } = options
  if (!gateways[0] || url && options.gateways) throw new TypeError('url or gateways')
  return gateways.map(address => new Gateway(address, options))
}

/** 127.0.0.0/8, ::1, localhost and names below it, as URL spells them. */
export function isLoopback (hostname: string): boolean { return /^(\[::1]|127[.\d]+|(.+\.)?localhost)$/.test(hostname) }

function hash (h: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = typeof h === 'string' ? unhex32(h) : Uint8Array.from(h)
  if (bytes?.length !== 32) throw new TypeError('a hash has 32 bytes')
  return bytes
}
