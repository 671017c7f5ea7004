// How much an account may send in a second, a minute, an hour, a day and a month (UTC), and until when. Counts what was
// taken, in memory; what a day and a month have used is kept beside the spool and survives a restart. Tells when 80 % of a
// day's or month's quota is used, and when all is, once each. What is answered to whoever is over it is submit()'s.

import { z } from 'zod'
import type { Clock } from '../base/clock.js'

const MOST = 1_000_000_000
const limit = z.int().min(1).max(MOST).nullable().default(null)

/** As in a gateway file; null = no limit. */
export const quota = z.strictObject({
  perSecond: limit,
  perMinute: limit,
  perHour: limit,
  perDay: limit,
  perMonth: limit,
  /** From then on it may send nothing. */
  until: z.iso.datetime({ offset: true, error: 'must be a moment like 2030-12-31T00:00:00Z' }).nullable().default(null),
})

export const spans = ['second', 'minute', 'hour', 'day', 'month'] as const
export type Span = (typeof spans)[number]

export interface Quota {
  /** Messages in each of {@link spans}; Infinity = no limit. */
  readonly limits: readonly number[]
  /** Infinity = it has no end. */
  readonly untilMs: number
}

/** Of most accounts: this very object. */
export const noQuota: Quota = { limits: spans.map(() => Number.POSITIVE_INFINITY), untilMs: Number.POSITIVE_INFINITY }

const KEYS = ['perSecond', 'perMinute', 'perHour', 'perDay', 'perMonth'] as const

export function readQuota(stored: object): Quota {
  if (Object.keys(stored).length === 0) return noQuota
  const { until, ...limits } = quota.parse(stored)
  return {
    limits: KEYS.map(key => limits[key] ?? Number.POSITIVE_INFINITY),
    untilMs: until === null ? Number.POSITIVE_INFINITY : Date.parse(until),
  }
}

/** What is stored and exported: what is given. */
export const storedQuota = (given: z.output<typeof quota>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null))

/** What is known of an account as quotas need it. */
export interface Limited {
  readonly id: number
  readonly quota: Quota
}

export interface SpanStanding {
  span: Span
  limit: number
  used: number
  /** When it begins anew, ms. */
  resetMs: number
}

export interface QuotaHost {
  readonly clock: Pick<Clock, 'now'>
  kept(key: string): Buffer | undefined
  /** False: not now. */
  keep(key: string, octets: Buffer, untilMs: number): boolean
  notice(account: number, type: string, data: Readonly<Record<string, unknown>>): void
}

const LENGTHS_MS = [1_000, 60_000, 3_600_000, 86_400_000]
const HOUR = 2
const DAY = 3
const MONTH = 4
const WARNED = 0.8
const FORMAT = 1
/** Format, then start and use of day and month, then what was told. */
const KEPT_OCTETS = 1 + 4 * 8 + 1
/** Accounts counted at a time, as far as what they used is kept. */
const MAX_COUNTED = 100_000
/** Each tick; what a crash forgets is what came since. */
const WRITTEN_AT_ONCE = 500

interface Used {
  /** When each span began, ms. */
  readonly starts: number[]
  readonly counts: number[]
  /** Bits: told of 80 % and of 100 % of the day, and of the month. */
  told: number
  isChanged: boolean
}

export class Quotas {
  private readonly host: QuotaHost
  private readonly used = new Map<number, Used>()
  private readonly changed = new Set<number>()
  private month = { fromMs: 0, toMs: 0 }

  constructor(host: QuotaHost) {
    this.host = host
  }

  /**
   * Which limit `n` more would break; undefined: none. Nothing is counted. `isLent`: they were found to fit seconds and
   * minutes before.
   */
  over({ id, quota }: Limited, n: number, isLent = false): Span | 'until' | undefined {
    const nowMs = this.host.clock.now()
    if (nowMs >= quota.untilMs) return 'until'
    const used = this.of(id, quota, nowMs)
    for (let i = MONTH; i >= (isLent ? HOUR : 0); i--) {
      // More than a second's worth at once is lent when nothing was before it, and paid back.
      const count = used.counts[i] as number
      const most = quota.limits[i] as number
      if (count + (i < HOUR && count === 0 ? Math.min(n, most) : n) > most) return spans[i]
    }
    return undefined
  }

  count(account: Limited, n = 1): void {
    const used = this.of(account.id, account.quota, this.host.clock.now())
    for (let i = 0; i <= MONTH; i++) (used.counts[i] as number) += n
    if (!used.isChanged) {
      used.isChanged = true
      this.changed.add(account.id)
    }
    this.tell(account, used, DAY)
    this.tell(account, used, MONTH)
  }

  /** For those who ask: the spans that have a limit. */
  standing({ id, quota }: Limited): SpanStanding[] {
    const nowMs = this.host.clock.now()
    const used = this.of(id, quota, nowMs)
    return spans.flatMap((span, i) => {
      const limit = quota.limits[i] as number
      if (limit === Number.POSITIVE_INFINITY) return []
      return { span, limit, used: used.counts[i] as number, resetMs: this.endOf(i, used.starts[i] as number) }
    })
  }

  /** Keeps what days and months have used since the last time, a slice of it; false: there is more, and room for it. */
  write(): boolean {
    let left = WRITTEN_AT_ONCE
    for (const id of this.changed) {
      if (left-- === 0) return false
      const used = this.used.get(id) as Used
      const octets = Buffer.alloc(KEPT_OCTETS)
      octets[0] = FORMAT
      const words = [used.starts[DAY], used.counts[DAY], used.starts[MONTH], used.counts[MONTH]]
      for (const [i, word] of words.entries()) octets.writeDoubleLE(word as number, 1 + i * 8)
      octets[KEPT_OCTETS - 1] = used.told
      if (!this.host.keep(keyOf(id), octets, this.endOf(MONTH, used.starts[MONTH] as number))) return true
      used.isChanged = false
      this.changed.delete(id)
    }
    if (this.used.size > MAX_COUNTED) this.used.clear()
    return true
  }

  private of(id: number, quota: Quota, nowMs: number): Used {
    let used = this.used.get(id)
    if (used === undefined) {
      used = this.read(id)
      this.used.set(id, used)
    }
    for (let i = 0; i <= MONTH; i++) {
      const startMs = this.startOf(i, nowMs)
      // A clock that was put back begins nothing anew.
      const beganMs = used.starts[i] as number
      if (startMs <= beganMs) continue
      used.starts[i] = startMs
      used.counts[i] =
        i < HOUR
          ? owed(used.counts[i] as number, quota.limits[i] as number, (startMs - beganMs) / (LENGTHS_MS[i] as number))
          : 0
      if (i >= DAY) used.told &= ~(3 << ((i - DAY) * 2))
    }
    return used
  }

  private read(id: number): Used {
    const used: Used = { starts: spans.map(() => 0), counts: spans.map(() => 0), told: 0, isChanged: false }
    const kept = this.host.kept(keyOf(id))
    if (kept === undefined || kept[0] !== FORMAT) return used
    const word = (i: number): number => kept.readDoubleLE(1 + i * 8)
    used.starts[DAY] = word(0)
    used.counts[DAY] = word(1)
    used.starts[MONTH] = word(2)
    used.counts[MONTH] = word(3)
    used.told = kept[KEPT_OCTETS - 1] as number
    return used
  }

  private tell({ id, quota }: Limited, used: Used, i: number): void {
    const limit = quota.limits[i] as number
    const count = used.counts[i] as number
    const bit = 1 << ((i - DAY) * 2)
    if (count < limit * WARNED) {
      // Also after the limit was raised: then it is told anew.
      used.told &= ~(bit * 3)
      return
    }
    const resets_at = new Date(this.endOf(i, used.starts[i] as number)).toISOString()
    const facts = { span: spans[i], limit, used: count, resets_at }
    if (count >= limit && (used.told & (bit << 1)) === 0) {
      used.told |= bit * 3
      this.host.notice(id, 'account.quota_reached', facts)
    } else if ((used.told & bit) === 0) {
      used.told |= bit
      this.host.notice(id, 'account.quota_warning', { ...facts, percent: WARNED * 100 })
    }
  }

  private startOf(i: number, nowMs: number): number {
    const lengthMs = LENGTHS_MS[i]
    if (lengthMs !== undefined) return nowMs - (nowMs % lengthMs)
    if (nowMs < this.month.fromMs || nowMs >= this.month.toMs) {
      const now = new Date(nowMs)
      const fromMs = Date.UTC(now.getUTCFullYear(), now.getUTCMonth())
      this.month = { fromMs, toMs: monthAfter(fromMs) }
    }
    return this.month.fromMs
  }

  private endOf(i: number, startMs: number): number {
    const lengthMs = LENGTHS_MS[i]
    return lengthMs === undefined ? monthAfter(startMs) : startMs + lengthMs
  }
}

/** What is left of a loan after so many spans. */
const owed = (count: number, limit: number, spans: number): number =>
  limit === Number.POSITIVE_INFINITY ? 0 : Math.max(0, count - limit * spans)

function monthAfter(startMs: number): number {
  const start = new Date(startMs)
  return Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1)
}

const keyOf = (account: number): string => `quota:${account}`
