// Requests and answers about webhooks, as schemas. Knows fields and bounds; what is done with them webhooks.ts says.

import { z } from 'zod'
import { eventType, hookFields, hookSettings, hookUrl } from '../../accounts/hooks.js'

const MAX_PAGE = 200
const MAX_NUMBERS = 1_000
const MAX_KEEP_HOURS = 168

const { timeoutMs, atOnce, attempts } = hookSettings.shape
const own = {
  url: hookUrl.describe('https, or http within networks that the operator has named.'),
  events: z.array(eventType).max(64).describe('message.delivered, message.*; none = everything.'),
  timeout_ms: timeoutMs.unwrap().describe('For an answer, 100 to 120000.'),
  at_once: atOnce.unwrap().describe('Events on their way at one time, 1 to 64; 1 keeps them in order.'),
  attempts: attempts
    .unwrap()
    .describe('How often one event is tried before it is put aside; null = until it is too old.'),
}
export const addBody = z.strictObject({
  url: own.url,
  events: own.events.default([]),
  secret: hookFields.shape.secret.describe('Your own, whsec_…; one is made if it is left out.'),
  timeout_ms: own.timeout_ms.default(15_000),
  at_once: own.at_once.default(8),
  attempts: own.attempts.default(null),
})
export const changeBody = z
  .strictObject(own)
  .partial()
  .refine(body => Object.keys(body).length > 0, 'must change something')
export const rotateBody = z.strictObject({
  keep_hours: z
    .int()
    .min(0)
    .max(MAX_KEEP_HOURS)
    .default(24)
    .describe('So long the old secret signs as well, 0 to 168.'),
})
const moment = z.iso.datetime({ offset: true }).or(z.iso.date()).transform(Date.parse)
export const replayBody = z.union([
  z.strictObject({ numbers: z.array(z.int().min(1)).min(1).max(MAX_NUMBERS).describe('Of failures.') }),
  z.strictObject({ all: z.literal(true).describe('Everything that was given up.') }),
  z.strictObject({
    since: moment.describe('Messages that ended then or later, as history knows them.'),
    until: moment.optional().describe('And before this; now if left out.'),
    cursor: z
      .string()
      .regex(/^\d{1,15}-\d{16}$/, 'must be next_cursor of the answer before')
      .optional(),
  }),
])

export const webhook = z
  .object({
    id: z.number(),
    url: z.string(),
    events: z.array(z.string()),
    enabled: z.boolean(),
    disabled_because: z.string().nullable(),
    timeout_ms: z.number(),
    at_once: z.number(),
    attempts: z.number().nullable(),
    old_secret_until: z.string().nullable().describe('until then the secret before signs as well'),
  })
  .meta({ id: 'Webhook' })
export const withSecret = webhook
  .extend({ secret: z.string().describe('shown here and never again') })
  .meta({ id: 'WebhookWithSecret' })
export const tested = z
  .object({
    taken: z.boolean(),
    status: z.number().nullable().describe('of the answer; null: none came'),
    ms: z.number(),
    reason: z.string().nullable().describe('HTTP 500, TIMEOUT, OUT_OF_REACH, ECONNREFUSED, …'),
  })
  .meta({ id: 'WebhookTested' })
export const failurePage = z
  .object({
    failures: z.array(
      z.object({
        number: z.number(),
        webhook: z.number().nullable().describe('null: the URL that the message itself named'),
        url: z.string(),
        event: z.string().describe('webhook-id'),
        type: z.string(),
        happened_at: z.string(),
        given_up_at: z.string(),
        attempts: z.number(),
        reason: z.string(),
      }),
    ),
    next: z.number().nullable().describe('as `before` for the next page'),
  })
  .meta({ id: 'WebhookFailures' })
export const replayed = z
  .object({
    replayed: z.number().describe('events that are on their way again'),
    next_cursor: z.string().nullable().describe('there is more: ask again with this cursor'),
  })
  .meta({ id: 'WebhookReplayed' })
export const byId = z.object({ id: z.coerce.number().int().min(1).max(2_147_483_647) })
export const pageQuery = z.object({
  before: z.coerce.number().int().min(1).optional().describe('next of the page before'),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
})

export type WebhookEntry = z.output<typeof webhook>
export type WebhookTested = z.output<typeof tested>
export type WebhookFailurePage = z.output<typeof failurePage>
export type WebhookReplayed = z.output<typeof replayed>
