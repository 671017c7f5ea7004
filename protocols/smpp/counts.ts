// How many PDUs went which way, by command and status. One object serves all sessions of a listener or a carrier.
// Knows ids as numbers in slots; which of them have names is commands.ts's.

/** 0x1ff stands for every command_id that the standard does not number. */
const UNKNOWN = 0x1ff
const RESPONSE = 0x200
const SLOTS = 0x400
/** A peer may invent statuses: those beyond so many different ones are counted under OTHER_STATUS. */
const MAX_FAILED = 1000
export const OTHER_STATUS = 0xffffffff

function slotOf(id: number): number {
  const low = id & 0x7fffffff
  return (low < UNKNOWN ? low : UNKNOWN) | (id < 0 ? RESPONSE : 0)
}

export interface PduCount {
  readonly direction: 'received' | 'sent'
  /** Unsigned; 0x1ff and 0x800001ff gather what has no number in the standard. */
  readonly command: number
  /** Of responses; requests are counted under 0 whatever they carry there. */
  readonly status: number
  readonly count: number
}

export class PduCounts {
  /** Responses that answer no request of ours, in flight or remembered. */
  unmatched = 0
  /** Responses with an id that the standard does not number. */
  unknownResponses = 0
  private readonly inbound = new Flow()
  private readonly outbound = new Flow()

  /** `id` and `status` as signed 32 bits. */
  received(id: number, status: number): void {
    this.inbound.count(id, status)
  }

  sent(id: number, status: number): void {
    this.outbound.count(id, status)
  }

  /** Every figure that is not 0. */
  *rows(): Generator<PduCount> {
    yield* this.inbound.rows('received')
    yield* this.outbound.rows('sent')
  }
}

class Flow {
  private readonly all = new Float64Array(SLOTS)
  /** Responses with a status other than ESME_ROK, by slot and status: they are also in `all`. */
  private readonly failed = new Map<number, number>()

  count(id: number, status: number): void {
    const slot = slotOf(id)
    ;(this.all[slot] as number)++
    if (status !== 0 && id < 0) {
      let key = slot * 2 ** 32 + (status >>> 0)
      if (this.failed.size >= MAX_FAILED && !this.failed.has(key)) key = slot * 2 ** 32 + OTHER_STATUS
      this.failed.set(key, (this.failed.get(key) ?? 0) + 1)
    }
  }

  *rows(direction: PduCount['direction']): Generator<PduCount> {
    const good = Float64Array.from(this.all)
    for (const [key, count] of this.failed) {
      const slot = Math.floor(key / 2 ** 32)
      good[slot] = (good[slot] as number) - count
      yield { direction, command: commandOf(slot), status: key % 2 ** 32, count }
    }
    for (const [slot, count] of good.entries()) {
      if (count > 0) yield { direction, command: commandOf(slot), status: 0, count }
    }
  }
}

function commandOf(slot: number): number {
  return slot >= RESPONSE ? ((slot - RESPONSE) | 0x80000000) >>> 0 : slot
}
