/** A connection with a gateway, and its streams: what a session uses of WebTransport. */
export interface Link extends Pick<WebTransport, 'ready' | 'closed' | 'close' | 'createBidirectionalStream' | 'incomingBidirectionalStreams'> {
  /** What it is, if it is not WebTransport. */
  readonly transport?: 'websocket'
}

/** The two directions of a stream. */
export type Pair = Awaited<ReturnType<Link['createBidirectionalStream']>>

/**
 * Connects by WebSocket, and by what else there is: WebTransport that is under way (`first`), or
 * that is begun (`open`) when WebSocket fails or is slow. The first that is ready wins, and the
 * other one is closed. Each link that is made is added to `links`, so that it can be closed before;
 * once `signal` is aborted none is made any more.
 * That WebSocket has won is kept in localStorage under `key`, until a time in ms since 1970.
 */
export type Race = (
  first: Link | undefined, open: (() => Link) | undefined, url: string,
  after: (ms: number, f: () => void) => () => void, links: Link[], signal: AbortSignal, key: string
) => Promise<Link>
