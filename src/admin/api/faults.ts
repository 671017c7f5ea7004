// A Fault of the door as HTTP says it. The third of the tables that do so: the others stand with SMPP and SMTP.

import type { Fault, FaultCode } from '../../model/fault.js'
import { Problem } from '../problem.js'

const statuses: Readonly<Partial<Record<FaultCode, number>>> = {
  account_suspended: 403,
  sender_refused: 403,
  sandbox_off: 403,
  credit_exhausted: 402,
  credit_pending: 503,
  not_waiting: 409,
  rate_exceeded: 429,
  quota_exceeded: 429,
  queue_full: 503,
  disk_full: 503,
  stopping: 503,
  store_failed: 503,
}
const OTHERS = 422

export const statusOfFault = ({ code }: Fault): number => statuses[code] ?? OTHERS

export function problemOf(fault: Fault, more: Record<string, unknown> = {}): Problem {
  const status = statusOfFault(fault)
  return new Problem(status, fault.code, 'The message is not taken', fault.text, {
    retryable: fault.retryable,
    ...more,
  })
}
