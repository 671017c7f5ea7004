// What phones have said of being written to, and do-not-disturb lists: looked up on this node and in SQL, and changed. What
// is said here holds at once; lists are changed in SQL, and every node follows.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import type { ConsentEntry, LedgerEntry } from '../accounts/consentRows.js'
import { changeDnd, type DndChange, type DndEntry, dndLists, dropDnd } from '../accounts/dndLists.js'
import { phoneKey } from '../accounts/phoneKey.js'
import { digitsOf } from '../model/digits.js'
import { writtenNumber } from '../routing/writtenNumber.js'
import type { Access } from './access.js'
import { type Done, read, serving } from './asked.js'
import { Problem } from './problem.js'
import { accountOf } from './queue.js'
import { timeText } from './queued.js'
import type { AdminSubject } from './subject.js'

const MAX_PAGE = 200
const MAX_NUMBERS = 1_000
const LEDGER = 100

const systemId = z.string().min(1).max(63)
const number = z
  .string()
  .max(40)
  .transform(text => digitsOf(text.replace(/[ ().\-/]/g, '')))
  .refine(digits => digits !== '', 'must be a phone number, like +4917112345')
const listName = z.string().min(1).max(64)

const listQuery = z.strictObject({
  account: systemId.optional(),
  number: number.optional(),
  /** `next` of the page before. */
  after: z
    .string()
    .regex(/^\d{1,9}:\d{0,15}$/, 'must be what the page before gave as next')
    .default('0:'),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(MAX_PAGE),
})
const showQuery = z.strictObject({ account: systemId.optional() })
const sayBody = z.strictObject({
  /** null = everybody. */
  account: systemId.nullable().default(null),
  number,
  kind: z.enum(['stop', 'start']),
})
const dndBody = z.strictObject({
  list: listName,
  /** null = everybody's. */
  account: systemId.nullable().default(null),
  add: z.array(z.string().max(40)).max(MAX_NUMBERS).default([]),
  remove: z.array(z.string().max(40)).max(MAX_NUMBERS).default([]),
})
const dropQuery = z.strictObject({ account: systemId.optional() })

export interface ConsentPageOf {
  consent: ConsentEntry[]
  /** Give it as `after` for the next page; null: this is the last. */
  next: string | null
}

export interface ConsentShown {
  number: string
  /** Of the account, or of a gateway where nobody is named: whether each class may be sent to it. */
  may: { otp: boolean; transactional: boolean; bulk: boolean } | null
  /** What this node heeds. */
  heeded: { account: string | null; state: 'stopped' | 'started'; at: string }[]
  /** Do-not-disturb lists that it is in. */
  lists: { account: string | null; name: string }[]
  /** What was said, the newest first; null while the database is away. */
  events: LedgerEntry[] | null
}

export interface DndChanged {
  added: DndChange | null
  removed: DndChange | null
}

export function consentRoutes(app: FastifyInstance, subject: AdminSubject, access: Access, done: Done): void {
  const { desk } = subject
  const nameOf = (account: number): string | null =>
    account === 0 ? null : (desk.account(account)?.systemId ?? `#${account}`)

  app.get('/consent', async (request): Promise<ConsentPageOf> => {
    const { account, number, after, limit } = read(listQuery, request.query)
    const [of = '0', behind = ''] = after.split(':')
    const rows = await desk.consent.rows.list({
      account: account === undefined ? null : accountOf(serving(subject), account),
      number: number ?? null,
      after: after === '0:' ? [-1, ''] : [Number(of), behind],
      limit,
    })
    const last = rows.at(-1)
    return {
      consent: rows.map(({ id: _, ...row }) => row),
      next: last === undefined || rows.length < limit ? null : `${last.id}:${last.number}`,
    }
  })

  app.get<{ Params: { number: string } }>('/consent/:number', async (request): Promise<ConsentShown> => {
    const { account } = read(showQuery, request.query)
    const digits = read(number, request.params.number)
    const { consent } = desk
    const of = account === undefined ? undefined : desk.account(accountOf(serving(subject), account))
    const may = (rank: 0 | 1 | 2): boolean => of !== undefined && consent.judge(of, rank, digits) === undefined
    return {
      number: digits,
      may: of === undefined ? null : { otp: may(0), transactional: may(1), bulk: may(2) },
      heeded: consent.copy.rowsOf(digits).map(({ account, stopped, atMs }) => ({
        account: nameOf(account),
        state: stopped ? 'stopped' : 'started',
        at: timeText(atMs),
      })),
      lists: consent.dnd.listsWith(phoneKey(digits)).map(({ account, name }) => ({ account: nameOf(account), name })),
      events: subject.store.ready ? await consent.rows.ledger(digits, LEDGER) : null,
    }
  })

  app.post('/consent', async request => {
    const { account, number, kind } = read(sayBody, request.body)
    const of = account === null ? 0 : accountOf(serving(subject), account)
    const source = access.from(request.raw) === 'admin.sock' ? 'cli' : 'http'
    const atMs = serving(subject).clock.now()
    if (subject.spool.exhausted) throw new Problem(503, 'disk_full', 'The disk is full', 'make room, and say it again')
    desk.consent.note({ account: of, number, kind, source, atMs, called: '', word: '' })
    await new Promise<void>(resolve => desk.consent.afterWritten(resolve))
    done(request, `consent_${kind}`, { account })
    return { account, number, state: kind === 'stop' ? 'stopped' : 'started', at: timeText(atMs) }
  })

  app.get('/dnd', async (): Promise<{ lists: DndEntry[] }> => ({ lists: await dndLists(desk.store) }))

  app.post('/dnd', async (request): Promise<DndChanged> => {
    const { list, account, add, remove } = read(dndBody, request.body)
    const name = { account: account === null ? 0 : accountOf(serving(subject), account), name: list }
    const coming = keysOf(add)
    const going = keysOf(remove)
    const changed = await desk.store.transaction(async client => ({
      added: coming.length === 0 ? null : ((await changeDnd(client, name, 'add', [coming])) ?? null),
      removed: going.length === 0 ? null : ((await changeDnd(client, name, 'remove', [going])) ?? noList(list)),
    }))
    await desk.consent.refresh()
    done(request, 'dnd', { list, account, added: coming.length, removed: going.length })
    return changed
  })

  app.delete<{ Params: { list: string } }>('/dnd/:list', async request => {
    const { account } = read(dropQuery, request.query)
    const { list } = request.params
    const of = account === undefined ? 0 : accountOf(serving(subject), account)
    if (!(await dropDnd(desk.store, { account: of, name: list }))) noList(list)
    await desk.consent.refresh()
    done(request, 'dnd_drop', { list, account: account ?? null })
    return { dropped: list }
  })
}

/** Rising, each once. Throws a Problem that names those that are no numbers. */
function keysOf(written: readonly string[]): number[] {
  const digits = written.map(text => writtenNumber(text))
  const wrong = written.filter((_, i) => digits[i] === undefined)
  if (wrong.length > 0) {
    throw new Problem(
      422,
      'invalid',
      'Not all of them are phone numbers',
      `no phone number, international like +4917112345: ${wrong.slice(0, 5).join(', ')}`,
    )
  }
  return [...new Set(digits.map(one => phoneKey(one as string)))].sort((a, b) => a - b)
}

function noList(list: string): never {
  throw new Problem(404, 'no_list', 'There is no such list', `no do-not-disturb list is called ${list}`)
}
