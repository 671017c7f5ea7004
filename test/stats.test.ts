// The counts of the analytics against the rows they are made of: whatever the rows, however they come in slices, and
// whatever fails in between, hours and days at each level say what one says who counts the rows themselves.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Client } from 'pg'
import t, { type Test } from 'tap'
import { ManualClock } from '../src/base/clock.js'
import { firstIdAt, idTimeMs } from '../src/base/ids.js'
import { digitsOf } from '../src/model/digits.js'
import type { MessageState } from '../src/model/message.js'
import { HistoryWriter } from '../src/returns/history.js'
import { dropOld, moveCells, Stats } from '../src/returns/stats.js'
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
import { SANDBOX_LANE } from '../src/routing/sandbox.js'
import type { HistoryRow, LogSlice } from '../src/spool/contract.js'
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
const STATES = [2, 2, 2, 2, 3, 4, 5, 7, 8, 9] as const

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
      tookMs: fc.oneof(
        fc.integer({ min: -5_000, max: 8_000_000 }),
        fc.constantFrom(1_000, 1_001, 3_600_000, Number.NaN),
      ),
      isEnded: fc.integer({ min: 0, max: 9 }).map(n => n > 1),
      isConverted: fc.boolean(),
      route: fc.constantFrom(1, 2, 3, SANDBOX_LANE),
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
      const atMs = m.ms + m.tookMs
      const ended = { kind: 'ended', carrier: m.carrier, state: m.state as MessageState, atMs } as const
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

/** The same counted by whoever has time: level, hour or day, account, carrier, country and class → counts. */
function naive(rows: readonly HistoryRow[]): Map<string, number[]> {
  const found = new Map<string, number[]>()
  for (const one of rows) {
    if (one.route === SANDBOX_LANE) continue
    const country = countryOf(digitsOf(one.destination))
    const carrier = one.kind === 'accepted' ? 0 : one.carrier
    for (const [table, spanMs, levels] of [
      ['hour', HOUR_MS, HOUR_LEVELS],
      ['day', DAY_MS, DAY_LEVELS],
    ] as const) {
      const at = Math.floor(idTimeMs(one.id) / spanMs) * spanMs
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
            8: 'rejected',
          }
          add(names[one.state] ?? 'unknown', 1)
          add('ended_segments', one.segments)
          add('ended_micros', one.priceMicros + one.backMicros)
          add('back_micros', one.backMicros)
          add('cost_micros', one.costMicros)
          if (one.state === 2) {
            const seconds = (one.atMs - idTimeMs(one.id)) / 1_000
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
  for (const table of ['hour', 'day']) {
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
        await db.query('truncate stats_fresh, stats_hour, stats_day')
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
    ...{ spool: log, store, node: 0, retentionDays: 30, log: silent },
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
    ...{ spool: log, store, node: 0, retentionDays: 30, log: silent },
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
  t.equal((await db.query(`select from stats_day where hour < $1`, [new Date(today - 2 * DAY_MS)])).rowCount, 0)
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

t.test('a day that history has no more is not wiped because of a message that came as it ended', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  await store.firstTry
  const today = Math.floor(NOON_MS / DAY_MS) * DAY_MS
  // Its id is of yesterday, its row of today: by rows history drops its days.
  const late = row(firstIdAt(today - 1), { atMs: today + 1 })
  const rows = [...whole([today - HOUR_MS, today - 2 * HOUR_MS, today + HOUR_MS]), late]
  const log = new TestLog(rows)
  const writer = new HistoryWriter({
    ...{ spool: log, store, node: 0, retentionDays: 30, log: silent },
    parts: [new Stats()],
  })
  t.teardown(() => writer.stop())
  writer.start()
  await log.drained()
  await moveCells(store)
  await db.query('delete from history where at < $1', [new Date(today)])
  const days: string[] = []
  await rebuildStats(store, { fromMs: 0, toMs: NOON_MS }, ({ day }) => days.push(day))
  t.same(days, ['2026-11-20'])
  t.same(sorted(await stored(db)), sorted(naive(rows)))
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
      ...{ spool: log, store, node: 0, retentionDays: 30, log: silent },
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
    if (one.route === SANDBOX_LANE) continue
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

t.test('pieces of hours and days make up each bucket, and hours older than are kept are days', t => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2_000 }),
      fc.integer({ min: 1, max: 500 }),
      fc.integer({ min: 0, max: 60 }),
      (first, many, kept) => {
        const span = { fromMs: first * HOUR_MS, toMs: (first + many) * HOUR_MS }
        const { hours, days } = piecesOf([span], kept * DAY_MS)
        const length = [...hours, ...days].reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, 0)
        const isWhole = days.every(({ fromMs, toMs }) => fromMs % DAY_MS === 0 && toMs % DAY_MS === 0)
        if (span.fromMs >= kept * DAY_MS) return isWhole && length === span.toMs - span.fromMs
        return isWhole && hours.every(({ fromMs }) => fromMs >= kept * DAY_MS)
      },
    ),
  )
  t.end()
})
