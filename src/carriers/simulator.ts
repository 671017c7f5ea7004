// The carrier that is always there: takes every part and reports it delivered, without
// leaving the process. For demonstrations and first steps; keeps a driver's five duties.

import { randomBytes } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import { state } from '../model/message.js'
import type { Outcome } from '../model/outcome.js'
import type { Driver, DriverEvents, DriverFigures, Part } from './driver.js'

export interface SimulatorSettings {
  readonly receiptDelayMs: number
  readonly answer: 'accept' | 'throttle' | 'defer' | 'refuse'
}

const WINDOW = 1_000

const refusals: Readonly<Record<Exclude<SimulatorSettings['answer'], 'accept'>, Outcome>> = {
  throttle: { kind: 'throttled', code: 'simulated' },
  defer: { kind: 'deferred', code: 'simulated', reason: 'the simulator is set to defer' },
  refuse: { kind: 'refused', code: 'simulated', reason: 'the simulator is set to refuse' },
}

export class Simulator implements Driver {
  up = false
  private readonly settings: SimulatorSettings
  private readonly events: DriverEvents
  private readonly clock: Clock
  /** Another run's references must not be met again. */
  private readonly run = randomBytes(4).toString('hex').toUpperCase()
  private serial = 0
  private answers: Part[] = []
  /** Receipts to come, in the order of their time. */
  private receipts: { dueMs: number; ref: string }[] = []
  private timer: NodeJS.Timeout | undefined
  private sinceMs = 0

  constructor(settings: SimulatorSettings, events: DriverEvents, clock: Clock) {
    this.settings = settings
    this.events = events
    this.clock = clock
  }

  room(): number {
    return this.up ? WINDOW - this.answers.length : 0
  }

  send(part: Part): void {
    part.sentMs = this.clock.mono()
    if (this.answers.length === 0) setImmediate(() => this.answer())
    this.answers.push(part)
  }

  private answer(): void {
    const parts = this.answers
    this.answers = []
    for (const part of parts) {
      this.events.answeredIn(this.clock.mono() - part.sentMs, part.message.rank)
      if (this.settings.answer !== 'accept') {
        this.events.answered(part, refusals[this.settings.answer])
        continue
      }
      const ref = `${this.run}${(++this.serial).toString(16).toUpperCase().padStart(8, '0')}`
      this.events.answered(part, { kind: 'accepted', ref })
      if (part.registered_delivery & 3) {
        this.receipts.push({ dueMs: this.clock.mono() + this.settings.receiptDelayMs, ref })
      }
    }
    this.schedule()
    this.events.room()
  }

  private schedule(): void {
    if (this.timer !== undefined || this.receipts.length === 0) return
    const waitMs = Math.max(0, (this.receipts[0] as { dueMs: number }).dueMs - this.clock.mono())
    this.timer = setTimeout(() => this.report(), waitMs)
  }

  private report(): void {
    this.timer = undefined
    const now = this.clock.mono()
    let n = 0
    for (const { dueMs, ref } of this.receipts) {
      if (dueMs > now) break
      n++
      this.events.receipt({ ref, state: state.DELIVERED, err: '000', doneMs: this.clock.now() })
    }
    this.receipts = this.receipts.slice(n)
    this.schedule()
  }

  start(): void {
    this.up = true
    this.sinceMs = this.clock.now()
    this.events.changed()
    this.events.room()
  }

  stop(): Promise<void> {
    this.up = false
    clearTimeout(this.timer)
    return Promise.resolve()
  }

  figures(): DriverFigures {
    const stand = this.up ? 'ready' : 'closed'
    const link = {
      stand,
      peer: 'in process',
      inFlight: this.answers.length,
      window: WINDOW,
      sinceMs: this.sinceMs,
      lastReason: '',
    } as const
    return { up: this.up, links: [link], ratePerSecond: 0, unsure: 0 }
  }
}
