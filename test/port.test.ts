// The side-port as a whole: what every answer bears, who may ask from where, and that the documents tell of every route.

import { fastify } from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import t from 'tap'
import { Limits } from '../src/accounts/limits.js'
import { type ApiHost, topics } from '../src/admin/api/api.js'
import { isOurOwn, rateLimit, requestId } from '../src/admin/api/headers.js'
import { loadConfig } from '../src/config/loading.js'
import { account } from './support/admin-subject.js'
import { api, KEY, linesOf } from './support/api.js'
import { judged } from './support/document.js'
import { house, story } from './support/house.js'
import { smsc } from './support/smsc.js'

t.test('a request is called what its client calls it, if that may stand in a log', async t => {
  const of = (id?: string): string => requestId({ headers: { 'x-request-id': id } } as never)
  t.equal(of('order-7.a:b_c'), 'order-7.a:b_c')
  for (const wrong of ['', 'a b', 'x'.repeat(65), 'a\nb', '{}', undefined]) t.not(of(wrong), wrong)
  t.not(of(), of())
})

t.test('without a key only this machine itself asks: no name of another, no page of another site', async t => {
  const may = (host: string, origin?: string): boolean =>
    isOurOwn({ headers: { host, ...(origin === undefined ? {} : { origin }) } }, ['https://app.example'])
  for (const host of ['localhost', 'localhost:8080', '127.0.0.1:8080', '127.1.2.3', '[::1]:8080']) t.ok(may(host), host)
  for (const host of ['', 'evil.example', '127.0.0.1.evil.example', 'localhost.evil.example:80', '192.0.2.1']) {
    t.notOk(may(host), host)
  }
  t.ok(may('127.0.0.1:8080', 'http://127.0.0.1:8080'), 'the documents try requests')
  t.ok(may('127.0.0.1:8080', 'https://app.example'))
  t.notOk(may('127.0.0.1:8080', 'https://evil.example'))
  t.notOk(may('127.0.0.1:8080', 'null'))
})

t.test('limits are told one by one', async t => {
  const pace = { name: 'pace', limit: 10, left: 3.7, windowS: 1, resetS: 1 } as const
  const day = { name: 'day', limit: 1_000, left: -2, windowS: 86_400, resetS: 3_600 } as const
  t.same(rateLimit([pace, day]), {
    'ratelimit-policy': '"pace";q=10;w=1, "day";q=1000;w=86400',
    ratelimit: '"pace";r=3;t=1, "day";r=0;t=3600',
  })
})

t.test('what was lent to a batch is room again only when it is paid back, and so it is told', async t => {
  const limits = new Limits()
  const shop = account(7, 'shop', { throughput: 10 })
  const told = (nowMs: number) => limits.standing(shop, nowMs, 0).map(({ left, resetS }) => [left, resetS])
  t.same(told(0), [[10, 1]])
  t.ok(limits.take(shop.id, 10, 0, 100))
  t.same(told(0), [[-90, 10]])
  t.notOk(limits.take(shop.id, 10, 8_900, 1))
  t.same(told(8_950), [[-0.5, 2]])
  t.ok(limits.take(shop.id, 10, 10_000, 10), 'as many as a full one gives')
})

t.test('no key is needed only where nobody else can reach the port', async t => {
  const load = (listen: string) => loadConfig({ env: {}, overrides: { admin: { listen, apiKeyRequired: false } } })
  for (const good of ['127.0.0.1:8080', '[::1]:0', 'localhost:1', '127.3.2.1:8080', 'off']) t.ok(load(good).ok, good)
  for (const wrong of ['0.0.0.0:8080', '[::]:8080', '192.0.2.1:8080', 'example.org:80', '127.0.0.1.example.org:80']) {
    t.match(load(wrong), { ok: false, faults: [{ path: 'admin.apiKeyRequired', message: /may be false only/ }] }, wrong)
  }
})

/** Answers everything with itself: routes are added, not asked. */
const anything: unknown = new Proxy(() => {}, { get: () => anything, apply: () => anything })

async function routes(): Promise<{ method: string; path: string }[]> {
  const app = fastify()
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  const all: { method: string; path: string }[] = []
  app.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) {
      if (one !== 'HEAD') all.push({ method: one.toLowerCase(), path: url.replace(/:(\w+)/g, '{$1}') })
    }
  })
  app.register(async scope => topics(scope, anything as ApiHost, () => undefined), { prefix: '/api/v1' })
  await app.ready()
  await app.close()
  return all
}

story(
  'every answer says which request it is for, and what a browser may do with it; pages of other sites may not ask',
  async t => {
    const carrier = await smsc(t)
    const daemon = await house(t, {
      accounts: { shop: { apiKey: KEY, throughput: 5 } },
      carriers: { up: carrier },
      config: {
        log: { level: 'debug' },
        sandbox: { enabled: true },
        admin: {
          listen: '127.0.0.1:0',
          allowedOrigins: ['https://app.example'],
          apiKeyRequired: false,
          openAccount: 'shop',
        },
      },
    })
    const { ask, document } = await judged(api(daemon.admin), what => t.fail(what))

    for (const { method, path } of await routes()) {
      const said = document.paths[path]?.[method]
      t.ok(
        said?.summary && said.tags?.length && said.responses && /```sh\ncurl /.test(said.description ?? ''),
        `${method} ${path}`,
      )
      t.ok(
        Object.keys(said?.responses ?? {}).some(status => status.startsWith('2')),
        `${method} ${path} has a good answer`,
      )
    }

    // Answers of each kind are as the documents have them.
    const hook = await ask('POST', '/api/v1/webhooks', {
      body: { url: 'https://192.0.2.1/hook', events: ['message.*'] },
    })
    const path = `/api/v1/webhooks/${hook.json.id}`
    for (const [method, url, body] of [
      ['GET', '/api/v1/webhooks'],
      ['GET', path],
      ['PATCH', path, { attempts: 3 }],
      ['POST', `${path}/test`],
      ['POST', `${path}/rotate`, {}],
      ['POST', `${path}/enable`],
      ['GET', `${path}/failures`],
      ['GET', '/api/v1/webhooks/failures?limit=3'],
      ['POST', `${path}/replay`, { since: '2026-01-01' }],
      ['POST', `${path}/replay`, { all: true }],
      ['GET', '/api/v1/webhooks/secret'],
      ['GET', '/api/v1/sandbox/numbers'],
      ['GET', '/api/v1/sandbox/messages'],
      ['GET', '/api/v1/keys'],
      ['GET', '/api/v1/sms'],
    ] as const) {
      t.equal((await ask(method, url, body === undefined ? {} : { body })).status, 200, `${method} ${url}`)
    }

    const count = daemon.log.length
    const sent = await ask('POST', '/api/v1/sms/send', {
      headers: { 'x-request-id': 'mine-1', origin: 'https://app.example' },
      body: { to: '+4915112345678', message: 'hello' },
    })
    t.match(sent, {
      status: 200,
      headers: {
        'x-request-id': 'mine-1',
        'x-content-type-options': 'nosniff',
        'content-security-policy': /default-src 'none'/,
        'cache-control': 'no-store',
        'access-control-allow-origin': 'https://app.example',
        'ratelimit-policy': '"pace";q=5;w=1',
        ratelimit: /^"pace";r=[45];t=1$/,
      },
    })
    const line = await daemon.line(one => one.msg === 'request answered' && one.request === 'mine-1', count)
    t.match(line, { level: 'debug', method: 'POST', route: '/api/v1/sms/send', status: 200, from: '127.0.0.1' })
    const burst = await Promise.all(
      Array.from({ length: 8 }, (_, n) =>
        ask('POST', '/api/v1/sms/send', { body: { to: '+4915112345678', message: `burst ${n}` } }),
      ),
    )
    const late = burst.find(({ status }) => status === 429)
    t.match(late, { headers: { 'retry-after': '1' }, json: { code: 'rate_exceeded', request_id: /\w/ } })
    t.equal(late?.json.request_id, late?.headers['x-request-id'])

    const wrong = await ask('GET', '/api/v1/phone/validate/+4915112345678?country=x', {
      headers: { 'x-request-id': 'a b' },
    })
    t.match(wrong, { status: 422, json: { code: 'invalid' } })
    t.equal(wrong.json.request_id, wrong.headers['x-request-id'])
    t.match(await ask('GET', '/nowhere'), {
      status: 404,
      json: { request_id: /\w/ },
      headers: { 'x-request-id': /\w/ },
    })
    const long = { to: '1234', message: 'x'.repeat(70_000) }
    t.match(await ask('POST', '/api/v1/sms/send', { body: long }), { status: 413, json: { code: 'too_large' } })
    t.match(await ask('POST', '/api/v1/sms/send', { body: 'x', type: 'text/x' }), {
      status: 415,
      json: { code: 'unsupported_type' },
    })
    const stream = await ask('POST', '/api/v1/sms/send-stream', {
      headers: { origin: 'https://app.example' },
      type: 'application/x-ndjson',
      body: '{}',
    })
    t.match(stream.headers, { 'access-control-allow-origin': 'https://app.example', 'x-request-id': /\w/ })
    t.match(linesOf(stream.text).at(-1), { end: true, rejected: 1 })

    const preflight = (origin: string) =>
      ask('OPTIONS', '/api/v1/sms/send', {
        key: null,
        headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' },
      })
    t.match(await preflight('https://app.example'), {
      status: 204,
      headers: {
        'access-control-allow-origin': 'https://app.example',
        'access-control-allow-headers': /authorization/,
      },
    })
    t.equal((await preflight('https://evil.example')).headers['access-control-allow-origin'], undefined)

    const docs = await ask('GET', '/docs', { key: null })
    t.match(docs, {
      status: 200,
      headers: { 'content-security-policy': /^default-src 'none'; script-src 'self';.* connect-src 'self'/ },
    })
    t.notMatch(docs.text, /<script(?![^>]*src=)/, 'its page needs nothing that stands in it')

    // Nobody needs a key here: but the page of another site does.
    t.equal((await ask('GET', '/api/v1/sms', { key: null })).status, 200)
    t.equal((await ask('GET', '/api/v1/sms', { key: null, headers: { origin: 'https://evil.example' } })).status, 401)
    t.equal((await ask('GET', '/api/v1/sms', { key: null, headers: { host: 'evil.example' } })).status, 401)
    t.equal(
      (await ask('GET', '/api/v1/sms', { key: 'tl_shop_wrong' })).status,
      401,
      'a wrong key is wrong all the same',
    )

    t.notOk(
      daemon.log.some(one => JSON.stringify(one).includes(KEY) || JSON.stringify(one).includes('validate/+49')),
      'neither keys nor numbers reach the log',
    )
  },
)
