// What may stand in requests about one-time passwords, and what their answers look like. Knows shapes and bounds alone.

import { z } from 'zod'
import { appHash, brand, languages, otpDomain } from '../../accounts/otpProfile.js'
import { codeFormats } from '../../services/otp/codes.js'
import { channels } from '../../services/otp/session.js'
import { Problem } from '../problem.js'

const MAX_KEY = 255
const MAX_METADATA = 2_000

export const phone = z.union([
  z.string().min(3).max(32),
  z.strictObject({
    number: z.string().min(3).max(32),
    country_code: z
      .string()
      .regex(/^\+?[1-9][0-9]{0,2}$/, 'must be 1 to 3 digits')
      .optional()
      .describe('Of a number without + or 00, such as 0151 2345678 with 49.'),
  }),
])
const email = z.email().max(254)
const purpose = z.string().regex(/^[A-Za-z0-9_.:-]{1,32}$/, 'must be up to 32 letters, digits and _ . : -')
const oneLine = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u, 'must be one line, without marks that nobody sees')
const payee = oneLine(64).describe('Who is paid; the message names it, and whoever verifies must name the same.')
const amount = oneLine(32).describe('What is paid, like 49.90 EUR; as payee.')
const ip = z.union([z.ipv4(), z.ipv6()]).describe('Of the client whom the code is for: limits count by it.')

export const generateBody = z
  .strictObject({
    phone_number: phone.optional(),
    email: email.optional().describe('For the channel email.'),
    length: z.int().min(2).max(10).optional().describe('Digits, letters or words.'),
    expiry_minutes: z.int().min(1).max(10).optional(),
    alphanumeric: z.boolean().optional().describe('The same as format letters.'),
    format: z.enum(codeFormats).optional(),
    purpose: purpose.optional().describe('Like login; whoever verifies must name the same. Without it verification.'),
    payee: payee.optional(),
    amount: amount.optional(),
    brand: brand.optional(),
    language: z.enum(languages).optional(),
    custom_message: z
      .string()
      .max(1_000)
      .refine(text => text.includes('{otp}'), 'must contain {otp}')
      .optional()
      .describe('With {otp}, and {expiry} in minutes; with {payee} and {amount} where they are given.'),
    template_id: z
      .string()
      .min(1)
      .max(64)
      .optional()
      .describe('Its variables otp, expiry, payee and amount are filled in, in the language.'),
    template_variables: z.record(z.string().max(64), z.string().max(200)).optional(),
    metadata: z
      .record(z.string().max(64), z.union([z.string(), z.number(), z.boolean(), z.null()]))
      .refine(value => JSON.stringify(value).length <= MAX_METADATA, `must be at most ${MAX_METADATA} octets as JSON`)
      .optional(),
    workflow: z
      .array(
        z.strictObject({
          channel: z.enum(channels),
          timeout_s: z.int().min(1).max(300).optional().describe('Without a receipt for so long the next begins; 30.'),
        }),
      )
      .min(1)
      .max(4)
      .optional()
      .describe('Channels in their order, all with the same code; each must begin while it is good.'),
    ip: ip.optional(),
    domain: otpDomain.optional().describe('Ends the message with @domain #code, for WebOTP.'),
    app_hash: appHash.optional().describe('Ends the message with it, for the SMS Retriever of Android.'),
    from_number: z.string().max(20).optional(),
  })
  .superRefine((body, context) => {
    const add = (name: string, message: string): void =>
      context.addIssue({ code: 'custom', path: [name], message, input: body })
    if (body.phone_number === undefined && body.email === undefined) add('phone_number', 'is needed, or email')
    if (body.domain !== undefined && body.app_hash !== undefined) add('app_hash', 'not together with domain')
    if (body.custom_message !== undefined && body.template_id !== undefined)
      add('template_id', 'not together with custom_message')
    for (const name of ['payee', 'amount'] as const) {
      if (body[name] === undefined && body.custom_message?.includes(`{${name}}`))
        add(name, 'is what custom_message names')
    }
    if (body.template_variables !== undefined && body.template_id === undefined)
      add('template_variables', 'is for a template: say template_id')
    if (body.alphanumeric && body.format !== undefined && body.format !== 'letters')
      add('alphanumeric', 'is format letters: say one of them')
  })

const sessionId = z.string().min(1).max(64)
export const verifyBody = z.strictObject({
  session_id: sessionId,
  otp_code: z.string().min(1).max(64),
  phone_number: phone.optional(),
  email: email.optional(),
  purpose: purpose.optional().describe('As generate was told; without it verification. Another one costs an attempt.'),
  payee: payee.optional().describe('As generate was told.'),
  amount: amount.optional().describe('As generate was told.'),
})
export const redeemBody = z.strictObject({ verified_token: z.string().min(1).max(128), purpose: purpose.optional() })
export const resendBody = z
  .strictObject({
    ip: ip.optional(),
    channel: z.enum(channels).optional().describe('One of the workflow; without it the one that it went last.'),
  })
  .nullish()
export const params = z.object({ session_id: sessionId })
export const listQuery = z.object({ limit: z.coerce.number().int().min(1).max(200).default(50) })
export const idempotency = z.object({
  'idempotency-key': z
    .string()
    .min(1)
    .max(MAX_KEY + 2)
    .optional()
    .describe('The same key and body again within 24 hours get the same answer, and nothing is sent twice.'),
})

export const session = z
  .object({
    session_id: z.string(),
    status: z.enum(['pending', 'verified', 'blocked', 'expired', 'canceled', 'superseded']),
    purpose: z.string(),
    channel: z.string(),
    to: z.string(),
    created_at: z.string(),
    expires_at: z.string(),
    ended_at: z.string().nullable(),
    attempts_left: z.number(),
    next_channel: z.string().nullable(),
    messages: z.array(
      z.object({
        channel: z.string(),
        message_id: z.string().nullable(),
        status: z.enum(['sent', 'delivered', 'failed']),
        error: z.string().nullable(),
        at: z.string(),
      }),
    ),
    metadata: z.record(z.string(), z.unknown()).nullable(),
    sandbox: z.boolean(),
  })
  .meta({ id: 'OtpSession' })
export const made = session
  .extend({
    resend_at: z.string().describe('Not before then.'),
    limits: z.object({ left_this_hour: z.number(), left_today: z.number() }).nullable(),
    code: z.string().optional().describe('In the sandbox only.'),
  })
  .meta({ id: 'OtpMade' })
const carriedBy = z
  .array(z.object({ channel: z.string(), to: z.string(), status: z.enum(['sent', 'delivered', 'failed']) }))
  .describe('Where the code went: one of these is proven.')
export const verified = z
  .object({
    verified: z.literal(true),
    session_id: z.string(),
    status: z.literal('verified'),
    purpose: z.string(),
    verified_token: z.string().describe('Good once, for five minutes, at /otp/redeem.'),
    verified_token_expires_at: z.string(),
    carried_by: carriedBy,
    metadata: z.record(z.string(), z.unknown()).nullable(),
    sandbox: z.boolean().describe('true proves nothing: the code stood in the answer.'),
  })
  .meta({ id: 'OtpVerified' })
export const redeemed = z
  .object({
    session_id: z.string(),
    purpose: z.string(),
    to: z.string().describe('Of the first channel.'),
    payee: z.string(),
    amount: z.string(),
    verified_at: z.string(),
    carried_by: carriedBy,
    sandbox: z.boolean().describe('true proves nothing: the code stood in the answer.'),
  })
  .meta({ id: 'OtpRedeemed' })
export const sessions = z
  .object({
    sessions: z.array(
      z.object({
        session_id: z.string(),
        event: z.string().describe('The last that happened.'),
        started_at: z.string(),
        at: z.string(),
        purpose: z.string(),
        channel: z.string(),
        to: z.string(),
        country: z.string(),
      }),
    ),
  })
  .meta({ id: 'OtpSessions' })

export const prefixParams = z.object({ prefix: z.string().regex(/^\d{1,15}$/, 'must be digits') })
const block = z.object({
  prefix: z.string().describe('Numbers that begin so; a country code, of +1 with the area, is all of a country.'),
  sent: z.number().describe('Codes within an hour that people had the time to enter.'),
  verified: z.number().describe('How many of them were entered.'),
  at: z.string(),
  until: z.string(),
})
export const blocks = z.object({ blocks: z.array(block) }).meta({ id: 'OtpBlocks' })
export const released = z.object({ prefix: z.string() }).meta({ id: 'OtpReleased' })

// -- codes of refusals, as the documents name them

const ofSending =
  '429 otp_limited, whose limit says which (cooldown, hour, day, address, account, prefix), with Retry-After; 403 ' +
  'otp_country_refused, otp_destination_blocked (too many wrong codes in a row) and otp_prefix_blocked (hardly any code is ' +
  'entered there); 422 otp_text_invalid and otp_too_dear; and what keeps any message back, like no_route.'
const ofSession = '404 otp_unknown, 409 otp_over'
export const refusals = {
  generate:
    '\n\nRefused with 422 otp_length_invalid, otp_destination_missing, otp_workflow_too_long (a channel could not begin while ' +
    'the code is good) and otp_sandbox_mixed; 501 otp_channel_unavailable; 429 otp_attempts_used (too many wrong codes), with ' +
    `Retry-After; ${ofSending}`,
  redeem: '\n\nRefused with 422 otp_token_invalid, whatever is wrong with it.',
  resend: `\n\nRefused with ${ofSession}, 422 otp_channel_missing; ${ofSending}`,
  next: `Refused with ${ofSession} and otp_no_step; ${ofSending}`,
  session: `Refused with ${ofSession}.`,
  show: '\n\nRefused with 404 otp_unknown.',
} as const

/** Bare or as a structured string (RFC 8941): `abc`, `"abc"`. */
export function keyIn(given: string | undefined): string | undefined {
  return given === undefined ? undefined : (/^"(.+)"$/.exec(given)?.[1] ?? given)
}
export const stillRunning = (): Problem =>
  new Problem(409, 'still_running', 'It is being worked on', 'a request with this Idempotency-Key is not over yet')
export const keyReused = (): Problem =>
  new Problem(
    422,
    'key_reused',
    'The key was used',
    'this Idempotency-Key came with another request within the last 24 hours',
  )
