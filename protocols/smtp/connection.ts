// smtp-server's connection with what is ours beneath the commands: the reader, how replies go out, TLS, time and the end. The
// package keeps the socket's life and the upgrade to TLS. Knows no command. RFC 3207.

import type { Socket } from 'node:net'
import { SMTPConnection } from 'smtp-server/lib/smtp-connection.js'
import type { Customer } from './customer.js'
import { type LineFault, SmtpReader } from './reader.js'
import { line, type Reply, reply, said } from './replies.js'
import type { Accepted, SubmissionServer } from './server.js'

/** RFC 4954 §4: 12,288 octets with the CRLF, for AUTH and what follows it. */
const AUTH_LINE = 12_288
/** Enhanced codes of what the package says itself. */
const ENHANCED: Readonly<Record<number, string>> = {
  220: '2.0.0',
  235: '2.7.0',
  421: '4.7.0',
  454: '4.7.0',
  501: '5.5.2',
  535: '5.7.8',
}

export abstract class Connection extends SMTPConnection {
  readonly customer: Customer
  protected readonly house: SubmissionServer
  protected readonly reader: { current: SmtpReader }
  /** Whose the socket's end is besides ours: the package takes their listeners away with TLS. */
  private readonly outerClose: ((...of: unknown[]) => void)[]
  /** A reply is owed that needs time: authentication, durability. */
  protected isPending = false
  protected isGone = false
  /** Said instead of the package's own next reply. */
  protected authReply: Reply | null = null
  /** The last time that a command or a mail was whole. */
  protected sinceMs: number
  private isCorked = false
  private shaking: Socket | null = null

  constructor(server: SubmissionServer, socket: Socket, accepted: Accepted, customer: Customer, id: string) {
    // Our own end is asked for by nobody, and costs two calls of the system.
    const own = { localAddress: '::', localPort: 1 }
    super(server, socket, { id, remoteAddress: accepted.address, remotePort: accepted.port, ...own })
    this.house = server
    this.customer = customer
    this.reader = { current: this._parser as SmtpReader }
    this.outerClose = socket.rawListeners('close') as ((...of: unknown[]) => void)[]
    if (accepted.isSecure) this.session.secure = this.secure = true
    this.sinceMs = server.settings.now()
  }

  /** A line of the client's; `next` asks for the next. */
  protected abstract onLine(octets: Buffer, next: () => void, fault?: LineFault): void
  /** TLS is up: what was said before counts for nothing. */
  protected abstract secured(): void
  /** The connection is gone. */
  protected abstract left(): void

  // -- what the package would do otherwise ------------------------------------

  /** The greeting goes out at once: no wait for early talkers, no reverse look-up. */
  override init(): void {
    this._setListeners(() => {
      this.put(line(reply(220, '', `${this.house.settings.hostname} ESMTP Trunkline`)))
      this._ready = true
    })
  }

  override _createParser(): SmtpReader {
    const reader = new SmtpReader(AUTH_LINE)
    reader.onLine = (octets, next, fault) => this.onLine(octets, next, fault)
    if (this.reader !== undefined) this.reader.current = reader
    return reader
  }

  /** One sweep looks after all connections; of a handshake it must know the socket on top. */
  override _armTimeout(socket?: Socket): void {
    if (socket !== undefined && socket !== this._socket) this.shaking = socket
  }

  override _resetSession(): void {
    // The envelope is the customer's.
  }

  override _onCommand(): void {
    // Lines come to onLine.
  }

  override send(code: number, data?: string | string[] | null): void {
    const text = Array.isArray(data) ? data.join(' ') : (data ?? '')
    const { authReply } = this
    this.authReply = null
    this.answer(authReply ?? reply(code, ENHANCED[code] ?? '', text))
  }

  override _onError(): void {
    if (this._upgrading) this.house.settings.failed('tls handshake', this.remoteAddress)
    this._socket.destroy()
  }

  override _onClose(): void {
    super._onClose()
    if (this.isGone) return
    this.isGone = true
    this.house.gone(this)
    this.left()
    this.customer.closed()
  }

  // -- replies ----------------------------------------------------------------

  protected answer(said: Reply): void {
    if (said.code >= 400) this.customer.refused(said)
    this.put(line(said))
    if (said.code === 421) this.close()
  }

  protected put(text: string): void {
    const socket = this._socket
    if (this._upgrading || this._closing || socket.destroyed || !socket.writable) return
    if (!this.isCorked) {
      this.isCorked = true
      socket.cork()
      // Replies of a turn go out in one write.
      process.nextTick(() => {
        this.isCorked = false
        socket.uncork()
      })
    }
    socket.write(text, 'latin1')
  }

  protected go(next: () => void): void {
    if (this._socket.writableNeedDrain) this._whenWritable(next)
    else next()
  }

  override upgrade(callback: () => void): void {
    const raw = this._socket
    // In clear, and before the first octet of TLS.
    raw.uncork()
    this.isCorked = true
    super.upgrade(callback, () => {
      this.isCorked = false
      this.shaking = null
      this.secured()
      this.customer.secured()
      this.sinceMs = this.house.settings.now()
    })
    for (const then of this.outerClose) raw.on('close', then)
  }

  // -- time -------------------------------------------------------------------

  /** Ends what has taken too long: in all, not since the last octet. */
  look(nowMs: number): void {
    const { idleMs, handshakeMs, minBytesPerSecond, maxOctets } = this.house.settings
    const waitedMs = nowMs - this.sinceMs
    if (this._upgrading) {
      if (waitedMs < handshakeMs) return
      this.house.settings.failed('tls handshake late', this.remoteAddress)
      ;(this.shaking ?? this._socket).destroy()
    } else if (this.isPending || this._closing) return
    else if (this.reader.current.inContent) {
      const { received } = this.reader.current
      if (received > 2 * maxOctets + 65_536) {
        this.answer(said.tooBig)
        this.close()
      } else if (waitedMs > idleMs + (received / minBytesPerSecond) * 1000) this.answer(said.tooSlow)
    } else if (waitedMs >= idleMs) this.answer(said.idle)
  }

  /** The service is stopping: who is in the midst of a mail may end it. */
  leave(): void {
    if (!this.isPending && !this.reader.current.inContent) this.answer(said.stopping)
  }

  destroy(): void {
    ;(this.shaking ?? this._socket).destroy()
  }
}
