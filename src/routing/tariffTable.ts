// What a standard segment costs a customer: the prices of one tariff compiled into a trie of prefixes, walked once per
// message, and its margins where no price stands. Pure: knows digits, classes and moments, not accounts.

import type { ClassRank } from '../model/message.js'
import { countryOf } from './countries.js'

/** Prefix; class, -1 = every class; from when, ms, null = ever since; micros, null = from then on no price any more. */
export type TariffPrice = readonly [prefix: string, rank: number, fromMs: number | null, micros: number | null]

export interface TariffMargin {
  /** '' = any. */
  readonly prefix: string
  /** ISO 3166-1 alpha-2; '' = any. */
  readonly country: string
  /** -1 = any. */
  readonly rank: number
  /** Of the cost, in hundredths of a percent. */
  readonly hundredths: number
  readonly fixedMicros: number
  readonly minimumMicros: number
}

const ZERO = 48
const DIGITS = 10
const NONE = -1
/** Longest prefix, and the root. */
const DEPTH = 16
const ALL = 10_000
/** A price that is none: what a longer prefix had has ended, and the shorter ones count again. */
const ENDED = -1

/** Numbers only, so that a million prices are no million objects. */
export class TariffTable {
  private next = new Int32Array(DIGITS * 64).fill(NONE)
  /** Of each node, the first of its prices. */
  private first = new Int32Array(64).fill(NONE)
  private nodes = 1
  private readonly ranks: number[] = []
  private readonly froms: number[] = []
  private readonly micros: number[] = []
  /** Of each price, the next one of its node. */
  private readonly others: number[] = []
  private readonly margins: readonly TariffMargin[]
  private readonly path = new Int32Array(DEPTH)

  constructor(margins: readonly TariffMargin[] = []) {
    this.margins = margins
  }

  get size(): number {
    return this.micros.length
  }

  add(prices: readonly TariffPrice[]): this {
    for (const [prefix, rank, fromMs, micros] of prices) {
      const node = this.place(prefix)
      this.others.push(this.first[node] as number)
      this.first[node] = this.micros.length
      this.ranks.push(rank)
      this.froms.push(fromMs ?? Number.NEGATIVE_INFINITY)
      this.micros.push(micros ?? ENDED)
    }
    return this
  }

  private place(prefix: string): number {
    let at = 0
    for (let i = 0; i < prefix.length; i++) {
      const slot = at * DIGITS + prefix.charCodeAt(i) - ZERO
      let to = this.next[slot] as number
      if (to === NONE) {
        to = this.nodes++
        if (to === this.first.length) this.grow()
        this.next[slot] = to
      }
      at = to
    }
    return at
  }

  private grow(): void {
    const first = new Int32Array(this.first.length * 2).fill(NONE)
    first.set(this.first)
    const next = new Int32Array(this.next.length * 2).fill(NONE)
    next.set(this.next)
    this.first = first
    this.next = next
  }

  /** Of the longest prefix that has a price at this moment, of its own class before every class; undefined: none has. */
  priceMicros(digits: string, rank: ClassRank, nowMs: number): number | undefined {
    const { next, first, path } = this
    let depth = 0
    let at = 0
    const end = Math.min(digits.length, DEPTH - 1)
    for (let i = 0; ; i++) {
      if (first[at] !== NONE) path[depth++] = at
      if (i === end) break
      at = next[at * DIGITS + digits.charCodeAt(i) - ZERO] as number
      if (at === NONE) break
    }
    while (depth > 0) {
      const micros = this.at(path[--depth] as number, rank, nowMs)
      if (micros !== ENDED) return micros
    }
    return undefined
  }

  private at(node: number, rank: ClassRank, nowMs: number): number {
    const { ranks, froms, others } = this
    let own = ENDED
    let ownFrom = Number.NEGATIVE_INFINITY
    let every = ENDED
    let everyFrom = Number.NEGATIVE_INFINITY
    for (let i = this.first[node] as number; i !== NONE; i = others[i] as number) {
      const from = froms[i] as number
      if (from > nowMs) continue
      if (ranks[i] === rank) {
        if (from < ownFrom) continue
        ownFrom = from
        own = this.micros[i] as number
      } else if (ranks[i] === -1) {
        if (from < everyFrom) continue
        everyFrom = from
        every = this.micros[i] as number
      }
    }
    return own === ENDED ? every : own
  }

  /** The margin that counts for a number of which no price is named; undefined: none does. */
  marginOf(digits: string, rank: ClassRank): TariffMargin | undefined {
    let country: string | undefined
    for (const one of this.margins) {
      if (one.rank !== -1 && one.rank !== rank) continue
      if (one.prefix !== '' && !digits.startsWith(one.prefix)) continue
      if (one.country !== '') {
        country ??= countryOf(digits)
        if (country !== one.country) continue
      }
      return one
    }
    return undefined
  }
}

/** What is taken for what costs us so much: max(minimum, cost and its percents and the fixed part), never below 0. */
export function withMargin(
  costMicros: number,
  { hundredths, fixedMicros, minimumMicros }: Pick<TariffMargin, 'hundredths' | 'fixedMicros' | 'minimumMicros'>,
): number {
  const parts = ALL + hundredths
  // Exact: the product itself may not be.
  const rest = costMicros % ALL
  const micros = ((costMicros - rest) / ALL) * parts + Math.round((rest * parts) / ALL) + fixedMicros
  return Math.max(0, minimumMicros, micros)
}
