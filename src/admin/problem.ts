// What went wrong, as HTTP says it: application/problem+json (RFC 9457). Knows the shape and
// nothing of any route.

import type { FastifyReply } from 'fastify'

/** Thrown by a handler to end a request; the words are for the client. */
export class Problem extends Error {
  readonly status: number
  /** Stable, for programs. */
  readonly code: string
  readonly title: string
  /** Members besides those of the RFC; `retry_after_s` is told as Retry-After too. */
  readonly more: Readonly<Record<string, unknown>>

  constructor(status: number, code: string, title: string, detail: string, more: Record<string, unknown> = {}) {
    super(detail)
    this.status = status
    this.code = code
    this.title = title
    this.more = more
  }
}

/** Seconds after which what was refused with this status may be tried again. */
const AGAIN_S: Readonly<Record<number, number>> = { 429: 1, 503: 5 }
/** Retry-After for a status; undefined: none. */
export const retryAfterS = (status: number): number | undefined => AGAIN_S[status]

export function sendProblem(reply: FastifyReply, problem: Problem): FastifyReply {
  const { status, code, title, message, more } = problem
  if (status === 401) reply.header('www-authenticate', 'Bearer realm="trunkline"')
  const again = (more.retry_after_s as number | undefined) ?? retryAfterS(status)
  if (again !== undefined && !reply.hasHeader('retry-after')) reply.header('retry-after', again)
  const request_id = reply.request.id
  return reply
    .code(status)
    .type('application/problem+json')
    .send({ type: `urn:trunkline:problem:${code}`, title, status, detail: message, code, request_id, ...more })
}
