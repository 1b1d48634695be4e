// The module gives a gateway 10 s to answer, and a browser on a busy machine may need more.
const PEER_UNREACHABLE = 0x0e
const PATIENCE = 60_000 // ms

/** Returns a connect that tries again for as long as nobody answers. */
export const patient = connect => async target => {
  for (const began = performance.now(); ;) {
    try {
      return await connect(target)
    } catch (err) {
      const late = err.code === PEER_UNREACHABLE && err.reason.startsWith('no answer')
      if (!late || performance.now() - began > PATIENCE) throw err
    }
  }
}
