// The carrier for developers: takes every mail, delivers none and keeps the newest to be looked at. In memory alone: a
// restart forgets them. Keeps a driver's five duties; who looks at the mails it does not know.

import type { Clock } from '../base/clock.js'
import type { Outcome } from '../model/outcome.js'
import type { DriverEvents, Part } from './driver.js'
import { InProcessCarrier } from './inProcess.js'

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

export class CatchCarrier extends InProcessCarrier {
  private readonly mails: CaughtMails

  constructor(mails: CaughtMails, events: DriverEvents, clock: Clock) {
    super(events, clock, 'caught', WINDOW)
    this.mails = mails
  }

  protected override outcomeOf({ message }: Part): Outcome {
    const { id, source_addr: from, destination_addr: to, body } = message
    // A copy: the message's own buffer is a view of its record.
    this.mails.keep({ id, atMs: this.clock.now(), from, to, octets: Buffer.from(body) })
    this.events.count('mails_caught')
    return { kind: 'accepted', ref: '' }
  }
}
