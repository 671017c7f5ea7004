// The submit_sm of a load run: one PDU is made when the run begins, and each message is a copy of it with three numbers
// written in. Knows where they stand; refuses to know sessions and counts.

import { command } from '../../../protocols/smpp/commands.js'
import { HEADER, Sm, smSize, writeSm } from '../../../protocols/smpp/sm.js'
import { tlv, writeTlvBytes } from '../../../protocols/smpp/tlv.js'
import { addressType } from '../address.js'
import { SERIAL_DIGITS, SERIAL_DIGITS_AT, SERIAL_TEXT, writeDigits } from '../serial.js'

export interface TemplateSettings {
  readonly from: string
  /** Destinations are this prefix and seven digits. */
  readonly to: string
  /** Characters, the serial number's thirteen at least. */
  readonly textLength: number
  readonly ucs2: boolean
  readonly receipts: boolean
}

/** Digits after the prefix: as many destinations before they repeat. */
export const DESTINATION_DIGITS = 7
const DESTINATIONS = 10 ** DESTINATION_DIGITS
const FILLER = 'the quick brown fox jumps over the lazy dog '
/** sm_length is one octet, and 255 of them not everybody takes. */
const MOST_SHORT_MESSAGE = 254

export class SubmitTemplate {
  readonly octets: number
  private readonly pdu: Buffer
  private readonly destinationAt: number
  private readonly serialAt: number
  private readonly step: number

  constructor(settings: TemplateSettings) {
    const body = bodyOf(settings)
    const { from, to } = settings
    const sm = new Sm()
    const source = addressType(from)
    sm.source_addr_ton = source.ton
    sm.source_addr_npi = source.npi
    sm.source_addr = from
    sm.dest_addr_ton = 1
    sm.dest_addr_npi = 1
    sm.destination_addr = to + '0'.repeat(DESTINATION_DIGITS)
    sm.registered_delivery = settings.receipts ? 1 : 0
    sm.data_coding = settings.ucs2 ? 8 : 0
    if (body.length <= MOST_SHORT_MESSAGE) sm.short_message = body
    else {
      sm.tlvs = Buffer.alloc(4 + body.length)
      writeTlvBytes(sm.tlvs, 0, tlv.message_payload, body)
    }
    const buf = Buffer.alloc(smSize(sm))
    const end = writeSm(buf, 0, command.submit_sm, 0, sm)
    this.pdu = buf.subarray(0, end)
    this.octets = end
    this.step = settings.ucs2 ? 2 : 1
    // service_type is its NUL alone; the body is what the PDU ends with.
    this.destinationAt = HEADER + 1 + 2 + from.length + 1 + 2 + to.length
    this.serialAt = end - body.length + SERIAL_DIGITS_AT * this.step + this.step - 1
  }

  /** Writes the submit_sm of `message` at `at`, `octets` long; `serial` is the number in its text. */
  write(buf: Buffer, at: number, sequence: number, message: number, serial: number): void {
    buf.set(this.pdu, at)
    buf[at + 12] = sequence >>> 24
    buf[at + 13] = sequence >>> 16
    buf[at + 14] = sequence >>> 8
    buf[at + 15] = sequence
    writeDigits(buf, at + this.destinationAt, DESTINATION_DIGITS, 1, message % DESTINATIONS)
    writeDigits(buf, at + this.serialAt, SERIAL_DIGITS, this.step, serial)
  }
}

function bodyOf({ textLength, ucs2 }: TemplateSettings): Buffer {
  const text = `${SERIAL_TEXT} ${FILLER.repeat(Math.ceil(textLength / FILLER.length))}`.slice(
    0,
    Math.max(textLength, SERIAL_TEXT.length),
  )
  return ucs2 ? Buffer.from(text, 'utf16le').swap16() : Buffer.from(text, 'latin1')
}
