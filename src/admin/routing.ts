// Routes one at a time over HTTP: added, changed, moved, removed, and why a message goes where it goes. Every change is a
// row in the directory and holds on this node when the answer comes.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import {
  addRoute,
  editRoute,
  moveRoute,
  NoRoute,
  RouteFaulty,
  type RoutePlace,
  removeRoute,
} from '../accounts/routeEdit.js'
import { messageClasses } from '../model/message.js'
import type { RouteRule } from '../routing/table.js'
import { needs } from './api/caller.js'
import { type Done, read, serving } from './asked.js'
import { problemOf } from './carriers.js'
import { explain } from './explain.js'
import { type RouteEntry, routeEntries } from './lists.js'
import { Problem } from './problem.js'
import { routeName } from './status.js'
import type { AdminSubject } from './subject.js'

const given = {
  name: z.unknown().optional(),
  match: z.record(z.string(), z.unknown()).optional(),
  to: z.unknown().optional(),
  by: z.unknown().optional(),
  named: z.unknown().optional(),
}

/** One of the four; a new route without stands last. */
const place = {
  before: z.string().min(1).optional(),
  after: z.string().min(1).optional(),
  first: z.literal(true).optional(),
  last: z.literal(true).optional(),
}
const placeBody = z
  .strictObject(place)
  .refine(body => Object.keys(body).length === 1, 'give one of before, after, first and last')
const addBody = z.strictObject({ ...given, ...place })
const editBody = z.strictObject(given)
const named = z.strictObject({ name: z.string() })

const explainBody = z.strictObject({
  account: z.string().min(1),
  to: z.string().min(1).max(21),
  from: z.string().max(21).default(''),
  class: z.enum(messageClasses).optional(),
  service_type: z.string().max(5).default(''),
  carrier: z.string().max(64).default(''),
  tags: z.array(z.string().max(64)).max(20).default([]),
  /** Now, if left out. */
  at: z.iso.datetime({ offset: true }).optional(),
})

/** A route, and what whoever made it so should know. */
export type ChangedRoute = RouteEntry & { notes: string[] }

export function routingRoutes(app: FastifyInstance, subject: AdminSubject, done: Done): void {
  const { desk } = subject

  app.post('/routes', async (request, reply) => {
    const { before, after, first, last, ...route } = read(addBody, request.body)
    const id = await changing(() => addRoute(desk.store, desk.secrets, route, placeOf({ before, after, first, last })))
    done(request, 'route_add', { route: nameOf(id) })
    reply.code(201)
    return { ...entryOf(id), notes: shadows(subject, id) }
  })

  app.patch('/routes/:name', async request => {
    const { name } = read(named, request.params)
    const change = read(editBody, request.body)
    const { id, changed } = await changing(() => editRoute(desk.store, desk.secrets, name, change))
    if (changed) done(request, 'route_edit', { route: nameOf(id), keys: Object.keys(change) })
    return { ...entryOf(id), changed, notes: shadows(subject, id) }
  })

  app.post('/routes/:name/move', async request => {
    const { name } = read(named, request.params)
    const to = placeOf(read(placeBody, request.body))
    const changed = await changing(() => moveRoute(desk.store, desk.secrets, name, to))
    if (changed) done(request, 'route_move', { route: name })
    const entry = routeEntries(subject).find(one => one.name === name || `#${one.id}` === name) as RouteEntry
    return { ...entry, changed, notes: shadows(subject, entry.id) }
  })

  app.delete('/routes/:name', async request => {
    const { name } = read(named, request.params)
    const id = await changing(() => removeRoute(desk.store, desk.secrets, name))
    done(request, 'route_remove', { route: name })
    const lanes = subject.spool.figures().lanes.filter(({ lane }) => lane === id)
    /** Messages that wait for it: other routes take them, or they wait for one that does. */
    return { removed: name, waiting: lanes.reduce((sum, { waiting }) => sum + waiting, 0) }
  })

  app.post('/routes/explain', needs('admin:read'), async request => {
    const { service_type, at, ...question } = read(explainBody, request.body)
    const account = serving(subject).directory.accountBySystemId(question.account)
    if (account === undefined) {
      throw new Problem(
        404,
        'no_account',
        'There is no such account',
        `there is no account ${question.account}: 'trunkline account list' shows those there are`,
      )
    }
    const atMs = at === undefined ? subject.clock.now() : Date.parse(at)
    return explain(subject, account, { ...question, serviceType: service_type, atMs })
  })

  function entryOf(id: number): RouteEntry {
    return routeEntries(subject).find(route => route.id === id) as RouteEntry
  }

  function nameOf(id: number): string {
    return entryOf(id).name
  }

  /** Writes, and answers once it holds here. */
  async function changing<T>(work: () => Promise<T>): Promise<T> {
    serving(subject)
    try {
      const result = await work()
      await desk.refresh()
      return result
    } catch (error) {
      if (error instanceof NoRoute) throw new Problem(404, 'no_route', 'There is no such route', error.message)
      if (error instanceof RouteFaulty) {
        throw new Problem(422, 'invalid', 'The request is not as it must be', error.message, { faults: error.faults })
      }
      throw problemOf(error)
    }
  }
}

type Place = { [Key in keyof z.output<typeof placeBody>]?: z.output<typeof placeBody>[Key] | undefined }

function placeOf(body: Place): RoutePlace {
  if (body.before !== undefined) return { before: body.before }
  if (body.after !== undefined) return { after: body.after }
  return body.first ? 'first' : 'last'
}

/** A route before it that takes everything leaves it nothing. */
function shadows({ dispatch: { routes } }: AdminSubject, id: number): string[] {
  const at = routes.rules.findIndex(rule => rule.id === id)
  const above = routes.rules.slice(0, at).find(takesAll)
  if (above === undefined) return []
  return [`${routeName(above)} stands before it and takes everything: move this one before it`]
}

const takesAll = (rule: RouteRule): boolean =>
  [rule.accounts, rule.groups, rule.ranks, rule.sources, rule.destinations, rule.countries, rule.networks].every(
    isEmpty,
  ) && [rule.times, rule.tags, rule.carriers].every(isEmpty)

const isEmpty = (list: readonly unknown[]): boolean => list.length === 0
