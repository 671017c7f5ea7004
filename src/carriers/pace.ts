// How fast a carrier may be sent to: a token bucket that fills evenly, narrowed by the share of parts that the carrier
// throttles and widened again by success. Pure; time is an argument (monotonic ms).
//
// It learns in spans: the answers to what was sent within a second at one rate. A carrier with a fixed rate throttles
// what is above it, so the share that it throttled is what was too much, and at a lower rate it throttles nothing. One
// that throttles a few per cent whatever the rate goes on doing so at the lower one: that much is then its custom, and
// no reason to slow down.

/** A bucket holds this much of a second, and one part: a pause is not followed by a burst. */
const DEPTH_S = 0.02
/** Many carriers count anew each second: a shorter span would see half of their seconds. */
const SPAN_MS = 1_000
/** A share of fewer answers says little: a span waits for them, but not longer than this. */
const ENOUGH = 20
const LONG_SPAN_MS = 3_000
/** Of so many, one alone is chance. */
const MANY_ANSWERS = 30
/** So much of the answers throttled, and so many: narrowed at once, and the carrier gets a rest. */
const MUCH = 0.2
const MANY = 10
/** The same when nothing else came. */
const ALL = 3
/** Longer each time while it takes nothing. */
const REST_MS = 100
const LONGEST_REST_MS = 1_000
const STOPPED = 4
/** Below what was just throttled. */
const MARGIN = 0.98
/** Then narrowed by this at least. */
const AT_ONCE = 0.4
/** No one span narrows more than this. */
const NARROWEST = 0.1
const NARROWEST_OF_FEW = 0.5
/** Widened by this with each clean span, and by more the longer nothing is throttled. */
const STEPS = [1.03, 1.03, 1.05, 1.1, 1.1, 1.2, 1.2, 1.5] as const
/** Narrowed at once, it may have been too much: so many steps are left out. */
const HURRIED = 5
/** Back to this part of what it took before, the rate doubles. */
const KNOWN = 0.9
const DOUBLE_MS = 200
const LEAST = 1
/** A carrier without a contract that throttled nothing for so long, and takes far more than when it did, is free again. */
const FREE_MS = 60_000
/** A burst that is answered at once has not lasted no time at all. */
const LEAST_SPAN_MS = 50

export class Pace {
  /** The contract's rate; Infinity = none. */
  private limit: number
  /** Parts a second now; Infinity when nothing limits. */
  private rate: number
  private tokens: number
  private atMs: number
  private restUntilMs = Number.NEGATIVE_INFINITY
  // The running span: answers to what was sent from `fromMs` on. Infinity: from the next look at the room on.
  private fromMs: number
  private lastMs: number
  private answers = 0
  /** Parts a second in the span before. */
  private measured = 0
  private throttles = 0
  /** The first span after a narrowing: the carrier may not have got over it yet. */
  private isSettling = false
  /** It was narrowed: the next span tells whether that helped. */
  private isAfter = false
  /** Share that it throttles at any rate. */
  private custom = 0
  /** Since something was taken. */
  private rests = 0
  private probeMs = 0
  private narrowedMs = Number.NEGATIVE_INFINITY
  /** Clean spans in a row. */
  private clean = 0
  /** What it took when it last throttled some and not all. */
  private known = 0
  /** Since the last narrowing the rate was doubled. */
  private isDoubled = false
  /** What it was sent then. */
  private before = 0

  /** @param limit parts a second, 0 = no limit */
  constructor(limit: number, nowMs: number) {
    this.limit = limit === 0 ? Number.POSITIVE_INFINITY : limit
    this.rate = this.limit
    this.tokens = this.depth
    this.atMs = nowMs
    this.fromMs = nowMs
    this.lastMs = nowMs
  }

  private get depth(): number {
    return 1 + this.rate * DEPTH_S
  }

  /** 0 = no limit. */
  get ratePerSecond(): number {
    return Number.isFinite(this.rate) ? Math.round(this.rate) : 0
  }

  /** Another contract, from now on; what was learned of the carrier stays. */
  limitTo(limit: number, nowMs: number): void {
    const wasLimit = this.limit
    this.limit = limit === 0 ? Number.POSITIVE_INFINITY : limit
    if (this.limit === wasLimit) return
    this.fill(nowMs)
    this.rate = this.rate === wasLimit ? this.limit : Math.min(this.rate, this.limit)
    this.tokens = Math.min(this.depth, Number.isFinite(this.tokens) ? this.tokens : this.depth)
    this.restart()
  }

  resting(nowMs: number): boolean {
    return nowMs < this.restUntilMs
  }

  private fill(nowMs: number): void {
    if (this.rate !== Number.POSITIVE_INFINITY) {
      this.tokens = Math.min(this.depth, this.tokens + ((nowMs - this.atMs) * this.rate) / 1000)
    }
    this.atMs = nowMs
  }

  /** Parts that may be sent now. */
  room(nowMs: number): number {
    if (nowMs < this.restUntilMs) return 0
    if (this.fromMs === Number.POSITIVE_INFINITY) {
      this.fromMs = nowMs
      this.lastMs = nowMs
    }
    // It has taken nothing after a rest: one at a time finds out when it does again.
    if (this.rests > 1) return nowMs < this.probeMs ? 0 : 1
    if (this.rate === Number.POSITIVE_INFINITY) return Number.MAX_SAFE_INTEGER
    this.fill(nowMs)
    return Math.floor(this.tokens)
  }

  /** One was sent. May go below zero: a message's parts leave together. */
  spend(): void {
    if (this.rate !== Number.POSITIVE_INFINITY) this.tokens--
    // Its answer says more, and should it never come, there is another.
    if (this.rests > 1) this.probeMs = this.restUntilMs + 2 * LONGEST_REST_MS
  }

  /** What was sent at `sentMs` was not throttled. */
  succeeded(sentMs: number): void {
    if (!this.isOfSpan(sentMs)) return
    this.answers++
    this.rests = 0
    this.lastMs = sentMs
    if (this.rate < this.known * KNOWN && this.throttles === 0 && sentMs - this.fromMs >= this.doubleMs) {
      this.isDoubled = true
      this.setRate(Math.min(this.rate * 2, this.known * KNOWN))
      this.restart()
    }
  }

  /** What was sent at `sentMs` was throttled; true: the carrier gets a rest. */
  throttled(sentMs: number, nowMs: number): boolean {
    if (!this.isOfSpan(sentMs)) return false
    const answers = ++this.answers
    const throttles = ++this.throttles
    this.lastMs = sentMs
    const isMuch = throttles >= answers * MUCH && throttles >= MANY
    const isAll = throttles === answers && (throttles >= ALL || this.rests > 0 || this.rate <= LEAST)
    if (!isMuch && !isAll) return false
    // Within a second of the last time it may be the rest of the same second, in which the carrier takes nothing more.
    // And where nothing at all is taken no rate is slow enough: the rests are.
    if (nowMs - this.narrowedMs < SPAN_MS || this.rests > 1) this.restart()
    else {
      // The share so far is the least that it will have been.
      this.narrow(Math.max(throttles / answers, AT_ONCE), nowMs)
      this.clean = HURRIED
    }
    this.restUntilMs = nowMs + Math.min(REST_MS * 2 ** this.rests, LONGEST_REST_MS)
    this.rests = Math.min(this.rests + 1, 10)
    // More than the rest of a second: it has stopped, and will take again what it was sent before.
    if (this.rests === STOPPED && !this.isDoubled) this.known = Math.max(this.known, this.before)
    this.probeMs = this.restUntilMs
    return true
  }

  /** What was sent before the rate changed says nothing of the new one. Ends a span that is full. */
  private isOfSpan(sentMs: number): boolean {
    if (sentMs < this.fromMs) return false
    const sinceMs = sentMs - this.fromMs
    if (sinceMs < SPAN_MS) return true
    const isEnough =
      this.isSettling ||
      this.answers >= ENOUGH ||
      (this.throttles === 0 && this.clean >= HURRIED && this.answers >= ALL)
    if (!isEnough && sinceMs < LONG_SPAN_MS) return true
    this.judge()
    if (sentMs < this.fromMs) return false
    this.begin(sentMs)
    return true
  }

  /** At the slowest the next part is a second away: one that was taken is enough. */
  private get doubleMs(): number {
    return Math.min(DOUBLE_MS, 500 / this.rate)
  }

  /** A span is full. */
  private judge(): void {
    const { answers, throttles } = this
    if (this.isSettling) {
      this.isSettling = false
      return
    }
    const share = answers === 0 ? 0 : throttles / answers
    this.measured = this.used(this.lastMs)
    if (this.isAfter) this.custom += (share - this.custom) * 0.3
    this.isAfter = false
    const usual = answers * this.custom * 2 + (answers >= MANY_ANSWERS ? 1 : 0)
    if (throttles > usual) this.narrow(share, this.lastMs)
    else this.widen()
  }

  /** Parts a second in the running span. */
  private used(nowMs: number): number {
    return (this.answers * 1000) / Math.max(nowMs - this.fromMs, LEAST_SPAN_MS)
  }

  private narrow(share: number, nowMs: number): void {
    const present = Number.isFinite(this.rate) ? this.rate : Math.max(this.measured, this.used(nowMs))
    // All of it: not too much, but not now. Then what it took before the trouble began is what it will take again.
    if (share >= 0.9) {
      const most = Math.max(this.known, this.before, present)
      // It was sent that again, and did not take it.
      this.known = this.isDoubled ? most / 2 : most
    } else {
      this.known = present * (1 - share)
      this.before = present
    }
    this.setRate(
      Math.max(LEAST, present * MARGIN * Math.max(1 - share, this.answers < ENOUGH ? NARROWEST_OF_FEW : NARROWEST)),
    )
    this.isDoubled = false
    this.clean = 0
    this.narrowedMs = nowMs
    this.isAfter = true
    this.isSettling = true
    this.restart()
  }

  private widen(): void {
    if (this.rate === this.limit) return
    // What was not used to the full says nothing of more.
    if (this.measured < this.rate / 2) return
    const step = STEPS[Math.min(this.clean, STEPS.length - 1)] as number
    this.clean++
    // Long past what was too fast: there is nothing left to hold back.
    const isFree = this.rate > this.known * 4 + 1_000 && this.lastMs - this.narrowedMs > FREE_MS
    this.setRate(this.rate * (isFree ? Number.POSITIVE_INFINITY : step))
    this.restart()
  }

  private setRate(rate: number): void {
    const was = this.rate
    this.rate = Math.min(rate, this.limit)
    if (was === Number.POSITIVE_INFINITY) this.tokens = 0
    this.tokens = Math.min(this.tokens, this.depth)
  }

  private begin(sentMs: number): void {
    this.fromMs = sentMs
    this.lastMs = sentMs
    this.answers = 0
    this.throttles = 0
  }

  /** Only what is sent from now on counts. */
  private restart(): void {
    this.begin(Number.POSITIVE_INFINITY)
  }
}
