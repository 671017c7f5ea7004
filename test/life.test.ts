// A daemon's life: how it starts and refuses to, how it stops, what a SIGKILL leaves, how it follows changes of its
// directory, and how it does without its database.

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { esme, worker } from './support/esme.js'
import { emptyHouse, freshDatabase, type HistoryRow, house, story, trunkline } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { within } from './support/peer.js'
import { Way } from './support/postgres.js'
import { smsc } from './support/smsc.js'

t.jobs = 3

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n))

/** Two rows of each message and no more. */
function standsOnce(t: Test, rows: readonly HistoryRow[], ids: readonly string[]): void {
  t.same(
    rows.map(row => `${row.id} ${row.kind}`),
    [...ids].sort().flatMap(id => [`${id} a`, `${id} e`]),
  )
}

story('a stop refuses new work for now, lets windows empty, unbinds everyone, loses and doubles nothing', async t => {
  const carrier = await smsc(t, { submit: sm => sm.later(300, () => sm.deliver()) })
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 10 } }, config: { stop: { drainMs: 8_000 } } })
  await carrier.bound()
  const shop = await esme(t, daemon.smpp)
  const ids = (await shop.submitAll(50)).map(one => one.message_id)
  await carrier.until(() => carrier.submitted.length >= 10, 'a full window')

  // Unbound by the daemon, but not yet gone.
  const asked = new Promise<string>(resolve => {
    const { onRequest } = shop.peer
    shop.peer.onRequest = pdu => {
      if (pdu.name !== 'unbind') onRequest(pdu)
      else
        void shop.submit().then(({ status }) => {
          shop.peer.respond(pdu)
          resolve(status)
        })
    }
  })
  const from = performance.now()
  daemon.signal('SIGTERM')
  t.equal(await within(asked, 'unbind'), 'ESME_RSYSERR')
  await shop.closed()
  t.equal(await daemon.exit(), 0)
  t.ok(performance.now() - from < 10_000)
  t.match(daemon.lines('unbound'), [{ reason: 'draining' }])
  t.match(daemon.lines('carrier link closed'), [{ reason: 'unbound by us', unanswered: 0 }])

  await daemon.start()
  const again = await esme(t, daemon.smpp)
  await again.take(50 - shop.delivered.length)
  const reported = [...shop.delivered, ...again.delivered].map(one => one.receipt.id)
  t.same([...reported].sort(), [...ids].sort())
  t.same(
    carrier.submitted.map(sm => sm.text),
    numbers(50),
  )
  t.equal(daemon.lines('ready').at(-1)?.crashed, false)
  standsOnce(t, await daemon.history(100), ids)
})

story('a second signal does not wait for a carrier that answers nothing, and its message goes again', async t => {
  const carrier = await smsc(t, { submit: sm => (carrier.submitted.length > 1 ? sm.deliver() : undefined) })
  const daemon = await house(t, { carriers: { up: carrier }, config: { stop: { drainMs: 8_000 } } })
  const shop = await esme(t, daemon.smpp)
  await shop.submit()
  const sm = await carrier.next()
  daemon.signal('SIGTERM')
  await daemon.line('stopping')
  const from = performance.now()
  daemon.signal('SIGTERM')
  // Receipts of nobody until the last moment: what comes in while the stores close.
  while (!sm.link.isClosed) await sm.receipt({ id: 'NOBODY' }).catch(() => {})
  t.equal(await daemon.exit(), 0)
  t.ok(performance.now() - from < 4_000)
  await daemon.start()
  const again = await esme(t, daemon.smpp)
  await again.next()
  t.equal(carrier.submitted.length, 2)
})

story('what was acknowledged before a SIGKILL reaches the carrier after it', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 100 } } })
  await carrier.bound()
  await carrier.close()
  const shop = await esme(t, daemon.smpp)
  const acknowledged: string[] = []
  // A hundred more each turn, and the daemon is killed in the middle of it.
  let sent = 0
  while (!shop.peer.isClosed) {
    for (let n = 0; n < 100; n++) {
      const text = String(sent++)
      const taken = (): void => {
        acknowledged.push(text)
        if (acknowledged.length === 400) void daemon.kill9()
      }
      void shop.submit({ short_message: Buffer.from(text) }).then(
        ({ status }) => status === 'ESME_ROK' && taken(),
        () => {},
      )
    }
    await turn()
  }
  await daemon.exit()
  t.ok(acknowledged.length < sent, `${acknowledged.length} of ${sent} were acknowledged`)
  await carrier.open()
  await daemon.start()
  t.equal(daemon.lines('ready').at(-1)?.crashed, true)
  const there = new Set<string>()
  let seen = 0
  await carrier.until(() => {
    for (const sm of carrier.submitted.slice(seen)) there.add(sm.text)
    seen = carrier.submitted.length
    return acknowledged.every(text => there.has(text))
  }, 'all that was acknowledged')
})

story('a faulty configuration ends with 2 and names all its faults, and so does a faulty gateway file', async t => {
  const one = await emptyHouse(t)
  const file = join(one.dir, 'faulty.yaml')
  writeFileSync(file, `dataDir: ${one.dataDir}\nsmpp:\n  listen: nowhere\n  windw: 5\nnode: 64\nlog: { level: loud }\n`)
  const faulty = await trunkline(['serve', '--config', file])
  t.equal(faulty.code, 2)
  for (const fault of [
    `${file}:3: smpp.listen `,
    `${file}:4: smpp.windw `,
    `${file}:5: node `,
    `${file}:6: log.level `,
  ]) {
    t.match(faulty.stderr, fault)
  }
  t.equal(faulty.stdout, '')

  const gateway = join(one.dir, 'gateway.yaml')
  writeFileSync(gateway, 'accounts:\n  - systemId: shop\n    maxBinds: -1\nroutes:\n  - to: [nobody]\n    mach: {}\n')
  const refused = await trunkline(['serve', '--config', one.configFile])
  t.equal(refused.code, 2)
  t.match(refused.stderr, `${gateway}:3: accounts[0].maxBinds `)
  t.match(refused.stderr, `${gateway}:6: routes[0].mach `)
})

story('a first start without its database ends with 1 and says so, and leaves nothing', async t => {
  const way = await Way.to(await freshDatabase())
  const one = await emptyHouse(t, { database: { url: way.url, direct: way.url } })
  const { code, stderr } = await trunkline(['serve', '--config', one.configFile])
  t.equal(code, 1)
  t.match(stderr, /^cannot start: .*ECONNREFUSED/)
})

story('a running daemon is left in peace by a second one and by a faulty file, and follows a good one', async t => {
  const daemon = await house(t, { expected: /settings not reloaded/ })
  await t.test(
    'a second daemon on the same directory ends with 3, names the first, and leaves it in peace',
    async t => {
      const shop = await esme(t, daemon.smpp)
      const { code, stdout, stderr } = await trunkline(['serve', '--config', daemon.configFile])
      t.equal(code, 3)
      t.match(stderr, `pid ${daemon.pid}`)
      t.equal(stdout, '')
      t.equal((await shop.submit()).status, 'ESME_RINVDSTADR')
      await shop.unbind()
    },
  )

  await t.test('SIGHUP changes the log level of the running daemon, and a faulty file changes nothing', async t => {
    const settings = JSON.parse(readFileSync(daemon.configFile, 'utf8'))
    writeFileSync(daemon.configFile, JSON.stringify({ ...settings, log: { level: 'loud' } }))
    daemon.signal('SIGHUP')
    await daemon.line('settings not reloaded: they are faulty')
    writeFileSync(daemon.configFile, JSON.stringify({ ...settings, log: { level: 'debug' } }))
    daemon.signal('SIGHUP')
    await daemon.line('settings reloaded')
    const shop = await esme(t, daemon.smpp)
    await shop.unbind()
    const stranger = await esme(t, daemon.smpp)
    t.equal((await stranger.submit()).status, 'ESME_RINVDSTADR')
  })
})

lodger('a changed route takes what waits to its new carrier, and a removed one is matched again', async t => {
  const [dead, alive] = [await smsc(t), await smsc(t)]
  await dead.close()
  const carriers = { dead, alive }
  const waits = { name: 'waits', match: { destination: '44' }, to: ['dead'] }
  const goes = { name: 'goes', match: { destination: '1' }, to: ['dead'] }
  const daemon = await lodge(t, { carriers, routes: [waits, goes] })
  const shop = await daemon.enter(t)
  await shop.submitAll(10, { destination_addr: '12025550123' })
  await shop.submitAll(10, { destination_addr: '447700900123' })
  await daemon.apply({ carriers, routes: [waits, { ...goes, to: ['alive'] }] })
  await shop.take(10)
  t.same(
    alive.submitted.map(sm => `${sm.fields.destination_addr} ${sm.text}`),
    numbers(10).map(n => `12025550123 ${n}`),
  )
  await daemon.apply({ carriers, routes: [{ name: 'all', match: {}, to: ['alive'] }] })
  await shop.take(10)
  t.same(
    alive.submitted.slice(10).map(sm => `${sm.fields.destination_addr} ${sm.text}`),
    numbers(10).map(n => `447700900123 ${n}`),
  )
})

lodger('a carrier changed under load empties its windows, and no message is lost or doubled', async t => {
  const carrier = await smsc(t, { submit: sm => sm.later(20, () => sm.deliver()) })
  const gateway = (window: number, rest = {}) => ({ carriers: { up: { at: carrier, window, ...rest } } })
  const daemon = await lodge(t, gateway(5))
  const shop = await daemon.enter(t)
  const ids = (await shop.submitAll(600)).map(one => one.message_id)
  await daemon.apply(gateway(10))
  await daemon.line('carrier changed')
  await daemon.apply(gateway(10, { paused: true }))
  await daemon.line('carrier paused')
  await daemon.apply(gateway(10, { paused: false }))
  const reports = await shop.take(600)
  t.same(reports.map(one => one.receipt.id).sort(), [...ids].sort())
  t.same(
    carrier.submitted.map(sm => sm.text),
    numbers(600),
  )
})

lodgersOn('changes of the directory are followed while messages wait and go')

story('without its database traffic goes on, over a restart too, and history catches up exactly once', async t => {
  const carrier = await smsc(t)
  const direct = await freshDatabase()
  const way = await Way.to(direct)
  await way.open()
  t.teardown(() => way.close())
  const daemon = await house(t, {
    accounts: { shop: { numbers: ['12025550100'] } },
    carriers: { up: carrier },
    database: { url: way.url, direct },
  })
  const ids: string[] = []
  const first = await worker(t, daemon.smpp)
  await daemon.history(rows => rows.length >= 20)
  // Cut between what is told and what is answered: whether it holds nobody knows.
  way.inspect = chunk => !chunk.includes('commit')
  await daemon.line('history does not reach the database; it is kept in the log')
  way.close()
  await daemon.line('the database went away')
  const before = first.ids.length
  await carrier.until(() => carrier.submitted.length > before + 50, 'traffic without a database')
  await first.stop()
  ids.push(...first.ids)

  t.equal(await daemon.stop(), 0)
  const from = daemon.log.length
  await daemon.start()
  await daemon.line(line => /database/.test(line.msg) && line.level === 'warn', from)
  await carrier.bound()
  const second = await worker(t, daemon.smpp)
  await carrier.until(() => carrier.submitted.length > ids.length + 50, 'traffic after a restart without a database')
  t.equal(await carrier.mobileOriginated({ source_addr: '1', destination_addr: '12025550100' }), 0)
  const [rows] = await Promise.all([daemon.history(0), second.stop().catch(() => {})])
  t.ok(rows.length < 2 * ids.length)
  ids.push(...second.ids)

  way.inspect = () => true
  await way.open()
  standsOnce(t, await daemon.history(2 * ids.length, 30_000), ids)
})

story('the embedded database, stopped or killed, is started again under traffic, and history is whole', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { carriers: { up: carrier }, database: 'embedded' })
  const busy = await worker(t, daemon.smpp)
  const postmaster = (): number =>
    Number(readFileSync(join(daemon.dataDir, 'postgres/cluster/data/postmaster.pid'), 'utf8').split('\n')[0])
  await daemon.history(20)
  for (const signal of ['SIGINT', 'SIGKILL'] as const) {
    const from = daemon.log.length
    process.kill(postmaster(), signal)
    await daemon.line('the database went away', from)
    await daemon.line('the database is up', from, 30_000)
    const sofar = busy.ids.length
    await daemon.history(rows => rows.length > 2 * sofar)
  }
  const { slowestMs } = await busy.stop()
  t.ok(slowestMs < 8_000, `a customer waited ${Math.round(slowestMs)} ms at most`)
  standsOnce(t, await daemon.history(2 * busy.ids.length), busy.ids)

  // Killed ourselves: the server lives on and is taken over.
  await daemon.kill9()
  const from = daemon.log.length
  await daemon.start()
  await daemon.line('adopted the running embedded PostgreSQL', from)
  t.equal(await daemon.stop(), 0)

  await t.test('a port in use ends the start with 1 and a sentence, and leaves no process and no socket', async t => {
    const squatter = createServer().listen(0, '127.0.0.1')
    t.teardown(() => squatter.close())
    await once(squatter, 'listening')
    const { port } = squatter.address() as { port: number }
    const settings = JSON.parse(readFileSync(daemon.configFile, 'utf8')) as object
    writeFileSync(daemon.configFile, JSON.stringify({ ...settings, smpp: { listen: `127.0.0.1:${port}` } }))
    const { code, stderr } = await trunkline(['serve', '--config', daemon.configFile])
    t.equal(code, 1)
    t.match(stderr, /EADDRINUSE/)
  })
})
