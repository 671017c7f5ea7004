// Logging in and out over HTTP (RFC 6749 where programs do it), and who one is. Guessing is slowed down by network and by
// user, and whoever is unknown is answered as whoever is wrong. Knows requests; people are accounts/people's.

import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { networkOf } from '../../../protocols/net/address.js'
import { scopesOf, scopeWords } from '../../accounts/keys.js'
import { MOST_ORGANISATION, type People, type Tokens } from '../../accounts/people.js'
import { roles } from '../../accounts/peopleRows.js'
import { TOKEN_LIFE_S } from '../../accounts/peopleTokens.js'
import type { Secrets } from '../../accounts/secrets.js'
import { words } from '../../accounts/words.js'
import { FailedBinds } from '../../intake/smpp/failures.js'
import { Problem } from '../problem.js'
import type { Api } from './api.js'
import type { Callers } from './caller.js'
import { asking } from './changing.js'

/** Wrong passwords of one network, and of one user wherever they come from. */
const OF_NETWORK = { delayMs: 2_000, barredAfter: 30, barredMs: 300_000 }
/** Registrations and requests for another password, of one network. */
const OF_ASKED = { delayMs: 0, barredAfter: 30, barredMs: 300_000 }
const OF_USER = { delayMs: 2_000, barredAfter: 10, barredMs: 300_000 }

export const emailField = z.email().max(254)
export const passwordField = z.string().min(10, 'must be at least 10 characters').max(128)
const tokenField = z.string().min(1).max(4_000)

const tokens = z
  .object({
    access_token: z.string(),
    token_type: z.literal('Bearer'),
    expires_in: z.number().describe('seconds'),
    refresh_token: z.string().describe('good once'),
    refresh_expires_in: z.number(),
  })
  .meta({ id: 'Tokens' })
const done = z.object({ status: z.string() })
const me = z
  .object({
    kind: z.enum(['person', 'key']),
    email: z.string().nullable(),
    name: z.string(),
    organisation: z.string().nullable(),
    role: z.enum(roles).nullable(),
    operator: z.boolean(),
    accounts: z.array(z.string()).describe('system_ids'),
    scopes: z.array(z.string()),
  })
  .meta({ id: 'Me' })
const sessionShape = z
  .object({
    id: z.string(),
    current: z.boolean().describe('the one that asks'),
    created_at: z.string(),
    used_at: z.string().describe('when it got its last pair of tokens'),
    expires_at: z.string(),
  })
  .meta({ id: 'Session' })
const grant = z.object({
  grant_type: z.string(),
  client_id: z.string().max(64).optional(),
  client_secret: z.string().max(200).optional(),
  scope: z.string().max(400).optional(),
})

/** Routes that need no key. */
const open = { config: { isOpen: true } }
export const isOpen = (config: unknown): boolean => (config as { isOpen?: boolean } | undefined)?.isOpen === true

export interface AuthHost {
  readonly people: People
  readonly secrets: Secrets
}

export function authRoutes(app: Api, { people, secrets }: AuthHost, callers: Callers | undefined): void {
  const { clock } = app
  app.scope.addContentTypeParser(
    'application/x-www-form-urlencoded',
    { parseAs: 'string', bodyLimit: 8_192 },
    (_request, body, parsed) => parsed(null, Object.fromEntries(new URLSearchParams(body as string))),
  )
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()
  const tags = ['Authentication']
  const ofNetwork = new FailedBinds(OF_NETWORK, clock.mono)
  const ofUser = new FailedBinds(OF_USER, clock.mono)
  const ofAsked = new FailedBinds(OF_ASKED, clock.mono)

  const letIn = (network: string, user: string): void => {
    if (!ofNetwork.isBarred(network) && !ofUser.isBarred(user)) return
    throw new Problem(429, 'too_many_failures', 'Too many wrong passwords', 'try again in some minutes')
  }
  /** What costs us much, or tells others something, is not asked for without end. */
  const notTooOften = (network: string): void => {
    if (ofAsked.isBarred(network)) {
      throw new Problem(429, 'too_many_requests', 'Too many requests', 'try again in some minutes')
    }
    ofAsked.add(network, '')
  }
  const wait = async (delayMs: number): Promise<void> => {
    if (delayMs > 0) await new Promise(resolve => setTimeout(resolve, delayMs))
  }

  routes.post(
    '/auth/register',
    {
      ...open,
      schema: {
        summary: 'Register',
        description: 'The answer is the same for an address that is registered already: its owner is told.',
        tags,
        security: [],
        body: z.strictObject({
          email: emailField,
          password: passwordField,
          name: words(100).default(''),
          organisation: words(MOST_ORGANISATION).default('').describe('its name; left out: the address'),
        }),
        response: { 201: done, ...app.problems },
      },
    },
    async (request, reply) => {
      if (!people.isOpen) {
        throw new Problem(403, 'registration_closed', 'Nobody may register here', 'ask whoever runs this gateway')
      }
      const { email, password, name, organisation } = request.body
      notTooOften(networkOf(app.addressOf(request)))
      await asking(() => people.register(email, password, name, organisation))
      reply.code(201)
      return { status: 'registered' }
    },
  )

  routes.post(
    '/auth/login',
    {
      ...open,
      schema: {
        summary: 'Log in',
        tags,
        security: [],
        body: z.strictObject({ email: emailField, password: z.string().max(128) }),
        response: { 200: tokens, ...app.problems },
      },
    },
    async (request, reply): Promise<Tokens> => {
      const { email, password } = request.body
      const user = email.toLowerCase()
      const network = networkOf(app.addressOf(request))
      letIn(network, user)
      // Counted before it is known to be wrong: of many that come at once no more are tried than one after the other.
      const delayMs = Math.max(ofNetwork.add(network, user), ofUser.add(user, ''))
      const given = await asking(() => people.login(email, password)).catch(error => {
        ofNetwork.undo(network, user)
        ofUser.undo(user, '')
        throw error
      })
      if (given === undefined) {
        await wait(delayMs)
        throw new Problem(401, 'login_refused', 'Not logged in', 'the address or the password is wrong')
      }
      ofNetwork.forgive(network, user)
      ofUser.forgive(user, '')
      reply.header('cache-control', 'no-store')
      return given
    },
  )

  routes.post(
    '/auth/refresh',
    {
      ...open,
      schema: {
        summary: 'Get the next pair of tokens',
        description:
          'A refresh token is good once. One that is used again ends the session, for whoever has the other.',
        tags,
        security: [],
        body: z.strictObject({ refresh_token: tokenField }),
        response: { 200: tokens, ...app.problems },
      },
    },
    async (request, reply): Promise<Tokens> => {
      const given = await asking(() => people.refresh(request.body.refresh_token))
      if (given === undefined) throw new Problem(401, 'token_refused', 'The token is no good', 'log in again')
      reply.header('cache-control', 'no-store')
      return given
    },
  )

  routes.post(
    '/auth/logout',
    {
      ...open,
      schema: {
        summary: 'Log out',
        description: 'Ends the session: its tokens are good for nothing any more.',
        tags,
        security: [],
        body: z.strictObject({ refresh_token: tokenField }),
        response: { 200: done, ...app.problems },
      },
    },
    async request => {
      await asking(() => people.logout(request.body.refresh_token))
      return { status: 'logged out' }
    },
  )

  routes.post(
    '/auth/password-reset/request',
    {
      ...open,
      schema: {
        summary: 'Ask for another password',
        description: 'The answer is the same whether or not there is such a user.',
        tags,
        security: [],
        body: z.strictObject({ email: emailField }),
        response: { 202: done, ...app.problems },
      },
    },
    async (request, reply) => {
      notTooOften(networkOf(app.addressOf(request)))
      // Not waited for: how long it takes would tell.
      people.requestReset(request.body.email).catch(error => app.log.error({ err: error }, 'no token for a password'))
      reply.code(202)
      return { status: 'requested' }
    },
  )

  routes.post(
    '/auth/password-reset/confirm',
    {
      ...open,
      schema: {
        summary: 'Choose another password',
        description: 'All sessions of the user end.',
        tags,
        security: [],
        body: z.strictObject({ token: tokenField, password: passwordField }),
        response: { 200: done, ...app.problems },
      },
    },
    async request => {
      const { token, password } = request.body
      const network = networkOf(app.addressOf(request))
      if (ofNetwork.isBarred(network)) {
        throw new Problem(429, 'too_many_failures', 'Too many wrong tokens', 'try again in some minutes')
      }
      if (!(await asking(() => people.confirmReset(token, password)))) {
        // No user's: who knows no token shuts out nobody else.
        await wait(ofNetwork.add(network, ''))
        throw new Problem(
          422,
          'token_refused',
          'The token is no good',
          'it is good once and for an hour: ask for another',
        )
      }
      return { status: 'changed' }
    },
  )

  routes.post(
    '/auth/token',
    {
      ...open,
      schema: {
        summary: 'A short-lived token for an API key (OAuth 2 client credentials)',
        description:
          'client_id is the id of the key and client_secret the key; as form or JSON, or both as HTTP Basic.',
        tags,
        security: [],
        body: grant,
        response: {
          200: z.object({
            access_token: z.string(),
            token_type: z.literal('Bearer'),
            expires_in: z.number(),
            scope: z.string(),
          }),
          ...app.problems,
        },
      },
    },
    async (request, reply) => {
      const { grant_type, client_id, client_secret, scope = '' } = request.body
      // RFC 6749 §5.2 has its own names for what is wrong.
      const wrong = (status: number, error: string, detail: string): Problem =>
        new Problem(status, error, 'No token', detail, { error, error_description: detail })
      if (grant_type !== 'client_credentials') {
        throw wrong(400, 'unsupported_grant_type', 'grant_type must be client_credentials')
      }
      const basic = basicIn(request.headers.authorization)
      const id = basic?.id ?? client_id ?? ''
      const secret = basic?.secret ?? client_secret ?? ''
      const asked = scope.split(' ').filter(word => word !== '')
      if (asked.some(word => !(scopeWords as readonly string[]).includes(word))) {
        throw wrong(400, 'invalid_scope', `scope must be of ${scopeWords.join(' ')}`)
      }
      const caller = await (callers as Callers).ofKey(secret, app.addressOf(request), id)
      const hash = secrets.keyHash(secret).toString('hex')
      const access_token = await people.tokens.sign({ kind: 'key', hash, scopes: asked })
      reply.header('cache-control', 'no-store')
      const given = asked.length === 0 ? caller.scopes : (callers as Callers).narrowed(caller.scopes, asked)
      return {
        access_token,
        token_type: 'Bearer' as const,
        expires_in: TOKEN_LIFE_S,
        scope: scopesOf(given).join(' '),
      }
    },
  )

  routes.get(
    '/auth/me',
    {
      ...open,
      schema: { summary: 'Who you are, and what you may do', tags, response: { 200: me, ...app.problems } },
    },
    async request => (callers as Callers).me(request),
  )

  routes.get(
    '/auth/sessions',
    {
      ...open,
      schema: {
        summary: 'Where you are logged in, the newest first',
        tags,
        response: { 200: z.object({ sessions: z.array(sessionShape) }), ...app.problems },
      },
    },
    async request => {
      const session = await (callers as Callers).sessionId(request)
      return { sessions: await asking(() => people.sessions(session)) }
    },
  )

  routes.delete(
    '/auth/sessions/:id',
    {
      ...open,
      schema: {
        summary: 'End one of your sessions',
        description: 'Its tokens are good for nothing any more; it may be the one that asks.',
        tags,
        params: z.object({ id: z.string().regex(/^[0-9a-f]{32}$/, 'must be the id of a session') }),
        response: { 200: done, ...app.problems },
      },
    },
    async request => {
      const session = await (callers as Callers).sessionId(request)
      if (await asking(() => people.endOwn(session, request.params.id))) return { status: 'ended' }
      throw new Problem(404, 'no_session', 'There is no such session', 'you have none of this id that has not ended')
    },
  )
}

function basicIn(header: string | undefined): { id: string; secret: string } | undefined {
  const encoded = /^Basic +([A-Za-z0-9+/=]+)$/i.exec(header ?? '')?.[1]
  if (encoded === undefined) return undefined
  const [, id, secret] = /^([^:]*):(.*)$/s.exec(Buffer.from(encoded, 'base64').toString('utf8')) ?? []
  return id === undefined || secret === undefined ? undefined : { id, secret }
}
