// The partitions of history, one a day in UTC: made ahead of time, dropped whole when they
// are old. Rows that came before their day was made are moved into it. Knows tables and
// dates; `now` is given.

import type { SqlClient, Store } from '../store/postgres.js'

const DAY_MS = 86_400_000
/** Days made ahead: how long nobody need look after it. Yesterday's rows may be late. */
const AHEAD = 3
const BEHIND = 1
/** As name of a lock: nodes do this one after the other. */
const LOCK = 5494788
/** A partition's change stops all writers for a moment: not for longer than this. */
const LOCK_TIMEOUT = '2s'

/** Makes the days that are missing and drops those older than `retentionDays`. Throws when SQL fails; then the next time does it. */
export async function keepDays(store: Store, nowMs: number, retentionDays: number): Promise<void> {
  const today = Math.floor(nowMs / DAY_MS)
  const first = today - retentionDays
  await inLock(store, async client => {
    await client.query('delete from history_default where at < $1', [startOf(first)])
    const wanted = new Set(await strayDays(client, first, today + AHEAD))
    for (let day = Math.max(first, today - BEHIND); day <= today + AHEAD; day++) wanted.add(day)
    const present = await days(client)
    for (const day of wanted) if (!present.has(day)) await makeDay(client, day)
  })
  for (const day of await store.withClient(days)) {
    if (day < first) await inLock(store, client => client.query(`drop table if exists ${nameOf(day)}`))
  }
}

/** The database looks at a day's rows anew. */
export async function lookAtDay(store: Store, nowMs: number): Promise<void> {
  await store.query(`analyze ${nameOf(Math.floor(nowMs / DAY_MS))}`)
}

function inLock<T>(store: Store, work: (client: SqlClient) => Promise<T>): Promise<T> {
  return store.transaction(async client => {
    await client.query(`set local lock_timeout = '${LOCK_TIMEOUT}'`)
    await client.query('select pg_advisory_xact_lock($1)', [LOCK])
    return work(client)
  })
}

/** Made apart and attached whole: so only the default partition is locked. */
async function makeDay(client: SqlClient, day: number): Promise<void> {
  const name = nameOf(day)
  const [from, to] = [startOf(day), startOf(day + 1)]
  await client.query(`create table ${name} (like history including all)`)
  await client.query(
    `with moved as (delete from history_default where at >= $1 and at < $2 returning *)
    insert into ${name} select * from moved`,
    [from, to],
  )
  await client.query(
    `alter table history attach partition ${name} for values from ('${from.toISOString()}') to ('${to.toISOString()}')`,
  )
}

/** Days of which the default partition holds rows. */
async function strayDays(client: SqlClient, first: number, last: number): Promise<number[]> {
  const { rows } = await client.query<{ day: number }>(
    `select distinct floor(extract(epoch from at) / 86400)::int as day from history_default
    where at >= $1 and at < $2`,
    [startOf(first), startOf(last + 1)],
  )
  return rows.map(row => row.day)
}

/** Days that have a partition. */
async function days(client: SqlClient): Promise<Set<number>> {
  const { rows } = await client.query<{ name: string }>(
    `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'history'::regclass`,
  )
  const found = new Set<number>()
  for (const { name } of rows) {
    const date = /^history_(\d{4})(\d\d)(\d\d)$/.exec(name)
    if (date) found.add(Date.UTC(Number(date[1]), Number(date[2]) - 1, Number(date[3])) / DAY_MS)
  }
  return found
}

const startOf = (day: number): Date => new Date(day * DAY_MS)
const nameOf = (day: number): string => `history_${startOf(day).toISOString().slice(0, 10).replaceAll('-', '')}`
