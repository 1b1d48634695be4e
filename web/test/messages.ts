import { Code } from '../src/codes.js'
import { SwarmError } from '../src/errors.js'
import * as frames from '../src/frames.js'
import type { Message } from '../src/frames.js'
import { hostMessages } from './hosts.js'

/** Any message. */
export type Named = Message<any>

/** HELLO as a gateway reads it: what no client says is refused. */
export const hello: Named = {
  ...frames.Hello,
  parse (payload) {
    const m = frames.Hello.parse(payload)
    if (m.version === 0) throw new SwarmError(Code.VERSION, 'HELLO: version: 0 is none')
    if (m.credit < 4096) throw new SwarmError(Code.PROTOCOL, 'HELLO: credit: below 4096')
    return m
  }
}

/** All messages of the protocol. */
export const messages: Named[] = [
  hello, frames.Welcome, frames.Join, frames.Joined, frames.Leave, frames.Left, frames.Status, frames.Peer, frames.Accept, frames.Decline,
  frames.Withdraw, frames.Credit, frames.Goaway, frames.Ping, frames.Pong, frames.Connect, frames.Refused, ...hostMessages
]
