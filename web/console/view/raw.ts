import { Bucket } from '../bucket.js'
import { EchoTest } from '../echo.js'
import { size } from '../format.js'
import { utf8 } from '../messages.js'
import type { Link } from '../link.js'
import { h } from './dom.js'

const MAX_LINES = 200
const MAX_LINE = 2000 // characters of what is shown at once

/** What is shown of a peer that is no console: a line to send, and what comes back. */
export class RawView {
  readonly element: HTMLElement
  readonly #link: Link
  readonly #log: HTMLElement
  readonly #input: HTMLInputElement
  readonly #test: HTMLButtonElement
  readonly #result: HTMLElement
  readonly #bucket = new Bucket(10, 50, performance.now()) // of what is shown
  #hidden = 0 // bytes that came too fast to be shown
  #echo: EchoTest | undefined
  #sentAt: number | undefined // when a line was sent that nothing came back for

  constructor (link: Link, name: string) {
    this.#link = link
    this.#log = h('div', { class: 'raw-log', role: 'log', 'aria-live': 'polite', 'aria-label': `What ${name} sends`, tabindex: '0', hidden: true })
    this.#input = h('input', {
      type: 'text', class: 'raw-input', placeholder: 'Send a line', title: 'What comes back is shown above', 'aria-label': `A line for ${name}`, autocomplete: 'off', spellcheck: 'false'
    })
    this.#test = h('button', { type: 'button', onclick: () => void this.#run(), title: 'Send 8 MiB and check that they come back' }, 'Echo test')
    this.#result = h('p', { class: 'raw-result', role: 'status', hidden: true })
    const form = h('form', { class: 'raw-form' }, this.#input, h('button', {}, 'Send'), this.#test)
    form.addEventListener('submit', event => {
      event.preventDefault()
      if (this.#input.value) void this.send(this.#input.value)
      this.#input.value = ''
    })
    this.element = h('div', { class: 'raw' }, this.#log, form, this.#result)
  }

  /** Sends a line. */
  async send (line: string): Promise<void> {
    this.#add('out', line)
    this.#sentAt = performance.now()
    if (!await this.#link.type(utf8(line + '\n'))) this.#add('note', 'not sent: the connection ended')
  }

  /** Shows what came. */
  bytes (b: Uint8Array): void {
    if (this.#echo) return this.#echo.feed(b)
    if (!this.#bucket.take(performance.now())) {
      this.#hidden += b.length
      return
    }
    if (this.#hidden > 0) this.#add('note', `${size(this.#hidden)} came too fast to be shown.`)
    this.#hidden = 0
    const after = this.#sentAt === undefined ? '' : `after ${(performance.now() - this.#sentAt).toFixed(1)} ms`
    this.#sentAt = undefined
    this.#add('in', printable(b), after)
  }

  /** The peer sends no more. */
  eof (): void { this.#add('note', 'The peer has ended what it sends.') }

  /** Nothing can be sent any more. */
  end (): void {
    this.#echo?.stop()
    for (const e of this.element.querySelectorAll('input, button')) (e as HTMLButtonElement).disabled = true
  }

  async #run (): Promise<void> {
    if (this.#echo) return
    const echo = this.#echo = new EchoTest(b => this.#link.type(b))
    this.#test.disabled = true
    this.#say('Testing: small messages, then 8 MiB …')
    try {
      const { trip, rate } = await echo.run()
      this.#say(`All came back unchanged. Round trip ${trip.toFixed(trip < 10 ? 2 : 0)} ms, ${size(rate)}/s there and back.`, 'good')
    } catch (e) {
      this.#say(`It does not echo: ${e instanceof Error ? e.message : String(e)}.`, 'bad')
    } finally {
      this.#echo = undefined
      this.#test.disabled = this.#link.ended
    }
  }

  #say (text: string, tone = ''): void {
    this.#result.hidden = false
    this.#result.dataset['tone'] = tone
    this.#result.textContent = text
  }

  #add (how: 'in' | 'out' | 'note', text: string, after = ''): void {
    this.#log.hidden = false
    const label = { in: 'received', out: 'sent', note: 'note' }[how]
    const line = h('p', { class: `raw-line ${how}` },
      h('span', { class: 'hidden' }, `${label}: `), h('span', { class: 'raw-text' }, text), after !== '' && h('span', { class: 'raw-after' }, after))
    this.#log.append(line)
    while (this.#log.childElementCount > MAX_LINES) this.#log.firstElementChild!.remove()
    this.#log.scrollTop = this.#log.scrollHeight
  }
}

/** Returns bytes as text to look at: what cannot be seen has a sign, and a long text is cut. */
export function printable (b: Uint8Array): string {
  const text = new TextDecoder().decode(b.subarray(0, MAX_LINE * 4)).replace(/\r?\n$/, '')
  const cut = text.length > MAX_LINE || b.length > MAX_LINE * 4
  const shown = text.slice(0, MAX_LINE)
    .replace(/[\x00-\x09\x0b-\x1f]/g, c => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/[\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
  return cut ? `${shown} … (${size(b.length)})` : shown
}
