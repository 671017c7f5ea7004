// What every writer of the directory does first: takes its turn, and proves that it has the server key under which the
// secrets there were written. Knows nothing of the rows that follow.

import type { SqlClient, Store } from '../store/postgres.js'
import type { GatewayFault } from './gatewayFile.js'
import type { Secrets } from './secrets.js'

/** As in the migrations: writers of the directory come one after the other. */
export const LOCK = 5494787

/** What was asked for cannot be written; nothing of it is. */
export class Refused extends Error {
  readonly faults: GatewayFault[]

  /**
   * @param path of the setting, '' for all of it
   * @param more what else cannot be
   */
  constructor(path: string, text: string, more: readonly GatewayFault[] = []) {
    super(path === '' ? text : `${path} ${text}`)
    this.faults = [{ path, text }, ...more]
  }
}

/** `work` as one transaction of the directory. Throws {@link Refused}, StoreAway, or the database's error. */
export function writing<T>(
  store: Pick<Store, 'transaction'>,
  secrets: Secrets,
  work: (client: SqlClient) => Promise<T>,
): Promise<T> {
  return store.transaction(async client => {
    await begin(client, secrets)
    return work(client)
  })
}

export async function begin(client: SqlClient, secrets: Secrets): Promise<void> {
  await client.query('select pg_advisory_xact_lock($1)', [LOCK])
  await checkKey(client, secrets)
}

/** The first who writes secrets leaves a proof of the key. */
async function checkKey(client: SqlClient, secrets: Secrets): Promise<void> {
  const { rows } = await client.query<{ key_check: Buffer | null }>('select key_check from gateway')
  const known = rows[0]?.key_check
  if (known === null) await client.query('update gateway set key_check = $1', [secrets.check])
  else if (!known?.equals(secrets.check)) {
    throw new Refused('', 'this database was written under another server key: give every node the same server.key')
  }
}
