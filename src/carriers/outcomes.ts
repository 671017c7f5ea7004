// What a carrier's command_status means for us. Numbers and names: SMPP v3.4 table 5-2;
// the right column is our reading, not the standard's.

import { status, statusName } from '../../protocols/smpp/status.js'
import type { Outcome } from '../model/outcome.js'

type Meaning = 'throttled' | 'deferred' | 'refused'

const meanings: ReadonlyMap<number, Meaning> = new Map<number, Meaning>([
  [status.ESME_RTHROTTLED, 'throttled'],
  [status.ESME_RMSGQFUL, 'throttled'],
  [status.ESME_RSYSERR, 'deferred'],
  [status.ESME_RINVBNDSTS, 'deferred'],
  [status.ESME_RSUBMITFAIL, 'deferred'],
  [status.ESME_RX_T_APPN, 'deferred'],
  [status.ESME_RUNKNOWNERR, 'deferred'],
  [status.ESME_RINVMSGLEN, 'refused'],
  [status.ESME_RINVCMDLEN, 'refused'],
  [status.ESME_RINVCMDID, 'refused'],
  [status.ESME_RINVPRTFLG, 'refused'],
  [status.ESME_RINVREGDLVFLG, 'refused'],
  [status.ESME_RINVSRCADR, 'refused'],
  [status.ESME_RINVDSTADR, 'refused'],
  [status.ESME_RINVMSGID, 'refused'],
  [status.ESME_RINVSERTYP, 'refused'],
  [status.ESME_RINVNUMDESTS, 'refused'],
  [status.ESME_RINVDLNAME, 'refused'],
  [status.ESME_RINVDESTFLAG, 'refused'],
  [status.ESME_RINVSUBREP, 'refused'],
  [status.ESME_RINVESMCLASS, 'refused'],
  [status.ESME_RINVSRCTON, 'refused'],
  [status.ESME_RINVSRCNPI, 'refused'],
  [status.ESME_RINVDSTTON, 'refused'],
  [status.ESME_RINVDSTNPI, 'refused'],
  [status.ESME_RINVSYSTYP, 'refused'],
  [status.ESME_RINVREPFLAG, 'refused'],
  [status.ESME_RINVSCHED, 'refused'],
  [status.ESME_RINVEXPIRY, 'refused'],
  [status.ESME_RINVDFTMSGID, 'refused'],
  [status.ESME_RX_P_APPN, 'refused'],
  [status.ESME_RX_R_APPN, 'refused'],
  [status.ESME_RDELIVERYFAILURE, 'refused'],
])

/** For a status that is not ESME_ROK. Unknown codes defer: a wrong retry costs one submit, a wrong refusal costs a message. */
export function outcomeOf(code: number): Outcome {
  const name = statusName(code)
  const meaning = meanings.get(code) ?? 'deferred'
  return meaning === 'throttled' ? { kind: meaning, code: name } : { kind: meaning, code: name, reason: name }
}
