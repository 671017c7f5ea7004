// What the sender of a mail is told of the text message that it became: of failures unless NOTIFY says otherwise, of
// success where it was asked for, and of what was cut. Pure: reports in, notifications out; RFC 3461 §5.2, RFC 3464.

import type { Dsn, OriginalHead, RecipientStatus } from '../../protocols/smtp/dsn.js'
import { idTimeMs } from '../base/ids.js'
import { type MailNote, type Message, type MessageState, state, stateNames } from '../model/message.js'
import type { Ending, ReceiptReport } from '../spool/contract.js'

/** A mail, and what became of it for one recipient. */
export interface Notice {
  readonly note: MailNote
  readonly messageId: string
  readonly arrivalMs: number
  readonly status: RecipientStatus
  /** For people: what happened to it. */
  readonly words: string
}

/** A text that was longer than may be sent. */
export interface CutNotice {
  readonly note: MailNote
  readonly messageId: string
  /** Of the first message that it became. */
  readonly id: number
  readonly to: readonly { readonly to: string; readonly orcpt?: string }[]
  /** Recipients that are not named. */
  readonly others: number
  readonly parts: number
  /** The text that was left out, as far as it is kept; `more`: characters beyond that. */
  readonly cut: string
  readonly more: number
}

/** Whether the sender of a message that came by mail is told of this end. */
export function mailWants(m: Message, { state: s }: Ending): boolean {
  const asked = m.registered_delivery & 3
  const isSuccess = s === state.DELIVERED || s === state.ACCEPTED
  return isSuccess ? asked === 1 || asked === 3 : asked === 1 || asked === 2
}

/** null: the report is of no mail. */
export function noticeOf(receipt: ReceiptReport): Notice | null {
  const about = receipt.more?.message
  const note = about === undefined ? null : readNote(about.extras, receipt.destination_addr)
  if (about === undefined || note === null) return null
  const { state: s, err, doneMs, id } = receipt
  const action = s === state.DELIVERED ? 'delivered' : s === state.ACCEPTED ? 'relayed' : 'failed'
  return {
    note,
    messageId: about.clientRef,
    arrivalMs: idTimeMs(id),
    status: {
      address: note.to,
      original: note.orcpt ?? null,
      action,
      status: statusOf(s, err),
      diagnostic: diagnosticOf(s, err),
      atMs: doneMs,
    },
    words: wordsOf(s, err),
  }
}

/**
 * null: of no mail, or of one whose sender is not known.
 * @param to stands for the recipient in the note of an earlier release, which kept none
 */
export function readNote(extras: string, to: string): MailNote | null {
  const { mail } = JSON.parse(extras === '' ? '{}' : extras) as { mail?: Partial<MailNote> }
  const { from } = mail ?? {}
  return typeof from === 'string' ? { ...mail, from, to: mail?.to ?? to } : null
}

const REPLY = /^[245]\d\d(?: ([245]\.\d{1,3}\.\d{1,3}))?$/

/** RFC 3463 of errors that are ours, or of SMPP (v3.4 table 5-2), and say more than that it failed. */
const statuses: Readonly<Record<string, string>> = {
  ESME_RINVDSTADR: '5.1.3',
  ESME_RINVSRCADR: '5.1.7',
  ESME_RINVMSGLEN: '5.3.4',
  too_long: '5.3.4',
  coding_unsupported: '5.6.1',
  no_route: '5.4.4',
  internal_fault: '5.3.0',
}

/** Of a message's end, RFC 3463. */
export function statusOf(s: MessageState, error: string): string {
  if (s === state.DELIVERED || s === state.ACCEPTED) return '2.0.0'
  if (s === state.EXPIRED || s === state.UNKNOWN) return '4.4.7'
  return REPLY.exec(error)?.[1] ?? statuses[error] ?? '5.0.0'
}

function diagnosticOf(s: MessageState, error: string): string | null {
  if (s === state.DELIVERED || s === state.ACCEPTED) return null
  return REPLY.test(error) ? `smtp; ${error}` : `x-sms; ${stateNames[s]}${error === '' ? '' : ` ${error}`}`
}

function wordsOf(s: MessageState, error: string): string {
  const because = error === '' ? '' : ` (${error})`
  switch (s) {
    case state.DELIVERED:
      return 'It was delivered.'
    case state.ACCEPTED:
      return 'It was handed to the network, which does not report on its delivery.'
    case state.EXPIRED:
      return 'It could not be delivered in the time that it was to be delivered in.'
    case state.UNKNOWN:
      return 'The network took it, and has not said since whether it was delivered.'
    case state.DELETED:
      return 'It was deleted before it was sent.'
    case state.REJECTED:
      return `It was refused${because}.`
    default:
      return `The network could not deliver it${because}.`
  }
}

/** What every notification of ours has. */
export interface NoticeHead {
  /** Whose name it bears. */
  readonly from: string
  readonly reportingMta: string
  readonly messageId: string
  readonly atMs: number
}

const SUBJECTS = { failed: 'Not delivered', delivered: 'Delivered', relayed: 'Sent' } as const
const MOST_QUOTED = 100

/** One notification; `notices` are of different recipients of a mail, or of mails of one sender, and not empty. */
export function dsnOf(head: NoticeHead, notices: readonly Notice[]): Dsn {
  const first = notices[0] as Notice
  const { note, messageId, arrivalMs } = first
  const actions = new Set(notices.map(({ status }) => status.action))
  const action = actions.has('failed') ? 'failed' : actions.has('relayed') ? 'relayed' : 'delivered'
  const recipients = notices.map(({ status }) => status)
  if (!notices.every(other => other === first || isSameMail(first, other))) {
    return {
      ...common(head, { from: note.from, to: '' }, '', Math.min(...notices.map(one => one.arrivalMs))),
      subject: `${SUBJECTS[action]}: ${notices.length} messages`,
      text: `${intro(head, {})}You are told together what became of several messages:\n\n${notices.map(lineOf).join('\n')}`,
      recipients,
    }
  }
  const what = note.relay ? 'mail' : 'text message'
  const lines = notices.map(({ status, words }) => `  ${status.address}\n    ${words}\n`)
  return {
    ...common(head, note, messageId, arrivalMs),
    subject: `${SUBJECTS[action]}: your ${what}${quoted(note)}`,
    text: `${intro(head, note)}What became of your ${what}:\n\n${lines.join('\n')}`,
    recipients,
  }
}

const isSameMail = (one: Notice, other: Notice): boolean =>
  one.messageId !== '' && one.messageId === other.messageId && one.note.envid === other.note.envid

/** By what its sender knows it: a report has room for one mail's name (RFC 3464 §2.2). */
function lineOf({ note, messageId, status, words }: Notice): string {
  const name = `${messageId === '' ? '' : ` <${messageId}>`}${note.date === undefined ? '' : ` of ${note.date}`}`
  return `  ${status.address}\n    ${words}\n${name === '' ? '' : `    Your mail${name}${quoted(note)}\n`}`
}

/** That a text was cut, and what. RFC 3463: X.6.4, conversion with loss performed. */
export function cutDsn(head: NoticeHead, { note, messageId, id, to, others, parts, cut, more }: CutNotice): Dsn {
  const arrivalMs = idTimeMs(id)
  const rest = more > 0 ? `\n[and ${more} more characters]\n` : '\n'
  return {
    ...common(head, note, messageId, arrivalMs),
    subject: `Shortened: your text message${quoted(note)}`,
    text:
      `${intro(head, note)}Your text message was too long, and only its beginning is sent: ${parts} ` +
      `${parts === 1 ? 'part' : 'parts'} of it, to\n\n${to.map(one => `  ${one.to}\n`).join('')}${others > 0 ? `  and ${others} more\n` : ''}\n` +
      `This was left out:\n\n${cut}${rest}`,
    recipients: to.map(one => ({
      address: one.to,
      original: one.orcpt ?? null,
      action: 'relayed' as const,
      status: '2.6.4',
      diagnostic: null,
      atMs: arrivalMs,
    })),
  }
}

function common(head: NoticeHead, note: MailNote, messageId: string, arrivalMs: number) {
  const original: OriginalHead = {
    from: note.author ?? '',
    to: note.to,
    subject: note.subject ?? '',
    date: note.date ?? '',
    messageId,
  }
  return { ...head, to: note.from, envid: note.envid ?? null, arrivalMs, original }
}

function intro({ reportingMta }: NoticeHead, { date }: Pick<MailNote, 'date'>): string {
  return `This is the mail system at ${reportingMta}.\n\n${date === undefined ? '' : `Your mail of ${date}\n\n`}`
}

/** The subject that it had, where people can read it as it stands. */
function quoted({ subject = '' }: MailNote): string {
  return subject === '' || subject.includes('=?') ? '' : ` (${subject.slice(0, MOST_QUOTED)})`
}
