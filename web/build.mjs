// node build.mjs: dist/swarmgate.js and dist/types. node build.mjs test: the tests, to .test/.
import { execFileSync } from 'node:child_process'
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { build } from 'esbuild'
import { minify } from 'terser'

process.chdir(new URL('.', import.meta.url).pathname)
const common = { bundle: true, format: 'esm', target: 'es2022', charset: 'utf8', logLevel: 'warning' }

if (process.argv[2] === 'test') {
  await rm('.test', { recursive: true, force: true })
  const tests = (await readdir('test')).filter(name => name.endsWith('.test.ts'))
  await build({
    ...common,
    entryPoints: tests.map(name => `test/${name}`),
    outdir: '.test',
    outExtension: { '.js': '.mjs' },
    platform: 'node',
    packages: 'external',
    sourcemap: 'inline'
  })
} else {
  await rm('dist/types', { recursive: true, force: true })
  await bundle('src/index.ts', 'dist/swarmgate.js')
  execFileSync('node_modules/.bin/tsc', ['-p', 'tsconfig.types.json'], { stdio: 'inherit' })
  await prune('dist/types', 'index')
}

/**
 * Makes one module of a source file and of what it imports. esbuild shortens private names, and
 * terser makes less of the rest.
 */
async function bundle (source, file) {
  const { outputFiles: [{ text }] } = await build({
    ...common, entryPoints: [source], write: false, platform: 'browser', minify: true, legalComments: 'none'
  })
  const { code } = await minify(text, { module: true, ecma: 2022, compress: { passes: 3 } })
  await mkdir('dist', { recursive: true })
  await writeFile(file, code + '\n')
}

/** Removes the types that nothing which is public refers to. */
async function prune (dir, root) {
  const kept = new Set()
  const keep = async name => {
    if (kept.has(name)) return
    kept.add(name)
    for (const [, other] of (await readFile(`${dir}/${name}.d.ts`, 'utf8')).matchAll(/from '\.\/(\w+)\.js'/g)) await keep(other)
  }
  await keep(root)
  for (const file of await readdir(dir)) if (!kept.has(file.replace('.d.ts', ''))) await rm(`${dir}/${file}`)
}
