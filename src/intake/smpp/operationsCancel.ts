// The cancel_sm without an id: all that wait of one account with the same addresses, however many. Works in slices, so
// that nobody else waits for it. Knows what matches; the answer is operations'.

import type { Spool } from '../../spool/contract.js'

/** Cancelled between two commits at most: one commit of all of them would be the slice that nobody wants. */
const COMMIT = 250

/**
 * SMPP v3.4 §4.9.1: ends as DELETED what of the account waits from `source` to `destination`, of any service_type when it
 * is ''. Resolves when all of it is durable, with how many there were. A full disk ends it early: each end is written down.
 */
export async function cancelAll(
  spool: Spool,
  account: number,
  service_type: string,
  source: string,
  destination: string,
): Promise<number> {
  let count = 0
  let unsynced = 0
  for await (const slice of spool.waitingOf(account)) {
    if (spool.exhausted) break
    for (const m of slice) {
      if (m.source_addr !== source || m.destination_addr !== destination) continue
      if (service_type !== '' && m.service_type !== service_type) continue
      if (spool.cancel(m.id)) unsynced++
    }
    if (unsynced < COMMIT) continue
    count += unsynced
    unsynced = 0
    await spool.synced()
  }
  await spool.synced()
  return count + unsynced
}
