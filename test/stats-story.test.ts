// What messages came to, as accounts and operators ask it of a running daemon: over HTTP, as CSV and by command; and what it
// says after a kill, when the database was away and when it is counted anew.

import { parse } from 'csv-parse/sync'
import type { Test } from 'tap'
import { status } from '../protocols/smpp/status.js'
import type { Dashboard } from '../src/admin/analytics.js'
import type { StatsAnswer } from '../src/admin/statsAnswer.js'
import { api, KEY } from './support/api.js'
import { judged } from './support/document.js'
import { esme } from './support/esme.js'
import { type House, house, story, trunkline } from './support/house.js'
import { smsc } from './support/smsc.js'

const ROOT = '/api/v1/admin'
/** Counts with what was not moved yet, and history, as of one moment. */
const COUNTS = ['hour', 'day'].map(
  table => `
  select '${table}' as by, sum(accepted)::int as accepted, sum(delivered)::int as delivered, sum(failed)::int as failed from (
    select accepted, delivered, coalesce(undeliverable, 0) + coalesce(expired, 0) + coalesce(rejected, 0)
      + coalesce(deleted, 0) + coalesce(unknown, 0) as failed from stats_${table} where level = 7
    union all select accepted, delivered, coalesce(undeliverable, 0) + coalesce(expired, 0) + coalesce(rejected, 0)
      + coalesce(deleted, 0) + coalesce(unknown, 0) from stats_fresh) counted`,
)
const HISTORY = `
  select 'row' as by, sum((kind = 'a')::int)::int, sum((kind = 'e' and state = 2)::int)::int,
    sum((kind = 'e' and state not in (2, 6))::int)::int from history`

/** Answers with how many were accepted. */
async function agrees(t: Test, daemon: House, what: string): Promise<number> {
  const all = await daemon.query<Record<'by' | 'accepted' | 'delivered' | 'failed', unknown>>(
    [...COUNTS, HISTORY].join(' union all '),
  )
  const figures = ({ accepted, delivered, failed }: (typeof all)[number]): unknown[] =>
    [accepted, delivered, failed].map(count => count ?? 0)
  const history = all.find(({ by }) => by === 'row') as (typeof all)[number]
  t.same(
    all.map(figures),
    all.map(() => figures(history)),
    `${what}, by hour, day and row`,
  )
  return history.accepted as number
}

story(
  'what was sent is told by country, class and carrier: as JSON, as CSV, by command, to whom it concerns',
  async t => {
    const up = await smsc(t, {
      submit: sm =>
        sm.text === 'no'
          ? sm.refuse(status.ESME_RINVDSTADR)
          : sm.text === 'late'
            ? sm.accept()
            : sm.text === 'blind'
              ? sm.accept('')
              : sm.deliver(),
    })
    const daemon = await house(t, {
      accounts: { shop: { apiKey: KEY }, other: { apiKey: `${KEY}x` } },
      carriers: { up },
      config: { admin: { listen: '127.0.0.1:0', key: 'the-admin-key-of-it' } },
    })
    const { ask, document } = await judged(api(daemon.admin), what => t.fail(what))
    const admin = async <T>(path: string): Promise<T> => JSON.parse((await daemon.get(ROOT + path)).body) as T
    const send = (to: string, message: string, sms_type: string, key = KEY) =>
      ask('POST', '/api/v1/sms/send', { key, body: { to, message, sms_type } })
    for (const to of ['+4915112345601', '+4915112345602', '+4915112345603']) await send(to, 'yes', 'otp')
    await send('+4915112345604', 'no', 'otp')
    await send('+436641234567', 'yes', 'transactional')
    await send('+436641234568', 'late', 'transactional')
    await send('+33612345678', 'yes', 'promotional', `${KEY}x`)
    await daemon.history(13)

    const own = (await ask('GET', '/api/v1/analytics/stats?group_by=country,class&interval=none')).json as StatsAnswer
    t.match(own, {
      group_by: ['country', 'class'],
      interval: 'none',
      rows: [
        { country: 'AT', class: 'transactional', accepted: 2, pending: 1, delivered: 1, delivery_rate: 1 },
        {
          country: 'DE',
          class: 'otp',
          accepted: 4,
          pending: 0,
          delivered: 3,
          delivery_rate: 0.75,
          segments: 4,
          spend: '0',
        },
      ],
      totals: { accepted: 6, delivered: 4, pending: 1 },
      next_cursor: null,
    })
    t.notOk('cost' in (own.rows[0] as object), 'what it costs the gateway is its own affair')
    t.ok((own.rows[0]?.latency_p50_s ?? 99) <= 1)
    t.match(
      (await ask('GET', '/api/v1/analytics/stats?account=other')).json,
      { code: 'account_refused' },
      'nobody asks about another',
    )
    for (const [query, words] of [
      ['group_by=carrier', /carriers are not told/],
      ['carrier=up', /carriers are not told/],
      ['group_by=moon', /moon is none of/],
      ['tz=Mars/Base', /there is no zone/],
      ['country=XX', /there is no XX/],
      ['class=fast', /class must be of/],
      ['date_from=yesterday', /date_from must be/],
      ['date_from=2026-02-31', /date_from must be/],
      ['date_from=0050-01-01&tz=Europe/Berlin', /date_from must be/],
      ['limit=1001', /limit/],
      ['date_from=2026-02-02&date_to=2026-02-01', /before/],
      ['cursor=nonsense', /next_cursor/],
      ['groupby=country', /groupby/],
      ['interval=hour&date_from=2020-01-01', /hours are kept from|more than/],
    ] as const) {
      const refused = await ask('GET', `/api/v1/analytics/stats?${query}`)
      t.equal(refused.status, 422, query)
      t.match(refused.json.detail, words)
    }

    const told = document.paths['/api/v1/analytics/stats']?.get?.responses?.['200']?.content
    t.same(Object.keys(told ?? {}), ['application/json', 'text/csv'])
    const week = (await ask('GET', '/api/v1/analytics/stats?date_to=2026-03-29&tz=Europe/Berlin')).json as StatsAnswer
    t.match(week, { date_from: '2026-03-23T00:00:00+01:00', date_to: '2026-03-30T00:00:00+02:00' }, 'seven days')

    const all = await admin<StatsAnswer>('/analytics?group_by=account,carrier,class&interval=day&tz=Europe/Berlin')
    t.same(
      all.rows.map(({ account, carrier, class: c, accepted, delivered, pending }) =>
        [account, carrier, c, accepted, delivered, pending].join(' '),
      ),
      [
        'shop  otp 1 0 0',
        'shop  transactional 1 0 1',
        'shop up otp 3 3 0',
        'shop up transactional 1 1 0',
        'other up bulk 1 1 0',
      ],
    )
    t.match(all.rows[0], { period: /T00:00:00\+0[12]:00$/, cost: '0', profit: '0' })
    t.equal(all.totals?.accepted, 7)
    const named = await admin<StatsAnswer>('/analytics?carrier=up&country=DE&interval=none')
    t.match(named.rows, [{ accepted: 3, delivered: 3, rejected: 0 }])
    t.equal((await admin<{ code: string }>('/analytics?carrier=moon')).code, 'invalid')

    // Page by page it is the same, and so is CSV.
    const path = '/analytics?group_by=account,country,class&interval=hour'
    const whole = await admin<StatsAnswer>(path)
    const paged: StatsAnswer['rows'] = []
    for (let cursor = ''; ; ) {
      const page = await admin<StatsAnswer>(`${path}&limit=1${cursor}`)
      t.equal(page.totals === undefined, cursor !== '')
      paged.push(...page.rows)
      if (page.next_cursor === null) break
      cursor = `&cursor=${page.next_cursor}`
    }
    t.same(paged, whole.rows)
    const csv = await daemon.get(`${ROOT}${path}&format=csv`)
    const lines = parse(csv.body, { columns: true }) as Record<string, string>[]
    t.same(
      lines,
      whole.rows.map(row =>
        Object.fromEntries(Object.entries(row).map(([name, value]) => [name, String(value ?? '')])),
      ),
    )
    const mine = await ask('GET', '/api/v1/analytics/stats?interval=none', { headers: { accept: 'text/csv' } })
    t.match(mine.headers['content-type'], /^text\/csv/)
    t.match(mine.text, /^accepted,pending,.*latency_p95_s\r\n6,1,4,/)

    const dash = await admin<Dashboard>('/dashboard?tz=America/New_York')
    t.match(dash, {
      last_7_days: { accepted: 7, delivered: 5 },
      otp: { accepted: 4, delivery_rate: 0.75, conversion_rate: 0 },
      queue: { waiting: 0, sent: 1 },
      carriers: { up: 1, all: 1, down: [] },
      currency: 'EUR',
    })
    t.equal(dash.today.accepted + dash.yesterday.accepted, 7)

    const run = async (...words: string[]): Promise<string> => {
      const { code, stdout, stderr } = await trunkline(['--config', daemon.configFile, 'stats', ...words])
      t.equal(code, 0, stderr)
      return stdout
    }
    const shown = await run('--by', 'country')
    t.match(shown, /country +accepted/)
    t.ok(shown.indexOf('DE') < shown.indexOf('AT'), 'the most stand first')
    t.match(shown, /all +7/)
    t.equal(await run('--by', 'account,country,class', '--interval', 'hour', '--csv'), csv.body)
    if (process.env.LONG) {
      t.match(await run('now'), /last 7 days +7/)
      t.equal(JSON.parse(await run('--by', 'account,country', '--interval', 'hour', '--json')).rows.length, 3)
      t.equal((await trunkline(['--config', daemon.configFile, 'stats', '--by', 'moon'])).code, 1)
      t.equal((await trunkline(['--config', daemon.configFile, 'stats', '--last', 'week'])).code, 2)
    }
    t.match(await run('rebuild'), /counted anew: 1 days, 13 rows of history/)
    await agrees(t, daemon, 'counted anew')

    t.equal((await trunkline(['stats', 'rebuild', '--from', '2026-02-02', '--to', '2026-02-01'])).code, 2)

    // A carrier that names nothing tells nothing.
    await send('+33612345679', 'blind', 'promotional', `${KEY}x`)
    await daemon.history(15)
    const blind = await admin<StatsAnswer>('/analytics?country=FR&interval=none')
    t.match(blind.rows, [
      { accepted: 2, delivered: 1, unreported: 1, unknown: 0, undelivered: 0, pending: 0, delivery_rate: 1 },
    ])
    t.match(await run('--by', 'country'), /unreported/)
    for (const [what, n] of [
      ['accepted', 2],
      ['delivered', 1],
      ['failed', 0],
      ['unreported', 1],
    ] as const) {
      t.equal(await daemon.metric('trunkline_counted_messages_total', { class: 'bulk', what }), n, what)
    }

    await daemon.line(() => true)
    t.equal(await daemon.metric('trunkline_carrier_ended_total', { carrier: 'up', delivered: 'true' }), 5)
    t.ok(
      (await daemon.metric('trunkline_http_requests_total', { route: '/api/v1/analytics/stats', status: '422' })) >= 10,
    )
  },
)

story('after each kill under load the counts say what history says', async t => {
  const up = await smsc(t)
  const daemon = await house(t, { carriers: { up } })
  const kills = process.env.LONG ? 20 : 2
  for (let round = 0; round < kills; round++) {
    const shop = await esme(t, daemon.smpp)
    const from = up.submitted.length
    // Whose answer the kill takes away is none of this story.
    shop.submitAll(600).catch(() => {})
    await up.until(() => up.submitted.length > from + 150 + ((round * 60) % 300), 'messages under way')
    await daemon.history(50 + round)
    await daemon.kill9()
    await agrees(t, daemon, `after kill ${round + 1}`)
    await daemon.start()
  }
  await (await esme(t, daemon.smpp)).submitAll(100)
  await daemon.history(rows => rows.filter(({ kind }) => kind === 'a').length > 100 * kills)
  await daemon.stop()
  t.ok((await agrees(t, daemon, 'in the end')) > 100 * kills)
  t.equal((await trunkline(['--config', daemon.configFile, 'stats', 'rebuild'])).code, 0)
  await agrees(t, daemon, 'counted anew')
})
