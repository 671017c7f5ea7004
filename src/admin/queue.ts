// What waits, message by message, and what an operator may do to it: try it again at once, end it, give it another route.
// Finds by account, carrier, route, class or id; long work answers with lines while it goes on, and stops where whoever
// asked hangs up. What was done until then is done: asked again, it goes on with the rest.

import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { isMailKind } from '../accounts/carrier.js'
import { idOf } from '../base/ids.js'
import { type Message, type MessageClass, messageClasses, rankOf } from '../model/message.js'
import { SANDBOX_LANE } from '../routing/sandbox.js'
import type { QueueFilter } from '../spool/contract.js'
import { needs } from './api/caller.js'
import { answerLines, type Done, read, serving } from './asked.js'
import { Problem } from './problem.js'
import { ageOf, entries, type QueuedMessage, type QueuedState, routeOf, stateOf } from './queued.js'
import { className } from './status.js'
import type { AdminSubject } from './subject.js'

/** Messages in one page. */
const MAX_PAGE = 200
/** A page that finds little answers after this long, and says where the next one begins. */
const PAGE_MS = 250
/** Changes that may wait for the disk: with fewer, each wait would be for little. */
const SYNC_EVERY = 1_000
/** Between two lines of progress. */
const TELL_MS = 250
const MAX_IDS = 1_000
/** Of those, in one turn of the event loop. */
const SLICE = 100

const name = z.string().min(1).max(64)
const filterShape = {
  /** system_id */
  account: name.optional(),
  /** Those that may go to it, or went. */
  carrier: name.optional(),
  /** By name, or by number: `#7`. */
  route: name.optional(),
  class: z.enum(messageClasses).optional(),
}
const pageQuery = z.strictObject({
  ...filterShape,
  /** waiting: all that is not with a carrier yet; sent: receipts awaited. */
  state: z.enum(['waiting', 'due', 'sent', 'any']).default('waiting'),
  after: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
})
const workBody = z.strictObject({
  ...filterShape,
  id: z
    .array(z.string().refine(text => idOf(text) !== 0, 'must be a message id'))
    .max(MAX_IDS)
    .optional(),
  /** To mean everything, one must say so. */
  all: z.boolean().default(false),
  /** Counts, and changes nothing. */
  dry_run: z.boolean().default(false),
})
const moveBody = workBody.extend({ to: name })

type Filter = z.output<typeof workBody>

export interface QueuePage {
  messages: QueuedMessage[]
  /** Give it as `after` for the next page; null: this is the last. */
  next: number | null
}

/** A count of what an account has, by route, class and state. */
export interface CountedLane {
  route: string
  class: MessageClass
  state: QueuedState
  count: number
  oldest_s: number
}

/** A line of progress; the last has `end`. */
export interface WorkLine {
  end?: boolean
  /** Messages of the queue that were looked at, whoever's. */
  looked?: number
  matched: number
  done: number
  /** In a carrier's hands, or over by the time it was their turn. */
  left?: number
  problem?: { detail: string }
}

export function queueRoutes(app: FastifyInstance, subject: AdminSubject, done: Done): void {
  const { spool } = subject.desk

  app.get('/queue/messages', async request => {
    const { state, after, limit, ...filter } = read(pageQuery, request.query)
    return page(subject, finder(serving(subject), filter), state, after, limit)
  })

  app.post('/queue/count', needs('admin:read'), async (request, reply) => {
    const filter = read(z.strictObject(filterShape), request.body)
    const find = finder(serving(subject), filter)
    await answerLines(reply, subject, async (tell, signal) => {
      const lanes = new Map<string, CountedLane>()
      const counts = await walk(subject, find, {}, tell, signal, m => count(lanes, m, subject))
      return { ...counts, lanes: [...lanes.values()] }
    })
  })

  app.post('/queue/retry', async (request, reply) => {
    await work('queue_retry', request, reply, read(workBody, request.body), m => spool.retry(m.id), isDue)
  })

  app.post('/queue/cancel', async (request, reply) => {
    await work('queue_cancel', request, reply, read(workBody, request.body), m => spool.cancel(m.id))
  })

  app.post('/queue/move', async (request, reply) => {
    const { to, ...filter } = read(moveBody, request.body)
    const lane = laneOf(serving(subject), to)
    const route = subject.dispatch.routes.route(lane)
    if (route === undefined) throw noRoute(to)
    const kinds = subject.directory.carriers().filter(row => route.to.some(({ carrier }) => carrier === row.name))
    // What a test key sent, or sent to a number of the sandbox, never reaches a carrier.
    const takes = (m: Message): boolean =>
      m.lane !== SANDBOX_LANE && kinds.some(({ kind }) => isMailKind(kind) === m.isMail)
    const verb = (m: Message): boolean => takes(m) && spool.move(m.id, lane)
    await work('queue_move', request, reply, filter, verb, m => m.lane !== lane, { to })
  })

  async function work(
    action: string,
    request: Parameters<Done>[0],
    reply: Parameters<typeof answerLines>[0],
    filter: Filter,
    verb: (m: Message) => boolean,
    also: (m: Message) => boolean = () => true,
    more: object = {},
  ): Promise<void> {
    const { dry_run: isDry, all, ...by } = filter
    if (!all && Object.values(by).every(value => value === undefined)) {
      throw new Problem(
        422,
        'invalid',
        'Nothing is named',
        'name an account, a carrier, a route, a class or ids, or say all',
      )
    }
    const find = finder(serving(subject), by)
    const ids = by.id?.length === undefined ? {} : { ids: by.id.length }
    const asked = { ...by, ...ids, id: undefined, ...more }
    if (!isDry) done(request, action, asked)
    await answerLines(reply, subject, async (tell, signal) => {
      const result = await walk(subject, find, { standing: 'waiting' }, tell, signal, m => {
        if (!also(m)) return undefined
        return isDry ? !spool.inHand(m) : verb(m)
      })
      if (!isDry) done(request, `${action}_done`, { ...asked, changed: result.done })
      return result
    })
  }
}

const isDue = (m: Message): boolean => m.dueMs > 0

// ---- finding

interface Finder {
  readonly head: Omit<QueueFilter, 'standing'>
  fits(m: Message): boolean
  /** Named one by one. */
  readonly ids: readonly number[] | undefined
}

function finder(
  subject: AdminSubject,
  by: {
    account?: string | undefined
    carrier?: string | undefined
    route?: string | undefined
    class?: MessageClass | undefined
    id?: string[] | undefined
  },
): Finder {
  const account = by.account === undefined ? undefined : accountOf(subject, by.account)
  const rank = by.class === undefined ? undefined : rankOf(by.class)
  const lanes = by.route === undefined ? undefined : new Set([laneOf(subject, by.route)])
  const fitsCarrier = by.carrier === undefined ? () => true : carrierTest(subject, by.carrier)
  return {
    head: {
      ...(account === undefined ? {} : { account }),
      ...(rank === undefined ? {} : { rank }),
      ...(lanes === undefined ? {} : { lanes }),
    },
    fits: m =>
      (account === undefined || m.account === account) &&
      (rank === undefined || m.rank === rank) &&
      (lanes === undefined || lanes.has(m.lane)) &&
      fitsCarrier(m),
    ids: by.id?.map(idOf),
  }
}

export function accountOf({ directory }: AdminSubject, systemId: string): number {
  const account = directory.accountBySystemId(systemId)
  if (account !== undefined) return account.id
  throw new Problem(422, 'unknown_name', 'No such name', `no account is called ${systemId}`)
}

/** The lane of a route by its name, or by its number: one that was removed may still have messages. */
function laneOf({ directory }: AdminSubject, route: string): number {
  const row = directory.routes().find(one => one.name === route || `#${one.id}` === route)
  if (row !== undefined) return row.id
  const id = /^#(\d{1,9})$/.exec(route)?.[1]
  if (id !== undefined) return Number(id)
  throw noRoute(route)
}

const noRoute = (route: string): Problem =>
  new Problem(422, 'unknown_name', 'No such name', `no route is called ${route}: 'trunkline route list' shows them`)

/** Whether a message is with the carrier, or would go there by what it names, or may by its route. */
function carrierTest({ directory, dispatch }: AdminSubject, carrier: string): (m: Message) => boolean {
  const row = directory.carriers().find(one => one.name === carrier)
  if (row === undefined) throw new Problem(422, 'unknown_name', 'No such name', `no carrier is called ${carrier}`)
  return m => {
    if (m.standing === 'sent' || m.parts?.some(part => part.answered)) return m.carrier === row.id
    if (m.carrierName !== '') return m.carrierName === carrier
    return dispatch.routes.route(m.lane)?.to.some(target => target.carrier === carrier) ?? false
  }
}

// ---- pages and works

async function page(
  subject: AdminSubject,
  find: Finder,
  state: 'waiting' | 'due' | 'sent' | 'any',
  after: number,
  limit: number,
): Promise<QueuePage> {
  const { clock, desk } = subject
  const untilMs = clock.mono() + PAGE_MS
  const standing = state === 'any' ? {} : { standing: state === 'sent' ? ('sent' as const) : ('waiting' as const) }
  const found: Message[] = []
  let next: number | null = null
  for await (const slice of desk.spool.walk({ ...find.head, ...standing }, after)) {
    for (const m of slice.messages) {
      if (found.length < limit && find.fits(m) && (state !== 'due' || isDue(m))) found.push(m)
    }
    next = slice.after
    if (found.length === limit) next = found.at(-1)?.id ?? next
    if (found.length === limit || clock.mono() > untilMs) return { messages: entries(subject, found), next }
  }
  return { messages: entries(subject, found), next: null }
}

/**
 * Goes through what fits. `each` answers what became of one: true, done; false, left; undefined, it was not meant. Waits
 * for the disk again and again, and at the end: what is told as done is durable.
 */
async function walk(
  subject: AdminSubject,
  find: Finder,
  filter: Pick<QueueFilter, 'standing'>,
  tell: (line: object) => void,
  signal: AbortSignal,
  each: (m: Message) => boolean | undefined,
): Promise<{ looked: number; matched: number; done: number; left: number }> {
  const { clock, desk } = subject
  const total = { looked: 0, matched: 0, done: 0, left: 0 }
  const all = desk.spool
  let toldMs = clock.mono()
  let unsynced = 0
  const take = async (messages: readonly Message[]): Promise<void> => {
    const before = total.done
    for (const m of messages) {
      if (!find.fits(m)) continue
      const result = each(m)
      if (result === undefined) continue
      total.matched++
      if (result) total.done++
      else total.left++
    }
    unsynced += total.done - before
    if (unsynced >= SYNC_EVERY) {
      unsynced = 0
      await all.synced()
    }
    if (clock.mono() - toldMs < TELL_MS) return
    toldMs = clock.mono()
    tell(total)
  }
  for await (const messages of slices(find, filter, desk, looked => {
    total.looked += looked
  })) {
    if (signal.aborted || subject.stopping) break
    await take(messages)
  }
  await all.synced()
  if (subject.stopping) {
    throw new Problem(
      503,
      'stopping',
      'The daemon is stopping',
      `it stops: ${total.done} were done, ask again for the rest`,
    )
  }
  return total
}

async function* slices(
  { ids, head }: Finder,
  filter: Pick<QueueFilter, 'standing'>,
  { spool }: AdminSubject['desk'],
  looked: (n: number) => void,
): AsyncGenerator<readonly Message[]> {
  if (ids === undefined) {
    for await (const slice of spool.walk({ ...head, ...filter }, 0)) {
      looked(slice.looked)
      yield slice.messages
    }
    return
  }
  looked(ids.length)
  for (let at = 0; at < ids.length; at += SLICE) {
    await nextTurn()
    const some = ids.slice(at, at + SLICE).map(id => spool.find(id))
    yield some.filter(
      m => m !== undefined && (filter.standing === undefined || m.standing === filter.standing),
    ) as Message[]
  }
}

function count(lanes: Map<string, CountedLane>, m: Message, subject: AdminSubject): boolean {
  const state = stateOf(m, subject)
  const key = `${m.lane} ${m.rank} ${state}`
  const age = ageOf(m, subject)
  const one = lanes.get(key)
  if (one === undefined) {
    lanes.set(key, { route: routeOf(m, subject), class: className(m.rank), state, count: 1, oldest_s: age })
  } else {
    one.count++
    one.oldest_s = Math.max(one.oldest_s, age)
  }
  // Nothing was done to it.
  return false
}
