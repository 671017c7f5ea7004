// The beat of the house: what is due because its moment has come, and not because something came in. Knows how often;
// what is due, the spool, dispatch and the quotas know.

import type { Quotas } from '../accounts/quota.js'
import type { Dispatch } from '../dispatch/dispatch.js'
import type { Spool } from '../spool/contract.js'

const SPOOL_MS = 50
const DISPATCH_MS = 1_000

export class Beat {
  private readonly spool: Pick<Spool, 'tick' | 'afterSync'>
  private readonly timers: readonly NodeJS.Timeout[]
  /** A slice is on its way to the disk. */
  private isTicking = false

  /** Beats from now on. */
  constructor(spool: Pick<Spool, 'tick' | 'afterSync'>, dispatch: Dispatch, quotas: Quotas) {
    this.spool = spool
    const ofDispatch = (): void => {
      dispatch.tick()
      quotas.write()
    }
    this.timers = [setInterval(() => this.tick(), SPOOL_MS), setInterval(ofDispatch, DISPATCH_MS)]
  }

  private tick(): void {
    if (this.isTicking || !this.spool.tick()) return
    this.isTicking = true
    // A slice a commit: all that is due at one moment in one commit would hold up everybody else.
    this.spool.afterSync(() => {
      this.isTicking = false
      this.tick()
    })
  }

  stop(): void {
    for (const timer of this.timers) clearInterval(timer)
  }
}
