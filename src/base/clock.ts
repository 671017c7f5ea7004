// The only reader of the clock. Everything below daemon.ts is given a Clock and
// asks it; tests give their own. Wall time is for people and validity periods,
// monotonic time for timers and latency.

export interface Clock {
  /** Milliseconds since 1970, UTC. May be set back by the operator. */
  now(): number
  /** Milliseconds on a clock that never runs back; fractions allowed. */
  mono(): number
}

export const systemClock: Clock = {
  now: () => Date.now(),
  mono: () => performance.now(),
}

/** A clock that stands still until it is told to move. */
export class ManualClock implements Clock {
  private wall: number
  private steady = 0

  constructor(startMs: number) {
    this.wall = startMs
  }

  now(): number {
    return this.wall
  }

  mono(): number {
    return this.steady
  }

  advance(ms: number): void {
    this.wall += ms
    this.steady += ms
  }

  /** Sets only the wall clock, as an operator or NTP would. */
  setWall(ms: number): void {
    this.wall = ms
  }
}
