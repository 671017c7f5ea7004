// The part of the side-port that applications use: /api/v1, and the same tree at /api. Every request bears an account's
// key; every answer has a request id and, when it is a problem, problem+json. Knows HTTP; what is answered is each topic's.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { hasZodFastifySchemaValidationErrors, serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Account } from '../../accounts/account.js'
import type { Clock } from '../../base/clock.js'
import type { WebhookDesk } from '../../returns/webhookDesk.js'
import { Problem } from '../problem.js'
import { type Caller, type CallerHost, Callers } from './caller.js'
import type { Desk } from './changing.js'
import { retryAfterS } from './faults.js'
import { keyRoutes } from './keys.js'
import { phoneRoutes } from './phone.js'
import { smsRoutes } from './sms.js'
import { type PastHost, smsPastRoutes } from './smsPast.js'
import { streamRoutes } from './stream.js'
import { webhookRoutes } from './webhooks.js'

/** Octets of a request with a thousand recipients. */
const BATCH_BYTES = 512 * 1024
const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number(),
    detail: z.string(),
    code: z.string(),
    retryable: z.boolean().optional(),
    errors: z.array(z.record(z.string(), z.unknown())).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457' })

export interface ApiHost extends CallerHost, PastHost {
  readonly maxRecipients: number
  readonly desk: Desk
  readonly webhooks: WebhookDesk
  /** Resolves when everything taken until now is durable. */
  synced(): Promise<void>
}

/** What topics are given. */
export interface Api {
  readonly scope: FastifyInstance
  readonly clock: Clock
  readonly maxRecipients: number
  readonly batchBytes: number
  /** Answers that every route may give. */
  readonly problems: Record<string, typeof problem>
  callerOf(request: FastifyRequest): Account
  /** The same with what the key may do. */
  whoOf(request: FastifyRequest): Caller
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
  scope.addHook('onRequest', async request => {
    known.set(request, await callers.of(request))
  })
  topics(scope, host, request => known.get(request))
}

/** The routes of every topic; `callerOf` says whose request it is. */
export function topics(
  scope: FastifyInstance,
  host: ApiHost,
  callerOf: (request: FastifyRequest) => Caller | undefined,
): void {
  const api: Api = {
    scope,
    clock: host.clock,
    maxRecipients: host.maxRecipients,
    batchBytes: BATCH_BYTES,
    problems,
    callerOf: request => (callerOf(request) as Caller).account,
    whoOf: request => callerOf(request) as Caller,
    synced: () => host.synced(),
    said: async (reply, { status, body }) => {
      await host.synced()
      const again = retryAfterS(status)
      if (again !== undefined) reply.header('retry-after', again)
      reply.code(status).type(status === 200 ? 'application/json' : 'application/problem+json')
      // Serialized already: the schema is for the documents.
      reply.serializer((text: unknown) => text as string).send(body)
    },
  }
  smsRoutes(api, host.sender)
  streamRoutes(api, host.sender)
  smsPastRoutes(api, host)
  phoneRoutes(api)
  keyRoutes(api, host.desk)
  webhookRoutes(api, host.webhooks)
}

/** The faults of a request that is not as its schema says; undefined: it is something else. */
export function schemaProblem(error: unknown): Problem | undefined {
  if (!hasZodFastifySchemaValidationErrors(error)) return undefined
  const errors = error.validation.map(({ instancePath, message }) => ({ pointer: instancePath, detail: message ?? '' }))
  const words = errors.map(({ pointer, detail }) => `${pointer.slice(1).replaceAll('/', '.')}: ${detail}`).join('; ')
  return new Problem(422, 'invalid', 'The request is not as it must be', words, { errors })
}
