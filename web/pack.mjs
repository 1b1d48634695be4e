// node pack.mjs: packs the package, installs it in an empty folder, and uses each entry there as programs do: Node imports it,
// esbuild bundles it, and TypeScript finds its types.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { build } from 'esbuild'

const { name, exports, publishConfig, files } = JSON.parse(await readFile('package.json', 'utf8'))
const commonJS = Object.values(exports).map(e => e.default.endsWith('.cjs'))
const entries = Object.keys(exports).map(key => name + key.slice(1))
assert.deepEqual(publishConfig, { access: 'public', provenance: true })

const dir = await mkdtemp(join(tmpdir(), 'swarmgate-pack-'))
const run = (command, ...args) => execFileSync(command, args, { cwd: dir, encoding: 'utf8' })
try {
  const [packed] = JSON.parse(execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', dir], { encoding: 'utf8' }))
  for (const { path } of packed.files) {
    assert(['package.json', 'LICENSE'].includes(path) || files.some(f => path === f || path.startsWith(f + '/')), `${path} is in the package`)
  }
  for (const { path } of packed.files.filter(f => f.path.endsWith('.js'))) { // nobody misses one whose import is caught
    for (const [, other] of (await readFile(path, 'utf8')).matchAll(/import\("\.\/([^"]+)"\)/g)) {
      assert(packed.files.some(f => f.path === join(dirname(path), other)), `${path} loads ${other}, which the package lacks`)
    }
  }
  const cdn = [...(await readFile('README.md', 'utf8')).matchAll(/\/npm\/swarmgate@\d+\/([\w./]+)/g)]
  assert(cdn.length > 0, 'README.md says nothing of a CDN')
  for (const [, path] of cdn) assert(packed.files.some(f => f.path === path), `README.md wants ${path} of a CDN`)

  await writeFile(join(dir, 'package.json'), '{ "private": true, "type": "module" }')
  run('npm', 'install', '--offline', '--no-audit', '--no-fund', '--loglevel=error', './' + packed.filename)
  assert.deepEqual((await readdir(join(dir, 'node_modules'))).filter(f => !f.startsWith('.')), [name], 'the package brings nothing else')

  // React is the program's own.
  for (const lib of ['react', '@types/react', 'csstype']) await cp(resolve('node_modules', lib), join(dir, 'node_modules', lib), { recursive: true })

  const use = entries.map((entry, i) => `import * as entry${i} from '${entry}'`).join('\n')
  const all = `[${entries.map((_, i) => `entry${i}`).join(', ')}]`
  // Of a CommonJS module, what has which name depends on who imports it: only its default is the same everywhere.
  const list = `${all}.map((e, i) => ${JSON.stringify(commonJS)}[i] ? ['default'] : Object.keys(e).sort())`
  const names = JSON.parse(run('node', '--input-type=module', '--eval', `${use}\nconsole.log(JSON.stringify(${list}))`))
  entries.forEach((entry, i) => assert(names[i].length > 0, `${entry} exports nothing`))

  await writeFile(join(dir, 'main.ts'), `${use}\nexport const all: object[] = ${all}\n`)
  for (const resolution of ['bundler', 'nodenext']) {
    const module = resolution === 'bundler' ? 'esnext' : resolution
    run(resolve('node_modules/.bin/tsc'), '--noEmit', '--strict', '--skipLibCheck', 'false', '--target', 'es2022', '--lib', 'es2022,dom,dom.iterable,dom.asynciterable',
      '--types', '', '--module', module, '--moduleResolution', resolution, 'main.ts')
  }

  await build({ absWorkingDir: dir, entryPoints: ['main.ts'], bundle: true, format: 'esm', platform: 'browser', splitting: true, outdir: 'out', logLevel: 'error' })
  const bundled = JSON.parse(run('node', '--input-type=module', '--eval',
    `import { all } from ${JSON.stringify(join(dir, 'out/main.js'))}\nconsole.log(JSON.stringify(${list.replace(all, 'all')}))`))
  assert.deepEqual(bundled, names, 'the bundle exports what the package does')

  // Old programs: with require, with a resolver that knows no exports, as a class to extend, and without new.
  const old = "class Old extends DSS { constructor (options) { super(options) } }\n" +
    "console.log(new Old({ connection: new Promise(() => {}) }) instanceof DSS, DSS({ connection: new Promise(() => {}) }).address().port)"
  for (const where of [`${name}/discovery-swarm`, join(dir, 'node_modules', name, 'discovery-swarm')]) {
    const DSS = `const DSS = require(${JSON.stringify(where)})\n`
    assert.equal(run('node', '--input-type=commonjs', '--eval', DSS + old), 'true -1\n')
  }
  assert.equal(run('node', '--input-type=module', '--eval', `import DSS from '${name}/discovery-swarm'\n${old}`), 'true -1\n')
  await writeFile(join(dir, 'old.ts'), `import DSS from '${name}/discovery-swarm'
import type { Info } from '${name}/discovery-swarm'
export class Old extends DSS { constructor () { super({ url: 'https://gateway.example' }); this.join(new Uint8Array(20), () => {}) } }
export const made = DSS({ stream: (info: Info) => { throw new Error(info.channel.toString('hex')) } })
`)
  run(resolve('node_modules/.bin/tsc'), '--noEmit', '--strict', '--esModuleInterop', '--target', 'es2022', '--lib', 'es2022,dom,dom.iterable,dom.asynciterable',
    '--types', '', '--module', 'nodenext', '--moduleResolution', 'nodenext', 'old.ts')
} finally {
  await rm(dir, { recursive: true })
}
