// The writer of history against a real PostgreSQL that goes away, is cut off in the middle of
// a commit, and comes back: every row once, as it was.

import fc from 'fast-check'
import type { Client } from 'pg'
import t, { type Test } from 'tap'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { firstIdAt } from '../src/base/ids.js'
import type { MessageState } from '../src/model/message.js'
import { HistoryWriter } from '../src/returns/history.js'
import { keepDays } from '../src/returns/historyDays.js'
import { Past } from '../src/returns/past.js'
import type { HistoryRow, LogFilter, LogSlice } from '../src/spool/contract.js'
import type { Origin, Run } from '../src/spool/origin.js'
import { openStore, type Store } from '../src/store/postgres.js'
import { connect, silent, someDatabases, Way } from './support/postgres.js'

const DAY_MS = 86_400_000
const NOON_MS = Date.UTC(2026, 10, 20, 12)

const databases = await someDatabases()
t.teardown(() => databases.close())

let runsEver = 0

/** The log of a spool, in memory. */
class TestLog {
  readonly identity: string
  readonly clock = new ManualClock(NOON_MS)
  /** Of this opening. */
  origin: Origin
  /** What the next opening finds. */
  renamed: string | undefined
  dropped = 0
  /** Called after each drop. */
  onDrop: () => void = () => {}
  private rows: HistoryRow[]
  private runs: Run[] = [{ name: '', end: 0 }]

  constructor(identity: string, rows: readonly HistoryRow[] = []) {
    this.identity = identity
    this.rows = [...rows]
    this.origin = this.opened()
  }

  /** The directory at this moment, as somebody copies it, or as the next start finds it after a kill. */
  copied(): TestLog {
    const copy = new TestLog(this.renamed ?? this.identity, this.rows)
    copy.dropped = this.dropped
    copy.runs = this.renamed === undefined ? [...this.runs] : [{ name: '', end: 0 }]
    copy.origin = copy.opened()
    return copy
  }

  private opened(): Origin {
    const run: Run = { name: `run ${++runsEver}`, end: this.rows.length }
    this.runs.push(run)
    return {
      ...{ dropped: this.dropped, run: run.name, runs: [...this.runs] },
      isKnown: async () => {
        this.runs = [run]
      },
      rename: async identity => {
        this.renamed = identity
      },
    }
  }

  append(rows: readonly HistoryRow[]): void {
    this.rows = [...this.rows, ...rows]
  }

  get end(): number {
    return this.rows.length
  }

  readLog(after: number, maxRows: number, { id, account }: LogFilter = {}): LogSlice | undefined {
    const from = Math.max(after, this.dropped)
    const rows = this.rows.slice(from, from + maxRows)
    const asked = rows.filter(row => row.account === (account ?? row.account) && row.id === (id ?? row.id))
    return rows.length === 0 ? undefined : { position: from + rows.length, rows: asked }
  }

  dropLog(position: number): void {
    this.dropped = position
    this.onDrop()
  }

  /** Resolves when everything appended is dropped: it is in SQL. */
  drained(): Promise<void> {
    return new Promise(resolve => {
      const look = (): void => {
        if (this.dropped >= this.end) resolve()
      }
      this.onDrop = look
      look()
    })
  }
}

const row = (n: number, more: Partial<HistoryRow> = {}): HistoryRow => ({
  kind: n % 2 === 0 ? 'accepted' : 'ended',
  atMs: NOON_MS + n,
  id: firstIdAt(NOON_MS) + n,
  account: 7,
  rank: 1,
  state: 2,
  source: 'ACME',
  destination: '491711234567',
  route: 3,
  carrier: 4,
  segments: 2,
  priceMicros: 12_000,
  backMicros: 0,
  costMicros: 0,
  tookMs: null,
  isHeld: false,
  error: '',
  clientRef: `ref ${n}`,
  ...more,
})

const rowsFrom = (from: number, count: number): HistoryRow[] => Array.from({ length: count }, (_, i) => row(from + i))

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

/** A writer, the errors that it tells of, and what it counts. */
function telling(t: Test, spool: TestLog, store: Store) {
  const errors: object[] = []
  const counters = new Counters()
  const log = { ...silent, error: (fields: object) => void errors.push(fields) }
  const writer = new HistoryWriter({ spool, store, node: 0, retentionDays: 30, counters, log })
  t.teardown(() => writer.stop())
  const renamed = new Promise<void>(resolve => {
    writer.onRenamed = resolve
  })
  writer.start()
  return { writer, errors, counters, renamed }
}

function writing(t: Test, log: TestLog, store: Store, retentionDays = 30): HistoryWriter {
  const writer = new HistoryWriter({ spool: log, store, node: 0, retentionDays, counters: new Counters(), log: silent })
  t.teardown(() => writer.stop())
  writer.start()
  return writer
}

const idsIn = async (db: Client): Promise<number[]> =>
  (await db.query('select id from history order by id')).rows.map(found => Number(found.id))

t.test('rows arrive as they were, whatever their texts hold, and once', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const log = new TestLog('one')
  const writer = writing(t, log, opened(t, url))
  const text = fc.oneof(
    fc.string({ maxLength: 20 }),
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.constantFrom('\0', 'a\0b', '\ud800', '\\N', '\t\n\\.', 'ÿ', '日本'),
  )
  const rows = fc.sample(
    fc.record({
      kind: fc.constantFrom('accepted' as const, 'ended' as const),
      atMs: fc.integer({ min: 0, max: 9_000_000_000_000 }),
      id: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      account: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      rank: fc.nat(2),
      state: fc.nat(9).map(state => state as MessageState),
      source: text,
      destination: text,
      route: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      carrier: fc.nat(1000),
      segments: fc.nat(255),
      priceMicros: fc.integer({ min: -(2 ** 52), max: 2 ** 52 }),
      backMicros: fc.integer({ min: -(2 ** 52), max: 2 ** 52 }),
      costMicros: fc.integer({ min: 0, max: 2 ** 52 }),
      tookMs: fc.constantFrom(null, 0, 1_500, 2 ** 31 - 1),
      isHeld: fc.boolean(),
      error: text,
      clientRef: text,
    }),
    2500,
  )
  const unique = [...new Map(rows.map(one => [one.id, one])).values()]
  log.append(unique)
  writer.wake()
  await log.drained()
  const known = new Map(unique.map(one => [String(one.id), one]))
  const stored = (text: string): string => Buffer.from(text.replaceAll('\0', '')).toString()
  const found = await db.query(`select *, extract(epoch from at) * 1000 as ms from history`)
  t.equal(found.rowCount, unique.length)
  const wrong = found.rows.filter(got => {
    const one = known.get(got.id) as HistoryRow
    const wanted = [
      one.kind[0],
      one.atMs,
      one.account,
      one.rank,
      one.state,
      stored(one.source),
      stored(one.destination),
      one.route,
      one.carrier,
      one.segments,
      one.priceMicros,
      stored(one.error),
      stored(one.clientRef),
      one.backMicros,
      one.costMicros,
      one.tookMs,
      Math.floor(one.id / 128) % 64,
    ]
    const is = [
      got.kind,
      Number(got.ms),
      got.account,
      got.rank,
      got.state,
      got.source,
      got.destination,
      got.route,
      got.carrier,
      got.segments,
      Number(got.price_micros),
      got.error,
      got.client_ref,
      Number(got.back_micros),
      Number(got.cost_micros),
      got.took_ms,
      got.node,
    ]
    return JSON.stringify(is) !== JSON.stringify(wanted)
  })
  t.same(wrong, [])
  t.equal(writer.figures.rows, unique.length)
})

t.test('rows whose numbers make no sense are stored all the same', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const log = new TestLog('nonsense')
  const writer = writing(t, log, opened(t, url))
  log.append([row(1, { atMs: Number.NaN }), row(2, { atMs: 1e300, account: 2 ** 32 - 1, segments: 300 }), row(3)])
  writer.wake()
  await log.drained()
  t.same(
    await idsIn(db),
    [1, 2, 3].map(n => firstIdAt(NOON_MS) + n),
  )
})

t.test('killed between the commit and the drop, the next start stores nothing twice', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const log = new TestLog('killed')
  log.append(rowsFrom(0, 3000))
  const first = writing(t, log, opened(t, url))
  await log.drained()
  await first.stop()
  // The drop was lost with the process: the log is as it was.
  log.dropped = 0
  log.append(rowsFrom(3000, 10))
  const found = log.copied()
  const second = writing(t, found, opened(t, url))
  await found.drained()
  t.equal(found.dropped, 3010)
  t.equal(second.figures.rows, 10)
  t.same(
    await idsIn(db),
    rowsFrom(0, 3010).map(one => one.id),
  )
  // Another spool's log begins at its own beginning.
  const other = new TestLog('another')
  other.append(rowsFrom(5000, 5))
  writing(t, other, opened(t, url))
  await other.drained()
  t.equal((await idsIn(db)).length, 3015)
})

t.test(
  'the database away, gone in the middle of the rows, or gone with the answer to COMMIT: every row once',
  async t => {
    const url = await databases.database()
    const db = await reader(t, url)
    const way = await Way.to(url)
    t.teardown(() => way.close())
    const log = new TestLog('away')
    const store = opened(t, way.url)
    const writer = writing(t, log, store)
    log.append(rowsFrom(0, 2000))
    writer.wake()
    await t.rejects(store.firstTry)
    t.equal(log.dropped, 0, 'without SQL the log keeps its rows')
    await way.open()
    await log.drained()
    t.equal((await idsIn(db)).length, 2000)

    // In the middle of the rows: nothing holds.
    let cuts = 0
    way.inspect = chunk => {
      const isRows = chunk.includes('491711234567')
      if (isRows) cuts++
      return !isRows || cuts > 1
    }
    log.append(rowsFrom(2000, 9000))
    writer.wake()
    await log.drained()
    t.ok(cuts > 0, 'the connection was cut')
    t.equal((await idsIn(db)).length, 11_000)

    // The server commits and the answer is lost: all holds, and we do not know it.
    let commits = 0
    way.inspect = chunk => !chunk.includes('commit') || commits++ > 0
    log.append(rowsFrom(11_000, 100))
    writer.wake()
    await log.drained()
    t.ok(commits > 0)
    t.same(
      await idsIn(db),
      rowsFrom(0, 11_100).map(one => one.id),
    )
    t.ok(writer.figures.failures > 0)
    t.equal(log.dropped, 11_100)
  },
)

t.test('a database that is older than the spool is told of with what it misses, and history goes on', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  const before = new TestLog('old', rowsFrom(0, 100))
  const first = writing(t, before, store)
  await before.drained()
  await first.stop()
  await db.query('delete from spool_runs')
  await db.query(`update spool_position set position = 40, writer = 'before'`)
  const log = before.copied()
  log.append(rowsFrom(100, 10))
  const { writer, errors, counters } = telling(t, log, store)
  await log.drained()
  t.match(errors, [{ missing: 60, position: 40 }])
  t.equal(counters.get('history_rows_missing'), 60)
  t.equal((await idsIn(db)).length, 110)
  // Another one took its place while we run, and has never heard of this run.
  await db.query(`update spool_position set position = 5, writer = 'before'`)
  log.append(rowsFrom(110, 10))
  writer.wake()
  await log.drained()
  t.match(errors.slice(1), [{ missing: 105, position: 5 }])
  // Or it has, and lost what came afterwards.
  await db.query(`update spool_position set position = 119`)
  log.append(rowsFrom(120, 10))
  writer.wake()
  await log.drained()
  t.match(errors.slice(2), [{ missing: 1, position: 119 }])
  t.equal((await idsIn(db)).length, 130)
  t.notOk(writer.isRenamed)
  t.same((await db.query('select position::int from spool_position')).rows, [{ position: 130 }])
})

t.test(
  'the answer to the first COMMIT of a run lost: it is ours all the same, and every row is there once',
  async t => {
    const url = await databases.database()
    const way = await Way.to(url)
    t.teardown(() => way.close())
    await way.open()
    const log = new TestLog('first')
    log.append(rowsFrom(0, 50))
    let commits = 0
    const store = opened(t, way.url)
    await store.firstTry
    way.inspect = chunk => !chunk.includes('commit') || commits++ > 0
    const { errors, writer } = telling(t, log, store)
    await log.drained()
    t.ok(commits > 1)
    t.same([errors, writer.isRenamed], [[], false])
    const db = await reader(t, url)
    t.equal((await idsIn(db)).length, 50)
  },
)

t.test(
  'of copies of a spool each writes the rows that are its own, whichever learns when that there are others',
  async t => {
    const url = await databases.database()
    const db = await reader(t, url)
    const store = opened(t, url)
    const begin = new TestLog('copied', rowsFrom(0, 100))
    const first = writing(t, begin, store)
    await begin.drained()
    await first.stop()
    // Killed with rows that are not in SQL, and copied.
    begin.append(rowsFrom(100, 10))
    const ours = begin.copied()
    let theirs = begin.copied()
    // Taken in by a run that never reached the database.
    theirs.append(rowsFrom(900, 7))
    for (const from of [1_000, 2_000]) {
      theirs = theirs.copied()
      const their = telling(t, theirs, store)
      theirs.append(rowsFrom(from, 20))
      await theirs.drained()
      await their.writer.stop()
      t.same(their.errors, [], 'the first to write goes on under the name')
    }
    // Ours has more than theirs had, and theirs wrote on past that.
    ours.append(rowsFrom(3_000, 30))
    let found = ours.copied()
    const our = telling(t, found, store)
    await our.renamed
    t.match(our.errors, [{ identity: 'copied', position: 110, renamed: found.renamed }])
    t.equal(our.counters.get('history_identity_renewed'), 1)
    await our.writer.stop()
    t.equal((await idsIn(db)).length, 157, 'under the old name nothing more is written')
    t.equal(found.dropped, ours.dropped, 'and nothing is dropped')
    found = found.copied()
    const again = telling(t, found, store)
    await found.drained()
    t.same(again.errors, [])
    const rows = [
      rowsFrom(0, 110),
      rowsFrom(900, 7),
      rowsFrom(1_000, 20),
      rowsFrom(2_000, 20),
      rowsFrom(3_000, 30),
    ].flat()
    t.same(
      await idsIn(db),
      rows.map(({ id }) => id),
    )
  },
)

t.test('a spool that was set back goes on under a new name, also where that could not be written at first', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  const log = new TestLog('set back', rowsFrom(0, 10))
  const first = telling(t, log, store)
  await log.drained()
  // Copied while it runs, by the same run.
  const restored = log.copied()
  log.append(rowsFrom(10, 90))
  first.writer.wake()
  await log.drained()
  await first.writer.stop()

  // Its first run does not reach the database.
  restored.append(rowsFrom(500, 5))
  const backup = restored.copied()
  let tries = 0
  const { origin } = backup
  backup.origin = {
    ...origin,
    rename: async name => (tries++ === 0 ? Promise.reject(new Error('no')) : origin.rename(name)),
  }
  const second = telling(t, backup, store)
  await second.renamed
  t.equal(tries, 2)
  t.match(second.errors, [{ position: 10 }])
  const third = backup.copied()
  third.append(rowsFrom(600, 5))
  t.same(telling(t, third, store).errors, [])
  await third.drained()
  const rows = [rowsFrom(0, 100), rowsFrom(500, 5), rowsFrom(600, 5)].flat()
  t.same(
    await idsIn(db),
    rows.map(({ id }) => id),
  )
  const known = await db.query('select spool, position::int from spool_position order by position')
  t.same(known.rows, [
    { spool: backup.renamed, position: 20 },
    { spool: 'set back', position: 100 },
  ])
})

t.test('one that has nothing to write finds out as well that a copy of it does', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  const ours = new TestLog('idle', rowsFrom(0, 10))
  const our = telling(t, ours, store)
  await ours.drained()
  const theirs = ours.copied()
  theirs.append(rowsFrom(1_000, 10))
  const their = telling(t, theirs, store)
  await theirs.drained()
  t.notOk(our.writer.isRenamed)
  ours.clock.advance(5_000)
  our.writer.wake()
  await our.renamed
  t.match([our.errors, their.errors], [[{ position: 10 }], []])
  t.equal((await idsIn(db)).length, 20)
})

t.test('days are made ahead, take in what came before them, and are dropped when they are old', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const store = opened(t, url)
  await store.firstTry
  const partitions = async (): Promise<string[]> =>
    (
      await db.query(
        `select relname from pg_class where relispartition and relkind = 'r' and relname like 'history%' order by 1`,
      )
    ).rows.map(found => found.relname)
  await db.query(
    `insert into history select t, 1, 0, 1, 1, 1, 0, 1, 1, 2, 'a', '', '', '', ''
    from unnest($1::timestamptz[]) t`,
    [
      [
        new Date(NOON_MS - 40 * DAY_MS),
        new Date(NOON_MS - 5 * DAY_MS),
        new Date(NOON_MS),
        new Date(NOON_MS + 900 * DAY_MS),
      ],
    ],
  )
  await Promise.all(Array.from({ length: 3 }, () => keepDays(store, NOON_MS, 30)))
  t.same(await partitions(), [
    'history_20261115',
    'history_20261119',
    'history_20261120',
    'history_20261121',
    'history_20261122',
    'history_20261123',
    'history_default',
  ])
  t.equal((await db.query('select from history_20261115')).rowCount, 1)
  t.equal((await db.query('select from history_20261120')).rowCount, 1)
  t.equal((await db.query('select from history_default')).rowCount, 1, 'what is far ahead waits for its day')
  t.equal((await db.query('select from history')).rowCount, 3, 'what is too old is gone')
  const plan = await db.query(`explain select from history where id = 1 and at >= '2026-11-20' and at < '2026-11-21'`)
  t.match(JSON.stringify(plan.rows), /history_20261120/)

  await keepDays(store, NOON_MS + 32 * DAY_MS, 30)
  t.same((await partitions()).slice(0, 3), ['history_20261122', 'history_20261123', 'history_20261221'])
  t.equal((await db.query('select from history')).rowCount, 1)
})

t.test('the database is told to look at a day that has begun, before its own upkeep does', async t => {
  const url = await databases.database()
  const db = await reader(t, url)
  const log = new TestLog('looks')
  const writer = writing(t, log, opened(t, url))
  const known = async (): Promise<number> =>
    Number((await db.query("select reltuples from pg_class where relname = 'history_20261120'")).rows[0]?.reltuples)
  log.append(rowsFrom(0, 400))
  writer.wake()
  await log.drained()
  t.equal(await known(), -1, 'few rows are read at once anyway')
  log.append(rowsFrom(400, 400))
  writer.wake()
  await log.drained()
  await writer.stop()
  t.equal(await known(), 800)
})

t.test('the loop is free between two pieces of a long log, and stop ends after the running slice', async t => {
  const url = await databases.database()
  const log = new TestLog('long')
  log.append(rowsFrom(0, 60_000))
  let turns = 0
  let isOver = false
  const turn = (): void => {
    turns++
    if (!isOver) setImmediate(turn)
  }
  const dropped = new Promise<void>(resolve => {
    log.onDrop = resolve
  })
  const store = opened(t, url)
  await store.firstTry
  turn()
  const writer = writing(t, log, store)
  await dropped
  const stopped = writer.stop()
  await stopped
  isOver = true
  t.ok(turns >= 20, `${turns} turns of the loop in ${log.dropped} rows`)
  t.ok(log.dropped >= 20_000 && log.dropped < 60_000, 'a slice, or two, not all')
  const db = await reader(t, url)
  t.equal((await idsIn(db)).length, log.dropped)
})

t.test('ends are told page by page in the order of their moments, whether they are in SQL yet or not', async t => {
  const url = await databases.database()
  const log = new TestLog('one')
  const store = opened(t, url)
  const writer = writing(t, log, store)
  // Several at one moment; those of another account and mere acceptances are none of it.
  const ends = Array.from({ length: 40 }, (_, n) => row(2 * n + 1, { atMs: NOON_MS + Math.floor(n / 3) }))
  const others = [row(101, { account: 8 }), row(102), row(103, { atMs: NOON_MS - 1 }), row(105, { atMs: NOON_MS + 99 })]
  log.append([...ends.slice(0, 25), ...others])
  await log.drained()
  await writer.stop()
  log.append(ends.slice(20))
  const past = new Past({ synced: async () => {}, readLog: (after, most, of) => log.readLog(after, most, of) }, store)
  const found: number[] = []
  for (let after = { atMs: 0, id: 0 }; ; ) {
    const page = await past.ends(7, NOON_MS, NOON_MS + 50, after, 7)
    found.push(...page.map(({ id }) => id))
    const last = page.at(-1)
    if (last === undefined) break
    after = last
  }
  t.same(
    found,
    ends.map(({ id }) => id),
  )
})
