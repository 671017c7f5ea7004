// How fast an account may submit: one token bucket each, in memory, holding a second's worth, and owing what came at once
// and was more; and its quotas, where it has any. Knows numbers only; what to answer is submit()'s.

import { LRUCache } from 'lru-cache'
import type { Account } from './account.js'
import { noQuota, type Quotas, type Span } from './quota.js'

/** What may still be taken of a limit. */
export interface LimitStanding {
  /** `pace` is the account's messages a second, the others its quotas. */
  readonly name: 'pace' | Span
  readonly limit: number
  readonly left: number
  readonly windowS: number
  /** Until it has all its room again. */
  readonly resetS: number
}

const WINDOWS_S: Readonly<Record<Span, number>> = {
  second: 1,
  minute: 60,
  hour: 3_600,
  day: 86_400,
  month: 31 * 86_400,
}

interface Bucket {
  tokens: number
  atMs: number
}

export class Limits {
  // An account that has been silent long enough to fall out has a full bucket anyway. `max` would make room for all at
  // once, 10 ms of each start.
  private readonly buckets = new LRUCache<number, Bucket>({ maxSize: 100_000, sizeCalculation: () => 1 })

  private readonly quotas: Quotas | null

  constructor(quotas: Quotas | null = null) {
    this.quotas = quotas
  }

  /**
   * Room for `n` messages of the account, which are taken of its pace but not yet {@link count}ed in its quotas, or the
   * limit that they would break. `others` of its are on their way to be counted. `nowMs` is monotonic.
   */
  over(account: Account, nowMs: number, n = 1, others = 0): Span | 'until' | undefined {
    const { quota, id, throughput } = account
    const over = quota === noQuota ? undefined : this.quotas?.over(account, n + others)
    if (over !== undefined) return over
    return this.take(id, throughput, nowMs, n) ? undefined : 'second'
  }

  /** Whether `n` messages that {@link over} has let in would still break a quota: others may have come between. */
  overQuota(account: Account, n = 1): Span | 'until' | undefined {
    return account.quota === noQuota ? undefined : this.quotas?.over(account, n, true)
  }

  /** One message was taken. */
  count(account: Account): void {
    if (account.quota !== noQuota) this.quotas?.count(account)
  }

  /**
   * Takes `n` messages of `perSecond`, or none: false when the account is over it. `nowMs` is monotonic. 0 is no limit.
   * More than a second's worth is lent to a bucket that is full, and paid back before it gives again.
   */
  take(account: number, perSecond: number, nowMs: number, n = 1): boolean {
    if (perSecond === 0) return true
    let bucket = this.buckets.get(account)
    if (!bucket) {
      bucket = { tokens: perSecond, atMs: nowMs }
      this.buckets.set(account, bucket)
    }
    bucket.tokens = Math.min(perSecond, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1000)
    bucket.atMs = nowMs
    if (bucket.tokens < Math.min(n, perSecond)) return false
    bucket.tokens -= n
    return true
  }

  /** Of each limit that the account has, how much it could take now; `nowMs` is monotonic, `wallMs` as quotas have it. */
  standing(account: Account, nowMs: number, wallMs: number): LimitStanding[] {
    const { id, throughput, quota } = account
    const all: LimitStanding[] = []
    if (throughput > 0) {
      const { tokens, atMs } = this.buckets.peek(id) ?? { tokens: throughput, atMs: nowMs }
      const left = Math.min(throughput, tokens + ((nowMs - atMs) * throughput) / 1_000)
      // What was lent is paid back first.
      const resetS = Math.max(1, Math.ceil((throughput - left) / throughput))
      all.push({ name: 'pace', limit: throughput, left, windowS: 1, resetS })
    }
    if (quota === noQuota) return all
    for (const { span, limit, used, resetMs } of this.quotas?.standing(account) ?? []) {
      const resetS = Math.max(0, Math.ceil((resetMs - wallMs) / 1_000))
      all.push({ name: span, limit, left: limit - used, windowS: WINDOWS_S[span], resetS })
    }
    return all
  }
}
