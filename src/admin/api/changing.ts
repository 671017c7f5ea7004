// What every route that changes the directory does: writes, answers once it holds on this node, and says in HTTP why it
// could not be written. Knows errors; what is written is accounts'.

import { AccountFaulty } from '../../accounts/accountEdit.js'
import { KeyRefused, NoAccount, NoKey } from '../../accounts/keyRows.js'
import { NoUser, UserRefused } from '../../accounts/people.js'
import { Busy } from '../../accounts/peoplePasswords.js'
import type { Secrets } from '../../accounts/secrets.js'
import { Refused } from '../../accounts/writing.js'
import type { Store } from '../../store/postgres.js'
import { StoreAway } from '../../store/retry.js'
import { Problem } from '../problem.js'

/** Where the directory is written. */
export interface Desk {
  readonly store: Store
  readonly secrets: Secrets
  /** Resolves when what was written until now holds on this node. */
  refresh(): Promise<void>
}

/** Does it, and resolves once it holds here. Throws the Problem to answer with. */
export async function changing<T>(desk: Desk, work: () => Promise<T>): Promise<T> {
  const result = await asking(work)
  await desk.refresh()
  return result
}

/** The same for what only reads. */
export async function asking<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw problemOf(error)
  }
}

function problemOf(error: unknown): unknown {
  if (error instanceof NoKey) return new Problem(404, 'no_key', 'There is no such key', error.message)
  if (error instanceof NoAccount) return new Problem(404, 'no_account', 'There is no such account', error.message)
  if (error instanceof NoUser) return new Problem(404, 'no_user', 'There is no such user', error.message)
  if (error instanceof UserRefused) return new Problem(422, 'invalid', 'The user cannot be made', error.message)
  if (error instanceof Busy) return new Problem(503, 'busy', 'Too much at a time', 'try again in some seconds')
  if (error instanceof KeyRefused) return new Problem(422, 'invalid', 'The key cannot be made', error.message)
  if (error instanceof AccountFaulty) {
    return new Problem(422, 'invalid', 'The request is not as it must be', error.message, { faults: error.faults })
  }
  if (error instanceof Refused) return new Problem(409, 'refused', 'It cannot be written', error.message)
  if (error instanceof StoreAway) {
    return new Problem(503, 'no_database', 'The database is away', 'nothing was changed: try again when it is back')
  }
  return error
}
