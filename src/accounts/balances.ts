// How accounts stand: balance, what is leased to nodes, when each is told that it runs low; and the one way to end the lease
// of a node that is gone. Knows rows; what moves a balance is the ledger's.

import { unitsText } from '../model/money.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import { CREDIT_CHANNEL } from './creditRows.js'
import { NoAccount } from './keyRows.js'

export interface Balance {
  id: number
  /** `#12`: it is gone, and this is what it had. */
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

/** What the nodes of a spool have, of one account or of all. */
export interface SpoolLeases extends Pick<Lease, 'spool' | 'node' | 'heard_at'> {
  leases: number
  micros: number
}

/** Up to `limit` accounts behind the id `after`, and among them those that are gone and had money. */
export async function balances(
  store: Pick<Store, 'query'>,
  asked: { after: number; limit: number; isLow?: boolean },
): Promise<Balance[]> {
  const { after, limit, isLow = false } = asked
  const { rows } = await store.query<BalanceRow>(
    isLow ? `${BALANCES} where a.id > $1 and b.told > 0 order by a.id limit $2` : WITH_GONE,
    [after, limit],
  )
  return rows.map(balanceOf)
}

/** Throws {@link NoAccount}, or what SQL throws. */
export async function balance(store: Pick<Store, 'query'>, systemId: string): Promise<Balance> {
  const { rows } = await store.query<BalanceRow>(`${BALANCES} where a.system_id = $1`, [systemId])
  if (rows[0] !== undefined) return balanceOf(rows[0])
  const gone = await store.query<BalanceRow>(`${GONE} and c.account = $1`, [await payerId(store, systemId)])
  if (gone.rows[0] === undefined) throw new NoAccount(systemId)
  return balanceOf(gone.rows[0])
}

/** The id of whoever has money under this name: an account, or, as `#12`, one that is gone. Throws {@link NoAccount} too. */
export async function payerId(client: Pick<Store, 'query'>, name: string): Promise<number> {
  const gone = /^#(\d{1,9})$/.exec(name)?.[1]
  const { rows } = await client.query<{ id: number }>(PAYER, [name, gone === undefined ? null : Number(gone)])
  if (rows[0] === undefined) throw new NoAccount(name)
  return rows[0].id
}

/** Which of these accounts have money, so that they must not go, and what is to be done. Others wait for their balances then. */
export async function moneyLeft(
  client: SqlClient,
  ids: readonly number[],
): Promise<{ account: string; why: string }[]> {
  const { rows } = await client.query<{ account: string; balance: number; leased: number }>(MONEY_LEFT, [ids])
  return rows
    .filter(({ balance, leased }) => balance !== 0 || leased !== 0)
    .map(({ account, balance, leased }) => ({ account, why: whyLeft(account, balance, leased) }))
}

function whyLeft(account: string, balance: number, leased: number): string {
  const reasons: string[] = []
  if (balance > 0) {
    const amount = unitsText(balance)
    reasons.push(`its balance is ${amount}: 'trunkline credit take ${account} ${amount}' pays it out`)
  } else if (balance < 0) {
    const amount = unitsText(-balance)
    const adjust = `'trunkline credit adjust ${account} ${amount} --memo WHY'`
    reasons.push(`its balance is -${amount}: have it paid, or ${adjust} gives it up`)
  }
  if (leased !== 0) {
    const suspend = `'trunkline account suspend ${account}'`
    reasons.push(`${unitsText(leased)} are leased to nodes: after ${suspend} they give them back within a minute`)
  }
  return reasons.join('; ')
}

/**
 * What is leased, of one account or of all: up to `limit` leases behind the place `after`, those of nothing left out, and,
 * of all of them, what each spool has.
 */
export async function leases(
  store: Pick<Store, 'query'>,
  { account, after = '', limit }: { account?: string | undefined; after?: string | undefined; limit: number },
): Promise<{ leases: Lease[]; next: string | null; spools: SpoolLeases[] }> {
  const [id = '', behind = ''] = after.split(' ')
  const [one, all] = await Promise.all([
    store.query<LeaseRow & { id: number }>(LEASES, [account ?? null, Number(id), behind, limit]),
    store.query<SpoolRow>(SPOOLS, [account ?? null]),
  ])
  const last = one.rows.at(-1)
  return {
    leases: one.rows.map(({ heard, at, id: _, ...row }) => ({ ...row, at: at.toISOString(), heard_at: textOf(heard) })),
    next: last === undefined || one.rows.length < limit ? null : `${last.id} ${last.spool}`,
    spools: all.rows.map(({ heard, ...row }) => ({ ...row, heard_at: textOf(heard) })),
  }
}

const textOf = (moment: Date | null): string | null => moment?.toISOString() ?? null

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

interface LeaseRow extends Omit<Lease, 'at' | 'heard_at'> {
  at: Date
  heard: Date | null
}

interface SpoolRow extends Omit<SpoolLeases, 'heard_at'> {
  heard: Date | null
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
/** An account that is gone, and what it had; null of what only an account has. */
const GONE = `
  select c.account as id, '#' || c.account as account, null as tariff, c.balance_micros, 0::bigint as credit_micros,
    c.leased_micros, null::bigint as low_micros, 0 as told
  from credit c where (c.balance_micros <> 0 or c.leased_micros <> 0)
    and not exists (select from accounts a where a.id = c.account)`
/** A page: those that are gone are looked for only as far as its accounts go. */
const WITH_GONE = `
  with page as (${BALANCES} where a.id > $1 order by a.id limit $2)
  select * from page
  union all ${GONE} and c.account > $1
    and c.account <= coalesce((select max(id) from page having count(*) = $2), 2147483647)
  order by id limit $2`
const PAYER = `
  select id from accounts where system_id = $1
  union all select account from credit where account = $2 and not exists (select from accounts where id = $2 or system_id = $1)`
const MONEY_LEFT = `
  select a.system_id as account, c.balance_micros as balance, c.leased_micros as leased
  from credit c join accounts a on a.id = c.account where c.account = any($1) order by c.account for update of c`
const OF_SOME = `
  from credit_leases l left join accounts a on a.id = l.account left join spool_position p on p.spool = l.spool
  where l.micros <> 0 and ($1::text is null or coalesce(a.system_id, '#' || l.account) = $1)`
const LEASES = `
  select l.account as id, coalesce(a.system_id, '#' || l.account) as account, l.spool, l.node, l.micros, l.at,
    p.moved_at as heard
  ${OF_SOME} and (l.account, l.spool) > ($2::int, $3) order by l.account, l.spool limit $4`
const SPOOLS = `
  select l.spool, max(l.node) as node, count(*) as leases, sum(l.micros)::bigint as micros, max(p.moved_at) as heard
  ${OF_SOME} group by l.spool order by l.spool`
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
/** So much more than the threshold, of the largest of what thresholds are made of, is no longer little. */
const CLEAR = 20
/**
 * Credit is used up when not even the cheapest message that the tariff names a price of can be paid: that is looked for only
 * where little is left. What margins come to nobody knows before the message: with those alone it is used up at zero. An
 * account that has never had any money is told nothing, though its first bind has made it a row of credit. What refunds bring
 * and messages take again is no news: it is told anew what it was told once there is clearly more than little, or money has
 * come, see ledger.ts.
 */
const NEWS = `
  with standing as (
    select s.account, s.spendable, s.low, s.most, case when s.spendable <= 0 or (s.spendable < s.low and s.spendable <
        (select micros from tariff_prices p where p.tariff = s.tariff and p.micros > 0 order by micros limit 1)) then 2
      when s.spendable < s.low then 1 else 0 end as told
    from (
      select a.id as account, a.tariff, coalesce(c.balance_micros, 0) + a.credit_micros as spendable, ${LOW} as low,
        greatest(b.low_micros, b.top_up_micros, a.credit_micros) as most
      from accounts a join credit c on c.account = a.id left join billing b on b.account = a.id
      where a.tariff is not null and a.credit_micros is not null and (c.balance_micros <> 0 or a.credit_micros > 0
        or exists (select from ledger_lines where book = 'customer:' || a.id))
    ) s where s.low is not null
  ), changed as (
    insert into billing as b (account, told) select n.account, n.told from standing n left join billing o on o.account = n.account
    where n.told > coalesce(o.told, 0) or (n.told = 0 and o.told > 0 and n.spendable >= n.low + n.most / ${CLEAR})
    on conflict (account) do update set told = excluded.told
      where b.told < excluded.told or (excluded.told = 0 and b.told <> 0)
    returning b.account, b.told
  )
  select ch.account, ch.told, n.spendable, n.low from changed ch join standing n on n.account = ch.account`
