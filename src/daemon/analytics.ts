// The analytics put together: what counts along with history, what answers questions, and what drops the old. Decides nothing.

import type { Analytics } from '../admin/statsAnswer.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import type { Config } from '../config.js'
import type { SlicePart } from '../returns/history.js'
import { Stats, StatsUpkeep } from '../returns/stats.js'
import { StatsPast } from '../returns/statsPast.js'
import type { Store } from '../store/postgres.js'

export interface AnalyticsParts {
  readonly config: Pick<Config, 'analytics' | 'billing'>
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
}

export interface RunningAnalytics {
  /** Of each slice of history. */
  readonly part: SlicePart
  readonly shown: Analytics
  start(): void
  stop(): Promise<void>
}

export function openAnalytics({ config, store, clock, log }: AnalyticsParts): RunningAnalytics {
  const { hoursDays, days, showCarriers } = config.analytics
  const stats = new Stats()
  const upkeep = new StatsUpkeep({ stats, store, retention: { hoursDays, days }, clock, log })
  return {
    part: stats,
    shown: {
      past: new StatsPast(store, { hoursDays, days }, () => clock.now()),
      totals: stats.totals,
      currency: config.billing.currency,
      showsCarriers: showCarriers,
      nowMs: () => clock.now(),
    },
    start: () => upkeep.start(),
    stop: () => upkeep.stop(),
  }
}
