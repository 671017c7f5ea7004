// One place in a carrier's pool: keeps a link there. Chooses its host, waits after a failure, goes on to the next host,
// comes back to a better one, changes to other settings, stops when the carrier does not know us. What goes over the
// link is not its business.

import { status } from '../../protocols/smpp/status.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import type { LinkFigures } from './driver.js'
import { type BackOff, backOffMs, type Hosts } from './hosts.js'
import type { BindKind, Link, LinkEnd } from './link.js'

/** What a pool is to its seats. */
export interface SeatHost {
  readonly name: string
  readonly clock: Clock
  readonly log: Log
  /** As they are now: they change while the seat stands. */
  readonly hosts: Hosts
  readonly backOff: BackOff
  readonly staleBindMs: number
  /** [0, 1): jitter. */
  random(): number
  /** A link of this seat, not started. */
  link(seat: Seat, index: number): Link
  /** Ms until it may connect: links of one carrier start apart. */
  turn(): number
  /** Lets a link answer what it holds, and unbinds it. */
  retire(link: Link): void
  count(name: string): void
}

/** Codes for which another try cannot help until an operator has looked (SMPP v3.4 §5.1.3). */
const CREDENTIAL_CODES = new Set<number>([status.ESME_RINVPASWD, status.ESME_RINVSYSID, status.ESME_RINVSYSTYP])
/** A bind that stood so long was no failure of its host. */
const STABLE_MS = 10_000

export class Seat {
  readonly bind: BindKind
  link: Link | null = null
  private readonly host: SeatHost
  /** On its way to take the place of `link`. */
  private successor: Link | null = null
  /** Was let go of so that another may bind, which waits for its end. */
  private making: Link | null = null
  private timer: NodeJS.Timeout | undefined
  private attempts = 0
  /** By host: the moments before which this seat does not try it. */
  private own: number[] = []
  /** The last bind was not ended by an unbind: it may still stand at the carrier. */
  private isStale = false
  private isStopped = true
  private lastReason = ''
  private sinceMs = 0
  /** Monotonic; null: none by itself. */
  private nextTryAtMs: number | null = null

  constructor(host: SeatHost, bind: BindKind) {
    this.host = host
    this.bind = bind
  }

  get isMoving(): boolean {
    return this.successor !== null || this.making !== null
  }

  /** Was bound by other settings than those of now. */
  private isOutdated(link: Link): boolean {
    return link.hosts !== this.host.hosts
  }

  start(): void {
    this.isStopped = false
    this.connectIn(this.host.turn())
  }

  /** From the beginning, at once: the settings are others, or an operator has looked. */
  again(): void {
    this.own = []
    this.attempts = 0
    this.isStale = false
    if (this.link === null && !this.isMoving && !this.isStopped) this.connectIn(this.host.turn())
  }

  /** Binds no more; what it has is the pool's to end. */
  stop(): void {
    this.isStopped = true
    this.nextTryAtMs = null
    clearTimeout(this.timer)
    const { successor } = this
    this.successor = null
    successor?.stop()
  }

  private connectIn(ms: number): void {
    clearTimeout(this.timer)
    this.nextTryAtMs = this.host.clock.mono() + ms
    if (ms <= 0) this.connect()
    else this.timer = setTimeout(() => this.turnOf(), ms)
  }

  /** It has waited; others may have waited for the same moment. */
  private turnOf(): void {
    if (this.waits()) return
    const ms = this.host.turn()
    if (ms <= 0) this.connect()
    else this.timer = setTimeout(() => this.connect(), ms)
  }

  /** True: not now. */
  private waits(): boolean {
    const next = this.host.hosts.next(this.host.clock.mono(), this.own)
    if (next === null) {
      this.standStill()
      return true
    }
    if (next.waitMs > 0) this.connectIn(next.waitMs)
    return next.waitMs > 0
  }

  private connect(): void {
    if (this.isStopped || this.isMoving || this.link !== null || this.waits()) return
    const next = this.host.hosts.next(this.host.clock.mono(), this.own)
    if (next === null) return
    this.link = this.host.link(this, next.index)
    this.link.start()
  }

  private standStill(): void {
    clearTimeout(this.timer)
    this.nextTryAtMs = null
    if (!this.lastReason.startsWith(STILL)) this.lastReason = `${STILL}${this.lastReason || 'credentials refused'}`
  }

  /**
   * The host that it should stand at, and does not: a better one that may live again, or any one by the settings of now.
   * -1: it stands well, or cannot be helped yet.
   */
  get aim(): number {
    const { link } = this
    if (this.isStopped || this.isMoving || link === null || !link.bound) return -1
    const outdated = this.isOutdated(link)
    if (!outdated && link.index === 0) return -1
    const next = this.host.hosts.next(this.host.clock.mono(), this.own)
    if (next === null || next.waitMs > 0) return -1
    return outdated || next.index < link.index ? next.index : -1
  }

  /** Binds another link, and only when that stands lets go of the present one. */
  moveTo(index: number): void {
    this.successor = this.host.link(this, index)
    this.successor.start()
  }

  /** A link of this seat is bound. */
  stood(link: Link): void {
    this.isStale = true
    if (link !== this.successor) return
    const { link: old, host } = this
    this.successor = null
    this.link = link
    if (old !== null) host.retire(old)
  }

  /** A link of this seat is over. */
  ended(link: Link, end: LinkEnd): void {
    if (link === this.making) {
      this.making = null
      this.connectIn(1)
    } else if (link === this.successor) this.notMoved(link, end)
    else if (link === this.link) {
      this.link = null
      if (end.inOrder) this.isStale = false
      this.lastReason = end.reason
      this.sinceMs = this.host.clock.now()
      if (this.isStopped) return
      const leastMs = this.note(link, end)
      // A successor takes the place, or comes back itself.
      if (this.successor === null) this.comeBack(end.reason, leastMs)
    }
  }

  private notMoved(link: Link, end: LinkEnd): void {
    const { link: old } = this
    this.successor = null
    const isRefused = end.code !== 0 && !CREDENTIAL_CODES.has(end.code)
    if (isRefused && old !== null && this.isOutdated(old)) {
      // Perhaps the carrier takes no bind more than it has: then the present one makes room.
      this.link = null
      this.making = old
      this.host.retire(old)
      return
    }
    this.note(link, end)
    if (old === null) this.comeBack(end.reason, 0)
  }

  /** Notes what an end says of the host; what the seat waits at least. */
  private note({ hosts, index }: Link, end: LinkEnd): number {
    const { clock, log, name, backOff, staleBindMs } = this.host
    const now = clock.mono()
    if (hosts !== this.host.hosts) return 0
    if (CREDENTIAL_CODES.has(end.code)) {
      let retryMs: number | null = hosts.refusedMs()
      if (hosts.lives(index)) this.own[index] = now + retryMs
      else retryMs = hosts.refused(index, now)
      const at = hosts.places.length > 1 ? { host: hosts.places[index]?.host } : {}
      if (retryMs !== null)
        log.error({ carrier: name, reason: end.reason, retryMs, ...at }, 'carrier refuses our credentials')
      else {
        log.error(
          { carrier: name, reason: end.reason, ...at },
          'carrier refuses our credentials: not tried again until it is changed or resumed',
        )
        this.host.count('link_stands_still')
      }
      return 0
    }
    if (end.code === status.ESME_RALYBND || (end.code === status.ESME_RBINDFAIL && this.isStale)) {
      // The bind that we lost still stands there. Each try may count as a sign of life: none before the carrier's timeout.
      this.own[index] = now + Math.max(staleBindMs, this.ownBackOff())
      this.host.count('bind_still_stands')
      return 0
    }
    if (end.boundMs >= STABLE_MS) {
      this.attempts = 0
      return backOffMs(1, backOff, () => this.host.random())
    }
    // Where others stand, the trouble is this link's own.
    if (hosts.lives(index)) this.own[index] = now + this.ownBackOff()
    else hosts.failed(index, now)
    return 0
  }

  private ownBackOff(): number {
    this.attempts++
    return backOffMs(this.attempts, this.host.backOff, () => this.host.random())
  }

  private comeBack(reason: string, leastMs: number): void {
    if (this.isStopped) return
    const { hosts, clock, log, name } = this.host
    const next = hosts.next(clock.mono(), this.own)
    if (next === null) {
      this.standStill()
      return
    }
    const retryMs = Math.round(Math.max(next.waitMs, leastMs))
    log.info({ carrier: name, reason, retryMs, ...toOther(hosts, next.index) }, 'carrier link comes back')
    this.connectIn(Math.max(1, retryMs))
  }

  figures(): LinkFigures {
    const { hosts, clock } = this.host
    if (this.link !== null) return { ...this.link.figures(), lastReason: this.lastReason }
    const place = hosts.places[hosts.next(clock.mono(), this.own)?.index ?? 0]
    return {
      stand: 'closed',
      peer: `${place?.host}:${place?.port}`,
      inFlight: 0,
      window: 0,
      sinceMs: this.sinceMs,
      lastReason: this.lastReason,
      nextTryMs: this.nextTryAtMs === null ? null : Math.max(0, this.nextTryAtMs - clock.mono()),
    }
  }
}

const STILL = 'stands still: '

const toOther = (hosts: Hosts, index: number): { to?: string } => {
  const { host, port } = hosts.places[index] ?? {}
  return hosts.places.length > 1 ? { to: `${host}:${port}` } : {}
}
