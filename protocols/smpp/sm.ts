// The fast path for the PDUs that carry messages: submit_sm, deliver_sm and data_sm, and the answers to them.
// One pass over the octets into an object that the caller keeps and reuses; the same layouts, limits and statuses as
// layout.ts, which a property test holds it to. What the fields mean (segments, alphabets, receipts) is not known here.
import { command } from './commands.js'
import { EMPTY, readText, terminator, writeCString } from './octets.js'
import { status } from './status.js'
import { checkTlvLengths, tlvPrefix, tlvStream } from './tlv.js'

/** Octets of a PDU header. */
export const HEADER = 16

/**
 * A short message in the standard's fields. `short_message` and `tlvs` are views of the buffer that was read: copy
 * what outlives it. message_payload stays in `tlvs`. Fields that data_sm does not have are empty or 0.
 */
export class Sm {
  service_type = ''
  source_addr_ton = 0
  source_addr_npi = 0
  source_addr = ''
  dest_addr_ton = 0
  dest_addr_npi = 0
  destination_addr = ''
  esm_class = 0
  protocol_id = 0
  priority_flag = 0
  schedule_delivery_time = ''
  validity_period = ''
  registered_delivery = 0
  replace_if_present_flag = 0
  data_coding = 0
  sm_default_msg_id = 0
  short_message: Buffer = EMPTY
  tlvs: Buffer = EMPTY
}

/**
 * Reads a submit_sm, deliver_sm or data_sm, header included, `[start, end)` being the whole PDU. Returns 0, or the
 * command_status to answer: that of the first field which is too long or in which the PDU ends (then `into` holds what
 * came before it). Never throws on input.
 */
export function readSm(buf: Buffer, start: number, end: number, into: Sm): number {
  let off = start + HEADER
  if (off > end) return status.ESME_RINVCMDLEN
  const commandId = ((buf[start + 6] as number) << 8) | (buf[start + 7] as number)
  const addressMax = commandId === command.data_sm ? 65 : 21

  let nul = terminator(buf, off, Math.min(off + 6, end))
  if (nul < 0) return status.ESME_RINVSERTYP
  into.service_type = readText(buf, off, nul)
  off = nul + 1

  if (off >= end) return status.ESME_RINVSRCTON
  into.source_addr_ton = buf[off++] as number
  if (off >= end) return status.ESME_RINVSRCNPI
  into.source_addr_npi = buf[off++] as number
  nul = terminator(buf, off, Math.min(off + addressMax, end))
  if (nul < 0) return status.ESME_RINVSRCADR
  into.source_addr = readText(buf, off, nul)
  off = nul + 1

  if (off >= end) return status.ESME_RINVDSTTON
  into.dest_addr_ton = buf[off++] as number
  if (off >= end) return status.ESME_RINVDSTNPI
  into.dest_addr_npi = buf[off++] as number
  nul = terminator(buf, off, Math.min(off + addressMax, end))
  if (nul < 0) return status.ESME_RINVDSTADR
  into.destination_addr = readText(buf, off, nul)
  off = nul + 1

  if (off >= end) return status.ESME_RINVESMCLASS
  into.esm_class = buf[off++] as number
  return commandId === command.data_sm
    ? readDataTail(buf, off, end, into)
    : readMessageTail(buf, off, end, into, commandId)
}

function readMessageTail(buf: Buffer, off: number, end: number, into: Sm, commandId: number): number {
  const submitted = commandId === command.submit_sm
  if (off >= end) return status.ESME_RINVCMDLEN
  into.protocol_id = buf[off++] as number
  if (off >= end) return status.ESME_RINVPRTFLG
  into.priority_flag = buf[off++] as number

  let nul = terminator(buf, off, Math.min(off + 17, end))
  if (nul < 0 || (submitted && nul !== off && nul !== off + 16)) return status.ESME_RINVSCHED
  into.schedule_delivery_time = readText(buf, off, nul)
  off = nul + 1
  nul = terminator(buf, off, Math.min(off + 17, end))
  if (nul < 0 || (submitted && nul !== off && nul !== off + 16)) return status.ESME_RINVEXPIRY
  into.validity_period = readText(buf, off, nul)
  off = nul + 1

  if (off >= end) return status.ESME_RINVREGDLVFLG
  into.registered_delivery = buf[off++] as number
  if (off >= end) return status.ESME_RINVREPFLAG
  into.replace_if_present_flag = buf[off++] as number
  if (off >= end) return status.ESME_RINVCMDLEN
  into.data_coding = buf[off++] as number
  if (off >= end) return status.ESME_RINVDFTMSGID
  into.sm_default_msg_id = buf[off++] as number
  if (off >= end) return status.ESME_RINVMSGLEN
  const length = buf[off++] as number
  if (length > end - off) return status.ESME_RINVMSGLEN
  into.short_message = length === 0 ? EMPTY : buf.subarray(off, off + length)
  return readTlvs(buf, off + length, end, into, commandId)
}

function readDataTail(buf: Buffer, off: number, end: number, into: Sm): number {
  into.protocol_id = 0
  into.priority_flag = 0
  into.schedule_delivery_time = ''
  into.validity_period = ''
  into.replace_if_present_flag = 0
  into.sm_default_msg_id = 0
  into.short_message = EMPTY
  if (off >= end) return status.ESME_RINVREGDLVFLG
  into.registered_delivery = buf[off++] as number
  if (off >= end) return status.ESME_RINVCMDLEN
  into.data_coding = buf[off++] as number
  return readTlvs(buf, off, end, into, command.data_sm)
}

// Strict with what ESMEs submit, lenient with what carriers deliver: see decodePdu.
function readTlvs(buf: Buffer, off: number, end: number, into: Sm, commandId: number): number {
  const stream = tlvStream(buf, off, end)
  into.tlvs = stream ?? tlvPrefix(buf, off, end)
  if (commandId === command.deliver_sm) return status.ESME_ROK
  if (stream === undefined) return status.ESME_RINVTLVSTREAM
  return commandId === command.submit_sm ? checkTlvLengths(stream) : status.ESME_ROK
}

/** Octets that `writeSm` needs at most, for any of the three PDUs. */
export function smSize(sm: Sm): number {
  return (
    HEADER +
    17 + // five terminators, eleven integers and sm_length
    sm.service_type.length +
    sm.source_addr.length +
    sm.destination_addr.length +
    sm.schedule_delivery_time.length +
    sm.validity_period.length +
    sm.short_message.length +
    sm.tlvs.length
  )
}

/**
 * Writes the whole PDU at `off` (`smSize(sm)` octets are enough) and returns the offset after it. Throws RangeError for
 * text that is no C-octet string and for a short_message over 255 octets: both would make another PDU of this one.
 */
export function writeSm(buf: Buffer, off: number, commandId: number, sequence: number, sm: Sm): number {
  const start = off
  const data = commandId === command.data_sm
  off = writeCString(buf, off + HEADER, sm.service_type)
  buf[off] = sm.source_addr_ton
  buf[off + 1] = sm.source_addr_npi
  off = writeCString(buf, off + 2, sm.source_addr)
  buf[off] = sm.dest_addr_ton
  buf[off + 1] = sm.dest_addr_npi
  off = writeCString(buf, off + 2, sm.destination_addr)
  buf[off++] = sm.esm_class
  if (data) {
    buf[off++] = sm.registered_delivery
    buf[off++] = sm.data_coding
  } else {
    buf[off] = sm.protocol_id
    buf[off + 1] = sm.priority_flag
    off = writeCString(buf, off + 2, sm.schedule_delivery_time)
    off = writeCString(buf, off, sm.validity_period)
    buf[off] = sm.registered_delivery
    buf[off + 1] = sm.replace_if_present_flag
    buf[off + 2] = sm.data_coding
    buf[off + 3] = sm.sm_default_msg_id
    const { length } = sm.short_message
    if (length > 255) throw new RangeError(`short_message holds at most 255 octets, not ${length}`)
    buf[off + 4] = length
    off = writeOctets(buf, off + 5, sm.short_message)
  }
  off = writeOctets(buf, off, sm.tlvs)
  writeHeader(buf, start, off - start, commandId, 0, sequence)
  return off
}

function writeOctets(buf: Buffer, off: number, octets: Buffer): number {
  if (octets.length !== 0) buf.set(octets, off)
  return off + octets.length
}

/** Writes a PDU header and returns the offset after it. Numbers are taken modulo 2^32. */
export function writeHeader(
  buf: Buffer,
  off: number,
  length: number,
  commandId: number,
  commandStatus: number,
  sequence: number,
): number {
  off = writeUint32(buf, off, length)
  off = writeUint32(buf, off, commandId)
  off = writeUint32(buf, off, commandStatus)
  return writeUint32(buf, off, sequence)
}

function writeUint32(buf: Buffer, off: number, value: number): number {
  buf[off] = value >>> 24
  buf[off + 1] = value >>> 16
  buf[off + 2] = value >>> 8
  buf[off + 3] = value
  return off + 4
}

/**
 * Writes a submit_sm_resp, deliver_sm_resp or data_sm_resp (17 octets and the id) and returns the offset after it. With
 * a status other than 0 it is a header only, as the standard has it, and `messageId` is not sent.
 */
export function writeSmResp(
  buf: Buffer,
  off: number,
  commandId: number,
  commandStatus: number,
  sequence: number,
  messageId: string,
): number {
  if (commandStatus !== 0) return writeHeader(buf, off, HEADER, commandId, commandStatus, sequence)
  writeHeader(buf, off, HEADER + 1 + messageId.length, commandId, commandStatus, sequence)
  return writeCString(buf, off + HEADER, messageId)
}

/**
 * message_id of the response `[start, end)`, header included, whatever its status: '' when it has no body, all that is
 * there when the NUL is missing.
 */
export function readMessageId(buf: Buffer, start: number, end: number): string {
  const from = start + HEADER
  if (from >= end) return ''
  const nul = terminator(buf, from, end)
  return readText(buf, from, nul < 0 ? end : nul)
}
