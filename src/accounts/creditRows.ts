// Leases of credit in SQL: what a node may spend of an account's money without asking, taken and given back under the lock
// of the account's row, so that all nodes together never have more than there is. Knows rows; when to ask is credit.ts's.

import type { SqlClient, Store } from '../store/postgres.js'

/** The payload is an account's id: there may be more for it than there was. */
export const CREDIT_CHANNEL = 'trunkline_credit'
/** `ID SPOOL`: that node can use what the others have leased of this account. `ID`: less is there than is leased of it. */
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
  readonly leases: readonly KnownLease[]
}

export interface KnownLease {
  readonly account: number
  readonly micros: number
  readonly turn: number
  /** More is leased of the account than it has by now. */
  readonly isOver: boolean
}

/** What a free amount gives to one who asks: at most half of it, so that no node takes all, but always the least. */
export function granted(free: number, want: number | undefined, least: number): number {
  if (free <= 0 || free < least) return 0
  const most = Math.floor(want === undefined ? free / PREFETCHED : Math.min(want, free / 2))
  return Math.min(free, Math.max(least, most))
}
const PREFETCHED = 20

/** The spool of this node: leases are its own, and those of the run that writes its history. */
export interface LeasingSpool {
  readonly identity: string
  readonly origin: { readonly run: string }
}

/** Another daemon runs on a copy of this spool, and what is leased to it is that one's. */
class LeasedElsewhere extends Error {
  constructor() {
    super('another daemon writes the history of this spool')
  }
}

export class CreditRows {
  private readonly store: Store
  private readonly from: LeasingSpool
  private readonly node: number

  constructor(store: Store, spool: LeasingSpool, node: number) {
    this.store = store
    this.from = spool
    this.node = node
  }

  private get spool(): string {
    return this.from.identity
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
          this.from.origin.run,
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

  /**
   * Ours of something, and up to where they are spent in the books, as of one moment: once whatever is under way about them
   * is over. For one who begins: those of nothing are dropped, of which nobody knows any more.
   */
  async recover(): Promise<Leases> {
    await this.store.query(DROP, [this.spool, this.from.origin.run])
    for (;;) {
      let position: number | undefined
      const leases: KnownLease[] = []
      for (let after = 0; ; ) {
        const from = after
        const page = await this.locked(PAGE_OF_OURS, [from, PAGE])
        position ??= page.position
        // Something that was under way has been posted meanwhile: as of one moment all is read again.
        if (page.position !== position) break
        leases.push(...page.leases)
        const last = page.leases.at(-1)
        if (last === undefined || page.leases.length < PAGE) return { position, leases }
        after = last.account
      }
    }
  }

  /** The same of these accounts alone, those of nothing too. */
  leases(accounts: readonly number[]): Promise<Leases> {
    return this.locked(SOME_OF_OURS, [accounts])
  }

  private locked(which: string, values: readonly unknown[]): Promise<Leases> {
    const all = [this.spool, this.from.origin.run, ...values]
    return this.store.transaction(async client => {
      await client.query(`${LOCK_OURS} (${which}) order by account for update`, all)
      const { rows } = await client.query<LeaseRow>(`${LEASES} (${which}) o ${OVER}`, all)
      if (rows[0]?.elsewhere) throw new LeasedElsewhere()
      return {
        position: rows[0]?.position ?? 0,
        leases: rows.flatMap(({ account, micros, turn, over }) =>
          account === null ? [] : [{ account, micros, turn, isOver: over }],
        ),
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
  elsewhere: boolean
  /** null: there is none. */
  account: number | null
  micros: number
  turn: number
  over: boolean
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
/**
 * Only of leases that are still the ones that the node knows: of those who waited for the lock, another may have ended one;
 * and of no spool whose history another run writes.
 */
const CHANGE = `
  with moved as (
      select m.account, m.micros from unnest($1::int[], $2::bigint[], $3::bigint[]) as m(account, micros, turn)
        left join credit_leases l on l.account = m.account and l.spool = $4
      where coalesce(l.turn, 0) = m.turn
        and not exists (select from spool_position where spool = $4 and writer not in ('', $6))),
    summed as (
      update credit c set leased_micros = c.leased_micros + m.micros from moved m where c.account = m.account)
  insert into credit_leases (account, spool, node, micros, turn) select account, $4::text, $5::int, micros, 1 from moved
  on conflict (account, spool) do update set micros = credit_leases.micros + excluded.micros, node = excluded.node,
    at = now(), turn = credit_leases.turn + 1
  returning account`
const TELL = 'select pg_notify(channel, text) from unnest($1::text[], $2::text[]) as t(channel, text)'
const OTHERS = `
  select account, sum(micros)::bigint as micros from credit_leases where account = any($1) and spool <> $2 and micros > 0
  group by account`
const TURNS = 'select account, turn from credit_leases where account = any($1) and spool = $2'
/** Leases that are read at a time. */
const PAGE = 1_000
const WRITER = `left join spool_position p on p.spool = $1`
const ELSEWHERE = `coalesce(p.writer not in ('', $2::text), false)`
const DROP = `
  delete from credit_leases l using (select) one ${WRITER} where l.spool = $1 and l.micros = 0 and not ${ELSEWHERE}`
const PAGE_OF_OURS = `
  select account from credit_leases where spool = $1 and $2::text is not null and account > $3 order by account limit $4`
const SOME_OF_OURS = `select account from credit_leases where spool = $1 and $2::text is not null and account = any($3)`
const LOCK_OURS = 'select from credit where account in'
const LEASES = `
  select coalesce(p.position, 0) as position, ${ELSEWHERE} as elsewhere, l.account, l.micros, l.turn,
    a.id is null or coalesce(c.balance_micros + a.credit_micros < c.leased_micros, false) as over
  from (select) one ${WRITER} left join`
const OVER = `on true left join credit_leases l on l.account = o.account and l.spool = $1
  left join accounts a on a.id = l.account left join credit c on c.account = l.account order by l.account`
