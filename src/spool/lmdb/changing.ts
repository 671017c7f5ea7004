// What may still be changed of a message that waits and is in nobody's hands: its text and schedule, its lane, its next
// try; and whether it goes at all. Knows where messages stand; who may ask is others'.

import type { Clock } from '../../base/clock.js'
import { type Message, state } from '../../model/message.js'
import type { Ending } from '../contract.js'
import type { Joins } from './joins.js'
import { CLAIMED } from './live.js'
import type { Settling } from './settling.js'
import type { Standing } from './standing.js'

export interface ChangingHost {
  readonly clock: Clock
  readonly standing: Standing
  readonly settling: Settling
  readonly joins: Joins
}

export class Changing {
  private readonly clock: Clock
  private readonly standing: Standing
  private readonly settling: Settling
  private readonly joins: Joins
  private readonly most: number

  /** @param most messages moved to another lane in one go */
  constructor({ clock, standing, settling, joins }: ChangingHost, most: number) {
    this.clock = clock
    this.standing = standing
    this.settling = settling
    this.joins = joins
    this.most = most
  }

  find(id: number): Message | undefined {
    const { live } = this.standing
    let m = live.message(id)
    while (m && m.joined !== null && m.joined.of !== 0) m = live.message(m.joined.of)
    return m && m.standing !== 'ended' ? m : undefined
  }

  private changeable(id: number): Message | undefined {
    const m = this.find(id)
    return m && m.standing === 'waiting' && (m.hold & CLAIMED) === 0 ? m : undefined
  }

  cancel(id: number): boolean {
    const m = this.changeable(id)
    if (!m) return false
    const ending: Ending = { state: state.DELETED, error: '', doneMs: this.clock.now() }
    const all = m.joined?.waits ? this.joins.with(m) : [m.id]
    for (const one of all) {
      const part = this.standing.live.message(one)
      if (part) this.settling.finish(part, ending)
    }
    return true
  }

  replace(id: number, change: (message: Message) => void): boolean {
    const m = this.changeable(id)
    // A part of the old text that is on its way cannot be called back.
    if (!m || m.unsure || m.parts?.some(part => part.answered)) return false
    this.standing.touch(m)
    const { scheduleMs } = m
    if (m.joined?.waits) {
      this.joins.leave(m)
      m.joined.waits = false
      change(m)
      this.standing.due.remove(m)
      if (!this.joins.take(m, this.clock.now())) this.standing.go(m)
      return true
    }
    change(m)
    m.parts = null
    m.concatRef = 0
    if (m.scheduleMs !== scheduleMs) this.reschedule(m)
    return true
  }

  private reschedule(m: Message): void {
    if (m.scheduleMs > this.clock.now()) {
      // Due again before its commit is known to be durable, it would go from where it stood.
      this.standing.blocks.lanes.forget(m)
      this.standing.withdraw(m)
      this.standing.due.add(m, m.scheduleMs)
    } else if (m.dueMs > 0) this.standing.ready(m)
  }

  retry(id: number): boolean {
    const m = this.changeable(id)
    if (!m || m.dueMs === 0 || m.joined?.waits || m.scheduleMs > this.clock.now()) return false
    this.standing.touch(m)
    this.standing.ready(m)
    return true
  }

  move(id: number, lane: number): boolean {
    const m = this.changeable(id)
    if (!m || m.lane === lane) return false
    const { blocks } = this.standing
    this.standing.touch(m)
    blocks.lanes.forget(m)
    if (m.dueMs === 0) {
      blocks.withdraw(m)
      this.standing.queue(m)
    }
    m.lane = lane
    return true
  }

  rematch(from: number, to: (message: Message) => number): boolean {
    const { most } = this
    const { blocks } = this.standing
    const { lanes } = blocks
    let n = 0
    for (const row of [...lanes.ofLane(from)]) {
      while (n < most && row.waiting > 0) {
        const m = lanes.take(row)
        n++
        if (!m) continue
        this.standing.touch(m)
        this.standing.unclaim(m)
        blocks.leave(m)
        m.lane = to(m)
        blocks.add(m)
      }
      lanes.shrank(row, 0)
      if (n === most) return true
    }
    return false
  }
}
