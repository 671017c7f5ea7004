// Do-not-disturb lists in SQL: numbers put in, taken out, written out. One transaction a change, one change number for all
// of it, and memory for some thousand numbers at a time, however long the list is. How nodes follow is dnd.ts's.

import type { SqlClient, Store } from '../store/postgres.js'
import { CONSENT_CHANNEL } from './consentRows.js'
import { type Block, blockOf, cutBlocks, difference, numbersOf, union } from './dndBlocks.js'

/** Which list: `account` 0 = everybody's. */
export interface DndName {
  readonly account: number
  readonly name: string
}

export interface DndChange {
  /** Numbers that were not there before, or are there no more. */
  changed: number
  /** That were there already, or never. */
  unchanged: number
  /** In the list now. */
  total: number
}

export interface DndEntry {
  /** system_id; null = everybody's. */
  account: string | null
  name: string
  numbers: number
  updated_at: string
}

/** Writers of lists come one after the other; those of consent do not wait for them. */
const LOCK = 5494789
/** Blocks in one statement. */
const PAGE = 25

/** The lists there are. */
export async function dndLists(store: Store): Promise<DndEntry[]> {
  return (await store.query<DndEntry & Record<string, unknown>>(LISTS)).rows
}

/**
 * Puts numbers (see phoneKey) into a list, which is made if there is none, or takes them out. They come in slices of some
 * thousand, each rising and after the one before. Undefined: no such list to take from.
 *
 * @param replaces what was in the list goes, in the same transaction
 */
export async function changeDnd(
  client: SqlClient,
  list: DndName,
  what: 'add' | 'remove',
  slices: AsyncIterable<readonly number[]> | Iterable<readonly number[]>,
  replaces = false,
): Promise<DndChange | undefined> {
  await client.query('select pg_advisory_xact_lock($1)', [LOCK])
  const { rows } = await client.query<ListRow>(what === 'add' ? MAKE_LIST : FIND_LIST, [list.account, list.name])
  const found = rows[0]
  if (found === undefined) return undefined
  const { id, change } = found
  const version = replaces ? found.version + 1 : found.version
  const blocks = new Blocks(client, id, version, change)
  await blocks.begin()
  const before = replaces ? 0 : found.numbers
  let changed = 0
  let given = 0
  for await (const numbers of slices) {
    given += numbers.length
    changed += await blocks.change(what, numbers)
  }
  const total = what === 'add' ? before + changed : before - changed
  await client.query(CLOSE_LIST, [id, version, total, change])
  if (replaces) await client.query('delete from dnd_blocks where list = $1 and version <> $2', [id, version])
  await client.query(`notify ${CONSENT_CHANNEL}`)
  return { changed, unchanged: given - changed, total }
}

/** False: there was none. */
export async function dropDnd(store: Store, { account, name }: DndName): Promise<boolean> {
  return store.transaction(async client => {
    await client.query('select pg_advisory_xact_lock($1)', [LOCK])
    const { rowCount } = await client.query('delete from dnd_lists where account = $1 and name = $2', [account, name])
    await client.query(`notify ${CONSENT_CHANNEL}`)
    return rowCount === 1
  })
}

/** Its numbers in order, a page of blocks at a time. Undefined: there is no such list. */
export async function exportDnd(
  store: Store,
  { account, name }: DndName,
  write: (numbers: number[]) => unknown,
): Promise<number | undefined> {
  return store.withClient(async client => {
    await client.query('begin isolation level repeatable read read only')
    try {
      const { rows } = await client.query<Omit<ListRow, 'change'>>(EXPORT_LIST, [account, name])
      const list = rows[0]
      if (list === undefined) return undefined
      for (let after = -1; ; ) {
        const page = await client.query<Block>(PAGE_OF_BLOCKS, [list.id, list.version, after, PAGE])
        const last = page.rows.at(-1)
        if (last === undefined) return list.numbers
        await write(page.rows.flatMap(numbersOf))
        after = last.first
      }
    } finally {
      await client.query('rollback')
    }
  })
}

/** The blocks of one list while it is changed. */
class Blocks {
  private readonly client: SqlClient
  private readonly list: number
  private readonly version: number
  private readonly changeNumber: number
  /** Where each begins. */
  private firsts: number[] = []

  constructor(client: SqlClient, list: number, version: number, changeNumber: number) {
    this.client = client
    this.list = list
    this.version = version
    this.changeNumber = changeNumber
  }

  async begin(): Promise<void> {
    const { rows } = await this.client.query<{ first: number }>(
      'select first from dnd_blocks where list = $1 and version = $2 order by first',
      [this.list, this.version],
    )
    this.firsts = rows.map(({ first }) => first)
  }

  /** How many of `numbers`, which rise, it made a difference for. */
  async change(what: 'add' | 'remove', numbers: readonly number[]): Promise<number> {
    const groups = this.grouped(numbers)
    const merge = what === 'add' ? union : difference
    let changed = 0
    for (let from = 0; from < groups.length; from += PAGE) {
      const page = groups.slice(from, from + PAGE)
      const there = await this.read(page.flatMap(({ first }) => first ?? []))
      const blocks = page.flatMap(group => {
        const before = group.first === undefined ? [] : (there.get(group.first) ?? [])
        const after = merge(before, group.numbers)
        if (after.length === before.length) return []
        changed += Math.abs(after.length - before.length)
        return cutBlocks(after, group.first)
      })
      await this.write(blocks)
    }
    return changed
  }

  /** By the block they belong to; before the first block there is none. */
  private grouped(numbers: readonly number[]): { first: number | undefined; numbers: number[] }[] {
    const groups: { first: number | undefined; numbers: number[] }[] = []
    let current = { first: undefined as number | undefined, numbers: [] as number[] }
    let end = Number.NEGATIVE_INFINITY
    for (const number of numbers) {
      if (number >= end) {
        const index = blockOf(this.firsts, number)
        end = this.firsts[index + 1] ?? Number.POSITIVE_INFINITY
        current = { first: this.firsts[index], numbers: [] }
        groups.push(current)
      }
      current.numbers.push(number)
    }
    return groups
  }

  private async read(firsts: readonly number[]): Promise<Map<number, number[]>> {
    if (firsts.length === 0) return new Map()
    const { rows } = await this.client.query<Block>(READ_BLOCKS, [this.list, this.version, firsts])
    return new Map(rows.map(block => [block.first, numbersOf(block)]))
  }

  private async write(blocks: readonly Block[]): Promise<void> {
    for (let from = 0; from < blocks.length; from += PAGE) {
      const page = blocks.slice(from, from + PAGE)
      await this.client.query(WRITE_BLOCKS, [
        this.list,
        this.version,
        page.map(({ first }) => first),
        page.map(({ numbers }) => numbers),
        this.changeNumber,
      ])
    }
    const fresh = blocks.map(({ first }) => first).filter(first => this.firsts[blockOf(this.firsts, first)] !== first)
    if (fresh.length === 0) return
    const isLast = (fresh[0] as number) > (this.firsts.at(-1) ?? -1)
    for (const first of fresh) this.firsts.push(first)
    if (!isLast) this.firsts.sort((a, b) => a - b)
  }
}

interface ListRow {
  id: number
  version: number
  numbers: number
  change: number
}
const LISTS = `
  select case when l.account = 0 then null else coalesce(a.system_id, '#' || l.account) end as account, l.name, l.numbers,
    to_char(l.updated_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as updated_at
  from dnd_lists l left join accounts a on a.id = l.account order by l.account, l.name`
const FIND_LIST = `
  select id, version, numbers, nextval('consent_change') as change from dnd_lists where account = $1 and name = $2`
const EXPORT_LIST = 'select id, version, numbers from dnd_lists where account = $1 and name = $2'
const MAKE_LIST = `
  insert into dnd_lists (account, name, change) values ($1, $2, nextval('consent_change'))
  on conflict (account, name) do update set change = excluded.change
  returning id, version, numbers, change`
const CLOSE_LIST = `
  update dnd_lists set version = $2, numbers = $3, change = $4, updated_at = now() where id = $1`
const READ_BLOCKS =
  'select first, numbers from dnd_blocks where list = $1 and version = $2 and first = any($3::bigint[])'
const WRITE_BLOCKS = `
  insert into dnd_blocks (list, version, first, numbers, change)
  select $1, $2, first, numbers, $5 from unnest($3::bigint[], $4::bytea[]) as b(first, numbers)
  on conflict (list, version, first) do update set numbers = excluded.numbers, change = excluded.change`
const PAGE_OF_BLOCKS = `
  select first, numbers from dnd_blocks where list = $1 and version = $2 and first > $3 order by first limit $4`
