// The tariffs of a gateway file as rows, and the rows as the file's section: of any length, a slice at a time. Knows how
// tariffs and prices are told apart; what may stand in them tariffs.ts says.

import { yaml } from '../base/yaml.js'
import { messageClasses } from '../model/message.js'
import { unitsText } from '../model/money.js'
import type { SqlClient } from '../store/postgres.js'
import type { SectionReport } from './gatewayApply.js'
import {
  type FileTariff,
  priceKey,
  type StoredPrice,
  type StoredTariff,
  storedTariffSettings,
  tariffSettings,
} from './tariffs.js'
import { Refused } from './writing.js'

/** Prices in one statement: what keeps the event loop under 5 ms. */
const SLICE = 1_000

/** By name; those that the file leaves out stay until {@link removeTariffs}: accounts may still have them. */
export async function applyTariffs(client: SqlClient, tariffs: readonly FileTariff[]): Promise<SectionReport> {
  const report: SectionReport = { created: 0, updated: 0, removed: 0, unchanged: 0 }
  const { rows } = await client.query<StoredTariff>('select id, name, settings from tariffs')
  const present = new Map(rows.map(row => [row.name, row]))
  for (const one of tariffs) {
    const known = present.get(one.name)
    const settings = JSON.stringify(storedTariffSettings(one))
    const isSame =
      known !== undefined && JSON.stringify(storedTariffSettings(tariffSettings.parse(known.settings))) === settings
    const id = known?.id ?? (await created(client, one.name, settings))
    if (known !== undefined && !isSame) await client.query(CHANGE, [id, settings])
    const changed = await putPrices(client, id, one.prices)
    if (known === undefined) report.created++
    else if (changed || !isSame) report.updated++
    else report.unchanged++
  }
  return report
}

async function created(client: SqlClient, name: string, settings: string): Promise<number> {
  const { rows } = await client.query<{ id: number }>(CREATE, [name, settings])
  return (rows[0] as { id: number }).id
}

/** The tariff has these prices and no others. True when anything was different. */
export async function putPrices(client: SqlClient, tariff: number, prices: readonly StoredPrice[]): Promise<boolean> {
  await client.query(STAGE)
  for (let from = 0; from < prices.length; from += SLICE)
    await client.query(FILL, [JSON.stringify(prices.slice(from, from + SLICE).map(stagedPrice))])
  await client.query('analyze staged_prices')
  const removed = await client.query(REMOVE_PRICES, [tariff])
  const put = await client.query(PUT_PRICES, [tariff])
  await client.query('drop table staged_prices')
  return (removed.rowCount ?? 0) + (put.rowCount ?? 0) > 0
}

const stagedPrice = ([prefix, rank, fromMs, micros]: StoredPrice): object => ({
  prefix,
  rank,
  from_at: fromMs === null ? '-infinity' : new Date(fromMs).toISOString(),
  micros,
})

/** Those that the file leaves out. Throws {@link Refused} while an account has one of them. */
export async function removeTariffs(client: SqlClient, tariffs: readonly FileTariff[]): Promise<number> {
  const names = tariffs.map(({ name }) => name)
  const used = await client.query<{ name: string; account: string }>(
    `select t.name, a.system_id as account from tariffs t join accounts a on a.tariff = t.id
    where t.name <> all($1) order by t.name, a.system_id limit 1`,
    [names],
  )
  const first = used.rows[0]
  if (first) throw new Refused('tariffs', `leaves out ${first.name}, which is the tariff of ${first.account}`)
  return (await client.query('delete from tariffs where name <> all($1)', [names])).rowCount ?? 0
}

/** Two prices of one prefix, class and moment, by their places; undefined: there are none. */
export function twicePriced(prices: readonly StoredPrice[]): number | undefined {
  const seen = new Set<string>()
  for (const [i, price] of prices.entries()) {
    const key = priceKey(price)
    if (seen.has(key)) return i
    seen.add(key)
  }
  return undefined
}

/** Writes the section `tariffs` of a gateway file, in pieces. */
export async function writeTariffs(client: SqlClient, write: (piece: string) => unknown): Promise<void> {
  const { rows } = await client.query<StoredTariff & { plain: boolean; priced: boolean }>(TARIFFS)
  if (rows.length === 0) {
    await write('tariffs: []\n')
    return
  }
  await write('tariffs:\n')
  for (const { id, name, settings, plain, priced } of rows) {
    await write(
      yaml()
        .stringify([{ name, ...settings }], { lineWidth: 0 })
        .replace(/^(?=.)/gm, '  '),
    )
    if (!priced) continue
    await write('    prices:\n')
    await client.query(PRICES, [id])
    for (;;) {
      const piece = await client.query<WrittenPrice>(`fetch ${SLICE} from prices`)
      if (piece.rows.length === 0) break
      await write(piece.rows.map(plain ? plainLine : line).join(''))
    }
    await client.query('close prices')
  }
}

interface WrittenPrice {
  prefix: string
  rank: number
  /** ms; null = ever since. */
  from: number | null
  micros: number | null
}

const plainLine = ({ prefix, micros }: WrittenPrice): string =>
  `      ${prefix === '' ? 'default' : JSON.stringify(prefix)}: ${unitsText(micros as number)}\n`

function line({ prefix, rank, from, micros }: WrittenPrice): string {
  const of = rank === -1 ? '' : `, class: ${messageClasses[rank]}`
  const since = from === null ? '' : `, from: ${JSON.stringify(new Date(from).toISOString())}`
  return `      - { prefix: ${JSON.stringify(prefix)}${of}${since}, price: ${micros === null ? 'null' : unitsText(micros)} }\n`
}

const CREATE = 'insert into tariffs (name, settings) values ($1, $2) returning id'
const CHANGE = 'update tariffs set settings = $2, updated_at = now() where id = $1'
const STAGED = 'prefix text, rank smallint, from_at timestamptz, micros bigint'
const STAGE = `create temp table staged_prices (${STAGED}) on commit drop`
const FILL = `insert into staged_prices select * from jsonb_to_recordset($1::jsonb) as one(${STAGED})`
const REMOVE_PRICES = `
  delete from tariff_prices d where tariff = $1 and not exists (
    select from staged_prices s where (s.prefix, s.rank, s.from_at) = (d.prefix, d.rank, d.from_at))`
const PUT_PRICES = `
  insert into tariff_prices (tariff, prefix, rank, from_at, micros)
  select $1::int, prefix, rank, from_at, micros from staged_prices
  on conflict (tariff, prefix, rank, from_at) do update set micros = excluded.micros
  where tariff_prices.micros is distinct from excluded.micros`
const TARIFFS = `
  select id, name, settings,
    exists (select from tariff_prices where tariff = t.id) as priced,
    not exists (select from tariff_prices where tariff = t.id
      and (rank <> -1 or from_at <> '-infinity' or micros is null)) as plain
  from tariffs t order by id`
const PRICES = `
  declare prices no scroll cursor for
  select prefix, rank, case when isfinite(from_at) then floor(extract(epoch from from_at) * 1000)::bigint end as "from",
    micros
  from tariff_prices where tariff = $1 order by prefix, rank, from_at`
