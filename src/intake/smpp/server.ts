// The SMPP listeners, plain and TLS: each connection gets a session and a Bind, and all are closed in order. Knows limits and
// what to count and log of connections that were not let in; what is said on the others is the Bind's.

import type { BlockList, Socket } from 'node:net'
import { endpoint, networkOf } from '../../../protocols/net/address.js'
import type { TlsMaterial } from '../../../protocols/net/certificate.js'
import type { Crowd } from '../../../protocols/net/crowd.js'
import { Listener, type Origin, type Refusal } from '../../../protocols/net/listener.js'
import type { PduCounts } from '../../../protocols/smpp/counts.js'
import { Session, type SessionLimits } from '../../../protocols/smpp/session.js'
import type { SessionClock } from '../../../protocols/smpp/session-clock.js'
import type { Counters } from '../../base/figures.js'
import { Quiet } from '../../base/quiet.js'
import { Bind, type BindHost } from './bind.js'
import type { FailedBinds } from './failures.js'

/** Log lines a minute about connections that were not let in, of one network and of all. */
const LINES = 3
const LINES_IN_ALL = 60

export interface SmppServerOptions {
  readonly limits: SessionLimits
  readonly clock: SessionClock
  readonly counts: PduCounts
  readonly counters: Counters
  readonly crowd: Crowd
  readonly failures: FailedBinds
  /** See {@link ListenerOptions.proxies}. */
  readonly proxies: BlockList | null
}

export class SmppServer {
  private readonly host: BindHost
  private readonly options: SmppServerOptions
  private readonly quiet: Quiet
  private readonly listeners: Listener[] = []
  private secure: Listener | undefined
  /** Told of each new connection, before its first PDU: where a trace is put on. */
  onBind: (bind: Bind) => void = () => {}

  constructor(host: BindHost, options: SmppServerOptions) {
    this.host = host
    this.options = options
    this.quiet = new Quiet(LINES, LINES_IN_ALL, options.clock.now)
  }

  /** Resolves with the port; rejects with what the system says (EADDRINUSE, EACCES). `tls` null: plain TCP. */
  async listen(at: { host: string; port: number }, tls: TlsMaterial | null = null): Promise<number> {
    const { limits, crowd, failures, proxies } = this.options
    const listener = new Listener({
      tls,
      proxies,
      crowd,
      patienceMs: limits.sessionInitMs,
      isBarred: address => failures.isBarred(networkOf(address)),
      connected: (socket, origin) => this.connected(socket, origin),
      refused: (why, address) => this.refused(why, address),
      failed: error => this.host.log.error({ err: error }, 'SMPP listener'),
    })
    this.listeners.push(listener)
    if (tls !== null) this.secure = listener
    return listener.listen(at)
  }

  /** For connections to come. */
  useCertificate(tls: TlsMaterial): void {
    this.secure?.useCertificate(tls)
  }

  private connected(socket: Socket, origin: Origin): void {
    const { limits, clock, counts } = this.options
    const bind = new Bind(this.host, origin)
    bind.session = new Session(socket, 'smsc', bind, limits, clock, counts)
    bind.session.peer = endpoint(origin.address, origin.port)
    this.host.binds.all.add(bind)
    this.onBind(bind)
  }

  private refused(why: Refusal, address: string): void {
    this.options.counters.add(`connections_refused_${why.replaceAll(' ', '_')}`)
    this.quiet.warn(this.host.log, networkOf(address), { address, why }, 'connection refused')
  }

  /** No new connections; those that are stay. */
  close(): void {
    for (const listener of this.listeners) listener.close()
  }

  /** Unbinds every peer; resolves when all are gone. */
  async drain(): Promise<void> {
    for (const bind of [...this.host.binds.all]) bind.session.unbind('draining')
    while (this.host.binds.all.size > 0) await new Promise<void>(resolve => (this.drained = resolve))
  }

  private drained: () => void = () => {}

  /** A connection is gone: called by the host. */
  gone(bind: Bind): void {
    this.host.binds.all.delete(bind)
    if (this.host.binds.all.size === 0) this.drained()
  }

  /** Hangs up on whoever is left. */
  destroy(): void {
    for (const bind of [...this.host.binds.all]) bind.session.destroy('draining')
  }
}
