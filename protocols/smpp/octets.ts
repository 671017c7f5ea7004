// C-octet strings: how short Latin-1 text gets out of a buffer and into one, at the cost of a few nanoseconds.
// Knows octets and terminators; refuses to know fields, their lengths and character sets.

/** The one empty buffer: what "no short_message" and "no TLVs" are. */
export const EMPTY: Buffer = Buffer.alloc(0)

/** Offset of the first NUL in `[start, limit)`, or -1. */
export function terminator(buf: Buffer, start: number, limit: number): number {
  for (let at = start; at < limit; at++) if (buf[at] === 0) return at
  return -1
}

const char = String.fromCharCode as (...codes: (number | undefined)[]) => string

/**
 * The octets `[start, end)` as Latin-1 text.
 *
 * Up to 20 characters (addresses, times, our own ids) a call with just that many arguments makes the string without
 * leaving JavaScript: 20 to 30 ns, where `toString` costs 70 at any length and `+=` leaves a rope to flatten later.
 */
export function readText(b: Buffer, start: number, end: number): string {
  const o = start
  // biome-ignore format: a table, one length a line
  switch (end - start) {
    case 0: return ''
    case 1: return char(b[o])
    case 2: return char(b[o], b[o + 1])
    case 3: return char(b[o], b[o + 1], b[o + 2])
    case 4: return char(b[o], b[o + 1], b[o + 2], b[o + 3])
    case 5: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4])
    case 6: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5])
    case 7: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6])
    case 8: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7])
    case 9: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8])
    case 10: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9])
    case 11: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10])
    case 12: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11])
    case 13: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11], b[o + 12])
    case 14: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11], b[o + 12], b[o + 13])
    case 15: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11], b[o + 12], b[o + 13], b[o + 14])
    case 16: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11], b[o + 12], b[o + 13], b[o + 14], b[o + 15])
    case 17: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11], b[o + 12], b[o + 13], b[o + 14], b[o + 15], b[o + 16])
    case 18: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11], b[o + 12], b[o + 13], b[o + 14], b[o + 15], b[o + 16], b[o + 17])
    case 19: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11], b[o + 12], b[o + 13], b[o + 14], b[o + 15], b[o + 16], b[o + 17], b[o + 18])
    case 20: return char(b[o], b[o + 1], b[o + 2], b[o + 3], b[o + 4], b[o + 5], b[o + 6], b[o + 7], b[o + 8], b[o + 9], b[o + 10], b[o + 11], b[o + 12], b[o + 13], b[o + 14], b[o + 15], b[o + 16], b[o + 17], b[o + 18], b[o + 19])
    default: return b.toString('latin1', start, end)
  }
}

/**
 * Writes `text` as Latin-1 and returns the offset after it, without a terminator; up to some 24 characters the loop
 * beats a call of `write`. A NUL, or a character past U+00FF whose low octet could be one, would shift every field
 * behind it: that is our own bug and throws RangeError.
 */
export function writeText(buf: Buffer, off: number, text: string): number {
  let wrong = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    wrong |= (code - 1) | (255 - code)
    buf[off++] = code
  }
  if (wrong < 0) throw new RangeError('a C-octet string holds Latin-1 characters but NUL')
  return off
}

/** `writeText` with its terminator. */
export function writeCString(buf: Buffer, off: number, text: string): number {
  if (text !== '') off = writeText(buf, off, text)
  buf[off] = 0
  return off + 1
}
