import { Code } from './codes.js'
import type { SecretError } from './secreterror.js'

/**
 * Returns the code with which to end a stream because of `reason`: a number, a `SwarmError`, a
 * `SecretError`, or anything, which is 0. A DOMException has codes of its own.
 */
export function codeOf (reason: unknown): number {
  const code: unknown = reason instanceof Error && /^(Swarm|Secret)Error$/.test(reason.name) ? (reason as Partial<SecretError>).code : reason
  return typeof code === 'number' && code >>> 0 === code ? code : Code.NONE
}
