// History rows on their way to SQL: one value per commit, keyed by the number of
// rows ever logged up to its end, so that a position is also a count. Knows the
// octets of a row; knows nothing of SQL.

import { assert } from '../../base/assert.js'
import { idTimeMs } from '../../base/ids.js'
import { dueSinceMs, type Message, type MessageState, state } from '../../model/message.js'
import type { Conversion, Ending, HistoryRow, LogFilter, LogSlice } from '../contract.js'
import type { Database } from './store.js'

// Chunk: format u8, then rows. Row: length u16, kind u8, rank u8, state u8,
// segments u8, account u32, route u32, carrier u32, id f64, atMs f64, price f64,
// then source, destination, error, clientRef (u8 length each), and of an end back f64, cost f64, took ms u32. The last
// release's format 1 has no such end, no held charges and no conversions; a row may end before `took` as well.
const FORMAT = 2
const ROW_HEAD = 2 + 4 + 12 + 24
const ROW_END = 20
/** 24 days: an int of PostgreSQL holds no more. */
const MOST_TOOK_MS = 0x7fff_ffff
const HELD = 0x80
const KINDS = ['accepted', 'ended', 'converted'] as const
const ACCEPTED = 0
const ENDED = 1
const CONVERTED = 2
const ANY: LogFilter = {}
/** Clocks of the world are so far apart from UTC. */
const ZONES_MS = 14 * 3_600_000

const viewOf = (chunk: Buffer): DataView => new DataView(chunk.buffer, chunk.byteOffset, chunk.length)

/** What a row is written from. */
type Logged = Conversion & Pick<Message, 'segments' | 'priceMicros' | 'clientRef'>

/** What a chunk holds before it must grow. */
const CHUNK = 256 * 1024

export class Log {
  private readonly table: Database<Buffer, number>
  private chunk: Buffer = Buffer.allocUnsafeSlow(CHUNK)
  /** Of `chunk`: a Buffer's own writes of numbers cost seven times as much. */
  private view = viewOf(this.chunk)
  /** The chunk of the commit being written: lmdb reads it until that is durable. */
  private spare: Buffer = Buffer.allocUnsafeSlow(CHUNK)
  private used = 0
  private pendingRows = 0
  /** Rows ever logged. */
  private end: number
  /** Rows ever dropped. */
  private start: number
  /** Rows whose chunks were taken from the table. */
  private removed: number

  /** @param startAt rows ever dropped, as {@link dropped} said when the log was last written */
  constructor(table: Database<Buffer, number>, startAt: number) {
    this.table = table
    this.start = startAt
    this.removed = startAt
    this.end = startAt
    for (const key of table.getKeys({ reverse: true, limit: 1 })) this.end = Math.max(this.end, key)
  }

  get rows(): number {
    return this.end + this.pendingRows - this.start
  }

  get dropped(): number {
    return this.start
  }

  /** Rows ever logged and written. */
  get written(): number {
    return this.end
  }

  get pending(): boolean {
    return this.pendingRows > 0 || this.start > this.removed
  }

  /** `m` was taken: adds a row to this commit's chunk. */
  accepted(m: Message, atMs: number): void {
    this.append(m.isHeld ? ACCEPTED | HELD : ACCEPTED, atMs, m, state.ENROUTE, '')
  }

  /**
   * It has ended, and `backMicros` of its charge are given back. When, is the carrier's word, by its clock and in its zone;
   * but what is said to be days away would be looked for in vain, or dropped with an old day.
   */
  ended(m: Message, { doneMs, state, error }: Ending, backMicros: number, costMicros: number, nowMs: number): void {
    const fromMs = Math.min(idTimeMs(m.id), nowMs)
    const atMs = doneMs < fromMs - ZONES_MS ? fromMs : doneMs > nowMs + ZONES_MS ? nowMs : doneMs
    const tookMs = Math.min(Math.max(0, nowMs - dueSinceMs(m)), MOST_TOOK_MS)
    this.append(ENDED, atMs, m, state, error, backMicros, costMicros, tookMs)
  }

  converted({ id, account, rank, carrier, lane, source_addr, destination_addr }: Conversion, atMs: number): void {
    const logged: Logged = {
      id,
      account,
      rank,
      carrier,
      lane,
      source_addr,
      destination_addr,
      segments: 0,
      priceMicros: 0,
      clientRef: '',
    }
    this.append(CONVERTED, atMs, logged, state.DELIVERED, '')
  }

  private append(
    kind: number,
    atMs: number,
    m: Logged,
    state: MessageState,
    error: string,
    backMicros = 0,
    costMicros = 0,
    tookMs = 0,
  ): void {
    // Addresses are octets, of which half are two in UTF-8.
    const addresses = (m.source_addr.length + m.destination_addr.length) * 2
    const texts = addresses + (error.length + m.clientRef.length) * 3
    const most = ROW_HEAD + 4 + texts + ROW_END
    if (this.used + most + 1 > this.chunk.length) this.grow(most)
    const { chunk: to, view } = this
    if (this.used === 0) to[this.used++] = FORMAT
    const start = this.used
    let at = start + 2
    to[at++] = kind
    to[at++] = m.rank
    to[at++] = state
    to[at++] = m.segments
    view.setUint32(at, m.account, true)
    view.setUint32(at + 4, m.lane, true)
    view.setUint32(at + 8, m.carrier, true)
    view.setFloat64(at + 12, m.id, true)
    view.setFloat64(at + 20, atMs, true)
    view.setFloat64(at + 28, m.priceMicros, true)
    at += 36
    at = putShort(to, at, m.source_addr)
    at = putShort(to, at, m.destination_addr)
    at = putShort(to, at, error)
    at = putShort(to, at, m.clientRef)
    if (kind === ENDED) {
      view.setFloat64(at, backMicros, true)
      view.setFloat64(at + 8, costMicros, true)
      view.setUint32(at + 16, tookMs, true)
      at += ROW_END
    }
    to.writeUInt16LE(at - start - 2, start)
    this.used = at
    this.pendingRows++
  }

  private use(chunk: Buffer): void {
    this.chunk = chunk
    this.view = viewOf(chunk)
  }

  private grow(most: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(this.chunk.length * 2, this.used + most + 1))
    this.chunk.copy(larger, 0, 0, this.used)
    this.use(larger)
  }

  /** Writes this commit's chunk and takes away what was dropped. @returns octets written */
  write(): number {
    if (this.start > this.removed) {
      for (const key of this.table.getKeys({ start: this.removed + 1, end: this.start + 1 })) this.table.remove(key)
      this.removed = this.start
    }
    if (this.pendingRows === 0) return 0
    const written = this.used
    this.end += this.pendingRows
    this.table.put(this.end, this.chunk.subarray(0, written))
    // What grew in a burst is not kept.
    const next = this.spare.length > 16 * CHUNK ? Buffer.allocUnsafeSlow(CHUNK) : this.spare
    this.spare = this.chunk
    this.use(next)
    this.used = 0
    this.pendingRows = 0
    return written
  }

  /** Rows after `after`, a position that a read gave; a little over `maxRows` when a commit held more. */
  read(after: number, maxRows: number, of: LogFilter = ANY): LogSlice | undefined {
    const rows: HistoryRow[] = []
    let position = after
    let read = 0
    for (const { key, value } of this.table.getRange({ start: after + 1 })) {
      position = key
      read += readChunk(value, rows, of)
      if (read >= maxRows) break
    }
    return read === 0 ? undefined : { position, rows }
  }

  /** Of those, the ones that ended. */
  endings(after: number, maxRows: number): LogSlice {
    const { position, rows } = this.read(after, maxRows) ?? { position: after, rows: [] }
    return { position, rows: rows.filter(row => row.kind === 'ended') }
  }

  /** Everything up to `position` goes with the next commit: what it leaves behind a crash is read and dropped again. */
  drop(position: number): void {
    this.start = Math.max(this.start, Math.min(position, this.end))
  }
}

function putShort(to: Buffer, at: number, text: string): number {
  const length = text.length
  if (length > 0xff) return putLong(to, at, text)
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i)
    if (code > 0x7f) return putLong(to, at, text)
    to[at + 1 + i] = code
  }
  to[at] = length
  return at + 1 + length
}

function putLong(to: Buffer, at: number, text: string): number {
  // A length octet holds 255: a longer text is cut, never a row refused.
  const written = to.utf8Write(text, at + 1, 255)
  to[at] = written
  return at + 1 + written
}

/** @returns how many there were, with those that were not asked for */
function readChunk(chunk: Buffer, rows: HistoryRow[], { id, account }: LogFilter): number {
  assert(chunk[0] === FORMAT || chunk[0] === 1, `log chunk format ${chunk[0]}`)
  let at = 1
  let read = 0
  const text = (): string => {
    const length = chunk[at++] as number
    at += length
    return length === 0 ? '' : chunk.utf8Slice(at - length, at)
  }
  while (at < chunk.length) {
    const end = at + 2 + chunk.readUInt16LE(at)
    read++
    const head = at + 2
    if (
      (account !== undefined && chunk.readUInt32LE(head + 4) !== account) ||
      (id !== undefined && chunk.readDoubleLE(head + 16) !== id)
    ) {
      at = end
      continue
    }
    at = head + 4 + 36
    const kind = chunk[head] as number
    const row: HistoryRow = {
      kind: KINDS[kind & ~HELD] as HistoryRow['kind'],
      rank: chunk[head + 1] as number,
      state: chunk[head + 2] as MessageState,
      segments: chunk[head + 3] as number,
      account: chunk.readUInt32LE(head + 4),
      route: chunk.readUInt32LE(head + 8),
      carrier: chunk.readUInt32LE(head + 12),
      id: chunk.readDoubleLE(head + 16),
      atMs: chunk.readDoubleLE(head + 24),
      priceMicros: chunk.readDoubleLE(head + 32),
      backMicros: 0,
      costMicros: 0,
      tookMs: null,
      isHeld: (kind & HELD) !== 0,
      source: text(),
      destination: text(),
      error: text(),
      clientRef: text(),
    }
    if (kind === ENDED && at < end) {
      row.backMicros = chunk.readDoubleLE(at)
      row.costMicros = chunk.readDoubleLE(at + 8)
      if (at + 16 < end) row.tookMs = chunk.readUInt32LE(at + 16)
    }
    rows.push(row)
    at = end
  }
  return read
}
