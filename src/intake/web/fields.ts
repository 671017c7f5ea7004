// What an application may say of the messages that it hands in over HTTP: names, bounds and defaults. Knows what may stand
// there; what becomes of it is message.ts's.

import { z } from 'zod'
import { isHookUrl } from '../../accounts/hooks.js'

/** Recipients of one request, and characters of one text. */
export const MAX_RECIPIENTS = 1_000
const MAX_TEXT = 1_600
/** Octets of `metadata` as JSON. */
const MAX_METADATA = 2_000
/** The message's record has one octet for the length of this. */
const MAX_CUSTOM_ID = 80
const MAX_PRIORITY = 4

export const smsTypes = ['otp', 'alert', 'transactional', 'promotional', 'marketing'] as const
export type SmsType = (typeof smsTypes)[number]

const moment = z.iso
  .datetime({ offset: true, error: 'must be a moment with its offset, like 2027-01-31T09:30:00Z' })
  .transform(text => Date.parse(text))

/** What goes into the places of a template. */
const values = z.record(z.string().max(64), z.union([z.string().max(MAX_TEXT), z.number(), z.boolean()]))
const locale = z
  .string()
  .max(35)
  .regex(/^[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*$/, 'must be a locale like de or pt-BR')
  .transform(tag => tag.replaceAll('_', '-'))

const recipient = z.union([
  z.string().min(3).max(32),
  z.strictObject({
    number: z.string().min(3).max(32),
    /** `49`, `+49`: put before a number without its own. */
    country_code: z
      .string()
      .regex(/^\+?[1-9][0-9]{0,2}$/, 'must be 1 to 3 digits')
      .optional(),
    name: z.string().max(100).optional().describe('The value of a template’s {{name}}, unless variables have one.'),
    custom_id: z.string().max(MAX_CUSTOM_ID).optional(),
    variables: values.optional().describe('Of the template: before template_variables.'),
    locale: locale.optional(),
  }),
])
export type Recipient = z.output<typeof recipient>

/** All but the recipients. */
export const messageFields = z.object({
  from_number: z.string().max(20).default('').describe('The sender: a number, or a name of up to 11 characters.'),
  message: z
    .string()
    .min(1)
    .max(MAX_TEXT)
    .optional()
    .describe('The text; octets in base64 when message_type is binary.'),
  template_id: z.string().min(1).max(64).optional().describe('Instead of message: id or name of a template.'),
  template_version: z.int().min(1).max(1_000_000).optional().describe('The newest, if left out.'),
  template_variables: values.optional().describe('Values for all recipients.'),
  locale: locale.optional().describe('The language of the template, where it has it.'),
  message_type: z.enum(['text', 'unicode', 'binary', 'flash']).default('text'),
  sms_type: z
    .enum(smsTypes)
    .optional()
    .describe(
      'otp and alert go first, promotional and marketing last and only to those who want them; left out, the ' +
        "template's, or transactional.",
    ),
  provider: z.string().min(1).max(64).optional().describe('The carrier, by name; left out, the routes decide.'),
  schedule_at: moment.optional().describe('Not before this moment, which may be 366 days ahead.'),
  expire_at: moment.optional().describe('Not after this moment.'),
  priority: z.int().min(1).max(MAX_PRIORITY).default(1).describe('Among your own messages; 4 goes first.'),
  callback_url: z
    .string()
    .max(2_000)
    .refine(isHookUrl, 'must be an http or https URL without a user name')
    .optional()
    .describe('Told when the message is over, besides your webhooks.'),
  custom_id: z.string().max(MAX_CUSTOM_ID).default('').describe('Your own name for it, given back in all answers.'),
  metadata: z
    .record(z.string().max(64), z.union([z.string(), z.number(), z.boolean(), z.null()]))
    .refine(value => JSON.stringify(value).length <= MAX_METADATA, `must be at most ${MAX_METADATA} octets as JSON`)
    .optional(),
  tags: z
    .array(z.string().regex(/^[\w.:-]{1,64}$/, 'must be letters, digits and . : _ -'))
    .max(16)
    .default([]),
  dry_run: z.boolean().default(false).describe('Checks everything, prices it, and sends nothing.'),
})
/** `sandboxed`: it comes with a test key. */
export type MessageFields = z.output<typeof messageFields> & { sandboxed?: boolean }

/** One text, from the one place or the other. */
const textOnce = (body: MessageFields, context: z.core.$RefinementCtx): void => {
  const add = (name: string, message: string): void =>
    context.addIssue({ code: 'custom', path: [name], message, input: body })
  if (body.message !== undefined && body.template_id !== undefined) add('template_id', 'not together with message')
  else if (body.message === undefined && body.template_id === undefined) add('message', 'is needed, or template_id')
  if (body.template_id !== undefined) {
    if (body.message_type === 'binary') add('message_type', 'a template makes texts, not octets')
    return
  }
  for (const name of ['template_version', 'template_variables', 'locale'] as const) {
    if (body[name] !== undefined) add(name, 'is for a template: say template_id')
  }
}

export const recipientList = z.union([recipient, z.array(recipient).min(1).max(MAX_RECIPIENTS)])

export const sendBody = messageFields.extend({ to: recipientList }).strict().superRefine(textOnce)

export const batchBody = messageFields
  .extend({
    name: z.string().max(100).default('').describe('For people.'),
    recipients: z.array(recipient).min(1).max(MAX_RECIPIENTS),
    send_immediately: z.boolean().default(true).describe('False: schedule_at says when.'),
  })
  .strict()
  .superRefine(textOnce)
  .refine(body => body.send_immediately || body.schedule_at !== undefined, {
    path: ['schedule_at'],
    message: 'is needed when send_immediately is false',
  })
