// What is known about a customer, as the hot path reads it. Objects never change: a change
// in the directory makes a new one, so whoever keeps an account looks it up again.

import type { ClassRank } from '../model/message.js'
import type { Quiet } from '../model/quiet.js'
import type { ConsentProfile } from './consentProfile.js'
import type { Hook } from './hooks.js'
import type { MailProfile } from './mailProfile.js'
import type { OtpProfile } from './otpProfile.js'
import type { Quota } from './quota.js'
import type { SmppProfile } from './smppProfile.js'

export interface Account {
  readonly id: number
  /** system_id over SMPP, user name over SMTP. */
  readonly systemId: string
  /** What routes may call it and others by; '' = none. */
  readonly group: string
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
  /** What it may send in a span of time. */
  readonly quota: Quota
  /** How far below zero its balance may go; null = as far as it will. */
  readonly creditMicros: number | null
  /** Id of the tariff that its messages are priced by; 0 = none: they cost nothing. */
  readonly tariff: number
  /** Of its bulk messages; undefined = the gateway's. */
  readonly quietHours: Quiet | undefined
  readonly smpp: SmppProfile
  readonly mail: MailProfile
  readonly consent: ConsentProfile
  readonly otp: OtpProfile
  /** Where it is told what happened, over HTTP. */
  readonly hooks: readonly Hook[]
}
