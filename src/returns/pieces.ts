// A reply that is too long for a peer of SMPP v3.3, which has no message_payload: cut into short messages with a
// concatenation header, as phones cut theirs. Knows the cut and what belongs together; nothing of binds and answers.

import { type Codings, codingOf } from '../../protocols/gsm/coding.js'
import { segment } from '../../protocols/gsm/segment.js'
import { parseUdh } from '../../protocols/gsm/udh.js'
import type { Reply } from '../model/outcome.js'
import { type Report, way } from '../spool/contract.js'

const UDHI = 0x40

/** The pieces of one report: it is delivered when all are. */
export interface Whole {
  readonly report: Report
  /** Not taken by the ESME yet. */
  left: number
  /** One was refused, or lost: the others are nobody's concern any more. */
  isOver: boolean
}

export class Piece implements Report {
  readonly seq: number
  readonly way = way.bind
  readonly account: number
  readonly kind = 'reply'
  readonly atMs: number
  readonly reply: Reply
  readonly of: Whole

  constructor(of: Whole, reply: Reply) {
    this.seq = of.report.seq
    this.account = of.report.account
    this.atMs = of.report.atMs
    this.reply = reply
    this.of = of
  }
}

/**
 * `reply` is the report's as the customer reads it, by `codings`. Undefined when it is a part already, or 255 pieces do
 * not hold it, or septets are packed across the places where it would be cut.
 */
export function cutReply(report: Report, reply: Reply, codings: Codings): Piece[] | undefined {
  const udh = (reply.esm_class & UDHI) === 0 ? undefined : parseUdh(reply.body)
  const elements = udh ? reply.body.subarray(1, udh.length) : Buffer.alloc(0)
  const text = reply.body.subarray(udh?.length ?? 0)
  const coding = codingOf(reply.data_coding, codings)
  if (udh?.concat || coding === 'gsm-packed') return undefined
  // Of a sequence number, so that what is sent again has the same.
  const segments = segment(text, coding, 'udh8', report.seq & 0xff, undefined, elements)
  if (segments === undefined) return undefined
  const whole: Whole = { report, left: segments.length, isOver: false }
  const esm_class = reply.esm_class | UDHI
  return segments.map(({ octets }) => new Piece(whole, { ...reply, esm_class, body: octets }))
}
