// What messages came to, by hour, day and week: counted from the rows of a slice of history and written in its transaction, so
// that each row counts once, whatever dies when. Messages count in the hour of their acceptance, however late they end: so
// rates are of the same messages above and below the line. Also looks after the age of what is kept.

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import type { HistoryRow } from '../spool/contract.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'
import type { SlicePart } from './history.js'
import { countryNames, HOUR_MS, StatsCells } from './statsCells.js'
import {
  ADD_CELLS,
  COLUMNS,
  DAY_LEVELS,
  DROP_WEEKS,
  HOUR_LEVELS,
  MOVE_CELLS,
  SUM_WEEKS,
  WRONG_WEEK,
} from './statsColumns.js'
import { mondayOf, WEEK_MS } from './statsTime.js'
import { StatsTotals } from './statsTotals.js'

const DAY_MS = 24 * HOUR_MS
const MOVE_MS = 3_000
/** Where this node has written nothing. */
const IDLE_MS = 60_000
const DROP_MS = HOUR_MS
/** Cells in one transaction: the more, the fewer rows are written for each. */
const MOVED = 100_000
/** As name of a lock: nodes do this one after the other. */
const LOCK = 5494791
/** Cells whose arrays are written between two turns of the event loop: about 2 ms. */
const PIECE = 20_000

export class Stats implements SlicePart {
  /** Of this process, since its start. */
  readonly totals = new StatsTotals()
  /** Something was written that may not have been moved yet. */
  isFresh = true
  private readonly cells = new StatsCells()

  begin(): void {
    this.cells.clear()
  }

  take(row: HistoryRow): void {
    this.cells.take(row)
  }

  async write(client: SqlClient): Promise<void> {
    await addCells(client, this.cells)
  }

  written(): void {
    if (this.cells.size > 0) this.isFresh = true
    this.totals.add(this.cells)
  }
}

/** Adds what was counted to what stands in SQL. */
export async function addCells(client: SqlClient, cells: StatsCells): Promise<void> {
  if (cells.size === 0) return
  const parameters = [
    await arrayOf(cells, i => `"${new Date(cells.key(i, 0) * HOUR_MS).toISOString()}"`),
    await arrayOf(cells, i => cells.key(i, 1)),
    await arrayOf(cells, i => cells.key(i, 2)),
    await arrayOf(cells, i => `"${countryNames[cells.key(i, 3)]}"`),
    await arrayOf(cells, i => cells.key(i, 4)),
  ]
  for (const column of COLUMNS.keys()) parameters.push(await arrayOf(cells, i => cells.value(i, column)))
  await client.query(ADD_CELLS, parameters)
}

/** As PostgreSQL reads an array: `{1,2}`. */
async function arrayOf(cells: StatsCells, of: (cell: number) => string | number): Promise<string> {
  let text = '{'
  for (let i = 0; i < cells.size; i++) {
    if (i % PIECE === PIECE - 1) await nextTurn()
    text += i === 0 ? of(i) : `,${of(i)}`
  }
  if (cells.size > PIECE / COLUMNS.length) await nextTurn()
  return `${text}}`
}

export interface StatsRetention {
  readonly hoursDays: number
  readonly days: number
}

export interface StatsUpkeepOptions {
  readonly stats: Stats
  readonly store: Store
  readonly retention: StatsRetention
  readonly clock: Clock
  readonly log: Log
}

/** Moves what slices brought into hours, days and weeks, and drops the old ones. */
export class StatsUpkeep {
  private readonly options: StatsUpkeepOptions
  private timer: NodeJS.Timeout | undefined
  private running: Promise<void> | undefined
  private nextMoveMs = 0
  private nextDropMs = Number.NEGATIVE_INFINITY
  private isFailing = false

  constructor(options: StatsUpkeepOptions) {
    this.options = options
  }

  start(): void {
    this.timer = setInterval(() => {
      this.running ??= this.work().finally(() => {
        this.running = undefined
      })
    }, MOVE_MS)
    this.timer.unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    await this.running
  }

  private async work(): Promise<void> {
    const { stats, store, retention, clock, log } = this.options
    if (!store.ready) return
    const now = clock.mono()
    try {
      // Now and then all the same: another node may have died before it moved its own.
      if (stats.isFresh || now >= this.nextMoveMs) {
        stats.isFresh = false
        this.nextMoveMs = now + IDLE_MS
        await moveCells(store)
      }
      if (now >= this.nextDropMs) {
        this.nextDropMs = now + DROP_MS
        await dropOld(store, retention, clock.now())
        await mendWeeks(store, retention.days, clock.now())
      }
      this.isFailing = false
    } catch (error) {
      stats.isFresh = true
      if (!this.isFailing) log.warn({ ...logged(error) }, 'counts of the analytics wait to be summed up; trying again')
      this.isFailing = true
    }
  }
}

/** Moves all that slices brought, in pieces. One at a time does it: the others' is done by that one. */
export async function moveCells(store: Store): Promise<void> {
  for (let moved = MOVED; moved === MOVED; ) {
    moved = await store.transaction(async client => {
      const { rows: locked } = await client.query<{ is: boolean }>('select pg_try_advisory_xact_lock($1) as is', [LOCK])
      if (!locked[0]?.is) return 0
      await client.query('set local jit = off')
      const { rows } = await client.query<{ moved: number }>(MOVE_CELLS, [MOVED])
      return rows[0]?.moved ?? 0
    })
  }
}

/** The begin of the first day that is kept. */
const keptFrom = (nowMs: number, days: number): number => (Math.floor(nowMs / DAY_MS) - days) * DAY_MS

/** Drops what is older than this, a day or week of a level at a time. Days have what their hours had, weeks what days had. */
export async function dropOld(store: Store, { hoursDays, days }: StatsRetention, nowMs: number): Promise<void> {
  for (const [table, levels, kept] of [
    ['stats_hour', HOUR_LEVELS, hoursDays],
    ['stats_day', DAY_LEVELS, days],
    ['stats_week', DAY_LEVELS, days],
  ] as const) {
    const fromMs = keptFrom(nowMs, kept)
    // The week of the first day that is kept tells who had messages in it.
    const firstMs = table === 'stats_week' ? mondayOf(fromMs) : fromMs
    for (const level of levels) while (await dropDay(store, table, level, firstMs)) {}
  }
}

/**
 * Sums up anew each week of which all `days` are kept and that is not what they come to. While nodes are upgraded one by one,
 * those of a release that knew no weeks move what all have brought, and to days alone.
 */
export async function mendWeeks(store: Store, days: number, nowMs: number): Promise<void> {
  const firstMs = mondayOf(keptFrom(nowMs, days) + WEEK_MS - 1)
  const mend = (): Promise<boolean> =>
    store.transaction(async client => {
      await client.query('select pg_advisory_xact_lock($1)', [LOCK])
      const { rows } = await client.query<{ hour: Date }>(WRONG_WEEK, [new Date(firstMs)])
      const wrong = rows[0]?.hour
      if (wrong === undefined) return false
      const week = [wrong, new Date(wrong.getTime() + WEEK_MS)]
      await client.query(DROP_WEEKS, week)
      await client.query(SUM_WEEKS, week)
      return true
    })
  while (await mend()) {}
}

/**
 * The first moment from `fromMs` on, both at the begin of a day, from which on each day has all of its hours. What ended late
 * may have brought some of them back.
 */
export async function hoursWholeFrom(sql: Pick<Store, 'query'>, fromMs: number): Promise<number> {
  const { rows } = await sql.query<{ last: Date | null }>(
    `select max(d.hour) as last from stats_day d cross join lateral (
      select coalesce(sum(accepted), 0) as accepted, coalesce(sum(converted), 0) as converted from stats_hour
      where level = 0 and rank = d.rank and hour >= d.hour and hour < d.hour + interval '24 hours') h
    where d.level = 0 and d.hour >= $1
      and (h.accepted <> coalesce(d.accepted, 0) or h.converted <> coalesce(d.converted, 0))`,
    [new Date(fromMs)],
  )
  const last = rows[0]?.last
  return last == null ? fromMs : last.getTime() + DAY_MS
}

/** Of what stands before `firstMs`, the oldest day. False: there was nothing to do. */
function dropDay(store: Store, table: string, level: number, firstMs: number): Promise<boolean> {
  return store.transaction(async client => {
    await client.query('select pg_advisory_xact_lock($1)', [LOCK])
    const { rows } = await client.query<{ hour: Date | null }>(
      `select min(hour) as hour from ${table} where level = ${level}`,
    )
    const oldestMs = rows[0]?.hour?.getTime() ?? firstMs
    if (oldestMs >= firstMs) return false
    // Whatever comes in between, a day has all of its hours or none.
    const before = new Date(Math.floor(oldestMs / DAY_MS) * DAY_MS + DAY_MS)
    await client.query(`delete from ${table} where level = ${level} and hour < $1`, [before])
    return true
  })
}
