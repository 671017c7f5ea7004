// Brings a database to the schema of this release: the plain SQL files in config/migrations,
// each once, under one lock that nodes which start together wait for.

import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { ClientBase } from 'pg'
import type { Log } from '../base/log.js'

/** From dist/src/store to the root of the package. */
const DIRECTORY = fileURLToPath(new URL('../../../config/migrations', import.meta.url))
const SCHEMA = 'public'
const NAME = 'pgmigrations'
const TABLE = `${SCHEMA}.${NAME}`
const LOCK = 5494786

/** The names of the migrations that were run now. A newer release's migrations in the database are left alone. */
export async function migrate(client: ClientBase, log: Log): Promise<string[]> {
  const wanted = (await readdir(DIRECTORY)).filter(name => name.endsWith('.sql')).map(name => name.slice(0, -4))
  if (await isComplete(client, wanted)) return []
  // Waited for without a limit: another node's migration may be a long one.
  await client.query('select pg_advisory_lock($1)', [LOCK])
  try {
    if (await isComplete(client, wanted)) return []
    // 120 ms and 8 MB that a start without migrations is spared.
    const { runner } = await import('node-pg-migrate')
    const done = await runner({
      dbClient: client,
      dir: DIRECTORY,
      direction: 'up',
      migrationsTable: NAME,
      migrationsSchema: SCHEMA,
      singleTransaction: true,
      noLock: true,
      logger: {
        info: () => {},
        warn: message => log.warn({}, message),
        error: message => log.error({}, message),
      },
    })
    for (const { name } of done) log.info({ migration: name }, 'migrated the database')
    return done.map(({ name }) => name)
  } finally {
    await client.query('select pg_advisory_unlock($1)', [LOCK])
  }
}

async function isComplete(client: ClientBase, wanted: readonly string[]): Promise<boolean> {
  const { rows } = await client.query<{ known: boolean }>('select to_regclass($1) is not null as known', [TABLE])
  if (!rows[0]?.known) return false
  const done = await client.query<{ name: string }>(`select name from ${TABLE}`)
  const names = new Set(done.rows.map(row => row.name))
  return wanted.every(name => names.has(name))
}
