// The carrier for developers: takes every mail, delivers none and keeps the newest to be looked at. In memory alone: a
// restart forgets them. Keeps a driver's five duties; who looks at the mails it does not know.

import type { Clock } from '../base/clock.js'
import type { Driver, DriverEvents, DriverFigures, Part } from './driver.js'

export interface CaughtMail {
  readonly id: number
  readonly atMs: number
  /** MAIL FROM; '' = the null reverse-path. */
  readonly from: string
  readonly to: string
  readonly octets: Buffer
}

const MOST_MAILS = 500
const MOST_OCTETS = 50 * 2 ** 20
const WINDOW = 100

/** The newest mails, bounded in number and size. */
export class CaughtMails {
  private readonly mails = new Map<number, CaughtMail>()
  private octets = 0

  get size(): number {
    return this.mails.size
  }

  keep(mail: CaughtMail): void {
    this.remove(mail.id)
    this.mails.set(mail.id, mail)
    this.octets += mail.octets.length
    for (const oldest of this.mails.keys()) {
      if (this.mails.size <= MOST_MAILS && (this.octets <= MOST_OCTETS || this.mails.size === 1)) break
      this.remove(oldest)
    }
  }

  get(id: number): CaughtMail | undefined {
    return this.mails.get(id)
  }

  /** The newest first. */
  all(): CaughtMail[] {
    return [...this.mails.values()].reverse()
  }

  /** False: there is no such mail. */
  remove(id: number): boolean {
    const mail = this.mails.get(id)
    if (mail === undefined) return false
    this.octets -= mail.octets.length
    return this.mails.delete(id)
  }

  clear(): void {
    this.mails.clear()
    this.octets = 0
  }
}

export class CatchCarrier implements Driver {
  up = false
  private readonly mails: CaughtMails
  private readonly events: DriverEvents
  private readonly clock: Clock
  private parts: Part[] = []
  private sinceMs = 0

  constructor(mails: CaughtMails, events: DriverEvents, clock: Clock) {
    this.mails = mails
    this.events = events
    this.clock = clock
  }

  room(): number {
    return this.up ? WINDOW - this.parts.length : 0
  }

  send(part: Part): void {
    part.sentMs = this.clock.mono()
    if (this.parts.length === 0) setImmediate(() => this.answer())
    this.parts.push(part)
  }

  private answer(): void {
    const { parts } = this
    this.parts = []
    for (const part of parts) {
      const { id, source_addr, destination_addr, body, rank } = part.message
      // A copy: the message's own buffer is a view of its record.
      this.mails.keep({
        id,
        atMs: this.clock.now(),
        from: source_addr,
        to: destination_addr,
        octets: Buffer.from(body),
      })
      this.events.count('mails_caught')
      this.events.answeredIn(this.clock.mono() - part.sentMs, rank)
      this.events.answered(part, { kind: 'accepted', ref: '' })
    }
    this.events.room()
  }

  start(): void {
    this.up = true
    this.sinceMs = this.clock.now()
    this.events.changed()
    this.events.room()
  }

  stop(): Promise<void> {
    this.up = false
    return Promise.resolve()
  }

  figures(): DriverFigures {
    const stand = this.up ? 'ready' : 'closed'
    const { sinceMs } = this
    const link = {
      stand,
      peer: 'caught',
      inFlight: this.parts.length,
      window: WINDOW,
      sinceMs,
      lastReason: '',
    } as const
    return { up: this.up, links: [link], ratePerSecond: 0, unsure: 0 }
  }
}
