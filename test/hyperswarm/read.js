/**
 * Reads blocks of a hypercore by Hyperswarm behind a stream, and returns what a test wants to know. It runs in Node
 * and in browsers, which give it their modules.
 */
export async function read ({ hyperswarm, Hypercore, RAM }, stream, { key, blocks }) {
  const began = performance.now()
  const hyper = hyperswarm(stream)
  const core = new Hypercore(RAM, key)
  await core.ready()
  hyper.on('connection', connection => {
    connection.on('error', () => {})
    core.replicate(connection)
  })
  hyper.join(core.discoveryKey, { server: false })
  const all = [await core.get(0)]
  const first = performance.now() - began
  while (all.length < blocks) all.push(await core.get(all.length))
  const sum = await crypto.subtle.digest('SHA-256', await new Blob(all).arrayBuffer())
  const { secretKey } = hyper.keyPair
  await hyper.destroy()
  return { first, sha256: hex(new Uint8Array(sum)), secretKey: hex(secretKey) }
}

const hex = bytes => Array.from(bytes, b => b.toString(16).padStart(2, '0')).join('')
