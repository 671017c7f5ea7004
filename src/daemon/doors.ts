// The listeners that the settings ask for, what stands behind that of SMPP, and the certificates that they show. Knows
// settings; connections are the servers'.

import { listOf } from '../../protocols/net/address.js'
import { isFaulty, readTls, type TlsMaterial } from '../../protocols/net/certificate.js'
import { Crowd } from '../../protocols/net/crowd.js'
import { PduCounts } from '../../protocols/smpp/counts.js'
import type { SessionClock } from '../../protocols/smpp/session-clock.js'
import { type Config, parseListen, trustedFrom } from '../config.js'
import type { MailServer } from '../intake/mail/server.js'
import type { Bind } from '../intake/smpp/bind.js'
import { Congestion } from '../intake/smpp/congestion.js'
import { FailedBinds } from '../intake/smpp/failures.js'
import { Operations } from '../intake/smpp/operations.js'
import { SmppServer } from '../intake/smpp/server.js'
import type { Message } from '../model/message.js'
import type { Lookup } from '../returns/lookup.js'
import type { Spool } from '../spool/contract.js'
import { type BindParts, bindHost } from './bindHost.js'

const WINDOW_BYTES = 4 * 2 ** 20
const LATE_REQUESTS = 1_000
const DAY_MS = 86_400_000
/** So long an 8-hex id of v3.3 is understood: it comes round every nine hours, and each round is a look-up. */
const ALIAS_MS = 7 * DAY_MS
/** A certificate with fewer days left is warned of. */
const FEW_DAYS = 14

export interface DoorsGiven extends Omit<BindParts, 'operations' | 'congestion' | 'failures' | 'gone'> {
  readonly config: Config
  readonly spool: Spool
  readonly lookup: Lookup
  readonly sessionClock: SessionClock
  /** A text message that came by mail was taken. */
  mailNoted(message: Message): void
  keyUsed(id: number): void
}

/** null = off. */
export type DoorPorts = Readonly<Record<'smpp' | 'smppTls' | 'smtp' | 'smtpTls', number | null>>

export class Doors {
  readonly smpp: SmppServer
  /** null before it is open, and where mail is off. */
  mail: MailServer | null = null
  /** PDUs of all binds. */
  readonly smppCounts = new PduCounts()
  readonly operations: Operations
  /** null: peers are not told. */
  readonly congestion: Congestion | null
  private readonly failures: FailedBinds
  private readonly given: DoorsGiven

  constructor(given: DoorsGiven) {
    const { config, clock, sessionClock, counters, trace } = given
    const { smpp } = config
    this.given = given
    this.congestion = smpp.congestion ? new Congestion(given.spool) : null
    this.failures = new FailedBinds(
      { delayMs: smpp.failedBindDelayMs, barredAfter: smpp.failedBinds, barredMs: smpp.barredMs },
      clock.mono,
    )
    this.operations = new Operations({
      door: given.door,
      clock,
      node: config.node,
      counters,
      aliasMs: ALIAS_MS,
      peerWindow: smpp.peerWindow,
      ended: id => given.lookup.ended(id),
      fault: error => given.fault(error),
    })
    const host = bindHost({
      ...given,
      ...{ operations: this.operations, congestion: this.congestion, failures: this.failures },
      gone: bind => this.smpp.gone(bind),
    })
    const crowd = {
      all: smpp.maxConnections,
      perNetwork: smpp.maxConnectionsPerAddress,
      perSecond: smpp.connectionsPerSecond,
    }
    this.smpp = new SmppServer(host, {
      limits: {
        maxPduBytes: smpp.maxPduBytes,
        windowRequests: smpp.window,
        windowBytes: WINDOW_BYTES,
        sendBytes: smpp.sendBytes,
        lateRequests: LATE_REQUESTS,
        sessionInitMs: smpp.sessionInitMs,
        enquireLinkMs: smpp.enquireLinkMs,
        responseMs: smpp.responseMs,
        inactivityMs: smpp.inactivityMs,
        stallMs: smpp.stallMs,
      },
      clock: sessionClock,
      counts: this.smppCounts,
      counters,
      crowd: new Crowd(crowd, clock.mono),
      failures: this.failures,
      proxies: smpp.proxy.length === 0 ? null : listOf(smpp.proxy),
    })
    this.smpp.onBind = (bind: Bind) => bind.onGone(trace.watch(bind.session, 'account', () => bind.systemId))
  }

  /** Ports by listener; null = off. Rejects with what the system says (EADDRINUSE, EACCES), or with a certificate's fault. */
  async open(): Promise<DoorPorts> {
    const { smpp, smtp } = this.given.config
    const plainAt = parseListen(smpp.listen)
    const tlsAt = parseListen(smpp.tls.listen)
    const certificate = tlsAt ? this.certificate('smpp', smpp.tls) : null
    if (typeof certificate === 'string') throw new Error(certificate)
    const mailAt = parseListen(smtp.listen)
    const mailTlsAt = smtp.tls.cert === null ? null : parseListen(smtp.tls.listen)
    if (mailAt || mailTlsAt) this.mail = await this.mailServer(smtp)
    return {
      smpp: plainAt ? await this.smpp.listen(plainAt) : null,
      smppTls: tlsAt && certificate ? await this.smpp.listen(tlsAt, certificate) : null,
      smtp: mailAt && this.mail ? await this.mail.listen(mailAt) : null,
      smtpTls: mailTlsAt && this.mail ? await this.mail.listen(mailTlsAt, true) : null,
    }
  }

  /** Throws with a certificate's fault. */
  private async mailServer(smtp: Config['smtp']): Promise<MailServer> {
    // Large, and not everybody's.
    const { MailServer } = await import('../intake/mail/server.js')
    const { door, directory, clock, counters, log, mailNoted, keyUsed, fault } = this.given
    const crowd = {
      all: smtp.maxConnections,
      perNetwork: smtp.maxConnectionsPerAddress,
      perSecond: smtp.connectionsPerSecond,
    }
    const certificate = this.certificate('smtp', smtp.tls)
    if (typeof certificate === 'string') throw new Error(certificate)
    return new MailServer({
      hostname: smtp.hostname,
      maxOctets: smtp.maxBytes,
      maxRecipients: smtp.maxRecipients,
      idleMs: smtp.idleMs,
      handshakeMs: smtp.handshakeMs,
      smsDomains: smtp.smsDomains,
      postmaster: smtp.postmaster,
      takesAll: smtp.catch,
      noted: mailNoted,
      keyUsed,
      trusted: smtp.trusted.flatMap(one => {
        const from = trustedFrom(one)
        return from === undefined ? [] : { list: listOf([from.range]), systemId: from.systemId }
      }),
      proxies: smtp.proxy.length === 0 ? null : listOf(smtp.proxy),
      crowd: new Crowd(crowd, clock.mono),
      tls: certificate,
      door,
      accounts: directory,
      failures: this.failures,
      clock,
      counters,
      log,
      fault,
    })
  }

  /** No new connections; those that are stay. */
  close(): void {
    this.smpp.close()
    this.mail?.close()
  }

  /** Ends every connection in order; resolves when all are gone. */
  async drain(): Promise<void> {
    await Promise.all([this.smpp.drain(), this.mail?.drain()])
  }

  /** Hangs up on whoever is left. */
  destroy(): void {
    this.smpp.destroy()
    this.mail?.destroy()
  }

  /** Reads the certificates again; what is faulty is logged, and what is in use stays. */
  reload({ smpp, smtp }: Config): void {
    this.renew('smpp', smpp.tls, tls => this.smpp.useCertificate(tls))
    this.renew('smtp', smtp.tls, tls => this.mail?.useCertificate(tls))
  }

  private renew(group: string, tls: Config['smpp']['tls'], use: (tls: TlsMaterial) => void): void {
    const certificate = this.certificate(group, tls)
    if (typeof certificate === 'string') this.given.log.error({ why: certificate }, 'certificate not renewed')
    else if (certificate !== null) use(certificate)
  }

  /** null when there is to be none; all that is wrong, in words. */
  private certificate(group: string, tls: Config['smpp']['tls']): TlsMaterial | null | string {
    const read = readTls(tls)
    if (isFaulty(read)) return read.map(({ setting, message }) => `${group}.tls.${setting} ${message}`).join('; ')
    if (read === null) return null
    const { clock, log } = this.given
    const days = Math.floor((Date.parse(read.validTo) - clock.now()) / DAY_MS)
    const line = { file: tls.cert, validTo: read.validTo, days }
    if (days < FEW_DAYS) log.warn(line, 'certificate read, and it ends soon')
    else log.info(line, 'certificate read')
    return read
  }
}
