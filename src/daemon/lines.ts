// The carriers of the directory as running drivers: made, replaced and taken away as the
// rows change. Knows which driver serves which kind; the only place where carriers,
// dispatch and returns are joined.

import { type Codings, standardCodings } from '../../protocols/gsm/coding.js'
import { PduCounts } from '../../protocols/smpp/counts.js'
import type { SessionClock } from '../../protocols/smpp/session-clock.js'
import type { CarrierRow, SmtpSettings } from '../accounts/carrier.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { CatchCarrier, type CaughtMails } from '../carriers/catch.js'
import type { Driver, DriverEvents, Part } from '../carriers/driver.js'
import { MailCarrier } from '../carriers/mail.js'
import { SandboxCarrier, type SandboxedMessages } from '../carriers/sandbox.js'
import { Simulator } from '../carriers/simulator.js'
import { SmppCarrier } from '../carriers/smpp.js'
import { plainCut } from '../dispatch/cut.js'
import { cutOf } from '../dispatch/cutSettings.js'
import type { Dispatch } from '../dispatch/dispatch.js'
import type { Line } from '../dispatch/line.js'
import type { Outcome } from '../model/outcome.js'
import type { Receipts } from '../returns/receipts.js'
import type { Replies } from '../returns/replies.js'
import type { Spool } from '../spool/contract.js'
import { SANDBOX } from './sandbox.js'
import type { Trace } from './trace.js'

/** What a carrier that leaves may take for its open windows, at least: one over SMPP has the time of its answers. */
const LEAVE_MS = 10_000

export interface LinesHost {
  readonly dispatch: Dispatch
  readonly receipts: Receipts
  readonly replies: Replies
  readonly spool: Spool
  readonly clock: Clock
  readonly sessionClock: SessionClock
  readonly counters: Counters
  readonly log: Log
  readonly trace: Trace
  /** Our name to servers that take mail. */
  readonly hostname: string
  /** Where mails go that are not to be delivered; null: they are. */
  readonly caught: CaughtMails | null
  /** null: there is no sandbox. */
  readonly sandbox: SandboxedMessages | null
  /** A carrier answered a part. */
  answered(carrier: string, part: Part, outcome: Outcome): void
  fault(error: unknown): void
}

interface Running {
  readonly row: CarrierRow
  readonly line: Line
  /** The driver of `line`, where it is one that changes while it runs. */
  readonly smpp: SmppCarrier | null
  /** By command and status; null for what speaks no SMPP. */
  readonly counts: PduCounts | null
}

export class Lines {
  readonly running = new Map<number, Running>()
  private readonly host: LinesHost
  /** Those that were taken away and empty their windows. */
  private readonly leaving = new Set<Driver>()

  constructor(host: LinesHost) {
    this.host = host
  }

  /** Makes the running carriers those of `rows`. */
  follow(rows: readonly CarrierRow[]): void {
    const { dispatch, log } = this.host
    const wanted = new Map(rows.map(row => [row.id, row]))
    for (const [id, running] of this.running) {
      const { row, line } = running
      const next = wanted.get(id)
      if (next && this.keep(running, next)) {
        wanted.delete(id)
        continue
      }
      log.info({ carrier: row.name }, next ? 'carrier changed' : 'carrier removed')
      this.running.delete(id)
      dispatch.remove(line)
      const { driver } = line
      this.leaving.add(driver)
      const withinMs = row.kind === 'smpp' ? Math.max(LEAVE_MS, row.settings.responseMs) : LEAVE_MS
      void driver.stop(withinMs).finally(() => this.leaving.delete(driver))
    }
    for (const row of wanted.values()) this.add(row)
  }

  /** Makes a running carrier what `next` says; false: it must be another one. */
  private keep(running: Running, next: CarrierRow): boolean {
    const { dispatch, log } = this.host
    const { row, line, smpp } = running
    const isSame = same(row, next)
    if (!isSame) {
      // Everything that was counted and is waited for stands under its name.
      if (smpp === null || next.kind !== 'smpp' || row.name !== next.name) return false
      log.info({ carrier: row.name }, 'carrier changed')
      this.running.set(row.id, { ...running, row: next })
      line.use(cutOf(next.settings))
      line.waits = next.settings.unsure === 'wait'
      smpp.change(next.settings)
    }
    if (next.paused !== line.paused) {
      line.paused = next.paused
      log.info({ carrier: row.name }, next.paused ? 'carrier paused' : 'carrier resumed')
      if (!next.paused && isSame) smpp?.wake()
    } else if (isSame) return true
    dispatch.align()
    return true
  }

  /** What data_coding means to a carrier; the standard's table for one that is gone. */
  codingsOf(carrier: number): Codings {
    return this.running.get(carrier)?.line.settings.codings ?? standardCodings
  }

  private add(row: CarrierRow): void {
    const { host } = this
    const events = this.eventsOf(row)
    const counts = row.kind === 'smpp' ? new PduCounts() : null
    const driver = this.driverOf(row, events, counts)
    const settings = row.kind === 'smpp' ? cutOf(row.settings) : plainCut
    const line = host.dispatch.add(row.id, row.name, driver, settings, row.paused)
    line.waits = row.kind === 'smpp' && row.settings.unsure === 'wait'
    events.line = line
    this.running.set(row.id, { row, line, smpp: driver instanceof SmppCarrier ? driver : null, counts })
    host.log.info({ carrier: row.name, kind: row.kind }, 'carrier added')
    driver.start()
  }

  private driverOf(row: CarrierRow, events: DriverEvents, counts: PduCounts | null): Driver {
    const { clock, sessionClock, log, trace, sandbox } = this.host
    if (sandbox !== null && row.id === SANDBOX.id) return new SandboxCarrier(sandbox, events, clock)
    if (row.kind === 'simulator') return new Simulator(row.settings, events, clock)
    if (row.kind === 'smtp') return this.mailDriver(row.name, row.settings, events)
    return new SmppCarrier(
      row.settings,
      {
        carrier: row.id,
        name: row.name,
        events,
        clock,
        sessionClock,
        counts: counts as PduCounts,
        log,
        trace: session => trace.watch(session, 'carrier', () => row.name),
      },
      Math.random,
    )
  }

  private mailDriver(name: string, settings: SmtpSettings, events: DriverEvents): Driver {
    const { clock, log, caught, hostname } = this.host
    if (caught !== null) return new CatchCarrier(caught, events, clock)
    return new MailCarrier(settings, { name, hostname, events, clock, log }, Math.random)
  }

  private eventsOf(row: CarrierRow): DriverEvents & { line: Line } {
    const { dispatch, receipts, replies, spool, counters } = this.host
    const events: DriverEvents & { line: Line } = {
      // Set before the driver starts, so before its first event.
      line: undefined as unknown as Line,
      answered: (part, outcome) => {
        this.host.answered(row.name, part, outcome)
        dispatch.answered(events.line, part, outcome)
      },
      receipt: receipt => receipts.receipt(row.id, receipt),
      reply: reply => replies.reply(reply),
      gathering: () => spool.gathering,
      // A phone's STOP is durable as well before it is acknowledged.
      afterSync: then => spool.afterSync(() => replies.afterNoted(then)),
      room: () => dispatch.pump(events.line),
      changed: () => dispatch.align(),
      answeredIn: (ms, rank) => events.line.latency[rank].observe(ms),
      count: name => counters.add(name),
      fault: error => this.host.fault(error),
    }
    return events
  }

  /** Lets all windows empty, at most for `withinMs`; a second call may be more impatient. */
  async stop(withinMs: number): Promise<void> {
    const drivers = [...this.leaving, ...Array.from(this.running.values(), ({ line }) => line.driver)]
    await Promise.all(drivers.map(driver => driver.stop(withinMs)))
  }
}

/** Nothing that a driver or dispatch was built from has changed. */
const same = (a: CarrierRow, b: CarrierRow): boolean =>
  a.name === b.name && a.kind === b.kind && JSON.stringify(a.settings) === JSON.stringify(b.settings)
