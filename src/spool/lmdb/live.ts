// The messages in memory, one object each however many ask, and why each is kept.
// Everything else stands on disk only and is read as a copy.

import { type Message, readLentRecord } from '../../model/message.js'
import { ById } from './byId.js'
import type { Database } from './store.js'

// Message.hold: why the engine keeps a message in memory.
/** Gets its place in a lane with the commit being gathered or written. */
export const FRESH = 1
/** Stands in the head of its row. */
export const QUEUED = 2
/** In the hands of dispatch. */
export const CLAIMED = 4
/** Its record changes with the next commit. */
export const DIRTY = 8
/** Its record changes with the commit being written. */
export const WRITING = 16
/** A record of it is on disk, or will be with the commit being written. */
export const STORED = 32
/** Counted: references in memory that point at the object. */
export const RECENT = 256
const KEPT = FRESH | QUEUED | CLAIMED | DIRTY | WRITING | ~(RECENT - 1)

export const isKept = (m: Message): boolean => (m.hold & KEPT) !== 0

export class Live {
  private readonly table: Database<Buffer, number>
  private readonly byId = new ById()

  constructor(table: Database<Buffer, number>) {
    this.table = table
  }

  get size(): number {
    return this.byId.size
  }

  known(id: number): Message | undefined {
    return this.byId.get(id)
  }

  /** The object everyone shares, or else a copy of what is on disk. */
  message(id: number): Message | undefined {
    const known = this.byId.get(id)
    if (known) return known
    const record = this.table.getBinaryFast(id)
    if (!record) return undefined
    const m = readLentRecord(id, record)
    m.hold = STORED
    return m
  }

  /** From now on this object is what everyone gets. To be called before the first reason to keep it is set. */
  keep(m: Message): void {
    if (!isKept(m)) this.byId.set(m)
  }

  /** A reason to keep it is gone; with the last one the object goes. */
  release(m: Message): void {
    if (!isKept(m)) this.byId.delete(m.id)
  }

  /** One of the references that point at the object is gone. */
  forgetRecent(m: Message): void {
    m.hold -= RECENT
    this.release(m)
  }
}
