// Watches what a program reads and writes on WebTransport, from outside of it: the frames of
// docs/PROTOCOL.md, sections 4, 7 and 8, that concern credit, GOAWAY, and the bytes of circuits that
// its readers were handed. It changes nothing: every call gets the browser's own promise.
const HELLO = 0x01, PEER = 0x08, ACCEPT = 0x09, CREDIT = 0x0c, GOAWAY = 0x0d

/** Replaces globalThis.WebTransport and WebSocket, and returns what it has seen so far, as it goes on. */
export function spy () {
  const seen = {
    opened: 0, // circuits whose stream the gateway opened
    offered: 0,
    accepted: 0, // offers
    credits: 0, // CREDIT frames
    read: 0, // bytes of circuits
    most: 0, // bytes that were granted and not read at once, over all circuits
    goaways: [], // of each GOAWAY the code, retryAfter in ms, and the reason
    received: 0 // bytes that came over WebSocket, of which nothing else is seen
  }
  let unread = 0
  const account = change => {
    unread += change
    seen.most = Math.max(seen.most, unread)
  }

  /** What one circuit may have on its way. It ends with the stream's last byte, or when either side has ended it before. */
  class Circuit {
    #granted; #read = 0; #open = true
    constructor (credit) {
      this.#granted = credit
      account(credit)
    }

    grant (offset) {
      if (!this.#open || offset <= this.#granted) return
      account(offset - this.#granted)
      this.#granted = offset
    }

    read (n) {
      seen.read += n
      this.#read += n
      if (this.#open) account(-n)
    }

    end () {
      if (!this.#open) return
      this.#open = false
      account(this.#read - this.#granted)
    }
  }

  class Session {
    #credit = 0 // HELLO's
    #circuits = new Map()

    circuit (id) {
      const c = new Circuit(this.#credit)
      this.#circuits.set(id, c)
      return c
    }

    end () { for (const c of this.#circuits.values()) c.end() }

    /** Watches a stream that the gateway opened: a circuit from after PEER on. */
    opened (stream) {
      let c
      const frames = new Frames((type, fields) => {
        if (type !== PEER) return
        seen.opened++
        c = this.circuit(fields.next())
        return true
      })
      watchReader(stream.readable, bytes => {
        const rest = c ? bytes.length : frames.push(bytes)
        c?.read(rest)
      }, () => c?.end())
      watchWriter(stream.writable, () => {}, () => c?.end())
    }

    /** Watches a stream that the program opened: its first frame says whether it is the control stream or a circuit. */
    own (stream) {
      let c
      const written = new Frames((type, fields) => {
        switch (type) {
          case HELLO:
            fields.next() // version
            fields.next() // flags
            this.#credit = fields.next()
            return
          case ACCEPT:
            seen.accepted++
            c = this.circuit(fields.next())
            return true
          case CREDIT:
            seen.credits++
            this.#circuits.get(fields.next())?.grant(fields.next())
        }
      })
      const control = new Frames((type, fields) => {
        if (type === PEER) seen.offered++
        if (type === GOAWAY) seen.goaways.push({ code: fields.next(), retryAfter: fields.next(), reason: fields.text() })
      })
      watchWriter(stream.writable, bytes => { if (!c) written.push(bytes) }, () => c?.end())
      watchReader(stream.readable, bytes => { if (c) c.read(bytes.length); else control.push(bytes) }, () => c?.end())
    }
  }

  globalThis.WebTransport = class extends WebTransport {
    #session = new Session()
    constructor (...args) {
      super(...args)
      const end = () => this.#session.end()
      this.closed.then(end, end)
      watchReader(this.incomingBidirectionalStreams, stream => this.#session.opened(stream), () => {})
    }

    createBidirectionalStream (...args) {
      const created = super.createBidirectionalStream(...args)
      created.then(stream => this.#session.own(stream), () => {})
      return created
    }

    close (...args) {
      this.#session.end()
      return super.close(...args)
    }
  }

  globalThis.WebSocket = class extends WebSocket {
    constructor (...args) {
      super(...args)
      this.addEventListener('message', ({ data }) => { seen.received += data.byteLength ?? 0 })
    }
  }
  return seen
}

/** Calls `value` with what readers of a stream are handed, before they are, and `end` at its end, or before it is cancelled. */
function watchReader (readable, value, end) {
  before(readable, 'cancel', end)
  const getReader = readable.getReader
  readable.getReader = (...args) => {
    const reader = getReader.apply(readable, args)
    before(reader, 'cancel', end)
    const read = reader.read
    reader.read = (...args) => {
      const result = read.apply(reader, args)
      result.then(r => {
        if (r.value && r.value.byteLength !== 0) value(r.value)
        if (r.done) end()
      }, () => {})
      return result
    }
    return reader
  }
}

/** Calls `value` with what writers of a stream are given, before it is written, and `end` before it is aborted. */
function watchWriter (writable, value, end) {
  before(writable, 'abort', end)
  const getWriter = writable.getWriter
  writable.getWriter = (...args) => {
    const writer = getWriter.apply(writable, args)
    before(writer, 'abort', end)
    before(writer, 'write', value)
    return writer
  }
}

/** Has a method of an object call `f` first. */
function before (object, method, f) {
  const own = object[method]
  object[method] = (...args) => {
    f(...args)
    return own.apply(object, args)
  }
}

/** Cuts bytes into frames, and calls `frame` with each until that returns true. */
class Frames {
  #frame; #bytes = []
  constructor (frame) { this.#frame = frame }

  /** Returns how many of the bytes follow the last frame. */
  push (bytes) {
    for (let at = 0; at < bytes.byteLength;) {
      this.#bytes.push(new Uint8Array(bytes.buffer, bytes.byteOffset)[at++])
      const fields = new Fields(this.#bytes)
      const type = fields.next()
      const length = fields.next()
      if (length === undefined || fields.left < length) continue
      this.#bytes = []
      if (this.#frame(type, fields)) return bytes.byteLength - at
    }
    return 0
  }
}

/** Reads varints: undefined where there are not enough bytes. */
class Fields {
  #bytes; #at = 0
  constructor (bytes) { this.#bytes = bytes }
  get left () { return this.#bytes.length - this.#at }
  next () {
    const [first, ...rest] = this.#bytes.slice(this.#at, this.#at + 8)
    const size = 1 << (first >> 6)
    if (this.left < size) return undefined
    this.#at += size
    return rest.slice(0, size - 1).reduce((n, b) => n * 256 + b, first & 63)
  }
  text () {
    const length = this.next()
    return new TextDecoder().decode(new Uint8Array(this.#bytes.slice(this.#at, this.#at += length)))
  }
}
