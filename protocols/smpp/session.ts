// One SMPP session over one connection, from either side: framing, states, window, timers, the out buffer.
// Knows headers only: bodies, credentials and what a message is are the owner's. Never reads a clock but the SessionClock,
// never logs, never throws at the socket's doing; every session ends once, with one reason.
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { endpoint } from '../net/address.js'
import { command, responseTo } from './commands.js'
import type { PduCounts } from './counts.js'
import { Framer, type FrameSink, int32 } from './framer.js'
import { Outgoing } from './outgoing.js'
import type { SessionClock, Ticking } from './session-clock.js'
import type { CloseReason, SessionLimits, SessionOwner } from './session-owner.js'
import { HEADER, writeHeader } from './sm.js'
import {
  answersRequest,
  boundState,
  type Cell,
  type Cells,
  cells,
  isBind,
  REQUEST_IDS,
  type SessionState,
  type Side,
} from './states.js'
import { status } from './status.js'
import { type TimerState, verdict } from './timers.js'
import { Window } from './window.js'

export { type CloseReason, defaultLimits, type SessionLimits, type SessionOwner } from './session-owner.js'

/** After a graceful close the peer has so long to read what is left and hang up. */
const LINGER_MS = 2000

const GENERIC_NACK = command.generic_nack | 0
const UNBIND_RESP = command.unbind_resp | 0
const ENQUIRE_LINK_RESP = command.enquire_link_resp | 0

export class Session<T> extends Outgoing implements FrameSink, Ticking, TimerState {
  state: SessionState = 'open'
  /** The peer's address and port; behind a proxy the listener writes the real one here. */
  peer: string
  /** May be replaced while the session lives; only maxPduBytes is fixed by the constructor. */
  limits: SessionLimits
  /** Sees every whole PDU, both ways, when it is set. */
  trace: ((direction: 'received' | 'sent', buf: Buffer, start: number, end: number) => void) | null = null
  /** Requests of the peer that the owner has not answered. unbind_resp waits for it to become 0. */
  owed = 0
  readonly side: Side
  readonly window = new Window<T>()
  readonly openedAt: number
  heardAt: number
  transactedAt: number
  enquiredAt: number
  askedAt = -1
  unboundAt = -1
  stalledAt = -1

  private readonly owner: SessionOwner<T>
  private readonly clock: SessionClock
  private readonly counts: PduCounts
  private readonly framer: Framer
  private cells: Cells
  private starved = false
  private paused = false
  /** smsc: a bind is with the owner. esme: ours is with the peer, under `bindSequence`. */
  private binding = false
  private bindSequence = 0
  private bindCommand = 0
  private enquireSequence = 0
  private unbindSequence = 0
  /** The peer's unbind, to be answered last of all; null: it has not unbound. */
  private peerUnbind: number | null = null
  private ending: CloseReason | null = null
  private closedAt = -1

  /**
   * Takes over a connected socket (plain or TLS): its listeners, its errors, its end. `counts` may be shared by sessions.
   */
  constructor(
    socket: Duplex,
    side: Side,
    owner: SessionOwner<T>,
    limits: SessionLimits,
    clock: SessionClock,
    counts: PduCounts,
  ) {
    super(socket)
    this.side = side
    this.owner = owner
    this.limits = limits
    this.clock = clock
    this.counts = counts
    this.framer = new Framer(limits.maxPduBytes)
    this.cells = cells[side].open
    this.openedAt = clock.now()
    this.heardAt = this.openedAt
    this.enquiredAt = this.openedAt
    this.transactedAt = this.openedAt
    this.peer = ''
    if (socket instanceof Socket) {
      socket.setNoDelay(true)
      this.peer = `${socket.remoteAddress ?? ''}:${socket.remotePort ?? ''}`
    }
    // Answers still go out after the peer has finished sending: `end` is ours to call.
    socket.allowHalfOpen = true
    socket.on('data', (chunk: Buffer) => this.onData(chunk))
    socket.on('end', () => {
      // It may have unbound and shut its half: what it is owed it may still read.
      if (this.state !== 'unbound' || this.owed <= 0) this.finish('peer closed', true)
    })
    socket.on('error', () => this.finish('connection lost', false))
    socket.on('close', () => {
      this.finish('connection lost', false)
      clock.leave(this)
    })
    clock.join(this)
  }

  /** Our own address and port; '' without a connection. */
  get local(): string {
    const { socket } = this
    return socket instanceof Socket && socket.localAddress !== undefined
      ? endpoint(socket.localAddress, socket.localPort ?? 0)
      : ''
  }

  get bound(): boolean {
    return this.state === 'bound_trx' || this.state === 'bound_tx' || this.state === 'bound_rx'
  }

  /** False while the owner has paused or the peer has stalled. */
  get reading(): boolean {
    return !this.paused && this.stalledAt < 0
  }

  get inFlight(): number {
    return this.window.count
  }

  /** Octets in memory for this session: half a PDU that came, and what has not gone out. */
  get heldBytes(): number {
    return this.framer.held + this.unsent
  }

  // Sending

  /** The octets from `offset` to `end` are whole PDUs, requests or answers: they go out at the end of this turn. */
  commit(end: number): void {
    if (this.state === 'closed') return
    let at = this.offset
    while (at < end) {
      const length = int32(this.out, at)
      if (length < HEADER || length > end - at) throw new Error(`${end - at} octets committed as a PDU of ${length}`)
      const id = int32(this.out, at + 4)
      this.counts.sent(id, int32(this.out, at + 8))
      if (id < 0) this.settled()
      if (this.trace !== null) this.trace('sent', this.out, at, at + length)
      at += length
    }
    this.advance(end)
  }

  /** Answers a request of the peer by a header alone. `command` is the response's id, or generic_nack. */
  respondHeader(command: number, status: number, sequence: number): void {
    if (this.state === 'closed') return
    this.settled()
    this.header(command, status, sequence)
  }

  private settled(): void {
    this.owed--
    if (this.state === 'open') this.binding = false
  }

  private header(id: number, code: number, sequence: number): void {
    const buf = this.reserve(HEADER)
    this.counts.sent(id | 0, code)
    const end = writeHeader(buf, this.offset, HEADER, id, code, sequence)
    if (this.trace !== null) this.trace('sent', buf, this.offset, end)
    this.advance(end)
  }

  protected override endOfTurn(): void {
    if (this.state === 'closed') return
    if (this.state === 'unbound' && this.owed <= 0) {
      this.finish('unbound by peer', true)
      return
    }
    this.write()
    if (this.stalledAt < 0 && this.socket.writableLength > this.limits.sendBytes) {
      this.stalledAt = this.clock.now()
      this.socket.pause()
    }
  }

  protected override written(): void {
    if (this.state === 'closed') return
    if (this.stalledAt >= 0 && this.unsent <= this.limits.sendBytes / 2) {
      this.stalledAt = -1
      this.readAgain()
    }
    try {
      this.offerRoom()
    } catch (error) {
      this.fault(error)
    }
  }

  /** For a request to come; skips numbers in flight. */
  nextSequence(): number {
    return this.window.next()
  }

  /** A request of `bytes` octets with this number from `nextSequence` has been committed: its answer is for `token`. */
  sent(sequence: number, token: T, bytes: number): void {
    if (this.state === 'closed') throw new Error('a request was sent on a closed session')
    this.window.enter(sequence, token, bytes, this.clock.time)
  }

  /**
   * How many more requests may be sent now; 0 when not bound or unbinding. The window's octets are reckoned by the mean of
   * those in flight, so they overrun by no more than one batch.
   */
  room(): number {
    const { window, limits } = this
    let room = 0
    if (this.bound && this.unboundAt < 0 && this.stalledAt < 0 && this.unsent < limits.sendBytes) {
      room = Math.max(limits.windowRequests - window.count, 0)
      const bytes = limits.windowBytes - window.bytes
      if (bytes <= 0) room = 0
      else if (window.count > 0) room = Math.min(room, Math.ceil((bytes * window.count) / window.bytes))
    }
    this.starved = room === 0
    return room
  }

  /** ESME: sends a whole bind_* PDU. Its response sets the state and then goes to the owner; a failed one closes: 'refused'. */
  bind(pdu: Buffer, token: T): void {
    if (this.side !== 'esme' || this.state !== 'open' || this.binding) throw new Error(`bind in ${this.state}`)
    this.append(pdu)
    this.binding = true
    this.bindCommand = int32(pdu, 4)
    this.bindSequence = int32(pdu, 12)
    this.sent(this.bindSequence, token, pdu.length)
  }

  /** SMSC: answers the bind with a whole bind_*_resp of ESME_ROK. A bind is refused by `respondHeader`, and may be tried again. */
  acceptBind(pdu: Buffer): void {
    if (this.state === 'closed') return
    if (!this.binding || this.side !== 'smsc') throw new Error('no bind to accept')
    this.append(pdu)
    this.enter(boundState(int32(pdu, 4)))
  }

  private append(pdu: Buffer): void {
    const buf = this.reserve(pdu.length)
    pdu.copy(buf, this.offset)
    this.commit(this.offset + pdu.length)
  }

  private enter(state: SessionState): void {
    this.state = state
    this.cells = cells[this.side][state]
    if (!this.bound) return
    this.heardAt = this.clock.now()
    this.transactedAt = this.heardAt
    this.enquiredAt = this.heardAt
  }

  /**
   * No more requests; unbinds and waits up to responseMs for unbind_resp and for what we owe, then closes with `reason`. The
   * peer's requests are taken until unbind_resp comes. Closes at once when not bound.
   */
  unbind(reason: CloseReason): void {
    if (this.state === 'closed' || this.unboundAt >= 0) return
    if (!this.bound) {
      this.finish(reason, true)
      return
    }
    this.ending = reason
    this.unboundAt = this.clock.now()
    this.unbindSequence = this.window.next()
    this.header(command.unbind, status.ESME_ROK, this.unbindSequence)
  }

  /** Sends what has been committed, hangs up, and lets the peer read the rest for two seconds. */
  close(reason: CloseReason): void {
    this.finish(reason, true)
  }

  /** Hangs up; what has not been sent is lost. */
  destroy(reason: CloseReason): void {
    this.finish(reason, false)
  }

  /**
   * Stops reading: TCP holds the peer back. What the current chunk holds (64 KiB at most) still comes. Nothing is noticed
   * meanwhile, neither an enquire_link nor the end of the connection, so resume within the peer's patience; our own timers
   * take the silence for ours.
   */
  pause(): void {
    if (this.state === 'closed') return
    this.paused = true
    this.socket.pause()
  }

  resume(): void {
    if (!this.paused || this.state === 'closed') return
    this.paused = false
    this.readAgain()
  }

  private readAgain(): void {
    if (!this.reading) return
    this.heardAt = this.clock.now()
    if (this.askedAt >= 0) this.askedAt = this.heardAt
    this.socket.resume()
  }

  // Receiving

  private onData(chunk: Buffer): void {
    if (this.state === 'closed') return
    try {
      this.framer.push(chunk, this)
      if (this.closed) return
      this.owner.turn(this)
      this.offerRoom()
    } catch (error) {
      this.fault(error)
    }
  }

  private get closed(): boolean {
    return this.state === 'closed'
  }

  private offerRoom(): void {
    if (this.starved && this.room() > 0) this.owner.room(this)
  }

  /** The framer's: one PDU. */
  frame(buf: Buffer, start: number, end: number): boolean {
    const id = int32(buf, start + 4)
    const code = int32(buf, start + 8)
    const sequence = int32(buf, start + 12) >>> 0
    this.heardAt = this.clock.time
    this.askedAt = -1
    this.counts.received(id, code)
    if (this.trace !== null) this.trace('received', buf, start, end)
    if (id < 0) this.onResponse(id, code >>> 0, sequence, buf, start, end)
    else this.onRequest(id, sequence, buf, start, end)
    return this.state !== 'closed'
  }

  /** The framer's: a command_length that cannot be. Where the next PDU begins nobody knows. */
  broken(sequence: number): void {
    this.header(command.generic_nack, status.ESME_RINVCMDLEN, sequence)
    this.finish('bad frame', true)
  }

  private onRequest(id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    const cell = id < REQUEST_IDS ? (this.cells[id] as Cell) : 'nack RINVCMDID'
    if (cell === 'take') {
      this.transactedAt = this.heardAt
      this.owed++
      this.owner.request(this, id, sequence, buf, start, end)
      return
    }
    switch (cell) {
      case 'bind':
        if (this.binding) this.header(responseTo(id), status.ESME_RALYBND, sequence)
        else {
          this.binding = true
          this.owed++
          this.owner.request(this, id, sequence, buf, start, end)
        }
        break
      case 'note':
        this.owner.request(this, id, sequence, buf, start, end)
        break
      case 'self':
        if (id === command.unbind) this.onUnbind(sequence)
        else this.header(command.enquire_link_resp, status.ESME_ROK, sequence)
        break
      case 'RALYBND':
        this.header(responseTo(id), status.ESME_RALYBND, sequence)
        break
      case 'RINVBNDSTS':
        this.header(responseTo(id), status.ESME_RINVBNDSTS, sequence)
        break
      case 'nack RINVBNDSTS':
        this.header(command.generic_nack, status.ESME_RINVBNDSTS, sequence)
        break
      case 'nack RINVCMDID':
        this.header(command.generic_nack, status.ESME_RINVCMDID, sequence)
    }
  }

  /** Answered last of all, when nothing is owed: at the end of this turn, or after the owner's last answer. */
  private onUnbind(sequence: number): void {
    this.peerUnbind = sequence
    this.ending ??= 'unbound by peer'
    if (this.unboundAt < 0) this.unboundAt = this.clock.now()
    this.enter('unbound')
    this.wakeAtEndOfTurn()
  }

  private onResponse(id: number, code: number, sequence: number, buf: Buffer, start: number, end: number): void {
    const low = id & 0x7fffffff
    const answer = low < REQUEST_IDS && answersRequest[low] === 1
    const slot = answer ? this.window.find(sequence) : -1
    if (slot < 0) {
      this.onUnmatched(answer, id, code, sequence, buf, start, end)
      return
    }
    this.transactedAt = this.heardAt
    const token = this.window.release(slot)
    if (sequence === this.bindSequence && this.binding) {
      this.binding = false
      const bound = code === status.ESME_ROK && isBind(low)
      if (bound) this.enter(boundState(this.bindCommand))
      this.owner.response(this, token, id >>> 0, code, buf, start, end)
      if (!bound) this.finish('refused', true)
      return
    }
    this.owner.response(this, token, id >>> 0, code, buf, start, end)
  }

  private onUnmatched(
    answer: boolean,
    id: number,
    code: number,
    sequence: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (id === ENQUIRE_LINK_RESP && sequence === this.enquireSequence) return
    // Any unbind_resp will do; a peer that does not know unbind is as gone as one that grants it.
    if (
      this.unbindSequence !== 0 &&
      (id === UNBIND_RESP || (id === GENERIC_NACK && sequence === this.unbindSequence))
    ) {
      this.enter('unbound')
      this.wakeAtEndOfTurn()
      return
    }
    const late = answer ? this.window.takeLate(sequence) : null
    if (late !== null) this.owner.late(this, late.token, id >>> 0, code, buf, start, end)
    // Never answered: a nack for a response is how nack storms begin.
    else if (answer || id === ENQUIRE_LINK_RESP || id === UNBIND_RESP) this.counts.unmatched++
    else this.counts.unknownResponses++
  }

  // Time

  /** The clock's: what has become due. */
  tick(now: number): void {
    if (this.state === 'closed') {
      if (this.socket.destroyed) this.clock.leave(this)
      else if (now - this.closedAt >= LINGER_MS) this.socket.destroy()
      return
    }
    try {
      this.expireRequests(now)
      if (this.closed) return
      const due = verdict(this, now, this.limits)
      switch (due) {
        case 'nothing':
          break
        case 'enquire':
          this.askedAt = now
          this.enquiredAt = now
          this.enquireSequence = this.window.next()
          this.header(command.enquire_link, status.ESME_ROK, this.enquireSequence)
          break
        case 'inactive':
          this.unbind('inactive')
          break
        case 'unbound':
          this.finish('unbound by peer', true)
          break
        case 'too slow to read':
          this.finish(due, false)
          break
        default:
          this.finish(due, true)
      }
    } catch (error) {
      this.fault(error)
    }
  }

  private expireRequests(now: number): void {
    const { window, limits } = this
    // Requests are stamped with the tick before them, so one tick more is what makes "never early".
    const before = now - limits.responseMs - this.clock.tickMs
    let slot = window.sentBefore(before)
    if (slot < 0) return
    while (slot >= 0 && !this.closed) {
      this.owner.expired(this, window.expire(slot, limits.lateRequests))
      slot = window.sentBefore(before)
    }
    if (!this.closed) this.offerRoom()
  }

  // The end

  private finish(reason: CloseReason, graceful: boolean): void {
    if (this.state === 'closed') return
    if (graceful) {
      // SMPP v3.4 §4.2.2: nothing follows unbind_resp.
      if (this.peerUnbind !== null) this.header(command.unbind_resp, status.ESME_ROK, this.peerUnbind)
      this.write()
    }
    this.state = 'closed'
    this.closedAt = this.clock.now()
    this.discard()
    const unanswered = this.window.drain()
    if (graceful) {
      this.socket.end()
      // What still comes is read and dropped, or the kernel would answer it with a reset that overtakes our last PDUs.
      this.socket.resume()
    } else this.socket.destroy()
    try {
      this.owner.closed(this, this.ending ?? reason, unanswered)
    } catch (error) {
      this.owner.onFault(this, error)
    }
  }

  private fault(error: unknown): void {
    if (this.state !== 'closed') {
      this.ending = 'internal fault'
      this.finish('internal fault', true)
    }
    this.owner.onFault(this, error)
  }
}
