// Octets of a PDU that nobody may see, overwritten in place: passwords always, texts unless they are asked for. Lengths stay,
// so that the PDU still reads. What cannot be read to its end is blanked from there on. Knows where a text stands, not what
// it says; of a receipt the words that are no text stay.
import { command, isResponse } from './commands.js'
import { type Field, layoutOf } from './layout.js'
import { terminator } from './octets.js'
import { HEADER } from './sm.js'
import { eachTlv, tlv, tlvPrefix, tlvStream } from './tlv.js'

const ASTERISK = 0x2a
const UDHI = 0x40
/** esm_class bits 5-2 of a delivery receipt and of an intermediate notification, SMPP v3.4 §5.2.12. */
const TYPE = 0x3c
const RECEIPT = 0x04
const NOTIFICATION = 0x20

/** Of a receipt (SMPP v3.4 appendix B): all but the text that it quotes. */
const RECEIPT_WORD = /\b(?:id|sub|dlvrd|submit date|done date|stat|err):[\w.-]{0,64} ?/gi
const QUOTED = /text:/i

/** @param texts message texts stay: only passwords go */
export function blankPdu(buf: Buffer, start: number, end: number, texts: boolean): void {
  const id = buf.readUInt32BE(start + 4)
  const layout = layoutOf(id)
  let at = start + HEADER
  if (layout === undefined) {
    if (!texts) buf.fill(ASTERISK, at, end)
    return
  }
  // A response holds neither.
  if (isResponse(id)) return
  let esmClass = 0
  for (const field of layout) {
    const next = after(buf, at, end, field)
    if (next < 0) {
      buf.fill(ASTERISK, at, end)
      return
    }
    if (field.name === 'password') buf.fill(ASTERISK, at, next - 1)
    else if (field.name === 'esm_class') esmClass = buf[at] as number
    else if (field.name === 'short_message' && !texts) blankText(buf, at + 1, next, id, esmClass)
    at = next
  }
  if (!texts) blankTlvs(buf, at, end, id, esmClass)
}

/** Where the field at `at` ends; -1: not within the PDU. */
function after(buf: Buffer, at: number, end: number, field: Field): number {
  switch (field.kind) {
    case 'uint8':
      return at < end ? at + 1 : -1
    case 'cstring':
    case 'time':
      return afterString(buf, at, end)
    case 'octets': {
      const next = at < end ? at + 1 + (buf[at] as number) : -1
      return next <= end ? next : -1
    }
    case 'dest_address':
      return afterDestinations(buf, at, end)
    default:
      return -1
  }
}

function afterString(buf: Buffer, at: number, end: number): number {
  return terminator(buf, at, end) + 1 || -1
}

function afterDestinations(buf: Buffer, at: number, end: number): number {
  let left = at < end ? (buf[at++] as number) : -1
  for (; left > 0 && at > 0 && at < end; left--) {
    const flag = buf[at]
    // dest_flag, and TON and NPI with an address.
    if (flag === 1) at = afterString(buf, at + 3, end)
    else if (flag === 2) at = afterString(buf, at + 1, end)
    else return -1
  }
  return left === 0 ? at : -1
}

function blankTlvs(buf: Buffer, at: number, end: number, id: number, esmClass: number): void {
  const sound = tlvStream(buf, at, end)
  const stream = sound ?? tlvPrefix(buf, at, end)
  const from = stream.length === 0 ? at : stream.byteOffset - buf.byteOffset
  const to = from + stream.length
  eachTlv(buf, from, to, (tag, value, length) => {
    if (tag === tlv.message_payload) blankText(buf, value, value + length, id, esmClass)
  })
  if (sound === undefined) buf.fill(ASTERISK, to, end)
}

function blankText(buf: Buffer, start: number, end: number, id: number, esmClass: number): void {
  // The header says which part of what it is: that is no text.
  const header = esmClass & UDHI && start < end ? 1 + (buf[start] as number) : 0
  let from = start + header > end ? start : start + header
  const type = esmClass & TYPE
  if ((id === command.deliver_sm || id === command.data_sm) && (type === RECEIPT || type === NOTIFICATION)) {
    const begin = from
    const text = buf.toString('latin1', begin, end)
    const quoted = text.search(QUOTED)
    for (const word of text.slice(0, quoted < 0 ? undefined : quoted).matchAll(RECEIPT_WORD)) {
      buf.fill(ASTERISK, from, begin + word.index)
      from = begin + word.index + word[0].length
    }
  }
  buf.fill(ASTERISK, from, end)
}
