// When keys were used last: noted in memory at each use, written once a minute. A crash loses a minute of it, which is no
// more than it is exact to. Knows key ids and moments.

import type { Log } from '../base/log.js'
import type { Store } from '../store/postgres.js'
import { logged } from '../store/retry.js'

const WRITE_MS = 60_000
/** Keys in one statement. */
const SLICE = 1_000
/** Used within one minute; of more, the last use is not written. */
const MAX_NOTED = 100_000

export class KeyUses {
  private readonly store: Pick<Store, 'query' | 'ready'>
  private readonly log: Log
  private used = new Map<number, number>()
  private timer: NodeJS.Timeout | undefined

  constructor(store: Pick<Store, 'query' | 'ready'>, log: Log) {
    this.store = store
    this.log = log
  }

  /** `nowMs`: wall clock. */
  note(key: number, nowMs: number): void {
    if (this.used.size < MAX_NOTED || this.used.has(key)) this.used.set(key, nowMs)
  }

  start(): void {
    this.timer = setInterval(() => void this.write(), WRITE_MS).unref()
  }

  /** Never rejects: what could not be written is written the next time. */
  async write(): Promise<void> {
    if (this.used.size === 0 || !this.store.ready) return
    const used = [...this.used]
    this.used = new Map()
    for (let from = 0; from < used.length; from += SLICE) {
      const slice = used.slice(from, from + SLICE)
      try {
        await this.store.query(WRITE, [slice.map(([key]) => key), slice.map(([, atMs]) => new Date(atMs))])
      } catch (error) {
        for (const [key, atMs] of slice) if (!this.used.has(key)) this.used.set(key, atMs)
        this.log.debug({ ...logged(error) }, 'when keys were used last is written later')
      }
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    await this.write()
  }
}

/** A key that is gone has no use. */
const WRITE = `
  insert into api_key_uses (key, at)
  select t.key, t.at from unnest($1::int[], $2::timestamptz[]) as t(key, at) join api_keys k on k.id = t.key
  on conflict (key) do update set at = greatest(api_key_uses.at, excluded.at)`
