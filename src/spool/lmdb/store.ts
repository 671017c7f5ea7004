// The only file of the spool that knows the lmdb package: opens the environment and
// its tables, lends the octets that a commit writes from, and says how much room is
// left in the map. Knows nothing of what the octets mean.

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { type Database, open, type RootDatabase } from 'lmdb'

export type { Database }

/** Tables of a spool. Keys are numbers or short arrays of numbers, values octets. */
export interface Tables {
  root: RootDatabase<Buffer, string>
  /** id -> message record. */
  messages: Database<Buffer, number>
  /** [lane, rank, account, 9 - priority, seq] -> ids, 8 octets each: who became ready, in which order. */
  lanes: Database<Buffer, number[]>
  /** [dueMs, id] -> nothing: scheduled and deferred messages. */
  due: Database<Buffer, number[]>
  /** [account, seq] -> reports of one commit for one account. */
  outbox: Database<Buffer, number[]>
  /** [account, seq] -> bitmap of reports of that block that are done. */
  outboxDone: Database<Buffer, number[]>
  /** rows so far -> history rows of one commit. */
  log: Database<Buffer, number>
  /** generation and page in one number -> references; past the pages of a generation stands its head. */
  refs: Database<Buffer, number>
  /** arrival number -> a receipt that overtook its answer. */
  parked: Database<Buffer, number>
  /** key -> what a service keeps until a moment, and [moment, key] -> nothing. */
  kept: Database<Buffer, string>
  keptEnds: Database<Buffer, [number, string]>
  meta: Database<Buffer, string>
}

/**
 * Opens or makes a spool in `path`. `mapGb` is address space, not memory. lmdb maps more
 * by itself when that is used up; what bounds the file is {@link mapRoom}.
 */
export function openTables(path: string, mapGb: number): Tables {
  const root = open<Buffer, string>({
    path,
    // One fdatasync per transaction, and a turn's puts are atomic under SIGKILL.
    overlappingSync: false,
    encoding: 'binary',
    maxDbs: 16,
    mapSize: mapGb * 2 ** 30,
    noSubdir: false,
    // 8 kB halves the pages that a group commit of short records touches; measured 10 % less CPU a commit than 4 kB.
    pageSize: 8192,
  })
  const table = <K extends number | number[] | string | [number, string]>(name: string): Database<Buffer, K> =>
    root.openDB<Buffer, K>({ name, encoding: 'binary' })
  return {
    root,
    messages: table<number>('messages'),
    lanes: table<number[]>('lanes'),
    due: table<number[]>('due'),
    outbox: table<number[]>('outbox'),
    outboxDone: table<number[]>('outboxDone'),
    log: table<number>('log'),
    // Numbers of their own kind: a look-up costs half of one by an array.
    refs: root.openDB<Buffer, number>({ name: 'refPages', encoding: 'binary', keyEncoding: 'uint32' }),
    parked: table<number>('parked'),
    kept: table<string>('kept'),
    keptEnds: table<[number, string]>('keptEnds'),
    meta: table<string>('meta'),
  }
}

interface TableStats {
  pageSize: number
  treeBranchPageCount: number
  treeLeafPageCount: number
  overflowPages: number
}

/** Octets that `mapGb` leaves the store to grow. A file never shrinks, so once it is nearly as large as the map the pages in use are counted. */
export function mapRoom(tables: Tables, path: string, mapGb: number): number {
  const map = mapGb * 2 ** 30
  const file = statSync(join(path, 'data.mdb')).size
  // A value of many pages needs them in one piece: a tenth is left for gaps.
  const usable = map * 0.9
  if (file < usable / 2) return usable - file
  let used = 0
  for (const table of Object.values(tables) as Database<Buffer, number>[]) {
    const { pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages } = table.getStats() as TableStats
    used += (treeBranchPageCount + treeLeafPageCount + overflowPages) * pageSize
  }
  return Math.max(usable - file, usable - used)
}

const SLAB = 2 ** 20

/** lmdb takes a buffer that has `start` and `end` for that stretch of it: no object is made for a value. */
interface Slab extends Buffer {
  start: number
  end: number
}

const newSlab = (bytes: number): Slab => Object.assign(Buffer.allocUnsafeSlow(bytes), { start: 0, end: 0 })

/**
 * Octets for the values of one commit. lmdb reads them on its own thread until the
 * commit is durable; there is one commit at a time, so the next one may use them again.
 */
export class Slabs {
  private readonly slabs: Slab[] = [newSlab(SLAB)]
  private index = 0
  private before = 0
  /** Where to write, from {@link at} on. */
  buffer = this.slabs[0] as Slab
  at = 0

  /** Octets used since {@link clear}. */
  get used(): number {
    return this.before + this.at
  }

  /** Afterwards at least `most` octets of `buffer` are free from `at` on. */
  reserve(most: number): void {
    if (this.at + most <= this.buffer.length) return
    this.before += this.at
    this.at = 0
    if (most > SLAB) {
      this.buffer = newSlab(most)
      return
    }
    let next = this.slabs[++this.index]
    if (!next) {
      next = newSlab(SLAB)
      this.slabs.push(next)
    }
    this.buffer = next
  }

  /** What was written from {@link at} up to `end`, as a value to be put before the next is taken. */
  take(end: number): Buffer {
    this.buffer.start = this.at
    this.buffer.end = end
    this.at = end
    return this.buffer
  }

  clear(): void {
    // What a burst took is given back.
    if (this.slabs.length > 8) this.slabs.length = 8
    this.index = 0
    this.before = 0
    this.buffer = this.slabs[0] as Slab
    this.at = 0
  }
}
