// A copy of what stands in SQL keeps up with it: NOTIFY wakes, a poll each second makes sure, and whoever must be sure waits.
// With SQL away it tries again, ever more seldom. Knows when; what is copied, and how far it has come, the copy's own
// follower knows.

import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from '../base/log.js'
import type { Store } from './postgres.js'
import { backOffMs, logged } from './retry.js'

const POLL_MS = 1_000
const LAST_RETRY_MS = 15_000

export interface FollowingOptions {
  readonly store: Pick<Store, 'ready' | 'listen' | 'onUp'>
  readonly log: Pick<Log, 'warn'>
  readonly channel: string
  /** For people: `the directory does not follow the database`. */
  readonly lost: string
  /** Of the error of whoever waits when it is closed: `the directory is closed`. */
  readonly closed: string
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

export abstract class Following {
  private readonly aborter = new AbortController()
  /** Aborted by {@link close}, with what whoever waits is told. */
  protected readonly closing = this.aborter.signal
  private readonly options: FollowingOptions
  private readonly unsubscribe: (() => void)[] = []
  private waking = new AbortController()
  private waiting: Waiter[] = []
  private loop: Promise<void> | undefined
  private isUnsure = true

  constructor(options: FollowingOptions) {
    this.options = options
  }

  /**
   * Brings the copy up to SQL, or as far as it comes before {@link closing}. Rejects with what SQL throws; never runs twice
   * at once.
   * @param isUnsure it may be another database than before, or an older state of it
   */
  protected abstract catchUp(isUnsure: boolean): Promise<void>

  start(): void {
    const { store, channel } = this.options
    this.unsubscribe.push(
      store.listen(channel, () => this.wake()),
      store.onUp(() => {
        this.isUnsure = true
        this.wake()
      }),
    )
    this.loop = this.follow()
  }

  wake(): void {
    this.waking.abort()
  }

  /** Resolves when everything committed in SQL until now is in the copy; rejects when SQL is away, or this is closed. */
  refresh(): Promise<void> {
    if (this.closing.aborted) return Promise.reject(this.closing.reason)
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject })
      this.wake()
    })
  }

  /** Resolves when nothing of it runs any more. */
  async close(): Promise<void> {
    this.aborter.abort(new Error(this.options.closed))
    this.wake()
    for (const stop of this.unsubscribe) stop()
    await this.loop
    for (const { reject } of this.waiting) reject(this.closing.reason)
  }

  private async follow(): Promise<void> {
    const { store, log, lost } = this.options
    let failures = 0
    while (!this.closing.aborted) {
      this.waking = new AbortController()
      const { waiting } = this
      this.waiting = []
      try {
        if (store.ready || waiting.length > 0) await this.catchUpSure()
        // Then it may have been cut short.
        this.closing.throwIfAborted()
        for (const { resolve } of waiting) resolve()
        failures = 0
      } catch (error) {
        for (const { reject } of waiting) reject(error as Error)
        if (this.closing.aborted) return
        if (failures++ === 0) log.warn({ ...logged(error) }, lost)
      }
      const restMs = failures === 0 ? POLL_MS : backOffMs(failures, POLL_MS, LAST_RETRY_MS)
      await pause(restMs, undefined, { signal: this.waking.signal }).catch(() => {})
    }
  }

  private async catchUpSure(): Promise<void> {
    const { isUnsure } = this
    // It may become so again meanwhile.
    this.isUnsure = false
    try {
      await this.catchUp(isUnsure)
    } catch (error) {
      this.isUnsure ||= isUnsure
      throw error
    }
  }
}
