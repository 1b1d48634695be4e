import { Code, codeName, isPermanent } from './codes.js'

/**
 * One side ended a session, a join or a circuit. All errors of this module that are not mistakes
 * of the caller (`TypeError`, `RangeError`) or an `AbortSignal`'s reason are of this class.
 */
export class SwarmError extends Error {
  override readonly name = 'SwarmError'
  /** Number on the wire; see `Code`. */
  readonly code: number
  /** The other side decided: the gateway or the peer. */
  readonly remote: boolean
  /** Words for people, without the code. */
  readonly reason: string

  /** Makes an error of this side, unless `remote` is set. `cause` is never sent. */
  constructor (code: number, reason = '', { remote = false, cause }: { remote?: boolean, cause?: unknown } = {}) {
    super(codeName(code) + (remote ? ' (remote)' : '') + (reason && `: ${reason}`), { cause })
    this.code = code
    this.remote = remote
    this.reason = reason
  }

  /** Trying to connect again cannot help. */
  get permanent (): boolean { return isPermanent(this.code) }
}

/**
 * Returns the code with which to end a stream because of `reason`: a code, an error that carries
 * one, or anything, which is 0.
 */
export function codeOf (reason: unknown): number {
  const code: unknown = reason instanceof SwarmError
    ? reason.code
    : (reason as { streamErrorCode?: unknown } | null | undefined)?.streamErrorCode ?? reason
  return isCode(code) ? code : Code.NONE
}

/** Reports whether `x` is a number that fits into a code. */
export function isCode (x: unknown): x is number {
  return typeof x === 'number' && x >>> 0 === x
}
