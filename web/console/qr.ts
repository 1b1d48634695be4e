import { generate } from 'lean-qr'

const QUIET = 4 // modules of white around a code, which readers need

/**
 * Returns a QR code of a text as a path in a square whose sides are `size` long. It throws if the
 * text is too long.
 */
export function qrPath (text: string): { size: number, path: string } {
  const code = generate(text)
  const parts = []
  for (let y = 0; y < code.size; y++) {
    for (let x = 0; x < code.size; x++) {
      if (!code.get(x, y)) continue
      let n = 1
      while (code.get(x + n, y)) n++
      parts.push(`M${x + QUIET} ${y + QUIET}h${n}v1h-${n}z`)
      x += n
    }
  }
  return { size: code.size + 2 * QUIET, path: parts.join('') }
}
