// A mail of ours, written: a text with its header, and the frame that reports share. MIME's codings and folding are
// nodemailer's. Knows no transport and no reason for a mail. RFC 5322, RFC 2045.

import type MimeNode from 'nodemailer/lib/mime-node'

export interface Address {
  /** As shown; left out: the address alone. */
  readonly name?: string
  readonly address: string
}

/** The header that every mail of ours has. */
export interface MailHead {
  readonly from: Address
  readonly to: Address
  readonly subject: string
  /** Without angle brackets. */
  readonly messageId: string
  readonly atMs: number
  /** Other fields by name; a line end in them becomes a blank. */
  readonly fields?: Readonly<Record<string, string>>
}

/** A mail of one text. */
export async function composeText(head: MailHead, text: string): Promise<Buffer> {
  const root = await mimeRoot('text/plain; charset=utf-8', head)
  root.setContent(clean(text))
  return root.build()
}

/** Lines end with LF here, whatever ended them: the frame makes CRLF of it. */
export const clean = (text: string): string => text.replace(/\r\n?/g, '\n')

/** The outermost part of a mail of this type, its header written. */
export async function mimeRoot(
  type: string,
  { from, to, subject, messageId, atMs, fields }: MailHead,
): Promise<MimeNode> {
  // A house that writes no mail need not load it.
  const { default: Node } = await import('nodemailer/lib/mime-node')
  // Nothing that is written here may name a file or an address to fetch.
  const root = new Node(type, { newline: 'win', disableFileAccess: true, disableUrlAccess: true })
  root.setHeader('From', { name: from.name ?? '', address: from.address })
  root.setHeader('To', { name: to.name ?? '', address: to.address })
  root.setHeader('Subject', subject)
  root.setHeader('Message-ID', `<${messageId}>`)
  root.setHeader('Date', new Date(atMs).toUTCString().replace(/GMT/, '+0000'))
  for (const [name, value] of Object.entries(fields ?? {})) root.setHeader(name, value.replace(/[\r\n]+/g, ' '))
  return root
}

/** Fields that make a mail an answer to another, RFC 5322 §3.6.4. */
export const threadOf = (messageId: string): Record<string, string> => ({
  'In-Reply-To': `<${messageId}>`,
  References: `<${messageId}>`,
})
