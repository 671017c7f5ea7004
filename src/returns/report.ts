// Receipts and replies on their way to the customer: taken from the outbox as the account's binds have room, gone when
// the ESME says so, given back when it does not. A bind that cannot take them now is left alone for a while, and only
// it. Knows the outbox and what an answer means; the wire is intake/smpp's.

import { codingsWith } from '../../protocols/gsm/coding.js'
import type { CloseReason } from '../../protocols/smpp/session-owner.js'
import { status, statusName } from '../../protocols/smpp/status.js'
import { plainReceipts, type SmppProfile } from '../accounts/smppProfile.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { Quiet } from '../base/quiet.js'
import type { Bind } from '../intake/smpp/bind.js'
import type { Binds } from '../intake/smpp/binds.js'
import type { Reply } from '../model/outcome.js'
import type { Report, Spool } from '../spool/contract.js'
import { meaningOf, Stopped } from './answers.js'
import { cutReply, Piece } from './pieces.js'
import { Joined, Rejoiner, rejoinLimits } from './rejoin.js'
import { Suspects } from './suspects.js'
import { Troubles } from './troubles.js'

const CLAIM = 128
/** Reports that one turn of the event loop drops, or holds: they fill no window. */
const ROOMLESS_AT_ONCE = 256
/** Offers of one report to ESMEs whose answer says neither yes nor no: a generic_nack, a code of their own. */
const MAX_NACKED = 5
const MAX_TRIES = 10
/** Reports for the sender's own bind that wait for room there; more go to any. */
const MAX_HELD = 1_000
const REJOIN_TICK_MS = 1_000
/** Log lines a minute about dropped reports, of one account and cause, and of all. */
const DROPPED_LINES = 1
const DROPPED_LINES_IN_ALL = 100
/** message_payload is for peers of v3.4 on, and a short_message holds so much. */
const V34 = 0x34
const SHORT_MESSAGE_MAX = 254
const PAYLOAD_MAX = 0xffff
/** Ends of a connection that nothing we sent has brought about. */
const OF_NO_REPORT = new Set<CloseReason>(['unbound by peer', 'unbound by us', 'draining', 'account suspended'])

export interface ReporterHost {
  readonly spool: Spool
  readonly binds: Binds
  readonly counts: Counters
  readonly clock: Clock
  readonly log: Log
  profile(account: number): SmppProfile | undefined
  /** A reply as the account reads it. */
  reply(reply: Reply, account: number): Reply
  /** Its text is eight septets in seven octets, as its carrier says. */
  isPacked(reply: Reply): boolean
  /** The customer has it. */
  taken(report: Report): void
  fault(error: unknown): void
}

export class Reporter {
  private readonly host: ReporterHost
  private readonly troubles: Troubles
  private readonly tries = new WeakMap<Report, number>()
  /** For the sender's own bind, which has no room. */
  private readonly held = new Map<Bind, Report[]>()
  private readonly stopped = new Stopped()
  private readonly rejoiner: Rejoiner
  private readonly suspects: Suspects
  /** Accounts that go on in a later turn of the event loop. */
  private readonly soon = new Set<number>()
  /** Reports of this pump that filled no window. */
  private roomless = 0
  private rejoinTimer: NodeJS.Timeout | undefined
  private readonly quiet: Quiet
  private stopping = false

  constructor(host: ReporterHost) {
    this.host = host
    this.quiet = new Quiet(DROPPED_LINES, DROPPED_LINES_IN_ALL, host.clock.mono)
    this.rejoiner = new Rejoiner(rejoinLimits, {
      release: part => {
        host.spool.giveBackReport(part)
        this.pumpSoon(part.account)
      },
      newest: () => host.spool.newestReport,
      isPacked: reply => host.isPacked(reply),
    })
    this.troubles = new Troubles({
      hasWell: account => {
        const bind = this.untroubled(account)
        return bind !== undefined && !this.troubles.has(bind)
      },
      giveBack: report => host.spool.giveBackReport(report),
      pump: account => this.pump(account),
    })
    this.suspects = new Suspects({
      binds: account => host.binds.of(account),
      isWell: bind => !this.stopping && this.roomOf(bind) > 0,
      send: (report, bind) => this.send(report, bind),
      fault: error => host.fault(error),
    })
  }

  /** The account got a report, or one of its binds has room. */
  pump(account: number): void {
    if (this.stopping || (this.soon.size > 0 && this.soon.has(account))) return
    if (this.held.size > 0) this.pumpHeld(account)
    if (!this.troubles.none) this.troubles.pump(account)
    if (!this.suspects.none) this.suspects.pump(account)
    this.roomless = 0
    for (;;) {
      const isPlain = this.troubles.none && this.suspects.none
      const bind = isPlain ? this.host.binds.receiver(account) : this.untroubled(account)
      if (!bind) break
      const reports = this.host.spool.claimReports(account, Math.min(CLAIM, bind.session.room()))
      if (reports.length === 0) break
      const profile = this.host.profile(account)
      for (const report of reports) this.hand(report, bind, profile)
      if (this.roomless >= ROOMLESS_AT_ONCE) {
        this.pumpSoon(account)
        break
      }
    }
    if (this.held.size > 0) this.pumpHeld(account)
  }

  private pumpSoon(account: number): void {
    if (this.soon.has(account)) return
    this.soon.add(account)
    setImmediate(() => {
      this.soon.delete(account)
      try {
        this.pump(account)
      } catch (error) {
        this.host.fault(error)
      }
    })
  }

  /** The bind with the most room; one that has refused what it got last only when no other has any. */
  private untroubled(account: number): Bind | undefined {
    let best: Bind | undefined
    let most = 0
    let isWell = false
    for (const bind of this.host.binds.of(account)) {
      const room = this.roomOf(bind)
      if (room === 0) continue
      const well = !this.troubles.has(bind)
      if (best !== undefined && (well === isWell ? room <= most : isWell)) continue
      most = room
      best = bind
      isWell = well
    }
    return best
  }

  private roomOf(bind: Bind): number {
    const isFree = bind.receives && !this.troubles.isResting(bind) && !this.suspects.keeps(bind)
    return isFree ? bind.session.room() : 0
  }

  private hand(report: Report, bind: Bind, profile: SmppProfile | undefined): void {
    if (!this.stopped.none && this.stopped.has(report)) {
      this.drop(report, 'reports_stopped', status.ESME_RX_P_APPN)
      return
    }
    if (profile === undefined) this.deliver(report, bind, plainReceipts)
    else if (report.reply && profile.replies === 'rejoin') this.handPart(report, bind, profile)
    else if (report.receipt && profile.receipts.to === 'sender') this.handSender(report, bind, profile)
    else this.deliver(report, bind, profile.receipts)
  }

  private deliver(report: Report, bind: Bind, form: SmppProfile['receipts']): void {
    if (!this.suspects.none && this.suspects.takes(report, firstOf(report))) return
    this.send(report, bind, form)
  }

  private send(report: Report, bind: Bind, form = this.formOf(report.account)): void {
    try {
      if (report.reply) this.sendReply(report, report.reply, bind, form)
      else bind.deliver(report, form)
    } catch (error) {
      // What cannot be written would stand at the head of the queue for ever.
      this.roomless++
      this.suspects.over(bind, report)
      this.done(report)
      this.host.counts.add('reports_unwritable')
      this.host.fault(error)
    }
  }

  private formOf(account: number): SmppProfile['receipts'] {
    return this.host.profile(account)?.receipts ?? plainReceipts
  }

  private sendReply(report: Report, reply: Reply, bind: Bind, form: SmppProfile['receipts']): void {
    // What was cut is as the customer reads it.
    const meant = report instanceof Piece ? reply : this.host.reply(reply, report.account)
    const { length } = meant.body
    const isOld = bind.interfaceVersion < V34
    if (length <= SHORT_MESSAGE_MAX || (length <= PAYLOAD_MAX && !isOld)) bind.deliver(report, form, meant)
    else if (report instanceof Joined) {
      this.roomless++
      this.suspects.over(bind, report)
      this.host.counts.add('replies_not_rejoined')
      this.rejoiner.apart(report)
      // In the customer's coding it is too long for any PDU: as it came it was in one.
    } else if (length > PAYLOAD_MAX && !isOld) bind.deliver(report, form, reply)
    else this.sendOld(report, length > PAYLOAD_MAX ? reply : meant, bind, form)
  }

  /** What a short_message has no room for, of an account with a v3.3 bind: over another bind, or cut. */
  private sendOld(report: Report, reply: Reply, bind: Bind, form: SmppProfile['receipts']): void {
    this.suspects.over(bind, report)
    for (const other of this.host.binds.of(report.account)) {
      if (other.interfaceVersion >= V34 && other.receives && this.handTo(other, report, form)) return
    }
    const pieces = cutReply(report, reply, codingsWith(this.host.profile(report.account)?.codings ?? {}))
    if (pieces === undefined) {
      bind.deliver(report, form, reply)
      return
    }
    const [first, ...others] = pieces as [Piece, ...Piece[]]
    bind.deliver(first, form, first.reply)
    const waiting = this.held.get(bind)
    if (waiting) waiting.push(...others)
    else if (others.length > 0) this.held.set(bind, others)
  }

  // -- messages in parts -----------------------------------------------------

  private handPart(report: Report, bind: Bind, profile: SmppProfile): void {
    const { spool, counts, clock } = this.host
    const whole = this.rejoiner.take(report, clock.mono())
    if (whole === 'again') {
      this.roomless++
      spool.reportDone(report)
      counts.add('replies_parts_again')
    } else if (whole === 'held') {
      this.roomless++
      this.rejoinTimer ??= setInterval(() => this.tick(), REJOIN_TICK_MS).unref()
    } else this.deliver(whole, bind, profile.receipts)
  }

  private tick(): void {
    if (this.stopping) return
    if (this.rejoiner.held === 0) {
      clearInterval(this.rejoinTimer)
      this.rejoinTimer = undefined
      return
    }
    const n = this.rejoiner.tick(this.host.clock.mono())
    if (n === 0) return
    this.host.counts.add('replies_not_rejoined', n)
    // There may be more than one turn's.
    setImmediate(() => this.tick())
  }

  // -- to the sender's bind --------------------------------------------------

  private handSender(report: Report, bind: Bind, profile: SmppProfile): void {
    const own = this.host.binds.sender(report.account, report.receipt?.id ?? 0)
    if (own === undefined || own === bind || !own.receives || !this.handTo(own, report, profile.receipts)) {
      this.deliver(report, bind, profile.receipts)
    }
  }

  /** To this bind and no other, now or when it has room. False: too much waits for that. */
  private handTo(bind: Bind, report: Report, form: SmppProfile['receipts']): boolean {
    const waiting = this.held.get(bind)
    if (waiting === undefined && this.roomOf(bind) > 0) {
      this.deliver(report, bind, form)
      return true
    }
    if (waiting !== undefined && waiting.length >= MAX_HELD) return false
    this.roomless++
    if (waiting === undefined) this.held.set(bind, [report])
    else waiting.push(report)
    return true
  }

  private pumpHeld(account: number): void {
    for (const [bind, reports] of this.held) {
      if (bind.accountId !== account) continue
      const form = this.formOf(account)
      const n = Math.min(this.roomOf(bind), reports.length)
      for (const report of reports.splice(0, n)) {
        if (!(report instanceof Piece)) this.deliver(report, bind, form)
        else if (!report.of.isOver) this.send(report, bind, form)
      }
      if (!bind.receives) for (const report of reports.splice(0).reverse()) this.back(report)
      if (reports.length === 0) this.held.delete(bind)
    }
  }

  // -- answers ---------------------------------------------------------------

  /**
   * The ESME's answer; undefined when none came or its connection was lost.
   * @param isNack it was a generic_nack, and `code` is what it had to say
   */
  answered(bind: Bind, report: Report, code: number | undefined, isNack: boolean): void {
    const { spool, counts } = this.host
    if (report instanceof Piece) {
      this.pieceAnswered(bind, report, code, isNack)
      return
    }
    if (!this.suspects.none) {
      this.suspects.over(bind, report)
      if (code !== undefined) this.suspects.forget(firstOf(report))
    }
    if (code === undefined) {
      counts.add('reports_unanswered')
      this.back(report)
      // It lives, and does not answer.
      if (bind.receives) this.troubles.rest(bind)
      return
    }
    switch (meaningOf(code, isNack)) {
      case 'taken':
        counts.add(report.kind === 'receipt' ? 'receipts_delivered' : 'replies_delivered')
        this.host.taken(report)
        if (report instanceof Joined) this.rejoiner.done(report, this.host.clock.mono())
        this.done(report)
        if (!this.troubles.none) this.troubles.recovered(bind)
        break
      case 'later':
        this.later(bind, report)
        break
      case 'stop':
        this.stopped.add(report, spool.newestReport)
        this.drop(report, 'reports_refused', code)
        break
      case 'final':
        this.drop(report, 'reports_refused', code)
        break
      case 'unclear':
        if (this.tried(report) < (isNack ? MAX_NACKED : MAX_TRIES)) this.later(bind, report)
        else this.drop(report, isNack ? 'reports_nacked' : 'reports_refused', code)
    }
  }

  private done(report: Report): void {
    const { spool } = this.host
    if (report instanceof Joined) for (const part of report.parts) spool.reportDone(part)
    else spool.reportDone(report)
  }

  /** All of them taken: so is what they were cut from. One that was not: neither is that. */
  private pieceAnswered(bind: Bind, { of }: Piece, code: number | undefined, isNack: boolean): void {
    if (of.isOver) return
    if (code === status.ESME_ROK && !isNack && --of.left > 0) return
    of.isOver = true
    this.answered(bind, of.report, code, isNack)
  }

  /** The connection is gone, and with it what these would have been answered; the oldest comes first. */
  lost(bind: Bind, unanswered: readonly Report[], reason: CloseReason): void {
    const [oldest] = unanswered
    if (oldest === undefined) return
    const whole = oldest instanceof Piece ? oldest.of.report : oldest
    const isFatal = !OF_NO_REPORT.has(reason) && this.suspects.blame(firstOf(whole))
    if (isFatal) {
      if (oldest instanceof Piece) oldest.of.isOver = true
      this.suspects.over(bind, whole)
      this.drop(whole, 'reports_fatal', undefined)
    }
    for (let i = unanswered.length - 1; i >= Number(isFatal); i--)
      this.answered(bind, unanswered[i] as Report, undefined, false)
  }

  /** To where it came from, to be claimed again. */
  private back(report: Report): void {
    if (report instanceof Piece) {
      if (report.of.isOver) return
      report.of.isOver = true
      this.back(report.of.report)
    } else for (const one of partsOf(report)) this.host.spool.giveBackReport(one)
  }

  private tried(report: Report): number {
    const first = firstOf(report)
    const n = (this.tries.get(first) ?? 0) + 1
    this.tries.set(first, n)
    return n
  }

  /** Gone; of a receipt, history has the message. An ESME that refuses all it gets must not fill the disk with lines. */
  private drop(report: Report, counter: string, code: number | undefined): void {
    const { account } = report
    this.roomless++
    this.done(report)
    this.host.counts.add(counter)
    const who = { account, systemId: this.systemIdOf(account) }
    const [told, line] =
      code === undefined
        ? [who, 'a customer hangs up on a receipt or reply each time: dropped']
        : [{ ...who, status: statusName(code) }, 'a customer refuses receipts or replies: dropped']
    this.quiet.warn(this.host.log, `${account} ${counter}`, told, line)
  }

  private systemIdOf(account: number): string | undefined {
    const [bind] = this.host.binds.of(account)
    return bind?.systemId
  }

  private later(bind: Bind, report: Report): void {
    this.host.counts.add('reports_deferred')
    this.troubles.later(bind, partsOf(report))
  }

  /** Hands out nothing more. */
  stop(): void {
    this.stopping = true
    this.troubles.stop()
    this.suspects.stop()
    clearInterval(this.rejoinTimer)
  }
}

const partsOf = (report: Report): readonly Report[] => (report instanceof Joined ? report.parts : [report])

/** What is remembered of a report is remembered by this one: a message put together anew is another object. */
const firstOf = (report: Report): Report => partsOf(report)[0] as Report
