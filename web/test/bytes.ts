/** Returns a byte stream that holds `bytes`, in pieces of `size`. */
export function byteStream (bytes: Uint8Array<ArrayBuffer>, size = bytes.length): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    type: 'bytes',
    start (c) {
      for (let at = 0; at < bytes.length; at += size) c.enqueue(bytes.slice(at, at + size))
      c.close()
    }
  })
}

/** Returns arrays one after the other. */
export function concat (...parts: Uint8Array[]): Uint8Array<ArrayBuffer> { return Uint8Array.from(parts.flatMap(p => Array.from(p))) }
