// MAIL and RCPT as clients write them: path and parameters, checked to the letter. What smtp-server's own parser lets
// through (unknown parameters, half an xtext) or cannot read (quoted local parts) is decided here. Pure.
// RFC 5321 §4.1.2, RFC 1870, RFC 3461, RFC 6152, RFC 6531, RFC 4954.

import { isIPv4, isIPv6 } from 'node:net'
import { type Reply, said } from './replies.js'

export type Notify = 'NEVER' | 'SUCCESS' | 'FAILURE' | 'DELAY'

/** `<>` is two empty strings; a domainless postmaster has no domain. */
export interface Mailbox {
  /** Unquoted. */
  readonly local: string
  /** Lower case where it is ASCII. */
  readonly domain: string
}

export interface Sender {
  readonly mailbox: Mailbox
  /** As announced; null = not said. */
  readonly size: number | null
  readonly utf8: boolean
  readonly ret: 'FULL' | 'HDRS' | null
  /** Decoded; null = none. */
  readonly envid: string | null
}

export interface Recipient {
  readonly mailbox: Mailbox
  /** null: not said. */
  readonly notify: readonly Notify[] | null
  /** `rfc822;user@example.com`, its xtext decoded; null = none. */
  readonly orcpt: string | null
}

type Parameters = ReadonlyMap<string, string | null>

/** RFC 5321 §4.5.3.1.3 has 256; forwarders' rewritten local parts alone are longer than 64. */
const MOST_PATH = 320
const MOST_ENVID = 100
const MOST_ORCPT = 500
const ATEXT = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\uffff-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\uffff-]+)*$/
/** A local part that firmware and forwarders write: dots anywhere. */
const LOOSE = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\uffff.-]+$/
const LABEL = /^[A-Za-z0-9_\u0080-\uffff](?:[A-Za-z0-9_\u0080-\uffff-]{0,61}[A-Za-z0-9_\u0080-\uffff])?$/
/** Never seen, and never meant well: C1 controls, zero-width characters, surrogates alone, the replacement character. */
const UNSAFE = /[\u0080-\u009f\u200b\u2028\u2029\u2060\ufeff\ufffd]/
const NON_ASCII = /[^\0-\x7f]/

/** `text`: what follows `MAIL`. A reply: what is wrong with it. */
export function readMail(text: string, maxOctets: number): Sender | Reply {
  const path = readPath(text, 'FROM:')
  if (path === null || (path.mailbox.domain === '' && path.mailbox.local !== '')) return said.badSender
  const parameters = readParameters(path.rest)
  if (isReply(parameters)) return parameters
  let size: number | null = null
  let utf8 = false
  let ret: Sender['ret'] = null
  let envid: string | null = null
  for (const [name, value] of parameters) {
    switch (name) {
      case 'SIZE':
        if (value === null || !/^\d{1,20}$/.test(value)) return said.badSize
        size = Number(value)
        break
      case 'BODY':
        if (value === null || !/^(?:7BIT|8BITMIME)$/i.test(value)) return said.badArguments
        break
      case 'SMTPUTF8':
        if (value !== null) return said.badArguments
        utf8 = true
        break
      case 'RET':
        if (value === null || !/^(?:FULL|HDRS)$/i.test(value)) return said.badArguments
        ret = value.toUpperCase() as 'FULL' | 'HDRS'
        break
      case 'ENVID':
        envid = value === null || value.length > MOST_ENVID ? null : xtext(value)
        if (envid === null) return said.badArguments
        break
      case 'AUTH':
        // RFC 4954 §5: a mailbox as xtext, or <>; nobody is trusted to say so, and it is forgotten.
        if (value === null || (value !== '<>' && xtext(value) === null)) return said.badArguments
        break
      default:
        return said.unknownParameter
    }
  }
  if (!utf8 && isNonAscii(path.mailbox)) return said.needsUtf8
  if (size !== null && size > maxOctets) return said.tooBig
  return { mailbox: path.mailbox, size, utf8, ret, envid }
}

/** `text`: what follows `RCPT`. */
export function readRecipient(text: string, utf8: boolean): Recipient | Reply {
  const path = readPath(text, 'TO:')
  if (path === null || path.mailbox.local === '') return said.badRecipient
  if (path.mailbox.domain === '' && path.mailbox.local.toLowerCase() !== 'postmaster') return said.badRecipient
  const parameters = readParameters(path.rest)
  if (isReply(parameters)) return parameters
  let notify: readonly Notify[] | null = null
  let orcpt: string | null = null
  for (const [name, value] of parameters) {
    switch (name) {
      case 'NOTIFY':
        notify = value === null ? null : readNotify(value)
        if (notify === null) return said.badArguments
        break
      case 'ORCPT':
        orcpt = value === null || value.length > MOST_ORCPT ? null : readOrcpt(value)
        if (orcpt === null) return said.badArguments
        break
      default:
        return said.unknownParameter
    }
  }
  if (!utf8 && isNonAscii(path.mailbox)) return said.needsUtf8
  return { mailbox: path.mailbox, notify, orcpt }
}

const isNonAscii = ({ local, domain }: Mailbox): boolean => NON_ASCII.test(local) || NON_ASCII.test(domain)

export const isReply = (what: object): what is Reply => 'code' in what

/** The path behind `FROM:` or `TO:`, in angle brackets; blanks before it are tolerated. */
function readPath(text: string, word: string): { mailbox: Mailbox; rest: string } | null {
  if (text.slice(0, word.length).toUpperCase() !== word) return null
  let at = word.length
  while (text[at] === ' ') at++
  if (text[at] !== '<') return null
  const start = at + 1
  let isQuoted = false
  for (at = start; at < text.length; at++) {
    const c = text[at]
    if (isQuoted && c === '\\') at++
    else if (c === '"') isQuoted = !isQuoted
    else if (!isQuoted && (c === '<' || c === ' ')) return null
    else if (!isQuoted && c === '>') break
  }
  if (at >= text.length || at - start > MOST_PATH) return null
  const rest = text.slice(at + 1)
  if (rest !== '' && rest[0] !== ' ') return null
  const mailbox = readMailbox(text.slice(start, at))
  return mailbox === null ? null : { mailbox, rest }
}

/** RFC 5321 §4.1.2, a source route before it dropped. */
export function readMailbox(given: string): Mailbox | null {
  if (given === '') return { local: '', domain: '' }
  if (UNSAFE.test(given)) return null
  const text = given[0] === '@' ? given.replace(/^@[^\s,:@"]+(?:,@[^\s,:@"]+)*:/, '') : given
  let local: string
  let domain: string
  if (text[0] === '"') {
    const quoted = /^"((?:[^"\\]|\\.)*)"(?:@(.+))?$/.exec(text)
    if (quoted === null || quoted[2] === undefined) return null
    local = (quoted[1] as string).replace(/\\(.)/g, '$1')
    domain = quoted[2]
    if (local === '') return null
  } else {
    const at = text.lastIndexOf('@')
    local = at < 0 ? text : text.slice(0, at)
    domain = at < 0 ? '' : text.slice(at + 1)
    if (at === 0 || (at > 0 && domain === '')) return null
    if (!ATEXT.test(local) && !LOOSE.test(local)) return null
    if (local[0] === '.' || local.includes('..')) return null
  }
  if (domain !== '' && !isDomain(domain)) return null
  return { local, domain: domain.toLowerCase() }
}

/** As it stands in a command or a header, its local part quoted where it must be. */
export function writtenMailbox({ local, domain }: Mailbox): string {
  if (local === '') return ''
  const text = ATEXT.test(local) || LOOSE.test(local) ? local : `"${local.replace(/["\\]/g, '\\$&')}"`
  return domain === '' ? text : `${text}@${domain}`
}

function isDomain(domain: string): boolean {
  if (domain[0] === '[') {
    if (!domain.endsWith(']')) return false
    const literal = domain.slice(1, -1)
    return /^IPv6:/i.test(literal) ? isIPv6(literal.slice(5)) : isIPv4(literal)
  }
  return domain.length <= 255 && domain.split('.').every(label => LABEL.test(label))
}

function readParameters(rest: string): Parameters | Reply {
  const found = new Map<string, string | null>()
  if (rest === '') return found
  for (const word of rest.split(' ')) {
    if (word === '') continue
    const equals = word.indexOf('=')
    const name = (equals < 0 ? word : word.slice(0, equals)).toUpperCase()
    const value = equals < 0 ? null : word.slice(equals + 1)
    // RFC 5321 §4.1.2: esmtp-keyword and esmtp-value.
    if (!/^[A-Z0-9][A-Z0-9-]*$/.test(name)) return said.badArguments
    if (value !== null && !/^[!-<>-~\u0080-\uffff=]+$/.test(value)) return said.badArguments
    if (found.has(name)) return said.badArguments
    found.set(name, value)
  }
  return found
}

/** RFC 3461 §4: null when it is none, or hides a control character. */
function xtext(value: string): string | null {
  if (!/^(?:[!-*,-<>-~=]|\+[0-9A-F]{2})*$/.test(value) || value === '') return null
  const decoded = value.replace(/\+([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return /^[\x20-\x7e]*$/.test(decoded) ? decoded : null
}

function readOrcpt(value: string): string | null {
  const semicolon = value.indexOf(';')
  if (semicolon < 1 || !/^[A-Za-z0-9-]+$/.test(value.slice(0, semicolon))) return null
  const address = xtext(value.slice(semicolon + 1))
  return address === null ? null : `${value.slice(0, semicolon)};${address}`
}

function readNotify(value: string): readonly Notify[] | null {
  const words = value.toUpperCase().split(',')
  if (!words.every(word => ['NEVER', 'SUCCESS', 'FAILURE', 'DELAY'].includes(word))) return null
  if (words.includes('NEVER') && words.length > 1) return null
  return words as Notify[]
}
