// What one-time passwords need of the house, and what they answer when something cannot be. Types alone.

import type { Account } from '../../accounts/account.js'
import type { Clock } from '../../base/clock.js'
import type { Counters } from '../../base/figures.js'
import type { Log } from '../../base/log.js'
import type { Door } from '../../intake/submit.js'
import type { Spool } from '../../spool/contract.js'
import type { Store } from '../../store/postgres.js'
import type { GuardSettings } from './guard.js'
import type { SendLimits } from './limits.js'
import type { Peppers } from './peppers.js'

export interface OtpSettings {
  /** Digits of a code, where neither account nor request say. */
  readonly length: number
  readonly expiryMs: number
  readonly attempts: number
  /** Wrong codes count for the next session of the same destination and purpose for so long after the first. */
  readonly attemptsMs: number
  readonly limits: SendLimits
  readonly guard: GuardSettings
  /** Days for which what became of sessions is kept in SQL. */
  readonly keepDays: number
}

/** What the code of a message was, once that is known. */
export interface CodeOutcome {
  readonly carrier: number
  readonly account: number
  readonly destination: string
  /** True: the code expired, though its message was reported delivered. False: it was entered before any such report. */
  readonly isUnused: boolean
  readonly afterMs: number
}

/** Templates, filled in. */
export interface OtpTemplates {
  render(
    account: number,
    id: string,
    variables: Readonly<Record<string, string>>,
    version: number | undefined,
    locale: string,
  ): Promise<{ readonly text: string; readonly templateId: string; readonly version: number } | Refusal>
  /** One was sent. */
  used(templateId: string): void
}

export interface OtpHost {
  readonly spool: Pick<
    Spool,
    'keep' | 'kept' | 'keptAfter' | 'dropKept' | 'cancel' | 'converted' | 'synced' | 'event' | 'find'
  >
  readonly door: Pick<Door, 'admit' | 'refusal' | 'preview' | 'submitAdmitted' | 'submitMail' | 'creditKnown'>
  readonly store: Pick<Store, 'query' | 'ready'>
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  readonly peppers: Peppers
  readonly settings: OtpSettings
  /** Its numbers play their parts, and test keys are good. */
  readonly sandbox: boolean
  /** Whose name a mail bears whose account says nothing. */
  readonly postmaster: string
  readonly hostname: string
  readonly templates: OtpTemplates
  account(id: number): Account | undefined
  /** A notice to the account: its webhooks, and a line in the log, with `logged` in the place of what stands in `data`. */
  notice(
    account: number,
    type: string,
    data: Readonly<Record<string, unknown>>,
    logged?: Readonly<Record<string, unknown>>,
  ): void
  /** For whoever judges carriers. */
  learned(outcome: CodeOutcome): void
  fault(error: unknown): void
}

/** Why something was not done: for the customer, with a stable code. A Fault of the door is one. */
export interface Refusal {
  readonly code: string
  readonly text: string
  /** The same may succeed later. */
  readonly retryable: boolean
  /** When it may, if that is known. */
  readonly untilMs?: number
  readonly more?: Readonly<Record<string, unknown>>
}

export const refusal = (code: string, text: string, more: Omit<Partial<Refusal>, 'code' | 'text'> = {}): Refusal => ({
  code,
  text,
  retryable: false,
  ...more,
})

export const isRefusal = (answer: object): answer is Refusal => 'retryable' in answer && 'text' in answer

export const diskFull = refusal('disk_full', 'no room for it at this moment', { retryable: true })
