// What an operator does to carriers and to what waits, and what he sees of a message: over HTTP on the socket, as the
// commands ask it, and by the commands themselves where the story is about them.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { type AddressInfo, connect, createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { status } from '../protocols/smpp/status.js'
import type { LinksEntry } from '../src/admin/carriers.js'
import type { CarrierEntry } from '../src/admin/lists.js'
import type { MessageEntry, MessagePage, MessageStory } from '../src/admin/messages.js'
import type { CountedLane, QueuePage, WorkLine } from '../src/admin/queue.js'
import type { QueuedMessage } from '../src/admin/queued.js'
import type { ProbeStep } from '../src/carriers/probe.js'
import { adminSocketPath } from '../src/config/adminSocket.js'
import { esme } from './support/esme.js'
import { type House, house, story, trunkline } from './support/house.js'
import { PATIENCE_MS } from './support/peer.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

t.jobs = 2

const ROOT = '/api/v1/admin'
const KEY = 'the-admin-key-of-this-test'

interface Answer<T> {
  status: number
  json: T
  /** Of application/x-ndjson. */
  lines: T[]
}

async function asked<T = Record<string, unknown>>(
  house: House,
  method: string,
  path: string,
  body?: unknown,
): Promise<Answer<T>> {
  const sent = body === undefined ? undefined : JSON.stringify(body)
  const headers = sent === undefined ? {} : { 'content-type': 'application/json' }
  const socketPath = adminSocketPath(house.dataDir)
  const text = await new Promise<[number, string]>((resolve, reject) => {
    const outgoing = request({ socketPath, method, path: ROOT + path, headers, agent: false }, response => {
      let all = ''
      response.setEncoding('utf8').on('data', (some: string) => {
        all += some
      })
      response.on('end', () => resolve([response.statusCode ?? 0, all]))
    })
    outgoing.on('error', reject)
    outgoing.end(sent)
  })
  const lines = text[1]
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as T)
  return { status: text[0], json: lines.at(-1) as T, lines }
}

/** Asks until the answer is so: each asking is a turn of the daemon's. */
async function until<T>(ask: () => Promise<T>, is: (answer: T) => boolean): Promise<T> {
  const startedMs = performance.now()
  for (;;) {
    const answer = await ask()
    if (is(answer)) return answer
    if (performance.now() - startedMs > PATIENCE_MS) throw new Error(`it never came about: ${JSON.stringify(answer)}`)
  }
}

const place = ({ port }: Smsc) => ({ host: '127.0.0.1', port, systemId: 'us', reconnectMinMs: 20, reconnectMaxMs: 100 })

story('an operator has carriers added, changed, tried, paused and removed while the house runs', async t => {
  let most = Number.POSITIVE_INFINITY
  let knows = true
  const carrier: Smsc = await smsc(t, {
    bind: ({ password }) => {
      if (!knows || (password !== 'up' && password !== 'from a file')) return status.ESME_RINVPASWD
      return carrier.links.size < most ? 0 : status.ESME_RALYBND
    },
  })
  const daemon = await house(t, {
    carriers: { up: carrier, sim: { kind: 'simulator' } },
    routes: [{ match: {}, to: ['up'] }],
    config: { log: { level: 'debug' } },
    expected: /^carrier refuses our credentials/,
  })
  await carrier.bound()

  await t.test(
    'a carrier is added, changed and removed while the house runs, and its password is shown nowhere',
    async t => {
      const seen: string[] = []
      const other = await smsc(t, {
        bind: ({ password }) => {
          seen.push(password)
          return 0
        },
      })

      const faulty = { name: 'acme', settings: { ...place(other), window: 0, colour: 'red', tls: { verify: 'no' } } }
      const refused = await asked<{ detail: string; code: string }>(daemon, 'POST', '/carriers', faulty)
      t.equal(refused.status, 422)
      t.match(refused.json.detail, /window must be at least 1/)
      t.match(refused.json.detail, /colour is no such key/)
      t.match(refused.json.detail, /tls\.verify must be true or false/)

      const made = await asked<CarrierEntry>(daemon, 'POST', '/carriers', {
        name: 'acme',
        settings: { ...place(other), window: 7 },
        password: 'acme-pw',
      })
      t.equal(made.status, 201)
      await other.bound()
      t.same(seen, ['acme-pw'])
      t.equal(made.json.settings.window, 7)
      t.equal(
        (await asked(daemon, 'POST', '/carriers', { name: 'acme', settings: place(other) })).status,
        422,
        'it is taken',
      )

      const edited = await asked<CarrierEntry & { changed: boolean }>(daemon, 'PATCH', '/carriers/acme', {
        set: { throughput: 100, 'statuses.0x400': 'refused' },
        unset: ['window'],
      })
      t.match(edited.json, {
        changed: true,
        settings: { throughput: 100, window: 10, statuses: { '0x400': 'refused' } },
      })
      const same = await asked<{ changed: boolean }>(daemon, 'PATCH', '/carriers/acme', { set: { throughput: 100 } })
      t.equal(same.json.changed, false)
      for (const [change, words] of [
        [{ set: { password: 'x' } }, /must not stand on a command line/],
        [{ set: { name: 'b' } }, /cannot be changed/],
        [{ set: { 'window.size': 3 } }, /window must be a number|window must be a whole number/],
        [{ set: { '__proto__.polluted': 1 } }, /no such key/],
        [{ unset: ['colour'] }, /colour is no such key/],
        [{ unset: ['host'] }, /host is missing/],
        [{ set: { reconnectMinMs: 500_000 } }, /reconnectMinMs is more than reconnectMaxMs/],
      ] as const) {
        const { status, json } = await asked<{ detail: string }>(daemon, 'PATCH', '/carriers/acme', change)
        t.equal(status, 422, JSON.stringify(change))
        t.match(json.detail, words)
      }
      t.equal(seen.length, 1, 'nothing of that made it bind anew')
      await asked(daemon, 'PATCH', '/carriers/acme', { password: 'new-pw' })
      await other.until(() => seen.length === 2, 'another bind')
      t.equal(seen[1], 'new-pw')
      t.equal((await asked(daemon, 'PATCH', '/carriers/nobody', { set: { window: 3 } })).status, 404)

      const named = await asked<{ detail: string }>(daemon, 'DELETE', '/carriers/up')
      t.equal(named.status, 422)
      t.match(named.json.detail, /still named by the route #\d+/)
      t.same((await asked(daemon, 'DELETE', '/carriers/acme')).json, { removed: 'acme' })
      await other.unbound()
      t.equal((await asked(daemon, 'DELETE', '/carriers/acme')).status, 404)

      const actions = daemon.lines('asked by an administrator').map(({ action }) => action)
      t.same(actions, ['carrier_add', 'carrier_edit', 'carrier_edit', 'carrier_remove'])
      t.notMatch(JSON.stringify(daemon.log), /acme-pw|new-pw/)
      t.notMatch(JSON.stringify([made, edited]), /acme-pw/)
    },
  )

  await t.test('a carrier is tried by one bind more, step by step, and its links do not notice', async t => {
    const standing = carrier.link
    type Line = ProbeStep & { ok: boolean; end?: boolean; hint?: string }
    const steps = ({ lines }: Answer<Line>): string[] => lines.slice(0, -1).map(({ step, ok }) => `${step} ${ok}`)

    const well = await asked<Line>(daemon, 'POST', '/carriers/up/test', {
      to: '+254700000001',
      text: 'Grüße',
      from: 'us',
    })
    t.same(steps(well), ['connect true', 'bind true', 'enquire_link true', 'submit_sm true', 'unbind true'])
    t.match(well.json, { end: true, ok: true })
    const sm = await carrier.next()
    t.match(sm.fields, { destination_addr: '254700000001', source_addr: 'us', registered_delivery: 0 })
    t.not(sm.link, standing)

    // The receipt that a carrier brings to the extra bind is not lost: it is to come again over a link.
    const shop = await esme(t, daemon.smpp)
    let refusedCode = 0
    carrier.script.submit = one => {
      one.accept()
      const [, extra] = carrier.links
      if (one.text !== 'probe' || extra === undefined) return
      void first.receipt({}, extra).then(code => {
        refusedCode = code
      })
    }
    await shop.submit()
    const first = await carrier.next()
    const kept = await asked<Line>(daemon, 'POST', '/carriers/up/test', { to: '1', text: 'probe' })
    t.match(kept.lines.at(-2), { step: 'unbind', detail: '1 receipts or replies were left to the other links' })
    t.equal(refusedCode, status.ESME_RX_T_APPN)
    t.equal(shop.delivered.length, 0)

    most = 1
    const full = await asked<Line>(daemon, 'POST', '/carriers/up/test', {})
    t.match(full.lines.at(-2), { step: 'bind', ok: false, detail: 'ESME_RALYBND' })
    t.match(full.json, { ok: false, hint: /no bind besides those that stand/ })

    const settings = { ...place(carrier) }
    const wrong = await asked<Line>(daemon, 'POST', '/carrier-test', { settings, password: 'wrong' })
    t.match(wrong.lines.at(-2), { step: 'bind', ok: false, detail: 'ESME_RINVPASWD' })
    const nobody = { ...settings, host: 'localhost', port: 1 }
    const closed = await asked<Line>(daemon, 'POST', '/carrier-test', { settings: nobody })
    t.same(steps(closed), ['dns true', 'connect false'])
    t.match(closed.lines[1], { detail: 'nothing listens there (ECONNREFUSED)' })
    const web = createServer(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
    await once(web.listen(0, '127.0.0.1'), 'listening')
    t.teardown(() => web.close())
    const foreign = { ...settings, port: (web.address() as AddressInfo).port }
    const strange = await asked<Line>(daemon, 'POST', '/carrier-test', { settings: foreign })
    t.match(strange.lines.at(-2), { step: 'bind', ok: false, detail: 'what answers there does not speak SMPP' })
    const secure = { ...foreign, tls: { verify: false } }
    t.same(steps(await asked<Line>(daemon, 'POST', '/carrier-test', { settings: secure })), [
      'connect true',
      'tls false',
    ])
    t.equal((await asked(daemon, 'POST', '/carriers/sim/test', {})).status, 422)

    t.equal(standing.isClosed, false)
    const { links } = (await asked<LinksEntry>(daemon, 'GET', '/carriers/up/links')).json
    t.match(links, [
      { stand: 'ready', in_flight: 0, window: 10, submits: 1, delivers: 0, throttled: 0, next_try_s: null },
    ])
    await carrier.close()
    const down = await until(
      async () => (await asked<LinksEntry>(daemon, 'GET', '/carriers/up/links')).json.links[0],
      link => link?.stand === 'closed' && link.next_try_s !== null,
    )
    t.not(down?.last_reason, '')
    most = Number.POSITIVE_INFINITY
    delete carrier.script.submit
    await carrier.open()
    await carrier.bound()
  })

  await t.test('a paused carrier gets nothing, over a restart too, until it is resumed', async t => {
    const before = carrier.submitted.length
    const shop = await esme(t, daemon.smpp)
    t.match((await asked(daemon, 'POST', '/carriers/up/pause')).json, { paused: true, changed: true, waiting: 0 })
    await shop.submitAll(3)
    t.match((await asked(daemon, 'POST', '/carriers/up/pause')).json, { changed: false, waiting: 3, only_here: 3 })
    await shop.unbind()
    await daemon.restart()
    await carrier.bound()
    t.equal(carrier.submitted.length, before)
    t.match((await asked(daemon, 'POST', '/carriers/up/resume')).json, { paused: false, changed: true, waiting: 3 })
    await carrier.take(3)
  })

  await t.test(
    'a carrier whose links stand still is tried again when it is resumed, though it was not paused',
    async t => {
      const last = 'carrier refuses our credentials: not tried again until it is changed or resumed'
      await asked(daemon, 'PATCH', '/carriers/up', { set: { refusedBinds: 1 } })
      knows = false
      await carrier.close()
      await carrier.open()
      await daemon.line(last)
      const { links } = (await asked<LinksEntry>(daemon, 'GET', '/carriers/up/links')).json
      t.match(links, [{ stand: 'closed', next_try_s: null, last_reason: /stands still/ }])
      knows = true
      t.match((await asked(daemon, 'POST', '/carriers/up/resume')).json, { changed: false })
      await carrier.bound()
    },
  )

  await t.test('the commands do what the side-port does, say it in a line, and end with a code that tells', async t => {
    await asked(daemon, 'POST', '/carriers/up/pause')
    const cli = async (...args: string[]) => trunkline([...args, '--config', daemon.configFile])
    const secret = join(daemon.dir, 'secret')
    writeFileSync(secret, 'from a file\n')

    const where = ['--host', '127.0.0.1', '--port', String(carrier.port), '--system-id', 'us']
    const none = await cli('carrier', 'add', 'acme', ...where)
    t.equal(none.code, 2)
    t.match(none.stderr, /--password-file/)
    const added = await cli('carrier', 'add', 'acme', ...where, '--password-file', secret, '--set', 'window=7')
    t.match(added, { code: 0, stdout: /added acme/ })
    await carrier.bound(2)
    t.match(await cli('carrier', 'test', 'acme'), { code: 0, stdout: /bind +ok .*ESME_ROK\n(.*\n)*unbind +ok/ })
    const wrong = await cli('carrier', 'test', ...where, '--no-password', '--json')
    t.equal(wrong.code, 1)
    t.match(JSON.parse(wrong.stdout), { ok: false, steps: [{ step: 'connect' }, { step: 'bind', ok: false }] })
    const refused = await cli('carrier', 'edit', 'acme', '--set', 'windows=3', '--set', 'links=0')
    t.equal(refused.code, 1)
    t.match(refused.stderr, /windows is no such key/)
    t.match(refused.stderr, /links must be at least 1/)

    const shop = await esme(t, daemon.smpp)
    const ids = (await shop.submitAll(5)).map(({ message_id }) => message_id)
    t.match((await cli('queue', 'show', '--account', 'shop')).stdout, new RegExp(ids[0] as string))
    const unasked = await cli('queue', 'cancel', '--account', 'shop')
    t.match(unasked, { code: 2, stderr: /End 5 waiting messages as DELETED\?.*--yes/ })
    t.match(await cli('queue', 'cancel', '--id', ids[0] as string, '--yes'), {
      code: 0,
      stdout: '1 messages were ended\n',
    })
    t.match((await cli('queue', '--json')).stdout, /"waiting": 4/)
    const shown = await cli('message', 'show', ids[0] as string)
    t.match(shown, { code: 0, stdout: /DELETED/ })
    t.match(await cli('carrier', 'resume', 'up'), { code: 0, stdout: /up is running: 4 messages wait/ })
    await shop.take(5)
  })
})

story('an operator sees what waits and what was, and does with it what he wants', async t => {
  let onSubmit = (sm: Submitted): void => sm.deliver()
  const north = await smsc(t, { submit: sm => onSubmit(sm) })
  const south = await smsc(t, {}, 'S')
  const daemon = await house(t, {
    accounts: { shop: {}, bank: { class: 'otp' } },
    carriers: { north, south },
    routes: [
      { name: 'north', match: {}, to: ['north'] },
      { name: 'south', match: { destination: ['99'] }, to: ['south'] },
    ],
    config: {
      admin: { listen: '127.0.0.1:0', key: KEY },
      retry: { transactional: { firstMs: 600_000, capMs: 600_000 }, otp: { firstMs: 60_000, capMs: 60_000 } },
    },
  })
  await north.bound()

  await t.test('a message is shown with its whole way, live, over, and among others', async t => {
    let tries = 0
    onSubmit = sm => {
      if (tries++ === 0) sm.refuse(status.ESME_RSYSERR)
      else if (sm.text === 'never') sm.refuse(status.ESME_RINVDSTADR)
      else sm.accept()
    }
    const shop = await esme(t, daemon.smpp, { answer: () => (isTaking ? 0 : undefined) })
    let isTaking = true
    const { message_id: id } = await shop.submit({ short_message: Buffer.from('hello world') })
    const look = async (which = id, query = ''): Promise<MessageStory> =>
      (await asked<MessageStory>(daemon, 'GET', `/messages/${which}${query}`)).json
    const off = await until(
      () => look(),
      ({ stands }) => stands === 'due',
    )
    t.match(off, {
      id,
      account: 'shop',
      state: 'ENROUTE',
      attempts: 1,
      receipt: { asked: true, stands: 'not yet' },
      text: undefined,
    })
    t.same(
      off.way.map(({ event }) => event),
      ['accepted', 'route', 'deferred', 'next try'],
    )
    t.equal(off.way[1]?.detail, 'north to north')
    t.equal(off.way[2]?.detail, 'north: ESME_RSYSERR')
    t.equal((await look(id, '?text=true')).text, 'hello world')
    const far = `http://127.0.0.1:${daemon.admin}${ROOT}/messages/${id}`
    const headers = { 'x-api-key': KEY }
    t.equal((await fetch(far, { headers })).status, 200)
    t.equal((await fetch(`${far}?text=true`, { headers })).status, 403, 'not over the network')

    await asked(daemon, 'POST', '/queue/retry', { id: [id] })
    const sm = (await north.take(2))[1] as Submitted
    const sent = await until(
      () => look(),
      ({ stands }) => stands === 'sent',
    )
    t.match(sent, { carrier: 'north', parts: [{ part: 1, ref: sm.ref, state: 'ENROUTE' }] })
    t.match(sent.way.at(-2), { event: 'accepted', detail: `north, as ${sm.ref}` })
    t.equal(sent.way.at(-1)?.event, 'waits for its receipt')
    isTaking = false
    await sm.receipt()
    await shop.next()
    const told = await look()
    t.match(told, { state: 'DELIVERED', stands: null, receipt: { stands: 'waits for the customer' } })
    isTaking = true
    shop.peer.socket.destroy()
    const again = await esme(t, daemon.smpp)
    await again.next()
    const taken = await until(
      () => look(),
      ({ receipt }) => receipt.stands === 'taken',
    )
    t.same(
      taken.way.map(({ event }) => event),
      ['accepted', 'route', 'deferred', 'accepted', 'DELIVERED', 'receipt taken'],
    )
    const { message_id: bad } = await again.submit({ short_message: Buffer.from('never'), destination_addr: '4477' })
    await again.next()
    t.match((await look(bad)).way.slice(2), [
      { event: 'refused', detail: 'north: ESME_RINVDSTADR' },
      { event: 'REJECTED', detail: 'error ESME_RINVDSTADR' },
      { event: 'receipt taken' },
    ])

    const listed = async (query: string): Promise<MessageEntry[]> =>
      (await asked<MessagePage>(daemon, 'GET', `/messages?${query}`)).json.messages
    const both = [bad, id]
    t.same(
      (await listed('account=shop')).map(one => one.id),
      both,
      'the newest first, whether in SQL already or not',
    )
    await daemon.history(4)
    t.same(
      (await listed('account=shop')).map(one => one.id),
      both,
    )
    t.match(await listed('number=4477'), [
      { id: bad, state: 'REJECTED', error: 'ESME_RINVDSTADR', destination: '4477' },
    ])
    t.match(await listed('state=DELIVERED'), [{ id, state: 'DELIVERED', carrier: 'north' }])
    t.same(await listed('state=ENROUTE'), [])
    t.same(await listed('account=bank'), [])
    t.same((await listed('limit=1')).length, 1)
    t.same(
      (await listed(`before=${bad}`)).map(one => one.id),
      [id],
    )
    t.same(await listed('to=2026-01-01T00:00Z&from=2025-12-31T00:00Z'), [])
    t.equal((await asked(daemon, 'GET', '/messages/1000000000000000')).status, 404)
    t.equal((await asked(daemon, 'GET', '/messages/abc')).status, 422)
    t.equal((await asked(daemon, 'GET', '/messages?state=GONE')).status, 422)
  })

  await t.test(
    'what is put off is shown with its reason, tried at once, moved to another carrier, and ended',
    async t => {
      onSubmit = sm => sm.refuse(status.ESME_RSYSERR)
      const shop = await esme(t, daemon.smpp)
      const bank = await esme(t, daemon.smpp, { systemId: 'bank' })
      const ids = (await shop.submitAll(20)).map(({ message_id }) => message_id)
      const [secret] = await bank.submitAll(1)
      const page = async (query: string): Promise<QueuePage> =>
        (await asked<QueuePage>(daemon, 'GET', `/queue/messages?${query}`)).json
      const due = await until(
        () => page('account=shop&state=due'),
        ({ messages }) => messages.length === 20,
      )
      t.same(due.messages.map(({ id }) => id).sort(), [...ids].sort())
      t.match(due.messages[0], {
        account: 'shop',
        class: 'transactional',
        route: 'north',
        state: 'due',
        source: '1000',
        destination: '12025550123',
        attempts: 1,
        last_failure: { code: 'ESME_RSYSERR', kind: 'deferred', carrier: 'north' },
      } as Partial<QueuedMessage>)
      const first = await page('account=shop&limit=7')
      t.equal(first.messages.length, 7)
      const rest = await page(`account=shop&limit=200&after=${first.next}`)
      t.equal(rest.messages.length, 13)
      t.equal(rest.next, null)
      t.equal((await page('carrier=south&state=any')).messages.length, 0)
      t.equal((await page('class=otp')).messages[0]?.id, secret?.message_id)
      t.equal((await asked(daemon, 'GET', '/queue/messages?account=nobody')).status, 422)
      const { lanes } = (await asked<{ lanes: CountedLane[] }>(daemon, 'POST', '/queue/count', { account: 'shop' }))
        .json
      t.match(lanes, [{ route: 'north', class: 'transactional', state: 'due', count: 20 }])

      const work = async (verb: string, body: object): Promise<Answer<WorkLine & { detail: string }>> =>
        asked<WorkLine & { detail: string }>(daemon, 'POST', `/queue/${verb}`, body)
      t.equal((await work('cancel', {})).status, 422, 'nothing is named')
      const tried = north.submitted.length
      t.match((await work('retry', { id: ids.slice(0, 2) })).json, { end: true, matched: 2, done: 2, left: 0 })
      await north.until(() => north.submitted.length === tried + 2, 'two tries')

      t.equal((await work('move', { route: 'north', to: 'nowhere' })).status, 422)
      const moving = { account: 'shop', id: ids.slice(2, 12) }
      await until(
        () => page('account=shop&state=due'),
        ({ messages }) => messages.length === 20,
      )
      t.match((await work('move', { ...moving, to: 'south', dry_run: true })).json, { matched: 10, done: 10 })
      t.match((await work('move', { ...moving, to: 'south' })).json, { matched: 10, done: 10, left: 0 })
      t.match((await work('retry', { route: 'south' })).json, { done: 10 })
      await south.take(10)
      await shop.take(10)

      t.match((await work('cancel', { account: 'shop', dry_run: true })).json, { matched: 10, done: 10 })
      t.equal((await page('account=shop')).messages.length, 10, 'counting ends nothing')
      t.match((await work('cancel', { account: 'shop' })).json, { done: 10, left: 0 })
      t.same(new Set((await shop.take(10)).map(({ receipt }) => receipt.stat)), new Set(['DELETED']))
      t.equal((await page('class=otp')).messages.length, 1, 'another account’s stands')
      t.match((await work('cancel', { all: true })).json, { done: 1 })
      t.equal((await bank.next()).receipt.stat, 'DELETED')
      const audit = () =>
        daemon.lines('asked by an administrator').filter(({ action }) => action === 'queue_cancel_done')
      await daemon.line(() => audit().length >= 2)
      t.match(audit(), [{ account: 'shop', changed: 10 }, { changed: 1 }])
    },
  )

  await t.test('work on a long queue says how far it is, and stops in order where its asker hangs up', async t => {
    onSubmit = sm => sm.refuse(status.ESME_RSYSERR)
    const before = north.submitted.length
    await asked(daemon, 'POST', '/carriers/north/pause')
    const shop = await esme(t, daemon.smpp)
    for (let i = 0; i < 20; i++) await shop.submitAll(250, { registered_delivery: 0 })
    const startedMs = performance.now()
    const { json } = await asked<WorkLine>(daemon, 'POST', '/queue/cancel', { route: 'north', dry_run: true })
    t.match(json, { looked: 5_000, matched: 5_000, done: 5_000 })
    t.comment(`5,000 counted in ${Math.round(performance.now() - startedMs)} ms`)
    const from = daemon.log.length
    const body = JSON.stringify({ route: 'north' })
    const asker = connect(adminSocketPath(daemon.dataDir))
    await once(asker, 'connect')
    // Its end stands right behind what it asks: it is seen when the work has just begun, however fast that is.
    asker.end(
      `POST ${ROOT}/queue/cancel HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    )
    const { changed } = await daemon.line(({ action }) => action === 'queue_cancel_done', from)
    t.ok((changed as number) < 5_000, `${changed} were ended`)
    const { done } = (await asked<WorkLine>(daemon, 'POST', '/queue/cancel', { route: 'north' })).json
    t.equal((changed as number) + done, 5_000)
    const { process: own } = (await asked<{ process: { loop_lag_max_ms: number } }>(daemon, 'GET', '/status')).json
    t.comment(`the event loop was ${own.loop_lag_max_ms} ms late at most`)
    t.equal(north.submitted.length, before)
  })
})
