// What every route of the side-port does with a request: reads what was given by its schema, notes in the log who changed
// what, and answers long work with a line of JSON for each step of it.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { audited } from '../accounts/audit.js'
import { Busy } from '../base/turns.js'
import { TooWide } from '../returns/past.js'
import { logged, StoreAway } from '../store/retry.js'
import type { Access } from './access.js'
import { Problem } from './problem.js'
import type { AdminSubject } from './subject.js'

/** Throws a Problem that names every fault. */
export function read<T>(shape: z.ZodType<T>, given: unknown): T {
  const result = shape.safeParse(given ?? {})
  if (result.success) return result.data
  const faults = result.error.issues.map(({ path, message }) => ({ path: path.join('.'), message }))
  const words = faults.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ')
  throw new Problem(422, 'invalid', 'The request is not as it must be', words, { faults })
}

/** The subject, whose directory and spool can be asked: not when it stops. */
export function serving(subject: AdminSubject): AdminSubject {
  if (!subject.stopping) return subject
  throw new Problem(503, 'stopping', 'The daemon is stopping', 'ask another node, or again after the restart')
}

/** That there is no turn: `own`, the account has one already; or `others` have them all. */
export const busy = ({ isOwn }: Busy, own: string, others: string): Problem =>
  isOwn
    ? new Problem(429, 'busy', 'Too much at a time', own)
    : new Problem(503, 'busy', 'Too much at a time', `${others}: try again in some seconds`)

/** What history is asked, with its failures as problems. */
export async function looking<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TooWide) {
      throw new Problem(
        504,
        'too_wide',
        'Too much to look through',
        'name an account, or a shorter time with from and to',
      )
    }
    if (error instanceof Busy) {
      throw busy(error, 'questions of this account are being answered: ask one at a time', 'others ask at this moment')
    }
    if (error instanceof StoreAway) {
      throw new Problem(503, 'no_database', 'The database is away', 'history cannot be read: try again when it is back')
    }
    throw error
  }
}

/** Notes a change and who asked for it. */
export type Done = (request: FastifyRequest, action: string, more: Record<string, unknown>) => void

export const auditor =
  ({ log, desk }: AdminSubject, access: Access): Done =>
  (request, action, more) => {
    log.info({ action, from: access.from(request.raw), request: request.id, ...more }, 'asked by an administrator')
    const { carrier, route, account, name } = more
    const subject = [carrier, route, account, name].find(one => typeof one === 'string') ?? ''
    const done = { action: action.replace('_', '.'), subject: subject as string, changes: more }
    audited(desk.store, access.actor(request.raw), done).catch(error => {
      log.warn({ action, ...logged(error) }, 'what an administrator did is in the log and not in the audit')
    })
  }

/** Works of this kind at a time. */
const MAX_WORKS = 4
let works = 0

/**
 * Answers with application/x-ndjson: a line for whatever `work` tells, and one for what it resolves with, marked
 * `"end": true`; where it throws, a last line with `"problem"` as problem+json would have it. Whoever hangs up ends the
 * work: `signal`. What was done by then stays done.
 */
export async function answerLines(
  reply: FastifyReply,
  subject: AdminSubject,
  work: (tell: (line: object) => void, signal: AbortSignal) => Promise<object>,
): Promise<void> {
  if (works >= MAX_WORKS) {
    throw new Problem(503, 'busy', 'Too much at a time', `${MAX_WORKS} such works run already: wait for one to end`)
  }
  const { raw } = reply.hijack()
  const gone = new AbortController()
  const write = (line: object): void => {
    if (!raw.destroyed) raw.write(`${JSON.stringify(line)}\n`)
  }
  raw.on('error', () => {})
  raw.on('close', () => gone.abort())
  // Gone before we came to it.
  if (raw.destroyed) gone.abort()
  raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' })
  works++
  try {
    write({ end: true, ...(await work(write, gone.signal)) })
  } catch (error) {
    if (!(error instanceof Problem)) subject.log.error({ err: error }, 'a fault of ours in the side-port')
    const known =
      error instanceof Problem ? error : new Problem(500, 'internal_fault', 'A fault of ours', 'see the log')
    write({ problem: { status: known.status, code: known.code, title: known.title, detail: known.message } })
  } finally {
    works--
    raw.end()
  }
}
