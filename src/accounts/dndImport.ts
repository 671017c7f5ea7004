// A file of numbers becomes a do-not-disturb list, or a part of one: read as CSV, staged and sorted by SQL, cut into
// blocks; all in one transaction, and in memory for a chunk of the file at a time. What a number looks like, the caller
// knows.

import { copyCsv, NoCsv } from '../store/csvCopy.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { changeDnd, type DndChange, type DndName } from './dndLists.js'
import { phoneKey } from './phoneKey.js'

export interface DndImport {
  readonly list: DndName
  /** What was in the list goes. */
  readonly replaces: boolean
  /** Of the file: its place from 0, or its name in the first line. */
  readonly column: number | string
  /** Digits of a number, international; undefined when it is none. */
  number(text: string): string | undefined
  /** Octets of the file that were read; and then numbers that were put into the list, of so many at most. */
  progress(what: 'read' | 'written', n: number, of: number | null): void
}

export interface DndImported extends DndChange {
  /** Lines with something in them, but for a heading. */
  lines: number
  /** Of those that are no numbers, the first. */
  bad: { line: number; text: string }[]
  badLines: number
  /** Numbers that came before in the same file. */
  repeated: number
}

/** The file has no such column, or is no CSV. */
export class FileFaulty extends Error {}

const MAX_BAD = 20
const MAX_CELL = 40
/** Numbers in one go. */
const SLICE = 20_000

export async function importDnd(store: Store, octets: AsyncIterable<Buffer>, options: DndImport): Promise<DndImported> {
  // Not `transaction`: the file cannot be read a second time.
  return store.withClient(async client => {
    await client.query('begin')
    try {
      await client.query('create temp table staged (n bigint) on commit drop')
      const lines = await stage(client, octets, options)
      const good = lines.lines - lines.badLines
      const slices = sorted(client, good, options)
      const change = (await changeDnd(client, options.list, 'add', slices, options.replaces)) as DndChange
      await client.query('commit')
      return { ...change, ...lines, repeated: good - change.changed - change.unchanged }
    } catch (error) {
      await client.query('rollback').catch(() => {})
      throw error
    }
  })
}

async function stage(
  client: SqlClient,
  octets: AsyncIterable<Buffer>,
  { column, number, progress }: DndImport,
): Promise<Pick<DndImported, 'lines' | 'bad' | 'badLines'>> {
  const counts = { lines: 0, bad: [] as DndImported['bad'], badLines: 0 }
  let place = typeof column === 'number' ? column : -1
  let isFirst = true
  const rows = (cells: readonly string[], line: number): string => {
    const wasFirst = isFirst
    isFirst = false
    if (wasFirst && typeof column === 'string') {
      place = cells.findIndex(cell => cell.trim().toLowerCase() === column.toLowerCase())
      if (place < 0) throw new FileFaulty(`the first line names no column ${column}: ${cells.join(', ')}`)
      return ''
    }
    const cell = (cells[place] ?? '').trim()
    if (cell === '' && cells.length <= 1) return ''
    const digits = number(cell)
    if (digits !== undefined) {
      counts.lines++
      return `${phoneKey(digits)}\n`
    }
    // A heading is no bad line.
    if (wasFirst && !/\d/.test(cell)) return ''
    counts.lines++
    counts.badLines++
    if (counts.bad.length < MAX_BAD) counts.bad.push({ line, text: cell.slice(0, MAX_CELL) })
    return ''
  }
  try {
    await copyCsv(client, octets, {
      statement: 'copy staged from stdin',
      allowsBareQuotes: true,
      rows,
      progress: read => progress('read', read, null),
    })
  } catch (error) {
    throw error instanceof NoCsv ? new FileFaulty(`the file is no CSV: ${error.message}`) : error
  }
  return counts
}

async function* sorted(client: SqlClient, count: number, { progress }: DndImport): AsyncGenerator<number[]> {
  await client.query('declare numbers no scroll cursor for select distinct n from staged order by n')
  for (let done = 0; ; ) {
    const { rows } = await client.query<[number]>({ text: `fetch ${SLICE} from numbers`, rowMode: 'array' })
    if (rows.length === 0) return
    yield rows.map(([n]) => n)
    done += rows.length
    progress('written', done, count)
  }
}
