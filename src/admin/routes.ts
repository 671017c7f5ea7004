// The administrator's part of the HTTP tree: reading the state, and the few things that may be
// done to it. Every path here needs the admin key, or the unix socket.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { People } from '../accounts/people.js'
import { type Access, adminScope } from './access.js'
import { analyticsRoutes } from './analytics.js'
import { adminAccountRoutes } from './api/accounts.js'
import { scopeOf } from './api/caller.js'
import { adminCancelRoutes } from './api/cancelling.js'
import { adminKeyRoutes } from './api/keys.js'
import { adminUserRoutes } from './api/users.js'
import { adminWebhookRoutes } from './api/webhooks.js'
import { auditor, read, serving } from './asked.js'
import { carrierRoutes } from './carriers.js'
import { catchRoutes } from './catch.js'
import { consentRoutes } from './consent.js'
import { creditRoutes } from './credit.js'
import { inboundRoutes } from './inbound.js'
import { invoiceRoutes } from './invoices.js'
import { accountEntry, carrierEntry, routeEntries } from './lists.js'
import { messageRoutes } from './messages.js'
import { adminOtpRoutes } from './otp.js'
import { pricingRuleRoutes } from './pricingRules.js'
import { Problem } from './problem.js'
import { queueRoutes } from './queue.js'
import type { Recent } from './recent.js'
import { routingRoutes } from './routing.js'
import { queueStatus, status } from './status.js'
import type { AdminSubject } from './subject.js'
import { tariffRoutes } from './tariffs.js'
import { adminTemplateRoutes } from './templates.js'
import { traceStreamRoutes } from './traceStream.js'

/** Accounts in one answer: what keeps the event loop under 5 ms. */
const MAX_PAGE = 200

const accountsQuery = z.strictObject({
  /** The last id of the page before. */
  after: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
})

const traceBody = z.strictObject({
  /** system_ids of accounts and names of carriers; none ends all traces. */
  names: z.array(z.string().min(1).max(64)).max(100),
})

/** `people`: null where nobody logs in. */
export function adminRoutes(
  app: FastifyInstance,
  subject: AdminSubject,
  recent: Recent,
  access: Access,
  people: People | null,
): void {
  const done = auditor(subject, access)

  app.addHook('onRequest', async request => {
    const wanted = adminScope(request.method, scopeOf(request.routeOptions.config))
    const refusal = await access.refusal(request.raw, wanted)
    if (refusal !== undefined) throw refusal
  })

  app.get('/status', () => status(subject, recent))

  app.get('/queue', async () => queueStatus(subject))

  app.get('/accounts', async request => {
    const { after, limit } = read(accountsQuery, request.query)
    const page = serving(subject).directory.accountsAfter(after, limit)
    return {
      accounts: page.map(account => accountEntry(account, subject.binds.count(account.id))),
      /** Give it as `after` for the next page; null: this is the last. */
      next: page.length < limit ? null : (page.at(-1)?.id ?? null),
    }
  })

  app.get('/carriers', async () => ({
    carriers: subject.directory
      .carriers()
      .map(row => carrierEntry(row, subject.lines.running.get(row.id), subject.routing.standing(row.name, ''))),
  }))

  app.get('/routes', async () => ({ routes: routeEntries(subject) }))

  if (subject.caught !== null) catchRoutes(app, subject.caught)

  app.post('/drain', async (request, reply) => {
    done(request, 'drain', {})
    // Asked once more it must not hurry, as a second signal does.
    if (!subject.stopping) subject.drain()
    reply.code(202)
    return { status: 'stopping', pid: process.pid }
  })

  app.get('/trace', async () => traced(subject))

  app.put('/trace', async request => {
    const names = [...new Set(read(traceBody, request.body).names)]
    const { directory } = serving(subject)
    const unknown = names.filter(
      name => directory.accountBySystemId(name) === undefined && !directory.carriers().some(row => row.name === name),
    )
    if (unknown.length > 0) {
      throw new Problem(422, 'unknown_name', 'No such name', `no account or carrier is called ${unknown.join(', ')}`)
    }
    subject.trace.use(names)
    done(request, 'trace', { names })
    return traced(subject)
  })

  traceStreamRoutes(app, subject, access)
  carrierRoutes(app, subject, recent, done)
  routingRoutes(app, subject, done)
  queueRoutes(app, subject, done)
  messageRoutes(app, subject, access, done)
  adminCancelRoutes(app, subject, done)
  analyticsRoutes(app, subject, recent)
  consentRoutes(app, subject, access, done)
  inboundRoutes(app, subject, done)
  adminOtpRoutes(app, subject, done)
  adminAccountRoutes(app, subject, access)
  tariffRoutes(app, subject, access)
  pricingRuleRoutes(app, subject, access)
  creditRoutes(app, subject, access)
  invoiceRoutes(app, subject, access)
  adminKeyRoutes(app, subject, access)
  if (people !== null) adminUserRoutes(app, subject, people, access)
  adminWebhookRoutes(app, subject, access)
  adminTemplateRoutes(app, subject, access)
}

/** `written` is false while the log's level leaves traces out: they are lines of level debug. */
const traced = ({ trace, log }: AdminSubject) => ({ names: [...trace.named], written: log.writes('debug') })
