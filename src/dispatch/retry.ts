// When to try again, and when not any more. One formula, one place; pure.

import { idTimeMs } from '../base/ids.js'
import type { Message } from '../model/message.js'

/** Of a class: the first wait, the longest, and how old a message is tried again at all. */
export interface RetryRules {
  readonly firstMs: number
  readonly capMs: number
  readonly maxAgeMs: number
}

/**
 * `attempt` counts tries already made (1 = the first has just failed). Doubles from
 * `firstMs`, never above `capMs`, spread by ±25 % so that a thousand messages deferred
 * together do not come back together. `random` is in [0, 1).
 */
export function retryDelayMs(attempt: number, firstMs: number, capMs: number, random: number): number {
  const grown = Math.min(firstMs * 2 ** Math.min(attempt - 1, 30), capMs)
  return Math.round(grown * (0.75 + random / 2))
}

/**
 * The moment of the next try, wall clock; null: by then the message is too old, counted from when it was accepted or
 * was to be sent. Its validity is the store's: what is past it is never claimed.
 */
export function retryAt(m: Message, rules: RetryRules, nowMs: number, random: number): number | null {
  const dueMs = nowMs + retryDelayMs(Math.max(m.attempts, 1), rules.firstMs, rules.capMs, random)
  return dueMs - Math.max(idTimeMs(m.id), m.scheduleMs) > rules.maxAgeMs ? null : dueMs
}
