// What a submission's octets are to the account that sent them, how many standard segments they take, and plain
// characters for typographic ones where the account wants them. Decides no coding: that is the carrier's turn.

import { unpack7 } from '../../protocols/gsm/alphabet.js'
import { type Coding, codingOf, codingsWith, decodeAs } from '../../protocols/gsm/coding.js'
import { plainText } from '../../protocols/gsm/lookalike.js'
import { countSegments, countSegmentsOfText } from '../../protocols/gsm/segment.js'
import { findTlv, tlv } from '../../protocols/smpp/tlv.js'
import { noCodings, type SmppProfile } from '../accounts/smppProfile.js'
import type { Message } from '../model/message.js'

/** So many octets are one segment, whatever they are. */
const SURELY_ONE = 70
const UDHI = 0x40

/**
 * Standard segments, by which a message is priced; marks a message whose data_coding the account means in its own way.
 * Octets with a UDH are a part that the sender cut: one.
 */
export function segmentsOf(m: Message, { codings }: SmppProfile): number {
  if (m.isText) return countSegmentsOfText(m.body.toString('utf8'))
  if (codings !== noCodings) {
    const coding = codingOf(m.data_coding, codingsWith(codings))
    if (coding !== codingOf(m.data_coding)) {
      m.ownCoding = true
      return m.esm_class & UDHI ? 1 : segmentsOfOwn(m.body, coding)
    }
  }
  if (m.esm_class & UDHI || m.body.length <= SURELY_ONE) return 1
  return countSegments(m.body, codingOf(m.data_coding))
}

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
    if (m.esm_class & UDHI || findTlv(m.tlvs, 0, m.tlvs.length, tlv.sar_msg_ref_num) >= 0) return 0
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

/** Segments that plain characters for typographic ones would save of a text: for whoever asks before sending. */
export function savedSegments(text: string): number {
  const plain = plainText(text)
  return plain === undefined ? 0 : countSegmentsOfText(text) - countSegmentsOfText(plain)
}
