// Leases of credit in SQL: what a node may spend of an account's money without asking, taken and given back under the lock
// of the account's row, so that all nodes together never have more than there is. Knows rows; when to ask is credit.ts's.

import type { SqlClient, Store } from '../store/postgres.js'

/** The payload is an account's id: there may be more for it than there was. */
export const CREDIT_CHANNEL = 'trunkline_credit'
/** `ID SPOOL`: that node can use what the others have leased of this account. */
export const WANTED_CHANNEL = 'trunkline_credit_wanted'

/** What a node wants changed of one of its leases. */
export interface Move {
  readonly account: number
  /** Of its changes so far. */
  readonly turn: number
  /** Given back, micros; 0: it is asked for more. */
  readonly give: number
  /** As much of it as there can be had; undefined: some, it is not known how much will be needed. */
  readonly want: number | undefined
  /** Less is of no use. */
  readonly least: number
}

export interface Moved {
  readonly account: number
  /** What the lease has changed by. */
  readonly micros: number
  /** What other nodes have leased; asked for only where the least could not be had. */
  readonly others: number
  /** Nothing was changed: the lease is not the one that the node knows. */
  readonly isLost: boolean
}

/** One transaction's worth; `moved` says what it does as soon as that is known, and stays where COMMIT was not answered. */
export interface Round {
  readonly moves: readonly Move[]
  moved: readonly Moved[]
}

export interface Leases {
  /** Up to here this node's log stands in the books. */
  readonly position: number
  readonly leases: readonly { readonly account: number; readonly micros: number; readonly turn: number }[]
}

/** What a free amount gives to one who asks: at most half of it, so that no node takes all, but always the least. */
export function granted(free: number, want: number | undefined, least: number): number {
  if (free <= 0 || free < least) return 0
  const most = Math.floor(want === undefined ? free / PREFETCHED : Math.min(want, free / 2))
  return Math.min(free, Math.max(least, most))
}
const PREFETCHED = 20

export class CreditRows {
  private readonly store: Store
  private readonly spool: string
  private readonly node: number

  /** @param spool identity of this node's spool: leases are its own */
  constructor(store: Store, spool: string, node: number) {
    this.store = store
    this.spool = spool
    this.node = node
  }

  /** All or nothing. Any error leaves open which: see {@link turns}. */
  async move(round: Round): Promise<void> {
    round.moved = []
    await this.store.transaction(async client => {
      const known = await this.lock(
        client,
        round.moves.map(({ account }) => account),
      )
      const moved = round.moves.map(({ account, give, want, least }): { one: Moved; isShort: boolean } => {
        if (give > 0) return { one: { account, micros: -give, others: 0, isLost: false }, isShort: false }
        const row = known.get(account)
        // Unlimited since a moment ago: it asks no more once its node has heard of it.
        const free = row === undefined ? 0 : row.limit === null ? Number.MAX_SAFE_INTEGER : row.free
        const micros = granted(free, row?.limit === null ? Math.max(want ?? 0, least) : want, least)
        return { one: { account, micros, others: 0, isLost: false }, isShort: micros < least }
      })
      const short = moved.filter(({ isShort }) => isShort).map(({ one }) => one.account)
      const others = short.length === 0 ? NONE : await this.others(client, short)
      round.moved = moved.map(({ one }) => ({ ...one, others: others.get(one.account) ?? 0 }))
      const changed = round.moved.filter(({ micros }) => micros !== 0)
      if (changed.length > 0) {
        const accounts = changed.map(({ account }) => account)
        const amounts = changed.map(({ micros }) => micros)
        const turnOf = new Map(round.moves.map(({ account, turn }) => [account, turn]))
        const turns = accounts.map(account => turnOf.get(account))
        const { rows } = await client.query<{ account: number }>(CHANGE, [
          accounts,
          amounts,
          turns,
          this.spool,
          this.node,
        ])
        if (rows.length < changed.length) {
          const done = new Set(rows.map(({ account }) => account))
          const isDone = ({ account, micros }: Moved): boolean => micros === 0 || done.has(account)
          round.moved = round.moved.map(one => (isDone(one) ? one : { ...one, micros: 0, isLost: true }))
        }
      }
      const told = [
        ...round.moved.filter(({ micros }) => micros < 0).map(({ account }) => [CREDIT_CHANNEL, String(account)]),
        ...[...others.keys()].map(account => [WANTED_CHANNEL, `${account} ${this.spool}`]),
      ]
      if (told.length > 0) await client.query(TELL, [told.map(([channel]) => channel), told.map(([, text]) => text)])
    })
  }

  /** How often each of these leases of ours was changed, once whatever is under way about them is over. */
  turns(accounts: readonly number[]): Promise<ReadonlyMap<number, number>> {
    return this.store.transaction(async client => {
      await this.lock(client, accounts)
      const { rows } = await client.query<{ account: number; turn: number }>(TURNS, [accounts, this.spool])
      return new Map(rows.map(({ account, turn }) => [account, turn]))
    })
  }

  /** Ours, and up to where they are spent in the books, as of one moment: once whatever is under way about them is over. */
  leases(): Promise<Leases> {
    return this.store.transaction(async client => {
      await client.query(LOCK_OURS, [this.spool])
      const { rows } = await client.query<LeaseRow>(LEASES, [this.spool])
      return {
        position: rows[0]?.position ?? 0,
        leases: rows.flatMap(({ account, micros, turn }) => (account === null ? [] : [{ account, micros, turn }])),
      }
    })
  }

  /** The rows of these accounts' money, locked in the order in which everybody locks them. */
  private async lock(client: SqlClient, accounts: readonly number[]): Promise<ReadonlyMap<number, Known>> {
    const all = async (): Promise<Known[]> => (await client.query<Known>(LOCKED, [accounts])).rows
    let rows = await all()
    if (rows.length < new Set(accounts).size) {
      await client.query(MAKE, [accounts])
      rows = await all()
    }
    return new Map(rows.filter(({ live }) => live).map(row => [row.account, row]))
  }

  private async others(client: SqlClient, accounts: readonly number[]): Promise<ReadonlyMap<number, number>> {
    const { rows } = await client.query<{ account: number; micros: number }>(OTHERS, [accounts, this.spool])
    return new Map(rows.map(({ account, micros }) => [account, micros]))
  }
}

const NONE: ReadonlyMap<number, number> = new Map()

interface LeaseRow {
  position: number
  /** null: there is none. */
  account: number | null
  micros: number
  turn: number
}

interface Known {
  account: number
  /** The account is there. */
  live: boolean
  /** null = unlimited. */
  limit: number | null
  free: number
}
const LOCKED = `
  select c.account, a.id is not null as live, a.credit_micros as limit,
    c.balance_micros + coalesce(a.credit_micros, 0) - c.leased_micros as free
  from credit c left join accounts a on a.id = c.account
  where c.account = any($1) order by c.account for update of c`
const MAKE = 'insert into credit (account) select a from unnest($1::int[]) a order by a on conflict do nothing'
/** Only of leases that are still the ones that the node knows; of those who waited for the lock, another may have ended one. */
const CHANGE = `
  with moved as (
      select m.account, m.micros from unnest($1::int[], $2::bigint[], $3::bigint[]) as m(account, micros, turn)
        left join credit_leases l on l.account = m.account and l.spool = $4
      where coalesce(l.turn, 0) = m.turn),
    summed as (
      update credit c set leased_micros = c.leased_micros + m.micros from moved m where c.account = m.account)
  insert into credit_leases (account, spool, node, micros, turn) select account, $4::text, $5::int, micros, 1 from moved
  on conflict (account, spool) do update set micros = credit_leases.micros + excluded.micros, node = excluded.node,
    at = now(), turn = credit_leases.turn + 1
  returning account`
const LOCK_OURS = `
  select from credit where account in (select account from credit_leases where spool = $1) order by account for update`
const TELL = 'select pg_notify(channel, text) from unnest($1::text[], $2::text[]) as t(channel, text)'
const OTHERS = `
  select account, sum(micros)::bigint as micros from credit_leases where account = any($1) and spool <> $2 and micros > 0
  group by account`
const TURNS = 'select account, turn from credit_leases where account = any($1) and spool = $2'
const LEASES = `
  select p.position, l.account, l.micros, l.turn
  from (select coalesce((select position from spool_position where spool = $1), 0) as position) p
    left join credit_leases l on l.spool = $1`
