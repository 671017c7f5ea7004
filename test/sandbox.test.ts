// The sandbox: each number plays its part, nothing of it reaches a carrier, and a test key reaches nothing else.

import t from 'tap'
import { isMagic, magicNumbers, playOf } from '../src/routing/sandbox.js'
import { type Answer, api, KEY } from './support/api.js'
import { esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { receiver, SECRET } from './support/receiver.js'
import { smsc } from './support/smsc.js'

const PHONE = '+4915112345678'

t.test('its numbers are those of a country code that is nobody’s', async t => {
  t.ok(magicNumbers().length >= 12)
  for (const { number } of magicNumbers()) t.ok(isMagic(number.slice(1)), number)
  for (const other of ['999000000100', '99900000010', '4915112345678', '9990000002000', '999000000200', '']) {
    t.equal(isMagic(other), other === '999000000100', other)
  }
  t.equal(playOf('4915112345678'), playOf('999000000100'), 'whatever is none of them is delivered')
})

story(
  'a number of the sandbox plays its part, and a test key reaches nothing else, and nobody outside hears of it',
  async t => {
    const carrier = await smsc(t)
    const told = await receiver(t)
    const webhooks = [{ url: told.url, secret: SECRET }]
    const daemon = await house(t, {
      accounts: { shop: { apiKey: KEY, webhooks, numbers: ['4930123'] }, other: { apiKey: `${KEY}x` } },
      carriers: { up: carrier },
      config: {
        sandbox: { enabled: true },
        admin: { listen: '127.0.0.1:0' },
        webhooks: { allow: ['127.0.0.0/8'] },
        retry: { bulk: { firstMs: 100 } },
      },
    })
    const ask = api(daemon.admin)
    const testKey: string = (await ask('POST', '/api/v1/keys', { body: { kind: 'test' } })).json.key
    const send = (to: string, more: object = {}, key = KEY): Promise<Answer> =>
      ask('POST', '/api/sms/send', { key, body: { to, message: `to ${to}`, ...more } })

    t.match(await send('+999000000140'), { status: 422, json: { code: 'destination_invalid' } })
    const outcomes: Record<string, string> = {
      '00': 'delivered',
      10: 'undelivered',
      11: 'expired',
      12: 'rejected',
      13: 'unknown',
      21: 'delivered',
      30: 'delivered',
      31: 'delivered',
      41: 'rejected',
      77: 'delivered',
    }
    const ids = new Map<string, string>()
    for (const digits of Object.keys(outcomes)) {
      const sent = await send(`+9990000001${digits}`, { provider: 'up', sms_type: 'marketing' })
      t.equal(sent.status, 200, digits)
      ids.set(sent.json.message_ids[0], digits)
    }
    const silent = await send('+999000000120')
    const late = await send('+999000000102')
    const events = await told.first(ids.size)
    for (const { data } of events) t.equal(data.status, outcomes[ids.get(data.id) ?? ''], `…${ids.get(data.id)}`)
    for (const one of [silent, late]) {
      t.match((await ask('GET', `/api/sms/${one.json.message_ids[0]}`)).json, { status: 'sent' })
    }

    // A test key: any number, over any carrier that is asked for, stays here; the loop guard leaves it alone.
    for (let n = 0; n < 15; n++)
      t.match(await send(PHONE, { provider: 'up', message: 'same' }, testKey), { status: 200 })
    const csv = await ask('POST', '/api/sms/send-stream?message=same', {
      key: testKey,
      type: 'text/csv',
      body: `number\n${PHONE}\n`,
    })
    t.match(csv.text, /"accepted":1/)
    await told.first(ids.size + 16)
    const { messages } = (await ask('GET', '/api/sandbox/messages?limit=2')).json
    t.match(messages, [{ to: PHONE.slice(1), text: 'same', outcome: 'delivered at once' }, { text: 'same' }])
    t.same(
      (await ask('GET', '/api/sandbox/messages', { key: `${KEY}x` })).json,
      { messages: [] },
      'others’ are not seen',
    )
    t.match((await ask('GET', '/api/sandbox/numbers')).json.numbers[0], { number: '+999000000100' })

    // What an operator asks about it is answered so.
    const why = await daemon.ask('POST', '/api/v1/admin/routes/explain', { account: 'shop', to: '999000000110' })
    t.match(JSON.parse(why.body), { outcome: 'routed', carrier: 'sandbox' })

    // Over SMPP the numbers are the same.
    const shop = await esme(t, daemon.smpp)
    const { message_id } = await shop.submit({
      destination_addr: '999000000110',
      short_message: Buffer.from('by bind'),
      registered_delivery: 1,
    })
    let { receipt } = await shop.next()
    while (receipt.id !== message_id) receipt = (await shop.next()).receipt
    t.match(receipt, { stat: 'UNDELIV', err: '001' })

    // A phone that is nobody's.
    const inbound = { from: PHONE, to: '4930123', text: 'Grüße 😀' }
    t.match(await ask('POST', '/api/sandbox/inbound', { body: inbound }), { status: 202 })
    t.match(await ask('POST', '/api/sandbox/inbound', { key: `${KEY}x`, body: inbound }), {
      status: 422,
      json: { code: 'not_yours' },
    })
    const count = ids.size + 16 + 2
    const received = (await told.first(count)).find(({ type }) => type === 'message.received')
    t.match(received?.data, { from: PHONE.slice(1), to: '4930123', text: 'Grüße 😀' })

    t.equal(carrier.submitted.length, 0, 'nothing has left the building')
    // What a test key has asked for once is not done for a live one.
    const once = { headers: { 'idempotency-key': 'k1' }, body: { to: PHONE, message: 'for real' } }
    t.equal((await ask('POST', '/api/sms/send', { ...once, key: testKey })).status, 200)
    t.equal((await ask('POST', '/api/sms/send', once)).headers['idempotency-replayed'], undefined)
    await carrier.until(() => carrier.submitted.length === 1, 'the only message that is meant')
  },
)

story('without a sandbox a test key sends nothing', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: { apiKey: KEY } },
    carriers: { up: carrier },
    config: { admin: { listen: '127.0.0.1:0' } },
  })
  const ask = api(daemon.admin)
  const key = (await ask('POST', '/api/v1/keys', { body: { kind: 'test' } })).json.key
  const body = { to: '+999000000100', message: 'x' }
  const refused = { status: 403, json: { code: 'sandbox_off' } }
  t.match(await ask('POST', '/api/sms/send', { key, body }), refused)
  t.match(await ask('GET', '/api/sandbox/numbers', { key }), { status: 404, json: { code: 'sandbox_off' } })
  t.equal(carrier.submitted.length, 0)
})
