import { isLocal, readInfo } from '../info.js'
import type { Info } from '../info.js'
import { qrPath } from '../qr.js'
import { isGuessable, pageText, programText } from '../share.js'
import type { Place } from '../share.js'
import { copyButton } from './copy.js'
import { $, h, setText } from './dom.js'

/** The dialog that shares the place. */
export class ShareView {
  readonly #dialog = $<HTMLDialogElement>('share')
  readonly #text = $<HTMLTextAreaElement>('share-text')
  readonly #program = $<HTMLInputElement>('share-program')
  readonly #page = $<HTMLInputElement>('share-page')
  readonly #place: () => Place
  #info: Info | undefined

  /** `place` returns what is shared; `hide` joins a secret room of which nobody knows. */
  constructor (place: () => Place, hide: () => void) {
    this.#place = place
    const select = () => this.#text.select()
    const [copy, said] = copyButton('what is shared', () => this.#text.value, { kind: 'primary', failed: select })
    copy.id = 'share-copy'
    const send = h('button', { type: 'button', onclick: () => void this.#send() }, 'Send…')
    send.hidden = !('share' in navigator)
    $('share-buttons').append(copy, send, said)
    $('share-button').addEventListener('click', () => void this.open())
    $('share-close').addEventListener('click', () => this.#dialog.close())
    $('share-private').addEventListener('click', () => {
      hide()
      this.show()
      copy.focus()
    })
    this.#dialog.addEventListener('click', event => { if (event.target === this.#dialog) this.#dialog.close() }) // beside it
    this.#text.addEventListener('focus', select)
    for (const kind of [this.#program, this.#page]) kind.addEventListener('change', () => this.show())
  }

  /**
   * Opens the dialog. The hashes of a certificate change in time, so they are asked for each time.
   */
  async open (): Promise<void> {
    this.#dialog.showModal()
    this.show()
    try {
      this.#info = await readInfo()
    } catch {
      // the gateway is away: what it said last, or the page's own address, is all that there is
    }
    this.show()
  }

  /** Shows what is shared now. */
  show (): void {
    if (!this.#dialog.open) return
    const place = this.#place()
    const info = this.#info
    this.#program.disabled = !info
    const asProgram = this.#program.checked && info !== undefined
    const text = asProgram ? programText(info, place) : pageText(location.origin, info, place)
    this.#text.value = text
    this.#text.style.height = 'auto'
    this.#text.style.height = `${this.#text.scrollHeight + 2}px`
    this.#draw(text)
    setText($('share-use'), asProgram
      ? `Paste it into a console, or give it to a program: it says where the gateway is, how to trust it, and the ${place.kind}.`
      : place.kind === 'secret' ? 'Opens this page in this room.' : 'Opens this page on this topic.')
    const local = isLocal(asProgram ? info.webtransport : text)
    $('share-local').hidden = !local
    setText($('share-title'), place.kind === 'secret' ? 'Share this secret room' : 'Share this public topic')
    setText($('share-open-text'), place.kind === 'secret'
      ? 'Whoever guesses the secret can join and read along, and the gateway can try texts.'
      : 'Whoever guesses the topic’s name can join, and the gateway sees what is said.')
    $('share-open').hidden = place.kind === 'secret' && !isGuessable(place.text)
    $('share-secret').hidden = place.kind !== 'secret'
  }

  #draw (text: string): void {
    const make = (tag: string, attributes: Record<string, string>) => {
      const e = document.createElementNS('http://www.w3.org/2000/svg', tag)
      for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value)
      return e
    }
    try {
      const { size, path } = qrPath(text)
      const svg = make('svg', { viewBox: `0 0 ${size} ${size}`, role: 'img', 'aria-label': 'QR code of the text below', 'shape-rendering': 'crispEdges' })
      svg.append(make('path', { d: path }))
      $('share-qr').replaceChildren(svg)
    } catch {
      $('share-qr').replaceChildren() // it is too long for a code
    }
  }

  async #send (): Promise<void> {
    const text = this.#text.value
    try {
      await navigator.share(this.#program.checked ? { text } : { url: text })
    } catch {
      // whoever was asked where to has changed their mind
    }
  }
}
