// How words of the command line become values: bounded whole numbers, times, a command_status by number or by name.
// Knows commander's way to refuse a word; knows no option.

import { InvalidArgumentError } from 'commander'
import { status } from '../../protocols/smpp/status.js'

/** A parser of whole numbers from `least` to `most`. */
export function whole(least: number, most: number): (word: string) => number {
  return word => {
    const value = /^\d+$/.test(word) ? Number(word) : Number.NaN
    if (value >= least && value <= most) return value
    throw new InvalidArgumentError(`It must be a whole number from ${least} to ${most}.`)
  }
}

export const port = whole(0, 65_535)
/** Up to a day. */
export const milliseconds = whole(0, 86_400_000)

/** Seconds, fractions allowed, as milliseconds. */
export function seconds(word: string): number {
  const value = /^\d+(\.\d+)?$/.test(word) ? Number(word) : Number.NaN
  if (value <= 86_400) return Math.round(value * 1000)
  throw new InvalidArgumentError('It must be a number of seconds, 86400 at most.')
}

const UNITS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `2h` as the moment two hours ago. */
export function ago(word: string): Date {
  const [, n, unit] = /^(\d{1,6})([smhd])$/.exec(word) ?? []
  if (n === undefined) throw new InvalidArgumentError('It must be a time such as 90m, 2h or 3d.')
  return new Date(Date.now() - Number(n) * UNITS[unit as keyof typeof UNITS])
}

/** ISO 8601 */
export function moment(word: string): Date {
  const at = new Date(word)
  if (Number.isNaN(at.getTime())) throw new InvalidArgumentError('It must be a moment such as 2026-01-31T08:00Z.')
  return at
}

/** A command_status other than ESME_ROK: `0x58`, `88`, `ESME_RTHROTTLED` or `RTHROTTLED`. */
export function commandStatus(word: string): number {
  const name = word.toUpperCase()
  const named = (status as Readonly<Record<string, number>>)[name.startsWith('ESME_') ? name : `ESME_${name}`]
  const value = named ?? (/^(0x[\da-f]{1,8}|\d{1,10})$/i.test(word) ? Number(word) : Number.NaN)
  if (value > 0 && value <= 0xffffffff) return value
  throw new InvalidArgumentError('It must be a command_status other than 0, such as 0x0b or ESME_RINVDSTADR.')
}
