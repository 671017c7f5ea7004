// One connection to a server that takes mail, one mail at a time. The protocol is nodemailer's; what is ours: octets go
// as they are, with CRLF at every line end and at none but those; what an answer, or its absence, says of the mail is
// told in one of few words. Knows no pool and no message.

import { Readable } from 'node:stream'
import type SMTPConnection from 'nodemailer/lib/smtp-connection'

export interface ClientSettings {
  readonly host: string
  readonly port: number
  /** starttls: TLS before anything else is said, or nothing is; tls: from the first octet; none: never. */
  readonly secure: 'starttls' | 'tls' | 'none'
  /** '' = no authentication. */
  readonly user: string
  readonly password: string
  /** Our name in EHLO. */
  readonly name: string
  /** From the first packet to the end of authentication. */
  readonly connectMs: number
  /** What a mail may take, its last answer included; RFC 5321 §4.5.3.2.6 asks for 10 minutes. */
  readonly answerMs: number
  readonly tls: {
    readonly ca?: Buffer | undefined
    readonly cert?: Buffer | undefined
    readonly key?: Buffer | undefined
    readonly servername?: string | undefined
    readonly verify: boolean
  }
}

export interface Envelope {
  /** '' = the null reverse-path. */
  readonly from: string
  readonly to: string
}

/** What became of a mail. */
export type Sent =
  | { readonly kind: 'taken' }
  /** `code`: `550 5.1.1`, or a word of ours where the server said nothing. */
  | { readonly kind: 'refused' | 'later'; readonly code: string; readonly text: string }
  /** The server wants to be left alone: 421. */
  | { readonly kind: 'closing'; readonly code: string; readonly text: string }
  /** The connection was lost before the whole mail was handed over. */
  | { readonly kind: 'lost'; readonly code: string }
  /** It was lost after that: the mail may have been taken. */
  | { readonly kind: 'unsure'; readonly code: string }

/** Why there is no connection. */
export interface NotConnected {
  /** The server refuses our name or password: another try cannot help until somebody has looked. */
  readonly isRefused: boolean
  readonly code: string
  readonly text: string
}

interface Failure {
  readonly code?: string | undefined
  readonly command?: string | undefined
  readonly responseCode?: number | undefined
  readonly response?: string | undefined
  readonly permanent?: boolean | undefined
  readonly message: string
}

const HUNG_UP: Failure = { code: 'ECONNECTION', message: 'hung up' }
const CHUNK = 65_536
const CR = 0x0d
const LF = 0x0a
const CRLF = Buffer.from('\r\n')
const MOST_TEXT = 300
/** What the answer to QUIT may take. */
const QUIT_MS = 5_000

export class MailClient {
  private readonly settings: ClientSettings
  private connection: SMTPConnection | null = null
  /** It said goodbye by itself, or was lost; not when we ended it. */
  private readonly gone: () => void
  private isOver = false
  /** Answers the mail that is under way. */
  private pending: ((failure: Failure) => void) | null = null
  /** Set once it stands. */
  isReady = false
  /** Mails that were handed to it. */
  mails = 0

  /** @param gone it is over, and we did not end it; after the answer of a mail that was under way */
  constructor(settings: ClientSettings, gone: () => void) {
    this.settings = settings
    this.gone = gone
  }

  private async open(): Promise<SMTPConnection> {
    const { host, port, secure, name, connectMs, answerMs, tls } = this.settings
    // A house without a carrier of mail need not load it.
    const { default: Connection } = await import('nodemailer/lib/smtp-connection')
    return new Connection({
      host,
      port,
      name,
      secure: secure === 'tls',
      requireTLS: secure === 'starttls',
      ignoreTLS: secure === 'none',
      connectionTimeout: connectMs,
      greetingTimeout: connectMs,
      dnsTimeout: connectMs,
      socketTimeout: answerMs,
      maxResponseSize: CHUNK,
      logger: false,
      tls: {
        rejectUnauthorized: tls.verify,
        minVersion: 'TLSv1.2',
        ...(tls.ca === undefined ? {} : { ca: tls.ca }),
        ...(tls.cert === undefined ? {} : { cert: tls.cert }),
        ...(tls.key === undefined ? {} : { key: tls.key }),
        ...(tls.servername === undefined ? {} : { servername: tls.servername }),
      },
    })
  }

  /** Resolves with null when it stands and may be sent over. */
  async connect(): Promise<NotConnected | null> {
    const { user, password, connectMs } = this.settings
    const connection = await this.open()
    if (this.isOver) return notConnected(HUNG_UP)
    this.connection = connection
    return new Promise(resolve => {
      let isSettled = false
      const settle = (failure: Failure | null): void => {
        if (isSettled) return
        isSettled = true
        clearTimeout(deadline)
        this.isReady = failure === null
        if (failure !== null) this.end()
        resolve(failure === null ? null : notConnected(failure))
      }
      // A peer that trickles its replies no timeout of a socket notices.
      const deadline = setTimeout(() => settle({ code: 'ETIMEDOUT', message: 'no connection in time' }), connectMs)
      connection.on('error', (error: Failure) => {
        if (isSettled) this.lost(error)
        else settle(error)
      })
      connection.on('end', () => {
        const failure = { code: 'ECONNECTION', message: 'the connection was closed' }
        this.isReady = false
        // What a 421 says of the mail comes after this.
        setImmediate(() => {
          if (isSettled) this.lost(failure)
          else settle(failure)
        })
      })
      connection.connect(error => {
        if (error) settle(error)
        else if (user === '') settle(null)
        else connection.login({ user, pass: password }, failure => settle(failure))
      })
    })
  }

  private lost(failure: Failure): void {
    if (this.isOver) return
    this.isOver = true
    this.isReady = false
    this.pending?.(failure)
    this.gone()
  }

  /** Sends one mail; only when it is ready and the one before was answered. Calls back once. */
  send(envelope: Envelope, body: Buffer, then: (sent: Sent) => void): void {
    const connection = this.connection as SMTPConnection
    // Its commands would become part of the mail before it.
    if (this.pending !== null) throw new Error('one mail at a time')
    this.mails++
    let isHandedOver = false
    const answer = (sent: Sent): void => {
      if (this.pending !== failed) return
      this.pending = null
      clearTimeout(deadline)
      then(sent)
    }
    const failed = (failure: Failure): void => answer(sentOf(failure, isHandedOver))
    this.pending = failed
    const deadline = setTimeout(() => {
      failed({ code: 'ETIMEDOUT', message: 'no answer in time' })
      this.end()
      this.gone()
    }, this.settings.answerMs)
    const content = Readable.from(lines(body), { objectMode: false, highWaterMark: CHUNK })
    // From then on the closing dot may be on its way.
    content.once('end', () => {
      isHandedOver = true
    })
    connection.send({ ...envelope, use8BitMime: true, size: body.length }, content, (error: Failure | null) => {
      if (error === null || error === undefined) answer({ kind: 'taken' })
      else failed(error)
    })
  }

  /** After a mail that the server refused; false: the connection is of no use any more. */
  reset(then: (isGood: boolean) => void): void {
    if (this.isOver || this.connection === null) then(false)
    else this.connection.reset(error => then(error === null || error === undefined))
  }

  /** Says goodbye. */
  quit(): void {
    if (this.isOver) return
    if (!this.isReady) {
      this.end()
      return
    }
    this.isOver = true
    this.isReady = false
    const { connection } = this
    connection?.quit()
    setTimeout(() => connection?.close(), QUIT_MS).unref()
  }

  /** Hangs up; a mail that is under way is answered before. */
  end(): void {
    if (this.isOver) return
    this.isOver = true
    this.isReady = false
    this.pending?.(HUNG_UP)
    this.connection?.close()
  }
}

function sentOf(failure: Failure, isHandedOver: boolean): Sent {
  const { responseCode, code = '', command } = failure
  const text = textOf(failure)
  if (responseCode !== undefined) {
    const said = codeOf(failure)
    if (responseCode === 421) return { kind: 'closing', code: said, text }
    return { kind: failure.permanent === true ? 'refused' : 'later', code: said, text }
  }
  // By what the server has said of its limits, or by the address itself.
  if (code === 'EMESSAGE' && command === 'MAIL FROM') return { kind: 'refused', code: '552 5.3.4', text }
  if (code === 'EENVELOPE' && command === 'API') return { kind: 'refused', code: 'envelope', text }
  return { kind: isHandedOver ? 'unsure' : 'lost', code: code === 'ETIMEDOUT' ? 'timeout' : 'connection_lost' }
}

function notConnected(failure: Failure): NotConnected {
  const { responseCode, code = '' } = failure
  const isRefused = code === 'EAUTH' && (responseCode === undefined || responseCode >= 500)
  return { isRefused, code: responseCode === undefined ? wordOf(code) : codeOf(failure), text: textOf(failure) }
}

const words: Readonly<Record<string, string>> = { ETIMEDOUT: 'timeout', EDNS: 'dns', ETLS: 'tls', EAUTH: 'credentials' }
const wordOf = (code: string): string => words[code] ?? 'no_connection'

/** `550 5.1.1`, without the second where the server gave none. */
function codeOf({ responseCode, response = '' }: Failure): string {
  const enhanced = /^\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})(?= |$)/.exec(response)?.[1]
  return enhanced === undefined ? `${responseCode}` : `${responseCode} ${enhanced}`
}

const textOf = ({ response, message }: Failure): string =>
  (response ?? message).replace(/[^\x20-\x7e]+/g, ' ').slice(0, MOST_TEXT)

/** The octets with CRLF for every CR, LF and CRLF: what ends a line for nobody else must not end one for the server. */
export function* lines(body: Buffer): Generator<Buffer> {
  for (let from = 0; from < body.length; ) {
    let to = Math.min(from + CHUNK, body.length)
    // A pair stays together.
    if (to < body.length && body[to - 1] === CR && body[to] === LF) to--
    yield clean(body.subarray(from, to))
    from = to
  }
}

function clean(octets: Buffer): Buffer {
  const pieces: Buffer[] = []
  let from = 0
  const cut = (at: number, length: number): void => {
    pieces.push(octets.subarray(from, at), CRLF)
    from = at + length
  }
  let cr = octets.indexOf(CR)
  for (let lf = octets.indexOf(LF); lf >= 0 || cr >= 0; ) {
    if (cr >= 0 && (lf < 0 || cr < lf)) {
      if (octets[cr + 1] === LF) lf = octets.indexOf(LF, cr + 2)
      else cut(cr, 1)
      cr = octets.indexOf(CR, cr + 1)
    } else {
      cut(lf, 1)
      lf = octets.indexOf(LF, lf + 1)
    }
  }
  if (pieces.length === 0) return octets
  pieces.push(octets.subarray(from))
  return Buffer.concat(pieces)
}
