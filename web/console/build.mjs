// node console/build.mjs [DIR]: console.html, console.js and console.css, to web/dist or to DIR.
// node console/build.mjs test DIR: the tests, to DIR.
import { copyFile, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { build, transform } from 'esbuild'

const [what = '', dir = ''] = process.argv.slice(2)
const out = resolve(what === 'test' ? dir : what || new URL('../dist', import.meta.url).pathname)
const here = new URL('.', import.meta.url).pathname
process.chdir(here)
const common = { absWorkingDir: here, bundle: true, format: 'esm', target: 'es2022', charset: 'utf8', logLevel: 'warning' }
await mkdir(out, { recursive: true })

if (what === 'test') {
  const tests = (await readdir('test')).filter(name => name.endsWith('.test.ts'))
  await build({
    ...common, entryPoints: tests.map(name => `./test/${name}`), outdir: out, outExtension: { '.js': '.mjs' }, platform: 'node',
    alias: { swarmgate: '../src/index.ts', 'swarmgate/messages': '../src/messages.ts', 'swarmgate/secret': '../src/secret.ts' }, sourcemap: 'inline'
  })
} else {
  // The page uses the module that the gateway gives to everybody, as a file of its own.
  await build({
    ...common, entryPoints: ['./main.ts'], outfile: join(out, 'console.js'), platform: 'browser', minify: true,
    alias: { swarmgate: '/client.js', 'swarmgate/messages': '../src/messages.ts', 'swarmgate/secret': '../src/secret.ts' }, external: ['/client.js'], tsconfigRaw: {},
    footer: { js: `/*! lean-qr\n${await readFile('../node_modules/lean-qr/LICENSE', 'utf8')}*/` }
  })
  const css = await transform(await readFile('console.css', 'utf8'), { loader: 'css', minify: true })
  await writeFile(join(out, 'console.css'), css.code)
  await copyFile('index.html', join(out, 'console.html'))
}
