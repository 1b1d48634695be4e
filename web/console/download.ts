import type { Message } from './messages.js'
import { endpoint } from './id.js'
import type { Link } from './link.js'
import { Meter } from './meter.js'
import type { Sink } from './sink.js'
import type { State } from './upload.js'

/** Bytes that may be on their way or wait for the disk. */
const WINDOW = 4 << 20

/** The message with which a file is offered. */
export type Offer = Extract<Message, { type: 'file' }>

/** A file that a console has offered. */
export class Download {
  readonly id: number
  readonly size: number
  readonly name: string
  /** Who has it, whatever circuit leads there. */
  readonly endpoint: string
  /** The half of the offer's secret that the other end shows, when they meet again. */
  readonly ask: string
  readonly #answer: string
  /** Counts what is written. */
  readonly written = new Meter(performance.now())
  link: Link
  state: State = 'offered'
  /** Its circuit was lost: it goes on when the same console is met again. */
  away = false
  /** Why it failed or was refused, for people; it may be a text of the peer. */
  reason = ''
  #sink: Sink | undefined
  #received = 0
  #granted = 0
  #writing = Promise.resolve() // what was received, one after the other

  /** `name` is that of the offer, as it can be shown. */
  constructor (link: Link, { id, size, ask, answer }: Offer, name: string) {
    this.link = link
    this.endpoint = endpoint(link.peer)
    this.id = id
    this.size = size
    this.ask = ask
    this.#answer = answer
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
    if (!this.over) this.#say({ type: 'refuse', id: this.id, reason })
    this.#end('refused', reason)
  }

  /** The peer does not send it any more, or is gone for good. */
  lose (reason: string): void {
    this.away = false
    this.#end('failed', reason)
  }

  /** Its circuit was lost. What has come is kept. */
  part (): void { if (!this.over) this.away = true }

  /** The same console is there again, on another circuit, and asks how far it came. */
  resume (link: Link): void {
    this.link = link
    this.away = false
    this.#say({ type: 'from', id: this.id, offset: this.#received, answer: this.#answer })
    if (this.state === 'moving') this.#grant()
    else if (this.state === 'done') this.#say({ type: 'saved', id: this.id })
    else if (this.over) this.#say({ type: 'refuse', id: this.id, reason: this.reason })
  }

  /** Tells the peer, unless it is away: it asks when it is back. */
  #say (m: Message): void { if (!this.away) void this.link.say(m) }

  #grant (): void {
    this.#granted = Math.min(this.size, this.written.total + WINDOW)
    this.#say({ type: 'grant', id: this.id, offset: this.#granted })
  }

  #finish (): void {
    this.#then(async () => {
      await this.#sink!.close()
      this.#sink = undefined
      this.#say({ type: 'saved', id: this.id })
      this.#end('done')
    })
  }

  #then (f: () => Promise<void>): void {
    this.#writing = this.#writing.then(async () => { if (!this.over) await f() }).catch((e: unknown) => {
      if (this.over) return
      this.#say({ type: 'refuse', id: this.id, reason: 'the file could not be written' })
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
