/** Waits for an event, and returns what came with it. */
export function event<T extends unknown[]> (dss: { once: (event: string, f: (...args: any[]) => void) => unknown }, name: string): Promise<T> {
  return new Promise(resolve => { dss.once(name, (...args) => resolve(args as T)) })
}
