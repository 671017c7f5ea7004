// What every answer of the side-port bears and every request may: an id that both sides can name it by, what browsers may do
// with it, which other origins may ask, and how much an account may still send. Knows headers; no route and no key.

import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { LimitStanding } from '../../accounts/limits.js'
import type { Clock } from '../../base/clock.js'
import type { Log } from '../../base/log.js'
import type { Peers } from '../peer.js'

const REQUEST_ID = /^[\w.:-]{1,64}$/
const PREFLIGHT_S = 600
const RUN = randomBytes(6).toString('hex')
let serial = 0

/** What the client calls it (x-request-id), if that may stand in a log; else a name of ours. */
export function requestId({ headers }: IncomingMessage): string {
  const given = headers['x-request-id']
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : `${RUN}-${(++serial).toString(36)}`
}

/** Answers are data: nothing of them is run, framed, guessed at or kept. Pages say what they need besides. */
const SECURITY: readonly (readonly [string, string])[] = [
  ['x-content-type-options', 'nosniff'],
  ['referrer-policy', 'no-referrer'],
  ['content-security-policy', "default-src 'none'; frame-ancestors 'none'"],
  ['cache-control', 'no-store'],
]

/** Headers read by programs that a browser would hide from those of other origins. */
const EXPOSED = ['x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy', 'idempotency-replayed']
const ASKED = ['authorization', 'x-api-key', 'x-account', 'content-type', 'idempotency-key', 'x-request-id']

export interface HeadersHost {
  readonly clock: Clock
  readonly log: Log
  readonly peers: Peers
  /** `https://app.example`: pages from there may ask. */
  readonly origins: readonly string[]
}

/** Before any route is added. */
export async function portHeaders(app: FastifyInstance, { clock, log, peers, origins }: HeadersHost): Promise<void> {
  const begun = new WeakMap<object, number>()
  app.addHook('onRequest', async (request, { raw }) => {
    // Set on what node writes: they are there however a route answers.
    raw.setHeader('x-request-id', request.id)
    for (const [name, value] of SECURITY) raw.setHeader(name, value)
    if (log.writes('debug')) begun.set(raw, clock.mono())
    // Refused before anybody is taken for somebody else.
    peers.address(request.raw)
  })
  app.addHook('onResponse', async (request, { raw, statusCode }) => {
    const fromMs = begun.get(raw)
    if (fromMs === undefined) return
    // The route and not the path: numbers of phones stand there, and keys may.
    const { method, routeOptions, id } = request
    const ms = Math.round(clock.mono() - fromMs)
    log.debug(
      { request: id, method, route: routeOptions.url ?? '', status: statusCode, ms, from: peers.address(request.raw) },
      'request answered',
    )
  })
  if (origins.length === 0) return
  const { default: cors } = await import('@fastify/cors')
  await app.register(cors, {
    origin: [...origins],
    methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
    allowedHeaders: ASKED,
    exposedHeaders: EXPOSED,
    maxAge: PREFLIGHT_S,
  })
}

/**
 * Whether a request that comes from this machine may have been made by somebody on it, and not by a page of another site in
 * their browser: it asks for this machine by its own name, and comes from a page of ours or from none.
 */
export function isOurOwn({ headers }: Pick<FastifyRequest, 'headers'>, origins: readonly string[]): boolean {
  const { host = '', origin } = headers
  if (!/^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i.test(host)) return false
  return origin === undefined || origin === `http://${host}` || origins.includes(origin)
}

/** What an account may still send (draft-ietf-httpapi-ratelimit-headers), limit by limit. */
export function rateLimit(all: readonly LimitStanding[]): Record<string, string> {
  const policy = all.map(({ name, limit, windowS }) => `"${name}";q=${limit};w=${windowS}`)
  const now = all.map(({ name, left, resetS }) => `"${name}";r=${Math.max(0, Math.floor(left))};t=${resetS}`)
  return { 'ratelimit-policy': policy.join(', '), ratelimit: now.join(', ') }
}
