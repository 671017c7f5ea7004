// The fields of a submission's PDU as a Message, and what is wrong with them: the one place where SMPP v3.4 §5.2
// becomes a command_status. The first fault in the order of the PDU's fields is the one that is told. Pure; who sent
// it, and what becomes of it, others know.

import { codingOf } from '../../../protocols/gsm/coding.js'
import { concatOf, parseUdh } from '../../../protocols/gsm/udh.js'
import type { Sm } from '../../../protocols/smpp/sm.js'
import { status } from '../../../protocols/smpp/status.js'
import { parseTime } from '../../../protocols/smpp/time.js'
import { tlv, tlvBytes, withoutTlvs } from '../../../protocols/smpp/tlv.js'
import type { SmppProfile } from '../../accounts/smppProfile.js'
import type { Message } from '../../model/message.js'

/** What a message record has room for. */
const MAX_TLVS = 0xffff
/** Type of number and numbering plan that the standard names, SMPP v3.4 §5.2.5 and §5.2.6. */
const MAX_TON = 6
const MAX_NPI = 18
const ALPHANUMERIC = 5
/** 3GPP TS 23.040 §9.1.2.5: an alphanumeric address has as many characters at most. */
const MAX_ALPHANUMERIC = 11
/** esm_class, SMPP v3.4 §5.2.12. */
const TYPE = 0x3c
const DELIVERY_ACK = 0x08
const USER_ACK = 0x10
const UDHI = 0x40
const V5 = 0x50
/** An ESME's clock may be so far behind ours before its schedule counts as past. */
const PAST_MS = 5 * 60_000
/** Nobody means a moment further off than this: a year, and a day for the leap. */
export const FAR_MS = 366 * 86_400_000

/** The largest value of TLVs that have few, by tag; the values of all others are for the carrier to judge (§5.3.2). */
const LARGEST = new Uint8Array(0x500).fill(255)
LARGEST[tlv.dest_addr_subunit] = 4
LARGEST[tlv.source_addr_subunit] = 4
LARGEST[tlv.privacy_indicator] = 3
LARGEST[tlv.set_dpf] = 1
LARGEST[tlv.more_messages_to_send] = 1

// Looked up once: `tlv` has a name for each of sixty tags.
const { message_payload: MESSAGE_PAYLOAD } = tlv
const { sar_msg_ref_num: SAR_REF, sar_total_segments: SAR_TOTAL, sar_segment_seqnum: SAR_SEQ } = tlv
const PAYLOAD = [MESSAGE_PAYLOAD]
const SAR = [SAR_REF, SAR_TOTAL, SAR_SEQ]

/**
 * The PDU's fields into the message; the command_status of what is wrong with them, or 0 (SMPP v3.4 §4.4.1, §5.2).
 * `version` is the interface_version that the peer bound with. What v5.0 allows and v3.4 reserves is taken from v5.0 peers.
 */
export function fillMessage(sm: Sm, m: Message, nowMs: number, profile: SmppProfile, version: number): number {
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

  const addresses = addressFault(sm)
  if (addresses !== 0) return addresses
  // Message types other than an ESME's own are an MC's to send: nobody slips a receipt to a carrier (§5.2.12).
  const type = sm.esm_class & TYPE
  if (type !== 0 && type !== DELIVERY_ACK && type !== USER_ACK) return status.ESME_RINVESMCLASS
  // 4 is v5.0's (§4.7.14); GSM knows 0 to 3.
  if (sm.priority_flag > 3 && (sm.priority_flag > 4 || version < V5)) return status.ESME_RINVPRTFLG
  if (sm.schedule_delivery_time !== '' || sm.validity_period !== '') {
    const times = fillTimes(sm, m, nowMs)
    if (times !== 0) return times
  }
  if (sm.registered_delivery > 2 && !isAsked(sm.registered_delivery, version)) return status.ESME_RINVREGDLVFLG
  if (sm.replace_if_present_flag !== 0) {
    if (sm.replace_if_present_flag !== 1) return status.ESME_RINVREPFLAG
    if (!profile.replace) return status.ESME_RINVSUBREP
  }
  if (sm.tlvs.length > 0) {
    const tlvs = fillTlvs(sm, m)
    if (tlvs !== 0) return tlvs
  }
  if (sm.esm_class & UDHI && parseUdh(m.body) === undefined) return status.ESME_RINVESMCLASS
  if (sm.sm_default_msg_id !== 0) return fillDefault(sm.sm_default_msg_id, m, profile)
  return bodyFault(sm, m, profile, version)
}

/** Addresses as an SMSC takes them: what they lead to is the route's to say. */
function addressFault(sm: Sm): number {
  if (sm.source_addr_ton > MAX_TON) return status.ESME_RINVSRCTON
  if (sm.source_addr_npi > MAX_NPI) return status.ESME_RINVSRCNPI
  if (sm.source_addr_ton === ALPHANUMERIC && sm.source_addr.length > MAX_ALPHANUMERIC) return status.ESME_RINVSRCADR
  if (sm.dest_addr_ton > MAX_TON) return status.ESME_RINVDSTTON
  if (sm.dest_addr_npi > MAX_NPI) return status.ESME_RINVDSTNPI
  return 0
}

/** Bits 7 to 5 are reserved, and so is 11 in bits 1 and 0 before v5.0 made it "success only" (§5.2.17, v5.0 §4.7.21). */
function isAsked(registered_delivery: number, version: number): boolean {
  return registered_delivery <= 0x1f && ((registered_delivery & 3) !== 3 || version >= V5)
}

function bodyFault(sm: Sm, m: Message, profile: SmppProfile, version: number): number {
  const { length } = m.body
  if (length === 0) return profile.emptyMessages ? 0 : status.ESME_RINVMSGLEN
  // 255 octets of short_message are v5.0's.
  if (sm.short_message.length === 255 && version < V5) return status.ESME_RINVMSGLEN
  if (length & 1 && codingOf(m.data_coding) === 'ucs2' && (m.esm_class & UDHI) === 0) {
    const means = profile.codings[m.data_coding]
    if (means === undefined || means === 'ucs2' || means === 'utf16le') return status.ESME_RINVMSGLEN
  }
  return 0
}

/** A text that the MC knows by number (§5.2.23): it stands alone, and is sent in whatever coding holds it. */
function fillDefault(id: number, m: Message, profile: SmppProfile): number {
  const text = defaultMessage(id, profile)
  if (text === undefined || m.body.length > 0) return status.ESME_RINVDFTMSGID
  m.body = text
  m.isText = true
  m.data_coding = 0
  return 0
}

/** The account's text of that number, UTF-8; undefined when it has none. */
export function defaultMessage(id: number, profile: SmppProfile): Buffer | undefined {
  const text = profile.defaultMessages[id]
  return text === undefined ? undefined : Buffer.from(text)
}

function fillTimes(sm: Sm, m: Message, nowMs: number): number {
  const schedule = parseTime(sm.schedule_delivery_time, nowMs)
  if (schedule !== undefined) {
    // No comparison holds for NaN, which is what no time reads as.
    if (!(schedule >= nowMs - PAST_MS && schedule <= nowMs + FAR_MS)) return status.ESME_RINVSCHED
    if (schedule > nowMs) m.scheduleMs = schedule
  }
  const validity = parseTime(sm.validity_period, nowMs)
  if (validity !== undefined) {
    const from = Math.max(nowMs, m.scheduleMs)
    if (!(validity > from && validity <= from + FAR_MS)) return status.ESME_RINVEXPIRY
    m.validUntilMs = validity
    m.validityGiven = true
  }
  return 0
}

// What the last walk over a stream has found: one walk a message, and no object for it.
let payloadAt = -1
let sar = 0

/** TLVs go on as they came, but for the text itself and for sar_* that say nothing. */
function fillTlvs(sm: Sm, m: Message): number {
  const { tlvs } = sm
  m.tlvs = tlvs
  const code = walk(tlvs)
  if (code !== 0) return code
  if (payloadAt >= 0) {
    const text = tlvBytes(tlvs, payloadAt)
    if (text.length > 0) {
      // §5.3.2.32: either short_message or message_payload, never both.
      if (sm.short_message.length > 0) return status.ESME_RINVMSGLEN
      m.body = text
    }
    m.tlvs = withoutTlvs(tlvs, PAYLOAD)
  }
  // A part names itself once: what the UDH says holds.
  if (sar !== 0 && (sar < 0 || (m.esm_class & UDHI && concatOf(m.body)))) m.tlvs = withoutTlvs(m.tlvs, SAR)
  return m.tlvs.length > MAX_TLVS ? status.ESME_RINVTLVLEN : 0
}

/**
 * Finds the first message_payload, and what sar_* say: 1: all three are there and name a part, 1 <= sar_segment_seqnum <=
 * sar_total_segments; 0: none is there; -1: they say nothing, and are ignored, all three (§5.3.2.22 to 24).
 * ESME_RINVTLVVAL where a TLV of few values has another.
 */
function walk(tlvs: Buffer): number {
  let found = 0
  let total = 0
  let seq = 0
  payloadAt = -1
  for (let at = 0; at + 4 <= tlvs.length; ) {
    const tag = ((tlvs[at] as number) << 8) | (tlvs[at + 1] as number)
    const length = ((tlvs[at + 2] as number) << 8) | (tlvs[at + 3] as number)
    at += 4
    if (tag === MESSAGE_PAYLOAD) {
      if (payloadAt < 0) payloadAt = at
    } else if (length === 1) {
      const value = tlvs[at] as number
      if (tag < LARGEST.length && value > (LARGEST[tag] as number)) return status.ESME_RINVTLVVAL
      if (tag === SAR_TOTAL) {
        found |= 2
        total = value
      } else if (tag === SAR_SEQ) {
        found |= 4
        seq = value
      }
    } else if (tag === SAR_REF) found |= 1
    at += length
  }
  sar = found === 0 ? 0 : found === 7 && seq >= 1 && seq <= total ? 1 : -1
  return 0
}
