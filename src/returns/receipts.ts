// What carriers send back, on its way into the spool: receipts to their messages, replies
// to the account that owns the number they were sent to. Knows whose it is; knows neither
// how it came nor how it is delivered.

import type { Counters } from '../base/figures.js'
import type { Receipt, Reply } from '../model/outcome.js'
import { digitsOf } from '../routing/table.js'
import type { Spool } from '../spool/contract.js'

/** The account of what belongs to nobody. */
const UNCLAIMED = 0

export class Receipts {
  private readonly spool: Spool
  private readonly ownerOf: (number: string) => number | undefined
  private readonly counts: Counters

  constructor(spool: Spool, ownerOf: (number: string) => number | undefined, counts: Counters) {
    this.spool = spool
    this.ownerOf = ownerOf
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

  /** False: not stored, the carrier must keep it. */
  reply(reply: Reply): boolean {
    const owner = this.ownerOf(digitsOf(reply.destination_addr) || reply.destination_addr) ?? UNCLAIMED
    this.counts.add(owner === UNCLAIMED ? 'replies_unclaimed' : 'replies')
    return this.spool.reply(owner, reply)
  }
}
