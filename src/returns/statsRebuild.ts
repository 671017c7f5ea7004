// Counts days of acceptance anew from history: for messages from before there were counts, or after a fault. A day at a time
// and each in one transaction, so it may be done again, be broken off, and run beside writers of history: whoever writes
// counts waits while a day is counted. What history does not have stays as it is: codes that were used.

import { setImmediate as nextTurn } from 'node:timers/promises'
import { firstIdAt, idTimeMs } from '../base/ids.js'
import type { MessageState } from '../model/message.js'
import type { HistoryRow } from '../spool/contract.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { addCells, moveCells } from './stats.js'
import { StatsCells } from './statsCells.js'
import { DROP_WEEKS, FINEST, SUM_WEEKS } from './statsColumns.js'
import { mondayOf, WEEK_MS } from './statsTime.js'

const DAY_MS = 86_400_000
/** Rows read at a time: some 10 ms of a command's own. */
const PIECE = 5_000

export interface Rebuilt {
  /** `2026-11-20` */
  day: string
  /** Of history. */
  rows: number
}

/**
 * Counts the days from `fromMs` to `toMs` (in UTC, the last one too) anew, and tells of each. Days of which history has
 * nothing any more, or may have lost some, are left alone.
 */
export async function rebuildStats(
  store: Store,
  { fromMs, toMs }: { fromMs: number; toMs: number },
  tell: (day: Rebuilt) => void,
): Promise<void> {
  const { rows } = await store.query<{ id: number; at: Date }>(
    "select id, at from history where kind = 'a' order by id limit 1",
  )
  const oldest = rows[0]
  if (oldest === undefined) return
  // Days are dropped from history whole, by the moment of the row: the id may be of the day before, which is gone. Or of the
  // day after, and then of its own day there is nothing.
  const oldestDay = startOfDay(Math.max(idTimeMs(oldest.id), oldest.at.getTime()))
  // An end stands where its carrier's clock says, up to half a day before the acceptance: in a day that may be gone.
  const before = await store.query('select from stats_day where level = 0 and hour < $1 limit 1', [new Date(oldestDay)])
  const firstMs = Math.max(fromMs, before.rowCount === 0 ? oldestDay : oldestDay + DAY_MS)
  const cells = new StatsCells()
  for (let day = startOfDay(firstMs); day <= toMs; day += DAY_MS) {
    const counted = await store.transaction(client => rebuildDay(client, cells, day))
    await moveCells(store)
    tell({ day: new Date(day).toISOString().slice(0, 10), rows: counted })
  }
}

async function rebuildDay(client: SqlClient, cells: StatsCells, day: number): Promise<number> {
  // Who has written history and not yet counts has rows that we do not see, and waits with the counts until we are done; who
  // has written both is done before we look.
  await client.query('lock table stats_fresh, stats_hour, stats_day, stats_week in share row exclusive mode')
  const span = [new Date(day), new Date(day + DAY_MS)]
  // Where hours are not kept any more, or not all of them, the day tells which codes were used.
  const used = (table: string): string =>
    `select hour, account, carrier, country, rank, converted from ${table} where hour >= $1 and hour < $2 and converted > 0`
  const sum = (of: string): string => `(select coalesce(sum(converted), 0) from ${of})`
  await client.query(
    `create temporary table kept on commit drop as
    with hours as (${used('stats_hour')} and level = ${FINEST}), days as (${used('stats_day')} and level = ${FINEST})
    select * from hours where ${sum('hours')} = ${sum('days')}
    union all select * from days where ${sum('hours')} <> ${sum('days')}
    union all ${used('stats_fresh')}`,
    span,
  )
  for (const name of ['stats_fresh', 'stats_hour', 'stats_day']) {
    await client.query(`delete from ${name} where hour >= $1 and hour < $2`, span)
  }
  // Its week keeps the other days; this one is added as any other.
  const week = [new Date(mondayOf(day)), new Date(mondayOf(day) + WEEK_MS)]
  await client.query(DROP_WEEKS, week)
  await client.query(SUM_WEEKS, week)
  cells.clear()
  await client.query(
    `declare past no scroll cursor for select id, at, kind::text as kind, price_micros, back_micros, cost_micros, account,
      route, carrier, segments, rank, state, destination, took_ms
    from history where id >= ${firstIdAt(day)} and id < ${firstIdAt(day + DAY_MS)}`,
  )
  let counted = 0
  for (;;) {
    const { rows } = await client.query<Stored>(`fetch ${PIECE} from past`)
    for (const row of rows) cells.take(rowOf(row))
    counted += rows.length
    if (rows.length < PIECE) break
    await nextTurn()
  }
  await client.query('close past')
  const { rows: kept } = await client.query<Kept>('select * from kept')
  for (const { hour, account, carrier, country, rank, converted } of kept) {
    cells.addConversions(hour.getTime(), account, carrier, country, rank, converted)
  }
  await client.query('drop table kept')
  await addCells(client, cells)
  return counted
}

interface Kept {
  hour: Date
  account: number
  carrier: number
  country: string
  rank: number
  converted: number
}

interface Stored {
  id: number
  at: Date
  kind: 'a' | 'e'
  price_micros: number
  back_micros: number
  cost_micros: number
  account: number
  route: number
  carrier: number
  segments: number
  rank: number
  state: number
  destination: string
  took_ms: number | null
}

const startOfDay = (ms: number): number => Math.floor(ms / DAY_MS) * DAY_MS

const rowOf = (row: Stored): HistoryRow => ({
  kind: row.kind === 'a' ? 'accepted' : 'ended',
  atMs: row.at.getTime(),
  id: row.id,
  account: row.account,
  rank: row.rank,
  state: row.state as MessageState,
  source: '',
  destination: row.destination,
  route: row.route,
  carrier: row.carrier,
  segments: row.segments,
  priceMicros: row.price_micros,
  backMicros: row.back_micros,
  costMicros: row.cost_micros,
  tookMs: row.took_ms,
  isHeld: false,
  error: '',
  clientRef: '',
})
