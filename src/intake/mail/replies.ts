// A Fault as SMTP says it: one table; and what the mail door says for itself. RFC 3463; 4xx where the same mail may be
// taken later, 5xx where it never will.

import { type Reply, reply } from '../../../protocols/smtp/replies.js'
import type { Fault, FaultCode } from '../../model/fault.js'

const codes: Readonly<Record<FaultCode, readonly [code: number, enhanced: string]>> = {
  account_suspended: [550, '5.7.1'],
  sender_refused: [553, '5.7.1'],
  destination_invalid: [550, '5.1.3'],
  destination_blocked: [550, '5.7.1'],
  destination_stopped: [550, '5.7.1'],
  destination_dnd: [550, '5.7.1'],
  no_route: [550, '5.7.1'],
  sandbox_off: [550, '5.7.1'],
  loop_suspected: [554, '5.4.6'],
  too_long: [552, '5.3.4'],
  body_invalid: [554, '5.6.0'],
  // No mail is made a message of a template.
  template_unknown: [554, '5.6.0'],
  template_inactive: [554, '5.6.0'],
  variable_missing: [554, '5.6.0'],
  variable_unknown: [554, '5.6.0'],
  variable_invalid: [554, '5.6.0'],
  coding_unsupported: [554, '5.6.1'],
  schedule_invalid: [554, '5.5.4'],
  validity_invalid: [554, '5.5.4'],
  not_waiting: [554, '5.5.1'],
  rate_exceeded: [450, '4.7.1'],
  quota_exceeded: [452, '4.4.5'],
  no_price: [550, '5.7.1'],
  credit_exhausted: [550, '5.7.1'],
  credit_pending: [451, '4.3.0'],
  queue_full: [452, '4.3.1'],
  disk_full: [452, '4.3.1'],
  stopping: [421, '4.3.2'],
  store_failed: [451, '4.3.0'],
}

export function replyOf({ code, text }: Fault): Reply {
  const [number, enhanced] = codes[code]
  const more = code === 'rate_exceeded' ? ', try again in 1 second' : ''
  return reply(number, enhanced, text + more)
}

export const answers = {
  authenticated: reply(235, '2.7.0', 'Authentication successful'),
  barred: reply(421, '4.7.0', 'Too many failed authentications from your address'),
  tooManyConnections: reply(454, '4.7.0', 'Too many connections of the account'),
  noAccount: reply(550, '5.7.1', 'The account is not there any more'),
  senderNotOwned: reply(553, '5.7.1', 'This sender is not one of the account'),
  noMailbox: reply(550, '5.1.1', 'No mailbox here'),
  noRelay: reply(550, '5.7.1', 'Relaying denied: not an SMS domain of ours'),
  noNumber: reply(550, '5.1.3', 'The recipient is not a phone number'),
  nullSender: reply(550, '5.7.1', 'No text messages for notifications without a sender'),
  tooComplex: reply(554, '5.6.0', 'The MIME structure is too complex'),
  empty: reply(554, '5.6.0', 'The mail has no text'),
  automatic: reply(554, '5.7.1', 'No text messages for automatic mail'),
} as const
