// In place of sodium-native in a bundle: sodium-javascript, and what hyperdht's handshake needs beyond it.
const { Point } = require('@noble/curves/ed25519.js').ed25519

module.exports = {
  ...require('sodium-javascript'),
  crypto_scalarmult_ed25519_BYTES: 32,
  crypto_scalarmult_ed25519_noclamp (out, scalar, point) {
    const p = Point.fromBytes(point)
    if (p.is0() || !p.isTorsionFree()) throw new Error('the public key is not a point of the main subgroup') // as libsodium
    const n = scalar.reduceRight((n, byte) => n << 8n | BigInt(byte), 0n)
    out.set(p.multiply(n % Point.Fn.ORDER).toBytes())
  }
}
