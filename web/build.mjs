// node build.mjs: dist/swarmgate.js and dist/types. node build.mjs test: the tests, to .test/.
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { copyFile, mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { parse } from 'acorn'
import { build } from 'esbuild'
import { minify } from 'terser'

process.chdir(new URL('.', import.meta.url).pathname)
// Names that browsers know too, and that the client module gives only to its own things: no member
// of the platform that it uses, and none of its public API, is called so. They are shortened.
const INTERNAL = new Set(`adopt after bytes check connect count data disconnected drop end ended fail fetch flags frame host
  left lost offset options parse payload peer promise put reconnecting reject remove reset resolve send session silent since take
  update version watch window`.split(/\s+/))
// Names of private members, for the one that is used most first. Their order was found by trying
// many: gzip makes 20 bytes less of this one than of that in which letters are used most.
const LETTERS = [...'tefnhcsiOLopIlxaAwurkgmETbydvSCUPRMNjWD$BF_qzHGVYJKXZQ']
const common = { bundle: true, format: 'esm', target: 'es2022', charset: 'utf8', logLevel: 'warning' }
let standard // what standardNames returns

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
  await prune('dist/types', ['index', 'url', 'react', 'messages', 'secret', 'discoveryswarmapi'])
  await copyFile('src/discoveryswarm.d.cts', 'dist/types/discoveryswarm.d.cts')
  await bundle('index', 'swarmgate', { internal: INTERNAL, known: ['race'] })
  for (const entry of ['url', 'messages', 'secret']) await bundle(entry)
  await bundle('link/race', 'websocket', { types: 'index', known: ['race'] })
  await bundle('react', 'react', { known: ['useCallback', 'useSyncExternalStore'] })
  await discoverySwarm()
}

/**
 * Makes one module of an entry and of what it imports. esbuild shortens all names that nobody else
 * knows, and those that are `internal`; codes become numbers, and terser and repack make less of the
 * rest.
 */
async function bundle (entry, file = entry, { types = entry, known = [], internal = new Set() } = {}) {
  const publics = [...await publicNames(types), ...known].filter(name => !internal.has(name))
  const { outputFiles: [{ text }] } = await build({
    ...common,
    entryPoints: [`src/${entry}.ts`],
    write: false,
    platform: 'browser',
    external: ['react'],
    minify: true,
    legalComments: 'none',
    mangleProps: /./,
    reserveProps: new RegExp(`^(${publics.join('|').replaceAll('$', '\\$')})$`),
    plugins: [await codesAsNumbers(), ownFile()]
  })
  const { code } = await minify(text, { module: true, ecma: 2022, compress: { passes: 3, keep_fargs: false, unsafe_methods: true, hoist_funs: true } })
  await mkdir('dist', { recursive: true })
  await writeFile(`dist/${file}.js`, repack(code) + '\n')
}

/**
 * Makes one CommonJS module of the entry for old programs, of the client module, and of the libraries
 * of Node's that it needs: with require, and in syntax that old bundlers know.
 */
async function discoverySwarm () {
  const { metafile } = await build({
    ...common,
    entryPoints: ['src/discoveryswarm.ts'],
    outfile: 'dist/discovery-swarm.cjs',
    format: 'cjs',
    target: 'es2019',
    platform: 'browser',
    minify: true,
    legalComments: 'none',
    metafile: true,
    alias: { 'events-universal': 'events' },
    banner: { js: '/*! swarmgate, with libraries whose licences are in discovery-swarm.LICENSES.txt */' },
    footer: { js: 'module.exports=module.exports.default' },
    plugins: [{
      name: 'the client module, as it is published',
      setup (build) {
        build.onResolve({ filter: /\/connect\.js$/ }, () => ({ path: resolve('dist/swarmgate.js') }))
      }
    }]
  })
  const libraries = new Set(Object.keys(metafile.inputs).flatMap(path => /node_modules\/([^/]+)/.exec(path)?.[1] ?? []))
  const texts = await Promise.all([...libraries].sort().map(async name => `${name}\n\n${await readFile(`node_modules/${name}/LICENSE`, 'utf8')}`))
  await writeFile('dist/discovery-swarm.LICENSES.txt', texts.join('\n\n'))
}

/**
 * Returns a program that gzip makes less of: all strings have the same quotes, and what is private
 * in a class has a name of one letter that nothing else of that class has. Who uses the module sees
 * it then, as something without a name.
 */
function repack (code) {
  const edits = [] // start, end, and what stands there
  const walk = (node, of) => {
    const { type, key, value, start, end } = node
    const begins = /^Class(Expression|Declaration)$/.test(type)
    if (begins) of = { privates: [], others: new Set() }
    if (type === 'PrivateIdentifier') of.privates.push(node)
    if (/^(Method|Property)Definition$/.test(type)) of.others.add(key.type === 'Identifier' && key.name)
    if (type === 'MemberExpression' && node.object.type === 'ThisExpression') of.others.add(node.property.type === 'Identifier' && node.property.name)
    if (type === 'Literal' && typeof value === 'string' && !/[`\\$\n]/.test(value)) edits.push([start, end, `\`${value}\``])
    for (const [name, child] of Object.entries(node)) {
      if (name === 'source' || (name === 'key' && child.type === 'Literal')) continue // what has to be a string
      for (const c of [child].flat()) if (c?.type) walk(c, of)
    }
    if (!begins) return
    const count = {}
    for (const { name } of of.privates) count[name] = (count[name] ?? 0) + 1
    const letters = LETTERS.filter(letter => !of.others.has(letter))
    const often = Object.keys(count).sort((a, b) => count[b] - count[a])
    for (const p of of.privates) edits.push([p.start, p.end, (/\w/.test(code[p.start - 1]) ? ' ' : '') + letters[often.indexOf(p.name)]])
  }
  walk(parse(code, { ecmaVersion: 'latest', sourceType: 'module' }))
  let at = 0
  return edits.sort(([a], [b]) => a - b).map(([start, end, text]) => code.slice(at, start) + text + ((at = end), '')).join('') + code.slice(at)
}

/** Leaves what connects by WebSocket in a file of its own, which is loaded when it is needed. */
function ownFile () {
  return {
    name: 'own file',
    setup (build) {
      build.onResolve({ filter: /\/race\.js$/ }, ({ kind }) => kind === 'dynamic-import' ? { path: './websocket.js', external: true } : undefined)
    }
  }
}

/** Writes a code, and the type of a frame, as its number instead of as a member of something. */
async function codesAsNumbers () {
  const codes = new Map([...(await readFile('src/codes.ts', 'utf8')).matchAll(/^ +([A-Z_]+): (0x\w+),?$/gm)].map(m => [m[1], Number(m[2])]))
  const types = new Map([...(await readFile('src/frames.ts', 'utf8')).matchAll(/^export const (\w+) = message\((0x\w+)/gm)].map(m => [m[1], Number(m[2])]))
  return {
    name: 'codes',
    setup (build) {
      build.onLoad({ filter: /\/src\/[\w/]+\.ts$/ }, async ({ path }) => ({
        loader: 'ts',
        contents: (await readFile(path, 'utf8')).replace(/\bCode\.([A-Z_]+)\b/g, (_, name) => codes.get(name))
          .replace(/\b([A-Z]\w+)\.type\b/g, (all, name) => types.get(name) ?? all)
      }))
    }
  }
}

/**
 * Returns the names of properties that others know: those of the entry's types in dist, of the
 * language and of browsers, and of the info document.
 */
async function publicNames (entry) {
  const names = new Set(['webtransport', 'websocket', 'certificate', 'kind', 'hashes', ...await (standard ??= standardNames())])
  for (const name of await reached('dist/types', [entry])) {
    for (const [word] of withoutComments(await readFile(`dist/types/${name}.d.ts`, 'utf8')).matchAll(/[\w$]+/g)) names.add(word)
  }
  return names
}

/** Returns the names of properties of the language and of browsers. */
async function standardNames () {
  const names = []
  const lib = createRequire(import.meta.resolve('typescript')).resolve(`@typescript/typescript-${process.platform}-${process.arch}/package.json`)
  const libs = join(dirname(lib), 'lib')
  for (const file of await readdir(libs)) {
    if (!/^lib\..*d\.ts$/.test(file)) continue
    const text = withoutComments(await readFile(join(libs, file), 'utf8'))
    for (const m of text.matchAll(/^ +(?:readonly |get |set )*([\w$]+)\??[:(<]|[{;,] ?([\w$]+)\??:|declare (?:var|function) (\w+)/gm)) names.push(m[1] ?? m[2] ?? m[3])
  }
  return names
}

function withoutComments (text) { return text.replace(/\/\*[^]*?\*\/|\/\/.*/g, '') }

/** Removes the types that nothing which is public refers to. */
async function prune (dir, roots) {
  const kept = await reached(dir, roots)
  for (const file of await readdir(dir)) if (!kept.has(file.replace('.d.ts', ''))) await rm(`${dir}/${file}`, { recursive: true })
}

/** Returns the names of types that some refer to, and of these themselves. */
async function reached (dir, roots) {
  const all = new Set()
  const reach = async name => {
    if (all.has(name)) return
    all.add(name)
    for (const [, other] of (await readFile(`${dir}/${name}.d.ts`, 'utf8')).matchAll(/from '\.\/(\w+)\.js'/g)) await reach(other)
  }
  for (const root of roots) await reach(root)
  return all
}
