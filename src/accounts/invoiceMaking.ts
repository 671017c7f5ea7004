// Making invoices: one a month and account, once, from what the ledger charged for messages, with numbers without holes. The
// ledger says how much, the counts of days say for what: both are written in one transaction, and whatever they do not
// agree in is a line of its own. Credit pays what messages cost, and no tax: that was paid with top-ups, or is to be paid.

import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import { netOfTax, type PaidBefore, paidAgain, sumsOf } from './invoiceSums.js'
import { AGAIN_TAX, type InvoiceLine, InvoiceRefused } from './invoices.js'
import { book, taxAhead } from './ledger.js'

export interface InvoiceSettings {
  readonly currency: string
  /** "8.1" */
  readonly taxPercent: string
  readonly seller: string
}

/** `2026-01`, of a month that is over at that moment. Throws {@link InvoiceRefused}. */
export function monthSpan(month: string, nowMs: number): { from: string; to: string } {
  const [year, number] = month.split('-').map(Number) as [number, number]
  const end = new Date(Date.UTC(year, number, 1))
  if (end.getTime() > nowMs) throw new InvoiceRefused(`${month} is not over: its invoices can be made after it, by UTC`)
  return { from: `${month}-01`, to: end.toISOString().slice(0, 10) }
}

/** Accounts of a transaction. */
const SLICE = 25

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
    const present = await client.query<Replaced & { status: string }>(PRESENT, [account, from])
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

/** The void one in whose place another is made. */
interface Replaced {
  id: number
  number: string
  net: number
  tax_percent: string
  /** What was paid with it; 0 = nothing, or credit had paid all. */
  paid: number
  paid_tax: number
  /** Taken again of what had been paid for the one before it. */
  again_tax: number
}

/** All that was paid for it, and those before it, beyond credit. */
function paidFor({ tax_percent, paid, paid_tax, again_tax }: Replaced): PaidBefore {
  return { netMicros: paid - paid_tax + netOfTax(again_tax, tax_percent), taxMicros: paid_tax + again_tax }
}

interface Bill {
  account: number
  system_id: string
  customer: string
  balance: number
  /** What the ledger charged in the month. */
  charged: number
  /** Of it, what later invoices have billed. */
  elsewhere: number
  /** What the ledger charged since then and no invoice has yet: they will ask for it, or credit will pay it. */
  since: number
  /** The same of months before it; 0 where no void one is replaced. */
  before: number
  /** What open invoices will bring to the balance. */
  open: number
  /** Tax that was paid in advance, and that no invoice has counted. */
  ahead: number
  /** What was accepted, by country and class, before anything was given back. */
  accepted: Pick<InvoiceLine, 'country' | 'rank' | 'messages' | 'segments' | 'micros'>[]
  /** Of months before it that have invoices: how much more the ledger has charged by now. */
  late: Pick<InvoiceLine, 'month' | 'micros'>[]
}

/** Their sum is what the ledger charged and no invoice has yet. */
function linesOf({ charged, elsewhere, accepted, late }: Bill, month: string): InvoiceLine[] {
  const lines: InvoiceLine[] = accepted.map(one => ({ what: 'messages', month, ...one }))
  const rest = charged - lines.reduce((sum, { micros }) => sum + micros, 0)
  const none = { country: '', rank: -1, messages: 0, segments: 0 }
  if (rest !== 0) lines.push({ what: rest < 0 ? 'back' : 'other', month, ...none, micros: rest })
  if (elsewhere !== 0) lines.push({ what: 'earlier', month, ...none, micros: -elsewhere })
  for (const one of late) if (one.micros !== 0) lines.push({ what: 'earlier', ...none, ...one })
  return lines
}

/** Their numbers. Accounts that were charged nothing get none. */
async function make(
  client: SqlClient,
  actor: Actor,
  { currency, taxPercent, seller }: InvoiceSettings,
  accounts: readonly number[],
  month: string,
  nowMs: number,
  replaced?: Replaced,
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
    const lines = linesOf(bill, month)
    if (lines.every(({ micros }) => micros === 0)) continue
    const net = lines.reduce((sum, { micros }) => sum + micros, 0)
    // Credit that is left behind it. What the void one was credited with is charged again with this one.
    const rest = bill.balance + bill.since - (replaced?.net ?? 0) + bill.open
    // Credit pays what is oldest first; but what was paid for the void one pays for this, and its tax for no messages.
    const there = rest + net + bill.before
    const unpaid = sumsOf(net, 0, bill.ahead, taxPercent, currency).dueTaxMicros
    const again = replaced === undefined ? undefined : paidAgain(net, unpaid, paidFor(replaced), there, currency)
    const { netMicros: paid, taxMicros: tax } = again ?? { netMicros: 0, taxMicros: 0 }
    const sums = sumsOf(net, Math.min(tax - rest, net - paid), bill.ahead + tax, taxPercent, currency)
    const year = new Date(nowMs).getUTCFullYear()
    const number = `${year}-${String(await nextNumber(client, year)).padStart(6, '0')}`
    const isPaid = sums.dueMicros === 0
    if (replaced !== undefined) {
      await client.query('update invoices set replaced_by = $2 where id = $1', [replaced.id, number])
      const memo = `Invoice ${number} in place of ${replaced.number}`
      await book(client, actor, bill.system_id, {
        kind: 'adjustment',
        account: bill.account,
        micros: -(replaced.net + tax),
        taxMicros: tax,
        reference: `again:${number}`,
        memo,
      })
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
      sums.coveredTaxMicros,
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

/** One maker of invoices at a time: so that nobody makes one twice, and the numbers rise with their ids. */
const TAKE_TURN = 'select pg_advisory_xact_lock(5494789)'
const PRESENT = `
  select id, number, status, net_micros as net, tax_percent::text as tax_percent,
    case when paid_at is null then 0 else due_micros end as paid,
    case when paid_at is null then 0 else due_tax_micros end as paid_tax, ${AGAIN_TAX} as again_tax
  from invoices where account = $1 and month = $2 and replaced_by is null`
/** Whoever was charged has a balance, also when the account is gone. */
const NEXT_ACCOUNTS = `
  select c.account, exists (select from invoices i where i.account = c.account and i.month = $2) as has
  from credit c where c.account > $1 order by c.account limit $3`
/**
 * One statement, one moment: what the ledger charged in the month and since, without what other invoices have billed of it,
 * void ones too, for what is credited is settled; and in the twelve months before it behind their invoices; what was accepted,
 * by the rows of stats_day that tell accounts and countries apart, and those that wait to be summed up there; and how the
 * account stands.
 */
const BILLS = `
  with months as (
    select i.account, i.month, sum(l.micros)::bigint as billed
    from invoices o join invoice_lines l on l.invoice = o.id
      join (select distinct account, month from invoices where account = any($1)) i on i.account = o.account and i.month = l.month
    where o.account = any($1) and o.replaced_by is null and o.id <> $4
      and i.month < ($2::timestamptz at time zone 'UTC')::date
      and i.month >= ($2::timestamptz at time zone 'UTC' - interval '12 months')::date
    group by i.account, i.month
  ), elsewhere as (
    select o.account, coalesce(sum(l.micros) filter (where l.month = ($2::timestamptz at time zone 'UTC')::date), 0)::bigint as month,
      coalesce(sum(l.micros) filter (where l.month >= ($3::timestamptz at time zone 'UTC')::date), 0)::bigint as since,
      coalesce(sum(l.micros) filter (where l.month < ($2::timestamptz at time zone 'UTC')::date), 0)::bigint as before
    from invoices o join invoice_lines l on l.invoice = o.id
    where o.account = any($1) and o.replaced_by is null and o.id <> $4
    group by o.account
  ), late as (
    select account, sum(micros)::bigint as micros,
      jsonb_agg(jsonb_build_object('month', to_char(month, 'YYYY-MM'), 'micros', micros) order by month) as lines
    from (
      select m.account, m.month, charged(m.account, m.month::timestamp at time zone 'UTC',
        (m.month + interval '1 month') at time zone 'UTC') - m.billed as micros
      from months m
    ) one group by account
  ), accepted as (
    select account, jsonb_agg(jsonb_build_object('country', country, 'rank', rank, 'messages', messages,
      'segments', segments, 'micros', micros) order by country, rank) as lines
    from (
      select account, country, rank, coalesce(sum(accepted), 0)::bigint as messages,
        coalesce(sum(segments), 0)::bigint as segments, coalesce(sum(price_micros), 0)::bigint as micros
      from (
        select account, country, rank, hour, accepted, segments, price_micros from stats_day where level = 5
        union all select account, country, rank, hour, accepted, segments, price_micros from stats_fresh
      ) counted where account = any($1) and hour >= $2 and hour < $3
      group by account, country, rank having sum(accepted) > 0
    ) line group by account
  )
  select c.account, coalesce(a.system_id, '#' || c.account) as system_id,
    coalesce(nullif(b.address, ''), o.name, a.system_id, '#' || c.account) as customer, c.balance_micros as balance,
    charged(c.account, $2, $3) as charged, coalesce(elsewhere.month, 0) as elsewhere,
    charged(c.account, $3, 'infinity') - coalesce(elsewhere.since, 0) as since,
    case when $4::bigint = 0 then 0
      else charged(c.account, '-infinity', $2) - coalesce(elsewhere.before, 0) - coalesce(late.micros, 0) end as before,
    (select coalesce(sum(due_micros - due_tax_micros), 0)::bigint from invoices i
      where i.account = c.account and i.status = 'open') as open,
    ${taxAhead('c.account')} as ahead,
    coalesce(accepted.lines, '[]') as accepted, coalesce(late.lines, '[]') as late
  from credit c left join accounts a on a.id = c.account left join organisations o on o.id = a.organisation
    left join billing b on b.account = c.account left join accepted on accepted.account = c.account
    left join late on late.account = c.account left join elsewhere on elsewhere.account = c.account
  where c.account = any($1) order by c.account`
const NEXT_NUMBER = `
  insert into invoice_years (year, last) values ($1, 1)
  on conflict (year) do update set last = invoice_years.last + 1 returning last`
const INSERT = `
  insert into invoices (number, account, month, system_id, seller, customer, currency, net_micros, tax_percent, tax_micros,
    covered_micros, covered_tax_micros, due_tax_micros, due_micros, status, issued_at, paid_at)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
    case when $15 = 'paid' then $16::timestamptz end)
  returning id`
const INSERT_LINES = `
  insert into invoice_lines (invoice, position, what, month, country, rank, messages, segments, micros)
  select $1, place, what, (month || '-01')::date, country, rank, messages, segments, micros
  from rows from (jsonb_to_recordset($2::jsonb)
    as (what text, month text, country text, rank smallint, messages bigint, segments bigint, micros bigint))
    with ordinality as line (what, month, country, rank, messages, segments, micros, place)`
