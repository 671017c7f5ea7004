// How a command talks to a running daemon: HTTP over the unix socket of its data directory,
// or over the network with --url and --key. Knows how to ask and what silence means; what is
// asked is each command's.

import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import type { Readable } from 'node:stream'
import { adminSocketFault, adminSocketPath } from '../config/adminSocket.js'
import { CommandError, EXIT } from './exit.js'
import { type GlobalOptions, requireSettings } from './settings.js'

export interface Question {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** From the root, with its query: `/api/v1/admin/status`. */
  path: string
  /** Sent as JSON. */
  body?: unknown
  /** Sent as it comes, in place of a body. */
  octets?: { type: string; from: Readable }
  /** How long the daemon may stay silent; 30 s if not given. */
  silenceMs?: number
}

const SILENCE_MS = 30_000

/**
 * Asks the daemon and answers with the JSON (or, if it is none, the text) of a 2xx response.
 * Throws a CommandError when nobody answers, the key is refused, or the daemon answers with a problem (RFC 9457).
 */
export async function ask(options: GlobalOptions, question: Question): Promise<unknown> {
  const way = await wayTo(options)
  const { status, type, body } = await exchange(way, question)
  const content = /[/+]json\b/.test(type) ? parsed(body) : body
  if (status >= 200 && status < 300) return content
  throw new CommandError(EXIT.failed, problem(status, content, question))
}

/**
 * The same for an answer without end: the 2xx response as it comes, for the caller to read or to destroy. Its errors are
 * the caller's; `silenceMs` holds until it begins.
 */
export async function follow(options: GlobalOptions, question: Question): Promise<IncomingMessage> {
  const way = await wayTo(options)
  const response = await send(way, question)
  response.socket.setTimeout(0)
  const status = response.statusCode ?? 0
  if (status >= 200 && status < 300) return response
  const { type, body } = await whole(way, response)
  throw new CommandError(EXIT.failed, problem(status, /[/+]json\b/.test(type) ? parsed(body) : body, question))
}

interface Way {
  request: typeof httpRequest
  to: RequestOptions
  /** What to say when nobody answers there. */
  silence: string
}

async function wayTo(options: GlobalOptions): Promise<Way> {
  const config = requireSettings(options)
  if (options.url === undefined) {
    const silence = `no daemon answers in ${config.dataDir}: start it with 'trunkline serve', or name another with --config or --url`
    return { request: httpRequest, to: { socketPath: socketOf(config.dataDir, silence) }, silence }
  }
  const url = URL.canParse(options.url) ? new URL(options.url) : null
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new CommandError(EXIT.usage, `--url must be http://HOST:PORT or https://HOST:PORT, not ${options.url}`)
  }
  const key = options.key ?? config.admin.key
  const to: RequestOptions = {
    protocol: url.protocol,
    hostname: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port,
    path: url.pathname.replace(/\/$/, ''),
    headers: key === null ? {} : { authorization: `Bearer ${key}` },
  }
  const request = url.protocol === 'https:' ? (await import('node:https')).request : httpRequest
  return { request, to, silence: `no daemon answers at ${url.origin}` }
}

function socketOf(dataDir: string, silence: string): string {
  let fault: string | null
  try {
    fault = adminSocketFault(dataDir)
    if (fault === null) return adminSocketPath(dataDir)
  } catch {
    // A directory that is not there, or not ours to look into.
    fault = silence
  }
  throw new CommandError(EXIT.failed, fault)
}

async function exchange(way: Way, question: Question): Promise<{ status: number; type: string; body: string }> {
  return whole(way, await send(way, question))
}

function whole(way: Way, response: IncomingMessage): Promise<{ status: number; type: string; body: string }> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('error', error => reject(unreached(way, error)))
    response.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8')
      resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', body })
    })
  })
}

function send(way: Way, question: Question): Promise<IncomingMessage> {
  const sent = question.body === undefined ? undefined : JSON.stringify(question.body)
  return new Promise((resolve, reject) => {
    const outgoing = way.request(
      {
        ...way.to,
        method: question.method ?? 'GET',
        path: `${way.to.path ?? ''}${question.path}`,
        headers: {
          accept: 'application/json',
          ...(sent === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(sent) }),
          ...(question.octets === undefined ? {} : { 'content-type': question.octets.type }),
          ...(way.to.headers as Record<string, string> | undefined),
        },
        agent: false,
        timeout: question.silenceMs ?? SILENCE_MS,
      },
      resolve,
    )
    outgoing.on('timeout', () => outgoing.destroy(Object.assign(new Error(), { code: 'ETIMEDOUT' })))
    outgoing.on('error', error => reject(unreached(way, error)))
    if (question.octets === undefined) outgoing.end(sent)
    else {
      // What cannot be read to its end must not look like a whole.
      question.octets.from.on('error', error => outgoing.destroy(error)).pipe(outgoing)
    }
  })
}

function unreached(way: Way, error: NodeJS.ErrnoException): CommandError {
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return new CommandError(EXIT.failed, way.silence)
    case 'EACCES':
    case 'EPERM':
      return new CommandError(
        EXIT.failed,
        `the daemon belongs to another user: run the command as that user (${way.to.socketPath})`,
      )
    case 'ETIMEDOUT':
      return new CommandError(EXIT.failed, 'the daemon took the request and did not answer in time')
    case 'ECONNRESET':
      return new CommandError(EXIT.failed, 'the daemon closed the connection before it answered')
    default:
      return new CommandError(EXIT.failed, `${way.silence} (${error.message})`)
  }
}

/** RFC 9457: `detail` is for this time, `title` for the kind. */
function problem(status: number, content: unknown, question: Question): string {
  if (status === 401) return 'the key is missing or refused: give the admin key with --key'
  const { detail, title } = (typeof content === 'object' && content !== null ? content : {}) as Record<string, unknown>
  const words = detail ?? title
  if (typeof words === 'string') return words
  return `the daemon answered ${status} to ${question.method ?? 'GET'} ${question.path}`
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw new CommandError(EXIT.failed, 'the daemon answered with JSON that is not whole')
  }
}
