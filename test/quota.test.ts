// How much an account may send in a span of time: counted right, refused in each protocol's own words, told at 80 % and at
// 100 %, and remembered over a restart.

import fc from 'fast-check'
import t from 'tap'
import { noQuota, type Quota, Quotas, readQuota, storedQuota, quota as written } from '../src/accounts/quota.js'
import { ManualClock } from '../src/base/clock.js'
import { api, KEY } from './support/api.js'
import { esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { MailClient, mailOf } from './support/mailClient.js'
import { receiver } from './support/receiver.js'
import { smsc } from './support/smsc.js'

const START_MS = Date.UTC(2027, 0, 31, 23, 0, 0)
const HOUR_MS = 3_600_000

function counting(limits: Record<string, unknown>, kept = new Map<string, Buffer>(), startMs = START_MS) {
  const clock = new ManualClock(startMs)
  const told: string[] = []
  const host = {
    clock,
    kept: (key: string) => kept.get(key),
    keep: (key: string, octets: Buffer) => {
      kept.set(key, Buffer.from(octets))
      return true
    },
    notice: (_: number, type: string, data: Readonly<Record<string, unknown>>) =>
      void told.push(`${type.split('_').at(-1)} ${data.span} ${data.used}`),
  }
  const quotas = new Quotas(host)
  const account = { id: 7, quota: readQuota(limits) as Quota }
  /** How many of `n` are taken, one after the other. */
  const send = (n: number): number => {
    let taken = 0
    for (let i = 0; i < n; i++) {
      if (quotas.over(account, 1) !== undefined) continue
      quotas.count(account)
      taken++
    }
    return taken
  }
  return { clock, told, quotas, account, send, kept }
}

t.test('each span lets through what it may and begins anew at its end, the month too', async t => {
  t.equal(readQuota({}), noQuota, 'most accounts share one object')
  const { clock, quotas, account, send } = counting({ perMinute: 3, perHour: 5, perMonth: 7 })
  t.equal(send(4), 3)
  t.equal(quotas.over(account, 1), 'minute')
  clock.advance(60_000)
  t.equal(send(4), 2)
  t.equal(quotas.over(account, 1), 'hour')
  t.match(quotas.standing(account), [
    { span: 'minute', limit: 3, used: 2 },
    { span: 'hour', limit: 5, used: 5, resetMs: START_MS + HOUR_MS },
    { span: 'month', limit: 7, used: 5, resetMs: Date.UTC(2027, 1) },
  ])
  clock.advance(HOUR_MS - 60_000)
  t.equal(send(3), 3, 'the first of February: the month has begun anew')
  clock.advance(HOUR_MS)
  t.equal(send(3), 3)
  clock.advance(HOUR_MS)
  t.equal(send(3), 1)
  t.equal(quotas.over(account, 1), 'month')
})

t.test('many at once are lent by seconds and minutes, paid back, and refused by longer spans', async t => {
  const { clock, quotas, account } = counting({ perSecond: 10, perDay: 100 })
  t.equal(quotas.over(account, 101), 'day')
  t.equal(quotas.over(account, 35), undefined)
  quotas.count(account, 35)
  for (let second = 1; second <= 3; second++) {
    clock.advance(1_000)
    t.equal(quotas.over(account, 10), 'second', `${second} s later`)
  }
  clock.advance(1_000)
  t.equal(quotas.over(account, 10), undefined)
})

t.test('what a day and a month have used is there after a restart, and told once', async t => {
  const first = counting({ perDay: 10, perMonth: 15 })
  t.equal(first.send(9), 9)
  t.same(first.told, ['warning day 8'])
  first.quotas.write()
  const second = counting({ perDay: 10, perMonth: 15 }, first.kept)
  t.equal(second.send(9), 1)
  t.same(second.told, ['reached day 10'])
  second.clock.advance(24 * HOUR_MS)
  t.equal(second.send(9), 9, 'another day, another month')
  t.same(second.told.slice(1), ['warning day 8'])
  const raised = counting({ perDay: 20 }, first.kept)
  t.equal(raised.send(20), 11)
  t.same(raised.told, ['warning day 16', 'reached day 20'], 'a limit that was raised is told anew')
})

t.test('nothing is sent after the end, and clocks that go back open no span', async t => {
  const { clock, quotas, account, send } = counting({ perHour: 2, until: '2027-02-01T00:00:00Z' })
  t.equal(send(2), 2)
  clock.advance(HOUR_MS - 1)
  t.equal(quotas.over(account, 1), 'hour')
  clock.advance(1)
  t.equal(quotas.over(account, 1), 'until')
  const back = counting({ perHour: 2 })
  back.send(2)
  back.clock.advance(-HOUR_MS)
  t.equal(back.send(1), 0)
})

t.test('whatever comes when, no span takes more than its limit', async () => {
  const steps = fc.array(fc.tuple(fc.nat(5), fc.nat(40_000)), { maxLength: 60 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 20 }), steps, (perMinute, perHour, all) => {
      const { clock, send } = counting({ perMinute, perHour })
      const taken = new Map<string, number>()
      for (const [n, afterMs] of all) {
        clock.advance(afterMs)
        const count = send(n)
        for (const lengthMs of [60_000, HOUR_MS]) {
          const key = `${lengthMs} ${Math.floor(clock.now() / lengthMs)}`
          taken.set(key, (taken.get(key) ?? 0) + count)
        }
      }
      return [...taken].every(([key, count]) => count <= (key.startsWith('60000') ? perMinute : perHour))
    }),
  )
})

t.test('what is written is what is read', async t => {
  const limits = { perDay: 5, until: '2030-01-01T00:00:00Z' }
  t.same(storedQuota(written.parse(limits)), limits)
  t.same(storedQuota(written.parse({})), {})
  t.equal(written.safeParse({ perDay: 0 }).success, false)
})

story('a quota that is used up is refused on every port and told to webhooks, also after a restart', async t => {
  const carrier = await smsc(t)
  const told = await receiver(t)
  const daemon = await house(t, {
    accounts: {
      shop: { apiKey: KEY, limits: { perDay: 5 }, webhooks: [{ url: told.url, events: ['account.*'] }] },
      late: { apiKey: `${KEY}x`, limits: { until: '2020-01-01T00:00:00Z' } },
    },
    carriers: { up: carrier },
    config: {
      admin: { listen: '127.0.0.1:0' },
      smtp: { listen: '127.0.0.1:0' },
      webhooks: { allow: ['127.0.0.1'] },
    },
  })
  const bound = await esme(t, daemon.smpp)
  const answers = await bound.submitAll(3)
  t.same(new Set(answers.map(one => one.status)), new Set(['ESME_ROK']))
  const ask = api(daemon.admin)
  const body = { to: ['+4915112345671', '+4915112345672', '+4915112345673'], message: 'too many' }
  t.match(await ask('POST', '/api/v1/sms/send', { body }), { status: 429, json: { code: 'quota_exceeded' } })
  const { smtp } = await daemon.line('ready')
  const mail = await MailClient.ready(t, smtp as number)
  const three = body.to.map(number => `${number.slice(1)}@sms.localhost`)
  t.match(await mail.mail(mailOf('x'), three), /^452 4\.4\.5/, 'there is room for two recipients')
  await mail.say('RSET')
  t.match(await ask('POST', '/api/v1/sms/send', { body: { ...body, to: body.to.slice(0, 2) } }), { status: 200 })
  t.equal((await bound.submit()).status, 'ESME_RTHROTTLED')
  t.match(await mail.mail(mailOf('x')), /^452 4\.4\.5/)
  t.match(await ask('POST', '/api/v1/sms/send', { key: `${KEY}x`, body }), {
    status: 429,
    json: { code: 'quota_exceeded' },
  })

  const [warning, reached] = await told.first(2)
  t.match(warning, { type: 'account.quota_warning', data: { account: 'shop', span: 'day', limit: 5, percent: 80 } })
  t.match(reached, { type: 'account.quota_reached', data: { account: 'shop', span: 'day', limit: 5, used: 5 } })
  t.match(daemon.lines('a notice to an account'), [
    { type: 'account.quota_warning' },
    { type: 'account.quota_reached' },
  ])
  const shown = await daemon.get('/api/v1/admin/accounts/shop')
  t.match(JSON.parse(shown.body), { settings: { limits: { perDay: 5 } }, quota: [{ span: 'day', limit: 5, used: 5 }] })

  await daemon.restart()
  const again = await esme(t, daemon.smpp)
  t.equal((await again.submit()).status, 'ESME_RTHROTTLED', 'it is remembered')
  t.match(
    await daemon.ask('PATCH', '/api/v1/admin/accounts/shop', { set: { 'limits.perDay': 6 } }).then(one => one.status),
    200,
  )
  t.equal((await again.submit()).status, 'ESME_ROK', 'one more')
  t.equal((await again.submit()).status, 'ESME_RTHROTTLED')
})
