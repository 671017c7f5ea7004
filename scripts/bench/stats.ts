// What the analytics cost on the way of history: a row counted, and a slice written, for traffic that is all alike and for
// traffic in which hardly two messages are. Run by hand on a PostgreSQL of its own: node dist/scripts/bench/stats.js

import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { firstIdAt } from '../../src/base/ids.js'
import { createLog } from '../../src/base/log.js'
import { moveCells, Stats } from '../../src/returns/stats.js'
import type { HistoryRow } from '../../src/spool/contract.js'
import { openStore } from '../../src/store/postgres.js'

const SLICE = 20_000
const COUNTRIES = ['49', '43', '44', '33', '39', '34', '48', '420', '1212', '1416', '7', '77', '234', '254', '91', '86']

const kinds: [name: string, accounts: number, carriers: number, countries: number, classes: number][] = [
  ['one account, one country', 1, 1, 1, 1],
  ['20 accounts, 4 carriers, 8 countries', 20, 4, 8, 2],
  ['200 accounts, 8 carriers, 16 countries, 3 classes', 200, 8, 16, 3],
]

function rowsOf(accounts: number, carriers: number, countries: number, classes: number): HistoryRow[] {
  const of = (most: number): number => Math.floor(Math.random() * most)
  return Array.from({ length: SLICE }, (_, i) => ({
    kind: i % 2 === 0 ? 'accepted' : 'ended',
    atMs: Date.now() + 4_000,
    id: firstIdAt(Date.now()) + (i % 100),
    account: 1 + of(accounts),
    rank: of(classes),
    state: i % 20 === 1 ? 5 : 2,
    source: 'ACME',
    destination: `${COUNTRIES[of(countries)]}${100_000_000 + of(899_999_999)}`,
    route: 1,
    carrier: 1 + of(carriers),
    segments: 1,
    priceMicros: 50_000,
    backMicros: 0,
    costMicros: 30_000,
    tookMs: i % 2 === 0 ? null : 4_000,
    isHeld: true,
    error: '',
    clientRef: '',
  }))
}

const dataDir = mkdtempSync(join(tmpdir(), 'trunkline-stats-'))
// The server runs as a user of its own, and what it writes goes with this directory.
chmodSync(dataDir, 0o711)
const store = openStore({ url: null, dataDir, log: createLog({ level: 'error', pretty: false }) })
try {
  await store.firstTry
  for (const [name, ...many] of kinds) {
    const rows = rowsOf(...many)
    const stats = new Stats()
    const takes: number[] = []
    const writes: number[] = []
    await moveCells(store)
    for (let n = 0; n < 12; n++) {
      let sinceMs = performance.now()
      stats.begin()
      for (const row of rows) stats.take(row)
      takes.push(((performance.now() - sinceMs) * 1_000) / rows.length)
      sinceMs = performance.now()
      await store.transaction(client => stats.write(client))
      writes.push(performance.now() - sinceMs)
    }
    const median = (all: number[]): string => (all.slice(2).sort((a, b) => a - b)[5] as number).toFixed(3)
    const sinceMs = performance.now()
    await moveCells(store)
    const moved = (performance.now() - sinceMs).toFixed(0)
    console.log(
      `${name}: take ${median(takes)} µs a row, write ${median(writes)} ms a slice of ${SLICE} rows, move ${moved} ms for ${writes.length} slices`,
    )
  }
} finally {
  await store.close()
  rmSync(dataDir, { recursive: true, force: true })
}
