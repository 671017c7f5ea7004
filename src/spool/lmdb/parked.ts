// Receipts that overtook the answer to their submit_sm: kept, on disk too, until a
// message gets that reference or ten minutes have passed. Bounded: past the limit the
// oldest goes first.

import { isFinal } from '../../model/message.js'
import type { Receipt } from '../../model/outcome.js'
import type { Database } from './store.js'

const PARK_MS = 600_000
const MOST = 100_000
/** Forgotten in one go. */
const EXPIRE_SLICE = 500

interface Early {
  readonly seq: number
  readonly carrier: number
  readonly receipt: Receipt
  readonly atMs: number
}

export class Parked {
  private readonly table: Database<Buffer, number>
  /** In the order of arrival. */
  private readonly waiting = new Set<Early>()
  /** By each name that it may have. */
  private readonly byRef = new Map<string, Early>()
  private seq = 0
  private added: Early[] = []
  private gone: number[] = []
  /** Made room for newer ones since the last look. */
  private pushedOut: Early[] = []

  constructor(table: Database<Buffer, number>) {
    this.table = table
    for (const { key, value } of table.getRange({})) {
      this.seq = key
      this.keep({ seq: key, ...(JSON.parse(value.toString('utf8'), revive) as Omit<Early, 'seq'>) })
    }
  }

  get size(): number {
    return this.waiting.size
  }

  get pending(): boolean {
    return this.added.length > 0 || this.gone.length > 0
  }

  add(carrier: number, receipt: Receipt, atMs: number): void {
    const before = this.byRef.get(keyOf(carrier, receipt.ref))
    // What names another message first is another's, though it may mean this one too.
    if (before?.receipt.ref === receipt.ref) {
      // The last word is not overwritten by an earlier one that was late.
      if (isFinal(before.receipt.state) && !isFinal(receipt.state)) return
      this.drop(before)
    }
    const early: Early = { seq: ++this.seq, carrier, receipt, atMs }
    this.keep(early)
    this.added.push(early)
    if (this.waiting.size <= MOST) return
    for (const oldest of this.waiting) {
      this.drop(oldest)
      this.pushedOut.push(oldest)
      break
    }
  }

  /** The receipt that was for `ref`, or may have been: under that name. */
  take(carrier: number, ref: string): Receipt | undefined {
    const early = this.byRef.get(keyOf(carrier, ref))
    if (!early) return undefined
    this.drop(early)
    return early.receipt.ref === ref ? early.receipt : { ...early.receipt, ref }
  }

  private keep(early: Early): void {
    const { carrier, receipt } = early
    this.waiting.add(early)
    this.byRef.set(keyOf(carrier, receipt.ref), early)
    for (const other of receipt.others ?? []) {
      const key = keyOf(carrier, other)
      if (!this.byRef.has(key)) this.byRef.set(key, early)
    }
  }

  private drop(early: Early): void {
    const { carrier, receipt } = early
    this.waiting.delete(early)
    this.forget(keyOf(carrier, receipt.ref), early)
    for (const other of receipt.others ?? []) this.forget(keyOf(carrier, other), early)
    this.gone.push(early.seq)
  }

  private forget(key: string, early: Early): void {
    if (this.byRef.get(key) === early) this.byRef.delete(key)
  }

  /** Those whose message never came, now forgotten; a bounded slice of them. */
  expire(nowMs: number): Early[] {
    const past = this.pushedOut
    this.pushedOut = []
    const most = past.length + EXPIRE_SLICE
    for (const early of this.waiting) {
      if (early.atMs + PARK_MS > nowMs || past.length === most) break
      past.push(early)
      this.drop(early)
    }
    return past
  }

  write(): void {
    if (!this.pending) return
    const gone = new Set(this.gone)
    for (const early of this.added) {
      // Came and went within one commit.
      if (gone.delete(early.seq)) continue
      const { carrier, receipt, atMs } = early
      this.table.put(early.seq, Buffer.from(JSON.stringify({ carrier, receipt, atMs }), 'utf8'))
    }
    for (const seq of gone) this.table.remove(seq)
    this.added = []
    this.gone = []
  }
}

/** Octets that a receipt has are octets again. */
const revive = (name: string, value: unknown): unknown =>
  name === 'vendor' ? Buffer.from((value as { data: number[] }).data) : value

const keyOf = (carrier: number, ref: string): string => `${carrier}:${ref}`
