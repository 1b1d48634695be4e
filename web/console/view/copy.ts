import { h, setText } from './dom.js'

const SHOWN = 2000 // ms for which a button says that it has copied

/**
 * Returns a button that copies a text, and what tells screen readers of it. `failed` is called if
 * the browser does not let it.
 */
export function copyButton (what: string, text: () => string, { kind = '', failed = () => {} } = {}): [HTMLButtonElement, HTMLElement] {
  const said = h('span', { role: 'status', class: 'hidden' })
  const button = h('button', { type: 'button', class: kind, 'aria-label': `Copy ${what}` }, 'Copy')
  button.addEventListener('click', () => {
    navigator.clipboard.writeText(text()).then(() => {
      button.textContent = 'Copied'
      setText(said, 'Copied')
      setTimeout(() => {
        button.textContent = 'Copy'
        setText(said, '')
      }, SHOWN)
    }, () => {
      button.textContent = 'Copy by hand'
      failed()
    })
  })
  return [button, said]
}
