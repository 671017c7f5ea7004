// What binds of the SMPP listener are given, and what becomes of them as counters and lines of the log. Decides nothing
// about messages.

import { networkOf } from '../../protocols/net/address.js'
import { statusName } from '../../protocols/smpp/status.js'
import type { Directory } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { Quiet } from '../base/quiet.js'
import type { Config } from '../config.js'
import { Admission } from '../intake/smpp/admission.js'
import type { Bind, BindHost } from '../intake/smpp/bind.js'
import type { Binds } from '../intake/smpp/binds.js'
import type { Congestion } from '../intake/smpp/congestion.js'
import type { FailedBinds } from '../intake/smpp/failures.js'
import type { Operations } from '../intake/smpp/operations.js'
import type { BindTotals } from '../intake/smpp/totals.js'
import type { Door } from '../intake/submit.js'
import type { Reporter } from '../returns/report.js'
import type { Trace } from './trace.js'

/** Log lines a minute about refused binds, of one network and of all. */
const REFUSED_LINES = 20
const REFUSED_LINES_IN_ALL = 300

export interface BindParts {
  readonly config: Pick<Config, 'smpp'>
  readonly directory: Directory
  readonly door: Door
  readonly binds: Binds
  readonly totals: BindTotals
  readonly reporter: Reporter
  readonly operations: Operations
  readonly congestion: Congestion | null
  readonly failures: FailedBinds
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  readonly trace: Trace
  isStopping(): boolean
  bound(bind: Bind): void
  /** Its connection is over. */
  gone(bind: Bind): void
  fault(error: unknown): void
}

export function bindHost(parts: BindParts): BindHost {
  const { operations, congestion, door, binds, clock, log, counters, trace, reporter, totals, directory } = parts
  const { systemId, peerWindow, legacyBindCodes } = parts.config.smpp
  const refusals = new Quiet(REFUSED_LINES, REFUSED_LINES_IN_ALL, clock.mono)
  return {
    operations,
    congestion,
    door,
    binds,
    clock,
    log,
    systemId,
    peerWindow,
    admission: new Admission(directory, parts.failures, legacyBindCodes),
    account: id => directory.account(id),
    get stopping() {
      return parts.isStopping()
    },
    refused: (bind, why, code) => {
      counters.add('binds_refused')
      counters.add(`binds_refused_${why.replaceAll(' ', '_')}`)
      trace.renamed(bind.session)
      const { peer } = bind.session
      const line = { peer, systemId: bind.systemId, why: `${why} (${statusName(code)})` }
      refusals.warn(log, networkOf(bind.origin.address), line, 'bind refused')
    },
    bound: bind => {
      counters.add('binds')
      trace.renamed(bind.session)
      const { peer, state } = bind.session
      const { isSecure, clientSubject } = bind.origin
      const secure = isSecure ? { tls: true, ...(clientSubject === null ? {} : { clientSubject }) } : {}
      log.info({ peer, systemId: bind.systemId, state, version: bind.interfaceVersion, ...secure }, 'bound')
      parts.bound(bind)
    },
    closed: (bind, reason) => {
      counters.add(`closed_${reason.replaceAll(' ', '_')}`)
      parts.gone(bind)
      totals.closed(bind)
      if (bind.accountId === 0) {
        // Port scanners and load balancers' probes come by the thousand.
        log.debug({ peer: bind.session.peer, reason }, 'connection closed')
        return
      }
      const { systemId, submitted, delivered } = bind
      log.info({ peer: bind.session.peer, systemId, reason, submitted, delivered }, 'unbound')
    },
    room: account => reporter.pump(account),
    answered: (bind, report, code, isNack) => reporter.answered(bind, report, code, isNack),
    lost: (bind, unanswered, reason) => reporter.lost(bind, unanswered, reason),
    fault: error => parts.fault(error),
  }
}

/** Suspended accounts keep no bind. */
export function closeSuspended(binds: Binds, directory: Directory): void {
  for (const bind of [...binds.all]) {
    if (bind.accountId === 0) continue
    const account = directory.account(bind.accountId)
    if (account === undefined || account.suspended !== null) bind.session.unbind('account suspended')
  }
}
