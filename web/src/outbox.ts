import type { Account } from './credit.js'
import { Credit, Pong } from './frames.js'
import type { Of } from './frames.js'

/** A circuit that grants credit. */
export interface Granting {
  readonly account: Account
  readonly frame: { readonly circuit: number }
}

/**
 * What the control stream has still to say. Of CREDIT it keeps the newest offset of each circuit,
 * of PONG the newest, of the rest everything in order. It does no I/O.
 */
export class Outbox {
  #frames: Uint8Array[] = []
  #pong: Of<typeof Pong> | undefined
  #credits = new Set<Granting>()

  /** Adds a frame. */
  push (frame: Uint8Array): void { this.#frames.push(frame) }

  /** Adds HELLO, which comes before what is there already. */
  begin (hello: Uint8Array): void { this.#frames.unshift(hello) }

  /** Adds the answer to a PING. */
  pong (data: Uint8Array): void { this.#pong = { data } }

  /** Notes that the account of a circuit has a new offset. */
  credit (circuit: Granting): void { this.#credits.add(circuit) }

  /** Returns the bytes of all frames, and is empty then. */
  take (): Uint8Array<ArrayBuffer> {
    const all = this.#frames
    if (this.#pong) all.push(Pong.encode(this.#pong))
    for (const { account, frame: { circuit } } of this.#credits) {
      if (account.open) all.push(Credit.encode({ circuit, offset: account.granted }))
    }
    this.#frames = []
    this.#pong = undefined
    this.#credits.clear()
    return Uint8Array.from(all.flatMap(frame => [...frame]))
  }
}
