// Messages from phones as an operator sees them: the rules that say whose they are, which of them would take one, and what
// belongs to nobody.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { optWord } from '../accounts/optWords.js'
import { digitsOf } from '../model/digits.js'
import { needs } from './api/caller.js'
import { type Done, read, serving } from './asked.js'
import { Problem } from './problem.js'
import { accountOf } from './queue.js'
import { carrierName, timeText } from './queued.js'
import type { AdminSubject } from './subject.js'

/** What is given or dropped in one turn. */
const MAX_SETTLED = 200
const MAX_SHOWN = 100

const testBody = z.strictObject({
  number: z.string().min(1).max(21),
  text: z.string().max(2_000).default(''),
  from: z.string().max(21).default(''),
  carrier: z.string().max(64).default(''),
})
const shownQuery = z.strictObject({ limit: z.coerce.number().int().min(1).max(MAX_SHOWN).default(20) })
const settleBody = z.strictObject({
  count: z.int().min(1).max(MAX_SETTLED).default(MAX_SETTLED),
  /** system_id; null = they are dropped. */
  to: z.string().min(1).max(63).nullable(),
})

export interface InboundEntry {
  position: number
  name: string
  /** Empty lists match everything. */
  match: { number: string[]; keyword: string[]; carrier: string[]; source: string[] }
  account: string
  /** Empty: as the account has it. */
  by: string[]
}

export interface InboundTested {
  /** null: nobody's. */
  account: string | null
  because: 'rule' | 'owner' | 'nobody'
  rule: InboundEntry | null
  /** What it says of consent. */
  consent: 'stop' | 'start' | 'help' | null
}

export interface UnclaimedEntry {
  at: string
  from: string
  number: string
  carrier: string
  text: string
}

export function inboundRoutes(app: FastifyInstance, subject: AdminSubject, done: Done): void {
  const { desk } = subject

  app.get('/inbound', async (): Promise<{ rules: InboundEntry[] }> => ({ rules: desk.replies.table.rules.map(entry) }))

  app.post('/inbound/test', needs('admin:read'), async (request): Promise<InboundTested> => {
    const { number, text, from, carrier } = read(testBody, request.body)
    const source = digitsOf(from) || from
    const { rule, account, because } = desk.replies.explain({
      called: digitsOf(number) || number,
      source,
      carrier,
      text,
    })
    const heeds = account?.consent.stop ?? true
    const isStopped = (): boolean => digitsOf(from) !== '' && desk.consent.isStopped(account?.id ?? 0, source)
    return {
      account: account?.systemId ?? null,
      because,
      rule: rule === null ? null : entry(rule),
      consent: heeds ? (optWord(text, isStopped)?.kind ?? null) : null,
    }
  })

  app.get('/unclaimed', async (request): Promise<{ unclaimed: UnclaimedEntry[]; count: number }> => {
    const { limit } = read(shownQuery, request.query)
    return {
      unclaimed: desk.replies.unclaimed(limit).map(({ atMs, reply }) => ({
        at: timeText(atMs),
        from: reply.source_addr,
        number: reply.destination_addr,
        carrier: carrierName(reply.carrier, subject),
        text: desk.replies.textOf(reply),
      })),
      count: subject.spool.figures().unclaimed,
    }
  })

  app.post('/unclaimed', async (request): Promise<{ settled: number; left: number }> => {
    const { count, to } = read(settleBody, request.body)
    const account = to === null ? null : desk.account(accountOf(serving(subject), to))
    if (account === undefined) throw new Problem(422, 'unknown_name', 'No such name', `no account is called ${to}`)
    const settled = desk.replies.settle(count, account)
    await desk.spool.synced()
    done(request, account === null ? 'unclaimed_drop' : 'unclaimed_give', { to, settled })
    return { settled, left: subject.spool.figures().unclaimed }
  })
}

const entry = (rule: AdminSubject['desk']['replies']['table']['rules'][number]): InboundEntry => ({
  position: rule.position,
  name: rule.name,
  match: {
    number: [...rule.numbers],
    keyword: [...rule.keywords],
    carrier: [...rule.carriers],
    source: [...rule.sources],
  },
  account: rule.account,
  by: [...rule.by],
})
