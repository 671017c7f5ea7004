// Messages by the hundred thousand in one request: CSV or NDJSON, read as it comes, taken as there is room, with a line of
// JSON back for every so many. Whatever was taken stays taken, however the request ends. Knows rows; the door judges them.

import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Account } from '../../accounts/account.js'
import type { Clock } from '../../base/clock.js'
import { type MessageFields, messageFields } from '../../intake/web/fields.js'
import type { BatchNote, WebSender } from '../../intake/web/sender.js'
import { Problem } from '../problem.js'
import type { Api } from './api.js'
import { needs } from './caller.js'
import { problemOf } from './faults.js'

/** Rows that are taken at a time. */
const CHUNK = 500
/** Rows of different texts that are taken before others have a turn of the event loop. */
const PIECES_A_TURN = 50
const PROGRESS_ROWS = 5_000
/** Faults that are named with their lines; all are counted. */
const MAX_NAMED = 100
/** How long the queue may have no room before the rest is refused. */
const PATIENCE_MS = 60_000
const AGAIN_MS = 200
const MAX_LINE = 16_384

const shared = messageFields
  .pick({
    from_number: true,
    message_type: true,
    sms_type: true,
    provider: true,
    schedule_at: true,
    expire_at: true,
    callback_url: true,
    template_id: true,
    locale: true,
  })
  .extend({
    name: z.string().max(100).default(''),
    message: messageFields.shape.message.describe('for rows without a text of their own'),
    template_version: z.coerce.number().int().min(1).optional(),
    template_variables: z
      .string()
      .max(4_000)
      .transform((text, context) => {
        try {
          return JSON.parse(text) as unknown
        } catch {
          context.addIssue({ code: 'custom', message: 'must be a JSON object' })
          return z.NEVER
        }
      })
      .pipe(messageFields.shape.template_variables)
      .optional()
      .describe('JSON: values for all rows'),
  })
  .refine(query => query.template_id === undefined || query.message === undefined, {
    path: ['template_id'],
    message: 'not together with message',
  })

const row = z.strictObject({
  number: z.string().min(3).max(32),
  message: messageFields.shape.message,
  custom_id: messageFields.shape.custom_id,
  variables: messageFields.shape.template_variables,
  locale: messageFields.shape.locale,
  country_code: z
    .string()
    .regex(/^(?:\+?[1-9][0-9]{0,2})?$/, 'must be 1 to 3 digits')
    .optional(),
})
type Row = z.output<typeof row>
/** Columns of a CSV that are no variables. */
const columns = new Set(Object.keys(row.shape).filter(name => name !== 'variables'))

interface Fault {
  line: number
  code: string
  detail: string
}

export function streamRoutes(app: Api, sender: WebSender): void {
  const { scope } = app
  scope.addContentTypeParser(['text/csv', 'application/x-ndjson'], (_request, payload, done) => done(null, payload))
  scope.withTypeProvider<ZodTypeProvider>().post(
    '/sms/send-stream',
    {
      ...needs('messages:send', { isLong: true }),
      schema: {
        summary: 'Send as many messages as you like, as CSV or NDJSON',
        description:
          'The body is text/csv with a header row, or application/x-ndjson: number, and where wanted message, custom_id, ' +
          'country_code. With template_id all other columns are variables of the template (NDJSON: an object variables), ' +
          'and locale its language. The answer is NDJSON: lines of progress, and a last one with "end": true.',
        tags: ['Messages'],
        querystring: shared,
        consumes: ['text/csv', 'application/x-ndjson'],
        response: { 200: z.string().describe('NDJSON'), ...app.problems },
      },
    },
    async (request, reply) => {
      const { body } = request
      const isCsv = (request.headers['content-type'] ?? '').startsWith('text/csv')
      if (body === null || typeof (body as Readable).pipe !== 'function') {
        throw new Problem(415, 'not_a_stream', 'No such body', 'send text/csv or application/x-ndjson')
      }
      const stream = body as Readable
      const { template_id } = request.query
      const pinned = template_id === undefined ? undefined : pin(request, template_id, request.query.template_version)
      const rows = isCsv ? await csvRows(stream, pinned !== undefined) : jsonRows(stream)
      await take(request, reply, rows, pinned)
      return reply
    },
  )

  /** An edit meanwhile changes nothing of this request. */
  function pin(request: FastifyRequest, template: string, version: number | undefined): number {
    const found = sender.template(app.callerOf(request), template, version)
    if ('code' in found) throw problemOf(found)
    return found.version
  }

  async function take(
    request: FastifyRequest<{ Querystring: unknown }>,
    reply: FastifyReply,
    rows: AsyncIterable<[line: number, row: unknown]>,
    template_version: number | undefined,
  ): Promise<void> {
    const { account, kind } = app.whoOf(request)
    const { name, message, ...rest } = request.query as z.output<typeof shared>
    const fields: MessageFields = messageFields.parse({
      ...rest,
      schedule_at: undefined,
      expire_at: undefined,
      template_version,
    })
    if (kind === 'test') fields.sandboxed = true
    if (rest.schedule_at !== undefined) fields.schedule_at = rest.schedule_at
    if (rest.expire_at !== undefined) fields.expire_at = rest.expire_at
    const headers = reply.getHeaders() as Record<string, string>
    const { raw } = reply.hijack()
    raw.on('error', () => {})
    raw.writeHead(200, { ...headers, 'content-type': 'application/x-ndjson' })
    const tell = async (line: object): Promise<void> => {
      if (!raw.destroyed && !raw.write(`${JSON.stringify(line)}\n`)) await once(raw, 'drain').catch(() => {})
    }
    const work = new Work(sender, () => app.fresh(account), fields, name, message, app.clock)
    let told = 0
    try {
      for await (const [line, given] of rows) {
        await work.add(line, given)
        if (work.rows - told >= PROGRESS_ROWS) {
          told = work.rows
          await tell({ rows: work.rows, accepted: work.accepted, rejected: work.rejected })
        }
      }
      await work.flush()
      await app.synced()
      await tell({ end: true, ...work.result() })
    } catch (error) {
      await app.synced().catch(() => {})
      const detail = error instanceof Problem ? error.message : 'the request could not be read to its end'
      const code = error instanceof Problem ? error.code : 'broken_off'
      await tell({ end: true, ...work.result(), problem: { code, detail } })
    }
    raw.end()
  }
}

class Work {
  rows = 0
  accepted = 0
  rejected = 0
  private readonly faults: Fault[] = []
  private readonly ids: [number, number][] = []
  private batch = ''
  private chunk: [line: number, row: Row][] = []
  private readonly sender: WebSender
  private readonly fresh: () => Account
  private readonly fields: z.output<typeof messageFields>
  private readonly name: string
  private readonly text: string | undefined
  private readonly clock: Clock

  constructor(
    sender: WebSender,
    fresh: () => Account,
    fields: z.output<typeof messageFields>,
    name: string,
    text: string | undefined,
    clock: Clock,
  ) {
    this.sender = sender
    this.fresh = fresh
    this.fields = fields
    this.name = name
    this.text = text
    this.clock = clock
  }

  /** Asked for each time: a suspension or a new limit holds for what is still to come. */
  private get account(): Account {
    return this.fresh()
  }

  async add(line: number, given: unknown): Promise<void> {
    this.rows++
    const read = row.safeParse(given)
    const isOfTemplate = this.fields.template_id !== undefined
    if (!read.success) {
      const [issue] = read.error.issues
      this.refuse(line, 'invalid', `${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim())
    } else if (isOfTemplate && read.data.message !== undefined) {
      this.refuse(line, 'invalid', 'message: the template makes the text')
    } else if (!isOfTemplate && (read.data.variables ?? read.data.locale) !== undefined) {
      this.refuse(line, 'invalid', 'variables and locale are for a template: name it in the query')
    } else if (!isOfTemplate && read.data.message === undefined && this.text === undefined) {
      this.refuse(line, 'invalid', 'message is missing, here and in the query')
    } else {
      this.chunk.push([line, read.data])
      if (this.chunk.length >= CHUNK) await this.flush()
    }
  }

  async flush(): Promise<void> {
    const { chunk } = this
    this.chunk = []
    let pieces = 0
    // Rows of one text go together.
    for (let from = 0; from < chunk.length; ) {
      const text = chunk[from]?.[1].message ?? this.text
      let to = from
      while (to < chunk.length && (chunk[to]?.[1].message ?? this.text) === text) to++
      await this.send(text, chunk.slice(from, to))
      from = to
      if (++pieces % PIECES_A_TURN === 0) await turn()
    }
    if (this.batch !== '') this.note()
  }

  /** @param message undefined: of a template */
  private async send(message: string | undefined, rows: [line: number, row: Row][]): Promise<void> {
    const isOfTemplate = this.fields.template_id !== undefined
    const recipients = rows.map(([, { number, custom_id, country_code, variables, locale }]) => ({
      number,
      custom_id,
      country_code: country_code || undefined,
      variables: isOfTemplate ? (variables ?? {}) : undefined,
      locale,
    }))
    const giveUpMs = this.clock.mono() + PATIENCE_MS
    for (;;) {
      const fields = message === undefined ? this.fields : { ...this.fields, message }
      const sent = await this.sender.send(this.account, fields, recipients, { part: true })
      if ('code' in sent) {
        if (sent.retryable && sent.code !== 'stopping' && this.clock.mono() < giveUpMs) {
          await pause(AGAIN_MS)
          continue
        }
        throw new Problem(503, sent.code, 'No room', sent.text)
      }
      this.batch ||= sent.batch
      for (const [i, one] of sent.messages.entries()) {
        if (one.fault === null) this.accepted++
        else this.refuse(rows[i]?.[0] ?? 0, one.fault.code, one.fault.text)
      }
      const taken = sent.messages.filter(one => one.id !== 0)
      if (taken.length > 0) this.range(taken[0]?.id ?? 0, taken.at(-1)?.id ?? 0)
      return
    }
  }

  private range(first: number, last: number): void {
    const end = this.ids.at(-1)
    if (this.ids.length >= MAX_RANGES && end !== undefined) end[1] = last
    else this.ids.push([first, last])
  }

  /** After each chunk: of a request that breaks off, what was taken is known. */
  private note(): void {
    const { account, name, accepted, rejected, ids } = this
    const note: BatchNote = { account: account.id, name, atMs: this.clock.now(), accepted, rejected, ids }
    this.sender.noteBatch(this.batch, note)
  }

  private refuse(line: number, code: string, detail: string): void {
    this.rejected++
    if (this.faults.length < MAX_NAMED) this.faults.push({ line, code, detail })
  }

  result(): object {
    const { batch, rows, accepted, rejected, faults } = this
    return { batch_id: batch || null, rows, accepted, rejected, errors: faults }
  }
}

/** More pieces than these are one long range with the account's others in between: the statuses count them as well. */
const MAX_RANGES = 2_000

/** @param isOfTemplate columns of no other meaning are variables */
async function csvRows(stream: Readable, isOfTemplate: boolean): Promise<AsyncIterable<[number, unknown]>> {
  const { parse } = await import('csv-parse')
  const parser = stream.pipe(
    parse({ columns: true, info: true, bom: true, trim: true, skip_empty_lines: true, max_record_size: MAX_LINE }),
  )
  stream.on('error', error => parser.destroy(error))
  return (async function* () {
    for await (const { record, info } of parser as AsyncIterable<{
      record: Record<string, string>
      info: { lines: number }
    }>) {
      yield [info.lines, rowOf(record, isOfTemplate)]
    }
  })()
}

function rowOf(record: Record<string, string>, isOfTemplate: boolean): object {
  const row: Record<string, unknown> = {}
  const variables: Record<string, string> = {}
  for (const name in record) {
    const value = record[name] as string
    if (value === '') continue
    if (isOfTemplate && !columns.has(name)) variables[name] = value
    else row[name] = value
  }
  if (isOfTemplate) row.variables = variables
  return row
}

async function* jsonRows(stream: Readable): AsyncIterable<[number, unknown]> {
  let line = 0
  for await (const text of linesOf(stream)) {
    line++
    if (text.trim() === '') continue
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      value = 'no JSON'
    }
    yield [line, value]
  }
}

/** node:readline gathers a line that never ends without bound. */
async function* linesOf(stream: Readable): AsyncIterable<string> {
  const decoder = new StringDecoder('utf8')
  let rest = ''
  const checked = (text: string): string => {
    if (text.length <= MAX_LINE) return text
    throw new Problem(413, 'too_large', 'Too long', `a line has ${MAX_LINE} characters at most`)
  }
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    const lines = (rest + decoder.write(chunk)).split('\n')
    rest = checked(lines.pop() as string)
    for (const text of lines) yield checked(text)
  }
  if (rest !== '') yield rest
}
