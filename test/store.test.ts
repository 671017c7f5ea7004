// The store on a real PostgreSQL: starting, adopting and stopping the embedded one, and what
// becomes of those who use a database that comes and goes.

import { spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runner } from 'node-pg-migrate'
import t from 'tap'
import type { Log } from '../src/base/log.js'
import { startEmbedded } from '../src/store/embedded.js'
import { migrate } from '../src/store/migrate.js'
import { findPlace } from '../src/store/place.js'
import { openStore, type Store } from '../src/store/postgres.js'
import { connect, silent, temporaryDirectory, testCluster, Way } from './support/postgres.js'

const isRoot = process.getuid?.() === 0
const cluster = await testCluster({ fsync: true })
t.teardown(() => cluster.close())

const up = (store: Store): Promise<void> =>
  new Promise(resolve => {
    const stop = store.onUp(() => resolve(void setImmediate(() => stop())))
  })
const news = new EventEmitter()
const log: Log = { ...silent, warn: (event, text) => void news.emit(text, event) }
/** With what the log says then. */
const down = (): Promise<unknown[]> => once(news, 'the database went away')
const opened = (url: string): Store => openStore({ url, dataDir: '/nonexistent', log })
const postmaster = (dataDir: string): number =>
  Number(readFileSync(join(dataDir, 'postgres/cluster/data/postmaster.pid'), 'utf8').split('\n')[0])

t.test(
  "a data directory that is closed to the server's user has its cluster elsewhere, and finds it again",
  { skip: isRoot ? false : 'only root changes users' },
  async t => {
    const dataDir = mkdtempSync(join(tmpdir(), 'trunkline-closed-'))
    chmodSync(dataDir, 0o700)
    const first = await findPlace(dataDir)
    t.teardown(() => {
      rmSync(first.base, { recursive: true })
      if (readdirSync(dirname(first.base)).length === 0) rmdirSync(dirname(first.base))
      rmSync(dataDir, { recursive: true })
    })
    t.match(first.base, /^\/var\/lib\/trunkline\//)
    t.equal(realpathSync(join(dataDir, 'postgres')), first.base)
    t.equal((await findPlace(dataDir)).data, first.data)
    rmSync(join(dataDir, 'postgres'))
    const anew = await findPlace(dataDir)
    t.not(anew.base, first.base, 'a data directory made anew does not meet the old cluster')
    rmSync(anew.base, { recursive: true })
  },
)

t.test("a socket's path is short enough however long the data directory's is", async t => {
  const top = temporaryDirectory()
  t.teardown(() => rmSync(top, { recursive: true }))
  const { socketDir } = await findPlace(join(top, 'a'.repeat(60), 'b'.repeat(60)))
  t.teardown(() => rmSync(socketDir, { recursive: true }))
  t.ok(`${socketDir}/.s.PGSQL.5432`.length <= 107)
})

t.test('a store that is away at its start comes up, goes and comes with the database', async t => {
  const way = await Way.to(await cluster.database())
  const store = opened(way.url)
  t.teardown(() => store.close())
  await t.rejects(store.firstTry, { code: 'ECONNREFUSED' })
  t.equal(store.ready, false)
  await t.rejects(
    store.withClient(async () => {}),
    { code: 'STORE_AWAY' },
  )

  await way.open()
  await up(store)
  t.equal(store.ready, true)
  const heard: string[] = []
  const hear = (): Promise<void> =>
    new Promise(resolve => {
      const stop = store.listen('news', () => {
        heard.push('news')
        stop()
        resolve()
      })
    })
  const first = hear()
  await store.query('notify news')
  await first

  const gone = down()
  const running = store.query('select pg_sleep(60)')
  way.close()
  await t.rejects(running, 'what runs fails when the database goes')
  t.match(await gone, [{ reason: String }])
  t.equal(store.ready, false)
  const second = hear()
  await way.open()
  await up(store)
  await store.query('notify news')
  await second
  t.same(heard, ['news', 'news'], 'NOTIFY is heard on the new connection as well')
  way.close()
})

t.test('a connection that the server ends costs one statement, not the process', async t => {
  const store = opened(await cluster.database())
  t.teardown(() => store.close())
  await store.firstTry
  await t.rejects(store.query('select pg_terminate_backend(pg_backend_pid())'), { code: '57P01' })
  t.same((await store.query('select 1 as one')).rows, [{ one: 1 }])
  t.equal(store.ready, true)
})

t.test('a transaction that met another is done again, one that is wrong is undone', async t => {
  const store = opened(await cluster.database())
  t.teardown(() => store.close())
  await store.firstTry
  await store.query('create table tries (n int)')
  let tries = 0
  const result = await store.transaction(async client => {
    await client.query('insert into tries values ($1)', [++tries])
    if (tries < 3) await client.query(`do $$ begin raise exception sqlstate '40001'; end $$`)
    return 'done'
  })
  t.equal(result, 'done')
  t.same((await store.query('select n from tries')).rows, [{ n: 3 }])
  await t.rejects(
    store.transaction(async client => {
      await client.query('delete from tries')
      await client.query('select 1 / 0')
    }),
    { code: '22012' },
  )
  t.same((await store.query('select n from tries')).rows, [{ n: 3 }])
})

t.test('nodes that start together run each migration once', async t => {
  const folder = new URL('../../config/migrations', import.meta.url)
  const migrations = readdirSync(folder).map(name => name.replace(/\.sql$/, ''))
  t.ok(migrations.length > 0)
  const admin = await connect(await cluster.database())
  await admin.query('create database empty')
  const url = (await cluster.database()).replace(/\/test_\d+\?/, '/empty?')
  const clients = await Promise.all(Array.from({ length: 4 }, () => connect(url)))
  const done = await Promise.all(clients.map(client => migrate(client, silent)))
  t.same(done.flat().sort(), migrations.sort())
  t.same(await migrate(clients[0] as (typeof clients)[0], silent), [])
  for (const client of [...clients, admin]) await client.end()
})

t.test(
  'a database that is older and full is upgraded: its days make weeks, its templates have their octets',
  async t => {
    const admin = await connect(await cluster.database())
    await admin.query('create database older')
    const db = await connect((await cluster.database()).replace(/\/test_\d+\?/, '/older?'))
    const dir = fileURLToPath(new URL('../../config/migrations', import.meta.url))
    const silently = { info() {}, warn() {}, error() {} }
    const options = { migrationsTable: 'pgmigrations', singleTransaction: true, noLock: true, logger: silently }
    await runner({ ...options, dbClient: db, dir, direction: 'up', count: 18 })
    // From a Thursday on, 20 days.
    await db.query(`
    insert into stats_day (level, hour, account, carrier, country, rank, accepted, unknown, price_micros)
    select level, timestamptz '2026-10-01 00:00 UTC' + n * interval '24 hours', level & 1, 0, '', 1, 1, nullif(n, 0), 2::bigint ^ 40
    from generate_series(0, 7) level, generate_series(0, 19) n`)
    await db.query(`
    insert into templates (name) values ('one'), ('two');
    insert into template_versions (template, version, content) values (1, 1, 'ä'), (1, 2, '12345'), (2, 1, '1')`)
    await migrate(db, silent)
    const { rows: weeks } = await db.query(`
    select (hour at time zone 'UTC')::date::text as week, accepted::int, unknown::int, price_micros / (2::bigint ^ 40) as price
    from stats_week where level = 3 and account = 1 and unreported is null order by hour`)
    t.same(weeks, [
      { week: '2026-09-28', accepted: 4, unknown: 6, price: 4 },
      { week: '2026-10-05', accepted: 7, unknown: 49, price: 7 },
      { week: '2026-10-12', accepted: 7, unknown: 98, price: 7 },
      { week: '2026-10-19', accepted: 2, unknown: 37, price: 2 },
    ])
    t.equal((await db.query('select from stats_week')).rowCount, 4 * 8)
    const { rows: templates } = await db.query('select octets from templates order by id')
    // As they stand, and {} and [] for each version.
    t.same(templates, [{ octets: 2 + 5 + 2 * 4 }, { octets: 1 + 4 }])
    for (const client of [db, admin]) await client.end()
  },
)

// From here on the cluster is not the test's own any more.

t.test('a killed embedded server is started again under a running store', async t => {
  await cluster.stop()
  const { dataDir } = cluster
  const store = openStore({ url: null, dataDir, log })
  await store.firstTry
  const before = postmaster(dataDir)
  const gone = down()
  process.kill(before, 'SIGKILL')
  await gone
  await t.rejects(store.query('select 1'), { code: 'STORE_AWAY' })
  await up(store)
  t.not(postmaster(dataDir), before)
  t.same((await store.query('select count(*) as n from accounts')).rows, [{ n: 0 }], 'bigints are numbers')
  await store.close()
  t.equal(existsSync(join(dataDir, 'postgres/cluster/data/postmaster.pid')), false, 'the store stops its server')
})

t.test(
  'the embedded server: visitors come and go, its owner stops it, a killed owner leaves it to the next',
  async t => {
    const { dataDir } = cluster
    const pidFile = join(dataDir, 'postgres/cluster/data/postmaster.pid')
    // The first owner is a process that dies without a word.
    const script = `
    import { startEmbedded } from ${JSON.stringify(new URL('../src/store/embedded.js', import.meta.url).href)}
    import { silent, connect } from ${JSON.stringify(new URL('./support/postgres.js', import.meta.url).href)}
    const { url, adopted } = await startEmbedded({ dataDir: ${JSON.stringify(dataDir)}, log: silent, role: 'owner' })
    const db = await connect(url)
    await db.query('create table kept as select 1 as one')
    console.log(adopted)
    setInterval(() => {}, 1000)`
    const first = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [printed] = await once(first.stdout, 'data')
    t.equal(String(printed).trim(), 'false', 'the first start does not adopt')
    first.kill('SIGKILL')
    await once(first, 'close')

    const visitor = await startEmbedded({ dataDir, log: silent, role: 'visitor' })
    t.equal(visitor.adopted, true, 'the server outlived its owner')
    await visitor.stop()
    t.equal(existsSync(pidFile), true, 'a visitor does not stop what it found')

    const owner = await startEmbedded({ dataDir, log: silent, role: 'owner' })
    t.equal(owner.adopted, true)
    const late = await startEmbedded({ dataDir, log: silent, role: 'visitor' })
    const db = await connect(owner.url)
    t.same((await db.query('select one from kept')).rows, [{ one: 1 }])
    t.same(
      (
        await db.query(`select current_setting('fsync') as f, current_setting('synchronous_commit') as s,
    current_setting('listen_addresses') as l, pg_encoding_to_char(encoding) as e, datcollate as c
    from pg_database where datname = 'trunkline'`)
      ).rows,
      [{ f: 'on', s: 'on', l: '', e: 'UTF8', c: 'C' }],
    )
    await db.end()
    await owner.stop()
    t.equal(existsSync(pidFile), false, 'an owner stops also what it adopted')
    await late.stop()

    // A pid file that is left, whose number now is another process of the server's user.
    const { user } = await findPlace(dataDir)
    const other = spawn('sleep', ['60'], user ? { uid: user.uid, gid: user.gid } : {})
    writeFileSync(pidFile, `${other.pid}\n${dirname(pidFile)}\n1\n5432\n/tmp\n\n\nready   \n`)
    const alone = await startEmbedded({ dataDir, log: silent, role: 'visitor' })
    t.equal(alone.adopted, false, 'a stranger with the number of the old server is not taken for it')
    t.not(postmaster(dataDir), other.pid)
    other.kill()
    await alone.stop()
    t.equal(existsSync(pidFile), false, 'a visitor stops what it had to start')

    writeFileSync(join(dataDir, 'postgres/cluster/data/PG_VERSION'), '9\n')
    await t.rejects(
      startEmbedded({ dataDir, log: silent, role: 'owner' }),
      { message: /did not start(.|\n)*incompatible with server/ },
      'the error of a server that will not start holds the end of its log',
    )
  },
)
