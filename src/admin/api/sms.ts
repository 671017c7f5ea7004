// Messages over HTTP: handing in one, many, or a stream of them, cancelling, and what became of them. Knows requests and
// answers; what a message is and whether it is taken, intake says.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Account } from '../../accounts/account.js'
import { idText } from '../../base/ids.js'
import { batchBody, type MessageFields, type Recipient, sendBody } from '../../intake/web/fields.js'
import { customIdOf } from '../../intake/web/message.js'
import type { CutShort, Sent, WebSender } from '../../intake/web/sender.js'
import type { Fault } from '../../model/fault.js'
import { unitsText } from '../../model/money.js'
import { Problem } from '../problem.js'
import type { Api } from './api.js'
import { needs } from './caller.js'
import { problemOf, statusOfFault } from './faults.js'

const MAX_KEY = 255

const fault = z
  .object({
    code: z.string(),
    detail: z.string(),
    pointer: z.string().optional().describe('to a variable, within the recipient or the request'),
  })
  .nullable()
const sentAnswer = z
  .object({
    batch_id: z.string().nullable().describe('null for a dry run'),
    message_ids: z.array(z.string()).describe('of those that were taken, in the order of the recipients'),
    template_id: z.string().nullable(),
    template_version: z.number().nullable(),
    segments: z.number().describe('in all'),
    price: z.string().describe('in all, of what was taken'),
    price_micros: z.number(),
    currency: z.string(),
    accepted: z.number(),
    rejected: z.number(),
    duplicates: z.number().describe('of those that were taken: to a number that has one of this request before'),
    messages: z.array(
      z.object({
        to: z.string(),
        message_id: z.string().nullable(),
        custom_id: z.string().nullable(),
        status: z.enum(['accepted', 'rejected', 'valid']),
        segments: z.number(),
        price: z.string(),
        text: z.string().optional().describe('of a dry run: what it would say'),
        error: fault,
      }),
    ),
  })
  .meta({ id: 'Sent' })

const headers = z.object({
  'idempotency-key': z
    .string()
    .min(1)
    .max(MAX_KEY + 2)
    .optional()
    .describe('The same key and body again within 24 hours get the same answer, and nothing is sent twice.'),
})

export function smsRoutes(app: Api, sender: WebSender): void {
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()

  routes.post(
    '/sms/send',
    {
      ...needs('messages:send'),
      schema: {
        summary: 'Send a text, or a template filled in, to one or more numbers',
        tags: ['Messages'],
        headers,
        body: sendBody,
        response: { 200: sentAnswer, ...app.problems },
      },
    },
    async (request, reply) => {
      const { to, ...fields } = request.body
      const isMany = Array.isArray(to)
      await answerOnce(request, reply, {
        fields,
        recipients: isMany ? to : [to],
        at: isMany ? '/to/' : '/to',
        name: '',
      })
      return reply
    },
  )

  routes.post(
    '/sms/send-batch',
    {
      ...needs('messages:send'),
      bodyLimit: app.batchBytes,
      schema: {
        summary: 'Send one text, or a template filled in for each, to up to 1,000 numbers, as a batch with a name',
        tags: ['Messages'],
        headers,
        body: batchBody,
        response: { 200: sentAnswer, ...app.problems },
      },
    },
    async (request, reply) => {
      const { recipients, name, send_immediately, ...fields } = request.body
      if (send_immediately) delete fields.schedule_at
      await answerOnce(request, reply, { fields, recipients, at: '/recipients/', name })
      return reply
    },
  )

  async function answerOnce(request: FastifyRequest, reply: FastifyReply, asked: Asked): Promise<void> {
    const { account, kind } = app.whoOf(request)
    const { fields } = asked
    if (kind === 'test') fields.sandboxed = true
    const given = keyOf(request)
    // What a test key has asked for is no answer to others.
    const key = given !== undefined && kind === 'test' ? `\0${given}` : given
    if (key === undefined || fields.dry_run) {
      await app.said(reply, await body(account, asked))
      return
    }
    const once = sender.once(
      account,
      key,
      `${request.method} ${request.routeOptions.url} ${JSON.stringify(request.body)}`,
    )
    if (once.kind === 'running') {
      throw new Problem(
        409,
        'still_running',
        'It is being worked on',
        'a request with this Idempotency-Key is not over yet',
      )
    }
    if (once.kind === 'other') {
      throw new Problem(
        422,
        'key_reused',
        'The key was used',
        'this Idempotency-Key came with another request within the last 24 hours',
      )
    }
    if (once.kind === 'again') {
      reply.header('idempotency-replayed', 'true')
      await app.said(reply, once)
      return
    }
    try {
      const { cutShort } = once
      const answer = await body(account, asked, { key, ...(cutShort ? { cutShort } : {}) })
      // What may succeed later is not remembered: the same key may try again.
      if (answer.status === 402 || answer.status === 429 || answer.status >= 500) sender.giveUp(account, key)
      else sender.settle(account, key, answer.status, answer.body)
      await app.said(reply, answer)
    } catch (error) {
      sender.giveUp(account, key)
      throw error
    }
  }

  /** What is answered, made in the turn of the event loop in which the last message was taken. */
  async function body(
    account: Account,
    asked: Asked,
    options: { key?: string; cutShort?: CutShort } = {},
  ): Promise<{ status: number; body: string }> {
    const { fields, recipients, name } = asked
    if (recipients.length > app.maxRecipients) {
      throw new Problem(
        422,
        'too_many_recipients',
        'Too many recipients',
        `${app.maxRecipients} at most in one request`,
      )
    }
    const sent = fields.dry_run
      ? await sender.preview(account, fields, recipients)
      : await sender.send(account, fields, recipients, { ...options, name })
    if ('code' in sent) {
      const { code, text: detail, pointer } = sent
      return problemBody(sent, pointer === undefined ? undefined : [{ pointer, code, detail }])
    }
    const { messages } = sent
    if (messages.some(one => one.fault === null)) {
      return { status: 200, body: JSON.stringify(answerOf(sent, asked, app.currency)) }
    }
    const faults = messages.map(one => one.fault as Fault)
    const errors = faults.map((fault, i) => ({
      pointer: pointerOf(asked, i, fault),
      to: messages[i]?.to,
      code: fault.code,
      detail: fault.text,
    }))
    return problemBody(faults[0] as Fault, errors)
  }
}

/** One request, whichever route it came by. */
interface Asked {
  readonly fields: MessageFields
  readonly recipients: readonly Recipient[]
  /** Where in the request: JSON pointer to what holds them, `/` at its end; without it they are one. */
  readonly at: string
  readonly name: string
}

/** Within the request. Of a value that all have in common it points there. */
function pointerOf({ at }: Asked, i: number, { pointer = '' }: Fault): string {
  if (pointer.startsWith('/template_variables/')) return pointer
  return `${at.endsWith('/') ? `${at}${i}` : at}${pointer}`
}

function problemBody(why: Fault, errors?: readonly object[]): { status: number; body: string } {
  const problem = problemOf(why, errors === undefined ? {} : { errors })
  const { status, code, title, message, more } = problem
  return {
    status: statusOfFault(why),
    body: JSON.stringify({ type: `urn:trunkline:problem:${code}`, title, status, detail: message, code, ...more }),
  }
}

function answerOf(
  { batch, template, messages }: Sent,
  { fields, recipients }: Asked,
  currency: string,
): z.output<typeof sentAnswer> {
  const isDry = fields.dry_run
  const numbers = new Set<string>()
  let segments = 0
  let price_micros = 0
  const message_ids: string[] = []
  const all = messages.map(({ to, id, segments: of, priceMicros, text, fault }, i) => {
    if (fault === null) {
      numbers.add(to)
      segments += of
      price_micros += priceMicros
    }
    if (id !== 0) message_ids.push(idText(id, 'decimal'))
    return {
      to,
      message_id: id === 0 ? null : idText(id, 'decimal'),
      custom_id: customIdOf(recipients[i] as Recipient, fields) || null,
      status: fault !== null ? ('rejected' as const) : isDry ? ('valid' as const) : ('accepted' as const),
      segments: of,
      price: unitsText(fault === null ? priceMicros : 0),
      ...(text === null ? {} : { text }),
      error: fault === null ? null : shownFault(fault),
    }
  })
  const rejected = messages.filter(one => one.fault !== null).length
  const accepted = messages.length - rejected
  return {
    batch_id: isDry ? null : batch,
    message_ids,
    template_id: template === null ? null : String(template.id),
    template_version: template?.version ?? null,
    segments,
    price: unitsText(price_micros),
    price_micros,
    currency,
    accepted,
    rejected,
    duplicates: accepted - numbers.size,
    messages: all,
  }
}

export const shownFault = ({ code, text, pointer }: Fault): NonNullable<z.output<typeof fault>> =>
  pointer === undefined ? { code, detail: text } : { code, detail: text, pointer }

/** Bare or as a structured string (RFC 8941): `abc`, `"abc"`. */
function keyOf({ headers }: FastifyRequest): string | undefined {
  const given = headers['idempotency-key']
  if (typeof given !== 'string') return undefined
  const key = /^"(.*)"$/.exec(given)?.[1] ?? given
  if (key.length > 0 && key.length <= MAX_KEY) return key
  throw new Problem(400, 'key_invalid', 'No such key', `Idempotency-Key must have 1 to ${MAX_KEY} characters`)
}
