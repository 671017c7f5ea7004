// A carrier over SMPP: the pool of its links, one pace for all of them. Gives each part to the link with the most room,
// and changes while it runs as its settings do. Keeps a driver's five duties; knows no message's fate.

import type { PduCounts } from '../../protocols/smpp/counts.js'
import type { Session } from '../../protocols/smpp/session.js'
import type { SessionClock } from '../../protocols/smpp/session-clock.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import type { Outcome } from '../model/outcome.js'
import type { Driver, DriverEvents, DriverFigures, LinkStand, Part } from './driver.js'
import { type BackOff, Hosts, type Place } from './hosts.js'
import { type BindKind, Link, type LinkEnd, type LinkHost, type LinkSettings } from './link.js'
import { Pace } from './pace.js'
import { Seat, type SeatHost } from './seat.js'

export interface SmppCarrierSettings extends LinkSettings {
  readonly host: string
  readonly port: number
  /** More of them, in the order in which they are tried after `host`. */
  readonly hosts: readonly Place[]
  /** pair: a transmitter and a receiver for each link. */
  readonly bind: BindKind | 'pair'
  readonly links: number
  readonly throughput: number
  readonly reconnectMinMs: number
  readonly reconnectMaxMs: number
  readonly refusedBinds: number
  readonly staleBindMs: number
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
/** Links of one carrier begin to connect so far apart. */
const APART_MS = 25
/** Whether a seat should stand elsewhere is looked at this often; one of them moves at a time. */
const MOVE_MS = 200
/** What links may take to unbind at a stop. */
const UNBIND_MS = 1_000

export class SmppCarrier implements Driver, SeatHost {
  readonly name: string
  readonly clock: Clock
  readonly log: Log
  hosts: Hosts
  private settings: SmppCarrierSettings
  private seats: Seat[] = []
  /** Links that connect, stand, or empty their windows. */
  private readonly links = new Map<Link, Seat>()
  /** Those that parts are given to. */
  private serving: Link[] = []
  /** Those that empty their windows, and when they go all the same. */
  private readonly retiring = new Map<Link, number>()
  private readonly pace: Pace
  private readonly events: DriverEvents
  private readonly linkHost: LinkHost
  private readonly dice: () => number
  private timer: NodeJS.Timeout | undefined
  /** Was out of tokens or resting at the last look: the timer says when that is over. */
  private starved = false
  private isResting = false
  private stopping = false
  private nextTurnMs = Number.NEGATIVE_INFINITY
  private movedMs = Number.NEGATIVE_INFINITY
  /** What a stop waits for, looked at after each answer and each move of a link. */
  private readonly checks = new Set<() => void>()

  constructor(settings: SmppCarrierSettings, host: SmppCarrierHost, random: () => number) {
    this.settings = settings
    this.name = host.name
    this.clock = host.clock
    this.log = host.log
    this.events = host.events
    this.dice = random
    this.pace = new Pace(settings.throughput, host.clock.mono())
    this.hosts = this.hostsOf(settings)
    this.linkHost = {
      ...host,
      // What a link answers passes through the pace on its way to dispatch.
      events: { ...host.events, answered: (part, outcome) => this.answered(part, outcome) },
      moved: (link, from) => this.moved(link, from),
      ended: (link, end) => this.ended(link, end),
      trace: session => host.trace(session),
    }
    this.fillSeats()
  }

  private hostsOf({ host, port, hosts }: SmppCarrierSettings): Hosts {
    return new Hosts([{ host, port }, ...hosts], this.backOff, () => this.dice())
  }

  get up(): boolean {
    return !this.stopping && this.serving.length > 0
  }

  room(): number {
    if (this.stopping) return 0
    const now = this.clock.mono()
    const tokens = this.pace.room(now)
    if (tokens <= 0) {
      this.starved = true
      return 0
    }
    let free = 0
    for (const link of this.serving) free += link.takes(now)
    // Where links have a pace of their own, the timer says when there is room again.
    if (free === 0 && this.settings.linkThroughput > 0) this.starved = true
    return Math.min(free, tokens)
  }

  send(part: Part): void {
    const { serving } = this
    let best = serving[0]
    if (best === undefined) {
      this.events.answered(part, { kind: 'deferred', code: 'carrier_down', reason: 'no link is bound' })
      return
    }
    if (serving.length > 1) {
      const now = this.settings.linkThroughput > 0 ? this.clock.mono() : 0
      let most = -1
      for (const link of serving) {
        const free = link.takes(now)
        if (free > most) {
          most = free
          best = link
        }
      }
    }
    this.pace.spend()
    best.send(part)
  }

  private answered(part: Part, outcome: Outcome): void {
    if (outcome.kind === 'throttled') {
      if (this.pace.throttled(part.sentMs, this.clock.mono())) {
        for (const link of this.serving) link.rest()
        this.starved = true
        this.isResting = true
      }
    } else if (outcome.kind !== 'unsure') this.pace.succeeded(part.sentMs)
    this.events.answered(part, outcome)
    if (this.stopping) this.check()
  }

  // -- the pool ----------------------------------------------------------------

  start(): void {
    for (const seat of this.seats) seat.start()
    this.timer = setInterval(() => this.tick(), TICK_MS)
  }

  /** As many seats of each kind as the settings say; those that stand are kept. */
  private fillSeats(): Seat[] {
    const { bind, links } = this.settings
    const kinds: readonly BindKind[] = bind === 'pair' ? ['transmitter', 'receiver'] : [bind]
    // Where some must go, those that do not stand go first.
    const present = [...this.seats].sort((a, b) => Number(b.link?.bound ?? false) - Number(a.link?.bound ?? false))
    const seats: Seat[] = []
    const added: Seat[] = []
    for (let i = 0; i < links; i++) {
      for (const kind of kinds) {
        const at = present.findIndex(seat => seat.bind === kind)
        const [seat = new Seat(this, kind)] = at < 0 ? [] : present.splice(at, 1)
        if (at < 0) added.push(seat)
        seats.push(seat)
      }
    }
    this.seats = seats
    for (const seat of present) {
      const { link } = seat
      seat.stop()
      if (link !== null) this.retire(link)
    }
    return added
  }

  /** Other settings while it runs. Links that can go on as they are do; the others are replaced one after the other. */
  change(settings: SmppCarrierSettings): void {
    const before = this.settings
    this.settings = settings
    this.pace.limitTo(settings.throughput, this.clock.mono())
    this.hosts.back = this.backOff
    if (bindKeys.some(key => JSON.stringify(before[key]) !== JSON.stringify(settings[key]))) {
      // By this, seats see that their links are outdated.
      this.hosts = this.hostsOf(settings)
      // What has not bound yet begins anew.
      for (const { link } of this.seats) if (link !== null && !link.bound) link.stop()
    }
    for (const link of this.links.keys()) link.use(settings)
    const added = this.fillSeats()
    if (this.timer !== undefined) {
      for (const seat of added) seat.start()
      this.wake()
    }
    this.lineUp()
    this.events.changed()
    this.events.room()
  }

  /** An operator has looked: what stands still or waits tries again at once. */
  wake(): void {
    this.hosts.forgive()
    for (const seat of this.seats) seat.again()
  }

  private lineUp(): void {
    this.serving = [...this.links.keys()].filter(link => link.serves)
  }

  private moved(link: Link, from: LinkStand): void {
    if (from === 'binding' && link.stand === 'ready') {
      link.hosts.settled(link.index)
      link.hosts.bound(link.index)
      this.lineUp()
      this.links.get(link)?.stood(link)
      this.events.changed()
    }
    if (this.stopping) this.check()
  }

  private ended(link: Link, end: LinkEnd): void {
    const seat = this.links.get(link) as Seat
    this.links.delete(link)
    this.retiring.delete(link)
    if (end.boundMs < 0) link.hosts.settled(link.index)
    else link.hosts.unbound(link.index)
    this.lineUp()
    this.events.count('link_closed')
    this.events.changed()
    seat.ended(link, end)
    if (this.stopping) this.check()
  }

  private tick(): void {
    const now = this.clock.mono()
    let room = false
    for (const link of this.links.keys()) {
      // What was given up waits to be sent again, and nothing else may come that says so.
      if (link.tick(now)) room = true
    }
    for (const [link, untilMs] of this.retiring) {
      if (!link.idle && now < untilMs) continue
      this.retiring.delete(link)
      link.stop()
    }
    if (this.starved && !this.pace.resting(now)) {
      this.starved = false
      if (this.isResting) {
        this.isResting = false
        for (const link of this.serving) link.wake()
      }
      room = true
    }
    if (now - this.movedMs >= MOVE_MS && !this.stopping) this.moveOne(now)
    if (room) this.events.room()
  }

  /** One at a time: the others carry on. */
  private moveOne(now: number): void {
    this.movedMs = now
    for (const seat of this.seats) if (seat.isMoving) return
    for (const seat of this.seats) {
      const index = seat.aim
      if (index < 0) continue
      seat.moveTo(index)
      return
    }
  }

  // -- what its seats ask --------------------------------------------------------

  get backOff(): BackOff {
    const { reconnectMinMs, reconnectMaxMs, refusedBinds } = this.settings
    return { minMs: reconnectMinMs, maxMs: reconnectMaxMs, refusals: refusedBinds }
  }

  get staleBindMs(): number {
    return this.settings.staleBindMs
  }

  random(): number {
    return this.dice()
  }

  link(seat: Seat, index: number): Link {
    const { hosts } = this
    const link = new Link(this.linkHost, this.settings, seat.bind, hosts, index)
    this.links.set(link, seat)
    hosts.tried(index)
    return link
  }

  turn(): number {
    const now = this.clock.mono()
    const at = Math.max(now, this.nextTurnMs)
    this.nextTurnMs = at + APART_MS
    return at - now
  }

  retire(link: Link): void {
    if (!link.bound) {
      link.stop()
      return
    }
    link.retiring = true
    // What is not answered by then is late anyway.
    this.retiring.set(link, this.clock.mono() + this.settings.responseMs)
    this.lineUp()
  }

  count(name: string): void {
    this.events.count(name)
  }

  // -- the end -------------------------------------------------------------------

  async stop(withinMs: number): Promise<void> {
    this.stopping = true
    for (const seat of this.seats) seat.stop()
    const all = [...this.links.keys()]
    await this.until(() => all.every(link => !link.bound || link.session?.inFlight === 0), withinMs)
    for (const link of all) link.stop()
    await this.until(() => this.links.size === 0, Math.min(withinMs, UNBIND_MS))
    for (const link of all) link.destroy()
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
    const { window } = this.settings
    const seated = new Set(this.seats.map(seat => seat.link))
    const others = [...this.links.keys()].filter(link => link.bound && !seated.has(link))
    let unsure = 0
    for (const link of this.links.keys()) unsure += link.unsure
    return {
      up: this.up,
      links: [...this.seats.map(seat => ({ ...seat.figures(), window })), ...others.map(link => link.figures())],
      ratePerSecond: this.pace.ratePerSecond,
      unsure,
    }
  }
}

/** What a bind was made with: a link that stands by others must bind anew. */
const bindKeys = [
  'host',
  'port',
  'hosts',
  'systemId',
  'password',
  'systemType',
  'interfaceVersion',
  'addressRange',
  'tls',
] as const
