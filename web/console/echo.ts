/** How an echo did. */
export interface EchoResult {
  /** Median milliseconds for a small message to come back. */
  trip: number
  /** Bytes a second there and back at once. */
  rate: number
}

/** What went wrong, for people. */
export class EchoError extends Error {
  override name = 'EchoError'
}

const PINGS = 20
const PING = 64 // bytes
const BULK = 8 << 20
const CHUNK = 64 << 10
const PATIENCE = 5000 // ms without a byte

/** Sends bytes to a peer and checks that they come back. */
export class EchoTest {
  readonly #send: (b: Uint8Array) => Promise<boolean>
  #sent = 0
  #back = 0
  #error: EchoError | undefined
  #wake = () => {}

  /** `send` reports whether the bytes were taken. */
  constructor (send: (b: Uint8Array) => Promise<boolean>) { this.#send = send }

  /**
   * Runs it: small messages one after the other, then `bulk` bytes, a multiple of 64 KiB. It
   * rejects with an EchoError.
   */
  async run (bulk = BULK): Promise<EchoResult> {
    const times: number[] = []
    for (let i = 0; i < PINGS; i++) {
      const begin = performance.now()
      await this.#pass(PING)
      await this.#until(this.#sent)
      times.push(performance.now() - begin)
    }
    times.sort((a, b) => a - b)
    const begin = performance.now()
    const end = this.#sent + bulk
    const sending = (async () => { for (let n = 0; n < bulk && !this.#error; n += CHUNK) await this.#pass(CHUNK) })()
    sending.catch((e: unknown) => this.#fail(e as EchoError))
    await this.#until(end)
    await sending
    return { trip: times[times.length / 2]!, rate: bulk * 1000 / (performance.now() - begin) }
  }

  /** The peer has sent bytes. */
  feed (b: Uint8Array): void {
    for (const x of b) {
      if (x !== pattern(this.#back)) return this.#fail(new EchoError('the peer sent back other bytes than it was sent, so it is not an echo: test with a peer that returns everything'))
      this.#back++
    }
    this.#wake()
  }

  /** The peer is gone. */
  stop (): void { this.#fail(new EchoError('the connection ended')) }

  async #pass (n: number): Promise<void> {
    const b = new Uint8Array(n)
    for (let i = 0; i < n; i++) b[i] = pattern(this.#sent + i)
    this.#sent += n
    if (!await this.#send(b)) throw new EchoError('the connection ended')
  }

  /** Waits until so many bytes are back. */
  async #until (n: number): Promise<void> {
    while (this.#back < n) {
      if (this.#error) throw this.#error
      const back = this.#back
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, PATIENCE)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      if (this.#back === back && !this.#error) this.#fail(new EchoError('the peer sends nothing back, so it is not an echo: test with a peer that returns everything'))
    }
  }

  #fail (e: EchoError): void {
    this.#error ??= e
    this.#wake()
  }
}

/**
 * The byte at an offset: text, so that a program that shows it does no harm; not the same for
 * long.
 */
function pattern (at: number): number { return at % 64 === 63 ? 10 : 97 + (at ^ at >> 6 ^ at >> 12) % 26 }
