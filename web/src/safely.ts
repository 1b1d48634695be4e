/** Calls what belongs to the page. What it throws is the page's matter, and stops nothing here. */
export function safely (f: () => unknown): void {
  try {
    f()
  } catch (error) {
    queueMicrotask(() => { throw error })
  }
}
