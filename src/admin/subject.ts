// What the side-port shows and may ask for: the running house, as far as an operator sees it.
// Types only; daemon.ts gives the real parts, tests give what they need.

import type { PduCounts } from '../../protocols/smpp/counts.js'
import type { Account } from '../accounts/account.js'
import type { CarrierRow } from '../accounts/carrier.js'
import type { Consent } from '../accounts/consent.js'
import type { CreditFigures } from '../accounts/credit.js'
import type { InvoiceSettings } from '../accounts/invoiceMaking.js'
import type { Quotas } from '../accounts/quota.js'
import type { RouteRow } from '../accounts/route.js'
import type { Secrets } from '../accounts/secrets.js'
import type { Clock } from '../base/clock.js'
import type { Counters, Histogram } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { CaughtMails } from '../carriers/catch.js'
import type { Dispatch } from '../dispatch/dispatch.js'
import type { Line } from '../dispatch/line.js'
import type { Binds } from '../intake/smpp/binds.js'
import type { BindTotals } from '../intake/smpp/totals.js'
import type { Message } from '../model/message.js'
import type { Tally } from '../model/tally.js'
import type { HistoryFigures } from '../returns/history.js'
import type { Replies } from '../returns/replies.js'
import type { WebhookDesk } from '../returns/webhookDesk.js'
import type { Blocked } from '../routing/blocked.js'
import type { Standing } from '../routing/quality.js'
import type { RouteRule } from '../routing/table.js'
import type { Spool } from '../spool/contract.js'
import type { Store } from '../store/postgres.js'
import type { OtpDesk } from './api/otp.js'
import type { TemplateHost } from './api/templates.js'
import type { Analytics } from './statsAnswer.js'

export interface RunningCarrier {
  readonly row: CarrierRow
  readonly line: Line
  /** null for what speaks no SMPP. */
  readonly counts: PduCounts | null
  /** Links that stand still or wait try again at once. */
  readonly smpp?: { wake(): void } | null
}

export interface AdminDirectory {
  /** This node's copy is whole. */
  readonly ready: boolean
  readonly version: number
  accountBySystemId(systemId: string): Account | undefined
  /** Up to `count` accounts whose ids are above `id`, in the order of their ids. */
  accountsAfter(id: number, count: number): Account[]
  carriers(): readonly CarrierRow[]
  routes(): readonly RouteRow[]
}

/** Ports in use by listener; null = off. */
export type Ports = Readonly<Record<string, number | null>>

/** An SMPP connection, as a live trace sees it. */
export interface TracedSession {
  /** Counted from the start of the daemon. */
  readonly serial: number
  readonly kind: 'account' | 'carrier'
  /** The system_id or the carrier's name; '' until it is known. */
  readonly name: string
  /** `192.0.2.1:2775` */
  readonly peer: string
  readonly local: string
}

/** Who watches sessions live. Is called on the way of each PDU: it must be quick and must not throw. */
export interface TraceTap {
  wants(session: TracedSession): boolean
  /** The octets are those on the wire, and only for this call. */
  pdu(
    session: TracedSession,
    direction: 'received' | 'sent',
    atMs: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void
  /** So many PDUs were not shown. */
  missed(pdus: number): void
  ended(session: TracedSession): void
}

/** What changes and look-ups of an operator need besides what is shown. */
export interface AdminDesk {
  readonly store: Store
  readonly secrets: Secrets
  readonly consent: Consent
  readonly replies: Replies
  readonly webhooks: WebhookDesk
  readonly templates: TemplateHost
  readonly otp: OtpDesk
  readonly spool: Pick<
    Spool,
    'walk' | 'find' | 'inHand' | 'retry' | 'cancel' | 'move' | 'receiptWaits' | 'synced' | 'readLog' | 'kept'
  >
  /** Resolves when what was written to the directory until now holds on this node. */
  refresh(): Promise<void>
  account(id: number): Account | undefined
  readonly quotas: Pick<Quotas, 'standing'>
}

/** The routing that runs, and what it has learned. */
export interface AdminRouting {
  readonly blocked: Blocked
  choose(rule: RouteRule, m: Message, isUp: (carrier: string) => boolean): string | undefined
  /** Of a part to these digits; undefined: the carrier names no price. */
  priceMicros(carrier: string, digits: string): number | undefined
  areaOf(digits: string): string
  /** '' = in all areas. */
  standing(carrier: string, area: string): Standing
  /** When the hours end in which a bulk message of the account waits, ms; 0: it does not. */
  quietUntil(account: Account, digits: string, atMs: number): number
}

export interface AdminSubject {
  readonly version: string
  /** Wall clock. */
  readonly startedMs: number
  readonly clock: Clock
  readonly log: Log
  readonly config: {
    readonly node: number
    readonly dataDir: string
    readonly admin: {
      /** null: nobody administers over TCP. */
      readonly key: string | null
      /** system_ids. */
      readonly metricsAccounts: readonly string[]
      /** Pages from there may ask. */
      readonly allowedOrigins: readonly string[]
      readonly trustedProxies: readonly string[]
    }
    readonly billing: InvoiceSettings
  }
  readonly spool: Pick<Spool, 'figures' | 'refusal' | 'exhausted' | 'crashed'>
  readonly dispatch: Pick<Dispatch, 'routes' | 'resentAfterCrash' | 'trail'>
  readonly desk: AdminDesk
  readonly routing: AdminRouting
  readonly lines: { readonly running: ReadonlyMap<number, RunningCarrier> }
  readonly binds: Pick<Binds, 'all' | 'bound' | 'count'>
  readonly totals: Pick<BindTotals, 'of'>
  readonly tally: Tally
  /** Of the SMPP listener. */
  readonly smppCounts: PduCounts
  readonly directory: AdminDirectory
  readonly counters: Counters
  /** From the first octet of an event to its answer's. */
  readonly webhookMs: Histogram
  readonly history: { readonly figures: Readonly<HistoryFigures> }
  readonly analytics: Analytics
  readonly store: { readonly ready: boolean }
  /** What this node may spend of its accounts' credit. */
  readonly credit: { figures(): CreditFigures }
  /** From the first put of a commit to its sync. */
  readonly syncMs: Histogram
  readonly commitRecords: Histogram
  readonly trace: {
    readonly named: readonly string[]
    use(names: readonly string[]): void
    /** Shows it the sessions that it wants, from now on; returns how to stop. */
    tap(tap: TraceTap): () => void
  }
  /** Mails that were caught; null: they are delivered. */
  readonly caught: CaughtMails | null
  /** null until all listeners are up. */
  readonly ports: Ports | null
  readonly stopping: boolean
  /** Begins the graceful stop and returns. */
  drain(): void
}
