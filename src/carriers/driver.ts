// What a carrier is to the rest of the house. A driver's duties:
//  1 answer every send exactly once
//  2 never retry
//  3 keep nothing after the answer
//  4 report a lost link before its unanswered parts
//  5 stop within the given time
// It answers Outcomes and hands receipts and replies over; it settles nothing.

import type { ClassRank, Message } from '../model/message.js'
import type { Outcome, Receipt, Reply } from '../model/outcome.js'

/** What goes over a link in one request: a message, or one part of it. */
export interface Part {
  readonly message: Message
  readonly index: number
  readonly esm_class: number
  readonly data_coding: number
  readonly short_message: Buffer
  /** Goes as message_payload, not as short_message. */
  readonly payload: boolean
  readonly registered_delivery: number
  readonly tlvs: Buffer
  /** Monotonic ms of the send; the driver's. */
  sentMs: number
}

/** Where a link stands. It is in one of these and nowhere else; {@link linkMoves} are the legal changes. */
export type LinkStand = 'closed' | 'binding' | 'ready' | 'full' | 'resting'

export const linkMoves: Readonly<Record<LinkStand, readonly LinkStand[]>> = {
  closed: ['binding'],
  binding: ['ready', 'closed'],
  ready: ['full', 'resting', 'closed'],
  full: ['ready', 'resting', 'closed'],
  // Our own pause after throttling, not the peer's.
  resting: ['ready', 'full', 'closed'],
}

export interface LinkFigures {
  stand: LinkStand
  peer: string
  inFlight: number
  window: number
  sinceMs: number
  /** Why it closed last; '' when it never did. */
  lastReason: string
  /** Of this connection, where the driver counts: parts sent, answers that we are too fast, receipts and replies received. */
  traffic?: { submits: number; throttled: number; delivers: number }
  /** Until it is tried again; null or left out while it stands or is tried, and where nothing but an operator brings it back. */
  nextTryMs?: number | null
}

export interface DriverFigures {
  up: boolean
  links: LinkFigures[]
  /** Parts a second that pacing allows now; 0 = no limit. */
  ratePerSecond: number
  unsure: number
}

/** All calls are synchronous. Given by daemon.ts. */
export interface DriverEvents {
  answered(part: Part, outcome: Outcome): void
  /** False: it could not be stored, and the carrier must keep it. */
  receipt(receipt: Receipt): boolean
  reply(reply: Reply): boolean
  /** Number of the commit being gathered, and a call when it is durable: only then is a receipt acknowledged. */
  gathering(): number
  afterSync(then: () => void): void
  /** There is more room than at the last look, or the links changed. */
  room(): void
  /** Links came up or went down. */
  changed(): void
  /** A part was answered this long after its send. */
  answeredIn(ms: number, rank: ClassRank): void
  /** What went wrong, by name: counted. */
  count(name: string): void
  fault(error: unknown): void
}

export interface Driver {
  /** At least one link can take parts. */
  readonly up: boolean
  /** Parts it takes now. */
  room(): number
  /** Only when `up`; a message's parts may overrun `room`. */
  send(part: Part): void
  start(): void
  /** No new parts; lets open windows empty, unbinds, resolves when all is closed or `withinMs` has passed. Unanswered parts are `unsure`. A second call may be more impatient. */
  stop(withinMs: number): Promise<void>
  figures(): DriverFigures
}
