import { hex } from './hex.js'
import { newPair } from './secretnoise.js'

const DATABASE = 'swarmgate-secret'
const STORE = 'identities'
const SHOWN = 8 // bytes of a key that people compare
const CONSONANTS = 'bdfghjklmnprstvz'
const VOWELS = 'aiou'

/**
 * Returns an identity that this browser keeps for this site: a key pair whose private half nobody
 * can read, not even this page. `name` tells identities apart. Pages that are open at the same
 * time get one each, because a room refuses its own key; so the first page has the same one each
 * time. It is the page's until the page is closed. If the browser keeps nothing, as in some private
 * windows, the identity is a new one.
 */
export async function identity (name = ''): Promise<CryptoKeyPair> {
  for (let i = 1; ; i++) {
    const id = `${name}/${i}`
    if (!await hold(`${DATABASE}/${id}`)) continue
    try {
      return await kept(id)
    } catch {
      return newPair()
    }
  }
}

/** Takes a lock for as long as the page lives, and reports whether it was free. */
function hold (name: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    navigator.locks.request(name, { ifAvailable: true }, lock => {
      resolve(lock !== null)
      return lock && new Promise(() => {})
    }).catch(reject)
  })
}

/** Returns what is kept, which is made if it is not there. */
async function kept (id: string): Promise<CryptoKeyPair> {
  const opening = indexedDB.open(DATABASE)
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE)
  const db = await done(opening)
  try {
    const found: CryptoKeyPair | undefined = await done(db.transaction(STORE).objectStore(STORE).get(id))
    if (found) return found
    const pair = await newPair()
    await done(db.transaction(STORE, 'readwrite').objectStore(STORE).put(pair, id))
    return pair
  } finally {
    db.close()
  }
}

function done<T> (request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/** Returns how a key is shown to people, as `swarm` shows it too: `1a2b 3c4d 5e6f 7081`. */
export function keyHex (key: Uint8Array): string { return hex(key.subarray(0, SHOWN)).match(/..../g)!.join(' ') }

/**
 * Returns the same part of a key as four words that can be read out: `lusab-babad-gutih-tugad`
 * (proquints).
 */
export function keyWords (key: Uint8Array): string {
  const words = []
  for (let i = 0; i < SHOWN; i += 2) {
    const n = key[i]! << 8 | key[i + 1]!
    const c = (shift: number) => CONSONANTS[n >> shift & 15]!
    const v = (shift: number) => VOWELS[n >> shift & 3]!
    words.push(c(12) + v(10) + c(6) + v(4) + c(0))
  }
  return words.join('-')
}
