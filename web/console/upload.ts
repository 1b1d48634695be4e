import { MAX_CHUNK, encode, makeHalf } from './messages.js'
import { endpoint } from './id.js'
import type { Link } from './link.js'
import { Meter } from './meter.js'

/** Where a transfer is. After `done`, `failed` and `refused` nothing follows. */
export type State = 'offered' | 'moving' | 'done' | 'failed' | 'refused'

/** A file on its way to one console. */
export class Upload {
  readonly file: File
  readonly id: number
  /** Whom it was offered to, whatever circuit leads there. */
  readonly endpoint: string
  /** The half of the offer's secret that this end shows to the other, when they meet again. */
  readonly ask = makeHalf()
  /** The half that the other end shows. */
  readonly answer = makeHalf()
  readonly sent = new Meter(performance.now())
  link: Link
  state: State = 'offered'
  /** Its circuit was lost: it goes on when the same console is met again. */
  away = false
  /** Why it failed or was refused, for people; it may be a text of the peer. */
  reason = ''
  #granted = 0 // bytes that the peer has room for
  #run = 0 // counts the loops that send; only the last one goes on
  #wake = () => {} // of the loop, when one of the above changes

  constructor (link: Link, id: number, file: File) {
    this.link = link
    this.endpoint = endpoint(link.peer)
    this.id = id
    this.file = file
  }

  /** Offers the file. */
  async offer (): Promise<void> {
    const { id, ask, answer, file: { size, name } } = this
    const told = await this.link.say({ type: 'file', id, size, ask, answer, name })
    if (!told && !this.away) this.#end('failed', 'the peer does not read')
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
    if (!this.away && this.sent.total === this.file.size) this.#end('done')
  }

  /** The peer does not want it, or not any more. */
  refuse (reason: string): void {
    this.away = false
    this.#end('refused', reason)
  }

  /** Ends it from here, and tells the peer. */
  cancel (reason: string): void {
    if (!this.over && !this.away) void this.link.say({ type: 'cancel', id: this.id, reason })
    this.#end('failed', reason)
  }

  /** Ends it without telling the peer, which is gone for good. */
  lose (reason: string): void {
    this.away = false
    this.#end('failed', reason)
  }

  /** Its circuit was lost. */
  part (): void {
    if (this.over) return
    this.away = true
    this.#stop()
  }

  /** The same console is there again, on another circuit, and has the file up to an offset. */
  resume (link: Link, offset: number): void {
    this.link = link
    this.away = false
    if (this.over) return void link.say({ type: 'cancel', id: this.id, reason: this.reason })
    if (offset > this.file.size) return this.cancel('more was asked for than there is')
    this.sent.jump(offset)
    this.#granted = offset
    if (offset > 0) this.state = 'moving'
    if (this.state === 'moving') void this.#send()
  }

  get over (): boolean { return this.state !== 'offered' && this.state !== 'moving' }

  /** Reads the file from where it is, as the peer takes it. */
  async #send (): Promise<void> {
    const run = ++this.#run
    const reader = this.file.slice(this.sent.total).stream().getReader()
    try {
      for (;;) {
        const { value, done } = await reader.read()
        if (done || run !== this.#run || !await this.#pass(value, run)) return
      }
    } catch (e) {
      if (run === this.#run) this.cancel(`the file cannot be read: ${e instanceof Error ? e.message : String(e)}`)
    } finally {
      reader.cancel().catch(() => {})
    }
  }

  /** Sends a part of the file, and reports whether to go on. */
  async #pass (part: Uint8Array, run: number): Promise<boolean> {
    for (let at = 0; at < part.length;) {
      while (run === this.#run && this.#granted <= this.sent.total) await new Promise<void>(resolve => { this.#wake = resolve })
      if (run !== this.#run) return false
      const n = Math.min(part.length - at, MAX_CHUNK, this.#granted - this.sent.total)
      if (!await this.link.write(encode({ type: 'data', id: this.id, bytes: part.subarray(at, at + n) })) || run !== this.#run) return false
      this.sent.add(n)
      at += n
    }
    return true
  }

  #stop (): void {
    this.#run++
    this.#wake()
  }

  #end (state: State, reason = ''): void {
    if (this.over) return
    this.state = state
    this.reason = reason
    this.#stop()
  }
}
