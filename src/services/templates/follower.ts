// Keeps this node's templates those in SQL, by change number: NOTIFY wakes, a poll each second makes sure. Knows no
// template from another.

import { setTimeout as pause } from 'node:timers/promises'
import type { Log } from '../../base/log.js'
import type { Store } from '../../store/postgres.js'
import { backOffMs, logged } from '../../store/retry.js'
import type { TemplateCopy } from './copy.js'
import { TEMPLATES_CHANNEL, type TemplateRows } from './rows.js'

const POLL_MS = 1_000
const LAST_RETRY_MS = 15_000
/** Rows in one go: what keeps the event loop under 5 ms. */
const SLICE = 100

interface Waiter {
  resolve(): void
  reject(error: Error): void
}

export class TemplateFollower {
  private readonly copy: TemplateCopy
  private readonly rows: TemplateRows
  private readonly store: Pick<Store, 'ready' | 'listen' | 'onUp'>
  private readonly log: Log
  private readonly closing = new AbortController()
  private readonly unsubscribe: (() => void)[] = []
  private waking = new AbortController()
  private waiting: Waiter[] = []
  private loop: Promise<void> | undefined
  /** The database may be another one than before. */
  private unsure = true

  constructor(copy: TemplateCopy, rows: TemplateRows, store: Pick<Store, 'ready' | 'listen' | 'onUp'>, log: Log) {
    this.copy = copy
    this.rows = rows
    this.store = store
    this.log = log
  }

  start(): void {
    this.unsubscribe.push(
      this.store.listen(TEMPLATES_CHANNEL, () => this.wake()),
      this.store.onUp(() => {
        this.unsure = true
        this.wake()
      }),
    )
    this.loop = this.follow()
  }

  /** Resolves when everything committed in SQL until now holds here; rejects when SQL is away. */
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
    for (const { reject } of this.waiting) reject(new Error('templates are closed'))
  }

  private wake(): void {
    this.waking.abort()
  }

  private async follow(): Promise<void> {
    let failures = 0
    while (!this.closing.signal.aborted) {
      this.waking = new AbortController()
      const { waiting } = this
      this.waiting = []
      try {
        if (this.store.ready || waiting.length > 0) await this.catchUp()
        for (const { resolve } of waiting) resolve()
        failures = 0
      } catch (error) {
        for (const { reject } of waiting) reject(error as Error)
        if (this.closing.signal.aborted) return
        if (failures++ === 0) this.log.warn({ ...logged(error) }, 'templates do not follow the database')
      }
      const restMs = failures === 0 ? POLL_MS : backOffMs(failures, POLL_MS, LAST_RETRY_MS)
      await pause(restMs, undefined, { signal: this.waking.signal }).catch(() => {})
    }
  }

  private async catchUp(): Promise<void> {
    const { copy, rows } = this
    if (this.unsure) {
      const { identity, newest } = await rows.head()
      const { state } = copy
      // Of another database, or of one that was set back.
      if (state?.identity !== identity || state.change > newest) await copy.startOver({ identity, change: 0 })
      this.unsure = false
    }
    for (let isMore = true; isMore && !this.closing.signal.aborted; ) isMore = await this.takeChanges()
  }

  /** True when there may be more. */
  private async takeChanges(): Promise<boolean> {
    const { copy, rows } = this
    const { state } = copy
    const heads = state === undefined ? [] : await rows.changes(state.change, SLICE)
    const last = heads.at(-1)
    if (state === undefined || last === undefined) return false
    const known = heads.map(({ id }) => copy.head(id)?.version ?? 0)
    let { change } = state
    for (let rest = heads; rest.length > 0 && !this.closing.signal.aborted; ) {
      const ids = rest.map(({ id }) => id)
      const { versions, isMore } = await rows.versionsAbove(ids, known)
      const end = versions.at(-1)
      // A template is here once its versions are: the last one of a page may have more of them.
      const whole = isMore && end !== undefined ? ids.indexOf(end.template) : rest.length
      change = rest[whole - 1]?.change ?? change
      await copy.take(rest.slice(0, whole), versions, { ...state, change })
      rest = rest.slice(whole)
      known.splice(0, whole)
      if (end !== undefined) known[0] = end.version
    }
    return heads.length === SLICE
  }
}
