// How lists and figures are written for people: columns, thousands, durations, sizes; and the colours. Knows nothing of
// what is listed.

import Table from 'cli-table3'
import picocolors from 'picocolors'

/** A column's heading; one that begins with > is of numbers and stands to the right. */
export type Column = string

/** picocolors would colour what a program of a build machine reads too, by its CI alone. */
const isColoured = picocolors.isColorSupported && (process.stdout.isTTY || Boolean(process.env.FORCE_COLOR))
const pc = picocolors.createColors(isColoured)

const NO_LINES = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
}

/** Columns under their headings, without lines, so that other programs can cut them. */
export function table(columns: readonly Column[], rows: readonly (readonly (string | number)[])[]): string {
  const made = new Table({
    head: columns.map(column => pc.bold(column.replace(/^>/, ''))),
    colAligns: columns.map(column => (column.startsWith('>') ? 'right' : 'left')),
    chars: NO_LINES,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
  })
  for (const row of rows) made.push(row.map(cell => (typeof cell === 'number' ? count(cell) : cell)))
  return made.toString().replaceAll(/ +$/gm, '')
}

/** 1234567 as 1,234,567; below 100 with a digit after the point where there is one. */
export const count = (value: number): string =>
  value.toLocaleString('en-US', { maximumFractionDigits: value < 100 ? 1 : 0 })

/** Milliseconds with as many digits as matter; - when there is nothing to measure. */
export function ms(value: number | null): string {
  if (value === null) return '-'
  return value >= 100 ? count(value) : value.toFixed(value >= 10 ? 1 : 2)
}

/** 93784 as `1 d 2 h`: the two largest units. */
export function duration(seconds: number): string {
  const whole = Math.floor(seconds)
  const parts: string[] = []
  let rest = whole
  for (const [unit, size] of UNITS) {
    const n = Math.floor(rest / size)
    rest -= n * size
    if (n > 0) parts.push(`${n} ${unit}`)
    else if (parts.length > 0) break
    if (parts.length === 2) break
  }
  return parts.length === 0 ? '0 s' : parts.join(' ')
}

const UNITS = [
  ['d', 86_400],
  ['h', 3_600],
  ['min', 60],
  ['s', 1],
] as const

/** In MB or GB; - when it is not known. */
export function bytes(value: number | null): string {
  if (value === null) return '-'
  return value >= 1e9 ? `${(value / 1e9).toFixed(1)} GB` : `${Math.round(value / 1e6)} MB`
}

export const good = (text: string): string => pc.green(text)
export const bad = (text: string): string => pc.red(text)
export const faint = (text: string): string => pc.dim(text)
export const strong = (text: string): string => pc.bold(text)
