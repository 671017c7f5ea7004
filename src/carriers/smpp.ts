// A carrier over SMPP: its links, one pace for all of them. Gives each part to the link
// with the most room. Keeps a driver's five duties; knows no message's fate.

import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import type { PduCounts } from '../../protocols/smpp/counts.js'
import type { Session } from '../../protocols/smpp/session.js'
import type { SessionClock } from '../../protocols/smpp/session-clock.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import type { Outcome } from '../model/outcome.js'
import type { Driver, DriverEvents, DriverFigures, LinkStand, Part } from './driver.js'
import { Link, type LinkHost, type LinkSettings } from './link.js'
import { Pace } from './pace.js'

export interface SmppCarrierSettings extends Omit<LinkSettings, 'bind'> {
  /** pair: a transmitter and a receiver for each link. */
  readonly bind: LinkSettings['bind'] | 'pair'
  readonly links: number
  readonly throughput: number
}

export interface SmppCarrierHost {
  readonly carrier: number
  readonly name: string
  readonly events: DriverEvents
  readonly clock: Clock
  readonly sessionClock: SessionClock
  readonly counts: PduCounts
  readonly log: Log
  trace(session: Session<Part | null>): () => void
}

const TICK_MS = 10
/** What links may take to unbind at a stop. */
const UNBIND_MS = 1_000

export class SmppCarrier implements Driver {
  private readonly links: Link[] = []
  private readonly pace: Pace
  private readonly host: SmppCarrierHost
  private readonly events: DriverEvents
  private timer: NodeJS.Timeout | undefined
  /** Was out of tokens or resting at the last look: the timer says when that is over. */
  private starved = false
  private stopping = false
  /** What a stop waits for, looked at after each answer and each move of a link. */
  private readonly checks = new Set<() => void>()

  constructor(settings: SmppCarrierSettings, host: SmppCarrierHost, random: () => number) {
    this.host = host
    this.events = host.events
    this.pace = new Pace(settings.throughput, host.clock.mono())
    const linkHost: Omit<LinkHost, 'settings'> = {
      carrier: host.carrier,
      name: host.name,
      // What a link answers passes through the pace on its way to dispatch.
      events: { ...host.events, answered: (part, outcome) => this.answered(part, outcome) },
      clock: host.clock,
      sessionClock: host.sessionClock,
      counts: host.counts,
      log: host.log,
      tls: tlsOptions(settings),
      moved: (link, from) => this.moved(link, from),
      random,
      trace: session => host.trace(session),
    }
    const kinds = settings.bind === 'pair' ? (['transmitter', 'receiver'] as const) : [settings.bind]
    for (let i = 0; i < settings.links; i++) {
      for (const bind of kinds) this.links.push(new Link({ ...linkHost, settings: { ...settings, bind } }))
    }
  }

  get up(): boolean {
    return !this.stopping && this.links.some(link => link.sends || link.stand === 'full')
  }

  room(): number {
    if (this.stopping) return 0
    const tokens = this.pace.room(this.host.clock.mono())
    if (tokens <= 0) {
      this.starved = true
      return 0
    }
    let free = 0
    for (const link of this.links) if (link.sends) free += link.free
    return Math.min(free, tokens)
  }

  send(part: Part): void {
    let best: Link | undefined
    let most = -1
    for (const link of this.links) {
      if (!link.bound || !(link.sends || link.stand === 'full')) continue
      const free = link.free
      if (free > most) {
        most = free
        best = link
      }
    }
    if (best === undefined) {
      this.events.answered(part, { kind: 'deferred', code: 'carrier_down', reason: 'no link is bound' })
      return
    }
    this.pace.spend()
    best.send(part)
  }

  private answered(part: Part, outcome: Outcome): void {
    if (outcome.kind === 'throttled') {
      const now = this.host.clock.mono()
      this.pace.throttled(now)
      for (const link of this.links) link.rest()
      this.starved = true
    } else if (outcome.kind === 'accepted') this.pace.succeeded(this.host.clock.mono())
    this.events.answered(part, outcome)
    if (this.stopping) this.check()
  }

  private moved(link: Link, from: LinkStand): void {
    if (link.stand === 'closed' || from === 'binding') this.events.changed()
    if (this.stopping) this.check()
  }

  start(): void {
    for (const link of this.links) link.start()
    this.timer = setInterval(() => this.tick(), TICK_MS)
  }

  private tick(): void {
    const now = this.host.clock.mono()
    let room = false
    // What was given up waits to be sent again, and nothing else may come that says so.
    for (const link of this.links) if (link.tick(now)) room = true
    if (this.starved && !this.pace.resting(now)) {
      this.starved = false
      for (const link of this.links) link.wake()
      room = true
    }
    if (room) this.events.room()
  }

  async stop(withinMs: number): Promise<void> {
    this.stopping = true
    await this.until(() => this.links.every(link => !link.bound || link.session?.inFlight === 0), withinMs)
    for (const link of this.links) link.stop()
    await this.until(() => this.links.every(link => link.stand === 'closed'), Math.min(withinMs, UNBIND_MS))
    for (const link of this.links) link.destroy()
    clearInterval(this.timer)
  }

  private async until(holds: () => boolean, withinMs: number): Promise<void> {
    let check = (): void => {}
    let deadline: NodeJS.Timeout | undefined
    await new Promise<void>(resolve => {
      check = () => {
        if (holds()) resolve()
      }
      this.checks.add(check)
      deadline = setTimeout(resolve, withinMs)
      check()
    })
    clearTimeout(deadline)
    this.checks.delete(check)
  }

  private check(): void {
    for (const check of this.checks) check()
  }

  figures(): DriverFigures {
    return {
      up: this.up,
      links: this.links.map(link => link.figures()),
      ratePerSecond: this.pace.ratePerSecond,
      unsure: this.links.reduce((n, link) => n + link.unsure, 0),
    }
  }
}

function tlsOptions({ tls, host }: SmppCarrierSettings): ConnectionOptions | null {
  if (tls === null) return null
  return {
    servername: tls.servername ?? host,
    rejectUnauthorized: tls.verify,
    ...(tls.ca === undefined ? {} : { ca: readFileSync(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: readFileSync(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: readFileSync(tls.key) }),
  }
}
