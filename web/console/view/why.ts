import type { Finding } from '../explain.js'
import { $, h, setText } from './dom.js'

/** The panel that answers "why do I find nobody?". */
export class WhyView {
  readonly #details = $<HTMLDetailsElement>('why-details')
  #shown = ''
  #touched = false // somebody has opened or closed it by hand

  constructor () {
    this.#details.querySelector('summary')!.addEventListener('click', () => { this.#touched = true })
  }

  /**
   * Shows an answer. The panel is open while nobody is there, unless somebody has decided
   * otherwise.
   */
  show (findings: Finding[], peers: number): void {
    if (!this.#touched) this.#details.open = peers === 0
    const title = peers > 0 ? 'How is the topic?' : 'Why do I find nobody?'
    const key = JSON.stringify([title, findings])
    if (key === this.#shown) return // what has not changed is not read out again
    this.#shown = key
    setText($('why-title'), title)
    setText($('why-short'), findings[0]?.title ?? '')
    setText($('why-news'), findings[0]?.title ?? '') // of the rest, numbers that change are not read out
    $('why-short').dataset['tone'] = findings[0]?.tone ?? ''
    $('why-list').replaceChildren(...findings.map(f =>
      h('li', { 'data-tone': f.tone },
        h('h3', {}, f.title),
        h('p', {}, f.text),
        f.todo !== undefined && h('p', { class: 'todo' }, f.todo))))
  }
}
