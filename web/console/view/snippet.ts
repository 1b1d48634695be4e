import { $, h, setText } from './dom.js'

/** What the page needs of the info document (docs/PROTOCOL.md, 2.1). */
export interface Info {
  webtransport: string
  certificate: { kind: string, hashes?: string[] }
}

/** Reads the info document of the gateway that the page is from. */
export async function readInfo (): Promise<Info> {
  const r = await fetch('/.well-known/swarmgate', { cache: 'no-store' })
  if (!r.ok) throw new Error(`HTTP status ${r.status}`)
  return await r.json() as Info
}

/** Shows what to write into a page of one's own. */
export function showSnippet (origin: string, topic: string, info: Info | undefined): void {
  const body = $('use-body')
  const code = page(origin, topic)
  const parts: Node[] = [
    h('p', {}, 'No bundler, nothing to install. The page gets a stream for every peer; this one echoes:'),
    block(code, 'the page')
  ]
  if (info?.certificate.kind === 'pinned') {
    const hashes = info.certificate.hashes ?? []
    parts.push(
      h('p', {}, 'This gateway makes its own certificate, so a browser knows it by its hash. ',
        h('code', {}, `connect('${origin}')`), ' reads address and hashes from ', h('a', { href: '/.well-known/swarmgate' }, '/.well-known/swarmgate'),
        ' of the gateway, which it trusts over https and on this computer only. The certificate changes about every 13 days; a page that stays connected learns the next hash in time.'),
      h('p', {}, 'From elsewhere, give the page what the gateway printed when it started:'),
      block(`const swarm = await connect({\n  url: '${info.webtransport}',\n  hashes: [\n${hashes.map(x => `    '${x}'`).join(',\n')}\n  ]\n})`, 'the call with hashes'))
  } else if (info) {
    parts.push(h('p', {}, 'This gateway has a certificate of an authority, so its address is all that a page needs.'))
  }
  parts.push(h('p', {}, 'A page of another origin is let in where the gateway was started with ', h('code', {}, '--allow-origin https://your.page'), '.'))
  body.replaceChildren(...parts)
}

function page (origin: string, topic: string): string {
  const name = topic.replace(/[\\']/g, '\\$&').replace(/</g, '\\x3c').replace(/[\p{Cc}\u2028\u2029]/gu, ' ')
  return `<!doctype html>
<script type="module">
import { connect } from '${origin}/client.js'

const swarm = await connect('${origin}')
const topic = await swarm.join('${name}')
for await (const peer of topic) {
  peer.readable.pipeTo(peer.writable).catch(console.warn)
}
</script>
`
}

/** Returns code with a button that copies it. */
function block (code: string, what: string): HTMLElement {
  const said = h('span', { role: 'status', class: 'hidden' })
  const button = h('button', { type: 'button', class: 'copy', 'aria-label': `Copy ${what}` }, 'Copy')
  button.addEventListener('click', () => {
    navigator.clipboard.writeText(code).then(() => {
      button.textContent = 'Copied'
      setText(said, 'Copied')
      setTimeout(() => { button.textContent = 'Copy' }, 2000)
    }, () => { button.textContent = 'Select and copy by hand' })
  })
  return h('div', { class: 'code' }, h('pre', { tabindex: '0' }, h('code', {}, code)), button, said)
}
