// A message as the parts that a carrier takes: octets as they came where they fit, text
// encoded for the carrier, long ones cut. Pure; knows alphabets and sizes, not links.

import { chooseCoding, codingOf, encodeText } from '../../protocols/gsm/coding.js'
import { type How, segment } from '../../protocols/gsm/segment.js'
import { tlv, writeTlvUint } from '../../protocols/smpp/tlv.js'
import type { Part } from '../carriers/driver.js'
import type { Message } from '../model/message.js'

export interface CutSettings {
  readonly receipts: 'always' | 'asked'
  readonly longMessages: How
}

/** One SMS carries 140 octets: this many octets of a short_message never need to be cut. */
const SURELY_SHORT = 140
const UDHI = 0x40

/**
 * The parts of `m` for a carrier; several share `concatRef`. Undefined when it cannot be
 * sent at all: more than 255 parts.
 */
export function cut(m: Message, settings: CutSettings, concatRef: number): Part[] | undefined {
  const registered_delivery = settings.receipts === 'always' ? (m.registered_delivery & ~3) | 1 : m.registered_delivery
  let body = m.body
  let data_coding = m.data_coding
  if (m.isText) {
    const text = m.body.toString('utf8')
    const choice = chooseCoding(text)
    body = encodeText(text, choice.coding) as Buffer
    data_coding = choice.data_coding
  } else if (body.length <= SURELY_SHORT || m.esm_class & UDHI) {
    // What the customer cut stays as it was cut.
    return [part(m, 0, m.esm_class, data_coding, body, false, registered_delivery, m.tlvs)]
  }
  const segments = segment(body, codingOf(data_coding), settings.longMessages, concatRef)
  if (segments === undefined) return undefined
  return segments.map((one, index) => {
    let tlvs = m.tlvs
    if (one.sar) {
      tlvs = Buffer.allocUnsafe(m.tlvs.length + 16)
      let at = m.tlvs.copy(tlvs)
      at = writeTlvUint(tlvs, at, tlv.sar_msg_ref_num, one.sar.ref, 2)
      at = writeTlvUint(tlvs, at, tlv.sar_total_segments, one.sar.total, 1)
      at = writeTlvUint(tlvs, at, tlv.sar_segment_seqnum, one.sar.seq, 1)
      tlvs = tlvs.subarray(0, at)
    }
    const esm_class = one.udhi ? m.esm_class | UDHI : m.esm_class
    return part(m, index, esm_class, data_coding, one.octets, one.payload === true, registered_delivery, tlvs)
  })
}

function part(
  message: Message,
  index: number,
  esm_class: number,
  data_coding: number,
  short_message: Buffer,
  payload: boolean,
  registered_delivery: number,
  tlvs: Buffer,
): Part {
  return { message, index, esm_class, data_coding, short_message, payload, registered_delivery, tlvs, sentMs: 0 }
}
