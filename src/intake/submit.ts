// The only door. However a message arrives, it is judged here, once, in one order:
// account, sender, destination, consent, class, parts, route, price, queue, credit, limits, loops. What passes is in the
// spool; the caller acknowledges it after the spool has synced, never before.

import { readMailbox } from '../../protocols/smtp/commands.js'
import type { Account } from '../accounts/account.js'
import type { ConsentCheck } from '../accounts/consent.js'
import type { Limits } from '../accounts/limits.js'
import type { SmppProfile } from '../accounts/smppProfile.js'
import type { Clock } from '../base/clock.js'
import { digitsOf } from '../model/digits.js'
import { type Fault, fault } from '../model/fault.js'
import { type ClassRank, isOfMail, type Message, mark, rankOf } from '../model/message.js'
import type { Tally } from '../model/tally.js'
import type { Blocked } from '../routing/blocked.js'
import type { Loops } from '../routing/loops.js'
import { MAIL_LANE } from '../routing/mail.js'
import type { QuietHours } from '../routing/quietHours.js'
import { isMagic, playOf, SANDBOX_LANE } from '../routing/sandbox.js'
import type { RouteRule, RouteTable } from '../routing/table.js'
import type { Spool, SpoolRefusal } from '../spool/contract.js'
import { FAR_MS } from './smpp/fields.js'
import { isJoinable, makePlain, segmentsOf } from './text.js'

export interface Lifetimes {
  otpMs: number
  transactionalMs: number
  bulkMs: number
}

const suspended = fault('account_suspended', 'the account is suspended', false)
const senderRefused = fault('sender_refused', 'this sender is not one of the account', false)
const destinationInvalid = fault('destination_invalid', 'the destination is not a phone number', false)
const blocked = fault('destination_blocked', 'this destination is blocked', false)
const loopSuspected = fault('loop_suspected', 'the same message came too often: it seems to go round', false)
const noRoute = fault('no_route', 'no route to this destination', false)
const sandboxOff = fault('sandbox_off', 'this gateway has no sandbox: test keys send nothing here', false)
const addressInvalid = fault('destination_invalid', 'the recipient is no mail address', false)
const noMailCarrier = fault('no_route', 'no carrier takes mails', false)
const mailTooLong = fault('too_long', 'the mail is too long', false)
const tooLong = fault('too_long', 'the message needs more parts than it may have', false)
const scheduleFar = fault('schedule_invalid', 'the schedule is more than 366 days ahead', false)
const validityFar = fault('validity_invalid', 'the validity of the message ends more than 366 days ahead', false)
const scheduleInvalid = fault('schedule_invalid', 'the schedule is after the validity of the message', false)
const validityInvalid = fault('validity_invalid', 'the validity of the message has passed', false)
const neverLoud = fault(
  'validity_invalid',
  'the validity of the message ends within the quiet hours of its destination',
  false,
)
const noPrice = fault('no_price', 'there is no price for this destination', false)
const creditExhausted = fault('credit_exhausted', 'the credit is used up', false)
/** Whoever is told so asks {@link Door.creditKnown}, and submits the same again. */
export const creditPending = fault('credit_pending', 'prices or credit are not known at this moment', true)
const moreThanPaid = fault('too_long', 'the new text needs more parts than were paid for', false)
const notWaiting = fault('not_waiting', 'the message is not waiting any more', false)
const overLimit = {
  second: fault('rate_exceeded', 'too many messages a second', true),
  minute: fault('rate_exceeded', 'too many messages a minute', true),
  hour: fault('rate_exceeded', 'too many messages an hour', true),
  day: fault('quota_exceeded', 'the quota of the day is used up', true),
  month: fault('quota_exceeded', 'the quota of the month is used up', true),
  until: fault('quota_exceeded', 'the quota has expired', false),
} as const
const refusals: Readonly<Record<SpoolRefusal, Fault>> = {
  queue_full: fault('queue_full', 'the queue is full', true),
  account_full: fault('queue_full', 'too many messages of the account are waiting', true),
  disk_full: fault('disk_full', 'no room for new messages', true),
  stopping: fault('stopping', 'the service is stopping', true),
}

/** What messages cost, and who can pay. All in micros. */
export interface Money {
  /**
   * Of a standard segment over the carrier that `m` names, or one of those of `rule`; wait: ask {@link ready}, and once
   * more; undefined: the tariff has no price for it.
   */
  segmentMicros(
    tariff: number,
    m: Pick<Message, 'rank' | 'carrierName'>,
    digits: string,
    rule: RouteRule | undefined,
    nowMs: number,
  ): number | 'wait' | undefined
  /** Takes so much of the account's limited credit; wait: ask {@link ready}, and once more. */
  hold(account: Account, micros: number): 'held' | 'wait' | 'short'
  /** What was held buys nothing after all; before the turn of the event loop ends. */
  release(account: number, micros: number): void
  /** Resolves when asking again has a point: true; or when it will not have for long: false. */
  ready(account: Account): Promise<boolean>
}

/** Whose a mail is: an account, or the gateway itself. */
export type MailSender = Pick<Account, 'id' | 'suspended' | 'maxWaiting'>

export interface DoorHost {
  readonly spool: Spool
  readonly routes: RouteTable
  readonly limits: Limits
  readonly clock: Clock
  readonly tally: Tally
  readonly lifetimes: Lifetimes
  readonly quiet: QuietHours
  readonly blocked: Blocked
  readonly loops: Loops
  readonly consent: ConsentCheck
  /** null: nothing costs anything. */
  readonly money: Money | null
  /** Numbers of the sandbox, and messages that must stay in the building, go there. */
  readonly sandbox: boolean
  /** A message was refused that somebody should look into. */
  guarded(code: 'destination_blocked' | 'loop_suspected', account: Account): void
}

/** The class that waits for the end of quiet hours. */
const BULK = rankOf('bulk')
const TRANSACTIONAL = rankOf('transactional')

/** Addresses in a record are counted in one octet. */
const MOST_ADDRESS = 255
const MOST_MAIL_OCTETS = 64 * 2 ** 20
const utf8 = (text: string): Buffer => Buffer.from(text)

export class Door {
  /** Some carrier takes mails. */
  carriesMail = false
  /** Replaced when the directory's routes change. */
  routes: RouteTable
  /** Replaced when the directory's blocked prefixes change. */
  blocked: Blocked
  readonly spool: Spool
  private readonly limits: Limits
  private readonly clock: Clock
  private readonly tally: Tally
  private readonly lifetimesMs: readonly [number, number, number]
  private readonly quiet: QuietHours
  private readonly host: Pick<DoorHost, 'loops' | 'consent' | 'money' | 'sandbox' | 'guarded'>

  constructor(host: DoorHost) {
    const { spool, routes, limits, clock, tally, lifetimes, quiet } = host
    this.host = host
    this.blocked = host.blocked
    this.quiet = quiet
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
   * account, class, parts, route and lifetime are set here. With `replace` it takes the place, and the id, of a waiting
   * one with its addresses and service_type, if there is one (SMPP v3.4 §5.2.18).
   */
  submit(m: Message, account: Account, replace = false): Fault | undefined {
    const fault = this.judge(m, account)
    if (fault !== undefined) return fault
    const unpaid = this.hold(m, account)
    // What takes the place of another has been paid for.
    if (unpaid !== undefined && !(replace && this.spool.present(m).length > 0)) return unpaid
    const refused = this.pace(account) ?? this.loop(m, account)
    if (refused === undefined) return this.take(m, account, replace, unpaid)
    this.letGo(m)
    return refused
  }

  /** The same for one of many that {@link admit} has let in together; of the class `rank`, where its sender said so. */
  submitAdmitted(m: Message, account: Account, rank?: ClassRank): Fault | undefined {
    const fault = this.noted(this.examine(m, account, undefined, rank), account) ?? this.hold(m, account)
    if (fault !== undefined) return fault
    const refused = this.quota(account) ?? this.loop(m, account)
    if (refused === undefined) return this.take(m, account, false)
    this.letGo(m)
    return refused
  }

  /** An answer of ours to a phone that has just written, past its own STOP: transactional, and of no account's pace. */
  answer(m: Message, account: Account): Fault | undefined {
    const fault = this.examine(m, account, TRANSACTIONAL) ?? this.refusal(account) ?? this.hold(m, account)
    if (fault === undefined) this.take(m, account, false)
    return fault
  }

  /** `unpaid`: why it cannot be taken if there is no other whose place it takes. */
  private take(m: Message, account: Account, replace: boolean, unpaid?: Fault): Fault | undefined {
    m.replaceable = account.smpp.replace
    if (replace) {
      const replaced = this.takesPlace(m)
      if (replaced !== 'nothing') {
        this.letGo(m)
        if (replaced !== 'done') return replaced
        if (m.isPutOff) this.quiet.held()
        this.tally.countSaved(m.savedSegments)
        return undefined
      }
      if (unpaid !== undefined) return unpaid
    }
    if (m.isPutOff) this.quiet.held()
    if (account.smpp.longMessages === 'rejoin' && isJoinable(m, account.smpp)) {
      m.joined = { waits: false, of: 0, ids: [] }
    }
    this.spool.commit(m)
    this.limits.count(account)
    this.tally.countAccepted(m.rank)
    this.tally.countSaved(m.savedSegments)
    return undefined
  }

  /** The same for messages that belong together: all of them are taken, or none. Each has had its {@link pace}. */
  submitAll(messages: readonly Message[], account: Account): Fault | undefined {
    for (const m of messages) {
      const fault = this.judge(m, account)
      if (fault !== undefined) return fault
    }
    const unpaid = this.holdAll(messages, account)
    if (unpaid !== undefined) return unpaid
    let refused = this.quota(account, messages.length)
    for (const m of messages) refused ??= this.loop(m, account)
    if (refused !== undefined) {
      for (const m of messages) this.letGo(m)
      return refused
    }
    for (const m of messages) this.take(m, account, false)
    return undefined
  }

  /** Its price of the account's credit, or why not. What is not taken in the end is to be {@link letGo}. */
  private hold(m: Message, account: Account): Fault | undefined {
    m.isHeld = false
    if (m.priceMicros === 0 || account.creditMicros === null) return undefined
    const fault = this.held(account, m.priceMicros)
    m.isHeld = fault === undefined
    return fault
  }

  /** The same for all of them at once, or for none. */
  private holdAll(messages: readonly Message[], account: Account): Fault | undefined {
    let micros = 0
    for (const m of messages) {
      m.isHeld = false
      micros += m.priceMicros
    }
    if (micros === 0 || account.creditMicros === null) return undefined
    const fault = this.held(account, micros)
    if (fault === undefined) for (const m of messages) m.isHeld = m.priceMicros > 0
    return fault
  }

  private held(account: Account, micros: number): Fault | undefined {
    const answer = this.host.money?.hold(account, micros)
    return answer === 'short' ? creditExhausted : answer === 'wait' ? creditPending : undefined
  }

  private letGo(m: Message): void {
    if (!m.isHeld) return
    m.isHeld = false
    this.host.money?.release(m.account, m.priceMicros)
  }

  /** After {@link creditPending}: resolves when the same may be submitted again, true; or false, and it stays at that. */
  async creditKnown(account: Account): Promise<boolean> {
    return (await this.host.money?.ready(account)) ?? false
  }

  /**
   * Takes a mail that leaves, or says why not: `m` brings its reverse-path, recipient and body, and its class and id where
   * they are not the usual ones. It costs nothing of what the account may submit a second.
   */
  submitMail(m: Message, account: MailSender): Fault | undefined {
    const fault = this.judgeMail(m, account) ?? this.refusal(account)
    if (fault !== undefined) return fault
    this.takeMail(m, account)
    return undefined
  }

  /** Takes one that {@link judgeMail} found good and {@link refusal} had room for, in this turn of the event loop. */
  takeMail(m: Message, account: MailSender): void {
    m.isMail = true
    // Records have octets.
    m.source_addr = utf8(m.source_addr).latin1Slice()
    m.destination_addr = utf8(m.destination_addr).latin1Slice()
    m.account = account.id
    m.lane = MAIL_LANE
    if (m.validUntilMs === 0) m.validUntilMs = this.clock.now() + (this.lifetimesMs[m.rank] as number)
    this.spool.commit(m)
    this.tally.countAccepted(m.rank)
  }

  /** What is wrong with a mail that is to leave, the queue left aside. */
  judgeMail(m: Message, account: MailSender): Fault | undefined {
    if (account.suspended !== null) return suspended
    const to = readMailbox(m.destination_addr)
    if (to === null || to.domain === '' || utf8(m.destination_addr).length > MOST_ADDRESS) return addressInvalid
    if (utf8(m.source_addr).length > MOST_ADDRESS) return senderRefused
    if (m.body.length > MOST_MAIL_OCTETS) return mailTooLong
    return this.carriesMail ? undefined : noMailCarrier
  }

  /** Of messages that were let in before: whether quotas still have room for `n`. */
  private quota(account: Account, n = 1): Fault | undefined {
    const over = this.limits.overQuota(account, n)
    return over && overLimit[over]
  }

  /** One message of what the account may submit; `others` of its had theirs and are not taken yet. */
  pace(account: Account, others = 0): Fault | undefined {
    const over = this.limits.over(account, this.clock.mono(), 1, others)
    return over && overLimit[over]
  }

  /**
   * Room and pace for `n` messages of the account at once, or why not, and nothing is taken. `others` of its were let in
   * like this and are still on their way to the spool.
   */
  admit(account: Account, n: number, others: number): Fault | undefined {
    const refusal = this.spool.refusal(account.id, account.maxWaiting, n + others)
    if (refusal !== undefined) return refusals[refusal]
    const over = this.limits.over(account, this.clock.mono(), n, others)
    return over && overLimit[over]
  }

  /** What is wrong with it, the pace left aside; nothing is taken. A door may ask before the text has come. */
  judge(m: Message, account: Account): Fault | undefined {
    return this.noted(this.examine(m, account), account) ?? this.refusal(account)
  }

  /** With `answers` it is an answer of ours: of that class, and whatever its recipient has asked for. */
  private examine(m: Message, account: Account, answers?: ClassRank, rank?: ClassRank): Fault | undefined {
    if (account.suspended !== null) return suspended
    if (account.senders !== null && !account.senders.has(m.source_addr)) return senderRefused
    const digits = digitsOf(m.destination_addr)
    if (digits === '') return destinationInvalid
    if (m.isSandboxed || this.host.sandbox) {
      const refusal = this.enclose(m, digits)
      if (refusal !== undefined) return refusal
    }
    if (this.blocked.reason(account.systemId, digits) !== undefined) return blocked
    m.rank = answers ?? rank ?? this.classOf(m, account)
    if (answers === undefined) {
      const unwanted = this.host.consent.refusal(account, m.rank, digits)
      if (unwanted !== undefined) return unwanted
    }
    m.account = account.id
    if (account.smpp.receipts.of === 'part') m.registered_delivery |= mark.perPart
    // Looked at again, it is plain already.
    if (account.smpp.smartReplace) m.savedSegments += makePlain(m, account.smpp)
    const segments = segmentsOf(m, account.smpp)
    if (segments > account.smpp.maxSegments) return tooLong
    m.segments = segments
    const now = this.clock.now()
    if (m.scheduleMs > now + FAR_MS) return scheduleFar
    if (m.validUntilMs > Math.max(now, m.scheduleMs) + FAR_MS) return validityFar
    if (m.rank === BULK && !m.isSandboxed) {
      const untilMs = this.quiet.until(digits, Math.max(now, m.scheduleMs), account.quietHours)
      if (untilMs > 0) {
        if (m.validUntilMs > now && m.validUntilMs <= untilMs) return neverLoud
        m.scheduleMs = untilMs
        m.isPutOff = true
      }
    }
    const rule = m.isSandboxed ? undefined : this.routes.match(account, m, digits, m.scheduleMs || now)
    if (rule === undefined && !m.isSandboxed) return noRoute
    m.lane = rule?.id ?? SANDBOX_LANE
    m.priceMicros = 0
    if (account.tariff !== 0 && !m.isSandboxed && this.host.money !== null) {
      const micros = this.host.money.segmentMicros(account.tariff, m, digits, rule, now)
      if (micros === undefined) return noPrice
      if (micros === 'wait') return creditPending
      m.priceMicros = micros * segments
    }
    if (m.validUntilMs === 0) m.validUntilMs = Math.max(now, m.scheduleMs) + (this.lifetimesMs[m.rank] as number)
    else if (m.validUntilMs <= now) return validityInvalid
    if (m.scheduleMs >= m.validUntilMs) return scheduleInvalid
    return undefined
  }

  /** Whether it stays in the building, and goes over no carrier that it names. */
  private enclose(m: Message, digits: string): Fault | undefined {
    if (!this.host.sandbox) return sandboxOff
    m.isSandboxed ||= isMagic(digits)
    if (!m.isSandboxed) return undefined
    m.carrierName = ''
    return playOf(digits).answer === 'invalid' ? destinationInvalid : undefined
  }

  /** What would be said to it, with its class, segments, route and price set; nothing is taken, held or counted. */
  preview(m: Message, account: Account, rank?: ClassRank): Fault | undefined {
    return this.examine(m, account, undefined, rank) ?? this.refusal(account)
  }

  private noted(fault: Fault | undefined, account: Account): Fault | undefined {
    if (fault === blocked) this.host.guarded('destination_blocked', account)
    return fault
  }

  /** Asked last, once for each message that would be taken: it is counted. No carrier brings mail. */
  private loop(m: Message, account: Account): Fault | undefined {
    if (isOfMail(m) || m.isSandboxed || !this.host.loops.suspect(m, this.clock.mono())) return undefined
    this.host.guarded('loop_suspected', account)
    return loopSuspected
  }

  /** Whether anything of the account, or so many messages, could be taken at this moment. */
  refusal(account: MailSender, n = 1): Fault | undefined {
    const refusal = this.spool.refusal(account.id, account.maxWaiting, n)
    return refusal === undefined ? undefined : refusals[refusal]
  }

  /** `m` becomes the newest waiting message that it may replace, in that one's place of its queue. */
  private takesPlace(m: Message): 'done' | 'nothing' | Fault {
    for (const id of this.spool.present(m)) {
      const present = this.spool.find(id)
      if (present !== undefined && !this.spool.inHand(present) && isMoreThanPaid(present, m)) return moreThanPaid
      const replaced = this.spool.replace(id, old => {
        become(old, m)
        // The id that its receipt will carry.
        m.id = old.multiId || id
        old.scheduleMs = m.scheduleMs
        old.validUntilMs = m.validUntilMs
        old.validityGiven = m.validityGiven
        old.esm_class = m.esm_class
        old.protocol_id = m.protocol_id
        old.data_coding = m.data_coding
        old.tlvs = m.tlvs
      })
      if (replaced) return 'done'
    }
    return 'nothing'
  }

  /**
   * Another text for a waiting message of the account (SMPP v3.4 §4.10): `by` holds its text and registered_delivery,
   * and its schedule and validity where those are given; `keepsSchedule` otherwise.
   * Undefined: done, and may be acknowledged once the spool has synced.
   */
  replace(m: Message, by: Message, keepsSchedule: boolean, profile: SmppProfile): Fault | undefined {
    const saved = profile.smartReplace ? makePlain(by, profile) : 0
    const segments = segmentsOf(by, profile)
    if (segments > profile.maxSegments) return tooLong
    by.segments = segments
    if (isMoreThanPaid(m, by)) return moreThanPaid
    const scheduleMs = keepsSchedule ? m.scheduleMs : by.scheduleMs
    let validUntilMs = m.validUntilMs
    let validityGiven = m.validityGiven
    if (by.validityGiven) {
      validUntilMs = by.validUntilMs
      validityGiven = true
    } else if (!validityGiven) {
      validUntilMs = Math.max(validUntilMs, scheduleMs + (this.lifetimesMs[m.rank] as number))
    }
    if (scheduleMs >= validUntilMs) return scheduleInvalid
    // It waits already; what it becomes takes room all the same.
    const refusal = this.spool.refusal(m.account, Number.POSITIVE_INFINITY)
    if (refusal === 'disk_full' || refusal === 'stopping') return refusals[refusal]
    const replaced = this.spool.replace(m.id, old => {
      become(old, by)
      old.scheduleMs = scheduleMs
      old.validUntilMs = validUntilMs
      old.validityGiven = validityGiven
    })
    if (!replaced) return notWaiting
    this.tally.countSaved(saved)
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

/** A price is fixed when a message is taken: another text may not make it dearer. */
const isMoreThanPaid = (m: Message, by: Message): boolean => m.priceMicros > 0 && by.segments > m.segments

/** What every replacement takes over. */
function become(m: Message, by: Message): void {
  m.body = by.body
  m.isText = by.isText
  m.ownCoding = by.ownCoding
  m.segments = by.segments
  m.registered_delivery = by.registered_delivery | (m.registered_delivery & mark.perPart)
}
