// A report as the deliver_sm that an ESME gets: receipts in the words of SMPP v3.4
// appendix B with the TLVs of §5.3, replies octet for octet. Knows the wire's form only;
// who gets it, and what its answer means, is returns/report's.

import { decodeUcs2 } from '../../../protocols/gsm/alphabet.js'
import { formatReceipt } from '../../../protocols/smpp/receipt.js'
import { Sm } from '../../../protocols/smpp/sm.js'
import { type StatusName, status } from '../../../protocols/smpp/status.js'
import { findTlv, tlv, writeTlvString, writeTlvUint } from '../../../protocols/smpp/tlv.js'
import { idTimeMs } from '../../base/ids.js'
import { EMPTY } from '../../model/message.js'
import type { Reply } from '../../model/outcome.js'
import type { ReceiptReport, Report } from '../../spool/contract.js'

/** esm_class of a delivery receipt, SMPP v3.4 §5.2.12. */
const RECEIPT = 0x04
const TLV_ROOM = 64

// One for all: every deliver_sm is written out before the next is filled in.
const sm = new Sm()
const tlvs = Buffer.allocUnsafeSlow(TLV_ROOM)

/** The fields of a report, valid until the next call. `withTlvs` is false for peers of v3.3. */
export function deliverSm(report: Report, withTlvs: boolean): Sm {
  if (report.receipt) fillReceipt(report.receipt, withTlvs)
  else fillReply(report.reply as Reply, withTlvs)
  return sm
}

function fillReceipt(r: ReceiptReport, withTlvs: boolean): void {
  const id = String(r.id)
  // From the phone's side: what was the destination is now the source.
  sm.service_type = r.service_type
  sm.source_addr_ton = r.dest_addr_ton
  sm.source_addr_npi = r.dest_addr_npi
  sm.source_addr = r.destination_addr
  sm.dest_addr_ton = r.source_addr_ton
  sm.dest_addr_npi = r.source_addr_npi
  sm.destination_addr = r.source_addr
  sm.esm_class = RECEIPT
  sm.protocol_id = 0
  sm.priority_flag = 0
  sm.data_coding = 0
  const text = (r.data_coding & 0x0c) === 0x08 ? decodeUcs2(r.text) : r.text.latin1Slice()
  sm.short_message = formatReceipt({
    id,
    sub: r.parts,
    dlvrd: r.delivered,
    submitMs: idTimeMs(r.id),
    doneMs: r.doneMs,
    state: r.state,
    err: errOf(r.err),
    text,
  })
  if (!withTlvs) {
    sm.tlvs = EMPTY
    return
  }
  let end = writeTlvString(tlvs, 0, tlv.receipted_message_id, id)
  end = writeTlvUint(tlvs, end, tlv.message_state, r.state, 1)
  // The ESME's own number for its message comes back with the receipt (§5.3.2.17).
  const reference = r.tlvs.length > 0 ? findTlv(r.tlvs, 0, r.tlvs.length, tlv.user_message_reference) : -1
  if (reference >= 0) end = writeTlvUint(tlvs, end, tlv.user_message_reference, r.tlvs.readUInt16BE(reference), 2)
  sm.tlvs = tlvs.subarray(0, end)
}

/**
 * `err` has three characters (appendix B). A network's own code stands as it came, a command_status as its number; the
 * words for what ended here have no code.
 */
function errOf(error: string): string {
  const code = status[error as StatusName]
  if (code !== undefined) return String(code).padStart(3, '0')
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
  // SMPP v3.4 §4.6.1: what does not fit goes in message_payload, short_message being empty.
  sm.short_message = EMPTY
  const head = Buffer.alloc(4)
  head.writeUInt16BE(tlv.message_payload, 0)
  head.writeUInt16BE(r.body.length, 2)
  sm.tlvs = Buffer.concat(withTlvs ? [r.tlvs, head, r.body] : [head, r.body])
}
