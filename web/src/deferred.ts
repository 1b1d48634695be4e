/** A promise that somebody else settles. One that is never waited for may reject all the same. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: unknown) => void
}

/** Returns a promise that is open. */
export function deferred<T = void> (): Deferred<T> {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((...settle) => { [resolve, reject] = settle })
  promise.catch(() => {})
  return { promise, resolve, reject }
}

/** Waits for nothing, if an error is told in another way. */
export function ignore (promise: Promise<unknown> | undefined): void { promise?.catch(() => {}) }
