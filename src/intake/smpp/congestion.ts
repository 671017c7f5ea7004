// How busy we are, as peers of SMPP v5.0 may be told with each answer: congestion_state. Knows the fullest queue and the
// last commit, and nothing of what is done about it.

import type { Account } from '../../accounts/account.js'
import type { Spool } from '../../spool/contract.js'

/** A commit that takes this long is congestion enough: a peer's whole window waits for it. */
const SLOW_COMMIT_MS = 1_000

export class Congestion {
  private readonly spool: Spool
  private commitMs = 0

  constructor(spool: Spool) {
    this.spool = spool
  }

  /** A commit has ended that took so long. */
  synced(ms: number): void {
    this.commitMs = ms
  }

  /**
   * congestion_state (SMPP v5.0 §4.8.4.18), 0 idle to 100 congested: the part of the queue that is full, the account's or
   * that of all, or what the last commit took of a second, whichever is more.
   */
  of({ id, maxWaiting }: Account): number {
    const part = Math.max(this.spool.fullness(id, maxWaiting), this.commitMs / SLOW_COMMIT_MS)
    return Math.min(Math.floor(part * 100), 100)
  }
}
