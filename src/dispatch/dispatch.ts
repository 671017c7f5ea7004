// From the spool to the carriers: which lanes each carrier serves, when it is given more, and what moves when routes or
// carriers do. Knows lanes and carriers; knows no protocol, and never why a message was accepted.

import type { Codings } from '../../protocols/gsm/coding.js'
import type { Clock } from '../base/clock.js'
import type { Driver, Part } from '../carriers/driver.js'
import type { Message } from '../model/message.js'
import type { Outcome } from '../model/outcome.js'
import type { Trail } from '../model/trail.js'
import { serving } from '../routing/choose.js'
import { SANDBOX_LANE } from '../routing/sandbox.js'
import type { RouteRule, RouteTable } from '../routing/table.js'
import type { Spool } from '../spool/contract.js'
import { Claims, type ClaimsHost } from './claims.js'
import type { CutSettings } from './cut.js'
import { Line } from './line.js'
import type { RetryRules } from './retry.js'
import { Sending } from './sending.js'

/** What no route takes is looked at again this often, and at once when the routes change. */
const REMATCH_MS = 30_000
const LOOKED_MS = 5_000
/** Mails' lane stands above it. What waits in one is never given to a route, whatever is switched off. */
const FIRST_RESERVED = SANDBOX_LANE

type IsUp = (carrier: string) => boolean

export interface DispatchHost {
  readonly spool: Spool
  readonly clock: Clock
  /** [0, 1) */
  random(): number
  /** By class. */
  readonly retry: readonly RetryRules[]
  weightOf(account: number): number
  /** The lane of a message whose route is gone; undefined when no route takes it now. */
  rematch(message: Message): number | undefined
  /** Of a route's carriers that are up the one for the message, of equals one with a place; undefined when none is up. */
  choose(rule: RouteRule, message: Message, isUp: IsUp, hasPlace: IsUp): string | undefined
  /** When the quiet hours end that keep a bulk message from its destination now, ms; 0: it may go. */
  quietUntil(message: Message): number
  /** What was said about its destination while it waited, as the code that it ends with; undefined: nothing. */
  unwanted(message: Message): string | undefined
  /** What data_coding means to an account that has said so. */
  codingsOf(account: number): Codings
  /** Something of ours threw. */
  fault(error: unknown): void
}

export class Dispatch implements ClaimsHost {
  routes: RouteTable
  readonly lines = new Map<number, Line>()
  private readonly byName = new Map<string, Line>()
  /** Lanes that no route has, and the carriers of each. */
  private readonly reserved = new Map<number, readonly string[]>()
  private readonly host: DispatchHost
  private readonly claims: Claims
  private readonly sending: Sending
  /** Lines that name a lane. */
  private readonly byLane = new Map<number, Line[]>()
  private stopping = false
  /** The routes for which everything in lanes without a route was looked at, and when. */
  private rematchedFor: RouteTable | null = null
  private rematchedMs = 0
  /** A slice of what lanes without a route hold is on its way to disk. */
  private isMoving = false
  /** The disk was full when something could have been sent. */
  private isHeldUp = false
  madeMs: number

  constructor(host: DispatchHost, routes: RouteTable) {
    this.host = host
    this.routes = routes
    this.madeMs = host.clock.mono()
    this.claims = new Claims(host, this)
    this.sending = new Sending(host, line => this.pump(line))
  }

  /** What carriers answered last. */
  get trail(): Trail {
    return this.sending.trail
  }

  /** Messages that were in flight when the last run was killed and may have been sent twice: at most this many. */
  get resentAfterCrash(): number {
    return this.claims.resentAfterCrash
  }

  add(id: number, name: string, driver: Driver, settings: CutSettings, paused: boolean): Line {
    const claimer = this.host.spool.claimer(name, [], account => this.host.weightOf(account))
    const line = new Line(id, name, driver, settings, paused, claimer, () => this.host.random())
    this.lines.set(id, line)
    this.byName.set(name, line)
    this.madeMs = this.host.clock.mono()
    this.align()
    return line
  }

  /** Takes no more for the carrier; what is in flight is answered by its driver's stop. */
  remove(line: Line): void {
    line.paused = true
    this.byName.delete(line.name)
    this.madeMs = this.host.clock.mono()
    this.align()
    line.claimer.close()
    this.lines.delete(line.id)
  }

  useRoutes(routes: RouteTable): void {
    this.routes = routes
    this.align()
  }

  /** The carriers of a lane that no route has, in the order in which they are for one another. */
  reserve(lane: number, names: readonly string[]): void {
    this.reserved.set(lane, names)
    this.align()
  }

  /** Which lanes does each carrier serve now? Asked when routes change, and when links come up or go down. */
  align(): void {
    const lanes = new Map<Line, number[]>()
    this.byLane.clear()
    for (const line of this.lines.values()) line.namedOnly.clear()
    for (const rule of this.routes.rules) {
      const lines = serving(rule, this.isUp).flatMap(name => this.byName.get(name) ?? [])
      if (lines.length === 0 && rule.named === 'any') lines.push(...this.forNamed(rule.id))
      for (const line of lines) lanes.set(line, [...(lanes.get(line) ?? []), rule.id])
      this.byLane.set(rule.id, lines)
    }
    // Nothing else takes what stands there than the first of its carriers that is up.
    for (const [lane, names] of this.reserved) {
      const line = this.byName.get(names.find(this.isUp) ?? '')
      if (line === undefined) continue
      lanes.set(line, [...(lanes.get(line) ?? []), lane])
      this.byLane.set(lane, [line])
    }
    const now = this.host.clock.mono()
    for (const line of this.lines.values()) {
      this.claims.serve(line, lanes.get(line) ?? [])
      if (!line.up) {
        this.claims.giveBackHanded(line)
        line.downSinceMs ??= now
      } else if (line.downSinceMs !== null) {
        line.downSinceMs = null
        this.claims.recall(line)
      }
    }
    for (const line of this.lines.values()) this.pump(line)
  }

  /** A message may name a carrier that is none of its route's: while none of those is up the others look for it. */
  private forNamed(lane: number): Line[] {
    const lines = [...this.lines.values()].filter(line => line.up)
    for (const line of lines) line.namedOnly.add(lane)
    return lines
  }

  /** A lane got something to claim. */
  ready(lane: number): void {
    const lines = this.byLane.get(lane)
    if (lines) for (const line of lines) this.pump(line)
    // Its route went while it was scheduled. What comes soon after a look is what that look has put back.
    else if (this.host.clock.mono() - this.rematchedMs > LOOKED_MS) this.rematchedFor = null
  }

  /** Sends as much as the carrier has room for. */
  pump(line: Line): void {
    if (line.pumping) {
      line.isAsked = true
      return
    }
    if (this.stopping || !line.up) return
    // Each answer is written down: with no disk left, what was not sent needs none.
    if (this.host.spool.exhausted) {
      this.isHeldUp = true
      return
    }
    // A driver that answers within send() would come back here before its message is on its way.
    line.pumping = true
    line.passed = 0
    try {
      for (;;) {
        const room = line.driver.room() - line.marking
        if (room <= 0) break
        line.isAsked = false
        const messages = this.claims.next(line, room)
        // While it looked for more, another may have handed it some.
        if (messages.length === 0 && !line.isAsked) break
        for (const m of messages) this.sending.sendOrEnd(line, m)
      }
    } finally {
      line.pumping = false
    }
  }

  /** A driver's answer to a part. */
  answered(line: Line, part: Part, outcome: Outcome): void {
    this.sending.answered(line, part, outcome)
  }

  end(m: Message, code: string): void {
    this.sending.end(m, code)
  }

  named(carrier: string): Line | undefined {
    return this.byName.get(carrier)
  }

  readonly isUp = (name: string): boolean => this.byName.get(name)?.up ?? false

  pumpSoon(line: Line): void {
    if (line.isSoon) return
    line.isSoon = true
    this.host.spool.afterSync(() => {
      line.isSoon = false
      this.pump(line)
    })
  }

  /** Once a second: what waited for carriers, or for a full disk, goes on, and lanes of routes that are gone get another. */
  tick(): void {
    let isFreed = this.isHeldUp && !this.host.spool.exhausted
    if (isFreed) this.isHeldUp = false
    for (const line of this.lines.values()) {
      line.measure()
      if (this.claims.giveBackHanded(line, line.most)) isFreed = true
      this.claims.recall(line)
    }
    if (isFreed) for (const line of this.lines.values()) this.pump(line)
    this.rematchLanes()
  }

  private rematchLanes(): void {
    const { spool } = this.host
    const now = this.host.clock.mono()
    if (this.isMoving) return
    if (this.rematchedFor === this.routes && now - this.rematchedMs < REMATCH_MS) return
    let more = false
    for (const { lane } of spool.figures().lanes) {
      if (lane >= FIRST_RESERVED || this.routes.route(lane) !== undefined) continue
      let moved = false
      const again = spool.rematch(lane, m => {
        const to = this.host.rematch(m)
        if (to !== undefined && to !== lane) moved = true
        return to ?? lane
      })
      // A slice of which nothing found a route says enough for now.
      if (again && moved) more = true
    }
    if (more) {
      this.isMoving = true
      // A slice a commit, as with all that goes through many.
      spool.afterSync(() => {
        this.isMoving = false
        this.rematchLanes()
      })
      return
    }
    this.rematchedFor = this.routes
    this.rematchedMs = now
  }

  /** Claims nothing more. */
  stop(): void {
    this.stopping = true
    this.sending.stop()
    for (const line of this.lines.values()) {
      line.away.clear()
      this.claims.giveBackHanded(line)
    }
  }
}
