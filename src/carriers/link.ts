// One bind to an SMSC: connects, binds, sends parts, reads answers, receipts and replies,
// comes back after a loss. Knows one connection; which link gets which part, and what an
// outcome leads to, others decide.

import { connect as connectTcp, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { command, responseTo } from '../../protocols/smpp/commands.js'
import type { PduCounts } from '../../protocols/smpp/counts.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import { type CloseReason, Session, type SessionLimits, type SessionOwner } from '../../protocols/smpp/session.js'
import type { SessionClock } from '../../protocols/smpp/session-clock.js'
import { readMessageId, readSm, Sm, smSize, writeSm, writeSmResp } from '../../protocols/smpp/sm.js'
import { status, statusName } from '../../protocols/smpp/status.js'
import { assert } from '../base/assert.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import { EMPTY } from '../model/message.js'
import { type DriverEvents, type LinkFigures, type LinkStand, linkMoves, type Part } from './driver.js'
import { type InboundRules, readReceipt, readReply } from './inbound.js'
import { fillSubmit, type OutboundRules } from './outbound.js'
import { type Meaning, outcomeOf, ownMeanings } from './outcomes.js'
import { refOfAnswer } from './refs.js'

/** What a link needs to know of its carrier. */
export interface LinkSettings extends InboundRules, OutboundRules {
  readonly host: string
  readonly port: number
  readonly systemId: string
  readonly password: string
  readonly systemType: string
  readonly bind: 'transceiver' | 'transmitter' | 'receiver'
  readonly window: number
  readonly enquireLinkMs: number
  readonly enquire: 'silence' | 'always'
  readonly responseMs: number
  readonly reconnectMinMs: number
  readonly reconnectMaxMs: number
  readonly staleBindMs: number
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

export interface LinkHost {
  readonly carrier: number
  readonly name: string
  readonly settings: LinkSettings
  readonly events: DriverEvents
  readonly clock: Clock
  readonly sessionClock: SessionClock
  readonly counts: PduCounts
  readonly log: Log
  /** TLS files, read. */
  readonly tls: ConnectionOptions | null
  moved(link: Link, from: LinkStand): void
  /** [0, 1): jitter. */
  random(): number
  /** Returns how to stop. */
  trace(session: Session<Part | null>): () => void
}

/** Codes for which another try cannot help until an operator has looked (SMPP v3.4 §5.1.3). */
const CREDENTIAL_CODES = new Set<number>([status.ESME_RINVPASWD, status.ESME_RINVSYSID, status.ESME_RINVSYSTYP])
const CREDENTIAL_RETRY_MS = 60_000
/** The standard has 64 octets for a message id; carriers have more, but not without end. */
const MAX_REF = 128
/** What a stored reply has room for. */
const MAX_REPLY_TLVS = 0xffff

const sm = new Sm()

export class Link implements SessionOwner<Part | null> {
  stand: LinkStand = 'closed'
  session: Session<Part | null> | null = null
  lastReason = ''
  sinceMs = 0
  /** Expired on a link that lives: their answer may still come. Oldest first. */
  private readonly waiting = new Map<Part, number>()
  private readonly host: LinkHost
  private socket: Socket | null = null
  private timer: NodeJS.Timeout | undefined
  private attempts = 0
  private stopped = true
  private untrace: () => void = () => {}
  private refusedCode = 0
  /** The last bind was not ended by an unbind: it may still stand at the carrier. */
  private isStale = false
  private readonly meanings: ReadonlyMap<number, Meaning>
  /** Receipts and replies that wait for the sync: response command and sequence in turn, one list per commit. */
  private readonly unsynced: number[][] = []
  private gathering = 0
  private list: number[] = []

  constructor(host: LinkHost) {
    this.host = host
    this.meanings = ownMeanings(host.settings.statuses)
  }

  get sends(): boolean {
    return this.host.settings.bind !== 'receiver' && (this.stand === 'ready' || this.stand === 'resting')
  }

  get bound(): boolean {
    return this.stand !== 'closed' && this.stand !== 'binding'
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

  start(): void {
    this.stopped = false
    this.connect()
  }

  private connect(): void {
    const { settings, tls } = this.host
    this.move('binding')
    const at = { host: settings.host, port: settings.port }
    const socket = tls ? connectTls({ ...at, ...tls }) : connectTcp({ ...at, noDelay: true })
    this.socket = socket
    const lost = (error?: Error): void => {
      socket.removeAllListeners()
      socket.on('error', () => {})
      socket.destroy()
      this.socket = null
      this.lost(error ? ((error as NodeJS.ErrnoException).code ?? error.message) : 'connection refused')
    }
    const timeout = setTimeout(() => lost(new Error('connect timed out')), settings.responseMs)
    socket.once('error', error => {
      clearTimeout(timeout)
      lost(error)
    })
    socket.once(tls ? 'secureConnect' : 'connect', () => {
      clearTimeout(timeout)
      socket.removeAllListeners('error')
      this.bind(socket)
    })
  }

  private bind(socket: Socket): void {
    const { settings, sessionClock, counts } = this.host
    const limits: SessionLimits = {
      maxPduBytes: 70_000,
      windowRequests: settings.window,
      windowBytes: 16 * 2 ** 20,
      sendBytes: 2 ** 20,
      lateRequests: 10_000,
      sessionInitMs: settings.responseMs,
      enquireLinkMs: settings.enquireLinkMs,
      enquireInTraffic: settings.enquire === 'always',
      responseMs: settings.responseMs,
      inactivityMs: 0,
      stallMs: settings.responseMs,
    }
    const session = new Session<Part | null>(socket, 'esme', this, limits, sessionClock, counts)
    this.session = session
    this.untrace = this.host.trace(session)
    const id =
      settings.bind === 'transceiver'
        ? command.bind_transceiver
        : settings.bind === 'transmitter'
          ? command.bind_transmitter
          : command.bind_receiver
    session.bind(
      encodePdu(id, 0, session.nextSequence(), {
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
  get free(): number {
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
    const { settings, clock, events } = this.host
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
    this.attempts = 0
    this.refusedCode = 0
    this.isStale = true
    this.host.log.info({ carrier: this.host.name, peer: session.peer }, 'carrier bound')
    this.move('ready')
    this.host.events.changed()
  }

  private answer(part: Part, id: number, code: number, buf: Buffer, start: number, end: number): void {
    const { events, settings, clock } = this.host
    events.answeredIn(clock.mono() - part.sentMs, part.message.rank)
    if (code !== 0) {
      events.answered(part, outcomeOf(code, this.meanings))
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
    this.waiting.set(part, this.host.clock.mono() + this.host.settings.unsureMs)
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
      this.host.events.answered(part, { kind: 'unsure', code: 'no_answer' })
    }
    return any
  }

  request(session: Session<Part | null>, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    if (id === command.deliver_sm || id === command.data_sm) {
      const code = readSm(buf, start, end, sm)
      if (code !== 0) session.respondHeader(responseTo(id), code, sequence)
      else if (this.deliver()) this.acknowledge(responseTo(id), sequence)
      else session.respondHeader(responseTo(id), status.ESME_RX_T_APPN, sequence)
    } else if (id === command.alert_notification || id === command.outbind) this.host.events.count('ignored_pdu')
    else session.respondHeader(command.generic_nack, status.ESME_RINVCMDID, sequence)
  }

  /** A receipt or a message from a phone; false when it could not be stored. */
  private deliver(): boolean {
    const { events, settings, clock, log, name, carrier } = this.host
    const receipt = readReceipt(sm, settings, clock.now())
    if (receipt === undefined) {
      const reply = readReply(sm, carrier)
      if (reply.tlvs.length > MAX_REPLY_TLVS) {
        reply.tlvs = EMPTY
        events.count('reply_tlvs_dropped')
      }
      return events.reply(reply)
    }
    if (receipt !== null) return events.receipt(receipt)
    events.count('receipt_unreadable')
    log.warn({ carrier: name, octets: sm.short_message.length }, 'receipt without an id: dropped')
    return true
  }

  /** Answers once what was just handed over is on disk. */
  private acknowledge(id: number, sequence: number): void {
    const { events } = this.host
    const gathering = events.gathering()
    if (this.gathering !== gathering) {
      this.gathering = gathering
      this.list = []
      this.unsynced.push(this.list)
      const { session } = this
      events.afterSync(() => this.acknowledged(session as Session<Part | null>))
    }
    this.list.push(id, sequence)
  }

  private acknowledged(session: Session<Part | null>): void {
    const list = this.unsynced.shift() as number[]
    // A lost link's receipts are stored, but their answers have nowhere to go: the carrier sends them again.
    if (session.state === 'closed') return
    for (let i = 0; i < list.length; i += 2) {
      const buf = session.reserve(17)
      session.commit(writeSmResp(buf, session.offset, list[i] as number, 0, list[i + 1] as number, ''))
    }
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
    this.gathering = 0
    const why = this.refusedCode !== 0 ? `refused: ${statusName(this.refusedCode)}` : reason
    if (reason === 'unbound by us' || reason === 'unbound by peer') this.isStale = false
    log.warn({ carrier: name, peer: session.peer, reason: why, unanswered: unanswered.length }, 'carrier link closed')
    // Duty 4: first the loss, then what was lost with it.
    this.lost(why)
    for (const part of unanswered) if (part !== null) events.answered(part, { kind: 'unsure', code: 'link_lost' })
    for (const part of this.waiting.keys()) events.answered(part, { kind: 'unsure', code: 'link_lost' })
    this.waiting.clear()
    events.room()
  }

  private lost(reason: string): void {
    this.lastReason = reason
    if (this.stand !== 'closed') this.move('closed')
    this.host.events.count('link_closed')
    this.host.events.changed()
    if (this.stopped) return
    const { settings, log, name } = this.host
    this.attempts++
    const refused = CREDENTIAL_CODES.has(this.refusedCode)
    const grown = Math.min(settings.reconnectMinMs * 2 ** Math.min(this.attempts - 1, 30), settings.reconnectMaxMs)
    let delayMs = Math.round(grown * (0.75 + this.host.random() / 2))
    if (refused) delayMs = Math.max(CREDENTIAL_RETRY_MS, settings.reconnectMaxMs)
    else if (this.refusedCode === status.ESME_RALYBND || (this.refusedCode === status.ESME_RBINDFAIL && this.isStale)) {
      // The bind that we lost still stands there. Each try may count as a sign of life: none before the carrier's timeout.
      delayMs = Math.max(delayMs, settings.staleBindMs)
      this.host.events.count('bind_still_stands')
    }
    if (refused) log.error({ carrier: name, reason, retryMs: delayMs }, 'carrier refuses our credentials')
    else log.info({ carrier: name, reason, retryMs: delayMs }, 'carrier link comes back')
    this.refusedCode = 0
    this.timer = setTimeout(() => this.connect(), delayMs)
  }

  onFault(_session: Session<Part | null>, error: unknown): void {
    this.host.events.fault(error)
  }

  /** Unbinds; the session closes by itself when its window is empty or its time is up. */
  stop(): void {
    this.stopped = true
    clearTimeout(this.timer)
    if (this.session) this.session.unbind('unbound by us')
    else {
      this.socket?.destroy()
      if (this.stand !== 'closed') this.move('closed')
    }
  }

  destroy(): void {
    this.session?.destroy('unbound by us')
  }

  figures(): LinkFigures {
    return {
      stand: this.stand,
      peer: this.session?.peer ?? `${this.host.settings.host}:${this.host.settings.port}`,
      inFlight: this.session?.inFlight ?? 0,
      window: this.host.settings.window,
      sinceMs: this.sinceMs,
      lastReason: this.lastReason,
    }
  }
}
