// What accounts and people are told besides what happened to messages: one function for each, which leads to webhooks, a line
// in the log and, where a carrier takes mails, a mail. Knows ways, not reasons. What is secret in a notice goes to its
// receiver and never into the log, and where it goes by mail it goes nowhere else.

import { LRUCache } from 'lru-cache'
import type { Directory } from '../accounts/directory.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { hooksFor } from '../returns/tells.js'
import { type Spool, way } from '../spool/contract.js'
import type { Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'
import type { OwnMail } from './mailOut.js'
import { ownersWords, personWords, RESET } from './noticeMails.js'

/** Mails to one address within an hour, and as many with a token: who asks for them need not be who gets them. */
const MAILS_AN_HOUR = 5
const HOUR_MS = 3_600_000
const REMEMBERED = 10_000

export interface NoticesHost {
  readonly spool: Pick<Spool, 'event'>
  readonly directory: Pick<Directory, 'account'>
  readonly store: Store
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  /** With {token} in it; null: people are told the token itself. */
  readonly resetUrl: string | null
  /** Takes a mail of the gateway's own; false: none goes now, or not there. */
  mail(mail: OwnMail): Promise<boolean>
}

type Data = Readonly<Record<string, unknown>>

export class Notices {
  private readonly host: NoticesHost
  private readonly mailed: LRUCache<string, { count: number }>

  constructor(host: NoticesHost) {
    this.host = host
    this.mailed = new LRUCache({
      maxSize: REMEMBERED,
      sizeCalculation: () => 1,
      ttl: HOUR_MS,
      ttlResolution: 0,
      perf: { now: () => host.clock.mono() },
    })
  }

  /**
   * To the account's webhooks that want it, and by mail to the owners of its organisation. `inLog`: in the place of what
   * stands in `data`, in the log.
   */
  notify(account: number, type: string, data: Data, inLog: Data = {}): void {
    const { spool, directory, clock, counters, log } = this.host
    const found = directory.account(account)
    const name = found?.systemId ?? String(account)
    counters.add('notices')
    log.warn({ account: found?.systemId ?? account, type, ...data, ...inLog }, 'a notice to an account')
    const event = { id: '', type, atMs: clock.now(), data: JSON.stringify({ account: found?.systemId, ...data }) }
    for (const queue of hooksFor(found, type)) if (!spool.event(queue, event)) counters.add('notices_lost')
    const words = ownersWords(name, type, data)
    if (words !== undefined) this.aside({ account: name, type }, () => this.mailOwners(account, words))
  }

  /**
   * To a user: by mail, and over the webhooks of the organisation's accounts that name this type itself. What is secret in
   * it goes there only where no mail goes: for whoever sends it on, and for no one who merely listens to everything.
   */
  notifyPerson(email: string, type: string, data: Data): void {
    this.host.counters.add('notices')
    this.aside({ user: email, type }, async () => {
      const words = personWords(email, type, data, this.host.resetUrl)
      const isMailed = words !== undefined && (await this.mailTo(email, words, type === RESET))
      if (isMailed && type === RESET) {
        this.host.log.info({ user: email, type, mails: 1 }, 'a notice to a user')
        return
      }
      const { rows } = await this.host.store.query<{ id: number }>(ACCOUNTS_OF, [email, type !== RESET])
      const told = rows.reduce((n, { id }) => n + this.tellHooks(id, email, type, data), 0)
      this.host.log.info({ user: email, type, webhooks: told, mails: Number(isMailed) }, 'a notice to a user')
    })
  }

  /** Nobody waits for it: how long it takes would tell. */
  private aside(what: { type: string; user?: string; account?: string }, work: () => Promise<void>): void {
    work().catch(error => {
      this.host.counters.add('notices_lost')
      this.host.log.warn({ ...what, ...logged(error) }, 'a notice is lost')
    })
  }

  private async mailOwners(account: number, words: Omit<OwnMail, 'to'>): Promise<void> {
    const { rows } = await this.host.store.query<{ email: string }>(OWNERS_OF, [account])
    for (const { email } of rows) await this.mailTo(email, words, false)
  }

  /** @param isReset what else was mailed, which others may bring about too, holds none of these back */
  private async mailTo(to: string, words: Omit<OwnMail, 'to'>, isReset: boolean): Promise<boolean> {
    const { counters } = this.host
    const key = isReset ? `${RESET} ${to}` : to
    const sent = this.mailed.get(key) ?? { count: 0 }
    if (sent.count >= MAILS_AN_HOUR) {
      counters.add('notice_mails_held')
      // What would have gone by mail goes nowhere: whoever asks again and again gets no other way by it.
      return true
    }
    // Before it is written: they may come at once.
    if (sent.count++ === 0) this.mailed.set(key, sent)
    const isTaken = await this.host.mail({ ...words, to })
    if (isTaken) counters.add('notice_mails')
    else sent.count--
    return isTaken
  }

  private tellHooks(account: number, email: string, type: string, data: Data): number {
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

/** What lets in as the user is, of an operator of the gateway, nothing for an account's webhook. */
const ACCOUNTS_OF = `
  select a.id from users u join accounts a on a.organisation = u.organisation where u.email = $1 and ($2 or not u.operator) order by a.id limit 100`
const OWNERS_OF = `
  select u.email from accounts a join users u on u.organisation = a.organisation
  where a.id = $1 and u.role = 'owner' and u.suspended is null order by u.email limit 20`
