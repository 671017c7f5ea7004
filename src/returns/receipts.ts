// What carriers send back, on its way into the spool: receipts to their messages, replies
// to the account that owns the number they were sent to. Knows whose it is; knows neither
// how it came nor how it is delivered.

import { type Codings, standardCodings } from '../../protocols/gsm/coding.js'
import type { Counters } from '../base/figures.js'
import { rewrite } from '../dispatch/rewrite.js'
import type { Receipt, Reply } from '../model/outcome.js'
import { digitsOf } from '../routing/table.js'
import type { Spool } from '../spool/contract.js'

/** The account of what belongs to nobody. */
const UNCLAIMED = 0
const UDHI = 0x40

export class Receipts {
  private readonly spool: Spool
  private readonly ownerOf: (number: string) => number | undefined
  private readonly codingsOf: (account: number) => Codings
  private readonly counts: Counters

  /** @param codingsOf what data_coding means to an account */
  constructor(
    spool: Spool,
    ownerOf: (number: string) => number | undefined,
    codingsOf: (account: number) => Codings,
    counts: Counters,
  ) {
    this.spool = spool
    this.ownerOf = ownerOf
    this.codingsOf = codingsOf
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

  /**
   * Where the carrier and the account mean different things by the reply's data_coding, it is written anew.
   *
   * @param codings what data_coding means to the carrier
   * @returns false: not stored, the carrier must keep it
   */
  reply(reply: Reply, codings: Codings): boolean {
    const owner = this.ownerOf(digitsOf(reply.destination_addr) || reply.destination_addr) ?? UNCLAIMED
    this.counts.add(owner === UNCLAIMED ? 'replies_unclaimed' : 'replies')
    const theirs = owner === UNCLAIMED ? standardCodings : this.codingsOf(owner)
    const { body, esm_class, data_coding } = reply
    const anew = codings === theirs ? undefined : rewrite(body, (esm_class & UDHI) !== 0, data_coding, codings, theirs)
    if (anew !== undefined) {
      reply.body = anew.octets
      reply.data_coding = anew.data_coding
      if (!anew.udhi) reply.esm_class &= ~UDHI
    }
    return this.spool.reply(owner, reply)
  }
}
