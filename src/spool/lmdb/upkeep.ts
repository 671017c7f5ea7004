// What the passing of time does to a spool, a bounded slice at a time: what is due goes into its lane, what is past its
// validity ends, what nobody took or nobody matched in time is dropped, and blocks that nothing stands in any more are
// taken away. Knows when to look at what; when each of them is past is theirs to say.

import type { Clock } from '../../base/clock.js'
import type { Message } from '../../model/message.js'
import type { Spool } from '../contract.js'
import type { Changing } from './changing.js'
import type { Joins } from './joins.js'
import type { Kept } from './kept.js'
import type { Outbox } from './outbox.js'
import type { Parked } from './parked.js'
import type { Refs } from './refs.js'
import type { Settling } from './settling.js'
import type { Standing } from './standing.js'
import type { Sweep } from './sweep.js'

const SWEEP_PAUSE_MS = 10_000
const GARBAGE_PAUSE_MS = 600_000

export interface UpkeepHost {
  readonly clock: Clock
  readonly standing: Standing
  readonly settling: Settling
  readonly changing: Changing
  readonly joins: Joins
  readonly refs: Refs
  readonly kept: Kept
  readonly parked: Parked
  readonly outbox: Outbox
  readonly sweep: Sweep
  /** Whose events tell of what was dropped: they may be replaced while it runs. */
  readonly spool: Pick<Spool, 'events'>
}

export class Upkeep {
  private readonly host: UpkeepHost
  private readonly mostDue: number
  private readonly keepReportsMs: number
  private sweepDoneMs: number
  private garbageDoneMs: number
  private expireDoneMs: number
  private droppedTold = 0

  /**
   * @param mostDue due messages released in one go
   * @param keepReportsMs so long a report waits for its receiver
   */
  constructor(host: UpkeepHost, mostDue: number, keepReportsMs: number) {
    this.host = host
    this.mostDue = mostDue
    this.keepReportsMs = keepReportsMs
    this.sweepDoneMs = this.garbageDoneMs = this.expireDoneMs = host.clock.mono()
  }

  /** A slice of each. True when there is more to do at once. */
  tick(): boolean {
    const { clock, standing, refs, kept, parked, outbox, sweep, spool } = this.host
    const now = clock.now()
    const mono = clock.mono()
    const { due, blocks } = standing
    let more = due.release(now, this.mostDue, (dueMs, id) => this.releaseOne(dueMs, id))
    if (refs.tick(now)) more = true
    if (kept.expire(now)) more = true
    if (mono - this.sweepDoneMs >= SWEEP_PAUSE_MS && sweep.next(now, m => this.expire(m, now))) {
      this.sweepDoneMs = mono
    }
    if (mono - this.garbageDoneMs >= GARBAGE_PAUSE_MS && blocks.collectGarbage()) {
      blocks.startGarbage()
      this.garbageDoneMs = mono
    }
    for (const { carrier, receipt } of parked.expire(now)) spool.events.unmatched(carrier, receipt)
    if (mono - this.expireDoneMs >= SWEEP_PAUSE_MS && outbox.expire(now - this.keepReportsMs)) {
      this.expireDoneMs = mono
    }
    if (outbox.dropped > this.droppedTold) {
      spool.events.reportsDropped(outbox.dropped - this.droppedTold)
      this.droppedTold = outbox.dropped
    }
    return more
  }

  private releaseOne(dueMs: number, id: number): boolean {
    const { standing, joins } = this.host
    const m = standing.live.message(id)
    if (m?.standing !== 'waiting' || m.dueMs !== dueMs) return false
    if (m.joined?.waits) {
      joins.late(m)
      return true
    }
    standing.touch(m)
    standing.due.remove(m)
    standing.blocks.add(m)
    return true
  }

  /** It was not delivered in time, or its receipt did not come. */
  expire(m: Message, nowMs: number): void {
    const { changing, settling } = this.host
    // It ends with the message that has its text.
    if (m.joined !== null && m.joined.of !== 0 && changing.find(m.id)) return
    settling.expire(m, nowMs)
  }
}
