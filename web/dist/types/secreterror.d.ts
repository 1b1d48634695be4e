/**
 * What came over a circuit of a secret room is not what a member of the room sends, or the room
 * cannot be had.
 */
export declare class SecretError extends Error {
    /** With which code the circuit was reset; see `Code`. */
    readonly code: number;
    constructor(code: number, message: string, cause?: unknown);
}
