// The HTTP side-port: one route tree, reached over TCP and through the unix socket of the data
// directory. Health, readiness and, but for proxies, metrics are open; everything else asks access.ts. Knows
// HTTP; what is answered comes from status.ts, lists.ts and metrics.ts.

import type { Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type FastifyError, type FastifyInstance, fastify } from 'fastify'
import { Access } from './access.js'
import { type ApiHost, apiRoutes, schemaProblem } from './api/api.js'
import { Docs } from './api/docs.js'
import { portHeaders, requestId } from './api/headers.js'
import { catchPages } from './catch.js'
import { HttpTotals } from './httpTotals.js'
import type { Handler } from './lock.js'
import { Metrics } from './metrics.js'
import { Peers } from './peer.js'
import { Problem, sendProblem } from './problem.js'
import { Recent } from './recent.js'
import { adminRoutes } from './routes.js'
import { readiness, uptimeSeconds } from './status.js'
import type { AdminSubject } from './subject.js'

export interface Admin {
  /** For requests over the unix socket: they need no key. */
  readonly handler: Handler
  /** Answers over TCP too. Resolves with the port; rejects with what the system says (EADDRINUSE, EACCES). */
  listen(at: { host: string; port: number }): Promise<number>
  /** Closes the port. Requests that come all the same get 503. */
  close(): Promise<void>
}

/** The port may be reached by anybody: connections and requests are few and short. */
const MAX_CONNECTIONS = 1_000
/** What is asked of /api without a version is asked of this one. */
const API = '/api/v1'
const MAX_BODY_BYTES = 65_536
const REQUEST_MS = 10_000
const IDLE_MS = 60_000

/** zod reads what is sent. fastify's own compilers of JSON Schema would be 50 ms of each start. */
const noCompiler = (): never => {
  throw new Error('a route with a schema needs a compiler of its own')
}

/** `web`: what applications may ask for; null: nothing. */
export async function createAdmin(subject: AdminSubject, web: ApiHost | null): Promise<Admin> {
  const { config, clock, log, counters } = subject
  const peers = web?.peers ?? new Peers(config.admin.trustedProxies)
  const recent = new Recent(subject)
  const http = new HttpTotals()
  const metrics = new Metrics(subject, recent, http)
  const refused = (): void => counters.add('admin_keys_refused')
  const access = new Access({ key: config.admin.key, clock, log, peers, refused, keys: web })

  const app = fastify({
    logger: false,
    genReqId: requestId,
    rewriteUrl: ({ url = '/' }) => (url.startsWith('/api/') && !url.startsWith(`${API}/`) ? API + url.slice(4) : url),
    requestIdHeader: false,
    bodyLimit: MAX_BODY_BYTES,
    // Of a request that streams it is the silence that counts.
    requestTimeout: 0,
    connectionTimeout: IDLE_MS,
    keepAliveTimeout: IDLE_MS,
    forceCloseConnections: true,
    clientErrorHandler: refuseGarbage,
    schemaController: { compilersFactory: { buildValidator: noCompiler, buildSerializer: noCompiler } },
  })
  app.server.maxConnections = MAX_CONNECTIONS
  await portHeaders(app, { clock, log, peers, origins: config.admin.allowedOrigins })
  app.addHook('onResponse', async ({ method, routeOptions }, reply) => {
    http.count(method, routeOptions.url, reply.statusCode, reply.elapsedTime)
  })
  boundRequests(app)
  answerProblems(app, subject)

  app.get('/health', async () => ({
    status: 'ok',
    version: subject.version,
    uptime_s: uptimeSeconds(subject),
    pid: process.pid,
  }))
  app.get('/ready', async () => {
    const { ready, why } = readiness(subject)
    if (!ready) throw new Problem(503, 'not_ready', 'Not ready', why.join('; '), { ready, why })
    return { ready, why }
  })
  app.get('/metrics', async ({ raw }, reply) => {
    // They tell takings and costs: open to whoever reaches the port itself, not to whomever a proxy lets through.
    const refusal = peers.isProxied(raw) ? await access.refusal(raw, 'admin:read') : undefined
    if (refusal !== undefined) throw refusal
    reply.type(metrics.contentType)
    return metrics.text()
  })
  const { caught } = subject
  if (caught !== null) app.register(async scope => catchPages(scope, caught, access, peers))
  const prefix = `${API}/admin`
  app.register(async scope => adminRoutes(scope, subject, recent, access, web?.people ?? null), { prefix })
  if (web !== null) {
    app.register(async scope => apiRoutes(scope, web), { prefix: API })
    const docs = new Docs(web, subject.version)
    for (const url of ['/openapi.json', '/docs', '/docs/*']) {
      app.get(url, (request, reply) => {
        reply.hijack()
        docs.answer(request.raw, reply.raw).catch(error => {
          log.error({ err: error }, 'a fault of ours in the side-port')
          reply.raw.destroy()
        })
      })
    }
    app.addHook('onClose', () => docs.close())
  }
  await app.ready()

  return {
    handler: (request, response) => {
      access.trust(request)
      app.routing(request, response)
    },
    listen: async at => {
      await app.listen(at)
      return portOf(app.server)
    },
    close: async () => {
      recent.stop()
      await app.close()
    },
  }
}

/** A request must have come whole in its time, but for the routes that read as long as there is something to read. */
function boundRequests(app: FastifyInstance): void {
  const timers = new WeakMap<object, NodeJS.Timeout>()
  app.addHook('onRequest', async ({ raw, routeOptions }, reply) => {
    if ((routeOptions.config as { isLong?: boolean } | undefined)?.isLong) raw.setTimeout(IDLE_MS, () => raw.destroy())
    else if (raw.headers['content-length'] !== undefined || raw.headers['transfer-encoding'] !== undefined) {
      const late = (): void => {
        const detail = `a request must come within ${REQUEST_MS / 1000} s`
        void sendProblem(reply.header('connection', 'close'), new Problem(408, 'too_slow', 'Request Timeout', detail))
      }
      timers.set(raw, setTimeout(late, REQUEST_MS).unref())
    }
  })
  app.addHook('preValidation', async ({ raw }) => clearTimeout(timers.get(raw)))
  app.addHook('onRequestAbort', async ({ raw }) => clearTimeout(timers.get(raw)))
}

function answerProblems(app: FastifyInstance, { log }: AdminSubject): void {
  app.setNotFoundHandler((request, reply) => {
    const path = request.originalUrl.split('?', 1)[0] as string
    return sendProblem(
      reply,
      new Problem(404, 'not_found', 'There is no such path', `there is no ${request.method} ${path}`),
    )
  })
  app.setErrorHandler<FastifyError | Problem>((error, request, reply) => {
    if (error instanceof Problem) return sendProblem(reply, error)
    const faulty = schemaProblem(error)
    if (faulty !== undefined) return sendProblem(reply, faulty)
    if (UNWRITABLE.includes(error.code)) {
      const detail = 'text must be whole characters, without NUL'
      return sendProblem(reply, new Problem(422, 'invalid', 'The request is not as it must be', detail))
    }
    const code = error.statusCode ?? 500
    // What fastify itself refuses: a body that is no JSON, too long, of another type.
    if (code >= 400 && code < 500) {
      const [word, title] = UNREADABLE[code] ?? ['bad_request', 'The request cannot be read']
      return sendProblem(reply, new Problem(code, word, title, error.message))
    }
    log.error(
      { err: error, request: request.id, method: request.method, path: request.routeOptions.url },
      'a fault of ours in the side-port',
    )
    return sendProblem(reply, new Problem(500, 'internal_fault', 'A fault of ours', 'the log of the gateway says more'))
  })
}

/** What PostgreSQL says of a NUL, or of half a character: text that it cannot hold. */
const UNWRITABLE: readonly unknown[] = ['22021', '22P05']

const UNREADABLE: Readonly<Record<number, readonly [code: string, title: string]>> = {
  413: ['too_large', 'The request is too long'],
  415: ['unsupported_type', 'No such body'],
}

/** What is no HTTP at all, or too slow. */
function refuseGarbage(error: NodeJS.ErrnoException, socket: Socket): void {
  if (socket.writable) {
    const [code, title] =
      error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout']
        : error.code === 'HPE_HEADER_OVERFLOW'
          ? [431, 'Request Header Fields Too Large']
          : [400, 'Bad Request']
    const body = JSON.stringify({ type: 'about:blank', title, status: code })
    const head = `HTTP/1.1 ${code} ${title}\r\ncontent-type: application/problem+json\r\ncontent-length: ${body.length}`
    socket.write(`${head}\r\nconnection: close\r\n\r\n${body}`)
  }
  socket.destroy()
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port
