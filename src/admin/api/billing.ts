// An account's own money, over HTTP: its balance, what was booked, its invoices. It reads; what is booked administrators
// book. Who booked is not told.

import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { balance } from '../../accounts/balances.js'
import { type InvoiceEntry, invoiceEntries, invoiceShown, invoiceStatuses } from '../../accounts/invoices.js'
import { statementPage } from '../../accounts/statement.js'
import { unitsText } from '../../model/money.js'
import type { Store } from '../../store/postgres.js'
import { moment, spanOf, statementFile } from '../credit.js'
import { billing, formats, invoiceNumber, month, sendInvoice } from '../invoices.js'
import type { Api } from './api.js'
import { needs } from './caller.js'
import { asking } from './changing.js'

const MAX_PAGE = 200
const RANKS = ['otp', 'transactional', 'bulk'] as const

export interface BillingHost {
  readonly billing: { readonly currency: string; readonly seller: string }
  readonly desk: { readonly store: Store }
}

const micros = z.number().describe('millionths of a unit of the currency')
const balanceAnswer = z
  .object({
    currency: z.string(),
    balance: z.string().describe('in units'),
    balance_micros: micros,
    credit_micros: micros.nullable().describe('how far below zero the balance may go; null: as far as it will'),
    available_micros: micros.nullable().describe('what can be spent; null: there is no limit'),
    tariff: z.string().nullable().describe('null: messages cost nothing'),
  })
  .meta({ id: 'Balance' })
const ledgerQuery = z.object({
  from: moment.optional().describe('31 days ago if left out'),
  to: moment.optional(),
  after: z.coerce.number().int().min(0).default(0).describe('next of the page before'),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
  format: z.enum(['json', 'csv', 'html']).default('json').describe('csv, html: all of the span, oldest first'),
})
const ledgerAnswer = z
  .object({
    currency: z.string(),
    opening_micros: micros.describe('the balance before the first line'),
    lines: z.array(
      z.object({
        entry: z.number(),
        at: z.string(),
        kind: z.string().describe('messages, top_up, withdrawal, adjustment, payment or refund'),
        reference: z.string(),
        memo: z.string(),
        messages: z.number(),
        micros,
        balance_micros: micros,
      }),
    ),
    next: z.number().nullable(),
  })
  .meta({ id: 'Ledger' })
const invoiceEntry = z
  .object({
    number: z.string(),
    month: z.string(),
    status: z.enum(invoiceStatuses),
    issued_at: z.string(),
    paid_at: z.string().nullable(),
    currency: z.string(),
    net_micros: micros,
    tax_percent: z.string(),
    tax_micros: micros,
    total_micros: micros,
    covered_micros: micros.describe('of the net, what credit had paid already'),
    covered_tax_micros: micros.describe('of the tax, what had been paid already, with top-ups'),
    due_micros: micros,
  })
  .meta({ id: 'Invoice' })
const invoiceAnswer = invoiceEntry
  .extend({
    seller: z.string(),
    customer: z.string(),
    lines: z.array(
      z.object({
        what: z
          .enum(['messages', 'back', 'other', 'earlier'])
          .describe(
            'earlier: posted to that month after its own invoice was made; of the month of the invoice: billed by a later one',
          ),
        month: z.string(),
        country: z.string().describe('ISO 3166-1 alpha-2; empty: none, or several'),
        class: z.enum(RANKS).nullable(),
        messages: z.number(),
        segments: z.number(),
        micros,
      }),
    ),
  })
  .meta({ id: 'InvoiceDetails' })
const invoicesQuery = z.object({
  status: z.enum(invoiceStatuses).optional(),
  month: month.optional(),
  before: invoiceNumber.optional().describe('next of the page before'),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
})
const invoicesAnswer = z.object({ invoices: z.array(invoiceEntry), next: z.string().nullable() })
const byNumber = z.object({ number: invoiceNumber })

/** `host` is asked when a request comes: the documents need none. */
export function billingRoutes(app: Api, host: () => BillingHost): void {
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()
  const tags = ['Billing']

  routes.get(
    '/billing/balance',
    {
      ...needs('billing:read'),
      schema: { summary: 'Your balance', tags, response: { 200: balanceAnswer, ...app.problems } },
    },
    async request => {
      const { desk, billing } = host()
      const one = await asking(() => balance(desk.store, app.callerOf(request).systemId))
      const { balance_micros, credit_micros, tariff } = one
      const available_micros = tariff === null || credit_micros === null ? null : balance_micros + credit_micros
      const { currency } = billing
      return { currency, balance: unitsText(balance_micros), balance_micros, credit_micros, available_micros, tariff }
    },
  )

  for (const url of ['/billing/ledger', '/payments/history']) {
    routes.get(
      url,
      {
        ...needs('billing:read'),
        schema: {
          summary: 'What was booked, each line with the balance behind it',
          description: 'What messages cost is one line for each hour.',
          tags,
          querystring: ledgerQuery,
          response: { 200: ledgerAnswer, ...app.problems },
        },
      },
      async (request, reply) => {
        const { id, systemId: account } = app.callerOf(request)
        const { store } = host().desk
        const { currency, seller } = host().billing
        const { from, to, after, limit, format } = request.query
        const span = spanOf(from, to, app.clock.now())
        if (format !== 'json') {
          const asked = { account, id, currency, seller, withWho: false, format }
          return (await statementFile(reply, store, asked, span)) as never
        }
        const page = await asking(() => statementPage(store, id, { ...span, after, limit }))
        return { currency, ...page }
      },
    )
  }

  routes.get(
    '/billing/invoices',
    {
      ...needs('billing:read'),
      schema: {
        summary: 'Your invoices, newest first',
        tags,
        querystring: invoicesQuery,
        response: { 200: invoicesAnswer, ...app.problems },
      },
    },
    async request => {
      const { query } = request
      const invoices = await asking(() =>
        invoiceEntries(host().desk.store, { ...query, account: app.callerOf(request).id }),
      )
      return { invoices, next: invoices.length < query.limit ? null : (invoices.at(-1) as InvoiceEntry).number }
    },
  )

  for (const format of formats) {
    const isJson = format === ''
    routes.get(
      `/billing/invoices/:number${format}`,
      {
        ...needs('billing:read'),
        schema: {
          summary: isJson ? 'One invoice with its lines' : `The same as ${format.slice(1).toUpperCase()}`,
          tags,
          params: byNumber,
          response: { 200: isJson ? invoiceAnswer : z.string().describe(format.slice(1)), ...app.problems },
        },
      },
      async (request, reply) => {
        const one = await billing(() =>
          invoiceShown(host().desk.store, request.params.number, app.callerOf(request).id),
        )
        if (!isJson) return sendInvoice(reply, format, one)
        return { ...one, lines: one.lines.map(({ rank, ...line }) => ({ ...line, class: RANKS[rank] ?? null })) }
      },
    )
  }
}
