import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Code } from 'swarmgate'
import type { Room } from '../room.js'
import { ANSWER, encode } from '../messages.js'
import { eventually, pipe } from './pipe.js'
import type { End } from './pipe.js'
import { keep, open } from './rooms.js'

/** Two rooms, and what loses their circuit and makes another. */
function pair () {
  const a = open('Ann')
  const b = open('Bob')
  let ends: End[] = []
  const meet = async (turned = false, id?: string) => {
    const [x, y] = ends = pipe('client', id)
    a.room.add(turned ? y : x)
    b.room.add(turned ? x : y)
    await eventually('both are consoles', () => isConsole(a.room, ends) && isConsole(b.room, ends))
  }
  const lose = async (code?: number) => {
    for (const e of ends) e.lose(code)
    await eventually('both know', () => a.room.links.size + b.room.links.size === 0)
  }
  return { a, b, meet, lose }
}

const isConsole = (room: Room, ends: End[]) => room.consoles.some(l => ends.includes(l.peer as End))

const pattern = (n: number) => new Uint8Array(n).map((_, i) => i * 7 + (i >> 8) + (i >> 16) * 3)

test('a file goes on where it was, wherever its circuits are lost', async () => {
  await fc.assert(fc.asyncProperty(
    fc.integer({ min: 0, max: 8_000_000 }),
    fc.array(fc.record({ percent: fc.nat(99), turned: fc.boolean() }), { maxLength: 4 }),
    fc.integer({ min: -1, max: 4 }),
    async (size, losses, acceptedAfter) => {
      const { a, b, meet, lose } = pair()
      await meet()
      const data = pattern(size)
      const [upload] = a.room.share(new File([data], 'a.bin'))
      await eventually('offer', () => b.seen.downloads.length === 1)
      const [download] = b.seen.downloads
      const { sink, kept } = keep()
      const slow = {
        ...sink,
        async write (b: Uint8Array<ArrayBuffer>) {
          await new Promise(resolve => setTimeout(resolve))
          await sink.write(b)
        }
      }
      const accept = (when: number) => { if (when === Math.min(acceptedAfter, losses.length - 1)) download!.accept(slow) }
      accept(-1)
      for (const [i, { percent, turned }] of losses.entries()) {
        if (download!.state !== 'offered') await eventually('so much came', () => kept.size >= percent * size / 100 || download!.over)
        await lose()
        accept(i)
        await meet(turned)
      }
      await eventually('done', () => upload!.state === 'done' && download!.state === 'done')
      assert.equal(kept.size, size, 'nothing was written twice')
      assert.ok(Buffer.concat(kept.parts).equals(Buffer.from(data)))
      assert.equal(upload!.sent.total, size)
      assert.equal(b.seen.downloads.length, 1, 'it was offered once')
    }
  ), { numRuns: 25, endOnFailure: true }) // to make an example smaller takes a wait for each
})

test('what was decided while the other was away is told when it is back', async () => {
  const { a, b, meet, lose } = pair()
  await meet()
  const [declined] = a.room.share(new File(['1'], 'one'))
  const [cancelled] = a.room.share(new File([pattern(9_000_000)], 'two'))
  const [stopped] = a.room.share(new File([pattern(9_000_000)], 'three'))
  await eventually('offers', () => b.seen.downloads.length === 3)
  const [one, two, three] = b.seen.downloads
  const { sink, kept } = keep(new Promise(() => {}))
  two!.accept(sink)
  three!.accept(keep(new Promise(() => {})).sink)
  await eventually('under way', () => cancelled!.sent.total > 0 && stopped!.sent.total > 0)
  await lose()
  assert.ok([declined, cancelled, stopped, one, two, three].every(t => t!.away && !t!.over))
  one!.refuse('not wanted')
  cancelled!.cancel('cancelled by the sender')
  three!.refuse('cancelled')
  await meet()
  await eventually('both know all', () => [declined, cancelled, stopped, one, two, three].every(t => t!.over))
  assert.deepEqual([declined!.reason, two!.reason, stopped!.reason], ['not wanted', 'cancelled by the sender', 'cancelled'])
  assert.ok(kept.aborted)
  assert.ok([...a.room.uploads].every(u => !u.away), 'nothing is asked again')
})

test('whoever was not told of the end learns it', async () => {
  const { a, b, meet, lose } = pair()
  await meet()
  const [upload] = a.room.share(new File(['data'], 'x'))
  await eventually('offer', () => b.seen.downloads.length === 1)
  let release = () => {}
  b.seen.downloads[0]!.accept(keep(new Promise(resolve => { release = resolve })).sink)
  await eventually('all is sent', () => upload!.sent.total === 4)
  await a.room.say('after it')
  await eventually('all is received', () => b.seen.texts.length === 1)
  await lose()
  release()
  await eventually('it is there', () => b.seen.downloads[0]!.state === 'done')
  assert.equal(upload!.state, 'moving')
  await meet()
  await eventually('the sender knows', () => upload!.state === 'done')
})

test('an offer that was lost itself is not waited for', async () => {
  const { a, b, meet, lose } = pair()
  await meet()
  const [upload] = a.room.share(new File(['data'], 'x'))
  await lose()
  b.room.downloads.clear() // as if it had not come
  await meet()
  await eventually('it is over', () => upload!.state === 'refused')
})

test('who leaves ends its files, who is lost does not', async () => {
  for (const [code, over] of [[Code.LEFT, true], [Code.DECLINED, true], [Code.PEER_RESET, true], [Code.PEER_GONE, false], [Code.SHUTDOWN, false], [Code.REPLACED, false]] as const) {
    const { a, b, meet, lose } = pair()
    await meet()
    const [upload] = a.room.share(new File(['data'], 'x'))
    await eventually('offer', () => b.seen.downloads.length === 1)
    await lose(code)
    assert.deepEqual([upload!.over, b.seen.downloads[0]!.over], [over, over], `0x${code.toString(16)}`)
  }
})

test('somebody else is told nothing, and who shows no secret gets nothing', async () => {
  const { a, b, meet, lose } = pair()
  await meet()
  const [upload] = a.room.share(new File([pattern(9_000_000)], 'x'))
  await eventually('offer', () => b.seen.downloads.length === 1)
  const [download] = b.seen.downloads
  download!.accept(keep(new Promise(() => {})).sink)
  await eventually('under way', () => upload!.sent.total > 0)
  await lose()
  await meet(false, 'cd'.repeat(16)) // somebody else
  const [toBob] = a.room.consoles
  const [toAnn] = b.room.consoles
  await toBob!.say({ type: 'again', id: upload!.id, ask: upload!.ask }) // knows half of the secret, and is another
  await toAnn!.say({ type: 'from', id: upload!.id, offset: 0, answer: upload!.answer })
  await b.room.say('later than all that')
  await a.room.say('later than all that')
  await eventually('read', () => a.seen.texts.length + b.seen.texts.length === 2)
  assert.ok(upload!.away && download!.away)
  await lose()
  const [x, y] = pipe() // has the sender's endpoint id, and no secret
  b.room.add(x)
  const writer = y.writable.getWriter()
  void (async () => { for await (const _ of y); })()
  await writer.write(ANSWER)
  await writer.write(encode({ type: 'again', id: upload!.id, ask: '00'.repeat(16) }))
  await writer.write(encode({ type: 'data', id: upload!.id, bytes: new Uint8Array(9) }))
  await writer.write(encode({ type: 'text', text: 'read' }))
  await eventually('read', () => b.seen.texts.includes('read'))
  assert.ok(download!.away)
})

test('offers of those who never come back are not kept without end', async () => {
  const b = open('Bob')
  for (let i = 0; i < 4; i++) {
    const a = open('Ann')
    const [x, y] = pipe('client', String(i).repeat(32))
    a.room.add(x)
    b.room.add(y)
    await eventually('consoles', () => a.room.consoles.length + b.room.consoles.length === 2)
    for (let n = 0; n < 30; n++) a.room.share(new File(['x'], `f${n}`))
    await eventually('offers', () => b.seen.downloads.length === 30 * (i + 1))
    x.lose()
    y.lose()
    await eventually('lost', () => b.room.links.size === 0)
  }
  assert.equal(b.seen.downloads.filter(d => !d.over).length, 64)
  assert.ok(b.seen.downloads.slice(-64).every(d => !d.over), 'the latest are kept')
})
