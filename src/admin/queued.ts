// A message of the queue as an operator sees it: where it stands, why, and until when. Plain data; texts are not in it.

import { idTimeMs } from '../base/ids.js'
import type { Message, MessageClass } from '../model/message.js'
import type { TrailEvent } from '../model/trail.js'
import { className, routeName } from './status.js'
import type { AdminSubject } from './subject.js'

export type QueuedState = 'waiting' | 'due' | 'scheduled' | 'parts' | 'in_hand' | 'sent'

export interface QueuedMessage {
  id: string
  account: string
  class: MessageClass
  route: string
  /**
   * due: to be tried again at `next_try`; scheduled: until the hour that its sender gave; parts: until the other parts of
   * its text have come; in_hand: a carrier has it and has not answered; sent: its receipt is awaited.
   */
  state: QueuedState
  source: string
  destination: string
  segments: number
  /** Sends that were not accepted. */
  attempts: number
  accepted_at: string
  age_s: number
  next_try: string | null
  valid_until: string
  /** Of a part that went or goes there. */
  carrier: string | null
  last_failure: { code: string; kind: string; carrier: string; at: string } | null
}

export function entries(subject: AdminSubject, messages: readonly Message[]): QueuedMessage[] {
  const failures = subject.dispatch.trail.failures(new Set(messages.map(({ id }) => id)))
  return messages.map(m => entry(subject, m, failures.get(m.id)))
}

function entry(subject: AdminSubject, m: Message, failure: TrailEvent | undefined): QueuedMessage {
  const state = stateOf(m, subject)
  return {
    id: String(m.id),
    account: subject.desk.account(m.account)?.systemId ?? `#${m.account}`,
    class: className(m.rank),
    route: routeOf(m, subject),
    state,
    source: m.source_addr,
    destination: m.destination_addr,
    segments: m.segments,
    attempts: m.attempts,
    accepted_at: timeText(idTimeMs(m.id)),
    age_s: ageOf(m, subject),
    next_try: state === 'due' || state === 'scheduled' ? timeText(m.dueMs) : null,
    valid_until: timeText(m.validUntilMs),
    carrier: m.carrier === 0 ? m.carrierName || null : carrierName(m.carrier, subject),
    last_failure:
      failure === undefined
        ? null
        : {
            code: failure.code,
            kind: failure.kind,
            carrier: carrierName(failure.carrier, subject),
            at: timeText(failure.atMs),
          },
  }
}

export function stateOf(m: Message, { desk, clock }: AdminSubject): QueuedState {
  if (m.standing === 'sent') return 'sent'
  if (m.joined?.waits) return 'parts'
  if (m.dueMs > 0) return m.scheduleMs > clock.now() ? 'scheduled' : 'due'
  return desk.spool.inHand(m) ? 'in_hand' : 'waiting'
}

export function routeOf({ lane }: { lane: number }, { dispatch }: AdminSubject): string {
  return routeName(dispatch.routes.route(lane) ?? { id: lane, name: '' })
}

export const carrierName = (id: number, { lines, directory }: AdminSubject): string =>
  lines.running.get(id)?.row.name ?? directory.carriers().find(row => row.id === id)?.name ?? `#${id}`

export const ageOf = (m: Message, { clock }: AdminSubject): number =>
  Math.max(0, Math.round((clock.now() - idTimeMs(m.id)) / 1000))

/** ISO 8601 in UTC. What no calendar has stands as its end. */
export const timeText = (ms: number): string => new Date(Math.min(Math.max(ms, 0), 253_402_300_799_000)).toISOString()
