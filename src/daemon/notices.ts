// What accounts and people are told besides what happened to messages: one function for each, which leads to webhooks and a
// line in the log. Knows ways, not reasons. What is secret in a notice goes to its receiver and never into the log.

import type { Directory } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { hooksFor } from '../returns/tells.js'
import { type Spool, way } from '../spool/contract.js'
import type { Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'

export interface NoticesHost {
  readonly spool: Pick<Spool, 'event'>
  readonly directory: Pick<Directory, 'account'>
  readonly store: Store
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
}

export class Notices {
  private readonly host: NoticesHost

  constructor(host: NoticesHost) {
    this.host = host
  }

  /** To the account's webhooks that want it. */
  notify(account: number, type: string, data: Readonly<Record<string, unknown>>): void {
    const { spool, directory, clock, counters, log } = this.host
    const found = directory.account(account)
    counters.add('notices')
    log.warn({ account: found?.systemId ?? account, type, ...data }, 'a notice to an account')
    const event = { id: '', type, atMs: clock.now(), data: JSON.stringify({ account: found?.systemId, ...data }) }
    for (const queue of hooksFor(found, type)) if (!spool.event(queue, event)) counters.add('notices_lost')
  }

  /**
   * To a user, over the webhooks of the organisation's accounts that name this type itself: what is secret in it is for
   * whoever sends it on, and for no one who merely listens to everything.
   */
  notifyPerson(email: string, type: string, data: Readonly<Record<string, unknown>>): void {
    const { store, counters, log } = this.host
    counters.add('notices')
    store
      .query<{ id: number }>(ACCOUNTS_OF, [email, type !== RESET])
      .then(({ rows }) => {
        const told = rows.reduce((n, { id }) => n + this.tellHooks(id, email, type, data), 0)
        log.info({ user: email, type, webhooks: told }, 'a notice to a user')
      })
      .catch(error => {
        counters.add('notices_lost')
        log.warn({ user: email, type, ...logged(error) }, 'a notice to a user is lost')
      })
  }

  private tellHooks(account: number, email: string, type: string, data: Readonly<Record<string, unknown>>): number {
    const { spool, directory, clock } = this.host
    const event = { id: '', type, atMs: clock.now(), data: JSON.stringify({ email, ...data }) }
    let told = 0
    for (const hook of directory.account(account)?.hooks ?? []) {
      if (hook.disabled !== null || !hook.events.includes(type)) continue
      if (spool.event({ way: way.hook, of: hook.of }, event)) told++
    }
    return told
  }
}

/** What lets in as the user; as an operator of the gateway it is nothing for an account's webhook. */
const RESET = 'user.password_reset'
const ACCOUNTS_OF = `
  select a.id from users u join accounts a on a.organisation = u.organisation where u.email = $1 and ($2 or not u.operator) order by a.id limit 100`
