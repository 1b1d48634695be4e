import { ignore } from './deferred.js'

/**
 * Returns what a stream is aborted with. Its code is another one if this browser's resets
 * cannot carry `code`.
 */
function streamError (code: number): WebTransportError {
  const init = { streamErrorCode: code }
  try {
    return new WebTransportError('', init)
  } catch {
    return new WebTransportError(init as never) // as it was before there was a message
  }
}

/** Reports whether this browser can reset a stream with a code: in many it has one byte. */
export function carries (code: number): boolean { return streamError(code).streamErrorCode === code }

/** Ends both directions of a stream, whether they are locked by these or not. */
export function reset (
  readable: ReadableStream | ReadableStreamBYOBReader, writable: WritableStream | WritableStreamDefaultWriter, code: number
): void {
  const error = streamError(code)
  ignore(writable.abort(error)) // first: Firefox sends no code for the other one
  ignore(readable.cancel(error))
}
