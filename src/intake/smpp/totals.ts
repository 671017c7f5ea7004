// What an account's binds have carried since the start, those that are gone included: a bind
// counts for itself, and its counts would go with it.

import type { Bind } from './bind.js'
import type { Binds } from './binds.js'

export interface BindTotal {
  submitted: number
  delivered: number
}

export class BindTotals {
  private readonly gone = new Map<number, BindTotal>()
  private readonly binds: Pick<Binds, 'of'>

  constructor(binds: Pick<Binds, 'of'>) {
    this.binds = binds
  }

  /** The bind has left its account's binds: it must not be counted twice. */
  closed(bind: Pick<Bind, 'accountId' | 'submitted' | 'delivered'>): void {
    if (bind.accountId === 0) return
    const total = this.gone.get(bind.accountId) ?? { submitted: 0, delivered: 0 }
    total.submitted += bind.submitted
    total.delivered += bind.delivered
    this.gone.set(bind.accountId, total)
  }

  of(account: number): BindTotal {
    const total = { ...(this.gone.get(account) ?? { submitted: 0, delivered: 0 }) }
    for (const bind of this.binds.of(account)) {
      total.submitted += bind.submitted
      total.delivered += bind.delivered
    }
    return total
  }
}
