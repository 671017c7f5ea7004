// What is known about a customer, as the hot path reads it. Objects never change: a change
// in the directory makes a new one, so whoever keeps an account looks it up again.

import type { ClassRank } from '../model/message.js'
import type { MailProfile } from './mailProfile.js'
import type { SmppProfile } from './smppProfile.js'

export interface Account {
  readonly id: number
  /** system_id over SMPP, user name over SMTP. */
  readonly systemId: string
  /** See {@link Secrets.passwordHash}; null = no password is good. */
  readonly secret: Buffer | null
  /** Why; null = live. */
  readonly suspended: string | null
  /** Messages per second, 0 = no limit. */
  readonly throughput: number
  /** Binds at one time, 0 = no limit. */
  readonly maxBinds: number
  /** Class of a message that says nothing. */
  readonly rank: ClassRank
  /** Share among accounts that wait for the same carrier, 1 to 1000. */
  readonly weight: number
  /** Messages in the queue; null = the gateway's own limit. */
  readonly maxWaiting: number | null
  /** Class by service_type. */
  readonly serviceTypes: ReadonlyMap<string, ClassRank>
  /** Source addresses it may use; null = any. */
  readonly senders: ReadonlySet<string> | null
  /** null = unlimited. */
  readonly creditMicros: number | null
  readonly smpp: SmppProfile
  readonly mail: MailProfile
}
