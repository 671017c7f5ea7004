// How fast a carrier may be sent to: a token bucket that fills evenly, narrowed by
// throttled answers and widened again by success. Pure; time is an argument (monotonic ms).

/** A bucket holds this much of a second, so that a pause is not followed by a burst. */
const DEPTH_S = 0.05
const NARROW = 0.7
const WIDEN = 1.02
const WIDEN_EVERY_MS = 200
/** One narrowing for all the throttled answers of a window that was already on its way. */
const NARROW_EVERY_MS = 500
const REST_MS = 100
const LEAST = 1
/** The present rate is measured over so long, so that a pause before a burst does not make it a slow one. */
const MEASURE_MS = 1_000
/** A burst that is answered at once has not lasted no time at all. */
const LEAST_MEASURE_MS = 50

export class Pace {
  /** The contract's rate; 0 = none. */
  private readonly limit: number
  /** Parts a second now; Infinity when nothing limits. */
  private rate: number
  private tokens: number
  private atMs: number
  private widenedMs = 0
  private narrowedMs = Number.NEGATIVE_INFINITY
  private restUntilMs = Number.NEGATIVE_INFINITY
  /** Sends in the running measure, to know what "0.7 of the present rate" is when there is no limit. */
  private sent = 0
  private measureMs: number
  /** Parts a second in the measure before. */
  private measured = 0
  /** The rate that was narrowed last. */
  private narrowed = 0

  constructor(limit: number, nowMs: number) {
    this.limit = limit
    this.rate = limit === 0 ? Number.POSITIVE_INFINITY : limit
    this.tokens = this.depth
    this.atMs = nowMs
    this.measureMs = nowMs
  }

  private get depth(): number {
    return Math.max(1, this.rate * DEPTH_S)
  }

  get ratePerSecond(): number {
    return Number.isFinite(this.rate) ? Math.round(this.rate) : 0
  }

  resting(nowMs: number): boolean {
    return nowMs < this.restUntilMs
  }

  /** Parts that may be sent now. */
  room(nowMs: number): number {
    if (nowMs < this.restUntilMs) return 0
    if (nowMs - this.measureMs >= MEASURE_MS) this.measure(nowMs)
    if (this.rate === Number.POSITIVE_INFINITY) return Number.MAX_SAFE_INTEGER
    this.tokens = Math.min(this.depth, this.tokens + ((nowMs - this.atMs) * this.rate) / 1000)
    this.atMs = nowMs
    return Math.floor(this.tokens)
  }

  /** One was sent. May go below zero: a message's parts leave together. */
  spend(): void {
    this.sent++
    if (this.rate !== Number.POSITIVE_INFINITY) this.tokens--
  }

  throttled(nowMs: number): void {
    this.restUntilMs = nowMs + REST_MS
    if (nowMs - this.narrowedMs < NARROW_EVERY_MS) return
    this.narrowedMs = nowMs
    const running = (this.sent * 1000) / Math.max(nowMs - this.measureMs, LEAST_MEASURE_MS)
    const present = Number.isFinite(this.rate) ? this.rate : Math.max(this.measured, running)
    this.narrowed = present
    this.rate = Math.max(LEAST, present * NARROW)
    this.tokens = Math.min(this.tokens, this.depth)
    this.atMs = nowMs
  }

  succeeded(nowMs: number): void {
    if (this.rate === this.limit || this.rate === Number.POSITIVE_INFINITY) return
    if (nowMs - this.widenedMs < WIDEN_EVERY_MS || nowMs - this.narrowedMs < NARROW_EVERY_MS) return
    this.widenedMs = nowMs
    this.rate *= WIDEN
    if (this.limit > 0) this.rate = Math.min(this.limit, this.rate)
    // Long past what was too fast: there is nothing left to hold back.
    else if (this.rate > this.narrowed * 4 + 1_000) this.rate = Number.POSITIVE_INFINITY
  }

  private measure(nowMs: number): void {
    this.measured = (this.sent * 1000) / (nowMs - this.measureMs)
    this.sent = 0
    this.measureMs = nowMs
  }
}
