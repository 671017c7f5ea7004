// Templates as whole stories: made, sent, edited and removed over HTTP and by the command, against the real daemon, a
// scripted carrier, and a database that goes away.

import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { api, KEY, linesOf } from './support/api.js'
import { judged } from './support/document.js'
import { emptyHouse, freshDatabase, House, type HouseOptions, story, trunkline } from './support/house.js'
import { Way } from './support/postgres.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

// Much of it is the command's own start, for each call anew.
t.setTimeout(110_000)

const TO = '+4915112345678'
const OTHER = `${KEY}x`
const PLAIN = `${KEY}y`

async function open(t: Test, carrier: Smsc, more: Partial<HouseOptions> = {}): Promise<House> {
  const daemon = await emptyHouse(t, {
    tariffs: [
      {
        name: 'retail',
        prices: [
          { prefix: '', price: '0.075' },
          { prefix: '', class: 'bulk', price: '0.05' },
        ],
      },
    ],
    accounts: {
      shop: { apiKey: KEY, tariff: 'retail' },
      other: { apiKey: OTHER },
      plain: { apiKey: PLAIN, smpp: { smartReplace: true } },
    },
    carriers: { up: carrier },
    config: { admin: { listen: '127.0.0.1:0' } },
    ...more,
  })
  await daemon.start()
  return daemon
}

/** Of a text in one part. */
const textOf = ({ text, fields }: Submitted): string =>
  fields.data_coding === 8 ? Buffer.from(text, 'latin1').swap16().toString('utf16le') : text
const texts = (carrier: Smsc): string[] => carrier.submitted.map(textOf)
const numbers = (count: number, from = 0): string[] =>
  Array.from({ length: count }, (_, i) => `+49151${String(10_000_000 + from + i)}`)

story('one daemon for all of these', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  const direct = await freshDatabase()
  const way = await Way.to(direct)
  await way.open()
  t.teardown(() => way.close())
  const daemon = await open(t, carrier, { database: { url: way.url, direct } })
  await t.test(
    'a template is made, tried, sent and edited, and each message keeps the version that it was made of',
    t => versions(t, daemon, carrier),
  )
  await t.test('what is tried is what would be sent, to each their own, and what it costs', t => tried(t, daemon))
  await t.test('what is refused is pointed to where it stands in the request', t => pointers(t, daemon))
  await t.test('of two who change a template neither loses what the other wrote, and either goes back', t =>
    changes(t, daemon),
  )
  await t.test('of the gateway’s templates an account sees those that are on, and not how often others use them', t =>
    shared(t, daemon),
  )
  await t.test('of a thousand recipients with texts of their own the three that cannot be filled in are left out', t =>
    personal(t, daemon, carrier),
  )
  await t.test('the command makes templates of files, and says what it could not make', t => command(t, daemon))
  await t.test('without the database templates are sent, and over a crash too', t => away(t, daemon, carrier, way))
  if (process.env.LONG) await t.test('another daemon’s edit holds here at once', t => elsewhere(t, daemon))
  await daemon.stop()
  const [row] = await daemon.query<{ uses: string }>('select max(uses) as uses from template_uses')
  // A crash forgets those of its last seconds.
  t.ok(Number(row?.uses) >= 1, 'uses are written at the stop')
})

async function versions(t: Test, daemon: House, carrier: Smsc): Promise<void> {
  const { ask } = await judged(api(daemon.admin), what => t.fail(what))
  const made = await ask('POST', '/api/v1/templates', {
    body: {
      name: 'order sent',
      content: 'Hi {{name}}, order {{order}}!',
      variables: [{ name: 'order', max_length: 6, pattern: '\\d+' }],
      category: 'orders',
      sms_type: 'alert',
      locales: { de: 'Hallo {{name}} – {{order}}' },
    },
  })
  t.match(made, { status: 201, json: { version: 1, shared: false, is_active: true, uses: 0 } })
  t.same(
    made.json.variables.map((one: { name: string; required: boolean }) => [one.name, one.required]),
    [
      ['order', true],
      ['name', true],
    ],
    'those that only stand in the text are declared for it',
  )
  const { id } = made.json
  const at = `/api/v1/templates/${id}`
  t.match(await ask('POST', '/api/v1/templates', { body: { name: 'order sent', content: 'x' } }), {
    status: 409,
    json: { code: 'template_exists' },
  })
  t.match(await ask('POST', '/api/v1/templates', { body: { name: 'x', content: 'x {{' } }), {
    status: 422,
    json: { errors: [{ pointer: '/content' }] },
  })

  // Tried.
  const seen = await ask('POST', `${at}/preview`, {
    body: { variables: { name: 'Ann', order: 7 }, locale: 'de-AT', to: [TO, 'nobody'] },
  })
  t.match(seen.json, { text: 'Hallo Ann – 7', encoding: 'ucs2', characters: 13, segments: 1, ucs2_characters: ['–'] })
  t.match(seen.json.recipients, [
    { to: TO.slice(1), status: 'valid', segments: 1, price: '0.075' },
    { to: 'nobody', status: 'rejected', error: { code: 'destination_invalid' } },
  ])
  t.match(await ask('POST', `${at}/preview`, { body: { variables: { name: 'Ann' } } }), {
    status: 422,
    json: { code: 'variable_missing', errors: [{ pointer: '/variables/order' }] },
  })

  // Sent now, and later, over an edit.
  const variables = { name: 'Ann', order: '1' }
  const later = new Date(Date.now() + 3_600_000).toISOString()
  const waits = await ask('POST', '/api/sms/send', {
    body: { to: TO, template_id: 'order sent', template_variables: variables, schedule_at: later },
  })
  t.match(waits.json, { accepted: 1, template_id: id, template_version: 1 })
  const edited = await ask('PATCH', at, { body: { content: '{{name}}: {{order}} (2)' } })
  t.match(edited.json, { version: 2, locales: { de: 'Hallo {{name}} – {{order}}' } })
  const sent = await ask('POST', '/api/sms/send', {
    body: { to: TO, template_id: id, template_variables: variables, custom_id: 'b' },
  })
  t.match(sent.json, { template_id: id, template_version: 2 })
  const old = await ask('POST', '/api/sms/send', {
    body: { to: TO, template_id: id, template_version: 1, template_variables: variables },
  })
  t.match(old.json, { accepted: 1, template_version: 1 })
  await carrier.until(() => carrier.submitted.length >= 2, '2 messages')
  t.same(texts(carrier).sort(), ['Ann: 1 (2)', 'Hi Ann, order 1!'])
  t.equal(carrier.submitted[0]?.fields.priority_flag, 0)
  const [waiting] = waits.json.message_ids
  t.match((await ask('GET', `/api/sms/${waiting}`)).json, {
    status: 'scheduled',
    template_id: id,
    template_version: 1,
  })
  t.match((await ask('GET', at)).json, {
    version: 2,
    versions: [
      { version: 2, content: '{{name}}: {{order}} (2)' },
      { version: 1, content: 'Hi {{name}}, order {{order}}!' },
    ],
  })

  // Others neither see it nor use it; the gateway's everybody may use and nobody change.
  t.equal((await ask('GET', at, { key: OTHER })).status, 404)
  t.equal((await ask('PATCH', at, { key: OTHER, body: { content: 'x' } })).status, 404)
  const stolen = { to: TO, template_id: id, template_variables: variables }
  t.match(await ask('POST', '/api/sms/send', { key: OTHER, body: stolen }), { json: { code: 'template_unknown' } })
  const shared = await daemon.ask('POST', '/api/v1/admin/templates', { name: 'all', content: 'For {{who}}' })
  t.equal(shared.status, 201)
  const ofAll = await ask('POST', '/api/sms/send', {
    key: OTHER,
    body: { to: TO, template_id: 'all', template_variables: { who: 'us' } },
  })
  t.equal(ofAll.status, 200)
  const atAll = `/api/templates/${JSON.parse(shared.body).id}`
  const writer = (body: { versions: { created_by: string }[] }) => body.versions[0]?.created_by
  t.equal(writer((await ask('GET', atAll)).json), 'gateway', 'who of the gateway wrote it is not told')
  const told = await daemon.ask('GET', atAll.replace('/api/', '/api/v1/admin/'))
  t.notMatch(writer(JSON.parse(told.body)), /^(gateway)?$/, 'but to whoever administers')
  t.match(writer((await ask('GET', at)).json), /shop/, "and an account's own say who")
  t.match(await ask('DELETE', atAll), {
    status: 403,
    json: { code: 'template_shared' },
  })

  // Listed: by what they are, and page by page.
  const none = await ask('GET', '/api/templates?category=orders&sms_type=alert&is_active=false')
  t.same(none.json, { templates: [], next_cursor: null })
  const first = await ask('GET', '/api/templates?limit=1')
  t.match(first.json.templates, [{ id }])
  const second = await ask('GET', `/api/templates?limit=1&cursor=${first.json.next_cursor}`)
  t.match(second.json, { templates: [{ name: 'all', shared: true }], next_cursor: null })
  t.same((await ask('GET', '/api/templates?offset=1')).json, second.json)

  // Off, on, and gone; what waits goes out as it was made.
  t.match((await ask('PATCH', at, { body: { is_active: false } })).json, { version: 2, is_active: false })
  t.match(await ask('POST', '/api/sms/send', { body: stolen }), { status: 422, json: { code: 'template_inactive' } })
  t.equal((await ask('POST', `${at}/preview`, { body: { variables } })).status, 200, 'it can be tried all the same')
  t.match((await ask('DELETE', at)).json, { id })
  t.match(await ask('POST', '/api/sms/send', { body: stolen }), { status: 422, json: { code: 'template_unknown' } })
  t.match((await ask('GET', `${at}?version=1`)).json, { content: 'Hi {{name}}, order {{order}}!', newest_version: 2 })
  t.equal((await ask('PATCH', at, { body: { content: 'x' } })).status, 404)
  t.match((await ask('GET', `/api/sms/${waiting}`)).json, { status: 'scheduled', template_version: 1 })
}

async function tried(t: Test, daemon: House): Promise<void> {
  const { ask } = await judged(api(daemon.admin), what => t.fail(what))
  await ask('POST', '/api/templates', { body: { name: 'hi', content: 'Hi {{name}}', locales: { de: 'Hallo' } } })
  const look = async (body: object, key = KEY) => (await ask('POST', '/api/templates/hi/preview', { key, body })).json
  const to = [
    { number: TO, variables: {} },
    { number: TO, variables: { name: 'Änn' } },
    { number: TO, name: 'ő'.repeat(80) },
  ]
  const seen = await look({ to })
  t.match(seen, { text: 'Hi Änn', segments: 1, encoding: 'gsm7', price: '0.225' })
  t.match(seen.recipients, [
    { status: 'rejected', error: { code: 'variable_missing', pointer: '/variables/name' } },
    { status: 'valid', text: 'Hi Änn', price: '0.075' },
    { status: 'valid', segments: 2, price: '0.15' },
  ])
  t.match(await look({ to: to.slice(0, 1) }), { code: 'variable_missing', status: 422 })
  t.match(await look({ to, variables: { nam: 'x' } }), { code: 'variable_unknown' }, 'wrong for all')
  t.match(await look({ locale: 'de' }), { text: 'Hallo' })

  const marketing = await look({ to: [TO, TO], variables: { name: 'x' }, sms_type: 'marketing' })
  t.match(marketing, { price: '0.1', recipients: [{ price: '0.05' }, {}] }, 'a type may have its own price')

  const curly = { name: 'curly', content: '“{{a}}”' }
  t.equal((await ask('POST', '/api/templates', { key: PLAIN, body: curly })).status, 201)
  const plain = await ask('POST', '/api/templates/curly/preview', {
    key: PLAIN,
    body: { message_type: 'unicode', variables: { a: 'x' } },
  })
  t.match(plain.json, { text: '"x"', encoding: 'gsm7' })
  const kept = await ask('POST', '/api/templates/hi/preview', { body: { message_type: 'unicode', locale: 'de' } })
  t.match(kept.json, { text: 'Hallo', encoding: 'ucs2' })
}

async function pointers(t: Test, daemon: House): Promise<void> {
  const { ask } = await judged(api(daemon.admin), what => t.fail(what))
  const send = async (path: string, body: object) => (await ask('POST', `/api/sms/${path}`, { body })).json
  const where = async (path: string, body: object) =>
    (await send(path, { template_id: 'hi', dry_run: true, ...body })).errors?.map((one: Pointed) => one.pointer)
  const none = { number: TO, variables: {} }
  t.same(await where('send-batch', { recipients: [none, { number: 'nobody' }] }), [
    '/recipients/0/variables/name',
    '/recipients/1',
  ])
  t.same(await where('send-batch', { recipients: [none] }), ['/recipients/0/variables/name'])
  t.same(await where('send', { to: [none, { number: TO, name: '{{x}}' }] }), ['/to/0/variables/name', '/to/1/name'])
  t.same(await where('send', { to: none }), ['/to/variables/name'])
  t.same(await where('send', { to: [TO], template_variables: { nam: 'x' } }), ['/template_variables/nam'])
  t.same(await where('send', { to: [none], template_variables: { nam: 'x' } }), ['/template_variables/nam'])

  // What each is called, and which number comes twice.
  const recipients = [
    TO,
    { number: TO, custom_id: 'a' },
    { number: TO.replace('+49', '0'), country_code: '49' },
    { number: 'nobody' },
    { number: 'nobody' },
  ]
  const sent = await send('send-batch', { recipients, message: 'x', custom_id: 'all', dry_run: true })
  t.match(sent, { accepted: 3, rejected: 2, duplicates: 2 })
  t.same(
    sent.messages.map((one: { custom_id: string }) => one.custom_id),
    ['all', 'a', 'all', 'all', 'all'],
  )
  t.match(await send('send', { to: TO, message: 'x', dry_run: true }), {
    duplicates: 0,
    messages: [{ custom_id: null }],
  })
}
interface Pointed {
  readonly pointer: string
}

async function changes(t: Test, daemon: House): Promise<void> {
  const { ask } = await judged(api(daemon.admin), what => t.fail(what))
  const at = '/api/templates/many'
  const made = await ask('POST', '/api/templates', { body: { name: 'many', content: 'Hi 0' } })
  const say = async (content: string) => (await ask('PATCH', at, { body: { content } })).json
  const answers = await Promise.all(['1', '2', '3', '4', '5'].map(n => say(`Hi ${n}`)))
  t.same(
    answers.map(one => [one.version, one.content]).sort(),
    [
      ...(await ask('GET', at)).json.versions.map((one: Pick<Content, 'version' | 'content'>) => [
        one.version,
        one.content,
      ]),
    ]
      .slice(0, -1)
      .sort(),
    'each is told of its own version',
  )
  const late = await ask('PATCH', at, { body: { content: 'late', version: 5 } })
  t.match(late, { status: 409, json: { code: 'template_changed', detail: /newer version/ } })
  t.match((await ask('PATCH', at, { body: { content: 'in time', version: 6 } })).json, { version: 7 })

  const back = await ask('POST', `${at}/versions/1/restore`)
  t.match(back, { status: 200, json: { version: 8, content: 'Hi 0' } })
  t.match((await ask('POST', `${at}/versions/1/restore`)).json, { version: 8 }, 'it says so already')
  t.match(await ask('POST', `${at}/versions/9/restore`), { status: 404, json: { code: 'template_unknown' } })
  t.equal((await ask('POST', `${at}/versions/1/restore`, { key: OTHER })).status, 404)

  const command = (...words: string[]) => trunkline(['template', ...words, '--config', daemon.configFile])
  t.match(
    (await command('restore', 'many', '7', '--account', 'shop')).stdout,
    /restored many: version 9 says what 7 did/,
  )
  const edits = await Promise.all(
    ['de', 'fr', 'it'].map(tag => command('edit', made.json.id, '--account', 'shop', '--locale', `${tag}=${tag}`)),
  )
  const done = ['de', 'fr', 'it'].filter((_, i) => edits[i]?.code === 0)
  t.same(Object.keys((await ask('GET', at)).json.locales).sort(), done, 'those that were told so are there')
  for (const { code, stderr } of edits) if (code !== 0) t.match(stderr, /newer version/)
  t.match(await command('create', 'odd', '--text', '{{a}}', '--variable', '{name: a'), {
    code: 2,
    stderr: /--variable.*must be YAML/,
  })
}
interface Content {
  readonly version: number
  readonly content: string
}

async function shared(t: Test, daemon: House): Promise<void> {
  const { ask } = await judged(api(daemon.admin), what => t.fail(what))
  const admin = async (method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: object) =>
    JSON.parse((await daemon.ask(method, `/api/v1/admin/templates${path}`, body)).body)
  const { id } = await admin('POST', '', { name: 'of all', content: 'For all' })
  const at = `/api/templates/${id}`
  const mine = async () => {
    const { templates } = (await ask('GET', '/api/templates')).json
    return templates.filter((one: { id: string }) => one.id === id)
  }
  t.match(await mine(), [{ shared: true, uses: null, last_used_at: null }])
  t.match((await ask('GET', at)).json, { uses: null, last_used_at: null })
  t.match(await admin('GET', `/${id}`), { uses: 0, last_used_at: null }, 'whoever administers is told')
  t.equal((await ask('POST', `${at}/preview`)).status, 200)
  const look = async () => [
    (await ask('GET', at)).status,
    (await ask('GET', `${at}?version=1`)).status,
    (await ask('POST', `${at}/preview`)).status,
    (await ask('PATCH', at, { body: { content: 'x' } })).status,
    (await mine()).length,
  ]
  await admin('PATCH', `/${id}`, { is_active: false })
  t.same(await look(), [404, 404, 404, 404, 0])
  t.match(await admin('POST', `/${id}/preview`), { text: 'For all' })
  await admin('PATCH', `/${id}`, { is_active: true })
  t.same(await look(), [200, 200, 200, 403, 1])
  await admin('DELETE', `/${id}`)
  t.same(await look(), [404, 404, 404, 404, 0])
  t.match(await admin('GET', `/${id}`), { content: 'For all' })
}

async function personal(t: Test, daemon: House, carrier: Smsc): Promise<void> {
  const ask = api(daemon.admin)
  await ask('POST', '/api/templates', {
    body: { name: 'bill', content: '{{name}} owes {{sum}}', variables: [{ name: 'sum', pattern: '[\\d.]{1,9}' }] },
  })
  const bad: Record<number, object> = {
    10: { sum: '1.50' },
    500: { name: 'N', sum: 'x' },
    999: { name: 'N', sum: '1', so: '1' },
  }
  const recipients = numbers(1_000).map((number, i) => ({
    number,
    variables: bad[i] ?? { name: `Name ${i}${i === 7 ? ' é'.repeat(80) : ''}${i === 8 ? ' ő' : ''}`, sum: i / 4 },
  }))
  const body = { name: 'bills', recipients, template_id: 'bill' }
  const dry = await ask('POST', '/api/sms/send-batch', { body: { ...body, dry_run: true } })
  const notFilled = () => daemon.metric('trunkline_events_total', { name: 'templates_not_filled' })
  const before = await notFilled()
  const sent = await ask('POST', '/api/sms/send-batch', { body, headers: { 'idempotency-key': 'k' } })
  t.match(sent.json, {
    accepted: 997,
    rejected: 3,
    template_version: 1,
    segments: 998,
    price: '74.85',
    currency: 'EUR',
  })
  const wrong = sent.json.messages.filter((one: { error: object | null }) => one.error !== null)
  t.same(
    wrong.map((one: { error: { code: string; pointer: string } }) => [one.error.code, one.error.pointer]),
    [
      ['variable_missing', '/variables/name'],
      ['variable_invalid', '/variables/sum'],
      ['variable_unknown', '/variables/so'],
    ],
  )
  const shape = ({ segments, price, error }: { segments: number; price: string; error: object | null }) => [
    segments,
    price,
    error,
  ]
  t.same(dry.json.messages.map(shape), sent.json.messages.map(shape), 'a dry run says the same')
  t.equal(dry.json.messages[9].text, 'Name 9 owes 2.25')
  t.same([sent.json.messages[6].segments, sent.json.messages[7].segments], [1, 2])
  const again = await ask('POST', '/api/sms/send-batch', { body, headers: { 'idempotency-key': 'k' } })
  t.same(again.json, sent.json)
  t.equal(again.headers['idempotency-replayed'], 'true')
  await carrier.until(
    () => new Set(carrier.submitted.map(one => one.fields.destination_addr)).size >= 997,
    'all of them',
  )
  const said = new Map(carrier.submitted.map(one => [one.fields.destination_addr, textOf(one)]))
  t.equal(said.get('4915110000009'), dry.json.messages[9].text)
  t.equal(said.get('4915110000008'), dry.json.messages[8].text)
  t.notOk(said.has('4915110000500'))

  t.equal((await notFilled()) - before, 3)

  // The same as a stream: columns are variables.
  const rows = ['number,name,sum', '+4915120000001,Ann,1', '+4915120000002,,1', '+4915120000003,"B, C",2'].join('\n')
  const csv = await ask('POST', '/api/sms/send-stream?template_id=bill', { body: rows, type: 'text/csv' })
  t.match(linesOf(csv.text).at(-1), { accepted: 2, rejected: 1, errors: [{ line: 3, code: 'variable_missing' }] })
  const lines = ['{"number":"+4915120000004","variables":{"name":"D"}}', '{"number":"+4915120000005","message":"x"}']
  const query = new URLSearchParams({ template_id: 'bill', template_variables: '{"sum":9}' })
  const nd = await ask('POST', `/api/sms/send-stream?${query}`, {
    body: lines.join('\n'),
    type: 'application/x-ndjson',
  })
  t.match(linesOf(nd.text).at(-1), { accepted: 1, rejected: 1, errors: [{ line: 2, code: 'invalid' }] })
  const has = (text: string): boolean => texts(carrier).includes(text)
  await carrier.until(() => has('B, C owes 2') && has('D owes 9') && has('Ann owes 1'), 'the streamed')
  const unknown = await ask('POST', '/api/sms/send-stream?template_id=no', { body: rows, type: 'text/csv' })
  t.match(unknown, { status: 422, json: { code: 'template_unknown' } })
}

async function command(t: Test, daemon: House): Promise<void> {
  const command = (...words: string[]) => trunkline(['template', ...words, '--config', daemon.configFile])
  const file = join(daemon.dir, 'many.csv')
  const rows = ['name,content,category,variables,content.de', 'hello,"Hi {{x}}, there",greetings,x,Hallo {{x}}']
  writeFileSync(file, [...rows, 'bad,{{x,,,', 'plain,no places,,,', ''].join('\n'))
  const imported = await command('import', file, '--account', 'shop')
  t.match(imported, { code: 1, stdout: /line 3 bad: .*braces[\s\S]*2 made, 0 changed/ })
  writeFileSync(file, 'name,content,is_active\nhello,Hi {{x}},ja\nquiet,no places,No\n')
  const unclear = await command('import', file, '--account', 'shop')
  t.match(unclear, { code: 1, stdout: /line 2 hello: .*is_active[\s\S]*1 made, 0 changed/ })
  const off = await command('list', '--inactive', '--account', 'shop')
  t.match(off.stdout, /quiet/)
  t.notMatch(off.stdout, /hello/)
  writeFileSync(file, '- {name: hello, content: "Hi {{x}}!"}\n- {name: plain, content: no places}\n')
  const again = await command('import', file, '--format', 'yaml', '--account', 'shop')
  t.match(again.stdout, /0 made, 1 changed, 1 as they/)
  const tried = await command('preview', 'hello', '--account', 'shop', '--set', 'x=€', '--to', TO)
  t.match(tried.stdout, /Hi €!\n[\s\S]*version 2, 5 characters, gsm7: 1 segments/)
  t.match((await command('create', 'hello', '--text', 'all: {{x}}')).stdout, /made hello, id \d+: takes x/)
  t.match((await command('remove', 'plain', '--account', 'shop', '--yes')).stdout, /plain is gone/)
}

const HELLO = { to: TO, template_id: 'hello', template_variables: { x: 'you' } }

async function away(t: Test, daemon: House, carrier: Smsc, way: Way): Promise<void> {
  way.close()
  const ask = api(daemon.admin)
  await daemon.line('the database went away')
  t.match(await ask('POST', '/api/sms/send', { body: HELLO }), { status: 200, json: { template_version: 2 } })
  t.match(await ask('GET', '/api/templates'), { status: 503, json: { code: 'no_database', retryable: true } })
  await daemon.kill9()
  await daemon.start()
  const after = await api(daemon.admin)('POST', '/api/sms/send', { body: { ...HELLO, locale: 'de' } })
  t.match(after, { status: 200, json: { template_version: 2 } })
  await carrier.until(() => texts(carrier).includes('Hallo you') && texts(carrier).includes('Hi you!'), 'both')
  await way.open()
  await daemon.line(
    'the database is up',
    daemon.log.findLastIndex(one => one.msg === 'ready'),
  )
}

async function elsewhere(t: Test, daemon: House): Promise<void> {
  const second = new House({
    accounts: { shop: { apiKey: KEY } },
    database: { url: daemon.directUrl, direct: daemon.directUrl },
    config: { admin: { listen: '127.0.0.1:0' }, node: 2 },
  })
  await second.furnish()
  cpSync(join(daemon.dataDir, 'server.key'), join(second.dataDir, 'server.key'))
  await second.start()
  const [here, there] = [api(daemon.admin), api(second.admin)]
  t.equal((await there('PATCH', '/api/templates/hello', { body: { content: 'From there, {{x}}' } })).status, 200)
  const beganMs = Date.now()
  for (let version = 2; version < 3; ) {
    version = (await here('POST', '/api/sms/send', { body: { ...HELLO, dry_run: true } })).json.template_version
  }
  t.ok(Date.now() - beganMs < 1_500, `${Date.now() - beganMs} ms`)
  t.same(await second.leave(), [])
}

if (process.env.LONG) story('fifty thousand rows of a CSV are fifty thousand texts', fiftyThousand)

async function fiftyThousand(t: Test): Promise<void> {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  const daemon = await open(t, carrier)
  const ask = api(daemon.admin)
  await ask('POST', '/api/templates', { body: { name: 'row', content: 'Row {{n}} for {{name}}' } })
  const rows = numbers(50_000).map((number, i) => `${number},${i},${i % 1_000 === 5 ? '' : `Name ${i}`}`)
  const beganMs = Date.now()
  const done = await ask('POST', '/api/sms/send-stream?template_id=row', {
    body: ['number,n,name', ...rows].join('\n'),
    type: 'text/csv',
  })
  t.match(linesOf(done.text).at(-1), { rows: 50_000, accepted: 49_950, rejected: 50 })
  t.comment(`${Date.now() - beganMs} ms`)
  await carrier.until(() => carrier.submitted.length >= 49_950, 'all of them', 60_000)
  t.equal(new Set(texts(carrier)).size, 49_950)
}
