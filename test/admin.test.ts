// The side-port and the commands that ask it: who may ask, what is answered, what Prometheus
// reads, and how the daemon is told to stop.

import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { type RequestOptions, request } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { status as smppStatus } from '../protocols/smpp/status.js'
import { createAdmin } from '../src/admin/admin.js'
import { type DirectoryLock, takeDirectory } from '../src/admin/lock.js'
import { Recent } from '../src/admin/recent.js'
import type { Status } from '../src/admin/status.js'
import { adminSocketPath } from '../src/config/adminSocket.js'
import { state } from '../src/model/message.js'
import { AWKWARD, account, link, PASSWORD, route, START_MS, StandingDriver, Subject } from './support/admin-subject.js'
import { readExposition } from './support/exposition.js'

const entry = join(fileURLToPath(new URL('../../', import.meta.url)), 'dist', 'src', 'cli.js')
const KEY = 'the-admin-key-of-this-test'

interface Answer {
  status: number
  type: string
  text: string
  json: Record<string, unknown>
  headers: Record<string, unknown>
}

interface Asked {
  method?: string
  headers?: Record<string, string>
  /** A string goes as it is, anything else as JSON. */
  body?: unknown
}

interface Side {
  subject: Subject
  lock: DirectoryLock
  dataDir: string
  port: number
  /** What the daemon does last. */
  close(): Promise<void>
  /** Over TCP. */
  far(path: string, asked?: Asked): Promise<Answer>
  /** Over the unix socket. */
  near(path: string, asked?: Asked): Promise<Answer>
}

/** A side-port on a free port and a socket of its own, gone after the test. */
async function side(t: Test, config: { key?: string | null; metricsAccounts?: string[] } = {}): Promise<Side> {
  const dataDir = mkdtempSync(join(tmpdir(), 'admin-'))
  const subject = new Subject({ ...config, dataDir })
  const socketPath = adminSocketPath(dataDir)
  const lock = await takeDirectory(dataDir, socketPath, process.pid)
  const admin = await createAdmin(subject, null)
  lock.serve(admin.handler)
  const port = await admin.listen({ host: '127.0.0.1', port: 0 })
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= admin.close().then(() => lock.release())
    return closed
  }
  t.teardown(async () => {
    await close()
    rmSync(dataDir, { recursive: true, force: true })
  })
  return {
    subject,
    lock,
    dataDir,
    port,
    close,
    far: (path, asked) => exchange({ host: '127.0.0.1', port, path }, asked),
    near: (path, asked) => exchange({ socketPath, path }, asked),
  }
}

function exchange(to: RequestOptions, { method = 'GET', headers = {}, body }: Asked = {}): Promise<Answer> {
  const type: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const asked = request({ ...to, method, headers: { ...type, ...headers }, agent: false }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', chunk => {
        text += chunk
      })
      response.on('end', () => {
        const type = response.headers['content-type'] ?? ''
        const json = /json/.test(type) && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : {}
        resolve({ status: response.statusCode ?? 0, type, text, json, headers: response.headers })
      })
    })
    asked.on('error', reject)
    asked.end(body === undefined || typeof body === 'string' ? body : JSON.stringify(body))
  })
}

const bearer = (key: string): Asked => ({ headers: { authorization: `Bearer ${key}` } })
const apiKey = (key: string): Asked => ({ headers: { 'x-api-key': key } })

/** Everything that only an administrator may ask, below either prefix. */
const GUARDED: readonly (readonly [method: string, path: string])[] = [
  ['GET', 'status'],
  ['HEAD', 'status'],
  ['GET', 'queue'],
  ['GET', 'accounts'],
  ['GET', 'carriers'],
  ['GET', 'routes'],
  ['POST', 'routes'],
  ['PATCH', 'routes/any'],
  ['DELETE', 'routes/any'],
  ['POST', 'routes/any/move'],
  ['POST', 'routes/explain'],
  ['POST', 'carriers'],
  ['PATCH', 'carriers/any'],
  ['DELETE', 'carriers/any'],
  ['POST', 'carriers/any/pause'],
  ['POST', 'carriers/any/resume'],
  ['POST', 'carriers/any/test'],
  ['POST', 'carrier-test'],
  ['POST', 'queue/count'],
  ['POST', 'queue/retry'],
  ['POST', 'queue/cancel'],
  ['POST', 'queue/move'],
  ['GET', 'trace'],
  ['PUT', 'trace'],
  ['POST', 'drain'],
]
const PREFIXES = ['/api/v1/admin/', '/api/admin/']

t.test('health and readiness', async t => {
  t.test('health is open and says which process has lived for how long', async t => {
    const { subject, far } = await side(t)
    subject.clock.advance(90_500)
    const { status, json } = await far('/health')
    t.equal(status, 200)
    t.same(json, { status: 'ok', version: '1.2.3', uptime_s: 90, pid: process.pid })
  })
  t.test('readiness is open, and everything that stands in the way is named', async t => {
    const { subject, far } = await side(t)
    t.same((await far('/ready')).json, { ready: true, why: [] })
    const why = async (): Promise<unknown> => {
      const { status, type, json } = await far('/ready')
      t.equal(status, 503)
      t.match(type, 'application/problem+json')
      t.equal(json.ready, false)
      return json.why
    }
    subject.ports = null
    t.same(await why(), ['the listeners are not up yet'])
    subject.loaded = false
    subject.refuses = 'disk_full'
    t.same(await why(), [
      'the listeners are not up yet',
      'the directory was never loaded from the database',
      'the disk is nearly full: new messages are refused',
    ])
    subject.ports = { smpp: 1 }
    subject.loaded = true
    subject.refuses = 'queue_full'
    t.same(await why(), ['the queue is full: new messages are refused'])
    subject.stopping = true
    t.same(await why(), ['the daemon is stopping'])
  })
  t.test('the database away makes nobody unready', async t => {
    const { subject, far } = await side(t)
    subject.store = { ready: false }
    t.equal((await far('/ready')).status, 200)
  })
})

t.test('who may administer', async t => {
  t.test('without the key nothing of the administrator answers over TCP, under either prefix', async t => {
    const { subject, far } = await side(t, { key: KEY })
    for (const prefix of PREFIXES) {
      for (const [method, path] of GUARDED) {
        const { status, type, json, headers } = await far(prefix + path, { method })
        t.equal(status, 401, `${method} ${prefix}${path}`)
        t.match(type, 'application/problem+json')
        if (method !== 'HEAD') t.equal(json.code, 'key_missing')
        t.match(headers['www-authenticate'], 'Bearer')
      }
    }
    t.equal(subject.drains, 0)
  })
  t.test('the key opens it in both headers, and nothing but the whole key does', async t => {
    const { subject, far } = await side(t, { key: KEY })
    const path = '/api/v1/admin/queue'
    for (const asked of [bearer(KEY), apiKey(KEY), { headers: { authorization: `bearer  ${KEY}` } }]) {
      t.equal((await far(path, asked)).status, 200)
    }
    const wrong = [KEY.slice(0, -1), `${KEY}x`, KEY.toUpperCase(), 'x'.repeat(KEY.length), 'x', 'x'.repeat(4_000)]
    for (const key of wrong) {
      for (const asked of [bearer(key), apiKey(key)]) {
        const { status, json } = await far(path, asked)
        t.equal(status, 401)
        t.equal(json.code, 'key_refused')
      }
    }
    t.equal((await far(path, { headers: { authorization: `Basic ${KEY}` } })).status, 401)
    t.equal((await far(`${path}?key=${KEY}`)).status, 401)
    t.equal(subject.counters.get('admin_keys_refused'), wrong.length * 2)
  })
  t.test('refused keys are logged with their number, not one line each, and never the key', async t => {
    const { subject, far } = await side(t, { key: KEY })
    const refused = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i++) await far('/api/admin/status', bearer('not-the-key-of-anybody'))
    }
    await refused(5)
    subject.clock.advance(10_000)
    await refused(1)
    t.match(subject.logged, [{ msg: 'admin key refused', refused: 1, from: /^127\.0\.0\.1:\d+$/ }, { refused: 5 }])
    t.equal(subject.logged.length, 2)
    t.notMatch(JSON.stringify(subject.logged), 'not-the-key')
  })
  t.test('without a configured key nobody administers over TCP, and the answer says how to change that', async t => {
    const { far } = await side(t)
    for (const asked of [{}, bearer('null'), bearer(''), apiKey('undefined')]) {
      const { status, json } = await far('/api/v1/admin/status', asked)
      t.equal(status, 403)
      t.equal(json.code, 'no_admin_key')
      t.match(json.detail, /admin\.key \(TRUNKLINE_ADMIN_KEY\)/)
    }
  })
  t.test('the unix socket needs no key, whether or not there is one', async t => {
    for (const key of [null, KEY]) {
      const { near } = await side(t, { key })
      for (const [method, path] of GUARDED) {
        if (method === 'GET') t.equal((await near(`/api/admin/${path}`)).status, 200, path)
      }
    }
  })
})

t.test('what is wrong is said as a problem', async t => {
  const isProblem = (t: Test, answer: Answer, status: number, code: string): void => {
    t.equal(answer.status, status)
    t.match(answer.type, 'application/problem+json')
    const { type, title, detail } = answer.json
    t.match(answer.json, { status, code, type: `urn:trunkline:problem:${code}` })
    t.type(title, 'string')
    t.type(detail, 'string', `${type}`)
  }
  t.test('a path that is not there, and a method that a path has not', async t => {
    const { near, far } = await side(t)
    isProblem(t, await far('/nothing?key=secret'), 404, 'not_found')
    isProblem(t, await near('/api/v1/admin/nothing'), 404, 'not_found')
    isProblem(t, await near('/api/v1/admin/drain'), 404, 'not_found')
    t.notMatch((await far('/nothing?key=secret')).text, 'secret')
  })
  t.test('a body that is no JSON, too long, or not what the path takes', async t => {
    const { near } = await side(t)
    const put = (body: unknown) => near('/api/v1/admin/trace', { method: 'PUT', body })
    isProblem(t, await put('{"names":'), 400, 'bad_request')
    isProblem(t, await put({ names: ['x'.repeat(70_000)] }), 413, 'too_large')
    isProblem(t, await put({ name: [] }), 422, 'invalid')
    const faulty = await put({ names: ['', 5] })
    isProblem(t, faulty, 422, 'invalid')
    t.same(
      (faulty.json.faults as { path: string }[]).map(({ path }) => path),
      ['names.0', 'names.1'],
    )
    isProblem(t, await near('/api/v1/admin/accounts?limit=x'), 422, 'invalid')
    isProblem(t, await near('/api/v1/admin/accounts?offset=5'), 422, 'invalid')
  })
  t.test('a fault of ours tells the client nothing and the log everything', async t => {
    const { subject, near } = await side(t)
    subject.spool.figures = () => {
      throw new Error('the innards')
    }
    const answer = await near('/api/v1/admin/queue')
    isProblem(t, answer, 500, 'internal_fault')
    t.notMatch(answer.text, 'innards')
    t.match(subject.logged, [{ level: 'error', err: { message: 'the innards' }, path: '/api/v1/admin/queue' }])
  })
  t.test('what is no HTTP is answered with 400 and closed, and others are not disturbed', async t => {
    const { port, far } = await side(t)
    for (const garbage of [
      '\x16\x03\x01\x02\x00',
      '\0\0\0\x10\0\0\0\x15\0\0\0\0\0\0\0\x01',
      'GET /\x01 HTTP/9.9\r\n\r\n',
    ]) {
      const said = await new Promise<string>(resolve => {
        let text = ''
        const socket = connect(port, '127.0.0.1', () => socket.write(garbage, 'latin1'))
        socket.on('data', chunk => {
          text += chunk
        })
        socket.on('close', () => resolve(text))
      })
      t.match(said, /^HTTP\/1\.1 400 .*application\/problem\+json.*"status":400/s)
      t.equal((await far('/health')).status, 200)
    }
  })
})

t.test('what may be done', async t => {
  t.test('drain begins the stop once, however often it is asked for', async t => {
    const { subject, near, far } = await side(t, { key: KEY })
    subject.onDrain = () => {
      subject.stopping = true
    }
    for (const answer of [
      await far('/api/v1/admin/drain', { method: 'POST', ...bearer(KEY) }),
      await near('/api/admin/drain', { method: 'POST' }),
    ]) {
      t.equal(answer.status, 202)
      t.same(answer.json, { status: 'stopping', pid: process.pid })
    }
    t.equal(subject.drains, 1)
    t.match(subject.logged, [
      { action: 'drain', from: /^127\.0\.0\.1:\d+$/ },
      { action: 'drain', from: 'admin.sock' },
    ])
  })
  t.test('a trace names accounts and carriers that are there, and is refused as a whole otherwise', async t => {
    const { subject, near } = await side(t)
    subject.accounts = [account(1, 'acme')]
    subject.addCarrier('up', new StandingDriver())
    const put = (names: string[]) => near('/api/v1/admin/trace', { method: 'PUT', body: { names } })
    const set = await put(['acme', 'up', 'acme'])
    t.same(set.json, { names: ['acme', 'up'], written: false }, 'the log stands at info: nothing is written')
    t.same(subject.traced, ['acme', 'up'])
    t.match(subject.logged, [{ action: 'trace', names: ['acme', 'up'] }])
    const typo = await put(['acme', 'upp'])
    t.equal(typo.status, 422)
    t.equal(typo.json.detail, 'no account or carrier is called upp')
    t.same(subject.traced, ['acme', 'up'])
    subject.log.setLevel('debug')
    t.same((await near('/api/v1/admin/trace')).json, { names: ['acme', 'up'], written: true })
    t.same((await put([])).json, { names: [], written: true })
  })
  t.test('metrics are open to whoever reaches the port itself, and through a proxy ask for a key', async t => {
    const { far, near } = await side(t, { key: KEY })
    t.equal((await far('/metrics')).status, 200)
    const through = { 'x-forwarded-for': '192.0.2.1' }
    t.match(await far('/metrics', { headers: through }), { status: 401, json: { code: 'key_missing' } })
    t.match(await far('/metrics', { headers: { forwarded: 'for=127.0.0.1' } }), { status: 401 })
    t.equal((await far('/metrics', { headers: { ...through, 'x-api-key': KEY } })).status, 200)
    t.equal((await near('/metrics', { headers: through })).status, 200, 'over the socket')
    t.equal((await far('/health', { headers: through })).status, 200)
  })
  t.test('while it stops, what would ask the closed directory is refused and the status is not', async t => {
    const { subject, near } = await side(t, { metricsAccounts: ['acme'] })
    subject.accounts = [account(1, 'acme')]
    subject.directory.accountsAfter = subject.directory.accountBySystemId = () => {
      throw new Error('the directory is closed')
    }
    subject.stopping = true
    t.equal((await near('/api/v1/admin/accounts')).status, 503)
    t.equal((await near('/api/v1/admin/trace', { method: 'PUT', body: { names: ['acme'] } })).status, 503)
    t.match((await near('/api/v1/admin/status')).json, { stopping: true, ready: false })
    t.equal((await near('/metrics')).status, 200)
  })
  t.test('after close the port refuses connections, and the socket answers 503 until it is released', async t => {
    const dataDir = mkdtempSync(join(tmpdir(), 'admin-'))
    t.teardown(() => rmSync(dataDir, { recursive: true, force: true }))
    const socketPath = adminSocketPath(dataDir)
    const lock = await takeDirectory(dataDir, socketPath, process.pid)
    const admin = await createAdmin(new Subject({ dataDir }), null)
    lock.serve(admin.handler)
    const port = await admin.listen({ host: '127.0.0.1', port: 0 })
    // A client that has sent half a request must not hold the daemon up.
    const half = connect(port, '127.0.0.1', () => half.write('GET /health HTTP/1.1\r\nhost: x'))
    half.on('error', () => {})
    await new Promise(resolve => half.once('connect', resolve))
    await admin.close()
    await t.rejects(exchange({ host: '127.0.0.1', port, path: '/health' }), { code: 'ECONNREFUSED' })
    t.equal((await exchange({ socketPath, path: '/health' })).status, 503)
    await lock.release()
    await t.rejects(exchange({ socketPath, path: '/health' }), { code: 'ENOENT' })
  })
})

/** A house in which something of everything has happened. */
function busy(subject: Subject): void {
  const acme = account(11, 'acme', { rank: 0, throughput: 50, maxBinds: 4, creditMicros: 1_500_000 })
  const bravo = account(12, 'bravo', { suspended: 'unpaid', senders: new Set(['BRAVO', '123']) })
  subject.accounts = [acme, bravo]
  subject.addBind(acme, 'bound_trx', 100, 40)
  subject.addBind(acme, 'bound_tx', 5)
  subject.totals.closed({ accountId: acme.id, submitted: 1_000, delivered: 900 })
  const driver = new StandingDriver()
  driver.links = [
    link({ inFlight: 7, sinceMs: START_MS - 60_000 }),
    link({ stand: 'closed', lastReason: 'link silent', sinceMs: START_MS - 1_000 }),
  ]
  driver.ratePerSecond = 12.5
  driver.unsure = 2
  const up = subject.addCarrier('up', driver)
  up.line.sent = 20
  up.line.accepted = 15
  up.line.counts.add('throttled:ESME_RTHROTTLED', 4)
  up.line.counts.add('refused:ESME_RINVDSTADR')
  up.line.counts.add('resent_after_crash', 6)
  up.line.latency[0].observe(4)
  up.line.latency[0].observe(8)
  up.line.latency[2].observe(10_000_000)
  up.counts?.sent(command.submit_sm, 0)
  up.counts?.received(command.submit_sm_resp | 0, smppStatus.ESME_RTHROTTLED)
  const down = new StandingDriver()
  down.up = false
  subject.addCarrier(AWKWARD, down, false)
  subject.useRoutes([
    route(1, { position: 2, to: [{ carrier: 'up', weight: null }] }),
    route(2, {
      position: 1,
      name: 'to "44"',
      ranks: [0],
      destinations: ['44', '45'],
      to: [
        { carrier: 'up', weight: 3 },
        { carrier: AWKWARD, weight: 1 },
      ],
    }),
  ])
  subject.queue = {
    waiting: 30,
    claimed: 3,
    sent: 400,
    due: 5,
    outbox: 6,
    unclaimed: 1,
    parked: 2,
    logRows: 70,
    replaceable: 0,
    lanes: [
      { lane: 1, rank: 2, waiting: 20, oldestMs: START_MS - 90_000 },
      { lane: 1, rank: 0, waiting: 4, oldestMs: 0 },
      { lane: 9, rank: 1, waiting: 1, oldestMs: START_MS + 5_000 },
      { lane: 2, rank: 0, waiting: 5, oldestMs: START_MS - 1_500 },
    ],
  }
  subject.tally.countAccepted(0)
  subject.tally.countAccepted(2)
  subject.tally.countAccepted(2)
  subject.tally.countEnded(2, state.DELIVERED)
  subject.tally.countEnded(0, state.EXPIRED)
  subject.counters.add('binds_refused', 3)
  subject.syncMs.observe(2.5)
  subject.commitRecords.observe(50)
  subject.history.figures.rows = 123
  subject.history.figures.lagMs = 2_500
  // A peer that invents commands and statuses.
  subject.smppCounts.received(command.submit_sm, 0)
  subject.smppCounts.received(0x00012345, 0)
  subject.smppCounts.sent(command.generic_nack | 0, smppStatus.ESME_RINVCMDID)
  for (let i = 0; i < 1_100; i++) subject.smppCounts.received(command.deliver_sm_resp | 0, 0x1000 + i)
}

t.test('what is shown', async t => {
  t.test('the status has every figure of what happened', async t => {
    const { subject, near } = await side(t)
    busy(subject)
    const now = (await near('/api/v1/admin/status')).json as unknown as Status
    t.match(now, {
      version: '1.2.3',
      node: 7,
      pid: process.pid,
      started_at: '2026-01-02T03:04:05.000Z',
      ready: true,
      ports: { smpp: 2775, admin: 8080 },
      messages: { accepted: { otp: 1, transactional: 0, bulk: 2 } },
      binds: { tx: 1, rx: 0, trx: 1, open: 0, accounts_bound: 1 },
      spool: { refuses: null, exhausted: false, crashed: false, commits: 1 },
      history: { rows: 123, failures: 0, waiting_rows: 70, lag_s: 2.5 },
      store: { up: true },
      credit: { accounts: 0, left_micros: 0, waiting: 0 },
      directory: { ready: true, version: 42 },
      counters: { binds_refused: 3 },
    })
    t.same(now.messages.ended, { otp: { EXPIRED: 1 }, transactional: {}, bulk: { DELIVERED: 1 } })
    t.same(now.binds.accounts, [
      { system_id: 'acme', tx: 1, rx: 0, trx: 1, submitted: 105, delivered: 40, in_flight: 6 },
    ])
    t.ok(now.process.rss_bytes > 1e7)
    t.ok((now.disk.free_bytes ?? 0) > 0)
    const [up, other] = now.carriers
    t.match(up, {
      name: 'up',
      up: true,
      sent: 20,
      accepted: 15,
      unsure: 2,
      pace_per_s: 12.5,
      counts: { 'throttled:ESME_RTHROTTLED': 4 },
      links: [
        { stand: 'ready', in_flight: 7, window: 50, since_s: 60, last_reason: '' },
        { stand: 'closed', since_s: 1, last_reason: 'link silent' },
      ],
    })
    t.match(other, { name: AWKWARD, up: false, links: [] })
  })
  t.test('lanes stand in the order of their routes and carry the names and ages that people know', async t => {
    const { subject, near } = await side(t)
    busy(subject)
    t.same((await near('/api/v1/admin/queue')).json.lanes, [
      { route: 'to "44"', class: 'otp', waiting: 5, oldest_s: 1.5 },
      { route: '#1', class: 'otp', waiting: 4, oldest_s: null },
      { route: '#1', class: 'bulk', waiting: 20, oldest_s: 90 },
      { route: '#9', class: 'transactional', waiting: 1, oldest_s: 0 },
    ])
  })
  t.test('accounts come in pages, carriers and routes whole, and no secret in any of them', async t => {
    const { subject, near } = await side(t)
    busy(subject)
    subject.accounts.push(account(20, 'zulu'))
    const first = await near('/api/v1/admin/accounts?limit=2')
    t.match(first.json, {
      accounts: [
        { system_id: 'acme', class: 'otp', throughput: 50, max_binds: 4, binds: 2, credit_micros: 1_500_000 },
        { system_id: 'bravo', suspended: 'unpaid', binds: 0, senders: 2 },
      ],
      next: 12,
    })
    const last = await near('/api/v1/admin/accounts?limit=2&after=12')
    t.match(last.json, { accounts: [{ id: 20, system_id: 'zulu' }], next: null })
    const carriers = await near('/api/v1/admin/carriers')
    t.match(carriers.json.carriers, [
      { name: 'up', kind: 'smpp', up: true, links: 2, links_ready: 1, settings: { host: '10.0.0.9', systemId: 'us' } },
      { name: AWKWARD, kind: 'simulator', up: false, links: 0, links_ready: 0 },
    ])
    const routes = await near('/api/v1/admin/routes')
    t.match((routes.json.routes as unknown[])[1], {
      name: 'to "44"',
      match: { account: [], class: ['otp'], source: [], destination: ['44', '45'] },
      to: [
        { carrier: 'up', weight: 3, up: true },
        { carrier: AWKWARD, weight: 1, up: false },
      ],
    })
    for (const { text } of [first, carriers, routes, await near('/api/v1/admin/status'), await near('/metrics')]) {
      t.notMatch(text, PASSWORD)
      t.notMatch(text, /password|secret/)
    }
  })
  t.test('Prometheus reads every metric, once each, whatever carriers and routes are called', async t => {
    const { subject, far } = await side(t, { metricsAccounts: ['acme', 'nobody'] })
    readExposition((await far('/metrics')).text)
    busy(subject)
    const answer = await far('/metrics')
    t.equal(answer.type, 'text/plain; version=0.0.4; charset=utf-8')
    const { families, samples } = readExposition(answer.text)
    for (const name of families.keys()) t.match(name, /^(trunkline|process|nodejs)_/)
    const awkward = 'a\\"b\\\\c\\nd'
    const expected: Record<string, number> = {
      'trunkline_info{node="7",version="1.2.3"}': 1,
      'trunkline_ready{}': 1,
      'trunkline_binds{kind="trx"}': 1,
      'trunkline_binds{kind="tx"}': 1,
      'trunkline_esme_pdus_total{command="submit_sm",direction="received",status="ESME_ROK"}': 1,
      'trunkline_esme_pdus_total{command="generic_nack",direction="sent",status="ESME_RINVCMDID"}': 1,
      'trunkline_esme_pdus_total{command="unknown",direction="received",status="ESME_ROK"}': 1,
      'trunkline_account_binds{account="acme"}': 2,
      'trunkline_account_submitted_total{account="acme"}': 1_105,
      'trunkline_account_delivered_total{account="acme"}': 940,
      'trunkline_messages_accepted_total{class="bulk"}': 2,
      'trunkline_messages_ended_total{class="bulk",state="DELIVERED"}': 1,
      'trunkline_lane_messages{class="otp",route="to \\"44\\""}': 5,
      'trunkline_lane_oldest_seconds{class="bulk",route="#1"}': 90,
      'trunkline_waiting_messages{}': 30,
      'trunkline_claimed_messages{}': 3,
      'trunkline_sent_messages{}': 400,
      'trunkline_outbox_reports{}': 6,
      'trunkline_parked_receipts{}': 2,
      'trunkline_log_rows{}': 70,
      'trunkline_history_lag_seconds{}': 2.5,
      'trunkline_spool_sync_seconds_bucket{le="0.003"}': 1,
      'trunkline_spool_sync_seconds_sum{}': 0.0025,
      'trunkline_spool_commit_records_bucket{le="100"}': 1,
      'trunkline_carrier_up{carrier="up"}': 1,
      [`trunkline_carrier_up{carrier="${awkward}"}`]: 0,
      'trunkline_carrier_links{carrier="up",stand="ready"}': 1,
      'trunkline_carrier_links{carrier="up",stand="closed"}': 1,
      'trunkline_carrier_in_flight{carrier="up",link="1"}': 7,
      'trunkline_carrier_window{carrier="up",link="1"}': 50,
      'trunkline_carrier_outcomes_total{carrier="up",code="",kind="accepted"}': 15,
      'trunkline_carrier_outcomes_total{carrier="up",code="ESME_RTHROTTLED",kind="throttled"}': 4,
      'trunkline_carrier_events_total{carrier="up",name="resent_after_crash"}': 6,
      'trunkline_carrier_pdus_total{carrier="up",command="submit_sm_resp",direction="received",status="ESME_RTHROTTLED"}': 1,
      'trunkline_carrier_latency_seconds_bucket{carrier="up",class="otp",le="0.005"}': 1,
      'trunkline_carrier_latency_seconds_count{carrier="up",class="otp"}': 2,
      'trunkline_carrier_latency_seconds_bucket{carrier="up",class="bulk",le="3600"}': 0,
      'trunkline_carrier_latency_seconds_bucket{carrier="up",class="bulk",le="+Inf"}': 1,
      [`trunkline_carrier_outcomes_total{carrier="${awkward}",code="",kind="accepted"}`]: 0,
      'trunkline_events_total{name="binds_refused"}': 3,
      'process_start_time_seconds{}': START_MS / 1000,
    }
    for (const [series, value] of Object.entries(expected)) t.equal(samples.get(series), value, series)
    t.ok((samples.get('process_resident_memory_bytes{}') ?? 0) > 1e7)
    t.ok(
      (samples.get('trunkline_esme_pdus_total{command="deliver_sm_resp",direction="received",status="other"}') ?? 0) >
        0,
    )
    for (const account of ['bravo', 'nobody']) t.notMatch(answer.text, `account="${account}"`)
  })
})

t.test('the last minute', async t => {
  const watched = (t: Test) => {
    const subject = new Subject()
    const { line } = subject.addCarrier('up', new StandingDriver())
    const recent = new Recent(subject)
    t.teardown(() => recent.stop())
    const pass = (seconds: number): void => {
      for (let i = 0; i < seconds; i += 5) {
        subject.clock.advance(5_000)
        recent.sample()
      }
    }
    return { subject, line, recent, pass }
  }
  t.test('rates are of the last ten seconds, not of all that ever was', async t => {
    const { subject, line, recent, pass } = watched(t)
    for (let i = 0; i < 1_000; i++) subject.tally.countAccepted(1)
    line.accepted = 5_000
    pass(60)
    t.same(recent.rates(), { in: 0, out: 0, ended: 0 })
    for (let i = 0; i < 100; i++) subject.tally.countAccepted(1)
    for (let i = 0; i < 50; i++) subject.tally.countEnded(1, state.DELIVERED)
    line.accepted += 200
    pass(10)
    t.same(recent.rates(), { in: 10, out: 20, ended: 5 })
    t.equal(recent.lineRate(line), 20)
  })
  t.test('a latency stands for a minute and is then forgotten', async t => {
    const { line, recent, pass } = watched(t)
    pass(5)
    for (let i = 0; i < 98; i++) line.latency[1].observe(4)
    line.latency[1].observe(90)
    line.latency[1].observe(90)
    pass(55)
    const { count, p50Ms, p99Ms } = recent.latency(line, 1)
    t.equal(count, 100)
    t.ok(p50Ms !== null && p50Ms > 3 && p50Ms <= 5, `p50 ${p50Ms}`)
    t.ok(p99Ms !== null && p99Ms > 50 && p99Ms <= 100, `p99 ${p99Ms}`)
    pass(10)
    t.same(recent.latency(line, 1), { count: 0, p50Ms: null, p99Ms: null })
  })
  t.test('what is above every bound counts as the last bound', async t => {
    const { line, recent } = watched(t)
    line.latency[0].observe(1e9)
    t.equal(recent.latency(line, 0).p99Ms, 3_600_000)
  })
  t.test('a carrier that was made anew has no rate below zero', async t => {
    const { subject, line, recent, pass } = watched(t)
    line.accepted = 1_000
    pass(30)
    subject.lines.running.clear()
    const { line: next } = subject.addCarrier('up again', new StandingDriver())
    pass(10)
    t.equal(recent.lineRate(next), 0)
    t.equal(recent.rates().out, 0)
  })
  t.test('a task that holds the event loop shows as lag', async t => {
    const { recent } = watched(t)
    t.ok(recent.lag().p99Ms < 10_000)
    const turns = async (until: () => boolean): Promise<void> => {
      while (!until()) await new Promise(resolve => setImmediate(resolve))
    }
    const before = performance.now()
    await turns(() => performance.now() - before > 50)
    const start = performance.now()
    while (performance.now() - start < 120);
    await turns(() => recent.lag().maxMs > 80)
    t.ok(recent.lag().maxMs < 10_000)
  })
})

t.test('commands', async t => {
  interface Ran {
    code: number
    out: string
    err: string
  }
  /** The command line as a process; the side-port runs in this one. */
  const trunkline = (args: string[], env: Record<string, string>): Promise<Ran> =>
    new Promise(resolve => {
      const clean = { PATH: process.env.PATH, TMPDIR: tmpdir() }
      execFile(process.execPath, [entry, ...args], { env: { ...clean, ...env } }, (error, out, err) => {
        resolve({ code: error === null ? 0 : ((error.code as number | undefined) ?? -1), out, err })
      })
    })
  const here = ({ dataDir }: Side) => ({ TRUNKLINE_DATA_DIR: dataDir })

  t.test('each list says on the screen what it says as JSON, in plain text where nobody wants colours', async t => {
    const one = await side(t)
    busy(one.subject)
    const runs = await Promise.all(
      [['status'], ['queue'], ['account', 'list'], ['carrier', 'list'], ['route', 'list']].map(async args => ({
        args: args.join(' '),
        shown: await trunkline(args, here(one)),
        json: await trunkline([...args, '--json'], here(one)),
      })),
    )
    const expected: Record<string, RegExp[]> = {
      status: [
        /^trunkline 1\.2\.3 {2}node 7 .* ready$/m,
        /^queue +30 waiting/m,
        /^up +up +1\/2 +7\/100 /m,
        /^acme +1 +1 +0 +105/m,
      ],
      queue: [/^#1 +bulk +20 +1 min 30 s$/m, /^ +400 {2}accepted by a carrier/m],
      'account list': [/^acme +otp +50 +2\/4 +any +1\.50$/m, /^bravo .* suspended: unpaid$/m],
      'carrier list': [/^up +smpp +up +1\/2 +50 +- +- +us@10\.0\.0\.9:2775$/m, /simulator +down +0\/0/m],
      'route list': [/^1 +to "44" +class otp; destination 44, 45 +up:3, /m, /^2 +#1 +everything +up +order$/m],
    }
    for (const { args, shown, json } of runs) {
      t.equal(shown.code, 0, args)
      t.equal(shown.err, '', args)
      for (const pattern of expected[args] ?? []) t.match(shown.out, pattern)
      t.notMatch(shown.out, '\x1b[', `${args} prints no colours into a pipe`)
      t.equal(json.code, 0)
      t.ok(JSON.parse(json.out), `${args} --json`)
    }
    const [status, , accounts] = runs.map(({ json }) => JSON.parse(json.out) as unknown)
    t.match(status, { node: 7, binds: { trx: 1 } })
    t.match(accounts, [{ system_id: 'acme' }, { system_id: 'bravo' }])
  })
  t.test('colours are printed when asked for, not for a build machine, and NO_COLOR has the last word', async t => {
    const one = await side(t)
    const [coloured, ci, plain] = await Promise.all([
      trunkline(['status'], { ...here(one), FORCE_COLOR: '1' }),
      trunkline(['status'], { ...here(one), CI: 'true' }),
      trunkline(['status'], { ...here(one), FORCE_COLOR: '1', NO_COLOR: '1' }),
    ])
    t.match(coloured.out, '\x1b[32mready')
    t.notMatch(plain.out, '\x1b[')
    t.notMatch(ci.out, '\x1b[')
  })
  t.test('a daemon that is not ready, or none at all, is exit 1 with the reason', async t => {
    const one = await side(t)
    one.subject.stopping = true
    const nowhere = mkdtempSync(join(tmpdir(), 'admin-'))
    t.teardown(() => rmSync(nowhere, { recursive: true }))
    const [unready, silent] = await Promise.all([
      trunkline(['status'], here(one)),
      trunkline(['queue'], { TRUNKLINE_DATA_DIR: nowhere }),
    ])
    t.equal(unready.code, 1)
    t.match(unready.out, 'not ready: the daemon is stopping')
    t.equal(silent.code, 1)
    t.match(silent.err, /^no daemon answers in /)
  })
  t.test('over the network the key goes with the question', async t => {
    const one = await side(t, { key: KEY })
    const url = `http://127.0.0.1:${one.port}`
    // A data directory that is not there: nothing but the network can answer.
    const env = { TRUNKLINE_DATA_DIR: '/nonexistent' }
    const [right, wrong] = await Promise.all([
      trunkline(['queue', '--json', '--url', url, '--key', KEY], env),
      trunkline(['queue', '--json', '--url', url, '--key', 'no-key-of-this-gateway'], env),
    ])
    t.equal(right.code, 0)
    t.equal((JSON.parse(right.out) as { waiting: number }).waiting, 0)
    t.equal(wrong.code, 1)
    t.match(JSON.parse(wrong.err), { error: /key/ })
  })
  t.test('account list asks for page after page', async t => {
    const one = await side(t)
    one.subject.accounts = Array.from({ length: 450 }, (_, i) => account(i + 1, `a${i + 1}`))
    const { code, out } = await trunkline(['account', 'list', '--json'], here(one))
    t.equal(code, 0)
    t.same(
      (JSON.parse(out) as { id: number }[]).map(({ id }) => id),
      one.subject.accounts.map(({ id }) => id),
    )
  })
  t.test('drain waits until the daemon is gone', async t => {
    const one = await side(t)
    one.subject.onDrain = () => {
      one.subject.stopping = true
      // The daemon goes only after drain has looked at it once more.
      const figures = one.subject.spool.figures
      one.subject.spool.figures = () => {
        void one.close()
        return figures()
      }
    }
    const { code, out } = await trunkline(['drain', '--json'], here(one))
    t.equal(code, 0)
    t.match(JSON.parse(out), { stopped: true, pid: process.pid })
  })
  t.test('drain over the network waits for the port to close', async t => {
    const one = await side(t, { key: KEY })
    one.subject.onDrain = () => void setImmediate(() => void one.close())
    const url = `http://127.0.0.1:${one.port}`
    const { code, out } = await trunkline(['drain', '--url', url, '--key', KEY], { TRUNKLINE_DATA_DIR: '/nonexistent' })
    t.equal(code, 0)
    t.match(out, /^the daemon \(pid \d+\) has stopped after /)
  })
  t.test('drain does not wait for the daemon that was started in the place of the old one', async t => {
    const one = await side(t)
    one.subject.onDrain = () => {
      one.lock.serve((_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ pid: process.pid + 1 }))
      })
    }
    t.equal((await trunkline(['drain'], here(one))).code, 0)
  })
  t.test('drain gives up on a daemon that does not end, with exit 1', async t => {
    const one = await side(t)
    const { code, err } = await trunkline(['drain', '--wait', '0.2'], here(one))
    t.equal(code, 1)
    t.match(err, `the daemon (pid ${process.pid}) still runs after 0.2 s`)
    t.equal(one.subject.drains, 1)
  })
  t.test('help has words and examples, also of a command within a command', async t => {
    const names = ['status', 'account', 'drain']
    const runs = await Promise.all(
      names.map(name => trunkline(name === 'account' ? [name, 'list', '--help'] : [name, '--help'], {})),
    )
    for (const [i, { code, out }] of runs.entries()) {
      t.equal(code, 0, String(names[i]))
      t.match(out, 'Examples:')
    }
    const bad = await trunkline(['drain', '--wait', 'soon'], {})
    t.equal(bad.code, 2)
  })
})
