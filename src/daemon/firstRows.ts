// The rows a start needs: from SQL if it is there, from this node's own copy if it is not; and into an empty database those
// of the file that `bootstrap` names. Knows no row.

import type { Consent } from '../accounts/consent.js'
import type { Directory } from '../accounts/directory.js'
import { bootstrapIfEmpty } from '../accounts/gatewayApply.js'
import { gatewayFaultLine } from '../accounts/gatewayFile.js'
import type { Secrets } from '../accounts/secrets.js'
import type { Log } from '../base/log.js'
import type { Store } from '../store/postgres.js'

/** A gateway file named by `bootstrap` that cannot be applied: its message holds all faults, a line each. */
export class BootstrapFaulty extends Error {}

interface RowsHost {
  readonly directory: Directory
  readonly consent: Consent
  readonly store: Store
  readonly secrets: Secrets
  readonly log: Log
  /** Path of the gateway file for an empty database. */
  readonly bootstrap: string | null
}

/** Throws BootstrapFaulty, or what keeps the rows from us when this node has no copy either. */
export async function firstRows({ directory, consent, store, secrets, log, bootstrap }: RowsHost): Promise<void> {
  directory.start()
  consent.start()
  try {
    await store.firstTry
    if (bootstrap !== null) {
      const applied = await bootstrapIfEmpty(store, secrets, bootstrap, log)
      if (applied && !applied.ok) {
        throw new BootstrapFaulty(applied.faults.map(fault => gatewayFaultLine(bootstrap, fault)).join('\n'))
      }
    }
    await directory.refresh()
    await consent.refresh()
  } catch (error) {
    if (error instanceof BootstrapFaulty || !directory.ready || !consent.ready) throw error
    log.warn({ err: error }, 'the database is away: serving from this node’s own copy')
  }
}
