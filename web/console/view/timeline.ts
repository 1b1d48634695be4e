import { $, clock, dot, h } from './dom.js'

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

  /** Shows a text. */
  say (author: Author, text: string): HTMLElement {
    return this.#entry(author, h('p', { class: 'text' }, text))
  }

  /** Shows a file on its way. */
  file (author: Author, view: Live): void {
    this.#live.push(view)
    this.#entry(author, view.element)
  }

  /** Shows something that nobody said. */
  note (text: string, tone = ''): void {
    const time = clock(new Date())
    this.#append(h('li', { class: 'note', 'data-tone': tone }, h('span', {}, text), ' ', time))
  }

  /** Shows how far things are. */
  tick (): void { this.#live = this.#live.filter(v => v.tick()) }

  #entry (author: Author, content: HTMLElement): HTMLElement {
    const li = h('li', { class: author.mine ? 'mine' : 'theirs' },
      h('p', { class: 'who' }, dot(author.id), h('strong', {}, author.name), ' ', clock(new Date())), content)
    this.#append(li)
    return li
  }

  #append (li: HTMLElement): void {
    const log = this.#log
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 60
    log.append(li)
    while (log.childElementCount > MAX) log.firstElementChild!.remove()
    if (atEnd) log.scrollTop = log.scrollHeight
  }
}
