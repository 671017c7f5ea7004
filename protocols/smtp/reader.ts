// The octets of an SMTP client as command lines and mail content, in place of smtp-server's own parser: only CRLF ends a
// line, only CRLF.CRLF ends a mail, nothing is held beyond the limits, and no stream stands between. Knows neither
// commands nor replies. RFC 5321 §2.3.8, §4.1.1.4, §4.5.2.

import { SMTPStream } from 'smtp-server/lib/smtp-stream.js'

/** Takes the content of one mail, dots unstuffed, CRLF at the end of each line. */
export interface Content {
  /** Octets of the reader's own: copy what you keep. */
  write(octets: Buffer): void
}

/** What was wrong with a command line: then the line is empty. */
export type LineFault = 'too long' | 'bare LF' | 'not SMTP'

/** What was wrong with a mail's content. */
export interface ContentEnd {
  /** Octets that came, line ends and stuffed dots included. */
  readonly octets: number
  readonly bareLf: boolean
  readonly bareCr: boolean
  /** More than the size allowed: what came beyond was dropped. */
  readonly oversized: boolean
}

type Done = (error?: Error | null) => void

const LF = 0x0a
const CR = 0x0d
const DOT = 0x2e
/** How a TLS ClientHello begins. */
const TLS_HANDSHAKE = 0x16
const NONE = Buffer.alloc(0)
/** Lines in a row before others have their turn. */
const TURN = 100

export class SmtpReader extends SMTPStream {
  /** One line without its CRLF. `next` asks for the next one, or for the content if `startContent` was called. */
  onLine: (line: Buffer, next: () => void, fault?: LineFault) => void = () => {}
  private readonly maxLine: number
  /** Content so far, of the mail being received; 0 outside. */
  received = 0
  private held: Buffer = NONE
  private chunk: Buffer = NONE
  private at = 0
  private done: Done | null = null
  private isBusy = false
  private isAsked = true
  private lines = 0
  private isFresh = true
  /** The rest of a line that was too long is on its way. */
  private isSkipping = false

  private content: Content | null = null
  private ended: (end: ContentEnd) => void = () => {}
  private maxOctets = 0
  private isLineStart = false
  private bareLf = false
  private bareCr = false

  /** `maxLine`: octets that a line may have, its CRLF included. */
  constructor(maxLine: number) {
    super()
    this.maxLine = maxLine
  }

  get inContent(): boolean {
    return this.content !== null
  }

  /** From here to CRLF.CRLF it is content; then `ended`, and nothing more is read until its reply asks by `next`. */
  startContent(content: Content, maxOctets: number, ended: (end: ContentEnd) => void): void {
    this.content = content
    this.ended = ended
    this.maxOctets = maxOctets
    this.received = 0
    this.isLineStart = true
    this.bareLf = false
    this.bareCr = false
  }

  /** Ready for the next line. */
  readonly next = (): void => {
    this.isAsked = true
    this.run()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding | 'buffer', done: Done): void {
    this.chunk = this.held.length === 0 ? chunk : Buffer.concat([this.held, chunk])
    this.held = NONE
    this.at = 0
    this.done = done
    if (this.isFresh) {
      this.isFresh = false
      if (chunk[0] === TLS_HANDSHAKE) this.onLine(NONE, this.next, 'not SMTP')
    }
    this.run()
  }

  override _flushData(): void {
    // A line without its end is no command.
  }

  private run(): void {
    if (this.isBusy || this.done === null) return
    this.isBusy = true
    try {
      while (!this.isClosed) {
        if (this.content !== null) {
          if (!this.readContent(this.content)) break
        } else {
          if (!this.isAsked) return
          if (++this.lines > TURN) {
            this.lines = 0
            setImmediate(() => this.run())
            return
          }
          if (!this.readLine()) break
        }
      }
    } finally {
      this.isBusy = false
    }
    this.lines = 0
    const { done } = this
    this.done = null
    this.chunk = NONE
    done?.()
  }

  /** False: the line is not whole yet. */
  private readLine(): boolean {
    const { chunk, at } = this
    const end = chunk.indexOf(LF, at)
    if (end < 0) {
      const rest = chunk.length - at
      if (this.isSkipping || rest > this.maxLine) this.isSkipping = true
      // A copy: the socket's buffer is much larger.
      else if (rest > 0) this.held = Buffer.from(chunk.subarray(at))
      return false
    }
    this.at = end + 1
    this.isAsked = false
    if (this.isSkipping || end + 1 - at > this.maxLine) {
      this.isSkipping = false
      this.onLine(NONE, this.next, 'too long')
    } else if (end === at || chunk[end - 1] !== CR) this.onLine(NONE, this.next, 'bare LF')
    else this.onLine(chunk.subarray(at, end - 1), this.next)
    return true
  }

  /** False: the mail is not whole yet. */
  private readContent(content: Content): boolean {
    const { chunk } = this
    const { length } = chunk
    let { at } = this
    let from = at
    // Looked for once each: a chunk without them must not be searched line by line.
    let cr = -1
    for (;;) {
      if (this.isLineStart && at < length && chunk[at] === DOT) {
        const isMaybeEnd = at + 1 === length || chunk[at + 1] === CR
        if (isMaybeEnd && at + 2 >= length) {
          this.give(content, from, at)
          this.held = Buffer.from(chunk.subarray(at))
          return false
        }
        this.give(content, from, at)
        if (isMaybeEnd && chunk[at + 2] === LF) {
          this.endContent(at + 3)
          return true
        }
        // A stuffed dot, or one of a client that does not stuff: RFC 5321 §4.5.2 drops either.
        this.received++
        from = ++at
      }
      if (at >= length) {
        this.give(content, from, length)
        return false
      }
      this.isLineStart = false
      const lf = chunk.indexOf(LF, at)
      if (cr < at) cr = chunk.indexOf(CR, at)
      if (cr < 0) cr = length
      if (lf < 0) {
        const isLastCr = chunk[length - 1] === CR
        if (cr < length - 1) this.bareCr = true
        this.give(content, from, isLastCr ? length - 1 : length)
        if (isLastCr) this.held = Buffer.from(chunk.subarray(length - 1))
        return false
      }
      if (cr < lf - 1) this.bareCr = true
      if (lf > at && chunk[lf - 1] === CR) this.isLineStart = true
      else this.bareLf = true
      at = lf + 1
    }
  }

  private give(content: Content, from: number, to: number): void {
    if (to <= from) return
    const before = this.received
    this.received += to - from
    if (this.received <= this.maxOctets) content.write(this.chunk.subarray(from, to))
    else if (before < this.maxOctets) content.write(this.chunk.subarray(from, from + this.maxOctets - before))
  }

  private endContent(at: number): void {
    const { received, maxOctets, bareLf, bareCr, ended } = this
    this.at = at
    this.content = null
    this.received = 0
    this.isAsked = false
    ended({ octets: received, bareLf, bareCr, oversized: received > maxOctets })
  }
}
