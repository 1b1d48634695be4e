const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB']

/** Returns a number of bytes for people, with three digits. */
export function size (n: number): string {
  let i = 0
  while (n >= 999.5 && i < units.length - 1) {
    n /= 1000
    i++
  }
  const digits = i === 0 || n >= 99.95 ? 0 : n >= 9.995 ? 1 : 2
  return `${n.toFixed(digits)} ${units[i]!}`
}

/** Returns a number of seconds for people. */
export function duration (s: number): string {
  s = Math.max(0, Math.round(s))
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`
  return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`
}

/** Returns `1 peer`, `2 peers`. */
export function count (n: number, one: string, many = one + 's'): string {
  return `${n} ${n === 1 ? one : many}`
}

/**
 * Returns a text of somebody else as it can be shown in a line: without control characters and
 * marks that turn its direction.
 */
export function plain (s: string): string {
  return s.replace(/[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, ' ').trim()
}
