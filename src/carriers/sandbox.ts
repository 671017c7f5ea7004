// The carrier of the sandbox: sends nothing to anybody, and lets each message fare as its number says. Remembers the newest
// for whoever tries things out. Keeps a driver's five duties; which number plays which part routing/sandbox says.

import type { Clock } from '../base/clock.js'
import { digitsOf } from '../model/digits.js'
import type { Message } from '../model/message.js'
import type { Outcome } from '../model/outcome.js'
import { type Play, type PlayedReceipt, playOf } from '../routing/sandbox.js'
import type { DriverEvents, Part } from './driver.js'
import { InProcessCarrier } from './inProcess.js'

const WINDOW = 1_000
/** What is remembered, of all accounts. */
const MOST_MESSAGES = 1_000
const MOST_TEXT = 4_096
const THROTTLED = 2
/** Messages that were told to wait, remembered until they are accepted. */
const MOST_THROTTLED = 10_000

export interface SandboxedMessage {
  readonly id: number
  readonly account: number
  readonly atMs: number
  readonly from: string
  readonly to: string
  /** Octets, and how they are to be read. */
  readonly body: Buffer
  readonly isText: boolean
  readonly data_coding: number
  readonly esm_class: number
  readonly what: string
}

/** The newest messages that the sandbox got, in memory alone. */
export class SandboxedMessages {
  private readonly messages = new Map<number, SandboxedMessage>()

  keep(m: Message, atMs: number, what: string): void {
    const { id, account, source_addr: from, destination_addr: to, isText, data_coding, esm_class } = m
    // A copy: the message's own buffer is a view of its record.
    const body = Buffer.from(m.body.subarray(0, MOST_TEXT))
    this.messages.delete(id)
    this.messages.set(id, { id, account, atMs, from, to, body, isText, data_coding, esm_class, what })
    for (const oldest of this.messages.keys()) {
      if (this.messages.size <= MOST_MESSAGES) break
      this.messages.delete(oldest)
    }
  }

  /** The newest first. */
  of(account: number, most: number): SandboxedMessage[] {
    const found: SandboxedMessage[] = []
    for (const one of this.messages.values()) if (one.account === account) found.push(one)
    return found.slice(-most).reverse()
  }
}

const refused: Outcome = { kind: 'refused', code: 'ESME_RINVDSTADR', reason: 'a number of the sandbox that is refused' }
const throttled: Outcome = { kind: 'throttled', code: 'ESME_RTHROTTLED' }
const deferred: Outcome = {
  kind: 'deferred',
  code: 'ESME_RSYSERR',
  reason: 'a number of the sandbox that fails at first',
}

export class SandboxCarrier extends InProcessCarrier {
  private readonly messages: SandboxedMessages
  private readonly tries = new Map<number, number>()
  private readonly timers = new Set<NodeJS.Timeout>()

  constructor(messages: SandboxedMessages, events: DriverEvents, clock: Clock) {
    super(events, clock, 'sandbox', WINDOW)
    this.messages = messages
  }

  protected override outcomeOf({ message, index }: Part): Outcome {
    const play = playOf(digitsOf(message.destination_addr))
    if (index === 0) this.messages.keep(message, this.clock.now(), play.what)
    return this.refusal(message, play) ?? { kind: 'accepted', ref: this.nextRef() }
  }

  protected override accepted({ message, registered_delivery }: Part, ref: string): void {
    if ((registered_delivery & 3) === 0) return
    for (const receipt of playOf(digitsOf(message.destination_addr)).receipts) this.report(ref, receipt)
  }

  private refusal(m: Message, { answer }: Play): Outcome | undefined {
    if (answer === 'refuse') return refused
    if (answer === 'defer' && m.attempts === 0) return deferred
    if (answer !== 'throttle') return undefined
    const tries = this.tries.get(m.id) ?? 0
    if (tries >= THROTTLED || this.tries.size >= MOST_THROTTLED) {
      this.tries.delete(m.id)
      return undefined
    }
    this.tries.set(m.id, tries + 1)
    return throttled
  }

  private report(ref: string, { state, err, afterMs }: PlayedReceipt): void {
    const tell = (): void => void this.events.receipt({ ref, state, err, doneMs: this.clock.now() })
    if (afterMs === 0) {
      setImmediate(tell)
      return
    }
    const timer = setTimeout(() => {
      this.timers.delete(timer)
      tell()
    }, afterMs)
    this.timers.add(timer)
  }

  protected override stopped(): void {
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
  }
}
