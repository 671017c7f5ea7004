// Cuts a byte stream into PDUs by their command_length (SMPP v3.4 §3.2), without copying those that lie whole in a chunk.
// Knows lengths only. Of a PDU that spans chunks it keeps the octets that have come, and no more: a peer that announces
// 70,000 octets and sends four costs 512. Refuses a hostile length as soon as its four octets are there.

import { HEADER } from './sm.js'

/** Who gets the PDUs. */
export interface FrameSink {
  /** `buf[start, end)` is one whole PDU, valid during the call. False ends the stream: nothing is framed after it. */
  frame(buf: Buffer, start: number, end: number): boolean
  /** The stream is out of step for good. `sequence` is the offender's, or 0 where that has not come. Called once. */
  broken(sequence: number): void
}

/** The 32 bits at `at`, signed: V8 keeps them in a register, and bit 31, which marks a response, is the sign. */
export function int32(buf: Buffer, at: number): number {
  return (
    ((buf[at] as number) << 24) |
    ((buf[at + 1] as number) << 16) |
    ((buf[at + 2] as number) << 8) |
    (buf[at + 3] as number)
  )
}

const FIRST_BYTES = 512
const none = Buffer.alloc(0)

export class Framer {
  /** Octets of the unfinished PDU. */
  held = 0
  private partial: Buffer = none
  private ended = false
  private readonly maxPduBytes: number

  constructor(maxPduBytes: number) {
    this.maxPduBytes = maxPduBytes
  }

  push(chunk: Buffer, sink: FrameSink): void {
    let at = this.held === 0 ? 0 : this.complete(chunk, sink)
    const end = chunk.length
    while (!this.ended && end - at >= 4) {
      const length = int32(chunk, at)
      if (length < HEADER || length > this.maxPduBytes) {
        this.fail(sink, end - at >= HEADER ? int32(chunk, at + 12) >>> 0 : 0)
        return
      }
      if (length > end - at) break
      if (!sink.frame(chunk, at, at + length)) this.ended = true
      at += length
    }
    if (!this.ended && at < end) this.keep(chunk, at, end - at)
  }

  /** Goes on with the PDU begun in an earlier chunk; returns how much of this one it took. */
  private complete(chunk: Buffer, sink: FrameSink): number {
    let at = this.held < HEADER ? this.keep(chunk, 0, HEADER - this.held) : 0
    if (this.held < 4) return at
    const length = int32(this.partial, 0)
    if (length < HEADER || length > this.maxPduBytes) {
      this.fail(sink, this.held >= HEADER ? int32(this.partial, 12) >>> 0 : 0)
      return at
    }
    if (this.held < HEADER) return at
    at += this.keep(chunk, at, length - this.held)
    if (this.held < length) return at
    const whole = this.partial
    this.held = 0
    // Owners keep views of what they are shown: the buffer is theirs now.
    this.partial = none
    if (!sink.frame(whole, 0, length)) this.ended = true
    return at
  }

  /** Takes up to `wanted` octets from `at` on; returns how many there were. */
  private keep(chunk: Buffer, at: number, wanted: number): number {
    const bytes = Math.min(wanted, chunk.length - at)
    const needed = this.held + bytes
    if (needed > this.partial.length) {
      const grown = Buffer.allocUnsafeSlow(
        Math.max(needed, FIRST_BYTES, Math.min(2 * this.partial.length, this.maxPduBytes)),
      )
      this.partial.copy(grown, 0, 0, this.held)
      this.partial = grown
    }
    chunk.copy(this.partial, this.held, at, at + bytes)
    this.held = needed
    return bytes
  }

  private fail(sink: FrameSink, sequence: number): void {
    this.ended = true
    this.held = 0
    this.partial = none
    sink.broken(sequence)
  }
}
