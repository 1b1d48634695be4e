import { isLocal } from '../info.js'
import type { Info } from '../info.js'
import type { Place } from '../share.js'
import { copyButton } from './copy.js'
import { $, h } from './dom.js'

/** Shows what to write into a page of one's own. */
export function showSnippet (origin: string, place: Place, info: Info | undefined): void {
  const body = $('use-body')
  const code = page(origin, place)
  const parts: Node[] = [
    h('p', {}, 'No bundler, nothing to install. The page gets a stream for every peer; this one says hello and shows what comes:'),
    block(code, 'the page')
  ]
  if (info?.certificate.kind === 'pinned') {
    const hashes = info.certificate.hashes ?? []
    parts.push(
      h('p', {}, 'This gateway makes its own certificate, so a browser knows it by its hash. ',
        h('code', {}, `connect('${origin}')`), ' reads address and hashes from ', h('a', { href: '/.well-known/swarmgate' }, '/.well-known/swarmgate'),
        ' of the gateway, which it trusts over https and on this computer only. The certificate changes about every 13 days; a page that stays connected learns the next hash in time.'),
      isLocal(info.webtransport)
        ? h('p', {}, 'The address of this page leads to this computer only. From elsewhere, put the one there that others reach (the gateway has to listen on it, ',
          h('code', {}, '--listen'), ') and give the page the hashes:')
        : h('p', {}, 'From elsewhere, give the page address and hashes:'),
      block(`const swarm = await connect({\n  url: '${elsewhere(info.webtransport)}',\n  hashes: [\n${hashes.map(x => `    '${x}'`).join(',\n')}\n  ]\n})`, 'the call with hashes'))
  } else if (info) {
    parts.push(h('p', {}, 'This gateway has a certificate of an authority, so its address is all that a page needs.'))
  }
  parts.push(h('p', {}, 'A page of another origin is let in if the gateway was started with ', h('code', {}, '--allow-origin https://your.page'), '.'))
  body.replaceChildren(...parts)
}

function page (origin: string, { kind, text }: Place): string {
  const name = text.replace(/[\\']/g, '\\$&').replace(/</g, '\\x3c').replace(/[\p{Cc}\u2028\u2029]/gu, ' ')
  return `<!doctype html>
<body>
<script type="module">
import { connect } from '${origin}/client.js'
${kind === 'secret' ? `import { secret } from '${origin}/secret.js'
` : ''}
const swarm = await connect('${origin}')
${kind === 'secret' ? `const room = await secret('${name}')
const topic = await room.join(swarm)` : `const topic = await swarm.join('${name}')`}
for await (const peer of topic) talk(peer).catch(console.warn)

async function talk (peer) {
  const writer = peer.writable.getWriter()
  await writer.write(new TextEncoder().encode('hello'))
  for await (const bytes of peer) {
    document.body.append(new TextDecoder().decode(bytes), document.createElement('br'))
  }
}
</script>
`
}

/** Returns the address of the gateway with a host that means the same everywhere. */
function elsewhere (webtransport: string): string {
  const url = new URL(webtransport)
  if (isLocal(webtransport)) url.hostname = 'address.of.this.computer'
  return url.href
}

/** Returns code with a button that copies it. */
function block (code: string, what: string): HTMLElement {
  return h('div', { class: 'code' }, h('pre', { tabindex: '0' }, h('code', {}, code)), ...copyButton(what, () => code, { kind: 'copy' }))
}
