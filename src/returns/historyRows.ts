// History rows as PostgreSQL's COPY takes them in its binary format: one buffer, one pass.
// Knows the columns and their types; whatever a row holds, it is written so that the server
// takes it, for a row refused would hold up all that come after it.

import { idNode } from '../base/ids.js'
import type { HistoryRow } from '../spool/contract.js'

export const COPY_HISTORY = `copy history (at, id, price_micros, account, route, carrier, node, segments, rank, state, kind,
  source, destination, error, client_ref, back_micros, cost_micros, took_ms) from stdin (format binary)`

/** PostgreSQL, "COPY, Binary Format": signature, flags, length of the header's extension. */
export const COPY_START = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1')
export const COPY_END = Buffer.from([0xff, 0xff])

const COLUMNS = 18
/** Octets before each value. */
const LENGTH = 4
const INT8 = LENGTH + 8
const INT4 = LENGTH + 4
const INT2 = LENGTH + 2
const AT = 2
const ACCOUNT = AT + 3 * INT8
const NODE = ACCOUNT + 3 * INT4
const KIND = NODE + 4 * INT2
/** All but the texts. */
const HEAD = KIND + LENGTH + 1

/** A row's head with its lengths and nothing in between. */
const TEMPLATE = makeTemplate()

/** Timestamps count µs from here. */
const EPOCH_2000_MS = 946_684_800_000
/** In 2255: until then a double holds each µs. What a carrier says beyond it is nonsense, and stands as 1970. */
const LAST_MS = 9_000_000_000_000

const ACCEPTED = 'a'.charCodeAt(0)
const ENDED = 'e'.charCodeAt(0)
const UTF8_MOST = 3
/** Length of what is null. */
const NULL = 0xffff_ffff

/** Rows `from` to `to` as COPY data, without what is only counted. */
export function encodeRows(rows: readonly HistoryRow[], from: number, to: number): Buffer {
  let size = 0
  for (let i = from; i < to; i++) {
    const row = rows[i] as HistoryRow
    const letters = row.source.length + row.destination.length + row.error.length + row.clientRef.length
    size += HEAD + 4 * LENGTH + letters * UTF8_MOST + 2 * INT8 + INT4
  }
  const out = Buffer.allocUnsafe(size)
  let at = 0
  for (let i = from; i < to; i++) {
    const row = rows[i] as HistoryRow
    if (row.kind !== 'converted') at = putRow(out, at, row)
  }
  return out.subarray(0, at)
}

function putRow(out: Buffer, start: number, row: HistoryRow): number {
  out.set(TEMPLATE, start)
  const ms = row.atMs >= 0 && row.atMs <= LAST_MS ? row.atMs : 0
  putInt8(out, start + AT + LENGTH, Math.round((ms - EPOCH_2000_MS) * 1000))
  putInt8(out, start + AT + INT8 + LENGTH, row.id)
  putInt8(out, start + AT + 2 * INT8 + LENGTH, row.priceMicros)
  putInt4(out, start + ACCOUNT + LENGTH, row.account)
  putInt4(out, start + ACCOUNT + INT4 + LENGTH, row.route)
  putInt4(out, start + ACCOUNT + 2 * INT4 + LENGTH, row.carrier)
  // Small numbers, each in the second of two octets.
  out[start + NODE + LENGTH + 1] = idNode(row.id)
  out[start + NODE + INT2 + LENGTH + 1] = row.segments
  out[start + NODE + 2 * INT2 + LENGTH + 1] = row.rank
  out[start + NODE + 3 * INT2 + LENGTH + 1] = row.state
  out[start + KIND + LENGTH] = row.kind === 'accepted' ? ACCEPTED : ENDED
  let at = putText(out, start + HEAD, row.source)
  at = putText(out, at, row.destination)
  at = putText(out, at, row.error)
  at = putText(out, at, row.clientRef)
  for (const micros of [row.backMicros, row.costMicros]) {
    putInt4(out, at, 8)
    putInt8(out, at + LENGTH, micros)
    at += INT8
  }
  if (row.tookMs === null) {
    putInt4(out, at, NULL)
    return at + LENGTH
  }
  putInt4(out, at, 4)
  putInt4(out, at + LENGTH, row.tookMs)
  return at + INT4
}

function putInt4(out: Buffer, at: number, value: number): void {
  out[at] = value >>> 24
  out[at + 1] = value >>> 16
  out[at + 2] = value >>> 8
  out[at + 3] = value
}

function putInt8(out: Buffer, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32)
  putInt4(out, at, high)
  putInt4(out, at + 4, value - high * 2 ** 32)
}

function putText(out: Buffer, lengthAt: number, text: string): number {
  const at = lengthAt + LENGTH
  const { length } = text
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0 || code > 0x7f) return putUnicode(out, lengthAt, text)
    out[at + i] = code
  }
  putInt4(out, lengthAt, length)
  return at + length
}

/** A text of PostgreSQL holds no NUL, and no half of a pair of surrogates. */
function putUnicode(out: Buffer, lengthAt: number, text: string): number {
  const written = out.utf8Write(text.replaceAll('\0', ''), lengthAt + LENGTH)
  putInt4(out, lengthAt, written)
  return lengthAt + LENGTH + written
}

function makeTemplate(): Buffer {
  const head = Buffer.alloc(HEAD)
  head.writeInt16BE(COLUMNS, 0)
  let at = AT
  for (const size of [8, 8, 8, 4, 4, 4, 2, 2, 2, 2, 1]) {
    head.writeInt32BE(size, at)
    at += LENGTH + size
  }
  return head
}
