// The desk of money as people use it: the real commands and requests against the real daemon, with its database there and away.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openStore } from '../src/store/postgres.js'
import { type Answer, api, KEY } from './support/api.js'
import { freshDatabase, type House, house, story, trunkline } from './support/house.js'
import { Node } from './support/money.js'
import { silent, Way } from './support/postgres.js'
import { smsc } from './support/smsc.js'

// Each command is a process that starts.
t.setTimeout(110_000)

const OTHER = 'tl_other_0123456789abcdef0123456789abcdef'
const MESSAGE = { to: '+4917112345678', message: 'hello' }
const UNIT = 1_000_000
const EVIL = `<script>alert(1)</script> & "Sons"`
type Command = (...args: string[]) => Promise<{ code: number; stdout: string; stderr: string }>

story('tariffs, top-ups, statements and invoices do by command and over HTTP what they say', async t => {
  const carrier = await smsc(t, { submit: sm => sm.deliver() })
  const direct = await freshDatabase()
  const way = await Way.to(direct)
  await way.open()
  t.teardown(() => way.close())
  const daemon = await house(t, {
    database: { url: way.url, direct },
    config: {
      admin: { listen: '127.0.0.1:0' },
      billing: { currency: 'CHF', taxPercent: '8.1', seller: `Gateway AG, ${EVIL}` },
    },
    accounts: { shop: { credit: 0, apiKey: KEY }, other: { credit: 5, apiKey: OTHER } },
    carriers: { up: { at: carrier, prices: { 33: 0.02 } } },
  })
  const command: Command = (...args) => trunkline(['--config', daemon.configFile, ...args])
  await priced(t, daemon, command)
  await paid(t, daemon, command)
  await billed(t, daemon, direct, command)
  way.close()
  await daemon.line('the database went away')
  await away(t, daemon)
  await way.open()
  await daemon.line(
    'the database is up',
    daemon.log.findLastIndex(({ msg }) => msg === 'the database went away'),
  )
  const again = await daemon.ask('POST', '/api/v1/admin/credit/shop/top-up', { amount: 1, reference: 'wire-away' })
  t.match(JSON.parse(again.body), { repeated: false }, 'what was refused had not been booked')
})

async function priced(t: Test, daemon: House, command: Command): Promise<void> {
  const file = join(daemon.dir, 'prices.csv')
  writeFileSync(file, 'prefix,price\ndefault,0.1\n49,0,05\n')
  t.match(await command('tariff', 'create', 'retail', '49=0.06', '--json'), { code: 0, stdout: /"prices": 1/ })
  const faulty = await command('tariff', 'import', 'retail', file)
  t.match(faulty, { code: 1, stderr: /line 3 has 3 cells[\s\S]*nothing was changed/ })
  writeFileSync(file, 'prefix,price\n1,0.1\n49,0.05\n')
  const dry = await command('tariff', 'import', 'retail', file, '--dry-run')
  t.match(dry.stdout, /nothing was changed; it would be: 1 added, 1 changed, 0 as they were, 0 removed/)
  t.match((await command('tariff', 'import', 'retail', file)).stdout, /retail: 1 added, 1 changed/)
  const near = desk(daemon)
  const other = join(daemon.dir, 'other.csv')
  writeFileSync(other, 'prefix,price\n2,0.1\n')
  const most = await command('tariff', 'import', 'retail', other, '--replace')
  t.match(most, { code: 2, stderr: /2 of the 2 prices of retail are not in .*say --yes/ })
  t.match((await command('tariff', 'import', 'retail', other, '--replace', '--yes')).stdout, /1 added.*2 removed/)
  t.match((await command('tariff', 'import', 'retail', file, '--replace', '--yes')).stdout, /2 added.*1 removed/)
  for (const from of ['0000-01-01', '9999-12-31T23:59:59-14:00']) {
    const prices = { set: [{ prefix: '44', price: 1, from }] }
    t.match(await near('PATCH', '/tariffs/retail/prices', prices), { status: 422, json: { detail: /1970 to 9999/ } })
  }
  t.equal((await near('GET', '/tariffs/retail/export')).text, 'prefix,class,from,price\r\n1,,,0.1\r\n49,,,0.05\r\n')
  const rule = { country: 'FR', percent: 50 }
  await near('POST', '/pricing-rules', { tariff: 'retail', rule: { ...rule, minimum: 0.05 } })
  const [first] = (
    await near('POST', '/pricing-rules', { tariff: 'retail', position: 1, rule: { prefix: '336', percent: 10 } })
  ).json.rules
  t.match(first, { tariff: 'retail', position: 1, rule: { prefix: '336', percent: 10 } })
  t.match(await near('DELETE', '/pricing-rules/retail/1'), { json: { rules: [{ position: 1, rule }] } })
  t.match(await near('PUT', '/pricing-rules/retail/2', rule), { status: 404, json: { code: 'no_rule' } })
  t.match(await near('PUT', '/pricing-rules/retail/1', { percent: 'x' }), { status: 422, json: { code: 'invalid' } })
  t.match(await near('POST', '/tariffs', { name: 'retail' }), { status: 409 })
  const twice = [
    { prefix: '49', price: 1 },
    { prefix: '+49', price: 2 },
  ]
  t.match(await near('POST', '/tariffs', { name: 'twice', prices: twice }), { status: 422, json: { code: 'invalid' } })
  t.match(await near('PATCH', '/tariffs/retail/prices', { set: twice }), { status: 422, json: { code: 'invalid' } })
  t.match(await near('GET', '/tariffs/none'), { status: 404, json: { code: 'no_tariff' } })
  t.match(await near('PATCH', '/accounts/shop', { set: { tariff: 'retail' } }), { status: 200 })
  t.match(await near('PATCH', '/accounts/other', { set: { tariff: 'retail' } }), { status: 200 })
  t.match(await near('GET', '/tariffs/retail'), { json: { used_by: ['other', 'shop'], accounts: 2, currency: 'CHF' } })
  t.match(await near('DELETE', '/tariffs/retail'), { status: 409, json: { detail: /other, shop use retail/ } })
  const told = await command(
    'tariff',
    'price',
    '--account',
    'shop',
    '--to',
    '+4917112345678',
    '--text',
    'x'.repeat(200),
  )
  t.match(told.stdout, /^0\.1 CHF for \+4917112345678, transactional by tariff retail: 2 × 0\.05; .* begin with 49/)
  const margin = await near('POST', '/tariffs/price', { account: 'shop', to: '+33612345678' })
  t.match(margin.json, { micros: 50_000, row: null, margin: { position: 1, cost_micros: 20_000 } })
  const none = await near('POST', '/tariffs/price', { tariff: 'retail', to: '+447911123456' })
  t.match(none.json, { micros: null, why: /no price and no margin/ })
}

async function paid(t: Test, daemon: House, command: Command): Promise<void> {
  const ask = api(daemon.admin)
  const send = (): Promise<Answer> => ask('POST', '/api/v1/sms/send', { body: MESSAGE })
  t.match(await send(), { status: 402, json: { code: 'credit_exhausted' } })
  const top = await command('credit', 'top-up', 'shop', '10', '--reference', 'wire-1', '--memo', '=cmd()')
  t.match(top, { code: 0, stdout: /wire-1; the balance of shop is 10 CHF/ })
  const sinceMs = performance.now()
  let sent = await send()
  while (sent.status === 402 && performance.now() - sinceMs < 1_000) sent = await send()
  t.equal(sent.status, 200, 'a top-up lets messages through within a second')
  t.comment(`after ${Math.round(performance.now() - sinceMs)} ms`)
  const near = desk(daemon)
  const same = { amount: '10.0', reference: 'wire-1' }
  t.match(await near('POST', '/credit/shop/top-up', same), { status: 200, json: { repeated: true } })
  t.match(await near('POST', '/credit/shop/top-up', { amount: 9, reference: 'wire-1' }), {
    status: 409,
    json: { code: 'reference_used' },
  })
  t.match(await near('POST', '/credit/shop/top-up', { amount: '0.0000001' }), { status: 422 })
  t.match(await near('POST', '/credit/shop/top-up', { amount: 1, reference: 'void:1' }), { status: 422 })
  t.match(await near('POST', '/credit/shop/withdrawal', { amount: 100, reference: 'out-1' }), {
    status: 409,
    json: { code: 'too_much' },
  })
  const bare = await near('POST', '/credit/shop/top-up', { amount: 1 })
  t.match(bare, { status: 422, json: { code: 'no_reference', detail: /Idempotency-Key/ } }, 'it would be booked twice')
  t.match(await near('POST', '/credit/nobody/top-up', { amount: 1, reference: 'nobody-1' }), {
    status: 404,
    json: { code: 'no_account' },
  })
  const adjusted = await command('credit', 'adjust', 'shop', '--memo', 'a gift', '--json', '--', '-0.5')
  t.match(JSON.parse(adjusted.stdout), { repeated: false, balance: /^9\.\d+$/ }, adjusted.stderr)
  await daemon.history(2)
  t.match((await ask('GET', '/api/v1/billing/balance')).json, {
    currency: 'CHF',
    balance: '9.45',
    balance_micros: 9_450_000,
    credit_micros: 0,
  })
  const { json } = await ask('GET', '/api/v1/billing/ledger')
  t.same(json.lines.map((one: { kind: string; micros: number }) => [one.kind, one.micros]).sort(), [
    ['adjustment', -500_000],
    ['messages', -50_000],
    ['top_up', 10_000_000],
  ])
  t.notMatch(json, { lines: [{ who: /./ }] }, 'who booked it is not the account’s to know')
  t.equal(json.lines.at(-1).balance_micros, 9_450_000)
  const csv = (await ask('GET', '/api/payments/history?format=csv')).text
  t.match(csv, /^at,entry,kind,reference,memo,messages,amount,balance,currency\r\n.*opening.*0,CHF\r\n/)
  const page = await ask('GET', '/api/v1/billing/ledger?format=html')
  t.match(page.headers, { 'content-type': /^text\/html/, 'content-security-policy': /^default-src 'none'/ })
  t.match(page.text, /Gateway AG, &lt;script&gt;[\s\S]*Top-up: =cmd\(\) \(wire-1\)[\s\S]*9\.45<\/td><\/tr>\n<\/tfoot>/)
  t.equal((await command('credit', 'statement', 'shop', '--html')).stdout.split('\n')[0], page.text.split('\n')[0])
  t.match(csv, /wire-1,'=cmd\(\),0,10,.*[\s\S]*closing,,,,,9\.45,CHF\r\n$/)
  t.match(await ask('GET', '/api/v1/billing/ledger?from=2030-01-02&to=2030-01-01'), { status: 422 })
  t.match((await command('credit', 'statement', 'shop')).stdout, /before +0\n[\s\S]*admin\.sock/)
  t.match(await ask('GET', '/api/v1/billing/balance', { key: OTHER }), {
    json: { balance: '0', available_micros: 5_000_000 },
  })
  await near('POST', '/accounts/other/suspend', { reason: 'owes' })
  t.match(await ask('GET', '/api/v1/sms', { key: OTHER }), { status: 403, json: { code: 'account_suspended' } })
  for (const path of ['/billing/balance', '/billing/ledger', '/billing/invoices'])
    t.match(await ask('GET', `/api/v1${path}`, { key: OTHER }), { status: 200 }, 'who is suspended sees what is owed')
  await near('POST', '/accounts/other/resume')
  const taxed = await command('credit', 'top-up', 'other', '100', '--tax', '8.1', '--reference', 'wire-2')
  t.match(taxed, { code: 0, stdout: /the balance of other is 100 CHF/ }, 'tax is none of its own')
  const more = { amount: 100, tax: 8.2, reference: 'wire-2' }
  t.match(await near('POST', '/credit/other/top-up', more), { status: 409, json: { code: 'reference_used' } })
  const leases = await command('credit', 'leases')
  t.match(leases.stdout, /node +spool +leases +leased +history written[\s\S]*account +node +spool +leased/)
  const kept = await near('DELETE', '/accounts/other')
  t.match(kept, { status: 422, json: { detail: /its balance is 100: 'trunkline credit take other 100'/ } })
  const one = await near('GET', '/accounts/other')
  t.equal(one.status, 200)
}

async function billed(t: Test, daemon: House, direct: string, command: Command): Promise<void> {
  const store = openStore({ url: direct, dataDir: '/nonexistent', log: silent, pool: 2 })
  t.teardown(() => store.close())
  await store.firstTry
  const [{ id: shop }, { id: other }] = (
    await store.query<{ id: number }>(
      `select id from accounts where system_id in ('shop', 'other') order by system_id desc`,
    )
  ).rows as [{ id: number }, { id: number }]
  const node = new Node(store, 9)
  const atMs = Date.UTC(2026, 0, 10)
  await node.write([
    ...[1, 2, 3].map(() => node.accepted(shop, atMs, 4 * UNIT, '4917112345678', 1)),
    node.accepted(other, atMs, 20 * UNIT, '33612345678', 0),
  ])
  writeFileSync(join(daemon.dir, 'address'), `${EVIL}\nBern\n`)
  t.equal((await command('invoice', 'address', 'shop', join(daemon.dir, 'address'))).code, 0)
  t.match(
    (await command('invoice', 'create', '--all', '--month', '2026-01')).stdout,
    /made for 2026-01: 2: \d{4}-000001 to \d{4}-000002/,
  )
  const one = (await desk(daemon)('POST', '/invoices', { account: 'shop', month: '2026-01' })).json
  t.match(one, { made: false, net_micros: 12 * UNIT, covered_micros: 9_500_000, due_micros: 3_470_000, status: 'open' })
  t.match(one.lines, [{ country: 'DE', rank: 1, messages: 3, segments: 6, micros: 12 * UNIT }])
  const file = join(daemon.dir, 'invoice.html')
  t.equal((await command('invoice', 'html', one.number, file)).code, 0)
  const ask = api(daemon.admin)
  const page = await ask('GET', `/api/v1/billing/invoices/${one.number}.html`)
  t.equal(page.text, readFileSync(file, 'utf8'), 'the account sees what the operator sees')
  t.notMatch(page.text, '<script')
  t.match(page.headers, { 'content-type': /^text\/html/, 'content-security-policy': /^default-src 'none'/ })
  t.match(
    (await ask('GET', `/api/v1/billing/invoices/${one.number}.csv`)).text,
    /shop,messages,2026-01,DE,transactional,3,6,12,CHF/,
  )
  t.match((await ask('GET', `/api/v1/billing/invoices/${one.number}`)).json, { lines: [{ class: 'transactional' }] })
  for (const form of ['', '.csv', '.html']) {
    t.match(
      await ask('GET', `/api/v1/billing/invoices/${one.number}${form}`, { key: OTHER }),
      { status: 404 },
      'none of theirs',
    )
  }
  t.match((await ask('GET', '/api/v1/billing/invoices', { key: OTHER })).json, {
    invoices: [{ net_micros: 20 * UNIT, covered_micros: 20 * UNIT, covered_tax_micros: 1_620_000, due_micros: 0 }],
    next: null,
  })
  const pay = await Promise.all([1, 2, 3].map(() => desk(daemon)('POST', `/invoices/${one.number}/pay`, {})))
  t.same(pay.map(({ json }) => json.repeated).sort(), [false, true, true])
  t.equal(
    (await ask('GET', '/api/v1/billing/balance')).json.balance_micros,
    -50_000,
    'what was sent since then is not paid with it',
  )
  const end = await command('invoice', 'void', one.number, '--reason', 'wrong address', '--yes')
  t.match(end.stdout, /is void; shop is credited/)
  t.match((await desk(daemon)('GET', '/invoices?status=void')).json.invoices, [
    { number: one.number, void_reason: 'wrong address' },
  ])
  t.match(await desk(daemon)('GET', '/invoices/2026-999999'), { status: 404, json: { code: 'no_invoice' } })
  const { rows } = await store.query('select sum(micros)::bigint as sum from ledger_lines')
  t.same(rows, [{ sum: 0 }])
}

async function away(t: Test, daemon: House): Promise<void> {
  const problem = { status: 503, json: { code: 'no_database' } }
  const near = desk(daemon)
  for (const path of [
    '/tariffs',
    '/tariffs/retail/export',
    '/pricing-rules',
    '/credit',
    '/credit/shop',
    '/credit/shop/statement?format=csv',
    '/credit-leases',
    '/invoices',
    '/invoices/2026-000001.html',
  ]) {
    t.match(await near('GET', path), problem, path)
  }
  t.match(await near('POST', '/credit/shop/top-up', { amount: 1, reference: 'wire-away' }), problem)
  t.match(await near('POST', '/invoices', { month: '2026-01', account: 'shop' }), problem)
  const ask = api(daemon.admin)
  for (const path of ['/billing/balance', '/billing/ledger', '/billing/ledger?format=csv', '/billing/invoices']) {
    t.match(await ask('GET', `/api/v1${path}`), problem, path)
  }
}

/** As the administrator on the machine itself. */
function desk(daemon: House) {
  return async (method: string, path: string, body?: unknown) => {
    const { status, body: text } = await daemon.ask(method, `/api/v1/admin${path}`, body)
    return { status, text, json: /^[{[]/.test(text) ? JSON.parse(text) : undefined }
  }
}
