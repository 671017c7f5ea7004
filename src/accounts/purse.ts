// What one node has leased of one account's credit, what is known of how it is spent, and who waits for more of it. When to
// ask and when to give back is credit.ts's.

/** A lease is for what was spent in so long. */
const AHEAD_MS = 4_000
/** One that is used up sooner is followed by a larger one. */
const SOON_MS = 1_000
const LARGER = 4
/** Messages in the first. */
const FIRST = 1_000
const LEAST = 100
const MOST = Math.floor(Number.MAX_SAFE_INTEGER / LARGER / 2)

/** One account's. Its fields are credit.ts's to change. */
export class Purse {
  readonly account: number
  /** Of the lease, what no message holds. */
  left = 0
  turn = 0
  /** Below this more is asked for. */
  low = 0
  /** Of one message, the last. */
  price = 0
  /** The dearest that waits for more; 0 = none does. */
  need = 0
  isAsked = false
  isMoving = false
  /** What it is granted now goes back at once. */
  isRecalled = false
  /** How far below zero its account's balance may go, as of the last look; null = as far as it will. */
  limitMicros: number | null | undefined = undefined
  /** On its way back. */
  giving = 0
  /** There was not enough for this, until then. */
  deniedNeed = 0
  deniedUntilMs = Number.NEGATIVE_INFINITY
  /** Other nodes were asked for what they have, and have so long; 0 = they were not. */
  contendedUntilMs = 0
  usedMs = Number.NEGATIVE_INFINITY
  /** Since ever. */
  spent = 0
  /** At the last ask, and at the last look. */
  askedMs = Number.NEGATIVE_INFINITY
  askedSpent = 0
  asked = 0
  lookedMs: number
  lookedSpent = 0
  private waiters: { readonly sinceMs: number; readonly told: (again: boolean) => void }[] = []

  constructor(account: number, nowMs: number) {
    this.account = account
    this.lookedMs = nowMs
  }

  get waiting(): number {
    return this.waiters.length
  }

  /** True: whoever waits may ask again, and will be answered. */
  wait(sinceMs: number): Promise<boolean> {
    return new Promise(told => this.waiters.push({ sinceMs, told }))
  }

  /** Nothing more is needed, or nothing more comes: either way whoever waits will be answered. */
  satisfied(): void {
    this.need = 0
    this.contendedUntilMs = 0
    for (const { told } of this.waiters.splice(0)) told(true)
  }

  /** Who has waited since before `sinceMs` waits no more. How many they were. */
  giveUp(sinceMs: number): number {
    const late = this.waiters.filter(one => one.sinceMs < sinceMs)
    if (late.length === 0) return 0
    this.waiters = this.waiters.filter(one => one.sinceMs >= sinceMs)
    for (const { told } of late) told(false)
    return late.length
  }

  /** How much to ask for now, `least` at least: by what was spent since the last time; undefined: nothing is known of it. */
  wantOf(nowMs: number, least: number): number | undefined {
    const sinceMs = Math.max(1, nowMs - this.askedMs)
    const isFirst = this.askedMs === Number.NEGATIVE_INFINITY
    const rate = isFirst ? 0 : (this.spent - this.askedSpent) / sinceMs
    this.askedMs = nowMs
    this.askedSpent = this.spent
    if (this.price === 0) return undefined
    const soon = sinceMs < SOON_MS && !isFirst ? this.asked * LARGER : 0
    const count = isFirst ? FIRST : LEAST
    this.asked = Math.min(MOST, Math.ceil(Math.max(count * this.price, rate * AHEAD_MS, soon, least)))
    return this.asked
  }
}
