// The mail listeners, plain and TLS: each connection gets a customer and speaks SMTP, and all are closed in order. Counts
// and logs what happens to them; never an address' local part, never a word of a mail.

import type { BlockList } from 'node:net'
import { endpoint, isListed, networkOf } from '../../../protocols/net/address.js'
import type { TlsMaterial } from '../../../protocols/net/certificate.js'
import type { Crowd } from '../../../protocols/net/crowd.js'
import { Listener, type Refusal } from '../../../protocols/net/listener.js'
import { SubmissionServer, type SubmissionSettings } from '../../../protocols/smtp/server.js'
import type { Account } from '../../accounts/account.js'
import { hasScope, type KeyGrant, objectionTo } from '../../accounts/keys.js'
import type { Clock } from '../../base/clock.js'
import type { Counters } from '../../base/figures.js'
import type { Log } from '../../base/log.js'
import { Quiet } from '../../base/quiet.js'
import type { Message } from '../../model/message.js'
import type { FailedBinds } from '../smpp/failures.js'
import type { Door } from '../submit.js'
import { MailCustomer, type MailHost } from './customer.js'
import { Duplicates } from './duplicates.js'

/** Log lines a minute, of one network and of all. */
const LINES = 20
const LINES_IN_ALL = 300
const MOST_USER = 64
/** Addresses of which it is remembered whose they are. */
const REMEMBERED = 10_000
const MIN_BYTES_PER_SECOND = 500

export interface MailAccounts {
  account(id: number): Account | undefined
  accountBySystemId(systemId: string): Account | undefined
  key(apiKey: string): KeyGrant | undefined
  verify(account: Account | undefined, password: string): boolean
}

export interface MailServerOptions
  extends Pick<SubmissionSettings, 'hostname' | 'maxOctets' | 'maxRecipients' | 'idleMs' | 'handshakeMs'> {
  readonly smsDomains: readonly string[]
  /** Who reads the mail to the postmaster of our domains; null: nobody. */
  readonly postmaster: string | null
  /** Mail to any other domain is taken, and leaves as mail. */
  readonly takesAll: boolean
  /** A text message that came by mail was taken. */
  noted(message: Message): void
  /** Whose mail needs no authentication, by address. */
  readonly trusted: readonly { readonly list: BlockList; readonly systemId: string }[]
  readonly proxies: BlockList | null
  readonly crowd: Crowd
  /** What STARTTLS and the TLS listener show; null: no TLS. */
  readonly tls: TlsMaterial | null
  readonly door: Door
  readonly accounts: MailAccounts
  keyUsed(id: number): void
  readonly failures: FailedBinds
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  fault(error: unknown): void
}

export class MailServer {
  private readonly options: MailServerOptions
  private readonly submissions: SubmissionServer
  private readonly host: MailHost
  private readonly listeners: Listener[] = []
  private readonly secure: Listener[] = []
  private readonly quiet: Quiet
  private readonly perAccount = new Map<number, number>()
  /** Whose mail an address's is, '' nobody's: lists are slow to ask. */
  private readonly trustedBefore = new Map<string, string>()

  constructor(options: MailServerOptions) {
    this.options = options
    const { hostname, maxOctets, maxRecipients, idleMs, handshakeMs, clock, fault, tls } = options
    this.quiet = new Quiet(LINES, LINES_IN_ALL, clock.mono)
    this.submissions = new SubmissionServer(
      {
        hostname,
        maxOctets,
        maxRecipients,
        idleMs,
        handshakeMs,
        minBytesPerSecond: MIN_BYTES_PER_SECOND,
        now: clock.mono,
        fault,
        failed: (why, address) => this.notConnected(why, address),
      },
      tls,
    )
    this.host = this.hosting()
  }

  private hosting(): MailHost {
    const { options } = this
    const { door, failures, accounts, counters, log, clock, smsDomains, fault } = options
    return {
      hostname: options.hostname,
      postmaster: options.postmaster,
      takesAll: options.takesAll,
      now: clock.now,
      noted: message => options.noted(message),
      door,
      failures,
      duplicates: new Duplicates(clock.mono),
      held: { octets: 0 },
      smsDomains: new Set(smsDomains),
      account: id => accounts.account(id),
      accountBySystemId: systemId => accounts.accountBySystemId(systemId),
      mayUseKey: (account, key, address) => {
        const grant = accounts.key(key)
        if (grant === undefined || grant.account !== account?.id || grant.kind === 'test') return false
        const isGood = hasScope(grant.scopes, 'messages:send') && !objectionTo(grant, clock.now(), address)
        if (isGood) options.keyUsed(grant.id)
        return isGood
      },
      verify: (account, password) => accounts.verify(account, password),
      trusted: address => this.trustedAt(address),
      enter: account => this.enter(account),
      leave: account => this.leave(account),
      count: (name, by) => counters.add(name, by),
      authRefused: ({ address, port }, user, why) => {
        counters.add('mail_authentications_refused')
        counters.add(`mail_authentications_refused_${why.replaceAll(' ', '_')}`)
        const line = { peer: endpoint(address, port), systemId: user.slice(0, MOST_USER), why }
        this.quiet.warn(log, networkOf(address), line, 'mail authentication refused')
      },
      authenticated: ({ address, port, systemId }, mechanism) => {
        counters.add('mail_authentications')
        log.debug({ peer: endpoint(address, port), systemId, mechanism }, 'mail client authenticated')
      },
      refused: ({ address, port, systemId }, { code, enhanced, text }) => {
        counters.add(`mail_refused_${code}`)
        if (code === 535) return
        log.debug({ peer: endpoint(address, port), systemId, code, enhanced, why: text }, 'mail command refused')
      },
      closed: ({ address, port, systemId, mails }) => {
        log.debug({ peer: endpoint(address, port), systemId, mails }, 'mail connection closed')
      },
      fault,
    }
  }

  private trustedAt(address: string): string | undefined {
    const { trusted } = this.options
    if (trusted.length === 0) return undefined
    let systemId = this.trustedBefore.get(address)
    if (systemId === undefined) {
      systemId = trusted.find(({ list }) => isListed(list, address))?.systemId ?? ''
      if (this.trustedBefore.size >= REMEMBERED) this.trustedBefore.clear()
      this.trustedBefore.set(address, systemId)
    }
    return systemId === '' ? undefined : systemId
  }

  private enter({ id, mail }: Account): boolean {
    const here = this.perAccount.get(id) ?? 0
    if (mail.maxConnections > 0 && here >= mail.maxConnections) return false
    this.perAccount.set(id, here + 1)
    return true
  }

  private leave(account: number): void {
    const here = (this.perAccount.get(account) ?? 0) - 1
    if (here > 0) this.perAccount.set(account, here)
    else this.perAccount.delete(account)
  }

  /** Resolves with the port; rejects with what the system says (EADDRINUSE, EACCES). `isTls`: implicit TLS. */
  async listen(at: { host: string; port: number }, isTls = false): Promise<number> {
    const { crowd, failures, proxies, handshakeMs, log, counters, tls } = this.options
    // Who comes through a proxy is not of this machine, though the proxy may be.
    const plainAuth = isLoopback(at.host) && proxies === null
    const listener = new Listener({
      tls: isTls ? tls : null,
      proxies,
      crowd,
      patienceMs: handshakeMs,
      isBarred: address => failures.isBarred(networkOf(address)),
      connected: (socket, { address, port, isSecure }) => {
        counters.add('mail_connections')
        const customer = new MailCustomer(this.host, address, port)
        this.submissions.accept(socket, { address, port, isSecure, plainAuth }, customer)
      },
      refused: (why, address) => this.notConnected(why, address),
      failed: error => log.error({ err: error }, 'SMTP listener'),
    })
    this.listeners.push(listener)
    if (isTls) this.secure.push(listener)
    return listener.listen(at)
  }

  /** For handshakes to come. */
  useCertificate(tls: TlsMaterial): void {
    for (const listener of this.secure) listener.useCertificate(tls)
    this.submissions.useCertificate(tls)
  }

  private notConnected(why: Refusal, address: string): void {
    this.options.counters.add(`mail_connections_refused_${why.replaceAll(' ', '_')}`)
    this.quiet.warn(this.options.log, networkOf(address), { address, why }, 'mail connection refused')
  }

  /** No new connections; those that are stay. */
  close(): void {
    for (const listener of this.listeners) listener.close()
  }

  /** Idle connections end, the others after their mail; resolves when all are gone. */
  drain(): Promise<void> {
    return this.submissions.drain()
  }

  /** Hangs up on whoever is left. */
  destroy(): void {
    this.submissions.destroy()
  }
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127\./.test(host)
