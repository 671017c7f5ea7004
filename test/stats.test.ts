// The counts of the analytics against the rows they are made of: whatever the rows, however they come in slices, and
// whatever fails in between, hours and days at each level say what one says who counts the rows themselves.

import assert from 'node:assert/strict'
import type { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import fc from 'fast-check'
import type { Client } from 'pg'
import t, { type Test } from 'tap'
import { looking } from '../src/admin/asked.js'
import { answerStats, figuresOf, statsQuery } from '../src/admin/statsAnswer.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { firstIdAt, idTimeMs } from '../src/base/ids.js'
import { Busy, Turns } from '../src/base/turns.js'
import { digitsOf } from '../src/model/digits.js'
import type { MessageState } from '../src/model/message.js'
import { HistoryWriter } from '../src/returns/history.js'
import { Past } from '../src/returns/past.js'
import { dropOld, mendWeeks, moveCells, Stats } from '../src/returns/stats.js'
import { countryIndex, countryNames, StatsCells } from '../src/returns/statsCells.js'
import { COLUMNS, column, DAY_LEVELS, HOUR_LEVELS, TOOK_S } from '../src/returns/statsColumns.js'
import {
  type Dimension,
  dimensions,
  endedOf,
  type StatsKey,
  StatsPast,
  type StatsQuestion,
} from '../src/returns/statsPast.js'
import { rebuildStats } from '../src/returns/statsRebuild.js'
import { bucketsOf, momentOf, momentText, piecesOf, startOf } from '../src/returns/statsTime.js'
import { countries, countryOf } from '../src/routing/countries.js'
import { MAIL_LANE } from '../src/routing/mail.js'
import { SANDBOX_LANE } from '../src/routing/sandbox.js'
import type { HistoryRow, LogSlice } from '../src/spool/contract.js'
import type { Origin } from '../src/spool/origin.js'
import { openStore, type Store } from '../src/store/postgres.js'
import { connect, silent, someDatabases, Way } from './support/postgres.js'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NOON_MS = Date.UTC(2026, 10, 20, 12)

const databases = await someDatabases()
t.teardown(() => databases.close())

function opened(t: Test, url: string): Store {
  const store = openStore({ url, dataDir: '/nonexistent', log: silent })
  t.teardown(() => store.close())
  return store
}

async function reader(t: Test, url: string): Promise<Client> {
  const client = await connect(url)
  t.teardown(() => client.end())
  return client
}

const row = (id: number, more: Partial<HistoryRow> = {}): HistoryRow => ({
  ...{
    kind: 'accepted',
    atMs: idTimeMs(id),
    id,
    account: 7,
    rank: 1,
    state: 1,
    source: 'ACME',
    destination: '491711234567',
  },
  ...{
    route: 3,
    carrier: 0,
    segments: 1,
    priceMicros: 0,
    backMicros: 0,
    costMicros: 0,
    tookMs: null,
    isHeld: false,
    error: '',
    clientRef: '',
  },
  ...more,
})

const DESTINATIONS = [
  '491711234567',
  '+436641234567',
  '00447700900123',
  '12125550100',
  '14165550100',
  '999',
  'a@b.example',
  '',
]
const STATES = [2, 2, 2, 2, 3, 4, 5, 6, 7, 8, 9] as const

/** Messages of some days, each with its acceptance, perhaps its end, and perhaps a code that was used, in any order. */
const messages = fc
  .array(
    fc.record({
      ms: fc.integer({ min: NOON_MS - 5 * DAY_MS, max: NOON_MS }),
      account: fc.integer({ min: 1, max: 4 }),
      carrier: fc.constantFrom(0, 1, 2, 2 ** 31 - 2),
      destination: fc.constantFrom(...DESTINATIONS),
      rank: fc.nat(2),
      segments: fc.integer({ min: 1, max: 255 }),
      price: fc.integer({ min: 0, max: 2 ** 40 }),
      back: fc.integer({ min: 0, max: 2 ** 40 }),
      cost: fc.integer({ min: 0, max: 2 ** 40 }),
      state: fc.constantFrom(...STATES),
      // By the carrier's clock, and by ours.
      doneMs: fc.oneof(
        fc.integer({ min: -5_000, max: 8_000_000 }),
        fc.constantFrom(1_000, 1_001, 3_600_000, Number.NaN),
      ),
      tookMs: fc.oneof(fc.constantFrom(null, 0, 1_000, 1_001, 3_600_000), fc.integer({ min: 0, max: 8_000_000 })),
      isEnded: fc.integer({ min: 0, max: 9 }).map(n => n > 1),
      isConverted: fc.boolean(),
      route: fc.constantFrom(1, 2, 3, SANDBOX_LANE, MAIL_LANE),
      place: fc.nat(),
    }),
    { minLength: 1, maxLength: 400 },
  )
  .map(list => {
    const rows: [number, HistoryRow][] = []
    for (const [n, m] of list.entries()) {
      const id = firstIdAt(m.ms) + (n % 128)
      const { account, destination, rank, segments, route } = m
      const base = row(id, { account, destination, rank, segments, route, priceMicros: m.price })
      const back = Math.min(m.back, m.price)
      rows.push([m.place, base])
      const ended = {
        ...({ kind: 'ended', carrier: m.carrier, state: m.state as MessageState } as const),
        ...{ atMs: m.ms + m.doneMs, tookMs: m.tookMs },
      }
      if (m.isEnded) {
        rows.push([
          m.place + n,
          { ...base, ...ended, priceMicros: m.price - back, backMicros: back, costMicros: m.cost },
        ])
      }
      if (m.isConverted)
        rows.push([m.place * 3, { ...base, kind: 'converted', carrier: m.carrier, segments: 0, priceMicros: 0 }])
    }
    return rows.sort(([a], [b]) => a - b).map(([, one]) => one)
  })

const isNoTraffic = ({ route }: HistoryRow): boolean => route === SANDBOX_LANE || route === MAIL_LANE

/** The same counted by whoever has time: level, hour, day or week, account, carrier, country and class → counts. */
function naive(rows: readonly HistoryRow[]): Map<string, number[]> {
  const found = new Map<string, number[]>()
  for (const one of rows) {
    if (isNoTraffic(one)) continue
    const country = countryOf(digitsOf(one.destination))
    const carrier = one.kind === 'accepted' ? 0 : one.carrier
    for (const [table, spanMs, levels] of [
      ['hour', HOUR_MS, HOUR_LEVELS],
      ['day', DAY_MS, DAY_LEVELS],
      ['week', 7 * DAY_MS, DAY_LEVELS],
    ] as const) {
      // The epoch was a Thursday.
      const monday = table === 'week' ? 4 * DAY_MS : 0
      const at = Math.floor((idTimeMs(one.id) - monday) / spanMs) * spanMs + monday
      for (const level of levels) {
        const key = [
          table,
          level,
          at,
          level & 1 ? one.account : 0,
          level & 2 ? carrier : 0,
          level & 4 ? country : '',
          one.rank,
        ]
        const counts = found.get(key.join()) ?? COLUMNS.map(() => 0)
        found.set(key.join(), counts)
        const add = (name: string, value: number): void => {
          ;(counts[COLUMNS.indexOf(name)] as number) += value
        }
        if (one.kind === 'converted') add('converted', 1)
        else if (one.kind === 'accepted') {
          add('accepted', 1)
          add('segments', one.segments)
          add('price_micros', one.priceMicros)
        } else {
          const names: Record<number, string> = {
            2: 'delivered',
            3: 'expired',
            4: 'deleted',
            5: 'undeliverable',
            6: 'unreported',
            8: 'rejected',
          }
          add(names[one.state] ?? 'unknown', 1)
          add('ended_segments', one.segments)
          add('ended_micros', one.priceMicros + one.backMicros)
          add('back_micros', one.backMicros)
          add('cost_micros', one.costMicros)
          if (one.state === 2) {
            const seconds = (one.tookMs ?? one.atMs - idTimeMs(one.id)) / 1_000
            const bucket = TOOK_S.findIndex(bound => seconds <= bound)
            add(`took_${bucket < 0 ? TOOK_S.length : bucket}`, 1)
          }
        }
      }
    }
  }
  return found
}

async function stored(db: Client): Promise<Map<string, number[]>> {
  const found = new Map<string, number[]>()
  for (const table of ['hour', 'day', 'week']) {
    const { rows } = await db.query(
      `select level, extract(epoch from hour) * 1000 as at, account, carrier, country, rank, ${COLUMNS.join(', ')}
      from stats_${table}`,
    )
    for (const one of rows) {
      const key = [table, one.level, Number(one.at), one.account, one.carrier, one.country, one.rank].join()
      const counts = COLUMNS.map(name => Number(one[name] ?? 0))
      if (counts.some(count => count !== 0)) found.set(key, counts)
    }
  }
  return found
}

const sorted = (counts: Map<string, number[]>): [string, number[]][] =>
  [...counts].filter(([, values]) => values.some(one => one !== 0)).sort(([a], [b]) => (a < b ? -1 : 1))

t.test('however rows come in slices, and whatever fails and is done again, each counts once at each level', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  await store.firstTry
  await fc.assert(
    fc.asyncProperty(
      messages,
      fc.infiniteStream(fc.integer({ min: 1, max: 90 })),
      fc.infiniteStream(fc.constantFrom('well', 'well', 'fails', 'fails before')),
      async (rows, sizes, fates) => {
        await db.query('truncate stats_fresh, stats_hour, stats_day, stats_week')
        let stats = new Stats()
        for (let from = 0; from < rows.length; ) {
          const slice = rows.slice(from, from + (sizes.next().value as number))
          const fate = fates.next().value
          await db.query('begin')
          stats.begin()
          for (const one of fate === 'fails before' ? slice.slice(1) : slice) stats.take(one)
          if (fate !== 'fails before') await stats.write(db as never)
          await db.query(fate === 'well' ? 'commit' : 'rollback')
          if (fate === 'well') {
            stats.written()
            from += slice.length
            // Sometimes moved in between, sometimes by two at once.
            if (from % 3 === 0) await moveCells(store)
            if (from % 5 === 0) await Promise.all([moveCells(store), moveCells(store)])
          } else if (fate === 'fails before') stats = new Stats()
        }
        await moveCells(store)
        assert.deepEqual(sorted(await stored(db)), sorted(naive(rows)))
      },
    ),
    { numRuns: process.env.LONG ? 300 : 12, seed: 20261120 },
  )
})

t.test('which country a number is in is told as routing tells it, for any text', t => {
  const known = countries.flatMap(iso => [iso])
  t.equal(known.length + 1, countryNames.length)
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: fc.constantFrom(...'0123456789'), maxLength: 17 }),
        fc.string({ unit: fc.constantFrom(...'+0123456789a@'), maxLength: 17 }),
        fc.string({ unit: 'binary', maxLength: 8 }),
      ),
      text => countryNames[countryIndex(text)] === countryOf(digitsOf(text)),
    ),
    {
      numRuns: process.env.LONG ? 100_000 : 3_000,
      examples: [['1'], ['120'], ['00'], ['+'], ['37'], ['390669812'], ['+49abc'], ['7771234567']],
    },
  )
  t.end()
})

t.test('a cell is found again among a hundred thousand, and a burst is forgotten', t => {
  const cells = new StatsCells()
  const all = 100_000
  const one = row(firstIdAt(NOON_MS), { segments: 3 })
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < all; i++) cells.take(Object.assign(one, { account: i }))
  }
  t.equal(cells.size, all)
  let wrong = 0
  for (let i = 0; i < all; i++)
    if (cells.value(i, column.accepted) !== 2 || cells.value(i, column.segments) !== 6) wrong++
  t.equal(wrong, 0)
  cells.clear()
  t.equal(cells.size, 0)
  cells.take(row(firstIdAt(NOON_MS)))
  t.equal(cells.value(0, column.accepted), 1)
  t.end()
})

/** A log of rows in memory, as a spool has it. */
class TestLog {
  readonly identity = 'one'
  readonly clock = new ManualClock(NOON_MS)
  dropped = 0
  onDrop: () => void = () => {}
  readonly rows: HistoryRow[]

  constructor(rows: HistoryRow[]) {
    this.rows = rows
  }

  get origin(): Origin {
    const { dropped, rows } = this
    const said = { isKnown: async () => {}, rename: async () => {} }
    const runs = ['', 'only'].map(name => ({ name, end: rows.length }))
    return { dropped, run: 'only', runs, ...said }
  }

  readLog(after: number, maxRows: number): LogSlice | undefined {
    const from = Math.max(after, this.dropped)
    const rows = this.rows.slice(from, from + maxRows)
    return rows.length === 0 ? undefined : { position: from + rows.length, rows }
  }
  dropLog(position: number): void {
    this.dropped = position
    this.onDrop()
  }
  drained(): Promise<void> {
    return new Promise(resolve => {
      this.onDrop = () => {
        if (this.dropped >= this.rows.length) resolve()
      }
      this.onDrop()
    })
  }
}

const sample = (seed: number): HistoryRow[] => {
  const [rows] = fc.sample(messages, { numRuns: 1, seed })
  return (rows as HistoryRow[]).map(one => (Number.isNaN(one.atMs) ? { ...one, atMs: idTimeMs(one.id) } : one))
}

t.test('the connection cut before the counts, and with the answer to COMMIT: history and counts agree', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const way = await Way.to(url)
  t.teardown(() => way.close())
  await way.open()
  const log = new TestLog(sample(3))
  const store = opened(t, way.url)
  let [cuts, commits] = [0, 0]
  way.inspect = chunk => {
    if (chunk.includes('insert into stats_fresh')) return cuts++ > 0
    return !chunk.includes('commit') || cuts === 0 || commits++ > 0
  }
  const stats = new Stats()
  const writer = new HistoryWriter({
    ...{ spool: log, store, node: 0, retentionDays: 30, counters: new Counters(), log: silent },
    parts: [stats],
  })
  t.teardown(() => writer.stop())
  writer.start()
  await log.drained()
  t.ok(cuts > 0 && commits > 0, 'it was cut twice')
  await moveCells(store)
  t.same(sorted(await stored(db)), sorted(naive(log.rows)))
})

t.test('counted anew from history, also beside a writer and twice, the counts are the same', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  await store.firstTry
  const rows = sample(5)
  const half = Math.floor(rows.length / 2)
  const log = new TestLog(rows.slice(0, half))
  const writer = new HistoryWriter({
    ...{ spool: log, store, node: 0, retentionDays: 30, counters: new Counters(), log: silent },
    parts: [new Stats()],
  })
  t.teardown(() => writer.stop())
  writer.start()
  await log.drained()
  await moveCells(store)
  const wanted = sorted(naive(log.rows))
  const rebuild = (): Promise<void> => rebuildStats(store, { fromMs: 0, toMs: NOON_MS }, () => {})
  await rebuild()
  t.same(sorted(await stored(db)), wanted, 'over what was right')
  // Whatever is wrong is mended, but for conversions, which history does not have.
  await db.query('update stats_day set accepted = 99 where level = 3')
  await db.query('delete from stats_hour where level in (0, 1)')
  await db.query('update stats_week set delivered = 7 where level in (0, 5)')
  await rebuild()
  t.same(sorted(await stored(db)), wanted, 'over what was wrong')
  log.rows.push(...rows.slice(half))
  writer.wake()
  await Promise.all([rebuild(), rebuild(), log.drained(), moveCells(store)])
  await moveCells(store)
  t.same(sorted(await stored(db)), sorted(naive(rows)), 'beside the writer and another')
})

t.test('hours that are old go and their days stay; what is older than days goes too', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  await store.firstTry
  const rows = sample(8)
  const stats = new Stats()
  stats.begin()
  for (const one of rows) stats.take(one)
  await store.transaction(client => stats.write(client))
  await moveCells(store)
  const all = naive(rows)
  const since = (table: string, ms: number) =>
    sorted(all).filter(([key]) => !key.startsWith(table) || Number(key.split(',')[2]) >= ms)
  const today = Math.floor(NOON_MS / DAY_MS) * DAY_MS
  await Promise.all([1, 2].map(() => dropOld(store, { hoursDays: 2, days: 30 }, NOON_MS)))
  t.same(sorted(await stored(db)), since('hour', today - 2 * DAY_MS))
  await dropOld(store, { hoursDays: 2, days: 2 }, NOON_MS)
  // It was a Friday.
  for (const [table, days] of [
    ['stats_day', 2],
    ['stats_week', 4],
  ] as const) {
    t.equal((await db.query(`select from ${table} where hour < $1`, [new Date(today - days * DAY_MS)])).rowCount, 0)
  }
})

t.test('a week that is not what its days come to is summed up anew, and no other', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  await store.firstTry
  const before = NOON_MS - 21 * DAY_MS
  const rows = [...sample(8), ...whole([before, before + DAY_MS])]
  await counted(store, rows)
  const [newest, last] = ['2026-11-16', '2026-11-09'].map(day => new Date(day))
  // A node that knows of no weeks has moved what slices brought.
  await db.query('delete from stats_week where hour = $1', [newest])
  await db.query('update stats_week set converted = coalesce(converted, 0) + 1 where hour = $1', [last])
  const kept = async () =>
    (await db.query('select xmin, * from stats_week where hour < $1 order by level, rank', [last])).rows
  const others = await kept()
  t.ok(others.length > 0)
  await Promise.all([1, 2].map(() => mendWeeks(store, 30, NOON_MS)))
  t.same(sorted(await stored(db)), sorted(naive(rows)))
  t.same(await kept(), others)
  // Of a week that lost a day to age the rest would be too little.
  await dropOld(store, { hoursDays: 2, days: 19 }, NOON_MS)
  const [edge] = await kept()
  await mendWeeks(store, 19, NOON_MS)
  t.same((await kept())[0], edge)
})

t.test('accounts of the first days that are kept are told, though the week of these began before', async t => {
  const store = opened(t, await databases.database())
  await store.firstTry
  const first = Math.floor(NOON_MS / DAY_MS) * DAY_MS
  const rows = [row(firstIdAt(first), { account: 9 })]
  for (let account = 1; account <= 6; account++) rows.push(row(firstIdAt(first + 7 * DAY_MS), { account }))
  await counted(store, rows)
  const [retention, now] = [{ hoursDays: 2, days: 7 }, NOON_MS + 7 * DAY_MS]
  await dropOld(store, retention, now)
  const past = new StatsPast(store, retention, () => now)
  const page = await past.page(
    { fromMs: first, toMs: now, zone: 'UTC', interval: 'day', by: ['account', 'country'], only: {} },
    null,
    100,
  )
  t.same(
    page.rows.map(({ account }) => account),
    [9, 1, 2, 3, 4, 5, 6],
  )
})

/** Counts written and moved, as the daemon does it. */
async function counted(store: Store, rows: readonly HistoryRow[]): Promise<void> {
  const stats = new Stats()
  stats.begin()
  for (const one of rows) stats.take(one)
  await store.transaction(client => stats.write(client))
  await moveCells(store)
}

/** Messages of these moments, each with its end and a code that was used. */
const whole = (moments: readonly number[]): HistoryRow[] =>
  moments.flatMap((ms, n) => {
    const base = row(firstIdAt(ms) + n)
    const end = { ...base, carrier: 1, state: 2 as const, atMs: ms + 1_000 }
    return [base, { ...end, kind: 'ended' as const }, { ...end, kind: 'converted' as const, segments: 0 }]
  })

t.test('a day of which history may have lost rows is not counted anew, nor one before it', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  await store.firstTry
  const today = Math.floor(NOON_MS / DAY_MS) * DAY_MS
  const yesterday = today - DAY_MS
  // Its id is of the day before, its row of yesterday: by rows history drops its days.
  const late = row(firstIdAt(yesterday - 1), { atMs: yesterday + 1 })
  // Where its carrier is, it is the day before.
  const east = row(firstIdAt(yesterday + HOUR_MS) + 7)
  const early = { ...east, kind: 'ended' as const, carrier: 1, state: 2 as const, atMs: yesterday - HOUR_MS }
  const rows = [...whole([yesterday - HOUR_MS, yesterday + HOUR_MS, today + HOUR_MS]), late, east, early]
  const log = new TestLog(rows)
  const writer = new HistoryWriter({
    ...{ spool: log, store, node: 0, retentionDays: 30, counters: new Counters(), log: silent },
    parts: [new Stats()],
  })
  t.teardown(() => writer.stop())
  writer.start()
  await log.drained()
  await moveCells(store)
  const rebuilt = async (): Promise<string[]> => {
    const days: string[] = []
    await rebuildStats(store, { fromMs: 0, toMs: NOON_MS }, ({ day }) => days.push(day))
    t.same(sorted(await stored(db)), sorted(naive(rows)))
    return days
  }
  t.same(await rebuilt(), ['2026-11-18', '2026-11-19', '2026-11-20'], 'nothing is lost')
  await db.query('delete from history where at < $1', [new Date(yesterday)])
  t.same(await rebuilt(), ['2026-11-20'])
})

t.test(
  'days whose hours were dropped are told by days when hours are kept for longer, and keep their conversions',
  async t => {
    const url = await databases.database()
    const db = await reader(t, url)
    const store = opened(t, url)
    await store.firstTry
    const today = Math.floor(NOON_MS / DAY_MS) * DAY_MS
    const rows = whole([0, 1, 2, 3, 4, 5].map(n => today - n * DAY_MS + 10 * HOUR_MS))
    const log = new TestLog(rows)
    const writer = new HistoryWriter({
      ...{ spool: log, store, node: 0, retentionDays: 30, counters: new Counters(), log: silent },
      parts: [new Stats()],
    })
    t.teardown(() => writer.stop())
    writer.start()
    await log.drained()
    await moveCells(store)
    await dropOld(store, { hoursDays: 2, days: 30 }, NOON_MS)
    // One of a day without hours ends once more: a part of its hours is back.
    const again = { ...(rows[10] as HistoryRow), state: 5 as const }
    await counted(store, [again])
    const past = new StatsPast(store, { hoursDays: 30, days: 60 }, () => NOON_MS)
    t.equal(await past.hoursFromMs(), today - 2 * DAY_MS)
    const span = { fromMs: today - 5 * DAY_MS, toMs: NOON_MS }
    const ask = { ...span, interval: 'day', by: [], only: {} } as const
    const figures = async (zone: string) =>
      (await past.page({ ...ask, zone }, null, 100)).rows.map(({ counts }) => [
        counts[column.accepted],
        counts[column.converted],
      ])
    t.same(
      await figures('Europe/Berlin'),
      [1, 2, 3, 4, 5, 6].map(() => [1, 1]),
    )
    await t.rejects(
      past.page({ ...ask, zone: 'UTC', interval: 'hour' }, null, 100),
      /hours are kept from 2026-11-18 on/,
    )
    // Ten o'clock to eleven would be nothing, and ten to five all of the day.
    for (const [fromMs, toMs] of [
      [today - 5 * DAY_MS + 10 * HOUR_MS, NOON_MS],
      [today - 5 * DAY_MS, today - 4 * DAY_MS + 17 * HOUR_MS],
    ] as const) {
      const asked = past.page({ ...ask, zone: 'Europe/Berlin', interval: 'none', fromMs, toMs }, null, 100)
      await t.rejects(asked, /before 2026-11-18 whole days are kept/)
    }
    const berlin = startOf(today - 5 * DAY_MS, 'Europe/Berlin')
    t.equal((await past.whole({ ...ask, zone: 'Europe/Berlin', fromMs: berlin })).counts[column.accepted], 6)
    await rebuildStats(store, { fromMs: 0, toMs: NOON_MS }, () => {})
    t.same(
      await figures('UTC'),
      [1, 2, 3, 4, 5, 6].map(() => [1, 1]),
      'counted anew',
    )
    const { rows: sums } = await db.query(
      'select sum(converted)::int as n from stats_hour where level = 7 union all select sum(converted)::int from stats_day where level = 0',
    )
    t.same(sums, [{ n: 6 }, { n: 6 }])
    const later = new StatsPast(store, { hoursDays: 30, days: 60 }, () => NOON_MS)
    t.equal(await later.hoursFromMs(), today - 30 * DAY_MS, 'and has its hours again')
  },
)

// ---- figures

t.test('what is not known yet is in no rate and in no profit', t => {
  const figures = (counts: Partial<Record<keyof typeof column, number>>, withCost = true) => {
    const all = COLUMNS.map(() => 0)
    for (const [name, value] of Object.entries(counts)) all[column[name as keyof typeof column]] = value
    return figuresOf(all, withCost)
  }
  t.match(
    figures({ accepted: 10, delivered: 3, unreported: 5, expired: 1 }),
    { pending: 1, delivery_rate: 0.75, unreported: 5, unknown: 0 },
    'of whose fate nobody was to tell is no failure',
  )
  t.equal(figures({ accepted: 2, unreported: 2 }).delivery_rate, null)
  t.match(figures({ accepted: 4, converted: 1 }), { conversion_rate: 0.25 })
  t.match(figures({ accepted: 0, converted: 1 }), { conversion_rate: null }, 'no carrier has ended one yet')
  t.match(figures({ accepted: 2, converted: 3 }), { conversion_rate: null }, 'nor so many')
  t.match(
    figures({ accepted: 3, price: 3_000_000, delivered: 1, ended: 2_000_000, back: 500_000, cost: 600_000 }),
    { spend: '2.5', cost: '0.6', profit: '0.9' },
    'what is charged for open messages may be given back, and they will cost',
  )
  t.end()
})

// ---- turns

t.test('two have a turn at a time, and one of them an account; others wait in line, and not for long', async t => {
  const turns = new Turns({ most: 2, waitMs: 50 })
  const [log, ends]: [string[], Map<string, () => void>] = [[], new Map()]
  const ask = (name: string, who: number | null): Promise<void> =>
    turns.run(who, () => {
      log.push(name)
      return new Promise<void>(resolve => ends.set(name, resolve))
    })
  const end = async (name: string, asked: Promise<void>): Promise<void> => {
    ends.get(name)?.()
    await asked
  }
  const a = ask('a', 1)
  const again = ask('a again', 1)
  const b = ask('b', 2)
  const c = ask('c', 3)
  const anybody = ask('anybody', null)
  t.same(log, ['a', 'b'])
  t.throws(() => turns.take(1), /it has a turn/)
  t.throws(() => turns.take(4), /others have all/)
  await end('b', b)
  t.same(log, ['a', 'b', 'c'], 'past those who wait for their own')
  await end('c', c)
  t.same(log, ['a', 'b', 'c', 'anybody'])
  await end('a', a)
  t.same(log.at(-1), 'a again')
  await t.rejects(ask('late', 3), /others have all/)
  await end('anybody', anybody)
  await t.rejects(ask('late', 1), /it has a turn/)
  await t.rejects(
    turns.run(3, () => Promise.reject(new Error('no'))),
    /no/,
  )
  const leave = turns.take(3)
  leave()
  leave()
  await end('a again', again)
  for (const who of [1, 2]) turns.take(who)
  t.throws(() => turns.take(null), /others have all/, 'a turn that was given back twice is one')
  await t.rejects(
    looking(() => turns.run(1, async () => {})),
    { status: 429, code: 'busy' },
  )
  await t.rejects(
    looking(() => turns.run(3, async () => {})),
    { status: 503, code: 'busy' },
  )
  // One who asks for much takes no place in the line that others would have.
  const much = Array.from({ length: 150 }, () => turns.run(1, async () => {}).catch(error => error))
  t.equal(await Promise.race([...much, 'waits']), 'waits')
  const other = turns.run(3, async () => {}).catch(error => error)
  t.match(await Promise.race(much.slice(10)), { isOwn: true })
  t.equal(await Promise.race([other, 'waits']), 'waits', 'it has a place')
  await Promise.all([...much, other])
  const most = Array.from({ length: 150 }, () => turns.run(null, async () => {}).catch(error => error))
  t.ok((await Promise.all(most)).every(error => error instanceof Busy))
})

t.test('questions hold two connections at most, whoever asks them and however many, and so do lists', async t => {
  let [held, most] = [0, 0]
  const nothing = { query: () => new Promise(resolve => setImmediate(resolve, { rows: [] })) } as never
  const slow: Pick<Store, 'query' | 'transaction'> = {
    query: () => Promise.reject(new Error('a list asks in a transaction')),
    transaction: async work => {
      most = Math.max(most, ++held)
      const found = await work(nothing)
      held--
      return found
    },
  }
  const past = new StatsPast(slow, { hoursDays: 30, days: 60 }, () => NOON_MS)
  const ask = { fromMs: NOON_MS - DAY_MS, toMs: NOON_MS, zone: 'UTC', interval: 'none', by: [] } as const
  const only = (account: number) => ({ ...ask, only: { account: [account] } })
  await Promise.all([1, 1, 1, 2, 3, 4].map(account => past.page(only(account), null, 10)))
  t.equal(most, 2)
  most = 0
  await Promise.all([5, 5, 5].map(account => past.page(only(account), null, 10)))
  t.equal(most, 1)
  const noLog = { synced: async () => {}, readLog: () => undefined }
  const list = (account: number | undefined) => {
    const filter = { account, state: undefined, fromMs: 0, toMs: NOON_MS, limit: 10 }
    // As accounts and operators have one each.
    return new Past(noLog, slow).latest(filter)
  }
  most = 0
  await Promise.all([1, 1, 1, 2, 3, undefined, undefined].map(list))
  t.equal(most, 2)
  most = 0
  await Promise.all([1, 1, 1].map(list))
  t.equal(most, 1)
})

t.test('a file that has begun goes on when for a moment there is not even room in the line', async t => {
  let [asked, room] = [0, false]
  const answer: PassThrough[] = []
  const one = { atMs: NOON_MS, account: null, carrier: null, country: null, rank: null, counts: COLUMNS.map(() => 1) }
  const past = {
    page: async () => {
      if (asked++ > 0 && !room) {
        setImmediate(() => {
          room = true
        })
        throw new Busy(true)
      }
      return { rows: [one], next: room ? null : one }
    },
  }
  const reply = { type: () => reply, header: () => reply, send: (out: PassThrough) => answer.push(out) }
  const analytics = { past, currency: 'EUR', showsCarriers: true, nowMs: () => NOON_MS }
  const query = statsQuery.parse({ format: 'csv' })
  await answerStats(
    analytics as never,
    query,
    { names: {} as never, withCost: true, accept: undefined },
    reply as never,
  )
  const lines = (await text(answer[0] as PassThrough)).trimEnd().split('\r\n')
  t.equal(lines.length, 3, 'its head, and a row of each page')
})

// ---- questions

t.test('of centuries only what is kept is looked at, and a page of accounts reads no more than it tells', async t => {
  const url = await databases.database()
  const store = opened(t, url)
  await store.firstTry
  const today = Math.floor(NOON_MS / DAY_MS) * DAY_MS
  const rows: HistoryRow[] = []
  for (let account = 1; account <= 300; account++) {
    for (let day = 0; day < 4; day++) rows.push(row(firstIdAt(today - day * DAY_MS + account), { account }))
  }
  await counted(store, rows)
  let [read, most] = [0, 0]
  const counting: ConstructorParameters<typeof StatsPast>[0] = {
    transaction: work =>
      store.transaction(client => {
        const query = async (text: string | { rowMode?: string }, values?: unknown[]) => {
          const answer = await client.query(text as string, values)
          if (typeof text === 'object' && text.rowMode === 'array') {
            read += answer.rows.length
            most = Math.max(most, answer.rows.length)
          }
          return answer
        }
        return work({ query } as never)
      }),
  }
  const past = new StatsPast(counting, { hoursDays: 30, days: 60 }, () => NOON_MS)
  const ages = { fromMs: Date.UTC(1895, 0), toMs: Date.UTC(2100, 0) }
  for (const interval of ['none', 'month', 'day'] as const) {
    const q: StatsQuestion = { ...ages, zone: 'Asia/Tehran', interval, by: [], only: {} }
    const page = await past.page(q, null, 100)
    t.equal(
      page.rows.reduce((sum, { counts }) => sum + (counts[column.accepted] as number), 0),
      1_200,
      interval,
    )
  }
  const q: StatsQuestion = {
    ...ages,
    fromMs: today - 3 * DAY_MS,
    zone: 'UTC',
    interval: 'day',
    by: ['account'],
    only: {},
  }
  read = most = 0
  const seen = new Set<string>()
  let pages = 0
  for (let after: StatsKey | null = null; pages === 0 || after !== null; pages++) {
    const page: Awaited<ReturnType<StatsPast['page']>> = await past.page(q, after, 100)
    for (const { atMs, account } of page.rows) seen.add(`${atMs} ${account}`)
    after = page.next
  }
  t.equal(seen.size, 1_200)
  t.equal(pages, 12)
  t.ok(most <= 200, `at most ${most} rows at a time`)
  t.ok(read <= 12 * 250, `${read} rows read`)
})

/** The answer of whoever looks at each row. */
function answerOf(rows: readonly HistoryRow[], q: StatsQuestion): Map<string, number[]> {
  const buckets = bucketsOf(q, q.interval, q.zone, 10_000) ?? []
  const found = new Map<string, number[]>()
  const lastOf = new Map(rows.filter(({ kind }) => kind === 'ended').map(one => [one, one.carrier]))
  const endOf = new Map<string, HistoryRow>()
  for (const one of lastOf.keys()) endOf.set(`${one.id}`, one)
  for (const one of rows) {
    if (isNoTraffic(one)) continue
    const at = idTimeMs(one.id)
    const bucket = buckets.find(({ fromMs, toMs }) => at >= fromMs && at < toMs)
    if (bucket === undefined) continue
    const country = countryOf(digitsOf(one.destination))
    const isByCarrier = q.by.includes('carrier') || q.only.carrier !== undefined
    const end = endOf.get(`${one.id}`)
    const carrier = one.kind === 'accepted' ? (isByCarrier ? (end?.carrier ?? 0) : 0) : one.carrier
    const { only } = q
    if (only.account && !only.account.includes(one.account)) continue
    if (only.carrier && !only.carrier.includes(carrier)) continue
    if (only.country && !only.country.includes(country)) continue
    if (only.class && !only.class.includes(one.rank)) continue
    const has = (name: Dimension): boolean => q.by.includes(name)
    const key = [
      bucket.labelMs,
      has('account') ? one.account : null,
      has('carrier') ? carrier : null,
      has('country') ? country : null,
      has('class') ? one.rank : null,
    ].join()
    const counts = found.get(key) ?? [0, 0, 0, 0, 0, 0]
    found.set(key, counts)
    if (one.kind === 'accepted') {
      ;(counts[0] as number)++
      ;(counts[1] as number) += one.segments
      ;(counts[2] as number) += one.priceMicros
    } else if (one.kind === 'ended') {
      ;(counts[3] as number)++
      ;(counts[4] as number) += one.state === 2 ? 1 : 0
    } else (counts[5] as number)++
  }
  return found
}

/** Ids of a sample may meet: then nobody can say which end is whose. */
const withIdsApart = (rows: readonly HistoryRow[]): HistoryRow[] => {
  const first = new Map<number, string>()
  return rows.filter(one => {
    const mark = `${one.account} ${one.destination} ${one.segments} ${one.rank} ${one.route}`
    if (!first.has(one.id)) first.set(one.id, mark)
    return first.get(one.id) === mark
  })
}

t.test('any question, read in pages of any size, is answered as the rows themselves would', async t => {
  const url = await databases.database()
  const store = opened(t, url)
  await store.firstTry
  const rows = withIdsApart(sample(13))
  const stats = new Stats()
  // Most of it moved, the rest not yet.
  for (const some of [rows.slice(0, -50), rows.slice(-50)]) {
    await moveCells(store)
    stats.begin()
    for (const one of some) stats.take(one)
    await store.transaction(client => stats.write(client))
  }
  const past = new StatsPast(store, { hoursDays: 30, days: 60 }, () => NOON_MS)
  const question = fc.record({
    fromMs: fc.integer({ min: NOON_MS - 6 * DAY_MS, max: NOON_MS }),
    toMs: fc.integer({ min: NOON_MS - 6 * DAY_MS, max: NOON_MS + DAY_MS }),
    zone: fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Pacific/Auckland'),
    interval: fc.constantFrom('hour' as const, 'day' as const, 'week' as const, 'month' as const, 'none' as const),
    by: fc.subarray([...dimensions]),
    only: fc.record({
      account: fc.constantFrom(undefined, undefined, [1], [2, 3]),
      carrier: fc.constantFrom(undefined, undefined, [1], [1, 2]),
      country: fc.constantFrom(undefined, undefined, ['DE'], ['', 'US']),
      class: fc.constantFrom(undefined, undefined, [0], [1, 2]),
    }),
  })
  await fc.assert(
    fc.asyncProperty(question, fc.integer({ min: 1, max: 40 }), async (q, limit) => {
      const found = new Map<string, number[]>()
      for (let after: StatsKey | null = null, n = 0; ; n++) {
        const page: Awaited<ReturnType<StatsPast['page']>> = await past.page(q, after, limit)
        if (page.rows.length > limit) throw new Error('a page is longer than it may be')
        for (const { atMs, account, carrier, country, rank, counts } of page.rows) {
          const key = [atMs, account, carrier, country, rank].join()
          if (found.has(key)) throw new Error(`${key} comes twice`)
          const at = (i: number): number => counts[i] as number
          const told = [at(column.accepted), at(column.segments), at(column.price), endedOf(counts)]
          found.set(key, [...told, at(column.delivered), at(column.converted)])
        }
        after = page.next
        if (after === null || n > 2_000) break
      }
      assert.deepEqual(sorted(found), sorted(answerOf(rows, q)))
    }),
    { numRuns: process.env.LONG ? 1_000 : 60, seed: 4 },
  )
})

t.test('a day is as long as clocks make it, and begins when they first show it', t => {
  const hours = (date: string, zone: string): number =>
    ((momentOf(date, zone, true) as number) - (momentOf(date, zone, false) as number)) / HOUR_MS
  for (const [date, zone, wanted] of [
    ['2026-03-29', 'Europe/Berlin', 23],
    ['2026-10-25', 'Europe/Berlin', 25],
    ['2026-11-01', 'America/New_York', 25],
    ['2026-07-01', 'Europe/Berlin', 24],
    // At midnight it is one o'clock there.
    ['2026-09-06', 'America/Santiago', 23],
    ['2026-03-29', 'UTC', 24],
  ] as const) {
    t.equal(hours(date, zone), wanted, `${date} ${zone}`)
  }
  t.equal(
    momentText(momentOf('2026-09-06', 'America/Santiago', false) as number, 'America/Santiago'),
    '2026-09-06T01:00:00-03:00',
  )
  t.equal(momentText(startOf(Date.UTC(2026, 9, 25), 'Europe/Berlin'), 'Europe/Berlin'), '2026-10-25T00:00:00+02:00')
  t.equal(momentText(NOON_MS, 'Asia/Kolkata'), '2026-11-20T17:30:00+05:30')
  t.equal(momentText(NOON_MS, 'UTC'), '2026-11-20T12:00:00Z')
  for (const text of ['2026-02-30x', 'tomorrow', '20261120', '', '2026-02-31', '2026-02-31T10:00:00Z', '2026-13-01']) {
    t.equal(momentOf(text, 'UTC', false), undefined, text)
  }
  for (const text of ['0050-01-01', '1999-12-31', '3000-01-01', '0050-01-01T00:00:00Z', '9999-12-31T23:59:59Z']) {
    t.equal(momentOf(text, 'Europe/Berlin', true), undefined, text)
  }
  t.equal(momentText(momentOf('2999-12-31', 'Asia/Tokyo', true) as number, 'Asia/Tokyo'), '3000-01-01T00:00:00+09:00')
  t.equal(momentOf('2028-02-29T23:30:00+01:00', 'UTC', false), Date.UTC(2028, 1, 29, 22, 30))
  // Without an offset it is one of the zone that is asked for, not of the machine's.
  for (const [text, zone, wanted] of [
    ['2026-11-20T08:00', 'Asia/Kolkata', '2026-11-20T08:00:00+05:30'],
    ['2026-11-20T08:00:30.5', 'America/New_York', '2026-11-20T08:00:30-05:00'],
    ['2026-11-20T08:00:00', 'UTC', '2026-11-20T08:00:00Z'],
    ['2026-10-25T02:30:00', 'Europe/Berlin', '2026-10-25T02:30:00+02:00'],
    ['2026-03-29T02:30:00', 'Europe/Berlin', '2026-03-29T03:30:00+02:00'],
    ['2026-11-20T08:00:00Z', 'Asia/Kolkata', '2026-11-20T13:30:00+05:30'],
    ['2026-11-20T08:00:00-0100', 'UTC', '2026-11-20T09:00:00Z'],
  ] as const) {
    t.equal(momentText(momentOf(text, zone, true) ?? 0, zone), wanted, `${text} in ${zone}`)
  }
  for (const text of ['2026-11-20T08:00:00 01:00', '2026-11-20T08:00 PST', '2026-11-20T25:00']) {
    t.equal(momentOf(text, 'UTC', false), undefined, text)
  }
  const span = { fromMs: Date.UTC(2026, 9, 24, 22), toMs: Date.UTC(2026, 9, 26, 23) }
  const days = bucketsOf(span, 'day', 'Europe/Berlin', 10) as { fromMs: number; toMs: number }[]
  t.same(
    days.map(({ fromMs, toMs }) => (toMs - fromMs) / HOUR_MS),
    [25, 24],
  )
  const weeks = bucketsOf({ fromMs: NOON_MS - 10 * DAY_MS, toMs: NOON_MS }, 'week', 'UTC', 10)
  t.same(
    weeks?.map(({ labelMs }) => momentText(labelMs, 'UTC')),
    ['2026-11-09T00:00:00Z', '2026-11-16T00:00:00Z'],
    'from Monday',
  )
  t.equal(bucketsOf({ fromMs: 0, toMs: NOON_MS }, 'hour', 'UTC', 4_000), undefined, 'too many')
  t.end()
})

t.test('pieces of hours, days and weeks make up each bucket, and hours older than are kept are days', t => {
  const isMonday = (ms: number): boolean => new Date(ms).getUTCDay() === 1
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2_000 }),
      fc.integer({ min: 1, max: 1_200 }),
      fc.integer({ min: 0, max: 60 }),
      (first, many, kept) => {
        const span = { fromMs: first * HOUR_MS, toMs: (first + many) * HOUR_MS }
        const { hours, days, weeks } = piecesOf([span], kept * DAY_MS)
        const all = [...hours, ...days, ...weeks].sort((a, b) => a.fromMs - b.fromMs)
        const isOne = all.every(({ fromMs }, i) => i === 0 || fromMs === all[i - 1]?.toMs)
        const isWhole =
          isOne &&
          [...days, ...weeks].every(({ fromMs, toMs }) => fromMs % DAY_MS === 0 && toMs % DAY_MS === 0) &&
          weeks.every(({ fromMs, toMs }) => isMonday(fromMs) && isMonday(toMs)) &&
          days.every(({ fromMs, toMs }) => toMs - fromMs < 14 * DAY_MS) &&
          hours.length <= 2 &&
          days.length <= 2
        if (span.fromMs >= kept * DAY_MS) {
          return isWhole && all[0]?.fromMs === span.fromMs && all.at(-1)?.toMs === span.toMs
        }
        return isWhole && hours.every(({ fromMs }) => fromMs >= kept * DAY_MS)
      },
    ),
  )
  t.end()
})
