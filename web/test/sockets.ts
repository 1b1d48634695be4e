// WebSocket in memory, with the gateway's side for a test to play by docs/PROTOCOL.md, 2.4.
import assert from 'node:assert/strict'
import { settled } from './network.js'

/** One WebSocket that the client has made. */
export class FakeSocket {
  static readonly all: FakeSocket[] = []
  readonly url: string
  readonly protocols: string[]
  /** What the client sent: signals as texts, and bytes. */
  readonly sent: Array<string | Uint8Array> = []
  /** What the client closed it with. */
  left: [code: number | undefined, reason: string | undefined] | undefined
  readyState = 0
  binaryType = ''
  onopen: (() => void) | undefined
  onmessage: ((e: { data: string | ArrayBuffer }) => void) | undefined
  onclose: ((e: { code: number, reason: string }) => void) | undefined

  constructor (url: string, protocols: string[]) {
    this.url = url
    this.protocols = protocols
    FakeSocket.all.push(this)
  }

  send (data: string | Uint8Array): void {
    assert.notEqual(this.readyState, 0, 'sent before it was open')
    if (this.readyState === 1) this.sent.push(typeof data === 'string' ? data : data.slice())
  }

  close (code?: number, reason?: string): void {
    if (this.readyState > 1) return
    assert.ok(code === undefined || code === 1000 || (code >= 3000 && code < 5000), `closed with ${code}`)
    this.left = [code, reason]
    this.readyState = 2
  }

  /** The gateway has accepted it. */
  async open (): Promise<void> {
    this.readyState = 1
    this.onopen!()
    await settled()
  }

  /** The gateway sends signals and bytes. */
  async say (...messages: Array<string | Uint8Array>): Promise<void> {
    for (const m of messages) this.onmessage!({ data: typeof m === 'string' ? m : Uint8Array.from(m).buffer })
    await settled()
  }

  /** It is over: closed by the gateway, or lost. */
  async end (code = 1006, reason = ''): Promise<void> {
    this.readyState = 3
    this.onclose!({ code, reason })
    await settled()
  }

  /** All bytes that the client sent. */
  get bytes (): Uint8Array { return Uint8Array.from(this.sent.flatMap(m => typeof m === 'string' ? [] : [...m])) }

  /** All signals that the client sent. */
  get signals (): string[] { return this.sent.filter(m => typeof m === 'string') }
}

/** Has the client make fake WebSockets, and returns those that it makes from now on. */
export function fakeSockets (): FakeSocket[] {
  FakeSocket.all.length = 0
  Object.assign(globalThis, { WebSocket: FakeSocket })
  return FakeSocket.all
}
