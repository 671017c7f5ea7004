// What was removed does not stay for ever: a template goes with its versions when no message that names it can be told of
// any more, from SQL by whichever node comes first; and from each node's copy what is not in SQL, for no change tells of
// that, nor of an account that went with all of its templates. Knows rows and moments; what a template is others know.

import type { Clock } from '../../base/clock.js'
import type { Log } from '../../base/log.js'
import { FAR_MS } from '../../intake/smpp/fields.js'
import type { Store } from '../../store/postgres.js'
import { logged } from '../../store/retry.js'
import type { TemplateCopy } from './copy.js'
import type { TemplateRows } from './rows.js'

const DAY_MS = 86_400_000
/** How often it is asked whether a day is over. */
const LOOK_MS = 3_600_000
/** Templates of one transaction: each may have hundreds of versions. */
const SLICE = 50
/** Heads of the copy that are looked through in one go. */
const SCAN = 500

export interface TemplateRetentionHost {
  readonly copy: Pick<TemplateCopy, 'ids' | 'drop'>
  readonly rows: Pick<TemplateRows, 'forget' | 'missing'>
  readonly store: Pick<Store, 'ready'>
  readonly clock: Clock
  readonly log: Log
  /** Days that a message is told of once it is over. */
  readonly keepDays: number
}

export class TemplateRetention {
  private readonly host: TemplateRetentionHost
  private timer: NodeJS.Timeout | undefined
  private nextMs = 0
  private isStopped = false
  private running: Promise<unknown> = Promise.resolve()

  constructor(host: TemplateRetentionHost) {
    this.host = host
  }

  start(): void {
    this.timer = setInterval(() => {
      const { store, clock, log } = this.host
      if (!store.ready || clock.mono() < this.nextMs) return
      this.nextMs = clock.mono() + DAY_MS
      this.running = this.forget().catch(error => {
        this.nextMs = 0
        log.debug({ ...logged(error) }, 'templates that were removed stay for now')
      })
    }, LOOK_MS).unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    this.isStopped = true
    await this.running
  }

  /** How many went from SQL. Throws what SQL throws. */
  async forget(): Promise<number> {
    const { rows, clock, keepDays } = this.host
    const removedMs = clock.now() - keepDays * DAY_MS
    // What was made of it may have waited for so long before it was sent.
    const usedMs = removedMs - FAR_MS
    let all = 0
    for (let gone = SLICE; gone === SLICE && !this.isStopped; all += gone) {
      gone = await rows.forget(new Date(removedMs), new Date(usedMs), SLICE)
    }
    await this.dropMissing()
    return all
  }

  private async dropMissing(): Promise<void> {
    const { copy, rows } = this.host
    for (let after = 0; !this.isStopped; ) {
      const ids = copy.ids(after, SCAN)
      if (ids.length === 0) return
      await copy.drop(await rows.missing(ids))
      after = ids.at(-1) as number
    }
  }
}
