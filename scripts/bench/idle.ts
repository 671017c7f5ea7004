// Figure 6: a thousand customers, each with one bind that says nothing. What they cost in memory, and how long it takes
// until all are back after a restart, when they come in the same moment. The binds are sessions in this process.

import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { command, responseTo } from '../../protocols/smpp/commands.js'
import { PduCounts } from '../../protocols/smpp/counts.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import { defaultLimits, Session, type SessionOwner } from '../../protocols/smpp/session.js'
import { SessionClock } from '../../protocols/smpp/session-clock.js'
import { status } from '../../protocols/smpp/status.js'
import { count as grouped } from '../../src/cli/print.js'
import type { Measure } from './report.js'
import type { Run } from './run.js'
import { PASSWORD, type Tools } from './tools.js'

const BINDS = 1_000
/** Garbage of the binding goes meanwhile. */
const IDLE_MS = 5_000
const CONNECT_MS = 30_000

/** Figure 6. */
export async function idle(run: Run, tools: Tools): Promise<Measure[]> {
  const count = run.count(BINDS)
  return run.inGateway({ idleAccounts: count }, async gateway => {
    const carrier = await run.carrier(gateway, tools)
    const before = gateway.anonMb()
    run.say(`${grouped(count)} binds`)
    const systemIds = Array.from({ length: count }, (_, n) => `idle${n + 1}`)
    const first = new Customers(gateway.smppPort, systemIds)
    const firstMs = await first.come()
    await pause(IDLE_MS)
    const anonMb = gateway.anonMb()
    if (first.size !== count) run.fault(`${count - first.size} of ${count} binds did not stay`)

    run.say('restarting')
    await gateway.stop()
    await gateway.start()
    const again = new Customers(gateway.smppPort, systemIds)
    const againMs = await again.come()
    again.leave()
    await run.stopCarrier(carrier, 0)
    const what = `${grouped(count)} binds, idle`
    return [
      { what: `${what}: RssAnon`, unit: 'MB', most: 200, value: anonMb },
      { what: 'the same: without a bind', unit: 'MB', value: before },
      { what: `${grouped(count)} binds at once: until the last is answered`, unit: 's', value: firstMs / 1000 },
      { what: 'the same: right after a restart', unit: 's', value: againMs / 1000 },
    ]
  })
}

/** One customer comes, is bound and hangs up. */
export async function bindOnce(port: number, systemId: string): Promise<void> {
  const one = new Customers(port, [systemId])
  await one.come()
  one.leave()
}

class Customers implements SessionOwner<null> {
  private readonly port: number
  private readonly systemIds: readonly string[]
  private readonly clock = new SessionClock(() => performance.now(), 100)
  private readonly counts = new PduCounts()
  private readonly sessions = new Set<Session<null>>()
  private unbound: number
  private settle: (fault: Error | null) => void = () => {}

  constructor(port: number, systemIds: readonly string[]) {
    this.port = port
    this.systemIds = systemIds
    this.unbound = systemIds.length
  }

  get size(): number {
    return this.sessions.size
  }

  /** All connect and bind in the same moment. Milliseconds until the last answer; rejects if one is refused. */
  come(): Promise<number> {
    const from = performance.now()
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => this.settle(new Error(`${this.unbound} binds were not answered`)), CONNECT_MS)
      this.settle = fault => {
        clearTimeout(late)
        if (fault === null) resolve(performance.now() - from)
        else reject(fault)
      }
      for (const systemId of this.systemIds) this.comeOne(systemId)
    })
  }

  private comeOne(system_id: string): void {
    const socket = connect({ host: '127.0.0.1', port: this.port, noDelay: true })
    const failed = (error: Error): void => this.settle(error)
    socket.once('error', failed)
    socket.once('connect', () => {
      socket.off('error', failed)
      const session = new Session<null>(socket, 'esme', this, defaultLimits, this.clock, this.counts)
      this.sessions.add(session)
      const fields = { system_id, password: PASSWORD, interface_version: 0x34 }
      session.bind(encodePdu(command.bind_transceiver, 0, session.nextSequence(), fields), null)
    })
  }

  leave(): void {
    for (const session of [...this.sessions]) session.destroy('unbound by us')
  }

  // The sessions' calls

  response(_session: Session<null>, _token: null, _id: number, code: number): void {
    if (code !== status.ESME_ROK) this.settle(new Error(`a bind was refused with status ${code}`))
    else if (--this.unbound === 0) this.settle(null)
  }

  request(session: Session<null>, id: number, sequence: number): void {
    session.respondHeader(responseTo(id), status.ESME_RX_T_APPN, sequence)
  }

  closed(session: Session<null>): void {
    this.sessions.delete(session)
    if (this.unbound > 0) this.settle(new Error('a connection was closed before its bind was answered'))
  }

  onFault(_session: Session<null>, error: unknown): void {
    this.settle(error as Error)
  }

  expired(): void {
    // The run's own patience is shorter.
  }

  late(): void {
    // It ended with `expired`.
  }

  turn(): void {
    // They say nothing.
  }

  room(): void {
    // They say nothing.
  }
}
