import { keyHex, keyWords } from 'swarmgate/secret'
import { size } from '../format.js'
import { shortId, showId } from '../id.js'
import { isLocal } from '../info.js'
import type { Link } from '../link.js'
import { kindOf, way } from '../words.js'
import { $, dot, h, setText } from './dom.js'
import { RawView } from './raw.js'

const FADE = 6000 // ms for which one that is gone is still shown
const SILENT = 3000 // ms after which somebody who has not said what it is may be talked to

/** The list of peers. */
export class PeersView {
  readonly #list = $('peer-list')
  readonly #cards = new Map<Link, Card>()
  readonly #nameOf: (link: Link) => string

  constructor (nameOf: (link: Link) => string) { this.#nameOf = nameOf }

  /** Shows somebody. */
  add (link: Link): void {
    const card = new Card(link, this.#nameOf(link))
    this.#cards.set(link, card)
    this.#list.prepend(card.element)
    this.#count()
  }

  /** What is known of somebody has changed. */
  update (link: Link): void { this.#cards.get(link)?.update(this.#nameOf(link)) }

  /** Returns what is shown of a peer that is no console. */
  raw (link: Link): RawView | undefined { return this.#cards.get(link)?.raw() }

  /** Somebody is gone. */
  remove (link: Link, why: string): void {
    const card = this.#cards.get(link)
    if (!card) return
    this.#cards.delete(link)
    card.end(why)
    setTimeout(() => card.element.remove(), FADE)
    this.#count()
  }

  /** Takes all away. */
  clear (): void {
    this.#cards.clear()
    this.#list.replaceChildren()
    this.#count()
  }

  /** Shows how much was sent and received since. */
  tick (): void { for (const card of this.#cards.values()) card.tick() }

  #count (): void {
    const n = this.#cards.size
    setText($('peer-count'), String(n))
    $('peer-none').hidden = n > 0
    document.title = n > 0 ? `(${n}) swarmgate console` : 'swarmgate console'
  }
}

/** One peer. */
class Card {
  readonly element: HTMLLIElement
  readonly #link: Link
  readonly #name = h('strong', { class: 'peer-name', dir: 'auto' })
  readonly #kind = h('span', { class: 'chip kind' })
  readonly #id: HTMLElement
  readonly #down = h('span')
  readonly #up = h('span')
  readonly #spark: SVGPathElement
  readonly #note = h('p', { class: 'peer-note' })
  readonly #close: HTMLButtonElement
  #raw: RawView | undefined

  constructor (link: Link, name: string) {
    this.#link = link
    const { peer } = link
    const { text, title } = way(peer, isLocal(location.origin))
    this.#id = h('code', { title: showId(peer) }, shortId(peer))
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg')
    svg.setAttribute('class', 'spark')
    svg.setAttribute('viewBox', '0 0 80 20')
    svg.setAttribute('preserveAspectRatio', 'none')
    svg.setAttribute('aria-hidden', 'true')
    this.#spark = document.createElementNS('http://www.w3.org/2000/svg', 'path')
    svg.append(this.#spark)
    this.#close = h('button', {
      type: 'button', class: 'quiet', onclick: () => link.close(), title: 'End this circuit. To get it back, leave the topic and join again.'
    }, 'End')
    this.element = h('li', { class: 'peer' },
      h('div', { class: 'peer-head' }, dot(peer.id), this.#name, this.#kind, this.#close),
      h('p', { class: 'peer-facts' },
        this.#id,
        h('span', { class: 'chip way', title }, text),
        peer.address !== '' && h('span', { class: 'address' }, peer.address)),
      peer.key && h('p', { class: 'peer-key', title: 'Compare it with what the other side sees as “Your key”, for example on the phone' },
        'Key: ', h('strong', {}, keyWords(peer.key)), ' ', h('code', {}, keyHex(peer.key))),
      h('div', { class: 'peer-traffic numbers' }, this.#down, this.#up, svg),
      this.#note)
    this.update(name)
    this.tick()
  }

  update (name: string): void {
    const { kind, peer } = this.#link
    setText(this.#name, name)
    this.#name.title = showId(peer)
    this.#id.hidden = this.#id.textContent === name
    const { text, title } = kindOf(kind, peer.client)
    setText(this.#kind, text)
    this.#kind.title = title
    this.#kind.dataset['kind'] = kind
    this.#close.setAttribute('aria-label', `End the circuit with ${name}`)
    this.#note.hidden = true
    if (kind === 'console') {
      this.#raw?.element.remove()
      this.#raw = undefined
    } else if (kind === 'raw') this.raw()
  }

  raw (): RawView {
    if (!this.#raw) {
      this.#raw = new RawView(this.#link, this.#name.textContent)
      this.element.append(this.#raw.element)
    }
    return this.#raw
  }

  tick (): void {
    const { received, sent } = this.#link
    setText(this.#down, `↓ ${size(received.total)} · ${size(received.rate)}/s`)
    setText(this.#up, `↑ ${size(sent.total)} · ${size(sent.rate)}/s`)
    const rates = received.history.map((r, i) => r + sent.history[i]!)
    const top = Math.max(1000, ...rates)
    if (this.#link.kind === 'unknown' && Date.now() - this.#link.since > SILENT) {
      this.#note.hidden = false
      setText(this.#note, 'It has not said whether it is a console. It can be sent a line all the same.')
      this.raw()
    }
    this.#spark.setAttribute('d', 'M' + rates.map((r, i) => `${(i * 80 / (rates.length - 1)).toFixed(1)} ${(19 - 18 * r / top).toFixed(1)}`).join('L'))
  }

  end (why: string): void {
    this.tick()
    this.element.classList.add('gone')
    if (this.element.contains(document.activeElement)) $('peer-list').focus() // whoever uses the keyboard goes on from here
    this.#close.disabled = true
    this.#raw?.end()
    this.#note.hidden = false
    this.#note.textContent = why
  }
}

/** Returns how much was received and sent by all, with what was `before` them. */
export function totals (links: Iterable<Link>, before: { received: number, sent: number }): string {
  let { received, sent } = before
  for (const l of links) {
    received += l.received.total
    sent += l.sent.total
  }
  return received + sent === 0 ? '' : `↓ ${size(received)}  ↑ ${size(sent)} in all`
}
