// Templates as this node has them, in an LMDB environment of its own: with it a node serves without SQL. Those in use are
// in memory, taken apart; their number is bounded. Knows heads and versions; who may use what is templates.ts's.

import { mkdirSync, rmSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { LRUCache } from 'lru-cache'
import { type TemplateContent, TemplateProgram } from '../../model/templateText.js'
import type { TemplateHead, TemplateOwner } from './rows.js'

/** Another format on disk is thrown away and loaded anew. */
const FORMAT = 1
const MAX_HEADS = 10_000
const MAX_PROGRAMS = 2_000
/** Characters of them in all: a template may have forty languages. One of a pattern, taken apart, is as many as this. */
const MAX_CHARACTERS = 16_000_000
const PATTERN_WEIGHT = 100

export interface CopyState {
  readonly identity: string
  readonly change: number
}

export class TemplateCopy {
  private readonly root: RootDatabase<unknown, string>
  private readonly heads: Database<TemplateHead, number>
  /** [account, name] -> id; account 0 = the gateway. */
  private readonly names: Database<number, [number, string]>
  /** [id, version] */
  private readonly versions: Database<TemplateContent, [number, number]>
  private readonly known = new LRUCache<number, TemplateHead>({ max: MAX_HEADS })
  private readonly programs = new LRUCache<string, TemplateProgram>({ max: MAX_PROGRAMS, maxSize: MAX_CHARACTERS })

  constructor(path: string) {
    let root = openRoot(path)
    const format = root.get('format')
    if (format !== undefined && format !== FORMAT) {
      void root.close()
      rmSync(path, { recursive: true })
      root = openRoot(path)
    }
    if (format !== FORMAT) root.putSync('format', FORMAT)
    this.root = root
    this.heads = root.openDB({ name: 'heads', keyEncoding: 'uint32' })
    this.names = root.openDB({ name: 'names' })
    this.versions = root.openDB({ name: 'versions' })
  }

  get state(): CopyState | undefined {
    return this.root.get('state') as CopyState | undefined
  }

  head(id: number): TemplateHead | undefined {
    let head = this.known.get(id)
    if (head === undefined) {
      head = this.heads.get(id)
      if (head !== undefined) this.known.set(id, head)
    }
    return head
  }

  idOf(owner: TemplateOwner, name: string): number | undefined {
    return this.names.get([owner ?? 0, name])
  }

  program(id: number, version: number): TemplateProgram | undefined {
    const key = `${id}/${version}`
    let program = this.programs.get(key)
    if (program === undefined) {
      const content = this.versions.get([id, version])
      if (content === undefined) return undefined
      program = new TemplateProgram(content)
      this.programs.set(key, program, { size: sizeOf(content) })
    }
    return program
  }

  /** Of another database: nothing here counts any more. */
  async startOver(state: CopyState): Promise<void> {
    await this.root.transaction(() => {
      this.heads.clearSync()
      this.names.clearSync()
      this.versions.clearSync()
      void this.root.put('state', state)
    })
    this.known.clear()
    this.programs.clear()
  }

  async take(
    heads: readonly TemplateHead[],
    versions: readonly (TemplateContent & { template: number; version: number })[],
    state: CopyState,
  ): Promise<void> {
    await this.root.transaction(() => {
      for (const { template, version, content, locales, variables } of versions) {
        void this.versions.put([template, version], { content, locales, variables })
      }
      for (const head of heads) {
        const before = this.heads.get(head.id)
        const old: [number, string] | undefined = before && [before.account ?? 0, before.name]
        // Another may have taken the name in the meantime.
        if (old !== undefined && this.names.get(old) === head.id) void this.names.remove(old)
        void this.heads.put(head.id, head)
        if (!head.deleted) void this.names.put([head.account ?? 0, head.name], head.id)
      }
      void this.root.put('state', state)
    })
    for (const head of heads) this.known.set(head.id, head)
  }

  /** Of the next `count` templates above that id, also those removed. */
  ids(after: number, count: number): number[] {
    return [...this.heads.getKeys({ start: after + 1, limit: count })]
  }

  /** With their versions, one after the other: each may have hundreds. */
  async drop(ids: readonly number[]): Promise<void> {
    for (const id of ids) {
      await this.root.transaction(() => {
        const head = this.heads.get(id)
        if (head === undefined) return
        const name: [number, string] = [head.account ?? 0, head.name]
        if (this.names.get(name) === id) this.names.removeSync(name)
        for (const key of [...this.versions.getKeys({ start: [id, 0], end: [id + 1, 0] })])
          this.versions.removeSync(key)
        this.heads.removeSync(id)
      })
      this.known.delete(id)
    }
  }

  async close(): Promise<void> {
    await this.root.close()
  }
}

const sizeOf = ({ content, locales, variables }: TemplateContent): number =>
  Object.values(locales).reduce((sum, text) => sum + text.length, content.length) +
  variables.reduce((sum, { pattern }) => sum + PATTERN_WEIGHT * (pattern?.length ?? 0), 0)

function openRoot(path: string): RootDatabase<unknown, string> {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  return open({ path, noSubdir: false, overlappingSync: false, maxDbs: 4 })
}
