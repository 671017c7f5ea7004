// Those who are told of what happened over HTTP: webhooks and callbacks with everything they need of the house. Knows how
// its parts are joined; what is sent is returns/webhook's.

import { codingOf, decodeUserData } from '../../protocols/gsm/coding.js'
import { Reach } from '../../protocols/net/reach.js'
import type { Directory } from '../accounts/directory.js'
import { switchHook } from '../accounts/hookRows.js'
import { accountOfHook, hookOwner, hookQueue, MAX_HOOKS } from '../accounts/hooks.js'
import type { Secrets } from '../accounts/secrets.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import type { Past } from '../returns/past.js'
import { Webhooks } from '../returns/webhook.js'
import { WebhookDesk } from '../returns/webhookDesk.js'
import { forgetOldFailures, putAside } from '../returns/webhookFailures.js'
import { type Spool, way } from '../spool/contract.js'
import type { Store } from '../store/postgres.js'
import type { Lines } from './lines.js'

const UDHI = 0x40
const HOUR_MS = 3_600_000

export interface ToldHost {
  readonly spool: Spool
  readonly store: Store
  readonly directory: Directory
  readonly secrets: Secrets
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  readonly lines: Lines
  readonly past: Past
  readonly settings: {
    readonly allow: readonly string[]
    readonly retryMs: readonly number[]
    readonly disableAfterHours: number
  }
  readonly keepMs: number
  fault(error: unknown): void
}

export class Told {
  readonly webhooks: Webhooks
  readonly desk: WebhookDesk
  private readonly host: ToldHost
  private readonly unsubscribe: () => void
  private readonly forgetting: NodeJS.Timeout

  constructor(host: ToldHost) {
    this.host = host
    const { spool, store, directory, secrets, lines, log, settings } = host
    const coding = (reply: { carrier: number; data_coding: number }) =>
      codingOf(reply.data_coding, lines.codingsOf(reply.carrier))
    this.webhooks = new Webhooks({
      ...host,
      identity: spool.identity,
      reach: new Reach(settings.allow),
      random: Math.random,
      retryMs: settings.retryMs,
      disableAfterMs: settings.disableAfterHours * HOUR_MS,
      textOf: ({ reply }) => {
        if (reply === undefined) return null
        const how = coding(reply)
        return how === 'binary' ? null : decodeUserData(reply.body, (reply.esm_class & UDHI) !== 0, how)
      },
      isPacked: ({ reply }) => reply !== undefined && coding(reply) === 'gsm-packed',
      hook: of => directory.account(accountOfHook(of))?.hooks.find(hook => hook.of === of),
      secretsOf: hook => {
        const owner = hookOwner(directory.account(hook.account)?.systemId ?? '')
        const sealed = [hook.secret]
        if (hook.oldSecret !== null && hook.oldUntilMs > host.clock.now()) sealed.push(hook.oldSecret)
        return sealed.flatMap(one => secrets.unseal(owner, one) ?? [])
      },
      callbackSecret: account => secrets.callbackSecret(directory.account(account)?.systemId ?? ''),
      disable: async (hook, why) => {
        host.counters.add('webhooks_disabled')
        log.warn({ webhook: hook.id, why }, 'a webhook was switched off: nothing is sent there until it is switched on')
        await store.withClient(client => switchHook(client, hook.id, why))
      },
      putAside: failure => putAside(store, failure),
      fault: error => host.fault(error),
    })
    this.desk = new WebhookDesk({
      ...{ store, secrets, spool, past: host.past, webhooks: this.webhooks },
      refresh: () => directory.refresh(),
      account: id => directory.account(id),
    })
    this.unsubscribe = directory.onChange((part, ids) => {
      if (part === 'accounts') this.accountsChanged(ids)
    })
    this.forgetting = setInterval(() => {
      forgetOldFailures(store).catch(error => log.debug({ err: error }, 'old webhook failures stay for now'))
    }, HOUR_MS).unref()
  }

  start(): void {
    this.webhooks.start()
  }

  /** A webhook may be new, gone, on again: its queue is looked at. */
  private accountsChanged(ids: readonly number[] | undefined): void {
    const waiting = new Set(this.host.spool.reportAccounts(way.hook))
    if (waiting.size === 0) return
    if (ids === undefined) for (const of of waiting) this.webhooks.pump(of, way.hook)
    else
      for (const id of ids)
        for (let slot = 0; slot < MAX_HOOKS; slot++) {
          const of = hookQueue(id, slot)
          if (waiting.has(of)) this.webhooks.pump(of, way.hook)
        }
  }

  stop(withinMs: number): Promise<void> {
    this.unsubscribe()
    clearInterval(this.forgetting)
    return this.webhooks.stop(withinMs)
  }
}
