// What hosts say to each other and compute (docs/PROTOCOL.md, 10 to 12): not for clients, but the
// codec has to do for it.
import { code, fixed, list, number, putVarint } from '../src/fields.js'
import { message } from '../src/frames.js'
import { concat } from './bytes.js'

const endpoints = list(64, 16, fixed(16))

export const hostMessages = {
  MEET: message(0x20, { digest: fixed(32), proof: fixed(32), flags: number, state: number, endpoints }),
  MET: message(0x21, { digest: fixed(32), code, proof: fixed(32), state: number, endpoints }),
  ENDPOINTS: message(0x22, { digest: fixed(32), state: number, endpoints }),
  OPEN: message(0x23, { digest: fixed(32), proof: fixed(32), from: fixed(16), to: fixed(16), flags: number }),
  OPENED: message(0x24, { code, proof: fixed(32) }),
  HOST: message(0x25, { flags: number, run: fixed(16) }),
  PART: message(0x26, { digest: fixed(32), code }),
  GUESS: message(0x27, { tags: list(1024, 8, fixed(8)) })
}

/** SHA-256 of a label and what follows it. */
async function hash (label: string, b: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', concat(new TextEncoder().encode(label), b)))
}

export async function digestOf (topic: Uint8Array): Promise<Uint8Array> { return hash('swarmgate/topic/1\0', topic) }

export function cidOf (digest: Uint8Array): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
  const bits = [0x01, 0x55, 0x12, 0x20, ...digest].map(b => b.toString(2).padStart(8, '0')).join('')
  return 'b' + bits.match(/.{1,5}/g)!.map(b => alphabet[parseInt(b.padEnd(5, '0'), 2)]).join('')
}

export async function endpointOf (secret: Uint8Array): Promise<Uint8Array> {
  return (await hash('swarmgate/endpoint/1\0', secret)).subarray(0, 16)
}

/** HMAC-SHA256 with a topic over parts, each after its length. */
async function mac (topic: Uint8Array, ...parts: Uint8Array[]) {
  const b: number[] = []
  for (const part of parts) {
    putVarint(b, part.length)
    b.push(...part)
  }
  const input = Uint8Array.from(b)
  const key = await crypto.subtle.importKey('raw', concat(topic), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign'])
  return { input, mac: new Uint8Array(await crypto.subtle.sign('HMAC', key, input)) }
}

export async function proofOf (label: string, topic: Uint8Array, sender: Uint8Array, receiver: Uint8Array) {
  const { input, mac: proof } = await mac(topic, new TextEncoder().encode(label), sender, receiver)
  return { input, proof }
}

export async function guessOf (topic: Uint8Array, sender: Uint8Array, receiver: Uint8Array, run: Uint8Array) {
  const { input, mac: m } = await mac(topic, new TextEncoder().encode('guess'), sender, receiver, run)
  return { input, tag: m.subarray(0, 8) }
}
