// What people write into every field, path and query of every route where it might be taken for more than text: SQL, lines of
// headers, templates, paths, halves of characters, names of prototypes, more than there is room for. It is refused or it is
// text: never a fault of ours, and never another account's data.

import { Agent, request } from 'node:http'
import { fastify } from 'fastify'
import t, { type Test } from 'tap'
import { composeText } from '../protocols/smtp/compose.js'
import { Access } from '../src/admin/access.js'
import { type ApiHost, apiRoutes } from '../src/admin/api/api.js'
import { Peers } from '../src/admin/peer.js'
import { adminRoutes } from '../src/admin/routes.js'
import { Subject } from './support/admin-subject.js'
import { KEY } from './support/api.js'
import { type House, house, story } from './support/house.js'
import { receiver, SECRET } from './support/receiver.js'
import { smsc } from './support/smsc.js'

const ADMIN_KEY = 'the-admin-key-of-it'
/** Stands in everything that is another account's. */
const THEIRS = 'hush-hush'
const AT_ONCE = 12

const HALF = '\ud800'
const FEW = [`x' or '1'='1\r\nX-Injected: 1`, 'a\0b', HALF]
const MORE = [
  `x'; drop table accounts cascade; --`,
  `1); select pg_sleep(9); --`,
  '\\',
  '%',
  '$1',
  `{{7*7}}${'$'}{7*7}<%= 7*7 %>#{7*7}`,
  '{{#constructor}}{{/constructor}}',
  '../../../../etc/passwd',
  '<script>alert(1)</script>',
  '__proto__',
  'constructor',
  '\u202e\u0301👩‍👩‍👧‍👦\u2028\ufeff',
  '٣',
  'ß'.repeat(70),
  'x'.repeat(5_000),
  '-1',
  '1e309',
  'NaN',
  '9'.repeat(30),
  '',
  '\t',
]
const NASTY = process.env.LONG ? [...FEW, ...MORE] : FEW

/** Names that fields have somewhere, and a value that each takes where others are tried. */
const FIELDS: Readonly<Record<string, unknown>> = {
  ...{ account: 'shop', system_id: 'victim', name: 'n', settings: {}, set: {}, unset: [], password: 'a long password' },
  ...{ reason: 'r', kind: 'live', scopes: ['messages:read'], allow_from: [], expires_at: '2099-01-01T00:00:00Z' },
  ...{ email: 'x@y.example', organisation: 'o', role: 'viewer', search: 's', subject: 's', action: 'a', who: 'w' },
  ...{
    since: '2026-01-01T00:00:00Z',
    until: '2026-01-02T00:00:00Z',
    from: '',
    to: '4915112345678',
    number: '4915112345678',
  },
  ...{
    list: 'l',
    add: [],
    remove: [],
    text: 't',
    carrier: '',
    route: 'r',
    match: {},
    by: 'order',
    tags: [],
    at: '2026-01-01T00:00:00Z',
  },
  ...{
    service_type: '',
    ids: ['1111111111111111'],
    id: ['1111111111111111'],
    batch: 'b',
    url: 'https://example.com/h',
    events: [],
  },
  ...{
    secret: SECRET,
    token: 't',
    refresh_token: 't',
    client_id: '1',
    client_secret: 's',
    grant_type: 'client_credentials',
  },
  ...{
    scope: '',
    message: 'm',
    recipients: ['+4915112345678'],
    from_number: 'Shop',
    provider: 'up',
    custom_id: 'c',
    metadata: {},
  },
  ...{
    callback_url: 'https://example.com/c',
    template_id: 't',
    variables: {},
    category: 'c',
    content: 'c',
    language: 'en',
  },
  ...{
    phone_number: '+4915112345678',
    code: '123456',
    purpose: 'p',
    brand: 'b',
    custom_message: '{otp}',
    tariff: 't',
    prefix: '49',
  },
  ...{
    memo: 'm',
    reference: 'r',
    amount: '1',
    cursor: '1',
    after: '0',
    before: '1',
    limit: '1',
    offset: '0',
    status: 'pending',
  },
  ...{
    date_from: '2026-01-01',
    date_to: '2026-01-02',
    class: 'otp',
    state: 'ENROUTE',
    q: 'q',
    period: 'day',
    group_by: 'day',
  },
  ...{
    country: 'DE',
    spool: 's',
    overlap_s: 0,
    names: [],
    dry_run: true,
    type: 't',
    description: 'd',
    format: 'json',
    sort: 'id',
  },
}
/** What is there to be touched, and is not needed. */
const WHICH: Readonly<Record<string, string>> = { account: 'victim', system_id: 'victim', email: 'x@y.example' }
/** They end the daemon, have no end, or ask others. */
const SKIPPED = /^(POST \/api\/v1\/admin\/drain|GET .*\/stream|POST .*(carrier-test|\/test))$/

/** Routes that there are: those of accounts with their key, those of administration with its own. */
async function routes(t: Test): Promise<string[]> {
  const app = fastify()
  t.teardown(() => app.close())
  const found = new Set<string>()
  app.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) if (one !== 'HEAD') found.add(`${one} ${url}`)
  })
  const subject = new Subject()
  const host = { peers: new Peers([]), people: {}, limits: { standing: () => [] } } as unknown as ApiHost
  const { clock, log } = subject
  Object.assign(host, { clock, log })
  const access = new Access({ key: null, clock, log, peers: host.peers, refused: () => {}, keys: host })
  app.register(async scope => apiRoutes(scope, host), { prefix: '/api/v1' })
  app.register(async scope => adminRoutes(scope, subject, {} as never, access, host.people), {
    prefix: '/api/v1/admin',
  })
  await app.ready()
  // What is taken away is taken away last.
  const last = (route: string): string => `${Number(route.startsWith('DELETE'))}${route}`
  return [...found].filter(route => !SKIPPED.test(route)).sort((a, b) => (last(a) < last(b) ? -1 : 1))
}

interface Parameter {
  readonly in: string
  readonly name: string
}

interface Answered {
  readonly status: number
  readonly text: string
  readonly headers: NodeJS.Dict<string | string[]>
}

class Attacker {
  asked = 0
  readonly wrong: string[] = []
  private readonly port: number
  private readonly agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE })

  constructor(port: number) {
    this.port = port
  }

  /** What came back, judged. */
  async ask(route: string, path: string, body?: unknown, type = 'application/json'): Promise<Answered> {
    const [method = ''] = route.split(' ')
    const key = route.includes('/admin') ? ADMIN_KEY : KEY
    this.asked++
    const octets = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
    const headers = {
      authorization: `Bearer ${key}`,
      // From everywhere: whoever guesses is soon not heard any more.
      'x-forwarded-for': `203.0.${this.asked >> 8}.${this.asked & 255}`,
      ...(octets === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(octets) }),
    }
    const answered = await new Promise<Answered>((resolve, reject) => {
      const to = { host: '127.0.0.1', port: this.port, agent: this.agent, method, path, headers }
      const asked = request(to, response => {
        let text = ''
        response.setEncoding('utf8').on('data', piece => {
          text += piece
        })
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text, headers: response.headers }))
      })
      asked.on('error', reject)
      asked.end(octets)
    })
    const about = `${method} ${path} ${(octets ?? '').slice(0, 300)}: ${answered.status} ${answered.text.slice(0, 300)}`
    if (answered.status === 500 || answered.text.includes('internal_fault')) this.wrong.push(`a fault: ${about}`)
    if (answered.text.includes('key_refused') || (answered.status === 429 && !path.includes('/auth/'))) {
      this.wrong.push(`not heard: ${about}`)
    }
    if (answered.headers['x-injected'] !== undefined) this.wrong.push(`a header: ${about}`)
    if (key === KEY && answered.text.includes(THEIRS)) this.wrong.push(`another's: ${about}`)
    return answered
  }

  /** Fields that a route of administration knows, of its body or its query: what it does not it names. */
  async fieldsOf(route: string, path: string): Promise<string[]> {
    const all = Object.keys(FIELDS)
    const isBody = !route.startsWith('GET')
    let names = all
    for (let n = 0; n < 3; n++) {
      const query = isBody ? '' : `?${new URLSearchParams(names.map((name): [string, string] => [name, '\u0001']))}`
      const body = isBody ? Object.fromEntries(names.map(name => [name, { no: 'text' }])) : undefined
      const { text } = await this.ask(route, path + query, body)
      const unknown = /Unrecognized keys?: ([^;}]*)/.exec(text)?.[1]
      if (unknown === undefined) break
      const refused = new Set([...unknown.matchAll(/\\?"(\w+)\\?"/g)].map(([, name]) => name))
      names = names.filter(name => !refused.has(name))
    }
    return names.length === all.length ? [] : names
  }

  close(): void {
    this.agent.destroy()
  }
}

/** Does all of it, so many at a time. */
async function all(work: readonly (() => Promise<unknown>)[]): Promise<void> {
  const left = [...work]
  const worker = async (): Promise<void> => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) await one()
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

const pathOf = (url: string, value: string): string =>
  url.replaceAll(/:\w+/g, value === HALF ? '%ed%a0%80' : encodeURIComponent(value))

async function attack(attacker: Attacker, route: string, queried: readonly string[] | undefined): Promise<void> {
  const [method = '', url = ''] = route.split(' ')
  const hasBody = method !== 'GET'
  const plain = url.replaceAll(/:(\w+)/g, (_, name: string) => encodeURIComponent(WHICH[name] ?? '7000'))
  const isQueried = queried !== undefined && !hasBody
  const fields = isQueried ? queried : await attacker.fieldsOf(route, plain)
  const valid = Object.fromEntries(fields.map(name => [name, FIELDS[name]]))
  const body = hasBody && fields.length > 0 ? valid : undefined
  const tries: (() => Promise<unknown>)[] = []
  for (const nasty of NASTY) {
    if (url.includes(':')) tries.push(() => attacker.ask(route, pathOf(url, nasty), body))
    if (!hasBody) {
      for (const name of fields) {
        const query = new URLSearchParams({ [name]: nasty })
        tries.push(() => attacker.ask(route, `${plain}?${query}`))
      }
    }
    for (const name of hasBody ? fields : []) {
      tries.push(() => attacker.ask(route, plain, { ...valid, [name]: nasty }))
      // Where a list is wanted, or an object.
      if (Array.isArray(valid[name])) tries.push(() => attacker.ask(route, plain, { ...valid, [name]: [nasty] }))
      else if (typeof valid[name] === 'object') {
        tries.push(() => attacker.ask(route, plain, { ...valid, [name]: { [nasty]: nasty } }))
      }
    }
  }
  await all(tries)
}

async function furnished(t: Test): Promise<House> {
  const told = await receiver(t)
  const carrier = await smsc(t)
  const webhooks = [{ url: `${told.url}/${THEIRS}`, secret: SECRET }]
  return house(t, {
    accounts: {
      shop: { apiKey: KEY, organisation: 'Acme', numbers: ['4930123'] },
      other: { apiKey: `${KEY}x`, organisation: THEIRS, webhooks },
      victim: {},
    },
    carriers: { up: carrier },
    config: {
      admin: { listen: '127.0.0.1:0', key: ADMIN_KEY, trustedProxies: ['127.0.0.1'] },
      sandbox: { enabled: true },
      people: { register: 'open' },
      webhooks: { allow: ['127.0.0.0/8'] },
    },
  })
}

t.test('a line end in what stands in a mail’s header begins no field there', async t => {
  const nasty = 'x\r\nBcc: <eve@example.com>\r\n\r\nbody\n.\r\n'
  const mail = await composeText(
    {
      from: { name: nasty, address: 'a@b.example' },
      to: { name: nasty, address: 'c@d.example' },
      ...{ subject: nasty, messageId: '1@b.example', atMs: 0, fields: { 'X-Note': nasty } },
    },
    'the text',
  )
  const [head = '', body] = mail.toString().split(/\r\n\r\n/)
  const names = head
    .split('\r\n')
    .filter(line => !/^[ \t]/.test(line))
    .map(line => line.split(':', 1)[0])
  t.same(names.sort(), [
    'Content-Transfer-Encoding',
    'Content-Type',
    'Date',
    'From',
    'MIME-Version',
    'Message-ID',
    'Subject',
    'To',
    'X-Note',
  ])
  t.equal(body?.trim(), 'the text')
})

story('whatever is written into a field is refused or is text, on every route', async t => {
  const daemon = await furnished(t)
  const attacker = new Attacker(daemon.admin)
  t.teardown(() => attacker.close())
  // What must not be seen.
  const theirs = new Attacker(daemon.admin)
  t.teardown(() => theirs.close())
  const seed = await new Promise<number>((resolve, reject) => {
    const body = JSON.stringify({ to: '+999000000100', message: THEIRS, custom_id: THEIRS, tags: [THEIRS] })
    const headers = { authorization: `Bearer ${KEY}x`, 'content-type': 'application/json' }
    const asked = request({ host: '127.0.0.1', port: daemon.admin, method: 'POST', path: '/api/sms/send', headers })
    asked.on('error', reject).on('response', answer => resolve(answer.resume().statusCode ?? 0))
    asked.end(body)
  })
  t.equal(seed, 200)

  const known = await routes(t)
  const { paths } = JSON.parse((await attacker.ask('GET ', '/openapi.json')).text)
  const queries = new Map<string, string[]>()
  for (const [path, methods] of Object.entries(paths as Record<string, Record<string, { parameters?: Parameter[] }>>)) {
    for (const [method, { parameters = [] }] of Object.entries(methods)) {
      const names = parameters.filter(one => one.in === 'query').map(({ name }) => name)
      queries.set(`${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`, names)
    }
  }
  t.ok(known.length > 90, `${known.length} routes`)
  for (const route of known) {
    const before = attacker.wrong.length
    await attack(attacker, route, queries.get(route))
    t.same(attacker.wrong.slice(before, before + 3), [], route)
  }

  // What is no field: too long, too deep, names that mean something to JavaScript.
  const send = 'POST /api/v1/sms/send'
  const [, path = ''] = send.split(' ')
  const deep = `{"to":${'['.repeat(20_000)}${']'.repeat(20_000)},"message":"x"}`
  const long = JSON.stringify({ to: '+4915112345678', message: 'x'.repeat(100_000) })
  const proto = '{"to":"+4915112345678","message":"x","dry_run":true,"__proto__":{"dry_run":false}}'
  const maker = '{"to":"+4915112345678","message":"x","constructor":{"prototype":{"x":1}}}'
  const meta = '{"to":"+4915112345678","message":"x","dry_run":true,"metadata":{"__proto__":"y"}}'
  for (const [body, statuses] of [
    [deep, [400, 422]],
    [long, [413]],
    [proto, [400]],
    [maker, [400, 422]],
    [meta, [400]],
    ['{', [400]],
    ['', [400]],
    ['"x"', [422]],
    ['null', [422]],
    ['[]', [422]],
    ['{"to":1e999,"message":"x"}', [422]],
    ['\ufeff{}', [400, 422]],
  ] as const) {
    const { status } = await attacker.ask(send, path, body)
    t.ok((statuses as readonly number[]).includes(status), `${status} for ${body.slice(0, 40)}`)
  }
  for (const type of [
    'text/xml',
    'multipart/form-data; boundary=x',
    'application/json; charset=utf-7',
    'x'.repeat(500),
  ]) {
    t.ok([400, 415, 422].includes((await attacker.ask(send, path, '{}', type)).status), type.slice(0, 40))
  }
  for (const odd of [
    '/api/v1/%',
    '/api/v1/%00',
    '/api/v1/%c0%ae',
    '/api//v1/sms',
    '/api/v1/sms/..%2f..%2fadmin%2fstatus',
  ]) {
    const { status } = await attacker.ask('GET ', odd)
    t.ok([400, 404].includes(status), `${odd}: ${status}`)
  }
  // A row of a stream that is none is told, and the next is taken.
  const rows = NASTY.map(nasty => JSON.stringify({ number: '+4915112345678', message: nasty, custom_id: nasty })).join(
    '\n',
  )
  const streamed = await attacker.ask('POST ', '/api/v1/sms/send-stream?message=x', rows, 'application/x-ndjson')
  t.match(streamed.text, /"end":true/)
  t.same(attacker.wrong, [])

  const left = await daemon.query(`select system_id from accounts where system_id in ('shop', 'other')`)
  t.equal(left.length, 2, 'the accounts stand')
  t.equal(({} as { polluted?: unknown }).polluted, undefined)
  t.comment(`${attacker.asked} requests to ${known.length} routes`)
})
