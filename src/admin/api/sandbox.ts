// The sandbox over HTTP, for whoever builds against this gateway: its numbers, what it got lately, and messages from phones
// that nobody wrote. Knows requests and answers; what the sandbox does daemon/sandbox and carriers/sandbox do.

import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Account } from '../../accounts/account.js'
import { idText } from '../../base/ids.js'
import type { SandboxedMessage } from '../../carriers/sandbox.js'
import { isoTime } from '../../returns/events.js'
import { magicNumbers } from '../../routing/sandbox.js'
import { Problem } from '../problem.js'
import type { Api } from './api.js'
import { needs } from './caller.js'

export interface SandboxDesk {
  latest(account: Account, most: number): (SandboxedMessage & { text: string })[]
  receive(account: Account, from: string, to: string, text: string): Promise<'taken' | 'elsewhere' | 'full'>
}

const numbers = z
  .object({ numbers: z.array(z.object({ number: z.string(), what: z.string() })) })
  .meta({ id: 'SandboxNumbers' })
const messages = z
  .object({
    messages: z.array(
      z.object({
        id: z.string(),
        at: z.string(),
        from: z.string(),
        to: z.string(),
        text: z.string(),
        outcome: z.string(),
      }),
    ),
  })
  .meta({ id: 'SandboxMessages' })
const inbound = z.strictObject({
  from: z.string().min(3).max(20).describe('the phone'),
  to: z.string().min(3).max(20).describe('a number of yours, or one that a rule gives you'),
  text: z.string().max(1_600),
})
const query = z.object({ limit: z.coerce.number().int().min(1).max(200).default(50) })

/** The table of numbers, for the documents. */
export const sandboxWords = (): string =>
  magicNumbers()
    .map(({ number, what }) => `| \`${number}\` | ${what} |`)
    .join('\n')

/** `desk` null: there is no sandbox. */
export function sandboxRoutes(app: Api, desk: SandboxDesk | null): void {
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()
  const tags = ['Sandbox']

  routes.get(
    '/sandbox/numbers',
    {
      ...needs('messages:read'),
      schema: {
        summary: 'Numbers of the sandbox, and what becomes of messages to them',
        tags,
        response: { 200: numbers, ...app.problems },
      },
    },
    async () => ({ numbers: on() && magicNumbers() }),
  )

  routes.get(
    '/sandbox/messages',
    {
      ...needs('messages:read'),
      schema: {
        summary: 'What the sandbox got from you, newest first',
        description: 'The last 1,000 messages of all accounts, not over a restart.',
        tags,
        querystring: query,
        response: { 200: messages, ...app.problems },
      },
    },
    async request => ({
      messages: on()
        .latest(app.callerOf(request), request.query.limit)
        .map(({ id, atMs, from, to, text, what }) => ({
          id: idText(id, 'decimal'),
          at: isoTime(atMs),
          from,
          to,
          text,
          outcome: what,
        })),
    }),
  )

  routes.post(
    '/sandbox/inbound',
    {
      ...needs('messages:send'),
      schema: {
        summary: 'Get a message as if a phone had sent it',
        description:
          'It takes every way of a real one: rules, your binds and webhooks. STOP and START hold for numbers of the sandbox alone.',
        tags,
        body: inbound,
        response: { 202: z.object({ status: z.literal('received') }), ...app.problems },
      },
    },
    async (request, reply) => {
      const { from, to, text } = request.body
      const came = await on().receive(app.callerOf(request), from, to, text)
      if (came === 'elsewhere') {
        throw new Problem(
          422,
          'not_yours',
          'Not a number of yours',
          `a message to ${to} would not come to this account`,
        )
      }
      if (came === 'full') {
        throw new Problem(503, 'disk_full', 'No room', 'the gateway has no room for it now', { retryable: true })
      }
      reply.code(202)
      return { status: 'received' as const }
    },
  )

  function on(): SandboxDesk {
    if (desk !== null) return desk
    throw new Problem(404, 'sandbox_off', 'There is no sandbox', 'sandbox.enabled is off on this gateway')
  }
}
