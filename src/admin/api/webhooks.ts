// An account's webhooks over HTTP: the same routes for the account with its key and, below /admin/accounts/NAME, for whoever
// administers. Knows requests and answers; what is done returns/webhookDesk does.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Account } from '../../accounts/account.js'
import type { Actor } from '../../accounts/audit.js'
import { type Hook, MAX_HOOKS } from '../../accounts/hooks.js'
import { idOf, idText } from '../../base/ids.js'
import { Busy } from '../../base/turns.js'
import { isoTime } from '../../returns/events.js'
import { type EndPlace, TooWide } from '../../returns/past.js'
import { type HookRefusal, HookRefused, type WebhookDesk } from '../../returns/webhookDesk.js'
import { type FailureRow, OutboxFull } from '../../returns/webhookFailures.js'
import { StoreAway } from '../../store/retry.js'
import type { Access } from '../access.js'
import { busy, serving } from '../asked.js'
import { Problem } from '../problem.js'
import type { AdminSubject } from '../subject.js'
import type { Api } from './api.js'
import { type Caller, needs } from './caller.js'
import {
  addBody,
  byId,
  changeBody,
  failurePage,
  pageQuery,
  replayBody,
  replayed,
  rotateBody,
  tested,
  type WebhookEntry,
  type WebhookFailurePage,
  webhook,
  withSecret,
} from './webhookShapes.js'

/** What is told of people holds tokens that let in as them: where it goes the gateway file alone says. */
function notOfPeople(events: readonly string[]): void {
  if (!events.some(one => one.startsWith('user.'))) return
  const detail = 'events of people (user.*) and where they go are set in the gateway file'
  throw new Problem(422, 'events_of_people', 'Not over HTTP', detail)
}

const NOWHERE: EndPlace = { atMs: 0, id: 0 }

/** Below /admin/accounts/NAME: the same for whoever administers. */
export function adminWebhookRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  app.register(
    async scope => {
      const callers = new WeakMap<FastifyRequest, Pick<Caller, 'account' | 'actor'>>()
      scope.setValidatorCompiler(validatorCompiler)
      scope.setSerializerCompiler(serializerCompiler)
      scope.addHook('onRequest', async request => {
        const { account: name } = request.params as { account: string }
        const account = serving(subject).directory.accountBySystemId(name)
        if (account === undefined) {
          throw new Problem(404, 'no_account', 'There is no such account', `no account is called ${name}`)
        }
        callers.set(request, { account, actor: access.actor(request.raw) })
      })
      const whoOf = (request: FastifyRequest) => callers.get(request) as Pick<Caller, 'account' | 'actor'>
      webhookRoutes({ scope, clock: subject.clock, problems: {}, whoOf }, subject.desk.webhooks)
    },
    { prefix: '/accounts/:account' },
  )
}

interface WebhookApi extends Pick<Api, 'scope' | 'clock' | 'problems'> {
  whoOf(request: FastifyRequest): Pick<Caller, 'account' | 'actor'>
}

export function webhookRoutes(app: WebhookApi, desk: WebhookDesk): void {
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()
  const accountOf = (request: FastifyRequest): Account => app.whoOf(request).account
  const actorOf = (request: FastifyRequest): Actor => app.whoOf(request).actor
  const reads = needs('webhooks:read')
  const writes = needs('webhooks:write', { isOfLive: true })
  const tags = ['Webhooks']
  const { problems } = app

  routes.get(
    '/webhooks',
    {
      ...reads,
      schema: {
        summary: 'Your webhooks',
        tags,
        response: { 200: z.object({ webhooks: z.array(webhook) }), ...problems },
      },
    },
    async request => ({ webhooks: accountOf(request).hooks.map(entry) }),
  )

  routes.post(
    '/webhooks',
    {
      ...writes,
      schema: {
        summary: 'Add a webhook',
        description: `Up to ${MAX_HOOKS}. The answer shows the secret that signs its events (Standard Webhooks), once.`,
        tags,
        body: addBody,
        response: { 201: withSecret, ...problems },
      },
    },
    async (request, reply) => {
      const { url, events, secret, timeout_ms, at_once, attempts } = request.body
      notOfPeople(events)
      const fields = { url, events, secret, timeoutMs: timeout_ms, atOnce: at_once, attempts }
      const added = await known(desk.add(actorOf(request), accountOf(request), fields))
      reply.code(201)
      return { ...entry(added.hook), secret: added.secret }
    },
  )

  routes.get(
    '/webhooks/secret',
    {
      ...writes,
      schema: {
        summary: 'The secret that signs events for callback_url',
        tags,
        response: { 200: z.object({ secret: z.string() }), ...problems },
      },
    },
    async request => ({ secret: desk.callbackSecret(accountOf(request)) }),
  )

  routes.get(
    '/webhooks/failures',
    {
      ...reads,
      schema: {
        summary: 'Events that no webhook and no callback_url took, newest first',
        tags,
        querystring: pageQuery,
        response: { 200: failurePage, ...problems },
      },
    },
    async request => page(request, undefined, request.query),
  )

  routes.get(
    '/webhooks/:id',
    { ...reads, schema: { summary: 'A webhook', tags, params: byId, response: { 200: webhook, ...problems } } },
    async request => entry(hookOf(request, request.params.id)),
  )

  routes.patch(
    '/webhooks/:id',
    {
      ...writes,
      schema: {
        summary: 'Change a webhook',
        tags,
        params: byId,
        body: changeBody,
        response: { 200: webhook, ...problems },
      },
    },
    async request => {
      const hook = hookOf(request, request.params.id)
      const { url = hook.url, events = [...hook.events], timeout_ms, at_once, attempts } = request.body
      if (request.body.events !== undefined || url !== hook.url) notOfPeople(events)
      const settings = {
        timeoutMs: timeout_ms ?? hook.settings.timeoutMs,
        atOnce: at_once ?? hook.settings.atOnce,
        attempts: attempts === undefined ? hook.settings.attempts : attempts,
      }
      return entry(await known(desk.change(actorOf(request), accountOf(request), hook, { url, events, settings })))
    },
  )

  routes.delete(
    '/webhooks/:id',
    {
      ...writes,
      schema: {
        summary: 'Remove a webhook',
        description: 'What waits for it, and what was given up, goes with it.',
        tags,
        params: byId,
        response: { 204: z.null(), ...problems },
      },
    },
    async (request, reply) => {
      await known(desk.remove(actorOf(request), accountOf(request), hookOf(request, request.params.id)))
      return reply.code(204).send(null)
    },
  )

  routes.post(
    '/webhooks/:id/test',
    {
      ...needs('webhooks:write'),
      schema: {
        summary: 'Send webhook.test now and see what comes of it',
        tags,
        params: byId,
        response: { 200: tested, ...problems },
      },
    },
    async request => {
      const result = await desk.test(hookOf(request, request.params.id))
      if (result !== undefined) return { taken: result.reason === null, ...result }
      throw new Problem(503, 'busy', 'Too many tests at a time', 'try again in a moment', { retryable: true })
    },
  )

  routes.post(
    '/webhooks/:id/rotate',
    {
      ...writes,
      schema: {
        summary: 'Give a webhook a new secret',
        description: 'The old one signs as well for some hours, so that receivers may be changed one by one.',
        tags,
        params: byId,
        body: rotateBody,
        response: { 200: withSecret, ...problems },
      },
    },
    async request => {
      const hook = hookOf(request, request.params.id)
      const rotated = await known(desk.rotate(actorOf(request), accountOf(request), hook, request.body.keep_hours))
      return { ...entry(rotated.hook), secret: rotated.secret }
    },
  )

  routes.post(
    '/webhooks/:id/enable',
    {
      ...writes,
      schema: {
        summary: 'Switch a webhook on again, or try one at once that is left alone for a while',
        tags,
        params: byId,
        response: { 200: webhook, ...problems },
      },
    },
    async request =>
      entry(await known(desk.enable(actorOf(request), accountOf(request), hookOf(request, request.params.id)))),
  )

  routes.get(
    '/webhooks/:id/failures',
    {
      ...reads,
      schema: {
        summary: 'Events that a webhook did not take, newest first',
        tags,
        params: byId,
        querystring: pageQuery,
        response: { 200: failurePage, ...problems },
      },
    },
    async request => page(request, hookOf(request, request.params.id).id, request.query),
  )

  routes.post(
    '/webhooks/:id/replay',
    {
      ...writes,
      schema: {
        summary: 'Send events again',
        description:
          'What was given up (`numbers`, or `all`), or the ends of messages of a time, which keep the ids of the first time: up to 5,000 of them a request, and `next_cursor` goes on. Such an end says `"replayed": true`, and has no tags, metadata, batch_id and sms_type: history does not keep them.',
        tags,
        params: byId,
        body: replayBody,
        response: { 200: replayed, ...problems },
      },
    },
    async request => {
      const hook = hookOf(request, request.params.id)
      if (hook.disabled !== null) {
        throw new Problem(409, 'webhook_disabled', 'It is switched off', `switch webhook ${hook.id} on first`)
      }
      const { body } = request
      if (!('since' in body)) {
        const numbers = 'numbers' in body ? body.numbers : null
        return { replayed: await known(desk.sendAgain(hook, numbers)), next_cursor: null }
      }
      const { since, until = app.clock.now(), cursor } = body
      const { events, next } = await known(
        desk.replay(accountOf(request), hook, since, until, cursor === undefined ? NOWHERE : placeOf(cursor)),
      )
      return {
        replayed: events,
        next_cursor: next === null ? null : `${next.atMs}-${idText(next.id, 'decimal')}`,
      }
    },
  )

  function hookOf(request: FastifyRequest, id: number): Hook {
    const hook = desk.find(accountOf(request), id)
    if (hook !== undefined) return hook
    throw new Problem(404, 'no_webhook', 'There is no such webhook', `no webhook has the id ${id}`)
  }

  async function page(
    request: FastifyRequest,
    hook: number | undefined,
    { before, limit }: z.output<typeof pageQuery>,
  ): Promise<WebhookFailurePage> {
    const found = await known(desk.failures(accountOf(request), { hook, before, limit }))
    return { failures: found.map(failureEntry), next: found.length < limit ? null : Number(found.at(-1)?.number) }
  }
}

const entry = ({ id, url, events, disabled, settings, oldUntilMs }: Hook): WebhookEntry => ({
  id,
  url,
  events: [...events],
  enabled: disabled === null,
  disabled_because: disabled,
  timeout_ms: settings.timeoutMs,
  at_once: settings.atOnce,
  attempts: settings.attempts,
  old_secret_until: oldUntilMs === 0 ? null : isoTime(oldUntilMs),
})

const failureEntry = (row: FailureRow): WebhookFailurePage['failures'][number] => ({
  number: Number(row.number),
  webhook: row.webhook,
  url: row.url,
  event: row.event,
  type: row.type,
  happened_at: row.happenedAt.toISOString(),
  given_up_at: row.givenUpAt.toISOString(),
  attempts: row.attempts,
  reason: row.reason,
})

function placeOf(cursor: string): EndPlace {
  const [atMs = '', id = ''] = cursor.split('-')
  return { atMs: Number(atMs), id: idOf(id) }
}

const refusals: Readonly<Record<HookRefusal, () => Problem>> = {
  too_many: () => new Problem(422, 'too_many_webhooks', 'Too many webhooks', `an account has ${MAX_HOOKS} at most`),
  exists: () => new Problem(409, 'webhook_exists', 'There is one', 'the account has a webhook with this URL'),
  gone: () => new Problem(404, 'no_webhook', 'There is no such webhook', 'it has just been removed'),
}

async function known<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    if (error instanceof HookRefused) throw refusals[error.why]()
    if (error instanceof OutboxFull) {
      throw new Problem(503, 'disk_full', 'No room', 'the gateway has no room for it now', { retryable: true })
    }
    if (error instanceof Busy)
      throw busy(error, 'messages of this account are being looked up', 'others ask at this moment')
    if (error instanceof TooWide) {
      throw new Problem(504, 'too_wide', 'Too much to look through', 'ask for a shorter time with since and until')
    }
    if (error instanceof StoreAway) {
      throw new Problem(503, 'no_database', 'The database is away', 'try again in a moment', { retryable: true })
    }
    throw error
  }
}
