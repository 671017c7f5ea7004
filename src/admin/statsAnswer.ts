// A question about what messages came to, as HTTP asks it, and its answer as JSON or CSV: the same for accounts, of their own,
// and for operators, of all with cost and profit. Turns names into numbers and back; what is counted, returns/statsPast knows.

import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import { z } from 'zod'
import { Busy } from '../base/turns.js'
import { type MessageClass, messageClasses } from '../model/message.js'
import { unitsText } from '../model/money.js'
import { column } from '../returns/statsColumns.js'
import {
  BadSpan,
  type Dimension,
  dimensions,
  endedOf,
  type StatsKey,
  type StatsPast,
  type StatsQuestion,
  type StatsRow,
  tookSeconds,
} from '../returns/statsPast.js'
import { dateOf, intervals, isZone, momentOf, momentText } from '../returns/statsTime.js'
import type { StatsTotals } from '../returns/statsTotals.js'
import { countries } from '../routing/countries.js'
import { looking } from './asked.js'
import { answerCsv, csvLine, plain } from './csv.js'
import { Problem } from './problem.js'

const DAY_MS = 86_400_000
const MAX_PAGE = 1_000
/** Each in a turn of its own: however long the file, others ask in between. */
const CSV_PAGE = 1_000
/** For a turn; each waits some seconds, unless the line is full. */
const CSV_TRIES = 20
const CSV_REST_MS = 500
/** Lines of CSV that are written between two turns of the event loop. */
const CSV_PIECE = 100

/** What the routes of analytics are given. */
export interface Analytics {
  readonly past: StatsPast
  readonly totals: StatsTotals
  readonly currency: string
  /** Accounts are told by which carriers their messages went. */
  readonly showsCarriers: boolean
  nowMs(): number
}

/** How names stand for numbers, for whoever asks. */
export interface Names {
  accountId(name: string): number | undefined
  accountName(id: number): string
  carrierId(name: string): number | undefined
  carrierName(id: number): string
}

const list = z.string().max(4_000)
export const statsQuery = z.strictObject({
  date_from: z
    .string()
    .max(40)
    .optional()
    .describe('a date or a moment, of tz where it has no offset; six days before the last of the span if left out'),
  date_to: z.string().max(40).optional().describe('a date, with the whole of it, or a moment; now if left out'),
  tz: z.string().max(64).default('UTC').describe('whose days, weeks and months: a name like Europe/Berlin'),
  interval: z.enum(intervals).default('day'),
  group_by: list.default('').describe(`with commas: ${dimensions.join(', ')}`),
  account: list.optional().describe('of these alone, with commas'),
  carrier: list.optional().describe('of messages that these had at last, with commas'),
  country: list.optional().describe('like DE,AT; - is none'),
  class: list.optional().describe(messageClasses.join(', ')),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(200),
  cursor: z.string().max(200).optional().describe('next_cursor of the page before'),
  format: z.enum(['json', 'csv']).optional().describe('the same as Accept: text/csv'),
})
export type StatsQuery = z.output<typeof statsQuery>

const count = z.number()
const figures = {
  accepted: count.describe('told apart by carrier: those that it had at last'),
  pending: count.describe('of these, not over yet'),
  delivered: count,
  undelivered: count,
  expired: count,
  rejected: count,
  canceled: count,
  unknown: count,
  unreported: count.describe('accepted by a carrier, and no receipt was to come: nobody knows more'),
  delivery_rate: count.nullable().describe('delivered of those that are over, unreported left out'),
  converted: count.describe('whose code was used, over or not'),
  conversion_rate: count
    .nullable()
    .describe(
      'converted of accepted; by carrier too high while messages are not over, and null where it would be above 1',
    ),
  segments: count,
  spend: z.string().describe('what was charged and not given back'),
  latency_p50_s: count
    .nullable()
    .describe(
      'from acceptance, or the moment of its schedule, to when we knew of the delivery; estimated; 3600: an hour or more',
    ),
  latency_p95_s: count.nullable(),
  cost: z.string().optional().describe('of those that are over'),
  profit: z.string().optional().describe('of those that are over: charged, less what was given back and cost'),
}
const statsFigures = z.object(figures).meta({ id: 'StatsFigures' })
export type StatsFigures = z.output<typeof statsFigures>

const keys = {
  period: z.string().optional().describe('where the hour, day, week or month begins'),
  account: z.string().optional(),
  carrier: z.string().nullable().optional().describe('null: none has had them'),
  country: z.string().nullable().optional().describe('null: of no country'),
  class: z.enum(messageClasses).optional(),
}
export const statsAnswer = z
  .object({
    date_from: z.string(),
    date_to: z.string(),
    tz: z.string(),
    interval: z.enum(intervals),
    group_by: z.array(z.enum(dimensions)),
    currency: z.string(),
    exact_from: z.string().describe('of time before it days are days of UTC'),
    rows: z.array(z.object({ ...keys, ...figures })),
    totals: statsFigures.optional().describe('of all pages; on the first only'),
    next_cursor: z.string().nullable(),
  })
  .meta({ id: 'Stats' })
/** As one may have it, for the documents. */
export const statsContent = {
  description: 'JSON, or all rows as CSV',
  content: { 'application/json': { schema: statsAnswer }, 'text/csv': { schema: z.string() } },
}
export type StatsAnswer = z.output<typeof statsAnswer>
export type StatsEntry = StatsAnswer['rows'][number]

const invalid = (words: string): Problem => new Problem(422, 'invalid', 'The request is not as it must be', words)

/** What is asked, in numbers. Throws the Problem of whatever cannot be. */
function questionOf(query: StatsQuery, names: Names, nowMs: number): StatsQuestion {
  const { tz: zone, interval } = query
  if (!isZone(zone)) throw invalid(`tz: there is no zone ${zone}; a name is like Europe/Berlin`)
  const toMs = query.date_to === undefined ? nowMs : momentOf(query.date_to, zone, true)
  if (toMs === undefined) throw invalid('date_to must be a date like 2026-11-20 or a moment like 2026-11-20T08:00:00Z')
  const week = new Date(dateOf(Math.min(toMs, nowMs) - 1, zone) - 6 * DAY_MS).toISOString().slice(0, 10)
  const fromMs = momentOf(query.date_from ?? week, zone, false)
  if (fromMs === undefined)
    throw invalid('date_from must be a date like 2026-11-20 or a moment like 2026-11-20T08:00:00Z')
  if (fromMs >= toMs) throw invalid('date_from must be before date_to')
  const by = split(query.group_by).map(word => {
    if ((dimensions as readonly string[]).includes(word)) return word as Dimension
    throw invalid(`group_by: ${word} is none of ${dimensions.join(', ')}`)
  })
  const ids = (what: 'account' | 'carrier', idOf: (name: string) => number | undefined): number[] | undefined =>
    query[what] === undefined
      ? undefined
      : split(query[what]).map(name => {
          const id = idOf(name) ?? numbered(name)
          if (id === undefined) throw invalid(`${what}: there is no ${name}`)
          return id
        })
  const country =
    query.country === undefined ? undefined : split(query.country.toUpperCase()).map(iso => (iso === '-' ? '' : iso))
  const strange = country?.find(iso => iso !== '' && !countries.includes(iso))
  if (strange) throw invalid(`country: there is no ${strange}; a country is like DE`)
  const ranks =
    query.class === undefined ? undefined : split(query.class).map(word => messageClasses.indexOf(word as MessageClass))
  if (ranks?.includes(-1)) throw invalid(`class must be of ${messageClasses.join(', ')}`)
  return {
    ...{ fromMs, toMs, zone, interval },
    by: dimensions.filter(name => by.includes(name)),
    only: {
      account: ids('account', names.accountId),
      carrier: ids('carrier', names.carrierId),
      country,
      class: ranks,
    },
  }
}

const split = (text: string): string[] =>
  [...new Set(text.split(',').map(word => word.trim()))].filter(word => word !== '')
/** Whatever was removed is called by its number. */
const numbered = (name: string): number | undefined => {
  const [, digits] = /^#(\d{1,9})$/.exec(name) ?? []
  return digits === undefined ? undefined : Number(digits)
}

const ratio = (part: number, whole: number): number | null =>
  whole === 0 ? null : Math.round((part / whole) * 1e6) / 1e6

export function figuresOf(counts: readonly number[], withCost: boolean): StatsFigures {
  const at = (i: number): number => counts[i] as number
  const ended = endedOf(counts)
  const spend = at(column.price) - at(column.back)
  const earned = at(column.ended) - at(column.back)
  const accepted = at(column.accepted)
  return {
    accepted,
    // What was accepted before there were counts may end now.
    pending: Math.max(0, accepted - ended),
    delivered: at(column.delivered),
    undelivered: at(column.undeliverable),
    expired: at(column.expired),
    rejected: at(column.rejected),
    canceled: at(column.deleted),
    unknown: at(column.unknown),
    unreported: at(column.unreported),
    delivery_rate: ratio(at(column.delivered), ended - at(column.unreported)),
    converted: at(column.converted),
    // A carrier's are those that it has ended, and of those that it has not codes were used as well.
    conversion_rate: at(column.converted) > accepted ? null : ratio(at(column.converted), accepted),
    segments: at(column.segments),
    spend: unitsText(spend),
    latency_p50_s: tookSeconds(counts, 0.5),
    latency_p95_s: tookSeconds(counts, 0.95),
    ...(withCost ? { cost: unitsText(at(column.cost)), profit: unitsText(earned - at(column.cost)) } : {}),
  }
}

/** Answers with JSON, a page of it, or with CSV, all of it. */
export async function answerStats(
  analytics: Analytics,
  query: StatsQuery,
  { names, withCost, only, accept }: { names: Names; withCost: boolean; only?: number; accept: string | undefined },
  reply: FastifyReply,
): Promise<FastifyReply | StatsAnswer> {
  const asked = questionOf(query, names, analytics.nowMs())
  const question = only === undefined ? asked : { ...asked, only: { ...asked.only, account: [only] } }
  const { past } = analytics
  const entryOf = (row: StatsRow): StatsEntry => ({
    ...keysOf(row, question, names),
    ...figuresOf(row.counts, withCost),
  })
  if (query.format === 'csv' || (query.format === undefined && /^text\/csv\b/.test(accept ?? ''))) {
    return answerCsv(reply, 'stats.csv', async write => {
      const head = csvHead(question, withCost)
      let after: StatsKey | null = null
      for (let isFirst = true; isFirst || after !== null; isFirst = false) {
        const ask = () => past.page(question, after, CSV_PAGE)
        const page = await spanned(() => (isFirst ? ask() : inLine(ask)))
        if (isFirst) await write(csvLine(head))
        for (let from = 0; from < page.rows.length; from += CSV_PIECE) {
          const lines = page.rows.slice(from, from + CSV_PIECE).map(row => lineOf(entryOf(row), head))
          await write(lines.join(''))
        }
        after = page.next
      }
    })
  }
  const page = await spanned(() => past.page(question, cursorOf(query.cursor), query.limit))
  const totals = query.cursor === undefined ? await spanned(() => past.whole(question)) : undefined
  return {
    date_from: momentText(question.fromMs, question.zone),
    date_to: momentText(question.toMs, question.zone),
    tz: question.zone,
    interval: question.interval,
    group_by: [...question.by],
    currency: analytics.currency,
    exact_from: momentText(await spanned(() => past.hoursFromMs()), 'UTC'),
    rows: page.rows.map(entryOf),
    ...(totals === undefined ? {} : { totals: figuresOf(totals.counts, withCost) }),
    next_cursor: page.next === null ? null : cursorText(page.next),
  }
}

/** Once more when no turn came: a file that has begun is not broken off for that, but in the end. */
async function inLine<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof Busy) || tries === CSV_TRIES) throw error
      await pause(CSV_REST_MS)
    }
  }
}

/** As {@link looking}, with spans that cannot be asked for. */
export async function spanned<T>(work: () => Promise<T>): Promise<T> {
  return looking(async () => {
    try {
      return await work()
    } catch (error) {
      if (error instanceof BadSpan) throw new Problem(422, 'bad_span', 'This span cannot be told', error.message)
      throw error
    }
  })
}

function keysOf(row: StatsRow, { interval, zone }: StatsQuestion, names: Names): z.output<z.ZodObject<typeof keys>> {
  return {
    ...(interval === 'none' ? {} : { period: momentText(row.atMs, zone) }),
    ...(row.account === null ? {} : { account: names.accountName(row.account) }),
    ...(row.carrier === null ? {} : { carrier: row.carrier === 0 ? null : names.carrierName(row.carrier) }),
    ...(row.country === null ? {} : { country: row.country || null }),
    ...(row.rank === null ? {} : { class: messageClasses[row.rank] as MessageClass }),
  }
}

function csvHead({ interval, by }: StatsQuestion, withCost: boolean): string[] {
  const told = Object.keys(figures).filter(name => withCost || (name !== 'cost' && name !== 'profit'))
  return [...(interval === 'none' ? [] : ['period']), ...by, ...told]
}

/** Names are a customer's own words; amounts are ours. */
function lineOf(entry: StatsEntry, head: readonly string[]): string {
  const cells = head.map(name => {
    const value = (entry as Record<string, string | number | null | undefined>)[name] ?? ''
    if (typeof value === 'number') return String(value)
    return name in keys ? csvLine([value]).slice(0, -2) : plain(value)
  })
  return `${cells.join(',')}\r\n`
}

const cursorText = ({ atMs, account, carrier, country, rank }: StatsKey): string =>
  Buffer.from(JSON.stringify([atMs, account, carrier, country, rank])).toString('base64url')

const cursorShape = z.tuple([
  z.int(),
  z.int().nullable(),
  z.int().nullable(),
  z.string().max(2).nullable(),
  z.int().nullable(),
])

function cursorOf(text: string | undefined): StatsKey | null {
  if (text === undefined) return null
  try {
    const [atMs, account, carrier, country, rank] = cursorShape.parse(
      JSON.parse(Buffer.from(text, 'base64url').toString('utf8')),
    )
    return { atMs, account, carrier, country, rank }
  } catch {
    throw invalid('cursor must be next_cursor of the page before')
  }
}
