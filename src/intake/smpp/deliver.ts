// A report as the deliver_sm that an ESME gets: receipts in the words of SMPP v3.4
// appendix B with the TLVs of §5.3, replies octet for octet. Knows the wire's form only;
// who gets it, and what its answer means, is returns/report's.

import { codingOf, decodeAs } from '../../../protocols/gsm/coding.js'
import { formatReceipt, formatReceiptAs, type ReceiptFields } from '../../../protocols/smpp/receipt.js'
import { Sm } from '../../../protocols/smpp/sm.js'
import { type StatusName, status } from '../../../protocols/smpp/status.js'
import { findTlv, tlv, writeTlvString, writeTlvUint } from '../../../protocols/smpp/tlv.js'
import { plainReceipts, type SmppProfile } from '../../accounts/smppProfile.js'
import { type IdForm, idText, idTimeMs } from '../../base/ids.js'
import { EMPTY } from '../../model/message.js'
import type { Reply } from '../../model/outcome.js'
import type { ReceiptReport, Report } from '../../spool/contract.js'

/** esm_class, SMPP v3.4 §5.2.12: a delivery receipt, an intermediate notification. */
const RECEIPT = 0x04
const NOTICE = 0x20
const TLV_ROOM = 96 + 255
/** TLVs came with v3.4. */
const V34 = 0x34

// One for all: every deliver_sm is written out before the next is filled in.
const sm = new Sm()
const tlvs = Buffer.allocUnsafeSlow(TLV_ROOM)

/**
 * The fields of a report, valid until the next call. Peers of v3.3 get no TLVs but the text that fits nowhere else. `ids`
 * is how the peer knows messages, `form` the account’s wish for its receipts.
 */
export function deliverSm(
  report: Report,
  version: number,
  ids: IdForm,
  form: SmppProfile['receipts'],
  reply = report.reply,
): Sm {
  if (report.receipt) fillReceipt(report.receipt, version >= V34, ids, form)
  else fillReply(reply as Reply, version >= V34)
  return sm
}

function fillReceipt(r: ReceiptReport, withTlvs: boolean, ids: IdForm, form: SmppProfile['receipts']): void {
  const id = idText(r.id, ids)
  const { more } = r
  // From the phone's side: what was the destination is now the source.
  sm.service_type = r.service_type
  sm.source_addr_ton = r.dest_addr_ton
  sm.source_addr_npi = r.dest_addr_npi
  sm.source_addr = r.destination_addr
  sm.dest_addr_ton = r.source_addr_ton
  sm.dest_addr_npi = r.source_addr_npi
  sm.destination_addr = r.source_addr
  sm.esm_class = more?.notice ? NOTICE : RECEIPT
  sm.protocol_id = 0
  sm.priority_flag = 0
  sm.data_coding = 0
  const fields: ReceiptFields = {
    id,
    sub: more && more.part !== 0 ? 1 : r.parts,
    dlvrd: r.delivered,
    submitMs: idTimeMs(r.id),
    doneMs: r.doneMs,
    state: r.state,
    err: errOf(r.err),
    text: textOf(r),
  }
  if (form === plainReceipts || isPlain(form)) sm.short_message = formatReceipt(fields)
  else {
    if (form.id !== 'same' && withTlvs) fields.id = idText(r.id, form.id)
    sm.short_message = formatReceiptAs(fields, form)
  }
  if (!withTlvs) {
    sm.tlvs = EMPTY
    return
  }
  let end = writeTlvString(tlvs, 0, tlv.receipted_message_id, id)
  end = writeTlvUint(tlvs, end, tlv.message_state, r.state, 1)
  // The ESME's own number for its message comes back with the receipt (§5.3.2.17).
  const reference = r.tlvs.length > 0 ? findTlv(r.tlvs, 0, r.tlvs.length, tlv.user_message_reference) : -1
  if (reference >= 0) end = writeTlvUint(tlvs, end, tlv.user_message_reference, r.tlvs.readUInt16BE(reference), 2)
  if (more) {
    if (more.network !== 0) end = writeTlvUint(tlvs, end, tlv.network_error_code, more.network, 3)
    if (more.part !== 0) {
      end = writeTlvUint(tlvs, end, tlv.sar_total_segments, r.parts, 1)
      end = writeTlvUint(tlvs, end, tlv.sar_segment_seqnum, more.part, 1)
    }
    if (more.vendor) end += more.vendor.copy(tlvs, end)
  }
  sm.tlvs = tlvs.subarray(0, end)
}

/** Its text is the standard's, whatever else is set. */
const isPlain = ({ id, dateDigits, states }: SmppProfile['receipts']): boolean =>
  id === 'same' && dateDigits === 10 && Object.keys(states).length === 0

/** The first characters of the message, as far as they are text at all. What the receipt has no character for becomes `?` there. */
function textOf({ text, data_coding }: ReceiptReport): string {
  if (data_coding === 0) return text.latin1Slice()
  const coding = codingOf(data_coding)
  return coding === 'binary' ? '' : decodeAs(text, coding)
}

/**
 * `err` has three characters (appendix B). A network's own code stands as it came, a command_status as its number, a
 * vendor's too; the words for what ended here have no code.
 */
function errOf(error: string): string {
  const code = status[error as StatusName] ?? (error.startsWith('0x') ? Number(error) : undefined)
  if (code !== undefined && code <= 9999) return String(code).padStart(3, '0')
  return /^[0-9A-Za-z]{1,4}$/.test(error) ? error : '000'
}

function fillReply(r: Reply, withTlvs: boolean): void {
  sm.service_type = r.service_type
  sm.source_addr_ton = r.source_addr_ton
  sm.source_addr_npi = r.source_addr_npi
  sm.source_addr = r.source_addr
  sm.dest_addr_ton = r.dest_addr_ton
  sm.dest_addr_npi = r.dest_addr_npi
  sm.destination_addr = r.destination_addr
  sm.esm_class = r.esm_class
  sm.protocol_id = r.protocol_id
  sm.priority_flag = r.priority_flag
  sm.data_coding = r.data_coding
  if (r.body.length <= 254) {
    sm.short_message = r.body
    sm.tlvs = withTlvs ? r.tlvs : EMPTY
    return
  }
  // SMPP v3.4 §4.6.1: what does not fit goes in message_payload, short_message being empty. Peers of v3.3 are given no
  // such but what cannot be cut for them (returns/pieces).
  sm.short_message = EMPTY
  const head = Buffer.alloc(4)
  head.writeUInt16BE(tlv.message_payload, 0)
  head.writeUInt16BE(r.body.length, 2)
  sm.tlvs = Buffer.concat(withTlvs ? [r.tlvs, head, r.body] : [head, r.body])
}
