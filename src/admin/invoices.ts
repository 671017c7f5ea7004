// Invoices for administrators: made for a month, one account's or all, listed, shown as JSON, CSV and HTML, paid and voided;
// and to whom they are addressed. Knows requests and answers; what is billed is accounts'.

import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import { balance, billTo } from '../accounts/balances.js'
import { createInvoice, createInvoices, monthSpan } from '../accounts/invoiceMaking.js'
import {
  type Invoice,
  InvoiceRefused,
  invoiceEntries,
  invoiceShown,
  invoiceStatuses,
  NoInvoice,
  payInvoice,
  voidInvoice,
} from '../accounts/invoices.js'
import type { Access } from './access.js'
import { asking } from './api/changing.js'
import { answerLines, read, serving } from './asked.js'
import { invoiceCsv, invoiceHtml } from './invoiceText.js'
import { Problem } from './problem.js'
import type { AdminSubject } from './subject.js'

const MAX_PAGE = 200
/** All that an invoice needs is in it: nothing is loaded and nothing runs, whatever a name says. */
export const PAGE_POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const systemId = z.string().min(1).max(63)
export const month = z.string().regex(/^20\d\d-(?:0[1-9]|1[0-2])$/, 'must be a month like 2026-01')
export const invoiceNumber = z.string().regex(/^\d{4}-\d{6,9}$/, 'must be a number like 2026-000001')
const numbered = z.strictObject({ number: invoiceNumber })
export const invoicesQuery = z.strictObject({
  account: systemId.optional(),
  status: z.enum(invoiceStatuses).optional(),
  month: month.optional(),
  /** `next` of the page before. */
  before: invoiceNumber.optional(),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
})
const createBody = z.strictObject({
  month,
  account: systemId,
  /** In place of one that was voided. */
  again: z.boolean().default(false),
})
const allBody = z.strictObject({ month })
const payBody = z.strictObject({ memo: z.string().max(500).default('') })
const voidBody = z.strictObject({ reason: z.string().min(1, 'say why').max(200) })
const addressBody = z.strictObject({ address: z.string().max(1_000) })
const named = z.strictObject({ account: systemId })

export function invoiceRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  const { store } = subject.desk
  const settings = subject.config.billing

  app.get('/invoices', async request => {
    const { account, ...asked } = read(invoicesQuery, request.query)
    return billing(async () => {
      const id = account === undefined ? undefined : (await balance(store, account)).id
      const invoices = await invoiceEntries(store, { ...asked, account: id })
      return { invoices, next: invoices.length < asked.limit ? null : (invoices.at(-1)?.number ?? null) }
    })
  })

  app.post('/invoices', async (request, reply) => {
    const { account, ...asked } = read(createBody, request.body)
    const { clock } = serving(subject)
    return billing(async () => {
      const { id } = await balance(store, account)
      const one = { ...asked, account: id, nowMs: clock.now() }
      const { number, made } = await createInvoice(store, access.actor(request.raw), settings, one)
      reply.code(made ? 201 : 200)
      return { made, ...(await invoiceShown(store, number)) }
    })
  })

  app.post('/invoices/all', async (request, reply) => {
    const { month } = read(allBody, request.body)
    const nowMs = serving(subject).clock.now()
    await billing(async () => monthSpan(month, nowMs))
    await answerLines(reply, subject, (tell, signal) =>
      billing(() =>
        createInvoices(
          store,
          access.actor(request.raw),
          settings,
          { month, nowMs },
          (looked, made) => tell({ looked, made }),
          () => signal.aborted || subject.stopping,
        ),
      ),
    )
    return reply
  })

  app.put('/invoices/addresses/:account', async request => {
    const { account } = read(named, request.params)
    const { address } = read(addressBody, request.body)
    serving(subject)
    await asking(() => billTo(store, access.actor(request.raw), account, address))
    return { account, address }
  })

  for (const format of formats) {
    app.get(`/invoices/:number${format}`, async (request, reply) => {
      const { number } = read(numbered, request.params)
      return sendInvoice(reply, format, await billing(() => invoiceShown(store, number)))
    })
  }

  app.post('/invoices/:number/pay', async request => {
    const { number } = read(numbered, request.params)
    const { memo } = read(payBody, request.body)
    serving(subject)
    return billing(async () => ({
      ...(await payInvoice(store, access.actor(request.raw), number, memo)),
      ...(await invoiceShown(store, number)),
    }))
  })

  app.post('/invoices/:number/void', async request => {
    const { number } = read(numbered, request.params)
    const { reason } = read(voidBody, request.body)
    serving(subject)
    return billing(async () => ({
      ...(await voidInvoice(store, access.actor(request.raw), number, reason)),
      ...(await invoiceShown(store, number)),
    }))
  })
}

export const formats = ['', '.csv', '.html'] as const

export function sendInvoice(reply: FastifyReply, format: (typeof formats)[number], one: Invoice): FastifyReply {
  if (format === '') return reply.send(one)
  // Serialized already: the schema is for the JSON.
  reply.serializer((text: unknown) => text as string)
  if (format === '.html') {
    return reply.type('text/html; charset=utf-8').header('content-security-policy', PAGE_POLICY).send(invoiceHtml(one))
  }
  reply.type('text/csv; charset=utf-8').header('content-disposition', `attachment; filename="${one.number}.csv"`)
  return reply.send(invoiceCsv(one))
}

/** What cannot be billed, as HTTP says it. */
export async function billing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await asking(work)
  } catch (error) {
    if (error instanceof NoInvoice) throw new Problem(404, 'no_invoice', 'There is no such invoice', error.message)
    if (error instanceof InvoiceRefused) throw new Problem(409, 'refused', 'Not now', error.message)
    throw error
  }
}
