// A message that goes round in a circle - to a carrier, and back to us over an account of somebody who got it from there -
// comes to the door again and again, the same each time. Counts how often one of the same addresses and text came of
// late, in memory of a fixed size: what there is no room for is forgotten, and never taken for another. Pure; the time is
// an argument.

import type { Message } from '../model/message.js'

export interface LoopLimits {
  /** How often within a minute a message may come again over another account than at first; 0 = as often as it likes. */
  readonly returns: number
  /** How often within a minute the same may come, over whichever account; 0 = as often as it likes. */
  readonly repeats: number
}

/** From the first of the same on. */
const WINDOW_MS = 60_000
/** Places that a message may have: a line of the processor's cache. */
const WAYS = 4
const SETS = 1 << 16
// A place: print, account, moment of the first in ms, and how often: returns << 16 | repeats.
const PLACE = 4
const ACCOUNT = 1
const SINCE = 2
const COUNTS = 3
const REPEATS = 0xffff
const RETURN = 0x10000

export class Loops {
  private readonly limits: LoopLimits
  private readonly cells = new Uint32Array(SETS * WAYS * PLACE)

  constructor(limits: LoopLimits) {
    this.limits = limits
  }

  /** Counts it, whose account is known; true when it has come too often. `nowMs` is monotonic. */
  suspect(m: Message, nowMs: number): boolean {
    const { limits, cells } = this
    if (limits.returns === 0 && limits.repeats === 0) return false
    const now = nowMs >>> 0
    const seed = text(text(0x811c9dc5, m.source_addr), m.destination_addr)
    const print = printOf(m.body, seed ^ 0x5bd1e995, 0x85ebca6b) || 1
    const first = (printOf(m.body, seed, 0x01000193) & (SETS - 1)) * WAYS * PLACE
    let free = first
    for (let at = first; at < first + WAYS * PLACE; at += PLACE) {
      const isOld = age(now, cells[at + SINCE]) >= WINDOW_MS
      const counts = cells[at + COUNTS] as number
      if (cells[at] === print) {
        // Whose it was at first is remembered beyond the window: a slow circle is one too.
        const isReturn = cells[at + ACCOUNT] !== m.account
        const before = isOld ? 0 : counts
        const after = before + ((before & REPEATS) === REPEATS ? 0 : isReturn ? RETURN + 1 : 1)
        if (isOld) cells[at + SINCE] = now
        cells[at + COUNTS] = after
        return over(after >>> 16, limits.returns) || over(after & REPEATS, limits.repeats)
      }
      if (isOld) cells[at + COUNTS] = 0
      // What came once makes room before what came often, and of those the oldest.
      const less = ((cells[at + COUNTS] as number) & REPEATS) - ((cells[free + COUNTS] as number) & REPEATS)
      if (less < 0 || (less === 0 && age(now, cells[at + SINCE]) > age(now, cells[free + SINCE]))) free = at
    }
    cells[free] = print
    cells[free + ACCOUNT] = m.account
    cells[free + SINCE] = now
    cells[free + COUNTS] = 1
    return false
  }
}

const over = (count: number, limit: number): boolean => limit !== 0 && count > limit

/** The moments come round every 49 days. */
const age = (now: number, since: number | undefined): number => (now - (since ?? 0)) >>> 0

function text(seed: number, address: string): number {
  let h = seed
  for (let i = 0; i < address.length; i++) h = Math.imul(h ^ address.charCodeAt(i), 0x01000193)
  return Math.imul(h ^ 0x100, 0x01000193)
}

/** Four octets at a time. */
function printOf(octets: Buffer, seed: number, factor: number): number {
  let h = seed ^ octets.length
  let i = 0
  for (; i + 4 <= octets.length; i += 4) {
    const word =
      (octets[i] as number) |
      ((octets[i + 1] as number) << 8) |
      ((octets[i + 2] as number) << 16) |
      ((octets[i + 3] as number) << 24)
    h = Math.imul(h ^ word, factor)
    h ^= h >>> 15
  }
  for (; i < octets.length; i++) h = Math.imul(h ^ (octets[i] as number), factor)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  h ^= h >>> 12
  return h >>> 0
}
