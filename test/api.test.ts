// Messages over HTTP, as whole stories: the real daemon, a program that sends with a key, and a scripted carrier.

import t from 'tap'
import { api, KEY, linesOf } from './support/api.js'
import { judged } from './support/document.js'
import { emptyHouse, type Gateway, type House, type HouseOptions, story } from './support/house.js'
import { receiver } from './support/receiver.js'
import { type Smsc, smsc } from './support/smsc.js'

t.jobs = 3

async function open(
  t: Parameters<typeof emptyHouse>[0],
  carrier: Smsc,
  more: Partial<Gateway> = {},
  config: HouseOptions['config'] = {},
): Promise<{ daemon: House; ask: ReturnType<typeof api> }> {
  const daemon = await emptyHouse(t, {
    accounts: { shop: { apiKey: KEY } },
    carriers: { up: carrier },
    config: { ...config, admin: { listen: '127.0.0.1:0' } },
    ...more,
  })
  await daemon.start()
  return { daemon, ask: api(daemon.admin) }
}
const TO = '+4915112345678'

story('what a program sends over HTTP is what the phone gets, and its fate can be asked for', async t => {
  const carrier = await smsc(t, { submit: sm => (sm.text.startsWith('wait') ? sm.accept() : sm.deliver()) })
  const opened = await open(t, carrier, { accounts: { shop: { apiKey: KEY }, other: { apiKey: `${KEY}x` } } })
  const { daemon } = opened
  const { ask } = await judged(opened.ask, what => t.fail(what))
  const sent = await ask('POST', '/api/v1/sms/send', {
    body: {
      to: TO,
      message: 'Grüße',
      from_number: 'Shop',
      sms_type: 'otp',
      priority: 3,
      custom_id: 'order 7',
      tags: ['a'],
    },
  })
  t.equal(sent.status, 200)
  t.match(sent.json, {
    accepted: 1,
    rejected: 0,
    segments: 1,
    messages: [{ to: TO.slice(1), status: 'accepted', error: null }],
  })
  const [id] = sent.json.message_ids
  t.match(id, /^\d{16}$/)
  await carrier.until(() => carrier.submitted.length >= 1, '1 messages')
  t.match(carrier.submitted[0]?.fields, {
    source_addr: 'Shop',
    source_addr_ton: 5,
    destination_addr: TO.slice(1),
    dest_addr_ton: 1,
    dest_addr_npi: 1,
    priority_flag: 2,
  })
  t.same(carrier.submitted[0]?.fields.short_message, Buffer.from('Gr\x7e\x1ee', 'latin1'), 'in the GSM alphabet')
  await daemon.history(2)
  const found = await ask('GET', `/api/v1/sms/${id}`)
  t.match(found.json, { id, status: 'delivered', custom_id: 'order 7', from: 'Shop', error_code: null })
  t.match(found.json.events, [{ event: 'accepted' }, { event: 'delivered' }])
  t.match(await ask('GET', `/api/v1/sms/${id}`, { key: `${KEY}x` }), { status: 404, json: { code: 'no_message' } })
  t.match((await ask('GET', '/api/sms?status=delivered&limit=1')).json, { messages: [{ id }] })

  // Each kind of text in its own coding.
  const kinds = [
    ['text', 'Привет', 8, Buffer.from('Привет', 'utf16le').swap16()],
    ['unicode', 'plain', 8, Buffer.from('plain', 'utf16le').swap16()],
    ['flash', 'now', 0x10, Buffer.from('now')],
    ['binary', Buffer.from([1, 2, 255]).toString('base64'), 4, Buffer.from([1, 2, 255])],
  ] as const
  for (const [message_type, message, data_coding, octets] of kinds) {
    const at = carrier.submitted.length
    t.equal((await ask('POST', '/api/sms/send', { body: { to: TO, message, message_type } })).status, 200)
    await carrier.until(() => carrier.submitted.length >= at + 1, 'at + 1 messages')
    const fields = carrier.submitted[at]?.fields
    t.same([fields?.data_coding, fields?.short_message], [data_coding, octets], message_type)
  }

  const later = new Date(Date.now() + 3_600_000).toISOString()
  const waits = await ask('POST', '/api/sms/send', { body: { to: TO, message: 'later', schedule_at: later } })
  const [waiting] = waits.json.message_ids
  t.match((await ask('GET', `/api/sms/${waiting}`)).json, { status: 'scheduled', scheduled_for: later })
  t.match((await ask('DELETE', `/api/sms/${waiting}`, { key: `${KEY}x` })).status, 404)
  t.match((await ask('POST', `/api/sms/${waiting}/cancel`)).json, { status: 'canceled' })
  t.match(await ask('DELETE', `/api/sms/${waiting}`), { status: 409, json: { code: 'not_waiting' } })

  const page = await ask('GET', '/api/sms?limit=2')
  t.equal(page.json.messages.length, 2)
  const next = await ask('GET', `/api/sms?limit=2&cursor=${page.json.next_cursor}`)
  t.same(
    next.json.messages.map((one: { id: string }) => one.id < page.json.messages[1].id),
    [true, true],
  )

  t.match((await ask('GET', '/api/v1/phone/validate/+4915112345678')).json, {
    valid: true,
    country: 'DE',
    type: 'mobile',
  })
  t.match((await ask('GET', '/api/v1/phone/validate/017112?country=de')).json, { valid: false })
})

story('a request that is wrong gets a problem that names every fault, and nothing of it is sent', async t => {
  const carrier = await smsc(t)
  const { ask } = await open(t, carrier)
  const body = { to: TO, message: 'x' }
  const cases: [object | string, number, string][] = [
    [{ ...body, to: 'abc' }, 422, 'destination_invalid'],
    [{ ...body, to: ['12', 'xyz'] }, 422, 'invalid'],
    [{ ...body, to: [] }, 422, 'invalid'],
    [{ ...body, to: Array.from({ length: 1001 }, () => TO) }, 422, 'invalid'],
    [{ ...body, message: '' }, 422, 'invalid'],
    [{ ...body, message: 'x'.repeat(1601) }, 422, 'invalid'],
    [{ ...body, message: '?', message_type: 'binary' }, 422, 'body_invalid'],
    [{ ...body, sms_type: 'spam' }, 422, 'invalid'],
    [{ ...body, schedule_at: 'tomorrow' }, 422, 'invalid'],
    [{ ...body, schedule_at: '2099-01-01T00:00:00Z', expire_at: '2098-01-01T00:00:00Z' }, 422, 'schedule_invalid'],
    [{ ...body, expire_at: '2020-01-01T00:00:00Z' }, 422, 'validity_invalid'],
    [{ ...body, callback_url: 'javascript:alert(1)' }, 422, 'invalid'],
    [{ ...body, metadata: { deep: { er: 1 } } }, 422, 'invalid'],
    [{ ...body, unknown: 1 }, 422, 'invalid'],
    ['{"to":', 400, 'bad_request'],
  ]
  for (const [given, status, code] of cases) {
    const answer = await ask('POST', '/api/v1/sms/send', { body: given })
    t.match(
      answer,
      { status, json: { code, status, type: `urn:trunkline:problem:${code}` } },
      JSON.stringify(given).slice(0, 60),
    )
    t.match(answer.headers['content-type'], /^application\/problem\+json/)
  }
  const some = await ask('POST', '/api/sms/send', {
    body: { ...body, to: [TO, 'nobody', { number: '0151 1234567', country_code: '+49' }] },
  })
  t.match(some, { status: 200, json: { accepted: 2, rejected: 1 } })
  t.same(
    some.json.messages.map((one: { to: string }) => one.to),
    ['4915112345678', 'nobody', '491511234567'],
  )
  t.match(some.json.messages[1], { message_id: null, status: 'rejected', error: { code: 'destination_invalid' } })
  await carrier.until(() => carrier.submitted.length >= 2, '2 messages')
  const dry = await ask('POST', '/api/sms/send', { body: { ...body, message: 'ü'.repeat(200), dry_run: true } })
  t.match(dry.json, { batch_id: null, message_ids: [], segments: 2, messages: [{ status: 'valid', segments: 2 }] })
  t.equal(carrier.submitted.length, 2, 'and nothing else was sent')

  t.match(await ask('POST', '/api/sms/send', { key: null, body }), { status: 401, json: { code: 'key_missing' } })
  t.match(await ask('POST', '/api/sms/send', { key: 'tl_shop_wrong', body }), {
    status: 401,
    json: { code: 'key_refused' },
  })
  const guesses = await Promise.all(Array.from({ length: 25 }, (_, i) => ask('GET', '/api/sms', { key: `guess ${i}` })))
  const barred = guesses.find(({ status }) => status === 429)
  t.match(barred, { headers: { 'retry-after': '300' }, json: { retry_after_s: 300 } }, 'who guesses is not let in')
  t.equal((await ask('GET', '/api/sms')).status, 200, 'a good key from there is')
  const reserved = { url: 'https://shop.example/hook', events: ['user.password_reset'] }
  t.match(await ask('POST', '/api/v1/webhooks', { body: reserved }), {
    status: 422,
    json: { code: 'events_of_people' },
  })
})

story('a request with a key of its own is done once, however often it is made and whatever crashes', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  const { daemon, ask } = await open(t, carrier)
  const headers = { 'idempotency-key': '"order-7"' }
  const body = { to: [TO, '+4915112345679'], message: 'once' }
  const [first, second] = await Promise.all([
    ask('POST', '/api/sms/send', { headers, body }),
    ask('POST', '/api/sms/send', { headers: { 'idempotency-key': 'order-7' }, body }),
  ])
  const both = [first, second].sort((a, b) => a.status - b.status)
  t.equal(both[0]?.status, 200)
  t.ok(
    both[1]?.status === 409 || both[1]?.headers['idempotency-replayed'] === 'true',
    'the other waits or is told the same',
  )
  const again = await ask('POST', '/api/sms/send', { headers, body })
  t.match(again, { status: 200, headers: { 'idempotency-replayed': 'true' }, text: both[0]?.text ?? '' })
  t.match(await ask('POST', '/api/sms/send', { headers, body: { ...body, message: 'two' } }), {
    status: 422,
    json: { code: 'key_reused' },
  })
  await daemon.kill9()
  await daemon.start()
  const after = await api(daemon.admin)('POST', '/api/sms/send', { headers, body })
  t.match(after, { status: 200, headers: { 'idempotency-replayed': 'true' }, text: both[0]?.text ?? '' })
  await carrier.until(() => carrier.submitted.length >= 2, '2 messages')
  t.equal(new Set(carrier.submitted.map(sm => sm.fields.destination_addr)).size, 2)
  t.match(await api(daemon.admin)('GET', `/api/sms/batches/${after.json.batch_id}`), {
    status: 200,
    json: { accepted: 2, statuses: { pending: 2 } },
  })
})

story(
  'thousands of messages come in one request, as CSV or as NDJSON, and what is wrong is named by its line',
  async t => {
    const carrier = await smsc(t)
    const { daemon, ask } = await open(t, carrier)
    const number = (i: number): string => `49151${10_000_000 + i}`
    const csv = [
      'number,message,custom_id',
      ...Array.from({ length: 3_000 }, (_, i) => `${number(i)},"Hello, ${i % 3}",c${i}`),
      'nobody,x,',
      '49151,,',
    ]
    const answer = await ask('POST', '/api/v1/sms/send-stream?from_number=Shop&sms_type=marketing&name=spring', {
      body: csv.join('\n'),
      type: 'text/csv; charset=utf-8',
    })
    const end = linesOf(answer.text).at(-1)
    t.match(end, { end: true, rows: 3_002, accepted: 3_000, rejected: 2 })
    t.same(end.errors.map((one: { line: number }) => one.line).sort(), [3_002, 3_003])
    await carrier.until(() => carrier.submitted.length >= 3_000, '3_000 messages')
    t.equal(new Set(carrier.submitted.map(sm => sm.fields.destination_addr)).size, 3_000)
    await daemon.history(6_000)
    t.match((await ask('GET', `/api/sms/batches/${end.batch_id}`)).json, {
      name: 'spring',
      accepted: 3_000,
      statuses: { delivered: 3_000 },
    })
    const json = [{ number: TO, message: 'one' }, { number: TO }, 'no object', { number: TO, message: 'two', x: 1 }]
    const lines = await ask('POST', '/api/sms/send-stream', {
      body: json.map(one => JSON.stringify(one)).join('\n'),
      type: 'application/x-ndjson',
    })
    t.match(linesOf(lines.text).at(-1), { rows: 4, accepted: 1, rejected: 3 })
    const endless = await ask('POST', '/api/sms/send-stream', {
      body: '{'.repeat(40_000),
      type: 'application/x-ndjson',
    })
    t.match(linesOf(endless.text).at(-1), { end: true, accepted: 0, problem: { code: 'too_large' } })
    t.match(await ask('POST', '/api/sms/send-stream', { body: {}, type: 'application/json' }), { status: 415 })
  },
)

story('the URL that a message names is told of its end, signed with the account’s secret', async t => {
  const carrier = await smsc(t)
  const told = await receiver(t)
  const { ask } = await open(t, carrier, {}, { webhooks: { allow: ['127.0.0.1'] } })
  const body = {
    to: TO,
    message: 'x',
    callback_url: told.url,
    custom_id: 'c1',
    metadata: { cart: 7 },
    tags: ['spring'],
  }
  const { json } = await ask('POST', '/api/sms/send', { body })
  const [event] = await told.first(1)
  t.match(event, {
    type: 'message.delivered',
    data: {
      id: json.message_ids[0],
      custom_id: 'c1',
      metadata: { cart: 7 },
      tags: ['spring'],
      batch_id: json.batch_id,
    },
  })
  const document = await ask('GET', '/openapi.json', { key: null })
  t.match(document.json, { openapi: '3.1.0', paths: { '/api/v1/sms/send': { post: { summary: String } } } })
  t.match(await ask('GET', '/docs', { key: null }), { status: 200, headers: { 'content-type': /html/ } })
})
