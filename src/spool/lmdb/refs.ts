// Which message does a carrier mean by a reference? The newest references stand in
// memory; when there are too many, the oldest half of the largest carrier becomes a
// generation: pages of (hash, id) written once, a Bloom filter beside them, dropped
// whole when its last validity has passed. A page only says where to look: the
// message's own record is the truth, so a stale or colliding entry does no harm.

import type { Message } from '../../model/message.js'
import type { Database } from './store.js'

/** References held in memory over all carriers before a generation is cut. */
const IN_MEMORY = 250_000
/** Of those, this many newest hold the message itself and spare a read. */
const RECENT = 16_384
const PAGES = 1024
const BLOOM_BITS_PER_ENTRY = 10
const BLOOM_HASHES = 5
const ENTRIES_PER_SLICE = 4_000

interface Generation {
  readonly number: number
  readonly carrier: number
  /** Message.refSeq of everything in it is below. */
  readonly hi: number
  readonly lastValidMs: number
  readonly bloom: Uint8Array
}

/** A generation being written: still answered from memory. */
interface Freezing {
  readonly number: number
  readonly entries: Map<string, number>
  readonly queue: Iterator<[string, number]>
  readonly pages: number[][]
  readonly bloom: Uint8Array
  readonly hi: number
  readonly lastValidMs: number
}

interface CarrierRefs {
  readonly carrier: number
  /** No receipt for anything in memory is awaited after this. */
  lastValidMs: number
  newest: Map<string, Message | number>
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
  private readonly carriers = new Map<number, CarrierRefs>()
  private readonly recent: (Message | null)[] = new Array(RECENT).fill(null)
  private readonly recentKeys: string[] = new Array(RECENT).fill('')
  private recentAt = 0
  private count = 0
  private readonly writes: { key: number[]; value: Buffer }[] = []
  private readonly removes: number[][] = []

  constructor(table: Database<Buffer, number[]>, host: RefsHost) {
    this.table = table
    this.host = host
    for (const { key, value } of table.getRange({})) {
      if (key[2] !== -1) continue
      const [carrier, number] = key as [number, number]
      const of = this.of(carrier)
      of.nextNumber = Math.max(of.nextNumber, number + 1)
      of.generations.push({
        carrier,
        number,
        hi: value.readDoubleLE(1),
        lastValidMs: value.readDoubleLE(9),
        bloom: new Uint8Array(value.subarray(17)),
      })
    }
    for (const of of this.carriers.values()) of.generations.sort((a, b) => a.number - b.number)
  }

  /** References in memory. */
  get inMemory(): number {
    return this.count
  }

  get generations(): number {
    let n = 0
    for (const of of this.carriers.values()) n += of.generations.length
    return n
  }

  /** refSeq below which a carrier's references stand in generations: not to be put in memory again at start. */
  frozenBelow(carrier: number): number {
    return this.carriers.get(carrier)?.generations.at(-1)?.hi ?? 0
  }

  private of(carrier: number): CarrierRefs {
    let of = this.carriers.get(carrier)
    if (!of) {
      of = { carrier, lastValidMs: 0, newest: new Map(), freezing: null, generations: [], nextNumber: 1 }
      this.carriers.set(carrier, of)
    }
    return of
  }

  /** The message is in memory and stays there until {@link RefsHost.forgetRecent}. A reference used twice means its newest message. */
  add(carrier: number, ref: string, message: Message): void {
    this.insert(carrier, ref, message, message.validUntilMs)
    const at = this.recentAt
    const old = this.recent[at]
    if (old) this.age(old, this.recentKeys[at] as string)
    this.recent[at] = message
    this.recentKeys[at] = ref
    this.recentAt = (at + 1) % RECENT
  }

  /** At start: known by id only, in the order of refSeq. */
  restore(carrier: number, ref: string, id: number, validUntilMs: number): void {
    this.insert(carrier, ref, id, validUntilMs)
  }

  private insert(carrier: number, ref: string, entry: Message | number, validUntilMs: number): void {
    const of = this.of(carrier)
    const newest = of.newest
    const before = newest.size
    newest.set(ref, entry)
    this.count += newest.size - before
    if (validUntilMs > of.lastValidMs) of.lastValidMs = validUntilMs
  }

  private age(message: Message, ref: string): void {
    const newest = this.carriers.get(message.carrier)?.newest
    if (newest?.get(ref) === message) newest.set(ref, message.id)
    this.host.forgetRecent(message)
  }

  find(carrier: number, ref: string): Message | undefined {
    const of = this.carriers.get(carrier)
    if (!of) return undefined
    const entry = of.newest.get(ref)
    if (entry !== undefined) return typeof entry === 'number' ? this.host.message(entry) : entry
    const frozen = of.freezing?.entries.get(ref)
    if (frozen !== undefined) return this.host.message(frozen)
    if (of.generations.length === 0) return undefined
    const hash = hashOf(ref)
    for (let i = of.generations.length - 1; i >= 0; i--) {
      const generation = of.generations[i] as Generation
      if (!bloomHas(generation.bloom, hash)) continue
      const page = this.table.getBinaryFast([carrier, generation.number, hash % PAGES])
      if (!page) continue
      const length = page.length
      for (let at = 0; at < length; at += 16) {
        if (page.readDoubleLE(at) !== hash) continue
        const id = page.readDoubleLE(at + 8)
        const message = this.host.message(id)
        if (message && message.carrier === carrier && hasRef(message, ref)) return message
        break
      }
    }
    return undefined
  }

  /** The receipt that ends the reference came. */
  remove(carrier: number, ref: string): void {
    const of = this.carriers.get(carrier)
    if (!of) return
    if (of.newest.delete(ref)) this.count--
    else of.freezing?.entries.delete(ref)
  }

  /** One bounded slice of housekeeping. True when there is more to do at once. */
  tick(nowMs: number): boolean {
    if (this.count > IN_MEMORY) this.cut()
    let more = this.count > IN_MEMORY
    for (const of of this.carriers.values()) {
      if (of.freezing) {
        this.freezeSlice(of, of.freezing)
        more = true
      }
      const oldest = of.generations[0]
      if (oldest && oldest.lastValidMs < nowMs) {
        of.generations.shift()
        for (let page = -1; page < PAGES; page++) this.removes.push([of.carrier, oldest.number, page])
      }
    }
    return more
  }

  private cut(): void {
    let largest: CarrierRefs | undefined
    for (const of of this.carriers.values()) {
      if (!of.freezing && (!largest || of.newest.size > largest.newest.size)) largest = of
    }
    if (!largest || largest.newest.size < IN_MEMORY / 8) return
    const half = Math.ceil(largest.newest.size / 2)
    const entries = new Map<string, number>()
    let taken = 0
    // A Map gives its entries in the order of insertion: the oldest references come first.
    for (const [ref, entry] of largest.newest) {
      if (taken++ === half) break
      entries.set(ref, typeof entry === 'number' ? entry : entry.id)
      largest.newest.delete(ref)
    }
    this.count -= half
    const oldestLeft = largest.newest.values().next().value
    const left = typeof oldestLeft === 'number' ? this.host.message(oldestLeft) : oldestLeft
    largest.freezing = {
      number: largest.nextNumber++,
      entries,
      queue: entries.entries(),
      pages: Array.from({ length: PAGES }, () => []),
      bloom: new Uint8Array(Math.ceil((half * BLOOM_BITS_PER_ENTRY) / 8)),
      // Everything cut was accepted before the oldest that stays.
      hi: left?.refSeq ?? 0,
      lastValidMs: largest.lastValidMs,
    }
  }

  private freezeSlice(of: CarrierRefs, freezing: Freezing): void {
    for (let n = 0; n < ENTRIES_PER_SLICE; n++) {
      const next = freezing.queue.next()
      if (next.done) return this.finish(of, freezing)
      const [ref, id] = next.value
      const hash = hashOf(ref)
      ;(freezing.pages[hash % PAGES] as number[]).push(hash, id)
      bloomAdd(freezing.bloom, hash)
    }
  }

  private finish(of: CarrierRefs, freezing: Freezing): void {
    for (let page = 0; page < PAGES; page++) {
      const entries = freezing.pages[page] as number[]
      if (entries.length === 0) continue
      const value = Buffer.allocUnsafeSlow(entries.length * 8)
      for (let i = 0; i < entries.length; i++) value.writeDoubleLE(entries[i] as number, i * 8)
      this.writes.push({ key: [of.carrier, freezing.number, page], value })
    }
    const head = Buffer.allocUnsafeSlow(17 + freezing.bloom.length)
    head[0] = 1
    head.writeDoubleLE(freezing.hi, 1)
    head.writeDoubleLE(freezing.lastValidMs, 9)
    head.set(freezing.bloom, 17)
    this.writes.push({ key: [of.carrier, freezing.number, -1], value: head })
  }

  get pending(): boolean {
    return this.writes.length > 0 || this.removes.length > 0
  }

  /** Puts finished generations into the commit being written; they serve from disk once {@link written}. */
  write(): void {
    for (const { key, value } of this.writes) this.table.put(key, value)
    for (const key of this.removes) this.table.remove(key)
    this.removes.length = 0
  }

  /** The commit is durable. */
  written(): void {
    if (this.writes.length === 0) return
    for (const { key, value } of this.writes) {
      if (key[2] !== -1) continue
      const of = this.of(key[0] as number)
      const freezing = of.freezing
      if (!freezing || freezing.number !== key[1]) continue
      of.freezing = null
      of.generations.push({
        carrier: of.carrier,
        number: freezing.number,
        hi: value.readDoubleLE(1),
        lastValidMs: value.readDoubleLE(9),
        bloom: freezing.bloom,
      })
    }
    this.writes.length = 0
  }
}

const hasRef = (m: Message, ref: string): boolean => (m.parts ? m.parts.some(part => part.ref === ref) : m.ref === ref)

/** 52 bits, so that it is an exact number: two 32-bit hashes (FNV-1a and a multiplied mix) joined. */
export function hashOf(ref: string): number {
  let a = 0x811c9dc5
  let b = 0x9e3779b9
  for (let i = 0; i < ref.length; i++) {
    const c = ref.charCodeAt(i)
    a = Math.imul(a ^ c, 0x01000193)
    b = Math.imul(b ^ c, 0x85ebca6b)
    b ^= b >>> 13
  }
  a ^= a >>> 16
  return ((b & 0xfffff) >>> 0) * 2 ** 32 + (a >>> 0)
}

function bloomAdd(bloom: Uint8Array, hash: number): void {
  const bits = bloom.length * 8
  const low = hash >>> 0
  const step = ((hash / 2 ** 20) >>> 0) | 1
  for (let i = 0; i < BLOOM_HASHES; i++) {
    const bit = ((low + Math.imul(i, step)) >>> 0) % bits
    bloom[bit >>> 3] = (bloom[bit >>> 3] as number) | (1 << (bit & 7))
  }
}

function bloomHas(bloom: Uint8Array, hash: number): boolean {
  const bits = bloom.length * 8
  const low = hash >>> 0
  const step = ((hash / 2 ** 20) >>> 0) | 1
  for (let i = 0; i < BLOOM_HASHES; i++) {
    const bit = ((low + Math.imul(i, step)) >>> 0) % bits
    if (((bloom[bit >>> 3] as number) & (1 << (bit & 7))) === 0) return false
  }
  return true
}
