// Do-not-disturb lists as this node has them: blocks of numbers in an LMDB environment of its own, and in memory only
// where each block begins, eight octets for a thousand numbers. Follows the lists in SQL; while a list is
// replaced, the one before is heeded.

import { mkdirSync, rmSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import type { Log } from '../base/log.js'
import type { Store } from '../store/postgres.js'
import { blockHas, blockOf } from './dndBlocks.js'

/** Another format on disk is thrown away and loaded anew. */
const FORMAT = 1
/** Blocks in one go: what keeps the event loop under 5 ms. */
const PAGE = 50
const SWEEP = 500

export interface DndListRow {
  readonly id: number
  /** 0 = everybody's. */
  readonly account: number
  readonly name: string
  readonly version: number
  readonly numbers: number
  readonly change: number
}

interface Running extends DndListRow {
  /** Where its blocks begin. */
  firsts: Float64Array
}

type BlockRow = { first: number; numbers: Buffer }

export class Dnd {
  private readonly root: RootDatabase<unknown, string>
  private readonly rows: Database<DndListRow, number>
  /** [list, version, first] -> numbers, see dndBlocks. */
  private readonly blocks: Database<Buffer, number[]>
  private readonly lists = new Map<number, Running>()
  private everybodys: readonly Running[] = []
  private readonly byAccount = new Map<number, Running[]>()

  constructor(path: string) {
    mkdirSync(path, { recursive: true, mode: 0o700 })
    let root = openRoot(path)
    const format = root.get('format')
    if (format !== undefined && format !== FORMAT) {
      void root.close()
      rmSync(path, { recursive: true })
      mkdirSync(path, { mode: 0o700 })
      root = openRoot(path)
    }
    if (format !== FORMAT) root.putSync('format', FORMAT)
    this.root = root
    this.rows = root.openDB({ name: 'lists', keyEncoding: 'uint32' })
    this.blocks = root.openDB({ name: 'blocks', encoding: 'binary' })
    for (const { value } of this.rows.getRange({})) this.use({ ...value, firsts: this.firstsOf(value) })
  }

  // ---- looking up, on the hot path

  /** False: there is no list that the account heeds. */
  concerns(account: number): boolean {
    return this.everybodys.length > 0 || this.byAccount.has(account)
  }

  /** @param phone see phoneKey */
  has(account: number, phone: number): boolean {
    for (const list of this.everybodys) if (this.isIn(list, phone)) return true
    const own = this.byAccount.size === 0 ? undefined : this.byAccount.get(account)
    if (own !== undefined) for (const list of own) if (this.isIn(list, phone)) return true
    return false
  }

  private isIn({ id, version, firsts }: Running, phone: number): boolean {
    const index = blockOf(firsts, phone)
    if (index < 0) return false
    const first = firsts[index] as number
    const numbers = this.blocks.getBinaryFast([id, version, first])
    return numbers !== undefined && blockHas(first, numbers, phone)
  }

  /** The lists that a number is in. */
  listsWith(phone: number): DndListRow[] {
    return [...this.lists.values()].filter(list => this.isIn(list, phone))
  }

  get all(): readonly DndListRow[] {
    return [...this.lists.values()]
  }

  // ---- following SQL

  /** Makes the lists here those in SQL, a slice at a time. True when one has other numbers now. */
  async follow(store: Store, identity: string, log: Log): Promise<boolean> {
    let changed = false
    if (this.root.get('identity') !== identity) {
      await this.rows.clearAsync()
      await this.blocks.clearAsync()
      this.lists.clear()
      this.arrange()
      await this.root.put('identity', identity)
    }
    const { rows } = await store.query<DndListRow & Record<string, unknown>>(LISTS)
    const there = new Set(rows.map(({ id }) => id))
    for (const id of [...this.lists.keys()]) if (!there.has(id)) await this.drop(id)
    for (const row of rows) {
      let here = this.lists.get(row.id)
      if (here?.change === row.change) continue
      if (here !== undefined && here.change > row.change) {
        // The database has been set back.
        await this.drop(row.id)
        here = undefined
      }
      // Replaced or removed while it was loaded: what was read may be a part of it.
      if (!(await this.load(store, row, here))) return (await this.follow(store, identity, log)) || changed
      log.info({ list: row.name, numbers: row.numbers }, 'a do-not-disturb list has changed')
      changed = true
    }
    return changed
  }

  /** False: it is no longer that version, and was not taken. */
  private async load(store: Store, row: DndListRow, here: Running | undefined): Promise<boolean> {
    const isSame = here !== undefined && here.version === row.version
    let firsts = isSame ? here.firsts : new Float64Array()
    for (let after = -1; ; ) {
      const page = (await store.query<BlockRow>(BLOCKS, [row.id, row.version, isSame ? here.change : 0, after, PAGE]))
        .rows
      if (page.length === 0) break
      await this.root.batch(() => {
        for (const { first, numbers } of page) void this.blocks.put([row.id, row.version, first], numbers)
      })
      firsts = joined(
        firsts,
        page.map(({ first }) => first),
      )
      if (isSame) here.firsts = firsts
      after = (page.at(-1) as BlockRow).first
    }
    const { rows } = await store.query<{ version: number }>(VERSION, [row.id])
    if (rows[0]?.version !== row.version) return false
    await this.rows.put(row.id, row)
    this.use({ ...row, firsts })
    if (!isSame) await this.sweep(row.id, row.version)
    return true
  }

  private async drop(id: number): Promise<void> {
    this.lists.delete(id)
    this.arrange()
    await this.rows.remove(id)
    await this.sweep(id, -1)
  }

  /** Removes what the list has of other versions. */
  private async sweep(id: number, version: number): Promise<void> {
    for (const range of [
      { start: [id, 0], end: [id, version] },
      { start: [id, version + 1], end: [id + 1, 0] },
    ]) {
      for (;;) {
        const keys = Array.from(this.blocks.getKeys({ ...range, limit: SWEEP }))
        if (keys.length === 0) break
        await this.root.batch(() => {
          for (const key of keys) void this.blocks.remove(key)
        })
      }
    }
  }

  private firstsOf({ id, version }: DndListRow): Float64Array {
    const keys = this.blocks.getKeys({ start: [id, version], end: [id, version + 1] })
    return Float64Array.from(keys, key => key[2] as number)
  }

  private use(list: Running): void {
    this.lists.set(list.id, list)
    this.arrange()
  }

  private arrange(): void {
    const lists = [...this.lists.values()]
    this.everybodys = lists.filter(({ account }) => account === 0)
    this.byAccount.clear()
    for (const list of lists) {
      if (list.account !== 0) this.byAccount.set(list.account, [...(this.byAccount.get(list.account) ?? []), list])
    }
  }

  async close(): Promise<void> {
    await this.root.close()
  }
}

function openRoot(path: string): RootDatabase<unknown, string> {
  return open({ path, noSubdir: false, overlappingSync: false, maxDbs: 4 })
}

/** Two rising rows as one. The second is short. */
function joined(a: Float64Array, b: readonly number[]): Float64Array {
  // Most of the time all of it comes after the last.
  const fresh = b.filter(first => a[blockOf(a, first)] !== first)
  if (fresh.length === 0) return a
  const all = new Float64Array(a.length + fresh.length)
  all.set(a)
  all.set(fresh, a.length)
  return fresh[0] !== undefined && fresh[0] < (a.at(-1) ?? -1) ? all.sort() : all
}

const LISTS = 'select id, account, name, version, numbers, change from dnd_lists order by id'
const VERSION = 'select version from dnd_lists where id = $1'
const BLOCKS = `
  select first, numbers from dnd_blocks
  where list = $1 and version = $2 and change > $3 and first > $4 order by first limit $5`
