// Invoices: one a month and account, made once from what the ledger charged for messages, with numbers without holes; paid
// and voided by bookings in the same transaction. Sums come from the counts of days, which are written with the ledger.

import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import { sumsOf } from './invoiceSums.js'
import { book } from './ledger.js'

export const invoiceStatuses = ['open', 'paid', 'void'] as const
export type InvoiceStatus = (typeof invoiceStatuses)[number]

export interface InvoiceEntry {
  number: string
  account: string
  /** 2026-01 */
  month: string
  status: InvoiceStatus
  issued_at: string
  paid_at: string | null
  void_at: string | null
  void_reason: string
  /** The number of the one that was made in its place. */
  replaced_by: string | null
  currency: string
  net_micros: number
  /** Without zeros that say nothing. */
  tax_percent: string
  tax_micros: number
  total_micros: number
  /** Of the net, what credit had paid already; its tax was paid with that. */
  covered_micros: number
  due_tax_micros: number
  due_micros: number
}

export interface InvoiceLine {
  /** 2026-01 */
  month: string
  /** '' = none, or several. */
  country: string
  /** As in history; -1 = of any class. */
  rank: number
  messages: number
  segments: number
  micros: number
}

export interface Invoice extends InvoiceEntry {
  seller: string
  customer: string
  lines: InvoiceLine[]
}

export interface InvoiceSettings {
  readonly currency: string
  /** "8.1" */
  readonly taxPercent: string
  readonly seller: string
}

/** There is no such invoice. */
export class NoInvoice extends Error {
  constructor(number: string) {
    super(`there is no invoice ${number}: 'trunkline invoice list' shows those there are`)
  }
}

/** It cannot be made, paid or voided; nothing was changed. */
export class InvoiceRefused extends Error {}

/** `2026-01`, of a month that is over at that moment. Throws {@link InvoiceRefused}. */
export function monthSpan(month: string, nowMs: number): { from: string; to: string } {
  const [year, number] = month.split('-').map(Number) as [number, number]
  const end = new Date(Date.UTC(year, number, 1))
  if (end.getTime() > nowMs) throw new InvoiceRefused(`${month} is not over: its invoices can be made after it, by UTC`)
  return { from: `${month}-01`, to: end.toISOString().slice(0, 10) }
}

/** Accounts of a transaction. */
const SLICE = 50

/**
 * The invoice of an account and a month: made now, or as it was made. `again`: in place of one that was voided.
 * Throws {@link InvoiceRefused}, or what SQL throws.
 */
export async function createInvoice(
  store: Pick<Store, 'transaction'>,
  actor: Actor,
  settings: InvoiceSettings,
  asked: { account: number; month: string; again: boolean; nowMs: number },
): Promise<{ number: string; made: boolean }> {
  const { account, month, again, nowMs } = asked
  const { from } = monthSpan(month, nowMs)
  return store.transaction(async client => {
    await client.query(TAKE_TURN)
    const present = await client.query<{ id: number; number: string; status: string; net: number }>(PRESENT, [
      account,
      from,
    ])
    const [before] = present.rows
    if (before !== undefined && !again) return { number: before.number, made: false }
    if (before !== undefined && before.status !== 'void') {
      throw new InvoiceRefused(
        `${before.number} is ${before.status}: only in place of one that is void another is made`,
      )
    }
    const [made] = await make(client, actor, settings, [account], month, nowMs, before)
    if (made === undefined) throw new InvoiceRefused(`nothing was charged in ${month}: there is nothing to bill`)
    return { number: made, made: true }
  })
}

/**
 * The same for every account that was ever charged, some at a time, each in a transaction of its own: what has one keeps it.
 * `tell` gets how many accounts were looked at and how many invoices made by then. Ends early when `isOver` says so.
 */
export async function createInvoices(
  store: Pick<Store, 'transaction'>,
  actor: Actor,
  settings: InvoiceSettings,
  { month, nowMs }: { month: string; nowMs: number },
  tell: (looked: number, made: number) => void,
  isOver: () => boolean,
): Promise<{ looked: number; made: string[] }> {
  const { from } = monthSpan(month, nowMs)
  const made: string[] = []
  let looked = 0
  for (let after = 0; !isOver(); ) {
    const slice = await store.transaction(async client => {
      await client.query(TAKE_TURN)
      const { rows } = await client.query<{ account: number; has: boolean }>(NEXT_ACCOUNTS, [after, from, SLICE])
      const accounts = rows.filter(({ has }) => !has).map(row => row.account)
      return { rows, made: await make(client, actor, settings, accounts, month, nowMs) }
    })
    looked += slice.rows.length
    made.push(...slice.made)
    tell(looked, made.length)
    const last = slice.rows.at(-1)
    if (last === undefined || slice.rows.length < SLICE) break
    after = last.account
  }
  return { looked, made }
}

interface Bill {
  account: number
  system_id: string
  customer: string
  balance: number
  /** Charged since the month was over. */
  since: number
  /** What open invoices will bring to the balance. */
  open: number
  lines: InvoiceLine[]
}

/** Their numbers. Accounts that were charged nothing get none. */
async function make(
  client: SqlClient,
  actor: Actor,
  { currency, taxPercent, seller }: InvoiceSettings,
  accounts: readonly number[],
  month: string,
  nowMs: number,
  replaced?: { id: number; number: string; net: number },
): Promise<string[]> {
  if (accounts.length === 0) return []
  const { from, to } = monthSpan(month, nowMs)
  const { rows } = await client.query<Bill>(BILLS, [
    accounts,
    `${from}T00:00:00Z`,
    `${to}T00:00:00Z`,
    replaced?.id ?? 0,
  ])
  const made: string[] = []
  for (const bill of rows) {
    const lines = bill.lines.filter(({ micros, messages }) => micros !== 0 || messages !== 0)
    if (lines.every(({ micros }) => micros === 0)) continue
    const net = lines.reduce((sum, { micros }) => sum + micros, 0)
    // What the void one was credited with is charged again with this one.
    const owed = -(bill.balance + bill.since - (replaced?.net ?? 0)) - bill.open
    const sums = sumsOf(net, owed, taxPercent, currency)
    const year = new Date(nowMs).getUTCFullYear()
    const number = `${year}-${String(await nextNumber(client, year)).padStart(6, '0')}`
    const isPaid = sums.dueMicros === 0
    if (replaced !== undefined) {
      await client.query('update invoices set replaced_by = $2 where id = $1', [replaced.id, number])
      const memo = `Invoice ${number} in place of ${replaced.number}`
      const micros = -replaced.net
      const reference = `again:${number}`
      await book(client, actor, bill.system_id, { kind: 'adjustment', account: bill.account, micros, reference, memo })
    }
    const inserted = await client.query<{ id: number }>(INSERT, [
      number,
      bill.account,
      from,
      bill.system_id,
      seller,
      bill.customer,
      currency,
      sums.netMicros,
      taxPercent,
      sums.taxMicros,
      sums.coveredMicros,
      sums.dueTaxMicros,
      sums.dueMicros,
      isPaid ? 'paid' : 'open',
      new Date(nowMs),
    ])
    await client.query(INSERT_LINES, [inserted.rows[0]?.id, JSON.stringify(lines)])
    const changes = { number, month }
    await audited(client, actor, { action: 'invoice.create', subject: bill.system_id, changes })
    made.push(number)
  }
  return made
}

async function nextNumber(client: SqlClient, year: number): Promise<number> {
  const { rows } = await client.query<{ last: number }>(NEXT_NUMBER, [year])
  return rows[0]?.last as number
}

/**
 * Books what was due as paid. Once more, nothing happens. Throws {@link NoInvoice}, {@link InvoiceRefused}, or what SQL
 * throws.
 */
export function payInvoice(
  store: Pick<Store, 'transaction'>,
  actor: Actor,
  number: string,
  memo: string,
): Promise<{ repeated: boolean }> {
  return store.transaction(async client => {
    const one = await locked(client, number)
    if (one.status === 'paid') return { repeated: true }
    if (one.status === 'void')
      throw new InvoiceRefused(`${number} is void: a payment for it is a top-up of the account`)
    await book(client, actor, one.system_id, {
      kind: 'payment',
      account: one.account,
      micros: one.due - one.due_tax,
      taxMicros: one.due_tax,
      reference: `invoice:${number}`,
      memo: memo === '' ? `Invoice ${number}` : memo,
    })
    await client.query(`update invoices set status = 'paid', paid_at = now() where id = $1`, [one.id])
    await audited(client, actor, { action: 'invoice.pay', subject: one.system_id, reason: memo, changes: { number } })
    return { repeated: false }
  })
}

/** With a credit note in the ledger. Once more, nothing happens. Throws {@link NoInvoice}, or what SQL throws. */
export function voidInvoice(
  store: Pick<Store, 'transaction'>,
  actor: Actor,
  number: string,
  reason: string,
): Promise<{ repeated: boolean }> {
  return store.transaction(async client => {
    const one = await locked(client, number)
    if (one.status === 'void') return { repeated: true }
    // Tax that was paid with the invoice is the account's again; what credit had paid bore its own.
    const tax = one.status === 'paid' && one.due > 0 ? one.due_tax : 0
    await book(client, actor, one.system_id, {
      kind: 'refund',
      account: one.account,
      micros: one.net + tax,
      taxMicros: -tax,
      reference: `void:${number}`,
      memo: `Credit note for invoice ${number}`,
    })
    await client.query(`update invoices set status = 'void', void_at = now(), void_reason = $2 where id = $1`, [
      one.id,
      reason,
    ])
    await audited(client, actor, { action: 'invoice.void', subject: one.system_id, reason, changes: { number } })
    return { repeated: false }
  })
}

interface LockedInvoice {
  id: number
  account: number
  system_id: string
  status: InvoiceStatus
  net: number
  due: number
  due_tax: number
}

async function locked(client: SqlClient, number: string): Promise<LockedInvoice> {
  const { rows } = await client.query<LockedInvoice>(LOCK_INVOICE, [number])
  if (rows[0] === undefined) throw new NoInvoice(number)
  return rows[0]
}

/** The newest first: up to `limit`, made before the one with the number `before`. */
export async function invoiceEntries(
  store: Pick<Store, 'query'>,
  asked: {
    account?: number | undefined
    status?: InvoiceStatus | undefined
    month?: string | undefined
    before?: string | undefined
    limit: number
  },
): Promise<InvoiceEntry[]> {
  const { account = null, status = null, month, before = null, limit } = asked
  const from = month === undefined ? null : `${month}-01`
  const { rows } = await store.query<InvoiceRow>(LIST, [account, status, from, before, limit])
  return rows.map(entryOf)
}

/** `account`: whose it must be. Throws {@link NoInvoice}, or what SQL throws. */
export async function invoiceShown(store: Pick<Store, 'query'>, number: string, account?: number): Promise<Invoice> {
  const { rows } = await store.query<InvoiceRow & Pick<Invoice, 'seller' | 'customer' | 'lines'>>(SHOW, [
    number,
    account ?? null,
  ])
  const [row] = rows
  if (row === undefined) throw new NoInvoice(number)
  return { ...entryOf(row), seller: row.seller, customer: row.customer, lines: row.lines }
}

interface InvoiceRow extends Omit<InvoiceEntry, 'issued_at' | 'paid_at' | 'void_at' | 'total_micros'> {
  issued: Date
  paid: Date | null
  voided: Date | null
}

function entryOf(row: InvoiceRow): InvoiceEntry {
  return {
    number: row.number,
    account: row.account,
    month: row.month,
    status: row.status,
    issued_at: row.issued.toISOString(),
    paid_at: row.paid?.toISOString() ?? null,
    void_at: row.voided?.toISOString() ?? null,
    void_reason: row.void_reason,
    replaced_by: row.replaced_by,
    currency: row.currency,
    net_micros: row.net_micros,
    tax_percent: row.tax_percent.replace(/\.?0+$/, ''),
    tax_micros: row.tax_micros,
    total_micros: row.net_micros + row.tax_micros,
    covered_micros: row.covered_micros,
    due_tax_micros: row.due_tax_micros,
    due_micros: row.due_micros,
  }
}

/** One maker of invoices at a time: so that nobody makes one twice, and the numbers rise with their ids. */
const TAKE_TURN = 'select pg_advisory_xact_lock(5494789)'
const PRESENT = `
  select id, number, status, net_micros as net from invoices where account = $1 and month = $2 and replaced_by is null`
/** Whoever was charged has a balance, also when the account is gone. */
const NEXT_ACCOUNTS = `
  select c.account, exists (select from invoices i where i.account = c.account and i.month = $2) as has
  from credit c where c.account > $1 order by c.account limit $3`
const CHARGED = 'coalesce(price_micros, 0) - coalesce(back_micros, 0)'
/** Of stats_day, the rows that tell accounts and countries apart. */
const COUNTED = 'stats_day s where s.level = 5'
/**
 * One statement, one moment: the lines of the month; of the three months before it what was posted after their invoices
 * were made, as far as their days are still counted; and how the account stands.
 */
const BILLS = `
  with own as (
    select account, jsonb_agg(jsonb_build_object('month', to_char($2::timestamptz at time zone 'UTC', 'YYYY-MM'),
      'country', country, 'rank', rank, 'messages', messages, 'segments', segments, 'micros', micros)
      order by country, rank) as lines
    from (
      select account, country, rank, coalesce(sum(accepted), 0)::bigint as messages,
        coalesce(sum(segments), 0)::bigint as segments, coalesce(sum(${CHARGED}), 0)::bigint as micros
      from ${COUNTED} and s.account = any($1) and s.hour >= $2 and s.hour < $3 group by account, country, rank
    ) line group by account
  ), past as (
    select i.account, i.month, sum(l.messages)::bigint as messages, sum(l.segments)::bigint as segments,
      sum(l.micros)::bigint as micros
    from (select distinct account, month from invoices where account = any($1) and replaced_by is null
      and month < ($2::timestamptz at time zone 'UTC')::date
      and month >= ($2::timestamptz at time zone 'UTC' - interval '3 months')::date
      and month >= (select min(hour) at time zone 'UTC' from stats_day where level = 0)::date) i
    join invoices o on o.account = i.account and o.replaced_by is null and o.id <> $4
    join invoice_lines l on l.invoice = o.id and l.month = i.month
    group by i.account, i.month
  ), late as (
    select p.account, jsonb_agg(jsonb_build_object('month', to_char(p.month, 'YYYY-MM'), 'country', '', 'rank', -1,
      'messages', n.messages - p.messages, 'segments', n.segments - p.segments, 'micros', n.micros - p.micros)
      order by p.month) as lines
    from past p cross join lateral (
      select coalesce(sum(accepted), 0)::bigint as messages, coalesce(sum(segments), 0)::bigint as segments,
        coalesce(sum(${CHARGED}), 0)::bigint as micros
      from ${COUNTED} and s.account = p.account and s.hour >= p.month::timestamp at time zone 'UTC'
        and s.hour < (p.month + interval '1 month') at time zone 'UTC'
    ) n group by p.account
  )
  select c.account, coalesce(a.system_id, '#' || c.account) as system_id,
    coalesce(nullif(b.address, ''), o.name, a.system_id, '#' || c.account) as customer, c.balance_micros as balance,
    (select coalesce(sum(${CHARGED}), 0)::bigint from ${COUNTED} and s.account = c.account and s.hour >= $3) as since,
    (select coalesce(sum(due_micros - due_tax_micros), 0)::bigint from invoices i
      where i.account = c.account and i.status = 'open') as open,
    coalesce(own.lines, '[]') || coalesce(late.lines, '[]') as lines
  from credit c left join accounts a on a.id = c.account left join organisations o on o.id = a.organisation
    left join billing b on b.account = c.account left join own on own.account = c.account
    left join late on late.account = c.account
  where c.account = any($1) order by c.account`
const NEXT_NUMBER = `
  insert into invoice_years (year, last) values ($1, 1)
  on conflict (year) do update set last = invoice_years.last + 1 returning last`
const INSERT = `
  insert into invoices (number, account, month, system_id, seller, customer, currency, net_micros, tax_percent, tax_micros,
    covered_micros, due_tax_micros, due_micros, status, issued_at, paid_at)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, case when $14 = 'paid' then $15::timestamptz end)
  returning id`
const INSERT_LINES = `
  insert into invoice_lines (invoice, position, month, country, rank, messages, segments, micros)
  select $1, place, (month || '-01')::date, country, rank, messages, segments, micros
  from rows from (jsonb_to_recordset($2::jsonb)
    as (month text, country text, rank smallint, messages bigint, segments bigint, micros bigint))
    with ordinality as line (month, country, rank, messages, segments, micros, place)`
const LOCK_INVOICE = `
  select id, account, system_id, status, net_micros as net, due_micros as due, due_tax_micros as due_tax
  from invoices where number = $1 for update`
const ENTRY = `
  number, system_id as account, to_char(month, 'YYYY-MM') as month, status, issued_at as issued, paid_at as paid,
  void_at as voided, void_reason, replaced_by, currency, net_micros, tax_percent::text as tax_percent, tax_micros,
  covered_micros, due_tax_micros, due_micros`
const LIST = `
  select ${ENTRY} from invoices where ($1::int is null or account = $1) and ($2::text is null or status = $2)
    and ($3::date is null or month = $3)
    and ($4::text is null or id < (select id from invoices where number = $4))
  order by id desc limit $5`
const SHOW = `
  select ${ENTRY}, seller, customer, (
    select jsonb_agg(jsonb_build_object('month', to_char(l.month, 'YYYY-MM'), 'country', country, 'rank', rank,
      'messages', messages, 'segments', segments, 'micros', micros) order by position)
    from invoice_lines l where l.invoice = i.id) as lines
  from invoices i where number = $1 and ($2::int is null or account = $2)`
