// How measured figures are shown: their unit, what they must reach, whether they do, in one table or as JSON.

import { bad, good, table } from '../../src/cli/print.js'

export interface Measure {
  readonly what: string
  readonly unit: Unit
  /** null: could not be measured on this machine. */
  readonly value: number | null
  /** What it must reach; a figure with neither only explains the others. */
  readonly least?: number
  readonly most?: number
}

export type Unit = 'msg/s' | 'requests/s' | 'pairs/s' | 'µs' | 'ms' | 's' | 'MB' | 'of 1'
export type Verdict = 'met' | 'missed' | ''

const DIGITS: Readonly<Record<Unit, number>> = {
  'msg/s': 0,
  'requests/s': 0,
  'pairs/s': 0,
  µs: 1,
  ms: 2,
  s: 2,
  MB: 0,
  'of 1': 2,
}

export function verdict({ value, least, most }: Measure): Verdict {
  if (value === null || (least === undefined && most === undefined)) return ''
  return value >= (least ?? Number.NEGATIVE_INFINITY) && value <= (most ?? Number.POSITIVE_INFINITY) ? 'met' : 'missed'
}

export interface Section {
  readonly figure: number
  readonly own: readonly Measure[]
  /** The same taken with another load tool; by `what`. */
  readonly peer: readonly Measure[]
}

/** @param peer name of the other load tool; null: there was none */
export function report(sections: readonly Section[], peer: string | null): string {
  const columns = ['', 'figure', '>must', '>measured', 'verdict']
  if (peer !== null) columns.push('>must', `>with ${peer}`, 'verdict')
  const rows = sections.flatMap(({ figure, own, peer: others }) =>
    own.map((measure, i) => {
      const other = others.find(({ what }) => what === measure.what)
      const cells = [i === 0 ? String(figure) : '', measure.what, ...judged(measure)]
      if (peer !== null) cells.push(...(other === undefined ? ['', '', ''] : judged(other)))
      return cells
    }),
  )
  return table(columns, rows)
}

function judged(measure: Measure): string[] {
  const { value, unit, least, most } = measure
  const must = least !== undefined ? `≥ ${round(least, unit)}` : most !== undefined ? `≤ ${round(most, unit)}` : ''
  const shown = value === null ? '-' : `${digits(value, unit)}${unit === 'of 1' ? '' : ` ${unit}`}`
  const word = verdict(measure)
  return [must, shown, word === 'met' ? good(word) : bad(word)]
}

const digits = (value: number, unit: Unit): string =>
  value.toLocaleString('en-US', { minimumFractionDigits: DIGITS[unit], maximumFractionDigits: DIGITS[unit] })

const round = (value: number, unit: Unit): string =>
  value.toLocaleString('en-US', { maximumFractionDigits: DIGITS[unit] })
