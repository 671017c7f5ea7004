// What waits for customers: receipts, replies and events, per account and way, in order. Reports of
// one commit for one queue are one block on disk; the head of each queue
// stands in memory, the rest is read when its turn comes. Knows nothing of how they
// are delivered.

import { excerpt, type Message, type MessageState, state } from '../../model/message.js'
import type { Reply } from '../../model/outcome.js'
import { type Ending, type EventReport, type ReceiptReport, type Report, type Way, way } from '../contract.js'
import { firstAtMs, readReports, reportsIn, writeReports } from './reports.js'
import type { Database, Slabs } from './store.js'

/** Blocks read from disk in one go. */
const READ_BLOCKS = 32
const BLOCK_REPORTS = 256
/** Looked at and dropped for their age in one go. */
const EXPIRE_ACCOUNTS = 500
const EXPIRE_REPORTS = 500

/** A queue's number, first of its keys on disk: the account's own for its binds. */
const WAY = 2 ** 32
const keyOf = (of: number, by: Way): number => by * WAY + of
const ofKey = (key: number): number => key % WAY
const wayOfKey = (key: number): Way => Math.floor(key / WAY) as Way

interface Block {
  readonly queue: number
  readonly seq: number
  remaining: number
  /** A bit for each report that is done. */
  readonly done: Buffer
  /** Some but not all of it is done, and that is not on disk yet. */
  touched: boolean
}

/** A report in memory knows its place on disk. */
class Held implements Report {
  seq = 0
  readonly way: Way
  readonly account: number
  readonly kind: Report['kind']
  readonly atMs: number
  declare readonly receipt?: ReceiptReport
  declare readonly reply?: Reply
  declare readonly event?: EventReport
  /** Null until its commit is written. */
  block: Block | null = null
  index = 0
  /** In the hands of a caller. */
  claimed = false

  constructor(
    by: Way,
    account: number,
    atMs: number,
    receipt: ReceiptReport | null,
    reply: Reply | null = null,
    event: EventReport | null = null,
  ) {
    this.way = by
    this.account = account
    this.kind = receipt ? 'receipt' : reply ? 'reply' : 'event'
    this.atMs = atMs
    if (receipt) this.receipt = receipt
    else if (reply) this.reply = reply
    else if (event) this.event = event
  }

  place(block: Block, index: number): void {
    this.block = block
    this.index = index
    this.seq = block.seq * BLOCK_REPORTS + index
  }
}

class Queue {
  readonly key: number
  /** Reports of the commit being gathered. */
  fresh: Held[] = []
  /** Given back, the next one last: all of them are older than the head. */
  readonly returned: Held[] = []
  head: Held[] = []
  headAt = 0
  /** Blocks after `read` stand on disk only. */
  behind = false
  read = 0
  /** Reports waiting or held by a caller. */
  count = 0

  constructor(key: number) {
    this.key = key
  }

  get inMemory(): number {
    return this.returned.length + this.head.length - this.headAt
  }
}

export class Outbox {
  private readonly blocks: Database<Buffer, number[]>
  private readonly marks: Database<Buffer, number[]>
  private readonly maxPerAccount: number
  /** Reports that all queues together hold in memory. */
  private readonly most: number
  private inMemory = 0
  private readonly queues = new Map<number, Queue>()
  /** The newest block's number; it never runs back. */
  seq: number
  /** Reports waiting or held by callers, over all accounts. */
  total = 0
  /** Queues with something for the next commit. */
  private fresh: Queue[] = []
  /** Blocks of the commit being written. */
  private writing: Held[][] = []
  private readonly touched: Block[] = []
  private readonly gone: Block[] = []
  private expiring: Iterator<Queue, undefined> | null = null
  /** Reports dropped because an account has too many or they are too old. */
  dropped = 0

  constructor(
    blocks: Database<Buffer, number[]>,
    marks: Database<Buffer, number[]>,
    maxPerAccount: number,
    most: number,
    seq: number,
  ) {
    this.blocks = blocks
    this.marks = marks
    this.maxPerAccount = maxPerAccount
    this.most = most
    this.seq = seq
    for (const { key, value } of blocks.getRange({})) {
      const queue = this.queue(key[0] as number)
      const n = reportsIn(value) - doneCount(marks.get(key))
      queue.behind = true
      queue.count += n
      this.total += n
    }
  }

  count(of: number, by: Way = way.bind): number {
    return this.queues.get(keyOf(of, by))?.count ?? 0
  }

  /** Whose queues of a way have something. */
  *of(by: Way): Iterable<number> {
    for (const key of this.queues.keys()) if (wayOfKey(key) === by) yield ofKey(key)
  }

  /** No report that is placed has a greater number. */
  get newest(): number {
    return this.seq * BLOCK_REPORTS + BLOCK_REPORTS - 1
  }

  get pending(): boolean {
    return this.fresh.length > 0 || this.touched.length > 0 || this.gone.length > 0
  }

  private queue(key: number): Queue {
    let queue = this.queues.get(key)
    if (!queue) {
      queue = new Queue(key)
      this.queues.set(key, queue)
    }
    return queue
  }

  private add(report: Held): void {
    const queue = this.queue(keyOf(report.account, report.way))
    if (queue.count >= this.maxPerAccount) {
      this.dropped++
      if (queue.count === 0) this.queues.delete(queue.key)
      return
    }
    queue.count++
    this.total++
    if (queue.fresh.length === 0) this.fresh.push(queue)
    queue.fresh.push(report)
  }

  addReply(of: number, by: Way, reply: Reply, atMs: number): void {
    this.add(new Held(by, of, atMs, null, reply))
  }

  addEvent(of: number, by: Way, event: EventReport, atMs: number): void {
    this.add(new Held(by, of, atMs, null, null, event))
  }

  /** For the binds of its account. @param part from 1: of that part alone; 0: of the whole message */
  addReceipt(m: Message, ending: Ending, atMs: number, notice = false, part = 0): void {
    const receipt = receiptOf(m, ending, part)
    const network = ending.network ?? 0
    if (notice || part !== 0 || network !== 0) receipt.more = { notice, network, part }
    if (ending.vendor !== undefined) receipt.more = { notice, network, part, vendor: ending.vendor }
    this.add(new Held(way.bind, m.account, atMs, receipt))
  }

  /** For others than those, with what they know their message by. */
  addEnd(of: number, by: Way, m: Message, ending: Ending, atMs: number): void {
    const receipt = receiptOf(m, ending, 0)
    const { clientRef, extras, segments, priceMicros, carrier } = m
    const message = { clientRef, extras, segments, priceMicros, carrier }
    receipt.more = { notice: false, network: ending.network ?? 0, part: 0, message }
    this.add(new Held(by, of, atMs, receipt))
  }

  /** Puts this commit's blocks, marks and removals into the transaction. */
  write(slabs: Slabs): void {
    for (const block of this.touched) {
      if (!block.touched) continue
      block.touched = false
      // A copy: the block may change again while lmdb reads.
      this.marks.put([block.queue, block.seq], Buffer.from(block.done))
    }
    this.touched.length = 0
    for (const block of this.gone) {
      this.blocks.remove([block.queue, block.seq])
      this.marks.remove([block.queue, block.seq])
    }
    this.gone.length = 0
    if (this.fresh.length === 0) return
    for (const queue of this.fresh) {
      const { key, fresh } = queue
      queue.fresh = []
      for (let from = 0; from < fresh.length; from += BLOCK_REPORTS) {
        const reports = fresh.length <= BLOCK_REPORTS ? fresh : fresh.slice(from, from + BLOCK_REPORTS)
        const block = newBlock(key, ++this.seq, reports.length)
        for (let index = 0; index < reports.length; index++) (reports[index] as Held).place(block, index)
        this.blocks.put([key, block.seq], writeReports(reports, slabs))
        this.writing.push(reports)
      }
    }
    this.fresh = []
  }

  /** The commit is durable: its reports may be delivered. @returns the numbers of the queues that have some */
  written(): number[] {
    const keys: number[] = []
    for (const reports of this.writing) {
      const { queue: key, seq } = (reports[0] as Held).block as Block
      if (keys.at(-1) !== key) keys.push(key)
      const queue = this.queues.get(key)
      // A claim that ran after the commit, but before this, has read the block from disk.
      if (!queue || seq <= queue.read) continue
      if (queue.behind || this.inMemory >= this.most || queue.inMemory >= this.most / 8) queue.behind = true
      else {
        for (const report of reports) queue.head.push(report)
        this.inMemory += reports.length
        queue.read = seq
      }
    }
    this.writing = []
    return keys
  }

  /** Says of each of these numbers of queues whose it is. */
  announce(keys: readonly number[], report: (of: number, by: Way) => void): void {
    for (const key of keys) report(ofKey(key), wayOfKey(key))
  }

  claim(of: number, n: number, by: Way = way.bind): Report[] {
    const queue = this.queues.get(keyOf(of, by))
    if (!queue) return []
    const out: Report[] = []
    while (out.length < n) {
      const report = this.next(queue)
      if (!report) break
      report.claimed = true
      out.push(report)
    }
    return out
  }

  /** Takes the next report of a queue, read from disk if need be. */
  private next(queue: Queue): Held | undefined {
    const returned = queue.returned.pop()
    if (returned) {
      this.inMemory--
      return returned
    }
    if (queue.headAt === queue.head.length) {
      queue.head.length = 0
      queue.headAt = 0
      if (!queue.behind || !this.read(queue)) return undefined
    }
    const report = queue.head[queue.headAt++] as Held
    this.inMemory--
    if (queue.headAt > 512) {
      queue.head = queue.head.slice(queue.headAt)
      queue.headAt = 0
    }
    return report
  }

  /** Reads the next blocks of a queue whose head is empty. False when there are none. */
  private read(queue: Queue): boolean {
    // With very many accounts the heads of all must still fit.
    const want = this.inMemory < this.most / 2 ? this.most / 16 : 1
    for (;;) {
      let blocks = 0
      const range = { start: [queue.key, queue.read + 1], end: [queue.key + 1], limit: READ_BLOCKS }
      for (const { key, value } of this.blocks.getRange(range)) {
        blocks++
        const seq = key[1] as number
        queue.read = seq
        const reports: Held[] = []
        readReports(value, (atMs, receipt, reply, event) =>
          reports.push(new Held(wayOfKey(queue.key), ofKey(queue.key), atMs, receipt, reply, event)),
        )
        const block = newBlock(queue.key, seq, reports.length)
        this.marks.get(key)?.copy(block.done)
        for (let index = 0; index < reports.length; index++) {
          const report = reports[index] as Held
          report.place(block, index)
          if (isDone(block, index)) block.remaining--
          else queue.head.push(report)
        }
        if (block.remaining === 0) this.gone.push(block)
        if (queue.head.length >= want) break
      }
      if (queue.head.length > 0) {
        this.inMemory += queue.head.length
        return true
      }
      if (blocks > 0) continue
      queue.behind = false
      return false
    }
  }

  done(report: Report): void {
    const { block, index } = report as Held
    if (!block || isDone(block, index)) return
    block.done[index >>> 3] = (block.done[index >>> 3] as number) | (1 << (index & 7))
    const queue = this.queues.get(block.queue) as Queue
    this.total--
    if (--queue.count === 0) this.queues.delete(block.queue)
    if (--block.remaining === 0) {
      block.touched = false
      this.gone.push(block)
    } else if (!block.touched) {
      block.touched = true
      this.touched.push(block)
    }
  }

  /** Back to where it stood. */
  giveBack(report: Report): void {
    const held = report as Held
    const { block } = held
    if (!held.claimed || !block || isDone(block, held.index)) return
    held.claimed = false
    const { returned } = this.queues.get(block.queue) as Queue
    let at = returned.length
    if (at > 0 && (returned[at - 1] as Held).seq < held.seq) at = placeOf(held, returned)
    returned.splice(at, 0, held)
    this.inMemory++
  }

  /** Drops what is older than `beforeMs` from the head of each queue, a bounded slice at a time. True when all were seen. */
  expire(beforeMs: number): boolean {
    this.expiring ??= this.queues.values()
    let reports = EXPIRE_REPORTS
    for (let accounts = 0; accounts < EXPIRE_ACCOUNTS && reports > 0; accounts++) {
      const { value: queue, done } = this.expiring.next()
      if (done) {
        this.expiring = null
        return true
      }
      if (this.oldestMs(queue) >= beforeMs) continue
      for (let report = this.next(queue); report; report = this.next(queue)) {
        report.claimed = true
        if (report.atMs >= beforeMs || reports-- <= 0) {
          this.giveBack(report)
          break
        }
        this.done(report)
        this.dropped++
      }
    }
    return false
  }

  /** When the next report of a queue came. One that is done may stand for it. */
  private oldestMs(queue: Queue): number {
    const held = queue.returned.at(-1) ?? queue.head[queue.headAt]
    if (held) return held.atMs
    if (queue.behind) {
      const range = { start: [queue.key, queue.read + 1], end: [queue.key + 1], limit: 1 }
      for (const { value } of this.blocks.getRange(range)) return firstAtMs(value)
    }
    return Number.POSITIVE_INFINITY
  }
}

function receiptOf(m: Message, ending: Ending, part: number): ReceiptReport {
  return {
    // A submit_multi was answered with one id for all of its messages.
    id: m.multiId === 0 ? m.id : m.multiId,
    state: ending.state,
    err: ending.error,
    doneMs: ending.doneMs,
    // Of a part that goes in a message of several, the customer knows one.
    parts: m.parts && m.joined === null ? m.parts.length : 1,
    delivered: part === 0 ? deliveredParts(m, ending.state) : Number(ending.state === state.DELIVERED),
    service_type: m.service_type,
    source_addr_ton: m.source_addr_ton,
    source_addr_npi: m.source_addr_npi,
    source_addr: m.source_addr,
    dest_addr_ton: m.dest_addr_ton,
    dest_addr_npi: m.dest_addr_npi,
    destination_addr: m.destination_addr,
    text: m.isText ? quoted(excerpt(m).toString('utf8')) : excerpt(m),
    // What is quoted of a text is in no coding of the message's.
    data_coding: m.isText ? 0 : m.data_coding,
    registered_delivery: m.registered_delivery & 0x1f,
    tlvs: m.tlvs,
  }
}

/** Where a report belongs among others that fall by number. */
function placeOf({ seq }: Held, among: readonly Held[]): number {
  let [from, to] = [0, among.length]
  while (from < to) {
    const middle = (from + to) >>> 1
    if ((among[middle] as Held).seq < seq) to = middle
    else from = middle + 1
  }
  return from
}

const newBlock = (queue: number, seq: number, count: number): Block => ({
  queue,
  seq,
  remaining: count,
  done: Buffer.alloc((count + 7) >>> 3),
  touched: false,
})

const isDone = (block: Block, index: number): boolean =>
  ((block.done[index >>> 3] as number) & (1 << (index & 7))) !== 0

function doneCount(marks: Buffer | undefined): number {
  let n = 0
  if (marks) for (let octet of marks) for (; octet; octet &= octet - 1) n++
  return n
}

/** What a receipt quotes of a text, in Latin-1: a character that has none there must not become another. */
function quoted(text: string): Buffer {
  return Buffer.from(text.slice(0, 20).replace(/[^\0-\xff]/g, '?'), 'latin1')
}

function deliveredParts(m: Message, ending: MessageState): number {
  if (!m.parts || m.joined !== null) return ending === state.DELIVERED ? 1 : 0
  let n = 0
  for (const part of m.parts) if (part.state === state.DELIVERED) n++
  return n
}
