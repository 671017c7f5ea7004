// The sending half of a connection: PDUs are encoded straight into a pooled buffer, and all of one turn of the event loop
// leave in one write, by one setImmediate for all connections. Knows octets and sockets; what is in them is the session's.
import type { Duplex } from 'node:stream'
import { EMPTY } from './octets.js'

/** What a slow session takes for its few octets; a busy one changes to LARGE within the turn. Idle ones hold none. */
const SMALL = 4096
const LARGE = 65_536
const KEPT_SMALL = 1024
const KEPT_LARGE = 128

const small: Buffer[] = []
const large: Buffer[] = []

function takeBuffer(bytes: number): Buffer {
  if (bytes <= SMALL) return small.pop() ?? Buffer.allocUnsafeSlow(SMALL)
  if (bytes <= LARGE) return large.pop() ?? Buffer.allocUnsafeSlow(LARGE)
  return Buffer.allocUnsafeSlow(bytes)
}

function giveBuffer(buffer: Buffer): void {
  if (buffer.length === SMALL) {
    if (small.length < KEPT_SMALL) small.push(buffer)
  } else if (buffer.length === LARGE && large.length < KEPT_LARGE) large.push(buffer)
}

let dirty: Outgoing[] = []

function flushAll(): void {
  const now = dirty
  dirty = []
  for (const one of now) one.flush()
}

export abstract class Outgoing {
  /** Where to encode in the buffer that `reserve` returned. */
  offset = 0
  protected out: Buffer = EMPTY
  protected readonly socket: Duplex
  private dirty = false
  /** Buffers given to the socket, in order; it calls `confirmed` once for each. */
  private readonly writing: Buffer[] = []
  private readonly confirmed: (error?: Error | null) => void

  constructor(socket: Duplex) {
    this.socket = socket
    this.confirmed = error => {
      const buffer = this.writing.shift()
      // A buffer whose write failed may still be in the kernel's hands: it is left to the collector.
      if (error) return
      if (buffer !== undefined) giveBuffer(buffer)
      this.written()
    }
  }

  /** Octets encoded that the socket has not sent. */
  get unsent(): number {
    return this.offset + this.socket.writableLength
  }

  /**
   * At least `bytes` free octets from `offset` on in the buffer returned, valid until the next call of any method. On a closed
   * session what is encoded there goes nowhere.
   */
  reserve(bytes: number): Buffer {
    return this.out.length - this.offset >= bytes ? this.out : this.enlarge(bytes)
  }

  private enlarge(bytes: number): Buffer {
    const full = this.out
    const used = this.offset
    if (used > 0 && used + bytes <= LARGE && full.length < LARGE) {
      this.out = takeBuffer(LARGE)
      full.copy(this.out, 0, 0, used)
      giveBuffer(full)
      return this.out
    }
    if (used > 0) this.write()
    else giveBuffer(full)
    this.out = takeBuffer(used > 0 ? Math.max(bytes, LARGE) : bytes)
    return this.out
  }

  /** The octets up to `end` are ready to go, at the end of this turn. */
  protected advance(end: number): void {
    this.offset = end
    this.wakeAtEndOfTurn()
  }

  protected wakeAtEndOfTurn(): void {
    if (this.dirty) return
    this.dirty = true
    if (dirty.length === 0) setImmediate(flushAll)
    dirty.push(this)
  }

  flush(): void {
    this.dirty = false
    this.endOfTurn()
  }

  /** Gives what is encoded to the socket now. */
  protected write(): void {
    if (this.offset === 0) return
    const buffer = this.out
    const bytes = this.offset
    this.out = EMPTY
    this.offset = 0
    this.writing.push(buffer)
    this.socket.write(bytes === buffer.length ? buffer : buffer.subarray(0, bytes), this.confirmed)
  }

  /** Forgets what is encoded. */
  protected discard(): void {
    giveBuffer(this.out)
    this.out = EMPTY
    this.offset = 0
  }

  /** Something was encoded in this turn, or `wakeAtEndOfTurn` called. */
  protected abstract endOfTurn(): void
  /** A buffer is on its way. */
  protected abstract written(): void
}
