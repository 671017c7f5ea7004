// What leaves by mail: notifications of what became of mails, and replies from phones. Takes the outbox's queues of way
// mail; a mail is stored in the commit that drops its report, so each leaves once, over a crash too. Who is told much in a
// short time is told of one mail's recipients together. Knows reports and mails; carriers are the door's and dispatch's.

import { composeText, threadOf } from '../../protocols/smtp/compose.js'
import { composeDsn } from '../../protocols/smtp/dsn.js'
import type { Account } from '../accounts/account.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { Quiet } from '../base/quiet.js'
import type { Door } from '../intake/submit.js'
import { Message } from '../model/message.js'
import type { Reply } from '../model/outcome.js'
import { type Report, type Spool, way } from '../spool/contract.js'
import type { Conversation, Conversations } from './conversations.js'
import { type CutNotice, cutDsn, dsnOf, type Notice, type NoticeHead, noticeOf } from './mailNotices.js'
import { MailPace } from './mailPace.js'
import { Joined, Rejoiner, rejoinLimits } from './rejoin.js'

/** Claimed of one account and not done, but for parts of a reply that wait for others. */
const MOST_OPEN = 1_000
const CLAIM = 64
/** Mails that one turn of the event loop writes. */
const AT_ONCE = 8
/** Recipients of one notification. */
const MOST_RECIPIENTS = 100
const TICK_MS = 250
/** Notifications wait so long for others of the same mail. */
const GATHER_MS = 500
/** After a full queue or disk. */
const PAUSE_MS = 5_000
/** Log lines a minute, of one account and of all. */
const LINES = 1
const LINES_IN_ALL = 60

export interface MailReturnsHost {
  readonly spool: Spool
  readonly door: Door
  readonly clock: Clock
  readonly counts: Counters
  readonly log: Log
  /** Our name. */
  readonly hostname: string
  /** Whose name notifications bear. */
  readonly from: string
  readonly smsDomains: ReadonlySet<string>
  readonly conversations: Pick<Conversations, 'find'>
  account(id: number): Account | undefined
  /** What a phone has written; null: no text. */
  textOf(reply: Reply): string | null
  /** Its text is eight septets in seven octets, as its carrier says. */
  isPacked(reply: Reply): boolean
  fault(error: unknown): void
}

interface Told {
  readonly report: Report
  readonly notice: Notice
}

/** What became of one mail, for recipients that are told together. */
interface Gathered {
  readonly dueMs: number
  readonly told: Told[]
}

export class MailReturns {
  private readonly host: MailReturnsHost
  private readonly rejoiner: Rejoiner
  private readonly pace: MailPace
  private readonly quiet: Quiet
  private readonly open = new Map<number, number>()
  private readonly paused = new Set<number>()
  /** By mail, the oldest first. */
  private readonly waiting = new Map<string, Gathered>()
  /** Mails to be written. */
  private readonly jobs: (() => void)[] = []
  private timer: NodeJS.Timeout | undefined
  private isStopping = false

  constructor(host: MailReturnsHost) {
    this.host = host
    this.pace = new MailPace(host.clock.mono)
    this.quiet = new Quiet(LINES, LINES_IN_ALL, host.clock.mono)
    this.rejoiner = new Rejoiner(rejoinLimits, {
      release: part => {
        host.spool.giveBackReport(part)
        setImmediate(() => this.pump(part.account))
      },
      newest: () => host.spool.newestReport,
      isPacked: reply => host.isPacked(reply),
    })
  }

  /** What was left by the last run. */
  start(): void {
    for (const account of [...this.host.spool.reportAccounts(way.mail)]) this.pump(account)
  }

  /** The account's queue got something. */
  pump(account: number): void {
    const { spool, counts, fault } = this.host
    while (!this.isStopping && !this.paused.has(account)) {
      const room = MOST_OPEN - (this.open.get(account) ?? 0)
      const reports = room <= 0 ? [] : spool.claimReports(account, Math.min(room, CLAIM), way.mail)
      if (reports.length === 0) return
      for (const report of reports) {
        this.count(account, 1)
        try {
          this.take(report)
        } catch (error) {
          // What cannot be written would stand at the head of the queue for ever.
          counts.add('mail_returns_unwritable')
          this.done([report])
          fault(error)
        }
      }
    }
  }

  private take(report: Report): void {
    if (report.reply) this.takeReply(report)
    else if (report.event) this.takeCut(report, JSON.parse(report.event.data) as CutNotice)
    else {
      const notice = report.receipt ? noticeOf(report.receipt) : null
      if (notice === null) {
        this.done([report])
        return
      }
      if (this.isOurs([report], notice.note.from)) return
      this.gather({ report, notice })
    }
  }

  /** A mail to a phone is no mail: it would be a text message, and its end be told to the phone. */
  private isOurs(reports: readonly Report[], address: string): boolean {
    const domain = address.slice(address.lastIndexOf('@') + 1).toLowerCase()
    const isOurs = domain === '' || this.host.smsDomains.has(domain)
    if (isOurs) this.lose(reports, 'own_domain', 'a notice or reply that would go to one of our own SMS domains')
    return isOurs
  }

  // -- notifications ---------------------------------------------------------------

  /** Recipients of one mail often fail together: their sender is told once. */
  private gather(told: Told): void {
    const { note, messageId } = told.notice
    const mail = `${senderOf(told)} ${note.envid ?? ''} ${messageId || told.report.receipt?.id}`
    const gathered = this.waiting.get(mail)
    if (gathered) gathered.told.push(told)
    else this.waiting.set(mail, { dueMs: this.host.clock.mono() + GATHER_MS, told: [told] })
    this.tickSoon()
  }

  private notify(told: readonly Told[]): void {
    for (let from = 0; from < told.length; from += MOST_RECIPIENTS) {
      const some = told.slice(from, from + MOST_RECIPIENTS)
      const reports = some.map(({ report }) => report)
      const { account } = reports[0] as Report
      const notices = some.map(({ notice }) => notice)
      const id = this.newId()
      this.leave(reports, id, '', notices[0]?.note.from ?? '', () => composeDsn(dsnOf(this.headOf(id), notices)))
      this.host.counts.add('mail_notices')
      this.host.log.debug({ account, recipients: some.length }, 'a sender is told by mail')
    }
  }

  private takeCut(report: Report, cut: CutNotice): void {
    const { from } = cut.note
    if (this.isOurs([report], from)) return
    if (!this.pace.take(`${report.account} ${from}`)) {
      this.lose([report], 'too_many', 'a notice of what was cut: its sender has had many in this minute')
      return
    }
    const id = this.newId()
    this.leave([report], id, '', from, () => composeDsn(cutDsn(this.headOf(id), cut)))
    this.host.counts.add('mail_notices_cut')
  }

  private headOf(id: number): NoticeHead {
    const { from, hostname, clock } = this.host
    return { from, reportingMta: hostname, messageId: `${id}@${hostname}`, atMs: clock.now() }
  }

  // -- replies ---------------------------------------------------------------------

  private takeReply(report: Report): void {
    const whole = this.rejoiner.take(report, this.host.clock.mono())
    if (whole === 'held') {
      this.count(report.account, -1)
      this.tickSoon()
      return
    }
    // The parts that waited are in hand again, as this one is.
    if (whole instanceof Joined) this.count(report.account, whole.parts.length - 1)
    const reports = whole instanceof Joined ? whole.parts : [report]
    const reply = whole === 'again' ? undefined : whole.reply
    if (reply === undefined) {
      this.done(reports)
      return
    }
    const conversation = this.host.conversations.find(report.account, reply)
    if (conversation === null) {
      this.toBinds(reports)
      return
    }
    if (this.isOurs(reports, conversation.to)) return
    this.answer(reports, reply, conversation)
    if (whole instanceof Joined) this.rejoiner.done(whole, this.host.clock.mono())
  }

  /** There is no mail that it answers, or none any more: it waits where replies wait that go nowhere else. */
  private toBinds(reports: readonly Report[]): void {
    const { spool, counts } = this.host
    for (const { account, reply } of reports) {
      if (reply === undefined || spool.reply(account, reply)) continue
      this.back(reports)
      return
    }
    counts.add('mail_replies_to_binds', reports.length)
    this.done(reports)
  }

  private answer(reports: readonly Report[], reply: Reply, { to, at, id, subject }: Conversation): void {
    const { hostname } = this.host
    const ours = this.newId()
    const phone = `${reply.source_addr.replace(/[^0-9A-Za-z+]/g, '')}@${at}`
    const text = this.host.textOf(reply) ?? `This message is no text. Its octets: ${reply.body.toString('hex')}`
    const head = {
      from: { name: reply.source_addr, address: phone },
      to: { address: to },
      subject: /^re:/i.test(subject) ? subject : `Re: ${subject === '' ? 'your text message' : subject}`,
      messageId: `${ours}@${hostname}`,
      atMs: (reports[0] as Report).atMs,
      ...(id === '' ? {} : { fields: threadOf(id) }),
    }
    this.leave(reports, ours, phone, to, () => composeText(head, text.endsWith('\n') ? text : `${text}\n`))
    this.host.counts.add('mail_replies')
  }

  // -- out -------------------------------------------------------------------------

  private newId(): number {
    return this.host.spool.takeIds(1)[0] as number
  }

  /** Stores the mail, and drops what it tells in the same commit. */
  private leave(reports: readonly Report[], id: number, from: string, to: string, write: () => Promise<Buffer>): void {
    this.jobs.push(() => this.write(reports, id, from, to, write()))
    if (this.jobs.length === 1) setImmediate(() => this.work())
  }

  /** Writing a mail takes a while: a few in each turn of the event loop. */
  private work(): void {
    for (const job of this.jobs.slice(0, AT_ONCE)) job()
    this.jobs.splice(0, AT_ONCE)
    if (this.jobs.length > 0) setImmediate(() => this.work())
  }

  private write(reports: readonly Report[], id: number, from: string, to: string, mail: Promise<Buffer>): void {
    const { fault } = this.host
    mail.then(
      octets => {
        try {
          this.submit(reports, id, from, to, octets)
        } catch (error) {
          this.lose(reports, 'fault', 'a mail of ours could not be stored')
          fault(error)
        }
      },
      (error: unknown) => {
        this.lose(reports, 'fault', 'a mail of ours could not be written')
        fault(error)
      },
    )
  }

  private submit(reports: readonly Report[], id: number, from: string, to: string, octets: Buffer): void {
    const { door } = this.host
    const { account } = reports[0] as Report
    const known = this.host.account(account)
    if (known === undefined) {
      this.lose(reports, 'no_account', 'a mail of an account that is gone')
      return
    }
    const m = new Message()
    m.id = id
    m.source_addr = from
    m.destination_addr = to
    m.body = octets
    const refusal = door.submitMail(m, known)
    if (refusal === undefined) this.done(reports)
    else if (refusal.retryable) this.back(reports)
    else this.lose(reports, refusal.code, refusal.text)
  }

  private done(reports: readonly Report[]): void {
    for (const report of reports) this.host.spool.reportDone(report)
    const [first] = reports
    if (first === undefined) return
    const wasFull = (this.open.get(first.account) ?? 0) >= MOST_OPEN
    this.count(first.account, -reports.length)
    if (wasFull) setImmediate(() => this.pump(first.account))
  }

  /** There is no room at this moment. */
  private back(reports: readonly Report[]): void {
    const { account } = reports[0] as Report
    for (const report of [...reports].reverse()) this.host.spool.giveBackReport(report)
    this.count(account, -reports.length)
    if (this.paused.has(account) || this.isStopping) return
    this.paused.add(account)
    this.host.counts.add('mail_returns_deferred')
    setTimeout(() => {
      this.paused.delete(account)
      this.pump(account)
    }, PAUSE_MS).unref()
  }

  /** It will never be told; history has what became of the message. */
  private lose(reports: readonly Report[], why: string, words: string): void {
    const { counts, log } = this.host
    const { account } = reports[0] as Report
    counts.add('mail_returns_lost', reports.length)
    counts.add(`mail_returns_lost_${why}`, reports.length)
    this.quiet.warn(log, `${account} ${why}`, { account, why: words }, 'not told by mail; history has it')
    this.done(reports)
  }

  private count(account: number, by: number): void {
    const n = (this.open.get(account) ?? 0) + by
    if (n > 0) this.open.set(account, n)
    else this.open.delete(account)
  }

  // -- time ------------------------------------------------------------------------

  private tickSoon(): void {
    this.timer ??= setInterval(() => this.tick(), TICK_MS).unref()
  }

  private tick(): void {
    if (this.rejoiner.held > 0) {
      const n = this.rejoiner.tick(this.host.clock.mono())
      if (n > 0) this.host.counts.add('replies_not_rejoined', n)
    }
    const now = this.host.clock.mono()
    for (const [mail, { dueMs, told }] of this.waiting) {
      if (dueMs > now) break
      // Who has been told enough for this minute hears of it in the next, and of more at once.
      if (!this.pace.take(senderOf(told[0] as Told))) continue
      this.waiting.delete(mail)
      this.notify(told)
    }
    if (this.waiting.size > 0 || this.rejoiner.held > 0) return
    clearInterval(this.timer)
    this.timer = undefined
  }

  /** Nothing more leaves; what is open stands in the outbox. */
  stop(): void {
    this.isStopping = true
    clearInterval(this.timer)
  }
}

const senderOf = ({ report, notice }: Told): string => `${report.account} ${notice.note.from}`
