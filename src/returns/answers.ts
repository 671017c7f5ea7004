// What an ESME's answer to a deliver_sm says of the report in it, and the destinations for which one has said that it
// wants no more. By the standard's codes alone; what follows from it is returns/report's.

import { status } from '../../protocols/smpp/status.js'
import type { Report } from '../spool/contract.js'

/** Destinations an ESME wants no more for that are remembered. */
const MAX_STOPPED = 10_000

/** Answers after which this report is not offered again (SMPP v3.4 §5.1.3: RX_R is for this message). */
const FINAL = new Set<number>([
  status.ESME_RX_R_APPN,
  status.ESME_RINVMSGID,
  status.ESME_RINVDSTADR,
  status.ESME_RINVSRCADR,
  status.ESME_RINVMSGLEN,
  status.ESME_RINVESMCLASS,
  status.ESME_RINVCMDID,
  status.ESME_RINVCMDLEN,
])
/** Answers after which it is offered until it is taken or too old. */
const NOT_NOW = new Set<number>([
  status.ESME_RX_T_APPN,
  status.ESME_RMSGQFUL,
  status.ESME_RTHROTTLED,
  status.ESME_RSYSERR,
])

/** `stop`: nothing more for this destination; `unclear`: neither yes nor no, a generic_nack or a code of their own. */
export type Meaning = 'taken' | 'later' | 'final' | 'stop' | 'unclear'

export function meaningOf(code: number, isNack: boolean): Meaning {
  if (code === status.ESME_ROK && !isNack) return 'taken'
  if (NOT_NOW.has(code)) return 'later'
  if (isNack) return 'unclear'
  if (code === status.ESME_RX_P_APPN) return 'stop'
  return FINAL.has(code) ? 'final' : 'unclear'
}

/** Accounts and destinations of ESME_RX_P_APPN (SMPP v3.4 §5.1.3): what was queued when it came is not offered. */
export class Stopped {
  /** The number of the newest report of that moment: by a clock that is set back, all that comes would be old. */
  private readonly until = new Map<string, number>()

  get none(): boolean {
    return this.until.size === 0
  }

  add(report: Report, newest: number): void {
    // The oldest goes first, and one that is said again counts as new.
    const key = destinationOf(report)
    this.until.delete(key)
    this.until.set(key, newest)
    for (const oldest of this.until.keys()) {
      if (this.until.size <= MAX_STOPPED) break
      this.until.delete(oldest)
    }
  }

  has(report: Report): boolean {
    return report.seq <= (this.until.get(destinationOf(report)) ?? -1)
  }
}

/** As the deliver_sm has it: of a receipt, who sent the message. */
function destinationOf({ account, receipt, reply }: Report): string {
  return `${account} ${receipt ? receipt.source_addr : reply?.destination_addr}`
}
