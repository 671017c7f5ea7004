// One-time passwords over HTTP against the real daemon: sent, entered, sent again, called off, gone on with by mail; and what
// whoever guesses, races or pumps finds.

import { readdirSync, readFileSync } from 'node:fs'
import { type Answer, api } from './support/api.js'
import { type House, trunkline } from './support/house.js'
import { type Lodging, lodge, lodger, lodgersOn } from './support/lodging.js'
import { receiver, SECRET, type Told } from './support/receiver.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

type Ask = (path: string, body?: object, more?: { key?: string; headers?: Record<string, string> }) => Promise<Answer>

const keyOf = (n: number, of = 'shop'): string =>
  `tl_${of}_otp${String(n).padStart(2, '0')}456789abcdef0123456789abcdef`

interface Shop {
  readonly lodging: Lodging
  readonly daemon: House
  readonly carrier: Smsc
  readonly ask: Ask
  readonly key: string
}

let shops = 0

/** A shop of its own with a carrier, numbers that no other has, and whatever else its account wants. */
async function shop(t: Parameters<typeof lodge>[0], more: object = {}, script = {}): Promise<Shop> {
  const n = ++shops
  const carrier = await smsc(t, script)
  const key = keyOf(n)
  const lodging = await lodge(t, {
    accounts: { shop: { apiKey: key, otp: { brand: 'Acme' }, ...more }, other: { apiKey: keyOf(n, 'other') } },
    carriers: { up: carrier },
  })
  await carrier.bound()
  const { daemon } = lodging
  return {
    ...{ lodging, daemon, carrier, key },
    ask: (path, body, { key: own = key, headers = {} } = {}) =>
      api(daemon.admin)(body === undefined ? 'GET' : 'POST', `/api/v1/otp/${path}`, {
        key: own,
        headers,
        ...(body === undefined ? {} : { body }),
      }),
  }
}

let numbers = 0
/** No two of one prefix. */
const newNumber = (): string => `49151${String(10 + numbers++)}345678`
const codeIn = (sm: Submitted): string => /\d{6}/.exec(sm.text)?.[0] as string
const wrongFor = (code: string, by = 1): string => String((Number(code) + by) % 1_000_000).padStart(6, '0')
const invalid = { status: 422, json: { code: 'otp_invalid' } }

lodger('a code goes to the phone alone, is right once, and stands in no answer, log, history or list', async t => {
  const told = await receiver(t)
  const { ask, carrier, daemon, lodging } = await shop(t, {
    webhooks: [{ url: told.url, secret: SECRET, events: ['otp.*'] }],
  })
  const number = newNumber()
  const made = await ask('generate', { phone_number: `+${number}`, purpose: 'login', metadata: { user: 7 } })
  t.match(made, { status: 200, json: { status: 'pending', to: number, attempts_left: 3, limits: { left_today: 9 } } })
  const { session_id } = made.json
  const sm = await carrier.next()
  const code = codeIn(sm)
  t.equal(sm.text, `Acme: ${code} is your code. Valid 5 min. Never share it with anyone.`)
  t.notOk(made.text.includes(code), 'its answer does not tell')
  t.match(await ask('verify', { session_id, otp_code: wrongFor(code), purpose: 'login' }), invalid)
  t.match(await ask('verify', { session_id, otp_code: code }), invalid, 'for another purpose')
  t.match((await ask(session_id)).json, { status: 'pending', attempts_left: 1, messages: [{ status: 'delivered' }] })
  const right = await ask('verify', { session_id, otp_code: `${code.slice(0, 3)} ${code.slice(3)}`, purpose: 'login' })
  const carried_by = [{ channel: 'sms', to: number, status: 'delivered' }]
  const proven = { verified: true, purpose: 'login', metadata: { user: 7 }, carried_by, sandbox: false }
  t.match(right, { status: 200, json: proven })
  t.match(await ask('verify', { session_id, otp_code: code, purpose: 'login' }), invalid, 'once')
  const { verified_token } = right.json
  t.match(await ask('redeem', { verified_token }), { status: 422 }, 'bound to its purpose')
  t.match(await ask('redeem', { verified_token, purpose: 'login' }), {
    status: 200,
    json: { session_id, to: number, carried_by, sandbox: false },
  })
  t.match(await ask('redeem', { verified_token, purpose: 'login' }), { status: 422 }, 'once')

  const events = await told.first(3)
  t.same(events.map(({ type }: Told) => type).sort(), ['otp.delivered', 'otp.sent', 'otp.verified'])
  t.ok(
    events.every(({ data, isSigned }: Told) => isSigned && data.session_id === session_id && data.metadata.user === 7),
  )
  const rows = await lodging.history(2)
  t.match(
    rows.find(({ kind }) => kind === 'e'),
    { destination: number, state: 2 },
  )
  const list = (await ask('sessions')).json.sessions
  t.match(list, [
    { session_id, event: 'verified', purpose: 'login', country: 'DE', to: `${number.slice(0, 2)}********678` },
  ])
  const tables = await daemon.query<{ text: string }>(
    'select h::text as text from history h union all select o::text from otp_events o',
  )
  for (const [where, text] of Object.entries({
    'the log': JSON.stringify(daemon.log),
    history: tables.map(({ text }) => text).join('\n'),
    webhooks: JSON.stringify(told.told),
    'what is shown': JSON.stringify([list, await ask(session_id)]),
  })) {
    t.notMatch(text, new RegExp(`\\b${code}\\b`), where)
  }
})

lodger('of codes that come at once no more are looked at than may be, and one is right at most', async t => {
  const told = await receiver(t)
  const { ask, carrier } = await shop(t, {
    webhooks: [{ url: told.url, secret: SECRET, events: ['otp.blocked', 'otp.verified'] }],
  })
  const begin = async (): Promise<{ session_id: string; code: string }> => {
    const made = await ask('generate', { phone_number: `+${newNumber()}` })
    return { session_id: made.json.session_id, code: codeIn(await carrier.next()) }
  }
  const all = (codes: readonly string[], session_id: string): Promise<Answer[]> =>
    Promise.all(codes.map(otp_code => ask('verify', { session_id, otp_code })))
  const good = (answers: readonly Answer[]): number => answers.filter(({ status }) => status === 200).length

  const first = await begin()
  const wrong = Array.from({ length: 200 }, (_, n) => wrongFor(first.code, n + 1))
  const answers = await all(wrong, first.session_id)
  t.same(
    [...new Set(answers.map(({ status, json }) => `${status} ${json.detail}`))].length,
    1,
    'all are answered alike',
  )
  t.match((await ask(first.session_id)).json, { status: 'blocked', attempts_left: 0 })
  t.match(
    await ask('verify', { session_id: first.session_id, otp_code: first.code }),
    invalid,
    'too late for the right one',
  )

  const second = await begin()
  t.equal(good(await all(Array(200).fill(second.code), second.session_id)), 1, 'the right one, 200 times at once')
  const third = await begin()
  const mixed = Array.from({ length: 200 }, (_, n) => (n % 2 === 0 ? third.code : wrongFor(third.code, n)))
  t.equal(good(await all(mixed, third.session_id)), 1)
  t.same((await told.first(3)).map(({ type }) => type).sort(), ['otp.blocked', 'otp.verified', 'otp.verified'])
  t.equal(told.told.length, 3, 'each end is told once')
})

lodger('what was wrong counts after another message and in the next session, and no code is good twice', async t => {
  const { ask, carrier } = await shop(t)
  const number = newNumber()
  const one = (await ask('generate', { phone_number: `+${number}` })).json
  const code = codeIn(await carrier.next())
  await ask('verify', { session_id: one.session_id, otp_code: wrongFor(code) })
  t.match(await ask(`resend/${one.session_id}`, {}), { status: 200, json: { attempts_left: 2 } })
  t.equal(codeIn(await carrier.next()), code, 'the same code again')
  const two = (await ask('generate', { phone_number: `+${number}` })).json
  t.equal(two.attempts_left, 2, 'the next session inherits')
  const next = codeIn(await carrier.next())
  t.match((await ask(one.session_id)).json, { status: 'superseded' })
  t.match(await ask('verify', { session_id: one.session_id, otp_code: code }), invalid)
  t.match(await ask(`resend/${one.session_id}`, {}), { status: 409, json: { code: 'otp_over' } })
  for (const by of [1, 2]) await ask('verify', { session_id: two.session_id, otp_code: wrongFor(next, by) })
  const refused = await ask('generate', { phone_number: `+${number}` })
  t.match(refused, { status: 429, json: { code: 'otp_attempts_used', attempts_left: 0 } })
  t.ok(Number(refused.headers['retry-after']) > 500)
  t.match(
    await ask('generate', { phone_number: `+${number}`, purpose: 'other' }),
    { status: 200 },
    'of another purpose',
  )

  const called = (await ask('generate', { phone_number: `+${newNumber()}` })).json
  t.match(await ask(`cancel/${called.session_id}`, {}), { status: 200, json: { status: 'canceled' } })
  t.match(await ask(`cancel/${called.session_id}`, {}), { status: 409 })
  t.match(await ask(`next/${called.session_id}`, {}), { status: 409 })
})

lodger(
  'a number gets five codes an hour, an address as many as it may, and whoever asks is told how long to wait',
  async t => {
    const { ask } = await shop(t, { otp: { countries: ['DE'] } })
    const number = newNumber()
    for (let n = 4; n >= 0; n--) {
      const purpose = `p${n}`
      const made = await ask('generate', { phone_number: { number, country_code: '' }.number, purpose })
      t.match(made.json.limits, { left_this_hour: n, left_today: n + 5 })
    }
    const over = await ask('generate', { phone_number: `+${number}`, purpose: 'p9' })
    t.match(over, { status: 429, json: { code: 'otp_limited', limit: 'hour', left_this_hour: 0, left_today: 5 } })
    t.ok(Number(over.headers['retry-after']) > 3_000)
    for (let n = 0; n < 10; n++) {
      t.equal((await ask('generate', { phone_number: `+${newNumber()}`, ip: '2001:db8::7' })).status, 200)
    }
    t.match(await ask('generate', { phone_number: `+${newNumber()}`, ip: '2001:db8::8' }), {
      status: 429,
      json: { limit: 'address' },
    })
    t.match(await ask('generate', { phone_number: '+33612345678' }), {
      status: 403,
      json: { code: 'otp_country_refused' },
    })
    t.match(await ask('generate', { phone_number: `+${newNumber()}`, length: 5 }), { status: 422, json: { min: 6 } })
    t.match(await ask('generate', { phone_number: `+${newNumber()}`, workflow: [{ channel: 'voice' }] }), {
      status: 501,
    })
    t.match(await ask('generate', { phone_number: 'nobody' }), { status: 422, json: { code: 'destination_invalid' } })
    t.match(await ask('generate', {}), { status: 422, json: { code: 'invalid' } })
    const paid = { phone_number: `+${newNumber()}`, custom_message: '{otp} for {payee}' }
    t.match(await ask('generate', paid), { status: 422, json: { code: 'invalid' } }, 'nobody is paid')
    t.match(await ask('generate', { ...paid, payee: 'Shop', amount: '9 EUR' }), {
      status: 422,
      json: { code: 'otp_text_invalid', detail: /amount/ },
    })
  },
)

lodger('one account knows nothing of another’s sessions, and an Idempotency-Key sends one code', async t => {
  const { ask, carrier, key } = await shop(t)
  const other = key.replace('tl_shop', 'tl_other')
  const body = { phone_number: `+${newNumber()}` }
  const headers = { 'idempotency-key': 'a1' }
  const [one, two] = [await ask('generate', body, { headers }), await ask('generate', body, { headers })]
  t.equal(one.text, two.text)
  t.equal(two.headers['idempotency-replayed'], 'true')
  t.match(await ask('generate', { phone_number: `+${newNumber()}` }, { headers }), {
    status: 422,
    json: { code: 'key_reused' },
  })
  const { session_id } = one.json
  const code = codeIn(await carrier.next())
  t.equal(carrier.submitted.length, 1)
  t.match(await ask(session_id, undefined, { key: other }), { status: 404, json: { code: 'otp_unknown' } })
  t.match(await ask('verify', { session_id, otp_code: code }, { key: other }), invalid)
  t.match(await ask('verify', { session_id, otp_code: code }), { status: 200 }, 'and it has cost no attempt')
})

lodger(
  'a code that the phone does not get goes by mail: refused at once, silent after its time, or when asked',
  async t => {
    const told = await receiver(t)
    const script = { submit: (sm: Submitted) => sm.accept() }
    const webhooks = [{ url: told.url, secret: SECRET, events: ['otp.sent', 'otp.failed'] }]
    const { ask, carrier, daemon } = await shop(t, { webhooks }, script)
    const mailOf = async (to: string): Promise<{ text: string; subject: string }> => {
      const { mails } = JSON.parse((await daemon.get('/api/v1/admin/catch')).body)
      const { id } = mails.find((mail: { to: string[] }) => JSON.stringify(mail).includes(to))
      return JSON.parse((await daemon.get(`/api/v1/admin/catch/${id}`)).body)
    }
    const workflow = (timeout_s: number) => [{ channel: 'sms', timeout_s }, { channel: 'email' }]
    const begin = (email: string, timeout_s: number): Promise<Answer> =>
      ask('generate', { phone_number: `+${newNumber()}`, email, workflow: workflow(timeout_s) })
    const until = async (session: string, channel: string): Promise<void> => {
      for (let n = 1; ; n++) {
        const events = await told.first(n)
        if (
          events.some(
            ({ type, data }) => type === 'otp.sent' && data.session_id === session && data.channel === channel,
          )
        )
          return
      }
    }

    const silent = (await begin('silent@shop.example', 1)).json
    t.equal(silent.next_channel, 'email')
    const code = codeIn(await carrier.next())
    await until(silent.session_id, 'email')
    const mail = await mailOf('silent@shop.example')
    t.match(JSON.stringify(mail), new RegExp(code), 'the same code')
    t.match((await ask(silent.session_id)).json, {
      channel: 'email',
      status: 'pending',
      messages: [{ status: 'sent' }, { channel: 'email' }],
    })
    const email = 'Silent@shop.example'
    t.match(await ask('verify', { session_id: silent.session_id, otp_code: code, email, phone_number: silent.to }), {
      status: 200,
      json: { carried_by: [{ channel: 'sms' }, { channel: 'email', to: 'silent@shop.example' }] },
    })

    carrier.script.submit = sm => sm.refuse(0x0b)
    const refused = (await begin('refused@shop.example', 280)).json
    await until(refused.session_id, 'email')
    t.match((await ask(refused.session_id)).json.messages, [{ channel: 'sms', status: 'failed' }, { channel: 'email' }])

    carrier.script.submit = sm => sm.accept()
    const asked = (await begin('asked@shop.example', 280)).json
    t.match(await ask(`next/${asked.session_id}`, {}), { status: 200, json: { channel: 'email', next_channel: null } })
    t.match(await ask(`next/${asked.session_id}`, {}), { status: 409, json: { code: 'otp_no_step' } })
    const again = (channel: string): Promise<Answer> => ask(`resend/${asked.session_id}`, { channel })
    t.match(await again('sms'), { status: 200, json: { channel: 'sms', to: asked.to, next_channel: null } })
    t.match(await again('voice'), { status: 422, json: { code: 'otp_channel_missing' } })
    t.match(await begin('late@shop.example', 300), { status: 422, json: { code: 'otp_workflow_too_long' } })
  },
)

lodger('codes to a prefix that nobody enters stop, the account is told, and an operator lets them go on', async t => {
  const told = await receiver(t)
  const { ask, daemon, lodging } = await shop(t, {
    webhooks: [{ url: told.url, secret: SECRET, events: ['otp.prefix_blocked'] }],
  })
  const number = (n: number): string => `+4479999${String(n).padStart(5, '0')}`
  for (let n = 0; n < 8; n++) t.equal((await ask('generate', { phone_number: number(n) })).status, 200, `code ${n + 1}`)
  const refused = await ask('generate', { phone_number: number(8) })
  t.match(refused, { status: 403, json: { code: 'otp_prefix_blocked', retryable: true } })
  t.ok(Number(refused.headers['retry-after']) > 1_700)
  t.match((await told.first(1))[0]?.data, { prefix: '4479999', sent: 8, verified: 0 })
  const account = lodging.named('shop')
  const { blocked } = JSON.parse((await daemon.get('/api/v1/admin/otp/blocked')).body)
  t.match(blocked, [{ account, prefix: '4479999', sent: 8, verified: 0 }])
  t.equal((await daemon.ask('POST', '/api/v1/admin/otp/release', { account, prefix: '1' })).status, 404)
  t.equal((await daemon.ask('POST', '/api/v1/admin/otp/release', { account, prefix: '4479999' })).status, 200)
  t.equal((await ask('generate', { phone_number: number(9) })).status, 200)
  t.ok((await daemon.metric('trunkline_events_total', { name: 'otp_prefixes_blocked' })) >= 1)
})

lodger('in the sandbox the code is told and no limit holds; a test key’s session is no live key’s', async t => {
  const { ask, carrier, daemon, key } = await shop(t)
  const made = await api(daemon.admin)('POST', '/api/v1/keys', { key, body: { kind: 'test' } })
  const test = { key: made.json.key as string }
  for (let n = 0; n < 12; n++) {
    const one = await ask('generate', { phone_number: '+999000000100' })
    t.match(one.json, { sandbox: true, limits: null, code: /^\d{6}$/ })
    const right = await ask('verify', { session_id: one.json.session_id, otp_code: one.json.code })
    t.match(right, { status: 200, json: { sandbox: true } })
    const { verified_token } = right.json
    t.match(await ask('redeem', { verified_token }), { status: 200, json: { sandbox: true } })
  }
  const { session_id, code } = (await ask('generate', { phone_number: `+${newNumber()}`, format: 'words' }, test)).json
  t.match(await ask('verify', { session_id, otp_code: code }), invalid)
  t.match(await ask(session_id), { status: 404 })
  t.match(await ask('verify', { session_id, otp_code: code.toUpperCase() }, test), { status: 200 })
  t.equal(carrier.submitted.length, 0, 'nothing has left the building')
  const live = await ask('generate', { phone_number: `+${newNumber()}` })
  t.match((await ask('sessions')).json, { sessions: [{ session_id: live.json.session_id }] })
  t.same((await ask('sessions', undefined, test)).json, { sessions: [] }, 'nor is a test key told of those')
})

lodger('an operator sends and checks codes of an account with the command line', async t => {
  const { daemon, lodging } = await shop(t)
  const run = (...args: string[]) => trunkline(['--config', daemon.configFile, 'otp', ...args])
  const account = ['--account', lodging.named('shop')]
  const made = await run('generate', ...account, '--number', '+999000000100', '--format', 'words', '--json')
  const { session_id, code } = JSON.parse(made.stdout)
  const session = ['--session', session_id as string]
  t.match(await run('verify', ...account, ...session, '--code', 'no such words'), { code: 1, stderr: /no longer good/ })
  t.match(await run('verify', ...account, ...session), { code: 2, stderr: /no terminal to ask for the code/ })
  const verify = ['--config', daemon.configFile, 'otp', 'verify', ...account, ...session, '--code', '-']
  t.match(await trunkline(verify, `${code}\n`), {
    code: 0,
    stdout: /verified for verification; the code went by sms to 999000000100/,
  })
  t.match(await run('show', ...account, session_id), { code: 0, stdout: /verified/ })
  t.match(await run('release', ...account, '--to', '+4915112345678'), { code: 1, stderr: /not blocked/ })
  t.match(await run('release', ...account), { code: 1, stderr: /a prefix, or to/ })

  const rows = async (): Promise<Record<string, unknown>[]> =>
    JSON.parse((await daemon.get(`/api/v1/admin/audit?action=otp.&subject=${lodging.named('shop')}`)).body).audit
  let audit = await rows()
  while (audit.length < 3) audit = await rows()
  t.match(
    audit.sort((a, b) => Number(a.id) - Number(b.id)),
    [
      { action: 'otp.generate', who: 'admin.sock', changes: { status: 200 } },
      { action: 'otp.verify', changes: { session_id, status: 422 } },
      { action: 'otp.verify', changes: { session_id, status: 200 } },
    ],
  )
  t.notOk(JSON.stringify(audit).includes(code), 'without the code')
})

lodger('a language that there are no texts for is taken no more, and where it once was it is no obstacle', async t => {
  const { daemon, lodging } = await shop(t)
  const [name, written] = [lodging.named('shop'), JSON.stringify({ brand: 'Acme', language: 'sv' })]
  const run = (...args: string[]) => trunkline(['--config', daemon.configFile, ...args])
  const refused = await run('account', 'edit', name, '--set', 'otp.language=sv')
  t.match(refused, { code: 1, stderr: /otp\.language must be one of en, de, .*, zh/ })
  await daemon.query(`update accounts set otp = '${written}' where system_id = '${name}'`)
  t.match(await run('account', 'edit', name, '--set', 'throughput=77'), { code: 0 })
  t.match(await daemon.query(`select otp from accounts where system_id = '${name}'`), [{ otp: { brand: 'Acme' } }])
})

lodger('the OpenAPI document names each code of a refusal', async t => {
  const { daemon } = await shop(t)
  const { paths } = (await api(daemon.admin)('GET', '/openapi.json', { key: null })).json
  const said = Object.entries<Record<string, { description?: string }>>(paths)
    .filter(([path]) => path.startsWith('/api/v1/otp/'))
    .flatMap(([, methods]) => Object.values(methods).map(({ description = '' }) => description))
    .join('\n')
  const place = new URL('../src/services/otp/', import.meta.url)
  const texts = readdirSync(place).map(name => readFileSync(new URL(name, place), 'utf8'))
  const codes = texts.flatMap(text => [...text.matchAll(/refusal\(\s*'(otp_\w+)'/g)].map(([, code]) => code as string))
  t.ok(codes.length > 15, `${codes}`)
  t.same(
    codes.filter(code => !new RegExp(`\\b${code}\\b`).test(said)),
    [],
  )
})

lodger(
  'a code that was sent before a power failure is good after it, what was wrong still counts, and peppers change',
  async t => {
    const { ask, carrier, daemon, lodging } = await shop(t)
    const made = (await ask('generate', { phone_number: `+${newNumber()}`, payee: 'Shop', amount: '9.90 EUR' })).json
    const sm = await carrier.next()
    const code = codeIn(sm)
    t.match(sm.text, /\nShop: 9\.90 EUR$/)
    const named = { session_id: made.session_id, payee: 'Shop', amount: '9.90 EUR' }
    t.match(await ask('verify', { ...named, otp_code: wrongFor(code) }), invalid)
    t.equal((await daemon.ask('POST', '/api/v1/admin/otp/pepper')).status, 200)
    await lodging.again('kill9')
    t.match((await ask(made.session_id)).json, { status: 'pending', attempts_left: 2 })
    t.match(await ask('verify', { ...named, otp_code: code, amount: '99.90 EUR' }), invalid)
    t.match(await ask('verify', { ...named, otp_code: code }), { status: 200 })
  },
)

lodgersOn('one-time passwords', {
  config: {
    admin: { listen: '127.0.0.1:0' },
    smtp: { catch: true },
    sandbox: { enabled: true },
    webhooks: { allow: ['127.0.0.0/8'] },
    otp: { cooldownMs: 0, guardFrom: 8, guardGraceMs: 0 },
  },
})
