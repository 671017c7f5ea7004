// What can be wrong with a submission, once, for every protocol. Carries what
// each reader needs; the tables that turn it into a command_status, an SMTP reply
// or an HTTP problem stand with their protocols.

/** Stable codes: they stand in metrics, logs and HTTP problems. */
export type FaultCode =
  | 'account_suspended'
  | 'sender_refused'
  | 'destination_invalid'
  | 'destination_blocked'
  | 'destination_stopped'
  | 'destination_dnd'
  | 'no_route'
  | 'sandbox_off'
  | 'loop_suspected'
  | 'too_long'
  | 'body_invalid'
  | 'template_unknown'
  | 'template_inactive'
  | 'variable_missing'
  | 'variable_unknown'
  | 'variable_invalid'
  | 'coding_unsupported'
  | 'schedule_invalid'
  | 'validity_invalid'
  | 'not_waiting'
  | 'rate_exceeded'
  | 'quota_exceeded'
  | 'no_price'
  | 'credit_exhausted'
  | 'credit_pending'
  | 'queue_full'
  | 'disk_full'
  | 'stopping'
  | 'store_failed'

export interface Fault {
  readonly code: FaultCode
  /** For the customer; never reveals configuration. */
  readonly text: string
  /** The same submission may succeed later. */
  readonly retryable: boolean
  /** For the log only. */
  readonly cause?: string
  /** JSON pointer to what is wrong, within the values that a template was given. */
  readonly pointer?: string
}

export const fault = (code: FaultCode, text: string, retryable: boolean, cause?: string): Fault =>
  cause === undefined ? { code, text, retryable } : { code, text, retryable, cause }
