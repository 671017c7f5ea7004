// The carrier of the sandbox: sends nothing to anybody, and lets each message fare as its number says. Remembers the newest
// for whoever tries things out. Keeps a driver's five duties; which number plays which part routing/sandbox says.

import { randomBytes } from 'node:crypto'
import type { Clock } from '../base/clock.js'
import { digitsOf } from '../model/digits.js'
import type { Message } from '../model/message.js'
import type { Outcome } from '../model/outcome.js'
import { type Play, type PlayedReceipt, playOf } from '../routing/sandbox.js'
import type { Driver, DriverEvents, DriverFigures, Part } from './driver.js'

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

export class SandboxCarrier implements Driver {
  up = false
  private readonly messages: SandboxedMessages
  private readonly events: DriverEvents
  private readonly clock: Clock
  /** Another run's references must not be met again. */
  private readonly run = randomBytes(4).toString('hex').toUpperCase()
  private serial = 0
  private parts: Part[] = []
  private readonly tries = new Map<number, number>()
  private readonly timers = new Set<NodeJS.Timeout>()
  private sinceMs = 0

  constructor(messages: SandboxedMessages, events: DriverEvents, clock: Clock) {
    this.messages = messages
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
      const { message } = part
      const play = playOf(digitsOf(message.destination_addr))
      if (part.index === 0) this.messages.keep(message, this.clock.now(), play.what)
      this.events.answeredIn(this.clock.mono() - part.sentMs, message.rank)
      const refusal = this.refusal(message, play)
      if (refusal !== undefined) {
        this.events.answered(part, refusal)
        continue
      }
      const ref = `${this.run}${(++this.serial).toString(16).toUpperCase().padStart(8, '0')}`
      this.events.answered(part, { kind: 'accepted', ref })
      if (part.registered_delivery & 3) for (const receipt of play.receipts) this.report(ref, receipt)
    }
    this.events.room()
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

  start(): void {
    this.up = true
    this.sinceMs = this.clock.now()
    this.events.changed()
    this.events.room()
  }

  stop(): Promise<void> {
    this.up = false
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    return Promise.resolve()
  }

  figures(): DriverFigures {
    const stand = this.up ? 'ready' : 'closed'
    const { sinceMs } = this
    const link = {
      stand,
      peer: 'sandbox',
      inFlight: this.parts.length,
      window: WINDOW,
      sinceMs,
      lastReason: '',
    } as const
    return { up: this.up, links: [link], ratePerSecond: 0, unsure: 0 }
  }
}
