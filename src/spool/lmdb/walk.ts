// Over many messages without holding up the event loop: what waits of one account, what one submit_multi became, all that
// has not ended. A walk begins once everything asked for until then is on disk, reads the tables a slice at a time, lets
// others have their turn in between, and is over when the store closes. Knows where messages stand; what is done with them
// is its caller's.

import { setImmediate as nextTurn } from 'node:timers/promises'
import {
  type ClassRank,
  type Message,
  recordAccount,
  recordLane,
  recordMultiId,
  recordRank,
  recordStanding,
} from '../../model/message.js'
import type { QueueFilter, WalkSlice } from '../contract.js'
import type { Commits } from './commits.js'
import type { Lanes } from './lanes.js'
import { CLAIMED, type Live } from './live.js'
import type { Outbox } from './outbox.js'
import { readReports } from './reports.js'
import type { Standing } from './standing.js'
import type { Database, Tables } from './store.js'

/** Messages in one slice: with what a caller does to each, 1 or 2 ms. */
const SLICE = 100
/** Waits for the next slice's turn; false: the store closes, and the walk is over. */
type Pause = () => Promise<boolean>

/** Keys looked at in one slice: most may be of others. */
const LOOK = 500
/** Blocks read in one go. */
const BLOCKS = 64
/** Blocks of reports read in one go, of 256 at most each. */
const REPORT_BLOCKS = 2

export interface WalksHost {
  readonly tables: Tables
  readonly standing: Standing
  readonly outbox: Outbox
  readonly commits: Pick<Commits, 'synced'>
}

export class Walks {
  private readonly tables: Tables
  private readonly standing: Standing
  private readonly outbox: Outbox
  private readonly commits: Pick<Commits, 'synced'>
  private closing = false

  constructor({ tables, standing, outbox, commits }: WalksHost) {
    this.tables = tables
    this.standing = standing
    this.outbox = outbox
    this.commits = commits
  }

  /** No walk goes on after this turn. */
  close(): void {
    this.closing = true
  }

  async *waitingOf(account: number): AsyncGenerator<Message[]> {
    const newest = this.standing.lastId
    await this.commits.synced()
    if (this.standing.waitingOf(account) === 0) return
    const { tables } = this
    const { live, due, blocks } = this.standing
    // The due of all accounts stand together: nobody goes through them for nothing.
    const pause = this.pauseOf(nextTurn)
    if (this.closing) return
    if (due.of(account) > 0) yield* walkDue(tables, live, account, newest, pause)
    yield* walkReady(tables, live, blocks.lanes, account, newest, pause)
  }

  async *all(filter: QueueFilter, after: number): AsyncGenerator<WalkSlice> {
    const newest = this.standing.lastId
    await this.commits.synced()
    if (this.closing) return
    yield* walkAll(this.tables.messages, this.standing.live, filter, after, newest, this.pauseOf(nextTurn))
  }

  async *multi(multiId: number, turn: () => Promise<unknown> = nextTurn): AsyncGenerator<Message[]> {
    await this.commits.synced()
    if (!this.closing) yield* walkMulti(this.tables.messages, this.standing.live, multiId, this.pauseOf(turn))
  }

  async receiptWaits(account: number, id: number): Promise<boolean> {
    await this.commits.synced()
    if (this.closing || this.outbox.count(account) === 0) return false
    return findReceipt(this.tables, account, id, this.pauseOf(nextTurn))
  }

  private pauseOf(turn: () => Promise<unknown>): Pause {
    return async () => {
      await turn()
      return !this.closing
    }
  }
}

/**
 * Scheduled and deferred messages of `account`, none newer than `newest`; everything older must be on disk. To be walked
 * before those that are ready: for that is what they may become meanwhile.
 */
async function* walkDue(
  { due, messages }: Tables,
  live: Live,
  account: number,
  newest: number,
  pause: Pause,
): AsyncGenerator<Message[]> {
  let start = [0]
  for (;;) {
    const found: Message[] = []
    let n = 0
    for (const key of due.getKeys({ start, limit: LOOK })) {
      n++
      const [dueMs, id] = key as [number, number]
      start = [dueMs, id + 1]
      const record = id <= newest ? messages.getBinaryFast(id) : undefined
      if (!record || recordAccount(record) !== account) continue
      const m = live.message(id)
      if (m?.standing === 'waiting' && m.dueMs === dueMs) found.push(m)
      if (found.length === SLICE) break
    }
    if (found.length > 0) yield found
    if (n < LOOK && found.length < SLICE) return
    if (!(await pause())) return
  }
}

/** Messages of `account` that stand in lanes and are in no carrier's hands, none newer than `newest`. */
async function* walkReady(
  tables: Tables,
  live: Live,
  lanes: Lanes,
  account: number,
  newest: number,
  pause: Pause,
): AsyncGenerator<Message[]> {
  for (const [lane, rank] of lanes.of(account)) {
    if (!(await pause())) return
    yield* walkRow(tables.lanes, live, lane, rank, account, newest, pause)
  }
}

async function* walkRow(
  blocks: Database<Buffer, number[]>,
  live: Live,
  lane: number,
  rank: ClassRank,
  account: number,
  newest: number,
  pause: Pause,
): AsyncGenerator<Message[]> {
  let start = [lane, rank, account, 0, 0]
  const end = [lane, rank, account, 10, 0]
  for (;;) {
    const some = [...blocks.getRange({ start, end, limit: BLOCKS })]
    let found: Message[] = []
    for (const { key, value } of some) {
      const seq = key[4] as number
      start = [lane, rank, account, key[3] as number, seq + 1]
      for (let at = 0; at < value.length; at += 8) {
        const id = value.readDoubleLE(at)
        const m = id <= newest ? live.message(id) : undefined
        if (m?.standing === 'waiting' && m.ready === seq && (m.hold & CLAIMED) === 0) found.push(m)
        if (found.length < SLICE && (at / 8) % LOOK !== LOOK - 1) continue
        if (found.length > 0) yield found
        found = []
        if (!(await pause())) return
      }
    }
    if (found.length > 0) yield found
    if (some.length < BLOCKS) return
    if (!(await pause())) return
  }
}

/** Messages that have not ended of the submit_multi that was answered `multiId`: their ids follow each other. */
async function* walkMulti(
  messages: Tables['messages'],
  live: Live,
  multiId: number,
  pause: Pause,
): AsyncGenerator<Message[]> {
  // Most that is asked for is of no submit_multi, or has ended: it waits for no turn.
  const [first] = messages.getRange({ start: multiId, limit: 1 })
  if (first === undefined || recordMultiId(first.value) !== multiId) return
  let start = multiId
  while (await pause()) {
    const ids: number[] = []
    let n = 0
    for (const { key: id, value } of messages.getRange({ start, limit: SLICE })) {
      // The first is another's when it has ended itself; between two of its own there is none.
      if (recordMultiId(value) !== multiId) break
      n++
      start = id + 1
      ids.push(id)
    }
    const found: Message[] = []
    for (const id of ids) {
      const m = live.message(id)
      if (m && m.standing !== 'ended') found.push(m)
    }
    if (found.length > 0) yield found
    if (n < SLICE) return
  }
}

/** Messages that have not ended and fit, above `after` and none newer than `newest`; everything older must be on disk. */
async function* walkAll(
  messages: Tables['messages'],
  live: Live,
  filter: QueueFilter,
  after: number,
  newest: number,
  pause: Pause,
): AsyncGenerator<WalkSlice> {
  for (let isMore = true; isMore; ) {
    const fitting: number[] = []
    let looked = 0
    for (const { key: id, value } of messages.getRange({ start: after + 1, end: newest + 1, limit: LOOK })) {
      looked++
      after = id
      if (fits(value, filter) && fitting.push(id) === SLICE) break
    }
    isMore = looked === LOOK || fitting.length === SLICE
    const found: Message[] = []
    for (const id of fitting) {
      const m = live.message(id)
      // The record may be behind what has become of it.
      if (m && m.standing !== 'ended' && (filter.standing === undefined || m.standing === filter.standing))
        found.push(m)
    }
    yield { messages: found, after, looked }
    if (!(await pause())) return
  }
}

function fits(record: Buffer, { account, rank, lanes, standing }: QueueFilter): boolean {
  return (
    (account === undefined || recordAccount(record) === account) &&
    (rank === undefined || recordRank(record) === rank) &&
    (standing === undefined || recordStanding(record) === standing) &&
    (lanes === undefined || lanes.has(recordLane(record)))
  )
}

/** Whether a receipt for the message `id` is among the reports of the queue `key` that are not done. */
async function findReceipt({ outbox, outboxDone }: Tables, key: number, id: number, pause: Pause): Promise<boolean> {
  let start = [key, 0]
  for (;;) {
    let n = 0
    for (const { key: block, value } of outbox.getRange({ start, end: [key + 1], limit: REPORT_BLOCKS })) {
      n++
      start = [key, (block[1] as number) + 1]
      const done = outboxDone.get(block)
      let index = 0
      let found = false
      readReports(value, (_, receipt) => {
        if (receipt?.id === id && !isSet(done, index)) found = true
        index++
      })
      if (found) return true
    }
    if (n < REPORT_BLOCKS || !(await pause())) return false
  }
}

const isSet = (bits: Buffer | undefined, index: number): boolean =>
  bits !== undefined && ((bits[index >>> 3] as number) & (1 << (index & 7))) !== 0
