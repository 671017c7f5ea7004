// What a command_status means to whoever gets it at a terminal (SMPP v3.4 table 5-2, and what message centres use them
// for). One sentence for each that is met in practice.

import { status, statusName } from '../../protocols/smpp/status.js'

const meanings = new Map<number, string>([
  [status.ESME_RINVMSGLEN, 'the message is too long'],
  [status.ESME_RINVCMDLEN, 'the PDU is malformed'],
  [status.ESME_RINVCMDID, 'the other side does not know this request'],
  [status.ESME_RINVBNDSTS, 'not allowed on this kind of bind'],
  [status.ESME_RALYBND, 'this account is bound already'],
  [status.ESME_RINVPRTFLG, 'the priority is not valid'],
  [status.ESME_RINVREGDLVFLG, 'registered_delivery is not valid'],
  [status.ESME_RSYSERR, 'the other side cannot work at the moment; try again'],
  [status.ESME_RINVSRCADR, 'this sender is not allowed'],
  [status.ESME_RINVDSTADR, 'the destination is not valid, or nothing routes it'],
  [status.ESME_RINVMSGID, 'no message has this id'],
  [status.ESME_RBINDFAIL, 'wrong system_id or password, a suspended account, or too many binds'],
  [status.ESME_RINVPASWD, 'the password is wrong'],
  [status.ESME_RINVSYSID, 'no account has this system_id'],
  [status.ESME_RMSGQFUL, 'the queue is full; try again later'],
  [status.ESME_RINVSERTYP, 'the service_type is not valid'],
  [status.ESME_RINVESMCLASS, 'the esm_class is not valid'],
  [status.ESME_RSUBMITFAIL, 'the message was refused: check credit, consent and the state of the account'],
  [status.ESME_RINVSRCTON, 'the type of number of the sender is not valid'],
  [status.ESME_RINVSRCNPI, 'the numbering plan of the sender is not valid'],
  [status.ESME_RINVDSTTON, 'the type of number of the destination is not valid'],
  [status.ESME_RINVDSTNPI, 'the numbering plan of the destination is not valid'],
  [status.ESME_RINVSYSTYP, 'the system_type is not valid'],
  [status.ESME_RTHROTTLED, 'more messages a second than the account may send; try again'],
  [status.ESME_RINVSCHED, 'the scheduled time is not valid'],
  [status.ESME_RINVEXPIRY, 'the validity period is not valid'],
  [status.ESME_RINVTLVSTREAM, 'the optional parameters are malformed'],
  [status.ESME_RTLVNOTALLWD, 'an optional parameter is not allowed here'],
  [status.ESME_RUNKNOWNERR, 'the other side does not say why'],
])

/** `ESME_RTHROTTLED (0x58): more messages ...`; without a sentence where the code is the other side's own. */
export function explained(code: number): string {
  const meaning = meanings.get(code)
  const name = statusName(code)
  const hex = `0x${code.toString(16).padStart(2, '0')}`
  const head = name.startsWith('ESME_') ? `${name} (${hex})` : `${hex}, a status of its own`
  return meaning === undefined ? head : `${head}: ${meaning}`
}
