/** Returns bytes as lower-case hexadecimal digits. */
export function hex (bytes: Uint8Array): string {
  return Array.from(bytes, b => b.toString(16).padStart(2, '0')).join('')
}

/**
 * Returns the 32 bytes that 64 hexadecimal digits of either case stand for, or undefined if `s`
 * is something else.
 */
export function unhex32 (s: string): Uint8Array<ArrayBuffer> | undefined {
  return /^[0-9a-f]{64}$/i.test(s) ? Uint8Array.from(s.match(/../g)!, d => parseInt(d, 16)) : undefined
}
