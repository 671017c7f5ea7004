// The spool on LMDB: one process, one directory. Gathers everything asked for since
// the last commit and writes it as one transaction with one sync; a message that was
// put and removed within one commit never touches the disk. Knows order, standing and
// durability; knows nothing of protocols, carriers' addresses or prices.

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../../base/clock.js'
import { IdMaker } from '../../base/ids.js'
import {
  type Message,
  readRecord,
  recordAccount,
  recordIsJoined,
  recordLane,
  recordPriority,
  recordRank,
  recordReady,
  recordReplaceable,
  recordSize,
  recordStanding,
  recordUnsure,
  recordValidUntil,
  writeRecord,
} from '../../model/message.js'
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
import { Reserve } from '../reserve.js'
import { Changing } from './changing.js'
import { Commits } from './commits.js'
import { Joins } from './joins.js'
import { Kept } from './kept.js'
import { defaultLimits, type LmdbLimits } from './limits.js'
import { CLAIMED, DIRTY, RECENT, STORED, WRITING } from './live.js'
import { Log } from './log.js'
import { readMarks, writeMarks } from './marks.js'
import { Outbox } from './outbox.js'
import { Parked } from './parked.js'
import { Refs } from './refs.js'
import { Settling } from './settling.js'
import { Standing } from './standing.js'
import { mapRoom, openTables, Slabs, type Tables } from './store.js'
import { Sweep } from './sweep.js'
import { findReceipt, walkAll, walkDue, walkMulti, walkReady } from './walk.js'

const SWEEP_PAUSE_MS = 10_000
const GARBAGE_PAUSE_MS = 600_000

export interface LmdbSpoolSettings {
  path: string
  node: number
  clock: Clock
  mapGb: number
  reserveMb: number
  maxWaiting: number
  maxWaitingPerAccount: number
  keepReportsMs: number
  keepReportsPerAccount: number
  /** A receipt may come this much after the validity of its message. */
  receiptGraceMs: number
  /** For tests: what is left out stands at its default. */
  limits?: Partial<LmdbLimits>
}

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
  readonly crashed: boolean
  unsureAfterCrash = 0
  readonly clock: Clock
  events: SpoolEvents = silent
  tells: Spool['tells'] = () => null
  settles: Spool['settles'] = ({ priceMicros }) => ({ priceMicros, costMicros: 0 })

  private readonly settings: LmdbSpoolSettings
  private readonly limits: LmdbLimits
  private readonly tables: Tables
  private readonly reserve: Reserve
  private readonly ids: IdMaker
  private readonly standing: Standing
  private readonly settling: Settling
  private readonly changing: Changing
  private readonly refs: Refs
  private readonly outbox: Outbox
  private readonly log: Log
  private readonly parked: Parked
  private readonly keptThings: Kept
  private readonly sweep: Sweep
  private readonly joins: Joins

  private readonly commits: Commits
  /** Messages of the commit being written. */
  private written: Message[] = []
  /** Whom its end is news to. */
  private ready: number[] = []
  private told: number[] = []
  private readonly slabs = new Slabs()

  private lastId: number
  private stopping = false
  private closing = false
  private closed = false
  private sweepDoneMs: number
  private garbageDoneMs: number
  private expireDoneMs: number
  private droppedTold = 0

  private constructor(settings: LmdbSpoolSettings, tables: Tables, reserve: Reserve) {
    this.settings = settings
    this.limits = { ...defaultLimits, ...settings.limits }
    this.clock = settings.clock
    this.tables = tables
    this.reserve = reserve
    this.sweepDoneMs = this.garbageDoneMs = this.expireDoneMs = this.clock.mono()
    const { meta } = tables
    const known = meta.get('identity')
    this.identity = known ? known.toString('latin1') : randomBytes(8).toString('hex')
    this.crashed = known !== undefined && meta.get('clean') === undefined
    if (!known) meta.putSync('identity', Buffer.from(this.identity, 'latin1'))
    meta.removeSync('clean')
    const marks = readMarks(meta.get('marks'))
    this.standing = new Standing(tables, this.limits, marks.blockSeq, {
      clock: this.clock,
      note: () => this.commits.note(),
      expire: (m, now) => this.expire(m, now),
    })
    const { live, due } = this.standing
    const host = {
      message: (id: number) => live.message(id),
      forgetRecent: (m: Message) => {
        m.hold -= RECENT
        live.release(m)
      },
    }
    this.refs = new Refs(tables.refs, host, this.limits, marks.refSeq)
    const { keepReportsPerAccount } = settings
    this.outbox = new Outbox(
      tables.outbox,
      tables.outboxDone,
      keepReportsPerAccount,
      this.limits.reports,
      marks.reportSeq,
    )
    this.log = new Log(tables.log, marks.logDropped)
    this.parked = new Parked(tables.parked)
    this.keptThings = new Kept(tables.kept, tables.keptEnds)
    this.sweep = new Sweep(tables.messages, live, this.limits.sweep, settings.receiptGraceMs)
    this.joins = new Joins(
      {
        message: id => live.message(id),
        touch: m => this.standing.touch(m),
        hold: (m, dueMs) => due.add(m, dueMs),
        go: m => this.standing.go(m),
        follow: m => this.standing.follow(m),
        apart: parts => this.events.apart(parts),
      },
      this.limits.joins,
    )
    const { clock, standing, refs, outbox, log, parked, joins, sweep } = this
    const note = (): void => this.commits.note()
    this.settling = new Settling({ clock, standing, refs, outbox, log, parked, joins, sweep, spool: this, note })
    this.changing = new Changing({ clock, standing, settling: this.settling, joins })
    this.lastId = marks.lastId
    const spool = this
    this.commits = new Commits(
      {
        get pending() {
          return spool.pending
        },
        write: () => this.write(),
        durable: (ms, records) => this.durable(ms, records),
        told: () => this.announce(),
        failed: error => this.events.failed(error),
      },
      this.clock,
      this.limits.gatherMs,
    )
    this.restore()
    this.ids = new IdMaker(this.clock, settings.node, this.lastId)
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

  private restore(): void {
    const awaitedUntil = (validUntilMs: number): number => this.sweep.lastMsOf('sent', validUntilMs)
    for (const { key: id, value } of this.tables.messages.getRange({})) {
      if (id > this.lastId) this.lastId = id
      const standing = recordStanding(value)
      const isUnsure = recordUnsure(value)
      this.sweep.note(this.sweep.lastMsOf(standing, recordValidUntil(value), isUnsure))
      // Parts of a waiting message that a carrier has taken may report before the rest is sent.
      this.refs.restore(id, value, awaitedUntil)
      if (standing === 'sent') {
        this.standing.sent++
        continue
      }
      const account = recordAccount(value)
      this.standing.count(account, 1)
      if (isUnsure && this.restoreUnsure(readRecord(id, value))) continue
      if (recordReplaceable(value)) this.standing.index.add(readRecord(id, value))
      if (recordIsJoined(value)) {
        const m = readRecord(id, value)
        if (m.joined?.waits) this.joins.restore(m)
      }
      if (recordReady(value) === 0) this.standing.due.restore(account)
      else this.standing.blocks.restore(recordLane(value), recordRank(value), account, recordPriority(value), id)
    }
  }

  /** It was on its way when the last run was killed: it goes into no lane, unless there is more of it to be sent. */
  private restoreUnsure(m: Message): boolean {
    if (m.parts?.some(part => !part.answered && !part.unsure)) return false
    m.hold = STORED
    this.standing.touch(m)
    m.ready = 0
    m.dueMs = 0
    this.standing.becomeSent(m)
    this.unsureAfterCrash++
    return true
  }

  // -- taking in -------------------------------------------------------------

  get exhausted(): boolean {
    return this.reserve.exhausted
  }

  refusal(account: number, maxWaiting?: number | null, n = 1): SpoolRefusal | undefined {
    if (this.stopping || this.commits.broken) return 'stopping'
    if (this.reserve.low) return 'disk_full'
    if (this.standing.waiting + n > this.settings.maxWaiting) return 'queue_full'
    const most = maxWaiting ?? this.settings.maxWaitingPerAccount
    if (this.standing.waitingOf(account) + n > most) return 'account_full'
    return undefined
  }

  fullness(account: number, maxWaiting?: number | null): number {
    const most = maxWaiting ?? this.settings.maxWaitingPerAccount
    // A most of 0 is full, whatever waits.
    const own = most === 0 ? 1 : this.standing.waitingOf(account) / most
    return this.reserve.low ? 1 : Math.min(Math.max(own, this.standing.waiting / this.settings.maxWaiting), 1)
  }

  commit(m: Message): void {
    const { standing } = this
    if (m.id === 0) m.id = this.ids.next()
    if (m.id > this.lastId) this.lastId = m.id
    standing.count(m.account, 1)
    const now = this.clock.now()
    this.log.accepted(m, now)
    standing.touch(m)
    if (m.replaceable) standing.index.add(m)
    if (m.joined !== null && this.joins.take(m, now)) return
    standing.place(m, now)
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

  private get pending(): boolean {
    return (
      this.standing.dirty.length > 0 ||
      this.standing.due.pending ||
      this.standing.blocks.pending ||
      this.outbox.pending ||
      this.parked.pending ||
      this.keptThings.pending ||
      this.refs.pending ||
      this.log.pending
    )
  }

  /** Everything put in this turn is one transaction: the last promise stands for all. */
  private write(): { transaction: Promise<unknown>; records: number } {
    const { slabs, refs, outbox, log } = this
    const { blocks, due } = this.standing
    slabs.clear()
    blocks.list()
    const records = this.writeRecords()
    blocks.write(slabs)
    due.write()
    outbox.write(slabs)
    const logged = log.write()
    this.parked.write()
    const kept = this.keptThings.write()
    refs.write()
    // A commit touches more pages than it has octets.
    this.reserve.spent((slabs.used + logged + kept) * 3)
    const marks = writeMarks({
      lastId: this.lastId,
      blockSeq: blocks.seq,
      refSeq: refs.seq,
      reportSeq: outbox.seq,
      logDropped: log.dropped,
    })
    return { transaction: this.tables.meta.put('marks', marks), records }
  }

  private writeRecords(): number {
    const { messages } = this.tables
    const { slabs, standing } = this
    const { dirty } = standing
    standing.dirty = []
    this.written = dirty
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

  private durable(ms: number, records: number): void {
    const { live, due, blocks } = this.standing
    for (const m of this.written) {
      m.hold &= ~WRITING
      live.release(m)
    }
    this.written = []
    this.refs.written()
    due.written()
    this.keptThings.written()
    this.ready = blocks.written()
    this.told = this.outbox.written()
    this.events.synced(ms, records)
  }

  private announce(): void {
    for (const lane of this.ready) this.events.ready(lane)
    this.outbox.announce(this.told, (of, by) => this.events.report(of, by))
    if (this.log.rows > 0) this.events.logged()
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

  // -- time ------------------------------------------------------------------

  tick(): boolean {
    const now = this.clock.now()
    const mono = this.clock.mono()
    const { due, blocks } = this.standing
    let more = due.release(now, this.limits.release, (dueMs, id) => this.releaseOne(dueMs, id))
    if (this.refs.tick(now)) more = true
    if (this.keptThings.expire(now)) more = true
    if (mono - this.sweepDoneMs >= SWEEP_PAUSE_MS && this.sweep.next(now, m => this.expire(m, now))) {
      this.sweepDoneMs = mono
    }
    if (mono - this.garbageDoneMs >= GARBAGE_PAUSE_MS && blocks.collectGarbage()) {
      blocks.startGarbage()
      this.garbageDoneMs = mono
    }
    for (const { carrier, receipt } of this.parked.expire(now)) this.events.unmatched(carrier, receipt)
    if (mono - this.expireDoneMs >= SWEEP_PAUSE_MS && this.outbox.expire(now - this.settings.keepReportsMs)) {
      this.expireDoneMs = mono
    }
    if (this.outbox.dropped > this.droppedTold) {
      this.events.reportsDropped(this.outbox.dropped - this.droppedTold)
      this.droppedTold = this.outbox.dropped
    }
    if (this.pending) this.commits.note()
    return more
  }

  private releaseOne(dueMs: number, id: number): boolean {
    const m = this.standing.live.message(id)
    if (m?.standing !== 'waiting' || m.dueMs !== dueMs) return false
    if (m.joined?.waits) {
      this.joins.late(m)
      return true
    }
    this.standing.touch(m)
    this.standing.due.remove(m)
    this.standing.blocks.add(m)
    return true
  }

  /** It was not delivered in time, or its receipt did not come. */
  private expire(m: Message, now: number): void {
    // It ends with the message that has its text.
    if (m.joined !== null && m.joined.of !== 0 && this.find(m.id)) return
    this.settling.expire(m, now)
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
    return this.changing.rematch(from, to, this.limits.release)
  }

  present(m: Message): readonly number[] {
    return this.standing.index.like(m)
  }

  async *waitingOf(account: number): AsyncGenerator<Message[]> {
    const newest = this.lastId
    await this.synced()
    if (this.standing.waitingOf(account) === 0) return
    const { tables } = this
    const { live, due, blocks } = this.standing
    // The due of all accounts stand together: nobody goes through them for nothing.
    const pause = this.pauseOf(nextTurn)
    if (this.closing) return
    if (due.of(account) > 0) yield* walkDue(tables, live, account, newest, pause)
    yield* walkReady(tables, live, blocks.lanes, account, newest, pause)
  }

  async *walk(filter: QueueFilter, after: number): AsyncGenerator<WalkSlice> {
    const newest = this.lastId
    await this.synced()
    if (this.closing) return
    yield* walkAll(this.tables.messages, this.standing.live, filter, after, newest, this.pauseOf(nextTurn))
  }

  async receiptWaits(account: number, id: number): Promise<boolean> {
    await this.synced()
    if (this.closing || this.outbox.count(account) === 0) return false
    return findReceipt(this.tables, account, id, this.pauseOf(nextTurn))
  }

  takeIds(n: number): number[] {
    return Array.from({ length: n }, () => this.ids.next())
  }

  async *multi(multiId: number, turn: () => Promise<unknown> = nextTurn): AsyncGenerator<Message[]> {
    await this.synced()
    if (!this.closing) yield* walkMulti(this.tables.messages, this.standing.live, multiId, this.pauseOf(turn))
  }

  private pauseOf(turn: () => Promise<unknown>) {
    return async () => {
      await turn()
      return !this.closing
    }
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
    const slice = this.log.read(after, max)
    if (!slice) return { position: after, rows: [] }
    return { position: slice.position, rows: slice.rows.filter(row => row.kind === 'ended') }
  }

  readLog(after: number, maxRows: number, of?: LogFilter): LogSlice | undefined {
    return this.log.read(after, maxRows, of)
  }

  /** Goes with the next commit: what it leaves behind a crash is read and dropped again. */
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
    this.stopping = true
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.stopping = true
    this.closing = true
    try {
      await this.commits.close()
      if (!this.commits.broken) await this.tables.meta.put('clean', Buffer.from([1]))
    } finally {
      this.closed = true
      this.reserve.stop()
      await this.tables.root.close()
    }
  }
}
