// How long questions of the analytics take over a history of ten million messages in 90 days: 200 accounts, 8 carriers and 40
// countries, some of each far busier than others. The counts are made in SQL as slices of history would have made them. Run
// by hand: node dist/scripts/bench/statsQuestions.js [MESSAGES]

import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLog } from '../../src/base/log.js'
import { added, DAY_LEVELS, HOUR_LEVELS } from '../../src/returns/statsColumns.js'
import { type Dimension, StatsPast, type StatsQuestion } from '../../src/returns/statsPast.js'
import { bucketsOf } from '../../src/returns/statsTime.js'
import { openStore } from '../../src/store/postgres.js'

const DAY_MS = 86_400_000
const DAYS = 90
const TIMES = 20
const TICK_MS = 10
const messages = Number(process.argv[2] ?? 10_000_000)
const COUNTRIES =
  'DE,AT,CH,FR,IT,ES,GB,NL,BE,PL,CZ,US,CA,BR,MX,AR,IN,PK,BD,ID,PH,VN,TH,MY,SG,JP,KR,CN,AU,NZ,ZA,NG,KE,GH,EG,MA,TR,SA,AE,IL'
const toMs = Math.floor(Date.now() / DAY_MS) * DAY_MS
const fromMs = toMs - DAYS * DAY_MS

/** An account has countries and a class of its own, a country a carrier that takes most. */
const SEED = `
  create temporary table cells as
  with drawn as (
    select $1::timestamptz + make_interval(hours => (random() * ${DAYS * 24} - 0.5)::int) as hour,
      1 + floor(200 * power(random(), 2))::int as account, random() as c, power(random(), 2) as d, random() as e, random() as f
    from generate_series(1, $2)),
  placed as (
    select *, (case when c < 0.9 then (account * 7 + floor(4 * d))::int % 40 else floor(40 * d)::int end) as place,
      (case when e < 0.8 then account % 3 else floor(e * 100)::int % 3 end)::smallint as rank
    from drawn),
  sent as (
    select hour, account, rank, (string_to_array('${COUNTRIES}', ','))[1 + place] as country,
      1 + (case when f < 0.75 then place % 8 when f < 0.95 then (place + 1) % 8 else floor(d * 8)::int end) as carrier
    from placed),
  ended as (
    select hour, account, carrier, country, rank, count(*) as n from sent group by 1, 2, 3, 4, 5)
  select *, date_trunc('day', hour at time zone 'UTC') at time zone 'UTC' as day,
    date_trunc('week', hour at time zone 'UTC') at time zone 'UTC' as week from (
    select hour, account, 0 as carrier, country, rank, sum(n)::int as accepted, sum(n)::int as segments,
      sum(n)::bigint * 50000 as price_micros, null::int as delivered, null::int as undeliverable, null::int as expired,
      null::int as rejected, null::int as deleted, null::int as unknown, null::int as unreported,
      null::int as ended_segments, null::bigint as ended_micros, null::bigint as back_micros, null::bigint as cost_micros,
      null::int as took_0, null::int as took_1, null::int as took_2, null::int as took_3, null::int as took_4,
      null::int as took_5, null::int as took_6, null::int as took_7, null::int as took_8, null::int as took_9,
      null::int as took_10, null::int as took_11, null::int as took_12, null::int as converted
    from ended group by 1, 2, 4, 5
    union all
    select hour, account, carrier, country, rank, null, null, null, (n - n / 10)::int, nullif((n / 10)::int, 0), null, null,
      null, null, null, n::int, n * 50000, null, n * 30000, null, null, (n / 2)::int, (n - n / 10 - n / 2)::int, null, null, null,
      null, null, null, null, null, null, case when rank = 0 then (n / 2)::int end
    from ended) all_of_it`

const q = (by: string, more: Partial<StatsQuestion> = {}): StatsQuestion => ({
  ...{ fromMs, toMs, zone: 'UTC', interval: 'none', only: {} },
  by: by.split(',').filter(one => one !== '') as Dimension[],
  ...more,
})
const account = { account: [2] }
const questions: [name: string, question: StatsQuestion][] = [
  ['all', q('')],
  ...[
    'account',
    'carrier',
    'country',
    'class',
    'account,class',
    'carrier,country',
    'account,carrier',
    'account,country',
  ].map(by => [`by ${by}`, q(by)] as [string, StatsQuestion]),
  ['by account,carrier,country,class', q('account,carrier,country,class')],
  ['by account, of DE', q('account', { only: { country: ['DE'] } })],
  ['by account, of a carrier', q('account', { only: { carrier: [3] } })],
  ['by account, of a carrier, DE and otp', q('account', { only: { carrier: [3], country: ['DE'], class: [0] } })],
  ['by country, of an account', q('country', { only: account })],
  ['by carrier,country,class, of an account', q('carrier,country,class', { only: account })],
  ['by day, Europe/Berlin', q('', { interval: 'day', zone: 'Europe/Berlin' })],
  ['by day and country, Asia/Kolkata', q('country', { interval: 'day', zone: 'Asia/Kolkata' })],
  ['by day and account, America/New_York', q('account', { interval: 'day', zone: 'America/New_York' })],
  ['by day and country, of an account', q('country', { interval: 'day', zone: 'Europe/Berlin', only: account })],
  ['by day and carrier, of DE', q('carrier', { interval: 'day', zone: 'Europe/Berlin', only: { country: ['DE'] } })],
  ['by month and account', q('account', { interval: 'month', zone: 'Europe/Berlin' })],
  ['by week and account,country', q('account,country', { interval: 'week', zone: 'Europe/Berlin' })],
  ['by hour, a week', q('', { interval: 'hour', fromMs: toMs - 7 * DAY_MS })],
  [
    'by hour and country, of an account, a week',
    q('country', { interval: 'hour', fromMs: toMs - 7 * DAY_MS, only: account }),
  ],
  ['by hour, 90 days', q('', { interval: 'hour' })],
]

const dataDir = mkdtempSync(join(tmpdir(), 'trunkline-stats-'))
// The server runs as a user of its own, and what it writes goes with this directory.
chmodSync(dataDir, 0o711)
const store = openStore({ url: null, dataDir, log: createLog({ level: 'error', pretty: false }) })
/** What the database and we have computed, in ms: on a machine that others use, too, the better measure. */
function cpuMs(): number {
  const postmaster = readFileSync(join(dataDir, 'postgres/cluster/data/postmaster.pid'), 'utf8').split('\n')[0]
  const { user, system } = process.cpuUsage()
  let ticks = 0
  for (const entry of readdirSync('/proc').filter(name => /^\d+$/.test(name))) {
    try {
      const fields = readFileSync(`/proc/${entry}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ')
      if (fields[1] === postmaster) ticks += Number(fields[11]) + Number(fields[12])
    } catch {
      // It ended while we looked.
    }
  }
  return ticks * TICK_MS + (user + system) / 1_000
}

const seconds = (sinceMs: number): string => ((performance.now() - sinceMs) / 1_000).toFixed(1)
try {
  await store.firstTry
  const sinceMs = performance.now()
  await store.transaction(async client => {
    await client.query("set local work_mem = '512MB'; set local jit = off")
    await client.query(SEED, [new Date(fromMs), messages])
    console.log(`${messages} messages drawn in ${seconds(sinceMs)} s`)
    // As a restored database would: rows first, and keys to find them by when all are there.
    const { rows: indexes } = await client.query<{ name: string; made: string }>(
      `select indexname as name, indexdef as made from pg_indexes
      where tablename ~ '^stats_(hour|day|week)_\\d$' and indexname !~ 'pkey'`,
    )
    for (const { name } of indexes) await client.query(`drop index ${name}`)
    for (const [table, levels] of [
      ['stats_hour', HOUR_LEVELS],
      ['stats_day', DAY_LEVELS],
      ['stats_week', DAY_LEVELS],
    ] as const) {
      await client.query(`alter table ${table} drop constraint ${table}_pkey`)
      for (const level of levels) await client.query(`alter table ${table}_${level} set unlogged`)
      await client.query(added(table, levels).replace(/on conflict[\s\S]*/, ''))
      await client.query(`alter table ${table} add primary key (level, hour, account, carrier, country, rank)`)
      console.log(`${table} after ${seconds(sinceMs)} s`)
    }
    for (const { made } of indexes) await client.query(made)
    await client.query('drop table cells')
  })
  await store.query('vacuum analyze')
  const { rows: sizes } = await store.query<{ name: string; rows: number; size: string }>(
    `select relname as name, reltuples::bigint as rows, pg_size_pretty(pg_total_relation_size(oid)) as size
    from pg_class where relname ~ '^stats_(hour|day|week)_\\d$' order by 1`,
  )
  for (const { name, rows, size } of sizes) console.log(`${name} ${rows} rows ${size}`)
  console.log(`seeded in ${seconds(sinceMs)} s`)
  const past = new StatsPast(store, { hoursDays: 100, days: 1_830 }, () => toMs)
  const all: number[] = []
  for (const [name, question] of questions) {
    const took: number[] = []
    let rows = 0
    const beforeMs = cpuMs()
    for (let i = 0; i < TIMES; i++) {
      const fromMs = performance.now()
      rows = (await past.page(question, null, 200)).rows.length
      took.push(performance.now() - fromMs)
    }
    const computed = ((cpuMs() - beforeMs) / TIMES).toFixed(1).padStart(7)
    all.push(...took)
    took.sort((a, b) => a - b)
    const of = bucketsOf(question, question.interval, question.zone, 10_000)?.length
    const at = (share: number): string => (took[Math.floor(share * (TIMES - 1))] as number).toFixed(1).padStart(8)
    console.log(
      `${name.padEnd(46)} ${String(rows).padStart(5)} rows, ${String(of).padStart(4)} spans, p50${at(0.5)} ms, most${at(1)} ms, computed${computed} ms`,
    )
  }
  all.sort((a, b) => a - b)
  console.log(
    `all questions: p50 ${all[Math.floor(all.length / 2)]?.toFixed(1)} ms, p99 ${all[Math.floor(all.length * 0.99)]?.toFixed(1)} ms`,
  )
} finally {
  await store.close()
  rmSync(dataDir, { recursive: true, force: true })
}
