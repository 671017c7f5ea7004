// Invoices as they are: listed, shown, paid and voided, by bookings in the same transaction. How one is made invoiceMaking
// says; what stands in one never changes.

import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
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
  /** Of the net, what credit had paid already. */
  covered_micros: number
  /** Of the tax, what had been paid already; of an invoice of an earlier release it may be less than the tax that is not due. */
  covered_tax_micros: number
  due_tax_micros: number
  due_micros: number
}

export interface InvoiceLine {
  /**
   * messages: accepted; back: given back; other: of messages that are counted no more; earlier: what was posted to a month
   * after its own invoice was made, or, of the invoice's own month, what a later one has billed of it already.
   */
  what: 'messages' | 'back' | 'other' | 'earlier'
  /** 2026-01 */
  month: string
  /** '' = none, or several. */
  country: string
  /** As in history; -1 = several. */
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

/** There is no such invoice. */
export class NoInvoice extends Error {
  constructor(number: string) {
    super(`there is no invoice ${number}: 'trunkline invoice list' shows those there are`)
  }
}

/** It cannot be made, paid or voided; nothing was changed. */
export class InvoiceRefused extends Error {}

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
    // Tax that was paid with the invoice, or with the one before it, is the account's again; what top-ups paid waits for another.
    const tax = (one.status === 'paid' ? one.due_tax : 0) + one.again_tax
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
  /** Taken again of what had been paid for the one in whose place it is. */
  again_tax: number
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
    covered_tax_micros: row.covered_tax_micros,
    due_tax_micros: row.due_tax_micros,
    due_micros: row.due_micros,
  }
}

/** Of a row of invoices; see invoiceMaking. */
export const AGAIN_TAX = `
  (select coalesce(sum(l.micros), 0)::bigint from ledger_entries e join ledger_lines l on l.entry = e.id and l.book = 'tax'
    where e.reference = 'again:' || number)`
const LOCK_INVOICE = `
  select id, account, system_id, status, net_micros as net, due_micros as due, due_tax_micros as due_tax,
    ${AGAIN_TAX} as again_tax
  from invoices where number = $1 for update`
const ENTRY = `
  number, system_id as account, to_char(month, 'YYYY-MM') as month, status, issued_at as issued, paid_at as paid,
  void_at as voided, void_reason, replaced_by, currency, net_micros, tax_percent::text as tax_percent, tax_micros,
  covered_micros, covered_tax_micros, due_tax_micros, due_micros`
const LIST = `
  select ${ENTRY} from invoices where ($1::int is null or account = $1) and ($2::text is null or status = $2)
    and ($3::date is null or month = $3)
    and ($4::text is null or id < (select id from invoices where number = $4))
  order by id desc limit $5`
const SHOW = `
  select ${ENTRY}, seller, customer, (
    select jsonb_agg(jsonb_build_object('what', what, 'month', to_char(l.month, 'YYYY-MM'), 'country', country, 'rank', rank,
      'messages', messages, 'segments', segments, 'micros', micros) order by position)
    from invoice_lines l where l.invoice = i.id) as lines
  from invoices i where number = $1 and ($2::int is null or account = $2)`
