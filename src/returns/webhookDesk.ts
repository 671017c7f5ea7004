// What an account, or an operator for it, does with its webhooks: adds, changes, tests, switches on, gives new secrets, looks
// at what was given up and sends it again. One function for each, whoever asks. Knows rows, the outbox and what is running;
// knows neither HTTP routes nor words for people.

import type { Account } from '../accounts/account.js'
import { type Actor, audited } from '../accounts/audit.js'
import { addHook, changeHook, removeHook, rotateHook, switchHook } from '../accounts/hookRows.js'
import { asksFor, type Hook, type HookFields } from '../accounts/hooks.js'
import type { Secrets } from '../accounts/secrets.js'
import { writing } from '../accounts/writing.js'
import { type ReportQueue, type Spool, way } from '../spool/contract.js'
import type { SqlClient, Store } from '../store/postgres.js'
import { pastEvent } from './events.js'
import type { EndPlace, Past } from './past.js'
import type { Webhooks } from './webhook.js'
import { type FailureRow, failures, OutboxFull, sendAgain } from './webhookFailures.js'
import type { Tested } from './webhookPost.js'

/** Ends of history that one request looks at, and events that one commit puts into the outbox. */
const MOST_ENDS = 5_000
const AT_ONCE = 250
const UNIQUE_VIOLATION = '23505'

export type HookRefusal = 'too_many' | 'exists' | 'gone'

/** The account's webhooks cannot be so. */
export class HookRefused extends Error {
  readonly why: HookRefusal
  constructor(why: HookRefusal) {
    super(why)
    this.why = why
  }
}

export interface Replayed {
  readonly events: number
  /** Where to go on; null: that was all. */
  readonly next: EndPlace | null
}

export interface WebhookDeskHost {
  readonly store: Store
  readonly secrets: Secrets
  readonly spool: Spool
  readonly past: Past
  readonly webhooks: Pick<Webhooks, 'test' | 'wake'>
  /** Resolves when what was written holds on this node. */
  refresh(): Promise<void>
  account(id: number): Account | undefined
}

export class WebhookDesk {
  private readonly host: WebhookDeskHost

  constructor(host: WebhookDeskHost) {
    this.host = host
  }

  find(account: Account, id: number): Hook | undefined {
    return account.hooks.find(hook => hook.id === id)
  }

  /** The secret is shown here and never again. Throws {@link HookRefused}. */
  async add(actor: Actor, account: Account, fields: HookFields): Promise<{ hook: Hook; secret: string }> {
    const { secrets } = this.host
    const { secret: _, ...changes } = { ...fields, url: originOf(fields.url) }
    const added = await this.write(actor, account, 'add', changes, client => addHook(client, secrets, account, fields))
    if (added === undefined) throw new HookRefused('too_many')
    return { hook: this.again(account, added.id), secret: added.secret }
  }

  async change(actor: Actor, account: Account, { id }: Hook, fields: Parameters<typeof changeHook>[2]): Promise<Hook> {
    const changes = { id, ...fields, url: originOf(fields.url) }
    const work = (client: SqlClient) => changeHook(client, id, fields)
    if (!(await this.write(actor, account, 'change', changes, work))) throw new HookRefused('gone')
    return this.woken(account, id)
  }

  async enable(actor: Actor, account: Account, { id }: Hook): Promise<Hook> {
    await this.write(actor, account, 'enable', { id }, client => switchHook(client, id, null))
    return this.woken(account, id)
  }

  async remove(actor: Actor, account: Account, { id, url }: Hook): Promise<void> {
    await this.write(actor, account, 'remove', { id, url: originOf(url) }, client => removeHook(client, id))
  }

  /** The new secret, shown here and never again; the old one signs as well for so many hours. */
  async rotate(
    actor: Actor,
    account: Account,
    { id }: Hook,
    keepHours: number,
  ): Promise<{ hook: Hook; secret: string }> {
    const { secrets } = this.host
    const work = (client: SqlClient) => rotateHook(client, secrets, account, id, keepHours)
    const secret = await this.write(actor, account, 'rotate', { id, keepHours }, work)
    if (secret === undefined) throw new HookRefused('gone')
    return { hook: this.again(account, id), secret }
  }

  callbackSecret({ systemId }: Account): string {
    return this.host.secrets.callbackSecret(systemId)
  }

  /** Undefined: too many tests run already. */
  test(hook: Hook): Promise<Tested | undefined> {
    return this.host.webhooks.test(hook)
  }

  /** Given up, newest first; of a webhook, or of all and of the URLs that messages named. */
  failures(
    account: Account,
    filter: { hook?: number | undefined; before?: number | undefined; limit: number },
  ): Promise<FailureRow[]> {
    return failures(this.host.store, account.id, filter)
  }

  /** Sends what was given up again, all of it or those with these numbers; how many. */
  async sendAgain(hook: Hook, numbers: readonly number[] | null): Promise<number> {
    const { store, spool, webhooks } = this.host
    const sent = await sendAgain(store, spool, queueOf(hook), hook.id, numbers)
    webhooks.wake(hook)
    return sent
  }

  /**
   * Tells again of messages that ended from one moment to before another, as history knows them, with the ids of the first
   * time: a bounded number of them, those after `after`. Durable when it resolves.
   */
  async replay(account: Account, hook: Hook, fromMs: number, toMs: number, after: EndPlace): Promise<Replayed> {
    const { spool, past, webhooks } = this.host
    const rows = await past.ends(account.id, fromMs, toMs, after, MOST_ENDS)
    let events = 0
    for (const row of rows) {
      const event = pastEvent(row)
      if (!asksFor(hook, event.type)) continue
      if (!spool.event(queueOf(hook), event)) throw new OutboxFull()
      if (++events % AT_ONCE === 0) await spool.synced()
    }
    await spool.synced()
    webhooks.wake(hook)
    const last = rows.at(-1)
    return { events, next: last === undefined || rows.length < MOST_ENDS ? null : { atMs: last.atMs, id: last.id } }
  }

  private async write<T>(
    actor: Actor,
    { systemId }: Account,
    action: string,
    changes: Readonly<Record<string, unknown>>,
    work: (client: SqlClient) => Promise<T>,
  ): Promise<T> {
    const { store, secrets } = this.host
    try {
      const result = await writing(store, secrets, async client => {
        const done = await work(client)
        await audited(client, actor, { action: `webhook.${action}`, subject: systemId, changes })
        return done
      })
      await this.host.refresh()
      return result
    } catch (error) {
      if ((error as { code?: string }).code === UNIQUE_VIOLATION) throw new HookRefused('exists')
      throw error
    }
  }

  private woken(account: Account, id: number): Hook {
    const hook = this.again(account, id)
    this.host.webhooks.wake(hook)
    return hook
  }

  /** As it is now. */
  private again({ id: account }: Account, id: number): Hook {
    const hook = this.host.account(account)?.hooks.find(one => one.id === id)
    if (hook === undefined) throw new HookRefused('gone')
    return hook
  }
}

/** URLs may hold secrets behind their origin. */
const originOf = (url: string): string => new URL(url).origin
const queueOf = ({ of }: Hook): ReportQueue => ({ way: way.hook, of })
