// The spool put together: opened as the settings say, and its news told to those whom they concern. Knows who that is;
// decides nothing that the spool could decide.

import { join } from 'node:path'
import type { Clock } from '../base/clock.js'
import { type Counters, Histogram } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { Config } from '../config.js'
import type { Dispatch } from '../dispatch/dispatch.js'
import { isOfMail, isOfOtp } from '../model/message.js'
import type { Tally } from '../model/tally.js'
import type { HistoryWriter } from '../returns/history.js'
import type { Reporter } from '../returns/report.js'
import type { Otp } from '../services/otp/otp.js'
import { type SpoolEvents, way } from '../spool/contract.js'
import { LmdbSpool } from '../spool/lmdb/spool.js'
import type { Doors } from './doors.js'
import type { Lines } from './lines.js'
import type { MailOut } from './mailOut.js'
import type { Routing } from './routing.js'
import type { Told } from './told.js'

const HOUR_MS = 3_600_000

export function openSpool({ dataDir, node, spool }: Config, clock: Clock): Promise<LmdbSpool> {
  return LmdbSpool.open({
    path: join(dataDir, 'spool'),
    node,
    clock,
    mapGb: spool.mapGb,
    reserveMb: spool.reserveMb,
    maxWaiting: spool.maxWaiting,
    maxWaitingPerAccount: spool.maxWaitingPerAccount,
    keepReportsMs: spool.keepReceiptsHours * HOUR_MS,
    keepReportsPerAccount: spool.keepReceiptsPerAccount,
    receiptGraceMs: spool.receiptGraceMs,
  })
}

/** Of each commit: milliseconds from its first put to its sync, and records. */
export interface CommitFigures {
  readonly syncMs: Histogram
  readonly commitRecords: Histogram
}

export const commitFigures = (): CommitFigures => ({
  syncMs: new Histogram(),
  commitRecords: new Histogram([1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000]),
})

interface NewsHost extends CommitFigures {
  readonly dispatch: Dispatch
  readonly lines: Lines
  readonly routing: Routing
  readonly doors: Doors
  readonly reporter: Reporter
  readonly told: Told
  readonly mailOut: MailOut
  readonly otp: Otp
  readonly history: HistoryWriter
  readonly tally: Tally
  readonly counters: Counters
  readonly log: Log
  /** The store failed: the process must end. */
  failed(error: Error): void
}

/** What the spool tells, and whom. */
export function spoolEvents(host: NewsHost): SpoolEvents {
  const { dispatch, lines, routing, reporter, told, mailOut, otp, history, tally, counters, log } = host
  const { syncMs, commitRecords } = host
  const { transactions } = host.doors.operations
  const { congestion } = host.doors
  return {
    ready: lane => dispatch.ready(lane),
    report: (of, by) => {
      if (by === way.bind) reporter.pump(of)
      else if (by === way.mail) mailOut.returns.pump(of)
      else told.webhooks.pump(of, by)
    },
    logged: () => history.wake(),
    ended: (message, ending) => {
      tally.countEnded(message.rank, ending.state, message.carrier)
      const carrier = message.carrier === 0 ? undefined : lines.running.get(message.carrier)
      if (carrier !== undefined) routing.ended(carrier.row.name, message, ending.state)
      if (transactions.busy) transactions.ended(message.id, ending)
      if (message.isMail || isOfMail(message)) mailOut.ended(message, ending)
      if (isOfOtp(message)) otp.course.ended(message, ending)
    },
    unmatched: (carrier, { state }) => {
      counters.add('receipts_unmatched')
      log.debug({ carrier, state }, 'a receipt for no message of ours: dropped')
    },
    apart: parts => {
      counters.add('parts_not_joined', parts)
      log.debug({ parts }, 'parts of a long message that could not be waited for any longer: sent as they came')
    },
    reportsDropped: count => {
      counters.add('reports_dropped', count)
      log.warn({ count }, 'receipts and replies that nobody took: dropped; history has the messages of the receipts')
    },
    synced: (ms, records) => {
      congestion?.synced(ms)
      syncMs.observe(ms)
      commitRecords.observe(records)
    },
    failed: error => host.failed(error),
  }
}
