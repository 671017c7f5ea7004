// The part of the side-port that applications use: /api/v1, and the same tree at /api. Every request bears an account's
// key; every answer has a request id and, when it is a problem, problem+json. Knows HTTP; what is answered is each topic's.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { hasZodFastifySchemaValidationErrors, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Account } from '../../accounts/account.js'
import type { Limits } from '../../accounts/limits.js'
import { assert } from '../../base/assert.js'
import type { Clock } from '../../base/clock.js'
import type { Log } from '../../base/log.js'
import type { WebhookDesk } from '../../returns/webhookDesk.js'
import { Problem, retryAfterS } from '../problem.js'
import { type AnalyticsHost, analyticsApiRoutes } from './analytics.js'
import { type AuthHost, authRoutes, isOpen } from './auth.js'
import { type BillingHost, billingRoutes } from './billing.js'
import { type Caller, type CallerHost, Callers, scopeOf } from './caller.js'
import { cancelRoutes } from './cancelling.js'
import type { Desk } from './changing.js'
import { rateLimit } from './headers.js'
import { keyRoutes } from './keys.js'
import { type OtpDesk, otpRoutes } from './otp.js'
import { phoneRoutes } from './phone.js'
import { type SandboxDesk, sandboxRoutes } from './sandbox.js'
import { smsRoutes } from './sms.js'
import { type PastHost, smsPastRoutes } from './smsPast.js'
import { streamRoutes } from './stream.js'
import { type TemplateHost, templateRoutes } from './templates.js'
import { webhookRoutes } from './webhooks.js'

/** Octets of a request with a thousand recipients and their variables. */
const BATCH_BYTES = 1_024 * 1_024
const problem = z
  .looseObject({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    detail: z.string(),
    code: z.string(),
    request_id: z.string(),
    retryable: z.boolean().optional(),
    errors: z.array(z.record(z.string(), z.unknown())).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457' })

export interface ApiHost extends CallerHost, PastHost, AuthHost {
  readonly maxRecipients: number
  readonly desk: Desk
  readonly billing: BillingHost['billing']
  readonly limits: Pick<Limits, 'standing'>
  readonly webhooks: WebhookDesk
  readonly analytics: AnalyticsHost
  readonly otp: OtpDesk
  /** null: there is none. */
  readonly sandbox: SandboxDesk | null
  readonly templates: TemplateHost
  /** Resolves when everything taken until now is durable. */
  synced(): Promise<void>
}

/** What topics are given. */
export interface Api {
  readonly scope: FastifyInstance
  readonly clock: Clock
  readonly log: Log
  readonly maxRecipients: number
  readonly batchBytes: number
  /** Of prices. */
  readonly currency: string
  /** Answers that every route may give. */
  readonly problems: Record<string, typeof problem>
  callerOf(request: FastifyRequest): Account
  /** The same with what the key may do. */
  whoOf(request: FastifyRequest): Caller
  /** Of whoever asks: a proxy of ours is nobody. */
  addressOf(request: FastifyRequest): string
  /** The account as it is by now, for requests that take long. */
  fresh(account: Account): Account
  /** Resolves when everything taken until now is durable. */
  synced(): Promise<void>
  /** Answers once all that was taken is durable. */
  said(reply: FastifyReply, answer: { status: number; body: string }): Promise<void>
}

const problems = { '4xx': problem, '5xx': problem }

export function apiRoutes(scope: FastifyInstance, host: ApiHost): void {
  const callers = new Callers(host)
  const known = new WeakMap<FastifyRequest, Caller>()
  scope.setValidatorCompiler(validatorCompiler)
  scope.setSerializerCompiler(serializerCompiler)
  scope.addHook('onRoute', ({ url, config }) => {
    // Nobody forgets it: a route that says nothing would be everybody's.
    assert(scopeOf(config) !== undefined || isOpen(config), `${url} does not say which scope it needs`)
  })
  scope.addHook('onRequest', async request => {
    if (!isOpen(request.routeOptions.config)) known.set(request, await callers.of(request))
  })
  scope.addHook('onSend', async (request, reply) => {
    const account = known.get(request)?.account
    if (account === undefined || scopeOf(request.routeOptions.config) !== 'messages:send') return
    const standing = host.limits.standing(account, host.clock.mono(), host.clock.now())
    if (standing.length > 0) reply.headers(rateLimit(standing))
  })
  topics(scope, host, request => known.get(request), callers)
}

/** The routes of every topic; `callerOf` says whose request it is. */
export function topics(
  scope: FastifyInstance,
  host: ApiHost,
  callerOf: (request: FastifyRequest) => Caller | undefined,
  callers?: Callers,
): void {
  const api: Api = {
    scope,
    clock: host.clock,
    log: host.log,
    maxRecipients: host.maxRecipients,
    batchBytes: BATCH_BYTES,
    get currency() {
      return host.templates.currency
    },
    problems,
    callerOf: request => (callerOf(request) as Caller).account,
    whoOf: request => callerOf(request) as Caller,
    addressOf: request => host.peers.address(request.raw),
    fresh: account => host.account(account.id) ?? { ...account, suspended: 'removed' },
    synced: () => host.synced(),
    said: async (reply, { status, body }) => {
      await host.synced()
      const again = status === 429 ? roomAfterS(callerOf(reply.request)) : retryAfterS(status)
      if (again !== undefined) reply.header('retry-after', again)
      reply.code(status).type(status === 200 ? 'application/json' : 'application/problem+json')
      // Serialized already, and maybe for an earlier request: the schema is for the documents.
      const told = status === 200 ? body : `${body.slice(0, -1)},"request_id":${JSON.stringify(reply.request.id)}}`
      reply.serializer((text: unknown) => text as string).send(told)
    },
  }
  /** Until the limit that is used up begins anew. */
  const roomAfterS = (caller: Caller | undefined): number | undefined => {
    if (caller === undefined) return retryAfterS(429)
    const standing = host.limits.standing(caller.account, host.clock.mono(), host.clock.now())
    return Math.max(1, ...standing.filter(({ left }) => left < 1).map(({ resetS }) => resetS))
  }
  smsRoutes(api, host.sender)
  streamRoutes(api, host.sender)
  smsPastRoutes(api, host)
  cancelRoutes(api, host.spool)
  analyticsApiRoutes(api, () => host.analytics)
  phoneRoutes(api)
  keyRoutes(api, host.desk)
  authRoutes(api, host, callers)
  webhookRoutes(api, host.webhooks)
  sandboxRoutes(api, host.sandbox)
  const askerOf = (request: FastifyRequest) => {
    const { account, kind } = api.whoOf(request)
    return { account, isTest: kind === 'test' }
  }
  otpRoutes({ scope, problems, askerOf }, () => host.otp)
  billingRoutes(api, () => host)
  templateRoutes(api, () => host.templates)
}

/** The faults of a request that is not as its schema says; undefined: it is something else. */
export function schemaProblem(error: unknown): Problem | undefined {
  if (!hasZodFastifySchemaValidationErrors(error)) return undefined
  const errors = error.validation.map(({ instancePath, message }) => ({ pointer: instancePath, detail: message ?? '' }))
  const words = errors.map(({ pointer, detail }) => `${pointer.slice(1).replaceAll('/', '.')}: ${detail}`).join('; ')
  return new Problem(422, 'invalid', 'The request is not as it must be', words, { errors })
}
