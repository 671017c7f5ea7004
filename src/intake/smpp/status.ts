// A Fault as SMPP says it: one table, and nothing else.

import { status } from '../../../protocols/smpp/status.js'
import type { Fault, FaultCode } from '../../model/fault.js'

/** command_status of a submit_sm_resp. SMPP v3.4 §5.1.3; where it has no code, what the field uses. */
const statuses: Readonly<Record<FaultCode, number>> = {
  account_suspended: status.ESME_RSUBMITFAIL,
  sender_refused: status.ESME_RINVSRCADR,
  destination_invalid: status.ESME_RINVDSTADR,
  destination_blocked: status.ESME_RINVDSTADR,
  no_consent: status.ESME_RSUBMITFAIL,
  no_route: status.ESME_RINVDSTADR,
  too_long: status.ESME_RINVMSGLEN,
  body_invalid: status.ESME_RINVMSGLEN,
  coding_unsupported: status.ESME_RSUBMITFAIL,
  schedule_invalid: status.ESME_RINVSCHED,
  validity_invalid: status.ESME_RINVEXPIRY,
  rate_exceeded: status.ESME_RTHROTTLED,
  quota_exceeded: status.ESME_RTHROTTLED,
  no_credit: status.ESME_RSUBMITFAIL,
  queue_full: status.ESME_RMSGQFUL,
  disk_full: status.ESME_RMSGQFUL,
  // Retryable, and what Kannel, Jasmin and cloudhopper all queue again for.
  stopping: status.ESME_RSYSERR,
  store_failed: status.ESME_RSYSERR,
}

export const statusOf = (fault: Fault): number => statuses[fault.code]
