// What keeps codes from numbers that earn money, and what keeps an outsider, an outage or another account from turning that
// against people; without a daemon but for the last.

import { join } from 'node:path'
import t from 'tap'
import type { Account } from '../src/accounts/account.js'
import { readOtpProfile } from '../src/accounts/otpProfile.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { Message, type MessageState, state } from '../src/model/message.js'
import { extrasOfWeb } from '../src/model/webExtras.js'
import { Guard, type PrefixBlock } from '../src/services/otp/guard.js'
import { isRefusal, type OtpHost, type OtpSettings } from '../src/services/otp/host.js'
import { SendCounts } from '../src/services/otp/limits.js'
import { Otp } from '../src/services/otp/otp.js'
import { Peppers } from '../src/services/otp/peppers.js'
import type { Channel, Session } from '../src/services/otp/session.js'
import { api } from './support/api.js'
import { KeptThings } from './support/kept.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { silent, temporaryDirectory } from './support/postgres.js'
import { smsc } from './support/smsc.js'

const START_MS = Date.UTC(2026, 10, 20, 12, 0, 0)
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const SETTINGS = { percent: 35, from: 50, graceMs: 180_000, blockMs: 12 * HOUR_MS }

const number = (n: number, prefix = '4915112'): string => `${prefix}${String(n).padStart(6, '0')}`

function guarded(settings: object = {}): { clock: ManualClock; kept: KeptThings; guard: Guard; again: () => Guard } {
  const clock = new ManualClock(START_MS)
  const kept = new KeptThings(clock)
  const again = (): Guard => new Guard(kept, { ...SETTINGS, ...settings })
  return { clock, kept, guard: again(), again }
}

t.test('the first block is half an hour, and each after it twice as long while it stays bad', async t => {
  const { clock, again, guard: first } = guarded({ from: 5, graceMs: 0, blockMs: 3 * HOUR_MS })
  let guard = first
  const pump = (): PrefixBlock => {
    for (;;) {
      const block = guard.sent(1, number(0), clock.now())
      if (block !== undefined) return block
    }
  }
  for (const minutes of [30, 60, 120, 180, 180]) {
    const block = pump()
    t.equal(block.untilMs - clock.now(), minutes * MINUTE_MS)
    guard = again()
    clock.setWall(block.untilMs)
    t.equal(guard.blocked(1, number(0), clock.now()), undefined, 'then it is over')
  }
  for (let n = 0; n < 5; n++) {
    guard.verified(1, number(0), clock.now())
    t.equal(guard.sent(1, number(0), clock.now()), undefined)
  }
  clock.advance(2 * HOUR_MS)
  t.equal(pump().untilMs - clock.now(), 30 * MINUTE_MS, 'and of one that was good again it is the first')
})

t.test('codes that never arrived speak against nobody, and end a block that they were the reason for', async t => {
  const { clock, guard, again } = guarded()
  const atMs = clock.now()
  for (let n = 0; n < 60; n++) guard.sent(1, number(n), atMs)
  for (let n = 0; n < 60; n++) guard.failed(1, number(n), atMs)
  for (let n = 0; n < 49; n++) guard.sent(1, number(n), atMs)
  clock.advance(5 * MINUTE_MS)
  t.equal(guard.sent(1, number(60), clock.now()), undefined, 'none of the sixty counts')
  t.match(guard.list(clock.now()), [])
  clock.advance(5 * MINUTE_MS)
  t.match(guard.sent(1, number(61), clock.now()), { sent: 50 }, 'those that arrived do')
  guard.failed(1, number(0), clock.now())
  t.ok(guard.blocked(1, number(0), clock.now()), 'one that was too young to be judged was no reason')
  const after = again()
  after.failed(1, number(0), atMs)
  t.equal(after.blocked(1, number(0), clock.now()), undefined, 'too few are left')
  t.match(again().list(clock.now()), [])

  const slow = guarded()
  for (let n = 0; n < 60; n++) slow.guard.sent(1, number(n), slow.clock.now())
  slow.clock.advance(5 * MINUTE_MS)
  t.ok(slow.guard.sent(1, number(60), slow.clock.now()), 'a carrier whose messages took five minutes')
  for (let n = 0; n < 20; n++) slow.guard.verified(1, number(n), START_MS)
  t.ok(slow.guard.blocked(1, number(0), slow.clock.now()))
  slow.guard.verified(1, number(20), START_MS)
  t.equal(slow.guard.blocked(1, number(0), slow.clock.now()), undefined, 'and were entered then')
})

t.test('a phone that is switched off buys no fresh start: what else was counted goes on to count', async t => {
  const { clock, guard } = guarded()
  const pump = (): number => {
    for (let n = 0; n < 1_000; n++) {
      if (guard.blocked(1, number(n), clock.now()) || guard.fullUntil(1, number(n), clock.now())) return n
      guard.sent(1, number(n), clock.now())
    }
    return 1_000
  }
  const atMs = clock.now()
  for (let n = 0; n < 50; n++) guard.sent(1, number(n), atMs)
  clock.advance(4 * MINUTE_MS)
  t.ok(guard.sent(1, number(50), clock.now()))
  clock.advance(4 * MINUTE_MS)
  guard.failed(1, number(0), atMs)
  t.equal(guard.blocked(1, number(0), clock.now()), undefined, '49 are too few')
  t.equal(pump(), 1)
  t.match(guard.list(clock.now()), [{ sent: 50, verified: 0 }], 'and one more is enough')
  guard.release(1, '4915112')
  t.equal(pump(), 499, 'whom somebody releases begins anew')
})

t.test('a dodge over many prefixes of a country is seen, and people of another country are not hit', async t => {
  const { clock, guard } = guarded()
  const blocks: PrefixBlock[] = []
  let sent = 0
  for (let minute = 0; minute < 180; minute++) {
    clock.advance(MINUTE_MS)
    for (let p = 0; p < 500; p++) {
      if ((minute + p) % 2 === 0) continue
      const to = number(minute, `9929${String(p).padStart(3, '0')}`)
      if (guard.blocked(1, to, clock.now()) !== undefined) continue
      const block = guard.sent(1, to, clock.now())
      sent++
      if (block !== undefined) blocks.push(block)
    }
    const person = number(minute, '4917000')
    guard.sent(1, person, clock.now())
    if (minute % 2 === 0) guard.verified(1, person, clock.now())
  }
  t.match(blocks[0], { prefix: '992' })
  t.ok(sent < 10_000, `${sent} of 45,000 went`)
  t.equal(guard.blocked(1, number(0, '4917000'), clock.now()), undefined)
  t.equal(guard.blocked(1, '12125551234', clock.now()), undefined)
})

t.test('of +1 an area is judged, not two dozen countries', async t => {
  const { clock, guard } = guarded({ graceMs: 0 })
  for (let n = 0; n < 2_000; n++) {
    const to = `1876${String(n).padStart(7, '0')}`
    if (guard.blocked(1, to, clock.now()) === undefined) guard.sent(1, to, clock.now())
  }
  for (let n = 0; n < 30; n++) {
    for (let m = 0; m < 40; m++) guard.sent(1, `1876${500 + n}${String(m).padStart(4, '0')}`, clock.now())
  }
  t.match(guard.blocked(1, '18769990000', clock.now()), { prefix: '1876' })
  t.equal(guard.blocked(1, '12129990000', clock.now()), undefined)
})

t.test('no more codes go to a prefix at once than people could enter, and what people enter makes room', async t => {
  const { clock, guard } = guarded()
  let sent = 0
  while (guard.fullUntil(1, number(sent), clock.now()) === undefined && sent < 10_000) {
    guard.sent(1, number(sent++), clock.now())
    clock.advance(17)
  }
  t.equal(sent, 500)
  const untilMs = guard.fullUntil(1, number(0), clock.now()) as number
  t.ok(untilMs > clock.now() && untilMs <= clock.now() + 180_000)
  t.equal(guard.fullUntil(1, number(0, '4915113'), clock.now()), undefined, 'of another prefix')
  t.equal(guard.fullUntil(2, number(0), clock.now()), undefined, 'of another account')
  let people = 0
  while (guard.fullUntil(3, number(people), clock.now()) === undefined && people < 20_000) {
    guard.sent(3, number(people), clock.now())
    if (people % 2 === 0) guard.verified(3, number(people), clock.now())
    people++
    clock.advance(2)
  }
  t.equal(people, 20_000, 'half of which were entered')
  const { guard: off } = guarded({ percent: 0 })
  for (let n = 0; n < 2_000; n++) off.sent(1, number(n), clock.now())
  t.equal(off.fullUntil(1, number(0), clock.now()), undefined, 'without a guard there is no such limit')
})

t.test('a restart forgets a minute of counts, and no account another’s; what is counted is written seldom', async t => {
  const { clock, kept, guard, again } = guarded()
  for (let minute = 0; minute < 8; minute++) {
    clock.advance(MINUTE_MS)
    for (let n = 0; n < 6; n++) guard.sent(1, number(n), clock.now())
  }
  t.equal(kept.writes, 16, 'once a minute for the prefix, and for its country')
  const after = again()
  clock.advance(4 * MINUTE_MS)
  for (let n = 0; n < 9; n++) after.sent(1, number(n), clock.now())
  t.equal(after.list(clock.now()).length, 0)
  clock.advance(4 * MINUTE_MS)
  t.match(after.sent(1, number(9), clock.now()), { sent: 43 + 9, verified: 0 }, 'five of the last minute are forgotten')

  const busy = guarded()
  for (let n = 0; n < 50; n++) busy.guard.sent(1, number(n), busy.clock.now())
  for (let n = 0; n < 30_000; n++) busy.guard.sent(2, `${4_000_000 + n}00000`, busy.clock.now())
  busy.clock.advance(4 * MINUTE_MS)
  t.match(busy.guard.sent(1, number(0), busy.clock.now()), { sent: 50 }, 'thirty thousand prefixes of another later')
})

t.test('a block of a release before ours holds, and the next one is longer', async t => {
  const { clock, kept, again } = guarded({ from: 5, graceMs: 0 })
  const untilMs = START_MS + MINUTE_MS
  const old = { account: 1, prefix: '4915112', sent: 60, verified: 0, atMs: START_MS, untilMs }
  kept.keep('otp b 1 4915112', Buffer.from(JSON.stringify(old)), untilMs)
  const guard = again()
  t.match(guard.blocked(1, number(0), clock.now()), old)
  clock.setWall(untilMs)
  let block: PrefixBlock | undefined
  while (block === undefined) block = guard.sent(1, number(0), clock.now())
  t.equal(block.untilMs - clock.now(), HOUR_MS)
})

t.test('a clock that was ahead and is put back leaves no prefix unwatched, and none blocked for longer', async t => {
  const { clock, guard } = guarded({ from: 5, graceMs: 0 })
  clock.advance(24 * HOUR_MS)
  for (let minute = 0; minute < 60; minute++) {
    guard.sent(1, number(0), clock.now())
    guard.verified(1, number(0), clock.now())
    clock.advance(MINUTE_MS)
  }
  for (let n = 0; n < 5; n++) guard.sent(1, number(0, '4915113'), clock.now())
  t.ok(guard.blocked(1, number(0, '4915113'), clock.now()))
  clock.setWall(START_MS)
  t.equal(guard.blocked(1, number(0, '4915113'), clock.now()), undefined)
  t.same(guard.list(clock.now()), [])
  for (let n = 0; n < 4; n++) guard.sent(1, number(n), clock.now())
  clock.advance(MINUTE_MS)
  t.match(guard.sent(1, number(4), clock.now()), { sent: 5, verified: 0 })
})

t.test('a number gets twenty codes a day over all accounts, and nobody is told of the others', async t => {
  const clock = new ManualClock(START_MS)
  const kept = new KeptThings(clock)
  const limits = { cooldownMs: 60_000, perHour: 5, perDay: 10, perDayInAll: 20, perAddressHour: 0 }
  const counts = new SendCounts(kept, limits)
  for (let account = 1; account <= 4; account++) {
    for (let n = 0; n < 5; n++) {
      t.equal(counts.to(account, '49151', clock.now()).over(true), undefined, `code ${n} of ${account}`)
      counts.to(account, '49151', clock.now()).count()
    }
  }
  const sends = counts.to(5, '49151', clock.now())
  t.match(sends.over(), { what: 'day', untilMs: START_MS + 24 * HOUR_MS })
  t.same(sends.left, { hour: 0, day: 0 })
  t.equal(counts.to(5, '49152', clock.now()).over(), undefined, 'another number')
  t.equal(
    new SendCounts(kept, { ...limits, perDay: 30 }).to(5, '49151', clock.now()).over(),
    undefined,
    'an account may send as many as it may',
  )
  t.equal(new SendCounts(kept, { ...limits, perDayInAll: 0 }).to(5, '49151', clock.now()).over(), undefined, 'no limit')
  clock.advance(24 * HOUR_MS)
  t.equal(counts.to(5, '49151', clock.now()).over(), undefined, 'on the next day')
})

interface Notice {
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
  readonly logged: Readonly<Record<string, unknown>> | undefined
}

/** Without a daemon: what it kept, and what it would do with messages. */
async function alone(settings: Partial<OtpSettings> = {}) {
  const clock = new ManualClock(START_MS)
  const kept = new KeptThings(clock)
  const peppers = await Peppers.open(join(temporaryDirectory(), 'otp.peppers'), clock)
  const account = { id: 1, otp: readOtpProfile({}), hooks: [] } as unknown as Account
  const messages: Message[] = []
  const notices: Notice[] = []
  const take = (m: Message): undefined => {
    m.id = messages.push(m)
  }
  const host = {
    spool: Object.assign(kept, {
      cancel: () => false,
      converted: () => true,
      synced: async () => {},
      event: () => true,
      find: () => undefined,
    }),
    door: {
      admit: () => undefined,
      refusal: () => undefined,
      preview: () => undefined,
      submitMail: take,
      creditKnown: async () => true,
      submitAdmitted: take,
    },
    store: { ready: false, query: () => Promise.reject(new Error('away')) },
    counters: new Counters(),
    log: silent,
    settings: {
      ...{ length: 6, expiryMs: 300_000, attempts: 3, attemptsMs: 600_000, keepDays: 90 },
      limits: { cooldownMs: 0, perHour: 1_000, perDay: 10_000, perDayInAll: 0, perAddressHour: 0 },
      guard: { percent: 35, from: 5, graceMs: 0, blockMs: 12 * HOUR_MS },
      ...settings,
    },
    ...{ clock, peppers, sandbox: false, postmaster: 'a@b.example', hostname: 'b.example' },
    templates: { render: () => Promise.reject(new Error('none')), used: () => {} },
    account: () => account,
    notice: (_, type, data, logged) => void notices.push({ type, data, logged }),
    learned: () => {},
    fault: error => t.fail(String(error)),
  } satisfies OtpHost
  const otp = new Otp(host)
  const asker = { account, isTest: false }
  const generate = async (phone: string, email = '', channels: readonly Channel[] = ['sms']): Promise<Session> => {
    const made = await otp.generate(asker, {
      ...{ phone, email, purpose: 'login', payee: '', amount: '', custom: '', template: null, metadata: null },
      workflow: channels.map(channel => ({ channel, timeoutMs: 30_000 })),
    })
    if (isRefusal(made)) throw new Error(made.code)
    return made.session
  }
  const end = (session: Session, id: number, how: MessageState): void => {
    const m = Object.assign(new Message(), { id, account: 1, carrier: 3 })
    m.extras = extrasOfWeb({ otp: session.id, sms_type: 'otp' }, [])
    otp.course.ended(m, { state: how, error: '', doneMs: clock.now() })
  }
  return { otp, asker, generate, end, messages, notices, clock }
}

t.test('messages that a carrier refuses block no prefix, and those that it loses sight of do', async t => {
  const { generate, end, messages } = await alone()
  for (const how of [state.REJECTED, state.UNDELIVERABLE, state.EXPIRED, state.DELETED]) {
    for (let n = 0; n < 4; n++) end(await generate(number(n)), messages.length, how)
  }
  for (const how of [state.UNKNOWN, state.ACCEPTED, state.DELIVERED, state.UNKNOWN]) {
    end(await generate(number(5)), messages.length, how)
  }
  await generate(number(6))
  await t.rejects(generate(number(7)), { message: 'otp_prefix_blocked' })
})

t.test('a message that never arrived is neither sent nor entered, when the code of the next one is', async t => {
  const { generate, end, messages, otp, asker } = await alone()
  const one = await generate(number(0))
  end(one, messages.length, state.UNDELIVERABLE)
  await otp.resend(asker, one.id)
  const code = /\d{6}/.exec(String(messages.at(-1)?.body))?.[0] as string
  t.match(await otp.checks.verify(asker, one.id, code, { purpose: 'login' }), { session: { status: 'verified' } })
  for (let n = 1; n < 5; n++) await generate(number(n))
  t.match(otp.blocks(), [{ sent: 5, verified: 1 }])
})

t.test('where a prefix gets none the next channel of a session is used, at the first step too', async t => {
  const { generate, otp, asker, messages } = await alone()
  for (let n = 0; n < 5; n++) await generate(number(n))
  await t.rejects(generate(number(6)), { message: 'otp_prefix_blocked' }, 'alone it is refused')
  const session = await generate(number(6), 'a@b.example', ['sms', 'email'])
  t.match(session.tries, [{ channel: 'sms', message: 0, status: 'failed', error: 'otp_prefix_blocked' }])
  t.match(await otp.next(asker, session.id), { step: 1 })
  t.equal(messages.at(-1)?.destination_addr, 'a@b.example')
})

t.test(
  'a destination with too many wrong codes gets none as a later step either, and no log has all of it',
  async t => {
    const { otp, asker, generate, notices, messages } = await alone({ attempts: 5, attemptsMs: 0 })
    for (let n = 0; n < 20; n++) {
      const { id } = await generate(number(1))
      const code = /\d{6}/.exec(String(messages.at(-1)?.body))?.[0] as string
      for (let m = 1; m <= 5; m++) await otp.checks.verify(asker, id, String((Number(code) + m) % 1_000_000), {})
      otp.guard.release(1, '4915112')
    }
    const [notice] = notices.filter(({ type }) => type === 'otp.destination_blocked')
    t.match(notice, { data: { to: number(1), failed: 100 }, logged: { to: '49********001' } })
    t.notMatch(JSON.stringify({ ...notice?.data, ...notice?.logged }), number(1))
    await t.rejects(generate(number(1)), { message: 'otp_destination_blocked' })
    const session = await generate(number(1), 'a@b.example', ['email', 'sms'])
    t.match(await otp.next(asker, session.id), { code: 'otp_destination_blocked' })
    t.equal(messages.at(-1)?.destination_addr, 'a@b.example')
  },
)

lodger('an account sees what of its own is blocked, and lets it go on', async t => {
  const carrier = await smsc(t)
  const keys = ['tl_shop_guard456789abcdef0123456789abcdef', 'tl_other_guard56789abcdef0123456789abcdef'] as const
  const lodging = await lodge(t, {
    accounts: { shop: { apiKey: keys[0] }, other: { apiKey: keys[1] } },
    carriers: { up: carrier },
  })
  await carrier.bound()
  const ask = (method: string, path: string, body?: object, key: string = keys[0]) =>
    api(lodging.daemon.admin)(method, `/api/v1/otp/${path}`, { key, ...(body === undefined ? {} : { body }) })
  const phone = (n: number): { phone_number: string } => ({ phone_number: `+4479999${String(n).padStart(5, '0')}` })
  t.match(await ask('GET', 'blocks'), { status: 200, json: { blocks: [] } })
  for (let n = 0; n < 8; n++) t.equal((await ask('POST', 'generate', phone(n))).status, 200)
  const refused = await ask('POST', 'generate', phone(8))
  t.match(refused, { status: 403, json: { code: 'otp_prefix_blocked' } })
  const afterS = Number(refused.headers['retry-after'])
  t.ok(afterS > 1_700 && afterS <= 1_800)
  t.match((await ask('GET', 'blocks')).json.blocks, [{ prefix: '4479999', sent: 8, verified: 0, until: /T/ }])
  t.match(await ask('GET', 'blocks', undefined, keys[1]), { json: { blocks: [] } }, 'not another’s')
  t.match(await ask('DELETE', 'blocks/4479999', undefined, keys[1]), { status: 404, json: { code: 'not_blocked' } })
  t.match(await ask('DELETE', 'blocks/4479999'), { status: 200, json: { prefix: '4479999' } })
  t.match(await ask('DELETE', 'blocks/4479999'), { status: 404 })
  t.equal((await ask('POST', 'generate', phone(9))).status, 200)
})

lodger('a number with too many wrong codes is released however it is written, and no log has all of it', async t => {
  const key = 'tl_shop_guess456789abcdef0123456789abcdef'
  const carrier = await smsc(t)
  const lodging = await lodge(t, {
    accounts: { shop: { apiKey: key, otp: { guard: false } } },
    carriers: { up: carrier },
  })
  await carrier.bound()
  const { daemon } = lodging
  const ask = (path: string, body: object) => api(daemon.admin)('POST', `/api/v1/otp/${path}`, { key, body })
  const phone_number = '+4915177345678'
  for (let n = 0, wrong = 0; wrong < 100; n++) {
    const { session_id } = (await ask('generate', { phone_number, purpose: `p${n}` })).json
    const code = Number(/\d{6}/.exec((await carrier.next()).text)?.[0])
    for (let by = 1; by <= 3 && wrong < 100; by++, wrong++) {
      const otp_code = String((code + by) % 1_000_000).padStart(6, '0')
      t.equal((await ask('verify', { session_id, otp_code, purpose: `p${n}` })).status, 422)
    }
  }
  const refused = { status: 403, json: { code: 'otp_destination_blocked' } }
  t.match(await ask('generate', { phone_number, purpose: 'last' }), refused)
  const line = daemon.log.find(({ type }) => type === 'otp.destination_blocked')
  t.match(line, { to: '49********678', failed: 100 })
  const release = { account: lodging.named('shop'), to: '+49 (0)151 77345678' }
  t.equal((await daemon.ask('POST', '/api/v1/admin/otp/release', release)).status, 200)
  t.match(await ask('generate', { phone_number, purpose: 'last' }), { status: 200 })
})

lodgersOn('prefixes of one-time passwords', {
  config: {
    admin: { listen: '127.0.0.1:0' },
    otp: { cooldownMs: 0, perHour: 1_000, perDay: 1_000, guardFrom: 8, guardGraceMs: 0 },
  },
})
