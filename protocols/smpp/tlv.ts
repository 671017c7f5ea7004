// The TLVs of SMPP v3.4 (§5.3) and v5.0 (§4.8) as one table, and what can be done to a raw TLV stream.
// A stream stays the octets it came as: unknown and vendor tags travel through untouched, and no object is made
// for a TLV that nobody asks for. Which TLV belongs in which PDU is not checked: the field does not keep to it.
import { EMPTY, readText, terminator, writeCString } from './octets.js'
import { status } from './status.js'

export type TlvKind = 'uint' | 'octets' | 'cstring'

/** Name, tag, kind, least and most octets of the value. A `cstring` ends with NUL, which its length counts. */
const table = [
  ['dest_addr_subunit', 0x0005, 'uint', 1, 1],
  ['dest_network_type', 0x0006, 'uint', 1, 1],
  ['dest_bearer_type', 0x0007, 'uint', 1, 1],
  ['dest_telematics_id', 0x0008, 'uint', 2, 2],
  ['source_addr_subunit', 0x000d, 'uint', 1, 1],
  ['source_network_type', 0x000e, 'uint', 1, 1],
  ['source_bearer_type', 0x000f, 'uint', 1, 1],
  ['source_telematics_id', 0x0010, 'uint', 1, 2], // one octet in v3.4, two in v5.0
  ['qos_time_to_live', 0x0017, 'uint', 4, 4],
  ['payload_type', 0x0019, 'uint', 1, 1],
  ['additional_status_info_text', 0x001d, 'cstring', 1, 256],
  ['receipted_message_id', 0x001e, 'cstring', 1, 65],
  ['ms_msg_wait_facilities', 0x0030, 'uint', 1, 1],
  ['privacy_indicator', 0x0201, 'uint', 1, 1],
  ['source_subaddress', 0x0202, 'octets', 2, 23],
  ['dest_subaddress', 0x0203, 'octets', 2, 23],
  ['user_message_reference', 0x0204, 'uint', 2, 2],
  ['user_response_code', 0x0205, 'uint', 1, 1],
  ['source_port', 0x020a, 'uint', 2, 2],
  ['dest_port', 0x020b, 'uint', 2, 2],
  ['sar_msg_ref_num', 0x020c, 'uint', 2, 2],
  ['language_indicator', 0x020d, 'uint', 1, 1],
  ['sar_total_segments', 0x020e, 'uint', 1, 1],
  ['sar_segment_seqnum', 0x020f, 'uint', 1, 1],
  ['sc_interface_version', 0x0210, 'uint', 1, 1],
  ['callback_num_pres_ind', 0x0302, 'uint', 1, 1],
  ['callback_num_atag', 0x0303, 'octets', 0, 65],
  ['number_of_messages', 0x0304, 'uint', 1, 1],
  ['callback_num', 0x0381, 'octets', 4, 19],
  ['dpf_result', 0x0420, 'uint', 1, 1],
  ['set_dpf', 0x0421, 'uint', 1, 1],
  ['ms_availability_status', 0x0422, 'uint', 1, 1],
  ['network_error_code', 0x0423, 'octets', 3, 3],
  ['message_payload', 0x0424, 'octets', 0, 65535],
  ['delivery_failure_reason', 0x0425, 'uint', 1, 1],
  ['more_messages_to_send', 0x0426, 'uint', 1, 1],
  ['message_state', 0x0427, 'uint', 1, 1],
  ['congestion_state', 0x0428, 'uint', 1, 1],
  ['ussd_service_op', 0x0501, 'uint', 1, 1],
  ['broadcast_channel_indicator', 0x0600, 'uint', 1, 1],
  ['broadcast_content_type', 0x0601, 'octets', 3, 3],
  ['broadcast_content_type_info', 0x0602, 'octets', 1, 255],
  ['broadcast_message_class', 0x0603, 'uint', 1, 1],
  ['broadcast_rep_num', 0x0604, 'uint', 2, 2],
  ['broadcast_frequency_interval', 0x0605, 'octets', 3, 3],
  ['broadcast_area_identifier', 0x0606, 'octets', 1, 101], // failed_broadcast_area_identifier in broadcast_sm_resp
  ['broadcast_error_status', 0x0607, 'uint', 4, 4],
  ['broadcast_area_success', 0x0608, 'uint', 1, 1],
  ['broadcast_end_time', 0x0609, 'cstring', 1, 17],
  ['broadcast_service_group', 0x060a, 'octets', 1, 255],
  ['billing_identification', 0x060b, 'octets', 1, 1024],
  ['source_network_id', 0x060d, 'cstring', 7, 65],
  ['dest_network_id', 0x060e, 'cstring', 7, 65],
  ['source_node_id', 0x060f, 'octets', 6, 6],
  ['dest_node_id', 0x0610, 'octets', 6, 6],
  ['dest_addr_np_resolution', 0x0611, 'uint', 1, 1],
  ['dest_addr_np_information', 0x0612, 'octets', 10, 10],
  ['dest_addr_np_country', 0x0613, 'octets', 1, 5],
  ['display_time', 0x1201, 'uint', 1, 1],
  ['sms_signal', 0x1203, 'uint', 2, 2],
  ['ms_validity', 0x1204, 'octets', 1, 4], // one octet in v3.4; v5.0 adds a unit and a number of them
  ['alert_on_message_delivery', 0x130c, 'uint', 0, 1], // empty in v3.4
  ['its_reply_type', 0x1380, 'uint', 1, 1],
  ['its_session_info', 0x1383, 'octets', 2, 2],
] as const satisfies readonly (readonly [name: string, tag: number, kind: TlvKind, min: number, max: number])[]

type Row = (typeof table)[number]
export type TlvName = Row[0]

/** Tag by name: `tlv.message_payload`. */
export const tlv = Object.fromEntries(table.map(([name, tag]) => [name, tag])) as { [R in Row as R[0]]: R[1] }

export interface TlvType {
  name: TlvName
  tag: number
  kind: TlvKind
  min: number
  max: number
}

const types = new Map<number, TlvType>(table.map(([name, tag, kind, min, max]) => [tag, { name, tag, kind, min, max }]))

/** What the standard says of a tag; undefined for reserved and vendor tags. */
export function tlvType(tag: number): TlvType | undefined {
  return types.get(tag)
}

/**
 * The TLV stream that fills `[start, end)` of a PDU, as a subarray of whole TLVs; EMPTY when there is none, undefined
 * when octets are left over or a length runs past the end. Up to three NULs before the stream or behind it are
 * dropped: peers that count short_message without its NUL, or end every PDU with one, are many.
 */
export function tlvStream(buf: Buffer, start: number, end: number): Buffer | undefined {
  if (start === end) return EMPTY
  for (let skipped = 0; skipped <= 3; skipped++) {
    const from = start + skipped
    const to = wholeTlvs(buf, from, end)
    if (end - to <= 3 && allNul(buf, to, end)) return to === from ? EMPTY : buf.subarray(from, to)
    if (buf[from] !== 0) break
  }
  return undefined
}

/** The whole TLVs at the start of `[start, end)`, whatever follows them: how a response is read. */
export function tlvPrefix(buf: Buffer, start: number, end: number): Buffer {
  const to = wholeTlvs(buf, start, end)
  return to === start ? EMPTY : buf.subarray(start, to)
}

function wholeTlvs(buf: Buffer, start: number, end: number): number {
  let at = start
  while (at + 4 <= end) {
    const next = at + 4 + uint16(buf, at + 2)
    if (next > end) break
    at = next
  }
  return at
}

function allNul(buf: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at++) if (buf[at] !== 0) return false
  return true
}

/**
 * 0 for a sound stream; ESME_RINVTLVSTREAM where `tlvStream` finds none; ESME_RINVTLVLEN when a tag of the standard has
 * a length that the standard forbids.
 */
export function checkTlvs(buf: Buffer, start: number, end: number): number {
  const stream = tlvStream(buf, start, end)
  return stream === undefined ? status.ESME_RINVTLVSTREAM : checkTlvLengths(stream)
}

/** `checkTlvs` for a stream that `tlvStream` made. */
export function checkTlvLengths(stream: Buffer): number {
  for (let at = 0; at < stream.length; ) {
    const length = uint16(stream, at + 2)
    const type = types.get(uint16(stream, at))
    if (type !== undefined && (length < type.min || length > type.max)) return status.ESME_RINVTLVLEN
    at += 4 + length
  }
  return status.ESME_ROK
}

/** Offset of the value of the first TLV `tag` in the stream `[start, end)`, or -1. */
export function findTlv(buf: Buffer, start: number, end: number, tag: number): number {
  for (let at = start; at + 4 <= end; ) {
    const length = uint16(buf, at + 2)
    if (at + 4 + length > end) return -1
    if (uint16(buf, at) === tag) return at + 4
    at += 4 + length
  }
  return -1
}

/** Calls `visit` for each whole TLV of the stream, in order; repeated tags come repeatedly. */
export function eachTlv(
  buf: Buffer,
  start: number,
  end: number,
  visit: (tag: number, valueOffset: number, length: number) => void,
): void {
  for (let at = start; at + 4 <= end; ) {
    const length = uint16(buf, at + 2)
    if (at + 4 + length > end) return
    visit(uint16(buf, at), at + 4, length)
    at += 4 + length
  }
}

/** Octets of the value that `findTlv` found. */
export function tlvLength(buf: Buffer, valueOffset: number): number {
  return uint16(buf, valueOffset - 2)
}

/** The value as an unsigned integer of one to four octets; -1 for any other length. */
export function tlvUint(buf: Buffer, valueOffset: number): number {
  const length = tlvLength(buf, valueOffset)
  return length >= 1 && length <= 4 ? buf.readUIntBE(valueOffset, length) : -1
}

/** The value as Latin-1 text up to its NUL, or whole where the NUL is missing. */
export function tlvString(buf: Buffer, valueOffset: number): string {
  const end = valueOffset + tlvLength(buf, valueOffset)
  const nul = terminator(buf, valueOffset, end)
  return readText(buf, valueOffset, nul < 0 ? end : nul)
}

/** The value's octets, not copied. */
export function tlvBytes(buf: Buffer, valueOffset: number): Buffer {
  return buf.subarray(valueOffset, valueOffset + tlvLength(buf, valueOffset))
}

/** Writes an integer in as many octets as the standard gives the tag (one for a tag it does not know). */
export function writeTlvUint(
  buf: Buffer,
  off: number,
  tag: number,
  value: number,
  octets: number = types.get(tag)?.max ?? 1,
): number {
  return buf.writeUIntBE(value, writeTlvHead(buf, off, tag, octets), octets)
}

export function writeTlvBytes(buf: Buffer, off: number, tag: number, value: Buffer): number {
  const at = writeTlvHead(buf, off, tag, value.length)
  buf.set(value, at)
  return at + value.length
}

/** Writes a C-octet string: the text and its NUL, which the length counts. */
export function writeTlvString(buf: Buffer, off: number, tag: number, value: string): number {
  return writeCString(buf, writeTlvHead(buf, off, tag, value.length + 1), value)
}

function writeTlvHead(buf: Buffer, off: number, tag: number, length: number): number {
  if (length > 0xffff) throw new RangeError(`a TLV holds at most 65,535 octets, not ${length}`)
  buf[off] = tag >>> 8
  buf[off + 1] = tag
  buf[off + 2] = length >>> 8
  buf[off + 3] = length
  return off + 4
}

/** The stream without the TLVs named: the same buffer if it has none of them, EMPTY if nothing remains. */
export function withoutTlvs(buf: Buffer, tags: readonly number[]): Buffer {
  const kept: Buffer[] = []
  let length = 0
  eachTlv(buf, 0, buf.length, (tag, valueOffset, valueLength) => {
    if (tags.includes(tag)) return
    kept.push(buf.subarray(valueOffset - 4, valueOffset + valueLength))
    length += 4 + valueLength
  })
  if (length === buf.length) return buf
  return length === 0 ? EMPTY : Buffer.concat(kept, length)
}

function uint16(buf: Buffer, at: number): number {
  return ((buf[at] as number) << 8) | (buf[at + 1] as number)
}
