// Submission over connections that others accepted: the one place around smtp-server. Its listener, timers, parsers and
// lax defaults stay unused; see submission.ts for what does not. Knows TLS contexts and which connections there are.

import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { SMTPServerAuthentication, SMTPServerAuthenticationResponse, SMTPServerSession } from 'smtp-server'
import { SMTPServer } from 'smtp-server'
import type { Connection } from './connection.js'
import type { Customer } from './customer.js'
import { Submission } from './submission.js'

/** A connection that is to speak SMTP, its TLS handshake done if it had one. */
export interface Accepted {
  readonly address: string
  readonly port: number
  readonly isSecure: boolean
  /** AUTH without TLS is allowed: the listener is on loopback. */
  readonly plainAuth: boolean
}

export interface SubmissionSettings {
  /** Our name in greeting and EHLO. */
  readonly hostname: string
  /** Octets of one mail. */
  readonly maxOctets: number
  readonly maxRecipients: number
  /** From one whole command to the next, and to the first. */
  readonly idleMs: number
  readonly handshakeMs: number
  /** A mail that comes slower, once idleMs are over, is given up. */
  readonly minBytesPerSecond: number
  /** Milliseconds, monotonic. */
  readonly now: () => number
  /** A fault of ours. */
  readonly fault: (error: unknown) => void
  /** A handshake after STARTTLS. */
  readonly failed: (why: 'tls handshake' | 'tls handshake late' | 'bad client certificate', address: string) => void
}

/** What STARTTLS shows and asks for. */
export interface StartTls {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca: Buffer | undefined
  readonly clientCert: 'none' | 'ask' | 'require'
}

const SWEEP_MS = 1_000

export class SubmissionServer extends SMTPServer {
  readonly settings: SubmissionSettings
  /** Until their sockets are gone. */
  readonly open = new Set<Connection>()
  isStopping = false
  hasTls: boolean
  /** Whose SASL step runs: the package does not say. */
  asking: Submission | null = null
  private number = 0
  private readonly sweeper: NodeJS.Timeout
  private emptied: () => void = () => {}

  constructor(settings: SubmissionSettings, tls: StartTls | null) {
    super({
      logger: false,
      disableReverseLookup: true,
      hideENHANCEDSTATUSCODES: false,
      allowInsecureAuth: true,
      authOptional: true,
      authMethods: ['PLAIN', 'LOGIN', 'XOAUTH2'],
      ...(tls === null ? { hideSTARTTLS: true } : tlsOptions(tls)),
    })
    this.settings = settings
    this.hasTls = tls !== null
    this.on('error', settings.fault)
    this.sweeper = setInterval(() => this.sweep(), SWEEP_MS).unref()
  }

  /** For handshakes to come. */
  useCertificate(tls: StartTls): void {
    this.updateSecureContext(tlsOptions(tls))
  }

  /** The socket is ours from now on. */
  accept(socket: Socket, accepted: Accepted, customer: Customer): void {
    const one = new Submission(this, socket, accepted, customer, `${++this.number}`)
    this.connections.add(one)
    this.open.add(one)
    one.init()
  }

  override onAuth(
    auth: SMTPServerAuthentication,
    _session: SMTPServerSession,
    callback: (error: Error | null | undefined, response?: SMTPServerAuthenticationResponse) => void,
  ): void {
    const one = this.asking as Submission
    this.asking = null
    const { method, username = '', password, accessToken, authcid, authzid } = auth
    // RFC 4616: the identity is authcid, and nobody acts for another. The package would take authzid where authcid is empty.
    const isOther = method === 'PLAIN' && (authcid === '' || (authzid !== '' && authzid !== authcid))
    const attempt = isOther ? null : { mechanism: method, user: username, secret: password ?? accessToken ?? '' }
    void one.judge(attempt, refusal => {
      if (refusal) callback(refusal)
      else callback(null, { user: username })
    })
  }

  override onSecure(socket: Socket | TLSSocket, _session: SMTPServerSession, callback: (error?: Error) => void): void {
    const { requestCert } = this.options
    if (requestCert && 'authorized' in socket && !socket.authorized && socket.getPeerX509Certificate() !== undefined) {
      this.settings.failed('bad client certificate', socket.remoteAddress ?? '')
      socket.destroy()
      return
    }
    callback()
  }

  gone(one: Connection): void {
    this.open.delete(one)
    if (this.open.size === 0) this.emptied()
  }

  private sweep(): void {
    const now = this.settings.now()
    for (const one of this.open) one.look(now)
  }

  /** Idle connections end now, the others with their mail; resolves when none is left. */
  async drain(): Promise<void> {
    this.isStopping = true
    for (const one of [...this.open]) one.leave()
    while (this.open.size > 0) await new Promise<void>(resolve => (this.emptied = resolve))
  }

  /** Hangs up on whoever is left. */
  destroy(): void {
    this.isStopping = true
    clearInterval(this.sweeper)
    for (const one of [...this.open]) one.destroy()
  }
}

const tlsOptions = ({ cert, key, ca, clientCert }: StartTls) => ({
  cert,
  key,
  ...(ca === undefined ? {} : { ca }),
  minVersion: 'TLSv1.2' as const,
  requestCert: clientCert !== 'none',
  rejectUnauthorized: clientCert === 'require',
})
