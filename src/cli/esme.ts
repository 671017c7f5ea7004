// The ESMEs of a load run: binds, keeps the windows full or the pace, and accounts for every message and receipt. One
// object is the owner of all its sessions; a message is a number, its state and times lie in typed arrays, so a run
// makes no object for a message. Prints nothing; `trunkline load` does.

import { writeFileSync } from 'node:fs'
import { command, responseTo } from '../../protocols/smpp/commands.js'
import { PduCounts } from '../../protocols/smpp/counts.js'
import { terminator } from '../../protocols/smpp/octets.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import {
  type CloseReason,
  defaultLimits,
  Session,
  type SessionLimits,
  type SessionOwner,
} from '../../protocols/smpp/session.js'
import { SessionClock } from '../../protocols/smpp/session-clock.js'
import { HEADER, writeSmResp } from '../../protocols/smpp/sm.js'
import { status } from '../../protocols/smpp/status.js'
import { connectTo } from './connect.js'
import { Delivery } from './esme/delivery.js'
import { ACCEPTED as ACCEPTED_LINE, IdsFile, RECEIPT as RECEIPT_LINE } from './esme/idsFile.js'
import { Latencies } from './esme/latency.js'
import { Ledger } from './esme/ledger.js'
import { type LoadResult, resultOf } from './esme/result.js'
import { type LoadSettings, loadDefaults } from './esme/settings.js'
import { SubmitTemplate } from './esme/template.js'
import { CommandError, EXIT } from './exit.js'
import { Fifo } from './fifo.js'
import { explained } from './meaning.js'

/** The token of a bind in a session's window; messages are 0 and above. */
const BIND = -1

const UNSENT = 0
const SENT = 1
const ACCEPTED = 2
const REFUSED = 3

const TICK_MS = 20
/** The pace is kept to the millisecond. */
const PACE_TICK_MS = 1
/** After ESME_RTHROTTLED nobody submits for so long. */
const THROTTLED_REST_MS = 50
const UNBIND_MS = 3000
/** Receipts that overtake their answer are noted in units of 10 microseconds from the start. */
const UNITS_PER_MS = 100

export class Load implements SessionOwner<number> {
  readonly settings: LoadSettings
  accepted = 0
  refused = 0
  retried = 0
  /** submit_sm sent, repetitions included. */
  submitted = 0
  /** In flight when their connection was lost: nobody will answer them. */
  abandoned = 0
  /** deliver_sm that are no receipts. */
  replies = 0
  /** Receipts without an id that anybody could find. */
  unreadable = 0
  readonly answerMs = new Latencies()
  readonly receiptMs = new Latencies()
  readonly ledger: Ledger
  readonly errors = new Map<number, number>()
  readonly lost = new Map<CloseReason, number>()
  /** Receipts by message_state. */
  readonly states = new Float64Array(10)
  /** How far behind its pace the run has been, at most. */
  lateMs = 0
  startedAt = 0
  lastAnswerAt = 0
  lastReceiptAt = 0
  cpuMicros = 0

  private readonly template: SubmitTemplate
  private readonly clock = new SessionClock(() => performance.now(), 50)
  private readonly counts = new PduCounts()
  private readonly limits: SessionLimits
  private readonly sessions = new Set<Session<number>>()
  private readonly fate: Uint8Array
  private readonly sentAt: Float64Array
  private readonly again = new Fifo<number>()
  private readonly delivery = new Delivery()
  private readonly ids: IdsFile | null
  private next = 0
  private turns = 0
  private unbound = 0
  private stand: 'binding' | 'running' | 'ending' | 'over' = 'binding'
  private restUntil = 0
  private progressAt = 0
  /** The time of this turn; -1: not read yet. */
  private moment = -1
  private settle: (fault: Error | null) => void = () => {}

  constructor(given: Partial<LoadSettings>) {
    const settings = { ...loadDefaults, ...given }
    this.settings = settings
    this.template = new SubmitTemplate(settings)
    this.fate = new Uint8Array(settings.count)
    this.sentAt = new Float64Array(settings.count)
    this.ledger = new Ledger(settings.receipts ? settings.count : 0)
    this.ids = settings.ids === null ? null : new IdsFile(settings.ids)
    this.limits = {
      ...defaultLimits,
      windowRequests: settings.window,
      windowBytes: Number.MAX_SAFE_INTEGER,
      // An answer is waited for until the run gives up, and may take any time until then.
      responseMs: Number.POSITIVE_INFINITY,
    }
  }

  /** Messages submitted at least once. */
  get sent(): number {
    return this.next
  }

  /** Binds, sends, waits; the result once every connection is closed. Rejects with a CommandError if a bind fails. */
  async run(): Promise<LoadResult> {
    const { settings } = this
    let ticking: NodeJS.Timeout | undefined
    try {
      await this.bindAll()
      const before = process.cpuUsage()
      this.startedAt = this.now()
      this.progressAt = this.startedAt
      this.stand = 'running'
      await new Promise<void>((resolve, reject) => {
        this.settle = fault => (fault === null ? resolve() : reject(fault))
        ticking = setInterval(() => this.tick(), settings.rate > 0 ? PACE_TICK_MS : TICK_MS)
        for (const session of this.sessions) this.turn(session)
      })
      const { user, system } = process.cpuUsage(before)
      this.cpuMicros = user + system
    } finally {
      clearInterval(ticking)
      this.ids?.close()
      for (const session of [...this.sessions]) session.destroy('unbound by us')
    }
    if (settings.dump !== null) writeFileSync(settings.dump, this.fate)
    return resultOf(this)
  }

  /** Sends nothing more and ends with what has come. */
  stop(): void {
    if (this.stand === 'running') this.end()
    else if (this.stand === 'binding')
      this.settle(new CommandError(EXIT.failed, 'stopped before every bind was answered'))
  }

  private async bindAll(): Promise<void> {
    const { settings } = this
    const kinds =
      settings.bind === 'transceiver' ? [command.bind_transceiver] : [command.bind_transmitter, command.bind_receiver]
    this.unbound = settings.binds * kinds.length
    const all = new Promise<void>((resolve, reject) => {
      this.settle = fault => (fault === null ? resolve() : reject(fault))
    })
    // Rejected while we still connect, it is met below.
    let refused = false
    all.catch(() => {
      refused = true
    })
    for (let i = 0; i < settings.binds && !refused; i++) {
      for (const kind of kinds) {
        const socket = await connectTo(settings.host, settings.port)
        const session = new Session<number>(socket, 'esme', this, this.limits, this.clock, this.counts)
        this.sessions.add(session)
        session.bind(
          encodePdu(kind, 0, session.nextSequence(), {
            system_id: settings.systemId,
            password: settings.password,
            interface_version: 0x34,
          }),
          BIND,
        )
      }
    }
    await all
  }

  private now(): number {
    if (this.moment < 0) this.moment = performance.now()
    return this.moment
  }

  // Sending

  /** As many as its window takes, `most` at most. */
  private pump(session: Session<number>, most: number): void {
    if (this.stand !== 'running' || session.state === 'bound_rx') return
    let left = Math.min(this.settings.count - this.next + this.again.size, most)
    if (left === 0) return
    left = Math.min(left, session.room())
    if (left === 0) return
    const now = this.now()
    if (now < this.restUntil) return
    while (left-- > 0) this.submit(session, this.again.shift() ?? this.next++, now)
  }

  /** Sends what the rate has made due since the last tick: by one session if it has room, by another the next time. */
  private pace(): void {
    const { rate, count } = this.settings
    const dueCount = ((this.now() - this.startedAt) * rate) / 1000
    if (this.next < count) this.lateMs = Math.max(this.lateMs, ((dueCount - this.submitted) * 1000) / rate)
    const goal = Math.floor(dueCount) + 1
    const sessions = [...this.sessions]
    this.turns++
    for (let i = 0; i < sessions.length && this.submitted < goal; i++) {
      this.pump(sessions[(i + this.turns) % sessions.length] as Session<number>, goal - this.submitted)
    }
  }

  private submit(session: Session<number>, message: number, now: number): void {
    const { octets } = this.template
    const sequence = session.nextSequence()
    const buf = session.reserve(octets)
    const at = session.offset
    this.template.write(buf, at, sequence, message, message + this.settings.serialFrom)
    session.commit(at + octets)
    session.sent(sequence, message, octets)
    this.submitted++
    // A message that is sent again keeps its first time: its latency is what its sender waited.
    if (this.fate[message] === UNSENT) this.sentAt[message] = now
    this.fate[message] = SENT
  }

  private tick(): void {
    this.moment = -1
    if (this.settings.rate > 0) this.pace()
    else for (const session of this.sessions) this.pump(session, Number.POSITIVE_INFINITY)
    const silence = this.now() - this.progressAt
    if (
      this.stand === 'running' &&
      (this.complete ? silence >= this.settings.lingerMs : silence >= this.settings.drainMs)
    )
      this.end()
    this.moment = -1
  }

  /** Every message has its answer, and every accepted one its receipt. */
  private get complete(): boolean {
    const { settings, ledger } = this
    if (this.accepted + this.refused + this.abandoned < settings.count) return false
    return !settings.receipts || ledger.matched + ledger.reused >= this.accepted
  }

  private end(): void {
    this.stand = 'ending'
    for (const session of [...this.sessions]) {
      // What the peer has sent by then is still counted, until its unbind_resp.
      session.limits = { ...this.limits, responseMs: UNBIND_MS }
      session.unbind('unbound by us')
    }
    this.over()
  }

  private over(): void {
    if (this.sessions.size > 0 || this.stand === 'over') return
    this.stand = 'over'
    this.settle(null)
  }

  // The session's calls

  turn(session: Session<number>): void {
    this.moment = -1
    // At a rate only the tick sends: one message to each answer would cost a packet each.
    if (this.settings.rate === 0) this.pump(session, Number.POSITIVE_INFINITY)
    if (this.stand === 'running' && this.settings.lingerMs === 0 && this.complete) this.end()
    this.moment = -1
  }

  room(session: Session<number>): void {
    this.turn(session)
  }

  response(
    session: Session<number>,
    token: number,
    id: number,
    code: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (token === BIND) {
      this.bindAnswered(session, code)
      return
    }
    const now = this.now()
    if (code !== status.ESME_ROK || id !== command.submit_sm_resp) {
      this.refuse(token, code, now)
      return
    }
    this.progressAt = now
    this.fate[token] = ACCEPTED
    this.accepted++
    this.lastAnswerAt = now
    const sentAt = this.sentAt[token] as number
    this.answerMs.add(now - sentAt)
    const from = start + HEADER
    const nul = terminator(buf, from, end)
    const to = nul < 0 ? end : nul
    if (this.ids !== null) this.ids.note(ACCEPTED_LINE, buf, from, to)
    if (!this.settings.receipts || to === from) return
    const early = this.ledger.accepted(buf, from, to, token)
    if (early >= 0) this.receiptMs.add(this.startedAt + early / UNITS_PER_MS - sentAt)
  }

  private bindAnswered(session: Session<number>, code: number): void {
    if (code !== status.ESME_ROK) {
      // The session closes itself now; it must not be taken for a lost one.
      this.sessions.delete(session)
      this.settle(new CommandError(EXIT.failed, `the bind was refused: ${explained(code)}`))
    } else if (--this.unbound === 0) this.settle(null)
  }

  private refuse(message: number, code: number, now: number): void {
    if (this.settings.retry && (code === status.ESME_RTHROTTLED || code === status.ESME_RMSGQFUL)) {
      this.retried++
      this.restUntil = now + THROTTLED_REST_MS
      this.again.push(message)
      return
    }
    this.progressAt = now
    this.fate[message] = REFUSED
    this.refused++
    this.lastAnswerAt = now
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1)
  }

  expired(): void {
    // Only while the run ends: it stays what it was, sent and not answered.
  }

  late(
    session: Session<number>,
    token: number,
    id: number,
    code: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    this.response(session, token, id, code, buf, start, end)
  }

  request(session: Session<number>, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    if (id === command.alert_notification || id === command.outbind) return
    if (id !== command.deliver_sm && id !== command.data_sm) {
      session.respondHeader(responseTo(id), status.ESME_RINVCMDID, sequence)
      return
    }
    const code = this.delivery.read(buf, start, end)
    if (code !== 0) {
      session.respondHeader(responseTo(id), code, sequence)
      return
    }
    this.deliver()
    const out = session.reserve(HEADER + 1)
    session.commit(writeSmResp(out, session.offset, responseTo(id), 0, sequence, ''))
  }

  private deliver(): void {
    const now = this.now()
    this.progressAt = now
    const { delivery } = this
    if (!delivery.isReceipt) {
      this.replies++
      return
    }
    ;(this.states[delivery.state] as number)++
    const { id, idStart, idEnd } = delivery
    if (idStart === idEnd) {
      this.unreadable++
      return
    }
    this.lastReceiptAt = now
    if (this.ids !== null) this.ids.note(RECEIPT_LINE, id, idStart, idEnd)
    const moment = Math.floor((now - this.startedAt) * UNITS_PER_MS)
    const message = this.ledger.receipt(id, idStart, idEnd, moment, delivery.delivered)
    if (message >= 0) this.receiptMs.add(now - (this.sentAt[message] as number))
  }

  closed(session: Session<number>, reason: CloseReason, unanswered: number[]): void {
    if (!this.sessions.delete(session)) return
    if (this.stand === 'binding') {
      this.settle(new CommandError(EXIT.failed, `the connection was closed before the bind was answered (${reason})`))
      return
    }
    if (this.stand === 'running') {
      this.lost.set(reason, (this.lost.get(reason) ?? 0) + 1)
      this.abandoned += unanswered.length
      if (this.sessions.size === 0 || this.complete) this.end()
    } else this.over()
  }

  onFault(_session: Session<number>, error: unknown): void {
    this.settle(error instanceof Error ? error : new Error(String(error)))
  }
}
