// What the side-port shows and may ask for: the running house, as far as an operator sees it.
// Types only; daemon.ts gives the real parts, tests give what they need.

import type { PduCounts } from '../../protocols/smpp/counts.js'
import type { Account } from '../accounts/account.js'
import type { CarrierRow } from '../accounts/carrier.js'
import type { RouteRow } from '../accounts/route.js'
import type { Clock } from '../base/clock.js'
import type { Counters, Histogram } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { Dispatch, Line } from '../dispatch/dispatch.js'
import type { Binds } from '../intake/smpp/binds.js'
import type { BindTotals } from '../intake/smpp/totals.js'
import type { Tally } from '../model/tally.js'
import type { HistoryFigures } from '../returns/history.js'
import type { Spool } from '../spool/contract.js'

export interface RunningCarrier {
  readonly row: CarrierRow
  readonly line: Line
  /** null for what speaks no SMPP. */
  readonly counts: PduCounts | null
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
    }
  }
  readonly spool: Pick<Spool, 'figures' | 'refusal' | 'exhausted' | 'crashed'>
  readonly dispatch: Pick<Dispatch, 'routes' | 'resentAfterCrash'>
  readonly lines: { readonly running: ReadonlyMap<number, RunningCarrier> }
  readonly binds: Pick<Binds, 'all' | 'bound' | 'count'>
  readonly totals: Pick<BindTotals, 'of'>
  readonly tally: Tally
  /** Of the SMPP listener. */
  readonly smppCounts: PduCounts
  readonly directory: AdminDirectory
  readonly counters: Counters
  readonly history: { readonly figures: Readonly<HistoryFigures> }
  readonly store: { readonly ready: boolean }
  /** From the first put of a commit to its sync. */
  readonly syncMs: Histogram
  readonly commitRecords: Histogram
  readonly trace: {
    readonly named: readonly string[]
    use(names: readonly string[]): void
  }
  /** null until all listeners are up. */
  readonly ports: Ports | null
  readonly stopping: boolean
  /** Begins the graceful stop and returns. */
  drain(): void
}
