// The arithmetic of an invoice: whole coins of a currency, tax in percent, and what is left to pay of what credit has paid
// already. Pure; whole micros, and no fraction of one anywhere.

import { microsOf } from '../model/money.js'

export interface InvoiceSums {
  netMicros: number
  taxMicros: number
  /** Of the net, what credit had paid. */
  coveredMicros: number
  /** Of the tax, what goes with the rest. */
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

/** What was paid for an invoice that is void, as far as tax was paid with it. */
export interface PaidBefore {
  netMicros: number
  /** With its tax. */
  grossMicros: number
}

/**
 * What was paid for the invoice in whose place another is pays for the new one first, so much of it as there is still: of what
 * it pays tax is taken again.
 * @param thereMicros all the credit there is for the new one, with what was paid before
 */
export function paidAgain(
  netMicros: number,
  before: PaidBefore,
  thereMicros: number,
  taxPercent: string,
  currency: string,
): { netMicros: number; taxMicros: number } {
  const gross = Math.max(0, Math.min(before.grossMicros, thereMicros))
  const covered = Math.min(Math.max(0, netMicros), before.netMicros, withoutTax(gross, taxPercent))
  return { netMicros: covered, taxMicros: inCoins(percentOf(taxPercent, covered), coinMicros(currency)) }
}

/** Of what with its tax is so much, the part that is not tax: whole micros, rounded down. */
export function withoutTax(grossMicros: number, taxPercent: string): number {
  return Number((BigInt(grossMicros) * HUNDRED) / (HUNDRED + BigInt(microsOf(taxPercent) ?? 0)))
}

/** What has so much tax, as near as the coins of the tax tell; without tax nobody can say. */
export function netOfTax(taxMicros: number, taxPercent: string): number {
  const percent = BigInt(microsOf(taxPercent) ?? 0)
  return percent === 0n ? 0 : Number((BigInt(taxMicros) * HUNDRED) / percent)
}

/**
 * @param netMicros what messages cost
 * @param owedMicros what the account owes beyond its credit and its open invoices; 0 = nothing
 */
export function sumsOf(netMicros: number, owedMicros: number, taxPercent: string, currency: string): InvoiceSums {
  const coin = coinMicros(currency)
  const tax = (micros: number): number => inCoins(percentOf(taxPercent, micros), coin)
  const dueNetMicros = Math.min(Math.max(0, netMicros), Math.max(0, owedMicros))
  const coveredMicros = netMicros - dueNetMicros
  const dueTaxMicros = dueNetMicros === 0 ? 0 : tax(dueNetMicros)
  return {
    netMicros,
    taxMicros: tax(netMicros),
    coveredMicros,
    dueTaxMicros,
    dueMicros: inCoins(dueNetMicros + dueTaxMicros, coin),
  }
}
