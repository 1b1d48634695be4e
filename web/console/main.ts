import { SwarmError, codeName } from 'swarmgate'
import type { Topic } from 'swarmgate'
import { SecretError, keyHex, keyWords } from 'swarmgate/secret'
import { parseGatewayURL } from '../src/url.js'
import type { Download } from './download.js'
import { ending, explain } from './explain.js'
import { count, plain } from './format.js'
import { shortId } from './id.js'
import { readInfo } from './info.js'
import type { Info } from './info.js'
import type { Link } from './link.js'
import { loadName, saveName } from './names.js'
import { Room } from './room.js'
import type { RoomEvents } from './room.js'
import { Session } from './session.js'
import type { Phase } from './session.js'
import { fragmentOf, isGatewayURL, newRoom, placeOf } from './share.js'
import type { Place } from './share.js'
import { removeLeftovers } from './store.js'
import { $, listed, setText } from './view/dom.js'
import { acceptDrops, growWithText } from './view/input.js'
import { PeersView, totals } from './view/peers.js'
import { showPhase } from './view/phase.js'
import { ShareView } from './view/share.js'
import { showSnippet } from './view/snippet.js'
import { Timeline } from './view/timeline.js'
import type { Author } from './view/timeline.js'
import { DownloadView, UploadView } from './view/transfer.js'
import { WhyView } from './view/why.js'

const TICK = 500 // ms

/** The page. */
class Console implements RoomEvents {
  readonly #session: Session
  readonly #timeline = new Timeline()
  readonly #why = new WhyView()
  readonly #peers = new PeersView(link => this.#room.nameOf(link))
  readonly #quiet: boolean
  readonly #echo: boolean
  #name = loadName()
  #room: Room
  #rooms = 0
  #place: Place
  #on = false // the place, or on the way to it
  #topic: Topic | undefined
  #joinedAt = 0
  #leave = new AbortController()
  #left = Promise.resolve() // when all topics but the current one are left
  #before = { received: 0, sent: 0 } // bytes of circuits that have ended
  #info: Info | undefined
  #gateway: 'new' | 'there' | 'lost' = 'new' // as it was told

  /**
   * It joins nothing yet. `quiet` is that of `Link.run`; `echo` says that native peers are there to
   * be sent a line.
   */
  constructor (place: Place, { quiet, echo }: { quiet: boolean, echo: boolean }) {
    this.#place = place
    this.#quiet = quiet
    this.#echo = echo
    this.#room = new Room(this, this.#name, quiet)
    this.#session = new Session(location.origin, { phase: phase => this.#phase(phase) })
    this.#session.start()
    $<HTMLInputElement>('name').value = this.#name
    setInterval(() => this.tick(), TICK)
    readInfo().then(info => {
      this.#info = info
      showSnippet(location.origin, this.#place, info)
    }, () => showSnippet(location.origin, this.#place, undefined))
  }

  /** Where the page is, or was last. */
  get place (): Place { return this.#place }

  /** Whether the fields have the place that the page is at. */
  get here (): boolean {
    return this.#on && $<HTMLInputElement>('topic').value === this.#place.text && $<HTMLSelectElement>('kind').value === this.#place.kind
  }

  /** Leaves the place and joins this one, or the same anew. */
  async join (place: Place): Promise<void> {
    const mine = this.#depart()
    const room = this.#room
    const { signal } = this.#leave
    this.#on = true
    this.#place = place
    $<HTMLSelectElement>('kind').value = place.kind
    $<HTMLInputElement>('topic').value = place.text
    showPlace(place)
    this.edited()
    showSnippet(location.origin, place, this.#info)
    this.tick()
    await this.#left
    if (mine !== this.#rooms) return
    try {
      const { topic, peers, key } = await this.#session.join(place, {
        signal,
        refused: peer => this.#timeline.crowd(shortId(peer), 'does not know the secret of this room, and was refused', 'do not know the secret of this room, and were refused')
      })
      if (mine !== this.#rooms) return
      this.#topic = topic
      this.#joinedAt = Date.now()
      topic.addEventListener('status', () => this.tick())
      setText($('topic-key'), topic.hex)
      setText($('my-key'), key ? `Your key: ${keyWords(key)} (${keyHex(key)})` : '')
      this.edited()
      this.#timeline.note(['You joined ', ...nameOf(place), '.'])
      for await (const peer of peers) room.add(peer)
    } catch (e) {
      if (mine !== this.#rooms || this.#session.phase.name === 'closed') return
      const why = e instanceof SecretError ? e.message : e instanceof SwarmError ? `${codeName(e.code)}${e.reason && `: ${plain(e.reason)}`}` : String(e)
      this.#timeline.note([...nameOf(place), ` could not be joined, or was taken away: ${why}.`], 'bad')
      this.#on = false
      this.edited()
      this.tick()
    }
  }

  /** Leaves the topic. */
  leave (): void {
    this.#depart()
    this.#on = false
    this.edited()
    this.tick()
    this.#timeline.note(['You left ', ...nameOf(this.#place), '.'])
  }

  /** Tells that a place was given together with a gateway, if that is another one. */
  elsewhere (url: string): void {
    const gateway = this.#info?.webtransport
    if (gateway === undefined || new URL(gateway).host === new URL(url).host) return
    this.warn(`The string is of the gateway ${new URL(url).host}. This page stays at its own, where it finds others only if the two gateways find each other.`)
  }

  /** Says something that nobody else hears. */
  warn (text: string): void { this.#timeline.note(plain(text), 'warn') }

  /** Begins to leave the topic, and returns the number of the room that is empty now. */
  #depart (): number {
    const room = this.#room
    const leave = this.#leave
    this.#room = new Room(this, this.#name, this.#quiet)
    this.#leave = new AbortController()
    this.#peers.clear()
    this.#topic = undefined
    this.#before = { received: 0, sent: 0 }
    this.#joinedAt = Date.now()
    setText($('topic-key'), '')
    setText($('my-key'), '')
    this.#left = this.#left.then(() => room.close()).then(() => leave.abort())
    return ++this.#rooms
  }

  /** The connection with the gateway has changed. */
  #phase (phase: Phase): void {
    if (phase.name === 'connected' && this.#gateway === 'lost') this.#timeline.note('Connected with the gateway again.')
    if (phase.name === 'waiting' && this.#gateway === 'there') this.#timeline.note('The connection with the gateway was lost.', 'warn')
    if (phase.name === 'connected') {
      this.#gateway = 'there'
      this.#joinedAt = Date.now() // the gateway looks anew
    } else if (this.#gateway === 'there' && phase.name !== 'connecting') this.#gateway = 'lost'
    this.tick()
  }

  /** Says something to all consoles. */
  async say (text: string): Promise<void> {
    this.#timeline.say(this.#me(), text)
    if (this.#room.consoles.length === 0) return void this.#timeline.note('Nobody heard it: no console is here.', 'warn')
    const missed = await this.#room.say(text)
    if (missed.length > 0) this.#timeline.note(['It did not reach ', ...listed(missed.map(l => this.#room.nameOf(l))), '.'], 'warn')
  }

  /** Offers files to all consoles. */
  share (files: Iterable<File>): void {
    for (const file of files) {
      if (this.#room.consoles.length === 0) return void this.#timeline.note('Nobody is here to send a file to: no console is on this topic.', 'warn')
      const room = this.#room
      this.#timeline.file(this.#me(), new UploadView(file, room.share(file), u => room.nameOf(u.link)))
    }
  }

  /** The fields of the place have changed. */
  edited (): void {
    const { here } = this
    setText($('join-button'), here ? 'Leave' : 'Join')
    $('join-button').classList.toggle('primary', !here) // there is nothing that has to be done
  }

  /** Takes another name. */
  rename (name: string): void {
    this.#name = plain(name) || loadName()
    $<HTMLInputElement>('name').value = this.#name
    saveName(this.#name)
    this.#room.rename(this.#name)
  }

  /** Whether to leave the page would end files on their way. */
  get busy (): boolean { return this.#room.busy }

  came (link: Link): void {
    this.#peers.add(link)
    setText($('peer-news'), `${this.#room.nameOf(link)} is here, ${count(this.#room.links.size, 'peer')} now.`)
    this.tick()
  }

  greeted (link: Link): void { this.#timeline.crowd(this.#room.nameOf(link), 'is here', 'are here') }

  changed (link: Link): void {
    this.#peers.update(link)
    if (link.kind === 'raw' && this.#echo && link.sent.total === 0 && !link.ended) {
      void this.#peers.raw(link)?.send('Hello from the console. Do you echo?')
    }
    this.tick()
  }

  left (link: Link): void {
    this.#before.received += link.received.total
    this.#before.sent += link.sent.total
    const name = this.#room.nameOf(link)
    const why = link.error === undefined ? '' : `: ${ending(link.error)}`
    const news = `${name} is gone${why}.`
    this.#peers.remove(link, news)
    if (link.kind === 'console') this.#timeline.crowd(name, `is gone${why}`, `are gone${why}`)
    else setText($('peer-news'), news)
    this.tick()
  }

  bytes (link: Link, b: Uint8Array): void { this.#peers.raw(link)?.bytes(b) }

  text (link: Link, text: string): void { this.#timeline.say(this.#author(link), text) }

  flooded (link: Link): void {
    this.#timeline.note([...listed([this.#room.nameOf(link)]), ' says more than can be shown: some of it is left out.'], 'warn')
  }

  offered (download: Download): void { this.#timeline.file(this.#author(download.link), new DownloadView(download)) }

  /** Shows what has changed. */
  tick (): void {
    const now = performance.now()
    const { links, consoles } = this.#room
    for (const l of links) {
      l.received.sample(now)
      l.sent.sample(now)
    }
    this.#peers.tick()
    this.#timeline.tick()
    setText($('totals'), totals(links, this.#before))
    const { phase } = this.#session
    setText($('audience'), phase.name !== 'connected' ? 'Nobody hears you now: there is no connection with the gateway.' : !this.#on
      ? 'Nobody hears you: join a topic first.'
      : consoles.length > 0
      ? `${count(consoles.length, 'console')} will hear you. Files can be of any size; drop them anywhere.`
      : 'Nobody to hear you yet: share the address of this page, or open it in another tab.')
    setText($('drop-text'), consoles.length > 0 ? `Drop to offer to ${count(consoles.length, 'console')}` : 'No console is here to offer files to')
    showPhase(phase, () => this.#session.retry(), token => {
      this.#session.enter(token)
      void this.join(this.#place)
    })
    this.#why.show(this.#findings(), links.size)
  }

  #findings () {
    const { phase } = this.#session
    if (phase.name !== 'connected') {
      return [{
        tone: phase.name === 'connecting' ? 'wait' as const : 'bad' as const,
        title: 'No connection with the gateway',
        text: 'Peers are found by the gateway, and this page is not connected with it now: see above.'
      }]
    }
    if (!this.#on) return [{ tone: 'warn' as const, title: 'You are on no topic', text: 'Join one, and the gateway looks for others who are on it.' }]
    return explain({ status: this.#topic?.status, peers: this.#room.links.size, joined: (Date.now() - this.#joinedAt) / 1000 })
  }

  #me (): Author { return { name: this.#name, id: this.#name, mine: true } }

  #author (link: Link): Author { return { name: this.#room.nameOf(link), id: link.peer.id, mine: false } }
}

/** Returns what to call a place in a sentence. A secret is not said. */
function nameOf ({ kind, text }: Place) {
  return kind === 'secret' ? ['the secret room'] : ['the public topic “', ...listed([plain(text)]), '”']
}

/** Says what kind of a place the page is at. */
function showPlace ({ kind }: Place): void {
  $('privacy').dataset['kind'] = kind
  setText($('privacy-kind'), kind === 'secret' ? 'Secret room' : 'Public topic')
  setText($('privacy-text'), kind === 'secret'
    ? 'Sealed from end to end: the gateway does not see what is said.'
    : 'The gateway sees what is said, and whoever knows the name can join.')
}

/** Connects the page's controls. */
function start (): void {
  const query = new URLSearchParams(location.search)
  // Who is there to be sent a line is a program that knows no secret.
  const first = placeOf(location.hash) ?? (query.has('echo') ? { kind: 'topic' as const, text: 'demo' } : newRoom())
  const page = new Console(first, { quiet: query.has('quiet'), echo: query.has('echo') })
  /**
   * Joins a place, which the page's address then names as well: in its fragment, which no server
   * sees.
   */
  const go = (place: Place) => {
    history.replaceState(null, '', fragmentOf(place))
    void page.join(place)
  }
  go(first)
  addEventListener('hashchange', () => {
    const place = placeOf(location.hash)
    if (place && fragmentOf(place) !== fragmentOf(page.place)) go(place)
  })
  new ShareView(() => page.place, () => go(newRoom()))
  const kind = $<HTMLSelectElement>('kind')
  $('skip').addEventListener('click', () => $('text').focus())

  $('join-button').addEventListener('click', event => {
    if (!page.here) return
    event.preventDefault()
    page.leave()
  })
  $('join').addEventListener('submit', event => {
    event.preventDefault()
    const text = $<HTMLInputElement>('topic').value
    if (!isGatewayURL(text)) return go({ kind: kind.value as Place['kind'], text })
    try {
      const { url, topic, secret } = parseGatewayURL(text)
      if (topic === '' && secret === undefined) return page.warn('This swarmgate:// address names a gateway, but no room or topic. Copy one that does, or enter the name of a topic.')
      page.elsewhere(url)
      go(secret === undefined ? { kind: 'topic', text: topic } : { kind: 'secret', text: secret })
    } catch {
      page.warn('This swarmgate:// address cannot be read. Copy all of it, from swarmgate:// to its end, and paste it again.')
    }
  })
  $('topic').addEventListener('input', () => page.edited())
  kind.addEventListener('change', () => {
    // What was a secret must not be told the gateway as a topic, and what was a topic is no secret.
    const { place } = page
    const field = $<HTMLInputElement>('topic')
    if (kind.value === place.kind) field.value ||= place.text
    else if (field.value === place.text) field.value = kind.value === 'secret' ? newRoom().text : ''
    page.edited()
  })
  const text = $<HTMLTextAreaElement>('text')
  growWithText(text)
  $('say').addEventListener('submit', event => {
    event.preventDefault()
    const said = text.value.trim()
    if (said !== '') void page.say(said)
    text.value = ''
    text.dispatchEvent(new Event('input'))
    text.focus()
  })
  text.addEventListener('keydown', event => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return
    event.preventDefault()
    $<HTMLFormElement>('say').requestSubmit()
  })
  const files = $<HTMLInputElement>('files')
  $('files-button').addEventListener('click', () => files.click())
  files.addEventListener('change', () => {
    page.share([...files.files ?? []])
    files.value = ''
  })
  acceptDrops($('drop'), list => page.share(list))
  removeLeftovers().catch(() => {}) // of pages that were closed; where there is no disk there are none
  addEventListener('beforeunload', event => { if (page.busy) event.preventDefault() })
  $('name').addEventListener('change', () => page.rename($<HTMLInputElement>('name').value))
}

start()
