// Webhooks: signatures and what may be reached as pure parts, and whole stories with a real daemon and a customer's HTTP
// server that fails, stalls, goes and comes back.

import t, { type Test } from 'tap'
import { isWebhookSecret, newWebhookSecret, signWebhook, verifyWebhook } from '../protocols/http/webhook.js'
import { Reach } from '../protocols/net/reach.js'
import { type Answer, api, KEY } from './support/api.js'
import { esme } from './support/esme.js'
import { type House, house, story, trunkline } from './support/house.js'
import { connect } from './support/postgres.js'
import { receiver, SECRET } from './support/receiver.js'
import { smsc } from './support/smsc.js'

t.jobs = 3

t.test('a signature is that of Standard Webhooks', async t => {
  const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
  const [id, timestamp, body] = ['msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}'] as const
  const signature = 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
  t.equal(signWebhook([secret], id, timestamp, body), signature)
  const headers = {
    'webhook-id': id,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': `v1,bad ${signature}`,
  }
  t.equal(verifyWebhook(secret, headers, body, timestamp + 299), true)
  t.equal(verifyWebhook(secret, headers, body, timestamp + 301), false, 'too old')
  t.equal(verifyWebhook(secret, headers, body, timestamp - 301), false, 'from the future')
  t.equal(verifyWebhook(secret, headers, `${body} `, timestamp), false, 'another body')
  t.equal(verifyWebhook(secret, { ...headers, 'webhook-id': 'other' }, body, timestamp), false, 'another id')
  t.equal(verifyWebhook(newWebhookSecret(), headers, body, timestamp), false, 'another secret')
  const two = signWebhook([newWebhookSecret(), secret], id, timestamp, body)
  t.equal(verifyWebhook(secret, { ...headers, 'webhook-signature': two }, body, timestamp), true, 'while it is rotated')
  for (const wrong of ['', 'whsec_', 'whsec_c2hvcnQ=', `whsec_${'A'.repeat(200)}`, newWebhookSecret().slice(6)]) {
    t.equal(isWebhookSecret(wrong), false, wrong)
  }
})

t.test('nothing that is not public is reached, in whatever clothes, but what the operator names', async t => {
  const reach = new Reach(['127.0.0.1', '10.1.0.0/16', 'fd00:1::/32'])
  for (const address of [
    '192.0.2.1',
    '10.0.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
    '224.0.0.1',
    '::1',
    '::',
  ]) {
    t.equal(reach.mayReach(address), false, address)
  }
  for (const address of [
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    'fe80::1%eth0',
    'fd00::1',
    '64:ff9b::7f00:1',
    '127.0.0.2',
  ]) {
    t.equal(reach.mayReach(address), false, address)
  }
  for (const address of [
    '127.0.0.1',
    '10.1.2.3',
    'fd00:1::1',
    '93.184.216.34',
    '2606:2800:220:1::1',
    '::ffff:127.0.0.1',
  ]) {
    t.equal(reach.mayReach(address), true, address)
  }
  t.throws(() => reach.check('[::1]', false), { code: 'OUT_OF_REACH' })
  t.throws(() => reach.check('169.254.169.254', false), { code: 'OUT_OF_REACH' })
  t.throws(() => reach.check('93.184.216.34', true), { code: 'OUT_OF_REACH' }, 'plain http to what is public')
  const look = (host: string, plain: boolean, all: boolean) =>
    new Promise((resolve, reject) =>
      reach.lookup(plain)(host, { all }, (error, address) => (error ? reject(error) : resolve(address))),
    )
  t.equal(await look('127.0.0.1', true, false), '127.0.0.1')
  t.match(await look('127.0.0.1', false, true), [{ address: '127.0.0.1', family: 4 }])
  await t.rejects(look('127.0.0.2', false, false), { code: 'OUT_OF_REACH' })
  await t.rejects(look('93.184.216.34', true, false), { code: 'OUT_OF_REACH' }, 'plain http to what is public')
})

/** Short waits, and our own machine may be told. */
const QUICK = { webhooks: { allow: ['127.0.0.0/8'], retryMs: [100, 200] } }

const failuresOf = async (daemon: House): Promise<{ type: string; attempts: number; reason: string }[]> => {
  const client = await connect(daemon.directUrl)
  try {
    return (await client.query('select type, attempts, reason from webhook_failures order by number')).rows
  } finally {
    await client.end()
  }
}

story('a webhook is told each end that it wants, signed, again until it says yes, also after a crash', async t => {
  const carrier = await smsc(t, {
    submit: sm => (sm.text === 'no' ? sm.refuse(0x0b) : sm.deliver()),
  })
  const all = await receiver(t)
  const failed = await receiver(t)
  const webhooks = [
    { url: all.url, secret: SECRET },
    { url: failed.url, secret: SECRET, events: ['message.rejected'], atOnce: 1 },
  ]
  const daemon = await house(t, { accounts: { shop: { webhooks } }, carriers: { up: carrier }, config: QUICK })
  const shop = await esme(t, daemon.smpp)
  all.answer = () => (all.told.length < 3 ? 500 : 204)
  const good = await shop.submit({ registered_delivery: 0 })
  const [first, second, third] = await all.first(3)
  t.match(first, { type: 'message.delivered', isSigned: true, id: `msg_${good.message_id}_delivered` })
  const { data } = first as { data: object }
  t.match(data, { id: good.message_id, status: 'delivered', to: '12025550123', segments: 1, error_code: null })
  t.same([second?.id, third?.id], [first?.id, first?.id], 'a try is known by its id')
  t.same(second?.data, data)
  const bad = await shop.submit({ short_message: Buffer.from('no') })
  t.match((await all.first(4))[3], { type: 'message.rejected', data: { error_code: 'ESME_RINVDSTADR' } })
  t.match(await failed.first(1), [{ isSigned: true, data: { id: bad.message_id, status: 'rejected' } }])
  // Nobody listens; the daemon is killed with the events in its hands.
  const { port } = new URL(failed.url)
  await failed.close()
  const count = daemon.log.length
  const lost = [
    await shop.submit({ short_message: Buffer.from('no') }),
    await shop.submit({ short_message: Buffer.from('no') }),
  ]
  await daemon.line('a webhook was not taken', count)
  await daemon.kill9()
  const again = await receiver(t, Number(port))
  await daemon.start()
  const ids = (await again.first(2)).map(told => told.data.id)
  t.same(ids.sort(), lost.map(one => one.message_id).sort())
  t.ok((await daemon.metric('trunkline_events_total', { name: 'webhooks_delivered' })) >= 2)
})

story(
  'a webhook that fails is left alone, the others are not; what is given up is kept; 410 switches it off',
  async t => {
    const carrier = await smsc(t)
    const good = await receiver(t)
    const bad = await receiver(t)
    const gone = await receiver(t)
    bad.answer = () => 503
    gone.answer = () => 410
    const webhooks = [
      { url: good.url, secret: SECRET },
      { url: bad.url, secret: SECRET, attempts: 2 },
      { url: gone.url, secret: SECRET },
      { url: 'http://192.0.2.1/hook', attempts: 1 },
      { url: 'https://127.1.0.1:1/hook', attempts: 1 },
    ]
    const accounts = { shop: { webhooks }, desk: { apiKey: KEY }, other: { apiKey: `${KEY}x` } }
    const config = { ...QUICK, admin: { listen: '127.0.0.1:0' } }
    const daemon = await house(t, { accounts, carriers: { up: carrier }, config })
    const shop = await esme(t, daemon.smpp)
    await shop.submit()
    await good.first(1)
    await gone.first(1)
    await daemon.line('a webhook was switched off: nothing is sent there until it is switched on')
    await bad.first(2)
    t.equal(bad.told[0]?.id, bad.told[1]?.id)
    for (let i = 0; i < 20; i++) await shop.submit()
    await good.first(21)
    t.ok(bad.told.length <= 6, 'it is not stormed')
    t.ok(gone.told.length <= 1 + 8, 'and one that is gone hears no more')
    const rows = await failuresOf(daemon)
    const reasons = new Set(rows.map(row => row.reason))
    t.ok(reasons.has('HTTP 503') && reasons.has('OUT_OF_REACH'), [...reasons].join())
    t.match(
      rows.find(row => row.reason === 'HTTP 503'),
      { type: 'message.delivered', attempts: 2 },
    )
    await ownDesk(t, daemon)
    await byCommand(t, daemon)
  },
)

/** An account with its key: everything that can be done with its webhooks. */
async function ownDesk(t: Test, daemon: House): Promise<void> {
  const ask = api(daemon.admin)
  const one = await receiver(t)
  const added = await ask('POST', '/api/v1/webhooks', {
    body: { url: one.url, events: ['message.*'], attempts: 1, secret: SECRET },
  })
  t.match(added, { status: 201, json: { url: one.url, enabled: true, attempts: 1, secret: SECRET, at_once: 8 } })
  const { id } = added.json
  const path = `/api/v1/webhooks/${id}`
  t.match((await ask('GET', path)).json, { id, secret: undefined }, 'a secret is shown once')
  t.match(await ask('GET', path, { key: `${KEY}x` }), { status: 404, json: { code: 'no_webhook' } })
  t.match(await ask('POST', '/api/webhooks', { body: { url: one.url } }), { status: 409 })
  t.match(await ask('POST', '/api/webhooks', { body: { url: 'ftp://x' } }), { status: 422, json: { code: 'invalid' } })
  t.match(await ask('GET', '/api/webhooks/secret'), { status: 200, json: { secret: /^whsec_/ } })

  t.match((await ask('POST', `${path}/test`)).json, { taken: true, status: 204, reason: null })
  t.match(one.told, [{ type: 'webhook.test', isSigned: true }])
  t.match((await ask('PATCH', path, { body: { timeout_ms: 300 } })).json, { timeout_ms: 300, attempts: 1 })

  // What it does not take is put aside, and comes again when it is asked for.
  const send = async (message: string): Promise<string> =>
    (await ask('POST', '/api/sms/send', { body: { to: '+4915112345678', message } })).json.message_ids[0]
  one.answer = () => 500
  const count = daemon.log.length
  const first = await send('first')
  await daemon.line('a webhook was not taken', count)
  let page: Answer | undefined
  while ((page?.json.failures.length ?? 0) === 0) page = await ask('GET', `${path}/failures`)
  t.match(page?.json, { next: null, failures: [{ type: 'message.delivered', reason: 'HTTP 500', attempts: 1 }] })
  t.match((await ask('GET', '/api/webhooks/failures?limit=1')).json, { failures: [{ webhook: id }] })
  one.answer = () => 204
  const rotated = await ask('POST', `${path}/rotate`, { body: { keep_hours: 2 } })
  t.match(rotated.json, { secret: /^whsec_/, old_secret_until: /Z$/ })
  t.not(rotated.json.secret, SECRET)
  const [{ number }] = page?.json.failures ?? []
  t.match((await ask('POST', `${path}/replay`, { body: { numbers: [number] } })).json, { replayed: 1 })
  const told = await one.first(3)
  t.match(told[2], { id: `msg_${first}_delivered`, isSigned: true }, 'the old secret signs as well')
  t.match((await ask('GET', `${path}/failures`)).json, { failures: [] })

  // History tells again what ended, with the ids of the first time.
  const since = '2020-01-01'
  const until = '2100-01-01T00:00:00Z'
  t.match((await ask('POST', `${path}/replay`, { body: { since, until } })).json, { replayed: 1, next_cursor: null })
  t.match((await one.first(4))[3], { id: told[2]?.id, data: { id: first, status: 'delivered', segments: 1 } })
  t.match((await ask('POST', `${path}/replay`, { body: { since, until: '2021-01-01' } })).json, { replayed: 0 })

  one.answer = () => 410
  await send('second')
  await one.first(5)
  await daemon.line('a webhook was switched off: nothing is sent there until it is switched on', count)
  let entry: Answer | undefined
  while (entry?.json.enabled !== false) entry = await ask('GET', path)
  t.match(entry.json, { disabled_because: 'HTTP 410' })
  t.match(await ask('POST', `${path}/replay`, { body: { all: true } }), { status: 409 })
  t.match((await ask('POST', `${path}/enable`)).json, { enabled: true, disabled_because: null })
  t.equal((await ask('DELETE', path)).status, 204)
  t.match((await ask('GET', '/api/webhooks')).json, { webhooks: [] })
  t.match(
    await daemon.query<{ action: string }>("select action from audit where subject = 'desk' order by id"),
    ['add', 'change', 'rotate', 'enable', 'remove'].map(verb => ({ action: `webhook.${verb}` })),
  )
}

/** The same by command. */
async function byCommand(t: Test, daemon: House): Promise<void> {
  const one = await receiver(t)
  const run = (...args: string[]) => {
    const [verb = '', ...rest] = args
    return trunkline(['webhook', verb, '--account', 'desk', ...rest, '--config', daemon.configFile])
  }
  const added = JSON.parse((await run('add', one.url, '--events', 'message.failed', '--json')).stdout)
  const id = String(added.id)
  t.match(added.secret, /^whsec_/)
  t.match((await run('list')).stdout, /message\.failed +on/)
  t.match(await run('test', id), { code: 0, stdout: /^taken: HTTP 204/ })
  await one.close()
  t.match(await run('test', id), { code: 1, stderr: /not taken: ECONNREFUSED .*nobody listens/ })
  t.same(JSON.parse((await run('replay', id, '--since', '1h', '--json')).stdout), { replayed: 0 }, 'it wants none')
  t.match(await run('remove', id, '--yes'), { code: 0, stdout: /is gone/ })
}
