// Receipts that overtook the answer to their submit_sm: kept, on disk too, until a
// message gets that reference or ten minutes have passed. Bounded: past the limit the
// oldest goes first.

import { type MessageState, state } from '../../model/message.js'
import type { Receipt } from '../../model/outcome.js'
import type { Database } from './store.js'

const PARK_MS = 600_000
const MOST = 100_000
/** Forgotten in one go. */
const EXPIRE_SLICE = 500

/** Is this the last word on a part? SMPP v3.4 §5.2.28: ENROUTE is not; ACCEPTED and SCHEDULED are not the end in the field. */
export const isFinal = (s: MessageState): boolean =>
  s !== state.ENROUTE && s !== state.ACCEPTED && s !== state.SCHEDULED

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
  /** Made room for newer ones since the last look. */
  private pushedOut: Early[] = []

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
    if (before) {
      // The last word is not overwritten by an earlier one that was late.
      if (isFinal(before.receipt.state) && !isFinal(receipt.state)) return
      this.drop(key, before)
    }
    const early: Early = { seq: ++this.seq, carrier, receipt, atMs }
    this.byRef.set(key, early)
    this.added.push(early)
    if (this.byRef.size <= MOST) return
    for (const [oldest, one] of this.byRef) {
      this.drop(oldest, one)
      this.pushedOut.push(one)
      break
    }
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

  /** Those whose message never came, now forgotten; a bounded slice of them. */
  expire(nowMs: number): Early[] {
    const past = this.pushedOut
    this.pushedOut = []
    const most = past.length + EXPIRE_SLICE
    for (const [key, early] of this.byRef) {
      if (early.atMs + PARK_MS > nowMs || past.length === most) break
      past.push(early)
      this.drop(key, early)
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

const keyOf = (carrier: number, ref: string): string => `${carrier}:${ref}`
