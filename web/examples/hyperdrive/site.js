// Serves the page: node site.js [--port N]
//
// It prints the page's URL, and bundles page.js each time that a browser asks for it. Hyperdrive was written for
// Node, so the bundle has what browsers lack of it.
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'

/** Returns the text of the page's script. */
async function bundle () {
  const { outputFiles } = await build({
    absWorkingDir: fileURLToPath(new URL('.', import.meta.url)),
    entryPoints: ['page.js'],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
    write: false,
    logLevel: 'warning',
    alias: {
      buffer: 'buffer/', events: 'events/', path: 'path-browserify', stream: 'stream-browserify', util: 'util/',
      'random-access-file': './node.js', // the page gives hyperdrive a storage in memory
      'swarmgate/discovery-swarm': '../../dist/discovery-swarm.cjs' // of this clone; that of npm needs no alias
    },
    define: { global: 'globalThis' },
    inject: ['node.js']
  })
  return outputFiles[0].text
}

const { values } = parseArgs({ options: { port: { type: 'string', default: '8000' } } })
const server = createServer(async (req, res) => {
  const [type, body] = {
    '/': ['text/html; charset=utf-8', () => readFile(new URL('page.html', import.meta.url))],
    '/page.js': ['text/javascript', bundle]
  }[req.url.split('?')[0]] ?? []
  try {
    res.writeHead(type ? 200 : 404, { 'content-type': type ?? 'text/plain' }).end(await body?.())
  } catch (err) {
    console.error(err)
    res.destroy()
  }
})
server.listen(Number(values.port), '127.0.0.1', () => console.log(`http://localhost:${server.address().port}/`))
