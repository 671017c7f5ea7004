// What waits for customers: receipts and replies, per account, in order. Reports of
// one commit for one account are one block on disk; the head of each account's queue
// stands in memory, the rest is read when its turn comes. Knows nothing of how they
// are delivered.

import type { Message, MessageState } from '../../model/message.js'
import { EMPTY, excerpt } from '../../model/message.js'
import type { Reply } from '../../model/outcome.js'
import type { Ending, Report } from '../contract.js'
import type { Database } from './store.js'

/** Reports that one account's queue holds in memory. */
const HEAD = 2_000
const READ_BLOCKS = 32

interface Block {
  readonly account: number
  readonly seq: number
  /** Reports of the block, done ones included. */
  readonly count: number
  remaining: number
  done: Uint8Array
  /** Some but not all of it is done, and that is not on disk yet. */
  touched: boolean
}

/** A report in memory knows its place on disk. */
interface Held extends Report {
  readonly block: Block
  readonly index: number
}

interface Queue {
  readonly account: number
  head: Held[]
  headAt: number
  /** Blocks after `read` stand on disk only. */
  behind: boolean
  read: number
  /** Reports waiting or held by a caller. */
  count: number
}

export class Outbox {
  private readonly blocks: Database<Buffer, number[]>
  private readonly marks: Database<Buffer, number[]>
  private readonly queues = new Map<number, Queue>()
  private seq = 0
  /** Reports of the commit being gathered, by account. */
  private fresh = new Map<number, Report[]>()
  /** Blocks of the commit being written. */
  private writing: Held[][] = []
  private readonly touched: Block[] = []
  private readonly gone: Block[] = []
  /** Reports dropped because an account has too many or they are too old. */
  dropped = 0
  private readonly maxPerAccount: number

  constructor(blocks: Database<Buffer, number[]>, marks: Database<Buffer, number[]>, maxPerAccount: number) {
    this.blocks = blocks
    this.marks = marks
    this.maxPerAccount = maxPerAccount
    for (const { key, value } of blocks.getRange({})) {
      const [account, seq] = key as [number, number]
      const queue = this.queue(account)
      queue.behind = true
      queue.count += value.readUInt16LE(1) - doneCount(marks.get(key))
      if (seq > this.seq) this.seq = seq
    }
  }

  get total(): number {
    let n = 0
    for (const queue of this.queues.values()) n += queue.count
    return n
  }

  count(account: number): number {
    return this.queues.get(account)?.count ?? 0
  }

  accounts(): Iterable<number> {
    return this.queues.keys()
  }

  get pending(): boolean {
    return this.fresh.size > 0 || this.touched.length > 0 || this.gone.length > 0
  }

  private queue(account: number): Queue {
    let queue = this.queues.get(account)
    if (!queue) {
      queue = { account, head: [], headAt: 0, behind: false, read: 0, count: 0 }
      this.queues.set(account, queue)
    }
    return queue
  }

  /** False when the account has too many already: the report is dropped and counted. */
  add(report: Report): boolean {
    const waiting = this.queues.get(report.account)?.count ?? 0
    if (waiting >= this.maxPerAccount) {
      this.dropped++
      return false
    }
    const list = this.fresh.get(report.account)
    if (list) list.push(report)
    else this.fresh.set(report.account, [report])
    return true
  }

  addReceipt(m: Message, ending: Ending, atMs: number): boolean {
    return this.add({
      seq: 0,
      account: m.account,
      kind: 'receipt',
      atMs,
      receipt: {
        id: m.id,
        state: ending.state,
        err: ending.error,
        doneMs: ending.doneMs,
        parts: m.parts ? m.parts.length : 1,
        delivered: deliveredParts(m, ending.state),
        service_type: m.service_type,
        source_addr_ton: m.source_addr_ton,
        source_addr_npi: m.source_addr_npi,
        source_addr: m.source_addr,
        dest_addr_ton: m.dest_addr_ton,
        dest_addr_npi: m.dest_addr_npi,
        destination_addr: m.destination_addr,
        text: m.isText ? Buffer.from(excerpt(m).toString('utf8').slice(0, 20), 'latin1') : excerpt(m),
        data_coding: m.data_coding,
        registered_delivery: m.registered_delivery,
        tlvs: m.tlvs,
      },
    })
  }

  /** Puts this commit's blocks, marks and removals into the transaction. */
  write(): void {
    for (const block of this.touched) {
      if (!block.touched) continue
      block.touched = false
      this.marks.put([block.account, block.seq], Buffer.from(block.done))
    }
    this.touched.length = 0
    for (const block of this.gone) {
      this.blocks.remove([block.account, block.seq])
      this.marks.remove([block.account, block.seq])
    }
    this.gone.length = 0
    if (this.fresh.size === 0) return
    for (const [account, reports] of this.fresh) {
      for (let from = 0; from < reports.length; from += BLOCK_REPORTS) {
        const slice = reports.slice(from, from + BLOCK_REPORTS)
        const block = newBlock(account, ++this.seq, slice.length)
        this.blocks.put([account, block.seq], writeReports(slice))
        this.writing.push(slice.map((report, index) => hold(report, block, index)))
      }
    }
    this.fresh = new Map()
  }

  /** The commit is durable: its reports may be delivered. Calls back once per account. */
  written(ready: (account: number) => void): void {
    if (this.writing.length === 0) return
    const written = this.writing
    this.writing = []
    let last = -1
    for (const held of written) {
      const block = (held[0] as Held).block
      const queue = this.queue(block.account)
      queue.count += held.length
      if (queue.behind || queue.head.length - queue.headAt + held.length > HEAD) queue.behind = true
      else {
        for (const one of held) queue.head.push(one)
        queue.read = block.seq
      }
      if (block.account !== last) ready(block.account)
      last = block.account
    }
  }

  claim(account: number, n: number): Report[] {
    const queue = this.queues.get(account)
    if (!queue) return []
    const out: Report[] = []
    while (out.length < n) {
      if (queue.headAt === queue.head.length) {
        queue.head = []
        queue.headAt = 0
        if (!queue.behind || !this.read(queue)) break
      }
      out.push(queue.head[queue.headAt++] as Held)
      if (queue.headAt > 512) {
        queue.head = queue.head.slice(queue.headAt)
        queue.headAt = 0
      }
    }
    return out
  }

  /** Reads the next blocks of a queue whose head is empty. False when there are none. */
  private read(queue: Queue): boolean {
    let blocks = 0
    const start = [queue.account, queue.read + 1]
    for (const { key, value } of this.blocks.getRange({ start, end: [queue.account + 1], limit: READ_BLOCKS })) {
      blocks++
      const seq = key[1] as number
      queue.read = seq
      const reports = readReports(queue.account, value)
      const block = newBlock(queue.account, seq, reports.length)
      const done = this.marks.get(key)
      if (done) block.done = new Uint8Array(done)
      for (let index = 0; index < reports.length; index++) {
        if (isDone(block, index)) block.remaining--
        else queue.head.push(hold(reports[index] as Report, block, index))
      }
      if (block.remaining === 0) this.gone.push(block)
      if (queue.head.length >= HEAD / 2) break
    }
    if (blocks === 0) queue.behind = false
    return queue.head.length > 0 ? true : blocks > 0 ? this.read(queue) : false
  }

  done(report: Report): void {
    const { block, index } = report as Held
    if (isDone(block, index)) return
    block.done[index >>> 3] = (block.done[index >>> 3] as number) | (1 << (index & 7))
    const queue = this.queue(block.account)
    queue.count--
    if (--block.remaining === 0) {
      block.touched = false
      this.gone.push(block)
      if (queue.count === 0 && !queue.behind && !this.fresh.has(block.account)) this.queues.delete(block.account)
    } else if (!block.touched) {
      block.touched = true
      this.touched.push(block)
    }
  }

  /** Drops what is older than `beforeMs`, from the head of each queue, at most `most` reports. */
  expire(beforeMs: number, most: number): void {
    for (const account of [...this.queues.keys()]) {
      while (most-- > 0) {
        const [report] = this.claim(account, 1)
        if (!report) break
        if (report.atMs >= beforeMs) {
          this.giveBack(report)
          break
        }
        this.done(report)
        this.dropped++
      }
    }
  }

  giveBack(report: Report): void {
    const held = report as Held
    const queue = this.queue(held.block.account)
    if (queue.headAt > 0) queue.head[--queue.headAt] = held
    else queue.head.unshift(held)
  }
}

const BLOCK_REPORTS = 256

const newBlock = (account: number, seq: number, count: number): Block => ({
  account,
  seq,
  count,
  remaining: count,
  done: new Uint8Array((count + 7) >>> 3),
  touched: false,
})

const isDone = (block: Block, index: number): boolean => ((block.done[index >>> 3] as number) & (1 << (index & 7))) !== 0

function doneCount(marks: Buffer | undefined): number {
  let n = 0
  if (marks) for (let octet of marks) for (; octet; octet &= octet - 1) n++
  return n
}

const hold = (report: Report, block: Block, index: number): Held => ({
  seq: block.seq * BLOCK_REPORTS + index,
  account: report.account,
  kind: report.kind,
  atMs: report.atMs,
  ...(report.receipt ? { receipt: report.receipt } : {}),
  ...(report.reply ? { reply: report.reply } : {}),
  block,
  index,
})

function deliveredParts(m: Message, state: MessageState): number {
  if (!m.parts) return state === 2 ? 1 : 0
  let n = 0
  for (const part of m.parts) if (part.state === 2) n++
  return n
}

// Block: format u8, count u16, then reports: length u32, kind u8, atMs f64, and
// receipt: id f64, doneMs f64, state parts delivered regdel data_coding and four
// TON/NPI octets, strings service_type source destination err (u8), text u8, tlvs u16;
// reply: carrier u32, eight octets, strings, body u16, tlvs u16.
const FORMAT = 1

function writeReports(reports: Report[]): Buffer {
  let size = 3
  for (const r of reports) {
    size += 13
    const a = r.receipt ?? r.reply
    if (!a) continue
    size += 48 + a.service_type.length + a.source_addr.length + a.destination_addr.length + a.tlvs.length
    size += r.receipt ? r.receipt.err.length + r.receipt.text.length : (r.reply as Reply).body.length
  }
  const to = Buffer.allocUnsafeSlow(size)
  to[0] = FORMAT
  to.writeUInt16LE(reports.length, 1)
  let at = 3
  const text = (s: string): void => {
    to[at++] = s.length
    at += to.latin1Write(s, at)
  }
  const octets = (b: Buffer): void => {
    to.writeUInt16LE(b.length, at)
    at += 2 + b.copy(to, at + 2)
  }
  for (const r of reports) {
    const start = at
    to[at + 4] = r.kind === 'receipt' ? 0 : 1
    to.writeDoubleLE(r.atMs, at + 5)
    at += 13
    if (r.receipt) {
      const c = r.receipt
      to.writeDoubleLE(c.id, at)
      to.writeDoubleLE(c.doneMs, at + 8)
      at += 16
      to[at++] = c.state
      to[at++] = c.parts
      to[at++] = c.delivered
      to[at++] = c.registered_delivery
      to[at++] = c.data_coding
      to[at++] = c.source_addr_ton
      to[at++] = c.source_addr_npi
      to[at++] = c.dest_addr_ton
      to[at++] = c.dest_addr_npi
      text(c.service_type)
      text(c.source_addr)
      text(c.destination_addr)
      text(c.err)
      octets(c.text)
      octets(c.tlvs)
    } else if (r.reply) {
      const c = r.reply
      to.writeUInt32LE(c.carrier, at)
      at += 4
      to[at++] = c.esm_class
      to[at++] = c.protocol_id
      to[at++] = c.priority_flag
      to[at++] = c.data_coding
      to[at++] = c.source_addr_ton
      to[at++] = c.source_addr_npi
      to[at++] = c.dest_addr_ton
      to[at++] = c.dest_addr_npi
      text(c.service_type)
      text(c.source_addr)
      text(c.destination_addr)
      octets(c.body)
      octets(c.tlvs)
    }
    to.writeUInt32LE(at - start, start)
  }
  return to.subarray(0, at)
}

function readReports(account: number, from: Buffer): Report[] {
  const count = from.readUInt16LE(1)
  const reports: Report[] = []
  let at = 3
  const octet = (): number => from[at++] as number
  const text = (): string => {
    const length = octet()
    at += length
    return length === 0 ? '' : from.latin1Slice(at - length, at)
  }
  const octets = (): Buffer => {
    const length = from.readUInt16LE(at)
    at += 2 + length
    return length === 0 ? EMPTY : from.subarray(at - length, at)
  }
  for (let i = 0; i < count; i++) {
    const end = at + from.readUInt32LE(at)
    const kind = from[at + 4] === 0 ? 'receipt' : 'reply'
    const atMs = from.readDoubleLE(at + 5)
    at += 13
    if (kind === 'receipt') {
      const id = from.readDoubleLE(at)
      const doneMs = from.readDoubleLE(at + 8)
      at += 16
      const [stateOf, parts, delivered, registered_delivery, data_coding] = [octet(), octet(), octet(), octet(), octet()]
      const [source_addr_ton, source_addr_npi, dest_addr_ton, dest_addr_npi] = [octet(), octet(), octet(), octet()]
      const receipt = {
        id,
        doneMs,
        state: stateOf as MessageState,
        parts,
        delivered,
        registered_delivery,
        data_coding,
        source_addr_ton,
        source_addr_npi,
        dest_addr_ton,
        dest_addr_npi,
        service_type: text(),
        source_addr: text(),
        destination_addr: text(),
        err: text(),
        text: octets(),
        tlvs: octets(),
      }
      reports.push({ seq: 0, account, kind, atMs, receipt })
    } else {
      const carrier = from.readUInt32LE(at)
      at += 4
      const [esm_class, protocol_id, priority_flag, data_coding] = [octet(), octet(), octet(), octet()]
      const [source_addr_ton, source_addr_npi, dest_addr_ton, dest_addr_npi] = [octet(), octet(), octet(), octet()]
      const reply: Reply = {
        carrier,
        esm_class,
        protocol_id,
        priority_flag,
        data_coding,
        source_addr_ton,
        source_addr_npi,
        dest_addr_ton,
        dest_addr_npi,
        service_type: text(),
        source_addr: text(),
        destination_addr: text(),
        body: octets(),
        tlvs: octets(),
      }
      reports.push({ seq: 0, account, kind, atMs, reply })
    }
    at = end
  }
  return reports
}
