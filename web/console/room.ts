import { Code, SwarmError } from 'swarmgate'
import { Bucket } from './bucket.js'
import { Download } from './download.js'
import type { Offer } from './download.js'
import { plain } from './format.js'
import type { Message } from './messages.js'
import { endpoint, shortId } from './id.js'
import { Link } from './link.js'
import type { Circuit, LinkEvents } from './link.js'
import { Upload } from './upload.js'

const MAX_NAME = 40 // characters
const PATIENCE = 500 // ms for what was written, and the peers' own ends, when circuits are ended
const MAX_OFFERS = 32 // files of one peer that are offered or on their way
const MAX_AWAY = 64 // files that nobody has accepted, of consoles whose circuit was lost
const MAX_REMEMBERED = 256 // files that are over and may be asked for again
const NEWS = { rate: 20, burst: 100 } // texts, names and offers of one peer, a second and at once

/** What a room tells. */
export interface RoomEvents {
  /** Somebody is there. */
  came: (link: Link) => void
  /** A console has told its name for the first time. */
  greeted: (link: Link) => void
  /** What is known of somebody has changed: what it is, its name, its end. */
  changed: (link: Link) => void
  /** Somebody is gone. */
  left: (link: Link) => void
  /** A peer that is no console has sent bytes. */
  bytes: (link: Link, b: Uint8Array) => void
  /** A console has said something. */
  text: (link: Link, text: string) => void
  /**
   * A console says too much: the rest of it is not told for a while. It is told once for each
   * peer.
   */
  flooded: (link: Link) => void
  /** A console offers a file. */
  offered: (download: Download) => void
}

/** The peers of one topic, and what is said and sent between its consoles. */
export class Room implements LinkEvents {
  readonly links = new Set<Link>()
  readonly uploads = new Set<Upload>()
  readonly downloads = new Set<Download>()
  readonly #events: RoomEvents
  readonly #quiet: boolean
  readonly #names = new WeakMap<Link, string>()
  readonly #greeted = new WeakSet<Link>()
  readonly #buckets = new WeakMap<Link, Bucket>()
  readonly #flooded = new WeakSet<Link>()
  #me: string
  #lastFile = 0
  #closed = false

  /** `me` is the name that others see. `quiet` is that of `Link.run`. */
  constructor (events: RoomEvents, me: string, quiet: boolean) {
    this.#events = events
    this.#me = me
    this.#quiet = quiet
  }

  /** Those who speak as we do. */
  get consoles (): Link[] { return [...this.links].filter(l => l.kind === 'console' && !l.ended) }

  /** Returns what to call a peer. It may be what the peer says of itself. */
  nameOf (link: Link): string { return this.#names.get(link) ?? shortId(link.peer) }

  /** Takes a circuit in. */
  add (peer: Circuit): void {
    if (this.#closed) return peer.abort(Code.LEFT)
    const link = new Link(peer, this)
    this.links.add(link)
    this.#events.came(link)
    void link.run(this.#quiet)
  }

  /** Whether files are on their way. */
  get busy (): boolean { return [...this.uploads, ...this.downloads].some(t => t.state === 'moving') }

  /** Tells all consoles a new name. */
  rename (me: string): void {
    this.#me = me
    for (const l of this.consoles) void l.say({ type: 'name', name: me })
  }

  /** Says something to all consoles, and returns those that it did not reach. */
  async say (text: string): Promise<Link[]> {
    const all = this.consoles
    const reached = await Promise.all(all.map(l => l.say({ type: 'text', text })))
    return all.filter((_, i) => !reached[i])
  }

  /** Offers a file to all consoles. */
  share (file: File): Upload[] {
    const id = ++this.#lastFile
    this.#sweep()
    return this.consoles.map(link => {
      const u = new Upload(link, id, file)
      this.uploads.add(u)
      void u.offer()
      return u
    })
  }

  /**
   * Ends all circuits. Nothing is told after it. It resolves when they have ended: a circuit that
   * ends after its topic was joined anew is not made again.
   */
  async close (): Promise<void> {
    this.#closed = true
    const links = [...this.links]
    for (const l of links) {
      this.#lose(l, 'the topic was left')
      l.close()
    }
    const all = Promise.allSettled(links.map(l => l.peer.closed))
    await Promise.race([all, new Promise(resolve => setTimeout(resolve, PATIENCE))])
    for (const l of links) l.peer.abort(Code.LEFT)
    await all
  }

  kind (link: Link): void {
    if (this.#closed) return
    if (link.kind === 'console') {
      void link.say({ type: 'name', name: this.#me })
      this.#askAgain(link)
    } else this.#lose(link, 'the peer does not speak as a console does')
    this.#events.changed(link)
  }

  bytes (link: Link, b: Uint8Array): void { if (!this.#closed) this.#events.bytes(link, b) }

  eof (link: Link): void {
    if (this.#closed) return
    if (link.kind === 'console') link.close()
    this.#events.changed(link)
  }

  ended (link: Link): void {
    this.links.delete(link)
    if (this.#closed) return
    if (isForGood(link.error)) this.#lose(link, 'the connection ended')
    else this.#part(link)
    this.#events.left(link)
  }

  message (link: Link, m: Message): void {
    if (this.#closed) return
    if ((m.type === 'name' || m.type === 'text' || m.type === 'file') && !this.#mayTell(link)) {
      if (m.type === 'file') void link.say({ type: 'refuse', id: m.id, reason: 'too many at once' })
      return
    }
    switch (m.type) {
      case 'name': return this.#named(link, plain(m.name).slice(0, MAX_NAME))
      case 'text': return this.#events.text(link, m.text)
      case 'file': return this.#offered(link, m)
      case 'data': return this.#download(link, m.id)?.push(m.bytes as Uint8Array<ArrayBuffer>)
      case 'cancel': return this.#download(link, m.id)?.lose(plain(m.reason))
      case 'grant': return this.#upload(link, m.id)?.grant(m.offset)
      case 'saved': return this.#upload(link, m.id)?.saved()
      case 'refuse': return (this.#upload(link, m.id) ?? this.#unaccepted(link, m.id))?.refuse(plain(m.reason))
      case 'again': return this.#asked(link, m.id, m.ask)
      case 'from': return this.#answered(link, m.id, m.answer)?.resume(link, m.offset)
    }
  }

  /** Reports whether somebody may be told of by one more. */
  #mayTell (link: Link): boolean {
    const now = performance.now()
    const bucket = this.#buckets.get(link) ?? new Bucket(NEWS.rate, NEWS.burst, now)
    this.#buckets.set(link, bucket)
    if (bucket.take(now)) return true
    if (!this.#flooded.has(link)) this.#events.flooded(link)
    this.#flooded.add(link)
    return false
  }

  #upload (link: Link, id: number): Upload | undefined {
    return [...this.uploads].find(u => u.link === link && u.id === id && !u.over && !u.away)
  }

  /**
   * Returns a file that was offered to who is met again, and never taken: where its offer was
   * lost, nobody can show a secret.
   */
  #unaccepted (link: Link, id: number): Upload | undefined {
    return [...this.uploads].find(u => u.away && u.endpoint === endpoint(link.peer) && u.id === id && u.state === 'offered')
  }

  #download (link: Link, id: number): Download | undefined {
    return [...this.downloads].find(d => d.link === link && d.id === id && !d.over)
  }

  /**
   * Asks a console how far the files came that were on their way to it when its circuit was lost.
   */
  #askAgain (link: Link): void {
    for (const u of this.uploads) if (u.away && u.endpoint === endpoint(link.peer)) void link.say({ type: 'again', id: u.id, ask: u.ask })
  }

  /** A console asks how far a file of it came. */
  #asked (link: Link, id: number, ask: string): void {
    const d = [...this.downloads].find(d => d.endpoint === endpoint(link.peer) && d.id === id && d.ask === ask)
    if (d) d.resume(link)
    else void link.say({ type: 'refuse', id, reason: 'not known any more' })
  }

  /** Returns the file whose secret a console has shown. */
  #answered (link: Link, id: number, answer: string): Upload | undefined {
    return [...this.uploads].find(u => u.away && u.endpoint === endpoint(link.peer) && u.id === id && u.answer === answer)
  }

  #named (link: Link, name: string): void {
    const first = !this.#greeted.has(link)
    this.#greeted.add(link)
    if (name) this.#names.set(link, name)
    else this.#names.delete(link)
    this.#events.changed(link)
    if (first) this.#events.greeted(link)
  }

  #offered (link: Link, offer: Offer): void {
    const d = new Download(link, offer, plain(offer.name))
    const open = [...this.downloads].filter(o => o.endpoint === d.endpoint && !o.over)
    if (open.length >= MAX_OFFERS || open.some(o => o.id === d.id)) return d.refuse('too many files at once')
    this.downloads.add(d)
    this.#sweep()
    this.#events.offered(d)
  }

  /** Ends what is on its way from and to a peer. */
  #lose (link: Link, why: string): void {
    for (const t of [...this.uploads, ...this.downloads]) if (t.link === link) t.lose(why)
    this.#sweep()
  }

  /**
   * Keeps what is on its way from and to a peer until it is met again, which it may have been
   * already.
   */
  #part (link: Link): void {
    for (const t of [...this.uploads, ...this.downloads]) if (t.link === link) t.part()
    const waiting = [...this.downloads].filter(d => d.away && d.state === 'offered')
    for (const d of waiting.slice(0, -MAX_AWAY)) d.lose('the connection ended')
    this.#sweep()
    for (const l of this.consoles) if (endpoint(l.peer) === endpoint(link.peer)) this.#askAgain(l)
  }

  /** Forgets what is over, but for what the other end may not know of. */
  #sweep (): void {
    for (const u of this.uploads) if (u.over && !u.away) this.uploads.delete(u)
    for (const all of [this.uploads, this.downloads] as Array<Set<Upload | Download>>) {
      const over = [...all].filter(t => t.over)
      for (const t of over.slice(0, -MAX_REMEMBERED)) all.delete(t)
    }
  }
}

/**
 * Reports whether a circuit was ended by one of its ends, so that the two do not meet again
 * without a new join.
 */
function isForGood (error: unknown): boolean {
  if (error === undefined) return true
  const ends: number[] = [Code.NONE, Code.PEER_RESET, Code.LEFT, Code.DECLINED]
  return error instanceof SwarmError && (ends.includes(error.code) || error.code >= Code.APPLICATION)
}
