// People: they log in and out, their tokens are good once, their roles hold, and nobody learns who is registered. Programs
// get tokens for their keys.

import t from 'tap'
import { scopesOf } from '../src/accounts/keys.js'
import { scopesOfRole } from '../src/accounts/people.js'
import { Busy, PeoplePasswords } from '../src/accounts/peoplePasswords.js'
import { looksLikeToken, PeopleTokens } from '../src/accounts/peopleTokens.js'
import { Secrets } from '../src/accounts/secrets.js'
import { ManualClock } from '../src/base/clock.js'
import { type Answer, api, KEY } from './support/api.js'
import { house, story, trunkline } from './support/house.js'
import { receiver, SECRET } from './support/receiver.js'
import { smsc } from './support/smsc.js'

const PASSWORD = 'correct horse battery'
/** All of an answer but what names the request. */
const seen = ({ status, json: { request_id: _, ...json } }: Answer): object => ({ status, json })

t.test('a token is good until its time is over, under its own key, unchanged', async t => {
  const clock = new ManualClock(Date.UTC(2027, 0, 1))
  const tokens = new PeopleTokens(new Secrets(Buffer.alloc(32, 1)).signing, clock)
  const others = new PeopleTokens(new Secrets(Buffer.alloc(32, 2)).signing, clock)
  const token = await tokens.sign({ kind: 'person', session: 'abc' })
  t.equal(looksLikeToken(token), true)
  t.equal(looksLikeToken(KEY), false)
  t.same(await tokens.read(token), { kind: 'person', session: 'abc' })
  const key = await tokens.sign({ kind: 'key', hash: 'ff', scopes: ['messages:read'] })
  t.same(await tokens.read(key), { kind: 'key', hash: 'ff', scopes: ['messages:read'] })
  t.equal(await others.read(token), undefined)
  const [head = '', body = '', signature = ''] = token.split('.')
  const other = (json: object): string => Buffer.from(JSON.stringify(json)).toString('base64url')
  t.equal(await tokens.read(`${head}.${other({ sid: 'abd', exp: 9e9 })}.${signature}`), undefined)
  t.equal(await tokens.read(`${other({ alg: 'none' })}.${body}.`), undefined)
  clock.advance(599_000)
  t.ok(await tokens.read(token))
  clock.advance(1_000)
  t.equal(await tokens.read(token), undefined)
})

t.test('each role may do no more than the one before it, and administration takes an operator', async t => {
  const may = (role: Parameters<typeof scopesOfRole>[0], operator = false): string[] =>
    scopesOf(scopesOfRole(role, operator))
  t.same(may('viewer'), ['messages:read', 'webhooks:read', 'templates:read', 'account:read'])
  t.same(
    may('developer').filter(scope => !may('viewer').includes(scope)),
    ['messages:send', 'webhooks:write', 'otp:write', 'templates:write'],
  )
  t.same(
    may('admin').filter(scope => !may('developer').includes(scope)),
    ['billing:read', 'account:write'],
  )
  t.same(may('owner'), may('admin'))
  t.same(
    may('viewer', true).filter(scope => scope.startsWith('admin:')),
    ['admin:read', 'admin:write'],
  )
})

t.test('passwords are checked one at a time, and not without end', async t => {
  const passwords = new PeoplePasswords()
  const hash = await passwords.hash(PASSWORD)
  t.match(hash, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  t.equal(await passwords.verify(PASSWORD, hash), true)
  t.equal(await passwords.verify('wrong', hash), false)
  t.equal(await passwords.verify('nobody has this password', null), false)
  const many = Array.from({ length: 60 }, () => passwords.verify('x', 'no hash').catch(error => error instanceof Busy))
  t.equal((await Promise.all(many)).filter(one => one === true).length >= 10, true)
})

story('people log in, their sessions end when they should, and programs get tokens for their keys', async t => {
  const told = await receiver(t)
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: {
      shop: {
        apiKey: KEY,
        organisation: 'Acme',
        webhooks: [{ url: told.url, secret: SECRET, events: ['user.password_reset', 'user.session_revoked'] }],
      },
      all: { organisation: 'Acme', webhooks: [{ url: `${told.url}/all`, secret: SECRET }] },
    },
    carriers: { up: carrier },
    config: {
      admin: { listen: '127.0.0.1:0' },
      people: { register: 'open' },
      webhooks: { allow: ['127.0.0.1'] },
    },
  })
  const ask = api(daemon.admin)
  const run = (...args: string[]) => trunkline(['--config', daemon.configFile, ...args])
  const auth = (path: string, body: object, key: string | null = null): Promise<Answer> =>
    ask('POST', `/api/v1/auth/${path}`, { key, body })
  const login = (email: string, password = PASSWORD): Promise<Answer> => auth('login', { email, password })

  // Whoever registers again sees what whoever registers sees.
  const wanted = { email: 'Ann@acme.example', password: PASSWORD, name: 'Ann', organisation: 'Ann & Co' }
  const first = await auth('register', wanted)
  const again = await auth('register', { ...wanted, password: 'another password' })
  t.match(first, { status: 201 })
  t.same(seen(again), seen(first))
  t.match(await auth('register', { ...wanted, password: 'short' }), { status: 422 })
  const ann = (await login('ann@acme.example')).json
  t.match(ann, { token_type: 'Bearer', expires_in: 600 })
  t.match((await login('ann@acme.example', 'another password')).status, 401, 'nor is the password another')
  const me = await ask('GET', '/api/v1/auth/me', { key: ann.access_token })
  t.match(me.json, { kind: 'person', email: 'ann@acme.example', role: 'owner', organisation: 'Ann & Co', accounts: [] })
  t.match(await ask('GET', '/api/v1/sms', { key: ann.access_token }), { status: 403, json: { code: 'no_account' } })

  const unknown = await login('nobody@acme.example')
  const wrong = await login('ann@acme.example', 'wrong')
  t.same(seen(unknown), seen(wrong), 'unknown and wrong are the same')

  // Administrators put her where she belongs.
  t.match(await run('user', 'role', 'ann@acme.example', 'developer', '--organisation', 'Acme'), { code: 0 })
  t.match(await ask('GET', '/api/v1/sms', { key: ann.access_token }), {
    status: 422,
    json: { code: 'account_missing' },
  })
  const headers = { 'x-account': 'shop' }
  const asAnn = (method: string, path: string, body?: object): Promise<Answer> =>
    ask(method, path, { key: ann.access_token, headers, ...(body === undefined ? {} : { body }) })
  t.equal((await asAnn('POST', '/api/v1/sms/send', { to: '+4915112345678', message: 'by Ann' })).status, 200)
  t.match(await asAnn('POST', '/api/v1/keys', {}), { status: 403, json: { code: 'scope_missing' } })
  t.match(await asAnn('GET', '/api/v1/admin/status'), { status: 403, json: { code: 'scope_missing' } })
  t.match(await run('user', 'role', 'ann@acme.example', 'admin', '--operator'), { code: 0 })
  const made = await asAnn('POST', '/api/v1/keys', { name: 'by Ann', scopes: ['messages:*'] })
  t.equal(made.status, 201, 'a role holds at once')
  t.equal((await asAnn('POST', '/api/v1/admin/accounts/all/suspend', { reason: 'a test' })).status, 200)
  const audit = (await asAnn('GET', '/api/v1/admin/audit?limit=2')).json.audit
  t.match(audit[0], { who: 'ann@acme.example', action: 'account.suspend', subject: 'all', reason: 'a test' })
  t.match(audit[1], { who: 'ann@acme.example', action: 'key.add', subject: 'shop', from: '127.0.0.1' })

  // A refresh token is good once.
  const refresh = (refresh_token: string): Promise<Answer> => auth('refresh', { refresh_token })
  const second = await refresh(ann.refresh_token)
  t.equal(second.status, 200)
  const third = await refresh(second.json.refresh_token)
  t.match(await refresh(ann.refresh_token), { status: 401, json: { code: 'token_refused' } })
  t.match((await refresh(third.json.refresh_token)).status, 401, 'the whole family ends')
  t.match((await ask('GET', '/api/v1/auth/me', { key: third.json.access_token })).status, 401, 'access tokens too')
  t.match((await told.first(1))[0], { type: 'user.session_revoked', data: { email: 'ann@acme.example' } })
  t.equal((await refresh(`tlr_${'0'.repeat(32)}_${'x'.repeat(32)}`)).status, 401)

  const once = (await login('ann@acme.example')).json
  t.equal((await auth('logout', { refresh_token: once.refresh_token })).status, 200)
  t.equal((await ask('GET', '/api/v1/auth/me', { key: once.access_token })).status, 401)
  t.equal((await refresh(once.refresh_token)).status, 401)

  // Another password.
  await auth('password-reset/request', { email: 'ann@acme.example' })
  t.match(await run('user', 'role', 'ann@acme.example', 'admin', '--no-operator'), { code: 0 })
  const asked = await auth('password-reset/request', { email: 'ann@acme.example' })
  const askedNobody = await auth('password-reset/request', { email: 'nobody@acme.example' })
  t.same(seen(asked), seen(askedNobody))
  const reset = (await told.first(2))[1]
  t.equal(told.told.length, 2, 'an operator’s token goes to no webhook')
  t.match(await run('user', 'role', 'ann@acme.example', 'admin', '--operator'), { code: 0 })
  t.match(reset, { type: 'user.password_reset', isSigned: true, data: { email: 'ann@acme.example', token: /^tlp_/ } })
  const open = (await login('ann@acme.example')).json
  const confirm = (token: string): Promise<Answer> =>
    auth('password-reset/confirm', { token, password: 'a new and long one' })
  t.equal((await confirm(reset?.data.token)).status, 200)
  t.equal((await confirm(reset?.data.token)).status, 422, 'good once')
  t.equal((await login('ann@acme.example')).status, 401)
  t.equal((await ask('GET', '/api/v1/auth/me', { key: open.access_token })).status, 401, 'other sessions end')
  const renewed = (await login('ann@acme.example', 'a new and long one')).json
  const printed = await run('user', 'reset', 'ann@acme.example', '--json')
  t.match(JSON.parse(printed.stdout), { token: /^tlp_/ })
  t.notMatch(JSON.stringify(daemon.log), /tlp_|tlr_|horse/, 'and none of it is in the log')

  // A token for a key.
  const form = (fields: Record<string, string>, headers = {}): Promise<Answer> =>
    ask('POST', '/api/v1/auth/token', {
      ...{ key: null, headers, type: 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(fields).toString(),
    })
  const { id, key } = made.json
  const client = { grant_type: 'client_credentials', client_id: String(id), client_secret: key }
  const granted = await form({ ...client, scope: 'messages:read' })
  t.match(granted.json, { token_type: 'Bearer', expires_in: 600, scope: 'messages:read' })
  const basic = { authorization: `Basic ${Buffer.from(`${id}:${key}`).toString('base64')}` }
  const whole = await form({ grant_type: 'client_credentials' }, basic)
  t.match(whole.json, { scope: 'messages:send messages:read' })
  const bearer = (answer: Answer): Promise<Answer> => ask('GET', '/api/v1/sms', { key: answer.json.access_token })
  t.equal((await bearer(granted)).status, 200)
  const body = { to: '+4915112345678', message: 'by a token' }
  t.match(await ask('POST', '/api/v1/sms/send', { key: granted.json.access_token, body }), { status: 403 })
  t.equal((await ask('POST', '/api/v1/sms/send', { key: whole.json.access_token, body })).status, 200)
  t.match(await form({ ...client, grant_type: 'password' }), { status: 400, json: { error: 'unsupported_grant_type' } })
  t.match(await form({ ...client, scope: 'everything' }), { status: 400, json: { error: 'invalid_scope' } })
  t.equal((await form({ ...client, client_id: '999' })).status, 401)
  t.equal((await ask('DELETE', `/api/v1/keys/${id}`)).status, 200)
  t.equal((await bearer(granted)).status, 401, 'a key that is revoked takes its tokens along')

  // Users by command.
  t.match(await run('user', 'suspend', 'ann@acme.example', '--reason', 'left'), { code: 0 })
  t.equal((await ask('GET', '/api/v1/auth/me', { key: renewed.access_token })).status, 401)
  t.equal((await login('ann@acme.example', 'a new and long one')).status, 401)
  t.match(await run('user', 'add', 'bob@acme.example', '--role', 'viewer'), { code: 0, stdout: /user reset/ })
  const listed = JSON.parse((await run('user', 'list', '--search', 'ACME', '--json')).stdout)
  t.match(listed, [
    { email: 'ann@acme.example', suspended: 'left', operator: true },
    { email: 'bob@acme.example', has_password: false, organisation: null },
  ])
  t.match(await run('user', 'remove', 'bob@acme.example', '--yes'), { code: 0 })
  t.match(await run('user', 'role', 'bob@acme.example', 'owner'), { code: 1, stderr: /there is no user/ })

  // Guessing.
  await Promise.all(Array.from({ length: 10 }, (_, i) => login('eve@acme.example', `guess ${i}`)))
  t.equal((await login('eve@acme.example')).status, 429, 'whoever guesses is not heard for a while')
  t.equal((await login('ann@acme.example', 'a new and long one')).status, 401, 'others are')
})
