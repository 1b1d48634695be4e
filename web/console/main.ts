import { SwarmError, codeName } from 'swarmgate'
import type { Topic } from 'swarmgate'
import { parseGatewayURL } from '../src/url.js'
import type { Download } from './download.js'
import { ending, explain } from './explain.js'
import { count, plain } from './format.js'
import { readInfo } from './info.js'
import type { Info } from './info.js'
import type { Link } from './link.js'
import { loadName, saveName } from './names.js'
import { Room } from './room.js'
import type { RoomEvents } from './room.js'
import { Session } from './session.js'
import type { Phase } from './session.js'
import { fragmentOf, isGatewayURL, privateTopic, topicOf } from './share.js'
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
  #text = '' // of the topic, as somebody wrote it
  #on = false // the topic, or on the way to it
  #topic: Topic | undefined
  #joinedAt = 0
  #leave = new AbortController()
  #left = Promise.resolve() // when all topics but the current one are left
  #before = { received: 0, sent: 0 } // bytes of circuits that have ended
  #info: Info | undefined
  #gateway: 'new' | 'there' | 'lost' = 'new' // as it was told

  /** `quiet` is that of `Link.run`; `echo` says that native peers are there to be sent a line. */
  constructor ({ quiet, echo }: { quiet: boolean, echo: boolean }) {
    this.#quiet = quiet
    this.#echo = echo
    this.#room = new Room(this, this.#name, quiet)
    this.#session = new Session(location.origin, { phase: phase => this.#phase(phase) })
    this.#session.start()
    $<HTMLInputElement>('name').value = this.#name
    setInterval(() => this.tick(), TICK)
    readInfo().then(info => {
      this.#info = info
      showSnippet(location.origin, this.#text, info)
    }, () => showSnippet(location.origin, this.#text, undefined))
  }

  /** The topic that the page is on, or was on last, as somebody wrote it. */
  get topic (): string { return this.#text }

  /** Whether the topic's field has the topic that the page is on. */
  get here (): boolean { return this.#on && $<HTMLInputElement>('topic').value === this.#text }

  /** Leaves the topic and joins this one, or the same anew. */
  async join (text: string): Promise<void> {
    const mine = this.#depart()
    const room = this.#room
    const { signal } = this.#leave
    this.#on = true
    this.#text = text
    $<HTMLInputElement>('topic').value = text
    this.edited()
    showSnippet(location.origin, text, this.#info)
    this.tick()
    await this.#left
    if (mine !== this.#rooms) return
    try {
      const topic = await this.#session.join(text, signal)
      if (mine !== this.#rooms) return
      this.#topic = topic
      this.#joinedAt = Date.now()
      topic.addEventListener('status', () => this.tick())
      setText($('topic-key'), topic.hex)
      this.edited()
      this.#timeline.note(['You joined “', ...listed([plain(text)]), '”.'])
      for await (const peer of topic) room.add(peer)
    } catch (e) {
      if (mine !== this.#rooms || this.#session.phase.name === 'closed') return
      const why = e instanceof SwarmError ? `${codeName(e.code)}${e.reason && `: ${plain(e.reason)}`}` : String(e)
      this.#timeline.note(['“', ...listed([plain(text)]), `” could not be joined, or was taken away: ${why}.`], 'bad')
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
    this.#timeline.note(['You left “', ...listed([plain(this.#text)]), '”.'])
  }

  /** Tells that a topic was given together with a gateway, if that is another one. */
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

  /** The topic's field has changed. */
  edited (): void {
    const { here } = this
    setText($('join-button'), here ? 'Leave' : 'Join')
    $('join-button').classList.toggle('primary', !here) // there is nothing that has to be done
    $<HTMLButtonElement>('share-button').disabled = this.#text === ''
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
      : 'Nobody to hear you yet: open this page in another tab or on another computer.')
    setText($('drop-text'), consoles.length > 0 ? `Drop to offer to ${count(consoles.length, 'console')}` : 'No console is here to offer files to')
    showPhase(phase, () => this.#session.retry(), token => {
      this.#session.enter(token)
      void this.join(this.#text)
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

/** Connects the page's controls. */
function start (): void {
  const query = new URLSearchParams(location.search)
  const page = new Console({ quiet: query.has('quiet'), echo: query.has('echo') })
  /**
   * Joins a topic, which the page's address then names as well: in its fragment, which no server
   * sees.
   */
  const go = (topic: string) => {
    history.replaceState(null, '', fragmentOf(topic))
    void page.join(topic)
  }
  go(topicOf(location.hash) || 'demo')
  addEventListener('hashchange', () => {
    const topic = topicOf(location.hash)
    if (topic !== '' && topic !== page.topic) go(topic)
  })
  new ShareView(() => page.topic, () => go(privateTopic()))
  $('skip').addEventListener('click', () => $('text').focus())

  $('join-button').addEventListener('click', event => {
    if (!page.here) return
    event.preventDefault()
    page.leave()
  })
  $('join').addEventListener('submit', event => {
    event.preventDefault()
    const text = $<HTMLInputElement>('topic').value
    if (!isGatewayURL(text)) return go(text)
    try {
      const { url, topic } = parseGatewayURL(text)
      if (topic === '') return page.warn('This string names a gateway and no topic.')
      page.elsewhere(url)
      go(topic)
    } catch {
      page.warn('This is no swarmgate:// string that can be read: is all of it there?')
    }
  })
  $('topic').addEventListener('input', () => page.edited())
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
