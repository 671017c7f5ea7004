// What people are told by mail where mails can leave: how to choose another password, what happened to their sessions, and
// that a quota comes to its end. A token stands in the mail and nowhere else.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { ownersWords, personWords, RESET } from '../src/daemon/noticeMails.js'
import { Notices } from '../src/daemon/notices.js'
import { type Answer, api, KEY } from './support/api.js'
import { house, story } from './support/house.js'
import { silent } from './support/postgres.js'
import { receiver, SECRET } from './support/receiver.js'
import { smsc } from './support/smsc.js'

const PASSWORD = 'correct horse battery'

t.test('a mail says what there is to do, and no notice that is none of a person’s becomes one', async t => {
  const data = { token: 'tlp_x', expires_at: '2027-01-01T00:00:00.000Z' }
  const linked = personWords('a@b.example', RESET, data, 'https://app.example/r?t={token}')
  t.match(linked?.text, /\n {2}https:\/\/app\.example\/r\?t=tlp_x\n/)
  t.match(personWords('a@b.example', RESET, data, null)?.text, /\n {2}tlp_x\n/)
  t.notMatch(linked?.subject, /tlp/)
  t.equal(personWords('a@b.example', 'message.delivered', {}, null), undefined)
  t.equal(ownersWords('shop', 'account.other', {}), undefined)
  const credit = { available: '1.5', threshold: '10', currency: 'EUR' }
  t.match(ownersWords('shop', 'account.credit_low', credit), {
    subject: 'shop: 1.5 EUR of credit are left',
    text: /has 1\.5 EUR of credit left, less than 10 EUR/,
  })
  t.match(ownersWords('shop', 'account.credit_exhausted', credit), {
    subject: 'shop: the credit is used up',
    text: /1\.5 EUR are left[\s\S]*refused until it is topped up/,
  })
})

t.test('what else is mailed to somebody, whoever brings it about, holds no token back', async t => {
  const to: string[] = []
  const counters = new Counters()
  const notices = new Notices({
    ...{ counters, log: silent, clock: new ManualClock(0), resetUrl: null },
    mail: async ({ subject }: { subject: string }) => to.push(subject) > 0,
    store: { query: async () => ({ rows: [] }) },
  } as never)
  for (let n = 0; n < 20; n++) notices.notifyPerson('a@b.example', 'user.registered_again', {})
  for (let n = 0; n < 6; n++) notices.notifyPerson('a@b.example', RESET, { token: `tlp_${n}`, expires_at: '' })
  await new Promise(resolve => setImmediate(resolve))
  t.equal(to.filter(subject => subject === 'Another password').length, 5)
  t.equal(to.length, 10)
  t.equal(counters.get('notice_mails_held'), 16)
})

story('a token for another password goes by mail and nowhere else, and owners hear of quotas', async t => {
  const told = await receiver(t)
  const carrier = await smsc(t)
  const events = ['user.password_reset', 'user.registered_again', 'account.quota_reached']
  const daemon = await house(t, {
    accounts: {
      shop: {
        ...{ apiKey: KEY, organisation: 'Acme', limits: { perDay: 2 } },
        webhooks: [{ url: told.url, secret: SECRET, events }],
      },
    },
    carriers: { up: carrier },
    config: {
      admin: { listen: '127.0.0.1:0' },
      smtp: { catch: true, hostname: 'mx.example.com', smsDomains: ['sms.example.com'] },
      people: { register: 'open', resetUrl: 'https://app.example/reset?token={token}' },
      webhooks: { allow: ['127.0.0.0/8'] },
    },
  })
  const ask = api(daemon.admin)
  const auth = (path: string, body: object): Promise<Answer> => ask('POST', `/api/v1/auth/${path}`, { key: null, body })
  const local = async (method: string, path: string, body?: object) =>
    JSON.parse((await daemon.ask(method, `/api/v1/admin${path}`, body)).body)
  interface Caught {
    id: string
    to: string
    subject: string
    from: string
  }
  /** Those to an address, once there are so many. */
  const mails = async (to: string, count: number): Promise<Caught[]> => {
    for (;;) {
      const found = (await local('GET', '/catch')).mails.filter((one: Caught) => one.to === to)
      if (found.length >= count) return found
    }
  }
  const user = (email: string, more: object = {}) =>
    local('POST', '/users', { email, password: PASSWORD, organisation: 'Acme', role: 'owner', ...more })
  await user('ann@acme.example')
  await user('ops@acme.example', { operator: true, role: 'viewer' })
  await user('15550001@sms.example.com', { role: 'viewer' })

  t.equal((await auth('password-reset/request', { email: 'ann@acme.example' })).status, 202)
  const [mail] = await mails('ann@acme.example', 1)
  t.match(mail, { subject: 'Another password', from: 'postmaster@mx.example.com' })
  const shown = await local('GET', `/catch/${mail?.id}`)
  const token = /https:\/\/app\.example\/reset\?token=(tlp_[\w-]+)/.exec(shown.text)?.[1] ?? ''
  t.match(shown.headers.join('\n'), /Auto-Submitted: auto-generated/)
  t.equal((await auth('password-reset/confirm', { token, password: 'another password' })).status, 200)
  t.equal((await auth('login', { email: 'ann@acme.example', password: 'another password' })).status, 200)

  // An operator too; and a phone, which is sent no mail, has the webhook that was there before.
  await auth('password-reset/request', { email: 'ops@acme.example' })
  const [first] = await mails('ops@acme.example', 1)
  t.match(first, { subject: 'Another password' })
  await auth('password-reset/request', { email: '15550001@sms.example.com' })
  t.match((await told.first(1))[0], { type: 'user.password_reset', data: { email: '15550001@sms.example.com' } })

  // Who asks again and again fills nobody's mailbox.
  for (let n = 0; n < 8; n++) await auth('password-reset/request', { email: 'ops@acme.example' })
  await auth('register', { email: 'ann@acme.example', password: PASSWORD })
  t.match((await told.first(2))[1], { type: 'user.registered_again', data: { email: 'ann@acme.example' } })
  t.equal((await mails('ann@acme.example', 2)).length, 2)
  while ((await daemon.metric('trunkline_events_total', { name: 'password_resets_held' })) < 4) {}
  t.equal((await mails('ops@acme.example', 5)).length, 5)
  // And takes from nobody what they were told: the first token is good, and none of the others then.
  const tokens = await Promise.all(
    (await mails('ops@acme.example', 5)).map(
      async ({ id }) => /token=(tlp_[\w-]+)/.exec((await local('GET', `/catch/${id}`)).text)?.[1] ?? '',
    ),
  )
  const oldest = /token=(tlp_[\w-]+)/.exec((await local('GET', `/catch/${first?.id}`)).text)?.[1] ?? ''
  t.equal(new Set(tokens).size, 5)
  t.match(JSON.parse((await daemon.ask('POST', '/api/v1/admin/users/ops@acme.example/reset', {})).body), {
    token: /^tlp_/,
  })
  const confirm = (token: string) => auth('password-reset/confirm', { token, password: 'another password' })
  t.equal((await confirm(oldest)).status, 200)
  for (const token of tokens) t.equal((await confirm(token)).status, 422, 'used up')

  // The day's last message.
  for (const to of ['+4915112345678', '+4915112345679']) {
    t.equal((await ask('POST', '/api/v1/sms/send', { body: { to, message: 'x' } })).status, 200)
  }
  t.match((await told.first(3))[2], { type: 'account.quota_reached' })
  const all = await mails('ann@acme.example', 3)
  t.match(
    all
      .map(one => one.subject)
      .sort()
      .at(-1),
    /^shop: the quota of the day is used up/,
  )

  t.equal(told.told.length, 3, 'no webhook has heard of a token that went by mail')
  t.notMatch(JSON.stringify(daemon.log), /tlp_/)
  const rows = await daemon.history(rows => rows.filter(({ kind }) => kind === 'e').length >= 2)
  t.notMatch(JSON.stringify(rows), /tlp_/)
  t.notMatch(readFileSync(join(daemon.dir, 'trunkline.yaml'), 'utf8'), /tlp_/)
  t.notMatch(JSON.stringify((await local('GET', '/audit')).audit), /tlp_/)
})
