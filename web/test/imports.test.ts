// What the files of src import of each other.
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'

const src = new URL('../src/', import.meta.url).pathname

/** Returns the circle of imports that begins at a file, or undefined if there is none. */
function circle (files: Map<string, string[]>, path: string[], done: Set<string>): string[] | undefined {
  const at = path.at(-1)!
  if (path.indexOf(at) < path.length - 1) return path.slice(path.indexOf(at))
  if (done.has(at)) return undefined
  for (const next of files.get(at) ?? assert.fail(`${at} does not exist`)) {
    const found = circle(files, [...path, next], done)
    if (found) return found
  }
  done.add(at)
  return undefined
}

// circuit, outbox, session and topic knew each other, so that none of them could be read or tested
// alone. What one needs of the one above it is a small interface of its own.
test('no file imports one that imports it, types counted', () => {
  const names = (readdirSync(src, { recursive: true }) as string[]).filter(name => name.endsWith('.ts'))
  const files = new Map(names.map(name => {
    const text = readFileSync(join(src, name), 'utf8')
    return [name, Array.from(text.matchAll(/(?:from|import\() ?'(\..*?)\.js'/g), m => join(dirname(name), `${m[1]}.ts`))]
  }))
  assert.ok(names.length > 20 && files.get('session.ts')!.includes('circuit.ts'))
  const done = new Set<string>()
  for (const name of names) assert.equal(circle(files, [name], done)?.join(' -> '), undefined)
})
