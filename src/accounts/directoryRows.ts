// The directory's rows in SQL as its copies read them: by change, by name, and page by page.
// Statements and the shapes they answer with; what is done with them is directoryFollower.ts's.

import type { QueryResultRow } from 'pg'
import { type MessageClass, rankOf } from '../model/message.js'
import type { Store } from '../store/postgres.js'
import type { CarrierKind } from './carrier.js'
import type { AccountRecord, Owned, OwnedBy, RowsName } from './copy.js'
import type { StoredHook } from './hooks.js'
import type { StoredInbound } from './inbound.js'
import { INBOUND } from './inboundRows.js'
import type { BlockedRow, NetworkRow, StoredRoute } from './route.js'
import type { StoredPrice, StoredTariff } from './tariffs.js'

/** How long a node may be away before it has to load all anew. */
const KEEP_CHANGES = '7 days'

export interface Head {
  /** Of the database. */
  identity: string
  /** See {@link Secrets.check}; null = nobody wrote secrets yet. */
  keyCheck: Buffer | null
  /** Change numbers that are still there; 0 = none was ever made. */
  oldest: number
  newest: number
}

export interface Change {
  number: number
  what: 'accounts' | RowsName | OwnedBy
  id: string
}

export interface StoredCarrier {
  id: number
  name: string
  kind: CarrierKind
  settings: unknown
  /** base64 */
  secret: string | null
  paused: boolean
}

/** Hash in hex, or number, and what is known of it; undefined = nobody's any more. */
export type Owners<What extends OwnedBy> = Map<string, Owned[What] | undefined>

export class DirectoryRows {
  private readonly store: Store
  private readonly closing: AbortSignal

  /** After `closing` every call throws. */
  constructor(store: Store, closing: AbortSignal) {
    this.store = store
    this.closing = closing
  }

  async head(): Promise<Head> {
    return (await this.query<Head>(HEAD))[0] as Head
  }

  changes(after: number, count: number): Promise<Change[]> {
    return this.query<Change>(CHANGES, [after, count])
  }

  /** Forgets old changes. The newest stays: an empty table means that there never was one. */
  async prune(): Promise<void> {
    await this.query(PRUNE, [KEEP_CHANGES])
  }

  /** Those of `ids` that there are. */
  async accounts(ids: readonly number[]): Promise<AccountRecord[]> {
    if (ids.length === 0) return []
    return (await this.query<AccountRow>(`${ACCOUNTS} where id = any($1)`, [ids])).map(toRecord)
  }

  async accountsAfter(id: number, count: number): Promise<AccountRecord[]> {
    return (await this.query<AccountRow>(`${ACCOUNTS} where id > $1 order by id limit $2`, [id, count])).map(toRecord)
  }

  async knownAccounts(ids: readonly number[]): Promise<Set<number>> {
    const rows = await this.query<{ id: number }>('select id from accounts where id = any($1)', [ids])
    return new Set(rows.map(row => row.id))
  }

  /** Has every one of `names`. */
  async owners<What extends OwnedBy>(what: What, names: readonly string[]): Promise<Owners<What>> {
    const owners: Owners<What> = new Map(names.map(name => [name, undefined]))
    if (names.length === 0) return owners
    for (const { name, owned } of await this.query<Owner<What>>(OWNERS[what], [names])) owners.set(name, owned)
    return owners
  }

  /** The next `count` after `name`, in order; '' is before all. */
  async ownersAfter<What extends OwnedBy>(what: What, name: string, count: number): Promise<Owners<What>> {
    const rows = await this.query<Owner<What>>(OWNERS_AFTER[what], [name, count])
    return new Map(rows.map(row => [row.name, row.owned]))
  }

  carriers(): Promise<StoredCarrier[]> {
    return this.query<StoredCarrier>(CARRIERS)
  }

  routes(): Promise<StoredRoute[]> {
    return this.query<StoredRoute>(ROUTES)
  }

  networks(): Promise<NetworkRow[]> {
    return this.query<NetworkRow>('select mccmnc, name, prefixes from networks order by mccmnc')
  }

  blocked(): Promise<BlockedRow[]> {
    return this.query<BlockedRow>('select account, prefix, reason from blocked order by account, prefix')
  }

  inbound(): Promise<StoredInbound[]> {
    return this.query<StoredInbound>(INBOUND)
  }

  /** Without their prices. */
  tariffs(): Promise<StoredTariff[]> {
    return this.query<StoredTariff>('select id, name, settings from tariffs order by id')
  }

  /** Hands a tariff's prices to `take`, so many at a time, all as of one moment. */
  async prices(tariff: number, count: number, take: (prices: StoredPrice[]) => Promise<void>): Promise<void> {
    this.closing.throwIfAborted()
    await this.store.withClient(async client => {
      await client.query('begin isolation level repeatable read read only')
      try {
        await client.query(OPEN_PRICES, [tariff])
        for (;;) {
          const { rows } = await client.query<{ price: StoredPrice }>(`fetch ${count} from prices`)
          if (rows.length === 0) break
          await take(rows.map(({ price }) => price))
          this.closing.throwIfAborted()
        }
      } finally {
        await client.query('rollback').catch(() => {})
      }
    })
  }

  private async query<Row extends QueryResultRow>(text: string, values?: unknown[]): Promise<Row[]> {
    this.closing.throwIfAborted()
    return (await this.store.query<Row>(text, values)).rows
  }
}

const HEAD = `
  select identity, key_check as "keyCheck",
    (select coalesce(min(number), 0) from changes) as oldest,
    (select coalesce(max(number), 0) from changes) as newest
  from gateway`
const CHANGES = 'select number, what, id from changes where number > $1 order by number limit $2'
const PRUNE = 'delete from changes where at < now() - $1::interval and number < (select max(number) from changes)'

interface AccountRow {
  id: number
  system_id: string
  account_group: string
  secret: Buffer | null
  suspended: string | null
  throughput: number
  max_binds: number
  class: MessageClass
  weight: number
  max_waiting: number | null
  service_types: Record<string, MessageClass>
  credit_micros: number | null
  quiet_hours: string | null
  smpp: Record<string, unknown>
  mail: Record<string, unknown>
  consent: Record<string, unknown>
  hooks: StoredHook[]
  senders: string[]
  limits: Record<string, unknown>
  tariff: number | null
  otp: Record<string, unknown>
}
const ACCOUNTS = `
  select id, system_id, account_group, secret, suspended, throughput, max_binds, class, weight, max_waiting, service_types,
    credit_micros, quiet_hours, smpp, mail, consent, otp, limits, tariff, array(select address from senders where account = a.id) as senders,
    (select coalesce(jsonb_agg(jsonb_build_object('id', id, 'slot', slot, 'url', url, 'events', events,
      'secret', encode(secret, 'base64'), 'oldSecret', encode(old_secret, 'base64'),
      'oldUntilMs', floor(extract(epoch from old_until) * 1000), 'disabled', disabled, 'settings', settings)
      order by slot), '[]') from webhooks where account = a.id) as hooks
  from accounts a`

const toRecord = (row: AccountRow): AccountRecord => ({
  id: row.id,
  systemId: row.system_id,
  group: row.account_group,
  secret: row.secret,
  suspended: row.suspended,
  throughput: row.throughput,
  maxBinds: row.max_binds,
  rank: rankOf(row.class),
  weight: row.weight,
  maxWaiting: row.max_waiting,
  serviceTypes: Object.entries(row.service_types).map(([type, name]) => [type, rankOf(name)]),
  senders: row.senders,
  creditMicros: row.credit_micros,
  quietHours: row.quiet_hours,
  smpp: row.smpp,
  mail: row.mail,
  consent: row.consent,
  hooks: row.hooks,
  limits: row.limits,
  tariff: row.tariff ?? 0,
  otp: row.otp,
})

interface Owner<What extends OwnedBy> {
  name: string
  owned: Owned[What]
}
/** As {@link StoredGrant} has it. */
const GRANT = `
  json_build_array(account, id, scopes, kind, coalesce(floor(extract(epoch from expires_at) * 1000), 0), allow_from)`
const OWNERS: Readonly<Record<OwnedBy, string>> = {
  keys: `select encode(hash, 'hex') as name, ${GRANT} as owned from api_keys
    where hash = any(select decode(unnest($1::text[]), 'hex'))`,
  numbers: 'select number as name, account as owned from numbers where number = any($1)',
}
const OWNERS_AFTER: Readonly<Record<OwnedBy, string>> = {
  keys: `select encode(hash, 'hex') as name, ${GRANT} as owned from api_keys
    where hash > decode($1, 'hex') order by hash limit $2`,
  numbers: 'select number as name, account as owned from numbers where number > $1 order by number limit $2',
}
const CARRIERS = `
  select id, name, kind, settings, encode(secret, 'base64') as secret, paused from carriers order by id`
/** As {@link StoredPrice} has them. */
const OPEN_PRICES = `
  declare prices no scroll cursor for
  select json_build_array(prefix, rank,
    case when isfinite(from_at) then floor(extract(epoch from from_at) * 1000) end, micros) as price
  from tariff_prices where tariff = $1`
const ROUTES = 'select id, position, name, match, targets, choose_by, named from routes order by position, id'
