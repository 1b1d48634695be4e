// node build.mjs: dist/swarmgate.js and dist/types. node build.mjs test: the tests, to .test/.
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
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
  execFileSync('node_modules/.bin/tsc', ['-p', 'tsconfig.types.json'], { stdio: 'inherit' })
  await prune('dist/types', ['index', 'url', 'react', 'messages'])
  const publics = await publicNames()
  await bundle('src/index.ts', 'dist/swarmgate.js', publics)
  await bundle('src/url.ts', 'dist/url.js', publics)
  await bundle('src/messages.ts', 'dist/messages.js', publics)
  await bundle('src/react.ts', 'dist/react.js', publics.add('useCallback').add('useSyncExternalStore'))
}

/**
 * Makes one module of a source file and of what it imports. esbuild shortens all names that are not
 * in `publics`, codes become numbers, and terser makes less of the rest.
 */
async function bundle (source, file, publics) {
  const { outputFiles: [{ text }] } = await build({
    ...common,
    entryPoints: [source],
    write: false,
    platform: 'browser',
    external: ['react'],
    minify: true,
    legalComments: 'none',
    mangleProps: /./,
    reserveProps: new RegExp(`^(${[...publics].join('|').replaceAll('$', '\\$')})$`),
    plugins: [await codesAsNumbers()]
  })
  const { code } = await minify(text, { module: true, ecma: 2022, compress: { passes: 3, keep_fargs: false, unsafe_methods: true } })
  await mkdir('dist', { recursive: true })
  await writeFile(file, code + '\n')
}

/** Writes a code as its number instead of as a member of `Code`. */
async function codesAsNumbers () {
  const codes = new Map([...(await readFile('src/codes.ts', 'utf8')).matchAll(/^ +([A-Z_]+): (0x\w+),?$/gm)].map(m => [m[1], Number(m[2])]))
  return {
    name: 'codes',
    setup (build) {
      build.onLoad({ filter: /\/src\/\w+\.ts$/ }, async ({ path }) => ({
        loader: 'ts',
        contents: (await readFile(path, 'utf8')).replace(/\bCode\.([A-Z_]+)\b/g, (_, name) => codes.get(name))
      }))
    }
  }
}

/** Returns the names of properties that others know: those of the types in dist, of the language and of browsers, and of the info document. */
async function publicNames () {
  const names = new Set(['webtransport', 'certificate', 'kind', 'hashes'])
  const lib = createRequire(import.meta.resolve('typescript')).resolve(`@typescript/typescript-${process.platform}-${process.arch}/package.json`)
  const libs = join(dirname(lib), 'lib')
  for (const file of await readdir(libs)) {
    if (!/^lib\..*d\.ts$/.test(file)) continue
    const text = withoutComments(await readFile(join(libs, file), 'utf8'))
    for (const m of text.matchAll(/^ +(?:readonly |get |set )*([\w$]+)\??[:(<]|[{;,] ?([\w$]+)\??:|declare (?:var|function) (\w+)/gm)) names.add(m[1] ?? m[2] ?? m[3])
  }
  for (const file of await readdir('dist/types')) {
    for (const [word] of withoutComments(await readFile(`dist/types/${file}`, 'utf8')).matchAll(/[\w$]+/g)) names.add(word)
  }
  return names
}

function withoutComments (text) { return text.replace(/\/\*[^]*?\*\/|\/\/.*/g, '') }

/** Removes the types that nothing which is public refers to. */
async function prune (dir, roots) {
  const kept = new Set()
  const keep = async name => {
    if (kept.has(name)) return
    kept.add(name)
    for (const [, other] of (await readFile(`${dir}/${name}.d.ts`, 'utf8')).matchAll(/from '\.\/(\w+)\.js'/g)) await keep(other)
  }
  for (const root of roots) await keep(root)
  for (const file of await readdir(dir)) if (!kept.has(file.replace('.d.ts', ''))) await rm(`${dir}/${file}`)
}
