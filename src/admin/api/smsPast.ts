// What became of messages, as their sender asks over HTTP: one with its events, lists, batches; and cancelling what still
// waits. Each sees its own only. Knows requests and answers; what is known of a message, the spool and history say.

import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Account } from '../../accounts/account.js'
import type { Clock } from '../../base/clock.js'
import { idOf, idText, idTimeMs } from '../../base/ids.js'
import type { BatchNote, WebSender } from '../../intake/web/sender.js'
import { type Message, type MessageState, state } from '../../model/message.js'
import { readExtras } from '../../model/webExtras.js'
import { isoTime, statusOf } from '../../returns/events.js'
import { type Past, type PastMessage, rowOfLive } from '../../returns/past.js'
import { SANDBOX_LANE } from '../../routing/sandbox.js'
import type { HistoryRow, Spool } from '../../spool/contract.js'
import { testKey } from '../access.js'
import { looking } from '../asked.js'
import { Problem } from '../problem.js'
import type { Api } from './api.js'
import { needs } from './caller.js'

const MAX_PAGE = 200
const MAX_OFFSET = 10_000
const DAY_MS = 86_400_000

/** Of a message that is not over. */
const live = ['queued', 'scheduled', 'sent'] as const
const over: Readonly<Record<string, MessageState>> = {
  delivered: state.DELIVERED,
  undelivered: state.UNDELIVERABLE,
  expired: state.EXPIRED,
  rejected: state.REJECTED,
  canceled: state.DELETED,
  unknown: state.UNKNOWN,
}
const statusFilter = z.enum(['pending', ...Object.keys(over)] as [string, ...string[]])

const moment = z.iso.datetime({ offset: true }).or(z.iso.date()).transform(Date.parse)
const listQuery = z.object({
  status: statusFilter.optional().describe('pending: not over yet'),
  number: z.string().max(20).optional().describe('as sender or recipient'),
  date_from: moment.optional().describe('a day ago if left out'),
  date_to: moment.optional(),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
  cursor: z.string().max(32).optional().describe('next_cursor of the page before'),
  offset: z.coerce
    .number()
    .int()
    .min(0)
    .max(MAX_OFFSET)
    .default(0)
    .describe('for those who count; a cursor is quicker'),
})

const entry = z
  .object({
    id: z.string(),
    status: z.string().describe(`${live.join(', ')}, ${Object.keys(over).join(', ')}`),
    to: z.string(),
    from: z.string(),
    segments: z.number(),
    price_micros: z.number(),
    custom_id: z.string().nullable(),
    error_code: z.string().nullable(),
    submitted_at: z.string(),
    done_at: z.string().nullable(),
  })
  .meta({ id: 'Message' })
const page = z.object({ messages: z.array(entry), next_cursor: z.string().nullable() })
const details = entry
  .extend({
    attempts: z.number().nullable(),
    next_attempt_at: z.string().nullable(),
    scheduled_for: z.string().nullable(),
    expires_at: z.string().nullable(),
    batch_id: z.string().nullable(),
    template_id: z.string().nullable().describe('that its text was made of, while the message is not over'),
    template_version: z.number().nullable(),
    tags: z.array(z.string()),
    metadata: z.unknown(),
    events: z.array(z.object({ at: z.string().nullable(), event: z.string() })),
  })
  .meta({ id: 'MessageDetails' })
const batchAnswer = z
  .object({
    batch_id: z.string(),
    name: z.string(),
    created_at: z.string(),
    accepted: z.number(),
    rejected: z.number(),
    statuses: z.record(z.string(), z.number()).describe('how many messages have which status'),
  })
  .meta({ id: 'Batch' })
const byId = z.object({ id: z.string().max(32) })

export interface PastHost {
  readonly sender: WebSender
  readonly spool: Pick<Spool, 'find' | 'cancel' | 'kept' | 'synced' | 'walk'>
  readonly past: Past
  readonly clock: Clock
}

export function smsPastRoutes(app: Api, { sender, spool, past, clock }: PastHost): void {
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()

  routes.get(
    '/sms',
    {
      ...needs('messages:read'),
      schema: {
        summary: 'Your messages, newest first',
        tags: ['Messages'],
        querystring: listQuery,
        response: { 200: page, ...app.problems },
      },
    },
    async request => {
      const { status, number, date_from, date_to, limit, cursor, offset } = request.query
      const now = clock.now()
      const before = cursor === undefined ? undefined : idOf(cursor)
      if (before === 0)
        throw new Problem(422, 'invalid', 'No such cursor', 'cursor must be next_cursor of the page before')
      const account = app.callerOf(request).id
      const found = await looking(() =>
        past.latest({
          account,
          number,
          state: status === undefined ? undefined : status === 'pending' ? null : over[status],
          fromMs: date_from ?? now - DAY_MS,
          toMs: date_to ?? now + DAY_MS,
          before,
          limit: limit + offset,
        }),
      )
      const messages = found.slice(offset).map(one => entryOf(one, spool.find(one.accepted.id)))
      return { messages, next_cursor: messages.length < limit ? null : (messages.at(-1)?.id ?? null) }
    },
  )

  routes.get(
    '/sms/:id',
    {
      ...needs('messages:read'),
      schema: {
        summary: 'One message, and what happened to it',
        tags: ['Messages'],
        params: byId,
        response: { 200: details, ...app.problems },
      },
    },
    async request => detailsOf(app.callerOf(request), request.params.id),
  )

  for (const [method, url] of [
    ['POST', '/sms/:id/cancel'],
    ['DELETE', '/sms/:id'],
  ] as const) {
    routes.route({
      method,
      url,
      ...needs('messages:send'),
      schema: {
        summary: 'Cancel a message that still waits',
        tags: ['Messages'],
        params: byId,
        response: { 200: details, ...app.problems },
      },
      handler: async request => {
        const { account, kind } = app.whoOf(request)
        const id = idIn(request.params.id)
        const m = spool.find(id)
        if (kind === 'test' && m?.account === account.id && m.lane !== SANDBOX_LANE) {
          throw testKey('a key for tests cancels what stays in the sandbox only')
        }
        if (m === undefined || m.account !== account.id || !spool.cancel(id)) {
          // Who asks for another's learns no more than that there is none.
          const { status } = await detailsOf(account, request.params.id)
          throw new Problem(
            409,
            'not_waiting',
            'Too late',
            `the message is ${status}: what a carrier has cannot be called back`,
          )
        }
        await app.synced()
        return detailsOf(account, request.params.id)
      },
    })
  }

  routes.get(
    '/sms/batches/:id',
    {
      ...needs('messages:read'),
      schema: {
        summary: 'A batch, and how far it is',
        tags: ['Messages'],
        params: byId,
        response: { 200: batchAnswer, ...app.problems },
      },
    },
    async request => {
      const account = app.callerOf(request)
      const note = sender.batch(account, request.params.id)
      if (note === undefined)
        throw new Problem(404, 'no_batch', 'There is no such batch', 'batches are known for 30 days')
      return {
        batch_id: request.params.id,
        name: note.name,
        created_at: isoTime(note.atMs),
        accepted: note.accepted,
        rejected: note.rejected,
        statuses: await statusesOf(account, note),
      }
    },
  )

  async function statusesOf(account: Account, { ids, accepted }: BatchNote): Promise<Record<string, number>> {
    const statuses = new Map<string, number>()
    const count = (status: string, n: number): void => void statuses.set(status, (statuses.get(status) ?? 0) + n)
    let ended = 0
    for (const [first, last] of ids) {
      for (const [s, number] of await looking(() => past.endedBetween(account.id, first, last))) {
        count(statusOf(s), number)
        ended += number
      }
    }
    if (accepted > ended) count('pending', accepted - ended)
    return Object.fromEntries(statuses)
  }

  async function detailsOf(account: Account, given: string): Promise<z.output<typeof details>> {
    const id = idIn(given)
    const m = spool.find(id)
    const rows = await looking(() => past.rowsOf(id)).catch(error => {
      // What waits is known without history.
      if (m === undefined) throw error
      return [] as HistoryRow[]
    })
    const ended = rows.find(({ kind }) => kind === 'ended')
    const accepted = rows.find(({ kind }) => kind === 'accepted') ?? ended ?? (m && rowOfLive(m, id))
    if (accepted === undefined || accepted.account !== account.id) {
      throw new Problem(404, 'no_message', 'There is no such message', `no message ${given} is known`)
    }
    const waits = ended === undefined ? m : undefined
    const { web, tags } = readExtras(waits?.extras ?? '')
    const one = entryOf({ accepted, ended }, waits)
    const events = [{ at: one.submitted_at, event: 'accepted' } as { at: string | null; event: string }]
    if (waits?.standing === 'sent') events.push({ at: null, event: 'sent' })
    if (one.done_at !== null) events.push({ at: one.done_at, event: one.status })
    return {
      ...one,
      attempts: waits?.attempts ?? null,
      next_attempt_at: waits !== undefined && waits.dueMs > 0 ? isoTime(waits.dueMs) : null,
      scheduled_for: waits !== undefined && waits.scheduleMs > 0 ? isoTime(waits.scheduleMs) : null,
      expires_at: waits === undefined ? null : isoTime(waits.validUntilMs),
      batch_id: web.batch ?? null,
      template_id: web.template ?? null,
      template_version: web.template_version ?? null,
      tags: [...tags],
      metadata: web.metadata ?? null,
      events,
    }
  }
}

function idIn(given: string): number {
  const id = idOf(given)
  if (id !== 0) return id
  throw new Problem(404, 'no_message', 'There is no such message', `${given} is no message id: they have 16 digits`)
}

function entryOf({ accepted, ended }: PastMessage, m: Message | undefined): z.output<typeof entry> {
  const { error } = ended ?? accepted
  return {
    id: idText(accepted.id, 'decimal'),
    status: ended === undefined ? liveStatus(m) : statusOf(ended.state),
    to: accepted.destination,
    from: accepted.source,
    segments: accepted.segments,
    price_micros: ended?.priceMicros ?? accepted.priceMicros,
    custom_id: accepted.clientRef || null,
    error_code: error === '' || /^0+$/.test(error) ? null : error,
    submitted_at: isoTime(idTimeMs(accepted.id)),
    done_at: ended === undefined ? null : isoTime(ended.atMs),
  }
}

function liveStatus(m: Message | undefined): string {
  if (m === undefined) return 'queued'
  if (m.standing === 'sent') return 'sent'
  return m.dueMs > 0 && m.attempts === 0 && m.scheduleMs > 0 ? 'scheduled' : 'queued'
}
