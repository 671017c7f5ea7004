// Message ids. A number below 2^53, so that it stays a plain JavaScript number:
// 40 bits of milliseconds since 2020, 6 bits of node, 7 bits of sequence. Always
// 16 decimal digits until 2054. SMPP v3.3 has room for 8 hexadecimal digits only: an alias
// of 25 bits of milliseconds and the sequence. Knows nothing of who stores ids.

import type { Clock } from './clock.js'

const EPOCH_MS = Date.UTC(2020, 0, 1)
const NODE_STEP = 2 ** 7
const MS_STEP = 2 ** 13

/** The wall-clock moment an id was made for, in ms; may be a little ahead of the truth after a burst or a clock set back. */
export function idTimeMs(id: number): number {
  return Math.floor(id / MS_STEP) + EPOCH_MS
}

/** The smallest id a moment can have: ids of that moment and later are not below it. */
export function firstIdAt(ms: number): number {
  return (ms - EPOCH_MS) * MS_STEP
}

export function idNode(id: number): number {
  return Math.floor(id / NODE_STEP) % 64
}

/**
 * How an id is written: 16 decimal digits, 14 hexadecimal ones, or the alias of {@link aliasOf}.
 * Read, the three are told apart by their length.
 */
export type IdForm = 'decimal' | 'hex' | 'alias'

const HEX_DIGITS = 14

export function idText(id: number, form: IdForm): string {
  if (form === 'decimal') return String(id)
  return form === 'hex' ? id.toString(16).toUpperCase().padStart(HEX_DIGITS, '0') : aliasOf(id)
}

/** The id that a text of 16 decimal or 14 hexadecimal digits is; 0 when it is neither. Case does not matter. */
export function idOf(text: string): number {
  const id = /^\d{16}$/.test(text) ? Number(text) : /^[0-9a-fA-F]{14}$/.test(text) ? Number.parseInt(text, 16) : 0
  return Number.isSafeInteger(id) ? id : 0
}

/** What of an id's milliseconds is in its alias: it comes round every 2^25 ms, some nine hours. */
const ALIAS_SPAN_MS = 2 ** 25
/** How far ids may run ahead of the clock, after a burst or a clock set back, and still be found by their alias. */
const AHEAD_MS = 3_600_000

/** The id as peers of SMPP v3.3 know it: 8 hexadecimal digits. Not unique: see {@link idsOfAlias}. */
export function aliasOf(id: number): string {
  const value = (Math.floor(id / MS_STEP) % ALIAS_SPAN_MS) * NODE_STEP + (id % NODE_STEP)
  return value.toString(16).toUpperCase().padStart(8, '0')
}

/**
 * The ids of `node` that have this alias, newest first: those made in the `backMs` before `nowMs`, and in the hour
 * after it, for ids may run ahead of the clock. Which of them is meant the store must say: the newest that is the
 * peer's own. Case and leading zeros do not matter; what is no alias gives none.
 */
export function idsOfAlias(alias: string, node: number, nowMs: number, backMs: number): number[] {
  if (!/^0*[0-9a-fA-F]{1,8}$/.test(alias)) return []
  const value = Number.parseInt(alias, 16)
  const residue = Math.floor(value / NODE_STEP)
  const newest = nowMs - EPOCH_MS + AHEAD_MS
  const oldest = Math.max(nowMs - EPOCH_MS - backMs, 0)
  const ids: number[] = []
  for (let ms = newest - ((newest - residue) % ALIAS_SPAN_MS); ms >= oldest; ms -= ALIAS_SPAN_MS) {
    ids.push(ms * MS_STEP + node * NODE_STEP + (value % NODE_STEP))
  }
  return ids
}

/**
 * Makes ids that grow: by time, and by sequence within a millisecond; 128 in one
 * millisecond borrow from the next. A clock set back, or a restart, never makes an
 * id twice: the caller gives the highest id that the store may hold as `after`.
 */
export class IdMaker {
  private readonly clock: Clock
  private readonly nodeBits: number
  private ms: number
  private sequence = 0

  constructor(clock: Clock, node: number, after = 0) {
    this.clock = clock
    this.nodeBits = node * NODE_STEP
    this.ms = Math.max(Math.floor(after / MS_STEP) + (after > 0 ? 1 : 0), 0)
  }

  next(): number {
    const ms = this.clock.now() - EPOCH_MS
    if (ms > this.ms) {
      this.ms = ms
      this.sequence = 0
    } else if (++this.sequence === NODE_STEP) {
      this.ms++
      this.sequence = 0
    }
    return this.ms * MS_STEP + this.nodeBits + this.sequence
  }
}
