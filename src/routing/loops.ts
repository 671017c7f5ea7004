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
/** Places that a message may have. */
const WAYS = 4
const SETS = 1 << 16
const MOST = 0xffff

export class Loops {
  private readonly limits: LoopLimits
  // Of each place, those of a set beside each other.
  private readonly prints = new Uint32Array(SETS * WAYS)
  private readonly accounts = new Uint32Array(SETS * WAYS)
  /** ms, in 32 bits. */
  private readonly since = new Uint32Array(SETS * WAYS)
  private readonly repeats = new Uint16Array(SETS * WAYS)
  private readonly returns = new Uint16Array(SETS * WAYS)

  constructor(limits: LoopLimits) {
    this.limits = limits
  }

  /** Counts it, whose account is known; true when it has come too often. `nowMs` is monotonic. */
  suspect(m: Message, nowMs: number): boolean {
    const { limits, repeats, returns } = this
    if (limits.returns === 0 && limits.repeats === 0) return false
    const now = nowMs >>> 0
    const { body } = m
    let a = text(text(0x811c9dc5, m.source_addr), m.destination_addr)
    let b = a ^ 0x5bd1e995
    for (let i = 0; i < body.length; i++) {
      const octet = body[i] as number
      a = Math.imul(a ^ octet, 0x01000193)
      b = Math.imul(b + octet, 0x85ebca6b) ^ (b >>> 13)
    }
    const first = (mixed(a) & (SETS - 1)) * WAYS
    const print = mixed(b) || 1
    let free = first
    for (let i = first; i < first + WAYS; i++) {
      const isOld = age(now, this.since[i]) >= WINDOW_MS
      if (this.prints[i] === print && !isOld) {
        if ((repeats[i] as number) < MOST) (repeats[i] as number)++
        if (this.accounts[i] !== m.account && (returns[i] as number) < MOST) (returns[i] as number)++
        return over(returns[i] as number, limits.returns) || over(repeats[i] as number, limits.repeats)
      }
      if (isOld) repeats[i] = 0
      // What came once makes room before what came often, and of those the oldest.
      const less = (repeats[i] as number) - (repeats[free] as number)
      if (less < 0 || (less === 0 && age(now, this.since[i]) > age(now, this.since[free]))) free = i
    }
    this.prints[free] = print
    this.accounts[free] = m.account
    this.since[free] = now
    repeats[free] = 1
    returns[free] = 0
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

function mixed(h: number): number {
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  h ^= h >>> 12
  return h >>> 0
}
