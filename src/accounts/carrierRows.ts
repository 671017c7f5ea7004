// A carrier's row in SQL as the gateway file says it: made, changed or left as it is. Knows columns and the seal of the
// password; which carriers there should be is its caller's.

import type { SqlClient } from '../store/postgres.js'
import { type CarrierKind, readFields, storedFields } from './carrier.js'
import type { FileCarrier } from './gatewayFile.js'
import type { Secrets } from './secrets.js'
import { Refused } from './writing.js'

export interface CarrierRecord {
  id: number
  name: string
  kind: CarrierKind
  settings: unknown
  secret: Buffer | null
  paused: boolean
}

/** @param name of one of them */
export async function carrierRecords(client: SqlClient, name?: string): Promise<CarrierRecord[]> {
  const columns = 'select id, name, kind, settings, secret, paused from carriers'
  const { rows } = await (name === undefined
    ? client.query<CarrierRecord>(columns)
    : client.query<CarrierRecord>(`${columns} where name = $1`, [name]))
  return rows
}

/**
 * Makes the row what the file says. A password and `paused` that it does not give stay as they are.
 * @param path of the carrier in the file, for what is refused
 */
export async function putCarrier(
  client: SqlClient,
  secrets: Secrets,
  one: FileCarrier,
  known: CarrierRecord | undefined,
  path: string,
): Promise<'created' | 'updated' | 'unchanged'> {
  const settings = JSON.stringify(storedFields(one.kind, readFields(one.kind, settingsOf(one))))
  const secret = secretOf(one, known, secrets, path)
  const paused = one.paused ?? known?.paused ?? false
  const values = [one.name, one.kind, settings, secret, paused]
  if (known === undefined) {
    await client.query(
      'insert into carriers (name, kind, settings, secret, paused) values ($1, $2, $3, $4, $5)',
      values,
    )
    return 'created'
  }
  if (isSame(known, one.kind, settings, secret, paused)) return 'unchanged'
  await client.query(
    'update carriers set kind = $2, settings = $3, secret = $4, paused = $5, updated_at = now() where name = $1',
    values,
  )
  return 'updated'
}

function settingsOf(one: FileCarrier): Record<string, unknown> {
  if (one.kind === 'simulator') {
    const { name: _, kind: __, paused: ___, ...settings } = one
    return settings
  }
  const { name: _, kind: __, paused: ___, password: ____, sealed: _____, ...settings } = one
  return settings
}

/** A password that is sealed already is not sealed anew: nothing changed. */
function secretOf(one: FileCarrier, known: CarrierRecord | undefined, secrets: Secrets, path: string): Buffer | null {
  const present = known?.secret ?? null
  if (one.kind === 'simulator') return null
  if (one.password !== undefined) {
    if (present !== null && secrets.unseal(one.name, present) === one.password) return present
    return secrets.seal(one.name, one.password)
  }
  if (one.sealed === undefined) return present
  if (secrets.unseal(one.name, one.sealed) === undefined) {
    throw new Refused(`${path}sealed`, 'was sealed under another server key or for another carrier')
  }
  return one.sealed
}

function isSame(
  known: CarrierRecord,
  kind: CarrierKind,
  settings: string,
  secret: Buffer | null,
  paused: boolean,
): boolean {
  if (known.kind !== kind || known.paused !== paused) return false
  if (known.secret === null || secret === null ? known.secret !== secret : !known.secret.equals(secret)) return false
  return JSON.stringify(storedFields(kind, readFields(kind, known.settings))) === settings
}
