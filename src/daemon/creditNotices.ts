// Accounts whose credit runs low, or is used up, are told so once: looked for while money moves, by every node, and told by
// the one that finds it first. What low means, accounts/balances says.

import { creditNews } from '../accounts/balances.js'
import type { Log } from '../base/log.js'
import { unitsText } from '../model/money.js'
import type { Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'

const LOOK_MS = 10_000

export interface CreditNoticesHost {
  readonly store: Store
  readonly log: Log
  readonly currency: string
  notify(account: number, type: string, data: Readonly<Record<string, unknown>>): void
}

export class CreditNotices {
  private readonly host: CreditNoticesHost
  private timer: NodeJS.Timeout | undefined
  private isLooking = false

  constructor(host: CreditNoticesHost) {
    this.host = host
  }

  start(): void {
    this.timer = setInterval(() => this.look(), LOOK_MS).unref()
  }

  stop(): void {
    clearInterval(this.timer)
  }

  private look(): void {
    const { store, log, currency, notify } = this.host
    if (this.isLooking || !store.ready) return
    this.isLooking = true
    creditNews(store)
      .then(news => {
        for (const { account, type, spendable_micros, threshold_micros } of news) {
          const available = unitsText(spendable_micros)
          const threshold = unitsText(threshold_micros)
          notify(account, type, {
            available,
            available_micros: spendable_micros,
            threshold,
            threshold_micros,
            currency,
          })
        }
      })
      .catch(error => log.debug({ ...logged(error) }, 'whose credit runs low is looked for later'))
      .finally(() => {
        this.isLooking = false
      })
  }
}
