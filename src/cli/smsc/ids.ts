// message_ids in the forms that carriers give them, all of one serial number: so an answer can say it in hex and the
// receipt in decimal. Written as octets, without a string. Knows nothing of PDUs.

export const ID_FORMATS = ['hex', 'decimal', 'zero-padded', 'random', 'uuid'] as const
export type IdFormat = (typeof ID_FORMATS)[number]

/** Octets that `writeId` needs at most. */
export const MOST_ID_OCTETS = 36

const ZERO = 0x30
const UPPER = Buffer.from('0123456789ABCDEF')
const LOWER = Buffer.from('0123456789abcdef')
const PADDED_DIGITS = 20

/**
 * Writes the id of `serial` (below 2^53) and returns the offset after it. hex: capitals, eight digits at least; decimal;
 * zero-padded: decimal in twenty digits; random: sixteen hex digits; uuid: version 4 to look at. The last two scatter the
 * serial number; no two of them are the same either.
 */
export function writeId(buf: Buffer, at: number, format: IdFormat, serial: number): number {
  const high = Math.floor(serial / 2 ** 32)
  const low = serial >>> 0
  switch (format) {
    case 'hex': {
      const digits = high === 0 ? 0 : (35 - Math.clz32(high)) >> 2
      return writeHex(buf, writeHex(buf, at, UPPER, high, digits), UPPER, low, 8)
    }
    case 'decimal':
      return writeDecimal(buf, at, serial, 1)
    case 'zero-padded':
      return writeDecimal(buf, at, serial, PADDED_DIGITS)
    case 'random': {
      const first = scatter(low)
      return writeHex(buf, writeHex(buf, at, LOWER, first, 8), LOWER, scatter(first ^ high), 8)
    }
    case 'uuid':
      return writeUuid(buf, at, low, high)
  }
}

function writeUuid(buf: Buffer, at: number, low: number, high: number): number {
  const first = scatter(low)
  const second = scatter(first ^ high)
  const third = scatter(second ^ 0x5bd1e995)
  // The first and the second word stand whole: the version and the variant take their bits from the third.
  at = dash(buf, writeHex(buf, at, LOWER, first, 8))
  at = dash(buf, writeHex(buf, at, LOWER, third >>> 16, 4))
  at = dash(buf, writeHex(buf, at, LOWER, 0x4000 | (third & 0xfff), 4))
  at = dash(buf, writeHex(buf, at, LOWER, 0x8000 | (scatter(third) & 0x3fff), 4))
  return writeHex(buf, writeHex(buf, at, LOWER, second, 8), LOWER, third >>> 8, 4)
}

function dash(buf: Buffer, at: number): number {
  buf[at] = 0x2d
  return at + 1
}

function writeHex(buf: Buffer, at: number, digitsOf: Buffer, value: number, digits: number): number {
  const end = at + digits
  for (let to = end - 1; to >= at; to--) {
    buf[to] = digitsOf[value & 15] as number
    value >>>= 4
  }
  return end
}

function writeDecimal(buf: Buffer, at: number, serial: number, least: number): number {
  const high = Math.floor(serial / 1e8)
  const low = serial - high * 1e8
  const digits = Math.max(least, high > 0 ? 8 + digitsOf(high) : digitsOf(low))
  const end = at + digits
  let to = writeTail(buf, end, low, Math.min(digits, 8))
  to = writeTail(buf, to, high, digits - (end - to))
  return end
}

/** The last `count` digits of `value` before `end`; returns where they begin. */
function writeTail(buf: Buffer, end: number, value: number, count: number): number {
  const start = end - count
  for (let to = end - 1; to >= start; to--) {
    const tenth = (value / 10) | 0
    buf[to] = ZERO + value - tenth * 10
    value = tenth
  }
  return start
}

function digitsOf(value: number): number {
  let digits = 1
  for (let limit = 10; value >= limit; limit *= 10) digits++
  return digits
}

/** A permutation of 32 bits that leaves no trace of order (murmur3's finalizer). */
function scatter(value: number): number {
  value ^= value >>> 16
  value = Math.imul(value, 0x85ebca6b)
  value ^= value >>> 13
  value = Math.imul(value, 0xc2b2ae35)
  return (value ^ (value >>> 16)) >>> 0
}
