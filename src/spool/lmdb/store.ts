// The only file of the spool that knows the lmdb package: opens the environment and
// its tables. Knows nothing of what the octets mean.

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
  /** [carrier, generation, page] -> references; page -1 is the generation's head. */
  refs: Database<Buffer, number[]>
  /** arrival number -> a receipt that overtook its answer. */
  parked: Database<Buffer, number>
  meta: Database<Buffer, string>
}

/** Opens or makes a spool in `path`. `mapGb` bounds what it may ever grow to; it is address space, not memory. */
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
  const table = <K extends number | number[] | string>(name: string): Database<Buffer, K> =>
    root.openDB<Buffer, K>({ name, encoding: 'binary' })
  return {
    root,
    messages: table<number>('messages'),
    lanes: table<number[]>('lanes'),
    due: table<number[]>('due'),
    outbox: table<number[]>('outbox'),
    outboxDone: table<number[]>('outboxDone'),
    log: table<number>('log'),
    refs: table<number[]>('refs'),
    parked: table<number>('parked'),
    meta: table<string>('meta'),
  }
}
