// Who is past its validity: goes over all records, a slice at a time, and rests between
// two passes. Knows when a message is over; what becomes of it is its caller's.

import { type Message, recordStanding, recordValidUntil } from '../../model/message.js'
import { CLAIMED, type Live } from './live.js'
import type { Database } from './store.js'

/** A receipt may come this much after the validity of its message. */
const RECEIPT_GRACE_MS = 3_600_000

/** When nothing of the message is awaited any more. */
export const lastMsOf = (standing: Message['standing'], validUntilMs: number): number =>
  standing === 'sent' ? validUntilMs + RECEIPT_GRACE_MS : validUntilMs

export class Sweep {
  private readonly records: Database<Buffer, number>
  private readonly live: Live
  private readonly most: number
  private after = 0

  /** @param most records looked at in one go */
  constructor(records: Database<Buffer, number>, live: Live, most: number) {
    this.records = records
    this.live = live
    this.most = most
  }

  /** The next slice: gives each message that is over at `nowMs` to `end`. True when all were seen. */
  next(nowMs: number, end: (m: Message) => void): boolean {
    const past: number[] = []
    let n = 0
    for (const { key: id, value } of this.records.getRange({ start: this.after, limit: this.most })) {
      n++
      this.after = id + 1
      if (lastMsOf(recordStanding(value), recordValidUntil(value)) <= nowMs) past.push(id)
    }
    for (const id of past) {
      const m = this.live.message(id)
      // It may have moved on, or have got more time, since the record was written.
      if (!m || m.standing === 'ended' || m.hold & CLAIMED) continue
      if (lastMsOf(m.standing, m.validUntilMs) <= nowMs) end(m)
    }
    if (n === this.most) return false
    this.after = 0
    return true
  }
}
