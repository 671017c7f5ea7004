// A text part as text: transfer encodings, character sets, flowed lines. What few mails have and no hot path needs, encoded
// words, goes to mailparser: alone and bounded, so that neither a body nor MIME's frame ever reaches it.
// RFC 2045 §6, RFC 2047, RFC 3676.

import { htmlText } from './html.js'
import { parameter, type ReadMail, type TextPart } from './mail.js'

/** Octets of a subject that are looked at. */
const MOST_SUBJECT = 2_000

/** The text of a mail, line ends as LF; null when it has no text part. */
export function textOf(mail: ReadMail): string | null {
  const { plain, html } = mail
  if (plain !== null) {
    const text = plainText(plain)
    if (html === null || text.trim() !== '') return text
  }
  if (html === null) return null
  return htmlText(decode(transferred(html.octets, html.encoding), parameter(html.contentType, 'charset')))
}

/** The subject, decoded; '' when there is none. A promise only where mailparser is needed. */
export function subjectOf({ fields }: ReadMail): string | Promise<string> {
  const raw = (fields.get('subject') ?? '').slice(0, MOST_SUBJECT)
  if (raw === '') return ''
  if (!raw.includes('=?')) return utf8Or1252(Buffer.from(raw, 'latin1')).replace(/\s+/g, ' ')
  const header = Buffer.from(`Subject: ${raw}\r\n\r\n`, 'latin1')
  return parse(header).then(({ subject }) => (subject ?? '').replace(/\s+/g, ' '))
}

function plainText({ contentType, encoding, octets }: TextPart): string {
  const text = decode(transferred(octets, encoding), parameter(contentType, 'charset')).replace(/\r\n/g, '\n')
  if (parameter(contentType, 'format')?.toLowerCase() !== 'flowed') return text
  return unflowed(text, parameter(contentType, 'delsp')?.toLowerCase() === 'yes')
}

function transferred(octets: Buffer, encoding: string): Buffer {
  if (encoding === 'base64') return Buffer.from(octets.latin1Slice(), 'base64')
  return encoding === 'quoted-printable' ? quotedPrintable(octets.latin1Slice()) : octets
}

function quotedPrintable(text: string): Buffer {
  // Blanks at the end of a line were added on the way (RFC 2045 §6.7).
  const joined = text
    .split('\r\n')
    .map(line => line.trimEnd())
    .map(line => (line.endsWith('=') ? line.slice(0, -1) : `${line}\r\n`))
    .join('')
  return Buffer.from(
    joined.replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  )
}

function decode(octets: Buffer, charset: string | null): string {
  const name = charset === null ? 'utf-8' : charset.trim().toLowerCase()
  if (name === 'utf-8' || name === 'us-ascii' || name === 'utf8' || name === 'ascii') return utf8Or1252(octets)
  try {
    return new TextDecoder(name).decode(octets)
  } catch {
    // A character set that nobody has heard of.
    return utf8Or1252(octets)
  }
}

const strict = new TextDecoder('utf-8', { fatal: true })
const western = new TextDecoder('windows-1252')

/** What says that it is UTF-8, or nothing, and is not, was most often written in the West. */
function utf8Or1252(octets: Buffer): string {
  const text = octets.utf8Slice(0, octets.length)
  if (!text.includes('\ufffd')) return text
  try {
    return strict.decode(octets)
  } catch {
    return western.decode(octets)
  }
}

/** RFC 3676 §4.1: a line that ends with a blank goes on in the next; stuffed blanks go. */
function unflowed(text: string, isSpaceDropped: boolean): string {
  let out = ''
  const lines = text.split('\n')
  for (const [index, given] of lines.entries()) {
    const line = given.startsWith(' ') ? given.slice(1) : given
    const isFlowed = line.endsWith(' ') && line !== '-- '
    out += isFlowed && isSpaceDropped ? line.slice(0, -1) : line
    if (!isFlowed && index < lines.length - 1) out += '\n'
  }
  return out
}

async function parse(header: Buffer): Promise<{ readonly subject?: string | undefined }> {
  // Only encoded words need it, and it is large.
  const { simpleParser } = await import('mailparser')
  return simpleParser(header, { skipHtmlToText: true, skipTextToHtml: true, skipTextLinks: true, skipImageLinks: true })
}
