import type { Link } from './link.js'
import { Meter } from './meter.js'
import type { Sink } from './sink.js'
import type { State } from './upload.js'

/** Bytes that may be on their way or wait for the disk. */
const WINDOW = 4 << 20

/** A file that a console has offered. */
export class Download {
  readonly link: Link
  readonly id: number
  readonly size: number
  readonly name: string
  /** Counts what is written. */
  readonly written = new Meter(performance.now())
  state: State = 'offered'
  /** Why it failed or was refused, for people; it may be a text of the peer. */
  reason = ''
  #sink: Sink | undefined
  #received = 0
  #granted = 0
  #writing = Promise.resolve() // what was received, one after the other

  constructor (link: Link, id: number, size: number, name: string) {
    this.link = link
    this.id = id
    this.size = size
    this.name = name
  }

  get over (): boolean { return this.state !== 'offered' && this.state !== 'moving' }

  /** Takes the file. */
  accept (sink: Sink): void {
    if (this.state !== 'offered') return void sink.abort().catch(() => {})
    this.#sink = sink
    this.state = 'moving'
    this.#grant()
    if (this.size === 0) this.#finish()
  }

  /** Bytes of it came. They wait here until the sink has taken what came before. */
  push (part: Uint8Array<ArrayBuffer>): void {
    if (this.state !== 'moving') return
    this.#received += part.length
    if (this.#received > this.#granted) return this.refuse('more came than there was room for')
    this.#then(async () => {
      await this.#sink!.write(part)
      this.written.add(part.length)
      if (this.#granted < this.size && this.#granted - this.written.total <= WINDOW * 3 / 4) this.#grant()
    })
    if (this.#received === this.size) this.#finish()
  }

  /** Ends it from here, and tells the peer. */
  refuse (reason: string): void {
    if (!this.over) void this.link.say({ type: 'refuse', id: this.id, reason })
    this.#end('refused', reason)
  }

  /** The peer does not send it any more, or is gone. */
  lose (reason: string): void { this.#end('failed', reason) }

  #grant (): void {
    this.#granted = Math.min(this.size, this.written.total + WINDOW)
    void this.link.say({ type: 'grant', id: this.id, offset: this.#granted })
  }

  #finish (): void {
    this.#then(async () => {
      await this.#sink!.close()
      this.#sink = undefined
      void this.link.say({ type: 'saved', id: this.id })
      this.#end('done')
    })
  }

  #then (f: () => Promise<void>): void {
    this.#writing = this.#writing.then(async () => { if (!this.over) await f() }).catch((e: unknown) => {
      if (this.over) return
      void this.link.say({ type: 'refuse', id: this.id, reason: 'the file could not be written' })
      this.#end('failed', `it cannot be written: ${e instanceof Error ? e.message : String(e)}`)
    })
  }

  #end (state: State, reason = ''): void {
    if (this.over) return
    this.state = state
    this.reason = reason
    const sink = this.#sink
    this.#sink = undefined
    sink?.abort().catch(() => {})
  }
}
