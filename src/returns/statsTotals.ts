// What this process has brought into the analytics since its start, as counters for those who watch: by class, and by carrier.
// Grows by a slice once that is in SQL. Plain numbers; nobody but the side-port reads them.

import { messageClasses } from '../model/message.js'
import type { StatsCells } from './statsCells.js'
import { column, TOOK_S } from './statsColumns.js'

const RANKS = messageClasses.length
const CARRIER = 2
const RANK = 4

/** Deliveries of a class by what they took; not cumulative, one more than there are bounds. */
export type Took = Float64Array

export interface CarrierTotals {
  delivered: number
  /** That ended otherwise; not those of which no receipt was to come. */
  failed: number
  costMicros: number
}

export class StatsTotals {
  /** By class: messages, and how they ended; `failed`: neither delivered nor {@link column.unreported}. */
  readonly accepted = new Float64Array(RANKS)
  readonly delivered = new Float64Array(RANKS)
  readonly failed = new Float64Array(RANKS)
  readonly unreported = new Float64Array(RANKS)
  /** By class: codes that were used, what was charged, and what of it was given back, in micros. */
  readonly converted = new Float64Array(RANKS)
  readonly chargedMicros = new Float64Array(RANKS)
  readonly backMicros = new Float64Array(RANKS)
  /** By class: what deliveries took, by {@link TOOK_S}. */
  readonly took: readonly Took[] = messageClasses.map(() => new Float64Array(TOOK_S.length + 1))
  readonly tookMs = new Float64Array(RANKS)
  readonly carriers = new Map<number, CarrierTotals>()

  add(cells: StatsCells): void {
    for (const [rank, ms] of cells.tookMs.entries()) grow(this.tookMs, rank, ms)
    for (let i = 0; i < cells.size; i++) {
      const rank = cells.key(i, RANK)
      const delivered = cells.value(i, column.delivered)
      let failed = 0
      for (let c = column.undeliverable; c <= column.unknown; c++) failed += cells.value(i, c)
      grow(this.accepted, rank, cells.value(i, column.accepted))
      grow(this.delivered, rank, delivered)
      grow(this.failed, rank, failed)
      grow(this.unreported, rank, cells.value(i, column.unreported))
      grow(this.converted, rank, cells.value(i, column.converted))
      grow(this.chargedMicros, rank, cells.value(i, column.price))
      grow(this.backMicros, rank, cells.value(i, column.back))
      const took = this.took[rank]
      if (took !== undefined && delivered > 0) {
        for (let b = 0; b < took.length; b++) grow(took, b, cells.value(i, column.took + b))
      }
      const carrier = cells.key(i, CARRIER)
      if (carrier !== 0) this.ofCarrier(carrier, delivered, failed, cells.value(i, column.cost))
    }
  }

  private ofCarrier(carrier: number, delivered: number, failed: number, costMicros: number): void {
    const one = this.carriers.get(carrier) ?? { delivered: 0, failed: 0, costMicros: 0 }
    this.carriers.set(carrier, one)
    one.delivered += delivered
    one.failed += failed
    one.costMicros += costMicros
  }
}

function grow(values: Float64Array, i: number, by: number): void {
  if (i < values.length) (values[i] as number) += by
}
