// One mail client's connection: who it is, what its envelope may hold, and its mails on their way to submit(). All of a
// mail's messages are taken or none, and it is answered once they are durable. Knows accounts and numbers; what is a
// command and what a MIME part, protocols/smtp knows.

import { mayComeFrom, networkOf } from '../../../protocols/net/address.js'
import { type Recipient, type Sender, writtenMailbox } from '../../../protocols/smtp/commands.js'
import type { Attempt, Customer, MailSink } from '../../../protocols/smtp/customer.js'
import { type Reply, said } from '../../../protocols/smtp/replies.js'
import type { Account } from '../../accounts/account.js'
import { Message } from '../../model/message.js'
import type { FailedBinds } from '../smpp/failures.js'
import type { Door } from '../submit.js'
import type { Duplicates } from './duplicates.js'
import type { Held } from './forwarding.js'
import { Incoming } from './incoming.js'
import { numberOf } from './number.js'
import { answers, replyOf } from './replies.js'

/** What a connection needs of the house around it. */
export interface MailHost {
  readonly door: Door
  readonly failures: FailedBinds
  readonly duplicates: Duplicates
  /** Of mails that leave as mails. */
  readonly held: Held
  readonly smsDomains: ReadonlySet<string>
  /** Our name. */
  readonly hostname: string
  /** Who reads the mail to the postmaster of our domains; null: nobody. */
  readonly postmaster: string | null
  /** Mail to any other domain is taken, and leaves as mail. */
  readonly takesAll: boolean
  /** Wall clock, ms. */
  now(): number
  /** A text message that came by mail was taken. */
  noted(message: Message): void
  account(id: number): Account | undefined
  accountBySystemId(systemId: string): Account | undefined
  /** Whether a key is the account's, and may be used from there to send. Takes as long for no account as for one. */
  mayUseKey(account: Account | undefined, apiKey: string, address: string): boolean
  /** Takes as long for no account as for one. */
  verify(account: Account | undefined, password: string): boolean
  /** The account whose mail needs no authentication from there; undefined: nobody's. */
  trusted(address: string): string | undefined
  /** One connection more, or less, of the account; false: it has as many as it may. */
  enter(account: Account): boolean
  leave(account: number): void
  count(name: string, by?: number): void
  /** `why` is one of few words. */
  authRefused(peer: MailCustomer, user: string, why: string): void
  authenticated(peer: MailCustomer, mechanism: string): void
  refused(peer: MailCustomer, reply: Reply): void
  closed(peer: MailCustomer): void
  fault(error: unknown): void
}

/** Where a mail goes. */
export interface Addressee {
  readonly number: string
  readonly recipient: Recipient
}

/** Where a mail goes as a mail. */
export interface Forwarded {
  readonly to: string
  readonly recipient: Recipient
}

export class MailCustomer implements Customer {
  readonly address: string
  readonly port: number
  systemId = ''
  accountId = 0
  mails = 0
  sender: Sender | null = null
  source = ''
  readonly addressees: Addressee[] = []
  readonly forwarded: Forwarded[] = []
  private readonly numbers = new Set<string>()
  private readonly host: MailHost

  constructor(host: MailHost, address: string, port: number) {
    this.host = host
    this.address = address
    this.port = port
    this.trust()
  }

  get isKnown(): boolean {
    return this.accountId !== 0
  }

  /** Asked for each time: a suspension or a new limit is a new object in the directory. */
  get account(): Account | undefined {
    return this.host.account(this.accountId)
  }

  private trust(): void {
    const systemId = this.host.trusted(this.address)
    const account = systemId === undefined ? undefined : this.host.accountBySystemId(systemId)
    if (account !== undefined && this.host.enter(account)) this.become(account)
  }

  private become({ id, systemId }: Account): void {
    this.accountId = id
    this.systemId = systemId
  }

  authenticate({ mechanism, user, secret }: Attempt): Reply | Promise<Reply> {
    const { host } = this
    const network = networkOf(this.address)
    if (host.failures.isBarred(network)) {
      host.authRefused(this, user, 'barred')
      return answers.barred
    }
    const account = host.accountBySystemId(user)
    // Both are looked at for no account too: the time it takes must not tell who exists.
    const isPassword = host.verify(account, secret)
    const isKey = host.mayUseKey(account, secret, this.address)
    const why =
      account === undefined
        ? 'unknown account'
        : !isPassword && !isKey
          ? 'password'
          : !mayComeFrom(account.mail.allowFrom, this.address)
            ? 'address not allowed'
            : undefined
    if (account === undefined || why !== undefined) {
      host.authRefused(this, user, why ?? 'unknown account')
      const delayMs = host.failures.add(network, user)
      if (delayMs === 0) return said.badCredentials
      return new Promise(resolve => setTimeout(resolve, delayMs, said.badCredentials))
    }
    host.failures.forgive(network, user)
    if (this.accountId !== 0) host.leave(this.accountId)
    this.accountId = 0
    if (!host.enter(account)) {
      host.authRefused(this, user, 'too many connections')
      return answers.tooManyConnections
    }
    this.become(account)
    host.authenticated(this, mechanism)
    return answers.authenticated
  }

  mail(sender: Sender): Reply | undefined {
    const { account } = this
    if (account === undefined) return answers.noAccount
    const { mail } = account
    const { local, domain } = sender.mailbox
    const mailbox = `${local}@${domain}`.toLowerCase()
    const isNull = local === ''
    if (!isNull && mail.from.length > 0 && !mail.from.includes(mailbox) && !mail.from.includes(`@${domain}`)) {
      return answers.senderNotOwned
    }
    this.source = mail.sources[mailbox] ?? mail.sources[`@${domain}`] ?? mail.source
    // What can be said of account, sender and queue is said before the body comes.
    const fault = this.host.door.judge(messageTo('', this.source), account)
    if (fault !== undefined && fault.code !== 'destination_invalid') return replyOf(fault)
    const refusal = this.host.door.refusal(account)
    if (refusal !== undefined) return replyOf(refusal)
    this.sender = sender
    return undefined
  }

  recipient(recipient: Recipient): Reply | undefined {
    const { account, host } = this
    if (account === undefined) return answers.noAccount
    const { local, domain } = recipient.mailbox
    const isOurs = domain === '' || host.smsDomains.has(domain)
    if (isOurs && local.toLowerCase() === 'postmaster') {
      return host.postmaster === null ? answers.noMailbox : this.forward(host.postmaster, recipient, account)
    }
    if (domain === '') return answers.noMailbox
    if (!isOurs) {
      return host.takesAll ? this.forward(writtenMailbox(recipient.mailbox), recipient, account) : answers.noRelay
    }
    const number = numberOf(local, account.mail.countryCode)
    if (number === null) return answers.noNumber
    if (this.sender?.mailbox.local === '') return answers.nullSender
    if (this.numbers.has(number)) return undefined
    if (this.isFull(account)) return said.tooManyRecipients
    const fault =
      host.door.judge(messageTo(number, this.source), account) ?? host.door.pace(account, this.addressees.length)
    if (fault !== undefined) return replyOf(fault)
    this.numbers.add(number)
    this.addressees.push({ number, recipient })
    return undefined
  }

  private isFull({ mail }: Account): boolean {
    return this.addressees.length + this.forwarded.length >= mail.maxRecipients
  }

  private forward(to: string, recipient: Recipient, account: Account): Reply | undefined {
    if (this.forwarded.some(other => other.to === to)) return undefined
    if (this.isFull(account)) return said.tooManyRecipients
    const m = new Message()
    m.destination_addr = to
    const fault = this.host.door.judgeMail(m, account) ?? this.host.door.pace(account)
    if (fault !== undefined) return fault.code === 'no_route' ? answers.noMailbox : replyOf(fault)
    this.forwarded.push({ to, recipient })
    return undefined
  }

  content(): MailSink | Reply {
    const { account, sender } = this
    if (account === undefined || sender === null) return answers.noAccount
    const refusal = this.host.door.refusal(account)
    if (refusal !== undefined) return replyOf(refusal)
    return new Incoming(this.host, this, account, sender, [...this.addressees], [...this.forwarded], this.source)
  }

  reset(): void {
    this.sender = null
    this.source = ''
    this.addressees.length = 0
    this.forwarded.length = 0
    this.numbers.clear()
  }

  secured(): void {
    this.reset()
    if (this.accountId === 0) return
    this.host.leave(this.accountId)
    this.accountId = 0
    this.systemId = ''
    this.trust()
  }

  refused(reply: Reply): void {
    this.host.refused(this, reply)
  }

  closed(): void {
    if (this.accountId !== 0) this.host.leave(this.accountId)
    this.host.closed(this)
  }
}

const INTERNATIONAL = 1
const ISDN = 1
const ALPHANUMERIC = 5
const UNKNOWN = 0

/** A message without a text. Type of number and numbering plan: SMPP v3.4 §5.2.5, §5.2.6. */
export function messageTo(number: string, source: string): Message {
  const m = new Message()
  m.isText = true
  m.dest_addr_ton = INTERNATIONAL
  m.dest_addr_npi = ISDN
  m.destination_addr = number
  if (source === '') return m
  const isNumber = /^\+?[0-9]+$/.test(source)
  m.source_addr = source
  if (!isNumber) m.source_addr_ton = ALPHANUMERIC
  else {
    // A short code is of no country.
    m.source_addr_ton = source.length > 6 ? INTERNATIONAL : UNKNOWN
    m.source_addr_npi = ISDN
  }
  return m
}
