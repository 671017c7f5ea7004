// Users for administrators: listed, added, changed, suspended, removed, given a token for another password.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { MOST_ORGANISATION, type People } from '../../accounts/people.js'
import { roles, userEntry, users } from '../../accounts/peopleRows.js'
import { words } from '../../accounts/words.js'
import type { Access } from '../access.js'
import { read, serving } from '../asked.js'
import type { AdminSubject } from '../subject.js'
import { emailField, passwordField } from './auth.js'
import { asking } from './changing.js'

const MAX_PAGE = 200
const listQuery = z.strictObject({
  /** A part of the address or the name. */
  search: words(100).optional(),
  organisation: words(MOST_ORGANISATION).optional(),
  /** `next` of the page before. */
  after: z.string().max(254).default(''),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
})
const organisation = words(MOST_ORGANISATION).min(1)
const addBody = z.strictObject({
  email: emailField,
  name: words(100).default(''),
  /** Left out: none is good until the user has chosen one. */
  password: passwordField.optional(),
  /** Its name; made if there is none. */
  organisation: organisation.optional(),
  role: z.enum(roles).default('viewer'),
  operator: z.boolean().default(false),
})
const editBody = z
  .strictObject({
    name: words(100).optional(),
    role: z.enum(roles).optional(),
    operator: z.boolean().optional(),
    organisation: organisation.nullable().optional(),
  })
  .refine(body => Object.values(body).some(value => value !== undefined), 'says nothing to change')
const suspendBody = z.strictObject({ reason: words(200).min(1, 'say why') })
const reasonBody = z.strictObject({ reason: words(200).default('') })
const named = z.strictObject({ email: z.string().max(254) })

export function adminUserRoutes(app: FastifyInstance, subject: AdminSubject, people: People, access: Access): void {
  const { desk } = subject

  app.get('/users', async request => {
    const asked = read(listQuery, request.query)
    const found = await asking(() => desk.store.withClient(client => users(client, asked)))
    return { users: found.map(userEntry), next: found.length < asked.limit ? null : (found.at(-1)?.email ?? null) }
  })

  app.post('/users', async (request, reply) => {
    const fields = read(addBody, request.body)
    if (fields.operator) access.mayGive(request.raw, ['admin:*'])
    serving(subject)
    const made = await asking(() => people.add(access.actor(request.raw), fields))
    reply.code(201)
    return made
  })

  app.patch('/users/:email', async request => {
    const { email } = read(named, request.params)
    const change = read(editBody, request.body)
    if (change.operator) access.mayGive(request.raw, ['admin:*'])
    serving(subject)
    return asking(() => people.edit(access.actor(request.raw), email, change))
  })

  app.post('/users/:email/suspend', async request => {
    const { email } = read(named, request.params)
    const { reason } = read(suspendBody, request.body)
    serving(subject)
    return asking(() => people.suspend(access.actor(request.raw), email, reason))
  })

  app.post('/users/:email/resume', async request => {
    const { email } = read(named, request.params)
    serving(subject)
    return asking(() => people.suspend(access.actor(request.raw), email, null))
  })

  app.post('/users/:email/reset', async (request, reply) => {
    const { email } = read(named, request.params)
    serving(subject)
    // Whoever has the token becomes that user, who may be an operator.
    access.mayGive(request.raw, ['admin:*'])
    reply.code(201).header('cache-control', 'no-store')
    return asking(() => people.issueReset(access.actor(request.raw), email))
  })

  app.delete('/users/:email', async request => {
    const { email } = read(named, request.params)
    const { reason } = read(reasonBody, request.body)
    serving(subject)
    await asking(() => people.remove(access.actor(request.raw), email, reason))
    return { removed: email }
  })
}
