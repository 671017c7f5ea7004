// What a part costs at a carrier, by the first digits of its destination. Pure; knows prices, not what is done with them.

import { PrefixMap } from './prefixes.js'

const MICROS = 1_000_000

export class PriceTable {
  private readonly map: PrefixMap
  private readonly defaultMicros: number | undefined

  /** @param prices units of a currency with up to 6 decimals, by prefix, or `default` for what no prefix matches */
  constructor(prices: Readonly<Record<string, number>>) {
    const entries = Object.entries(prices).map(
      ([prefix, units]) => [prefix, String(Math.round(units * MICROS))] as const,
    )
    this.map = new PrefixMap(entries.filter(([prefix]) => prefix !== 'default'))
    this.defaultMicros = prices.default === undefined ? undefined : Math.round(prices.default * MICROS)
  }

  /** Of the longest prefix; undefined where the carrier names no price. */
  micros(digits: string): number | undefined {
    const found = this.map.ownerOf(digits)
    return found === '' ? this.defaultMicros : Number(found)
  }
}
