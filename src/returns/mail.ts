// What leaves by mail: notifications of what became of mails, and replies from phones. Takes the outbox's queues of way
// mail; a mail is stored in the commit that drops its report, so each leaves once, over a crash too. Who is told much in a
// short time is told of many messages together. Knows reports and mails; carriers are the door's and dispatch's.

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
import { MailGather, type Told } from './mailGather.js'
import { type CutNotice, cutDsn, dsnOf, type NoticeHead, noticeOf } from './mailNotices.js'
import { MailPace } from './mailPace.js'
import { Joined, Rejoiner, rejoinLimits } from './rejoin.js'

/** Claimed of one account and not done, but for what waits: parts of a reply for others, late notices for their minute. */
const MOST_OPEN = 1_000
const CLAIM = 64
/** Mails that one turn of the event loop writes. */
const AT_ONCE = 2
/** Recipients of one notification. */
const MOST_RECIPIENTS = 100
const TICK_MS = 250
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

/** A mail of ours. */
interface Leaving {
  /** What it tells. */
  readonly reports: readonly Report[]
  /** Which they are the parts of. */
  readonly whole?: Joined | undefined
  readonly id: number
  readonly from: string
  readonly to: string
  /** Counted when it is stored. */
  readonly counter: string
  write(): Promise<Buffer>
}

export class MailReturns {
  private readonly host: MailReturnsHost
  private readonly rejoiner: Rejoiner
  private readonly pace: MailPace
  private readonly quiet: Quiet
  private readonly open = new Map<number, number>()
  private readonly paused = new Set<number>()
  private readonly gather: MailGather
  /** To be written. */
  private readonly leaving: Leaving[] = []
  private timer: NodeJS.Timeout | undefined
  private isStopping = false

  constructor(host: MailReturnsHost) {
    this.host = host
    this.pace = new MailPace(() => host.clock.mono())
    this.gather = new MailGather({
      pace: this.pace,
      now: () => host.clock.mono(),
      isOpen: () => host.door.carriesMail,
      late: told => {
        this.count((told[0] as Told).report.account, -told.length)
        host.counts.add('mail_notices_late', told.length)
      },
      tell: (told, wasLate) => {
        if (wasLate) this.count((told[0] as Told).report.account, told.length)
        this.notify(told)
      },
    })
    this.quiet = new Quiet(LINES, LINES_IN_ALL, () => host.clock.mono())
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
        this.lose([report], 'no_sender', 'a notice of a mail of which no sender is known')
        return
      }
      if (this.isOurs([report], notice.note.from)) return
      this.gather.add({ report, notice })
      this.tickSoon()
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

  private notify(told: readonly Told[]): void {
    for (let from = 0; from < told.length; from += MOST_RECIPIENTS) {
      const some = told.slice(from, from + MOST_RECIPIENTS)
      const reports = some.map(({ report }) => report)
      const notices = some.map(({ notice }) => notice)
      const to = notices[0]?.note.from ?? ''
      const id = this.newId()
      const write = () => composeDsn(dsnOf(this.headOf(id), notices))
      this.leave({ reports, id, from: '', to, counter: 'mail_notices', write })
    }
  }

  private takeCut(report: Report, cut: CutNotice): void {
    const to = cut.note.from
    if (this.isOurs([report], to)) return
    if (!this.pace.take(`${report.account} ${to}`)) {
      this.lose([report], 'too_many', 'a notice of what was cut: its sender has had many in this minute')
      return
    }
    const id = this.newId()
    const write = () => composeDsn(cutDsn(this.headOf(id), cut))
    this.leave({ reports: [report], id, from: '', to, counter: 'mail_notices_cut', write })
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
    const { door, conversations } = this.host
    const conversation = door.carriesMail ? conversations.find(report.account, reply) : null
    if (conversation === null) {
      this.toBinds(reports)
      return
    }
    if (this.isOurs(reports, conversation.to)) return
    this.answer(reports, whole instanceof Joined ? whole : undefined, reply, conversation)
  }

  /** No mail that it answers is there any more, or no carrier of mails: it waits where replies wait that go nowhere else. */
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

  private answer(
    reports: readonly Report[],
    whole: Joined | undefined,
    reply: Reply,
    { to, at, id, subject }: Conversation,
  ): void {
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
    const write = () => composeText(head, text.endsWith('\n') ? text : `${text}\n`)
    this.leave({ reports, whole, id: ours, from: phone, to, counter: 'mail_replies', write })
  }

  // -- out -------------------------------------------------------------------------

  private newId(): number {
    return this.host.spool.takeIds(1)[0] as number
  }

  /** Stores the mail, and drops what it tells in the same commit. */
  private leave(mail: Leaving): void {
    this.leaving.push(mail)
    if (this.leaving.length === 1) setImmediate(() => this.work())
  }

  /** Writing a mail takes a while: a few in each turn of the event loop. */
  private work(): void {
    for (const mail of this.leaving.slice(0, AT_ONCE)) void this.write(mail)
    this.leaving.splice(0, AT_ONCE)
    if (this.leaving.length > 0) setImmediate(() => this.work())
  }

  private async write(mail: Leaving): Promise<void> {
    try {
      this.submit(mail, await mail.write())
    } catch (error) {
      this.lose(mail.reports, 'fault', 'a mail of ours could not be written')
      this.host.fault(error)
    }
  }

  private submit({ reports, whole, id, from, to, counter }: Leaving, octets: Buffer): void {
    const { door, counts, clock } = this.host
    const { account, kind } = reports[0] as Report
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
    if (refusal === undefined) {
      counts.add(counter)
      this.done(reports)
      if (whole !== undefined) this.rejoiner.done(whole, clock.mono())
    } else if (refusal.retryable) this.back(reports)
    // The last carrier of mails has gone meanwhile.
    else if (!door.carriesMail && kind === 'reply') this.toBinds(reports)
    else if (!door.carriesMail && kind === 'receipt') this.back(reports)
    else this.lose(reports, refusal.code, refusal.text)
  }

  private done(reports: readonly Report[]): void {
    for (const report of reports) this.host.spool.reportDone(report)
    const [first] = reports
    if (first !== undefined) this.count(first.account, -reports.length)
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
    const before = this.open.get(account) ?? 0
    const n = before + by
    if (n > 0) this.open.set(account, n)
    else this.open.delete(account)
    if (before >= MOST_OPEN && n < MOST_OPEN) setImmediate(() => this.pump(account))
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
    this.gather.tick()
    if (!this.gather.isEmpty || this.rejoiner.held > 0) return
    clearInterval(this.timer)
    this.timer = undefined
  }

  /** Nothing more leaves; what is open stands in the outbox. */
  stop(): void {
    this.isStopping = true
    clearInterval(this.timer)
  }
}
