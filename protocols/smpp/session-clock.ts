// One interval for all sessions. The clock itself is given by the caller; between ticks sessions stamp what they send and
// hear with the time of the last tick, so that no PDU costs a reading of the clock.

/** Something that looks at its timers once a tick. */
export interface Ticking {
  tick(now: number): void
}

export class SessionClock {
  /** The time of the last tick, at most `tickMs` ago. */
  time: number
  readonly now: () => number
  readonly tickMs: number
  private readonly members = new Set<Ticking>()
  private timer: NodeJS.Timeout | null = null

  /** `now`: milliseconds, monotonic, not negative. Timers fire up to `tickMs` off, requests expire never early. */
  constructor(now: () => number, tickMs: number) {
    this.now = now
    this.tickMs = tickMs
    this.time = now()
  }

  /** The interval runs while there are members, and does not keep the process alive. */
  join(member: Ticking): void {
    this.members.add(member)
    if (this.timer !== null) return
    this.time = this.now()
    this.timer = setInterval(() => this.tick(), this.tickMs)
    this.timer.unref()
  }

  leave(member: Ticking): void {
    this.members.delete(member)
    if (this.members.size > 0 || this.timer === null) return
    clearInterval(this.timer)
    this.timer = null
  }

  /** What the interval does. */
  tick(): void {
    this.time = this.now()
    for (const member of this.members) member.tick(this.time)
  }
}
