// A message as an application describes it over HTTP, as the one internal message. Knows fields and the model; judges
// nothing: that is the door's.

import { digitsOf } from '../../model/digits.js'
import { type ClassRank, Message, rankOf } from '../../model/message.js'
import { extrasOfWeb, type WebExtras } from '../../model/webExtras.js'
import { writtenNumber } from '../../routing/writtenNumber.js'
import type { MessageFields, Recipient, SmsType } from './fields.js'

/** TON and NPI, SMPP v3.4 §5.2.5 and 5.2.6. */
const UNKNOWN = 0
const INTERNATIONAL = 1
const ALPHANUMERIC = 5
const ISDN = 1
/** data_coding, §5.2.19: octets, UCS-2, and the class of a text that is shown at once and not kept. */
const OCTETS = 4
const UCS2 = 8
const FLASH = 0x10

const ranks: Readonly<Record<SmsType, ClassRank>> = {
  otp: rankOf('otp'),
  alert: rankOf('otp'),
  transactional: rankOf('transactional'),
  promotional: rankOf('bulk'),
  marketing: rankOf('bulk'),
}
export const rankOfType = (type: SmsType): ClassRank => ranks[type]

/** The same for all recipients of one request. */
export interface Template {
  readonly fields: MessageFields
  readonly body: Buffer
  readonly batch: string
}

/** Undefined: `message` is no base64. */
export function templateOf(fields: MessageFields, batch: string): Template | undefined {
  const body = bodyOf(fields)
  return body === undefined ? undefined : { fields, body, batch }
}

function bodyOf({ message, message_type }: MessageFields): Buffer | undefined {
  if (message_type === 'unicode') return Buffer.from(message, 'utf16le').swap16()
  if (message_type !== 'binary') return Buffer.from(message)
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(message)
    ? Buffer.from(message, 'base64')
    : undefined
}

/** A recipient's number as digits; '' when it is none. */
export function numberOf(to: Recipient): string {
  const written = typeof to === 'string' ? to : to.number
  const code = typeof to === 'string' ? '' : (to.country_code ?? '').replace('+', '')
  return writtenNumber(written, code) ?? digitsOf(written.replace(/[ ().-]/g, ''))
}

export function messageFor(to: Recipient, number: string, { fields, body, batch }: Template): Message {
  const m = new Message()
  m.body = body
  if (fields.message_type === 'binary') m.data_coding = OCTETS
  else if (fields.message_type === 'unicode') m.data_coding = UCS2
  else {
    m.isText = true
    if (fields.message_type === 'flash') m.data_coding = FLASH
  }
  m.dest_addr_ton = INTERNATIONAL
  m.dest_addr_npi = ISDN
  m.destination_addr = number
  fillSource(m, fields.from_number)
  m.priority_flag = fields.priority - 1
  m.carrierName = fields.provider ?? ''
  m.scheduleMs = fields.schedule_at ?? 0
  if (fields.expire_at !== undefined) {
    m.validUntilMs = fields.expire_at
    m.validityGiven = true
  }
  m.clientRef = (typeof to === 'string' ? undefined : to.custom_id) ?? fields.custom_id
  const web: WebExtras = { batch, sms_type: fields.sms_type }
  if (fields.callback_url !== undefined) web.callback = fields.callback_url
  if (fields.metadata !== undefined) web.metadata = fields.metadata
  m.extras = extrasOfWeb(web, fields.tags)
  m.isSandboxed = fields.sandboxed === true
  return m
}

function fillSource(m: Message, source: string): void {
  m.source_addr = source
  if (source === '') return
  if (!/^\+?[0-9]+$/.test(source)) {
    m.source_addr_ton = ALPHANUMERIC
    return
  }
  // A short code is of no country.
  m.source_addr_ton = source.length > 6 ? INTERNATIONAL : UNKNOWN
  m.source_addr_npi = ISDN
}
