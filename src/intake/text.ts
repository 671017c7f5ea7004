// What a submission's octets are to the account that sent them, how many standard segments they take, and plain
// characters for typographic ones where the account wants them. Decides no coding: that is the carrier's turn.

import { gsmLength, unpack7 } from '../../protocols/gsm/alphabet.js'
import { type Coding, codingOf, codingsWith, decodeAs } from '../../protocols/gsm/coding.js'
import { plainText } from '../../protocols/gsm/lookalike.js'
import { countSegments, countSegmentsOfText, fitsOne } from '../../protocols/gsm/segment.js'
import { isBare, partOf } from '../../protocols/smpp/parts.js'
import { noCodings, type SmppProfile } from '../accounts/smppProfile.js'
import type { Message } from '../model/message.js'

/** So many octets are one segment, whatever they are. */
const SURELY_ONE = 70
/** Octets of a body that a message's record has room for. */
const MAX_BODY = 0xffff
/** Segments of what cannot be sent at all: more than anybody may have. */
const UNSENDABLE = Number.POSITIVE_INFINITY
/** Of one message on the radio, a header included. */
const USER_DATA_OCTETS = 140
const UDHI = 0x40
/** esm_class bits 1-0, SMPP v3.4 §5.2.12. */
const MODE = 0x03
const TRANSACTION = 0x02

/**
 * Standard segments, by which a message is priced; marks a message whose data_coding the account means in its own way.
 * Octets with a UDH are a part that the sender cut: one, or Infinity where they are longer than a part can be, for nobody
 * can cut them again. Infinity too for a text of more octets than are kept.
 */
export function segmentsOf(m: Message, { codings }: SmppProfile): number {
  if (m.isText) return m.body.length > MAX_BODY ? UNSENDABLE : countSegmentsOfText(m.body.toString('utf8'))
  if (codings !== noCodings) {
    const coding = codingOf(m.data_coding, codingsWith(codings))
    if (coding !== codingOf(m.data_coding)) {
      m.ownCoding = true
      return m.esm_class & UDHI ? segmentsOfPart(m.body, coding) : segmentsOfOwn(m.body, coding)
    }
  }
  if (m.body.length <= SURELY_ONE) return 1
  const coding = codingOf(m.data_coding)
  return m.esm_class & UDHI ? segmentsOfPart(m.body, coding) : countSegments(m.body, coding)
}

/** Of octets that begin with a header. */
function segmentsOfPart(body: Buffer, coding: Coding): number {
  return body.length <= SURELY_ONE || isOnePart(body, coding) ? 1 : UNSENDABLE
}

/** Has it room in one message, over some carrier at least? */
function isOnePart(body: Buffer, coding: Coding): boolean {
  const header = (body[0] as number) + 1
  switch (coding) {
    case 'gsm':
      return header + octetsOf(body.length - header) <= USER_DATA_OCTETS
    case 'ascii':
      return fitsOne(body.subarray(header), coding, header)
    case 'latin1':
    case 'windows-1252':
      // Many a message centre turns it into septets.
      return body.length <= USER_DATA_OCTETS || fitsOne(body.subarray(header), 'ascii', header)
    case 'utf8': {
      const text = decodeAs(body.subarray(header), coding)
      const septets = gsmLength(text)
      return header + (septets < 0 ? text.length * 2 : octetsOf(septets)) <= USER_DATA_OCTETS
    }
    default:
      return body.length <= USER_DATA_OCTETS
  }
}

const octetsOf = (septets: number): number => Math.ceil((septets * 7) / 8)

/** In the standard's coding that holds the text: a carrier is not known yet. */
function segmentsOfOwn(body: Buffer, coding: Coding): number {
  if (coding === 'binary' || coding === 'gsm') return countSegments(body, coding)
  if (coding === 'gsm-packed') return countSegments(unpack7(body), 'gsm')
  return countSegmentsOfText(decodeAs(body, coding))
}

/**
 * Plain characters for typographic ones, where the text then fits the GSM alphabet: the segments saved, 0 when nothing
 * changed. A text of octets becomes one that is encoded for the carrier; its data_coding stays, for its message class.
 * Parts that the sender cut stay as they are.
 */
export function makePlain(m: Message, { codings }: SmppProfile): number {
  let text: string
  if (m.isText) text = m.body.toString('utf8')
  else {
    if (m.esm_class & UDHI || partOf(m) !== undefined) return 0
    const coding = codingOf(m.data_coding, codingsWith(codings))
    if (coding !== 'ucs2' && coding !== 'utf16le' && coding !== 'utf8') return 0
    text = decodeAs(m.body, coding)
  }
  const plain = plainText(text)
  if (plain === undefined) return 0
  m.body = Buffer.from(plain)
  m.isText = true
  return countSegmentsOfText(text) - countSegmentsOfText(plain)
}

/**
 * A part whose text can be joined with the others'. Not one that is answered when it has ended, for its sender may wait
 * for that with the next; nor one whose header says more, for that is said of each part; nor septets that are packed by
 * the part.
 */
export function isJoinable(m: Message, { codings }: SmppProfile): boolean {
  if (m.isText || (m.esm_class & MODE) === TRANSACTION || partOf(m) === undefined || !isBare(m)) return false
  return codingOf(m.data_coding, codingsWith(codings)) !== 'gsm-packed'
}
