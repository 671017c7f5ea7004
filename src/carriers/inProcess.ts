// What carriers have in common that are no network away: parts are answered together in the next turn of the event loop,
// a window of them at a time. Keeps a driver's duties but for what the answers are.

import { randomBytes } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import type { Outcome } from '../model/outcome.js'
import type { Driver, DriverEvents, DriverFigures, Part } from './driver.js'

export abstract class InProcessCarrier implements Driver {
  up = false
  protected readonly events: DriverEvents
  protected readonly clock: Clock
  private readonly peer: string
  private readonly window: number
  /** Another run's references must not be met again. */
  private readonly run = randomBytes(4).toString('hex').toUpperCase()
  private serial = 0
  private parts: Part[] = []
  private sinceMs = 0

  /** @param peer what figures call the other end */
  constructor(events: DriverEvents, clock: Clock, peer: string, window: number) {
    this.events = events
    this.clock = clock
    this.peer = peer
    this.window = window
  }

  /** What is said to a part. */
  protected abstract outcomeOf(part: Part): Outcome
  /** It was said that this part is accepted. */
  protected accepted(_part: Part, _ref: string): void {}
  /** All parts of this turn were answered. */
  protected answeredAll(): void {}
  /** What was to come later comes no more. */
  protected stopped(): void {}

  protected nextRef(): string {
    return `${this.run}${(++this.serial).toString(16).toUpperCase().padStart(8, '0')}`
  }

  room(): number {
    return this.up ? this.window - this.parts.length : 0
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
      const outcome = this.outcomeOf(part)
      this.events.answeredIn(this.clock.mono() - part.sentMs, part.message.rank)
      this.events.answered(part, outcome)
      if (outcome.kind === 'accepted') this.accepted(part, outcome.ref)
    }
    this.answeredAll()
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
    this.stopped()
    return Promise.resolve()
  }

  figures(): DriverFigures {
    const { peer, window, sinceMs } = this
    const stand = this.up ? 'ready' : 'closed'
    const link = { stand, peer, inFlight: this.parts.length, window, sinceMs, lastReason: '' } as const
    return { up: this.up, links: [link], ratePerSecond: 0, unsure: 0 }
  }
}
