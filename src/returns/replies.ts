// Messages from phones on their way into the spool: whose each is, by rules and by the number called; what it says of
// consent, which holds before anybody is told of it; and in which queues of the outbox it waits. Knows neither how it came
// nor how it is delivered.

import { LRUCache } from 'lru-cache'
import { partOf } from '../../protocols/smpp/parts.js'
import type { Account } from '../accounts/account.js'
import type { Consent } from '../accounts/consent.js'
import type { InboundRule, InboundWay } from '../accounts/inbound.js'
import { type OptKind, optWord } from '../accounts/optWords.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { Quiet } from '../base/quiet.js'
import { digitsOf } from '../model/digits.js'
import type { Fault } from '../model/fault.js'
import { EXTRAS_OF_ANSWER, Message } from '../model/message.js'
import type { Reply } from '../model/outcome.js'
import { type ReportQueue, type Spool, way } from '../spool/contract.js'
import { InboundTable, type Inquiry } from './inboundTable.js'

/** The account of what belongs to nobody; in consent, everybody. */
const UNCLAIMED = 0
/** Parts of a long message come within this time, or go where they would go alone. */
const PARTS_MS = 600_000
const PARTS = 10_000
/** Log lines a minute about numbers without a country, of one carrier and of all. */
const LINES = 1
const LINES_IN_ALL = 20

/** What the other parts of a long message follow. */
interface Decision {
  readonly account: number
  readonly rule: InboundRule | undefined
}

import { isMagic, SANDBOX_CARRIER } from '../routing/sandbox.js'

export interface RepliesHost {
  readonly spool: Spool
  readonly consent: Pick<Consent, 'isStopped' | 'note' | 'afterWritten'> & {
    readonly copy: Pick<Consent['copy'], 'mayAnswer'>
  }
  readonly clock: Clock
  readonly counts: Counters
  readonly log: Log
  readonly rules: readonly InboundRule[]
  /** The account that owns the number called. */
  ownerOf(number: string): number | undefined
  account(id: number): Account | undefined
  accountBySystemId(systemId: string): Account | undefined
  /** It answers a mail of the account, and can leave as one. */
  answersMail(account: Account, reply: Reply): boolean
  /** Queues in which a message waits for an account; `by` empty: as the account has it. */
  waysOf(account: Account, by: readonly InboundWay[]): readonly ReportQueue[]
  carrierName(carrier: number): string
  /** As the carrier means it; '' for what is no text. */
  textOf(reply: Reply): string
  /** A message of ours to the phone, past its own STOP. */
  answer(message: Message, account: Account): Fault | undefined
}

export class Replies {
  /** Replaced when the directory's rules change. */
  table: InboundTable
  private readonly host: RepliesHost
  private readonly parts: LRUCache<string, Decision>
  private readonly quiet: Quiet

  constructor(host: RepliesHost) {
    this.host = host
    this.table = new InboundTable(host.rules)
    this.quiet = new Quiet(LINES, LINES_IN_ALL, () => host.clock.mono())
    // `max` alone would make room for all of them at once.
    this.parts = new LRUCache({
      maxSize: PARTS,
      sizeCalculation: () => 1,
      ttl: PARTS_MS,
      ttlResolution: 0,
      perf: { now: () => host.clock.mono() },
    })
  }

  /** False: not stored, the carrier must keep it. */
  reply(reply: Reply): boolean {
    const { spool, counts } = this.host
    // What is not stored is not heeded either: it comes again.
    if (spool.exhausted) return false
    const text = this.host.textOf(reply)
    const { account, rule, isPart } = this.decide(reply, text)
    const owner = account === UNCLAIMED ? undefined : this.host.account(account)
    if (!isPart) this.heed(reply, text, owner)
    counts.add(owner === undefined ? 'replies_unclaimed' : 'replies')
    return this.store(reply, owner, rule?.by ?? [])
  }

  textOf(reply: Reply): string {
    return this.host.textOf(reply)
  }

  /** Calls back when consent that was noted until now is durable; see {@link Spool.afterSync} for the rest. */
  afterNoted(then: () => void): void {
    this.host.consent.afterWritten(then)
  }

  /** Which rule takes a message, and which account it goes to; `account` null: nobody's. */
  explain(inquiry: Inquiry): {
    rule: InboundRule | null
    account: Account | null
    because: 'rule' | 'owner' | 'nobody'
  } {
    const rule = this.table.match(inquiry)
    const account = rule === undefined ? undefined : this.host.accountBySystemId(rule.account)
    if (rule !== undefined && account !== undefined) return { rule, account, because: 'rule' }
    const owner = this.host.account(this.host.ownerOf(inquiry.called) ?? UNCLAIMED)
    return { rule: null, account: owner ?? null, because: owner === undefined ? 'nobody' : 'owner' }
  }

  /** Up to `most` of the messages that belong to nobody, the oldest first; they stay. */
  unclaimed(most: number): { atMs: number; reply: Reply }[] {
    const { spool } = this.host
    const reports = spool.claimReports(UNCLAIMED, most)
    for (const report of [...reports].reverse()) spool.giveBackReport(report)
    return reports.flatMap(({ atMs, reply }) => (reply === undefined ? [] : [{ atMs, reply }]))
  }

  /** Up to `most` of them become an account's, or are nobody's any more; how many. Durable when the spool has synced. */
  settle(most: number, to: Account | null): number {
    const { spool, counts } = this.host
    const reports = spool.claimReports(UNCLAIMED, most)
    let done = 0
    for (const report of reports) {
      if (to !== null && report.reply !== undefined && !this.store(report.reply, to, [])) {
        spool.giveBackReport(report)
        continue
      }
      spool.reportDone(report)
      done++
    }
    if (done > 0) counts.add(to === null ? 'replies_unclaimed_dropped' : 'replies_unclaimed_given', done)
    return done
  }

  private store(reply: Reply, account: Account | undefined, by: readonly InboundWay[]): boolean {
    const { spool } = this.host
    if (account === undefined) return spool.reply(UNCLAIMED, reply)
    const isAnswer = (by.length === 0 || by.includes('mail')) && this.host.answersMail(account, reply)
    // Whoever wrote to the phone by mail hears by mail.
    if (by.length === 0 && isAnswer) return spool.reply(account.id, reply, way.mail)
    const queues = this.host.waysOf(account, by).filter(queue => queue.way !== way.mail || isAnswer)
    // A rule may name ways that the account does not have, or mail where there is none to answer.
    if (queues.length === 0) return spool.reply(account.id, reply)
    let isStored = true
    for (const queue of queues) isStored = spool.reply(queue.of, reply, queue.way) && isStored
    return isStored
  }

  private decide(reply: Reply, text: string): Decision & { isPart: boolean } {
    const part = partOf(reply)
    const key =
      part && `${reply.carrier} ${part.how} ${part.ref} ${part.total} ${reply.source_addr} ${reply.destination_addr}`
    const known = key === undefined ? undefined : this.parts.get(key)
    if (known !== undefined) return { ...known, isPart: true }
    const { rule, account } = this.explain({
      called: digitsOf(reply.destination_addr) || reply.destination_addr,
      source: digitsOf(reply.source_addr) || reply.source_addr,
      carrier: this.host.carrierName(reply.carrier),
      text,
    })
    const decision = { account: account?.id ?? UNCLAIMED, rule: rule ?? undefined }
    if (key !== undefined) this.parts.set(key, decision)
    return { ...decision, isPart: key !== undefined }
  }

  /** STOP, START and HELP act here; the reply says what came of it. */
  private heed(reply: Reply, text: string, account: Account | undefined): void {
    const { consent, clock } = this.host
    if (account !== undefined && !account.consent.stop) return
    const number = digitsOf(reply.source_addr)
    const of = account?.id ?? UNCLAIMED
    if (number === '') return
    const asked = optWord(text, () => consent.isStopped(of, number))
    if (asked === undefined) return
    const { kind, word } = asked
    reply.extras = CONSENT[kind]
    if (kind === 'help') {
      this.answer(reply, account, 'help', account?.consent.help)
      return
    }
    const wasStopped = consent.isStopped(of, number)
    if (kind === 'stop' && number.startsWith('0')) this.national(reply)
    const called = reply.destination_addr
    if (!isPlayed(reply, number))
      consent.note({ account: of, number, kind, source: 'mo', atMs: clock.now(), called, word })
    if (kind === 'stop' && !wasStopped) this.answer(reply, account, 'confirm', account?.consent.confirm)
  }

  /** A STOP holds for the number as it is written: under its international spelling the phone is not known by it. */
  private national({ carrier }: Reply): void {
    const { counts, log } = this.host
    counts.add('consent_stop_national')
    const told = { carrier: this.host.carrierName(carrier) }
    const text = 'STOP from a number without its country code stops that spelling only: set rewrite.replySource there'
    this.quiet.warn(log, String(carrier), told, text)
  }

  /** From the number that was called; once a day of a kind at most, for the phone may be a machine that answers too. */
  private answer(reply: Reply, account: Account | undefined, kind: string, text: string | null | undefined): void {
    const { consent, clock, counts } = this.host
    if (account === undefined || text === null || text === undefined) return
    const isReal = !isPlayed(reply, digitsOf(reply.source_addr))
    if (isReal && !consent.copy.mayAnswer(account.id, digitsOf(reply.source_addr), kind, clock.now())) {
      counts.add('consent_answers_held')
      return
    }
    const m = new Message()
    m.isText = true
    m.body = Buffer.from(text)
    m.extras = EXTRAS_OF_ANSWER
    m.source_addr_ton = reply.dest_addr_ton
    m.source_addr_npi = reply.dest_addr_npi
    m.source_addr = reply.destination_addr
    m.dest_addr_ton = reply.source_addr_ton
    m.dest_addr_npi = reply.source_addr_npi
    m.destination_addr = reply.source_addr
    // To a phone that is played, whatever its number is.
    m.isSandboxed = reply.carrier === SANDBOX_CARRIER
    const fault = this.host.answer(m, account)
    counts.add(fault === undefined ? 'consent_answers' : `consent_answers_refused_${fault.code}`)
  }
}

/**
 * In the sandbox anybody may write as any phone: what that says of consent holds for numbers of the sandbox alone, and
 * nothing is remembered of a phone that somebody has.
 */
const isPlayed = ({ carrier }: Reply, number: string): boolean => carrier === SANDBOX_CARRIER && !isMagic(number)

const CONSENT: Readonly<Record<OptKind, string>> = {
  stop: '{"consent":"stopped"}',
  start: '{"consent":"started"}',
  help: '{"consent":"help"}',
}

/** An account's own ways: its binds, and the webhooks that want messages from phones. */
export function queuesOf(
  account: Account,
  by: readonly InboundWay[],
  hooks: readonly ReportQueue[],
): readonly ReportQueue[] {
  const queues: ReportQueue[] = []
  if (by.length === 0 || by.includes('bind')) queues.push({ way: way.bind, of: account.id })
  if (by.length === 0 || by.includes('hook')) queues.push(...hooks)
  if (by.includes('mail')) queues.push({ way: way.mail, of: account.id })
  return queues
}
