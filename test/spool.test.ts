// The LMDB spool: the contract that every engine keeps, and what only this one can suffer. A kill is a copy of the data
// file as it stands at that moment; one story kills a real process.

import { closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, readSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ManualClock } from '../src/base/clock.js'
import { LmdbSpool, type LmdbSpoolSettings } from '../src/spool/lmdb/spool.js'
import { HOUR_MS, type SpoolOptions, START_MS, spoolContract } from './support/spool-contract.js'

const root = mkdtempSync(join(tmpdir(), 'spool-'))
const SMALL = { heads: 6, refill: 2, references: 16, recent: 4, reports: 16, release: 3, sweep: 5, gatherMs: 0 }

interface Store {
  path: string
  spool: LmdbSpool
}

const stores = new Map<string, Store>()
let made = 0

function newPath(): string {
  const path = join(root, `${++made}`)
  mkdirSync(path)
  return path
}

const settingsFor = (path: string, options: SpoolOptions): LmdbSpoolSettings => ({
  path,
  node: 1,
  clock: options.clock ?? new ManualClock(START_MS),
  mapGb: 0.25,
  reserveMb: 1,
  maxWaiting: options.maxWaiting ?? 1_000_000,
  maxWaitingPerAccount: options.maxWaitingPerAccount ?? 1_000_000,
  keepReportsMs: options.keepReportsMs ?? 72 * HOUR_MS,
  keepReportsPerAccount: options.keepReportsPerAccount ?? 1_000_000,
  limits: options.small ? SMALL : {},
})

/** The data file as a kill at this moment leaves it: a commit that is under way is there whole, or not at all. */
function copyAlive(from: string, to: string): void {
  // No commit begins while this copies, but one may end: then the copy may be of neither.
  for (let before = roots(from); ; ) {
    copyFileSync(from, to)
    const after = roots(from)
    if (after.equals(before)) return
    before = after
  }
}

/** LMDB's two meta pages, which say what the last commits were. */
function roots(file: string): Buffer {
  const pages = Buffer.alloc(2 * 8_192)
  const fd = openSync(file, 'r')
  readSync(fd, pages, 0, pages.length, 0)
  closeSync(fd)
  return pages
}

async function open(t: Test, options: SpoolOptions = {}): Promise<LmdbSpool> {
  const name = options.store && `${t.fullname}/${options.store}`
  const known = name ? stores.get(name) : undefined
  let path = known?.path ?? newPath()
  if (known && options.killed) {
    path = newPath()
    copyAlive(join(known.path, 'data.mdb'), join(path, 'data.mdb'))
  }
  const spool = await LmdbSpool.open(settingsFor(path, options))
  if (name) stores.set(name, { path, spool })
  t.teardown(() => spool.close())
  return spool
}

t.test('the contract', t => spoolContract(t, open))
