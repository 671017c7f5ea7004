// Charges of messages that were never sent: rows of history as the door and dispatch write them, posted to the ledger and
// counted as a node does it. For tests of what is done with them afterwards.
import { firstIdAt } from '../../src/base/ids.js'
import { type ClassRank, state } from '../../src/model/message.js'
import { Posting } from '../../src/returns/posting.js'
import { Stats } from '../../src/returns/stats.js'
import type { HistoryRow } from '../../src/spool/contract.js'
import type { Store } from '../../src/store/postgres.js'

/** What messages cost, posted and counted as a node does. */
export class Node {
  private readonly posting: Posting
  private readonly stats = new Stats()
  private taken = 0
  private readonly store: Store

  /** @param nowMs what is booked stands in no later hour; left out: it is late */
  constructor(store: Store, node: number, nowMs = Number.POSITIVE_INFINITY) {
    this.store = store
    this.posting = new Posting({
      spool: `spool-${node}`,
      clock: { now: () => nowMs },
      carrierName: () => 'up',
    })
  }

  accepted(account: number, atMs: number, priceMicros: number, destination: string, rank: ClassRank): HistoryRow {
    const id = firstIdAt(atMs) + (this.taken++ % 8_192)
    return {
      ...{ kind: 'accepted', atMs, id, account, rank, state: state.ENROUTE, source: '1', destination },
      ...{ route: 1, carrier: 0, segments: 2, priceMicros, backMicros: 0, costMicros: 0, isHeld: false },
      ...{ tookMs: null, error: '', clientRef: '' },
    }
  }

  ended(row: HistoryRow, atMs: number, backMicros: number): HistoryRow {
    const priceMicros = row.priceMicros - backMicros
    return { ...row, kind: 'ended', atMs, state: state.EXPIRED, carrier: 1, priceMicros, backMicros, costMicros: 7 }
  }

  async write(rows: readonly HistoryRow[]): Promise<void> {
    await this.store.transaction(async client => {
      for (const part of [this.posting, this.stats]) {
        part.begin()
        for (const row of rows) part.take(row)
        await part.write(client)
      }
    })
  }
}

/** With a tariff and no credit. */
export async function accounts(store: Store, ...names: string[]): Promise<number[]> {
  await store.query(`insert into tariffs (name) values ('retail')`)
  const { rows } = await store.query<{ id: number }>(
    `insert into accounts (system_id, tariff, credit_micros)
     select name, (select id from tariffs), 0 from unnest($1::text[]) name returning id`,
    [names],
  )
  return rows.map(({ id }) => id)
}
