// Keeps this node's consent and SQL's the same: what was said here goes there, what was said elsewhere comes here, by
// change number; and do-not-disturb lists after it. NOTIFY wakes, a poll each second makes sure. With SQL away the journal
// waits on disk.

import { setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import type { Store } from '../store/postgres.js'
import { backOffMs, logged } from '../store/retry.js'
import type { ConsentCopy } from './consentCopy.js'
import { CONSENT_CHANNEL, type ConsentRows } from './consentRows.js'
import type { Dnd } from './dnd.js'

const POLL_MS = 1000
const LAST_RETRY_MS = 15_000
/** Rows in one go: what keeps the event loop under 5 ms. */
const SLICE = 250

export interface FollowerOptions {
  readonly copy: ConsentCopy
  readonly dnd: Dnd
  readonly rows: ConsentRows
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  /** Somebody has stopped, or a list is another. */
  changed(): void
}

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

export class ConsentFollower {
  private readonly options: FollowerOptions
  private readonly closing = new AbortController()
  private readonly unsubscribe: (() => void)[] = []
  private waking = new AbortController()
  private waiting: Waiter[] = []
  private loop: Promise<void> | undefined
  /** The database may be another one than before. */
  private unsure = true
  private identity = ''

  constructor(options: FollowerOptions) {
    this.options = options
  }

  start(): void {
    const { store } = this.options
    this.unsubscribe.push(
      store.listen(CONSENT_CHANNEL, () => this.wake()),
      store.onUp(() => {
        this.unsure = true
        this.wake()
      }),
    )
    this.loop = this.follow()
  }

  wake(): void {
    this.waking.abort()
  }

  refresh(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ resolve, reject })
      this.wake()
    })
  }

  async close(): Promise<void> {
    this.closing.abort()
    this.wake()
    for (const stop of this.unsubscribe) stop()
    await this.loop
    for (const { reject } of this.waiting) reject(new Error('consent is closed'))
  }

  private async follow(): Promise<void> {
    const { store, log } = this.options
    let failures = 0
    while (!this.closing.signal.aborted) {
      this.waking = new AbortController()
      const { waiting } = this
      this.waiting = []
      try {
        if (store.ready || waiting.length > 0) await this.catchUp()
        for (const { resolve } of waiting) resolve()
        failures = 0
      } catch (error) {
        for (const { reject } of waiting) reject(error as Error)
        if (this.closing.signal.aborted) return
        if (failures++ === 0) log.warn({ ...logged(error) }, 'consent does not follow the database')
      }
      const restMs = failures === 0 ? POLL_MS : backOffMs(failures, POLL_MS, LAST_RETRY_MS)
      await pause(restMs, undefined, { signal: this.waking.signal }).catch(() => {})
    }
  }

  private async catchUp(): Promise<void> {
    const { copy, dnd, store, clock, log } = this.options
    if (this.unsure) await this.recognise()
    while (!this.closing.signal.aborted && (await this.sendJournal())) {}
    while (!this.closing.signal.aborted && (await this.takeChanges())) {}
    if (!this.closing.signal.aborted) {
      // Of several lists some may be here when the next cannot be read.
      let changed = true
      try {
        changed = await dnd.follow(store, this.identity, log)
      } finally {
        if (changed) this.options.changed()
      }
    }
    const { state } = copy
    if (state?.complete === false && !this.closing.signal.aborted) await copy.take([], { ...state, complete: true })
    await copy.forgetAnswers(clock.now(), SLICE)
  }

  /** Whether the copy is of this database, and of no later state of it. */
  private async recognise(): Promise<void> {
    const { copy, rows } = this.options
    const { identity, newest } = await rows.head()
    const { state } = copy
    if (state?.identity !== identity) await copy.startOver({ identity, change: 0, complete: false })
    else if (state.change > newest) await copy.take([], { ...state, change: 0 })
    this.identity = identity
    this.unsure = false
  }

  /** True when there may be more. */
  private async sendJournal(): Promise<boolean> {
    const { copy, rows } = this.options
    const events = copy.journaled(SLICE)
    if (events.length === 0) return false
    await rows.add(copy.origin, events)
    await copy.sent(events.map(({ seq }) => seq))
    return events.length === SLICE
  }

  private async takeChanges(): Promise<boolean> {
    const { copy, rows } = this.options
    const { state } = copy
    const changes = state === undefined ? [] : await rows.changes(state.change, SLICE)
    const last = changes.at(-1)
    if (state === undefined || last === undefined) return false
    await copy.take(changes, { ...state, change: last.change })
    if (changes.some(({ stopped }) => stopped)) this.options.changed()
    return changes.length === SLICE
  }
}
