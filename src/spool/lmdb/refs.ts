// Which message does a carrier mean by a reference? The newest references stand in
// memory; when there are too many, the older half of the largest carrier becomes a
// generation: pages of (hash, id) written once, a Bloom filter beside them, dropped
// whole when nothing in it is awaited any more. A page only says where to look: the
// message's own record is the truth, so a stale or colliding entry does no harm.

import { assert } from '../../base/assert.js'
import { type Message, readRecord } from '../../model/message.js'
import { bitsOf, bloomAdd, bloomHas, hashOf, lineOf, newBloom, readBloom, writeBloom } from './bloom.js'
import type { LmdbLimits } from './limits.js'
import type { Database } from './store.js'

/** A power of two. */
const PAGES = 1024
/** Done in one go while a generation is made. */
const ENTRIES_PER_SLICE = 2_000
const PAGES_PER_SLICE = 128
// Head of a generation: format u8, from f64, lastMs f64, Bloom filter.
const FORMAT = 1
const HEAD = 17

/** References of one stretch of time: a message while it is recent, its id afterwards. */
interface Stretch {
  readonly entries: Map<string, Message | number>
  /** Message.refSeq of everything in it is not below. */
  from: number
  /** Nothing in it is awaited after this. */
  lastMs: number
}

const newStretch = (from: number): Stretch => ({ entries: new Map(), from, lastMs: 0 })

interface Generation {
  readonly number: number
  /** refSeq of everything newer than it is not below. */
  readonly hi: number
  readonly lastMs: number
  readonly bloom: Uint32Array
}

/** A generation being written: still answered from memory. */
interface Freezing extends Generation {
  readonly entries: Map<string, Message | number>
  readonly queue: Iterator<[string, Message | number], undefined>
  readonly pages: number[][]
  /** Pages below are written, or in the commit being gathered; past the last the head is too. */
  page: number
}

interface CarrierRefs {
  readonly carrier: number
  young: Stretch
  old: Stretch
  freezing: Freezing | null
  /** Newest last. */
  generations: Generation[]
  nextNumber: number
}

export interface RefsHost {
  message(id: number): Message | undefined
  /** The message need not be kept in memory for its reference any more. */
  forgetRecent(message: Message): void
}

export class Refs {
  private readonly table: Database<Buffer, number[]>
  private readonly host: RefsHost
  private readonly limits: LmdbLimits
  private readonly carriers = new Map<number, CarrierRefs>()
  // A ring of the newest, by refSeq: message, and the stretch and reference that hold it.
  private readonly recent: (Message | null)[]
  private readonly recentRefs: string[]
  private readonly recentIn: Map<string, Message | number>[]
  /** References in memory. */
  private count = 0
  /** What {@link restore} has found so far. */
  private found: { carrier: number; ref: string; id: number; seq: number; validUntilMs: number }[] = []
  private lent: DataView = new DataView(new ArrayBuffer(0))
  /** Carriers whose generation is in the commit being written. */
  private readonly writing: CarrierRefs[] = []
  private writes: { key: number[]; value: Buffer }[] = []
  private removes: number[][] = []
  /** The newest refSeq; it never runs back, over restarts too. */
  seq: number

  constructor(table: Database<Buffer, number[]>, host: RefsHost, limits: LmdbLimits, seq: number) {
    this.table = table
    this.host = host
    this.limits = limits
    this.seq = seq
    const ring = limits.recent
    this.recent = new Array(ring).fill(null)
    this.recentRefs = new Array(ring).fill('')
    this.recentIn = new Array(ring).fill(new Map())
    for (const key of table.getKeys({})) {
      if (key[2] !== -1) continue
      const head = table.get(key) as Buffer
      assert(head[0] === FORMAT, `generation format ${head[0]}`)
      const [carrier, number] = key as [number, number]
      const of = this.of(carrier)
      of.nextNumber = number + 1
      of.generations.push({
        number,
        hi: head.readDoubleLE(1),
        lastMs: head.readDoubleLE(9),
        bloom: readBloom(head, HEAD),
      })
      of.young.from = of.old.from = head.readDoubleLE(1)
    }
  }

  /** refSeq below which a carrier's references stand in generations: not to be put in memory again at start. */
  private frozenBelow(carrier: number): number {
    return this.carriers.get(carrier)?.generations.at(-1)?.hi ?? 0
  }

  private of(carrier: number): CarrierRefs {
    let of = this.carriers.get(carrier)
    if (!of) {
      of = { carrier, young: newStretch(0), old: newStretch(0), freezing: null, generations: [], nextNumber: 1 }
      this.carriers.set(carrier, of)
    }
    return of
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
    this.recentIn[at] = this.insert(carrier, ref, message, lastMs)
    this.recent[at] = message
    this.recentRefs[at] = ref
  }

  /** From now on the reference at this place of the ring is known by the message's id. */
  private age(at: number): void {
    const message = this.recent[at]
    if (!message) return
    const entries = this.recentIn[at] as Map<string, Message | number>
    const ref = this.recentRefs[at] as string
    if (entries.get(ref) === message) entries.set(ref, message.id)
    this.recent[at] = null
    this.host.forgetRecent(message)
  }

  /** At start, for each record: what it awaits is known by id only, once {@link restored}. */
  restore(id: number, record: Buffer): void {
    const carrier = record.readUInt32LE(12)
    if (carrier === 0 || record.readDoubleLE(40) < this.frozenBelow(carrier)) return
    const m = readRecord(id, record)
    if (!m.parts) this.found.push({ carrier, ref: m.ref, id, seq: m.refSeq, validUntilMs: m.validUntilMs })
    else {
      for (const { ref } of m.parts) {
        this.found.push({ carrier, ref, id, seq: m.refSeq, validUntilMs: m.validUntilMs })
      }
    }
  }

  restored(lastMs: (validUntilMs: number) => number): void {
    this.found.sort((a, b) => a.seq - b.seq)
    for (const { carrier, ref, id, validUntilMs } of this.found) {
      if (ref !== '') this.insert(carrier, ref, id, lastMs(validUntilMs))
    }
    this.found = []
  }

  private insert(carrier: number, ref: string, entry: Message | number, lastMs: number): Map<string, Message | number> {
    const of = this.of(carrier)
    const { young } = of
    const before = young.entries.size
    young.entries.set(ref, entry)
    this.count += young.entries.size - before
    if (lastMs > young.lastMs) young.lastMs = lastMs
    return young.entries
  }

  find(carrier: number, ref: string): Message | undefined {
    const of = this.carriers.get(carrier)
    if (!of) return undefined
    const entry = of.young.entries.get(ref) ?? of.old.entries.get(ref) ?? of.freezing?.entries.get(ref)
    if (entry !== undefined) return typeof entry === 'number' ? this.host.message(entry) : entry
    if (of.generations.length === 0) return undefined
    const hash = hashOf(ref)
    const bits = bitsOf(hash)
    for (let i = of.generations.length - 1; i >= 0; i--) {
      const generation = of.generations[i] as Generation
      if (!bloomHas(generation.bloom, lineOf(generation.bloom, hash), bits)) continue
      const id = this.idOnPage([carrier, generation.number, pageOf(hash)], hash)
      if (id === 0) continue
      const message = this.host.message(id)
      if (message && message.carrier === carrier && hasRef(message, ref)) return message
    }
    return undefined
  }

  private idOnPage(key: number[], hash: number): number {
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
    const of = this.carriers.get(carrier)
    if (!of) return
    // What is over soon need not grow old in memory.
    const at = message.refSeq % this.recent.length
    if (this.recent[at] === message && this.recentRefs[at] === ref) this.age(at)
    if (forget(of.young.entries, ref, message) || forget(of.old.entries, ref, message)) this.count--
    else if (of.freezing) forget(of.freezing.entries, ref, message)
  }

  /** One bounded slice of housekeeping. True when there is more to do at once. */
  tick(nowMs: number): boolean {
    let more = false
    let largest: CarrierRefs | undefined
    for (const of of this.carriers.values()) {
      if (of.freezing) {
        if (of.freezing.page <= PAGES) {
          this.freezeSlice(of, of.freezing)
          more = true
        }
      } else if (!largest || sizeOf(of) > sizeOf(largest)) largest = of
      // Without this the first cut would take the newest with the old.
      if (of.old.entries.size === 0 && of.young.entries.size >= this.limits.references / 4) this.turn(of)
      this.dropPast(of, nowMs)
    }
    if (this.count > this.limits.references && largest && sizeOf(largest) >= this.limits.references / 8) {
      this.cut(largest)
      more = true
    }
    return more
  }

  /** What is young becomes old. */
  private turn(of: CarrierRefs): void {
    of.old = of.young
    of.young = newStretch(this.seq + 1)
  }

  private dropPast(of: CarrierRefs, nowMs: number): void {
    for (let i = of.generations.length - 1; i >= 0; i--) {
      const { number, lastMs } = of.generations[i] as Generation
      if (lastMs >= nowMs) continue
      of.generations.splice(i, 1)
      for (let page = -1; page < PAGES; page++) this.removes.push([of.carrier, number, page])
    }
  }

  private cut(of: CarrierRefs): void {
    if (of.old.entries.size < this.limits.references / 16) {
      // Too few for a generation: they go with the younger ones. As ids, for the ring knows them in their own stretch.
      for (const [ref, entry] of of.old.entries) {
        if (of.young.entries.has(ref)) this.count--
        else of.young.entries.set(ref, typeof entry === 'number' ? entry : entry.id)
      }
      of.young.from = of.old.from
      of.young.lastMs = Math.max(of.young.lastMs, of.old.lastMs)
      this.turn(of)
    }
    const { entries, lastMs } = of.old
    this.count -= entries.size
    of.freezing = {
      number: of.nextNumber++,
      entries,
      queue: entries.entries(),
      pages: Array.from({ length: PAGES }, () => []),
      bloom: newBloom(entries.size),
      hi: of.young.from,
      lastMs,
      page: 0,
    }
    this.turn(of)
  }

  private freezeSlice(of: CarrierRefs, freezing: Freezing): void {
    for (let n = 0; n < ENTRIES_PER_SLICE; n++) {
      const { value, done } = freezing.queue.next()
      if (done) {
        this.writePages(of, freezing)
        return
      }
      const [ref, entry] = value
      const hash = hashOf(ref)
      ;(freezing.pages[pageOf(hash)] as number[]).push(hash, typeof entry === 'number' ? entry : entry.id)
      bloomAdd(freezing.bloom, hash)
    }
  }

  /** The head comes last: pages without one are nobody's, and written over by the next generation of that number. */
  private writePages(of: CarrierRefs, freezing: Freezing): void {
    const { number, pages, bloom, hi, lastMs } = freezing
    const end = Math.min(PAGES, freezing.page + PAGES_PER_SLICE)
    for (; freezing.page < end; freezing.page++) {
      const entries = pages[freezing.page] as number[]
      if (entries.length === 0) continue
      const value = Buffer.allocUnsafeSlow(entries.length * 8)
      const view = new DataView(value.buffer)
      for (let i = 0; i < entries.length; i++) view.setFloat64(i * 8, entries[i] as number, true)
      this.writes.push({ key: [of.carrier, number, freezing.page], value })
    }
    if (end < PAGES) return
    freezing.page++
    const head = Buffer.allocUnsafeSlow(HEAD + bloom.byteLength)
    head[0] = FORMAT
    head.writeDoubleLE(hi, 1)
    head.writeDoubleLE(lastMs, 9)
    writeBloom(bloom, head, HEAD)
    this.writes.push({ key: [of.carrier, number, -1], value: head })
  }

  get pending(): boolean {
    return this.writes.length > 0 || this.removes.length > 0
  }

  /** Puts finished generations into the commit being written; they serve from disk once {@link written}. */
  write(): void {
    for (const { key, value } of this.writes) {
      this.table.put(key, value)
      if (key[2] === -1) this.writing.push(this.carriers.get(key[0] as number) as CarrierRefs)
    }
    for (const key of this.removes) this.table.remove(key)
    this.writes = []
    this.removes = []
  }

  /** The commit is durable. */
  written(): void {
    for (const of of this.writing) {
      const { number, hi, lastMs, bloom } = of.freezing as Freezing
      of.generations.push({ number, hi, lastMs, bloom })
      of.freezing = null
    }
    this.writing.length = 0
  }
}

const sizeOf = (of: CarrierRefs): number => of.young.entries.size + of.old.entries.size

function forget(entries: Map<string, Message | number>, ref: string, message: Message): boolean {
  const entry = entries.get(ref)
  return (entry === message || entry === message.id) && entries.delete(ref)
}

const pageOf = (hash: number): number => (hash >>> 0) & (PAGES - 1)

const hasRef = (m: Message, ref: string): boolean => (m.parts ? m.parts.some(part => part.ref === ref) : m.ref === ref)
