import { MAX_CHUNK, dataHead } from './framing.js'
import type { Link } from './link.js'
import { Meter } from './meter.js'

/** Where a transfer is. After `done`, `failed` and `refused` nothing follows. */
export type State = 'offered' | 'moving' | 'done' | 'failed' | 'refused'

/** A file on its way to one console. */
export class Upload {
  readonly file: File
  readonly link: Link
  readonly id: number
  readonly sent = new Meter(performance.now())
  state: State = 'offered'
  /** Why it failed or was refused, for people; it may be a text of the peer. */
  reason = ''
  #granted = 0 // bytes that the peer has room for
  #wake = () => {} // of the loop, when the above changes

  constructor (link: Link, id: number, file: File) {
    this.link = link
    this.id = id
    this.file = file
  }

  /** Offers the file. */
  async offer (): Promise<void> {
    const told = await this.link.say({ type: 'file', id: this.id, size: this.file.size, name: this.file.name })
    if (!told) this.#end('failed', 'the peer does not read')
  }

  /** The peer has room up to an offset. The first time it has accepted the file by this. */
  grant (offset: number): void {
    this.#granted = Math.max(this.#granted, offset)
    if (this.state === 'offered') {
      this.state = 'moving'
      void this.#send()
    }
    this.#wake()
  }

  /** The peer has all of it. */
  saved (): void {
    if (this.state === 'moving' && this.sent.total === this.file.size) this.#end('done')
  }

  /** The peer does not want it, or not any more. */
  refuse (reason: string): void { this.#end('refused', reason) }

  /** Ends it from here, and tells the peer. */
  cancel (reason: string): void {
    if (!this.over) void this.link.say({ type: 'cancel', id: this.id, reason })
    this.#end('failed', reason)
  }

  /** Ends it without telling the peer, which is gone. */
  lose (reason: string): void { this.#end('failed', reason) }

  get over (): boolean { return this.state !== 'offered' && this.state !== 'moving' }

  /** Reads the file as the peer takes it. */
  async #send (): Promise<void> {
    const reader = this.file.stream().getReader()
    try {
      for (;;) {
        const { value, done } = await reader.read()
        if (done) return
        if (!await this.#pass(value)) return
      }
    } catch (e) {
      this.cancel(`the file cannot be read: ${e instanceof Error ? e.message : String(e)}`)
    } finally {
      reader.cancel().catch(() => {})
    }
  }

  /** Sends a part of the file, and reports whether to go on. */
  async #pass (part: Uint8Array): Promise<boolean> {
    for (let at = 0; at < part.length;) {
      while (!this.over && this.#granted <= this.sent.total) await new Promise<void>(resolve => { this.#wake = resolve })
      if (this.over) return false
      const n = Math.min(part.length - at, MAX_CHUNK, this.#granted - this.sent.total)
      if (!await this.link.write(dataHead(this.id, n), part.subarray(at, at + n))) return false
      this.sent.add(n)
      at += n
    }
    return true
  }

  #end (state: State, reason = ''): void {
    if (this.over) return
    this.state = state
    this.reason = reason
    this.#wake()
  }
}
