// Keeps noisy peers from filling the log: so many lines a minute of each and of all, then silence, and how many were left
// out with the next line. Bounded; knows neither peers nor what they did.

import type { Log, LogFields } from './log.js'

const MINUTE_MS = 60_000
const REMEMBERED = 1_000

interface Minute {
  readonly fromMs: number
  lines: number
}

export class Quiet {
  private readonly perKey: number
  private readonly inAll: number
  private readonly now: () => number
  private readonly minutes = new Map<string, Minute>()
  private whole: Minute = { fromMs: Number.NEGATIVE_INFINITY, lines: 0 }
  private leftOut = 0

  /** `perKey` and `inAll`: lines a minute. `now`: milliseconds, monotonic. */
  constructor(perKey: number, inAll: number, now: () => number) {
    this.perKey = perKey
    this.inAll = inAll
    this.now = now
  }

  /** A warning with `fields`, unless there were enough of `key`; `leftOut` tells of those that were not written. */
  warn(log: Log, key: string, fields: LogFields, message: string): void {
    const leftOut = this.take(key)
    if (leftOut !== undefined) log.warn(leftOut > 0 ? { ...fields, leftOut } : fields, message)
  }

  /** undefined: leave this line out. Else how many, of whatever key, were left out since the last that was not. */
  take(key: string): number | undefined {
    const now = this.now()
    if (now - this.whole.fromMs >= MINUTE_MS) this.whole = { fromMs: now, lines: 0 }
    let minute = this.minutes.get(key)
    if (minute === undefined || now - minute.fromMs >= MINUTE_MS) {
      minute = { fromMs: now, lines: 0 }
      this.minutes.delete(key)
      this.minutes.set(key, minute)
      if (this.minutes.size > REMEMBERED) this.minutes.delete(this.minutes.keys().next().value as string)
    }
    if (minute.lines >= this.perKey || this.whole.lines >= this.inAll) {
      this.leftOut++
      return undefined
    }
    minute.lines++
    this.whole.lines++
    const { leftOut } = this
    this.leftOut = 0
    return leftOut
  }
}
