// Binds that have refused what they got: each rests for a while, longer each time, until it takes something again; what
// it refused waits for it, or goes over another bind that is well. Knows binds and times; not what an answer means.

import type { Bind } from '../intake/smpp/bind.js'
import type { Report } from '../spool/contract.js'

/** An ESME that says "not now" is left alone for so long, twice as long each time until it takes something. */
const REST_MS = 1_000
const REST_MOST_MS = 60_000

/** Until it takes something again. */
interface Trouble {
  /** Rests in a row. */
  rests: number
  isResting: boolean
  /** Offered again when the timer is up. */
  readonly later: Report[]
  timer: NodeJS.Timeout | undefined
}

export interface TroublesHost {
  /** The account has a bind with room that is in no trouble. */
  hasWell(account: number): boolean
  giveBack(report: Report): void
  pump(account: number): void
}

export class Troubles {
  private readonly host: TroublesHost
  private readonly byBind = new Map<Bind, Trouble>()
  private stopping = false

  constructor(host: TroublesHost) {
    this.host = host
  }

  get none(): boolean {
    return this.byBind.size === 0
  }

  has(bind: Bind): boolean {
    return this.byBind.has(bind)
  }

  isResting(bind: Bind): boolean {
    return this.byBind.get(bind)?.isResting ?? false
  }

  /** Offers them again when the bind has rested; at once where another bind of the account is well. */
  later(bind: Bind, reports: readonly Report[]): void {
    const trouble = this.rest(bind)
    if (this.host.hasWell(bind.accountId)) for (const report of reports) this.host.giveBack(report)
    else trouble.later.push(...reports)
  }

  rest(bind: Bind): Trouble {
    let trouble = this.byBind.get(bind)
    if (trouble === undefined) {
      for (const [other, { timer }] of this.byBind) {
        if (timer === undefined && !other.receives) this.byBind.delete(other)
      }
      trouble = { rests: 0, isResting: false, later: [], timer: undefined }
      this.byBind.set(bind, trouble)
    }
    trouble.isResting = true
    trouble.timer ??= this.timerFor(bind, trouble)
    return trouble
  }

  private timerFor(bind: Bind, trouble: Trouble): NodeJS.Timeout {
    const ms = Math.min(REST_MS * 2 ** trouble.rests++, REST_MOST_MS)
    return setTimeout(() => this.rested(bind, trouble), ms).unref()
  }

  private rested(bind: Bind, trouble: Trouble): void {
    trouble.timer = undefined
    trouble.isResting = false
    if (trouble.rests === 0 || !bind.receives) this.byBind.delete(bind)
    if (this.stopping) return
    this.giveBack(trouble.later)
    this.host.pump(bind.accountId)
  }

  private giveBack(reports: Report[]): void {
    for (const report of reports.splice(0).reverse()) this.host.giveBack(report)
  }

  /** What waits for a bind that is gone need not, nor what waits for a resting one once another is well. */
  pump(account: number): void {
    for (const [bind, { later, isResting }] of this.byBind) {
      if (later.length === 0 || bind.accountId !== account) continue
      if (!bind.receives || (isResting && this.host.hasWell(account))) this.giveBack(later)
    }
  }

  /** It has taken something: it need not rest, though what it refused waits its time. */
  recovered(bind: Bind): void {
    const trouble = this.byBind.get(bind)
    if (trouble === undefined) return
    trouble.rests = 0
    trouble.isResting = false
    if (trouble.timer === undefined) this.byBind.delete(bind)
  }

  stop(): void {
    this.stopping = true
  }
}
