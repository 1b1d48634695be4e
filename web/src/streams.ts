import { ignore } from './deferred.js'

/** The most that a browser's stream errors carry in a stream's reset; see `carries`. */
function streamError (code: number): WebTransportError {
  // Browsers take a dictionary, the newer standard a message before it.
  const error = new (WebTransportError as unknown as new (init: object) => WebTransportError)({ streamErrorCode: code })
  return error.streamErrorCode === code ? error : new WebTransportError('', { streamErrorCode: code })
}

/** Reports whether this browser can reset a stream with a code: many take a byte for it. */
export function carries (code: number): boolean { return streamError(code).streamErrorCode === code }

/** Ends both directions of a stream with a code, whichever of its ends is locked. */
export function reset (
  readable: ReadableStream | ReadableStreamBYOBReader, writable: WritableStream | WritableStreamDefaultWriter, code: number
): void {
  const error = streamError(code)
  ignore(readable.cancel(error))
  ignore(writable.abort(error))
}
