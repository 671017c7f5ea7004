// Receipts and replies on their way to the customer: taken from the outbox as the
// account's binds have room, gone when the ESME says so, given back when it does not.
// Knows the outbox and what an answer means; the wire is intake/smpp's.

import { status } from '../../protocols/smpp/status.js'
import type { Counters } from '../base/figures.js'
import type { Binds } from '../intake/smpp/binds.js'
import type { Report, Spool } from '../spool/contract.js'

const CLAIM = 128
/** An ESME that says "not now" is left alone for this long. */
const REST_MS = 1_000

/** Answers after which the report is not offered again (SMPP v3.4 §5.1.3: RX_P and RX_R are for good). */
const FINAL = new Set<number>([
  status.ESME_ROK,
  status.ESME_RX_P_APPN,
  status.ESME_RX_R_APPN,
  status.ESME_RINVMSGID,
  status.ESME_RINVDSTADR,
  status.ESME_RINVSRCADR,
  status.ESME_RINVMSGLEN,
  status.ESME_RINVESMCLASS,
  status.ESME_RINVCMDID,
  status.ESME_RINVCMDLEN,
])

export class Reporter {
  private readonly spool: Spool
  private readonly binds: Binds
  private readonly counts: Counters
  private readonly fault: (error: unknown) => void
  private readonly resting = new Set<number>()
  private stopping = false

  constructor(spool: Spool, binds: Binds, counts: Counters, fault: (error: unknown) => void) {
    this.spool = spool
    this.binds = binds
    this.counts = counts
    this.fault = fault
  }

  /** The account got a report, or one of its binds has room. */
  pump(account: number): void {
    if (this.stopping || this.resting.has(account)) return
    for (;;) {
      const bind = this.binds.receiver(account)
      if (!bind) return
      const reports = this.spool.claimReports(account, Math.min(CLAIM, bind.session.room()))
      if (reports.length === 0) return
      for (const report of reports) {
        try {
          bind.deliver(report)
        } catch (error) {
          // What cannot be written would stand at the head of the queue for ever.
          this.spool.reportDone(report)
          this.counts.add('reports_unwritable')
          this.fault(error)
        }
      }
    }
  }

  /** The ESME's answer; undefined when none came or its connection was lost. */
  answered(report: Report, code: number | undefined): void {
    if (code !== undefined && FINAL.has(code)) {
      if (code !== status.ESME_ROK) this.counts.add('reports_refused')
      else this.counts.add(report.kind === 'receipt' ? 'receipts_delivered' : 'replies_delivered')
      this.spool.reportDone(report)
      return
    }
    this.spool.giveBackReport(report)
    this.counts.add(code === undefined ? 'reports_unanswered' : 'reports_deferred')
    if (code === undefined) return
    const { account } = report
    if (this.resting.has(account)) return
    this.resting.add(account)
    setTimeout(() => {
      this.resting.delete(account)
      this.pump(account)
    }, REST_MS).unref()
  }

  /** Hands out nothing more. */
  stop(): void {
    this.stopping = true
  }
}
