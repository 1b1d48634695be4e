import { Code } from '../src/codes.js'
import { SwarmError } from '../src/errors.js'
import * as frames from '../src/frames.js'
import type { Message } from '../src/frames.js'
import { hostMessages } from './hosts.js'

/** Any message, with its name in docs/PROTOCOL.md. */
export type Named = Message<any> & { name: string }

/** HELLO as a gateway reads it: what no client says is refused. */
export const hello: Message<any> = {
  ...frames.Hello,
  parse (payload) {
    const m = frames.Hello.parse(payload)
    if (m.version === 0) throw new SwarmError(Code.VERSION, 'HELLO: version: there is no version 0')
    if (m.credit < 4096) throw new SwarmError(Code.PROTOCOL, 'HELLO: credit: below 4096')
    return m
  }
}

/** All messages of the protocol. */
export const messages: Named[] = Object.entries({
  HELLO: hello,
  WELCOME: frames.Welcome,
  JOIN: frames.Join,
  JOINED: frames.Joined,
  LEAVE: frames.Leave,
  LEFT: frames.Left,
  STATUS: frames.Status,
  PEER: frames.Peer,
  ACCEPT: frames.Accept,
  DECLINE: frames.Decline,
  WITHDRAW: frames.Withdraw,
  CREDIT: frames.Credit,
  GOAWAY: frames.Goaway,
  PING: frames.Ping,
  PONG: frames.Pong,
  CONNECT: frames.Connect,
  REFUSED: frames.Refused,
  ...hostMessages
} satisfies Record<string, Message<any>>).map(([name, m]) => ({ ...m, name }))
