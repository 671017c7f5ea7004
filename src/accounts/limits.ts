// How fast an account may submit: one token bucket each, in memory, holding a second's
// worth. Knows numbers only; what to answer is submit()'s.

import { LRUCache } from 'lru-cache'

interface Bucket {
  tokens: number
  atMs: number
}

export class Limits {
  // An account that has been silent long enough to fall out has a full bucket anyway.
  private readonly buckets = new LRUCache<number, Bucket>({ max: 100_000 })

  /** Takes one message of `perSecond`; false when the account is over it. `nowMs` is monotonic. 0 is no limit. */
  take(account: number, perSecond: number, nowMs: number): boolean {
    if (perSecond === 0) return true
    let bucket = this.buckets.get(account)
    if (!bucket) {
      bucket = { tokens: perSecond, atMs: nowMs }
      this.buckets.set(account, bucket)
    }
    bucket.tokens = Math.min(perSecond, bucket.tokens + ((nowMs - bucket.atMs) * perSecond) / 1000)
    bucket.atMs = nowMs
    if (bucket.tokens < 1) return false
    bucket.tokens--
    return true
  }
}
