// May this account write to this phone? What the phone has said, and the lists it is in, weighed by the class of the
// message: one table, asked by submit(). And what is said is noted here, so that it holds at once. Knows accounts and
// numbers; what a word means is optWords', and who was meant is returns'.

import { join } from 'node:path'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { type Fault, fault } from '../model/fault.js'
import type { ClassRank } from '../model/message.js'
import type { Store } from '../store/postgres.js'
import type { Account } from './account.js'
import { ConsentCopy, type ConsentEvent } from './consentCopy.js'
import { ConsentFollower } from './consentFollower.js'
import { ConsentRows } from './consentRows.js'
import { Dnd } from './dnd.js'
import { phoneKey } from './phoneKey.js'

const stopped = fault('destination_stopped', 'the recipient has asked not to be written to', false)
const listed = fault('destination_dnd', 'the recipient is on a do-not-disturb list', false)

/** What holds a message back, by the rank of its class: otp, transactional, bulk. `asked`: where the account wants it so. */
const heeds: readonly { readonly stop: boolean | 'asked'; readonly dnd: boolean }[] = [
  { stop: 'asked', dnd: false },
  { stop: true, dnd: false },
  { stop: true, dnd: true },
]

export interface ConsentOptions {
  /** Folder of what is kept here; this process's alone. */
  readonly dataDir: string
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  readonly counters: Counters
  /** The newest moment that a message was taken at, as its id has it: ids may run ahead of the clock. */
  newestMs(): number
  /** What was noted could not be made durable: nothing of it may be acknowledged. */
  failed(error: Error): void
}

/** What submit() asks. */
export interface ConsentCheck {
  /** Why the account may not write to `digits`; undefined: it may. */
  refusal(account: Account, rank: ClassRank, digits: string): Fault | undefined
}

export class Consent implements ConsentCheck {
  readonly copy: ConsentCopy
  readonly dnd: Dnd
  readonly rows: ConsentRows
  private readonly follower: ConsentFollower
  private readonly counters: Counters
  private readonly newestMs: () => number
  /** No message was taken later than this before somebody stopped, or was put on a list, as far as this node knows. */
  private changedMs = Number.POSITIVE_INFINITY

  constructor(options: ConsentOptions) {
    const { dataDir, store, counters } = options
    this.copy = new ConsentCopy(join(dataDir, 'consent'), options.failed)
    this.dnd = new Dnd(join(dataDir, 'dnd'))
    this.rows = new ConsentRows(store)
    this.counters = counters
    this.newestMs = options.newestMs
    const changed = (): void => this.changed()
    this.follower = new ConsentFollower({ ...options, copy: this.copy, dnd: this.dnd, rows: this.rows, changed })
  }

  refusal(account: Account, rank: ClassRank, digits: string): Fault | undefined {
    const fault = this.judge(account, rank, digits)
    if (fault !== undefined) this.counters.add(fault === stopped ? 'refused_stopped' : 'refused_dnd')
    return fault
  }

  /** Whether there may be a new answer about a message that was taken at `atMs` and has waited since. */
  hasChangedSince(atMs: number): boolean {
    return atMs <= this.changedMs
  }

  /** {@link refusal} of a message that was taken and has waited: with a fault it ends. */
  held(account: Account, rank: ClassRank, digits: string): Fault | undefined {
    const fault = this.judge(account, rank, digits)
    if (fault !== undefined) this.counters.add(fault === stopped ? 'stopped_while_waiting' : 'dnd_while_waiting')
    return fault
  }

  /** {@link refusal} for somebody who only wants to know: nothing is counted. */
  judge({ id, consent }: Account, rank: ClassRank, digits: string): Fault | undefined {
    const heeded = heeds[rank] as (typeof heeds)[number]
    const stops = this.copy.concerns(id) && (heeded.stop === true || consent.stopsOtp)
    const lists = heeded.dnd && this.dnd.concerns(id)
    if (!stops && !lists) return undefined
    const phone = phoneKey(digits)
    if (stops && this.copy.isStopped(id, phone)) return stopped
    return lists && this.dnd.has(id, phone) ? listed : undefined
  }

  /** What SQL has was loaded once: who is stopped is known. */
  get ready(): boolean {
    return this.copy.state?.complete === true
  }

  /** Whether a phone is stopped for an account, 0 = for everybody. */
  isStopped(account: number, digits: string): boolean {
    return this.copy.isStopped(account, phoneKey(digits))
  }

  /** Holds at once; durable when {@link afterWritten} says so; in SQL when that is there. */
  note(event: ConsentEvent): void {
    this.copy.note(event)
    if (event.kind === 'stop') this.changed()
    this.counters.add(`consent_${event.kind}_${event.source}`)
    this.follower.wake()
  }

  /** See {@link ConsentCopy.afterWritten}. */
  afterWritten(then: () => void): void {
    this.copy.afterWritten(then)
  }

  private changed(): void {
    this.changedMs = this.newestMs()
  }

  /** Begins to follow SQL. Look-ups work before that. */
  start(): void {
    this.changed()
    this.follower.start()
  }

  /** Resolves when SQL has what was noted here, and everything in SQL until now is heeded here; rejects when SQL is away. */
  refresh(): Promise<void> {
    return this.follower.refresh()
  }

  async close(): Promise<void> {
    await this.follower.close()
    await this.copy.close()
    await this.dnd.close()
  }
}
