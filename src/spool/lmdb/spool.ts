// The spool on LMDB: one process, one directory. Puts its parts together and hands each verb to the one that knows it: the
// way in is admitting.ts's, what becomes of a message settling.ts's, what may be changed of it changing.ts's, many of them
// walk.ts's, what time does upkeep.ts's, what a commit is made of writing.ts's. Knows when the disk is too full to ask them;
// knows nothing of protocols, carriers' addresses or prices.

import { mkdirSync } from 'node:fs'
import type { Clock } from '../../base/clock.js'
import { IdMaker } from '../../base/ids.js'
import type { Message } from '../../model/message.js'
import type { Receipt, Reply } from '../../model/outcome.js'
import {
  type Claimer,
  type Conversion,
  type Ending,
  type EventReport,
  type LogFilter,
  type LogSlice,
  type QueueFigures,
  type QueueFilter,
  type ReceiptMatch,
  type Report,
  type ReportQueue,
  type Spool,
  type SpoolEvents,
  type SpoolRefusal,
  type WalkSlice,
  type Way,
  way,
} from '../contract.js'
import type { Origin } from '../origin.js'
import { Reserve } from '../reserve.js'
import { Admitting } from './admitting.js'
import { Changing } from './changing.js'
import { Commits } from './commits.js'
import { Joins } from './joins.js'
import { Kept } from './kept.js'
import { defaultLimits, type LmdbSpoolSettings } from './limits.js'
import { CLAIMED } from './live.js'
import { Log } from './log.js'
import { beginRun, endRun, originOf } from './marks.js'
import { Outbox } from './outbox.js'
import { Parked } from './parked.js'
import { Refs } from './refs.js'
import { restore } from './restoring.js'
import { Settling } from './settling.js'
import { Standing } from './standing.js'
import { mapRoom, openTables, type Tables } from './store.js'
import { Sweep } from './sweep.js'
import { Upkeep } from './upkeep.js'
import { Walks } from './walk.js'
import { Writing } from './writing.js'

export type { LmdbSpoolSettings } from './limits.js'

const silent: SpoolEvents = {
  ready() {},
  report() {},
  logged() {},
  ended() {},
  unmatched() {},
  apart() {},
  reportsDropped() {},
  synced() {},
  failed(error) {
    throw error
  },
}

export class LmdbSpool implements Spool {
  readonly identity: string
  readonly origin: Origin
  readonly crashed: boolean
  readonly unsureAfterCrash: number
  readonly clock: Clock
  events: SpoolEvents = silent
  tells: Spool['tells'] = () => null
  settles: Spool['settles'] = ({ priceMicros }) => ({ priceMicros, costMicros: 0 })

  private readonly tables: Tables
  private readonly reserve: Reserve
  private readonly standing: Standing
  private readonly refs: Refs
  private readonly outbox: Outbox
  private readonly log: Log
  private readonly parked: Parked
  private readonly keptThings: Kept
  private readonly admitting: Admitting
  private readonly settling: Settling
  private readonly changing: Changing
  private readonly walks: Walks
  private readonly upkeep: Upkeep
  private readonly writing: Writing
  private readonly commits: Commits
  private closed = false

  private constructor(settings: LmdbSpoolSettings, tables: Tables, reserve: Reserve) {
    const { clock } = settings
    const limits = { ...defaultLimits, ...settings.limits }
    this.clock = clock
    this.tables = tables
    this.reserve = reserve
    const { identity, crashed, marks } = beginRun(tables.meta)
    this.identity = identity
    this.crashed = crashed
    const note = (): void => this.commits.note()
    const expire = (m: Message, nowMs: number): void => this.upkeep.expire(m, nowMs)
    const standing = new Standing(tables, limits, marks, { clock, note, expire })
    this.standing = standing
    this.refs = new Refs(tables.refs, standing.live, limits, marks.refSeq)
    const { keepReportsMs, keepReportsPerAccount } = settings
    this.outbox = new Outbox(tables.outbox, tables.outboxDone, keepReportsPerAccount, limits.reports, marks.reportSeq)
    this.log = new Log(tables.log, marks.logDropped)
    this.origin = originOf(tables.meta, this.log)
    this.parked = new Parked(tables.parked)
    this.keptThings = new Kept(tables.kept, tables.keptEnds)
    const sweep = new Sweep(tables.messages, standing.live, limits.sweep, settings.receiptGraceMs)
    const joins = new Joins({ standing, spool: this }, limits.joins)
    const { refs, outbox, log, parked, keptThings: kept } = this
    const settling = new Settling({ clock, standing, refs, outbox, log, parked, joins, sweep, spool: this, note })
    const changing = new Changing({ clock, standing, settling, joins }, limits.release)
    this.settling = settling
    this.changing = changing
    this.upkeep = new Upkeep(
      { clock, standing, settling, changing, joins, refs, kept, parked, outbox, sweep, spool: this },
      limits.release,
      keepReportsMs,
    )
    this.writing = new Writing({ tables, reserve, standing, outbox, parked, kept, refs, log, sweep, spool: this })
    const commits = new Commits(this.writing, clock, limits.gatherMs)
    this.commits = commits
    this.walks = new Walks({ tables, standing, outbox, commits })
    this.unsureAfterCrash = restore(tables.messages, { standing, sweep, joins, refs })
    const ids = new IdMaker(clock, settings.node, standing.lastId)
    this.admitting = new Admitting({ clock, ids, reserve, standing, joins, log, commits }, settings)
  }

  /** Opens or makes the spool in `settings.path` and reads what it needs to know: one pass over the records. */
  static async open(settings: LmdbSpoolSettings): Promise<LmdbSpool> {
    const { path, mapGb } = settings
    mkdirSync(path, { recursive: true })
    const tables = openTables(path, mapGb)
    const reserve = new Reserve(path, settings.reserveMb, () => mapRoom(tables, path, mapGb))
    await reserve.start()
    return new LmdbSpool(settings, tables, reserve)
  }

  // -- taking in -------------------------------------------------------------

  get exhausted(): boolean {
    return this.reserve.exhausted
  }

  refusal(account: number, maxWaiting?: number | null, n = 1): SpoolRefusal | undefined {
    return this.admitting.refusal(account, maxWaiting, n)
  }

  fullness(account: number, maxWaiting?: number | null): number {
    return this.admitting.fullness(account, maxWaiting)
  }

  commit(m: Message): void {
    this.admitting.commit(m)
  }

  takeIds(n: number): number[] {
    return this.admitting.takeIds(n)
  }

  // -- the commit ------------------------------------------------------------

  get gathering(): number {
    return this.commits.gathering
  }

  synced(): Promise<void> {
    return this.commits.synced()
  }

  afterSync(then: () => void): void {
    this.commits.afterSync(then)
  }

  // -- lanes -----------------------------------------------------------------

  claimer(name: string, lanes: readonly number[], weightOf: (account: number) => number): Claimer {
    return this.standing.blocks.lanes.claimer(name, lanes, weightOf)
  }

  giveBack(m: Message): void {
    this.standing.giveBack(m)
  }

  inHand(m: Message): boolean {
    return (m.hold & CLAIMED) !== 0
  }

  // -- settling --------------------------------------------------------------

  cut(m: Message, carrier: number, count: number, concatRef: number): void {
    this.settling.cut(m, carrier, count, concatRef)
  }

  sending(m: Message, part: number, carrier: number): void {
    this.settling.sending(m, part, carrier)
  }

  unsent(m: Message, part: number): void {
    this.settling.unsent(m, part)
  }

  unsure(m: Message): void {
    this.settling.unsure(m)
  }

  accepted(m: Message, part: number, carrier: number, ref: string, awaitReceipt: boolean): void {
    this.settling.accepted(m, part, carrier, ref, awaitReceipt)
  }

  defer(m: Message, dueMs: number): void {
    this.settling.defer(m, dueMs)
  }

  end(m: Message, ending: Ending): void {
    this.settling.end(m, ending)
  }

  receipt(carrier: number, receipt: Receipt): ReceiptMatch {
    return this.reserve.exhausted ? 'full' : this.settling.receipt(carrier, receipt)
  }

  tick(): boolean {
    const isMore = this.upkeep.tick()
    if (this.writing.pending) this.commits.note()
    return isMore
  }

  // -- finding and changing --------------------------------------------------

  find(id: number): Message | undefined {
    return this.changing.find(id)
  }

  findRef(carrier: number, ref: string): Message | undefined {
    const m = this.refs.find(carrier, ref)
    return m && m.standing !== 'ended' ? m : undefined
  }

  cancel(id: number): boolean {
    return this.changing.cancel(id)
  }

  replace(id: number, change: (message: Message) => void): boolean {
    return this.changing.replace(id, change)
  }

  retry(id: number): boolean {
    return this.changing.retry(id)
  }

  move(id: number, lane: number): boolean {
    return this.changing.move(id, lane)
  }

  rematch(from: number, to: (message: Message) => number): boolean {
    return this.changing.rematch(from, to)
  }

  present(m: Message): readonly number[] {
    return this.standing.index.like(m)
  }

  waitingOf(account: number): AsyncGenerator<Message[]> {
    return this.walks.waitingOf(account)
  }

  walk(filter: QueueFilter, after: number): AsyncGenerator<WalkSlice> {
    return this.walks.all(filter, after)
  }

  multi(multiId: number, turn?: () => Promise<unknown>): AsyncGenerator<Message[]> {
    return this.walks.multi(multiId, turn)
  }

  receiptWaits(account: number, id: number): Promise<boolean> {
    return this.walks.receiptWaits(account, id)
  }

  // -- reports --------------------------------------------------

  reply(of: number, reply: Reply, by: Way = way.bind): boolean {
    if (this.reserve.exhausted) return false
    this.outbox.addReply(of, by, reply, this.clock.now())
    this.commits.note()
    return true
  }

  event(queue: ReportQueue, event: EventReport): boolean {
    if (this.reserve.exhausted) return false
    this.outbox.addEvent(queue.of, queue.way, event, this.clock.now())
    this.commits.note()
    return true
  }

  claimReports(of: number, n: number, by?: Way): Report[] {
    return this.outbox.claim(of, n, by)
  }

  reportDone(report: Report): void {
    this.outbox.done(report)
    this.commits.note()
  }

  giveBackReport(report: Report): void {
    this.outbox.giveBack(report)
  }

  get newestReport(): number {
    return this.outbox.newest
  }

  reportAccounts(by: Way = way.bind): Iterable<number> {
    return this.outbox.of(by)
  }

  // -- what services keep ----------------------------------------------------

  keep(key: string, octets: Buffer, untilMs: number): boolean {
    if (this.reserve.exhausted) return false
    this.keptThings.put(key, octets, untilMs)
    this.commits.note()
    return true
  }

  kept(key: string): Buffer | undefined {
    return this.keptThings.get(key, this.clock.now())
  }

  keptAfter(prefix: string, after: string, count: number): [key: string, octets: Buffer][] {
    return this.keptThings.after(prefix, after, count, this.clock.now())
  }

  dropKept(key: string): void {
    this.keptThings.remove(key)
    this.commits.note()
  }

  // -- the log ---------------------------------------------------------------

  converted(message: Conversion): boolean {
    if (this.reserve.exhausted) return false
    this.log.converted(message, this.clock.now())
    this.commits.note()
    return true
  }

  endings(after: number, max: number): LogSlice {
    return this.log.endings(after, max)
  }

  readLog(after: number, maxRows: number, of?: LogFilter): LogSlice | undefined {
    return this.log.read(after, maxRows, of)
  }

  dropLog(position: number): void {
    this.log.drop(position)
  }

  // -- figures and the end ---------------------------------------------------

  figures(): QueueFigures {
    const { standing } = this
    return {
      waiting: standing.waiting,
      claimed: standing.claimed,
      sent: standing.sent,
      due: standing.due.count,
      outbox: this.outbox.total,
      unclaimed: this.outbox.count(0),
      parked: this.parked.size,
      logRows: this.log.rows,
      replaceable: standing.index.size,
      lanes: standing.blocks.lanes.figures(),
    }
  }

  stop(): void {
    this.admitting.stop()
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.stop()
    this.walks.close()
    try {
      await this.commits.close()
      if (!this.commits.broken) await endRun(this.tables.meta)
    } finally {
      this.closed = true
      this.reserve.stop()
      await this.tables.root.close()
    }
  }
}
