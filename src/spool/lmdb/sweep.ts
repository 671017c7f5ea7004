// Who is past its validity: goes over all records, a slice at a time, once the first of them may be over. Knows when a
// message is over; what becomes of it is its caller's.

import { type Message, recordStanding, recordUnsure, recordValidUntil } from '../../model/message.js'
import { CLAIMED, type Live } from './live.js'
import type { Database } from './store.js'

export class Sweep {
  private readonly records: Database<Buffer, number>
  private readonly live: Live
  private readonly most: number
  private readonly graceMs: number
  private after = 0
  /** No record's last moment is earlier. */
  private earliestMs = Number.POSITIVE_INFINITY

  /**
   * @param most records looked at in one go
   * @param graceMs a receipt may come this much after the validity of its message
   */
  constructor(records: Database<Buffer, number>, live: Live, most: number, graceMs: number) {
    this.records = records
    this.live = live
    this.most = most
    this.graceMs = graceMs
  }

  /** When nothing of the message is awaited any more: of one that is unsure no receipt says enough. */
  lastMsOf(standing: Message['standing'], validUntilMs: number, isUnsure = false): number {
    return standing === 'sent' && !isUnsure ? validUntilMs + this.graceMs : validUntilMs
  }

  /** A record was written, or found at start, whose message is over at `lastMs`. */
  note(lastMs: number): void {
    if (lastMs < this.earliestMs) this.earliestMs = lastMs
  }

  /** The next slice: gives each message that is over at `nowMs` to `end`. True when all were seen, or none can be over. */
  next(nowMs: number, end: (m: Message) => void): boolean {
    if (this.after === 0) {
      if (nowMs < this.earliestMs) return true
      this.earliestMs = Number.POSITIVE_INFINITY
    }
    const past: number[] = []
    let n = 0
    for (const { key: id, value } of this.records.getRange({ start: this.after, limit: this.most })) {
      n++
      this.after = id + 1
      const lastMs = this.lastMsOf(recordStanding(value), recordValidUntil(value), recordUnsure(value))
      if (lastMs <= nowMs) past.push(id)
      else this.note(lastMs)
    }
    for (const id of past) {
      const m = this.live.message(id)
      // It may have moved on, or have got more time, since the record was written.
      if (!m || m.standing === 'ended') continue
      const lastMs = this.lastMsOf(m.standing, m.validUntilMs, m.unsure)
      if (lastMs > nowMs || m.hold & CLAIMED) this.note(lastMs)
      else end(m)
    }
    if (n === this.most) return false
    this.after = 0
    return true
  }
}
