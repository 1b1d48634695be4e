/**
 * One side ended a session, a join or a circuit. All errors of this module that are not mistakes
 * of the caller (`TypeError`, `RangeError`) or an `AbortSignal`'s reason are of this class.
 */
export declare class SwarmError extends Error {
    readonly name = "SwarmError";
    /** Number on the wire; see `Code`. */
    readonly code: number;
    /** The other side decided: the gateway or the peer. */
    readonly remote: boolean;
    /** Words for people, without the code. */
    readonly reason: string;
    /** Makes an error of this side, unless `remote` is set. `cause` is never sent. */
    constructor(code: number, reason?: string, { remote, cause }?: {
        remote?: boolean;
        cause?: unknown;
    });
    /** Trying to connect again cannot help. */
    get permanent(): boolean;
}
/**
 * Returns the code with which to end a stream because of `reason`: a code, an error that carries
 * one, or anything, which is 0.
 */
export declare function codeOf(reason: unknown): number;
/** Reports whether `x` is a number that fits into a code. */
export declare function isCode(x: unknown): x is number;
