import type { Link, Race } from './link.js'
import { WebSocketTransport } from './websocket.js'

const HOUR = 3_600_000 // ms
const PATIENCE = 3000 // ms that WebSocket has, if it is first, before WebTransport is tried beside it

export const race: Race = async (first, open, url, after, links, signal, key) => {
  const ready = (link: Link) => link.ready.then(() => link)
  let socket: Link | undefined
  const socketReady = (async () => {
    signal.throwIfAborted()
    links.push(socket = new WebSocketTransport(url, after)) // which a browser may refuse at once
    return ready(socket)
  })()
  let other = first
  let cancelTimer = () => {}
  const otherReady = first
    ? ready(first)
    : new Promise<Link>((resolve, reject) => {
      const begin = () => {
        cancelTimer()
        if (other) return // WebSocket was slow before it failed, or has lost
        if (open && !signal.aborted) resolve(ready(other = open()))
        else reject(new Error('no other transport'))
      }
      if (open) cancelTimer = after(PATIENCE, begin)
      socketReady.catch(begin)
    })
  try {
    const winner = await Promise.any([socketReady, otherReady])
    const loser = winner === socket ? other : socket
    loser?.closed.catch(() => {}) // it is rejected if the loser is still being opened
    try {
      loser?.close()
    } catch {} // it has failed already
    try {
      localStorage.setItem(key, `${winner === socket ? Date.now() + HOUR : 0}`)
    } catch {} // there is none in a Worker, or the page may not use it
    return winner
  } finally {
    cancelTimer()
  }
}
