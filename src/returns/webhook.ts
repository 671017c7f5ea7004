// Webhooks and callbacks on their way: taken from the outbox while their receiver takes them, tried again later
// and later, put aside when it is enough. A receiver that fails is left alone for a while, and only it. Knows the outbox and
// answers; requests are webhookPost.ts's, what an event says events.ts's, who wants it accounts/hooks's.

import type { Reach } from '../../protocols/net/reach.js'
import { type Hook, type HookSettings, hookSettings } from '../accounts/hooks.js'
import type { Clock } from '../base/clock.js'
import type { Counters } from '../base/figures.js'
import type { Log } from '../base/log.js'
import { Quiet } from '../base/quiet.js'
import { readExtras } from '../model/webExtras.js'
import { type Report, type Spool, type Way, way } from '../spool/contract.js'
import { type Event, type EventHost, eventOf } from './events.js'
import { Joined, Rejoiner, rejoinLimits } from './rejoin.js'
import { type Addressee, isGood, reasonOf, type Tested, WebhookPost } from './webhookPost.js'
import { Places, Receiver, type Try } from './webhookReceiver.js'

/** Failures in a row after which a receiver is left alone, and for how long at first and at most. */
const RESTS_AFTER = 3
const REST_MS = 5_000
const MAX_REST_MS = 300_000
/** Events of one receiver that wait in memory for another try; of more, the one that was tried most is put aside. */
const MAX_TRIES_HELD = 500
/** The same of all receivers: then none takes new ones before it has had its tries. */
const MAX_TRIES_HELD_IN_ALL = 20_000
/** On their way to all receivers. */
const MAX_IN_FLIGHT = 256
/** While SQL is away nothing can be put aside. */
const ASIDE_AGAIN_MS = 60_000
const TICK_MS = 250
const FAILURE_LINES = 2
const FAILURE_LINES_IN_ALL = 60
const CALLBACK: HookSettings = hookSettings.parse({})

interface Target extends Addressee {
  /** null: the message itself named the URL. */
  readonly hook: Hook | null
}

/** What is tried no more. */
export interface Failure {
  readonly account: number
  readonly hook: number | null
  readonly url: string
  readonly event: Event
  readonly attempts: number
  readonly reason: string
}

export interface WebhooksHost extends EventHost {
  readonly spool: Spool
  readonly clock: Clock
  readonly counters: Counters
  readonly log: Log
  readonly reach: Reach
  /** [0, 1) */
  random(): number
  /** After the first try, the second, …; the last holds for all others. */
  readonly retryMs: readonly number[]
  /** Older events are not tried again. */
  readonly keepMs: number
  /** A receiver that has failed for so long is switched off. */
  readonly disableAfterMs: number
  /** The webhook of a queue; undefined when it is gone. */
  hook(of: number): Hook | undefined
  /** Its secrets, newest first. */
  secretsOf(hook: Hook): readonly string[]
  callbackSecret(account: number): string
  /** Its text is eight septets in seven octets. */
  isPacked(report: Report): boolean
  /** Nothing is sent there any more. */
  disable(hook: Hook, why: string): Promise<void>
  /** Keeps it for those who look; rejects when it cannot be kept now. */
  putAside(failure: Failure): Promise<void>
  fault(error: unknown): void
}

export class Webhooks {
  readonly post: WebhookPost
  private readonly host: WebhooksHost
  private readonly receivers = new Map<string, Receiver>()
  private readonly places = new Places(MAX_IN_FLIGHT)
  /** Receivers that found no place for what they have, the one that waits longest first. */
  private readonly placeless = new Set<Receiver>()
  private held = 0
  private readonly rejoiner: Rejoiner
  private readonly quiet: Quiet
  private ticker: NodeJS.Timeout | undefined
  private rejoinedMs = 0
  private stopping = false
  private emptied: (() => void) | undefined

  constructor(host: WebhooksHost) {
    this.host = host
    this.quiet = new Quiet(FAILURE_LINES, FAILURE_LINES_IN_ALL, host.clock.mono)
    this.post = new WebhookPost(host.clock, host.reach)
    this.rejoiner = new Rejoiner(rejoinLimits, {
      release: part => {
        host.spool.giveBackReport(part)
        setImmediate(() => this.pump(part.account, part.way))
      },
      newest: () => host.spool.newestReport,
      isPacked: reply => host.isPacked({ reply } as Report),
    })
  }

  /** What the outbox holds from before goes on. */
  start(): void {
    for (const by of [way.hook, way.callback]) for (const of of this.host.spool.reportAccounts(by)) this.pump(of, by)
    this.ticker = setInterval(() => this.tick(), TICK_MS)
  }

  /** A queue got something, or its receiver has changed. */
  pump(of: number, by: Way): void {
    if (this.stopping) return
    const key = `${by} ${of}`
    const known = this.receivers.get(key)
    const receiver = known ?? new Receiver(by, of)
    if (known === undefined) this.receivers.set(key, receiver)
    try {
      this.serve(receiver)
    } catch (error) {
      this.host.fault(error)
    }
    if (receiver.idle && !this.placeless.has(receiver)) this.receivers.delete(key)
  }

  private serve(receiver: Receiver): void {
    const { spool, clock } = this.host
    const { of, way: by } = receiver
    const now = clock.mono()
    if (receiver.restUntilMs > now) return
    const hook = by === way.hook ? this.host.hook(of) : null
    if (hook === undefined) {
      this.dropAll(receiver)
      return
    }
    // Switched off: what is queued stays until it is too old, or the webhook is on again.
    if (hook !== null && hook.disabled !== null) {
      for (const { report } of this.takeAgain(receiver)) this.back(report)
      receiver.failures = 0
      return
    }
    const { atOnce } = hook?.settings ?? CALLBACK
    // After failures one goes first, to see.
    const most = receiver.failures >= RESTS_AFTER ? 1 : atOnce
    while (receiver.inFlight < most) {
      const [due] = receiver.again
      const isDue = due !== undefined && due.dueMs <= now
      if (!isDue && !this.takesNew(receiver, atOnce)) return
      if (!this.places.isFreeFor(receiver.account)) {
        this.placeless.add(receiver)
        return
      }
      if (isDue) {
        receiver.again.shift()
        this.held--
        this.send(receiver, hook, due)
        continue
      }
      const [report] = spool.claimReports(of, 1, by)
      if (report === undefined) return
      const whole = report.reply ? this.rejoiner.take(report, now) : report
      if (whole === 'held') continue
      if (whole === 'again') spool.reportDone(report)
      else this.begin(receiver, hook, whole)
    }
  }

  /** One that gets an event at a time gets them in their order: none before another has been taken or put aside. */
  private takesNew({ again }: Receiver, atOnce: number): boolean {
    if (again.length === 0) return true
    return atOnce > 1 && again.length < MAX_TRIES_HELD && this.held < MAX_TRIES_HELD_IN_ALL
  }

  private begin(receiver: Receiver, hook: Hook | null, report: Report): void {
    let event: Event
    try {
      event = eventOf(report, this.host)
    } catch (error) {
      this.host.fault(error)
      this.done(report)
      return
    }
    this.send(receiver, hook, { report, event, attempts: 0, dueMs: 0 })
  }

  private send(receiver: Receiver, hook: Hook | null, one: Try): void {
    const target = this.targetOf(hook, one.report)
    const { account } = receiver
    receiver.inFlight++
    this.places.take(account)
    const done = (): void => {
      receiver.inFlight--
      this.places.giveBack(account)
      if (this.stopping) {
        if (this.places.taken === 0) this.emptied?.()
      } else this.next(receiver)
    }
    this.post
      .send(target, one.event)
      .then(
        answer => this.answered(receiver, target, one, answer),
        error => this.failed(receiver, target, one, reasonOf(error), 0),
      )
      .catch(error => this.host.fault(error))
      .finally(done)
  }

  /** A place is free: those that found none have their turn first. */
  private next(receiver: Receiver): void {
    const waiting = [...this.placeless]
    this.placeless.clear()
    const served: Receiver[] = []
    for (const one of waiting) {
      const { inFlight } = one
      this.pump(one.of, one.way)
      if (one.inFlight > inFlight && this.placeless.delete(one)) served.push(one)
    }
    for (const one of served) this.placeless.add(one)
    this.pump(receiver.of, receiver.way)
  }

  /** Sends `webhook.test` at once, past the queue, and says what came of it; undefined: too many tests run already. */
  async test(hook: Hook): Promise<Tested | undefined> {
    const to = { url: hook.url, secrets: this.host.secretsOf(hook), settings: hook.settings }
    return this.stopping ? undefined : this.post.test(to, { webhook: hook.id, events: hook.events })
  }

  /** Its receiver is tried now, however long it was to be left alone. */
  wake(hook: Hook): void {
    const receiver = this.receivers.get(`${way.hook} ${hook.of}`)
    if (receiver !== undefined) {
      receiver.failures = 0
      receiver.restUntilMs = 0
      for (const one of receiver.again) one.dueMs = 0
    }
    this.pump(hook.of, way.hook)
  }

  private targetOf(hook: Hook | null, { account, receipt }: Report): Target {
    const { host } = this
    if (hook !== null) return { url: hook.url, secrets: host.secretsOf(hook), settings: hook.settings, hook }
    const url = readExtras(receipt?.more?.message?.extras ?? '').web.callback ?? ''
    return { url, secrets: [host.callbackSecret(account)], settings: CALLBACK, hook: null }
  }

  private async answered(
    receiver: Receiver,
    target: Target,
    one: Try,
    { status, waitMs }: { status: number; waitMs: number },
  ): Promise<void> {
    const { counters } = this.host
    if (isGood(status)) {
      counters.add('webhooks_delivered')
      this.done(one.report)
      if (receiver.failures >= RESTS_AFTER) this.host.log.info(about(target), 'a webhook takes events again')
      receiver.failures = 0
      receiver.restUntilMs = 0
      return
    }
    if (status === 410 && target.hook !== null) await this.disable(target.hook, 'HTTP 410')
    await this.failed(receiver, target, one, `HTTP ${status}`, waitMs)
  }

  private async failed(receiver: Receiver, target: Target, one: Try, reason: string, askedMs: number): Promise<void> {
    const { clock, counters, log, retryMs, keepMs, disableAfterMs } = this.host
    counters.add('webhooks_failed')
    if (this.stopping) return
    one.attempts++
    this.quiet.warn(
      log,
      `${receiver.way} ${receiver.of}`,
      { ...about(target), reason, attempt: one.attempts },
      'a webhook was not taken',
    )
    const now = clock.mono()
    this.rest(receiver, now, askedMs)
    const { hook, settings } = target
    const isOver = one.attempts >= (settings.attempts ?? Number.POSITIVE_INFINITY)
    if (isOver || clock.now() - one.report.atMs >= keepMs) {
      await this.putAside(receiver, target, one, reason)
      return
    }
    const wait = retryMs[Math.min(one.attempts, retryMs.length) - 1] ?? REST_MS
    this.later(receiver, one, now + Math.max(askedMs, wait * (0.9 + this.host.random() * 0.2)))
    if (receiver.again.length > MAX_TRIES_HELD) {
      const most = receiver.mostTried()
      this.held--
      await this.putAside(receiver, target, most, reason)
    }
    if (hook !== null && receiver.failures >= RESTS_AFTER && now - receiver.failingSinceMs >= disableAfterMs) {
      await this.disable(hook, `failing: ${reason}`)
    }
  }

  /** While SQL is away it goes on as it is: the next failure says so again. */
  private async disable(hook: Hook, why: string): Promise<void> {
    try {
      await this.host.disable(hook, why)
    } catch (error) {
      this.host.log.debug({ err: error, webhook: hook.id }, 'a webhook cannot be switched off now')
    }
  }

  private takeAgain(receiver: Receiver): Try[] {
    const taken = receiver.again.splice(0)
    this.held -= taken.length
    return taken
  }

  private rest(receiver: Receiver, now: number, askedMs: number): void {
    if (receiver.failures++ === 0) receiver.failingSinceMs = now
    // The URLs of callbacks belong to many: one that fails says nothing of the others.
    if (receiver.way === way.callback) return
    const rounds = receiver.failures - RESTS_AFTER
    const restMs = rounds < 0 ? 0 : Math.min(MAX_REST_MS, REST_MS * 2 ** Math.min(rounds, 10))
    receiver.restUntilMs = Math.max(receiver.restUntilMs, now + Math.max(restMs, askedMs))
  }

  private later(receiver: Receiver, one: Try, dueMs: number): void {
    receiver.later(one, dueMs)
    this.held++
  }

  private async putAside(receiver: Receiver, target: Target, one: Try, reason: string): Promise<void> {
    const { host } = this
    const { account } = receiver
    try {
      const { url, hook } = target
      await host.putAside({ account, hook: hook?.id ?? null, url, event: one.event, attempts: one.attempts, reason })
    } catch (error) {
      host.log.debug({ err: error }, 'a webhook cannot be put aside now')
      this.later(receiver, one, host.clock.mono() + ASIDE_AGAIN_MS)
      return
    }
    host.counters.add('webhooks_put_aside')
    this.done(one.report)
  }

  /** Its webhook was removed: there is nobody to tell. */
  private dropAll(receiver: Receiver): void {
    const { spool, counters } = this.host
    let count = 0
    const drop = (report: Report): void => {
      this.done(report)
      count++
    }
    for (const { report } of this.takeAgain(receiver)) drop(report)
    for (const report of spool.claimReports(receiver.of, MAX_TRIES_HELD, receiver.way)) drop(report)
    receiver.failures = 0
    if (count === 0) return
    counters.add('webhooks_dropped', count)
    this.host.log.info({ count }, 'events of a webhook that was removed: dropped')
    if (count >= MAX_TRIES_HELD) setImmediate(() => this.pump(receiver.of, receiver.way))
  }

  private done(report: Report): void {
    const { spool, clock } = this.host
    if (report instanceof Joined) {
      this.rejoiner.done(report, clock.mono())
      for (const part of report.parts) spool.reportDone(part)
    } else spool.reportDone(report)
  }

  private back(report: Report): void {
    const { spool } = this.host
    if (report instanceof Joined) for (const part of report.parts) spool.giveBackReport(part)
    else spool.giveBackReport(report)
  }

  private tick(): void {
    const now = this.host.clock.mono()
    for (const receiver of [...this.receivers.values()]) {
      const due = receiver.again[0]?.dueMs ?? Number.POSITIVE_INFINITY
      if (receiver.restUntilMs <= now && (due <= now || receiver.failures >= RESTS_AFTER))
        this.pump(receiver.of, receiver.way)
    }
    if (this.rejoiner.held > 0 && now - this.rejoinedMs >= 1_000) {
      this.rejoinedMs = now
      this.rejoiner.tick(now)
    }
  }

  /** Takes no more; what is on its way has `withinMs` to be answered, and is sent again after the next start if it was not. */
  async stop(withinMs: number): Promise<void> {
    this.stopping = true
    clearInterval(this.ticker)
    if (this.places.taken > 0 && withinMs > 0) {
      await new Promise<void>(resolve => {
        this.emptied = resolve
        setTimeout(resolve, withinMs).unref()
      })
    }
    this.post.close()
  }
}

/** For the log: URLs may hold secrets behind their origin. */
const about = ({ url, hook }: Target) => ({
  webhook: hook?.id ?? null,
  to: URL.canParse(url) ? new URL(url).origin : '',
})
