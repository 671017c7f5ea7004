// How long the audit is kept: what is older than the settings say goes, a slice at a time, and the audit tells that it went.
// Knows rows and moments; what is worth a row the writers say.

import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import type { Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'
import { audited } from './audit.js'

const EVERY_MS = 3_600_000
const DAY_MS = 86_400_000
/** Rows of one transaction. */
const SLICE = 5_000

export interface AuditRetentionHost {
  readonly store: Pick<Store, 'ready' | 'transaction'>
  readonly clock: Clock
  readonly log: Log
  /** 0: for ever. */
  readonly days: number
}

export class AuditRetention {
  private readonly host: AuditRetentionHost
  private timer: NodeJS.Timeout | undefined

  constructor(host: AuditRetentionHost) {
    this.host = host
  }

  start(): void {
    if (this.host.days === 0) return
    const forget = (): void => {
      if (!this.host.store.ready) return
      this.forget().catch(error => this.host.log.debug({ ...logged(error) }, 'old rows of the audit stay for now'))
    }
    forget()
    this.timer = setInterval(forget, EVERY_MS).unref()
  }

  stop(): void {
    clearInterval(this.timer)
  }

  /** How many rows went. Throws what SQL throws. */
  async forget(): Promise<number> {
    const { store, clock, days } = this.host
    const before = new Date(clock.now() - days * DAY_MS)
    let all = 0
    for (let rows = SLICE; rows === SLICE; all += rows) {
      rows = await store.transaction(async client => {
        await client.query(`select set_config('trunkline.forget_audit_before', $1, true)`, [before.toISOString()])
        const { rowCount } = await client.query(FORGET, [before, SLICE])
        const gone = rowCount ?? 0
        const changes = { rows: gone, before: before.toISOString() }
        if (gone > 0)
          await audited(client, { who: 'trunkline', from: '' }, { action: 'audit.forget', subject: '', changes })
        return gone
      })
    }
    return all
  }
}

const FORGET = 'delete from audit where id in (select id from audit where at < $1 order by id limit $2)'
