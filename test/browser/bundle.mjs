// Bundles for browsers: React with what the package has for it, and what web/test says of vectors
// and of random input, where node's test runner and its assertions are replaced by nodetest.js,
// and its files by an object.
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from '../../web/node_modules/esbuild/lib/main.js'

const web = fileURLToPath(new URL('../../web/', import.meta.url))
const vectors = new URL('../../wtproto/testdata/vectors/', import.meta.url)

/** Returns the text of a module with the hook and the client of the package, and of React what react.html uses. */
export async function react () {
  const { outputFiles } = await build({
    stdin: {
      contents: `export { StrictMode, createElement } from 'react'
        export { createRoot } from 'react-dom/client'
        export { useTopic } from './dist/react.js'
        export { connect } from './dist/swarmgate.js'`,
      resolveDir: web
    },
    bundle: true, format: 'esm', target: 'es2022', charset: 'utf8', platform: 'browser', write: false, logLevel: 'warning', define: { 'process.env.NODE_ENV': '"development"' }
  })
  return outputFiles[0].text
}

/** What old programs ask for, and what there is in its place. */
const alias = {
  'discovery-swarm-stream/client': join(web, 'discovery-swarm'),
  'discovery-swarm-web': join(web, 'discovery-swarm'),
  'discovery-swarm': join(web, 'discovery-swarm') // hyperdiscovery's, for which its package.json has the one above in a browser
}
const dat = fileURLToPath(new URL('../dat/', import.meta.url))

/** Returns the text of a script with programs of the old world, unchanged but for the alias. */
export async function old () {
  const { outputFiles } = await build({
    absWorkingDir: dat,
    entryPoints: ['page/main.js'],
    bundle: true, format: 'iife', target: 'es2022', platform: 'browser', write: false, logLevel: 'error',
    define: { global: 'globalThis' },
    inject: ['page/globals.js'],
    alias: { ...alias, crypto: join(dat, 'page/crypto.js'), path: 'path-browserify' },
    plugins: [{
      name: 'no files',
      setup (b) {
        b.onResolve({ filter: /^fs$/ }, () => ({ path: 'fs', namespace: 'none' }))
        b.onLoad({ filter: /./, namespace: 'none' }, () => ({ contents: '' }))
      }
    }]
  })
  return outputFiles[0].text
}

/** The same by webpack. */
export async function oldByWebpack () {
  const { webpack, ProvidePlugin } = createRequire(join(dat, 'package.json'))('webpack')
  const folder = await mkdtemp(join(tmpdir(), 'swarmgate-webpack-'))
  const stats = await new Promise((resolve, reject) => webpack({
    mode: 'development',
    devtool: false,
    context: dat,
    entry: './page/main.js',
    output: { path: folder, filename: 'old.js' },
    resolve: {
      alias,
      fallback: { crypto: join(dat, 'page/crypto.js'), path: 'path-browserify', fs: false }
    },
    plugins: [new ProvidePlugin({ Buffer: ['buffer/', 'Buffer'], process: 'process/browser.js' })]
  }, (err, stats) => err ? reject(err) : resolve(stats)))
  try {
    if (stats.hasErrors() || stats.hasWarnings()) throw new Error(stats.toString('errors-warnings'))
    return await readFile(join(folder, 'old.js'), 'utf8')
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Returns the text of a module that registers the tests and exports `run`. */
export async function bundle () {
  const files = {}
  for (const name of await readdir(vectors)) files[name] = await readFile(new URL(name, vectors), 'utf8')
  const node = {
    name: 'node',
    setup (b) {
      b.onResolve({ filter: /^node:(test|assert\/strict)$/ }, () => ({ path: fileURLToPath(new URL('nodetest.js', import.meta.url)) }))
      b.onResolve({ filter: /^node:fs$/ }, () => ({ path: 'fs', namespace: 'files' }))
      b.onLoad({ filter: /./, namespace: 'files' }, () => ({
        contents: `const files = ${JSON.stringify(files)}
          export const readdirSync = () => Object.keys(files)
          export const readFileSync = url => files[url.pathname.split('/').at(-1)]`
      }))
    }
  }
  const { outputFiles } = await build({
    stdin: {
      contents: `import './test/vectors.test.ts'
        import './test/fuzz.test.ts'
        export { run } from 'node:test'`,
      resolveDir: web
    },
    bundle: true, format: 'esm', target: 'es2022', charset: 'utf8', platform: 'browser', write: false, ignoreAnnotations: true, logLevel: 'warning', plugins: [node]
  })
  return outputFiles[0].text
}
