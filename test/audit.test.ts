// Accounts as administrators change them, over HTTP and by command: what is changed holds at once on every port, and the
// audit tells who did it and why.

import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { AuditRetention } from '../src/accounts/auditRetention.js'
import { systemClock } from '../src/base/clock.js'
import { openStore } from '../src/store/postgres.js'
import { api, KEY, linesOf } from './support/api.js'
import { esme, stranger } from './support/esme.js'
import { house, story, trunkline } from './support/house.js'
import { MailClient, plain } from './support/mailClient.js'
import { silent } from './support/postgres.js'
import { smsc } from './support/smsc.js'

story('an account that is suspended is shut out of every port within a second, and the audit says by whom', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: { apiKey: KEY, numbers: ['4917100'] } },
    carriers: { up: carrier },
    config: {
      admin: { listen: '127.0.0.1:0', key: 'the-admin-key-of-it' },
      smtp: { listen: '127.0.0.1:0' },
      smpp: { failedBindDelayMs: 0 },
    },
  })
  const ask = api(daemon.admin)
  const admin = (method: string, path: string, body?: object) =>
    ask(method, `/api/v1/admin${path}`, { key: 'the-admin-key-of-it', ...(body === undefined ? {} : { body }) })
  const { smtp } = await daemon.line('ready')
  const bound = await esme(t, daemon.smpp)
  const mail = await MailClient.ready(t, smtp as number)

  t.match(await admin('POST', '/accounts/shop/suspend', {}), { status: 422 }, 'not without a reason')
  t.match(await admin('POST', '/accounts/nobody/suspend', { reason: 'x' }), {
    status: 404,
    json: { code: 'no_account' },
  })
  const from = performance.now()
  const suspended = await admin('POST', '/accounts/shop/suspend', { reason: 'sends spam' })
  await bound.unbound
  const tookMs = performance.now() - from
  t.match(suspended, { status: 200, json: { system_id: 'shop', suspended: 'sends spam', changed: true } })
  t.ok(tookMs < 1_000, `the bind is closed after ${Math.round(tookMs)} ms`)
  t.match(await ask('GET', '/api/v1/sms'), { status: 403, json: { code: 'account_suspended' } })
  t.match(await mail.say('MAIL FROM:<alerts@shop.example>'), /^5/, 'a mail client that is there already')
  t.equal(await (await stranger(t, daemon.smpp)).bind({}), 'ESME_RBINDFAIL')
  t.match(await admin('POST', '/accounts/shop/suspend', { reason: 'sends spam' }), { json: { changed: false } })
  t.match(await admin('POST', '/accounts/shop/resume'), { status: 200, json: { suspended: null, changed: true } })
  t.equal((await ask('GET', '/api/v1/sms')).status, 200)
  await esme(t, daemon.smpp)

  // What is still to come of a request that takes long is refused as well.
  const stream = request({
    ...{
      host: '127.0.0.1',
      port: daemon.admin,
      method: 'POST',
      path: '/api/v1/sms/send-stream?message=x',
      agent: false,
    },
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/x-ndjson' },
  })
  const end = new Promise<string>((resolve, reject) => {
    stream.on('error', reject)
    stream.on('response', response => {
      let text = ''
      response.setEncoding('utf8').on('data', piece => {
        text += piece
      })
      response.on('end', () => resolve(text))
    })
  })
  const line = (i: number): string => `${JSON.stringify({ number: `49151${10_000_000 + i}` })}\n`
  const before = carrier.submitted.length
  stream.write(Array.from({ length: 1_000 }, (_, i) => line(i)).join(''))
  await carrier.until(() => carrier.submitted.length > before, 'the first of them')
  await admin('POST', '/accounts/shop/suspend', { reason: 'in the middle' })
  stream.end(line(5_000))
  const last = linesOf(await end).at(-1)
  t.match(last, { end: true, rows: 1_001 })
  t.match(last.errors.at(-1), { line: 1_001, code: 'account_suspended' })
  await admin('POST', '/accounts/shop/resume')

  const person = { email: 'ann@acme.example', password: 'correct horse battery' }
  t.match(await ask('POST', '/api/v1/auth/register', { key: null, body: person }), {
    status: 403,
    json: { code: 'registration_closed' },
  })

  // One account at a time, in the words of the gateway file.
  const wrong = await admin('POST', '/accounts', {
    system_id: 'new',
    settings: { maxBind: 3, class: 'urgent', apiKey: KEY, smpp: { ids: 'roman' }, numbers: ['4917100'] },
  })
  t.same(
    wrong.json.faults.map((one: { path: string; message: string }) => one.path).sort(),
    ['apiKey', 'class', 'maxBind', 'smpp.ids'],
    wrong.text,
  )
  t.match(await admin('POST', '/accounts', { system_id: 'new', settings: { numbers: ['4917100'] } }), {
    status: 422,
    json: { detail: 'numbers 4917100 is a number of the account shop' },
  })
  const set = { maxBinds: 1, numbers: ['4917101'], 'smpp.ids': 'hex' }
  t.match(await admin('POST', '/accounts', { system_id: 'new', settings: set, password: 'hush' }), {
    status: 201,
    json: { system_id: 'new', max_binds: 1 },
  })
  t.match(await admin('POST', '/accounts', { system_id: 'new' }), {
    status: 422,
    json: { faults: [{ path: 'systemId' }] },
  })
  const other = await esme(t, daemon.smpp, { systemId: 'new', password: 'hush' })
  t.match(await admin('PATCH', '/accounts/new', { set: { throughput: 7 }, unset: ['smpp.ids'] }), {
    status: 200,
    json: { throughput: 7, max_binds: 1, changed: true },
  })
  t.match(await admin('PATCH', '/accounts/new', { set: { throughput: 7 } }), { json: { changed: false } })
  t.match(await admin('PATCH', '/accounts/new', { set: { suspended: 'x' } }), { status: 422 })
  t.equal((await other.submit()).status, 'ESME_ROK', 'and its bind stays')
  const shown = (await admin('GET', '/accounts/new')).json
  t.match(shown, { has_password: true, keys: [], binds: 1, settings: { throughput: 7, numbers: ['4917101'] } })
  t.notMatch(JSON.stringify(shown), /hush|hmac/)
  t.same((await daemon.query('select number from numbers order by number')).length, 2, 'the others keep theirs')

  // The same by command.
  const run = (...args: string[]) => trunkline(['--config', daemon.configFile, ...args])
  writeFileSync(join(daemon.dir, 'password'), 'second\n')
  const edited = await run(
    'account',
    'edit',
    'new',
    '--set',
    'class=otp',
    '--password-file',
    join(daemon.dir, 'password'),
  )
  t.match(edited, { code: 0, stdout: 'changed new\n' })
  t.match((await run('account', 'show', 'new')).stdout, /class: otp/)
  t.match(await run('account', 'suspend', 'new', '--reason', 'unpaid'), { code: 0, stdout: 'new is suspended\n' })
  await other.unbound
  t.match(await run('account', 'remove', 'new', '--yes'), { code: 0 })
  t.match(await run('account', 'show', 'new'), { code: 1, stderr: /there is no account new/ })
  t.match(await run('account', 'edit', 'new'), { code: 2 })
  t.match(await run('account', 'add', 'third', '--no-password', '--set', 'limits.perDay=5'), { code: 0 })
  t.match((await run('account', 'show', 'third')).stdout, /no password[\s\S]*perDay: 5[\s\S]*day +0 +5/)

  const { audit } = (await admin('GET', '/audit?subject=new')).json
  t.same(
    audit.map((one: { action: string }) => one.action),
    ['account.remove', 'account.suspend', 'account.edit', 'account.edit', 'account.add'],
    'what changed nothing is not told',
  )
  t.match(audit[1], { who: 'admin.sock', from: 'admin.sock', reason: 'unpaid' })
  t.same(audit[2].changes, { set: { class: 'otp' }, password: 'changed' })
  t.match(audit[4], { who: 'admin key', from: /^127\.0\.0\.1/, changes: { set, password: 'changed' } })
  t.notMatch(JSON.stringify(audit), /hush|second/)
  const listed = await run('audit', 'list', '--action', 'account.suspend')
  t.match(listed.stdout, /admin key.*account\.suspend +shop +sends spam/)
  t.equal((await admin('POST', '/carriers/up/pause')).status, 200)
  let paused: object | undefined
  // Of what is no row of an account it is written when it was done.
  while (paused === undefined) paused = (await admin('GET', '/audit?action=carrier.')).json.audit[0]
  t.match(paused, { action: 'carrier.pause', subject: 'up', who: 'admin key' })
  t.match((await admin('GET', '/audit?action=gateway.apply')).json.audit, [{ who: 'bootstrap' }])
  await t.rejects(daemon.query('update audit set who = $$me$$'), /rows of audit stay/)
  await t.rejects(daemon.query('delete from audit'), /rows of audit stay/)

  // Only what is older than the settings keep goes, and that it went is told.
  await daemon.query(
    `insert into audit (at, who, origin, action, subject) select now() - interval '40 days', 'x', '', 'account.old', 'shop'
    from generate_series(1, 3)`,
  )
  const rows = (await daemon.query('select id from audit')).length
  const store = openStore({ url: daemon.directUrl, dataDir: daemon.dataDir, log: silent, pool: 1 })
  try {
    await store.firstTry
    const kept = new AuditRetention({ store, clock: systemClock, log: silent, days: 30 })
    t.equal(await kept.forget(), 3)
    t.equal(await kept.forget(), 0)
  } finally {
    await store.close()
  }
  t.equal((await daemon.query('select id from audit')).length, rows - 3 + 1)
  t.match((await admin('GET', '/audit?action=audit.')).json.audit, [{ who: 'trunkline', changes: { rows: 3 } }])
  const young = `begin; set local trunkline.forget_audit_before = '2020-01-01'; delete from audit`
  await t.rejects(daemon.query(young), /rows of audit stay/)

  // Messages called back: by their ids, and a batch.
  const schedule_at = new Date(Date.now() + 3_600_000).toISOString()
  const batchOf = async (n: number) =>
    (
      await ask('POST', '/api/v1/sms/send-batch', {
        body: {
          ...{ message: 'later', schedule_at, send_immediately: false, name: 'b' },
          recipients: Array.from({ length: n }, (_, i) => `+49151${10_000_000 + i}`),
        },
      })
    ).json
  const [one, two, three] = [await batchOf(3), await batchOf(4), await batchOf(5)]
  const called = await run('message', 'cancel', one.message_ids[0], '1111111111111111', '--json')
  t.match(JSON.parse(called.stdout), { canceled: 1, over: 1, left: 0 }, called.stderr)
  t.match(await run('message', 'cancel', one.message_ids[0]), { code: 1, stdout: /is over, or unknown/ })
  const byBatch = ['--account', 'shop', '--batch', one.batch_id, '--reason', 'the wrong list']
  t.match(await run('message', 'cancel', ...byBatch), { code: 2, stderr: /--yes/ })
  t.match(await run('message', 'cancel', ...byBatch, '--yes'), {
    code: 0,
    stdout: /^canceled: 2, with a carrier: 0, over/,
  })
  for (const args of [[], ['1', '--batch', '2'], ['--account', 'shop']]) {
    t.match(await run('message', 'cancel', ...args), { code: 2 }, args.join(' '))
  }
  t.match(await run('message', 'cancel', '--account', 'shop', '--batch', '7', '--yes'), { code: 1, stderr: /30 days/ })
  t.match((await ask('GET', `/api/v1/sms/${one.message_ids[2]}`)).json, { status: 'canceled' })
  const whole = await ask('POST', `/api/v1/sms/batches/${two.batch_id}/cancel`)
  t.match(whole, { status: 200, json: { batch_id: two.batch_id, canceled: 4, left: 0 } })
  t.match((await ask('GET', `/api/v1/sms/batches/${three.batch_id}`)).json.statuses, { pending: 5 }, 'others stay')
  t.match(await ask('POST', `/api/v1/sms/batches/${'1'.repeat(16)}/cancel`), {
    status: 404,
    json: { code: 'no_batch' },
  })
  const ended: { changes: { ids?: string[]; batch?: string } }[] = []
  while (ended.length < 3) ended.splice(0, 9, ...(await admin('GET', '/audit?action=message.')).json.audit)
  // Each line is written beside the answer: the next may be there first.
  t.match(
    ended.find(({ changes }) => changes.batch !== undefined),
    {
      ...{ who: 'admin.sock', action: 'message.cancel', subject: 'shop' },
      changes: { batch: one.batch_id, canceled: 2, reason: 'the wrong list' },
    },
  )
  t.match(ended.find(({ changes }) => changes.ids?.length === 2)?.changes, {
    ids: [one.message_ids[0], '1111111111111111'],
    canceled: 1,
  })
  t.match(
    await MailClient.ready(t, smtp as number, null).then(c => c.say(`AUTH PLAIN ${plain('new', 'second')}`)),
    /^535/,
  )
})
