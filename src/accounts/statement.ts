// What was booked for an account in a span of time, each line with the balance behind it, a page at a time. Knows the ledger's
// rows; changes none.

import type { SqlClient, Store } from '../store/postgres.js'
import { bookOf } from './ledger.js'

export interface StatementLine {
  entry: number
  at: string
  kind: string
  /** '' = none. */
  reference: string
  memo: string
  who: string
  /** Messages in it. */
  messages: number
  micros: number
  balance_micros: number
}

export interface StatementSpan {
  readonly fromMs: number
  readonly toMs: number
  /** What papers say of its end; left out: that. */
  readonly shownToMs?: number
}

export interface StatementPage {
  /** Before the first of its lines. */
  opening_micros: number
  lines: StatementLine[]
  /** Give it as `after` for the next page; null: this is the last. */
  next: number | null
}

/** Lines that are read at a time. */
const PAGE = 1_000

/** Lines behind the entry `after`, up to `limit`. Throws what SQL throws. */
export function statementPage(
  store: Pick<Store, 'withClient'>,
  account: number,
  { after, limit, ...span }: StatementSpan & { after: number; limit: number },
): Promise<StatementPage> {
  return inSnapshot(store, async client => {
    const opening_micros = await opening(client, account, span, after)
    const lines = await page(client, account, span, after, opening_micros, limit)
    return { opening_micros, lines, next: lines.length < limit ? null : (lines.at(-1)?.entry ?? null) }
  })
}

/**
 * All of it, oldest first: `begin` gets the balance before it. Answers with the balance behind its last line. Each page is of
 * its own moment, and nothing of the database is held while it is taken: what is booked meanwhile into hours that were read
 * is not in it.
 */
export async function wholeStatement(
  store: Pick<Store, 'withClient'>,
  account: number,
  span: StatementSpan,
  begin: (openingMicros: number) => Promise<void> | void,
  take: (lines: StatementLine[]) => Promise<void> | void,
): Promise<number> {
  let balance = await store.withClient(client => opening(client, account, span, 0))
  await begin(balance)
  for (let after = 0; ; ) {
    const [from, before] = [after, balance]
    const lines = await store.withClient(client => page(client, account, span, from, before, PAGE))
    if (lines.length > 0) await take(lines)
    const last = lines.at(-1)
    if (last !== undefined) balance = last.balance_micros
    if (last === undefined || lines.length < PAGE) return balance
    after = last.entry
  }
}

async function inSnapshot<T>(store: Pick<Store, 'withClient'>, work: (client: SqlClient) => Promise<T>): Promise<T> {
  return store.withClient(async client => {
    await client.query('begin isolation level repeatable read, read only')
    try {
      return await work(client)
    } finally {
      await client.query('rollback').catch(() => {})
    }
  })
}

async function opening(client: SqlClient, account: number, span: StatementSpan, after: number): Promise<number> {
  const { rows } = await client.query<{ micros: number }>(OPENING, [
    bookOf(account),
    new Date(span.fromMs),
    after,
    new Date(span.toMs),
  ])
  return rows[0]?.micros ?? 0
}

async function page(
  client: SqlClient,
  account: number,
  { fromMs, toMs }: StatementSpan,
  after: number,
  openingMicros: number,
  limit: number,
): Promise<StatementLine[]> {
  const { rows } = await client.query<Omit<StatementLine, 'at' | 'balance_micros'> & { at: Date }>(LINES, [
    bookOf(account),
    new Date(fromMs),
    new Date(toMs),
    after,
    limit,
  ])
  let balance = openingMicros
  return rows.map(row => {
    balance += row.micros
    return { ...row, at: row.at.toISOString(), balance_micros: balance }
  })
}

/** In the order of a statement: by time, and by entry within it. */
const BEHIND = '(e.at, e.id) > (select at, id from ledger_entries where id = $'
const OPENING = `
  select coalesce(sum(l.micros), 0)::bigint as micros from ledger_lines l join ledger_entries e on e.id = l.entry
  where l.book = $1 and (e.at < $2 or ($3::bigint <> 0 and e.at < $4 and not ${BEHIND}3)))`
const LINES = `
  select e.id as entry, e.at, e.kind, coalesce(e.reference, '') as reference, e.memo, e.who, l.messages, l.micros
  from ledger_lines l join ledger_entries e on e.id = l.entry
  where l.book = $1 and e.at >= $2 and e.at < $3 and ($4::bigint = 0 or ${BEHIND}4))
  order by e.at, e.id limit $5`
