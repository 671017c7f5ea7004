// Prices of a tariff as a file: CSV of any length in, staged and checked whole before one row is written, all in one
// transaction; and out again, so that what was written can be read. In memory there is a chunk of the file at a time.

import { messageClasses } from '../model/message.js'
import { microsOf } from '../model/money.js'
import { copyCsv, NoCsv } from '../store/csvCopy.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { type Actor, audited } from './audit.js'
import { NoTariff, type PriceEntry, priceEntry } from './tariffRows.js'
import { isPriceMoment, MAX_PRICE, PRICE_YEARS } from './tariffs.js'
import { LOCK } from './writing.js'

export interface TariffImport {
  /** What is in the tariff and not in the file goes. */
  readonly replaces: boolean
  /** Not if more than half of the prices would go. */
  readonly keepsHalf: boolean
  /** All is done and nothing kept. */
  readonly dryRun: boolean
  /** Octets of the file that were read; then rows that were written, of so many. */
  progress(what: 'read' | 'written', n: number, of: number | null): void
}

export interface TariffImported {
  rows: number
  added: number
  changed: number
  unchanged: number
  removed: number
  dry_run: boolean
}

export interface FileFault {
  line: number
  text: string
}

/** The file has faults: nothing of it was written. */
export class PricesFaulty extends Error {
  /** The first of them, by line. */
  readonly faults: readonly FileFault[]
  readonly count: number

  constructor(faults: readonly FileFault[], count: number) {
    super(`the file has faults: ${count}; nothing was changed`)
    this.faults = faults
    this.count = count
  }
}

/** More than half of the prices would be gone: nothing of the file was written. */
export class MostGone extends Error {
  readonly removed: number
  /** There are so many. */
  readonly of: number

  constructor(removed: number, of: number) {
    super(`${removed} of ${of} prices would be removed; nothing was changed`)
    this.removed = removed
    this.of = of
  }
}

const MAX_FAULTS = 1_000
const MAX_CELL = 40
/** Rows of a statement. */
const SLICE = 10_000
const COLUMNS = ['prefix', 'price', 'class', 'from'] as const
type Column = (typeof COLUMNS)[number]
const CLASSES: ReadonlyMap<string, number> = new Map<string, number>([
  ['', -1],
  ...messageClasses.map((name, rank) => [name, rank] as [string, number]),
])
const MOMENT = /^(\d{4}-\d\d-\d\d)(?:T(?:[01]\d|2[0-3]):\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d))?$/
const PRICES_HEAD = 'prefix,class,from,price'
const NOTHING_LEFT = 'is followed by no prices: in place of those there are, that would leave the tariff without any'

/** Throws {@link PricesFaulty}, {@link MostGone}, {@link NoTariff}, or what SQL or the octets throw. */
export function importPrices(
  store: Pick<Store, 'withClient'>,
  actor: Actor,
  name: string,
  octets: AsyncIterable<Buffer>,
  options: TariffImport,
): Promise<TariffImported> {
  // Not `transaction`: the file cannot be read a second time.
  return store.withClient(async client => {
    await client.query('begin')
    try {
      const { rows } = await client.query<{ id: number }>('select id from tariffs where name = $1', [name])
      if (rows[0] === undefined) throw new NoTariff(name)
      await client.query(STAGED)
      const faults = new Faults()
      const staged = await stage(client, octets, faults, options)
      // A file that was cut off, or that lost its rows on the way, must not end every price.
      if (options.replaces && staged.rows === 0 && faults.count === 0) faults.add(1, NOTHING_LEFT)
      await client.query('create index on staged (line)')
      await client.query('analyze staged')
      await findTwice(client, faults)
      faults.end()
      // From here on other writers of the directory wait.
      await client.query('select pg_advisory_xact_lock($1)', [LOCK])
      // Removed while the file was read.
      if ((await client.query('select from tariffs where name = $1', [name])).rowCount === 0) throw new NoTariff(name)
      const done = await write(client, rows[0].id, staged, options)
      const result = { rows: staged.rows, ...done, dry_run: options.dryRun }
      if (options.dryRun) await client.query('rollback')
      else {
        const changes = { ...result, replace: options.replaces }
        await client.query('update tariffs set updated_at = now() where id = $1', [rows[0].id])
        await audited(client, actor, { action: 'tariff.import', subject: name, changes })
        await client.query('commit')
      }
      return result
    } catch (error) {
      await client.query('rollback').catch(() => {})
      throw error
    }
  })
}

class Faults {
  readonly all: FileFault[] = []
  count = 0

  add(line: number, text: string): void {
    this.count++
    if (this.all.length < MAX_FAULTS) this.all.push({ line, text })
  }

  /** Throws if there are any. */
  end(): void {
    if (this.count === 0) return
    throw new PricesFaulty(
      this.all.sort((a, b) => a.line - b.line),
      this.count,
    )
  }
}

interface Staged {
  rows: number
  lastLine: number
}

async function stage(
  client: SqlClient,
  octets: AsyncIterable<Buffer>,
  faults: Faults,
  { progress }: TariffImport,
): Promise<Staged> {
  const staged: Staged = { rows: 0, lastLine: 0 }
  let places: Map<Column, number> | undefined
  const rows = (cells: readonly string[], line: number): string => {
    if (cells.length === 1 && cells[0]?.trim() === '') return ''
    if (places === undefined) {
      places = headOf(cells, line, faults)
      return ''
    }
    const row = rowOf(cells, places, line, faults)
    if (row === undefined) return ''
    staged.rows++
    staged.lastLine = line
    return row
  }
  try {
    await copyCsv(client, octets, {
      statement: 'copy staged from stdin',
      allowsBareQuotes: false,
      rows,
      progress: read => progress('read', read, null),
    })
  } catch (error) {
    if (!(error instanceof NoCsv)) throw error
    faults.add(error.line, `is no CSV: ${error.message}`)
    faults.end()
  }
  if (places === undefined) faults.add(1, `has no line with the names of its columns: ${PRICES_HEAD}`)
  return staged
}

function headOf(cells: readonly string[], line: number, faults: Faults): Map<Column, number> {
  const places = new Map<Column, number>()
  for (const [place, cell] of cells.entries()) {
    const name = cell.trim().toLowerCase() as Column
    if (!COLUMNS.includes(name))
      faults.add(line, `names a column that is none: ${shown(cell)}; they are ${PRICES_HEAD}`)
    else if (places.has(name)) faults.add(line, `names the column ${name} twice`)
    else places.set(name, place)
  }
  for (const name of ['prefix', 'price'] as const) {
    if (!places.has(name)) faults.add(line, `names no column ${name}`)
  }
  // Nothing below it means anything then.
  if (faults.count > 0) faults.end()
  return places
}

/** A line for COPY; undefined: it has faults. */
function rowOf(
  cells: readonly string[],
  places: ReadonlyMap<Column, number>,
  line: number,
  faults: Faults,
): string | undefined {
  const before = faults.count
  const cell = (name: Column): string => (cells[places.get(name) ?? -1] ?? '').trim()
  if (cells.length > places.size) faults.add(line, `has ${cells.length} cells, and the first line ${places.size}`)
  const written = cell('prefix')
  const prefix = written === 'default' ? '' : written.replace(/^\+/, '')
  if (written !== 'default' && !/^\d{1,15}$/.test(prefix)) {
    faults.add(line, `prefix must be the first digits of a number, or default, not ${shown(written)}`)
  }
  const rank = CLASSES.get(cell('class').toLowerCase())
  if (rank === undefined) {
    faults.add(line, `class must be ${messageClasses.join(', ')} or empty, not ${shown(cell('class'))}`)
  }
  const from = cell('from')
  const fromMs = from === '' ? null : momentMs(from)
  if (Number.isNaN(fromMs)) {
    faults.add(line, `from must be a day or a moment like 2030-12-31T00:00:00Z, not ${shown(from)}`)
  } else if (fromMs !== null && !isPriceMoment(fromMs)) faults.add(line, `from ${PRICE_YEARS}, not ${shown(from)}`)
  const price = cell('price')
  const micros = price.toLowerCase() === 'none' ? null : microsOf(price)
  if (micros === undefined || (micros !== null && (micros < 0 || micros > MAX_PRICE))) {
    faults.add(line, `price must be an amount like 0.05 with up to six decimals, or none, not ${shown(price)}`)
  }
  if (faults.count > before) return undefined
  const moment = fromMs === null ? '-infinity' : new Date(fromMs).toISOString()
  return `${line}\t${prefix}\t${rank}\t${moment}\t${micros ?? '\\N'}\n`
}

/** NaN: it is none, or of a day that no calendar has. */
function momentMs(text: string): number {
  const day = MOMENT.exec(text)?.[1]
  if (day === undefined) return Number.NaN
  // 2030-02-30 would be 2 March.
  const dayMs = Date.parse(day)
  return !Number.isNaN(dayMs) && new Date(dayMs).toISOString().startsWith(day) ? Date.parse(text) : Number.NaN
}

const shown = (text: string): string => (text === '' ? 'nothing' : JSON.stringify(text.slice(0, MAX_CELL)))

/** A price that stands in two lines: which of them is meant nobody can say. */
async function findTwice(client: SqlClient, faults: Faults): Promise<void> {
  const { rows } = await client.query<{ line: number; first: number }>(TWICE, [MAX_FAULTS])
  for (const { line, first } of rows) faults.add(line, `is of the same prefix, class and moment as line ${first}`)
}

async function write(
  client: SqlClient,
  tariff: number,
  { rows, lastLine }: Staged,
  { replaces, keepsHalf, dryRun, progress }: TariffImport,
): Promise<Omit<TariffImported, 'rows' | 'dry_run'>> {
  const removed = replaces ? ((await client.query(REMOVE, [tariff])).rowCount ?? 0) : 0
  if (removed > 0 && keepsHalf && !dryRun) {
    const [left] = (await client.query<{ n: number }>(COUNT, [tariff])).rows
    const had = removed + (left?.n ?? 0)
    if (2 * removed > had) throw new MostGone(removed, had)
  }
  let added = 0
  let changed = 0
  for (let from = 0; from < lastLine; from += SLICE) {
    const put = await client.query<{ added: number; changed: number }>(PUT, [tariff, from, from + SLICE])
    added += put.rows[0]?.added ?? 0
    changed += put.rows[0]?.changed ?? 0
    progress('written', Math.min(from + SLICE, rows), rows)
  }
  return { added, changed, unchanged: rows - added - changed, removed }
}

/** All prices as CSV, with a heading: what {@link importPrices} reads. Throws {@link NoTariff}, or what SQL throws. */
export function exportPrices(
  store: Pick<Store, 'withClient'>,
  name: string,
  take: (text: string) => Promise<void>,
): Promise<void> {
  return store.withClient(async client => {
    await client.query('begin read only')
    try {
      const { rows } = await client.query<{ id: number }>('select id from tariffs where name = $1', [name])
      if (rows[0] === undefined) throw new NoTariff(name)
      await client.query(`declare prices no scroll cursor for ${ALL} ${rows[0].id} order by prefix, rank, from_at`)
      await take(`${PRICES_HEAD}\r\n`)
      for (;;) {
        const page = await client.query<Parameters<typeof priceEntry>[0]>(`fetch ${SLICE} from prices`)
        if (page.rows.length === 0) return
        await take(page.rows.map(row => lineOf(priceEntry(row))).join(''))
      }
    } finally {
      await client.query('rollback').catch(() => {})
    }
  })
}

const lineOf = (one: PriceEntry): string =>
  `${one.prefix},${one.class ?? ''},${one.from ?? ''},${one.price ?? 'none'}\r\n`

const STAGED = `
  create temp table staged (line int, prefix text collate "C", rank smallint, from_at timestamptz, micros bigint)
  on commit drop`
const TWICE = `
  select s.line, d.first from staged s
  join (select prefix, rank, from_at, min(line) as first from staged group by 1, 2, 3 having count(*) > 1) d
    using (prefix, rank, from_at)
  where s.line > d.first order by s.line limit $1`
const REMOVE = `
  delete from tariff_prices p where p.tariff = $1 and not exists
    (select from staged s where s.prefix = p.prefix and s.rank = p.rank and s.from_at = p.from_at)`
const COUNT = 'select count(*) as n from tariff_prices where tariff = $1'
const PUT = `
  with put as (
    insert into tariff_prices (tariff, prefix, rank, from_at, micros)
    select $1, prefix, rank, from_at, micros from staged where line > $2 and line <= $3
    on conflict (tariff, prefix, rank, from_at) do update set micros = excluded.micros
    where tariff_prices.micros is distinct from excluded.micros returning xmax = 0 as added
  )
  select count(*) filter (where added) as added, count(*) filter (where not added) as changed from put`
const ALL = 'select prefix, rank, from_at, micros from tariff_prices where tariff ='
