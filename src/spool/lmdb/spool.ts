// The spool on LMDB: one process, one directory. Gathers everything asked for since
// the last commit and writes it as one transaction with one sync; a message that was
// put and removed within one commit never touches the disk. Knows order, standing and
// durability; knows nothing of protocols, carriers' addresses or prices.

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { assert } from '../../base/assert.js'
import type { Clock } from '../../base/clock.js'
import { IdMaker } from '../../base/ids.js'
import {
  isFinal,
  type Message,
  type MessageState,
  mark,
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
  state,
  writeRecord,
} from '../../model/message.js'
import type { Receipt, Reply } from '../../model/outcome.js'
import {
  type Claimer,
  type Conversion,
  type Ending,
  type EventReport,
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
import { Blocks } from './blocks.js'
import { Commits } from './commits.js'
import { Due } from './due.js'
import { Joins } from './joins.js'
import { Kept } from './kept.js'
import { defaultLimits, type LmdbLimits } from './limits.js'
import { CLAIMED, DIRTY, FRESH, isKept, Live, QUEUED, RECENT, STORED, WRITING } from './live.js'
import { Log } from './log.js'
import { readMarks, writeMarks } from './marks.js'
import { Outbox } from './outbox.js'
import { Parked } from './parked.js'
import { Present } from './present.js'
import { Refs } from './refs.js'
import { mapRoom, openTables, Slabs, type Tables } from './store.js'
import { Sweep } from './sweep.js'
import { tellEnd, tellNotice, tellPart } from './telling.js'
import { findReceipt, walkAll, walkDue, walkMulti, walkReady } from './walk.js'

const SWEEP_PAUSE_MS = 10_000
const GARBAGE_PAUSE_MS = 600_000
/** Characters of a part's err that are kept; the standard has three. */
const MAX_ERR = 16

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
  /** Messages that must be the same object for everyone who asks. */
  private readonly live: Live
  private readonly blocks: Blocks
  private readonly due: Due
  private readonly refs: Refs
  private readonly outbox: Outbox
  private readonly log: Log
  private readonly parked: Parked
  private readonly keptThings: Kept
  private readonly sweep: Sweep
  private readonly index = new Present()
  private readonly joins: Joins

  private readonly commits: Commits
  /** Messages whose records change with the next commit. */
  private dirty: Message[] = []
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
  private waiting = 0
  private claimed = 0
  private sent = 0
  private readonly waitingCounts = new Map<number, number>()
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
    this.live = new Live(tables.messages)
    this.blocks = new Blocks(tables.lanes, tables.messages, this.live, this.limits, marks.blockSeq, m => this.usable(m))
    this.due = new Due(tables.due)
    const host = {
      message: (id: number) => this.live.message(id),
      forgetRecent: (m: Message) => {
        m.hold -= RECENT
        this.live.release(m)
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
    this.sweep = new Sweep(tables.messages, this.live, this.limits.sweep, settings.receiptGraceMs)
    this.joins = new Joins(
      {
        message: id => this.live.message(id),
        touch: m => this.touch(m),
        hold: (m, dueMs) => this.due.add(m, dueMs),
        go: m => this.go(m),
        follow: m => this.follow(m),
        apart: parts => this.events.apart(parts),
      },
      this.limits.joins,
    )
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
        this.sent++
        continue
      }
      const account = recordAccount(value)
      this.count(account, 1)
      if (isUnsure && this.restoreUnsure(readRecord(id, value))) continue
      if (recordReplaceable(value)) this.index.add(readRecord(id, value))
      if (recordIsJoined(value)) {
        const m = readRecord(id, value)
        if (m.joined?.waits) this.joins.restore(m)
      }
      if (recordReady(value) === 0) this.due.restore(account)
      else this.blocks.restore(recordLane(value), recordRank(value), account, recordPriority(value), id)
    }
  }

  /** It was on its way when the last run was killed: it goes into no lane, unless there is more of it to be sent. */
  private restoreUnsure(m: Message): boolean {
    if (m.parts?.some(part => !part.answered && !part.unsure)) return false
    m.hold = STORED
    this.touch(m)
    m.ready = 0
    m.dueMs = 0
    this.becomeSent(m)
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
    if (this.waiting + n > this.settings.maxWaiting) return 'queue_full'
    const most = maxWaiting ?? this.settings.maxWaitingPerAccount
    if ((this.waitingCounts.get(account) ?? 0) + n > most) return 'account_full'
    return undefined
  }

  fullness(account: number, maxWaiting?: number | null): number {
    const most = maxWaiting ?? this.settings.maxWaitingPerAccount
    // A most of 0 is full, whatever waits.
    const own = most === 0 ? 1 : (this.waitingCounts.get(account) ?? 0) / most
    return this.reserve.low ? 1 : Math.min(Math.max(own, this.waiting / this.settings.maxWaiting), 1)
  }

  private count(account: number, by: number): void {
    this.waiting += by
    const n = (this.waitingCounts.get(account) ?? 0) + by
    if (n > 0) this.waitingCounts.set(account, n)
    else this.waitingCounts.delete(account)
  }

  commit(m: Message): void {
    if (m.id === 0) m.id = this.ids.next()
    if (m.id > this.lastId) this.lastId = m.id
    this.count(m.account, 1)
    const now = this.clock.now()
    this.log.accepted(m, now)
    this.touch(m)
    if (m.replaceable) this.index.add(m)
    if (m.joined !== null && this.joins.take(m, now)) return
    if (m.scheduleMs > now) this.due.add(m, m.scheduleMs)
    else this.blocks.add(m)
  }

  /** A part that waited for others goes. */
  private go(m: Message): void {
    if (m.dueMs > 0) this.due.remove(m)
    if (m.scheduleMs > this.clock.now()) this.due.add(m, m.scheduleMs)
    else this.blocks.add(m)
  }

  /** A part whose text goes in another message. */
  private follow(m: Message): void {
    if (m.dueMs > 0) this.due.remove(m)
    this.becomeSent(m)
  }

  /** The record of `m` changes with the next commit. */
  private touch(m: Message): void {
    if (m.hold & DIRTY) return
    this.live.keep(m)
    m.hold |= DIRTY
    this.dirty.push(m)
    this.commits.note()
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
      this.dirty.length > 0 ||
      this.due.pending ||
      this.blocks.pending ||
      this.outbox.pending ||
      this.parked.pending ||
      this.keptThings.pending ||
      this.refs.pending ||
      this.log.pending
    )
  }

  /** Everything put in this turn is one transaction: the last promise stands for all. */
  private write(): { transaction: Promise<unknown>; records: number } {
    const { slabs, blocks, refs, outbox, log } = this
    slabs.clear()
    blocks.list()
    const records = this.writeRecords()
    blocks.write(slabs)
    this.due.write()
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
    const { slabs } = this
    const dirty = this.dirty
    this.dirty = []
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
    for (const m of this.written) {
      m.hold &= ~WRITING
      this.live.release(m)
    }
    this.written = []
    this.refs.written()
    this.due.written()
    this.keptThings.written()
    this.ready = this.blocks.written()
    this.told = this.outbox.written()
    this.events.synced(ms, records)
  }

  private announce(): void {
    for (const lane of this.ready) this.events.ready(lane)
    this.outbox.announce(this.told, (of, by) => this.events.report(of, by))
    if (this.log.rows > 0) this.events.logged()
  }

  // -- lanes -----------------------------------------------------------------

  /** Just taken from its row: may it be handed out? */
  private usable(m: Message): boolean {
    if ((m.hold & QUEUED) === 0) return false
    const now = this.clock.now()
    if (m.validUntilMs <= now) {
      this.expire(m, now)
      return false
    }
    m.hold = (m.hold & ~QUEUED) | CLAIMED
    this.claimed++
    return true
  }

  claimer(name: string, lanes: readonly number[], weightOf: (account: number) => number): Claimer {
    return this.blocks.lanes.claimer(name, lanes, weightOf)
  }

  giveBack(m: Message): void {
    if (this.unclaim(m)) this.blocks.giveBack(m)
  }

  private unclaim(m: Message): boolean {
    if ((m.hold & CLAIMED) === 0) return false
    m.hold &= ~CLAIMED
    this.claimed--
    return true
  }

  /** Takes it out of wherever it waits. */
  private withdraw(m: Message): void {
    if (this.unclaim(m)) this.blocks.leave(m)
    else if (m.dueMs > 0) this.due.remove(m)
    else this.blocks.withdraw(m)
  }

  // -- settling --------------------------------------------------------------

  cut(m: Message, carrier: number, count: number, concatRef: number): void {
    m.carrier = carrier
    m.concatRef = concatRef
    m.parts = Array.from({ length: count }, () => ({
      ref: '',
      answered: false,
      unsure: false,
      state: state.ENROUTE,
      err: '',
    }))
  }

  sending(message: Message, part: number, carrier: number): void {
    const m = this.current(message)
    if (m?.standing !== 'waiting') return
    this.touch(m)
    m.carrier = carrier
    m.unsure = true
    const one = m.parts?.[part]
    if (one !== undefined) one.unsure = true
  }

  unsent(message: Message, part: number): void {
    const m = this.current(message)
    if (m?.standing !== 'waiting') return
    this.touch(m)
    if (m.parts === null) m.carrier = 0
    this.unmark(m, part)
  }

  private unmark(m: Message, part: number): void {
    const one = m.parts?.[part]
    if (one !== undefined) one.unsure = false
    m.unsure = m.parts?.some(other => other.unsure) ?? false
  }

  unsure(message: Message): void {
    const m = this.current(message)
    if (m?.standing !== 'waiting') return
    assert(m.unsure, 'what is unsure was marked before')
    this.touch(m)
    this.withdraw(m)
    this.becomeSent(m)
  }

  /**
   * The object that stands for a message now. A late answer may come with one that was
   * let go when its message was deferred; undefined when the message is over.
   */
  private current(m: Message): Message | undefined {
    return isKept(m) ? m : this.live.message(m.id)
  }

  accepted(message: Message, part: number, carrier: number, ref: string, awaitReceipt: boolean): void {
    const m = this.current(message)
    if (m?.standing !== 'waiting') return
    m.carrier = carrier
    if (m.unsure) this.unmark(m, part)
    let whole = true
    let named = ref !== ''
    if (m.parts) {
      const one = m.parts[part]
      assert(one !== undefined, 'an answer names a part of its message')
      one.answered = true
      one.ref = ref
      for (const other of m.parts) {
        if (!other.answered) whole = false
        if (other.ref !== '') named = true
      }
    } else m.ref = ref
    if (whole && (m.registered_delivery & 0x10 || m.joined !== null)) this.notice(m, state.ENROUTE, this.clock.now())
    if (whole && !(awaitReceipt && named)) {
      this.finish(m, { state: state.ACCEPTED, error: '', doneMs: this.clock.now() })
      return
    }
    this.touch(m)
    if (whole) {
      this.withdraw(m)
      this.becomeSent(m)
    }
    if (awaitReceipt && ref !== '') {
      m.hold += RECENT
      this.refs.add(carrier, ref, m, this.sweep.lastMsOf('sent', m.validUntilMs))
      const early = this.parked.size > 0 ? this.parked.take(carrier, ref) : undefined
      if (early) {
        this.apply(m, early)
        return
      }
    }
    // The last part may have come without a name, when all the others have reported.
    if (whole && m.parts) this.endIfReported(m, this.clock.now())
  }

  private becomeSent(m: Message): void {
    this.count(m.account, -1)
    if (m.replaceable) this.index.remove(m)
    m.standing = 'sent'
    this.sent++
  }

  defer(message: Message, dueMs: number): void {
    const m = this.current(message)
    if (m?.standing !== 'waiting') return
    m.attempts = message.attempts
    this.touch(m)
    this.withdraw(m)
    this.due.add(m, dueMs)
  }

  end(message: Message, ending: Ending): void {
    const m = this.current(message)
    if (m) this.finish(m, ending)
  }

  private finish(m: Message, ending: Ending): void {
    if (m.standing === 'ended') return
    this.touch(m)
    if (m.standing === 'sent') this.sent--
    else {
      this.withdraw(m)
      this.count(m.account, -1)
      if (m.replaceable) this.index.remove(m)
    }
    m.standing = 'ended'
    if (m.ref !== '') this.refs.remove(m.carrier, m.ref, m)
    if (m.parts) for (const part of m.parts) if (part.ref !== '') this.refs.remove(m.carrier, part.ref, m)
    const { priceMicros, costMicros } = this.settles(m, ending)
    const backMicros = m.priceMicros - priceMicros
    m.priceMicros = priceMicros
    this.log.ended(m, ending, backMicros, costMicros)
    tellEnd(this.outbox, m, ending, this.tells(m, ending), this.clock.now())
    this.events.ended(m, ending)
    if (m.joined !== null) {
      this.joins.leave(m)
      for (const part of this.partsIn(m)) {
        part.carrier = m.carrier
        this.finish(part, ending)
      }
    }
  }

  /** Messages whose text went in this one, which has not ended, or ends at this moment. */
  private partsIn(m: Message): Message[] {
    const parts: Message[] = []
    for (const id of m.joined?.ids ?? []) {
      const part = this.live.message(id)
      if (part?.standing === 'sent' && part.joined?.of === m.id) parts.push(part)
    }
    return parts
  }

  // -- time ------------------------------------------------------------------

  tick(): boolean {
    const now = this.clock.now()
    const mono = this.clock.mono()
    let more = this.due.release(now, this.limits.release, (dueMs, id) => this.releaseOne(dueMs, id))
    if (this.refs.tick(now)) more = true
    if (this.keptThings.expire(now)) more = true
    if (mono - this.sweepDoneMs >= SWEEP_PAUSE_MS && this.sweep.next(now, m => this.expire(m, now))) {
      this.sweepDoneMs = mono
    }
    if (mono - this.garbageDoneMs >= GARBAGE_PAUSE_MS && this.blocks.collectGarbage()) {
      this.blocks.startGarbage()
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
    const m = this.live.message(id)
    if (m?.standing !== 'waiting' || m.dueMs !== dueMs) return false
    if (m.joined?.waits) {
      this.joins.late(m)
      return true
    }
    this.touch(m)
    this.due.remove(m)
    this.blocks.add(m)
    return true
  }

  /** It was not delivered in time, or its receipt did not come. */
  private expire(m: Message, now: number): void {
    // It ends with the message that has its text.
    if (m.joined !== null && m.joined.of !== 0 && this.find(m.id)) return
    if (m.standing === 'sent') {
      this.finish(m, { state: state.UNKNOWN, error: m.unsure ? 'unsure' : 'no_receipt', doneMs: now })
    } else this.finish(m, { state: state.EXPIRED, error: '', doneMs: m.validUntilMs })
  }

  // -- finding and changing --------------------------------------------------

  find(id: number): Message | undefined {
    let m = this.live.message(id)
    while (m && m.joined !== null && m.joined.of !== 0) m = this.live.message(m.joined.of)
    return m && m.standing !== 'ended' ? m : undefined
  }

  findRef(carrier: number, ref: string): Message | undefined {
    const m = this.refs.find(carrier, ref)
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
      const part = this.live.message(one)
      if (part) this.finish(part, ending)
    }
    return true
  }

  replace(id: number, change: (message: Message) => void): boolean {
    const m = this.changeable(id)
    // A part of the old text that is on its way cannot be called back.
    if (!m || m.unsure || m.parts?.some(part => part.answered)) return false
    this.touch(m)
    const { scheduleMs } = m
    if (m.joined?.waits) {
      this.joins.leave(m)
      m.joined.waits = false
      change(m)
      this.due.remove(m)
      if (!this.joins.take(m, this.clock.now())) this.go(m)
      return true
    }
    change(m)
    m.parts = null
    m.concatRef = 0
    if (m.scheduleMs !== scheduleMs) this.reschedule(m)
    return true
  }

  private reschedule(m: Message): void {
    const now = this.clock.now()
    if (m.scheduleMs > now) {
      this.withdraw(m)
      this.due.add(m, m.scheduleMs)
    } else if (m.dueMs > 0) {
      this.due.remove(m)
      // What has its first place still to come would stand in two.
      if (m.hold & FRESH) this.due.add(m, now)
      else this.blocks.add(m)
    }
  }

  present(m: Message): readonly number[] {
    return this.index.like(m)
  }

  async *waitingOf(account: number): AsyncGenerator<Message[]> {
    const newest = this.lastId
    await this.synced()
    if ((this.waitingCounts.get(account) ?? 0) === 0) return
    const { tables, live, due, blocks } = this
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
    yield* walkAll(this.tables.messages, this.live, filter, after, newest, this.pauseOf(nextTurn))
  }

  inHand(m: Message): boolean {
    return (m.hold & CLAIMED) !== 0
  }

  retry(id: number): boolean {
    const m = this.changeable(id)
    const now = this.clock.now()
    if (!m || m.dueMs === 0 || m.joined?.waits || m.scheduleMs > now) return false
    this.touch(m)
    this.due.remove(m)
    // What has its first place still to come would stand in two.
    if (m.hold & FRESH) this.due.add(m, now)
    else this.blocks.add(m)
    return true
  }

  move(id: number, lane: number): boolean {
    const m = this.changeable(id)
    if (!m || m.lane === lane) return false
    this.touch(m)
    this.blocks.lanes.forget(m)
    if (m.dueMs === 0) {
      this.blocks.withdraw(m)
      if (m.hold & FRESH) this.due.add(m, this.clock.now())
      else this.blocks.add(m)
    }
    m.lane = lane
    return true
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
    if (!this.closing) yield* walkMulti(this.tables.messages, this.live, multiId, this.pauseOf(turn))
  }

  private pauseOf(turn: () => Promise<unknown>) {
    return async () => {
      await turn()
      return !this.closing
    }
  }

  rematch(from: number, to: (message: Message) => number): boolean {
    const { lanes } = this.blocks
    let n = 0
    for (const row of [...lanes.ofLane(from)]) {
      while (n < this.limits.release && row.waiting > 0) {
        const m = lanes.take(row)
        n++
        if (!m) continue
        this.touch(m)
        this.unclaim(m)
        this.blocks.leave(m)
        m.lane = to(m)
        this.blocks.add(m)
      }
      lanes.shrank(row, 0)
      if (n === this.limits.release) return true
    }
    return false
  }

  // -- receipts and reports --------------------------------------------------

  receipt(carrier: number, receipt: Receipt): ReceiptMatch {
    if (this.reserve.exhausted) return 'full'
    const m = this.refs.find(carrier, receipt.ref)
    if (!m || m.standing === 'ended') {
      this.parked.add(carrier, receipt, this.clock.now())
      this.commits.note()
      return 'parked'
    }
    this.apply(m, receipt)
    return 'matched'
  }

  private apply(m: Message, receipt: Receipt): void {
    const { vendor } = receipt
    if (!isFinal(receipt.state)) {
      if (m.registered_delivery & 0x10 || m.joined !== null) this.notice(m, receipt.state, receipt.doneMs, receipt)
      return
    }
    const network = receipt.network ?? 0
    if (!m.parts) {
      if (m.standing === 'sent') this.finish(m, endingOf(receipt.state, receipt.err, receipt.doneMs, network, vendor))
      return
    }
    this.touch(m)
    for (const [index, part] of m.parts.entries()) {
      if (part.ref !== receipt.ref || isFinal(part.state)) continue
      part.state = receipt.state
      part.err = receipt.err.slice(0, MAX_ERR)
      if (network !== 0) part.network = network
      if (m.registered_delivery & mark.perPart) {
        const ending = endingOf(part.state, part.err, receipt.doneMs, network, vendor)
        tellPart(this.outbox, m, index, ending, this.clock.now())
      }
    }
    this.endIfReported(m, receipt.doneMs, vendor)
  }

  /** It is on its way, and whoever asked hears of it. */
  private notice(m: Message, s: MessageState, doneMs: number, receipt: Partial<Receipt> = {}): void {
    const { err = '', network = 0, vendor } = receipt
    if (tellNotice(this.outbox, m, endingOf(s, err, doneMs, network, vendor), this.clock.now())) this.touch(m)
    if (m.joined !== null) for (const part of this.partsIn(m)) this.notice(part, s, doneMs, receipt)
  }

  /** Ends a message of parts once every part that has a name has reported; `vendor` is of the last that did. */
  private endIfReported(m: Message, doneMs: number, vendor?: Buffer): void {
    let whole: MessageState = state.DELIVERED
    let error = ''
    let network = 0
    for (const part of m.parts ?? []) {
      if (!part.answered || (part.ref !== '' && !isFinal(part.state))) return
      if (!isFinal(part.state) || whole !== state.DELIVERED) continue
      // The first part that failed is what the customer must hear of.
      whole = part.state
      error = part.err
      network = part.network ?? 0
    }
    this.finish(m, endingOf(whole, error, doneMs, network, vendor))
  }

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

  readLog(after: number, maxRows: number): LogSlice | undefined {
    return this.log.read(after, maxRows)
  }

  /** Goes with the next commit: what it leaves behind a crash is read and dropped again. */
  dropLog(position: number): void {
    this.log.drop(position)
  }

  // -- figures and the end ---------------------------------------------------

  figures(): QueueFigures {
    return {
      waiting: this.waiting,
      claimed: this.claimed,
      sent: this.sent,
      due: this.due.count,
      outbox: this.outbox.total,
      unclaimed: this.outbox.count(0),
      parked: this.parked.size,
      logRows: this.log.rows,
      replaceable: this.index.size,
      lanes: this.blocks.lanes.figures(),
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

function endingOf(s: MessageState, error: string, doneMs: number, network: number, vendor?: Buffer): Ending {
  if (vendor !== undefined) return { state: s, error, doneMs, network, vendor }
  return network === 0 ? { state: s, error, doneMs } : { state: s, error, doneMs, network }
}
