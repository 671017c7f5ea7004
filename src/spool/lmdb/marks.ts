// The numbers that never run back, written with every commit: what is given out again
// after a restart must be above them. Knows their octets only.

import { assert } from '../../base/assert.js'

export interface Marks {
  /** The highest message id ever given. */
  lastId: number
  /** The newest block of a lane. */
  blockSeq: number
  /** The newest order of acceptance by a carrier. */
  refSeq: number
  /** The newest block of reports. */
  reportSeq: number
  /** History rows dropped. */
  logDropped: number
}

// format u8, then the five in their order, f64 each.
const FORMAT = 1
const SIZE = 1 + 5 * 8

export function readMarks(from: Buffer | undefined): Marks {
  assert(!from || from[0] === FORMAT, `marks format ${from?.[0]}`)
  const at = (index: number): number => from?.readDoubleLE(1 + index * 8) ?? 0
  return { lastId: at(0), blockSeq: at(1), refSeq: at(2), reportSeq: at(3), logDropped: at(4) }
}

export function writeMarks(marks: Marks): Buffer {
  const to = Buffer.allocUnsafe(SIZE)
  to[0] = FORMAT
  to.writeDoubleLE(marks.lastId, 1)
  to.writeDoubleLE(marks.blockSeq, 9)
  to.writeDoubleLE(marks.refSeq, 17)
  to.writeDoubleLE(marks.reportSeq, 25)
  to.writeDoubleLE(marks.logDropped, 33)
  return to
}
