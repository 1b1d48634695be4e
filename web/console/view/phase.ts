import type { Phase } from '../session.js'
import { excuse } from '../session.js'
import { $, h, setText } from './dom.js'

/** Shows how the connection with the gateway is. `retry` ends a wait. */
export function showPhase (phase: Phase, retry: () => void): void {
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
    const [act, label] = phase.name === 'closed' ? [() => location.reload(), 'Reload'] as const : [retry, 'Try now'] as const
    trouble.replaceChildren(text, ' ', h('span', { class: 'todo' }, todo), ' ', h('button', { type: 'button', onclick: act }, label))
  }
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
