// Where a waiting message stands on disk: what became claimable with one commit in one
// row and priority is one block of ids, and a record names its block. Gives places,
// reads them back into the lanes, and takes a block away when its last message has
// left. Knows nothing of why messages come and go.

import { type Message, recordReady } from '../../model/message.js'
import { Lanes, type Queue, type Row } from './lanes.js'
import type { LmdbLimits } from './limits.js'
import { CLAIMED, FRESH, type Live, QUEUED } from './live.js'
import type { Database, Slabs } from './store.js'

/** Messages read in one go for a row when memory is nearly full. */
const SCARCE = 16
/** Octets of bodies after which no more are read in one go: those of mails may be megabytes. */
const MOST_OCTETS = 2 ** 20
/** Who brings more waits on disk alone: a head is bounded by its messages' number. */
const LARGE = 4_096
/** Blocks looked at for garbage in one go. */
const GARBAGE_BLOCKS = 4

interface Block {
  readonly key: number[]
  /** Its messages that have not left it. */
  remaining: number
  /** Those that become claimable when the commit is durable; emptied then. */
  fresh: Message[]
  /** One of those is too large to wait in memory. */
  isLarge: boolean
  readonly row: Row
  readonly queue: Queue
}

/** A block of which a part has been read into the head of its queue. */
export interface Opened {
  readonly block: Block
  readonly ids: Buffer
  at: number
  /** Some of it is in other hands. */
  held: boolean
}

export class Blocks {
  readonly lanes: Lanes
  private readonly table: Database<Buffer, number[]>
  private readonly records: Database<Buffer, number>
  private readonly live: Live
  private readonly limits: LmdbLimits
  private fresh: Message[] = []
  /** Blocks of the commit being written. */
  private listed: Block[] = []
  private gone: number[][] = []
  /** Lanes of which a claim left something. */
  private readonly unfinished = new Set<number>()
  private garbageAfter: number[] | null = null
  /** What the refill that is under way may still read. */
  private octets = 0
  /** The newest block's number. It never runs back, over restarts too: a record names its block by it alone. */
  seq: number

  constructor(
    table: Database<Buffer, number[]>,
    records: Database<Buffer, number>,
    live: Live,
    limits: LmdbLimits,
    seq: number,
    usable: (m: Message) => boolean,
  ) {
    this.table = table
    this.records = records
    this.live = live
    this.limits = limits
    this.seq = seq
    this.lanes = new Lanes({
      refill: (row, queue) => this.refill(row, queue),
      usable,
      unfinished: lane => this.unfinished.add(lane),
    })
  }

  get pending(): boolean {
    return this.gone.length > 0
  }

  /** Gets its place with the next commit. */
  add(m: Message): void {
    m.hold |= FRESH
    this.fresh.push(m)
  }

  /** A message that stands on disk only, in block `m.ready`, as found at start. */
  restore(lane: number, rank: Row['rank'], account: number, priority: number, id: number): void {
    const row = this.lanes.row(lane, rank, account)
    const queue = row.queue(priority)
    if (!queue.behind) {
      queue.behind = true
      queue.behindId = id
    }
    this.lanes.grew(row, 1)
  }

  /** Leaves the block that lists it; the last to leave takes the block away. */
  leave(m: Message): void {
    const block = m.block as Block | null
    m.block = null
    m.ready = 0
    if (block && --block.remaining === 0) this.gone.push(block.key)
  }

  /** Leaves its row and its block, from memory or disk, without having been claimed. */
  withdraw(m: Message): void {
    if ((m.hold & FRESH) === 0) {
      m.hold &= ~QUEUED
      this.lanes.shrank(this.lanes.row(m.lane, m.rank, m.account), 1)
    }
    this.leave(m)
  }

  /** Claimed, and not any more: back to where it stood. */
  giveBack(m: Message): void {
    const row = this.lanes.row(m.lane, m.rank, m.account)
    m.hold |= QUEUED
    row.queue(m.priority_flag).giveBack(m)
    this.lanes.inMemory++
    this.lanes.grew(row, 1)
  }

  /** Before the records are written: gives what is fresh its place, one block per row and priority. */
  list(): void {
    const fresh = this.fresh
    if (fresh.length === 0) return
    this.fresh = []
    const groups = new Map<Queue, Block>()
    let block: Block | undefined
    for (const m of fresh) {
      if (m.standing !== 'waiting' || m.dueMs > 0) {
        m.hold &= ~FRESH
        continue
      }
      const row = this.lanes.row(m.lane, m.rank, m.account)
      const queue = row.queue(m.priority_flag)
      if (block?.queue !== queue) {
        block = groups.get(queue)
        if (!block) {
          const key = [m.lane, m.rank, m.account, 9 - queue.priority, ++this.seq]
          block = { key, remaining: 0, fresh: [], isLarge: false, row, queue }
          groups.set(queue, block)
          this.listed.push(block)
        }
      }
      block.remaining++
      block.fresh.push(m)
      if (m.body.length > LARGE) block.isLarge = true
      m.block = block
      m.ready = block.key[4] as number
    }
  }

  write(slabs: Slabs): void {
    for (const { key, fresh } of this.listed) {
      slabs.reserve(fresh.length * 8)
      let at = slabs.at
      for (const m of fresh) at = slabs.buffer.writeDoubleLE(m.id, at)
      this.table.put(key, slabs.take(at))
    }
    for (const key of this.gone) this.table.remove(key)
    this.gone = []
  }

  /** The commit is durable: its messages may be claimed. @returns the lanes that have something for their claimers */
  written(): number[] {
    const lanes: number[] = []
    for (const block of this.listed) {
      this.makeReady(block)
      const lane = block.key[0] as number
      if (lanes.at(-1) !== lane) lanes.push(lane)
    }
    this.listed = []
    lanes.push(...this.unfinished)
    this.unfinished.clear()
    return lanes
  }

  private makeReady(block: Block): void {
    const fresh = block.fresh
    block.fresh = []
    const [lane, , account, , seq] = block.key as [number, number, number, number, number]
    // The row may have been emptied and made anew since the block was listed.
    const row = this.lanes.row(lane, block.row.rank, account)
    const queue = row === block.row ? block.queue : row.queue(block.queue.priority)
    // A refill that ran after the commit, but before this, has passed the block by: it must stay in memory then.
    const fits = !block.isLarge && this.lanes.inMemory < this.limits.heads
    const keep = seq <= queue.read || (!queue.behind && fits)
    let joined = 0
    for (const m of fresh) {
      m.hold &= ~FRESH
      if (m.standing !== 'waiting' || m.ready !== seq) {
        this.live.release(m)
        continue
      }
      joined++
      if (keep) {
        m.hold |= QUEUED
        queue.head.push(m)
      } else {
        m.block = null
        this.live.release(m)
      }
    }
    if (joined === 0) {
      // Nobody else may know the row: it goes if nothing stands in it.
      this.lanes.shrank(row, 0)
      return
    }
    if (keep) {
      this.lanes.inMemory += joined
      if (seq > queue.read) queue.read = seq
    } else if (!queue.behind) {
      queue.behind = true
      queue.behindId = (fresh[0] as Message).id
    }
    this.lanes.grew(row, joined)
  }

  /**
   * Reads what comes next of a queue whose head is empty: a little at first, more each
   * time, so that a claim over very many accounts reads no more than it hands out.
   */
  private refill(row: Row, queue: Queue): boolean {
    const { heads, refill } = this.limits
    const want = this.lanes.inMemory < heads / 2 ? queue.want : Math.min(queue.want, SCARCE)
    queue.want = Math.min(queue.want * 2, refill)
    this.octets = MOST_OCTETS
    while (queue.head.length < want && this.octets > 0 && (queue.opened ?? this.open(row, queue)))
      this.readOpened(queue, want)
    return queue.head.length > 0
  }

  /** Fetches the next block of a queue; none is left when it answers null. */
  private open(row: Row, queue: Queue): Opened | null {
    const prefix = [row.lane, row.rank, row.account, 9 - queue.priority]
    const range = { start: [...prefix, queue.read + 1], end: [...prefix, Number.MAX_SAFE_INTEGER], limit: 1 }
    for (const { key, value } of this.table.getRange(range)) {
      queue.read = key[4] as number
      // What has not been read yet counts as one that has not left.
      const block: Block = { key, remaining: 1, fresh: [], isLarge: false, row, queue }
      queue.opened = { block, ids: value, at: 0, held: false }
      return queue.opened
    }
    queue.behind = false
    return null
  }

  private readOpened(queue: Queue, want: number): void {
    const opened = queue.opened as Opened
    const { block, ids } = opened
    const seq = block.key[4] as number
    while (opened.at < ids.length && queue.head.length < want && this.octets > 0) {
      const m = this.live.message(ids.readDoubleLE(opened.at))
      opened.at += 8
      if (m?.standing !== 'waiting' || m.ready !== seq) continue
      if (m.hold & (FRESH | QUEUED | CLAIMED)) {
        // Somebody has it already; its own block object counts it down.
        opened.held = true
        continue
      }
      this.live.keep(m)
      m.hold |= QUEUED
      m.block = block
      block.remaining++
      queue.head.push(m)
      this.octets -= m.body.length
    }
    if (opened.at < ids.length) return
    queue.opened = null
    if (--block.remaining === 0 && !opened.held) this.gone.push(block.key)
  }

  /** Forgets how far {@link collectGarbage} came. */
  startGarbage(): void {
    this.garbageAfter = null
  }

  /**
   * Takes away blocks whose every message ended or moved while only the disk knew
   * them, a few at a time. True when all were seen.
   */
  collectGarbage(): boolean {
    let n = 0
    const start = this.garbageAfter ?? [0]
    for (const { key, value } of this.table.getRange({ start, limit: GARBAGE_BLOCKS })) {
      n++
      const seq = key[4] as number
      this.garbageAfter = [...key.slice(0, 4), seq + 1]
      if (!this.isUsed(seq, value)) this.gone.push(key)
    }
    return n < GARBAGE_BLOCKS
  }

  private isUsed(seq: number, ids: Buffer): boolean {
    for (let at = 0; at < ids.length; at += 8) {
      const id = ids.readDoubleLE(at)
      if (this.live.known(id)) return true
      const record = this.records.getBinaryFast(id)
      if (record && recordReady(record) === seq) return true
    }
    return false
  }
}
