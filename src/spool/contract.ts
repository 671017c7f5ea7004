// The durable queue as everyone else sees it; two engines keep this contract and
// one test suite (test/support/spool-contract.ts) checks both. Verbs act at once on
// what callers see and are durable when the promise of `synced()` resolves: all that
// was asked for since the last commit is one transaction and one sync. Nothing may
// be acknowledged to anyone before that.

import type { Clock } from '../base/clock.js'
import type { ClassRank, Message, MessageState } from '../model/message.js'
import type { Receipt, Reply } from '../model/outcome.js'
import type { Origin } from './origin.js'

/** Why new work is refused at this moment; always retryable. */
export type SpoolRefusal = 'queue_full' | 'account_full' | 'disk_full' | 'stopping'

/** A row of history: one at acceptance, one at the end; and `converted`, which is only counted. */
export interface HistoryRow {
  kind: 'accepted' | 'ended' | 'converted'
  atMs: number
  id: number
  account: number
  rank: number
  state: MessageState
  source: string
  destination: string
  route: number
  /** 0 when no carrier had it. */
  carrier: number
  segments: number
  /** At acceptance what the customer is charged, at the end what it has cost them after all. */
  priceMicros: number
  /** At the end: of the charge, what is given back. */
  backMicros: number
  /** At the end: what the carrier takes for it. */
  costMicros: number
  /**
   * At the end: what it took by our clock, from when it could first go - accepted, and its schedule reached - to when we knew.
   * null: at acceptance, and of an end that an older release wrote.
   */
  tookMs: number | null
  /** At acceptance: the charge was taken from what this node had leased of the account's credit. */
  isHeld: boolean
  /** Carrier's or our code for the failure, '' when none. */
  error: string
  clientRef: string
}

/** What a message has cost in the end, in micros. */
export interface Settlement {
  /** The customer; what was charged above it is given back. */
  readonly priceMicros: number
  /** Us. */
  readonly costMicros: number
}

/** Of the message that had its effect, as {@link Spool.converted} counts it. */
export interface Conversion {
  readonly id: number
  readonly account: number
  readonly rank: ClassRank
  /** The last that had it; 0 = none. */
  readonly carrier: number
  /** Route. */
  readonly lane: number
  readonly source_addr: string
  readonly destination_addr: string
}

/** History rows in the order in which they became durable, up to and including `position`. */
export interface LogSlice {
  position: number
  rows: HistoryRow[]
}

/** Whose rows are read; what is left out is any. */
export interface LogFilter {
  readonly id?: number | undefined
  readonly account?: number | undefined
}

/**
 * How a report leaves, and whose its queue is: `bind`, any receiver bind of an account; `hook`, a webhook endpoint, by the
 * endpoint's number; `callback`, the URL that the message itself names, by account; `mail`, by account.
 */
export const way = { bind: 0, hook: 1, callback: 2, mail: 3 } as const
export type Way = (typeof way)[keyof typeof way]

/** A queue of the outbox. */
export interface ReportQueue {
  readonly way: Way
  /** The account, or of way `hook` the endpoint. */
  readonly of: number
}

/** What waits for a customer: the receipt of a message, a reply from a phone, or something else that happened. */
export interface Report {
  /** Order within the queue. */
  readonly seq: number
  readonly way: Way
  /** Whose queue it stands in, see {@link way}; 0 = the queue of what belongs to nobody, `unclaimed`. */
  readonly account: number
  readonly kind: 'receipt' | 'reply' | 'event'
  readonly atMs: number
  readonly receipt?: ReceiptReport
  readonly reply?: Reply
  readonly event?: EventReport
}

/** Something that happened, for those who are told by webhook or mail. */
export interface EventReport {
  /** Names it for its receivers, who may be told again; '' = its place in the queue does. */
  readonly id: string
  /** Like `account.quota_warning`. */
  readonly type: string
  readonly atMs: number
  /** Its facts, as JSON of 60,000 octets at most. */
  readonly data: string
}

/** Everything a receipt of ours is written from (SMPP v3.4 appendix B and TLVs). */
export interface ReceiptReport {
  id: number
  state: MessageState
  err: string
  doneMs: number
  /** Parts of the message, and those delivered; of a receipt for one part: 1 when it was, else 0. */
  parts: number
  delivered: number
  service_type: string
  source_addr_ton: number
  source_addr_npi: number
  source_addr: string
  dest_addr_ton: number
  dest_addr_npi: number
  destination_addr: string
  /** The first 20 characters of the message, as octets of its coding. */
  text: Buffer
  data_coding: number
  registered_delivery: number
  /** TLVs to echo (user_message_reference), raw. */
  tlvs: Buffer
  more?: ReceiptMore
}

/** What few receipts have. */
export interface ReceiptMore {
  /** An intermediate notification: not the end (SMPP v3.4 §2.11). */
  notice: boolean
  /** network_error_code, network type << 16 | code; 0 = none. */
  network: number
  /** Of which part, from 1; 0 = of the whole message. */
  part: number
  /** The carrier's own TLVs, as in a {@link Receipt}. */
  vendor?: Buffer
  /** What else is known of its message, for whoever is not told over a bind. */
  message?: { clientRef: string; extras: string; segments: number; priceMicros: number; carrier: number }
}

/** How a message ended. */
export interface Ending {
  state: MessageState
  error: string
  /** When it happened, by the carrier's or our word. */
  doneMs: number
  /** network_error_code, network type << 16 | code, where the carrier gave one. */
  network?: number
  /** The carrier's own TLVs, as in a {@link Receipt}. */
  vendor?: Buffer
}

/** What a receipt from a carrier turned out to be. */
export type ReceiptMatch =
  /** Noted on its message; the message may have ended by it. */
  | 'matched'
  /** No message has that reference yet; kept until one does or ten minutes pass. */
  | 'parked'
  /** The disk's last reserve is used up: not stored, the carrier must keep it. */
  | 'full'

/**
 * One carrier's view of the lanes that name it. Serves class first (each lower class
 * keeps a share of 5 %), then accounts in turn by weight, then priority, then the
 * moment of readiness.
 */
export interface Claimer {
  /** Up to `n` messages, each in the hands of the caller until it is settled, deferred, ended or given back. Expired ones end here and are not returned. */
  claim(n: number): Message[]
  /** True when a claim would return something now or after reading from disk. */
  readonly waiting: boolean
  /** The highest class of what waits, undefined when nothing does. */
  readonly first: ClassRank | undefined
  /** Other lanes from now on. */
  serve(lanes: readonly number[]): void
  close(): void
}

/** Which messages a {@link Spool.walk} is for; what is left out is any. */
export interface QueueFilter {
  readonly account?: number
  readonly rank?: ClassRank
  readonly lanes?: ReadonlySet<number>
  readonly standing?: 'waiting' | 'sent'
}

export interface WalkSlice {
  /** Those that fit, in the order of their ids; most slices of a long queue may have none. */
  readonly messages: readonly Message[]
  /** Every id up to this one was looked at. */
  readonly after: number
  /** So many for this slice. */
  readonly looked: number
}

export interface QueueFigures {
  waiting: number
  /** Handed out by claim and not yet settled. */
  claimed: number
  /** Accepted by a carrier, receipts awaited; and parts whose text is on its way in another message. */
  sent: number
  /** Scheduled or to be retried. */
  due: number
  outbox: number
  unclaimed: number
  parked: number
  logRows: number
  /** Waiting messages that may be replaced by a later one, indexed in memory. */
  replaceable: number
  lanes: { lane: number; rank: number; waiting: number; oldestMs: number }[]
}

export interface SpoolEvents {
  /** Lanes that got something to claim. */
  ready(lane: number): void
  /** A queue of the outbox got something. */
  report(of: number, way: Way): void
  /** The log got rows. */
  logged(): void
  /** A message ended: for counters and for who waits on it. */
  ended(message: Message, ending: Ending): void
  /** A receipt whose message never turned up: dropped. */
  unmatched(carrier: number, receipt: Receipt): void
  /** So many parts that were to be joined go as they came: the others did not come in time, or there was no room to wait for them. */
  apart(parts: number): void
  /** An account has too many reports, or they are too old: `count` were dropped. History has the messages of the receipts. */
  reportsDropped(count: number): void
  /** A commit is durable: what it took from the first put to the sync, and how many records it wrote. */
  synced(ms: number, records: number): void
  /** The store failed: the process must end, nothing unacknowledged may be acknowledged. */
  failed(error: Error): void
}

export interface Spool {
  /** A random name given when the spool was made; history positions belong to it. */
  readonly identity: string
  readonly origin: Origin
  /** The last run did not close it: what was claimed then is sent again. */
  readonly crashed: boolean
  /** Messages that were {@link sending} when the last run was killed, and now wait as {@link unsure}. */
  readonly unsureAfterCrash: number
  readonly clock: Clock
  events: SpoolEvents
  /** Who is told of a message's end besides the account's binds; null = nobody. Asked once, when it ends. */
  tells: (message: Message, ending: Ending) => readonly ReportQueue[] | null
  /**
   * What it has cost; asked once, when it ends, before {@link tells}. `sent`: the message in which its text went: itself, or
   * the one that it was joined into.
   */
  settles: (message: Message, ending: Ending, sent: Message) => Settlement

  /** May this account hand in `n` more messages, one if left out? */
  refusal(account: number, maxWaiting?: number | null, n?: number): SpoolRefusal | undefined
  /** How full the queue is for this account, 0 to 1: its own part of it, or all of it, whichever is fuller. */
  fullness(account: number, maxWaiting?: number | null): number
  /** The reserve itself is nearly gone: send nothing, take nothing, not even receipts. */
  readonly exhausted: boolean
  /**
   * Stores a new message; it becomes claimable (or due) once durable. Sets its id when 0. One whose `joined` is not null
   * waits for the other parts of its text, five minutes and half of its validity at most, and then goes as it came. With
   * the last part one of them gets the whole text and goes; the others end when it does, each with a row and a report of
   * its own, and {@link find}, {@link cancel} and {@link replace} of their ids mean that one.
   */
  commit(message: Message): void
  /** Resolves when everything asked for until now is durable; rejects when it could not be made so. Shared by all callers of a turn. */
  synced(): Promise<void>
  /** Calls back, in order, when everything asked for until now is durable. Cheaper than a promise for the hot path. Never called when the store failed. */
  afterSync(then: () => void): void
  /** Number of the commit being gathered: who collects what to acknowledge asks for one `afterSync` per commit. */
  readonly gathering: number

  claimer(name: string, lanes: readonly number[], weightOf: (account: number) => number): Claimer
  /** Unsent after all: back to the head of its lane. */
  giveBack(message: Message): void
  /** A claimed message was cut into `count` parts for `carrier`. */
  cut(message: Message, carrier: number, count: number, concatRef: number): void
  /**
   * A part of a claimed message is about to go to a carrier that must not get it twice. Once that is durable it is sent,
   * and by its mark ({@link Message.unsure}) it is known, over a crash too, as one that the carrier may have: until it is
   * accepted, or was {@link unsent} after all.
   */
  sending(message: Message, part: number, carrier: number): void
  /** The carrier has said that it does not have the part, or it never left: it may be sent again. */
  unsent(message: Message, part: number): void
  /**
   * No part of it is to be sent again, and some were never answered: it waits for its validity, and ends as UNKNOWN with
   * the error `unsure`. After a crash that becomes of whatever has no other parts left.
   */
  unsure(message: Message): void
  /**
   * A part was accepted. When it was the last, the message waits for receipts as a
   * slim record or, with `awaitReceipt` false or without any `ref`, ends as ACCEPTED. A receipt that was
   * parked under `ref` is applied at once.
   */
  accepted(message: Message, part: number, carrier: number, ref: string, awaitReceipt: boolean): void
  /** Not before `dueMs`, then back into its lane; only unanswered parts are sent again. */
  defer(message: Message, dueMs: number): void
  /** Over: history row, report if asked for, record gone: one commit. */
  end(message: Message, ending: Ending): void
  /** Moves what is due into lanes and ends what is past its validity, a bounded slice at a time. True when there is more to do at once. */
  tick(): boolean

  find(id: number): Message | undefined
  findRef(carrier: number, ref: string): Message | undefined
  /** Ends a waiting message as DELETED, with all parts of it that have come; false when it is not waiting any more. */
  cancel(id: number): boolean
  /**
   * Another text, validity or schedule for a waiting message, under the same id and in the same place of its queue;
   * false when it is not waiting any more. Account, class, lane, priority and addresses stay as they are.
   */
  replace(id: number, change: (message: Message) => void): boolean
  /**
   * Waiting messages that were committed as `replaceable`, of the same account, with the addresses and service_type of
   * `message` (SMPP v3.4 §5.2.18): their ids, newest first, a hundred at most. Known after a restart too.
   */
  present(message: Message): readonly number[]
  /**
   * What of an account waits at this moment and is in no carrier's hands, a slice at a time, with turns of the event
   * loop for others between two slices. What comes in meanwhile is not in it; what ends meanwhile may be.
   */
  waitingOf(account: number): AsyncIterable<Message[]>
  /**
   * What has not ended and has an id above `after`, in the order of ids, with turns of the event loop for others between
   * two slices. What comes in meanwhile is not in it; what ends meanwhile may be.
   */
  walk(filter: QueueFilter, after: number): AsyncIterable<WalkSlice>
  /** A claim has handed it out, and nothing is known yet of what became of it. */
  inHand(message: Message): boolean
  /** What waits to be tried again is tried now; false when it does not wait for that but for its schedule, for other parts of its text, or not at all. */
  retry(id: number): boolean
  /** Another lane for a waiting message, at the end of what waits there; false when it waits no more, is in a carrier's hands, or stands there already. */
  move(id: number, lane: number): boolean
  /** Whether the receipt of a message waits for a bind of its account. Looks through all that does, a slice at a time. */
  receiptWaits(account: number, id: number): Promise<boolean>
  /** Ids for messages that belong together, in order; nobody else's stands between them. */
  takeIds(n: number): number[]
  /** The messages of a submit_multi, committed with ids of {@link takeIds} and this `multiId`, that have not ended. A slice of 100 at a time, each read after a `turn`. */
  multi(multiId: number, turn?: () => Promise<unknown>): AsyncIterable<Message[]>
  /** Other lane for all that waits in `from`, as `to` says; for routes that were deleted. A slice at a time; true when there is more. */
  rematch(from: number, to: (message: Message) => number): boolean

  receipt(carrier: number, receipt: Receipt): ReceiptMatch
  /** Stores a message from a phone for an account, 0 = unclaimed. False when the disk is full: not stored. */
  reply(of: number, reply: Reply, by?: Way): boolean
  /** Stores what happened for a queue. False when the disk is full: not stored. */
  event(queue: ReportQueue, event: EventReport): boolean

  /** The oldest reports of a queue that nobody holds; without `by` of an account's binds. */
  claimReports(of: number, n: number, by?: Way): Report[]
  /** Delivered (or dropped by decision): gone. */
  reportDone(report: Report): void
  giveBackReport(report: Report): void
  /** No report of this moment has a greater number, but those of the commit being gathered. */
  readonly newestReport: number
  /** Whose queues of a way, without one of the binds, have reports waiting. */
  reportAccounts(by?: Way): Iterable<number>

  /**
   * Keeps something small of a service's until a moment, in the same commit as what else is asked for; in place of what
   * had this key. Keys have 500 characters at most and begin with the service's name. False when the disk is full: not kept.
   */
  keep(key: string, octets: Buffer, untilMs: number): boolean
  /** What is kept under a key at this moment, durable or about to be. */
  kept(key: string): Buffer | undefined
  /**
   * The next things, of `count` at most, whose keys begin with `prefix`, are above `after` and are durable, in the order
   * of their keys: for services that must know after a restart what they had.
   */
  keptAfter(prefix: string, after: string, count: number): [key: string, octets: Buffer][]
  dropKept(key: string): void

  /**
   * What was sent has had its effect: a code was entered, a link was followed. Counted once the log is in SQL; whoever
   * calls sees to it that it is said once of a message. False when the disk is full: not counted.
   */
  converted(message: Conversion): boolean

  /** Ended messages after a log position, for those who wait on endings. */
  endings(after: number, max: number): LogSlice
  /** Undefined: there are none after `after`. Of `maxRows` and the rest of a commit, those of `of`: there may be none among them. */
  readLog(after: number, maxRows: number, of?: LogFilter): LogSlice | undefined
  /** Everything up to and including `position` stands in SQL. */
  dropLog(position: number): void

  figures(): QueueFigures
  /** No new work from now on: `refusal` answers 'stopping'. */
  stop(): void
  /** Syncs and closes. */
  close(): Promise<void>
}
