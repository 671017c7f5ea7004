// Templates as HTTP shows them: shapes of requests and answers, and rows in the shape of an answer. Knows names and bounds;
// nothing of any route.

import { z } from 'zod'
import { messageFields, recipientList, smsTypes } from '../../intake/web/fields.js'
import { type TemplateRow, type VersionRow, variableGiven } from '../../services/templates/rows.js'

const MAX_PAGE = 200
const MAX_OFFSET = 10_000
export const VERSIONS_SHOWN = 100
export const UCS2_SHOWN = 50

const variable = z.object({
  name: z.string(),
  required: z.boolean(),
  default: z.string().nullable(),
  max_length: z.number().nullable(),
  pattern: z.string().nullable(),
})
const content = {
  content: z.string(),
  locales: z.record(z.string(), z.string()),
  variables: z.array(variable),
}
export const entry = z
  .object({
    id: z.string(),
    name: z.string(),
    shared: z.boolean().describe("the gateway's: every account may use it"),
    category: z.string(),
    sms_type: z.string(),
    is_active: z.boolean(),
    version: z.number(),
    newest_version: z.number(),
    ...content,
    uses: z.number().nullable().describe("messages made of it, some seconds late; of the gateway's it is not told"),
    last_used_at: z.string().nullable(),
    created_at: z.string(),
    updated_at: z.string(),
    deleted_at: z.string().nullable(),
  })
  .meta({ id: 'Template' })
export type TemplateEntry = z.output<typeof entry>
const versionEntry = z
  .object({ version: z.number(), ...content, created_by: z.string(), created_at: z.string() })
  .meta({ id: 'TemplateVersion' })
export const details = entry
  .extend({ versions: z.array(versionEntry).describe(`the newest first, ${VERSIONS_SHOWN} at most`) })
  .meta({ id: 'TemplateDetails' })
export type TemplateDetails = z.output<typeof details>
export const page = z.object({ templates: z.array(entry), next_cursor: z.string().nullable() })
export type TemplatePageOf = z.output<typeof page>

export const byVersion = z.object({
  id: z.string().min(1).max(128).describe('id or name'),
  version: z.coerce.number().int().min(1).max(1_000_000),
})
export const byId = z.object({ id: z.string().min(1).max(128).describe('id or name') })
export const listQuery = z.object({
  category: z.string().max(64).optional(),
  sms_type: z.enum(smsTypes).optional(),
  is_active: z
    .enum(['true', 'false'])
    .transform(word => word === 'true')
    .optional(),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
  cursor: z
    .string()
    .regex(/^\d{1,9}$/, 'must be next_cursor of the page before')
    .optional(),
  offset: z.coerce
    .number()
    .int()
    .min(0)
    .max(MAX_OFFSET)
    .default(0)
    .describe('for those who count; a cursor is quicker'),
})
export const showQuery = z.object({
  version: z.coerce.number().int().min(1).optional().describe('the newest if left out'),
})
export const previewBody = z
  .strictObject({
    variables: messageFields.shape.template_variables,
    to: recipientList.optional().describe('What each of these would be sent, and what it would cost.'),
    version: messageFields.shape.template_version,
    locale: messageFields.shape.locale,
    from_number: messageFields.shape.from_number,
    message_type: z.enum(['text', 'unicode', 'flash']).optional(),
    sms_type: messageFields.shape.sms_type,
  })
  .nullish()
export const preview = z
  .object({
    template_id: z.string(),
    version: z.number(),
    text: z.string().describe('with variables alone; where that makes no text, what the first of to is sent'),
    encoding: z.enum(['gsm7', 'ucs2']),
    characters: z.number(),
    segments: z.number(),
    ucs2_characters: z.array(z.string()).describe('those that the GSM alphabet does not have: they make a text longer'),
    price: z.string().describe('in all, to those that are valid'),
    recipients: z.array(
      z.object({
        to: z.string(),
        status: z.enum(['valid', 'rejected']),
        text: z.string().nullable(),
        segments: z.number(),
        price: z.string(),
        error: z.object({ code: z.string(), detail: z.string(), pointer: z.string().optional() }).nullable(),
      }),
    ),
    currency: z.string(),
  })
  .meta({ id: 'TemplatePreview' })
export type TemplatePreview = z.output<typeof preview>

/** `isOthers`: whoever asks is not told how often everybody else uses it. */
export const entryOf = (row: TemplateRow, isOthers: boolean): TemplateEntry => ({
  id: String(row.id),
  name: row.name,
  shared: row.account === null,
  category: row.category,
  sms_type: row.smsType,
  is_active: row.active,
  version: row.version,
  newest_version: row.newest,
  content: row.content,
  locales: { ...row.locales },
  variables: row.variables.map(variableGiven),
  uses: isOthers ? null : row.uses,
  last_used_at: isOthers ? null : (row.lastAt?.toISOString() ?? null),
  created_at: row.createdAt.toISOString(),
  updated_at: row.updatedAt.toISOString(),
  deleted_at: row.deletedAt?.toISOString() ?? null,
})

/** `isOthers`: whoever asks is not told who of the gateway's people wrote it. */
export const versionOf = (row: VersionRow, isOthers: boolean): z.output<typeof versionEntry> => ({
  version: row.version,
  content: row.content,
  locales: { ...row.locales },
  variables: row.variables.map(variableGiven),
  created_by: isOthers ? 'gateway' : row.who,
  created_at: row.createdAt.toISOString(),
})
