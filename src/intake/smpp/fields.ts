// The fields of a submission's PDU as a Message, and what is wrong with them: the one place where SMPP v3.4 §5.2
// becomes a command_status. Pure; who sent it, and what becomes of it, others know.

import { codingOf } from '../../../protocols/gsm/coding.js'
import { parseUdh } from '../../../protocols/gsm/udh.js'
import type { Sm } from '../../../protocols/smpp/sm.js'
import { status } from '../../../protocols/smpp/status.js'
import { parseTime } from '../../../protocols/smpp/time.js'
import { findTlv, tlv, tlvBytes, withoutTlvs } from '../../../protocols/smpp/tlv.js'
import type { Message } from '../../model/message.js'

/** What a message record has room for. */
const MAX_TLVS = 0xffff

/** The PDU's fields into the message; the command_status of what is wrong with them, or 0. SMPP v3.4 §4.4.1. */
export function fillMessage(sm: Sm, m: Message, nowMs: number): number {
  m.service_type = sm.service_type
  m.source_addr_ton = sm.source_addr_ton
  m.source_addr_npi = sm.source_addr_npi
  m.source_addr = sm.source_addr
  m.dest_addr_ton = sm.dest_addr_ton
  m.dest_addr_npi = sm.dest_addr_npi
  m.destination_addr = sm.destination_addr
  m.esm_class = sm.esm_class
  m.protocol_id = sm.protocol_id
  m.priority_flag = sm.priority_flag
  m.registered_delivery = sm.registered_delivery
  m.data_coding = sm.data_coding
  m.body = sm.short_message
  if (sm.tlvs.length > 0) {
    const at = findTlv(sm.tlvs, 0, sm.tlvs.length, tlv.message_payload)
    if (at < 0) m.tlvs = sm.tlvs
    else {
      // §5.3.2.32: either short_message or message_payload, never both.
      if (sm.short_message.length > 0) return status.ESME_RINVMSGLEN
      m.body = tlvBytes(sm.tlvs, at)
      m.tlvs = withoutTlvs(sm.tlvs, [tlv.message_payload])
    }
  }
  if (m.tlvs.length > MAX_TLVS) return status.ESME_RINVTLVLEN
  if (m.priority_flag > 4) return status.ESME_RINVPRTFLG
  // Message types other than an ESME's own are an MC's to send: nobody slips a receipt to a carrier (§5.2.12).
  const type = m.esm_class & 0x3c
  if (type !== 0 && type !== 0x08 && type !== 0x10) return status.ESME_RINVESMCLASS
  // A text that the MC is to know, and we know none.
  if (sm.sm_default_msg_id !== 0) return status.ESME_RINVDFTMSGID
  if (m.esm_class & 0x40 && parseUdh(m.body) === undefined) return status.ESME_RINVESMCLASS
  if (codingOf(m.data_coding) === 'ucs2' && m.body.length & 1 && (m.esm_class & 0x40) === 0) {
    return status.ESME_RINVMSGLEN
  }
  if (sm.schedule_delivery_time !== '' || sm.validity_period !== '') return fillTimes(sm, m, nowMs)
  return 0
}

function fillTimes(sm: Sm, m: Message, nowMs: number): number {
  const schedule = parseTime(sm.schedule_delivery_time, nowMs)
  if (schedule !== undefined) {
    if (Number.isNaN(schedule)) return status.ESME_RINVSCHED
    m.scheduleMs = schedule
  }
  const validity = parseTime(sm.validity_period, nowMs)
  if (validity !== undefined) {
    if (Number.isNaN(validity)) return status.ESME_RINVEXPIRY
    m.validUntilMs = validity
    m.validityGiven = true
  }
  return 0
}
