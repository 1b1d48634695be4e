/**
 * What came over a circuit of a secret room is not what a member of the room sends, or the room
 * cannot be had.
 */
export class SecretError extends Error {
  /** With which code the circuit was reset; see `Code`. */
  readonly code: number

  constructor (code: number, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }

  static { this.prototype.name = 'SecretError' }
}
