// How a command reaches the database without the daemon: the configured one, or the embedded
// one of the data directory, which is left running if it ran. Commands that ask the daemon
// use ask.ts instead.

import { Secrets, serverKey } from '../accounts/secrets.js'
import { createLog } from '../base/log.js'
import { openStore, type Store } from '../store/postgres.js'
import { CommandError, EXIT } from './exit.js'
import { type GlobalOptions, requireSettings } from './settings.js'

/** Connections of a command. */
const POOL = 2

/** `work` on the database that the configuration names. Throws a CommandError when it cannot be reached. */
export async function withDatabase<T>(
  options: GlobalOptions,
  work: (store: Store, secrets: Secrets) => Promise<T>,
): Promise<T> {
  const { dataDir, database } = requireSettings(options)
  // stdout is for results.
  const log = createLog({ level: 'error', pretty: false, to: process.stderr })
  const secrets = new Secrets(await serverKey(dataDir))
  const store = openStore({ url: database.url, dataDir, log, pool: POOL, role: 'visitor' })
  try {
    await store.firstTry
  } catch (error) {
    await store.close()
    throw new CommandError(EXIT.failed, `the database cannot be reached: ${(error as Error).message}`)
  }
  try {
    return await work(store, secrets)
  } finally {
    await store.close()
  }
}
