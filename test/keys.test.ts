// API keys: what each may do, from where and until when; how they are made, replaced and taken back, over HTTP and by
// command; what they are where mail and administration ask for one.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { hasScope, hasScopes, scopeSet, scopes, scopesOf, scopeWords } from '../src/accounts/keys.js'
import { type Answer, api, KEY } from './support/api.js'
import { house, story, trunkline } from './support/house.js'
import { MailClient, plain } from './support/mailClient.js'
import { smsc } from './support/smsc.js'

t.test('a list of scopes covers what it names and nothing else', async t => {
  for (const word of scopeWords) {
    const covered = scopesOf(scopeSet([word]))
    const wanted = scopes.filter(scope => scope === word || word === `${scope.split(':', 1)[0]}:*`)
    t.same(covered, wanted, word)
  }
  t.same(
    scopesOf(scopeSet([])),
    scopes.filter(scope => !scope.startsWith('admin:')),
    'none: all of an account, and no administration',
  )
  t.equal(scopeSet(['contacts:read', 'admin']), 0, 'words of another release cover nothing')
  t.equal(hasScope(scopeSet(['messages:*']), 'messages:read'), true)
  t.equal(hasScopes(scopeSet(['messages:*']), scopeSet(['messages:send', 'otp:write'])), false)
})

story('a key does what its scopes say, from where and until when they say, and no more', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: { apiKey: KEY }, other: { apiKey: `${KEY}x` } },
    carriers: { up: carrier },
    config: { admin: { listen: '127.0.0.1:0' }, smtp: { listen: '127.0.0.1:0' }, smpp: { failedBindDelayMs: 0 } },
  })
  const ask = api(daemon.admin)
  const made = async (body: object, key = KEY): Promise<Answer> => ask('POST', '/api/v1/keys', { body, key })
  const refused = (answer: Answer, status: number, code: string, what = code): void => {
    t.match(answer, { status, json: { code } }, `${what}: ${answer.text}`)
  }
  const body = { to: '+4915112345678', message: 'of a key' }

  const reader = await made({ name: 'reader', scopes: ['messages:read'] })
  t.match(reader, { status: 201, json: { account: 'shop', name: 'reader', kind: 'live', last_used_at: null } })
  const { key, id } = reader.json
  t.match(key, /^tl_shop_[0-9a-f]{32}$/)
  t.equal((await ask('GET', '/api/v1/sms', { key })).status, 200)
  refused(await ask('POST', '/api/v1/sms/send', { key, body }), 403, 'scope_missing')
  refused(await made({}, key), 403, 'scope_missing', 'a key that may not make keys')
  const maker = (await made({ scopes: ['account:write', 'messages:read'] })).json
  refused(await made({ scopes: ['messages:*'] }, maker.key), 403, 'scope_missing', 'more than it has')
  refused(await made({ scopes: ['admin:read'] }), 403, 'scope_missing', 'administration')
  t.same((await made({}, maker.key)).json.scopes, ['messages:read', 'account:write'], 'what is left out is its own')
  refused(
    await ask('POST', `/api/v1/keys/${(await made({})).json.id}/rotate`, { key: maker.key, body: {} }),
    403,
    'scope_missing',
  )
  refused(await made({ scopes: ['everything'] }), 422, 'invalid')
  refused(await made({ scopes: [] }), 422, 'invalid')
  refused(await made({ expires_at: '2020-01-01T00:00:00Z' }), 422, 'invalid')
  const far = (await made({ allow_from: ['192.0.2.0/24'] })).json
  refused(await ask('GET', '/api/v1/sms', { key: far.key }), 403, 'address_refused')
  const test = (await made({ kind: 'test' })).json
  t.match(test.key, /^tl_test_shop_/)
  refused(await made({}, test.key), 403, 'test_key', 'a live key by one for tests')
  refused(await ask('POST', `/api/v1/keys/${id}/rotate`, { key: test.key, body: {} }), 403, 'test_key')
  t.match(await made({ kind: 'test' }, test.key), { status: 201, json: { kind: 'test' } })

  const list = await ask('GET', '/api/v1/keys?limit=2')
  t.equal(list.json.keys.length, 2)
  t.equal((await ask('GET', `/api/v1/keys?after=${list.json.next}`)).json.keys[0].id > list.json.next, true)
  t.notMatch(list.text, key, 'a key is shown once')

  // Another in its place: both are good for as long as was said.
  const rotated = await ask('POST', `/api/v1/keys/${id}/rotate`, { body: { overlap_s: 3_600 } })
  t.match(rotated, { status: 201, json: { key: { scopes: ['messages:read'], name: 'reader' }, old: { id } } })
  const ends = Date.parse(rotated.json.old.expires_at) - Date.now()
  t.ok(ends > 3_500_000 && ends <= 3_600_000, `the old one ends in an hour, not in ${ends} ms`)
  const second = rotated.json.key
  for (const one of [key, second.key]) t.equal((await ask('GET', '/api/v1/sms', { key: one })).status, 200)
  const again = await ask('POST', `/api/v1/keys/${second.id}/rotate`, { body: { overlap_s: 0 } })
  refused(await ask('GET', '/api/v1/sms', { key: second.key }), 401, 'key_expired')
  refused(await ask('POST', `/api/v1/keys/${second.id}/rotate`, { body: {} }), 422, 'invalid', 'an expired key')
  refused(await ask('DELETE', `/api/v1/keys/${again.json.key.id}`, { key: `${KEY}x` }), 404, 'no_key', 'another’s')
  t.equal((await ask('DELETE', `/api/v1/keys/${again.json.key.id}`)).status, 200)
  refused(await ask('GET', '/api/v1/sms', { key: again.json.key.key }), 401, 'key_refused', 'revoked')

  // As a password of mail.
  const sender = (await made({ scopes: ['messages:send'] })).json
  const { smtp } = await daemon.line('ready')
  const mail = async (password: string): Promise<string> => {
    const client = await MailClient.ready(t, smtp as number, null)
    return (await client.say(`AUTH PLAIN ${plain('shop', password)}`)).slice(0, 3)
  }
  t.equal(await mail(sender.key), '235')
  for (const one of [key, second.key, far.key, test.key]) t.equal(await mail(one), '535', 'not to send, not from here')

  // As an administrator's.
  const near = async (method: string, path: string, given?: unknown) => {
    const { status, body } = await daemon.ask(method, path, given)
    return { status, json: JSON.parse(body) }
  }
  const ops = (await near('POST', '/api/v1/admin/keys', { account: 'shop', scopes: ['admin:read'] })).json
  t.equal((await ask('GET', '/api/v1/admin/status', { key: ops.key })).status, 200)
  refused(await ask('POST', '/api/v1/admin/keys', { key: ops.key, body: { account: 'shop' } }), 403, 'scope_missing')
  refused(await ask('GET', '/api/v1/sms', { key: ops.key }), 403, 'scope_missing', 'administration is no account')
  refused(await ask('GET', '/api/v1/admin/status', { key: KEY }), 403, 'scope_missing', 'an account’s key')
  const chief = (await near('POST', '/api/v1/admin/keys', { account: 'shop', scopes: ['admin:write'] })).json
  refused(
    await ask('POST', '/api/v1/admin/keys', { key: chief.key, body: { account: 'shop', scopes: ['admin:*'] } }),
    403,
    'scope_missing',
    'more than it has',
  )
  t.equal((await ask('POST', '/api/v1/admin/keys', { key: chief.key, body: { account: 'other' } })).status, 201)
  t.match(await near('POST', '/api/v1/admin/keys', { account: 'nobody' }), {
    status: 404,
    json: { code: 'no_account' },
  })
  const audit = (await near('GET', '/api/v1/admin/audit?action=key.')).json.audit
  t.match(audit[0], { who: `key ${chief.id} of shop`, action: 'key.add', subject: 'other' })
  t.match(audit.at(-1), {
    who: /^key \d+ of shop$/,
    from: '127.0.0.1',
    changes: { key: id, scopes: ['messages:read'] },
  })
  t.notMatch(JSON.stringify(audit), key)

  // By command; and a key that was exported is the same key.
  const run = (...args: string[]) => trunkline(['--config', daemon.configFile, ...args])
  const added = await run('key', 'add', 'shop', '--scope', 'messages:send', '--expires', '90d', '--json')
  t.match(JSON.parse(added.stdout), { account: 'shop', scopes: ['messages:send'], key: /^tl_shop_/ }, added.stderr)
  const exported = await run('export')
  t.match(exported.stdout, /scopes:\n +- messages:send/)
  writeFileSync(join(daemon.dir, 'exported.yaml'), exported.stdout)
  const applied = await run('apply', join(daemon.dir, 'exported.yaml'), '--json')
  t.match(
    JSON.parse(applied.stdout),
    { accounts: { created: 0, updated: 0, removed: 0 } },
    'applied, it changes nothing',
  )
  t.notMatch(await run('key', 'revoke', String(JSON.parse(added.stdout).id)), { code: 1 })
  await daemon.restart()
  const rows = JSON.parse((await run('key', 'list', 'shop', '--json')).stdout) as { id: number; last_used_at: string }[]
  t.match(
    rows.find(one => one.id === id)?.last_used_at,
    /^20/,
    'when it was used last is written at the stop at the latest',
  )
  t.equal(rows.find(one => one.id === far.id)?.last_used_at, null, 'a key that was refused was not used')
  t.equal(
    rows.some(one => one.id === again.json.key.id),
    false,
  )
})
