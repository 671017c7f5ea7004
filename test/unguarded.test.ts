// What the HTTP port must not let happen: that it tells who is registered, that a key makes more than it is, that tests touch
// what is real, that requests together take more room than there is, that somebody speaks for somebody else.

import t from 'tap'
import { isRangeWithin } from '../protocols/net/address.js'
import { boundsWithin } from '../src/accounts/keys.js'
import { Secrets, serverKey } from '../src/accounts/secrets.js'
import { Docs } from '../src/admin/api/docs.js'
import { Peers } from '../src/admin/peer.js'
import { type Answer, api, KEY } from './support/api.js'
import { house, story } from './support/house.js'
import { receiver, SECRET } from './support/receiver.js'
import { smsc } from './support/smsc.js'

const PASSWORD = 'correct horse battery'
const PROXY = '127.0.0.2'
const ADMIN_KEY = 'an-admin-key-of-it'
const seen = ({ status, json: { request_id: _, ...json } }: Answer): object => ({ status, json })

t.test(
  'a client is whom the nearest hop that is no proxy of ours was, and nobody else whatever stands left of it',
  async t => {
    const peers = new Peers(['10.0.0.0/8', '2001:db8:ffff::/48'])
    const asked = (remoteAddress: string, headers: object) =>
      ({ socket: { remoteAddress, remotePort: 9 }, headers }) as unknown as Parameters<Peers['address']>[0]
    const rows: [peer: string, headers: object, client: string][] = [
      ['192.0.2.1', {}, '192.0.2.1'],
      ['192.0.2.1', { 'x-forwarded-for': '198.51.100.7' }, '192.0.2.1'],
      ['192.0.2.1', { forwarded: 'for=198.51.100.7' }, '192.0.2.1'],
      ['10.0.0.1', {}, '10.0.0.1'],
      ['::ffff:10.0.0.1', { 'x-forwarded-for': '198.51.100.7' }, '198.51.100.7'],
      ['10.0.0.1', { 'x-forwarded-for': '203.0.113.9, 198.51.100.7' }, '198.51.100.7'],
      ['10.0.0.1', { 'x-forwarded-for': '203.0.113.9, 198.51.100.7, 10.1.1.1' }, '198.51.100.7'],
      ['10.0.0.1', { 'x-forwarded-for': '10.0.0.3,10.0.0.2' }, '10.0.0.3'],
      ['10.0.0.1', { 'x-forwarded-for': '203.0.113.9, unknown' }, '10.0.0.1'],
      ['10.0.0.1', { 'x-forwarded-for': '203.0.113.9, nonsense, 10.1.1.1' }, '10.1.1.1'],
      ['10.0.0.1', { 'x-forwarded-for': '' }, '10.0.0.1'],
      ['10.0.0.1', { 'x-forwarded-for': '198.51.100.7:4711' }, '198.51.100.7'],
      ['10.0.0.1', { 'x-forwarded-for': '[2001:db8::7]:4711' }, '2001:db8::7'],
      ['2001:db8:ffff::1', { 'x-forwarded-for': '2001:db8::7' }, '2001:db8::7'],
      [
        '10.0.0.1',
        { forwarded: 'for=203.0.113.9, For="[2001:db8:cafe::17]:4711";proto=https;by=10.0.0.1' },
        '2001:db8:cafe::17',
      ],
      ['10.0.0.1', { forwarded: 'proto=http;host="a,b;for=203.0.113.9";for=198.51.100.7' }, '198.51.100.7'],
      ['10.0.0.1', { forwarded: 'for=203.0.113.9, for=_hidden' }, '10.0.0.1'],
      [
        '10.0.0.1',
        { forwarded: 'host="a\\",for=203.0.113.9" ; FOR="198.51.100\\.7";for=203.0.113.9,,' },
        '198.51.100.7',
      ],
      ['10.0.0.1', { forwarded: '=,;,for,by=for=203.0.113.9' }, '10.0.0.1'],
      ['10.0.0.1', { forwarded: 'for=203.0.113.9, proto=https' }, '10.0.0.1'],
      ['10.0.0.1', { forwarded: 'for=198.51.100.7', 'x-forwarded-for': '198.51.100.7' }, '198.51.100.7'],
    ]
    for (const [peer, headers, client] of rows) {
      t.equal(peers.address(asked(peer, headers)), client, `${peer} ${JSON.stringify(headers)}`)
    }
    const two = asked('10.0.0.1', { forwarded: 'for=203.0.113.9', 'x-forwarded-for': '198.51.100.7' })
    t.throws(() => peers.address(two), { status: 400, code: 'forwarded_twice' })
    t.equal(peers.address(two), '10.0.0.1', 'whoever is refused is logged as the proxy')
    // A quote that a client opened would swallow what its proxy adds.
    const open = asked('10.0.0.1', { forwarded: 'for=203.0.113.9;x=", for="[2001:db8::7]"' })
    t.throws(() => peers.address(open), { status: 400, code: 'forwarded_unread' })
    for (const name of ['forwarded', 'x-forwarded-for']) {
      const long = asked('10.0.0.1', { [name]: `${'a'.repeat(15_000)}, for=198.51.100.7` })
      const startedMs = performance.now()
      t.throws(() => peers.address(long), { status: 400, code: 'forwarded_unread' })
      t.ok(performance.now() - startedMs < 20, `${name} of 15 kB holds nobody up`)
    }
    t.equal(peers.address(asked('192.0.2.1', { forwarded: 'a'.repeat(15_000) })), '192.0.2.1', 'no proxy is read')
    t.equal(peers.isProxied(asked('10.0.0.1', {})), true)
    t.equal(peers.isProxied(asked('192.0.2.1', { via: '1.1 x' })), true)
    t.equal(peers.isProxied(asked('192.0.2.1', {})), false)
    t.equal(peers.endpoint(asked('192.0.2.1', {})), '192.0.2.1:9')
    t.equal(peers.endpoint(asked('10.0.0.1', { 'x-forwarded-for': '198.51.100.7' })), '198.51.100.7')
    const here = new Peers(['127.0.0.2'])
    t.equal(here.isOfThisMachine(asked('127.0.0.1', {})), true)
    t.equal(here.isOfThisMachine(asked('::1', {})), true)
    for (const name of ['via', 'forwarded', 'x-forwarded-for', 'x-forwarded', 'x-forwarded-proto', 'x-real-ip']) {
      t.equal(here.isOfThisMachine(asked('127.0.0.1', { [name]: 'x' })), false, name)
    }
    t.equal(here.isOfThisMachine(asked('127.0.0.2', {})), false, 'a proxy is no one of this machine')
    t.equal(here.isOfThisMachine(asked('192.0.2.1', {})), false)
  },
)

t.test('a range is within others only if all of it is', async t => {
  const rows: [ranges: string[], range: string, isWithin: boolean][] = [
    [['192.0.2.0/24'], '192.0.2.7', true],
    [['192.0.2.0/24'], '192.0.2.128/25', true],
    [['192.0.2.0/24'], '192.0.2.0/23', false],
    [['192.0.2.0/24'], '192.0.3.0/24', false],
    [['192.0.2.7'], '192.0.2.0/24', false],
    [['0.0.0.0/0'], '198.51.100.0/24', true],
    [['0.0.0.0/0'], '::/0', false],
    [['::/0'], '192.0.2.7', true],
    [['2001:db8::/32'], '2001:db8:1::/48', true],
    [['2001:db8::/32'], '2001:db9::1', false],
    [['192.0.2.0/24'], '::ffff:192.0.2.7', true],
    [['10.0.0.0/8', '192.0.2.0/24'], '192.0.2.0/24', true],
  ]
  for (const [ranges, range, isWithin] of rows) t.equal(isRangeWithin(ranges, range), isWithin, `${range} in ${ranges}`)
  const by = { expiresMs: 1_000, allowFrom: ['192.0.2.0/24'] }
  t.same(boundsWithin({ expiresMs: 0, allowFrom: [] }, by), by, 'what is left out is the same')
  t.equal(boundsWithin({ expiresMs: 1_001, allowFrom: [] }, by), undefined)
  t.equal(boundsWithin({ expiresMs: 1, allowFrom: ['0.0.0.0/0'] }, by), undefined)
})

t.test('documents that could not be made are made for the next who asks', async t => {
  let asked = 0
  const host = {
    get sender() {
      if (++asked === 1) throw new Error('not now')
      return {}
    },
    desk: {},
    people: {},
    webhooks: {},
    sandbox: null,
  }
  const docs = new Docs(host as never, '1.0')
  t.teardown(() => docs.close())
  await t.rejects(docs.answer({} as never, {} as never), /not now/)
  await t.rejects(docs.answer({} as never, {} as never))
  t.ok(asked > 1, 'it was tried again')
})

story(
  'the port tells nobody who is registered, and keys, tests, crowds and proxies get no more than is theirs',
  async t => {
    const told = await receiver(t)
    const carrier = await smsc(t)
    const webhooks = [{ url: told.url, secret: SECRET, events: ['message.*'] }]
    const daemon = await house(t, {
      accounts: {
        shop: { apiKey: KEY, organisation: 'Acme', webhooks, numbers: ['4930123'] },
        small: { apiKey: `${KEY}x`, maxWaiting: 600 },
        far: { apiKey: `${KEY}y`, smpp: { allowFrom: ['198.51.100.0/24'] } },
      },
      carriers: { up: carrier },
      config: {
        sandbox: { enabled: true },
        admin: {
          listen: '127.0.0.1:0',
          key: ADMIN_KEY,
          trustedProxies: [PROXY],
          apiKeyRequired: false,
          openAccount: 'shop',
        },
        people: { register: 'open' },
        webhooks: { allow: ['127.0.0.0/8'] },
      },
    })
    const ask = api(daemon.admin)
    const refused = (answer: Answer, status: number, code: string, what = code): void => {
      t.match(answer, { status, json: { code } }, `${what}: ${answer.text}`)
    }
    const auth = (path: string, body: object, more: object = {}): Promise<Answer> =>
      ask('POST', `/api/v1/auth/${path}`, { key: null, body, ...more })

    await t.test('a name that SQL does not hold is refused for whom it knows and for whom not', async t => {
      const known = { email: 'ann@acme.example', password: PASSWORD }
      t.equal((await auth('register', known)).status, 201)
      const names = ['é'.repeat(51), '名'.repeat(34), 'a\0b', 'a\u0007', '\ud800', 'x'.repeat(101)]
      for (const field of ['name', 'organisation']) {
        for (const name of names) {
          const [one, other] = await Promise.all([
            auth('register', { ...known, [field]: name }),
            auth('register', { email: `nobody${Math.random()}@acme.example`, password: PASSWORD, [field]: name }),
          ])
          t.equal(one.status, 422, `${field} ${JSON.stringify(name)} ${one.text}`)
          t.same(seen(other), seen(one))
        }
      }
      const longest = { ...known, name: 'é'.repeat(50), organisation: '名'.repeat(33) }
      const [again, first] = [
        await auth('register', longest),
        await auth('register', { ...longest, email: 'bob@acme.example' }),
      ]
      t.match(first, { status: 201 })
      t.same(seen(again), seen(first))
      const second = await auth('register', {
        ...longest,
        email: `${'c'.repeat(60)}.${'d'.repeat(60)}@${'e'.repeat(40)}.example`,
      })
      t.match(second, { status: 201 }, 'an organisation of that name is there')
      t.match(await auth('register', { email: `${'f'.repeat(64)}@${'e'.repeat(60)}.example`, password: PASSWORD }), {
        status: 201,
      })
      const counts = await daemon.query<{ n: number }>(
        "select count(*)::int as n from organisations where name ~ 'acme'",
      )
      t.equal(counts[0]?.n, 1, 'a registration that came to nothing left nothing')
    })

    await t.test('of two tokens for another password that come at once one is good, and all sessions end', async t => {
      const secrets = new Secrets(await serverKey(daemon.dataDir))
      const login = (): Promise<Answer> => auth('login', { email: 'ann@acme.example', password: PASSWORD })
      const session = (await login()).json
      const tokens = ['tlp_one', 'tlp_two', 'tlp_three']
      for (const token of tokens) {
        const hash = secrets.tokenHash(token).toString('hex')
        await daemon.query(
          `insert into password_resets select '\\x${hash}', id, now() + interval '1 hour' from users where email = 'ann@acme.example'`,
        )
      }
      const confirmed = await Promise.all(
        tokens.map((token, i) => auth('password-reset/confirm', { token, password: `another password ${i}` })),
      )
      t.same(confirmed.map(({ status }) => status).sort(), [200, 422, 422])
      const won = confirmed.findIndex(({ status }) => status === 200)
      t.equal((await auth('refresh', { refresh_token: session.refresh_token })).status, 401)
      t.equal((await auth('login', { email: 'ann@acme.example', password: `another password ${won}` })).status, 200)
      t.equal((await daemon.query('select 1 as one from password_resets')).length, 0)
    })

    await t.test('whoever knows the name of a session ends it not', async t => {
      t.equal((await auth('register', { email: 'eve@acme.example', password: PASSWORD })).status, 201)
      const login = async () => (await auth('login', { email: 'eve@acme.example', password: PASSWORD })).json
      const mine = await login()
      const sid = /^tlr_([0-9a-f]{32})_/.exec(mine.refresh_token)?.[1]
      const forged = `tlr_${sid}_${'A'.repeat(32)}`
      t.equal((await auth('refresh', { refresh_token: forged })).status, 401)
      t.equal((await auth('logout', { refresh_token: forged })).status, 200)
      const whoAmI = (key: string): Promise<Answer> => ask('GET', '/api/v1/auth/me', { key })
      t.equal((await whoAmI(mine.access_token)).status, 200)

      const other = await login()
      const list = await ask('GET', '/api/v1/auth/sessions', { key: mine.access_token })
      t.equal(list.json.sessions.length, 2)
      t.same(
        list.json.sessions.filter((one: { current: boolean }) => one.current).map((one: { id: string }) => one.id),
        [sid],
      )
      const theirs = list.json.sessions.find((one: { current: boolean }) => !one.current).id
      const end = (id: string, key = mine.access_token): Promise<Answer> =>
        ask('DELETE', `/api/v1/auth/sessions/${id}`, { key })
      t.equal((await end(theirs)).status, 200)
      t.equal((await whoAmI(other.access_token)).status, 401, 'ended at once')
      refused(await end(theirs), 404, 'no_session')
      const [someone] = await daemon.query<{ id: string }>(
        `select id from sessions where ended is null and id <> '${sid}' limit 1`,
      )
      if (someone !== undefined) refused(await end(someone.id), 404, 'no_session', 'another person’s')
      refused(await ask('GET', '/api/v1/auth/sessions'), 403, 'not_a_person')
      t.equal((await auth('logout', { refresh_token: mine.refresh_token })).status, 200)
      t.equal((await whoAmI(mine.access_token)).status, 401)
    })

    await t.test('a key makes no key that outlives it, reaches further or administers', async t => {
      const make = (body: object, key = KEY): Promise<Answer> => ask('POST', '/api/v1/keys', { key, body })
      const soon = new Date(Date.now() + 3_600_000).toISOString()
      const later = new Date(Date.now() + 7_200_000).toISOString()
      const near = ['127.0.0.0/8']
      const bounded = (await make({ expires_at: soon, allow_from: near })).json
      t.match((await make({}, bounded.key)).json, { expires_at: soon, allow_from: near })
      t.match((await make({ allow_from: ['127.0.0.1'] }, bounded.key)).json, {
        expires_at: soon,
        allow_from: ['127.0.0.1'],
      })
      refused(await make({ expires_at: later }, bounded.key), 403, 'key_outreaches')
      refused(await make({ allow_from: ['127.0.0.1', '192.0.2.1'] }, bounded.key), 403, 'key_outreaches')
      const free = (await make({})).json
      t.match(free, { expires_at: null, allow_from: [] })
      const rotate = (id: number, key: string): Promise<Answer> =>
        ask('POST', `/api/v1/keys/${id}/rotate`, { key, body: { overlap_s: 60 } })
      refused(await rotate(free.id, bounded.key), 403, 'key_outreaches')
      t.match(await rotate(bounded.id, bounded.key), {
        status: 201,
        json: { key: { expires_at: soon, allow_from: near } },
      })

      const admin = async (body: object) => JSON.parse((await daemon.ask('POST', '/api/v1/admin/keys', body)).body)
      const ops = await admin({ account: 'shop', scopes: ['admin:*', 'account:*'], expires_at: soon, allow_from: near })
      t.match((await make({}, ops.key)).json, { scopes: ['account:read', 'account:write'] }, 'administration is named')
      const adminMake = (body: object, key: string): Promise<Answer> => ask('POST', '/api/v1/admin/keys', { key, body })
      refused(await adminMake({ account: 'small', expires_at: later }, ops.key), 403, 'key_outreaches')
      t.match((await adminMake({ account: 'small' }, ops.key)).json, { expires_at: soon, allow_from: near })
      const tests = await admin({ account: 'shop', scopes: ['admin:*'], kind: 'test' })
      refused(await adminMake({ account: 'small' }, tests.key), 403, 'test_key')
      t.equal((await ask('GET', '/api/v1/admin/status', { key: tests.key })).status, 200)

      // A person who is an operator too.
      await daemon.ask('POST', '/api/v1/admin/users', {
        ...{ email: 'ops@acme.example', password: PASSWORD, organisation: 'Acme', role: 'owner', operator: true },
      })
      const person = (await auth('login', { email: 'ops@acme.example', password: PASSWORD })).json.access_token
      t.match((await make({}, person)).json, { scopes: [], expires_at: null })
      t.match((await make({ scopes: ['admin:read'] }, person)).json, { scopes: ['admin:read'] })
    })

    await t.test('a test key touches nothing that is live', async t => {
      const test = (await ask('POST', '/api/v1/keys', { body: { kind: 'test' } })).json
      const other = (await ask('POST', '/api/v1/keys', { body: { kind: 'test' } })).json
      const live = (await ask('POST', '/api/v1/keys', { body: {} })).json
      const key = test.key as string
      refused(await ask('POST', '/api/v1/keys', { key, body: {} }), 403, 'test_key')
      refused(await ask('DELETE', `/api/v1/keys/${live.id}`, { key }), 403, 'test_key')
      refused(await ask('POST', `/api/v1/keys/${live.id}/rotate`, { key, body: {} }), 403, 'test_key')
      t.equal((await ask('DELETE', `/api/v1/keys/${other.id}`, { key })).status, 200)
      const [hook] = (await ask('GET', '/api/v1/webhooks', { key })).json.webhooks
      for (const [method, path, body] of [
        ['POST', '/webhooks', { url: 'https://example.com/x' }],
        ['PATCH', `/webhooks/${hook.id}`, { events: ['message.*'] }],
        ['DELETE', `/webhooks/${hook.id}`],
        ['POST', `/webhooks/${hook.id}/rotate`, {}],
        ['POST', `/webhooks/${hook.id}/enable`],
        ['POST', `/webhooks/${hook.id}/replay`, { all: true }],
        ['GET', '/webhooks/secret'],
      ] as const) {
        const asked = await ask(method, `/api/v1${path}`, { key, ...(body === undefined ? {} : { body }) })
        refused(asked, 403, 'test_key', `${method} ${path}`)
      }
      t.equal((await ask('POST', `/api/v1/webhooks/${hook.id}/test`, { key })).status, 200)

      const schedule_at = new Date(Date.now() + 3_600_000).toISOString()
      const send = async (key: string): Promise<string> => {
        const body = { to: '+4915112345678', message: 'later', schedule_at }
        return (await ask('POST', '/api/v1/sms/send', { key, body })).json.message_ids[0]
      }
      const [real, played] = [await send(KEY), await send(key)]
      refused(await ask('POST', `/api/v1/sms/${real}/cancel`, { key }), 403, 'test_key')
      refused(await ask('DELETE', `/api/v1/sms/${real}`, { key }), 403, 'test_key')
      t.match(await ask('POST', `/api/v1/sms/${played}/cancel`, { key }), { status: 200, json: { status: 'canceled' } })
      t.match(await ask('POST', `/api/v1/sms/${real}/cancel`), { status: 200, json: { status: 'canceled' } })

      // STOP that nobody's phone has said.
      const say = (from: string, text: string): Promise<Answer> =>
        ask('POST', '/api/v1/sandbox/inbound', { key, body: { from, to: '4930123', text } })
      t.equal((await say('+4915112345678', 'STOP')).status, 202)
      const rows = await daemon.query<{ n: number }>('select count(*)::int as n from consent')
      t.equal(rows[0]?.n, 0, 'no phone has said it')
      const marketing = { to: '+4915112345678', message: 'x', sms_type: 'marketing', dry_run: true }
      t.match((await ask('POST', '/api/v1/sms/send', { body: marketing })).status, 200)
      t.equal((await say('+999000000100', 'STOP')).status, 202)
      const held = { ...marketing, to: '+999000000100' }
      t.match(
        await ask('POST', '/api/v1/sms/send', { body: held }),
        { status: 422 },
        'a number of the sandbox has stopped',
      )
    })

    await t.test('requests that come together take no more room than there is', async t => {
      const schedule_at = new Date(Date.now() + 3_600_000).toISOString()
      const batch = (n: number) => ({
        body: {
          ...{ message: 'x', schedule_at, send_immediately: false },
          recipients: Array.from({ length: 350 }, (_, i) => `+4915${n}${1_000_000 + i}`),
        },
      })
      const answers = await Promise.all(
        [1, 2, 3, 4].map(n => ask('POST', '/api/v1/sms/send-batch', { key: `${KEY}x`, ...batch(n) })),
      )
      t.same(answers.map(({ status }) => status).sort(), [200, 503, 503, 503])
      t.equal(answers.find(({ status }) => status === 200)?.json.accepted, 350, 'whole')
    })

    await t.test('a moment that nobody means is refused', async t => {
      const at = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString()
      const dry = (more: object): Promise<Answer> =>
        ask('POST', '/api/v1/sms/send', { body: { to: '+4915112345678', message: 'x', dry_run: true, ...more } })
      t.equal((await dry({ schedule_at: at(365) })).status, 200)
      const far = await dry({ schedule_at: at(367) })
      refused(far, 422, 'schedule_invalid')
      t.match(far.json.detail, /366 days/)
      refused(await dry({ expire_at: at(367) }), 422, 'validity_invalid')
      t.equal((await dry({ schedule_at: at(365), expire_at: at(700) })).status, 200)
    })

    await t.test(
      'who asks through a proxy is who they are: for addresses, bars, the audit and where no key is needed',
      async t => {
        const through = (client: string, more: object = {}): object => ({
          from: PROXY,
          headers: { 'x-forwarded-for': client, ...more },
        })
        const me = (more: object): Promise<Answer> => ask('GET', '/api/v1/auth/me', { key: `${KEY}y`, ...more })
        refused(await me({}), 403, 'address_refused')
        t.equal((await me(through('198.51.100.7'))).status, 200)
        t.equal((await me({ from: PROXY, headers: { forwarded: 'for="198.51.100.7:99"' } })).status, 200)
        refused(
          await me({ headers: { 'x-forwarded-for': '198.51.100.7' } }),
          403,
          'address_refused',
          'whoever is no proxy',
        )
        refused(
          await me(through('198.51.100.7, 203.0.113.9')),
          403,
          'address_refused',
          'what a client has written itself',
        )
        refused(await me(through('203.0.113.9', { forwarded: 'for=198.51.100.7' })), 400, 'forwarded_twice')
        refused(await me({ from: PROXY }), 403, 'address_refused', 'the proxy itself')

        // One who guesses shuts out no one else behind the same proxy.
        const guess = (client: string): Promise<Answer> => me({ ...through(client), key: 'tl_shop_wrong' })
        const login = (client: string): Promise<Answer> =>
          auth('login', { email: `${Math.random()}@x.example`, password: 'x' }, through(client))
        await Promise.all([
          ...Array.from({ length: 20 }, () => guess('203.0.113.9')),
          ...Array.from({ length: 30 }, () => login('203.0.113.11')),
        ])
        refused(await guess('203.0.113.9'), 429, 'too_many_failures')
        refused(await guess('203.0.113.10'), 401, 'key_refused')
        refused(await login('203.0.113.11'), 429, 'too_many_failures')
        refused(await login('203.0.113.12'), 401, 'login_refused')

        // And who guesses at one from everywhere at once tries no more than one after the other.
        const many = await Promise.all(
          Array.from({ length: 30 }, (_, i) =>
            auth('login', { email: 'eve@acme.example', password: `guess ${i}` }, through(`203.0.113.${100 + i}`)),
          ),
        )
        t.equal(many.filter(({ status }) => status === 401).length, 10)
        t.equal(many.filter(({ status }) => status === 429).length, 20)
        // The key of administration people may have thought of themselves: no guess of who guesses is looked at.
        const admin = (key: string, client: string): Promise<Answer> =>
          ask('GET', '/api/v1/admin/status', { key, ...through(client) })
        await Promise.all(Array.from({ length: 20 }, (_, i) => admin(`a guess of it, ${i}`, '203.0.113.50')))
        refused(await admin(ADMIN_KEY, '203.0.113.50'), 429, 'too_many_failures')
        t.equal((await admin(ADMIN_KEY, '203.0.113.51')).status, 200)

        const made = await ask('POST', '/api/v1/keys', { body: { name: 'from afar' }, ...through('198.51.100.8') })
        const { body } = await daemon.get('/api/v1/admin/audit?action=key.add&limit=1')
        t.match(JSON.parse(body).audit[0], { from: '198.51.100.8', changes: { key: made.json.id } })

        const keyless = (more: object): Promise<Answer> => ask('GET', '/api/v1/sms', { key: null, ...more })
        t.equal((await keyless({})).status, 200)
        for (const name of ['x-forwarded-for', 'forwarded', 'x-real-ip', 'via']) {
          refused(await keyless({ headers: { [name]: '127.0.0.1' } }), 401, 'key_missing', name)
        }
        refused(await keyless({ from: PROXY }), 401, 'key_missing', 'a proxy')
        t.equal(
          (await daemon.ask('POST', '/api/v1/auth/login', { email: 'a@b.example', password: 'x' })).status,
          401,
          'over the socket',
        )
      },
    )

    await t.test('what is told again says so', async t => {
      const body = { to: '+4915112345678', message: 'told twice', tags: ['a'], metadata: { b: 1 }, custom_id: 'c' }
      const from = new Date().toISOString()
      const testKey = (await ask('POST', '/api/v1/keys', { body: { kind: 'test' } })).json.key
      const { message_ids } = (await ask('POST', '/api/v1/sms/send', { key: testKey, body })).json
      const mine = () => told.told.filter(({ data }) => data.id === message_ids[0])
      let enough = told.told.length
      while (mine().length === 0) await told.first(++enough)
      t.match(mine()[0]?.data, { tags: ['a'], metadata: { b: 1 } })
      t.equal('replayed' in (mine()[0]?.data ?? {}), false)
      const [hook] = (await ask('GET', '/api/v1/webhooks')).json.webhooks
      const replayed = await ask('POST', `/api/v1/webhooks/${hook.id}/replay`, { body: { since: from } })
      t.equal(replayed.status, 200, replayed.text)
      while (mine().length < 2) await told.first(++enough)
      t.match(mine()[1]?.data, { custom_id: 'c', replayed: true })
      t.equal('tags' in (mine()[1]?.data ?? {}), false)
    })
  },
)
