// What is remembered of a receiver of events while it is told, and how many events may be on their way. Numbers and lists;
// what is done with them webhook.ts says.

import { accountOfHook } from '../accounts/hooks.js'
import { type Report, type Way, way } from '../spool/contract.js'
import type { Event } from './events.js'

export interface Try {
  readonly report: Report
  readonly event: Event
  attempts: number
  dueMs: number
}

/** A queue of the outbox and its receiver. */
export class Receiver {
  readonly way: Way
  readonly of: number
  readonly account: number
  inFlight = 0
  /** Tried and not taken, in the order of their moments. */
  readonly again: Try[] = []
  /** Failures in a row, whatever failed. */
  failures = 0
  failingSinceMs = 0
  restUntilMs = 0

  constructor(by: Way, of: number) {
    this.way = by
    this.of = of
    this.account = by === way.hook ? accountOfHook(of) : of
  }

  get idle(): boolean {
    return this.inFlight === 0 && this.again.length === 0 && this.failures === 0
  }

  /** Its next try, in the order of their moments. */
  later(one: Try, dueMs: number): void {
    one.dueMs = dueMs
    const { again } = this
    let at = again.length
    while (at > 0 && (again[at - 1] as Try).dueMs > dueMs) at--
    again.splice(at, 0, one)
  }

  /** Takes out the one that was tried most. */
  mostTried(): Try {
    const most = this.again.reduce((a, b) => (b.attempts > a.attempts ? b : a))
    this.again.splice(this.again.indexOf(most), 1)
    return most
  }
}

/** Events on their way. An account that has as many of them as are free gets no more: there is always one for others. */
export class Places {
  taken = 0
  private readonly most: number
  private readonly byAccount = new Map<number, number>()

  constructor(most: number) {
    this.most = most
  }

  isFreeFor(account: number): boolean {
    return (this.byAccount.get(account) ?? 0) < this.most - this.taken
  }

  take(account: number): void {
    this.taken++
    this.byAccount.set(account, (this.byAccount.get(account) ?? 0) + 1)
  }

  giveBack(account: number): void {
    this.taken--
    const left = (this.byAccount.get(account) as number) - 1
    if (left > 0) this.byAccount.set(account, left)
    else this.byAccount.delete(account)
  }
}
