// How many notifications one sender of mails gets: so many a minute. Bounded; knows senders by name only.

const A_MINUTE = 20
const MINUTE_MS = 60_000
const REMEMBERED = 10_000

export class MailPace {
  private readonly now: () => number
  private readonly minutes = new Map<string, { readonly fromMs: number; sent: number }>()

  /** `now`: milliseconds, monotonic. */
  constructor(now: () => number) {
    this.now = now
  }

  /** False: enough for this minute. */
  take(sender: string): boolean {
    const now = this.now()
    const minute = this.minutes.get(sender)
    if (minute !== undefined && now - minute.fromMs < MINUTE_MS) return ++minute.sent <= A_MINUTE
    this.minutes.delete(sender)
    this.minutes.set(sender, { fromMs: now, sent: 1 })
    for (const oldest of this.minutes.keys()) {
      if (this.minutes.size <= REMEMBERED) break
      this.minutes.delete(oldest)
    }
    return true
  }
}
