// Accounts, carriers and routes from the gateway file through SQL into a node's own copy, on
// a real PostgreSQL.

import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { editAccount } from '../src/accounts/accountEdit.js'
import { DirectoryCopy } from '../src/accounts/copy.js'
import { Directory } from '../src/accounts/directory.js'
import { applyGateway, bootstrapIfEmpty } from '../src/accounts/gatewayApply.js'
import { exportGateway } from '../src/accounts/gatewayExport.js'
import { type GatewayFile, parseGateway } from '../src/accounts/gatewayFile.js'
import { newApiKey, Secrets, serverKey, shownPrefix } from '../src/accounts/secrets.js'
import { register as registerApply } from '../src/cli/apply.js'
import { register as registerExport } from '../src/cli/export.js'
import { openStore, type Store } from '../src/store/postgres.js'
import { connect, silent, temporaryDirectory, testCluster, Way } from './support/postgres.js'

const cluster = await testCluster()
t.teardown(() => cluster.close())
const folder = temporaryDirectory()
t.teardown(() => rmSync(folder, { recursive: true }))

const secrets = new Secrets(Buffer.alloc(32, 1))
const strangers = new Secrets(Buffer.alloc(32, 2))

const BENCH = `
accounts:
  - systemId: bench
    password: bench
    throughput: 0
    maxBinds: 32
    credit: unlimited
    apiKey: tl_bench_0123456789abcdef0123456789abcdef
carriers:
  - name: up
    kind: smpp
    host: 127.0.0.1
    port: 27750
    systemId: up
    password: up
    bind: transceiver
    links: 2
    window: 200
    throughput: 0
routes:
  - match: {}
    to: [up]
`

function parsed(text: string): GatewayFile {
  const result = parseGateway(text)
  if (!result.ok) throw new Error(JSON.stringify(result.faults))
  return result.file
}

async function opened(t: Test, url: string): Promise<Store> {
  const store = openStore({ url, dataDir: '/nonexistent', log: silent })
  t.teardown(() => store.close())
  await store.firstTry
  return store
}

async function applied(store: Store, text: string): Promise<unknown> {
  const result = await applyGateway(store, secrets, parsed(text))
  return result.ok ? result.report : result.faults
}

async function exported(store: Store): Promise<string> {
  let text = ''
  await exportGateway(store, piece => {
    text += piece
  })
  return text
}

let copies = 0
const newPath = (): string => join(folder, `directory-${++copies}`)

/** A directory that follows `store`, caught up. */
async function following(t: Test, store: Store, path = newPath(), keys = secrets): Promise<Directory> {
  const directory = new Directory({ path, store, secrets: keys, log: silent })
  t.teardown(() => directory.close())
  directory.start()
  await directory.refresh()
  return directory
}

const counts = (created: number, updated: number, removed: number, unchanged: number) => ({
  created,
  updated,
  removed,
  unchanged,
})

t.test('a gateway file names all its faults at once, each with its path and line', async t => {
  const result = parseGateway(`accounts:
  - systemId: 1234
    password: x
    passwordHash: nonsense
    maxBind: 3
  - systemId: twice
  - systemId: twice
    class: urgent
    numbers: [491]
carriers:
  - name: a
    kind: fax
  - name: b
    kind: smpp
    host: h
    systemId: s
    links: 0
routes:
  - match: {destination: [+49, 4x]}
    to: []
other: 1
`)
  t.same(result.ok ? [] : result.faults.map(({ path, line }) => `${path}:${line}`), [
    'accounts[0].systemId:2',
    'accounts[0].passwordHash:4',
    'accounts[0].maxBind:5',
    'accounts[2].class:8',
    'accounts[2].numbers[0]:9',
    'carriers[0].kind:12',
    'carriers[1].links:17',
    'routes[0].match.destination[0]:19',
    'routes[0].match.destination[1]:19',
    'routes[0].to:20',
    'other:21',
  ])
  const doubles = parseGateway(`accounts:
  - {systemId: twice, password: a, passwordHash: 'hmac-sha256:${'A'.repeat(43)}', numbers: ['49171']}
  - {systemId: twice, numbers: ['+49171']}
carriers:
  - {name: a, kind: simulator}
routes:
  - to: [a, {carrier: b, weight: 2}]
`)
  t.same(doubles.ok ? [] : doubles.faults.map(({ path }) => path).sort(), [
    'accounts[0].passwordHash',
    'accounts[1].numbers[0]',
    'accounts[1].systemId',
    'routes[0].to[1]',
  ])
  t.match(parseGateway('accounts: [}'), { ok: false, faults: [{ text: /is not YAML/ }] })
  t.same(parseGateway(''), { ok: true, file: {} })
})

t.test('applying makes the rows match, again changes nothing, and an export of it changes nothing', async t => {
  const store = await opened(t, await cluster.database())
  t.same(await applied(store, BENCH), {
    accounts: counts(1, 0, 0, 0),
    carriers: counts(1, 0, 0, 0),
    routes: counts(1, 0, 0, 0),
  })
  const unchanged = { accounts: counts(0, 0, 0, 1), carriers: counts(0, 0, 0, 1), routes: counts(0, 0, 0, 1) }
  t.same(await applied(store, BENCH), unchanged)
  const before = (await store.query('select max(number) as n from changes')).rows
  const text = await exported(store)
  t.notMatch(text, /bench_0123456789abcdef|password: /, 'no secret is in an export')
  t.match(await applied(store, text), unchanged)
  t.same(await exported(store), text)
  t.same((await store.query('select max(number) as n from changes')).rows, before, 'and notes no change')

  const other = BENCH.replace('maxBinds: 32', 'maxBinds: 5')
    .replace('links: 2', 'links: 3')
    .replace('    password: bench\n', '')
    .replace('to: [up]', 'to: [up, {carrier: up, weight: 3}]')
  const dry = await applyGateway(store, secrets, parsed(other), { dryRun: true })
  const updated = { accounts: counts(0, 1, 0, 0), carriers: counts(0, 1, 0, 0), routes: counts(0, 1, 0, 0) }
  t.same(dry, { ok: true, report: updated })
  t.same(await exported(store), text, 'a dry run changes nothing')
  t.same(await applied(store, other), updated)
  const directory = await following(t, store)
  const bench = directory.accountBySystemId('bench')
  t.equal(bench?.maxBinds, 5)
  t.equal(directory.verify(bench, 'bench'), true, 'a password that the file does not give stays')
  t.match(directory.carriers(), [{ name: 'up', kind: 'smpp', settings: { links: 3, password: 'up', window: 200 } }])

  t.same(await applied(store, 'accounts: []'), { accounts: counts(0, 0, 1, 0) }, 'only its own sections are touched')
  t.same(await applied(store, 'carriers: []'), [{ path: 'routes[0].to', text: 'names no carrier: up' }])
  t.equal((await store.query('select from carriers')).rowCount, 1, 'a refused file changes nothing')
})

t.test('a route keeps its identity by its name or what it matches, whatever its place', async t => {
  const store = await opened(t, await cluster.database())
  const carriers = 'carriers: [{name: a, kind: simulator}, {name: b, kind: simulator}]\n'
  await applied(
    store,
    `${carriers}routes: [{name: first, match: {destination: "49"}, to: [a]}, {match: {class: otp}, to: [a]}, {to: [a]}]`,
  )
  const directory = await following(t, store)
  const [first, otp, rest] = directory.routes().map(route => route.id)
  const report = await applied(
    store,
    `routes: [{match: {class: [otp]}, to: [b]}, {name: first, match: {source: ACME}, to: [a]}, {match: {class: bulk}, to: [a]}]`,
  )
  t.same(report, { routes: counts(1, 2, 1, 0) })
  await directory.refresh()
  const routes = directory.routes()
  t.same(
    routes.map(({ id, position, ranks, sources, to }) => ({ id, position, ranks, sources, to })),
    [
      { id: otp, position: 1, ranks: [0], sources: [], to: [{ carrier: 'b', weight: null }] },
      { id: first, position: 2, ranks: [], sources: ['ACME'], to: [{ carrier: 'a', weight: null }] },
      { id: routes[2]?.id, position: 3, ranks: [2], sources: [], to: [{ carrier: 'a', weight: null }] },
    ],
  )
  t.not(routes[2]?.id, rest, 'a route that matches something else is another one')
})

t.test('whatever gateway file is applied, its export changes nothing', async t => {
  const store = await opened(t, await cluster.database())
  const name = fc.stringMatching(/^[a-z0-9]{1,8}$/)
  const number = fc.stringMatching(/^[1-9][0-9]{3,10}$/)
  const account = fc.record(
    {
      systemId: name,
      password: fc.string({ minLength: 1, maxLength: 8 }),
      apiKey: fc.stringMatching(/^[a-z0-9_]{20,40}$/),
      suspended: fc.option(fc.string({ minLength: 1, maxLength: 20 })),
      throughput: fc.nat(1000),
      class: fc.constantFrom('otp', 'transactional', 'bulk'),
      maxWaiting: fc.option(fc.nat(10)),
      serviceTypes: fc.dictionary(fc.constantFrom('OTP', 'WAP', '1'), fc.constantFrom('otp', 'bulk')),
      credit: fc.oneof(
        fc.constant('unlimited'),
        fc.integer({ min: -1e9, max: 1e9 }).map(micros => micros / 1e6),
      ),
      senders: fc.uniqueArray(fc.string({ minLength: 1, maxLength: 7 }).filter(text => !text.includes('\0'))),
      numbers: fc.uniqueArray(number, { maxLength: 3 }),
    },
    { requiredKeys: ['systemId'] },
  )
  const carrier = fc.record(
    {
      kind: fc.constant('smpp'),
      name,
      host: fc.constant('h'),
      systemId: fc.string({ maxLength: 15 }),
      password: fc.string({ maxLength: 8 }),
      paused: fc.boolean(),
      window: fc.integer({ min: 1, max: 50 }),
      refs: fc.constantFrom('same', 'hex-dec'),
      tls: fc.option(fc.record({ verify: fc.boolean() })),
      sourceTon: fc.option(fc.nat(7)),
    },
    { requiredKeys: ['kind', 'name', 'host', 'systemId'] },
  )
  const file = fc
    .record({
      accounts: fc.uniqueArray(account, { maxLength: 4, selector: one => one.systemId }),
      carriers: fc.uniqueArray(carrier, { minLength: 1, maxLength: 3, selector: one => one.name }),
      prefixes: fc.uniqueArray(number, { maxLength: 3 }),
    })
    .map(({ accounts, carriers, prefixes }) => ({
      accounts,
      carriers,
      routes: prefixes.map((destination, i) => ({ match: { destination }, to: [carriers[i % carriers.length]?.name] })),
    }))
  const clear = ({ ok }: { ok: boolean }): boolean => ok
  await fc.assert(
    fc.asyncProperty(file, async tree => {
      const read = parseGateway(JSON.stringify(tree))
      // Two accounts may have drawn the same number or key.
      fc.pre(clear(read))
      if (!read.ok) return
      const report = await applyGateway(store, secrets, read.file)
      if (!report.ok) throw new Error(JSON.stringify(report.faults))
      const again = await applyGateway(store, secrets, parsed(await exported(store)))
      if (!again.ok) throw new Error(JSON.stringify(again.faults))
      for (const section of Object.values(again.report)) {
        t.same([section.created, section.updated, section.removed], [0, 0, 0])
      }
    }),
    { numRuns: 25 },
  )
})

const ASIS = { source: [], destination: [], replySource: [], replyDestination: [] }

t.test('a directory follows every kind of change', async t => {
  const store = await opened(t, await cluster.database())
  const directory = await following(t, store)
  const told: string[] = []
  directory.onChange((part, ids) => told.push(`${part} ${ids}`))
  await applied(
    store,
    `accounts:
  - systemId: alice
    password: wonder
    class: otp
    serviceTypes: {BULK: bulk}
    senders: [ACME]
    numbers: ['491711']
    apiKey: tl_alice_0123456789abcdef0123456789abcdef
  - systemId: bob
carriers: [{name: sim, kind: simulator, receiptDelayMs: 50}]
routes: [{to: [sim]}]`,
  )
  await directory.refresh()
  const alice = directory.accountBySystemId('alice')
  const bob = directory.accountBySystemId('bob')
  t.match(alice, { systemId: 'alice', rank: 0, maxBinds: 16, weight: 1, suspended: null, creditMicros: null })
  t.same([...(alice?.serviceTypes ?? [])], [['BULK', 2]])
  t.same([...(alice?.senders ?? [])], ['ACME'])
  t.equal(bob?.senders, null)
  t.equal(directory.account(alice?.id ?? 0), alice, 'the same object until it changes')
  t.equal(directory.verify(alice, 'wonder'), true)
  t.equal(directory.verify(alice, 'wonders'), false)
  t.equal(directory.verify(bob, ''), false, 'no password is good for an account without one')
  t.equal(directory.verify(undefined, 'wonder'), false)
  t.equal(directory.key('tl_alice_0123456789abcdef0123456789abcdef')?.account, alice?.id)
  t.equal(directory.key('tl_alice_0123456789abcdef0123456789abcdee'), undefined)
  t.equal(directory.ownerOf('491711'), alice?.id)
  t.equal(directory.accountBySystemId('x'.repeat(5000)), undefined)
  t.equal(directory.accountBySystemId(''), undefined)
  const SIM = { id: 1, name: 'sim', paused: false, kind: 'simulator' }
  t.same(directory.carriers(), [
    {
      ...SIM,
      settings: { receiptDelayMs: 50, answer: 'accept', prices: {}, rewrite: ASIS },
    },
  ])
  t.same(told, [`accounts ${alice?.id},${bob?.id}`, 'carriers 1', 'routes 1'])

  told.length = 0
  const db = store
  await db.query(`delete from senders`)
  await db.query(`update numbers set account = $1`, [bob?.id])
  await db.query(`delete from api_keys`)
  await db.query(`update accounts set suspended = 'unpaid' where system_id = 'bob'`)
  await directory.refresh()
  t.equal(directory.account(alice?.id ?? 0)?.senders, null)
  t.not(directory.account(alice?.id ?? 0), alice, 'a change makes a new object')
  t.equal(directory.ownerOf('491711'), bob?.id)
  t.equal(directory.key('tl_alice_0123456789abcdef0123456789abcdef'), undefined)
  t.equal(directory.accountBySystemId('bob')?.suspended, 'unpaid')

  // Names that change hands.
  await store.transaction(async client => {
    await client.query(`update accounts set system_id = 'carol' where system_id = 'alice'`)
    await client.query(`update accounts set system_id = 'alice' where system_id = 'bob'`)
  })
  await directory.refresh()
  t.equal(directory.accountBySystemId('alice')?.id, bob?.id)
  t.equal(directory.accountBySystemId('carol')?.id, alice?.id)
  t.equal(directory.accountBySystemId('bob'), undefined)

  await db.query('delete from accounts')
  await directory.refresh()
  t.equal(directory.account(alice?.id ?? 0), undefined)
  t.equal(directory.accountBySystemId('alice'), undefined)
  t.equal(directory.ownerOf('491711'), undefined, 'what belonged to an account goes with it')
})

t.test('a number belongs to its account however it was written, before an upgrade too', async t => {
  const store = await opened(t, await cluster.database())
  const directory = await following(t, store)
  await applied(store, `accounts: [{systemId: a, numbers: ['+4930123', '0049301234', SHOP, '030124']}, {systemId: b}]`)
  await directory.refresh()
  const [a, b] = ['a', 'b'].map(name => directory.accountBySystemId(name)?.id as number)
  const owners = (...numbers: string[]) => numbers.map(number => directory.ownerOf(number))
  t.same(owners('4930123', '49301234', 'SHOP', '030124', '+4930123'), [a, a, a, a, undefined])
  const actor = { who: 'test', from: 'here' }
  const edit = editAccount(store, secrets, actor, 'b', { set: { numbers: ['004930123'] }, unset: [] })
  await t.rejects(edit, /4930123 is a number of the account a/)

  // As an earlier release has stored them.
  await store.query('delete from numbers')
  const rows = [
    ['+491', b],
    ['+4917', b],
    ['0049171', a],
    ['+49171', b],
    ['49172', a],
    ['+49172', b],
    ['000173', a],
    ['SHOP', b],
  ]
  for (const row of rows) await store.query('insert into numbers (number, account) values ($1, $2)', row)
  await store.query(readFileSync('config/migrations/011_numbers.sql', 'utf8'))
  await directory.refresh()
  t.same(owners('491', '4917', '49171', '49172', '0173', 'SHOP'), [b, b, b, a, a, b])
  t.same((await store.query("select from numbers where number ~ '^(\\+|00)'")).rowCount, 0)
})

t.test('networks that change are told of, whatever routes match by', async t => {
  const store = await opened(t, await cluster.database())
  const directory = await following(t, store)
  const base = `carriers: [{name: sim, kind: simulator}]
routes: [{by: quality, to: [sim]}]
`
  await applied(store, base)
  await directory.refresh()
  const told: string[] = []
  directory.onChange(part => told.push(part))
  await applied(store, `${base}networks: [{mccmnc: '262-01', name: one, prefixes: ['4915']}]`)
  await directory.refresh()
  t.same(told, ['routes'])
})

t.test('a change is noticed without being asked for', async t => {
  const store = await opened(t, await cluster.database())
  const directory = await following(t, store)
  const told = new Promise<string>(resolve => directory.onChange(part => resolve(part)))
  await store.query(`insert into accounts (system_id) values ('dave')`)
  t.equal(await told, 'accounts')
  t.equal(directory.accountBySystemId('dave')?.systemId, 'dave')
})

t.test('who waits for a directory that is closed before it has caught up is told so', async t => {
  const store = await opened(t, await cluster.database())
  const directory = await following(t, store)
  let closed: Promise<void> | undefined
  directory.onChange(() => {
    closed ??= directory.close()
  })
  // More than a slice of changes.
  await store.query(`insert into accounts (system_id) select 'new' || n from generate_series(1, 600) n`)
  await t.rejects(directory.refresh(), { message: 'the directory is closed' })
  await closed
  await t.rejects(directory.refresh(), { message: 'the directory is closed' })
})

t.test('so is who waits for one that is closed while it loads', async t => {
  const store = await opened(t, await cluster.database())
  const directory = new Directory({ path: newPath(), store, secrets, log: silent })
  // It is for the first pass, which finds everything to be loaded.
  const caughtUp = directory.refresh()
  let closed: Promise<void> | undefined
  // Told of first: accounts are still to come.
  directory.onChange(part => {
    if (part === 'inbound') closed ??= directory.close()
  })
  directory.start()
  await t.rejects(caughtUp, { message: 'the directory is closed' })
  await closed
})

t.test('a node that has a copy starts and serves without SQL; one that was long away loads anew', async t => {
  const url = await cluster.database()
  const store = await opened(t, url)
  await applied(store, BENCH)
  const path = newPath()
  const first = await following(t, store, path)
  await first.close()

  const way = await Way.to(url)
  const away = openStore({ url: way.url, dataDir: '/nonexistent', log: silent })
  t.teardown(() => away.close())
  const alone = new Directory({ path, store: away, secrets, log: silent })
  alone.start()
  t.equal(alone.ready, true)
  t.equal(alone.verify(alone.accountBySystemId('bench'), 'bench'), true)
  t.match(alone.carriers(), [{ name: 'up', settings: { password: 'up', port: 27750 } }])
  t.match(alone.routes(), [{ to: [{ carrier: 'up' }] }])
  await t.rejects(alone.refresh(), { code: 'STORE_AWAY' })

  // Meanwhile much happens, and what it was is forgotten.
  await store.query('delete from api_keys')
  await store.query('delete from accounts')
  await store.query(`insert into accounts (system_id) select 'new' || n from generate_series(1, 600) n`)
  await store.query(`insert into numbers select '49' || id, id from accounts`)
  await store.query('delete from changes where number < (select max(number) from changes)')
  const reloaded = new Promise(resolve => alone.onChange((part, ids) => part === 'accounts' && resolve(ids)))
  await way.open()
  t.equal(await reloaded, undefined, 'anything may have changed')
  t.equal(alone.accountBySystemId('bench'), undefined)
  t.equal(alone.key('tl_bench_0123456789abcdef0123456789abcdef'), undefined)
  const last = alone.accountBySystemId('new600')
  t.equal(alone.ownerOf(`49${last?.id}`), last?.id)
  await alone.close()
  way.close()

  const elsewhere = await opened(t, await cluster.database())
  const moved = await following(t, elsewhere, path)
  t.equal(moved.accountBySystemId('new600'), undefined, 'another database is another directory')
})

t.test('what an interrupted load left behind is swept out by the next', async t => {
  const store = await opened(t, await cluster.database())
  await applied(store, BENCH)
  const path = newPath()
  const half = new DirectoryCopy(path)
  const gone = {
    id: 99,
    systemId: 'gone',
    group: '',
    secret: null,
    suspended: null,
    throughput: 0,
    maxBinds: 0,
    rank: 1 as const,
    weight: 1,
    maxWaiting: null,
    serviceTypes: [],
    senders: [],
    creditMicros: null,
    tariff: 0,
    otp: {},
    quietHours: null,
    smpp: {},
    mail: {},
    consent: {},
    hooks: [],
    limits: {},
  }
  await half.write(() => {
    half.setState({ identity: 'any', version: 0, complete: false })
    half.setAccounts([99], [gone])
    half.setOwners('numbers', new Map([['49171', 99]]))
  })
  t.equal(half.account(99)?.systemId, 'gone')
  await half.close()
  const directory = await following(t, store, path)
  t.equal(directory.account(99), undefined)
  t.equal(directory.accountBySystemId('gone'), undefined)
  t.equal(directory.ownerOf('49171'), undefined)
  t.equal(directory.accountBySystemId('bench')?.systemId, 'bench')
})

t.test('change numbers become visible in their order, whatever the order of the commits', async t => {
  const url = await cluster.database()
  const [slow, quick] = [await connect(url), await connect(url)]
  await slow.query('begin')
  await slow.query(`insert into accounts (system_id) values ('slow')`)
  const { rows } = await quick.query('select pg_backend_pid() as pid')
  const written = quick.query(`insert into accounts (system_id) values ('quick')`)
  // The later number waits for the earlier: seen in the server's locks, not by the clock.
  for (let isWaiting = false; !isWaiting; ) {
    isWaiting = (await slow.query('select from pg_locks where pid = $1 and not granted', [rows[0].pid])).rowCount === 1
  }
  t.equal((await slow.query('select from changes')).rowCount, 1)
  await slow.query('commit')
  await written
  t.equal((await slow.query('select from changes')).rowCount, 2)
  await slow.end()
  await quick.end()
})

t.test('under another server key nothing is written and no carrier binds', async t => {
  const store = await opened(t, await cluster.database())
  await applied(store, BENCH)
  t.match(await applyGateway(store, strangers, parsed(BENCH)), { ok: false, faults: [{ text: /another server key/ }] })
  const directory = await following(t, store, newPath(), strangers)
  t.equal(directory.verify(directory.accountBySystemId('bench'), 'bench'), false)
  t.same(directory.carriers(), [], 'rather no carrier than a bind without its password')
  const sealed = (await exported(store)).replace('name: up', 'name: other').replace('- up', '- other')
  t.match(await applied(store, sealed), [{ path: 'carriers[0].sealed' }], 'a seal is good for its carrier alone')
})

t.test('an empty database is filled from the bootstrap file once, by one of all nodes', async t => {
  const store = await opened(t, await cluster.database())
  const file = join(folder, 'bootstrap.yaml')
  writeFileSync(file, BENCH)
  const results = await Promise.all(Array.from({ length: 4 }, () => bootstrapIfEmpty(store, secrets, file, silent)))
  t.equal(results.filter(result => result?.ok).length, 1)
  t.equal(results.filter(result => result === undefined).length, 3)
  await applied(store, 'accounts: []\nroutes: []\ncarriers: []')
  t.equal(await bootstrapIfEmpty(store, secrets, file, silent), undefined, 'emptied is not empty')
})

t.test('apply and export work on the embedded database beside a daemon, and leave it running', async t => {
  const config = join(folder, 'trunkline.yaml')
  writeFileSync(config, `dataDir: ${cluster.dataDir}\n`)
  const [gateway, backup, faulty] = ['gateway.yaml', 'backup.yaml', 'faulty.yaml'].map(name => join(folder, name))
  writeFileSync(gateway as string, BENCH)
  writeFileSync(faulty as string, 'accounts: [{maxBinds: 0}]\nroute: []')
  const run = async (...args: string[]): Promise<string[]> => {
    const program = new Command('trunkline').option('--config <file>').option('--json')
    registerApply(program)
    registerExport(program)
    const printed = t.capture(console, 'log')
    await program.parseAsync(['--config', config, ...args], { from: 'user' })
    printed.restore()
    return printed.args().map(([line]) => String(line))
  }
  t.same(await run('apply', gateway as string), [
    'accounts  1 created, 0 updated, 0 removed, 0 unchanged',
    'carriers  1 created, 0 updated, 0 removed, 0 unchanged',
    'routes    1 created, 0 updated, 0 removed, 0 unchanged',
  ])
  t.same(await run('export', backup as string), [`written to ${backup}`])
  t.equal(statSync(backup as string).mode & 0o777, 0o600)
  const [again = ''] = await run('apply', backup as string, '--json')
  const one = counts(0, 0, 0, 1)
  t.match(JSON.parse(again), { dryRun: false, accounts: one, carriers: one, routes: one })
  t.notMatch(again, /"(created|updated|removed)":[1-9]/)
  await t.rejects(run('apply', faulty as string), {
    exit: 2,
    message: `${faulty}:1: accounts[0].systemId is missing\n${faulty}:2: route is no such key`,
  })
  await t.rejects(run('apply', join(folder, 'nothing.yaml')), { exit: 2, message: /ENOENT/ })
  t.type(await cluster.database(), 'string', 'the server runs on')
})

t.test('the server key is made once, is closed to others, and a damaged one is refused', async t => {
  const dataDir = join(folder, 'keys')
  const keys = await Promise.all(Array.from({ length: 4 }, () => serverKey(dataDir)))
  const file = join(dataDir, 'server.key')
  for (const key of keys) t.same(key, keys[0])
  t.equal(statSync(file).mode & 0o777, 0o600)
  t.same(await serverKey(dataDir, readFileSync(file, 'utf8')), keys[0], 'as text it may be given to another node')
  chmodSync(file, 0o600)
  writeFileSync(file, 'short')
  await t.rejects(serverKey(dataDir), { message: /is not a server key/ })
})

t.test('secrets: a seal opens for its owner only, and a shown prefix leaves 16 characters', async t => {
  const sealed = secrets.seal('up', 'pässword')
  t.equal(secrets.unseal('up', sealed), 'pässword')
  t.equal(secrets.unseal('down', sealed), undefined)
  t.equal(strangers.unseal('up', sealed), undefined)
  for (let i = 0; i < sealed.length; i++) {
    const damaged = Buffer.from(sealed)
    damaged[i] = (damaged[i] as number) ^ 1
    t.equal(secrets.unseal('up', damaged), undefined)
  }
  t.equal(secrets.unseal('up', Buffer.alloc(0)), undefined)
  t.notSame(secrets.passwordHash('a', 'same'), secrets.passwordHash('b', 'same'))
  t.equal(shownPrefix('tl_bench_0123456789abcdef0123456789abcdef'), 'tl_bench_0123')
  t.equal(shownPrefix('x'.repeat(20)), 'xxxx')
  t.match(newApiKey('demo'), /^tl_demo_[0-9a-f]{32}$/)
})
