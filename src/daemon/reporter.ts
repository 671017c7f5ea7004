// Receipts and replies on their way to binds, with everything they need of the house: what an account wants of them, and
// what a carrier means by its octets. Knows how the parts are joined; who gets what is returns/report's.

import { type Codings, codingOf } from '../../protocols/gsm/coding.js'
import type { Directory } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { Dispatch } from '../dispatch/dispatch.js'
import type { Binds } from '../intake/smpp/binds.js'
import { asMeant } from '../returns/meant.js'
import { Reporter } from '../returns/report.js'
import type { Spool } from '../spool/contract.js'
import type { Lines } from './lines.js'

interface ReporterParts {
  readonly spool: Spool
  readonly binds: Binds
  readonly directory: Directory
  readonly dispatch: Dispatch
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  /** What data_coding means to an account. */
  codingsOf(account: number): Codings
  /** They need the receipts and replies. */
  lines(): Lines
  fault(error: unknown): void
}

export function openReporter(parts: ReporterParts): Reporter {
  const { spool, binds, directory, dispatch, clock, counters, log, codingsOf, lines, fault } = parts
  return new Reporter({
    ...{ spool, binds, counts: counters, clock, log, fault },
    profile: account => directory.account(account)?.smpp,
    reply: (reply, account) => asMeant(reply, lines().codingsOf(reply.carrier), codingsOf(account)),
    isPacked: ({ carrier, data_coding }) => codingOf(data_coding, lines().codingsOf(carrier)) === 'gsm-packed',
    taken: ({ receipt }) => {
      if (receipt !== undefined) dispatch.trail.taken(receipt.id, clock.now())
    },
  })
}
