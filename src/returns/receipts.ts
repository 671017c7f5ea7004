// Receipts from carriers on their way into the spool, to their messages. Knows neither how they came
// nor how they are delivered.

import type { Counters } from '../base/figures.js'
import type { Receipt } from '../model/outcome.js'
import type { Spool } from '../spool/contract.js'

export class Receipts {
  private readonly spool: Spool
  private readonly counts: Counters

  constructor(spool: Spool, counts: Counters) {
    this.spool = spool
    this.counts = counts
  }

  /** False: not stored, the carrier must keep it. */
  receipt(carrier: number, receipt: Receipt): boolean {
    if (receipt.others) this.rename(carrier, receipt, receipt.others)
    const match = this.spool.receipt(carrier, receipt)
    if (match === 'matched') return true
    this.counts.add(match === 'parked' ? 'receipts_parked' : 'receipts_refused_disk_full')
    return match === 'parked'
  }

  /** Under the first of its names that a message has; under its own when none has. */
  private rename(carrier: number, receipt: Receipt, others: readonly string[]): void {
    if (this.spool.findRef(carrier, receipt.ref) !== undefined) return
    const ref = others.find(other => this.spool.findRef(carrier, other) !== undefined)
    if (ref === undefined) return
    receipt.ref = ref
    this.counts.add('receipts_by_other_id')
  }
}
