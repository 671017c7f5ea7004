// Templates over HTTP: an account's own, with the gateway's to be seen and used; the same routes serve whoever administers.
// Knows requests and answers; what a template may be, and how it is kept, services/templates says.

import type { FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { z } from 'zod'
import { isGsm } from '../../../protocols/gsm/alphabet.js'
import type { Account } from '../../accounts/account.js'
import type { Actor } from '../../accounts/audit.js'
import { type MessageFields, messageFields } from '../../intake/web/fields.js'
import type { WebSender } from '../../intake/web/sender.js'
import { unitsText } from '../../model/money.js'
import { TemplateFaulty, templateChange, templateFields } from '../../services/templates/content.js'
import {
  type TemplateOwner,
  type TemplateRefusal,
  TemplateRefused,
  type TemplateRow,
} from '../../services/templates/rows.js'
import type { Templates } from '../../services/templates/templates.js'
import { StoreAway } from '../../store/retry.js'
import { Problem } from '../problem.js'
import type { Api } from './api.js'
import { needs } from './caller.js'
import { problemOf } from './faults.js'
import { shownFault } from './sms.js'
import {
  byId,
  byVersion,
  details,
  entry,
  entryOf,
  listQuery,
  page,
  preview,
  previewBody,
  showQuery,
  type TemplateEntry,
  type TemplatePreview,
  UCS2_SHOWN,
  VERSIONS_SHOWN,
  versionOf,
} from './templateShapes.js'

export interface TemplateHost {
  readonly templates: Templates
  readonly sender: WebSender
  /** Of prices. */
  readonly currency: string
}

/** Whose templates a request is about. */
export interface TemplateCaller {
  /** null: the gateway's own. */
  readonly account: Account | null
  readonly actor: Actor
}

export interface TemplateApi extends Pick<Api, 'scope' | 'problems'> {
  whoOf(request: FastifyRequest): TemplateCaller
}

export function templateRoutes(app: TemplateApi, host: () => TemplateHost): void {
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()
  const reads = needs('templates:read')
  const writes = needs('templates:write', { isOfLive: true })
  const tags = ['Templates']
  const { problems } = app
  const ownerOf = (request: FastifyRequest): TemplateOwner => app.whoOf(request).account?.id ?? null

  routes.get(
    '/templates',
    {
      ...reads,
      schema: {
        summary: 'Your templates, and those of the gateway',
        tags,
        querystring: listQuery,
        response: { 200: page, ...problems },
      },
    },
    async request => {
      const { category, sms_type: smsType, is_active: active, limit, cursor, offset } = request.query
      const owner = ownerOf(request)
      const asked = { owner, category, smsType, active }
      const { templates } = host()
      const rows = await known(() =>
        templates.rows.list({ ...asked, after: Number(cursor ?? 0), offset, limit: limit + 1 }),
      )
      const shown = rows.slice(0, limit)
      return {
        templates: shown.map(row => entryOf(row, row.account !== owner)),
        next_cursor: rows.length > limit ? String(shown.at(-1)?.id) : null,
      }
    },
  )

  routes.post(
    '/templates',
    {
      ...writes,
      schema: {
        summary: 'Make a template',
        description:
          'The text has {{name}} where a value goes. A value is put there as it is, and never read as part of the template.',
        tags,
        body: templateFields,
        response: { 201: entry, ...problems },
      },
    },
    async (request, reply) => {
      const { actor } = app.whoOf(request)
      const owner = ownerOf(request)
      const { templates } = host()
      const id = await known(() => templates.rows.create(actor, owner, request.body))
      reply.code(201)
      return changed(owner, id, 1)
    },
  )

  routes.get(
    '/templates/:id',
    {
      ...reads,
      schema: {
        summary: 'A template with its versions; also one of yours that was removed',
        tags,
        params: byId,
        querystring: showQuery,
        response: { 200: details, ...problems },
      },
    },
    async request => {
      const { templates } = host()
      const row = await rowOf(request, request.params.id, request.query.version)
      const versions = await known(() => templates.rows.versions(row.id, VERSIONS_SHOWN))
      // Who runs the gateway is nobody's business but theirs.
      const isOthers = row.account !== ownerOf(request)
      return { ...entryOf(row, isOthers), versions: versions.map(one => versionOf(one, isOthers)) }
    },
  )

  routes.patch(
    '/templates/:id',
    {
      ...writes,
      schema: {
        summary: 'Change a template',
        description:
          'Another text, language or variable makes a new version; messages keep the one that they were made of. ' +
          'With version nothing is changed when somebody else made a newer one meanwhile (409, template_changed).',
        tags,
        params: byId,
        body: templateChange,
        response: { 200: entry, ...problems },
      },
    },
    async request => {
      const { actor } = app.whoOf(request)
      const owner = ownerOf(request)
      const { id } = await ownRow(request, request.params.id)
      const version = await known(() => host().templates.rows.edit(actor, id, request.body))
      return changed(owner, id, version)
    },
  )

  routes.delete(
    '/templates/:id',
    {
      ...writes,
      schema: {
        summary: 'Remove a template',
        description: 'Nothing is made of it any more; its versions can be read, for messages name them.',
        tags,
        params: byId,
        response: { 200: entry, ...problems },
      },
    },
    async request => {
      const { actor } = app.whoOf(request)
      const owner = ownerOf(request)
      const { id } = await ownRow(request, request.params.id)
      await known(() => host().templates.rows.remove(actor, id))
      return changed(owner, id)
    },
  )

  routes.post(
    '/templates/:id/versions/:version/restore',
    {
      ...writes,
      schema: {
        summary: 'Go back to an older version',
        description: 'What it said becomes the newest version; those between stay.',
        tags,
        params: byVersion,
        response: { 200: entry, ...problems },
      },
    },
    async request => {
      const { actor } = app.whoOf(request)
      const owner = ownerOf(request)
      const { id } = await ownRow(request, request.params.id)
      const version = await known(() => host().templates.rows.restore(actor, id, request.params.version))
      return changed(owner, id, version)
    },
  )

  routes.post(
    '/templates/:id/preview',
    {
      ...reads,
      schema: {
        summary: 'What a template would say, in which encoding, and what it would cost',
        tags,
        params: byId,
        body: previewBody,
        response: { 200: preview, ...problems },
      },
    },
    async request => previewOf(app.whoOf(request).account, request.params.id, request.body ?? {}),
  )

  /** An own one as it is once this node knows it too; with the content of that version, or of the newest. */
  async function changed(owner: TemplateOwner, id: number, version?: number): Promise<TemplateEntry> {
    const { templates } = host()
    await known(() => templates.refresh())
    return entryOf((await known(() => templates.rows.one(owner, id, version))) as TemplateRow, false)
  }

  async function rowOf(request: FastifyRequest, given: string, version?: number): Promise<TemplateRow> {
    const owner = ownerOf(request)
    const { templates } = host()
    const id = templates.idOf(owner, given)
    const row = id === undefined ? undefined : await known(() => templates.rows.one(owner, id, version))
    // What the gateway has not switched on, or took away, others do not see.
    const isShown = row !== undefined && (row.account === owner || (row.active && row.deletedAt === null))
    if (isShown) return row
    throw new Problem(
      404,
      'template_unknown',
      'There is no such template',
      `no template ${given}${version === undefined ? '' : `, version ${version},`} is known`,
    )
  }

  async function ownRow(request: FastifyRequest, given: string): Promise<TemplateRow> {
    const row = await rowOf(request, given)
    if (row.account === ownerOf(request)) return row
    throw new Problem(403, 'template_shared', "It is the gateway's", 'whoever runs the gateway changes it')
  }

  async function previewOf(
    account: Account | null,
    given: string,
    {
      variables,
      to,
      version,
      locale,
      from_number,
      message_type,
      sms_type,
    }: Partial<NonNullable<z.output<typeof previewBody>>>,
  ): Promise<TemplatePreview> {
    const { templates, sender, currency } = host()
    const found = templates.seen(account?.id ?? null, given, version)
    if ('code' in found) {
      const problem = problemOf(found)
      throw new Problem(404, problem.code, 'There is no such template', problem.message)
    }
    const fields: MessageFields = messageFields.parse({ template_id: given, from_number, message_type, sms_type })
    Object.assign(fields, {
      template_version: found.version,
      ...(variables === undefined ? {} : { template_variables: variables }),
      ...(locale === undefined ? {} : { locale }),
    })
    const recipients = to === undefined ? [] : [to].flat()
    if (recipients.length > 0 && account === null) {
      throw new Problem(422, 'invalid', 'To whose recipients?', 'name the account: prices and routes are an account’s')
    }
    const sent =
      account === null || recipients.length === 0 ? null : await sender.preview(account, fields, recipients, found)
    const messages = sent === null || 'code' in sent ? [] : sent.messages
    let composed = sender.compose(account, fields, found)
    // Where each has values of their own, nobody's text is none.
    const first = recipients[messages.findIndex(one => one.fault === null)]
    if ('code' in composed && first !== undefined) composed = sender.compose(account, fields, found, first)
    if ('code' in composed) {
      const pointer = composed.pointer?.replace('/template_variables', '/variables')
      throw problemOf(composed, pointer === undefined ? {} : { errors: [{ ...shownFault(composed), pointer }] })
    }
    if (sent !== null && 'code' in sent) throw problemOf(sent)
    const { text, segments } = composed
    const priceMicros = messages.reduce((sum, one) => sum + (one.fault === null ? one.priceMicros : 0), 0)
    return {
      template_id: String(found.id),
      version: found.version,
      text,
      encoding: composed.isGsm ? 'gsm7' : 'ucs2',
      characters: [...text].length,
      segments,
      ucs2_characters: [...new Set(text)].filter(one => !isGsm(one)).slice(0, UCS2_SHOWN),
      price: unitsText(priceMicros),
      recipients: messages.map(one => ({
        to: one.to,
        status: one.fault === null ? ('valid' as const) : ('rejected' as const),
        text: one.text,
        segments: one.segments,
        price: unitsText(one.fault === null ? one.priceMicros : 0),
        error: one.fault === null ? null : shownFault(one.fault),
      })),
      currency,
    }
  }
}

const refusals: Readonly<Record<TemplateRefusal, () => Problem>> = {
  exists: () => new Problem(409, 'template_exists', 'There is one', 'another template has this name'),
  gone: () => new Problem(404, 'template_unknown', 'There is no such template', 'it was removed'),
  no_version: () => new Problem(404, 'template_unknown', 'There is no such version', 'the template never had it'),
  changed: () =>
    new Problem(
      409,
      'template_changed',
      'Somebody else was quicker',
      'it has a newer version by now: read that, and change it again',
    ),
  too_large: () =>
    new Problem(
      422,
      'templates_too_large',
      'Too much text',
      '16 MiB in all versions of all templates is the most: remove some that are not used; they count for one more day',
    ),
  too_many: () =>
    new Problem(
      422,
      'too_many_templates',
      'Too many',
      'remove templates that are not used, or make a new one of this; what was made within a day counts',
    ),
}

async function known<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TemplateRefused) throw refusals[error.why]()
    if (error instanceof TemplateFaulty) {
      const errors = error.faults.map(({ pointer, detail }) => ({ pointer, detail }))
      throw new Problem(422, 'invalid', 'The template cannot be so', error.message, { errors })
    }
    if (error instanceof StoreAway) {
      throw new Problem(
        503,
        'no_database',
        'The database is away',
        'templates are sent, and neither listed nor changed',
        {
          retryable: true,
        },
      )
    }
    throw error
  }
}
