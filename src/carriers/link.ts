// One bind to an SMSC, once: connects, binds, sends parts, reads answers, receipts and replies, ends. Knows one
// connection; whether another follows it, which link gets which part, and what an outcome leads to, others decide.

import { readFileSync } from 'node:fs'
import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { command } from '../../protocols/smpp/commands.js'
import type { PduCounts } from '../../protocols/smpp/counts.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import { type CloseReason, Session, type SessionLimits, type SessionOwner } from '../../protocols/smpp/session.js'
import type { SessionClock } from '../../protocols/smpp/session-clock.js'
import { readMessageId, Sm, smSize, writeSm } from '../../protocols/smpp/sm.js'
import { statusName } from '../../protocols/smpp/status.js'
import { assert } from '../base/assert.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import { NO_ANSWER } from '../model/outcome.js'
import { Arrivals } from './arrivals.js'
import { type DriverEvents, type LinkFigures, type LinkStand, linkMoves, type Part } from './driver.js'
import type { Hosts, Place } from './hosts.js'
import type { InboundRules } from './inbound.js'
import { fillSubmit, type OutboundRules } from './outbound.js'
import { type Meaning, outcomeOf, ownMeanings } from './outcomes.js'
import { Pace } from './pace.js'
import { refOfAnswer } from './refs.js'

/** What a link needs to know of its carrier. */
export interface LinkSettings extends InboundRules, OutboundRules {
  readonly systemId: string
  readonly password: string
  readonly systemType: string
  readonly window: number
  /** Parts per second over each link, 0 = no limit. */
  readonly linkThroughput: number
  readonly enquireLinkMs: number
  readonly enquire: 'silence' | 'always'
  readonly responseMs: number
  readonly addressRange: string
  readonly unsureMs: number
  readonly statuses: Readonly<Record<string, Meaning>>
  readonly tls: {
    readonly ca?: string | undefined
    readonly cert?: string | undefined
    readonly key?: string | undefined
    readonly servername?: string | undefined
    readonly verify: boolean
  } | null
}

export type BindKind = 'transceiver' | 'transmitter' | 'receiver'

/** How a link ended. */
export interface LinkEnd {
  readonly reason: string
  /** command_status of a refused bind; 0: none. */
  readonly code: number
  /** How long it was bound; -1: never. */
  readonly boundMs: number
  /** One side unbound in order: the bind does not stand at the carrier any more. */
  readonly inOrder: boolean
}

export interface LinkHost {
  readonly carrier: number
  readonly name: string
  readonly events: DriverEvents
  readonly clock: Clock
  readonly sessionClock: SessionClock
  readonly counts: PduCounts
  readonly log: Log
  moved(link: Link, from: LinkStand): void
  /** Comes before the answers of what was lost with it. */
  ended(link: Link, end: LinkEnd): void
  /** Returns how to stop. */
  trace(session: Session<Part | null>): () => void
}

/** A connection stands within this, or there is no one. */
const CONNECT_MS = 10_000
/** The standard has 64 octets for a message id; carriers have more, but not without end. */
const MAX_REF = 128

const sm = new Sm()

export class Link implements SessionOwner<Part | null> {
  readonly bind: BindKind
  readonly hosts: Hosts
  /** Which of `hosts`. */
  readonly index: number
  stand: LinkStand = 'closed'
  session: Session<Part | null> | null = null
  sinceMs = 0
  /** Gets nothing more, and goes when all is answered. */
  retiring = false
  /** Expired on a link that lives: their answer may still come. Oldest first. */
  private readonly waiting = new Map<Part, number>()
  private readonly host: LinkHost
  private settings: LinkSettings
  private pace: Pace | null = null
  private socket: Socket | null = null
  private timeout: NodeJS.Timeout | undefined
  private isOver = false
  private untrace: () => void = () => {}
  private refusedCode = 0
  /** Monotonic; -1: never. */
  private boundAtMs = -1
  private meanings: ReadonlyMap<number, Meaning>
  private readonly arrivals: Arrivals
  private submits = 0
  private throttled = 0

  constructor(host: LinkHost, settings: LinkSettings, bind: BindKind, hosts: Hosts, index: number) {
    this.host = host
    this.arrivals = new Arrivals(host, settings)
    this.settings = settings
    this.bind = bind
    this.hosts = hosts
    this.index = index
    this.meanings = ownMeanings(settings.statuses)
    this.setPace()
  }

  get bound(): boolean {
    return this.stand !== 'closed' && this.stand !== 'binding'
  }

  /** Parts can be given to it, now or when it has room. */
  get serves(): boolean {
    return this.bound && this.bind !== 'receiver' && !this.retiring
  }

  /** Nothing that it was given is unanswered. */
  get idle(): boolean {
    return (this.session?.inFlight ?? 0) === 0 && this.waiting.size === 0
  }

  get unsure(): number {
    return this.waiting.size
  }

  private move(to: LinkStand): void {
    const from = this.stand
    if (from === to) return
    assert(linkMoves[from].includes(to), `a link goes from ${from} to ${to}`)
    this.stand = to
    this.sinceMs = this.host.clock.now()
    this.host.moved(this, from)
  }

  /** Other settings, as far as a bind that stands can take them. */
  use(settings: LinkSettings): void {
    this.settings = settings
    this.arrivals.rules = settings
    this.meanings = ownMeanings(settings.statuses)
    this.setPace()
    if (this.session) this.session.limits = this.limits()
    this.weigh()
  }

  private setPace(): void {
    const { linkThroughput } = this.settings
    const now = this.host.clock.mono()
    if (linkThroughput === 0) this.pace = null
    else if (this.pace === null) this.pace = new Pace(linkThroughput, now)
    else this.pace.limitTo(linkThroughput, now)
  }

  private limits(): SessionLimits {
    const { window, enquireLinkMs, enquire, responseMs } = this.settings
    return {
      maxPduBytes: 70_000,
      windowRequests: window,
      windowBytes: 16 * 2 ** 20,
      sendBytes: 2 ** 20,
      lateRequests: 10_000,
      sessionInitMs: responseMs,
      enquireLinkMs,
      enquireInTraffic: enquire === 'always',
      responseMs,
      inactivityMs: 0,
      stallMs: responseMs,
    }
  }

  start(): void {
    this.move('binding')
    const { host, port } = this.place
    const { tls, responseMs } = this.settings
    let socket: Socket
    try {
      // The files are read each time: certificates are renewed.
      socket = tls ? connectTls({ host, port, ...tlsOptions(tls, host) }) : connectTcp({ host, port, noDelay: true })
    } catch (error) {
      this.over(reasonOf(error), 0)
      return
    }
    this.socket = socket
    this.timeout = setTimeout(() => this.unconnected('connect timed out'), Math.min(responseMs, CONNECT_MS))
    socket.once('error', error => this.unconnected(reasonOf(error)))
    socket.once(tls ? 'secureConnect' : 'connect', () => {
      clearTimeout(this.timeout)
      socket.removeAllListeners('error')
      this.bindOver(socket)
    })
  }

  private get place(): Place {
    return this.hosts.places[this.index] as Place
  }

  private unconnected(reason: string): void {
    const socket = this.socket as Socket
    clearTimeout(this.timeout)
    socket.removeAllListeners()
    socket.on('error', () => {})
    socket.destroy()
    this.socket = null
    this.over(reason, 0)
  }

  private bindOver(socket: Socket): void {
    const { settings } = this
    const session = new Session<Part | null>(
      socket,
      'esme',
      this,
      this.limits(),
      this.host.sessionClock,
      this.host.counts,
    )
    this.session = session
    this.untrace = this.host.trace(session)
    session.bind(
      encodePdu(command[`bind_${this.bind}`], 0, session.nextSequence(), {
        system_id: settings.systemId,
        password: settings.password,
        system_type: settings.systemType,
        interface_version: settings.interfaceVersion,
        address_range: settings.addressRange,
      }),
      null,
    )
  }

  /** Parts it takes now. */
  takes(nowMs: number): number {
    const { session, pace } = this
    if (session === null) return 0
    const room = session.room()
    return pace === null ? room : Math.min(room, pace.room(nowMs))
  }

  private get free(): number {
    return this.session && this.bound ? this.session.room() : 0
  }

  /** After each send and answer: full or not. */
  private weigh(): void {
    if (this.stand === 'ready' && this.free === 0) this.move('full')
    else if (this.stand === 'full' && this.free > 0) this.move('ready')
  }

  rest(): void {
    if (this.stand === 'ready' || this.stand === 'full') this.move('resting')
  }

  wake(): void {
    if (this.stand === 'resting') this.move(this.free > 0 ? 'ready' : 'full')
  }

  send(part: Part): void {
    const session = this.session as Session<Part | null>
    const { settings } = this
    const { clock, events } = this.host
    // Only a validity has to do with the time, and few give one.
    if (!fillSubmit(sm, part, settings, part.message.validityGiven ? clock.now() : 0)) {
      events.answered(part, { kind: 'refused', code: 'too_long', reason: 'no message_payload before SMPP v3.4' })
      return
    }
    const sequence = session.nextSequence()
    const buf = session.reserve(smSize(sm))
    const at = session.offset
    const end = writeSm(buf, at, command.submit_sm, sequence, sm)
    session.commit(end)
    session.sent(sequence, part, end - at)
    part.sentMs = clock.mono()
    this.submits++
    if (this.pace !== null) this.pace.spend()
    this.weigh()
  }

  // -- the session's calls -----------------------------------------------------

  response(
    session: Session<Part | null>,
    part: Part | null,
    id: number,
    code: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (part === null) this.bindAnswered(session, code)
    else {
      this.answer(part, id, code, buf, start, end)
      this.weigh()
    }
  }

  private bindAnswered(session: Session<Part | null>, code: number): void {
    if (code !== 0) {
      this.refusedCode = code
      return
    }
    this.boundAtMs = this.host.clock.mono()
    this.host.log.info({ carrier: this.host.name, peer: session.peer }, 'carrier bound')
    this.move('ready')
  }

  private answer(part: Part, id: number, code: number, buf: Buffer, start: number, end: number): void {
    const { settings } = this
    const { events, clock } = this.host
    events.answeredIn(clock.mono() - part.sentMs, part.message.rank)
    if (code !== 0) {
      const outcome = outcomeOf(code, this.meanings)
      if (outcome.kind === 'throttled') this.throttled++
      events.answered(part, outcome)
      return
    }
    if (id === command.generic_nack) {
      events.answered(part, { kind: 'deferred', code: 'generic_nack', reason: 'generic_nack with ESME_ROK' })
      return
    }
    events.answered(part, {
      kind: 'accepted',
      ref: refOfAnswer(settings.refs, readMessageId(buf, start, end).slice(0, MAX_REF)),
    })
  }

  expired(_session: Session<Part | null>, part: Part | null): void {
    if (part === null) return
    // The link lives: the answer may still come. It is unsure when it has not by then.
    this.waiting.set(part, this.host.clock.mono() + this.settings.unsureMs)
    this.host.events.count('answer_late')
  }

  late(
    _session: Session<Part | null>,
    part: Part | null,
    id: number,
    code: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (part !== null && this.waiting.delete(part)) this.answer(part, id, code, buf, start, end)
  }

  /** Gives up parts whose answer is not awaited any longer; true when there were any. */
  tick(nowMs: number): boolean {
    let any = false
    for (const [part, deadline] of this.waiting) {
      if (deadline > nowMs) break
      any = true
      this.waiting.delete(part)
      this.host.events.answered(part, { kind: 'unsure', code: NO_ANSWER })
    }
    return any
  }

  request(session: Session<Part | null>, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    this.arrivals.request(session, id, sequence, buf, start, end)
  }

  turn(): void {
    this.host.events.room()
  }

  room(): void {
    this.weigh()
    this.host.events.room()
  }

  closed(session: Session<Part | null>, reason: CloseReason, unanswered: (Part | null)[]): void {
    const { events, log, name } = this.host
    this.session = null
    this.untrace()
    this.arrivals.closed()
    const why = this.refusedCode !== 0 ? `refused: ${statusName(this.refusedCode)}` : reason
    log.warn({ carrier: name, peer: session.peer, reason: why, unanswered: unanswered.length }, 'carrier link closed')
    // Duty 4: first the loss, then what was lost with it.
    this.over(why, this.refusedCode, reason === 'unbound by us' || reason === 'unbound by peer')
    for (const part of unanswered) if (part !== null) events.answered(part, { kind: 'unsure', code: 'link_lost' })
    for (const part of this.waiting.keys()) events.answered(part, { kind: 'unsure', code: 'link_lost' })
    this.waiting.clear()
    events.room()
  }

  private over(reason: string, code: number, inOrder = false): void {
    if (this.isOver) return
    this.isOver = true
    if (this.stand !== 'closed') this.move('closed')
    const boundMs = this.boundAtMs < 0 ? -1 : this.host.clock.mono() - this.boundAtMs
    this.host.ended(this, { reason, code, boundMs, inOrder })
  }

  onFault(_session: Session<Part | null>, error: unknown): void {
    this.host.events.fault(error)
  }

  /** Unbinds; the session closes by itself when its window is empty or its time is up. */
  stop(): void {
    if (this.session) this.session.unbind('unbound by us')
    else if (this.socket) this.unconnected('unbound by us')
  }

  destroy(): void {
    this.session?.destroy('unbound by us')
  }

  figures(): LinkFigures {
    const { host, port } = this.place
    return {
      stand: this.stand,
      peer: this.session?.peer ?? `${host}:${port}`,
      inFlight: this.session?.inFlight ?? 0,
      window: this.settings.window,
      sinceMs: this.sinceMs,
      lastReason: '',
      traffic: { submits: this.submits, throttled: this.throttled, delivers: this.arrivals.count },
    }
  }
}

export const reasonOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? (error as Error).message

export function tlsOptions(tls: NonNullable<LinkSettings['tls']>, host: string): ConnectionOptions {
  return {
    // An address is no server name (RFC 6066 §3); it is compared with the certificate all the same.
    ...(tls.servername === undefined && isIP(host) ? {} : { servername: tls.servername ?? host }),
    rejectUnauthorized: tls.verify,
    ...(tls.ca === undefined ? {} : { ca: readFileSync(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: readFileSync(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: readFileSync(tls.key) }),
  }
}
