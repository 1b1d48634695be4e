import type { Phase } from '../session.js'
import { excuse, wantsToken } from '../session.js'
import { $, h, setText } from './dom.js'

/**
 * Shows how the connection with the gateway is. `retry` ends a wait, `enter` connects with a
 * token.
 */
export function showPhase (phase: Phase, retry: () => void, enter: (token: string) => void): void {
  const e = $('phase')
  e.dataset['phase'] = phase.name
  setText($('phase-text'), words(phase))
  setText($('phase-wait'), phase.name === 'waiting' ? ` in ${Math.max(0, Math.ceil((phase.until - Date.now()) / 1000))} s` : '')
  const trouble = $('trouble')
  if (phase.name === 'connected') trouble.hidden = true
  if (phase.name === 'connected' || phase.name === 'connecting') return // an attempt changes nothing yet
  trouble.dataset['tone'] = phase.name === 'closed' ? 'bad' : 'warn'
  const { text, todo } = excuse(phase.error, location.origin)
  const said = [phase.name, text, todo].join(' ')
  if (trouble.dataset['said'] !== said || trouble.hidden) {
    trouble.dataset['said'] = said
    if (phase.name === 'closed' && wantsToken(phase.error)) return askForToken(trouble, text, todo, enter)
    const [act, label] = phase.name === 'closed' ? [() => location.reload(), 'Reload'] as const : [retry, 'Try now'] as const
    trouble.replaceChildren(text, ' ', h('span', { class: 'todo' }, todo), ' ', h('button', { type: 'button', onclick: act }, label))
  }
  trouble.hidden = false
}

/** Asks for a token, if the trouble is shown. */
function askForToken (trouble: HTMLElement, text: string, todo: string, enter: (token: string) => void): void {
  const field = h('input', { id: 'token', type: 'password', required: true, autocomplete: 'off', spellcheck: 'false' })
  const submit = (event: Event) => {
    event.preventDefault()
    delete trouble.dataset['said'] // the same words again are news
    enter(field.value.trim())
  }
  trouble.replaceChildren(text, ' ', h('span', { class: 'todo' }, todo), h('form', { id: 'token-form', onsubmit: submit },
    h('label', { for: 'token' }, 'Token'), ' ', field, h('button', { class: 'primary' }, 'Connect')))
  trouble.hidden = false
}

function words (p: Phase): string {
  switch (p.name) {
    case 'connecting': return 'Connecting …'
    case 'connected': return 'Connected'
    case 'waiting': return `Reconnecting, attempt ${p.attempt}`
    case 'closed': return 'Disconnected'
  }
}
