// The books by hand: money that comes, goes or is set right, each as one balanced entry with the account's balance, and who
// booked it. What messages cost is posted elsewhere. A reference is booked once, however often and from wherever it comes.

import { unitsText } from '../model/money.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import { payerId } from './balances.js'
import { CREDIT_CHANNEL, WANTED_CHANNEL } from './creditRows.js'

const bookingKinds = ['top_up', 'withdrawal', 'adjustment', 'payment', 'refund'] as const
export type BookingKind = (typeof bookingKinds)[number]

export interface Booking {
  readonly kind: BookingKind
  readonly account: number
  /** What the account's balance changes by. */
  readonly micros: number
  /** Tax that is paid with it, or paid back, and is not the account's: invoices count it. */
  readonly taxMicros?: number
  /** undefined: nobody can tell it from the same once more. */
  readonly reference: string | undefined
  readonly memo: string
}

export interface Booked {
  entry: number
  /** It had been booked before, and was not again. */
  repeated: boolean
  balance_micros: number
}

/** It cannot be booked; nothing was. */
export class BookingRefused extends Error {
  readonly code: 'too_much' | 'reference_used'

  constructor(code: BookingRefused['code'], text: string) {
    super(text)
    this.code = code
  }
}

/** The other side of each. */
const AGAINST: Readonly<Record<BookingKind, string>> = {
  top_up: 'cash',
  withdrawal: 'cash',
  payment: 'cash',
  adjustment: 'adjustments',
  refund: 'adjustments',
}

/** SQL: the tax that an account has paid, less what its invoices have counted as paid. */
export const taxAhead = (account: string): string => `(
  coalesce((select sum(taxed.micros) from ledger_lines own join ledger_lines taxed on taxed.entry = own.entry
    where own.book = 'customer:' || ${account} and taxed.book = 'tax'), 0)
  - coalesce((select sum(covered_tax_micros + case when status = 'paid' then due_tax_micros else 0 end)
    from invoices counted where counted.account = ${account} and status <> 'void' and replaced_by is null), 0))::bigint`

export const bookOf = (account: number): string => `customer:${account}`

/** In the caller's transaction, with its line of audit. Throws {@link BookingRefused}, or what SQL throws. */
export async function book(client: SqlClient, actor: Actor, systemId: string, one: Booking): Promise<Booked> {
  const { kind, account, micros, taxMicros = 0, reference = null, memo } = one
  const made = await client.query<{ id: number }>(ENTRY, [kind, reference, memo, actor.who])
  const entry = made.rows[0]?.id
  if (entry === undefined) return repeated(client, one)
  const lines = new Map([[bookOf(account), micros]])
  const add = (book: string, change: number): void => {
    if (change !== 0) lines.set(book, (lines.get(book) ?? 0) + change)
  }
  add('tax', taxMicros)
  add(AGAINST[kind], -(micros + taxMicros))
  await client.query(LINES, [entry, [...lines.keys()], [...lines.values()]])
  const { rows } = await client.query<{ balance: number; leased: number }>(MOVE, [account, micros])
  const { balance, leased } = rows[0] as { balance: number; leased: number }
  if (kind === 'withdrawal' && balance < leased) {
    const had = Math.max(0, balance - micros - leased)
    const held = leased > 0 ? `; ${unitsText(leased)} more are leased to nodes, which send for it` : ''
    throw new BookingRefused('too_much', `${systemId} has ${unitsText(had)} that can be taken${held}`)
  }
  if (kind === 'withdrawal' && taxMicros < 0) await checkAhead(client, systemId, account)
  if (kind === 'top_up') await client.query(LAST_TOP_UP, [account, micros])
  else if (micros > 0) await client.query(TELL_ANEW, [account])
  await client.query(TELL, [String(account), micros < 0])
  const tax = taxMicros === 0 ? {} : { tax: unitsText(taxMicros) }
  const changes = { entry, amount: unitsText(micros), ...tax, ...(reference === null ? {} : { reference }) }
  await audited(client, actor, { action: `credit.${kind}`, subject: systemId, reason: memo, changes })
  return { entry, repeated: false, balance_micros: balance }
}

/** Throws {@link BookingRefused} when more tax was paid back than had been paid in advance. */
async function checkAhead(client: SqlClient, systemId: string, account: number): Promise<void> {
  const { rows } = await client.query<{ ahead: number }>(`select ${taxAhead('$1::int')} as ahead`, [account])
  if ((rows[0]?.ahead as number) >= 0) return
  throw new BookingRefused('too_much', `${systemId} has not paid so much tax that no invoice has counted`)
}

/** Its own, by the account's name, or `#12` where it is gone. Throws NoAccount too. */
export function bookFor(
  store: Pick<Store, 'transaction'>,
  actor: Actor,
  systemId: string,
  one: Omit<Booking, 'account'>,
): Promise<Booked> {
  return store.transaction(async client =>
    book(client, actor, systemId, { ...one, account: await payerId(client, systemId) }),
  )
}

/** What has this reference already, if it is the same booking. */
async function repeated(client: SqlClient, one: Booking): Promise<Booked> {
  const { rows } = await client.query<PresentRow>(PRESENT, [one.reference, bookOf(one.account), one.account])
  const [present] = rows
  if (present?.kind === one.kind && present.micros === one.micros && present.tax === (one.taxMicros ?? 0)) {
    return { entry: present.id, repeated: true, balance_micros: present.balance }
  }
  throw new BookingRefused('reference_used', `${one.reference} has been booked already, as something else`)
}

interface PresentRow {
  id: number
  kind: string
  /** null: of another account. */
  micros: number | null
  tax: number
  balance: number
}

const ENTRY = `
  insert into ledger_entries (kind, reference, memo, who) values ($1, $2, $3, $4)
  on conflict (reference) do nothing returning id`
const LINES = 'insert into ledger_lines (entry, book, micros) select $1, * from unnest($2::text[], $3::bigint[])'
const MOVE = `
  insert into credit (account, balance_micros) values ($1, $2)
  on conflict (account) do update set balance_micros = credit.balance_micros + excluded.balance_micros
  returning balance_micros as balance, leased_micros as leased`
const LAST_TOP_UP = `
  insert into billing (account, top_up_micros) values ($1, $2)
  on conflict (account) do update set top_up_micros = excluded.top_up_micros, told = 0`
/** Nodes give back what is leased where the balance does not stand for it any more. */
const TELL = `
  select pg_notify('${CREDIT_CHANNEL}', $1), case when $2 and exists (
    select from credit c join accounts a on a.id = c.account
    where c.account = $1::int and c.balance_micros + a.credit_micros < c.leased_micros
  ) then pg_notify('${WANTED_CHANNEL}', $1) end`
/** Whatever it was told of what is left holds no more. */
const TELL_ANEW = 'update billing set told = 0 where account = $1'
const PRESENT = `
  select e.id, e.kind, l.micros,
    coalesce((select micros from ledger_lines where entry = e.id and book = 'tax'), 0)::bigint as tax,
    coalesce((select balance_micros from credit where account = $3), 0) as balance
  from ledger_entries e left join ledger_lines l on l.entry = e.id and l.book = $2 where e.reference = $1`
