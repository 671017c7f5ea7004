// One SMPP session over one connection, from either side: states, binding and unbinding, the window, timers. Knows headers
// only: bodies, credentials and what a message is are the owner's. Never reads a clock but the SessionClock, never logs,
// never throws at the socket's doing; every session ends once, with one reason.
import type { Duplex } from 'node:stream'
import { command, responseTo } from './commands.js'
import { Connection } from './connection.js'
import type { PduCounts } from './counts.js'
import { int32 } from './framer.js'
import type { SessionClock, Ticking } from './session-clock.js'
import type { CloseReason, SessionLimits, SessionOwner } from './session-owner.js'
import {
  answersRequest,
  boundState,
  type Cell,
  type Cells,
  cells,
  isBind,
  REQUEST_IDS,
  refusals,
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

export class Session<T> extends Connection implements Ticking, TimerState {
  state: SessionState = 'open'
  /** Requests of the peer that the owner has not answered. unbind_resp waits for it to become 0. */
  owed = 0
  readonly side: Side
  readonly window = new Window<T>()
  readonly openedAt: number
  transactedAt: number
  enquiredAt: number
  unboundAt = -1

  private readonly owner: SessionOwner<T>
  private cells: Cells
  private starved = false
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
    super(socket, limits, clock, counts)
    this.side = side
    this.owner = owner
    this.cells = cells[side].open
    this.openedAt = this.heardAt
    this.enquiredAt = this.openedAt
    this.transactedAt = this.openedAt
    // Answers still go out after the peer has finished sending: `end` is ours to call.
    socket.allowHalfOpen = true
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

  get bound(): boolean {
    return this.state === 'bound_trx' || this.state === 'bound_tx' || this.state === 'bound_rx'
  }

  protected override get closed(): boolean {
    return this.state === 'closed'
  }

  get inFlight(): number {
    return this.window.count
  }

  // Sending

  protected override settled(): void {
    this.owed--
    if (this.state === 'open') this.binding = false
  }

  protected override endOfTurn(): void {
    if (this.state === 'closed') return
    if (this.state === 'unbound' && this.owed <= 0) {
      this.finish('unbound by peer', true)
      return
    }
    super.endOfTurn()
  }

  protected override written(): void {
    if (this.state === 'closed') return
    super.written()
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

  /** How many more requests may be sent now, by number and by octets ({@link Window.room}); 0 when not bound or unbinding. */
  room(): number {
    const { limits } = this
    const mayAsk = this.bound && this.unboundAt < 0 && this.stalledAt < 0 && this.unsent < limits.sendBytes
    const room = mayAsk ? this.window.room(limits.windowRequests, limits.windowBytes) : 0
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

  // Receiving

  protected override endOfChunk(): void {
    this.owner.turn(this)
    this.offerRoom()
  }

  private offerRoom(): void {
    if (this.starved && this.room() > 0) this.owner.room(this)
  }

  /** The framer's: a command_length that cannot be. Where the next PDU begins nobody knows. */
  override broken(sequence: number): void {
    this.header(command.generic_nack, status.ESME_RINVCMDLEN, sequence)
    this.finish('bad frame', true)
  }

  protected override onRequest(id: number, sequence: number, buf: Buffer, start: number, end: number): void {
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
      default: {
        const { isNack, code } = refusals[cell]
        this.header(isNack ? command.generic_nack : responseTo(id), code, sequence)
      }
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

  protected override onResponse(
    id: number,
    code: number,
    sequence: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
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

  protected override fault(error: unknown): void {
    if (this.state !== 'closed') {
      this.ending = 'internal fault'
      this.finish('internal fault', true)
    }
    this.owner.onFault(this, error)
  }
}
