import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { WebSocketTransport } from '../src/link/websocket.js'
import { FakeClock } from './clock.js'
import { Code, failure, settled } from './network.js'
import { fakeSockets } from './sockets.js'

const bytes = (n: number, value = 7) => new Uint8Array(n).fill(value)

/** A session over WebSocket that is open, with a further stream. */
async function session () {
  const clock = new FakeClock()
  const sockets = fakeSockets()
  const transport = new WebSocketTransport('https://gate.example/swarm', clock.after)
  transport.closed.catch(() => {})
  const [control] = sockets
  await control!.open()
  await transport.ready
  const first = await transport.createBidirectionalStream()
  const opening = transport.createBidirectionalStream()
  await settled()
  const socket = sockets[1]!
  await socket.open()
  const stream = await opening
  return { clock, sockets, transport, control: control!, first, socket, stream, writer: stream.writable.getWriter(), reader: stream.readable.getReader({ mode: 'byob' }) }
}

test('a session is a WebSocket, and so is each further stream, with its key', async () => {
  const { control, socket, clock } = await session()
  assert.deepEqual([control.url, control.protocols, control.binaryType], ['wss://gate.example/swarm', ['swarmgate'], 'arraybuffer'])
  const [, key] = /^session ([0-9a-f]{32})$/.exec(String(control.sent[0]))!
  assert.deepEqual(socket.sent, [`stream ${key}`])
  assert.deepEqual([socket.url, socket.protocols, clock.waiting], [control.url, control.protocols, 0])
})

test('ws on loopback', () => {
  const sockets = fakeSockets()
  new WebSocketTransport('http://127.0.0.1:80/swarm', () => () => {}).closed.catch(() => {})
  assert.equal(sockets[0]!.url, 'ws://127.0.0.1:80/swarm')
})

// An info document may name any address. The client went to ws: and http: on other computers too.
test('neither ws nor http elsewhere', () => {
  const sockets = fakeSockets()
  for (const url of ['ws://gate.example/swarm', 'http://gate.example/swarm', 'http://10.0.0.1:80/swarm', 'http://localhost.example/swarm']) {
    assert.throws(() => new WebSocketTransport(url, () => () => {}), /want wss, or ws on loopback/)
  }
  for (const url of ['wss://gate.example/swarm', 'ws://localhost:1/swarm', 'ws://[::1]:1/swarm', 'http://127.0.0.9/swarm']) {
    new WebSocketTransport(url, () => () => {}).closed.catch(() => {})
    assert.equal(sockets.pop()!.url, url.replace('http', 'ws'))
  }
  assert.deepEqual(sockets, [])
})

describe('a stream', () => {
  test('reads bytes, with a reader\'s own buffer, and their end', async () => {
    const { socket, reader } = await session()
    const reading = reader.read(new Uint8Array(4))
    await socket.say(bytes(3, 1), bytes(0), bytes(2, 2), 'what is this', 'fin')
    assert.deepEqual((await reading).value, bytes(3, 1))
    assert.deepEqual((await reader.read(new Uint8Array(4))).value, bytes(2, 2))
    assert.equal((await reader.read(new Uint8Array(4))).done, true)
  })

  test('whose end comes while a read waits', async () => {
    const { socket, reader } = await session()
    const reading = reader.read(new Uint8Array(4))
    await socket.say('fin')
    assert.equal((await reading).done, true)
  })

  test('writes up to its window, in messages of 64 KiB, and goes on when that grows', async () => {
    const { socket, writer } = await session()
    let written = false
    writer.write(bytes(200_000)).then(() => { written = true }, () => {})
    await settled()
    assert.equal(socket.bytes.length, 65536)
    await socket.say('window 65536', 'window 1')
    assert.equal(socket.bytes.length, 65536, 'a window does not shrink, nor is an old one news')
    await socket.say('window 65636')
    assert.deepEqual([socket.bytes.length, written], [65636, false])
    await socket.say('window 1000000')
    assert.deepEqual([socket.bytes.length, written], [200_000, true])
    assert.ok(socket.sent.every(m => m.length <= 65536))
    await writer.write(bytes(1).buffer)
    await writer.close()
    assert.deepEqual([socket.bytes.length, socket.sent.at(-1)], [200_001, 'fin'])
  })

  test('the control stream has no window', async () => {
    const { first, control } = await session()
    await first.writable.getWriter().write(bytes(300_000))
    assert.equal(control.bytes.length, 300_000)
  })

  test('tells its codes both ways, of 32 bits', async () => {
    const { socket, writer, reader } = await session()
    const waits = failure(writer.write(bytes(70_000)))
    await settled()
    writer.abort({ streamErrorCode: 4294967295 }).catch(() => {})
    reader.cancel({ streamErrorCode: 0x142 }).catch(() => {})
    await waits
    await settled()
    assert.deepEqual(socket.signals.slice(1), ['reset 4294967295', 'stop 322'])
    await socket.say(bytes(9), 'fin') // which nobody wants
  })

  test('learns of the other side\'s codes', async () => {
    const { socket, writer, reader } = await session()
    const waits = failure(writer.write(bytes(70_000)))
    await settled()
    await socket.say('stop 4294967295', 'stop 1')
    assert.equal((await waits).streamErrorCode, 4294967295)
    assert.equal((await failure(writer.closed)).streamErrorCode, 4294967295)
    await socket.say(bytes(3), 'reset 322', 'reset 1', 'fin')
    assert.equal((await failure(reader.read(bytes(1)))).streamErrorCode, 322)
  })

  test('half-closed goes on the other way; the gateway closes it, or we 5 s later', async () => {
    const { socket, writer, reader, clock } = await session()
    await socket.say('fin')
    await writer.write(bytes(5))
    assert.equal(clock.waiting, 0)
    await writer.close()
    assert.equal((await reader.read(bytes(1))).done, true)
    clock.advance(4999)
    assert.equal(socket.left, undefined)
    clock.advance(1)
    assert.equal(socket.left![0], 1000)
    await socket.end(1000)
    assert.equal(clock.waiting, 0)
  })

  test('that is closed with a code is reset with it', async () => {
    const { socket, writer, reader } = await session()
    const closed = failure(writer.closed)
    await socket.end(4000 + Code.PEER_GONE)
    assert.equal((await closed).streamErrorCode, Code.PEER_GONE)
    assert.equal((await failure(reader.read(bytes(1)))).streamErrorCode, Code.PEER_GONE)
  })

  test('that is lost ends with PEER_GONE a moment later, and alone', async () => {
    const { socket, transport, reader, clock } = await session()
    const reading = failure(reader.read(bytes(1)))
    let over = false
    transport.closed.catch(() => { over = true })
    await socket.end()
    clock.advance(999)
    await settled()
    clock.advance(1)
    assert.equal((await reading).streamErrorCode, Code.PEER_GONE)
    assert.equal(over, false)
  })

  test('that does not come about fails, after 10 s at most', async () => {
    const { sockets, transport, clock } = await session()
    const refused = failure(transport.createBidirectionalStream())
    await settled()
    await sockets[2]!.end()
    clock.advance(1000)
    assert.equal((await refused).streamErrorCode, Code.PEER_GONE)
    const slow = failure(transport.createBidirectionalStream())
    await settled()
    clock.advance(10_000)
    assert.equal((await slow).streamErrorCode, Code.BUSY)
    assert.ok(sockets[3]!.left)
  })

  test('on which the gateway breaks the rules is closed with a code', async () => {
    for (const [messages, code] of [
      [['window x'], Code.PROTOCOL], [['reset 4294967296'], Code.PROTOCOL], [['stop'], Code.PROTOCOL], [['fin 1'], Code.PROTOCOL],
      [['fin', bytes(1)], Code.PROTOCOL], [[bytes(65537)], Code.TOO_LARGE]
    ] as const) {
      const { socket, reader } = await session()
      const reading = reader.read(new Uint8Array(1)).catch(() => {})
      await socket.say(...messages)
      assert.equal(socket.left?.[0], 4000 + code, String(messages))
      await reading
    }
  })
})

describe('the end of a session', () => {
  test('by the gateway tells code and reason, and closes all streams', async () => {
    const { transport, control, socket, reader, clock } = await session()
    const reading = failure(reader.read(bytes(1)))
    await control.end(4000 + Code.UNAUTHORIZED, 'no such token')
    assert.deepEqual(await transport.closed, { closeCode: Code.UNAUTHORIZED, reason: 'no such token' })
    assert.equal((await reading).streamErrorCode, null)
    assert.ok(socket.left)
    await failure(transport.createBidirectionalStream())
    assert.equal(clock.waiting, 0)
  })

  test('that nobody told is a loss', async () => {
    const { transport, control } = await session()
    const closed = failure(transport.closed)
    await control.end(1001)
    await closed
  })

  test('here is told with code and reason, of 123 bytes at most', async () => {
    const { transport, control, socket } = await session()
    transport.close({ closeCode: Code.SHUTDOWN, reason: 'ä'.repeat(100) })
    transport.close()
    assert.deepEqual(control.left, [4000 + Code.SHUTDOWN, 'ä'.repeat(61)])
    assert.ok(socket.left)
    assert.equal((await transport.closed).closeCode, Code.SHUTDOWN)
  })
})
