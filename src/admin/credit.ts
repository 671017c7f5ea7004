// Accounts' money for administrators: how each stands, top-ups, withdrawals and adjustments, statements, leases of nodes,
// and when an account is told that little is left. Every booking has a reference, by which it is made once.

import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { balance, balances, LeaseRefused, leases, payerId, releaseLeases, tellBelow } from '../accounts/balances.js'
import { BookingRefused, bookFor } from '../accounts/ledger.js'
import { type StatementLine, type StatementSpan, statementPage, wholeStatement } from '../accounts/statement.js'
import { Busy, Turns } from '../base/turns.js'
import { microsOf, unitsText } from '../model/money.js'
import type { Store } from '../store/postgres.js'
import type { Access } from './access.js'
import { asking } from './api/changing.js'
import { busy, read, serving } from './asked.js'
import { answerCsv, answerPage } from './csv.js'
import { PAGE_POLICY } from './invoices.js'
import { Problem } from './problem.js'
import { type StatementOf, statementCsv, statementHtml } from './statementText.js'
import type { AdminSubject } from './subject.js'

const MAX_PAGE = 200
/** Of one booking, in units. */
const MOST = 1_000_000_000
const DAY_MS = 86_400_000
/** The database's clock may be ahead of ours, and bookings of an earlier release are up to 14 h. */
const AHEAD_MS = DAY_MS

export const units = z.union([z.string().max(30), z.number()]).transform((text, ctx) => {
  const micros = microsOf(text)
  if (micros !== undefined && Math.abs(micros) <= MOST * 1_000_000) return micros
  ctx.addIssue({ code: 'custom', message: 'must be an amount like 12.5, with up to six decimals' })
  return z.NEVER
})

/** What only we give. */
const RESERVED = /^(?:messages|invoice|void|again):/
export const reference = z
  .string()
  .min(1)
  .max(200)
  .regex(/^[\x20-\x7e]+$/, 'must be of ASCII characters')
  .refine(text => !RESERVED.test(text), 'must not begin with messages:, invoice:, void: or again:')

const systemId = z.string().min(1).max(63)
const named = z.strictObject({ account: systemId })
const memo = z.string().max(500).default('')
const bookingBody = z.strictObject({
  amount: units.refine(micros => micros > 0, 'must be more than nothing'),
  memo,
  /** Left out: the Idempotency-Key of the request, which must be there then. */
  reference: reference.optional(),
})
const paidBody = bookingBody.extend({
  /** Tax that is paid on top of the amount, or paid back with it. */
  tax: units.refine(micros => micros >= 0, 'must not be below zero').default(0),
})
const adjustBody = bookingBody.extend({
  /** What the balance changes by. */
  amount: units.refine(micros => micros !== 0, 'must be something'),
  memo: z.string().min(1, 'say why').max(500),
})
const pageQuery = z.strictObject({
  after: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
  /** Only those that were told that little is left. */
  low: z.enum(['true', 'false']).default('false'),
})
export const moment = z.iso.datetime({ offset: true }).or(z.iso.date()).transform(Date.parse)
const statementQuery = z.strictObject({
  from: moment.optional(),
  to: moment.optional(),
  format: z.enum(['json', 'csv', 'html']).default('json'),
  after: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
})
const leasesQuery = z.strictObject({
  account: systemId.optional(),
  /** `next` of the page before. */
  after: z
    .string()
    .regex(/^\d{1,9} [\x21-\x7e]{1,100}$/, 'must be what the page before gave as next')
    .optional(),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
})
const releaseBody = z.strictObject({
  spool: z.string().min(1).max(100),
  /** Left out: of all accounts. */
  account: systemId.optional(),
  reason: z.string().min(1, 'say why').max(200),
})
const tellBody = z.strictObject({
  /** When less than that is left; null: by percent. */
  amount: units
    .refine(micros => micros >= 0, 'must not be below zero')
    .nullable()
    .default(null),
  /** Of the last top-up, or of what it may owe; 0: never. */
  percent: z.int().min(0).max(100).default(10),
})

export interface LinesPage {
  account: string
  currency: string
  opening_micros: number
  lines: Partial<StatementLine>[]
  next: number | null
}

export function creditRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  const { desk } = subject
  const { store } = desk
  const { currency, seller } = subject.config.billing

  app.get('/credit', async request => {
    const { low, ...page } = read(pageQuery, request.query)
    const found = await asking(() => balances(store, { ...page, isLow: low === 'true' }))
    return { currency, accounts: found, next: found.length < page.limit ? null : (found.at(-1)?.id ?? null) }
  })

  app.get('/credit-leases', async request => {
    const asked = read(leasesQuery, request.query)
    return asking(() => leases(store, asked))
  })

  app.post('/credit-leases/release', async request => {
    const { spool, account, reason } = read(releaseBody, request.body)
    serving(subject)
    if (account !== undefined) await asking(() => balance(store, account))
    return booking(() => releaseLeases(store, access.actor(request.raw), { spool, account, reason }))
  })

  app.get('/credit/:account', async request => {
    const { account } = read(named, request.params)
    return asking(async () => ({
      currency,
      ...(await balance(store, account)),
      leases: (await leases(store, { account, limit: MAX_PAGE })).leases,
    }))
  })

  for (const [path, kind, sign] of [
    ['top-up', 'top_up', 1],
    ['withdrawal', 'withdrawal', -1],
    ['adjustment', 'adjustment', 1],
  ] as const) {
    app.post(`/credit/:account/${path}`, async request => {
      const { account } = read(named, request.params)
      const given = kind === 'adjustment' ? { ...read(adjustBody, request.body), tax: 0 } : read(paidBody, request.body)
      const { amount, tax, memo } = given
      serving(subject)
      const reference = referenceOf(request, given.reference)
      const one = { kind, micros: sign * amount, taxMicros: sign * tax, reference, memo }
      const booked = await booking(() => bookFor(store, access.actor(request.raw), account, one))
      return { account, currency, ...booked, balance: unitsText(booked.balance_micros) }
    })
  }

  app.put('/credit/:account/notice', async request => {
    const { account } = read(named, request.params)
    const { amount, percent } = read(tellBody, request.body)
    serving(subject)
    await asking(() => tellBelow(store, access.actor(request.raw), account, { micros: amount, percent }))
    return asking(() => balance(store, account))
  })

  app.get('/credit/:account/statement', async (request, reply) => {
    const { account } = read(named, request.params)
    const query = read(statementQuery, request.query)
    const id = await asking(() => payerId(store, account))
    const span = spanOf(query.from, query.to, subject.clock.now())
    const { format } = query
    if (format !== 'json') {
      return statementFile(reply, store, { account, id, currency, seller, withWho: true, format }, span)
    }
    const { after, limit } = query
    const page = await asking(() => statementPage(store, id, { ...span, after, limit }))
    return { account, currency, ...page }
  })
}

/** What cannot be booked, as HTTP says it. */
export async function booking<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await asking(work)
  } catch (error) {
    if (error instanceof BookingRefused) throw new Problem(409, error.code, 'It is not booked', error.message)
    if (error instanceof LeaseRefused) throw new Problem(409, 'not_released', 'Nothing was released', error.message)
    throw error
  }
}

/** Of the body, or of the header: without either what is asked for twice would be booked twice. */
function referenceOf(request: FastifyRequest, given: string | undefined): string {
  const header = request.headers['idempotency-key']
  if (given !== undefined) return given
  if (header !== undefined) return read(reference, header)
  const detail =
    'reference: give one, or the header Idempotency-Key: whoever asks twice with the same is booked once, and without it twice'
  const faults = [{ path: 'reference', message: 'must be given, here or as Idempotency-Key' }]
  throw new Problem(422, 'no_reference', 'A booking needs a reference', detail, { faults })
}

/** The last 31 days, if nothing is said, and all that is booked by now. */
export function spanOf(fromMs: number | undefined, toMs: number | undefined, nowMs: number): StatementSpan {
  const to = toMs ?? nowMs + AHEAD_MS
  const span = { fromMs: fromMs ?? Math.min(nowMs, to) - 31 * DAY_MS, toMs: to, shownToMs: toMs ?? nowMs }
  if (span.fromMs < span.toMs) return span
  throw new Problem(422, 'invalid', 'The request is not as it must be', 'from must be before to')
}

/**
 * Files that are written at a time: they share the database with leases and bookings. Who comes later is not kept waiting. What
 * accounts read of their own takes no place from administrators.
 */
const files = new Turns({ most: 2, waitMs: 0 })
const deskFiles = new Turns({ most: 2, waitMs: 0 })
/** Whose reader takes nothing for so long gives its place away. */
const STALLED_MS = 60_000
/** And so does whoever takes little by little for so long. */
const LONGEST_MS = 10 * 60_000

/** Rejects after so long with that reason; the other function ends it before. */
function limit(ms: number, why: string): [late: Promise<never>, end: () => void] {
  const over = new AbortController()
  const late = pause(ms, undefined, { signal: over.signal, ref: false }).then(() => {
    throw new Error(why)
  })
  late.catch(() => {})
  return [late, () => over.abort()]
}

/** Of whom, and as what. */
export interface StatementAsked extends Omit<StatementOf, 'span'> {
  id: number
  format: 'csv' | 'html'
}

function fileTurn(turns: Turns, account: number): () => void {
  try {
    return turns.take(account)
  } catch (error) {
    if (!(error instanceof Busy)) throw error
    throw busy(
      error,
      'a statement of this account is being written: read that first',
      'other statements are being written',
    )
  }
}

/**
 * Answers with the statement of a span, with the balance before it and behind it, as a file. One for an account at a time, and
 * few in all: throws Problem.
 */
export function statementFile(
  reply: FastifyReply,
  store: Pick<Store, 'withClient'>,
  { id, format, ...of }: StatementAsked,
  span: StatementSpan,
  longestMs = LONGEST_MS,
): Promise<FastifyReply> {
  // Administrators see who booked.
  const leave = fileTurn(of.withWho ? deskFiles : files, id)
  const form = (format === 'csv' ? statementCsv : statementHtml)({ ...of, span })
  const work = async (out: (text: string) => Promise<void>): Promise<void> => {
    const [late, inTime] = limit(longestMs, 'its reader is too slow')
    const write = async (text: string): Promise<void> => {
      const [stalled, taken] = limit(STALLED_MS, 'its reader takes nothing')
      try {
        await Promise.race([out(text), stalled, late])
      } finally {
        taken()
      }
    }
    try {
      const closing = await asking(() =>
        wholeStatement(
          store,
          id,
          span,
          opening => write(form.begin(opening)),
          lines => write(form.lines(lines)),
        ),
      )
      await write(form.end(closing))
    } finally {
      inTime()
      leave()
    }
  }
  return format === 'csv'
    ? answerCsv(reply, `statement-${fileName(of.account)}.csv`, work)
    : answerPage(reply, PAGE_POLICY, work)
}

export const fileName = (text: string): string => text.replace(/[^\w.-]/g, '_')
