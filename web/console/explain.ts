import { Code, SwarmError, codeName } from 'swarmgate'
import { SecretError } from 'swarmgate/secret'
import type { NetworkStatus, TopicStatus } from 'swarmgate'
import { count } from './format.js'

/** How a finding feels: fine, be patient, have a look, broken. */
export type Tone = 'good' | 'wait' | 'warn' | 'bad'

/** One sentence of the answer to "why do I find nobody?". */
export interface Finding {
  tone: Tone
  /** What it is about. */
  title: string
  /** What is so. */
  text: string
  /** What can be done, if something can. */
  todo?: string
}

/** What the answer is made from. */
export interface Facts {
  /** What the gateway said last, undefined before it has said anything. */
  status: TopicStatus | undefined
  /** Circuits that are open here. */
  peers: number
  /** Seconds since the topic was joined. */
  joined: number
}

const ANOTHER = 'Open this page once more in another tab or on another computer: clients of one gateway meet at once, unless its operator isolates them.'
const PATIENCE = 20 // seconds in which nothing found means nothing

const titles: Record<string, string> = { client: 'Other clients', dht: 'DHT', lan: 'Local network', static: 'Configured peers', dat: 'Dat network' }

/** Why a dial failed. */
const dialCauses = new Map<number, { text: string, todo: string }>([
  [Code.PEER_UNREACHABLE, {
    text: 'no answer; offline, behind a firewall, or gone without a word, since announcements outlive those who made them',
    todo: 'Nothing to do if it went away. Else open its TCP port; a peer behind a NAT can find the gateway by itself when it announces.'
  }],
  [Code.FORBIDDEN, {
    text: 'at an address that this gateway must not dial (private, loopback or its own), or without a proof that it knows the topic',
    todo: 'On a network of your own the operator can start the gateway with --dial-allow RANGE, or with --allow-private for tests.'
  }],
  [Code.PEER_GONE, { text: 'the connection was lost', todo: 'The gateway tries again by itself.' }],
  [Code.PEER_RESET, { text: 'the connection was refused', todo: 'Does the program on that port run, and is it the right one?' }],
  [Code.PROTOCOL, { text: 'it speaks something else than swarmgate', todo: 'Check what runs at that address, and its version.' }],
  [Code.VERSION, { text: 'it speaks another version', todo: 'Update the older of the two programs.' }],
  [Code.BUSY, { text: 'it has no room now', todo: 'The gateway tries again by itself.' }],
  [Code.CIRCUIT_LIMIT, { text: 'it has as many connections as it takes', todo: 'It goes on when one of them ends.' }],
  [Code.RATE_LIMITED, { text: 'it was asked too often', todo: 'The gateway tries again by itself, less often.' }],
  [Code.LEFT, { text: 'it has left the topic', todo: 'Nothing to do.' }],
  [Code.DECLINED, { text: 'it did not want the connection', todo: 'It is not asked again until one of the two joins anew.' }],
  [Code.SHUTDOWN, { text: 'it was going away', todo: 'The gateway tries again by itself.' }]
])

/** Says for people why a circuit ended. */
export function ending (error: unknown): string {
  if (error instanceof SecretError) return error.message
  if (!(error instanceof SwarmError)) return String(error)
  const words = endings.get(error.code)
  return words !== undefined ? `${words} (${codeName(error.code)})` : codeName(error.code)
}

const endings = new Map<number, string>([
  [Code.NONE, 'ended here'],
  [Code.PEER_GONE, 'it was closed, or the connection was lost'],
  [Code.PEER_RESET, 'it ended the connection'],
  [Code.DECLINED, 'it wants no connection'],
  [Code.LEFT, 'it left the topic'],
  [Code.SHUTDOWN, 'its program or the gateway was ended'],
  [Code.STALLED, 'not read for too long'],
  [Code.REPLACED, 'a newer connection took its place']
])

/** Answers "why do I find nobody?", the most important first. */
export function explain ({ status, peers, joined }: Facts): Finding[] {
  if (!status) return [{ tone: 'wait', title: 'Joined', text: 'The gateway has not said anything about the topic yet.' }]
  return [summary(status, peers, joined), ...status.networks.map(n => network(n, joined))]
}

function summary (s: TopicStatus, peers: number, joined: number): Finding {
  const known = `${s.more ? 'at least ' : ''}${count(s.known, 'other')}`
  if (peers > 0) {
    const rest = s.known > peers
      ? ` The gateway knows of ${known} on the topic; not everybody is connected with everybody.`
      : ''
    return { tone: 'good', title: 'You are connected', text: `${count(peers, 'peer')} ${peers === 1 ? 'is' : 'are'} here.${rest}` }
  }
  if (s.networks.some(n => n.connecting > 0)) {
    return { tone: 'wait', title: 'Almost there', text: 'The gateway has found somebody and is connecting.' }
  }
  const below = s.networks.length > 0 ? ': see below' : ''
  const refused = s.networks.reduce((n, { refused }) => n + refused, 0)
  if (s.known > 0 && refused >= s.known) {
    return { tone: 'bad', title: 'Somebody is known, nobody can be reached', text: `The gateway knows of ${known} on this topic, and reached none${below}.` }
  }
  if (s.known > 0) {
    return {
      tone: 'warn',
      title: 'Somebody is known, nobody is connected',
      text: `The gateway knows of ${known} on this topic, and none is connected with you now${below}.`,
      todo: 'A circuit that was ended on purpose is not made again: leave and join again to get it back.'
    }
  }
  if (s.networks.every(n => n.name === 'client')) {
    return {
      tone: 'warn',
      title: 'No other client of this gateway is on this topic',
      text: 'This gateway looks on no network: it connects its own clients only. A name has to be the same to the letter: “Demo” and “demo” are two topics.',
      todo: `${ANOTHER} The operator can give it a network with --dht, --lan or --static.`
    }
  }
  if (joined < PATIENCE) {
    return { tone: 'wait', title: 'Still looking', text: 'Nobody was found yet. The first look takes a few seconds, on a public DHT up to a minute.' }
  }
  return {
    tone: 'warn',
    title: 'Nobody else is on this topic',
    text: 'The gateway looked and found nobody. A name has to be the same to the letter: “Demo” and “demo” are two topics.',
    todo: ANOTHER
  }
}

/** What the gateway says of a network goes before what this page makes of its code. */
function network (n: NetworkStatus, joined: number): Finding {
  const f = judge(n, joined)
  return n.reason === '' ? f : { ...f, tone: f.tone === 'good' && n.refused === 0 ? 'warn' : f.tone, todo: `The gateway says: ${n.reason}.` }
}

function judge (n: NetworkStatus, joined: number): Finding {
  const title = titles[n.name] ?? n.name
  const found = n.found > 0 ? counts(n) : ''
  if (n.name === 'client') {
    return { tone: 'warn', title, text: n.state === 'ended' ? 'Clients of this gateway are kept apart.' : 'There is no circuit with another client of this gateway.' }
  }
  if (n.found > 0 && n.found === n.refused) return refused(n, title)
  switch (n.state) {
    case 'starting':
      return {
        tone: 'wait',
        title,
        text: `Starting: it has not answered yet.${found}`,
        ...(joined > PATIENCE && { todo: 'If it stays so, the gateway reaches no other host of this network: the operator can look at its log and /api/topics.' })
      }
    case 'queued': return { tone: 'wait', title, text: `It works, and has much to look for: this topic waits for its turn.${found}` }
    case 'failing': return failing(n, title, found)
    case 'ended': return { tone: 'bad', title, text: `It gave up (${codeName(n.code)}).${found}`, todo: 'Join again. If that does not help, the gateway has to be started again.' }
    case 'searching': return {
      tone: n.found > n.refused ? 'good' : 'wait',
      title,
      text: n.found > 0 ? `It works.${found}` : 'It works, and has found nobody so far. It looks again from time to time.',
      ...(n.refused > 0 && { todo: cause(n) })
    }
    case 'unknown': return { tone: 'wait', title, text: `Its state is one that this page does not know.${found}` }
  }
}

/** The network itself does not work. */
function failing (n: NetworkStatus, title: string, found: string): Finding {
  const text = `Its last attempt failed (${codeName(n.code)}); it goes on trying.${found}`
  if (n.name === 'dht' && n.code === Code.PEER_UNREACHABLE) {
    return {
      tone: 'bad',
      title,
      text: `No other host of the DHT could be reached (${codeName(n.code)}); it goes on trying.${found}`,
      todo: 'A private DHT needs a seed that runs (--dht-seed). For the public one the gateway needs TCP to the internet. Peers that have this gateway as their seed end it, too.'
    }
  }
  if (n.name === 'lan') {
    return {
      tone: 'bad',
      title,
      text,
      todo: 'Multicast may be blocked, or no interface is on a LAN: the operator can name it with --lan-interface. Containers and most clouds have no multicast.'
    }
  }
  return { tone: 'bad', title, text, todo: 'The operator sees the reason in the gateway’s log and at /api/topics.' }
}

/** All that the network has found could not be dialed. */
function refused (n: NetworkStatus, title: string): Finding {
  const who = n.found === 1 ? 'The one peer that it found' : `All ${n.found} peers that it found`
  const c = dialCauses.get(n.code)
  return {
    tone: 'bad',
    title,
    text: `${who} could not be reached. Last cause: ${c ? `${c.text} (${codeName(n.code)})` : codeName(n.code)}.`,
    todo: c?.todo ?? 'The operator sees the reason of each at /api/topics.'
  }
}

function cause (n: NetworkStatus): string {
  const c = dialCauses.get(n.code)
  return c ? `Why the last one was not reached: ${c.text} (${codeName(n.code)}). ${c.todo}` : `Last failure: ${codeName(n.code)}.`
}

function counts (n: NetworkStatus): string {
  const parts = [`${n.found} found`]
  if (n.connecting > 0) parts.push(`${n.connecting} connecting`)
  if (n.refused > 0) parts.push(`${n.refused} not reached`)
  return ` ${parts.join(', ')}.`
}
