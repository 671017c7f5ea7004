// One mail being received: read, judged, made into one message for each number, submitted, and answered when they are
// durable. What was cut or had come before is told in the answer. Holds of a mail what its text needs, never more.

import { plainText } from '../../../protocols/gsm/lookalike.js'
import { type Recipient, type Sender, writtenMailbox } from '../../../protocols/smtp/commands.js'
import type { MailSink } from '../../../protocols/smtp/customer.js'
import { MailReader, type ReadMail } from '../../../protocols/smtp/mail.js'
import { subjectOf, textOf } from '../../../protocols/smtp/mime.js'
import { type Reply, reply, said } from '../../../protocols/smtp/replies.js'
import type { Account } from '../../accounts/account.js'
import type { MailProfile } from '../../accounts/mailProfile.js'
import type { Fault } from '../../model/fault.js'
import { extrasOfMail, type MailNote, type Message } from '../../model/message.js'
import { way } from '../../spool/contract.js'
import { creditPending } from '../submit.js'
import { type Addressee, type Forwarded, type MailCustomer, type MailHost, messageTo } from './customer.js'
import { Forwarding } from './forwarding.js'
import { answers, replyOf } from './replies.js'
import { fitted, ownWords, printable } from './text.js'

const MOST_MESSAGE_ID = 200
/** Ids that an answer names; its line has 512 octets. */
const MOST_IDS = 20
/** Characters of a header field that are kept with a message. */
const MOST_FIELD = 250
/** Of a notice that a text was cut: characters of what was, and recipients, that it names. */
const MOST_CUT = 4_000
const MOST_NAMED = 30
/** Octets of an event. */
const MOST_EVENT = 60_000
/** registered_delivery, SMPP v3.4 §5.2.17; success alone is v5.0's. */
const receipts = { none: 0, all: 1, failure: 2, success: 3 } as const

/** Of a mail, what has not come before. */
interface Fresh {
  readonly messages: readonly Message[]
  /** Of each message, where its mail has a Message-ID. */
  readonly keys: readonly string[]
  /** Recipients to whom the same was sent before, and the id of the first of those messages. */
  readonly repeated: number
  readonly firstId: number
}

export class Incoming implements MailSink {
  private readonly reader = new MailReader()
  private readonly host: MailHost
  private readonly customer: MailCustomer
  private readonly account: Account
  private readonly sender: Sender
  private readonly addressees: readonly Addressee[]
  /** The mail itself, where it leaves as one; null: nowhere. */
  private readonly forwarding: Forwarding | null
  private readonly source: string

  constructor(
    host: MailHost,
    customer: MailCustomer,
    account: Account,
    sender: Sender,
    addressees: readonly Addressee[],
    forwarded: readonly Forwarded[],
    source: string,
  ) {
    this.host = host
    this.customer = customer
    this.account = account
    this.sender = sender
    this.addressees = addressees
    this.source = source
    this.forwarding = forwarded.length === 0 ? null : new Forwarding(forwarded, host.held)
  }

  write(octets: Buffer): void {
    this.reader.write(octets)
    this.forwarding?.add(octets)
  }

  drop(): void {
    this.forwarding?.over()
    this.host.count('mail_dropped')
  }

  end(answer: (reply: Reply) => void): void {
    try {
      this.ended(reply => {
        this.forwarding?.over()
        answer(reply)
      })
    } catch (error) {
      this.forwarding?.over()
      throw error
    }
  }

  private ended(answer: (reply: Reply) => void): void {
    const mail = this.reader.end()
    const refusal = this.refusal(mail)
    if (refusal !== undefined) {
      answer(refusal)
      return
    }
    if (this.addressees.length === 0) {
      this.forward(mail, answer)
      return
    }
    const words = wordsOf(mail, this.account.mail.subject)
    if (typeof words === 'string') this.submit(mail, words, answer)
    else {
      words
        .then(text => this.submit(mail, text, answer))
        .catch((error: unknown) => {
          this.host.fault(error)
          answer(said.internal)
        })
    }
  }

  private refusal(mail: ReadMail): Reply | undefined {
    const refusal = this.forwarding?.refusal
    if (refusal !== undefined) return refusal
    if (this.addressees.length === 0) return undefined
    if (this.reader.isTooComplex) return answers.tooComplex
    return isAutomatic(mail, this.account.mail) ? answers.automatic : undefined
  }

  private submit(mail: ReadMail, words: string, answer: (reply: Reply) => void): void {
    const { host, account } = this
    const whole = account.smpp.smartReplace ? (plainText(words) ?? words) : words
    if (whole === '') {
      answer(answers.empty)
      return
    }
    const { maxParts, overlong } = account.mail
    const { text, cut } = fitted(whole, maxParts)
    if (cut > 0 && overlong === 'refuse') {
      answer(reply(552, '5.3.4', `The text needs more than ${maxParts} parts`))
      return
    }
    const messageId = messageIdOf(mail)
    const isSilent = isByProgram(mail)
    const head = headOf(mail)
    const mails = this.mailsOf(mail, head, messageId)
    const taken = ({ messages, keys, repeated, firstId }: Fresh): void => {
      for (const m of mails) host.door.takeMail(m, account)
      for (const [index, key] of keys.entries()) host.duplicates.add(key, (messages[index] as Message).id)
      if (repeated > 0) host.count('mail_duplicates', repeated)
      for (const m of messages) host.noted(m)
      if (cut > 0) {
        host.count('mail_cut')
        if (!isSilent) this.tellCut(messages, messageId, head, whole.slice(text.length))
      }
      this.answered(messages, mails, accepted([...messages, ...mails], repeated, firstId, cut, maxParts), answer)
    }
    const submit = (waits: boolean): void => {
      // Anew each time: while it waited, the same mail may have come again and been taken.
      const fresh = this.fresh(text, messageId, isSilent, head)
      const fault = this.judgeMails(mails, fresh.messages.length) ?? host.door.submitAll(fresh.messages, account)
      if (fault === creditPending && waits) {
        host.door
          .creditKnown(account)
          .then(submit)
          .catch((error: unknown) => {
            host.fault(error)
            answer(said.internal)
          })
      } else if (fault !== undefined) answer(replyOf(fault))
      else taken(fresh)
    }
    submit(true)
  }

  private fresh(text: string, messageId: string, isSilent: boolean, head: Head): Fresh {
    const { host, account } = this
    const body = Buffer.from(text)
    const messages: Message[] = []
    const keys: string[] = []
    let repeated = 0
    let firstId = 0
    for (const { number, recipient } of this.addressees) {
      if (messageId !== '') {
        const key = host.duplicates.key(account.id, messageId, number, text)
        const before = host.duplicates.find(key)
        if (before !== undefined) {
          repeated++
          firstId ||= before
          continue
        }
        keys.push(key)
      }
      const m = messageTo(number, this.source)
      m.body = body
      // What a program sent is told to nobody: RFC 3834 §2.
      m.registered_delivery = isSilent ? receipts.none : receiptsFor(recipient)
      m.clientRef = messageId
      m.extras = extrasOfMail(noteOf(this.sender, recipient, head))
      messages.push(m)
    }
    return { messages, keys, repeated, firstId }
  }

  /** It leaves as a mail alone. */
  private forward(mail: ReadMail, answer: (reply: Reply) => void): void {
    const mails = this.mailsOf(mail, headOf(mail), messageIdOf(mail))
    const fault = this.judgeMails(mails, 0)
    if (fault !== undefined) {
      answer(replyOf(fault))
      return
    }
    for (const m of mails) this.host.door.takeMail(m, this.account)
    this.answered([], mails, accepted(mails, 0, 0, 0, 0), answer)
  }

  private mailsOf(mail: ReadMail, head: Head, messageId: string): readonly Message[] {
    const { forwarding, host, customer, sender } = this
    if (forwarding === null) return NO_MAILS
    const isSilent = isByProgram(mail) || sender.mailbox.local === ''
    return forwarding.messages(host.door.spool, customer.address, host.hostname, host.now()).map((m, index) => {
      const { recipient } = forwarding.to[index] as Forwarded
      m.source_addr = writtenMailbox(sender.mailbox)
      m.registered_delivery = isSilent ? receipts.none : receiptsFor(recipient)
      m.clientRef = messageId
      m.extras = extrasOfMail({ ...noteOf(sender, recipient, head), relay: true })
      return m
    })
  }

  /** All of them are taken, with so many `others`, or none. */
  private judgeMails(mails: readonly Message[], others: number): Fault | undefined {
    if (mails.length === 0) return undefined
    for (const m of mails) {
      const fault = this.host.door.judgeMail(m, this.account)
      if (fault !== undefined) return fault
    }
    return this.host.door.refusal(this.account, mails.length + others)
  }

  private answered(
    messages: readonly Message[],
    mails: readonly Message[],
    told: Reply,
    answer: (reply: Reply) => void,
  ): void {
    const { host } = this
    // Of a mail that has come before too: what it repeats may still be on its way to the disk.
    host.door.spool.afterSync(() => {
      this.customer.mails++
      host.count('mail_accepted')
      host.count('mail_messages', messages.length)
      if (mails.length > 0) host.count('mail_forwarded', mails.length)
      answer(told)
    })
  }

  /** By mail, besides the answer: few people see what their mail program was answered. */
  private tellCut(messages: readonly Message[], messageId: string, head: Head, cut: string): void {
    const { door } = this.host
    const wanting = this.addressees.filter(({ recipient }) => !recipient.notify?.includes('NEVER'))
    if (!door.carriesMail || wanting.length === 0 || messages.length === 0) return
    const kept = [...cut].slice(0, MOST_CUT).join('')
    const dataOf = (named: number): string =>
      JSON.stringify({
        note: noteOf(this.sender, (wanting[0] as Addressee).recipient, head),
        messageId,
        id: (messages[0] as Message).id,
        to: wanting.slice(0, named).map(({ recipient: { mailbox, orcpt } }) => ({
          to: writtenMailbox(mailbox),
          ...(orcpt === null ? {} : { orcpt }),
        })),
        others: Math.max(0, wanting.length - named),
        parts: this.account.mail.maxParts,
        cut: kept,
        more: [...cut.slice(kept.length)].length,
      })
    const whole = dataOf(MOST_NAMED)
    const data = Buffer.byteLength(whole) > MOST_EVENT ? dataOf(1) : whole
    const event = { id: '', type: 'mail.cut', atMs: this.host.now(), data }
    door.spool.event({ way: way.mail, of: this.account.id }, event)
  }
}

const NO_MAILS: readonly Message[] = []
const NOT_AUTOMATIC = /^\s*no\b/i

/** RFC 3834 §5. */
function isByProgram({ fields }: ReadMail): boolean {
  const submitted = fields.get('auto-submitted')
  return submitted !== undefined && !NOT_AUTOMATIC.test(submitted)
}

/** Of a header, what a notification or a reply by mail quotes. */
type Head = Pick<MailNote, 'subject' | 'date' | 'author'>

function headOf({ fields }: ReadMail): Head {
  const subject = fieldOf(fields.get('subject'))
  const date = fieldOf(fields.get('date'))
  const author = fieldOf(fields.get('from'))
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(date === undefined ? {} : { date }),
    ...(author === undefined ? {} : { author }),
  }
}

/** Undefined: there is none, or it is too long to be kept whole. */
function fieldOf(raw: string | undefined): string | undefined {
  if (raw === undefined || raw === '' || raw.length > MOST_FIELD) return undefined
  const text = /[\x80-\xff]/.test(raw) ? Buffer.from(raw, 'latin1').toString() : raw
  return text.replace(/\p{Cc}+/gu, ' ').trim()
}

/** RFC 3834: what a program sent. `generated` takes what is no reply. */
function isAutomatic({ fields }: ReadMail, { generated }: MailProfile): boolean {
  const submitted = (fields.get('auto-submitted') ?? 'no').toLowerCase().trim()
  if (!/^no\b/.test(submitted) && !(generated && submitted.startsWith('auto-generated'))) return true
  if (fields.has('x-autoreply') || fields.has('x-autorespond')) return true
  const precedence = (fields.get('precedence') ?? '').toLowerCase().trim()
  if (precedence === 'auto_reply') return true
  return !generated && ['bulk', 'junk', 'list'].includes(precedence)
}

function wordsOf(mail: ReadMail, mode: MailProfile['subject']): string | Promise<string> {
  const text = mode === 'only' ? '' : textOf(mail)
  const subject = mode === 'ignore' ? '' : subjectOf(mail)
  return typeof subject === 'string' ? joined(subject, text) : subject.then(one => joined(one, text))
}

function joined(subject: string, text: string | null): string {
  const words = ownWords(printable(text ?? ''))
  const before = printable(subject).trim()
  return before === '' ? words : words === '' ? before : `${before}: ${words}`
}

/** Without its angle brackets; '' when there is none, or none that could be kept. */
function messageIdOf({ fields }: ReadMail): string {
  const id = (fields.get('message-id') ?? '').trim().replace(/^<(.*)>$/, '$1')
  return /^[\x21-\x7e]+$/.test(id) && id.length <= MOST_MESSAGE_ID ? id : ''
}

/** RFC 3461 §4.1: without NOTIFY, a failure is told; DELAY is not. */
function receiptsFor({ notify }: Recipient): number {
  if (notify === null) return receipts.failure
  const success = notify.includes('SUCCESS')
  const failure = notify.includes('FAILURE')
  return success ? (failure ? receipts.all : receipts.success) : failure ? receipts.failure : receipts.none
}

/** What a notification or a reply by mail will need. */
export function noteOf({ mailbox, envid, ret }: Sender, recipient: Recipient, head: Head): MailNote {
  const { notify, orcpt } = recipient
  return {
    from: writtenMailbox(mailbox),
    to: writtenMailbox(recipient.mailbox),
    ...(envid === null ? {} : { envid }),
    ...(ret === null ? {} : { ret }),
    ...(notify === null ? {} : { notify }),
    ...(orcpt === null ? {} : { orcpt }),
    ...head,
  }
}

function accepted(messages: readonly Message[], repeated: number, before: number, cut: number, most: number): Reply {
  const ids = messages.slice(0, MOST_IDS).map(m => m.id)
  const more = messages.length > MOST_IDS ? ` and ${messages.length - MOST_IDS} more` : ''
  let text = messages.length === 0 ? `Ok: sent before as ${before}` : `Ok: queued as ${ids.join(' ')}${more}`
  if (repeated > 0 && messages.length > 0) text += `; ${repeated} sent before`
  if (cut > 0) text += `; the last ${cut} characters were cut, ${most} parts are sent`
  return reply(250, '2.6.0', text)
}
