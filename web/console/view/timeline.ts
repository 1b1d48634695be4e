import { $, clock, dot, h, listed } from './dom.js'
import type { Child } from './dom.js'

const MAX = 500

/** Something that changes while it is shown. */
export interface Live {
  readonly element: HTMLElement
  /** Shows what has changed, and reports whether more may. */
  tick: () => boolean
}

/** Who says something. */
export interface Author {
  name: string
  /** Stands for a colour. */
  id: string
  mine: boolean
}

/** What was said, sent and seen, in order. */
export class Timeline {
  readonly #log = $('log')
  #live: Live[] = []
  #crowd: { element: HTMLElement, names: string[], what: string } | undefined // the last entry, if it says who came or went

  /** Shows a text. */
  say (author: Author, text: string): HTMLElement {
    return this.#entry(author, h('p', { class: 'text', dir: 'auto' }, text))
  }

  /** Shows a file on its way. */
  file (author: Author, view: Live): void {
    this.#live.push(view)
    this.#entry(author, view.element)
  }

  /** Shows something that nobody said. */
  note (text: string | Child[], tone = ''): HTMLElement {
    const said = h('span', {}, ...(typeof text === 'string' ? [text] : text))
    this.#append(h('li', { class: 'note', 'data-tone': tone }, said, ' ', clock(new Date())))
    return said
  }

  /** Shows that somebody came or went: those who do the same one after the other are one entry. */
  crowd (name: string, one: string, many: string): void {
    const before = this.#crowd
    if (before?.what !== many) {
      const element = this.note([...listed([name]), ` ${one}.`])
      this.#crowd = { element, names: [name], what: many }
      return
    }
    if (before.names.includes(name)) return
    before.names.push(name)
    before.element.replaceChildren(...listed(before.names) as Array<Node | string>, ` ${many}.`)
  }

  /** Shows how far things are. */
  tick (): void {
    if (this.#live.length === 0) return
    const atEnd = this.#atEnd
    this.#live = this.#live.filter(v => v.tick())
    if (atEnd) this.#toEnd()
  }

  get #atEnd (): boolean { return this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 60 }

  #toEnd (): void { this.#log.scrollTop = this.#log.scrollHeight }

  #entry (author: Author, content: HTMLElement): HTMLElement {
    const li = h('li', { class: author.mine ? 'mine' : 'theirs' },
      h('p', { class: 'who' }, dot(author.id), h('strong', { dir: 'auto' }, author.name), author.mine && h('span', { class: 'you' }, 'you'), ' ', clock(new Date())), content)
    this.#append(li)
    return li
  }

  #append (li: HTMLElement): void {
    const log = this.#log
    const atEnd = this.#atEnd
    this.#crowd = undefined
    log.append(li)
    while (log.childElementCount > MAX) log.firstElementChild!.remove()
    if (atEnd) this.#toEnd()
  }
}
