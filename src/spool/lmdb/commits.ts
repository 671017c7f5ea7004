// When a commit is written, and who waits for which: everything asked for since the
// last one is the next. One is written at a time. Knows nothing of what is in it.

import type { Clock } from '../../base/clock.js'

/** Commits of fewer records than this are not held back for more. */
const GATHER_FROM = 100
/** How long what nobody waits for may stay in memory alone. */
const LAZY_MS = 5

export interface CommitHost {
  /** Is there anything to write? */
  readonly pending: boolean
  /** Puts everything pending into one transaction. @returns the transaction, and how many records it writes */
  write(): { transaction: Promise<unknown>; records: number }
  /** It is durable; nobody has been told yet. */
  durable(ms: number, records: number): void
  /** Those who waited have been told. */
  told(): void
  /** It failed: nothing that was asked for since the last one is durable, nor will be. */
  failed(error: Error): void
}

/** lmdb says first that a commit failed, and a moment later why. */
interface CommitError extends Error {
  commitError?: Promise<never>
}

interface Waiter {
  resolve: () => void
  reject: (error: Error) => void
}

export class Commits {
  private readonly host: CommitHost
  private readonly clock: Clock
  private readonly gatherMs: number
  /** Number of the commit being gathered. */
  gathering = 1
  /** A commit failed: there will be no other. */
  broken: Error | null = null
  private closed = false
  private scheduled = false
  private lazy: NodeJS.Timeout | undefined
  private writing = false
  private startedMs = 0
  private records = 0
  // Who waits for the commit being gathered.
  private thens: (() => void)[] = []
  private waiters: Waiter[] = []
  private promise: Promise<void> | null = null
  // Who waits for the commit being written.
  private writtenThens: (() => void)[] = []
  private writtenWaiters: Waiter[] = []

  constructor(host: CommitHost, clock: Clock, gatherMs: number) {
    this.host = host
    this.clock = clock
    this.gatherMs = gatherMs
  }

  /**
   * There is something to write. It goes with the next commit that somebody waits for, or by
   * itself a little later: at moderate rates that saves half the commits, and a submit_sm the
   * wait for them.
   */
  note(): void {
    if (this.scheduled || this.writing || this.lazy !== undefined || this.broken || this.closed) return
    this.lazy = setTimeout(this.schedule, LAZY_MS)
  }

  /** Somebody waits: the commit begins with the end of this turn, or after the one being written. */
  private readonly schedule = (): void => {
    if (this.scheduled || this.writing || this.broken || this.closed) return
    this.scheduled = true
    clearTimeout(this.lazy)
    this.lazy = undefined
    const waitMs = this.records >= GATHER_FROM ? this.gatherMs - (this.clock.mono() - this.startedMs) : 0
    if (waitMs > 0) setTimeout(this.write, waitMs)
    else setImmediate(this.write)
  }

  synced(): Promise<void> {
    this.promise ??= new Promise((resolve, reject) => {
      if (this.broken) reject(this.broken)
      else {
        this.waiters.push({ resolve, reject })
        this.schedule()
      }
    })
    return this.promise
  }

  afterSync(then: () => void): void {
    this.thens.push(then)
    this.schedule()
  }

  /** Resolves when nothing is left to write; nothing is written afterwards. */
  async close(): Promise<void> {
    while (!this.broken && (this.host.pending || this.writing)) await this.synced()
    this.closed = true
  }

  private readonly write = (): void => {
    this.scheduled = false
    if (this.broken || this.closed) return
    this.gathering++
    this.writtenThens = this.thens
    this.writtenWaiters = this.waiters
    this.thens = []
    this.waiters = []
    this.promise = null
    if (!this.host.pending) {
      this.tell()
      return
    }
    this.writing = true
    this.startedMs = this.clock.mono()
    const { transaction, records } = this.host.write()
    this.records = records
    transaction.then(this.durable, this.fail)
  }

  private readonly durable = (): void => {
    this.writing = false
    this.host.durable(this.clock.mono() - this.startedMs, this.records)
    this.tell()
    this.host.told()
    if (this.thens.length > 0 || this.waiters.length > 0) this.schedule()
    else if (this.host.pending) this.note()
  }

  private tell(): void {
    const { writtenThens, writtenWaiters } = this
    this.writtenThens = []
    this.writtenWaiters = []
    for (const then of writtenThens) then()
    for (const { resolve } of writtenWaiters) resolve()
  }

  private readonly fail = (error: CommitError): void => {
    this.broken = error
    const tell = (cause: Error): void => {
      this.broken = cause
      for (const { reject } of [...this.writtenWaiters, ...this.waiters]) reject(cause)
      this.host.failed(cause)
    }
    if (error.commitError) error.commitError.catch(tell)
    else tell(error)
  }
}
