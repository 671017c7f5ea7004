// A delivery status notification: what became of a mail, for one or several of its recipients, as people and programs
// read it. Knows the form alone; whether there is to be one, and what happened, others say. RFC 3461 §6, RFC 3464,
// RFC 6522; RFC 6533 where an address is not ASCII.

import { type Address, clean, mimeRoot, threadOf } from './compose.js'

/** What became of a mail for one recipient. */
export interface RecipientStatus {
  /** As the mail was addressed: `4915112345678@sms.example.com`. */
  readonly address: string
  /** ORCPT, its xtext decoded: `rfc822;user@example.com`; null = none. */
  readonly original: string | null
  readonly action: 'failed' | 'delivered' | 'relayed'
  /** RFC 3463: `5.1.1`. */
  readonly status: string
  /** Diagnostic-Code: `smtp; 550 5.1.1 ...`, or of a type of one's own, `x-sms; ...`; null = none. */
  readonly diagnostic: string | null
  /** When it happened. */
  readonly atMs: number
}

/** Of the mail that it is about: fields as they were written; '' = none, as all are when it is about several. */
export interface OriginalHead {
  readonly from: string
  readonly to: string
  readonly subject: string
  readonly date: string
  /** Without angle brackets. */
  readonly messageId: string
}

export interface Dsn {
  /** Whose name it bears: `postmaster@mx.example.com`. */
  readonly from: string
  /** MAIL FROM of the mail that it is about. */
  readonly to: string
  readonly subject: string
  /** Without angle brackets. */
  readonly messageId: string
  readonly atMs: number
  /** Our name. */
  readonly reportingMta: string
  /** ENVID, its xtext decoded; null = none. */
  readonly envid: string | null
  /** When the mail came. */
  readonly arrivalMs: number
  /** For people; LF ends a line. */
  readonly text: string
  readonly recipients: readonly RecipientStatus[]
  readonly original: OriginalHead
}

const MAILER: Pick<Address, 'name'> = { name: 'Mail Delivery System' }
const NON_ASCII = /[^\0-\x7f]/

/** The mail, to be sent from the null reverse-path. */
export async function composeDsn(dsn: Dsn): Promise<Buffer> {
  const { messageId, original } = dsn
  const root = await mimeRoot('multipart/report; report-type=delivery-status', {
    from: { ...MAILER, address: dsn.from },
    to: { address: dsn.to },
    subject: dsn.subject,
    messageId,
    atMs: dsn.atMs,
    fields: {
      // RFC 3834 §3.1.7: nobody answers it by program.
      'Auto-Submitted': 'auto-replied',
      ...(original.messageId === '' ? {} : threadOf(original.messageId)),
    },
  })
  root.createChild('text/plain; charset=utf-8').setContent(clean(dsn.text))
  const isGlobal = dsn.recipients.some(({ address, original }) => NON_ASCII.test(address + (original ?? '')))
  const status = root.createChild(isGlobal ? 'message/global-delivery-status' : 'message/delivery-status')
  // A string would be looked at for characters that a coding must hide: a message part has none (RFC 6522 §3).
  status.setContent(Buffer.from(statusOf(dsn)))
  const head = headOf(original)
  if (head !== '') root.createChild('text/rfc822-headers').setContent(head)
  return root.build()
}

function statusOf({ reportingMta, envid, arrivalMs, recipients }: Dsn): string {
  const groups = [
    [
      field('Reporting-MTA', `dns; ${reportingMta}`),
      envid === null ? '' : field('Original-Envelope-Id', envid),
      field('Arrival-Date', dateOf(arrivalMs)),
    ],
    ...recipients.map(({ address, original, action, status, diagnostic, atMs }) => [
      original === null ? '' : field('Original-Recipient', original.replace(/^([^;]*);/, '$1; ')),
      field('Final-Recipient', `${NON_ASCII.test(address) ? 'utf-8' : 'rfc822'}; ${address}`),
      field('Action', action),
      field('Status', status),
      diagnostic === null ? '' : field('Diagnostic-Code', diagnostic),
      field('Last-Attempt-Date', dateOf(atMs)),
    ]),
  ]
  return `${groups.map(lines => lines.join('')).join('\r\n')}`
}

/** No line of a report may be longer than SMTP's 998 octets, or end early. */
const field = (name: string, value: string): string => `${name}: ${value.replace(/\p{Cc}+/gu, ' ').slice(0, 900)}\r\n`

const dateOf = (ms: number): string => new Date(ms).toUTCString().replace(/GMT/, '+0000')

function headOf({ from, to, subject, date, messageId }: OriginalHead): string {
  const fields: readonly (readonly [string, string])[] = [
    ['Message-ID', messageId === '' ? '' : `<${messageId}>`],
    ['Date', date],
    ['From', from],
    ['To', to],
    ['Subject', subject],
  ]
  return fields.map(([name, value]) => (value === '' ? '' : field(name, value))).join('')
}
