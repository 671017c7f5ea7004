// Message ids. A number below 2^53, so that it stays a plain JavaScript number:
// 40 bits of milliseconds since 2020, 6 bits of node, 7 bits of sequence. Always
// 16 decimal digits until 2054. Knows nothing of who stores them.

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
