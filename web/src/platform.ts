import type { Clock } from './clock.js'
import { realClock } from './clock.js'

/** What the module needs of the page or the Worker that it runs in, which tests replace. */
export interface Platform {
  clock: Clock
  fetch: typeof fetch
  /** Undefined if there is none. */
  WebTransport: typeof WebTransport | undefined
  /**
   * Calls `wake` when the network or the page may be back, and `sleep` when the page is left,
   * until the function that it returns is called.
   */
  watch: (wake: () => void, sleep: () => void) => () => void
}

/** The globals of this page, Worker or SharedWorker. */
export const platform: Platform = {
  clock: realClock,
  fetch: (...args) => fetch(...args),
  get WebTransport () { return globalThis.WebTransport },
  watch
}

/** Implements `Platform.watch`. A Worker has no document, and is not left. */
export function watch (wake: () => void, sleep: () => void, scope: Partial<Pick<Window, 'addEventListener' | 'document'>> = globalThis): () => void {
  const end = new AbortController()
  const on = (target: Partial<EventTarget> | undefined, type: string, f: () => void) => target?.addEventListener?.(type, f, { signal: end.signal })
  on(scope, 'online', wake)
  on(scope, 'pageshow', wake)
  on(scope, 'pagehide', sleep)
  on(scope.document, 'visibilitychange', () => { if (!scope.document!.hidden) wake() })
  return () => end.abort()
}
