// Small things that services keep beside the messages until a moment: the answer to a request that may come again, a
// session. Part of the same commits. On disk only, but for what a commit is about to write. Knows keys and octets, not
// what they mean.

import type { Database } from './store.js'

/** Forgotten in one go. */
const EXPIRE_SLICE = 250
const NOTHING = Buffer.of(1)
const HEAD = 8
/** The end of what is not on disk. */
const NOWHERE = -1
const MOST_STORED = 10_000

interface Entry {
  readonly untilMs: number
  readonly octets: Buffer
}

export class Kept {
  /** key -> untilMs f64, octets */
  private readonly table: Database<Buffer, string>
  /** [untilMs, key] -> nothing */
  private readonly ends: Database<Buffer, [number, string]>
  /** Of the commit being gathered, and of the one being written; null = gone. */
  private fresh = new Map<string, Entry | null>()
  private writing = new Map<string, Entry | null>()
  /** Ends that were read from disk since the last write, and NOWHERE for what is not there: most of what is put was looked for. */
  private readonly stored = new Map<string, number>()

  constructor(table: Database<Buffer, string>, ends: Database<Buffer, [number, string]>) {
    this.table = table
    this.ends = ends
  }

  get pending(): boolean {
    return this.fresh.size > 0
  }

  get(key: string, nowMs: number): Buffer | undefined {
    const entry = this.entry(key)
    return entry === undefined || entry.untilMs <= nowMs ? undefined : entry.octets
  }

  private entry(key: string): Entry | undefined {
    const known = this.fresh.get(key) ?? (this.fresh.has(key) ? null : this.writing.get(key))
    if (known !== undefined) return known ?? undefined
    const lent = this.table.get(key)
    const untilMs = lent === undefined ? NOWHERE : lent.readDoubleLE(0)
    // Nothing may be put for long.
    if (this.stored.size === MOST_STORED) this.stored.clear()
    this.stored.set(key, untilMs)
    // What lmdb lends is good until the next read.
    return lent && { untilMs, octets: Buffer.from(lent.subarray(HEAD)) }
  }

  /** Those on disk; see {@link Spool.keptAfter}. */
  after(prefix: string, after: string, count: number, nowMs: number): [key: string, octets: Buffer][] {
    const found: [string, Buffer][] = []
    for (const { key, value } of this.table.getRange({ start: after > prefix ? after : prefix })) {
      if (!key.startsWith(prefix) || found.length === count) break
      if (key > after && value.readDoubleLE(0) > nowMs) found.push([key, Buffer.from(value.subarray(HEAD))])
    }
    return found
  }

  put(key: string, octets: Buffer, untilMs: number): void {
    this.fresh.set(key, { untilMs, octets })
  }

  remove(key: string): void {
    if (this.entry(key) !== undefined) this.fresh.set(key, null)
  }

  /** Forgets what has ended, a bounded slice. True when there is more. */
  expire(nowMs: number): boolean {
    let n = 0
    for (const key of this.ends.getKeys({ end: [nowMs, ''], limit: EXPIRE_SLICE })) {
      n++
      const [untilMs, name] = key
      // Put again since, to last longer, it has another end, which is not written yet.
      if (this.entry(name)?.untilMs === untilMs) this.fresh.set(name, null)
    }
    return n === EXPIRE_SLICE
  }

  /** @returns octets written */
  write(): number {
    let size = 0
    for (const [key, entry] of this.fresh) {
      const oldMs = this.stored.get(key) ?? this.table.get(key)?.readDoubleLE(0) ?? NOWHERE
      const isSame = oldMs === entry?.untilMs
      if (oldMs !== NOWHERE && !isSame) void this.ends.remove([oldMs, key])
      if (entry === null) {
        void this.table.remove(key)
        continue
      }
      const value = Buffer.allocUnsafe(HEAD + entry.octets.length)
      value.writeDoubleLE(entry.untilMs, 0)
      entry.octets.copy(value, HEAD)
      void this.table.put(key, value)
      if (!isSame) void this.ends.put([entry.untilMs, key], NOTHING)
      size += value.length + key.length * 2
    }
    this.writing = this.fresh
    this.fresh = new Map()
    this.stored.clear()
    return size
  }

  /** The commit is durable. */
  written(): void {
    if (this.writing.size > 0) this.writing = new Map()
  }
}
