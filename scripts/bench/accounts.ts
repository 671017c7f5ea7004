// Figure 10: two million accounts, each with a password and an API key. What they cost a node in memory, and how long it
// takes to find one of them that was not asked for before: by a bind and by a key. Their rows are written into the
// embedded database while the daemon is down; it loads them as a new node would.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { Secrets, serverKey } from '../../src/accounts/secrets.js'
import { Latencies } from '../../src/cli/esme/latency.js'
import { count as grouped } from '../../src/cli/print.js'
import { startEmbedded } from '../../src/store/embedded.js'
import type { Gateway } from './gateway.js'
import { ask } from './http.js'
import { bindOnce } from './idle.js'
import type { Measure } from './report.js'
import type { Run } from './run.js'
import { PASSWORD } from './tools.js'

const ACCOUNTS = 2_000_000
/** In one statement. */
const SLICE = 100_000
/** Of those, found by a bind and by a key. */
const LOOKED_UP = 1_000
const SETTLE_MS = 3_000

/** Figure 10. */
export async function manyAccounts(run: Run): Promise<Measure[]> {
  const count = run.count(ACCOUNTS)
  return run.inGateway({}, async gateway => {
    const few = await lookedUp(gateway, ['bench'])
    const beforeMb = await settledMb(gateway)
    await gateway.stop()
    run.say(`writing ${grouped(count)} accounts`)
    const keys = await seed(gateway.dataDir, count, done => run.say(`${grouped(done)} written`))
    // A node that comes new: it has no copy yet.
    rmSync(join(gateway.dataDir, 'directory'), { recursive: true })
    run.say('starting')
    const loadMs = await gateway.start()
    const loadedMb = await settledMb(gateway)
    await gateway.stop()
    run.say('starting again')
    const readyMs = await gateway.start()
    const anonMb = await settledMb(gateway)
    run.say('looking up')
    const many = await lookedUp(gateway, [...keys.keys()])
    const byKey = new Latencies()
    for (const key of keys.values()) {
      const { others, p50Ms } = await ask({
        ...{ port: gateway.adminPort, key, connections: 1, count: 1, rate: 0 },
        request: () => ({ line: 'GET /api/v1/auth/me', body: '' }),
      })
      if (others.size > 0) run.fault(`a key was answered ${[...others.keys()]}`)
      byKey.add(p50Ms)
    }
    const what = `${grouped(count)} accounts`
    return [
      { what: `${what}: RssAnon above that of one account`, unit: 'MB', most: 100, value: above(anonMb, beforeMb) },
      { what: 'the same: right after they were loaded from SQL', unit: 'MB', value: above(loadedMb, beforeMb) },
      { what: 'the same: loaded by a new node in', unit: 's', value: loadMs / 1000 },
      { what: 'the same: ready after a restart in', unit: 's', value: readyMs / 1000 },
      { what: 'a bind of each, connection and all: p50', unit: 'ms', most: 1, value: many.p50 },
      { what: 'the same: p99', unit: 'ms', value: many.p99 },
      { what: 'the same with one account, again and again: p50', unit: 'ms', value: few.p50 },
      { what: 'a request with a key of each, connection and all: p50', unit: 'ms', value: byKey.quantiles().p50 },
      { what: 'the same: p99', unit: 'ms', value: byKey.quantiles().p99 },
    ]
  })
}

async function lookedUp(gateway: Gateway, systemIds: readonly string[]) {
  const latencies = new Latencies()
  for (let n = 0; n < LOOKED_UP; n++) {
    const from = performance.now()
    await bindOnce(gateway.smppPort, systemIds[n % systemIds.length] as string)
    latencies.add(performance.now() - from)
  }
  return latencies.quantiles()
}

async function settledMb(gateway: Gateway): Promise<number | null> {
  await gateway.settled()
  await new Promise(resolve => setTimeout(resolve, SETTLE_MS))
  return gateway.anonMb()
}

const above = (a: number | null, b: number | null): number | null => (a === null || b === null ? null : a - b)

/** Keys of some of them, by system_id. */
async function seed(dataDir: string, count: number, say: (done: number) => void): Promise<Map<string, string>> {
  const secrets = new Secrets(await serverKey(dataDir))
  const log = { debug() {}, info() {}, warn() {}, error() {}, writes: () => false, child: () => log }
  const database = await startEmbedded({ dataDir, log, role: 'visitor' })
  const client = new pg.Client(database.url)
  await client.connect()
  try {
    // Without a change for each: nobody follows.
    await client.query('set session_replication_role = replica')
    for (let from = 1; from <= count; from += SLICE) {
      const to = Math.min(count, from + SLICE - 1)
      await client.query(ACCOUNTS_SQL, [from, to])
      await client.query(KEYS_SQL, [from, to])
      if ((to / SLICE) % 5 === 0) say(to)
    }
    const keys = new Map<string, string>()
    const step = Math.max(1, Math.floor(count / LOOKED_UP))
    for (let n = step; n <= count && keys.size < LOOKED_UP; n += step) {
      const systemId = `many${n}`
      const key = `tl_${systemId}_0123456789abcdef0123456789abcdef`
      const { rows } = await client.query<{ id: number }>(
        'update accounts set secret = $2 where system_id = $1 returning id',
        [systemId, secrets.passwordHash(systemId, PASSWORD)],
      )
      await client.query('update api_keys set hash = $2 where account = $1', [rows[0]?.id, secrets.keyHash(key)])
      keys.set(systemId, key)
    }
    await client.query('analyze')
    return keys
  } finally {
    await client.end()
    await database.stop()
  }
}

const ACCOUNTS_SQL = `
  insert into accounts (system_id, secret, max_binds) select 'many' || n, sha256(('p' || n)::bytea), 1
  from generate_series($1::int, $2::int) n`
const KEYS_SQL = `
  insert into api_keys (hash, account, prefix) select sha256(('k' || a.id)::bytea), a.id, 'tl_'
  from generate_series($1::int, $2::int) n join accounts a on a.system_id = 'many' || n`
