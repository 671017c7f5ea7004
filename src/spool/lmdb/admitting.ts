// The way in: whether more may wait, of this account and in all, and a new message's id, first row of history and first
// place. Knows how much waits and may wait; what a message is, and who pays for it, was settled before.

import type { Clock } from '../../base/clock.js'
import type { IdMaker } from '../../base/ids.js'
import type { Message } from '../../model/message.js'
import type { SpoolRefusal } from '../contract.js'
import type { Reserve } from '../reserve.js'
import type { Commits } from './commits.js'
import type { Joins } from './joins.js'
import type { Log } from './log.js'
import type { Standing } from './standing.js'

export interface AdmittingHost {
  readonly clock: Clock
  readonly ids: IdMaker
  readonly reserve: Reserve
  readonly standing: Standing
  readonly joins: Joins
  readonly log: Log
  readonly commits: Pick<Commits, 'broken'>
}

/** How many messages may wait. */
export interface WaitingBounds {
  readonly maxWaiting: number
  /** Of an account that has no bound of its own. */
  readonly maxWaitingPerAccount: number
}

export class Admitting {
  private readonly clock: Clock
  private readonly ids: IdMaker
  private readonly reserve: Reserve
  private readonly standing: Standing
  private readonly joins: Joins
  private readonly log: Log
  private readonly commits: Pick<Commits, 'broken'>
  private readonly maxWaiting: number
  private readonly maxWaitingPerAccount: number
  private stopping = false

  constructor(
    { clock, ids, reserve, standing, joins, log, commits }: AdmittingHost,
    { maxWaiting, maxWaitingPerAccount }: WaitingBounds,
  ) {
    this.clock = clock
    this.ids = ids
    this.reserve = reserve
    this.standing = standing
    this.joins = joins
    this.log = log
    this.commits = commits
    this.maxWaiting = maxWaiting
    this.maxWaitingPerAccount = maxWaitingPerAccount
  }

  /** Nothing more comes in. */
  stop(): void {
    this.stopping = true
  }

  refusal(account: number, maxWaiting: number | null | undefined, n: number): SpoolRefusal | undefined {
    if (this.stopping || this.commits.broken) return 'stopping'
    if (this.reserve.low) return 'disk_full'
    if (this.standing.waiting + n > this.maxWaiting) return 'queue_full'
    const most = maxWaiting ?? this.maxWaitingPerAccount
    if (this.standing.waitingOf(account) + n > most) return 'account_full'
    return undefined
  }

  fullness(account: number, maxWaiting: number | null | undefined): number {
    const most = maxWaiting ?? this.maxWaitingPerAccount
    // A most of 0 is full, whatever waits.
    const own = most === 0 ? 1 : this.standing.waitingOf(account) / most
    return this.reserve.low ? 1 : Math.min(Math.max(own, this.standing.waiting / this.maxWaiting), 1)
  }

  takeIds(n: number): number[] {
    return Array.from({ length: n }, () => this.ids.next())
  }

  commit(m: Message): void {
    const { standing } = this
    if (m.id === 0) m.id = this.ids.next()
    if (m.id > standing.lastId) standing.lastId = m.id
    standing.count(m.account, 1)
    const now = this.clock.now()
    this.log.accepted(m, now)
    standing.touch(m)
    if (m.replaceable) standing.index.add(m)
    if (m.joined !== null && this.joins.take(m, now)) return
    standing.place(m, now)
  }
}
