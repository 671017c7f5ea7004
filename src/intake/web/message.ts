// Messages as an application describes them over HTTP, as the internal ones: what all of a request share is made once, and
// where a template is filled in for each, its text. Knows fields and the model; judges nothing: that is the door's.

import { digitsOf } from '../../model/digits.js'
import { type Fault, fault } from '../../model/fault.js'
import { type ClassRank, Message, rankOf } from '../../model/message.js'
import type { CommonValues, TemplateProgram, TemplateValues } from '../../model/templateText.js'
import { extrasOfWeb, type WebExtras } from '../../model/webExtras.js'
import { writtenNumber } from '../../routing/writtenNumber.js'
import type { MessageFields, Recipient, SmsType } from './fields.js'
import type { FoundTemplate } from './templates.js'

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

const notBase64 = fault('body_invalid', 'message must be base64 when message_type is binary', false)
const noText = fault('body_invalid', 'neither a message nor a template', false)

/** The same for all recipients of one request. */
export interface Draft {
  readonly fields: MessageFields
  readonly smsType: SmsType
  /** '' until it is a batch: see {@link batched}. */
  readonly extras: string
  /** null: of each its own. */
  readonly body: Buffer | null
  readonly template: FoundTemplate | null
  /** The template's values that are the same for all. */
  readonly common?: CommonValues | undefined
}

/** A Fault: no recipient can be sent it. */
export function draftOf(
  fields: MessageFields,
  recipients: readonly Recipient[],
  template: FoundTemplate | null,
): Draft | Fault {
  const smsType = fields.sms_type ?? template?.smsType ?? 'transactional'
  const given = fields.template_variables
  const common = template === null || given === undefined ? undefined : template.program.common(given)
  let body: Buffer | null = null
  if (template === null || !recipients.some(to => isPersonal(to, template))) {
    const made = template === null ? fields.message : commonText(fields, template, common)
    const octets = made === undefined ? noText : typeof made === 'string' ? bodyOf(made, fields.message_type) : made
    if ('code' in octets) return octets
    body = octets
  }
  return { fields, smsType, extras: '', body, template, common }
}

/** Once it is admitted. */
export function batched(draft: Draft, batch: string): Draft {
  const { fields, smsType, template } = draft
  const web: WebExtras = { batch, sms_type: smsType }
  if (template !== null) {
    web.template = String(template.id)
    web.template_version = template.version
  }
  if (fields.callback_url !== undefined) web.callback = fields.callback_url
  if (fields.metadata !== undefined) web.metadata = fields.metadata
  return { ...draft, extras: extrasOfWeb(web, fields.tags) }
}

/** Whether a text may be its own. */
const isPersonal = (to: Recipient, { program }: FoundTemplate): boolean =>
  typeof to !== 'string' && (to.locale !== undefined || ownValues(to, program) !== undefined)

/** A recipient's name is a value of its own, where the template has a place for a `name` and `variables` give none. */
function ownValues(to: Recipient, program: TemplateProgram): TemplateValues | undefined {
  if (typeof to === 'string') return undefined
  const { name, variables } = to
  if (name === undefined || !program.has('name')) return variables
  return { name, ...variables }
}

function commonText({ locale }: MessageFields, { program }: FoundTemplate, common?: CommonValues): string | Fault {
  const text = program.render(undefined, common, locale)
  if (typeof text === 'string' || text.pointer === undefined) return text
  return { ...text, pointer: `/template_variables${text.pointer}` }
}

/** What a recipient is sent; a Fault's pointer begins at the recipient, or at the request where the value is all's. */
export function bodyFor(to: Recipient, { fields, body, template, common }: Draft): Buffer | Fault {
  if (body !== null) return body
  if (template === null) return noText
  const locale = typeof to === 'string' ? undefined : to.locale
  const own = ownValues(to, template.program)
  const text = template.program.render(own, common, locale ?? fields.locale)
  if (typeof text === 'string') return bodyOf(text, fields.message_type)
  return text.pointer === undefined ? text : { ...text, pointer: within(to, own, fields, text.pointer) }
}

function within(
  to: Recipient,
  own: TemplateValues | undefined,
  { template_variables }: MessageFields,
  pointer: string,
): string {
  const name = pointer.slice(1).replaceAll('~1', '/').replaceAll('~0', '~')
  const isOwn = own !== undefined && Object.hasOwn(own, name)
  // Given beside the variables, and not as one of them.
  if (isOwn && typeof to !== 'string' && !Object.hasOwn(to.variables ?? {}, name)) return pointer
  const isOfAll = !isOwn && template_variables !== undefined && Object.hasOwn(template_variables, name)
  return `${isOfAll ? '/template_variables' : '/variables'}${pointer}`
}

function bodyOf(text: string, type: MessageFields['message_type']): Buffer | Fault {
  if (type === 'unicode') return Buffer.from(text, 'utf16le').swap16()
  if (type !== 'binary') return Buffer.from(text)
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text)
    ? Buffer.from(text, 'base64')
    : notBase64
}

/** A recipient's number as digits; '' when it is none. */
export function numberOf(to: Recipient): string {
  const written = typeof to === 'string' ? to : to.number
  const code = typeof to === 'string' ? '' : (to.country_code ?? '').replace('+', '')
  return writtenNumber(written, code) ?? digitsOf(written.replace(/[ ().-]/g, ''))
}

/** What its sender calls the message to this one; '' = nothing. */
export const customIdOf = (to: Recipient, { custom_id }: MessageFields): string =>
  (typeof to === 'string' ? undefined : to.custom_id) ?? custom_id

export function messageFor(to: Recipient, number: string, body: Buffer, { fields, extras }: Draft): Message {
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
  m.clientRef = customIdOf(to, fields)
  m.extras = extras
  m.isSandboxed = fields.sandboxed === true
  return m
}

/** The text of a message that {@link messageFor} made; null: octets. */
export function textOf(m: Message, type: MessageFields['message_type']): string | null {
  if (type === 'binary') return null
  return m.isText ? m.body.toString('utf8') : Buffer.from(m.body).swap16().toString('utf16le')
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
