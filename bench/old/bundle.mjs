// node bundle.mjs FOLDER: writes page.js to FOLDER, bundled with the client of discovery-swarm-stream
// (original.js) and with what stands in for it (ours.js), and a page for each.
import { createRequire } from 'node:module'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const dat = fileURLToPath(new URL('../../test/dat/', import.meta.url))
const { build } = createRequire(join(dat, 'package.json'))('esbuild')
const folder = process.argv[2]
const clients = {
  original: {},
  ours: { 'discovery-swarm-stream/client': fileURLToPath(new URL('../../web/dist/discovery-swarm.cjs', import.meta.url)) }
}
for (const [name, alias] of Object.entries(clients)) {
  await build({
    absWorkingDir: dat,
    nodePaths: [join(dat, 'node_modules')],
    entryPoints: [fileURLToPath(new URL('page.js', import.meta.url))],
    outfile: join(folder, `${name}.js`),
    bundle: true, format: 'iife', target: 'es2022', platform: 'browser', logLevel: 'error',
    define: { global: 'globalThis' },
    inject: ['page/globals.js'],
    alias: { ...alias, crypto: join(dat, 'page/crypto.js'), path: 'path-browserify' },
    plugins: [{
      name: 'of Node',
      setup (b) {
        b.onResolve({ filter: /^(fs|util)$/ }, ({ path }) => ({ path, namespace: 'node' }))
        b.onLoad({ filter: /^fs$/, namespace: 'node' }, () => ({ contents: '' }))
        b.onLoad({ filter: /^util$/, namespace: 'node' }, () => ({ contents: "exports.inherits = require('inherits')", resolveDir: dat }))
      }
    }]
  })
  writeFileSync(join(folder, `${name}.html`), `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script src="/${name}.js"></script>`)
}
