// The spool on LMDB: one process, one directory. Gathers everything asked for since
// the last commit and writes it as one transaction with one sync; a message that was
// put and removed within one commit never touches the disk. Knows order, standing and
// durability; knows nothing of protocols, carriers' addresses or prices.

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { assert } from '../../base/assert.js'
import type { Clock } from '../../base/clock.js'
import { IdMaker, idTimeMs } from '../../base/ids.js'
import {
  type ClassRank,
  type Message,
  type MessageState,
  readRecord,
  recordAccount,
  recordLane,
  recordPriority,
  recordRank,
  recordReady,
  recordSize,
  recordStanding,
  recordValidUntil,
  state,
  writeRecord,
} from '../../model/message.js'
import type { Receipt, Reply } from '../../model/outcome.js'
import type {
  Claimer,
  Ending,
  LogSlice,
  QueueFigures,
  ReceiptMatch,
  Report,
  Spool,
  SpoolEvents,
  SpoolRefusal,
} from '../contract.js'
import { Reserve } from '../reserve.js'
import { type Queue, Lanes, type Row } from './lanes.js'
import { Log } from './log.js'
import { Outbox } from './outbox.js'
import { Parked } from './parked.js'
import { Refs } from './refs.js'
import { openTables, type Tables } from './store.js'

// Message.hold: why the engine keeps a message in memory.
const FRESH = 1 // becomes claimable with the commit being gathered or written
const QUEUED = 2 // stands in the head of its row
const CLAIMED = 4 // in the hands of dispatch
const DIRTY = 8 // its record changes with the next commit
const WRITING = 16 // its record changes with the commit being written
const STORED = 32 // a record of it is on disk
const RECENT = 256 // counted: references in memory that point at the object
const KEPT = FRESH | QUEUED | CLAIMED | DIRTY | WRITING | ~(RECENT - 1)

/** Messages that all lanes together hold in memory; what comes on top is read from disk in its turn. */
const HEADS = 30_000
const REFILL = 500
/** A receipt may come this much after the validity of its message. */
const RECEIPT_GRACE_MS = 3_600_000
const RELEASE_SLICE = 500
const SWEEP_SLICE = 1_500
const SWEEP_PAUSE_MS = 10_000
const GARBAGE_PAUSE_MS = 600_000
const GARBAGE_BLOCKS = 4
/** A commit under load waits this long after the one before: fewer, larger commits cost half the CPU. */
const GATHER_MS = 2
const GATHER_FROM = 100

interface Block {
  readonly key: number[]
  remaining: number
  /** Those that become claimable when the commit is durable; emptied then. */
  fresh: Message[]
  readonly row: Row
  readonly queue: Queue
}

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
}

const silent: SpoolEvents = {
  ready() {},
  report() {},
  logged() {},
  ended() {},
  unmatched() {},
  reportsDropped() {},
  synced() {},
  failed(error) {
    throw error
  },
}

export class LmdbSpool implements Spool {
  readonly identity: string
  readonly crashed: boolean
  readonly clock: Clock
  events: SpoolEvents = silent
  gathering = 1

  private readonly settings: LmdbSpoolSettings
  private readonly tables: Tables
  private readonly reserve: Reserve
  private readonly ids: IdMaker
  private readonly lanes: Lanes
  private readonly refs: Refs
  private readonly outbox: Outbox
  private readonly log: Log
  private readonly parked: Parked
  /** Messages that must be the same object for everyone who asks. */
  private readonly live = new Map<number, Message>()

  // The commit being gathered.
  private dirty: Message[] = []
  private fresh: Message[] = []
  private dueAdded: Message[] = []
  private dueGone: number[][] = []
  private blocksGone: number[][] = []
  private thens: (() => void)[] = []
  private promise: Promise<void> | null = null
  // The commit being written.
  private writing = false
  private written: Message[] = []
  private blocks: Block[] = []
  private scheduled = false
  private lastWriteMs = 0
  private lastRecords = 0
  private slab = Buffer.allocUnsafeSlow(2 ** 20)

  private blockSeq = 0
  private refSeq = 0
  private lastId = 0
  private stopping = false
  private broken: Error | null = null
  private waiting = 0
  private claimed = 0
  private sent = 0
  private due = 0
  private readonly waitingOf = new Map<number, number>()
  private sweepAt = 0
  private sweepDoneMs = 0
  private garbageAt: number[] = []
  private garbageDoneMs = 0
  private droppedTold = 0

  private constructor(settings: LmdbSpoolSettings, tables: Tables, reserve: Reserve) {
    this.settings = settings
    this.clock = settings.clock
    this.tables = tables
    this.reserve = reserve
    const { meta } = tables
    const known = meta.get('identity')
    this.identity = known ? known.toString('latin1') : randomBytes(8).toString('hex')
    this.crashed = known !== undefined && meta.get('clean') === undefined
    if (!known) meta.putSync('identity', Buffer.from(this.identity, 'latin1'))
    meta.removeSync('clean')
    this.lanes = new Lanes({
      refill: (row, queue) => this.refill(row, queue),
      usable: message => this.usable(message),
    })
    this.refs = new Refs(tables.refs, {
      message: id => this.message(id),
      forgetRecent: message => {
        message.hold -= RECENT
        this.forget(message)
      },
    })
    this.outbox = new Outbox(tables.outbox, tables.outboxDone, settings.keepReportsPerAccount)
    this.log = new Log(tables.log, meta.get('logDropped')?.readDoubleLE(0) ?? 0)
    this.parked = new Parked(tables.parked)
    this.lastId = meta.get('lastId')?.readDoubleLE(0) ?? 0
    this.restore()
    this.ids = new IdMaker(this.clock, settings.node, this.lastId)
  }

  /** Opens or makes the spool in `settings.path` and reads what it needs to know: one pass over the records. */
  static async open(settings: LmdbSpoolSettings): Promise<LmdbSpool> {
    mkdirSync(settings.path, { recursive: true })
    const reserve = new Reserve(settings.path, settings.reserveMb)
    await reserve.start()
    return new LmdbSpool(settings, openTables(settings.path, settings.mapGb), reserve)
  }

  private restore(): void {
    const awaited: { carrier: number; ref: string; id: number; refSeq: number; validUntilMs: number }[] = []
    for (const { key: id, value } of this.tables.messages.getRange({})) {
      if (id > this.lastId) this.lastId = id
      if (recordStanding(value) === 'sent') {
        this.sent++
        const m = readRecord(id, value)
        if (m.refSeq > this.refSeq) this.refSeq = m.refSeq
        this.awaitRefs(m, awaited)
        continue
      }
      const account = recordAccount(value)
      this.count(account, 1)
      const ready = recordReady(value)
      if (ready === 0) {
        this.due++
        continue
      }
      if (ready > this.blockSeq) this.blockSeq = ready
      const row = this.lanes.row(recordLane(value), recordRank(value), account)
      row.queue(recordPriority(value)).behind = true
      this.lanes.grew(row, 1)
      // Parts of it that a carrier has taken may report before the rest is sent.
      if (value.readUInt32LE(12) !== 0) this.awaitRefs(readRecord(id, value), awaited)
    }
    awaited.sort((a, b) => a.refSeq - b.refSeq)
    for (const one of awaited) this.refs.restore(one.carrier, one.ref, one.id, one.validUntilMs)
  }

  private awaitRefs(
    m: Message,
    into: { carrier: number; ref: string; id: number; refSeq: number; validUntilMs: number }[],
  ): void {
    if (m.refSeq < this.refs.frozenBelow(m.carrier)) return
    const { carrier, id, refSeq, validUntilMs } = m
    if (!m.parts) {
      if (m.ref !== '') into.push({ carrier, ref: m.ref, id, refSeq, validUntilMs })
    } else {
      for (const part of m.parts) if (part.ref !== '') into.push({ carrier, ref: part.ref, id, refSeq, validUntilMs })
    }
  }

  // -- taking in -------------------------------------------------------------

  get exhausted(): boolean {
    return this.reserve.exhausted
  }

  refusal(account: number, maxWaiting?: number | null): SpoolRefusal | undefined {
    if (this.stopping || this.broken) return 'stopping'
    if (this.reserve.low) return 'disk_full'
    if (this.waiting >= this.settings.maxWaiting) return 'queue_full'
    const most = maxWaiting ?? this.settings.maxWaitingPerAccount
    if ((this.waitingOf.get(account) ?? 0) >= most) return 'account_full'
    return undefined
  }

  private count(account: number, by: number): void {
    this.waiting += by
    const n = (this.waitingOf.get(account) ?? 0) + by
    if (n > 0) this.waitingOf.set(account, n)
    else this.waitingOf.delete(account)
  }

  commit(m: Message): void {
    if (m.id === 0) m.id = this.ids.next()
    if (m.id > this.lastId) this.lastId = m.id
    this.live.set(m.id, m)
    this.count(m.account, 1)
    const now = this.clock.now()
    this.log.append('accepted', now, m, state.ENROUTE, '')
    if (m.scheduleMs > now) this.setDue(m, m.scheduleMs)
    else this.setFresh(m)
    this.touch(m)
  }

  private setFresh(m: Message): void {
    m.hold |= FRESH
    this.fresh.push(m)
  }

  private setDue(m: Message, dueMs: number): void {
    m.dueMs = Math.ceil(dueMs)
    m.ready = 0
    this.due++
    this.dueAdded.push(m)
  }

  /** The record of `m` changes with the next commit. */
  private touch(m: Message): void {
    if (m.hold & DIRTY) return
    m.hold |= DIRTY
    this.dirty.push(m)
    if (m.hold < RECENT && (m.hold & KEPT) === DIRTY) this.live.set(m.id, m)
    this.schedule()
  }

  private forget(m: Message): void {
    if ((m.hold & KEPT) === 0) this.live.delete(m.id)
  }

  private message(id: number): Message | undefined {
    const known = this.live.get(id)
    if (known) return known
    const record = this.tables.messages.get(id)
    if (!record) return undefined
    const m = readRecord(id, record)
    m.hold = STORED
    return m
  }

  // -- the commit ------------------------------------------------------------

  private schedule(): void {
    if (this.scheduled || this.writing || this.broken) return
    this.scheduled = true
    const sinceMs = this.clock.mono() - this.lastWriteMs
    if (this.lastRecords >= GATHER_FROM && sinceMs < GATHER_MS) setTimeout(this.write, GATHER_MS - sinceMs)
    else setImmediate(this.write)
  }

  private get pending(): boolean {
    return (
      this.dirty.length > 0 ||
      this.dueGone.length > 0 ||
      this.blocksGone.length > 0 ||
      this.outbox.pending ||
      this.parked.pending ||
      this.refs.pending
    )
  }

  synced(): Promise<void> {
    this.promise ??= new Promise((resolve, reject) => {
      if (this.broken) reject(this.broken)
      else this.afterSync(resolve)
    })
    return this.promise
  }

  afterSync(then: () => void): void {
    this.thens.push(then)
    this.schedule()
  }

  private readonly write = (): void => {
    this.scheduled = false
    if (this.broken) return
    this.gathering++
    const thens = this.thens
    this.thens = []
    this.promise = null
    if (!this.pending) {
      for (const then of thens) then()
      return
    }
    this.writing = true
    this.lastWriteMs = this.clock.mono()
    this.listFresh()
    const records = this.writeRecords()
    this.lastRecords = records
    const { due, lanes, meta } = this.tables
    for (const m of this.dueAdded) if (m.dueMs > 0 && m.standing === 'waiting') due.put([m.dueMs, m.id], NOTHING)
    this.dueAdded = []
    for (const key of this.dueGone) due.remove(key)
    this.dueGone = []
    for (const key of this.blocksGone) lanes.remove(key)
    this.blocksGone = []
    this.outbox.write()
    this.log.write()
    this.parked.write()
    this.refs.write()
    const lastId = Buffer.allocUnsafeSlow(8)
    lastId.writeDoubleLE(this.lastId)
    // Everything put in this turn is one transaction: this last promise stands for all.
    meta.put('lastId', lastId).then(
      () => this.synced_(thens, records),
      (error: unknown) => this.fail(error as Error),
    )
  }

  /** Gives what becomes claimable its place: one block per row and priority. */
  private listFresh(): void {
    if (this.fresh.length === 0) return
    const groups = new Map<Queue, Block>()
    for (const m of this.fresh) {
      if (m.standing !== 'waiting') {
        m.hold &= ~FRESH
        continue
      }
      const row = this.lanes.row(m.lane, m.rank, m.account)
      const queue = row.queue(m.priority_flag)
      let block = groups.get(queue)
      if (!block) {
        const key = [m.lane, m.rank, m.account, 9 - queue.priority, ++this.blockSeq]
        block = { key, remaining: 0, fresh: [], row, queue }
        groups.set(queue, block)
        this.blocks.push(block)
      }
      block.remaining++
      block.fresh.push(m)
      m.block = block
      m.ready = this.blockSeq
      m.ready = block.key[4] as number
    }
    this.fresh = []
    for (const block of groups.values()) {
      const ids = Buffer.allocUnsafeSlow(block.fresh.length * 8)
      for (let i = 0; i < block.fresh.length; i++) ids.writeDoubleLE((block.fresh[i] as Message).id, i * 8)
      this.tables.lanes.put(block.key, ids)
    }
  }

  private writeRecords(): number {
    const { messages } = this.tables
    const dirty = this.dirty
    this.dirty = []
    this.written = dirty
    let used = 0
    let slab = this.slab
    let bytes = 0
    for (const m of dirty) {
      m.hold = (m.hold & ~DIRTY) | WRITING
      if (m.standing === 'ended') {
        if (m.hold & STORED) messages.remove(m.id)
        continue
      }
      const most = recordSize(m)
      if (used + most > slab.length) {
        bytes += used
        // lmdb reads the octets on its own thread until the commit is done: a full slab is left to it.
        slab = Buffer.allocUnsafeSlow(Math.max(this.slab.length, most))
        used = 0
      }
      const end = writeRecord(m, slab, used)
      messages.put(m.id, slab.subarray(used, end))
      used = end
      m.hold |= STORED
    }
    this.reserve.spent((bytes + used) * 3)
    return dirty.length
  }

  private synced_(thens: (() => void)[], records: number): void {
    this.writing = false
    const written = this.written
    this.written = []
    for (const m of written) {
      m.hold &= ~WRITING
      if ((m.hold & KEPT) === 0) this.live.delete(m.id)
    }
    this.refs.written()
    const blocks = this.blocks
    this.blocks = []
    for (const block of blocks) this.makeReady(block)
    this.outbox.written(account => this.events.report(account))
    this.events.synced(this.clock.mono() - this.lastWriteMs, records)
    for (const then of thens) then()
    let lane = -1
    for (const block of blocks) {
      if (block.row.lane !== lane) this.events.ready(block.row.lane)
      lane = block.row.lane
    }
    if (this.log.rows > 0) this.events.logged()
    if (this.pending || this.thens.length > 0) this.schedule()
  }

  private fail(error: Error): void {
    this.broken = error
    this.events.failed(error)
  }

  private makeReady(block: Block): void {
    const { queue } = block
    const fresh = block.fresh
    block.fresh = []
    // The row may have been emptied and made anew since the block was listed.
    const first = fresh[0] as Message
    const row = this.lanes.row(first.lane, first.rank, first.account)
    const into = row === block.row ? queue : row.queue(queue.priority)
    const seq = block.key[4] as number
    // A refill that ran after the commit, but before this, has passed the block by: it must stay in memory then.
    const keep = (!into.behind && this.lanes.inMemory < HEADS) || seq <= into.read
    let joined = 0
    for (const m of fresh) {
      m.hold &= ~FRESH
      if (m.standing !== 'waiting' || m.ready !== seq) continue
      joined++
      if (!keep) {
        m.block = null
        this.forget(m)
        continue
      }
      m.hold |= QUEUED
      into.head.push(m)
    }
    if (keep) {
      this.lanes.inMemory += joined
      if (seq > into.read) into.read = seq
    } else into.behind = true
    if (joined > 0) this.lanes.grew(row, joined)
  }

  /** Reads the next blocks of a queue whose head is empty. */
  private refill(row: Row, queue: Queue): boolean {
    const prefix = [row.lane, row.rank, row.account, 9 - queue.priority]
    const start = [...prefix, queue.read + 1]
    const end = [...prefix, Number.MAX_SAFE_INTEGER]
    for (const { key, value } of this.tables.lanes.getRange({ start, end })) {
      const seq = key[4] as number
      queue.read = seq
      const block: Block = { key, remaining: 0, fresh: [], row, queue }
      let held = false
      for (let at = 0; at < value.length; at += 8) {
        const id = value.readDoubleLE(at)
        const known = this.live.get(id)
        const m = known ?? this.message(id)
        if (!m || m.standing !== 'waiting' || m.ready !== seq) continue
        if (m.hold & (FRESH | QUEUED | CLAIMED)) {
          // Somebody has it already; its own block object counts it down.
          held = true
          continue
        }
        m.hold |= QUEUED
        m.block = block
        block.remaining++
        if (!known) this.live.set(id, m)
        queue.head.push(m)
      }
      if (block.remaining === 0 && !held) {
        this.blocksGone.push(key)
        this.schedule()
      }
      if (queue.head.length >= REFILL) return true
    }
    queue.behind = false
    return queue.head.length > 0
  }

  /** Just taken from the head of its row: may it be handed out? */
  private usable(m: Message): boolean {
    if ((m.hold & QUEUED) === 0) return false
    if (m.validUntilMs <= this.clock.now()) {
      this.end(m, { state: state.EXPIRED, error: '', doneMs: m.validUntilMs })
      return false
    }
    m.hold = (m.hold & ~QUEUED) | CLAIMED
    this.claimed++
    return true
  }

  claimer(name: string, lanes: readonly number[], weightOf: (account: number) => number): Claimer {
    return this.lanes.claimer(name, lanes, weightOf)
  }

  giveBack(m: Message): void {
    if (!this.unclaim(m)) return
    const row = this.lanes.row(m.lane, m.rank, m.account)
    const queue = row.queue(m.priority_flag)
    m.hold |= QUEUED
    if (queue.headAt > 0) queue.head[--queue.headAt] = m
    else queue.head.unshift(m)
    this.lanes.inMemory++
    this.lanes.grew(row, 1)
  }

  private unclaim(m: Message): boolean {
    if ((m.hold & CLAIMED) === 0) return false
    m.hold &= ~CLAIMED
    this.claimed--
    return true
  }

  // -- settling --------------------------------------------------------------

  cut(m: Message, carrier: number, count: number, concatRef: number): void {
    m.carrier = carrier
    m.concatRef = concatRef
    m.parts = Array.from({ length: count }, () => ({ ref: '', answered: false, state: state.ENROUTE }))
  }

  accepted(m: Message, part: number, carrier: number, ref: string, awaitReceipt: boolean): void {
    if (m.standing !== 'waiting') return
    m.carrier = carrier
    if (m.refSeq === 0) m.refSeq = ++this.refSeq
    let whole = true
    if (m.parts) {
      const one = m.parts[part]
      assert(one !== undefined, 'an answer names a part of its message')
      one.answered = true
      one.ref = ref
      for (const other of m.parts) if (!other.answered) whole = false
    } else m.ref = ref
    const expects = awaitReceipt && ref !== ''
    if (expects) {
      m.hold += RECENT
      this.refs.add(carrier, ref, m)
    }
    if (whole) {
      this.unclaim(m)
      if (!awaitReceipt || (ref === '' && !m.parts)) {
        this.end(m, { state: state.ACCEPTED, error: '', doneMs: this.clock.now() })
        return
      }
      this.leaveLane(m)
      this.count(m.account, -1)
      m.standing = 'sent'
      this.sent++
    }
    this.touch(m)
    if (expects && this.parked.size > 0) {
      const early = this.parked.take(carrier, ref)
      if (early) this.apply(m, early)
    }
  }

  /** Leaves the block that lists it; the last to leave takes the block away. */
  private leaveLane(m: Message): void {
    const block = m.block as Block | null
    m.block = null
    m.ready = 0
    if (block && --block.remaining === 0) this.blocksGone.push(block.key)
  }

  /** Takes it out of wherever it waits. */
  private withdraw(m: Message): void {
    if (m.hold & CLAIMED) this.unclaim(m)
    else if (m.dueMs > 0) {
      this.due--
      this.dueGone.push([m.dueMs, m.id])
      m.dueMs = 0
    } else if ((m.hold & FRESH) === 0) {
      m.hold &= ~QUEUED
      this.lanes.shrank(this.lanes.row(m.lane, m.rank, m.account), 1)
    }
    this.leaveLane(m)
  }

  defer(m: Message, dueMs: number): void {
    if (m.standing !== 'waiting') return
    this.withdraw(m)
    this.setDue(m, dueMs)
    this.touch(m)
  }

  end(m: Message, ending: Ending): void {
    if (m.standing === 'ended') return
    if (m.standing === 'sent') this.sent--
    else {
      this.withdraw(m)
      this.count(m.account, -1)
    }
    m.standing = 'ended'
    if (m.ref !== '') this.refs.remove(m.carrier, m.ref)
    if (m.parts) for (const part of m.parts) if (part.ref !== '') this.refs.remove(m.carrier, part.ref)
    this.log.append('ended', ending.doneMs, m, ending.state, ending.error)
    if (wantsReceipt(m.registered_delivery, ending.state)) this.outbox.addReceipt(m, ending, this.clock.now())
    this.touch(m)
    this.events.ended(m, ending)
  }

  // -- time ------------------------------------------------------------------

  tick(): boolean {
    const now = this.clock.now()
    let more = this.release(now)
    if (this.refs.tick(now)) more = true
    if (this.refs.pending) this.schedule()
    this.sweep(now)
    this.collectGarbage(now)
    for (const { carrier, receipt } of this.parked.expire(now)) this.events.unmatched(carrier, receipt)
    if (this.parked.pending) this.schedule()
    this.outbox.expire(now - this.settings.keepReportsMs, 500)
    if (this.outbox.pending) this.schedule()
    if (this.outbox.dropped > this.droppedTold) {
      this.events.reportsDropped(this.outbox.dropped - this.droppedTold)
      this.droppedTold = this.outbox.dropped
    }
    return more
  }

  private release(now: number): boolean {
    if (this.due === 0) return false
    let n = 0
    for (const key of this.tables.due.getKeys({ end: [now + 1], limit: RELEASE_SLICE })) {
      n++
      const [dueMs, id] = key as [number, number]
      const m = this.message(id)
      if (!m || m.standing !== 'waiting' || m.dueMs !== dueMs) {
        this.dueGone.push(key)
        continue
      }
      m.dueMs = 0
      this.due--
      this.dueGone.push(key)
      this.touch(m)
      this.setFresh(m)
    }
    if (n > 0) this.schedule()
    return n === RELEASE_SLICE
  }

  /** Ends what is past its validity, a slice of the records at a time. */
  private sweep(now: number): void {
    if (this.sweepAt === 0 && now - this.sweepDoneMs < SWEEP_PAUSE_MS) return
    const past: number[] = []
    let n = 0
    for (const { key: id, value } of this.tables.messages.getRange({ start: this.sweepAt, limit: SWEEP_SLICE })) {
      n++
      this.sweepAt = id + 1
      const grace = recordStanding(value) === 'sent' ? RECEIPT_GRACE_MS : 0
      if (recordValidUntil(value) + grace <= now) past.push(id)
    }
    if (n < SWEEP_SLICE) {
      this.sweepAt = 0
      this.sweepDoneMs = now
    }
    for (const id of past) {
      const m = this.message(id)
      if (!m || m.standing === 'ended' || m.hold & CLAIMED) continue
      if (m.standing === 'waiting') this.end(m, { state: state.EXPIRED, error: '', doneMs: m.validUntilMs })
      else if (m.validUntilMs + RECEIPT_GRACE_MS <= now) {
        this.end(m, { state: state.UNKNOWN, error: 'no_receipt', doneMs: now })
      }
    }
  }

  /** Takes away blocks whose every message has ended or moved while only the disk knew them. */
  private collectGarbage(now: number): void {
    if (this.garbageAt.length === 0 && now - this.garbageDoneMs < GARBAGE_PAUSE_MS) return
    let n = 0
    for (const { key, value } of this.tables.lanes.getRange({ start: this.garbageAt, limit: GARBAGE_BLOCKS })) {
      n++
      const seq = key[4] as number
      this.garbageAt = [...key.slice(0, 4), seq + 1]
      let used = false
      for (let at = 0; at < value.length && !used; at += 8) {
        const id = value.readDoubleLE(at)
        const known = this.live.get(id)
        if (known) used = true
        else {
          const record = this.tables.messages.getBinaryFast(id)
          used = record !== undefined && recordReady(record) === seq
        }
      }
      if (!used) {
        this.blocksGone.push(key)
        this.schedule()
      }
    }
    if (n < GARBAGE_BLOCKS) {
      this.garbageAt = []
      this.garbageDoneMs = now
    }
  }

  // -- finding and changing --------------------------------------------------

  find(id: number): Message | undefined {
    const m = this.message(id)
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
    this.end(m, { state: state.DELETED, error: '', doneMs: this.clock.now() })
    return true
  }

  replace(id: number, change: (message: Message) => void): boolean {
    const m = this.changeable(id)
    if (!m) return false
    change(m)
    this.touch(m)
    return true
  }

  rematch(from: number, to: (message: Message) => number): boolean {
    let n = 0
    for (const row of [...this.lanes.ofLane(from)]) {
      while (n < RELEASE_SLICE) {
        const m = this.lanes.take(row)
        if (!m) break
        n++
        this.unclaim(m)
        this.leaveLane(m)
        m.lane = to(m)
        this.setFresh(m)
        this.touch(m)
      }
      if (row.waiting <= 0) this.lanes.empty(row)
      if (n === RELEASE_SLICE) return true
    }
    return false
  }

  // -- receipts and reports --------------------------------------------------

  receipt(carrier: number, receipt: Receipt): ReceiptMatch {
    if (this.reserve.exhausted) return 'full'
    const m = this.refs.find(carrier, receipt.ref)
    if (!m || m.standing === 'ended') {
      this.parked.add(carrier, receipt, this.clock.now())
      this.schedule()
      return 'parked'
    }
    this.apply(m, receipt)
    return 'matched'
  }

  private apply(m: Message, receipt: Receipt): void {
    if (!isFinal(receipt.state)) return
    if (!m.parts) {
      if (m.standing === 'sent') this.end(m, { state: receipt.state, error: receipt.err, doneMs: receipt.doneMs })
      return
    }
    let open = false
    let whole: MessageState = state.DELIVERED
    for (const part of m.parts) {
      if (part.ref === receipt.ref && !isFinal(part.state)) part.state = receipt.state
      if (!isFinal(part.state)) open = true
      // One part that failed is what the customer must hear of.
      else if (part.state !== state.DELIVERED) whole = part.state
    }
    if (open) this.touch(m)
    else this.end(m, { state: whole, error: receipt.err, doneMs: receipt.doneMs })
  }

  reply(account: number, reply: Reply): boolean {
    if (this.reserve.exhausted) return false
    this.outbox.add({ seq: 0, account, kind: 'reply', atMs: this.clock.now(), reply })
    this.schedule()
    return true
  }

  claimReports(account: number, n: number): Report[] {
    return this.outbox.claim(account, n)
  }

  reportDone(report: Report): void {
    this.outbox.done(report)
    this.schedule()
  }

  giveBackReport(report: Report): void {
    this.outbox.giveBack(report)
  }

  reportAccounts(): Iterable<number> {
    return this.outbox.accounts()
  }

  // -- the log ---------------------------------------------------------------

  endings(after: number, max: number): LogSlice {
    const slice = this.log.read(after, max)
    if (!slice) return { position: after, rows: [] }
    return { position: slice.position, rows: slice.rows.filter(row => row.kind === 'ended') }
  }

  readLog(after: number, maxRows: number): LogSlice | undefined {
    return this.log.read(after, maxRows)
  }

  dropLog(position: number): void {
    this.log.drop(position)
    const at = Buffer.allocUnsafeSlow(8)
    at.writeDoubleLE(position)
    this.tables.meta.put('logDropped', at)
  }

  // -- figures and the end ---------------------------------------------------

  figures(): QueueFigures {
    const lanes = new Map<string, { lane: number; rank: ClassRank; waiting: number; oldestMs: number }>()
    for (const row of this.lanes.all()) {
      const key = `${row.lane}/${row.rank}`
      let one = lanes.get(key)
      if (!one) {
        one = { lane: row.lane, rank: row.rank, waiting: 0, oldestMs: 0 }
        lanes.set(key, one)
      }
      one.waiting += row.waiting
      for (const queue of row.queues) {
        const head = queue?.head[queue.headAt]
        if (!head) continue
        const ms = idTimeMs(head.id)
        if (one.oldestMs === 0 || ms < one.oldestMs) one.oldestMs = ms
      }
    }
    return {
      waiting: this.waiting,
      claimed: this.claimed,
      sent: this.sent,
      due: this.due,
      outbox: this.outbox.total,
      unclaimed: this.outbox.count(0),
      parked: this.parked.size,
      logRows: this.log.rows,
      lanes: [...lanes.values()],
    }
  }

  stop(): void {
    this.stopping = true
  }

  async close(): Promise<void> {
    this.stopping = true
    if (!this.broken) {
      while (this.pending || this.writing) await this.synced()
      await this.tables.meta.put('clean', NOTHING)
    }
    this.reserve.stop()
    await this.tables.root.close()
  }
}

const NOTHING = Buffer.from([1])

/** May a receipt still change after this? SMPP v3.4 §5.2.28: ENROUTE is; ACCEPTED and SCHEDULED are not the end in the field. */
const isFinal = (s: MessageState): boolean => s !== state.ENROUTE && s !== state.ACCEPTED && s !== state.SCHEDULED

/** registered_delivery bits 1-0, SMPP v3.4 §5.2.17: 1 = every outcome, 2 = failures only, 3 = success only (v5.0). */
function wantsReceipt(registered_delivery: number, s: MessageState): boolean {
  if (s === state.ACCEPTED) return false
  const asked = registered_delivery & 3
  if (asked === 1) return true
  return asked === 2 ? s !== state.DELIVERED : asked === 3 && s === state.DELIVERED
}
