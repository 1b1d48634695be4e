// WebTransport as Safari has it (WebKit bug 319818, as it is reported): after some bytes of a session, both
// ways and over all streams, no byte moves any more, and nothing says so.

/** Replaces globalThis.WebTransport by one whose sessions stop after so many bytes. */
export function stall (after) {
  const Real = globalThis.WebTransport
  const never = new Promise(() => {})

  globalThis.WebTransport = class {
    #real
    #moved = 0
    constructor (url, options) {
      this.#real = new Real(url, options)
      const streams = this.#real.incomingBidirectionalStreams.getReader()
      this.incomingBidirectionalStreams = new ReadableStream({
        pull: async c => {
          const { value, done } = await streams.read()
          await this.#gate()
          if (done) c.close()
          else c.enqueue(this.#wrap(value))
        }
      })
    }

    get ready () { return this.#real.ready }
    get closed () {
      return this.#real.closed.then(async info => {
        await this.#gate()
        return info
      })
    }

    close (info) { this.#real.close(info) }

    async createBidirectionalStream () {
      await this.#gate()
      return this.#wrap(await this.#real.createBidirectionalStream())
    }

    /** Waits for ever once the session has stopped. */
    #gate () { return this.#moved > after ? never : undefined }

    #wrap ({ readable, writable }) {
      const reader = readable.getReader()
      const writer = writable.getWriter()
      return {
        readable: new ReadableStream({
          type: 'bytes',
          pull: async c => {
            await this.#gate()
            const { value, done } = await reader.read()
            this.#moved += value?.length ?? 0
            await this.#gate()
            if (!done) return c.enqueue(value)
            c.close()
            c.byobRequest?.respond(0)
          },
          cancel: reason => reader.cancel(reason)
        }),
        writable: new WritableStream({
          write: async bytes => {
            await this.#gate()
            this.#moved += bytes.byteLength
            await writer.write(bytes)
          },
          close: async () => {
            await this.#gate()
            await writer.close()
          },
          abort: reason => writer.abort(reason)
        })
      }
    }
  }
}
