// Receipts that overtook the answer to their submit_sm: kept, on disk too, until a
// message gets that reference or ten minutes have passed. Bounded: past the limit the
// oldest goes first.

import type { MessageState } from '../../model/message.js'
import type { Receipt } from '../../model/outcome.js'
import type { Database } from './store.js'

const PARK_MS = 600_000
const MOST = 100_000

interface Early {
  readonly seq: number
  readonly carrier: number
  readonly receipt: Receipt
  readonly atMs: number
}

export class Parked {
  private readonly table: Database<Buffer, number>
  /** In the order of arrival. */
  private readonly byRef = new Map<string, Early>()
  private seq = 0
  private added: Early[] = []
  private gone: number[] = []

  constructor(table: Database<Buffer, number>) {
    this.table = table
    for (const { key, value } of table.getRange({})) {
      this.seq = key
      const early = JSON.parse(value.toString('utf8')) as { carrier: number; receipt: Receipt; atMs: number }
      this.byRef.set(keyOf(early.carrier, early.receipt.ref), { seq: key, ...early })
    }
  }

  get size(): number {
    return this.byRef.size
  }

  get pending(): boolean {
    return this.added.length > 0 || this.gone.length > 0
  }

  add(carrier: number, receipt: Receipt, atMs: number): void {
    const key = keyOf(carrier, receipt.ref)
    const before = this.byRef.get(key)
    // A final state is not overwritten by an earlier one that was late.
    if (before && isLater(before.receipt.state, receipt.state)) return
    if (before) this.drop(key, before)
    const early: Early = { seq: ++this.seq, carrier, receipt, atMs }
    this.byRef.set(key, early)
    this.added.push(early)
  }

  take(carrier: number, ref: string): Receipt | undefined {
    const key = keyOf(carrier, ref)
    const early = this.byRef.get(key)
    if (!early) return undefined
    this.drop(key, early)
    return early.receipt
  }

  private drop(key: string, early: Early): void {
    this.byRef.delete(key)
    this.gone.push(early.seq)
  }

  /** Those whose message never came, now forgotten. */
  expire(nowMs: number): Early[] {
    const past: Early[] = []
    for (const [key, early] of this.byRef) {
      if (early.atMs + PARK_MS > nowMs && this.byRef.size <= MOST) break
      past.push(early)
      this.drop(key, early)
    }
    return past
  }

  write(): void {
    const gone = new Set(this.gone)
    for (const early of this.added) {
      if (gone.delete(early.seq)) continue
      const { carrier, receipt, atMs } = early
      this.table.put(early.seq, Buffer.from(JSON.stringify({ carrier, receipt, atMs }), 'utf8'))
    }
    for (const seq of gone) this.table.remove(seq)
    this.added = []
    this.gone = []
  }
}

const keyOf = (carrier: number, ref: string): string => `${carrier}:${ref}`

/** ENROUTE (1) and ACCEPTED (6) may still change; every other state is the end. */
const isLater = (has: MessageState, comes: MessageState): boolean => has !== 1 && has !== 6 && (comes === 1 || comes === 6)
