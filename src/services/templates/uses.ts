// How often templates were used, and when last: counted in memory, written every few seconds and at the stop. A crash
// forgets what was counted since the last write, some seconds of it; messages know their template all the same.

import type { Log } from '../../base/log.js'
import type { Store } from '../../store/postgres.js'
import { logged } from '../../store/retry.js'
import type { TemplateRows } from './rows.js'

const WRITE_MS = 5_000
/** Templates in one statement. */
const SLICE = 1_000

interface Use {
  id: number
  count: number
  lastMs: number
}

export class TemplateUses {
  private readonly rows: Pick<TemplateRows, 'addUses'>
  private readonly store: Pick<Store, 'ready'>
  private readonly log: Log
  private uses = new Map<number, Use>()
  private timer: NodeJS.Timeout | undefined
  private writing: Promise<void> = Promise.resolve()

  constructor(rows: Pick<TemplateRows, 'addUses'>, store: Pick<Store, 'ready'>, log: Log) {
    this.rows = rows
    this.store = store
    this.log = log
  }

  /** `nowMs`: wall clock. */
  note(id: number, count: number, nowMs: number): void {
    const use = this.uses.get(id)
    if (use === undefined) this.uses.set(id, { id, count, lastMs: nowMs })
    else {
      use.count += count
      use.lastMs = nowMs
    }
  }

  start(): void {
    this.timer = setInterval(() => void this.write(), WRITE_MS).unref()
  }

  /** Never rejects: what could not be written is written the next time. */
  write(): Promise<void> {
    this.writing = this.writing.then(() => this.writeNow())
    return this.writing
  }

  private async writeNow(): Promise<void> {
    if (this.uses.size === 0 || !this.store.ready) return
    const uses = [...this.uses.values()]
    this.uses = new Map()
    for (let from = 0; from < uses.length; from += SLICE) {
      const slice = uses.slice(from, from + SLICE)
      try {
        await this.rows.addUses(slice)
      } catch (error) {
        for (const { id, count, lastMs } of slice) this.note(id, count, lastMs)
        this.log.debug({ ...logged(error) }, 'how often templates were used is written later')
      }
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    await this.write()
  }
}
