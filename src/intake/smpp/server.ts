// The SMPP listener: accepts connections, gives each a session and a Bind, and closes them
// in order. Knows sockets and limits; what is said on them is the Bind's.

import { createServer, type Server, type Socket } from 'node:net'
import type { PduCounts } from '../../../protocols/smpp/counts.js'
import { Session, type SessionLimits } from '../../../protocols/smpp/session.js'
import type { SessionClock } from '../../../protocols/smpp/session-clock.js'
import { Bind, type BindHost } from './bind.js'

export class SmppServer {
  private readonly server: Server
  private readonly host: BindHost
  private readonly limits: SessionLimits
  private readonly clock: SessionClock
  private readonly counts: PduCounts
  /** Told of each new connection, before its first PDU: where a trace is put on. */
  onBind: (bind: Bind) => void = () => {}

  constructor(host: BindHost, limits: SessionLimits, clock: SessionClock, counts: PduCounts, maxConnections: number) {
    this.host = host
    this.limits = limits
    this.clock = clock
    this.counts = counts
    this.server = createServer({ noDelay: true }, socket => this.accept(socket))
    this.server.maxConnections = maxConnections
  }

  /** Resolves with the port; rejects with what the system says (EADDRINUSE, EACCES). */
  listen(at: { host: string; port: number }): Promise<number> {
    return new Promise((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen({ ...at, backlog: 1024 }, () => {
        this.server.off('error', reject)
        this.server.on('error', error => this.host.log.error({ err: error }, 'SMPP listener'))
        const address = this.server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : at.port)
      })
    })
  }

  private accept(socket: Socket): void {
    const bind = new Bind(this.host)
    bind.session = new Session(socket, 'smsc', bind, this.limits, this.clock, this.counts)
    this.host.binds.all.add(bind)
    this.onBind(bind)
  }

  /** No new connections; those that are stay. */
  close(): void {
    this.server.close()
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
