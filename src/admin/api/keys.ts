// API keys over HTTP: an account's own, and for administrators those of every account. A key is shown in the answer that
// makes it and nowhere else. Nobody gives a key more than they have.

import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import {
  addKey,
  type KeyEntry,
  type KeyFields,
  keyEntries,
  keyFields,
  revokeKey,
  rotateFields,
  rotateKey,
} from '../../accounts/keyRows.js'
import {
  boundsWithin,
  hasScopes,
  type KeyBounds,
  keyKinds,
  ofAccounts,
  scopeSet,
  scopesOf,
} from '../../accounts/keys.js'
import { words } from '../../accounts/words.js'
import { type Access, scopeMissing, testKey } from '../access.js'
import { read, serving } from '../asked.js'
import { Problem } from '../problem.js'
import type { AdminSubject } from '../subject.js'
import type { Api } from './api.js'
import { type Caller, needs } from './caller.js'
import { asking, changing, type Desk } from './changing.js'

const MAX_PAGE = 200
const id = z.coerce.number().int().min(1).max(2_147_483_647)
const pageQuery = {
  after: z.coerce.number().int().min(0).default(0).describe('next of the page before'),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
}

const keyShape = {
  id: z.number(),
  account: z.string(),
  prefix: z.string().describe('how the key begins'),
  name: z.string(),
  scopes: z.array(z.string()).describe('none: everything that an account may do'),
  kind: z.enum(keyKinds),
  created_at: z.string(),
  expires_at: z.string().nullable(),
  allow_from: z.array(z.string()),
  last_used_at: z.string().nullable(),
}
const keyAnswer = z.object(keyShape).meta({ id: 'Key' })
const newKeyAnswer = z.object({ ...keyShape, key: z.string().describe('shown only here') }).meta({ id: 'NewKey' })

export function keyRoutes(app: Api, desk: Desk): void {
  const routes = app.scope.withTypeProvider<ZodTypeProvider>()
  const tags = ['API keys']

  routes.get(
    '/keys',
    {
      ...needs('account:read'),
      schema: {
        summary: 'List the API keys of the account',
        tags,
        querystring: z.object(pageQuery),
        response: { 200: z.object({ keys: z.array(keyAnswer), next: z.number().nullable() }), ...app.problems },
      },
    },
    async request => {
      const { after, limit } = request.query
      const account = app.callerOf(request).systemId
      const keys = await asking(() => keyEntries(desk.store, { account, after, limit }))
      return { keys, next: keys.length < limit ? null : (keys.at(-1)?.id ?? null) }
    },
  )

  routes.post(
    '/keys',
    {
      ...needs('account:write'),
      schema: {
        summary: 'Make an API key',
        description:
          'It may do at most what the key may that makes it, no longer and from nowhere else; administration is named or not given.',
        tags,
        body: keyFields,
        response: { 201: newKeyAnswer, ...app.problems },
      },
    },
    async (request, reply) => {
      const caller = app.whoOf(request)
      const scopes = request.body.scopes ?? allOf(caller)
      const bounds = boundsOf(caller.bounds, request.body)
      const excess = scopeSet(scopes)
      if (!hasScopes(caller.scopes, excess)) throw scopeMissing(scopesOf(excess & ~caller.scopes).join(', '))
      if (caller.kind === 'test' && request.body.kind !== 'test') throw onlyForTests()
      const { account, actor } = caller
      const fields = { ...request.body, ...bounds, scopes }
      const key = await changing(desk, () =>
        addKey(desk.store, desk.secrets, actor, account.systemId, fields, app.clock.now()),
      )
      reply.code(201)
      return key
    },
  )

  routes.post(
    '/keys/:id/rotate',
    {
      ...needs('account:write'),
      schema: {
        summary: 'Replace an API key',
        description: 'The new one may do the same. The old one stays good for a while.',
        tags,
        params: z.object({ id }),
        body: rotateFields,
        response: { 201: z.object({ key: newKeyAnswer, old: keyAnswer }), ...app.problems },
      },
    },
    async (request, reply) => {
      const caller = app.whoOf(request)
      const { account, actor } = caller
      const { overlap_s } = request.body
      await mayReplace(caller, request.params.id)
      const rotated = await changing(desk, () =>
        rotateKey(desk.store, desk.secrets, actor, request.params.id, overlap_s, account.systemId),
      )
      reply.code(201)
      return rotated
    },
  )

  routes.delete(
    '/keys/:id',
    {
      ...needs('account:write'),
      schema: {
        summary: 'Revoke an API key, at once',
        tags,
        params: z.object({ id }),
        response: { 200: keyAnswer, ...app.problems },
      },
    },
    async request => {
      const caller = app.whoOf(request)
      const { account, actor } = caller
      await forTests(caller, request.params.id)
      return changing(desk, () => revokeKey(desk.store, desk.secrets, actor, request.params.id, '', account.systemId))
    },
  )

  /** The account's key of this id, if there is one that the caller may touch. */
  async function forTests({ account, kind }: Caller, id: number): Promise<KeyEntry | undefined> {
    const asked = { account: account.systemId, after: id - 1, limit: 1 }
    const [known] = await asking(() => keyEntries(desk.store, asked))
    if (known?.id !== id) return undefined
    if (kind === 'test' && known.kind !== 'test') throw onlyForTests()
    return known
  }

  /** Whoever replaces a key gets to see its like: it must not be one that may do more. */
  async function mayReplace(caller: Caller, id: number): Promise<void> {
    const known = await forTests(caller, id)
    if (known === undefined) return
    const theirs = scopeSet(known.scopes)
    if (!hasScopes(caller.scopes, theirs)) throw scopeMissing(scopesOf(theirs & ~caller.scopes).join(', '))
    mustReach(caller.bounds, known)
  }
}

const onlyForTests = (): Problem => testKey('a key for tests has to do with keys for tests only')
const outreaches = (): Problem =>
  new Problem(
    403,
    'key_outreaches',
    'More than the key has itself',
    'a key makes no key that is good for longer than it, or from where it is not',
  )

/** Left out: all that the caller has but administration; none written means just that for an account with everything. */
const allOf = ({ scopes }: Caller): ReturnType<typeof scopesOf> =>
  hasScopes(scopes, scopeSet([])) ? [] : scopesOf(ofAccounts(scopes))

/** Throws where another key in its place would outreach the one that asks. */
function mustReach(bounds: KeyBounds | null, { expires_at, allow_from: allowFrom }: KeyEntry): void {
  const expiresMs = expires_at === null ? 0 : Date.parse(expires_at)
  const within = bounds === null || boundsWithin({ expiresMs, allowFrom }, bounds)
  // The new one is bound as the old one: none of it must come from the one that asks.
  if (within === true) return
  if (within?.expiresMs !== expiresMs || within.allowFrom.length !== allowFrom.length) throw outreaches()
}

/** Until when and from where: as was asked, or as the key that asks. */
function boundsOf(bounds: KeyBounds | null, asked: Pick<KeyFields, 'expires_at' | 'allow_from'>): Partial<KeyFields> {
  if (bounds === null) return {}
  const expiresMs = asked.expires_at === undefined ? 0 : Date.parse(asked.expires_at)
  const within = boundsWithin({ expiresMs, allowFrom: asked.allow_from }, bounds)
  if (within === undefined) throw outreaches()
  const expires_at = within.expiresMs === 0 ? undefined : new Date(within.expiresMs).toISOString()
  return { expires_at, allow_from: [...within.allowFrom] }
}

const listQuery = z.strictObject({
  account: words(63).min(1).optional(),
  ...pageQuery,
})
const addBody = keyFields.extend({ account: words(63).min(1) })
const named = z.strictObject({ id })
const reasonBody = z.strictObject({ reason: words(200).default('') })

export function adminKeyRoutes(app: FastifyInstance, subject: AdminSubject, access: Access): void {
  const { desk } = subject

  app.get('/keys', async request => {
    const { account, after, limit } = read(listQuery, request.query)
    const keys = await asking(() => keyEntries(desk.store, { account, after, limit }))
    return { keys, next: keys.length < limit ? null : (keys.at(-1)?.id ?? null) }
  })

  app.post('/keys', async (request, reply) => {
    const { account, ...fields } = read(addBody, request.body)
    access.mayGive(request.raw, fields.scopes ?? [])
    const { clock } = serving(subject)
    const asked = { ...fields, ...boundsOf(access.bounds(request.raw), fields) }
    const key = await changing(desk, () =>
      addKey(desk.store, desk.secrets, access.actor(request.raw), account, asked, clock.now()),
    )
    reply.code(201)
    return key
  })

  app.post('/keys/:id/rotate', async (request, reply) => {
    const { id } = read(named, request.params)
    const { overlap_s } = read(rotateFields, request.body)
    serving(subject)
    const [known] = await asking(() => keyEntries(desk.store, { after: id - 1, limit: 1 }))
    if (known?.id === id) {
      access.mayGive(request.raw, known.scopes)
      mustReach(access.bounds(request.raw), known)
    }
    const rotated = await changing(desk, () =>
      rotateKey(desk.store, desk.secrets, access.actor(request.raw), id, overlap_s),
    )
    reply.code(201)
    return rotated
  })

  app.delete('/keys/:id', async request => {
    const { id } = read(named, request.params)
    const { reason } = read(reasonBody, request.body ?? {})
    serving(subject)
    return changing(desk, () => revokeKey(desk.store, desk.secrets, access.actor(request.raw), id, reason))
  })
}
