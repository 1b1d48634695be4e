import type { Clock } from './clock.js'
import { Decline } from './frames.js'
import type { Granting } from './outbox.js'
import { Outbox } from './outbox.js'
import type { Writer } from './link/stream.js'

/** What a session says on its control stream. It waits here until there is one. */
export class Control {
  readonly #clock: Clock
  readonly #failed: (e: unknown) => void
  readonly #outbox = new Outbox()
  #writer: Writer | undefined
  #flushing?: boolean
  #declined = -Infinity // up to when DECLINE is paid for

  /** Begins to collect frames; `failed` is told that a write has failed. */
  constructor (clock: Clock, failed: (e: unknown) => void) {
    this.#clock = clock
    this.#failed = failed
  }

  /** There is a stream: HELLO is sent, and then what waits. */
  open (writer: Writer, hello: Uint8Array): void {
    this.#writer = writer
    this.#outbox.begin(hello)
    this.#wake()
  }

  /** Whether there is a stream. */
  get opened (): boolean { return this.#writer !== undefined }

  /** Sends a frame. */
  send (frame: Uint8Array): void {
    this.#outbox.push(frame)
    this.#wake()
  }

  /** Answers a PING. */
  pong (data: Uint8Array): void {
    this.#outbox.pong(data)
    this.#wake()
  }

  /** Tells the new offset of a circuit's account. */
  credit (circuit: Granting): void {
    this.#outbox.credit(circuit)
    this.#wake()
  }

  /**
   * Sends DECLINE: 50 a second, after 100 at once, for a gateway ends a session that says too
   * much. An offer that is not declined is withdrawn in time, and a circuit reset without a code.
   */
  decline (circuit: number, code: number): void {
    const now = this.#clock.now()
    const at = Math.max(this.#declined, now - 2000) + 20
    if (at > now) return
    this.#declined = at
    this.send(Decline.encode({ circuit, code }))
  }

  /** Writes what waits, all that this turn of the event loop puts there in one go. */
  #wake (): void {
    if (!this.#writer || this.#flushing) return
    this.#flushing = true
    void this.#flush(this.#writer)
  }

  async #flush (writer: Writer): Promise<void> {
    try {
      await undefined
      for (let b; (b = this.#outbox.take()).length > 0;) await writer.write(b)
      this.#flushing = false
    } catch (e) {
      this.#failed(e)
    }
  }
}
