// The carrier that is always there: takes every part and reports it delivered, without
// leaving the process. For demonstrations and first steps; keeps a driver's five duties.

import type { Clock } from '../base/clock.js'
import { state } from '../model/message.js'
import type { Outcome } from '../model/outcome.js'
import type { DriverEvents, Part } from './driver.js'
import { InProcessCarrier } from './inProcess.js'

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

export class Simulator extends InProcessCarrier {
  private readonly settings: SimulatorSettings
  /** Receipts to come, in the order of their time. */
  private receipts: { dueMs: number; ref: string }[] = []
  private timer: NodeJS.Timeout | undefined

  constructor(settings: SimulatorSettings, events: DriverEvents, clock: Clock) {
    super(events, clock, 'in process', WINDOW)
    this.settings = settings
  }

  protected override outcomeOf(): Outcome {
    const { answer } = this.settings
    return answer === 'accept' ? { kind: 'accepted', ref: this.nextRef() } : refusals[answer]
  }

  protected override accepted({ registered_delivery }: Part, ref: string): void {
    if (registered_delivery & 3) this.receipts.push({ dueMs: this.clock.mono() + this.settings.receiptDelayMs, ref })
  }

  protected override answeredAll(): void {
    this.schedule()
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

  protected override stopped(): void {
    clearTimeout(this.timer)
  }
}
