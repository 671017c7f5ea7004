// Reports that an ESME may hang up on: the oldest one unanswered when a connection is lost, and so again over the next.
// Such a one stands aside, so that the others reach the customer; after a rest it is offered alone, and when that has
// cost enough connections it is given up. Knows binds and counts; what becomes of a report is returns/report's.

import type { Bind } from '../intake/smpp/bind.js'
import type { Report } from '../spool/contract.js'

/** Connections lost, one after the other, until a report stands aside; and until it is given up. */
const LOST_UNTIL_ASIDE = 3
const MOST_LOST = 10
/** Reports whose losses are counted, the oldest forgotten first. */
const REMEMBERED = 1_000
const REST_MS = 1_000

export interface SuspectsHost {
  binds(account: number): Iterable<Bind>
  /** It receives, and need not rest. */
  isWell(bind: Bind): boolean
  send(report: Report, bind: Bind): void
  fault(error: unknown): void
}

/** The one report that a bind is kept free for. */
interface Alone {
  readonly report: Report
  isSent: boolean
}

export class Suspects {
  private readonly host: SuspectsHost
  private readonly losses = new Map<Report, number>()
  private readonly aside = new Map<number, Report[]>()
  private readonly alone = new Map<Bind, Alone>()
  private readonly timers = new Map<number, NodeJS.Timeout>()

  constructor(host: SuspectsHost) {
    this.host = host
  }

  /** Nothing to ask about: what all cost whose ESMEs stay. */
  get none(): boolean {
    return this.losses.size === 0 && this.aside.size === 0 && this.alone.size === 0
  }

  /** Nothing else is to be sent to this bind. */
  keeps(bind: Bind): boolean {
    return this.alone.has(bind)
  }

  /** A connection was lost, and `report` was the oldest that it had not answered. True: it has cost enough of them. */
  blame(report: Report): boolean {
    const n = (this.losses.get(report) ?? 0) + 1
    this.losses.delete(report)
    if (n >= MOST_LOST) return true
    this.losses.set(report, n)
    for (const oldest of this.losses.keys()) {
      if (this.losses.size <= REMEMBERED) break
      this.losses.delete(oldest)
    }
    return false
  }

  /** True: it is held here, and will be sent alone. `of` is what losses of it are counted by. */
  takes(report: Report, of: Report): boolean {
    if ((this.losses.get(of) ?? 0) < LOST_UNTIL_ASIDE) return false
    this.putAside(report)
    return true
  }

  private putAside(report: Report): void {
    const { account } = report
    const others = this.aside.get(account)
    if (others) others.push(report)
    else this.aside.set(account, [report])
    this.rest(account)
  }

  private rest(account: number): void {
    if (this.timers.has(account)) return
    this.timers.set(account, setTimeout(() => this.offer(account), REST_MS).unref())
  }

  private offer(account: number): void {
    this.timers.delete(account)
    const waiting = this.aside.get(account)
    if (!waiting) return
    for (const bind of this.host.binds(account)) {
      if (this.alone.has(bind) || !this.host.isWell(bind)) continue
      this.alone.set(bind, { report: waiting.shift() as Report, isSent: false })
      if (waiting.length === 0) this.aside.delete(account)
      break
    }
    try {
      this.pump(account)
    } catch (error) {
      this.host.fault(error)
    }
  }

  /** Sends what is to go alone where nothing else is in flight. */
  pump(account: number): void {
    for (const [bind, alone] of this.alone) {
      if (bind.accountId !== account || alone.isSent) continue
      if (!bind.receives) {
        this.alone.delete(bind)
        this.putAside(alone.report)
      } else if (bind.session.inFlight === 0 && bind.session.room() > 0) {
        alone.isSent = true
        this.host.send(alone.report, bind)
      }
    }
    if (this.aside.has(account)) this.rest(account)
  }

  /** The bind has answered it, or will not. */
  over(bind: Bind, report: Report): void {
    const alone = this.alone.get(bind)
    if (alone?.isSent && alone.report === report) this.alone.delete(bind)
  }

  /** It is delivered, or dropped. */
  forget(of: Report): void {
    this.losses.delete(of)
  }

  stop(): void {
    for (const timer of this.timers.values()) clearTimeout(timer)
    this.timers.clear()
  }
}
