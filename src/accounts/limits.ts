// How fast an account may submit: one token bucket each, in memory, holding a second's
// worth, and owing what came at once and was more. Knows numbers only; what to answer is submit()'s.

import { LRUCache } from 'lru-cache'

interface Bucket {
  tokens: number
  atMs: number
}

export class Limits {
  // An account that has been silent long enough to fall out has a full bucket anyway. `max` would make room for all at
  // once, 10 ms of each start.
  private readonly buckets = new LRUCache<number, Bucket>({ maxSize: 100_000, sizeCalculation: () => 1 })

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
}
