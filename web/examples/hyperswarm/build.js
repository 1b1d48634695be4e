import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = path => fileURLToPath(new URL(path, import.meta.url))

/** Returns the text of a module for browsers, with all that it imports. The swarmgate in it is that of this clone. */
export async function bundle (entry) {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    alias: { swarmgate: here('../../dist/swarmgate.js'), 'sodium-native': here('sodium.cjs') },
    nodePaths: [here('node_modules')],
    write: false,
    logLevel: 'warning'
  })
  return outputFiles[0].text
}
