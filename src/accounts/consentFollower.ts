// Keeps this node's consent and SQL's the same: what was said here goes there, what was said elsewhere comes here, by
// change number; and do-not-disturb lists after it. With SQL away the journal waits on disk.

import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import { Following } from '../store/following.js'
import type { Store } from '../store/postgres.js'
import type { ConsentCopy } from './consentCopy.js'
import { CONSENT_CHANNEL, type ConsentRows } from './consentRows.js'
import type { Dnd } from './dnd.js'

/** Rows in one go: what keeps the event loop under 5 ms. */
const SLICE = 250

export interface ConsentFollowerHost {
  readonly copy: ConsentCopy
  readonly dnd: Dnd
  readonly rows: ConsentRows
  readonly store: Store
  readonly clock: Clock
  readonly log: Log
  /** Somebody has stopped, or a list is another. */
  changed(): void
}

export class ConsentFollower extends Following {
  private readonly host: ConsentFollowerHost
  private identity = ''

  constructor(host: ConsentFollowerHost) {
    const { store, log } = host
    super({
      store,
      log,
      channel: CONSENT_CHANNEL,
      lost: 'consent does not follow the database',
      closed: 'consent is closed',
    })
    this.host = host
  }

  protected async catchUp(isUnsure: boolean): Promise<void> {
    const { copy, dnd, store, clock, log } = this.host
    if (isUnsure) await this.recognise()
    while (!this.closing.aborted && (await this.sendJournal())) {}
    while (!this.closing.aborted && (await this.takeChanges())) {}
    if (!this.closing.aborted) {
      // Of several lists some may be here when the next cannot be read.
      let changed = true
      try {
        changed = await dnd.follow(store, this.identity, log)
      } finally {
        if (changed) this.host.changed()
      }
    }
    const { state } = copy
    if (state?.complete === false && !this.closing.aborted) await copy.take([], { ...state, complete: true })
    await copy.forgetAnswers(clock.now(), SLICE)
  }

  /** Whether the copy is of this database, and of no later state of it. */
  private async recognise(): Promise<void> {
    const { copy, rows } = this.host
    const { identity, newest } = await rows.head()
    const { state } = copy
    if (state?.identity !== identity) await copy.startOver({ identity, change: 0, complete: false })
    else if (state.change > newest) await copy.take([], { ...state, change: 0 })
    this.identity = identity
  }

  /** True when there may be more. */
  private async sendJournal(): Promise<boolean> {
    const { copy, rows } = this.host
    const events = copy.journaled(SLICE)
    if (events.length === 0) return false
    await rows.add(copy.origin, events)
    await copy.sent(events.map(({ seq }) => seq))
    return events.length === SLICE
  }

  private async takeChanges(): Promise<boolean> {
    const { copy, rows } = this.host
    const { state } = copy
    const changes = state === undefined ? [] : await rows.changes(state.change, SLICE)
    const last = changes.at(-1)
    if (state === undefined || last === undefined) return false
    await copy.take(changes, { ...state, change: last.change })
    if (changes.some(({ stopped }) => stopped)) this.host.changed()
    return changes.length === SLICE
  }
}
