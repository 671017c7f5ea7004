// Messages that wait for a moment: scheduled, or to be tried again. They stand on
// disk only, in the order of their moments, and cost no memory. Knows when; what
// becomes of a message then is its caller's.

import type { Message } from '../../model/message.js'
import type { Database } from './store.js'

const NOTHING = Buffer.from([1])

export class Due {
  private readonly table: Database<Buffer, number[]>
  private added: Message[] = []
  private gone: number[][] = []
  /** The last key released whose removal is not durable yet: the table still shows it and all before it. */
  private after: number[] | null = null
  /** Messages that wait for a moment. */
  count = 0
  private readonly counts = new Map<number, number>()

  constructor(table: Database<Buffer, number[]>) {
    this.table = table
  }

  get pending(): boolean {
    return this.added.length > 0 || this.gone.length > 0
  }

  /** Messages of an account that wait for a moment. */
  of(account: number): number {
    return this.counts.get(account) ?? 0
  }

  private note(account: number, by: number): void {
    this.count += by
    const n = this.of(account) + by
    if (n > 0) this.counts.set(account, n)
    else this.counts.delete(account)
  }

  /** One that stands on disk, as found at start. */
  restore(account: number): void {
    this.note(account, 1)
  }

  add(m: Message, dueMs: number): void {
    m.dueMs = Math.max(1, Math.ceil(dueMs))
    this.note(m.account, 1)
    this.added.push(m)
  }

  /** It does not wait any more: ended, or released. */
  remove(m: Message): void {
    this.gone.push([m.dueMs, m.id])
    m.dueMs = 0
    this.note(m.account, -1)
  }

  /**
   * Offers what is due at `nowMs`, earliest first, at most `most`; `take` is given
   * the moment and the id, and answers false when no such message waits.
   * @returns true when there is more
   */
  release(nowMs: number, most: number, take: (dueMs: number, id: number) => boolean): boolean {
    if (this.count === 0) return false
    let n = 0
    const start = this.after ? [this.after[0] as number, (this.after[1] as number) + 1] : [0]
    for (const key of this.table.getKeys({ start, end: [nowMs + 1], limit: most })) {
      n++
      this.after = key
      if (!take(key[0] as number, key[1] as number)) this.gone.push(key)
    }
    return n === most
  }

  write(): void {
    // Removals first: a message may leave a moment and come back to it within one commit.
    for (const key of this.gone) this.table.remove(key)
    for (const m of this.added) if (m.dueMs > 0) this.table.put([m.dueMs, m.id], NOTHING)
    this.gone = []
    this.added = []
  }

  /** The commit is durable. */
  written(): void {
    if (this.gone.length === 0) this.after = null
  }
}
