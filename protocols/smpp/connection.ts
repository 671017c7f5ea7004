// One connection that carries PDUs, whoever may send which: what comes is cut into them, what goes is whole PDUs or a header
// alone, and each is counted, and shown to whoever traces. Stops reading while its owner pauses, or its peer does not read:
// then TCP holds the peer back. Knows headers, and when the peer was last heard; states, the window of requests, timers and
// the end are session.ts's.
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { endpoint } from '../net/address.js'
import type { PduCounts } from './counts.js'
import { Framer, type FrameSink, int32 } from './framer.js'
import { Outgoing } from './outgoing.js'
import type { SessionClock } from './session-clock.js'
import type { SessionLimits } from './session-owner.js'
import { HEADER, writeHeader } from './sm.js'

export abstract class Connection extends Outgoing implements FrameSink {
  /** The peer's address and port; behind a proxy the listener writes the real one here. */
  peer = ''
  /** May be replaced while the session lives; only maxPduBytes is fixed by the constructor. */
  limits: SessionLimits
  /** Sees every whole PDU, both ways, when it is set. */
  trace: ((direction: 'received' | 'sent', buf: Buffer, start: number, end: number) => void) | null = null
  heardAt: number
  askedAt = -1
  stalledAt = -1

  protected readonly clock: SessionClock
  protected readonly counts: PduCounts
  private readonly framer: Framer
  private paused = false

  /** Takes over a connected socket (plain or TLS) and what comes from it. */
  constructor(socket: Duplex, limits: SessionLimits, clock: SessionClock, counts: PduCounts) {
    super(socket)
    this.limits = limits
    this.clock = clock
    this.counts = counts
    this.framer = new Framer(limits.maxPduBytes)
    this.heardAt = clock.now()
    if (socket instanceof Socket) {
      socket.setNoDelay(true)
      this.peer = `${socket.remoteAddress ?? ''}:${socket.remotePort ?? ''}`
    }
    socket.on('data', (chunk: Buffer) => this.onData(chunk))
  }

  /** Our own address and port; '' without a connection. */
  get local(): string {
    const { socket } = this
    return socket instanceof Socket && socket.localAddress !== undefined
      ? endpoint(socket.localAddress, socket.localPort ?? 0)
      : ''
  }

  /** False while the owner has paused or the peer has stalled. */
  get reading(): boolean {
    return !this.paused && this.stalledAt < 0
  }

  /** Octets in memory for this session: half a PDU that came, and what has not gone out. */
  get heldBytes(): number {
    return this.framer.held + this.unsent
  }

  /** Nothing goes out any more, and what comes is dropped. */
  protected abstract get closed(): boolean
  /** The PDU in `buf[start, end)` has bit 31 of its id set: it answers something. `code` is its command_status, unsigned. */
  protected abstract onResponse(
    id: number,
    code: number,
    sequence: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void
  protected abstract onRequest(id: number, sequence: number, buf: Buffer, start: number, end: number): void
  /** All PDUs of one chunk have been handled. */
  protected abstract endOfChunk(): void
  abstract broken(sequence: number): void
  /** The owner has answered a request of the peer. */
  protected abstract settled(): void
  /** What an owner, or a trace, threw. */
  protected abstract fault(error: unknown): void

  // Sending

  /** The octets from `offset` to `end` are whole PDUs, requests or answers: they go out at the end of this turn. */
  commit(end: number): void {
    if (this.closed) return
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
    if (this.closed) return
    this.settled()
    this.header(command, status, sequence)
  }

  /** A header alone, in nobody's name but the session's. */
  protected header(id: number, code: number, sequence: number): void {
    const buf = this.reserve(HEADER)
    this.counts.sent(id | 0, code)
    const end = writeHeader(buf, this.offset, HEADER, id, code, sequence)
    if (this.trace !== null) this.trace('sent', buf, this.offset, end)
    this.advance(end)
  }

  /** A whole PDU. */
  protected append(pdu: Buffer): void {
    const buf = this.reserve(pdu.length)
    pdu.copy(buf, this.offset)
    this.commit(this.offset + pdu.length)
  }

  protected override endOfTurn(): void {
    this.write()
    if (this.stalledAt < 0 && this.socket.writableLength > this.limits.sendBytes) {
      this.stalledAt = this.clock.now()
      this.socket.pause()
    }
  }

  protected override written(): void {
    if (this.stalledAt >= 0 && this.unsent <= this.limits.sendBytes / 2) {
      this.stalledAt = -1
      this.readAgain()
    }
  }

  // Receiving

  /**
   * Stops reading: TCP holds the peer back. What the current chunk holds (64 KiB at most) still comes. Nothing is noticed
   * meanwhile, neither an enquire_link nor the end of the connection, so resume within the peer's patience; our own timers
   * take the silence for ours.
   */
  pause(): void {
    if (this.closed) return
    this.paused = true
    this.socket.pause()
  }

  resume(): void {
    if (!this.paused || this.closed) return
    this.paused = false
    this.readAgain()
  }

  private readAgain(): void {
    if (!this.reading) return
    this.heardAt = this.clock.now()
    if (this.askedAt >= 0) this.askedAt = this.heardAt
    this.socket.resume()
  }

  private onData(chunk: Buffer): void {
    if (this.closed) return
    try {
      this.framer.push(chunk, this)
      if (!this.closed) this.endOfChunk()
    } catch (error) {
      this.fault(error)
    }
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
    return !this.closed
  }
}
