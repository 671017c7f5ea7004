// Events that no webhook took: kept in SQL for those who look, and put into the outbox again on demand. Knows rows and the
// outbox; why an event was given up is webhook.ts's.

import type { ReportQueue, Spool } from '../spool/contract.js'
import type { SqlClient, Store } from '../store/postgres.js'
import type { Failure } from './webhook.js'

const KEEP = '30 days'
/** Events that one transaction puts back into the outbox. */
const AT_ONCE = 200

/** The disk has no room for what is to be told again. */
export class OutboxFull extends Error {}

export interface FailureRow {
  number: number
  webhook: number | null
  url: string
  event: string
  type: string
  happenedAt: Date
  givenUpAt: Date
  attempts: number
  reason: string
}

export async function putAside(store: Store, { account, hook, url, event, attempts, reason }: Failure): Promise<void> {
  const { id, type, atMs, data } = event
  await store.query(PUT, [account, hook, url, id, type, new Date(atMs), attempts, reason, data])
}

/** An account's, newest first; `before`: the last number of the page before. */
export async function failures(
  store: Store,
  account: number,
  { hook, before, limit }: { hook?: number | undefined; before?: number | undefined; limit: number },
): Promise<FailureRow[]> {
  return (await store.query<FailureRow>(LIST, [account, hook ?? null, before ?? null, limit])).rows
}

/**
 * Sends events of a webhook again that were given up, all of them or those with these numbers. They leave SQL when they are
 * durable in the outbox: after a crash in between one may be sent twice, with the same id.
 * @returns how many
 */
export async function sendAgain(
  store: Store,
  spool: Spool,
  queue: ReportQueue,
  hook: number,
  numbers: readonly number[] | null,
  progress: (sent: number) => void = () => {},
): Promise<number> {
  let sent = 0
  for (;;) {
    const taken = await store.transaction(async client => take(client, spool, queue, hook, numbers))
    sent += taken
    progress(sent)
    if (taken < AT_ONCE) return sent
  }
}

async function take(
  client: SqlClient,
  spool: Spool,
  queue: ReportQueue,
  hook: number,
  numbers: readonly number[] | null,
): Promise<number> {
  const { rows } = await client.query<{ event: string; type: string; atMs: number; data: string }>(TAKE, [
    hook,
    numbers,
    AT_ONCE,
  ])
  for (const { event, type, atMs, data } of rows) {
    if (!spool.event(queue, { id: event, type, atMs, data })) throw new OutboxFull()
  }
  await spool.synced()
  return rows.length
}

export async function forgetOldFailures(store: Store): Promise<void> {
  await store.query('delete from webhook_failures where given_up_at < now() - $1::interval', [KEEP])
}

const PUT = `
  insert into webhook_failures (account, webhook, url, event, type, happened_at, attempts, reason, data)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
const LIST = `
  select number, webhook, url, event, type, happened_at as "happenedAt", given_up_at as "givenUpAt", attempts, reason
  from webhook_failures
  where account = $1 and ($2::int is null or webhook = $2) and ($3::bigint is null or number < $3)
  order by number desc limit $4`
const TAKE = `
  delete from webhook_failures where number in (
    select number from webhook_failures where webhook = $1 and ($2::bigint[] is null or number = any($2))
    order by number limit $3)
  returning event, type, floor(extract(epoch from happened_at) * 1000)::bigint as "atMs", data::text as data`
