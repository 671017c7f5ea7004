// Which message does a carrier mean by a reference? The newest references stand in memory, in stretches of time; when
// there are too many, the oldest stretch becomes a generation: pages of (hash, id) written once, a Bloom filter beside
// them, dropped whole when nothing in it is awaited any more. Hashes only say where to look: the message's own record is
// the truth, so a stale or colliding entry does no harm.

import { assert } from '../../base/assert.js'
import { type Message, readRecord } from '../../model/message.js'
import { bitsOf, bloomAdd, bloomHas, hashOf, lineOf, newBloom, readBloom, writeBloom } from './bloom.js'
import type { LmdbLimits } from './limits.js'
import { RefTable } from './refTable.js'
import type { Database } from './store.js'

/** Stretches in memory; each holds this share of the references that may stand there. */
const STRETCHES = 4
/** A power of two. A page of a full stretch has 512 octets: what is read of it is copied. */
const PAGES = 8192
/** A generation's place among the keys: its pages, and its head after them. */
const KEYS = 2 * PAGES
const HEAD_KEY = PAGES
/** Numbers of generations; they come round, and the living are few. */
const NUMBERS = 2 ** 32 / KEYS
/** Done in one go while a generation is made. */
const SLOTS_PER_SLICE = 8_192
const PAGES_PER_SLICE = 512
// Head of a generation: format u8, hi f64, lastMs f64, Bloom filter.
const FORMAT = 1
const HEAD = 17

/** References of one stretch of time. */
interface Stretch {
  readonly table: RefTable
  /** Message.refSeq of everything in it is not below. */
  minSeq: number
  /** Nothing in it is awaited after this. */
  lastMs: number
}

interface Generation {
  readonly number: number
  /** refSeq of everything that is not in it or an older one is not below. */
  readonly hi: number
  readonly lastMs: number
  readonly bloom: Uint32Array
}

/** A generation being made: still answered from memory. */
interface Freezing extends Generation {
  readonly table: RefTable
  /** Slots below are on `pages`. */
  slot: number
  readonly pages: number[][]
  /** Pages below are written, or in the commit being gathered; past the last the head is too. */
  page: number
}

export interface RefsHost {
  message(id: number): Message | undefined
  /** The message need not be kept in memory for its reference any more. */
  forgetRecent(message: Message): void
}

export class Refs {
  private readonly table: Database<Buffer, number>
  private readonly host: RefsHost
  /** Entries of a stretch. */
  private readonly capacity: number
  /** Newest last; never empty. */
  private readonly stretches: Stretch[]
  private freezing: Freezing | null = null
  /** Newest last. */
  private readonly generations: Generation[] = []
  private nextNumber = 1
  /** A ring of the newest messages, by refSeq: their receipts spare a read. */
  private readonly recent: (Message | null)[]
  private lent: DataView = new DataView(new ArrayBuffer(0))
  // The last reference that was looked up, and its hash: a receipt asks twice.
  private askedCarrier = 0
  private askedRef = ''
  private askedHash = 0
  private writes: { key: number; value: Buffer }[] = []
  private removes: number[] = []
  /** The head of `freezing` is in the commit being written. */
  private headWritten = false
  /** The newest refSeq; it never runs back, over restarts too. */
  seq: number

  constructor(table: Database<Buffer, number>, host: RefsHost, limits: LmdbLimits, seq: number) {
    this.table = table
    this.host = host
    this.capacity = Math.ceil(limits.references / STRETCHES)
    this.seq = seq
    this.recent = new Array(limits.recent).fill(null)
    this.stretches = [this.newStretch()]
    for (const key of table.getKeys({})) {
      if (key % KEYS !== HEAD_KEY) continue
      const head = table.get(key) as Buffer
      assert(head[0] === FORMAT, `generation format ${head[0]}`)
      const [hi, lastMs] = [head.readDoubleLE(1), head.readDoubleLE(9)]
      this.generations.push({ number: Math.floor(key / KEYS), hi, lastMs, bloom: readBloom(head, HEAD) })
    }
    this.generations.sort((a, b) => a.hi - b.hi)
    this.nextNumber = ((this.generations.at(-1)?.number ?? 0) + 1) % NUMBERS
  }

  private newStretch(): Stretch {
    return { table: new RefTable(this.capacity), minSeq: Number.POSITIVE_INFINITY, lastMs: 0 }
  }

  /**
   * The message is in memory and stays there until {@link RefsHost.forgetRecent}; its
   * refSeq is set. A reference used twice means its newest message.
   */
  add(carrier: number, ref: string, message: Message, lastMs: number): void {
    const seq = ++this.seq
    message.refSeq = seq
    const at = seq % this.recent.length
    this.age(at)
    this.recent[at] = message
    this.insert(hashOf(carrier, ref), message.id, seq, lastMs)
  }

  /** The message at this place of the ring is known by its id only. */
  private age(at: number): void {
    const message = this.recent[at]
    if (!message) return
    this.recent[at] = null
    this.host.forgetRecent(message)
  }

  private insert(hash: number, id: number, seq: number, lastMs: number): void {
    let young = this.stretches.at(-1) as Stretch
    if (young.table.size >= this.capacity) {
      young = this.newStretch()
      this.stretches.push(young)
    }
    young.table.put(hash, id)
    if (seq < young.minSeq) young.minSeq = seq
    if (lastMs > young.lastMs) young.lastMs = lastMs
  }

  /** At start, for each record in the order of ids: what it awaits. */
  restore(id: number, record: Buffer, lastMs: (validUntilMs: number) => number): void {
    const carrier = record.readUInt32LE(12)
    // Below that a reference stands in a generation.
    if (carrier === 0 || record.readDoubleLE(40) < (this.generations.at(-1)?.hi ?? 0)) return
    const m = readRecord(id, record)
    const until = lastMs(m.validUntilMs)
    if (m.ref !== '') this.insert(hashOf(carrier, m.ref), id, m.refSeq, until)
    for (const { ref } of m.parts ?? []) if (ref !== '') this.insert(hashOf(carrier, ref), id, m.refSeq, until)
  }

  private hashOf(carrier: number, ref: string): number {
    if (ref !== this.askedRef || carrier !== this.askedCarrier) {
      this.askedCarrier = carrier
      this.askedRef = ref
      this.askedHash = hashOf(carrier, ref)
    }
    return this.askedHash
  }

  find(carrier: number, ref: string): Message | undefined {
    const hash = this.hashOf(carrier, ref)
    const { stretches, generations } = this
    for (let i = stretches.length - 1; i >= 0; i--) {
      const id = (stretches[i] as Stretch).table.get(hash)
      const message = id === 0 ? undefined : this.meant(id, carrier, ref)
      if (message) return message
    }
    if (this.freezing) {
      const id = this.freezing.table.get(hash)
      const message = id === 0 ? undefined : this.meant(id, carrier, ref)
      if (message) return message
    }
    if (generations.length === 0) return undefined
    const bits = bitsOf(hash)
    for (let i = generations.length - 1; i >= 0; i--) {
      const { number, bloom } = generations[i] as Generation
      if (!bloomHas(bloom, lineOf(bloom, hash), bits)) continue
      const id = this.idOnPage(number * KEYS + pageOf(hash), hash)
      const message = id === 0 ? undefined : this.meant(id, carrier, ref)
      if (message) return message
    }
    return undefined
  }

  private meant(id: number, carrier: number, ref: string): Message | undefined {
    const m = this.host.message(id)
    if (m?.carrier !== carrier) return undefined
    return (m.parts ? m.parts.some(part => part.ref === ref) : m.ref === ref) ? m : undefined
  }

  private idOnPage(key: number, hash: number): number {
    const page = this.table.getBinaryFast(key)
    if (!page) return 0
    // lmdb lends the same octets again and again.
    if (this.lent.buffer !== page.buffer) this.lent = new DataView(page.buffer)
    const view = this.lent
    const end = page.byteOffset + page.length
    for (let at = page.byteOffset; at < end; at += 16) {
      if (view.getFloat64(at, true) === hash) return view.getFloat64(at + 8, true)
    }
    return 0
  }

  /** The receipt that ends the reference came. It may mean another message by now: then it stays. */
  remove(carrier: number, ref: string, message: Message): void {
    // What is over soon need not grow old in memory.
    const at = message.refSeq % this.recent.length
    if (this.recent[at] === message) this.age(at)
    const hash = this.hashOf(carrier, ref)
    const { stretches } = this
    for (let i = stretches.length - 1; i >= 0; i--) {
      if ((stretches[i] as Stretch).table.delete(hash, message.id)) return
    }
    // What is being frozen stays as it is: an entry that moved could be missed.
  }

  /** One bounded slice of housekeeping. True when there is more to do at once. */
  tick(nowMs: number): boolean {
    this.dropPast(nowMs)
    const { stretches, freezing } = this
    if (freezing) {
      if (freezing.page > PAGES) return false
      this.freezeSlice(freezing)
      return true
    }
    // The youngest is never empty-handed for long.
    for (let i = stretches.length - 2; i >= 0; i--) if (stretches[i]?.table.size === 0) stretches.splice(i, 1)
    if (stretches.length <= STRETCHES) return false
    const [oldest, next] = stretches as [Stretch, Stretch]
    if (oldest.table.size <= this.capacity / 8 && next.table.size <= this.capacity) merge(oldest, next)
    else this.freeze(oldest)
    stretches.shift()
    return true
  }

  private dropPast(nowMs: number): void {
    const { generations } = this
    for (let i = generations.length - 1; i >= 0; i--) {
      const { number, lastMs } = generations[i] as Generation
      if (lastMs >= nowMs) continue
      generations.splice(i, 1)
      for (let page = 0; page <= HEAD_KEY; page++) this.removes.push(number * KEYS + page)
    }
  }

  private freeze({ table, lastMs }: Stretch): void {
    let hi = Number.POSITIVE_INFINITY
    for (const { minSeq } of this.stretches.slice(1)) hi = Math.min(hi, minSeq)
    while (this.generations.some(({ number }) => number === this.nextNumber)) this.advance()
    const number = this.nextNumber
    this.advance()
    this.freezing = {
      number,
      table,
      slot: 0,
      pages: Array.from({ length: PAGES }, () => []),
      bloom: newBloom(table.size),
      hi: Math.min(hi, this.seq + 1),
      lastMs,
      page: 0,
    }
  }

  private advance(): void {
    this.nextNumber = (this.nextNumber + 1) % NUMBERS
  }

  private freezeSlice(freezing: Freezing): void {
    const { table, pages, bloom, slot } = freezing
    if (slot >= table.slots) {
      this.writePages(freezing)
      return
    }
    freezing.slot = Math.min(table.slots, slot + SLOTS_PER_SLICE)
    table.walk(slot, freezing.slot, (hash, id) => {
      ;(pages[pageOf(hash)] as number[]).push(hash, id)
      bloomAdd(bloom, hash)
    })
  }

  /** The head comes last: pages without one are nobody's, and a later generation of their number may find them. */
  private writePages(freezing: Freezing): void {
    const { number, pages, bloom, hi, lastMs } = freezing
    const end = Math.min(PAGES, freezing.page + PAGES_PER_SLICE)
    for (; freezing.page < end; freezing.page++) {
      const entries = pages[freezing.page] as number[]
      if (entries.length === 0) continue
      const value = Buffer.allocUnsafeSlow(entries.length * 8)
      const view = new DataView(value.buffer)
      for (let i = 0; i < entries.length; i++) view.setFloat64(i * 8, entries[i] as number, true)
      this.writes.push({ key: number * KEYS + freezing.page, value })
    }
    if (end < PAGES) return
    freezing.page++
    const head = Buffer.allocUnsafeSlow(HEAD + bloom.byteLength)
    head[0] = FORMAT
    head.writeDoubleLE(hi, 1)
    head.writeDoubleLE(lastMs, 9)
    writeBloom(bloom, head, HEAD)
    this.writes.push({ key: number * KEYS + HEAD_KEY, value: head })
  }

  get pending(): boolean {
    return this.writes.length > 0 || this.removes.length > 0
  }

  /** Puts finished pages into the commit being written; a generation serves from disk once its head is {@link written}. */
  write(): void {
    if (!this.pending) return
    for (const { key, value } of this.writes) this.table.put(key, value)
    for (const key of this.removes) this.table.remove(key)
    this.writes = []
    this.removes = []
    this.headWritten = this.freezing !== null && this.freezing.page > PAGES
  }

  /** The commit is durable. */
  written(): void {
    if (!this.headWritten) return
    this.headWritten = false
    const { number, hi, lastMs, bloom } = this.freezing as Freezing
    this.generations.push({ number, hi, lastMs, bloom })
    this.freezing = null
  }
}

/** What few still wait for from an old stretch goes into the next one, whose own entries are newer. */
function merge(from: Stretch, into: Stretch): void {
  from.table.walk(0, from.table.slots, (hash, id) => {
    if (into.table.get(hash) === 0) into.table.put(hash, id)
  })
  into.minSeq = Math.min(into.minSeq, from.minSeq)
  into.lastMs = Math.max(into.lastMs, from.lastMs)
}

const pageOf = (hash: number): number => (hash >>> 0) & (PAGES - 1)
