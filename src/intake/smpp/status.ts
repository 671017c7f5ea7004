// A Fault as SMPP says it: one table, and nothing else.

import { status } from '../../../protocols/smpp/status.js'
import type { Fault, FaultCode } from '../../model/fault.js'

/** command_status of a submit_sm_resp. SMPP v3.4 §5.1.3; where it has no code, what the field uses. */
const statuses: Readonly<Record<FaultCode, number>> = {
  account_suspended: status.ESME_RSUBMITFAIL,
  sender_refused: status.ESME_RINVSRCADR,
  destination_invalid: status.ESME_RINVDSTADR,
  destination_blocked: status.ESME_RINVDSTADR,
  destination_stopped: status.ESME_RINVDSTADR,
  destination_dnd: status.ESME_RINVDSTADR,
  no_route: status.ESME_RINVDSTADR,
  sandbox_off: status.ESME_RINVDSTADR,
  // Refused for good: ESME_RSUBMITFAIL would be tried again, and go round again.
  loop_suspected: status.ESME_RINVDSTADR,
  too_long: status.ESME_RINVMSGLEN,
  body_invalid: status.ESME_RINVMSGLEN,
  // No SMPP message is made of a template.
  template_unknown: status.ESME_RSUBMITFAIL,
  template_inactive: status.ESME_RSUBMITFAIL,
  variable_missing: status.ESME_RSUBMITFAIL,
  variable_unknown: status.ESME_RSUBMITFAIL,
  variable_invalid: status.ESME_RSUBMITFAIL,
  coding_unsupported: status.ESME_RSUBMITFAIL,
  schedule_invalid: status.ESME_RINVSCHED,
  validity_invalid: status.ESME_RINVEXPIRY,
  not_waiting: status.ESME_RREPLACEFAIL,
  rate_exceeded: status.ESME_RTHROTTLED,
  quota_exceeded: status.ESME_RTHROTTLED,
  no_price: status.ESME_RINVDSTADR,
  credit_exhausted: status.ESME_RSUBMITFAIL,
  credit_pending: status.ESME_RTHROTTLED,
  queue_full: status.ESME_RMSGQFUL,
  disk_full: status.ESME_RMSGQFUL,
  // Retryable, and what Kannel, Jasmin and cloudhopper all queue again for.
  stopping: status.ESME_RSYSERR,
  store_failed: status.ESME_RSYSERR,
}

/** What only peers of v5.0 know by a code of its own (v5.0 §4.7.6). */
const statusesOfV5: Readonly<Partial<Record<FaultCode, number>>> = {
  account_suspended: status.ESME_RPROHIBITED,
  coding_unsupported: status.ESME_RINVDCS,
}

/** `version` is the interface_version that the peer bound with. */
export const statusOf = (fault: Fault, version: number): number =>
  (version >= 0x50 ? statusesOfV5[fault.code] : undefined) ?? statuses[fault.code]
