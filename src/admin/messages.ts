// One message with its whole way, and lists of them: from the spool while it is not over, from history, and from what is
// still remembered of carriers' answers. Texts are told only through the unix socket, and only while they wait.

import type { FastifyInstance } from 'fastify'
import { z } from 'zod'
import { codingOf, codingsWith, decodeUserData } from '../../protocols/gsm/coding.js'
import { idOf, idTimeMs } from '../base/ids.js'
import { isOfOtp, type Message, type MessageClass, type MessageState, stateNames } from '../model/message.js'
import type { TrailEvent } from '../model/trail.js'
import { Past, rowOfLive } from '../returns/past.js'
import type { HistoryRow } from '../spool/contract.js'
import type { Access } from './access.js'
import { type Done, looking, read, serving } from './asked.js'
import { Problem } from './problem.js'
import { accountOf } from './queue.js'
import { carrierName, type QueuedState, routeOf, stateOf, timeText } from './queued.js'
import { className } from './status.js'
import type { AdminSubject } from './subject.js'

const MAX_PAGE = 500
const DAY_MS = 86_400_000
const UDHI = 0x40
/** registered_delivery asks for a receipt, SMPP v3.4 §5.2.17. */
const RECEIPT = 0x03

const STATES = ['ENROUTE', ...stateNames.filter(name => name !== 'ENROUTE' && name !== 'SCHEDULED')] as const
const moment = z.coerce.date().optional()
const listQuery = z.strictObject({
  /** system_id */
  account: z.string().min(1).max(64).optional(),
  /** As source or as destination. */
  number: z.string().min(1).max(20).optional(),
  /** ENROUTE: not over yet. */
  state: z.enum(STATES as unknown as [string, ...string[]]).optional(),
  /** Accepted then or later; a day ago if not given. */
  from: moment,
  to: moment,
  before: z
    .string()
    .refine(text => idOf(text) !== 0, 'must be a message id')
    .optional(),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE).default(50),
})
const showQuery = z.strictObject({ text: z.enum(['true', 'false']).default('false') })

export interface MessageEntry {
  id: string
  account: string
  class: MessageClass
  /** message_state of its end; ENROUTE until then. */
  state: string
  error: string
  source: string
  destination: string
  route: string
  carrier: string | null
  segments: number
  price_micros: number
  client_ref: string
  accepted_at: string
  ended_at: string | null
}

/** A station of its way. `at` is null where the moment is not recorded. */
export interface Station {
  at: string | null
  event: string
  detail: string
}

export interface MessageStory extends MessageEntry {
  /** Where it stands while it is not over; null then. */
  stands: QueuedState | null
  /** The message that has its text, where parts were joined. */
  part_of: string | null
  attempts: number | null
  next_try: string | null
  scheduled_for: string | null
  valid_until: string | null
  /** As it leaves: each with the name that its carrier gave it. null when that is not kept any more. */
  parts: { part: number; ref: string; state: string; error: string }[] | null
  receipt: {
    asked: boolean | null
    stands: 'not yet' | 'waits for the customer' | 'taken' | 'not waiting'
    at: string | null
  }
  text?: string
  way: Station[]
}

export interface MessagePage {
  messages: MessageEntry[]
  /** Give it as `before` for the next page; null: there are no more. */
  next: string | null
}

export function messageRoutes(app: FastifyInstance, subject: AdminSubject, access: Access, done: Done): void {
  const past = new Past(
    { synced: () => subject.desk.spool.synced(), readLog: (after, most) => subject.desk.spool.readLog(after, most) },
    {
      query: (...given) => subject.desk.store.query(...given),
      transaction: work => subject.desk.store.transaction(work),
    },
  )

  app.get('/messages', async request => {
    const { account, state, from, to, before, limit, ...rest } = read(listQuery, request.query)
    serving(subject)
    const now = subject.clock.now()
    const found = await looking(() =>
      past.latest({
        ...rest,
        account: account === undefined ? undefined : accountOf(subject, account),
        state: state === undefined ? undefined : state === 'ENROUTE' ? null : numberOf(state),
        fromMs: from?.getTime() ?? now - DAY_MS,
        // A clock that was set back has accepted some a little later than now.
        toMs: to?.getTime() ?? now + DAY_MS,
        before: before === undefined ? undefined : idOf(before),
        limit,
      }),
    )
    const messages = found.map(one => entryOf(one.accepted, one.ended, subject))
    return { messages, next: messages.length < limit ? null : (messages.at(-1)?.id ?? null) } satisfies MessagePage
  })

  app.get('/messages/:id', async request => {
    const { id: given } = read(z.strictObject({ id: z.string() }), request.params)
    const withText = read(showQuery, request.query).text === 'true'
    if (withText && access.from(request.raw) !== 'admin.sock') {
      throw new Problem(
        403,
        'texts_are_local',
        'Texts are not told over the network',
        'texts are shown on the machine of the daemon only: run the command there without --url, or leave --text away',
      )
    }
    const id = idOf(given)
    if (id === 0) {
      throw new Problem(
        422,
        'invalid',
        'No message id',
        `${given} is no message id: 16 decimal digits, or 14 hexadecimal ones`,
      )
    }
    if (withText) done(request, 'message_text', { id: String(id) })
    return story(id, withText)
  })

  async function story(id: number, withText: boolean): Promise<MessageStory> {
    const { desk, dispatch } = serving(subject)
    const live = desk.spool.find(id)
    let rows: HistoryRow[] = []
    let isKnown = true
    try {
      rows = await looking(() => past.rowsOf(id))
    } catch (error) {
      // What waits is known without history.
      if (live === undefined) throw error
      isKnown = false
    }
    const accepted = rows.find(({ kind }) => kind === 'accepted')
    const ended = rows.find(({ kind }) => kind === 'ended')
    const first = accepted ?? ended ?? (live && rowOfLive(live, id))
    if (first === undefined) {
      throw new Problem(
        404,
        'no_message',
        'There is no such message',
        `no message ${id} is known: neither waiting nor in history`,
      )
    }
    const m = ended === undefined ? live : undefined
    const trail = dispatch.trail.of(id)
    const entry = entryOf(first, ended, subject, m)
    const receipt = await receiptOf(id, first.account, m, ended, trail)
    const story: MessageStory = {
      ...entry,
      stands: m === undefined ? null : stateOf(m, subject),
      part_of: m !== undefined && m.id !== id ? String(m.id) : null,
      attempts: m?.attempts ?? null,
      next_try: m !== undefined && m.dueMs > 0 ? timeText(m.dueMs) : null,
      scheduled_for: m !== undefined && m.scheduleMs > 0 ? timeText(m.scheduleMs) : null,
      valid_until: m === undefined ? null : timeText(m.validUntilMs),
      parts: m === undefined ? null : partsOf(m),
      receipt,
      way: [],
    }
    if (withText && m !== undefined) {
      const text = textOf(m, subject)
      if (text !== undefined) story.text = text
    }
    story.way = wayOf(story, m, trail, isKnown)
    return story
  }

  async function receiptOf(
    id: number,
    account: number,
    m: Message | undefined,
    ended: HistoryRow | undefined,
    trail: readonly TrailEvent[],
  ): Promise<MessageStory['receipt']> {
    const asked = m === undefined ? null : (m.registered_delivery & RECEIPT) !== 0
    const taken = trail.findLast(({ kind }) => kind === 'taken')
    if (taken !== undefined) return { asked: true, stands: 'taken', at: timeText(taken.atMs) }
    if (ended === undefined) return { asked, stands: 'not yet', at: null }
    const waits = await subject.desk.spool.receiptWaits(account, id)
    return { asked: waits ? true : asked, stands: waits ? 'waits for the customer' : 'not waiting', at: null }
  }

  function wayOf(
    story: MessageStory,
    m: Message | undefined,
    trail: readonly TrailEvent[],
    isKnown: boolean,
  ): Station[] {
    const way: Station[] = []
    const station = (at: string | null, event: string, detail = ''): void => {
      way.push({ at, event, detail })
    }
    station(story.accepted_at, 'accepted', `from ${story.account}, ${story.class}, segments: ${story.segments}`)
    const { to = [] } =
      subject.dispatch.routes.rules.find(rule => routeOf({ lane: rule.id }, subject) === story.route) ?? {}
    station(
      story.accepted_at,
      'route',
      `${story.route}${to.length === 0 ? '' : ` to ${to.map(one => one.carrier).join(', ')}`}`,
    )
    if (story.part_of !== null) station(null, 'joined', `its text goes in ${story.part_of}`)
    if (story.stands === 'scheduled') station(story.scheduled_for, 'scheduled')
    for (const { kind, atMs, part, carrier, code } of trail) {
      if (kind === 'taken') continue
      const where = carrierName(carrier, subject)
      const which = (m?.parts?.length ?? 0) > 1 || part > 0 ? `part ${part + 1}, ` : ''
      const ref = kind === 'accepted' ? (m?.parts ? m.parts[part]?.ref : m?.ref) : undefined
      station(timeText(atMs), kind, `${which}${where}${code === '' ? '' : `: ${code}`}${ref ? `, as ${ref}` : ''}`)
    }
    if (m !== undefined && !trail.some(({ kind }) => kind === 'accepted')) {
      for (const { part, ref } of story.parts ?? []) {
        if (ref !== '') station(null, 'accepted', `part ${part}, ${story.carrier}, as ${ref}`)
      }
    }
    for (const { part, state, error } of story.parts ?? []) {
      if (state !== 'ENROUTE')
        station(null, 'receipt', `part ${part}: ${state}${error === '' ? '' : `, error ${error}`}`)
    }
    if (story.stands === 'due') station(story.next_try, 'next try', `after tries: ${story.attempts}`)
    else if (story.stands !== null && story.stands !== 'scheduled') station(null, STANDS[story.stands])
    if (story.ended_at !== null) {
      const by = story.carrier === null ? '' : `, ${story.carrier}`
      station(story.ended_at, story.state, `${story.error === '' ? 'no error' : `error ${story.error}`}${by}`)
      const { stands, at } = story.receipt
      if (stands === 'taken') station(at, 'receipt taken', 'by the customer')
      else if (stands !== 'not yet') station(null, `receipt ${stands}`, stands === 'not waiting' ? NO_RECEIPT : '')
    }
    if (!isKnown) station(null, 'history', 'cannot be read: the database is away')
    return way
  }
}

const NO_RECEIPT = 'it was taken, or none was asked for over a bind'

const STANDS: Readonly<Record<Exclude<QueuedState, 'due' | 'scheduled'>, string>> = {
  waiting: 'waits for a carrier',
  parts: 'waits for the other parts of its text',
  in_hand: 'is with a carrier, unanswered',
  sent: 'waits for its receipt',
}

const numberOf = (name: string): MessageState => stateNames.indexOf(name as (typeof stateNames)[number]) as MessageState

function entryOf(
  row: HistoryRow,
  ended: HistoryRow | undefined,
  subject: AdminSubject,
  m?: Message | undefined,
): MessageEntry {
  const carrier = ended?.carrier ?? m?.carrier ?? row.carrier
  return {
    id: String(row.id),
    account: subject.desk.account(row.account)?.systemId ?? `#${row.account}`,
    class: className(row.rank),
    state: ended === undefined ? 'ENROUTE' : (stateNames[ended.state] ?? String(ended.state)),
    error: ended?.error ?? '',
    source: row.source,
    destination: row.destination,
    route: routeOf({ lane: ended?.route ?? m?.lane ?? row.route }, subject),
    carrier: carrier === 0 ? null : carrierName(carrier, subject),
    segments: row.segments,
    price_micros: ended?.priceMicros ?? row.priceMicros,
    client_ref: row.clientRef,
    accepted_at: timeText(row.kind === 'accepted' ? row.atMs : idTimeMs(row.id)),
    ended_at: ended === undefined ? null : timeText(ended.atMs),
  }
}

function partsOf(m: Message): MessageStory['parts'] {
  const parts = m.parts ?? [{ ref: m.ref, state: 1 as MessageState, err: '' }]
  return parts.map(({ ref, state, err }, i) => ({ part: i + 1, ref, state: stateNames[state] as string, error: err }))
}

/** Of a mail, of a one-time password, and of what a carrier has already, there is none to be shown. */
function textOf(m: Message, { desk }: AdminSubject): string | undefined {
  if (m.isMail || isOfOtp(m) || m.standing !== 'waiting') return undefined
  if (m.isText) return m.body.toString('utf8')
  const codings = m.ownCoding ? desk.account(m.account)?.smpp.codings : undefined
  const coding = codings === undefined ? codingOf(m.data_coding) : codingOf(m.data_coding, codingsWith(codings))
  return decodeUserData(m.body, (m.esm_class & UDHI) !== 0, coding)
}
