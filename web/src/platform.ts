import type { Clock } from './clock.js'
import { realClock } from './clock.js'

/** What the module needs of the page or the Worker that it runs in, which tests replace. */
export interface Platform {
  clock: Clock
  fetch: typeof fetch
  /** Undefined where there is none. */
  WebTransport: typeof WebTransport | undefined
  /** Calls `f` when the network or the page may be back, until the function that it returns is called. */
  wakes: (f: () => void) => () => void
}

/** The globals of this page, Worker or SharedWorker. */
export const platform: Platform = {
  clock: realClock,
  fetch: (...args) => fetch(...args),
  get WebTransport () { return globalThis.WebTransport },
  wakes: f => wakes(globalThis, f)
}

/** Implements `Platform.wakes`. A Worker has no document and no `pageshow`. */
export function wakes (scope: Partial<Pick<Window, 'addEventListener' | 'removeEventListener' | 'document'>>, f: () => void): () => void {
  const visible = () => { if (scope.document?.visibilityState === 'visible') f() }
  const all: Array<[Partial<EventTarget> | undefined, string, () => void]> = [
    [scope, 'online', f], [scope, 'pageshow', f], [scope.document, 'visibilitychange', visible]
  ]
  for (const [target, type, listener] of all) target?.addEventListener?.(type, listener)
  return () => { for (const [target, type, listener] of all) target?.removeEventListener?.(type, listener) }
}
