// The only door. However a message arrives, it is judged here, once, in one order:
// account, sender, destination, class, parts, route, limits, queue. What passes is in the
// spool; the caller acknowledges it after the spool has synced, never before.

import { type Coding, codingOf } from '../../protocols/gsm/coding.js'
import { countSegments, countSegmentsOfText } from '../../protocols/gsm/segment.js'
import type { Account } from '../accounts/account.js'
import type { Limits } from '../accounts/limits.js'
import type { Clock } from '../base/clock.js'
import { type Fault, fault } from '../model/fault.js'
import type { ClassRank, Message } from '../model/message.js'
import type { Tally } from '../model/tally.js'
import { digitsOf, type RouteTable } from '../routing/table.js'
import type { Spool, SpoolRefusal } from '../spool/contract.js'

export interface Lifetimes {
  otpMs: number
  transactionalMs: number
  bulkMs: number
}

/** 3GPP TS 23.040 §9.2.3.24.1: a concatenated message has at most 255 parts. */
const MAX_SEGMENTS = 255

const suspended = fault('account_suspended', 'the account is suspended', false)
const senderRefused = fault('sender_refused', 'this sender is not one of the account', false)
const destinationInvalid = fault('destination_invalid', 'the destination is not a phone number', false)
const noRoute = fault('no_route', 'no route to this destination', false)
const tooLong = fault('too_long', 'the message needs more than 255 parts', false)
const scheduleInvalid = fault('schedule_invalid', 'the schedule is after the validity of the message', false)
const validityInvalid = fault('validity_invalid', 'the validity of the message has passed', false)
const rateExceeded = fault('rate_exceeded', 'too many messages a second', true)
const refusals: Readonly<Record<SpoolRefusal, Fault>> = {
  queue_full: fault('queue_full', 'the queue is full', true),
  account_full: fault('queue_full', 'too many messages of the account are waiting', true),
  disk_full: fault('disk_full', 'no room for new messages', true),
  stopping: fault('stopping', 'the service is stopping', true),
}

export class Door {
  /** Replaced when the directory's routes change. */
  routes: RouteTable
  readonly spool: Spool
  private readonly limits: Limits
  private readonly clock: Clock
  private readonly tally: Tally
  private readonly lifetimesMs: readonly [number, number, number]

  constructor(spool: Spool, routes: RouteTable, limits: Limits, clock: Clock, tally: Tally, lifetimes: Lifetimes) {
    this.spool = spool
    this.routes = routes
    this.limits = limits
    this.clock = clock
    this.tally = tally
    this.lifetimesMs = [lifetimes.otpMs, lifetimes.transactionalMs, lifetimes.bulkMs]
  }

  /**
   * Takes the message or says why not. Undefined: it is in the spool under `m.id`, and may
   * be acknowledged once the spool has synced. `m` brings its addresses, body and wishes;
   * account, class, parts, route and lifetime are set here.
   */
  submit(m: Message, account: Account): Fault | undefined {
    if (account.suspended !== null) return suspended
    if (account.senders !== null && !account.senders.has(m.source_addr)) return senderRefused
    const digits = digitsOf(m.destination_addr)
    if (digits === '') return destinationInvalid
    m.account = account.id
    m.rank = this.classOf(m, account)
    const segments = segmentsOf(m)
    if (segments === undefined || segments > MAX_SEGMENTS) return tooLong
    m.segments = segments
    const route = this.routes.match(account.systemId, m.rank, m.source_addr, digits)
    if (route === undefined) return noRoute
    m.lane = route.id
    const now = this.clock.now()
    if (m.validUntilMs === 0) m.validUntilMs = Math.max(now, m.scheduleMs) + (this.lifetimesMs[m.rank] as number)
    else if (m.validUntilMs <= now) return validityInvalid
    if (m.scheduleMs >= m.validUntilMs) return scheduleInvalid
    const refusal = this.spool.refusal(account.id, account.maxWaiting)
    if (refusal !== undefined) return refusals[refusal]
    if (!this.limits.take(account.id, account.throughput, this.clock.mono())) return rateExceeded
    this.spool.commit(m)
    this.tally.countAccepted(m.rank)
    return undefined
  }

  private classOf(m: Message, account: Account): ClassRank {
    if (m.service_type !== '') {
      const rank = account.serviceTypes.get(m.service_type)
      if (rank !== undefined) return rank
    }
    return account.rank
  }
}

/** Standard segments, by which a message is priced. Octets with a UDH are a part that the sender cut: one. */
function segmentsOf(m: Message): number | undefined {
  if (m.isText) return countSegmentsOfText(m.body.toString('utf8'))
  if (m.esm_class & 0x40) return 1
  const coding: Coding = codingOf(m.data_coding)
  return countSegments(m.body, coding)
}
