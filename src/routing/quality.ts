// How well do carriers deliver? Learned from what became of the messages they took, by carrier and area (network or
// country) and by carrier as a whole, over a sliding window that is cut short when the newest outcomes are not like
// those before them; one account alone does not speak for the others. Pure: the time is an argument, memory is bounded. What is done with it is choose.ts's.

/** What happened to a message that a carrier took. */
export type QualityEvent =
  /** It took the message, and owes a receipt. */
  | { readonly kind: 'sent' }
  /** The receipt, so long after `sent`. */
  | { readonly kind: 'delivered' | 'failed'; readonly afterMs: number }
  /** Refused or put off at once: there will be no receipt. */
  | { readonly kind: 'refused' }

/** What is known of a carrier, there or in all. */
export interface Standing {
  /** 0 to 1: the rate, less what a slow receipt costs. */
  readonly score: number
  /** Share of messages that were delivered, 0 to 1, as far as it can be known now. */
  readonly rate: number
  /** Outcomes in the window. */
  readonly samples: number
  /** Half of the receipts come sooner than this; null while too few came. */
  readonly medianMs: number | null
}

const SLOT_MS = 2_000
/** The window: five minutes. */
const SLOTS = 150
/** With fewer outcomes than this nothing is proven. */
export const FLOOR = 20
/** How often a standing that is asked for is reckoned anew. */
const FRESH_MS = 250
/** Carriers by areas; the ones least lately heard of are forgotten. */
const MOST = 4_096
/** What nothing is known of is thought to do so well, as if so many outcomes had said so. */
const PRIOR = 0.95
const PRIOR_SAMPLES = 4
/** Upper bounds of receipts' latencies, ms; what is above the last counts as never. */
const BOUNDS = [250, 500, 1_000, 2_000, 3_000, 5_000, 8_000, 13_000, 21_000, 34_000, 55_000, 90_000, 150_000, 300_000]
const LATENCIES = 2_000
/** While nothing is known of its latencies, a carrier has this long for a receipt. */
const PATIENCE_MS = 60_000
/** The newest so many outcomes are held against those before them. */
const RUNS = [8, 32, 128]
/** Standard deviations apart, and this much: then they are of two kinds. */
const Z = 3
const APART = 0.02
/** What a slow receipt costs: this for each doubling of a median of five seconds, and no more than that. */
const SLOW_COST = 0.02
const SLOW_MS = 5_000
const SLOW_MOST = 0.1

/** Outcomes by the moment of the send. */
class Cell implements Standing, Counts {
  readonly slots = new Int32Array(SLOTS).fill(-1)
  readonly sent = new Uint32Array(SLOTS)
  readonly delivered = new Uint32Array(SLOTS)
  readonly failed = new Uint32Array(SLOTS)
  /** The account that most failures are of, by a vote of one after the other; and what of the above is its. */
  suspect = 0
  private votes = 0
  /** Whose outcomes are in which slot is known of those after this. */
  private suspectedIn = -1
  readonly its = { sent: new Uint32Array(SLOTS), delivered: new Uint32Array(SLOTS), failed: new Uint32Array(SLOTS) }
  readonly latencies = new Float64Array(BOUNDS.length + 1)
  latencyCount = 0
  /** Nothing before it counts any more. */
  since = 0
  reckonedMs = Number.NEGATIVE_INFINITY
  heardMs = 0
  score = PRIOR
  rate = PRIOR
  samples = 0
  medianMs: number | null = null

  /** -1: too long ago. */
  at(slot: number): number {
    const i = slot % SLOTS
    const there = this.slots[i] as number
    if (there === slot) return i
    if (there > slot) return -1
    this.slots[i] = slot
    for (const counts of [this, this.its]) {
      counts.sent[i] = 0
      counts.delivered[i] = 0
      counts.failed[i] = 0
    }
    return i
  }

  /** A message of this account failed, in the slot that is now. */
  vote(account: number, now: number): void {
    if (account === this.suspect) this.votes++
    else if (this.votes > 0) this.votes--
    else {
      this.suspect = account
      this.suspectedIn = now
      this.votes = 1
      for (const counts of Object.values(this.its)) counts.fill(0)
    }
  }

  /**
   * Messages fail of one account that do not of the others, of whom there are enough: numbers that nobody has, or senders
   * that nobody takes. Then the others are to be asked alone.
   */
  isMisled(newest: number): boolean {
    const { its } = this
    let n = 0
    let delivered = 0
    let ofIts = 0
    let deliveredOfIts = 0
    const before = Math.max(newest - SLOTS, this.since - 1, this.suspectedIn)
    for (let slot = newest; slot > before; slot--) {
      const i = slot % SLOTS
      if (this.slots[i] !== slot) continue
      n += (this.delivered[i] as number) + (this.failed[i] as number)
      delivered += this.delivered[i] as number
      ofIts += (its.delivered[i] as number) + (its.failed[i] as number)
      deliveredOfIts += its.delivered[i] as number
    }
    if (ofIts < (RUNS[0] as number) || n - ofIts < FLOOR) return false
    const others = (delivered - deliveredOfIts) / (n - ofIts)
    return deliveredOfIts / ofIts < others && isApart(deliveredOfIts, ofIts, others)
  }

  took(ms: number): void {
    let i = 0
    while (i < BOUNDS.length && ms > (BOUNDS[i] as number)) i++
    ;(this.latencies[i] as number)++
    if (++this.latencyCount <= LATENCIES) return
    for (let k = 0; k < this.latencies.length; k++) (this.latencies[k] as number) /= 2
    this.latencyCount /= 2
  }

  /** Share of the receipts that have come by this age. */
  comeBy(ageMs: number): number {
    let come = 0
    for (let i = 0; i < BOUNDS.length && (BOUNDS[i] as number) <= ageMs; i++) come += this.latencies[i] as number
    return come / this.latencyCount
  }

  median(): number | null {
    if (this.latencyCount < FLOOR) return null
    let come = 0
    for (let i = 0; i < BOUNDS.length; i++) {
      come += this.latencies[i] as number
      if (come * 2 >= this.latencyCount) return BOUNDS[i] as number
    }
    return BOUNDS.at(-1) as number
  }
}

const UNKNOWN: Standing = { score: PRIOR, rate: PRIOR, samples: 0, medianMs: null }

export class Quality {
  /** By carrier, then by area; '' = in all. */
  private readonly cells = new Map<string, Map<string, Cell>>()
  private count = 0

  /** `area`: see RouteTable.areaOf; '' when only the carrier as a whole is to learn. `nowMs` is monotonic. */
  observe(carrier: string, area: string, event: QualityEvent, nowMs: number, account = 0): void {
    const afterMs = 'afterMs' in event ? Math.max(0, event.afterMs) : 0
    if (afterMs >= (SLOTS - 1) * SLOT_MS) return
    const slot = Math.floor(Math.max(0, nowMs - afterMs) / SLOT_MS)
    this.note(this.cell(carrier, '', nowMs), slot, event, afterMs, account)
    if (area !== '') this.note(this.cell(carrier, area, nowMs), slot, event, afterMs, account)
  }

  private note(cell: Cell, slot: number, { kind }: QualityEvent, afterMs: number, account: number): void {
    const i = cell.at(slot)
    if (i < 0) return
    if (kind === 'delivered') cell.took(afterMs)
    if (kind === 'failed' || kind === 'refused') cell.vote(account, Math.floor(cell.heardMs / SLOT_MS))
    add(cell, i, kind)
    if (account === cell.suspect) add(cell.its, i, kind)
  }

  private cell(carrier: string, area: string, nowMs: number): Cell {
    let areas = this.cells.get(carrier)
    if (areas === undefined) {
      areas = new Map()
      this.cells.set(carrier, areas)
    }
    let cell = areas.get(area)
    if (cell === undefined) {
      if (this.count >= MOST) this.forgetOldest()
      cell = new Cell()
      areas.set(area, cell)
      this.count++
    }
    cell.heardMs = nowMs
    return cell
  }

  private forgetOldest(): void {
    const all = [...this.cells].flatMap(([carrier, areas]) =>
      Array.from(areas, ([area, { heardMs }]) => ({ carrier, area, heardMs })),
    )
    all.sort((a, b) => a.heardMs - b.heardMs)
    // An eighth at once: this is done rarely.
    for (const { carrier, area } of all.slice(0, MOST / 8)) {
      this.cells.get(carrier)?.delete(area)
      this.count--
    }
  }

  /** A carrier that is gone. */
  forget(carrier: string): void {
    this.count -= this.cells.get(carrier)?.size ?? 0
    this.cells.delete(carrier)
  }

  /** Good until it is asked for again. */
  standing(carrier: string, area: string, nowMs: number): Standing {
    const areas = this.cells.get(carrier)
    const whole = areas?.get('')
    if (areas === undefined || whole === undefined) return UNKNOWN
    this.reckon(whole, PRIOR, whole, nowMs)
    const cell = areas.get(area)
    if (cell === undefined || cell === whole) return area === '' ? whole : UNKNOWN
    this.reckon(cell, whole.samples >= FLOOR ? whole.rate : PRIOR, whole, nowMs)
    return cell
  }

  private reckon(cell: Cell, prior: number, whole: Cell, nowMs: number): void {
    if (nowMs - cell.reckonedMs < FRESH_MS) return
    cell.reckonedMs = nowMs
    const timed = cell.latencyCount >= FLOOR ? cell : whole.latencyCount >= FLOOR ? whole : null
    const runs = RUNS.map(() => ({ since: -1, n: 0, delivered: 0 }))
    let n = 0
    let delivered = 0
    const newest = Math.floor(nowMs / SLOT_MS)
    const without = cell.isMisled(newest) ? cell.its : NOTHING
    for (let slot = newest; slot > newest - SLOTS && slot >= cell.since; slot--) {
      const i = slot % SLOTS
      if (cell.slots[i] !== slot) continue
      const settledWithout = (without.delivered[i] as number) + (without.failed[i] as number)
      const deliveredNow = (cell.delivered[i] as number) - (without.delivered[i] as number)
      const settled = (cell.delivered[i] as number) + (cell.failed[i] as number) - settledWithout
      // Of what was sent before it was the suspect's we know once it is settled.
      const sent = (cell.sent[i] as number) - Math.max(without.sent[i] as number, settledWithout)
      const open = Math.max(0, sent - settled)
      const ageMs = nowMs - (slot + 1) * SLOT_MS
      // What should have been reported by now and was not.
      const late = open === 0 ? 0 : open * (timed?.comeBy(ageMs) ?? (ageMs >= PATIENCE_MS ? 1 : 0))
      n += settled + late
      delivered += deliveredNow
      for (const [k, run] of runs.entries()) {
        if (run.since >= 0 || n < (RUNS[k] as number)) continue
        run.since = slot
        run.n = n
        run.delivered = delivered
      }
    }
    for (const run of runs) {
      const before = n - run.n
      if (run.since < 0 || before < (RUNS[0] as number)) continue
      if (!isApart(run.delivered, run.n, (delivered - run.delivered) / before)) continue
      cell.since = run.since
      n = run.n
      delivered = run.delivered
      break
    }
    cell.samples = n
    cell.rate = Math.min(1, (delivered + PRIOR_SAMPLES * prior) / (n + PRIOR_SAMPLES))
    cell.medianMs = cell.median()
    const slow = Math.log2(1 + (timed?.median() ?? 0) / SLOW_MS) * SLOW_COST
    cell.score = cell.rate - Math.min(SLOW_MOST, slow)
  }
}

interface Counts {
  readonly sent: Uint32Array
  readonly delivered: Uint32Array
  readonly failed: Uint32Array
}

const NONE = new Uint32Array(SLOTS)
const NOTHING: Counts = { sent: NONE, delivered: NONE, failed: NONE }

function add(counts: Counts, i: number, kind: QualityEvent['kind']): void {
  if (kind === 'refused') {
    ;(counts.sent[i] as number)++
    ;(counts.failed[i] as number)++
  } else (counts[kind][i] as number)++
}

/** Wilson's interval of `hits` of `n` does not hold `rate`, by some way. */
function isApart(hits: number, n: number, rate: number): boolean {
  const p = Math.min(1, hits / n)
  const centre = p + (Z * Z) / (2 * n)
  const reach = Z * Math.sqrt((p * (1 - p)) / n + (Z * Z) / (4 * n * n))
  const scale = 1 + (Z * Z) / n
  return (centre + reach) / scale < rate - APART || (centre - reach) / scale > rate + APART
}
