// How accounts stand: balance, what is leased to nodes, when each is told that it runs low; and the one way to end the lease
// of a node that is gone. Knows rows; what moves a balance is the ledger's.

import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import { CREDIT_CHANNEL } from './creditRows.js'
import { NoAccount } from './keyRows.js'

export interface Balance {
  id: number
  account: string
  /** null = what it sends costs nothing. */
  tariff: string | null
  balance_micros: number
  /** How far below zero the balance may go; null = as far as it will. */
  credit_micros: number | null
  /** Part of it that nodes may spend without asking, spent or not. */
  leased_micros: number
  /** What no node has: balance, and credit, without what is leased; null = there is no limit. */
  free_micros: number | null
  /** It is told when it has no more than this; null = never. */
  low_micros: number | null
  told: 'nothing' | 'low' | 'exhausted'
}

export interface Lease {
  account: string
  spool: string
  node: number
  micros: number
  at: string
  /** When the node last wrote history; null = never. */
  heard_at: string | null
}

/** Up to `limit` accounts behind the id `after`. */
export async function balances(
  store: Pick<Store, 'query'>,
  asked: { after: number; limit: number; isLow?: boolean },
): Promise<Balance[]> {
  const { after, limit, isLow = false } = asked
  const { rows } = await store.query<BalanceRow>(
    `${BALANCES} where a.id > $1 and (not $3 or coalesce(b.told, 0) > 0) order by a.id limit $2`,
    [after, limit, isLow],
  )
  return rows.map(balanceOf)
}

/** Throws {@link NoAccount}, or what SQL throws. */
export async function balance(store: Pick<Store, 'query'>, systemId: string): Promise<Balance> {
  const { rows } = await store.query<BalanceRow>(`${BALANCES} where a.system_id = $1`, [systemId])
  if (rows[0] === undefined) throw new NoAccount(systemId)
  return balanceOf(rows[0])
}

/** Of one account, or of all: up to `limit`. */
export async function leases(
  store: Pick<Store, 'query'>,
  { account, limit }: { account?: string | undefined; limit: number },
): Promise<Lease[]> {
  const { rows } = await store.query<Omit<Lease, 'at' | 'heard_at'> & { at: Date; heard: Date | null }>(LEASES, [
    account ?? null,
    limit,
  ])
  return rows.map(({ heard, at, ...row }) => ({
    ...row,
    at: at.toISOString(),
    heard_at: heard?.toISOString() ?? null,
  }))
}

/** The lease stays: its node lives, or there is none. */
export class LeaseRefused extends Error {}

/** A node that wrote history, or changed a lease, so recently lives. */
const LIVES_S = 60

/**
 * Ends the leases of a node that will never come back, of one account or of all: what they hold can be leased again. What
 * that node had accepted and not yet posted is then never charged. Throws {@link LeaseRefused}, or what SQL throws.
 */
export function releaseLeases(
  store: Pick<Store, 'transaction'>,
  actor: Actor,
  { spool, account, reason }: { spool: string; account?: string | undefined; reason: string },
): Promise<{ leases: number; micros: number }> {
  return store.transaction(async client => {
    const heard = await client.query(HEARD, [spool, LIVES_S])
    if (heard.rowCount !== 0) {
      throw new LeaseRefused(
        `the node of ${spool} was heard in the last ${LIVES_S} s: it lives, and gives back by itself`,
      )
    }
    // Balances before leases, in one order, as nodes take them.
    await client.query(LOCK_CREDIT, [spool, account ?? null])
    const { rows } = await client.query<{ account: number; micros: number }>(END_LEASES, [spool, account ?? null])
    if (rows.length === 0)
      throw new LeaseRefused(`nothing is leased to ${spool}: 'trunkline credit leases' shows what is`)
    const accounts = rows.map(row => row.account)
    await client.query(LESS_LEASED, [accounts, rows.map(row => row.micros)])
    await client.query(`select pg_notify('${CREDIT_CHANNEL}', id::text) from unnest($1::int[]) id`, [accounts])
    const micros = rows.reduce((sum, row) => sum + row.micros, 0)
    const changes = { spool, leases: rows.length, micros }
    await audited(client, actor, { action: 'credit.release', subject: account ?? spool, reason, changes })
    return { leases: rows.length, micros }
  })
}

/** `micros`: told below that much; else below so many percent, 0 = never. Throws {@link NoAccount}, or what SQL throws. */
export function tellBelow(
  store: Pick<Store, 'transaction'>,
  actor: Actor,
  systemId: string,
  { micros, percent }: { micros: number | null; percent: number },
): Promise<void> {
  return store.transaction(async client => {
    await putBilling(client, systemId, 'low_micros, low_percent', [micros, percent])
    const changes = micros === null ? { percent } : { micros }
    await audited(client, actor, { action: 'credit.tell', subject: systemId, changes })
  })
}

/** Who pays, as invoices name them. Throws {@link NoAccount}, or what SQL throws. */
export function billTo(
  store: Pick<Store, 'transaction'>,
  actor: Actor,
  systemId: string,
  address: string,
): Promise<void> {
  return store.transaction(async client => {
    await putBilling(client, systemId, 'address', [address])
    await audited(client, actor, { action: 'invoice.address', subject: systemId, changes: { address } })
  })
}

async function putBilling(client: SqlClient, systemId: string, columns: string, values: unknown[]): Promise<void> {
  const names = columns.split(', ')
  const places = names.map((_, i) => `$${i + 2}`).join(', ')
  const set = names.map(name => `${name} = excluded.${name}`).join(', ')
  const { rowCount } = await client.query(
    `insert into billing (account, ${columns}) select id, ${places} from accounts where system_id = $1
    on conflict (account) do update set ${set}`,
    [systemId, ...values],
  )
  if (rowCount === 0) throw new NoAccount(systemId)
}

/** What became of an account's credit, for whoever tells it. */
export interface CreditNews {
  account: number
  type: 'account.credit_low' | 'account.credit_exhausted'
  spendable_micros: number
  threshold_micros: number
}

/** Accounts that are to be told something since the last look, each told by one node only: whoever asks first. */
export async function creditNews(store: Pick<Store, 'query'>): Promise<CreditNews[]> {
  const { rows } = await store.query<{ account: number; told: number; spendable: number; low: number }>(NEWS)
  return rows
    .filter(({ told }) => told > 0)
    .map(({ account, told, spendable, low }) => ({
      account,
      type: told === 2 ? 'account.credit_exhausted' : 'account.credit_low',
      spendable_micros: spendable,
      threshold_micros: low,
    }))
}

interface BalanceRow extends Omit<Balance, 'told' | 'free_micros'> {
  told: number
}

const TOLD = ['nothing', 'low', 'exhausted'] as const

const balanceOf = ({ told, ...row }: BalanceRow): Balance => ({
  ...row,
  free_micros: row.credit_micros === null ? null : row.balance_micros + row.credit_micros - row.leased_micros,
  told: TOLD[told] ?? 'nothing',
})

/** Below which an account is told; null = never. */
const LOW = `case when a.tariff is null or a.credit_micros is null then null
    when b.low_micros is not null then b.low_micros when coalesce(b.low_percent, 10) = 0 then null
    else greatest(coalesce(b.top_up_micros, 0), a.credit_micros) * coalesce(b.low_percent, 10) / 100 end`
const BALANCES = `
  select a.id, a.system_id as account, t.name as tariff, coalesce(c.balance_micros, 0) as balance_micros,
    a.credit_micros, coalesce(c.leased_micros, 0) as leased_micros, ${LOW} as low_micros, coalesce(b.told, 0) as told
  from accounts a left join tariffs t on t.id = a.tariff left join credit c on c.account = a.id
    left join billing b on b.account = a.id`
const LEASES = `
  select coalesce(a.system_id, '#' || l.account) as account, l.spool, l.node, l.micros, l.at, p.moved_at as heard
  from credit_leases l left join accounts a on a.id = l.account left join spool_position p on p.spool = l.spool
  where $1::text is null or a.system_id = $1 order by l.account, l.spool limit $2`
const HEARD = `
  select from spool_position where spool = $1 and moved_at > now() - make_interval(secs => $2)
  union all select from credit_leases where spool = $1 and at > now() - make_interval(secs => $2)`
const OF = `spool = $1 and ($2::text is null or account = (select id from accounts where system_id = $2))`
const LOCK_CREDIT = `
  select from credit where account in (select account from credit_leases where ${OF}) order by account for update`
const END_LEASES = `delete from credit_leases where ${OF} returning account, micros`
const LESS_LEASED = `
  update credit c set leased_micros = c.leased_micros - l.micros
  from unnest($1::int[], $2::bigint[]) l (account, micros) where c.account = l.account`
/**
 * Credit is used up when not even the cheapest message that the tariff names a price of can be paid: that is looked for only
 * where little is left. What margins come to nobody knows before the message: with those alone it is used up at zero. An
 * account that has never had any money is told nothing, though its first bind has made it a row of credit.
 */
const NEWS = `
  with standing as (
    select s.account, s.spendable, s.low, case when s.spendable <= 0 or (s.spendable < s.low and s.spendable <
        (select micros from tariff_prices p where p.tariff = s.tariff and p.micros > 0 order by micros limit 1)) then 2
      when s.spendable < s.low then 1 else 0 end as told
    from (
      select a.id as account, a.tariff, coalesce(c.balance_micros, 0) + a.credit_micros as spendable, ${LOW} as low
      from accounts a join credit c on c.account = a.id left join billing b on b.account = a.id
      where a.tariff is not null and a.credit_micros is not null and (c.balance_micros <> 0 or a.credit_micros > 0
        or exists (select from ledger_lines where book = 'customer:' || a.id))
    ) s where s.low is not null
  ), changed as (
    insert into billing as b (account, told) select n.account, n.told from standing n left join billing o on o.account = n.account
    where n.told <> coalesce(o.told, 0)
    on conflict (account) do update set told = excluded.told where b.told <> excluded.told
    returning b.account, b.told
  )
  select ch.account, ch.told, n.spendable, n.low from changed ch join standing n on n.account = ch.account`
