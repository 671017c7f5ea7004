// Tariffs as rows: listed with the accounts that use them, made, changed, removed; single prices set and taken away; and the
// row that a number's price stands in. Each change with its line of audit. Files of prices are tariffImport's.

import { type MessageClass, messageClasses, rankOf } from '../model/message.js'
import { unitsText } from '../model/money.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import type { Secrets } from './secrets.js'
import { backOf, type StoredPrice, storedTariffSettings, type TariffSettings, tariffSettings } from './tariffs.js'
import { writing } from './writing.js'

export interface TariffEntry {
  name: string
  prices: number
  margins: number
  /** Ends after which a charge is given back. */
  gives_back: readonly string[]
  /** Also when a carrier took the message, and it ended so afterwards. */
  gives_back_taken: boolean
  /** How many use it. */
  accounts: number
  updated_at: string
}

export interface PriceEntry {
  /** `default`: whatever no other prefix matches. */
  prefix: string
  /** null = every class. */
  class: MessageClass | null
  /** null = ever since. */
  from: string | null
  /** null = from then on there is no price any more. */
  micros: number | null
  price: string | null
}

export interface TariffShown extends TariffEntry {
  /** As in a gateway file. */
  settings: Record<string, unknown>
  /** The first of them. */
  used_by: string[]
}

/** There is no such tariff. */
export class NoTariff extends Error {
  constructor(name: string) {
    super(`there is no tariff ${name}: 'trunkline tariff list' shows those there are`)
  }
}

/** It cannot be so, or not now; nothing was changed. */
export class TariffRefused extends Error {}

type Writer = Pick<Store, 'transaction'>
type Reader = Pick<Store, 'query'>

const USERS_SHOWN = 200
/** Prices in one request; a file has any number. */
export const MAX_PRICES = 1_000

export async function tariffEntries(store: Reader): Promise<TariffEntry[]> {
  const { rows } = await store.query<TariffRow>(`${TARIFFS} order by t.name`)
  return rows.map(entryOf)
}

/** Throws {@link NoTariff}, or what SQL throws. */
export async function tariffShown(store: Reader, name: string): Promise<TariffShown> {
  const { rows } = await store.query<TariffRow>(`${TARIFFS} where t.name = $1`, [name])
  const [row] = rows
  if (row === undefined) throw new NoTariff(name)
  const users = await store.query<{ system_id: string }>(USERS, [row.id, USERS_SHOWN])
  return { ...entryOf(row), settings: row.settings, used_by: users.rows.map(({ system_id }) => system_id) }
}

/** Throws {@link NoTariff}, or what SQL throws. */
export async function tariffId(store: Reader, name: string): Promise<number> {
  const { rows } = await store.query<{ id: number }>('select id from tariffs where name = $1', [name])
  if (rows[0] === undefined) throw new NoTariff(name)
  return rows[0].id
}

/** In the order of their prefixes: up to `limit` behind the place `after`, those only that begin with `prefix`. */
export async function priceEntries(
  store: Reader,
  name: string,
  { prefix, after, limit }: { prefix: string; after: string; limit: number },
): Promise<{ prices: PriceEntry[]; next: string | null }> {
  const id = await tariffId(store, name)
  const [behind = '', rank = '', from = ''] = after.split(' ')
  const { rows } = await store.query<PriceRow>(PRICES, [
    id,
    prefix,
    after === '' ? null : behind,
    Number(rank || 0),
    from === '' ? '-infinity' : new Date(Number(from)),
    limit,
  ])
  const last = rows.at(-1)
  const next = last === undefined || rows.length < limit ? null : placeOf(last)
  return { prices: rows.map(priceEntry), next }
}

/** Throws {@link TariffRefused}, Refused, or what SQL throws. */
export function createTariff(
  store: Writer,
  secrets: Secrets,
  actor: Actor,
  name: string,
  settings: TariffSettings,
  prices: readonly StoredPrice[],
): Promise<void> {
  return writing(store, secrets, async client => {
    const made = await client.query<{ id: number }>(ADD, [name, JSON.stringify(storedTariffSettings(settings))])
    const id = made.rows[0]?.id
    if (id === undefined) throw new TariffRefused(`there is a tariff ${name} already`)
    await putPrices(client, id, prices)
    const changes = { settings: storedTariffSettings(settings), prices: prices.length }
    await audited(client, actor, { action: 'tariff.create', subject: name, changes })
  })
}

/** What `change` makes of its settings. Throws {@link NoTariff}, {@link TariffRefused}, Refused, or what SQL throws. */
export function changeTariff(
  store: Writer,
  secrets: Secrets,
  actor: Actor,
  name: string,
  change: (present: TariffSettings) => TariffSettings,
): Promise<void> {
  return writing(store, secrets, async client => {
    const { id, settings } = await locked(client, name)
    const next = storedTariffSettings(change(tariffSettings.parse(settings)))
    await client.query('update tariffs set settings = $2, updated_at = now() where id = $1', [id, JSON.stringify(next)])
    await audited(client, actor, { action: 'tariff.settings', subject: name, changes: next })
  })
}

export interface PriceChange {
  set: number
  unset: number
}

/** Sets prices, and takes others away by prefix, class and moment. Throws {@link NoTariff}, Refused, or what SQL throws. */
export function changePrices(
  store: Writer,
  secrets: Secrets,
  actor: Actor,
  name: string,
  set: readonly StoredPrice[],
  unset: readonly StoredPrice[],
): Promise<PriceChange> {
  return writing(store, secrets, async client => {
    const { id } = await locked(client, name)
    const gone = await client.query(UNSET, [id, ...columnsOf(unset).slice(0, 3)])
    const put = await putPrices(client, id, set)
    const told = { set: set.map(priceText), unset: unset.map(priceText) }
    if (put + (gone.rowCount ?? 0) > 0) {
      await client.query('update tariffs set updated_at = now() where id = $1', [id])
      await audited(client, actor, { action: 'tariff.prices', subject: name, changes: told })
    }
    return { set: put, unset: gone.rowCount ?? 0 }
  })
}

/** Throws {@link NoTariff}, {@link TariffRefused} while accounts use it, Refused, or what SQL throws. */
export function removeTariff(
  store: Writer,
  secrets: Secrets,
  actor: Actor,
  name: string,
  reason: string,
): Promise<void> {
  return writing(store, secrets, async client => {
    const { id } = await locked(client, name)
    const { rows } = await client.query<{ system_id: string }>(USERS, [id, 4])
    if (rows.length > 0) {
      const names = rows.slice(0, 3).map(({ system_id }) => system_id)
      const more = rows.length > 3 ? ' and others' : ''
      throw new TariffRefused(`${names.join(', ')}${more} use ${name}: give them another tariff first`)
    }
    await client.query('delete from tariffs where id = $1', [id])
    await audited(client, actor, { action: 'tariff.remove', subject: name, reason })
  })
}

/** In the caller's transaction. How many are different now. */
export async function putPrices(client: SqlClient, tariff: number, prices: readonly StoredPrice[]): Promise<number> {
  if (prices.length === 0) return 0
  const { rowCount } = await client.query(SET, [tariff, ...columnsOf(prices)])
  return rowCount ?? 0
}

/** The row that says what a standard segment to these digits costs at a moment; undefined: no row does. */
export async function priceRowOf(
  store: Reader,
  tariff: number,
  digits: string,
  rank: number,
  atMs: number,
): Promise<PriceEntry | undefined> {
  const prefixes = Array.from({ length: Math.min(digits.length, 15) + 1 }, (_, length) => digits.slice(0, length))
  const { rows } = await store.query<PriceRow>(PRICE_OF, [tariff, prefixes, rank, new Date(atMs)])
  return rows[0] && priceEntry(rows[0])
}

interface TariffRow extends Omit<TariffEntry, 'updated_at' | 'margins' | 'gives_back' | 'gives_back_taken'> {
  id: number
  settings: Record<string, unknown>
  updated: Date
}

interface PriceRow {
  prefix: string
  rank: number
  /** -Infinity = ever since. */
  from_at: Date | number
  micros: number | null
}

function entryOf({ name, settings, prices, accounts, updated }: TariffRow): TariffEntry {
  const read = tariffSettings.parse(settings)
  const { after: gives_back, isTakenToo: gives_back_taken } = backOf(read)
  const margins = read.margins.length
  return { name, prices, margins, gives_back, gives_back_taken, accounts, updated_at: updated.toISOString() }
}

export const priceEntry = ({ prefix, rank, from_at, micros }: PriceRow): PriceEntry => ({
  prefix: prefix === '' ? 'default' : prefix,
  class: messageClasses[rank] ?? null,
  from: from_at instanceof Date ? from_at.toISOString() : null,
  micros,
  price: micros === null ? null : unitsText(micros),
})

const placeOf = ({ prefix, rank, from_at }: PriceRow): string =>
  `${prefix} ${rank} ${from_at instanceof Date ? from_at.getTime() : ''}`

/** For the audit. */
const priceText = ([prefix, rank, fromMs, micros]: StoredPrice): string =>
  [
    prefix === '' ? 'default' : prefix,
    ...(rank === -1 ? [] : [messageClasses[rank]]),
    ...(fromMs === null ? [] : [`from ${new Date(fromMs).toISOString()}`]),
    micros === null ? 'none' : unitsText(micros),
  ].join(' ')

export const rankOrAll = (name: MessageClass | null | undefined): number => (name == null ? -1 : rankOf(name))

const columnsOf = (prices: readonly StoredPrice[]): [string[], number[], (Date | string)[], (number | null)[]] => [
  prices.map(([prefix]) => prefix),
  prices.map(([, rank]) => rank),
  prices.map(([, , fromMs]) => (fromMs === null ? '-infinity' : new Date(fromMs))),
  prices.map(([, , , micros]) => micros),
]

async function locked(client: SqlClient, name: string): Promise<{ id: number; settings: Record<string, unknown> }> {
  const { rows } = await client.query<{ id: number; settings: Record<string, unknown> }>(
    'select id, settings from tariffs where name = $1 for update',
    [name],
  )
  if (rows[0] === undefined) throw new NoTariff(name)
  return rows[0]
}

const TARIFFS = `
  select t.id, t.name, t.settings, t.updated_at as updated,
    (select count(*) from tariff_prices p where p.tariff = t.id) as prices,
    (select count(*) from accounts a where a.tariff = t.id) as accounts
  from tariffs t`
const USERS = 'select system_id from accounts where tariff = $1 order by system_id limit $2'
const PRICES = `
  select prefix, rank, from_at, micros from tariff_prices
  where tariff = $1 and starts_with(prefix, $2) and ($3::text is null or (prefix, rank, from_at) > ($3, $4::smallint, $5::timestamptz))
  order by prefix, rank, from_at limit $6`
const ADD = 'insert into tariffs (name, settings) values ($1, $2) on conflict (name) do nothing returning id'
const SET = `
  insert into tariff_prices (tariff, prefix, rank, from_at, micros)
  select $1, * from unnest($2::text[], $3::smallint[], $4::timestamptz[], $5::bigint[])
  on conflict (tariff, prefix, rank, from_at) do update set micros = excluded.micros
  where tariff_prices.micros is distinct from excluded.micros`
const UNSET = `
  delete from tariff_prices p using unnest($2::text[], $3::smallint[], $4::timestamptz[]) u (prefix, rank, from_at)
  where p.tariff = $1 and p.prefix = u.prefix and p.rank = u.rank and p.from_at = u.from_at`
/** As routing's table: of each prefix and class the newest row; the own class before every class; ended ones do not count. */
const PRICE_OF = `
  select * from (
    select distinct on (prefix, rank) prefix, rank, from_at, micros from tariff_prices
    where tariff = $1 and prefix = any($2) and rank in (-1, $3) and from_at <= $4
    order by prefix, rank, from_at desc
  ) newest where micros is not null order by length(prefix) desc, rank desc limit 1`
