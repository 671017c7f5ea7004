// The arithmetic of an invoice: whole coins of a currency, tax in percent, and what is left to pay beyond what credit has
// paid, which is without tax, and the tax that was paid in advance. Pure; whole micros, and no fraction of one anywhere.

import { microsOf } from '../model/money.js'

export interface InvoiceSums {
  netMicros: number
  taxMicros: number
  /** Of the net, what credit had paid. */
  coveredMicros: number
  /** Of the tax, what had been paid: with top-ups, or with an invoice that is void. */
  coveredTaxMicros: number
  /** The rest of the tax. */
  dueTaxMicros: number
  /** To be paid, in whole coins. */
  dueMicros: number
}

/** The smallest coin of a currency, in micros: ISO 4217's minor unit. */
export function coinMicros(currency: string): number {
  const { maximumFractionDigits = 2 } = new Intl.NumberFormat('en', { style: 'currency', currency }).resolvedOptions()
  return 10 ** Math.max(0, 6 - maximumFractionDigits)
}

/** To the nearest coin, the half away from zero. */
export function inCoins(micros: number, coin: number): number {
  const size = Math.abs(micros)
  const rest = size % coin
  const whole = size - rest + (rest * 2 >= coin ? coin : 0)
  return micros < 0 ? 0 - whole : whole
}

/** Percent as a setting writes it, "8.1", of micros: the nearest micro. */
export function percentOf(percent: string, micros: number): number {
  const parts = BigInt(microsOf(percent) ?? 0) * BigInt(Math.abs(micros))
  const whole = Number((parts + HUNDRED / 2n) / HUNDRED)
  return micros < 0 ? 0 - whole : whole
}
const HUNDRED = 100_000_000n

/** The coins that are in an amount, whole; none in what is below zero. */
const wholeCoins = (micros: number, coin: number): number => Math.max(0, micros - (micros % coin))

/** What was paid for an invoice that is void, beyond credit. */
export interface PaidBefore {
  netMicros: number
  taxMicros: number
}

/**
 * What was paid for the invoice in whose place another is pays for the new one first, so much of it as there is still, and
 * its tax is taken again.
 * @param taxMicros of the new one, what was not paid in advance
 * @param thereMicros all the credit there is for the new one, with what was paid before
 */
export function paidAgain(
  netMicros: number,
  taxMicros: number,
  before: PaidBefore,
  thereMicros: number,
  currency: string,
): PaidBefore {
  const there = Math.max(0, thereMicros)
  const tax = wholeCoins(Math.min(taxMicros, before.taxMicros, there), coinMicros(currency))
  return { netMicros: Math.min(Math.max(0, netMicros), before.netMicros, there - tax), taxMicros: tax }
}

/** What has so much tax, as near as the coins of the tax tell; without tax nobody can say. */
export function netOfTax(taxMicros: number, taxPercent: string): number {
  const percent = BigInt(microsOf(taxPercent) ?? 0)
  return percent === 0n ? 0 : Number((BigInt(taxMicros) * HUNDRED) / percent)
}

/**
 * @param netMicros what messages cost
 * @param owedMicros what the account owes beyond its credit and its open invoices; 0 = nothing
 * @param aheadMicros tax that was paid in advance, and that no invoice has counted
 */
export function sumsOf(
  netMicros: number,
  owedMicros: number,
  aheadMicros: number,
  taxPercent: string,
  currency: string,
): InvoiceSums {
  const coin = coinMicros(currency)
  const dueNetMicros = Math.min(Math.max(0, netMicros), Math.max(0, owedMicros))
  const taxMicros = inCoins(percentOf(taxPercent, netMicros), coin)
  const dueTaxMicros = Math.max(0, taxMicros - wholeCoins(aheadMicros, coin))
  return {
    netMicros,
    taxMicros,
    coveredMicros: netMicros - dueNetMicros,
    coveredTaxMicros: taxMicros - dueTaxMicros,
    dueTaxMicros,
    dueMicros: inCoins(dueNetMicros + dueTaxMicros, coin),
  }
}
