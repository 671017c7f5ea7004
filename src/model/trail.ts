// What happened last to messages on their way, for operators who ask: which carrier answered a part how, and whose receipt
// the customer took. Two rings of fixed size in memory, so that what goes well does not push out what went wrong; a few
// stores into arrays an event, nothing durable. The spool and history say what is; this says how it came about.

/** An answer of a carrier to a part, by the name of its outcome; or the customer took the receipt. */
const kinds = ['accepted', 'throttled', 'deferred', 'refused', 'unsure', 'taken'] as const
export type TrailKind = (typeof kinds)[number]

export interface TrailEvent {
  /** Wall clock. */
  readonly atMs: number
  readonly kind: TrailKind
  /** From 0. */
  readonly part: number
  /** The carrier's number; 0 of a receipt. */
  readonly carrier: number
  /** Its code, '' when it gave none. */
  readonly code: string
}

const EVENTS = 2 ** 16
/** Different codes that are told apart. */
const CODES = 1_000

class Ring {
  readonly ids = new Float64Array(EVENTS)
  readonly atMs = new Float64Array(EVENTS)
  readonly carriers = new Uint32Array(EVENTS)
  readonly codes = new Uint16Array(EVENTS)
  readonly kinds = new Uint8Array(EVENTS)
  readonly parts = new Uint8Array(EVENTS)
  private next = 0

  add(id: number, kind: number, part: number, carrier: number, code: number, atMs: number): void {
    const at = this.next
    this.next = (at + 1) & (EVENTS - 1)
    this.ids[at] = id
    this.atMs[at] = atMs
    this.carriers[at] = carrier
    this.codes[at] = code
    this.kinds[at] = kind
    this.parts[at] = part
  }
}

export class Trail {
  private readonly good = new Ring()
  private readonly bad = new Ring()
  private readonly codes: string[] = ['']
  private readonly codeNumbers = new Map<string, number>([['', 0]])

  accepted(id: number, part: number, carrier: number, atMs: number): void {
    this.good.add(id, 0, part, carrier, 0, atMs)
  }

  /** The customer has its receipt. */
  taken(id: number, atMs: number): void {
    this.good.add(id, 5, 0, 0, 0, atMs)
  }

  failed(id: number, part: number, carrier: number, kind: TrailKind, code: string, atMs: number): void {
    this.bad.add(id, kinds.indexOf(kind), part, carrier, this.numberOf(code), atMs)
  }

  private numberOf(code: string): number {
    const known = this.codeNumbers.get(code)
    if (known !== undefined) return known
    if (this.codes.length >= CODES) return 0
    this.codeNumbers.set(code, this.codes.length)
    return this.codes.push(code) - 1
  }

  /** What is still known of a message, oldest first. */
  of(id: number): TrailEvent[] {
    const found: TrailEvent[] = []
    for (const ring of [this.good, this.bad]) {
      for (let at = 0; at < EVENTS; at++) if (ring.ids[at] === id) found.push(this.event(ring, at))
    }
    return found.sort((a, b) => a.atMs - b.atMs)
  }

  /** The last failure of each of them that is still known. One pass, about 2 ms however many. */
  failures(ids: ReadonlySet<number>): Map<number, TrailEvent> {
    const found = new Map<number, TrailEvent>()
    const { bad } = this
    for (let at = 0; at < EVENTS; at++) {
      const id = bad.ids[at] as number
      if (id === 0 || !ids.has(id)) continue
      const event = this.event(bad, at)
      const known = found.get(id)
      if (known === undefined || known.atMs <= event.atMs) found.set(id, event)
    }
    return found
  }

  private event(ring: Ring, at: number): TrailEvent {
    return {
      atMs: ring.atMs[at] as number,
      kind: kinds[ring.kinds[at] as number] as TrailKind,
      part: ring.parts[at] as number,
      carrier: ring.carriers[at] as number,
      code: this.codes[ring.codes[at] as number] as string,
    }
  }
}
