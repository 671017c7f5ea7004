// Notifications that wait: a moment for others of the same mail, whose recipients often fail together, and until their
// sender may be told again, or mails leave again. Late ones are told one by one while they are few, else many together.
// Bounded; knows neither how they are written nor how they leave.

import type { Report } from '../spool/contract.js'
import type { Notice } from './mailNotices.js'
import type { MailPace } from './mailPace.js'

const GATHER_MS = 500
/** Of all accounts and senders. */
const MOST_LATE = 10_000
/** So many late mails of one sender are told one by one. */
const FEW = 20
const MOST_TOGETHER = 100

export interface Told {
  readonly report: Report
  readonly notice: Notice
}

/** What became of one mail, for recipients that are told together. */
interface Gathered {
  readonly dueMs: number
  readonly told: Told[]
}

export interface MailGatherHost {
  readonly pace: MailPace
  /** Milliseconds, monotonic. */
  now(): number
  /** Mails can leave. */
  isOpen(): boolean
  /** They wait for longer than a moment, and hold up nobody. */
  late(told: readonly Told[]): void
  /** They are told now; `wasLate` as said before. */
  tell(told: readonly Told[], wasLate: boolean): void
}

export class MailGather {
  private readonly host: MailGatherHost
  /** By mail, the oldest first. */
  private readonly waiting = new Map<string, Gathered>()
  /** By sender, and of each by mail. */
  private readonly late = new Map<string, (readonly Told[])[]>()
  private lateCount = 0

  constructor(host: MailGatherHost) {
    this.host = host
  }

  get isEmpty(): boolean {
    return this.waiting.size === 0 && this.late.size === 0
  }

  add(told: Told): void {
    const { note, messageId } = told.notice
    const mail = `${senderOf(told)} ${note.envid ?? ''} ${messageId || told.report.receipt?.id}`
    const gathered = this.waiting.get(mail)
    if (gathered) gathered.told.push(told)
    else this.waiting.set(mail, { dueMs: this.host.now() + GATHER_MS, told: [told] })
  }

  /** What is due is told, or told later. */
  tick(): void {
    const now = this.host.now()
    for (const [sender, mails] of this.late) {
      while (mails.length > 0 && this.mayTell(sender)) {
        const told = mails.splice(0, mails.length > FEW ? MOST_TOGETHER : 1).flat()
        this.lateCount -= told.length
        this.host.tell(told, true)
      }
      if (mails.length === 0) this.late.delete(sender)
    }
    for (const [mail, { dueMs, told }] of this.waiting) {
      if (dueMs > now) break
      const sender = senderOf(told[0] as Told)
      if (!this.late.has(sender) && this.mayTell(sender)) this.host.tell(told, false)
      else if (this.lateCount < MOST_LATE) this.delay(sender, told)
      else continue
      this.waiting.delete(mail)
    }
  }

  private mayTell(sender: string): boolean {
    return this.host.isOpen() && this.host.pace.take(sender)
  }

  private delay(sender: string, told: readonly Told[]): void {
    const before = this.late.get(sender)
    if (before === undefined) this.late.set(sender, [told])
    else before.push(told)
    this.lateCount += told.length
    this.host.late(told)
  }
}

const senderOf = ({ report, notice }: Told): string => `${report.account} ${notice.note.from}`
