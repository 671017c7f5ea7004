// What one commit is made of: all that has changed since the last, table by table, in one transaction with one sync; and
// what is let go, and who is told, once it is durable. A message that was put and removed within one commit never touches
// the disk. When a commit is written, and who waits for it, is commits.ts's; what the changes mean is others'.

import { type Message, recordSize, writeRecord } from '../../model/message.js'
import type { Spool } from '../contract.js'
import type { Reserve } from '../reserve.js'
import type { CommitHost } from './commits.js'
import type { Kept } from './kept.js'
import { DIRTY, STORED, WRITING } from './live.js'
import type { Log } from './log.js'
import { putMarks } from './marks.js'
import type { Outbox } from './outbox.js'
import type { Parked } from './parked.js'
import type { Refs } from './refs.js'
import type { Standing } from './standing.js'
import { Slabs, type Tables } from './store.js'
import type { Sweep } from './sweep.js'

export interface WritingHost {
  readonly tables: Tables
  readonly reserve: Reserve
  readonly standing: Standing
  readonly outbox: Outbox
  readonly parked: Parked
  readonly kept: Kept
  readonly refs: Refs
  readonly log: Log
  readonly sweep: Sweep
  /** Whose events tell of a commit: they may be replaced while it runs. */
  readonly spool: Pick<Spool, 'events'>
}

export class Writing implements CommitHost {
  private readonly tables: Tables
  private readonly reserve: Reserve
  private readonly standing: Standing
  private readonly outbox: Outbox
  private readonly parked: Parked
  private readonly kept: Kept
  private readonly refs: Refs
  private readonly log: Log
  private readonly sweep: Sweep
  private readonly spool: Pick<Spool, 'events'>
  private readonly slabs = new Slabs()
  /** Messages of the commit being written. */
  private messages: Message[] = []
  /** Whom its end is news to: lanes, and queues of the outbox. */
  private lanes: number[] = []
  private queues: number[] = []

  constructor({ tables, reserve, standing, outbox, parked, kept, refs, log, sweep, spool }: WritingHost) {
    this.tables = tables
    this.reserve = reserve
    this.standing = standing
    this.outbox = outbox
    this.parked = parked
    this.kept = kept
    this.refs = refs
    this.log = log
    this.sweep = sweep
    this.spool = spool
  }

  get pending(): boolean {
    return (
      this.standing.dirty.length > 0 ||
      this.standing.due.pending ||
      this.standing.blocks.pending ||
      this.outbox.pending ||
      this.parked.pending ||
      this.kept.pending ||
      this.refs.pending ||
      this.log.pending
    )
  }

  /** Everything put in this turn is one transaction: the last promise stands for all. */
  write(): { transaction: Promise<unknown>; records: number } {
    const { slabs, standing, refs, outbox, log } = this
    const { blocks, due } = standing
    slabs.clear()
    blocks.list()
    const records = this.writeRecords()
    blocks.write(slabs)
    due.write()
    outbox.write(slabs)
    const logged = log.write()
    this.parked.write()
    const kept = this.kept.write()
    refs.write()
    // A commit touches more pages than it has octets.
    this.reserve.spent((slabs.used + logged + kept) * 3)
    const transaction = putMarks(this.tables.meta, {
      lastId: standing.lastId,
      blockSeq: blocks.seq,
      refSeq: refs.seq,
      reportSeq: outbox.seq,
      logDropped: log.dropped,
    })
    return { transaction, records }
  }

  private writeRecords(): number {
    const { messages } = this.tables
    const { slabs, standing } = this
    const { dirty } = standing
    standing.dirty = []
    this.messages = dirty
    for (const m of dirty) {
      m.hold = (m.hold & ~DIRTY) | WRITING
      if (m.standing === 'ended') {
        if (m.hold & STORED) messages.remove(m.id)
        continue
      }
      slabs.reserve(recordSize(m))
      messages.put(m.id, slabs.take(writeRecord(m, slabs.buffer, slabs.at)))
      m.hold |= STORED
      this.sweep.note(this.sweep.lastMsOf(m.standing, m.validUntilMs, m.unsure))
    }
    return dirty.length
  }

  durable(ms: number, records: number): void {
    const { live, due, blocks } = this.standing
    for (const m of this.messages) {
      m.hold &= ~WRITING
      live.release(m)
    }
    this.messages = []
    this.refs.written()
    due.written()
    this.kept.written()
    this.lanes = blocks.written()
    this.queues = this.outbox.written()
    this.spool.events.synced(ms, records)
  }

  told(): void {
    for (const lane of this.lanes) this.spool.events.ready(lane)
    this.outbox.announce(this.queues, (of, by) => this.spool.events.report(of, by))
    if (this.log.rows > 0) this.spool.events.logged()
  }

  failed(error: Error): void {
    this.spool.events.failed(error)
  }
}
