/**
 * Texts, JSON values and bytes over a pair of streams, each with its length before it, so that
 * every message arrives as it was sent. Package `client/messages` is the same in Go;
 * docs/MESSAGES.md has the bytes.
 *
 * @packageDocumentation
 */

/** A message that came. */
export type Message =
  | { type: 'text', text: string }
  | { type: 'json', value: any }
  | { type: 'bytes', bytes: Uint8Array<ArrayBuffer> }
  /** A message of a kind that programs use as they like, from `FIRST_OWN` on. */
  | { type: 'own', kind: number, bytes: Uint8Array<ArrayBuffer> }

/** Two streams of bytes, for example a `Peer`. */
export interface Duplex {
  readonly readable: ReadableStream<Uint8Array>
  readonly writable: WritableStream<Uint8Array<ArrayBuffer>>
}

/** Options of `Messages`. */
export interface MessagesOptions {
  /**
   * Bytes of the largest message that is sent or received, without its head. 1 MiB by default;
   * `Infinity` for no limit but that of 4 GiB.
   */
  maxSize?: number
}

/**
 * What came is not a message, or one is too large. Nothing that follows on the stream can be
 * read.
 */
export class MessageError extends Error {
  override name = 'MessageError'
}

/** The first of the kinds, up to 255, that programs use as they like. */
export const FIRST_OWN = 0x40

const TEXT = 1
const JSON_VALUE = 2
const BYTES = 3
const HEAD = 5 // bytes: kind 1, length 4
const MAX_SIZE = 1 << 20

/** Returns a message as it is sent. Parts follow each other without anything between them. */
export function encodeMessage (kind: number, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const length = parts.reduce((n, p) => n + p.length, 0)
  const all = new Uint8Array(HEAD + length)
  all[0] = kind
  new DataView(all.buffer).setUint32(1, length)
  let at = HEAD
  for (const p of parts) {
    all.set(p, at)
    at += p.length
  }
  return all
}

/** Finds the messages in bytes that come in any pieces. It reads no stream. */
export class MessageDecoder {
  readonly #max: number
  #parts: Uint8Array[] = [] // pushed, and not decoded
  #held = 0 // bytes of them

  constructor ({ maxSize = MAX_SIZE }: MessagesOptions = {}) { this.#max = maxSize }

  /** Whether a part of a message has come. */
  get within (): boolean { return this.#held > 0 }

  /** Takes the next bytes in. They must not change until they were decoded. */
  push (b: Uint8Array): void {
    if (b.length > 0) this.#parts.push(b)
    this.#held += b.length
  }

  /**
   * Returns the next message if all of it has come. It skips kinds that it does not know, and
   * throws a `MessageError`.
   */
  next (): Message | undefined {
    while (this.#held >= HEAD) {
      const head = this.#peek(HEAD)
      const length = new DataView(head.buffer, head.byteOffset).getUint32(1)
      if (length > this.#max) throw new MessageError(`a message of ${length} bytes, at most ${this.#max} are allowed`)
      if (this.#held < HEAD + length) return
      const all = this.#peek(HEAD + length)
      const message = read(all[0]!, all.slice(HEAD, HEAD + length))
      this.#drop(HEAD + length)
      if (message) return message
    }
    return
  }

  /**
   * Takes out what was not decoded. After a `MessageError` it begins with what was not a message.
   */
  rest (): Uint8Array {
    const rest = this.#peek(this.#held)
    this.#drop(this.#held)
    return rest
  }

  /** Returns at least `n` bytes, which stay. */
  #peek (n: number): Uint8Array {
    if ((this.#parts[0]?.length ?? 0) < n) this.#parts = [encodeMessage(0, ...this.#parts).subarray(HEAD)]
    return this.#parts[0] ?? new Uint8Array()
  }

  /** Forgets the first `n` bytes, which were peeked at. */
  #drop (n: number): void {
    const first = this.#parts.shift()?.subarray(n)
    if (first?.length) this.#parts.unshift(first)
    this.#held -= n
  }
}

function read (kind: number, bytes: Uint8Array<ArrayBuffer>): Message | undefined {
  try {
    if (kind === TEXT) return { type: 'text', text: utf8(bytes) }
    if (kind === JSON_VALUE) return { type: 'json', value: JSON.parse(utf8(bytes)) }
  } catch {
    throw new MessageError(kind === TEXT ? 'a text that is not UTF-8' : 'a JSON value that is not JSON')
  }
  if (kind === BYTES) return { type: 'bytes', bytes }
  if (kind >= FIRST_OWN) return { type: 'own', kind, bytes }
  return
}

function utf8 (b: Uint8Array): string { return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(b) }

/**
 * Sends and receives messages over a peer, or over anything else with two streams.
 *
 * ```ts
 * const messages = new Messages(peer)
 * await messages.send('hello')
 * for await (const m of messages) if (m.type === 'text') console.log(m.text)
 * ```
 */
export class Messages {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>
  readonly #decoder: MessageDecoder
  readonly #max: number
  #last: Promise<unknown> = Promise.resolve() // what was received last

  /** Locks both streams. Nothing is read until somebody receives. */
  constructor ({ readable, writable }: Duplex, options: MessagesOptions = {}) {
    this.#reader = readable.getReader()
    this.#writer = writable.getWriter()
    this.#reader.closed.catch(() => {}) // receive says why
    this.#writer.closed.catch(() => {}) // send says why
    this.#decoder = new MessageDecoder(options)
    this.#max = options.maxSize ?? MAX_SIZE
  }

  /**
   * Sends a text or bytes. It resolves when the stream has taken them, so whoever awaits it sends
   * no faster than the peer reads. It rejects with a `MessageError` if they are too large, before
   * anything is sent, and with the stream's error. Any number of messages may be sent at once.
   */
  async send (message: string | Uint8Array): Promise<void> {
    if (typeof message === 'string') await this.sendOwn(TEXT, new TextEncoder().encode(message))
    else await this.sendOwn(BYTES, message)
  }

  /**
   * Sends a value as `JSON.stringify` writes it. One that is not JSON, such as `undefined`, is a
   * TypeError.
   */
  async sendJSON (value: unknown): Promise<void> {
    const text = JSON.stringify(value)
    if (text === undefined) throw new TypeError('not a JSON value')
    await this.sendOwn(JSON_VALUE, new TextEncoder().encode(text))
  }

  /** Sends a message of a kind that programs use as they like, from `FIRST_OWN` on. */
  async sendOwn (kind: number, bytes: Uint8Array): Promise<void> {
    if (bytes.length > this.#max) throw new MessageError(`a message of ${bytes.length} bytes, at most ${this.#max} are allowed`)
    await this.#writer.write(encodeMessage(kind, bytes))
  }

  /**
   * Resolves with the next message, or with undefined if the peer has ended its side. It rejects
   * with a `MessageError` if what comes is not a message, or ends within one, and with the
   * stream's error.
   */
  receive (): Promise<Message | undefined> {
    const next = this.#last.then(() => this.#receive())
    this.#last = next.catch(() => {})
    return next
  }

  /**
   * The messages until the peer ends its side. To break out of the loop ends nothing: another
   * loop goes on with the next message.
   */
  async * [Symbol.asyncIterator] (): AsyncGenerator<Message, void, undefined> {
    for (let m; (m = await this.receive());) yield m
  }

  /**
   * Ends this side: the peer gets what was sent, and then the end. What the peer sends can still
   * be received.
   */
  close (): Promise<void> { return this.#writer.close() }

  /** Ends both sides at once: what was not taken yet is lost. */
  async abort (reason?: unknown): Promise<void> {
    await Promise.all([this.#reader.cancel(reason), this.#writer.abort(reason)])
  }

  async #receive (): Promise<Message | undefined> {
    for (;;) {
      const message = this.#decoder.next()
      if (message) return message
      const { value, done } = await this.#reader.read()
      if (!done) this.#decoder.push(value)
      else if (this.#decoder.within) throw new MessageError('the stream has ended within a message')
      else return
    }
  }
}
