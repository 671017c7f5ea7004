// One submission connection: commands in their order and to the letter, authentication, and mails on their way to the
// house. The package keeps the SASL exchanges. Knows the protocol; who may send what to whom is the customer's, and what
// becomes of a mail the sink's. RFC 5321, RFC 6409, RFC 4954.

import type { Socket } from 'node:net'
import { isReply, readMail, readRecipient, type Sender } from './commands.js'
import { Connection } from './connection.js'
import type { Attempt, Customer, MailSink } from './customer.js'
import type { ContentEnd, LineFault } from './reader.js'
import { type Reply, reply, said } from './replies.js'
import type { Accepted, SubmissionServer } from './server.js'

/** CRLF included; RFC 5321 §4.5.3.1.4 asks for 512 and what extensions add. */
const COMMAND_LINE = 2_048
const MOST_UNKNOWN = 10
const MOST_ERRORS = 20
const MOST_REFUSED_RECIPIENTS = 100
const MOST_AUTH_FAILURES = 3
const MOST_HELLO = 255
const MECHANISMS = ['PLAIN', 'LOGIN', 'XOAUTH2']
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const CONTROL = /\p{Cc}/u
const HTTP = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'PATCH'])
/** Taken before TLS where TLS is a must. */
const BEFORE_TLS = new Set(['EHLO', 'HELO', 'STARTTLS', 'NOOP', 'QUIT', 'RSET'])
export class Submission extends Connection {
  private readonly plainAuth: boolean
  private helo = ''
  private sender: Sender | null = null
  private recipients = 0
  private refusedRecipients = 0
  private unknown = 0
  private errors = 0
  private authFailures = 0
  private sink: MailSink | null = null

  constructor(server: SubmissionServer, socket: Socket, accepted: Accepted, customer: Customer, id: string) {
    super(server, socket, accepted, customer, id)
    this.plainAuth = accepted.plainAuth
  }

  protected override secured(): void {
    this.helo = ''
    this.forget()
  }

  protected override left(): void {
    this.sink?.drop()
    this.sink = null
  }

  /** The client has to do with commands, not with mail. */
  private mistaken(said_: Reply): void {
    this.errors++
    this.answer(this.errors >= MOST_ERRORS ? said.tooManyErrors : said_)
  }

  // -- commands ---------------------------------------------------------------

  protected override onLine(octets: Buffer, next: () => void, fault?: LineFault): void {
    if (this._upgrading || this._closing) {
      next()
      return
    }
    const { settings } = this.house
    this.sinceMs = settings.now()
    if (this.house.isStopping) {
      this.answer(said.stopping)
      return
    }
    if (fault !== undefined) {
      this._nextHandler = false
      this.faulty(fault, next)
      return
    }
    if (this._nextHandler) {
      this.exchange(octets, next)
      return
    }
    try {
      this.command(octets, next)
    } catch (error) {
      settings.fault(error)
      this.answer(said.internal)
      this.go(next)
    }
  }

  private faulty(fault: LineFault, next: () => void): void {
    if (fault === 'not SMTP') this.answer(said.noSmtp)
    else if (fault === 'bare LF') {
      // Whoever ends lines so cannot be told apart from someone who smuggles.
      this.answer(said.bareLfCommand)
      this.close()
    } else {
      this.mistaken(said.lineTooLong)
      this.go(next)
    }
  }

  private command(octets: Buffer, next: () => void): void {
    const text = octets.utf8Slice(0, octets.length).trimEnd()
    const space = text.indexOf(' ')
    const verb = (space < 0 ? text : text.slice(0, space)).toUpperCase()
    const rest = space < 0 ? '' : text.slice(space + 1).trimStart()
    if (octets.length > COMMAND_LINE - 2 && verb !== 'AUTH') {
      this.faulty('too long', next)
      return
    }
    if (CONTROL.test(text)) {
      const isHello = verb === 'EHLO' || verb === 'HELO'
      if (verb === 'MAIL') this.mistaken(said.badSender)
      else if (verb === 'RCPT') this.mistaken(said.badRecipient)
      else this.mistaken(isHello ? said.badArguments : said.badOctets)
      this.go(next)
      return
    }
    if (this.needsTls && !BEFORE_TLS.has(verb) && !HTTP.has(verb) && COMMANDS.has(verb)) {
      this.mistaken(said.tlsFirst)
      this.go(next)
      return
    }
    switch (verb) {
      case 'MAIL':
        this.mail(rest)
        break
      case 'RCPT':
        this.recipient(rest)
        break
      case 'DATA':
        this.data(rest)
        break
      case 'EHLO':
      case 'HELO':
        this.hello(verb, rest)
        break
      case 'RSET':
        if (rest !== '') this.mistaken(said.badArguments)
        else {
          this.forget()
          this.answer(said.ok)
        }
        break
      case 'NOOP':
        this.answer(said.ok)
        break
      case 'QUIT':
        if (rest !== '') {
          this.mistaken(said.badArguments)
          break
        }
        this.answer(said.bye)
        this.close()
        return
      case 'AUTH':
        this.auth(octets, rest, next)
        return
      case 'STARTTLS':
        this.startTls(rest, next)
        return
      case 'VRFY':
        if (rest === '') this.mistaken(said.badArguments)
        else this.answer(said.verify)
        break
      case 'HELP':
        this.answer(said.help)
        break
      case 'BDAT':
      case 'EXPN':
      case 'SEND':
      case 'SOML':
      case 'SAML':
      case 'TURN':
      case 'ETRN':
        this.mistaken(said.notImplemented)
        break
      default:
        if (HTTP.has(verb)) {
          this.answer(said.noSmtp)
          return
        }
        this.unknown++
        if (this.unknown >= MOST_UNKNOWN) this.answer(said.tooManyErrors)
        else this.mistaken(said.unknownCommand)
    }
    this.go(next)
  }

  private hello(verb: 'EHLO' | 'HELO', rest: string): void {
    if (!/^[^ \t]{1,255}$/.test(rest) || rest.length > MOST_HELLO) {
      // No enhanced code in replies to EHLO and HELO (RFC 2034 §3).
      this.mistaken(reply(501, '', `Syntax: ${verb} hostname`))
      return
    }
    this.helo = rest
    this.forget()
    const { hostname, maxOctets } = this.house.settings
    if (verb === 'HELO') {
      this.put(`250 ${hostname}\r\n`)
      return
    }
    let text = `250-${hostname}\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n`
    if (!this.secure && this.house.hasTls) text += '250-STARTTLS\r\n'
    if (this.mayAuthenticate && !this.session.user) text += `250-AUTH ${MECHANISMS.join(' ')}\r\n`
    this.put(`${text}250 SIZE ${maxOctets}\r\n`)
  }

  private mail(rest: string): void {
    if (this.helo === '') this.mistaken(said.helloFirst)
    else if (!this.customer.isKnown) this.mistaken(said.authFirst)
    else if (this.sender !== null) this.mistaken(said.nestedMail)
    else {
      const sender = readMail(rest, this.house.settings.maxOctets)
      if (isReply(sender)) {
        this.mistaken(sender)
        return
      }
      const refusal = this.customer.mail(sender)
      if (refusal === undefined) this.sender = sender
      this.answer(refusal ?? said.senderOk)
    }
  }

  private recipient(rest: string): void {
    if (this.sender === null) {
      this.mistaken(this.customer.isKnown ? said.mailFirst : this.helo === '' ? said.helloFirst : said.authFirst)
      return
    }
    const recipient = readRecipient(rest, this.sender.utf8)
    const refusal = isReply(recipient)
      ? recipient
      : this.recipients >= this.house.settings.maxRecipients
        ? said.tooManyRecipients
        : this.customer.recipient(recipient)
    if (refusal === undefined) {
      this.recipients++
      this.answer(said.recipientOk)
    } else if (++this.refusedRecipients > MOST_REFUSED_RECIPIENTS) this.answer(said.tooManyErrors)
    else this.answer(refusal)
  }

  private data(rest: string): void {
    if (rest !== '') this.mistaken(said.badArguments)
    else if (this.sender === null)
      this.mistaken(this.customer.isKnown ? said.mailFirst : this.helo === '' ? said.helloFirst : said.authFirst)
    else if (this.recipients === 0) this.mistaken(this.refusedRecipients > 0 ? said.noRecipients : said.recipientFirst)
    else {
      const sink = this.customer.content()
      if (isReply(sink)) {
        this.answer(sink)
        return
      }
      this.sink = sink
      this.reader.current.startContent(sink, this.house.settings.maxOctets, end => this.contentEnded(end))
      this.answer(said.goOn)
    }
  }

  private contentEnded({ bareLf, bareCr, oversized }: ContentEnd): void {
    const { sink } = this
    this.sink = null
    this.sinceMs = this.house.settings.now()
    if (sink === null) return
    const refusal = bareLf ? said.bareLf : bareCr ? said.bareCr : oversized ? said.tooBig : undefined
    if (refusal !== undefined) {
      sink.drop()
      this.mailAnswered(refusal)
      return
    }
    this.isPending = true
    try {
      sink.end(answer => this.mailAnswered(answer))
    } catch (error) {
      this.house.settings.fault(error)
      this.mailAnswered(said.internal)
    }
  }

  private mailAnswered(said: Reply): void {
    this.isPending = false
    this.sinceMs = this.house.settings.now()
    if (said.code < 400) {
      this.unknown = 0
      this.errors = 0
    }
    this.forget()
    if (this.isGone) return
    this.answer(said)
    this.go(this.reader.current.next)
  }

  private forget(): void {
    if (this.sender !== null) this.customer.reset()
    this.sender = null
    this.recipients = 0
    this.refusedRecipients = 0
  }

  // -- TLS and AUTH -----------------------------------------------------------

  private get mayAuthenticate(): boolean {
    return this.secure || this.plainAuth
  }

  private get needsTls(): boolean {
    return !this.mayAuthenticate && this.house.hasTls && !this.customer.isKnown
  }

  private startTls(rest: string, next: () => void): void {
    if (this.secure) this.mistaken(said.tlsActive)
    else if (!this.house.hasTls) this.mistaken(said.noTls)
    else if (rest !== '') this.mistaken(said.badArguments)
    else {
      this.put('220 2.0.0 Ready to start TLS\r\n')
      this.upgrade(next)
      return
    }
    this.go(next)
  }

  private auth(octets: Buffer, rest: string, next: () => void): void {
    const [mechanism = '', initial, more] = rest.split(/[ \t]+/)
    const fault =
      this.helo === ''
        ? said.helloFirst
        : this.session.user
          ? said.authTwice
          : this.sender !== null
            ? said.authInMail
            : mechanism === '' || more !== undefined
              ? said.badArguments
              : !this.mayAuthenticate || !MECHANISMS.includes(mechanism.toUpperCase())
                ? said.badMechanism
                : initial !== undefined && initial !== '=' && !BASE64.test(initial)
                  ? said.badBase64
                  : undefined
    if (fault !== undefined) {
      this.mistaken(fault)
      this.go(next)
      return
    }
    this.asking(() => super.handler_AUTH(octets, this.exchanged(next)))
  }

  private exchange(octets: Buffer, next: () => void): void {
    const handler = this._nextHandler
    this._nextHandler = false
    const text = octets.latin1Slice(0, octets.length)
    if (!handler || text === '*' || !BASE64.test(text)) {
      this.mistaken(text === '*' ? said.aborted : said.badBase64)
      this.go(next)
      return
    }
    this.asking(() => handler.call(this, octets, this.exchanged(next)))
  }

  private exchanged(next: () => void): () => void {
    return () => {
      this.isPending = false
      if (!this._closing) this.go(next)
    }
  }

  private asking(step: () => void): void {
    this.isPending = true
    this.house.asking = this
    try {
      step()
    } catch (error) {
      this.house.settings.fault(error)
      this.answer(said.internal)
    }
  }

  /** What {@link SubmissionServer.onAuth} asks for. Calls back with null when it is good. */
  async judge(attempt: Attempt | null, then: (refusal: Error | null) => void): Promise<void> {
    let answer: Reply = said.badCredentials
    try {
      if (attempt !== null) answer = await this.customer.authenticate(attempt)
    } catch (error) {
      this.house.settings.fault(error)
      answer = reply(454, '4.7.0', 'Authentication is not possible now')
    }
    if (this.isGone) return
    if (answer.code < 400) {
      this.authFailures = 0
      then(null)
      return
    }
    if (answer.code === 535 && ++this.authFailures >= MOST_AUTH_FAILURES) answer = said.tooManyFailures
    this.authReply = answer
    then(Object.assign(new Error(answer.text), { responseCode: answer.code }))
  }
}

const COMMANDS = new Set(['MAIL', 'RCPT', 'DATA', 'AUTH', 'VRFY', 'EXPN', 'HELP', 'BDAT'])
