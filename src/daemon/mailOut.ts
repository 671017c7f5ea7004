// Mail that leaves, with everything it needs of the house: which carriers take it, who is told by it, which mails phones
// answer, and for developers the mails that are caught. Knows how the parts are joined; what is sent is returns/mail's.

import { join } from 'node:path'
import { codingOf, decodeUserData } from '../../protocols/gsm/coding.js'
import { composeText } from '../../protocols/smtp/compose.js'
import { type CarrierRow, isMailKind, smtpSettings } from '../accounts/carrier.js'
import type { Directory } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { Quiet } from '../base/quiet.js'
import { CaughtMails } from '../carriers/catch.js'
import type { Dispatch } from '../dispatch/dispatch.js'
import type { Door, MailSender } from '../intake/submit.js'
import { isOfMail, Message, state } from '../model/message.js'
import type { Reply } from '../model/outcome.js'
import { Conversations } from '../returns/conversations.js'
import { MailReturns } from '../returns/mail.js'
import { mailWants } from '../returns/mailNotices.js'
import { MAIL_LANE } from '../routing/mail.js'
import type { Ending, Spool } from '../spool/contract.js'
import type { Lines } from './lines.js'

const UDHI = 0x40
/** Log lines a minute about mails that could not be sent, of one account and of all. */
const LINES = 5
const LINES_IN_ALL = 60

export interface MailOutHost {
  readonly dataDir: string
  readonly settings: {
    readonly hostname: string
    readonly smsDomains: readonly string[]
    readonly postmaster: string | null
    readonly catch: boolean
  }
  readonly spool: Spool
  readonly door: Door
  readonly dispatch: Dispatch
  readonly directory: Directory
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  /** They need what is here. */
  lines(): Lines
  fault(error: unknown): void
}

/** A mail of the gateway itself. */
export interface OwnMail {
  readonly to: string
  readonly subject: string
  readonly text: string
  /** Later it is of no use. */
  readonly withinMs: number
}

/** No account's: what it costs, and what becomes of it, is told to none. */
const GATEWAY: MailSender = { id: 0, suspended: null, maxWaiting: null }

/** Stands for all carriers of mail where mails are caught; no row of the directory gets so far. */
const CATCH: CarrierRow = {
  id: 0x7fff_ffff,
  name: 'catch',
  paused: false,
  kind: 'smtp',
  settings: { ...smtpSettings.parse({ host: 'nowhere' }), password: '' },
}

export class MailOut {
  readonly conversations: Conversations
  readonly returns: MailReturns
  /** null: mails are delivered. */
  readonly caught: CaughtMails | null
  private readonly host: MailOutHost
  private readonly quiet: Quiet

  constructor(host: MailOutHost) {
    const { dataDir, settings, spool, door, directory, clock, counters, log, fault } = host
    this.host = host
    this.caught = settings.catch ? new CaughtMails() : null
    this.quiet = new Quiet(LINES, LINES_IN_ALL, clock.mono)
    this.conversations = new Conversations({
      path: join(dataDir, 'conversations'),
      now: clock.now,
      count: (name, by) => counters.add(name, by),
      fault,
    })
    this.returns = new MailReturns({
      ...{ spool, door, clock, log, fault, counts: counters, hostname: settings.hostname },
      from: this.postmaster,
      smsDomains: new Set(settings.smsDomains),
      conversations: this.conversations,
      account: id => directory.account(id),
      textOf: reply => {
        const coding = this.codingOf(reply)
        return coding === 'binary' ? null : decodeUserData(reply.body, (reply.esm_class & UDHI) !== 0, coding)
      },
      isPacked: reply => this.codingOf(reply) === 'gsm-packed',
    })
  }

  private get postmaster(): string {
    const { postmaster, hostname } = this.host.settings
    return postmaster ?? `postmaster@${hostname}`
  }

  /** Takes a mail of the gateway itself; durable when it resolves. False: no carrier takes mails, or none may go there. */
  async write({ to, subject, text, withinMs }: OwnMail): Promise<boolean> {
    const { door, spool, settings, clock, log } = this.host
    const domain = to.slice(to.lastIndexOf('@') + 1).toLowerCase()
    // A mail to a phone is no mail.
    if (!door.carriesMail || settings.smsDomains.includes(domain)) return false
    const m = new Message()
    m.id = spool.takeIds(1)[0] as number
    m.source_addr = this.postmaster
    m.destination_addr = to
    m.validUntilMs = clock.now() + withinMs
    m.body = await composeText(
      {
        from: { name: 'Trunkline', address: this.postmaster },
        to: { address: to },
        subject,
        messageId: `${m.id}@${settings.hostname}`,
        atMs: clock.now(),
        fields: { 'Auto-Submitted': 'auto-generated' },
      },
      text,
    )
    const refusal = door.submitMail(m, GATEWAY)
    if (refusal !== undefined) {
      log.warn({ why: refusal.code }, 'a mail of ours was not taken')
      return false
    }
    await spool.synced()
    return true
  }

  private codingOf({ carrier, data_coding }: Reply) {
    return codingOf(data_coding, this.host.lines().codingsOf(carrier))
  }

  /** Makes the running carriers those of `rows`, and mails go over those that take them. */
  follow(rows: readonly CarrierRow[]): void {
    const { door, dispatch } = this.host
    const texts = rows.filter(({ kind, name }) => !isMailKind(kind) && !(this.caught !== null && name === CATCH.name))
    const mails = this.caught === null ? rows.filter(({ kind }) => isMailKind(kind)) : [CATCH]
    door.carriesMail = mails.length > 0
    this.host.lines().follow([...texts, ...mails])
    dispatch.reserve(
      MAIL_LANE,
      mails.map(({ name }) => name),
    )
  }

  start(): void {
    const { log, spool, fault } = this.host
    if (this.caught !== null) {
      log.warn({ setting: 'smtp.catch' }, 'NO MAIL IS DELIVERED: mails are caught, for the side-port to show at /catch')
    }
    if (spool.crashed) this.conversations.restore(spool).catch(fault)
    this.returns.start()
  }

  /** Whether the sender of a message that came by mail is told of its end: they asked, and some carrier takes mails. */
  tells(message: Message, ending: Ending): boolean {
    if (!mailWants(message, ending)) return false
    const { door, counters, log } = this.host
    if (door.carriesMail) return true
    counters.add('mail_notices_no_carrier')
    const { id, account } = message
    this.quiet.warn(log, 'no carrier', { id, account }, 'no carrier takes mails: a sender is not told, history has it')
    return false
  }

  /** Whether a phone's message to a number of the account answers a mail, and can leave as one. */
  answers(account: number, reply: Reply): boolean {
    return this.host.door.carriesMail && this.conversations.find(account, reply) !== null
  }

  /** A message that came by mail, or leaves as one, is over. */
  ended(message: Message, { state: s, error }: Ending): void {
    const { counters, log } = this.host
    const isGood = s === state.DELIVERED || s === state.ACCEPTED
    if (message.isMail) counters.add(isGood ? 'mails_sent' : 'mails_not_sent')
    else if (isOfMail(message) && !isGood) counters.add('mail_undelivered')
    if (isGood || !message.isMail) return
    const { id, account } = message
    this.quiet.warn(log, `${account}`, { id, account, state: s, error }, 'a mail could not be sent')
  }

  async stop(): Promise<void> {
    this.returns.stop()
    await this.conversations.close()
  }
}
