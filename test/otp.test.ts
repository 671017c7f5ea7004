// What codes are made of and what keeps them back, without a daemon: words, formats, texts, limits, the guard, peppers.

import {
  existsSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { isGsm } from '../protocols/gsm/alphabet.js'
import { countSegmentsOfText } from '../protocols/gsm/segment.js'
import type { Account } from '../src/accounts/account.js'
import { languages, otpProfile, readOtpProfile, storedOtpProfile } from '../src/accounts/otpProfile.js'
import { generateBody } from '../src/admin/api/otpShapes.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { creditPending } from '../src/intake/submit.js'
import { type Fault, fault } from '../src/model/fault.js'
import { excerpt, isOfOtp, Message, recordSize, state, writeRecord } from '../src/model/message.js'
import { extrasOfWeb } from '../src/model/webExtras.js'
import { LENGTHS, newCode, plainCode } from '../src/services/otp/codes.js'
import { Guard } from '../src/services/otp/guard.js'
import { type CodeOutcome, isRefusal, type OtpSettings, type OtpTemplates } from '../src/services/otp/host.js'
import { SendCounts } from '../src/services/otp/limits.js'
import { Otp } from '../src/services/otp/otp.js'
import { Peppers } from '../src/services/otp/peppers.js'
import {
  type Binding,
  type Channel,
  carriedBy,
  isCode,
  newSessionId,
  type Session,
  tagOf,
} from '../src/services/otp/session.js'
import { type Wording, withSuffix, wordsFor } from '../src/services/otp/texts.js'
import { masked, Told } from '../src/services/otp/told.js'
import { words } from '../src/services/otp/words.js'
import { KeptThings } from './support/kept.js'
import { silent, temporaryDirectory } from './support/postgres.js'

const START_MS = Date.UTC(2026, 10, 20, 12, 0, 0)
const HOUR_MS = 3_600_000

const SESSION: Session = {
  ...{
    id: newSessionId(START_MS),
    account: 1,
    isTest: false,
    isSandboxed: false,
    destination: '4915112345678',
    purpose: 'pay',
  },
  ...{ format: 'digits', kid: 1, tag: '', sealed: '', source: '', template: null, metadata: null, steps: [], step: 0 },
  wording: { brand: '', language: 'en', payee: '', amount: '', custom: '', domain: '', appHash: '' },
  ...{ nextMs: 0, tries: [], attempts: 3, failed: 0, failedUntilMs: 0, createdMs: 0, expiresMs: 0, lastSentMs: 0 },
  ...{ status: 'pending', endedMs: 0, token: '', tokenUntilMs: 0 },
}

/** One letter changed, added or left out makes the one the other. */
function isNear(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false
  let from = 0
  while (from < a.length && a[from] === b[from]) from++
  let [x, y] = [a.length, b.length]
  while (x > from && y > from && a[x - 1] === b[y - 1]) {
    x--
    y--
  }
  return x - from <= 1 && y - from <= 1
}

/** Two letters in each other's place make the one the other. */
function isSwapped(a: string, b: string): boolean {
  const at = [...a].flatMap((letter, i) => (letter === b[i] ? [] : [i]))
  const [i = 0, j = 0] = at
  return a.length === b.length && at.length === 2 && a[i] === b[j] && a[j] === b[i]
}

t.test('there are 2,048 words, and one slip of the finger makes no other word of any', async t => {
  t.equal(words.length, 2_048)
  t.equal(new Set(words).size, words.length, 'all different')
  t.equal(new Set(words.map(word => word.slice(0, 4))).size, words.length, 'the first four letters tell them apart')
  t.same(
    words.filter(word => !/^[a-z]{4,8}$/.test(word) || !isGsm(word)),
    [],
  )
  t.same([...words].sort(), words)
  const near: string[] = []
  for (const [i, a] of words.entries())
    for (const b of words.slice(i + 1)) if (isNear(a, b) || isSwapped(a, b)) near.push(`${a} ${b}`)
  t.same(near, [])
  for (const [a, b] of [
    ['cymbal', 'symbol'],
    ['idle', 'idol'],
    ['picture', 'pitcher'],
    ['raisin', 'reason'],
  ]) {
    t.notOk(words.includes(a as string) && words.includes(b as string), `${a} sounds like ${b}`)
  }
  const begins = words.filter(word => words.some(other => other !== word && other.startsWith(word)))
  t.same(begins, [], 'none begins another: without blanks a code can be read in one way')
  for (const bad of ['kill', 'drug', 'slave', 'nazi', 'naked', 'idiot', 'bomb', 'rape', 'shit']) {
    t.notOk(words.includes(bad), bad)
  }
})

t.test('each symbol of a code is as likely as any other, leading zeros included, and 20 bits is the least', async t => {
  const counts = new Map<string, number>()
  let zeros = 0
  const strange: string[] = []
  for (let n = 0; n < 20_000; n++) {
    const code = newCode('digits', 6)
    if (!/^\d{6}$/.test(code)) strange.push(code)
    if (code.startsWith('0')) zeros++
    for (const digit of code) counts.set(digit, (counts.get(digit) ?? 0) + 1)
  }
  t.same(strange, [])
  t.ok(zeros > 1_700 && zeros < 2_300, `${zeros} of 20,000 begin with 0`)
  for (const count of counts.values()) t.ok(Math.abs(count - 12_000) < 600, `${count}`)
  t.match(newCode('letters', 8), /^[0-9A-HJKMNP-TV-Z]{8}$/)
  t.match(newCode('words', 3), /^[a-z]+ [a-z]+ [a-z]+$/)
  t.ok(Math.log2(words.length) * LENGTHS.words.min >= 20)
  t.ok(5 * LENGTHS.letters.min >= 20)
  t.ok(Math.log2(10) * LENGTHS.digits.usual >= 19.9)
})

t.test('a code is understood as people write it, and no other is', async t => {
  t.equal(plainCode(' 042-917 ', 'digits'), '042917')
  t.equal(plainCode('０４２９１７', 'digits'), '042917', 'full width')
  t.equal(plainCode('7k3q-iol', 'letters'), '7K3Q101')
  for (const written of ['amber tiger', 'AMBER-Tiger', 'ambertiger', ' Amber  tiger ']) {
    t.equal(plainCode(written, 'words'), 'ambertiger')
  }
  t.not(plainCode('042918', 'digits'), plainCode('042917', 'digits'))
  for (const [written, how] of [
    ['٠٤٢٩١٧', 'Arabic-Indic'],
    ['۰۴۲۹۱۷', 'Persian'],
    ['०४२९१७', 'Devanagari'],
    ['০৪২৯১৭', 'Bengali'],
    ['𝟎𝟒𝟐𝟗𝟏𝟕', 'mathematical'],
    ['\u200e042917\u200f', 'with marks of direction'],
    ['\u2066042\u2011917\u2069', 'with a hyphen that does not break'],
    ['042\u2013917', 'with a dash'],
    ['042\u00ad917\ufeff', 'with a soft hyphen'],
  ] as const) {
    t.equal(plainCode(written, 'digits'), '042917', how)
  }
  t.equal(plainCode('\u200e7k3q\u2011iol', 'letters'), '7K3Q101')
  t.equal(plainCode('amber\u2011tiger\u200e', 'words'), 'ambertiger')
  t.not(plainCode('½42917', 'digits'), '042917')
  const strange: string[] = []
  for (let point = 0; point < 0x110000; point++) {
    const text = String.fromCodePoint(point)
    if (/\p{Nd}/u.test(text) && !/^\d$/.test(plainCode(text, 'digits'))) strange.push(point.toString(16))
  }
  t.same(strange, [], 'every digit is one')
})

const wording: Wording = {
  ...{ brand: 'Acme', language: 'en', payee: '', amount: '', custom: '', domain: '', appHash: '' },
}

t.test(
  'a message has brand and code in its first line, one segment in every language, and says what it is for',
  async t => {
    for (const language of languages) {
      const text = wordsFor({ ...wording, language, brand: 'Kaufhaus Nord' }, '042917', 5)
      const [first = ''] = text.split('\n')
      t.ok(first.includes('Kaufhaus Nord') && first.includes('042917') && first.includes('5'), language)
      t.equal(countSegmentsOfText(text), 1, `${language}: ${text}`)
      t.equal(
        isGsm(text),
        !['ru', 'ar', 'zh'].includes(language),
        `${language} is written in letters of the GSM alphabet`,
      )
    }
    t.equal(wordsFor({ ...wording, payee: 'Shop', amount: '9.90 EUR' }, '1', 5).split('\n')[1], 'Shop: 9.90 EUR')
    t.equal(wordsFor({ ...wording, custom: '{otp}! {otp}, {expiry}' }, '12', 3), '12! 12, 3')
    const paid = { ...wording, custom: '{payee}: {amount}, {otp}', payee: '$& {otp}', amount: '9.90 EUR' }
    t.equal(wordsFor(paid, '12', 3), '$& {otp}: 9.90 EUR, 12', 'a value is no place')
    t.equal(withSuffix('x', { ...wording, domain: 'shop.example' }, 'amber tiger'), 'x\n\n@shop.example #ambertiger')
    t.equal(withSuffix('x', { ...wording, appHash: 'He42w354ol9' }, '1'), 'x\nHe42w354ol9')
  },
)

t.test('what is bound to a code is part of it: another payee, amount, purpose or number is a wrong code', async t => {
  const peppers = await Peppers.open(join(temporaryDirectory(), 'otp.peppers'), new ManualClock(START_MS))
  const binding: Binding = { destination: '4915112345678', purpose: 'pay', payee: 'Shop', amount: '9.90 EUR' }
  const session = SESSION
  const tagged = { ...session, tag: tagOf(peppers.current, session, binding, '042917').toString('base64') }
  t.ok(isCode(tagged, peppers.current, binding, '042 917'))
  for (const other of [
    { payee: 'Shap' },
    { amount: '99.0 EUR' },
    { purpose: 'login' },
    { destination: '4915112345679' },
  ]) {
    t.notOk(isCode(tagged, peppers.current, { ...binding, ...other }, '042917'), JSON.stringify(other))
  }
  t.notOk(isCode({ ...tagged, account: 2 }, peppers.current, binding, '042917'), 'of another account')
  t.notOk(isCode({ ...tagged, id: 'otp_x' }, peppers.current, binding, '042917'), 'of another session')
  t.notOk(isCode(tagged, peppers.current, binding, '042916'))
})

t.test(
  'a pepper stays good for sessions under way, is destroyed after them, and is nowhere but in its file',
  async t => {
    const clock = new ManualClock(START_MS)
    const file = join(temporaryDirectory(), 'otp.peppers')
    const peppers = await Peppers.open(file, clock)
    const first = peppers.current
    const sealed = first.seal('1|otp_a', 'amber tiger canyon zipper')
    t.notMatch(sealed, /amber/)
    clock.advance(24 * HOUR_MS)
    await peppers.rotate()
    t.not(peppers.current.kid, first.kid)
    const again = await Peppers.open(file, clock)
    t.equal(again.current.kid, peppers.current.kid)
    t.equal(again.of(first.kid)?.unseal('1|otp_a', sealed), 'amber tiger canyon zipper', 'after a restart too')
    t.not(again.of(first.kid)?.unseal('1|otp_b', sealed), 'amber tiger canyon zipper')
    t.not(peppers.current.tag('x').toString('hex'), first.tag('x').toString('hex'))
    clock.advance(2 * HOUR_MS)
    await Promise.all([again.rotate(), again.rotate()])
    t.equal(again.of(first.kid), undefined, 'destroyed')
    t.equal(statSync(file).mode & 0o777, 0o600)
    t.notOk(readFileSync(file, 'utf8').includes(first.secret.toString('hex')))
    t.notOk(existsSync(`${file}.new`))
    writeFileSync(file, 'nonsense\n')
    await t.rejects(Peppers.open(file, clock), /holds no peppers/)
    writeFileSync(file, `7 ${START_MS} ${'5a'.repeat(32)}\n`)
    const old = await Peppers.open(file, clock)
    t.equal(old.current.kid, 7, 'one that an earlier release numbered')
    await old.rotate()
    t.ok(old.current.kid > 7)
    t.equal((await Peppers.open(file, clock)).of(7)?.secret.toString('hex'), '5a'.repeat(32))
  },
)

t.test('a file of peppers that was lost begins with a number that no session knows', async t => {
  const clock = new ManualClock(START_MS)
  const file = join(temporaryDirectory(), 'otp.peppers')
  const peppers = await Peppers.open(file, clock)
  for (let n = 0; n < 5; n++) await peppers.rotate()
  unlinkSync(file)
  clock.advance(60_000)
  const { current } = await Peppers.open(file, clock)
  t.equal(peppers.of(current.kid), undefined)
  t.ok(current.kid > peppers.current.kid)
})

t.test('a pepper that could not be written leaves the old one in use, and no file open', async t => {
  if (!existsSync('/dev/full')) return t.comment('there is no /dev/full here')
  const file = join(temporaryDirectory(), 'otp.peppers')
  const peppers = await Peppers.open(file, new ManualClock(START_MS))
  const { kid } = peppers.current
  symlinkSync('/dev/full', `${file}.new`)
  await t.rejects(peppers.rotate(), { code: 'ENOSPC' })
  t.equal(peppers.current.kid, kid)
  const open = readdirSync('/proc/self/fd').map(fd => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  t.notOk(open.includes('/dev/full'))
  unlinkSync(`${file}.new`)
  await peppers.rotate()
  t.not(peppers.current.kid, kid)
})

t.test('codes for a number are a minute apart, five an hour and ten a day, and a restart forgets none', async t => {
  const clock = new ManualClock(START_MS)
  const kept = new KeptThings(clock)
  const limits = { cooldownMs: 60_000, perHour: 5, perDay: 10, perDayInAll: 0, perAddressHour: 3 }
  let counts = new SendCounts(kept, limits)
  const sends = () => counts.to(1, '49151', clock.now())
  const over = (isNext = false) => sends().over(isNext)
  t.equal(over(), undefined)
  sends().count()
  t.match(over(), { what: 'cooldown', untilMs: START_MS + 60_000 })
  t.equal(over(true), undefined, 'the next channel of a session waits for nothing')
  t.equal(counts.to(2, '49151', clock.now()).over(), undefined, 'another account’s are its own')
  for (let n = 1; n < 5; n++) {
    clock.advance(60_000)
    t.equal(over(), undefined, `code ${n + 1}`)
    sends().count()
  }
  clock.advance(60_000)
  counts = new SendCounts(kept, limits)
  t.match(over(), { what: 'hour', untilMs: START_MS + HOUR_MS })
  t.match(over(true), { what: 'hour' })
  t.same(sends().left, { hour: 0, day: 5 })
  clock.setWall(START_MS + HOUR_MS)
  for (let n = 0; n < 5; n++) {
    clock.advance(HOUR_MS)
    sends().count()
  }
  clock.advance(HOUR_MS)
  t.match(over(), { what: 'day', untilMs: START_MS + 24 * HOUR_MS })
  for (let n = 0; n < 3; n++) {
    t.equal(counts.overAddress(1, '192.0.2.1', clock.now()), undefined)
    counts.countAddress(1, '192.0.2.1', clock.now())
  }
  t.match(counts.overAddress(1, '192.0.2.1', clock.now()), { what: 'address' })
  const busy = new SendCounts(kept, { ...limits, perAddressHour: 1_000_000 })
  const whole = new SendCounts(kept, { ...limits, perAddressHour: 0 })
  for (let n = 0; n < 3_000; n++) {
    clock.advance(2_000)
    busy.countAddress(1, '192.0.2.9', clock.now())
    whole.countAddress(1, '192.0.2.8', clock.now())
  }
  t.ok((kept.kept('otp n 1 192.0.2.9')?.length as number) < 1_000, 'a proxy’s thousands are sixty numbers')
  t.match(new SendCounts(kept, { ...limits, perAddressHour: 1_700 }).overAddress(1, '192.0.2.9', clock.now()), {
    what: 'address',
  })
  t.equal(counts.overAddress(1, '192.0.2.1', clock.now()), undefined, 'an hour later')
  t.equal(whole.overAddress(1, '192.0.2.8', clock.now()), undefined, '0 is no limit')
  t.equal(kept.kept('otp n 1 192.0.2.8'), undefined)
  t.equal(counts.overAccount(1, 1, clock.now()), undefined)
  counts.countAccount(1, clock.now())
  t.match(counts.overAccount(1, 1, clock.now()), { what: 'account' })
  clock.advance(HOUR_MS)
  t.equal(counts.overAccount(1, 1, clock.now()), undefined)
})

t.test(
  'a prefix whose codes nobody enters gets none for a while, and one that people use never is blocked',
  async t => {
    const clock = new ManualClock(START_MS)
    const kept = new KeptThings(clock)
    const settings = { percent: 35, from: 50, graceMs: 180_000, blockMs: 12 * HOUR_MS }
    const guard = new Guard(kept, settings)
    const number = (n: number): string => `4915112${String(n).padStart(6, '0')}`
    for (let n = 0; n < 500; n++) {
      if (guard.sent(1, `4917999${n}`, clock.now()) !== undefined) t.fail('people are blocked')
      if (n % 5 < 2) guard.verified(1, `4917999${n}`, clock.now())
      clock.advance(2_000)
    }
    for (let n = 0; n < 60; n++)
      t.equal(guard.sent(1, number(n), clock.now()), undefined, 'a burst has time to be entered')
    clock.advance(240_000)
    const block = guard.sent(1, number(60), clock.now())
    t.match(block, { account: 1, prefix: '4915112', sent: 60, verified: 0, untilMs: clock.now() + HOUR_MS / 2 })
    t.match(guard.blocked(1, number(99), clock.now()), block)
    t.equal(guard.blocked(2, number(99), clock.now()), undefined, 'one account’s traffic speaks for no other')
    t.equal(guard.blocked(1, '4915113000000', clock.now()), undefined, 'nor one prefix for another')
    const again = new Guard(kept, settings)
    t.match(again.list(clock.now()), [block], 'a restart releases nothing')
    t.notOk(again.release(2, '4915112'))
    t.ok(again.release(1, '4915112'))
    t.equal(again.blocked(1, number(99), clock.now()), undefined)
    clock.advance(HOUR_MS / 2)
    t.equal(guard.blocked(1, number(99), clock.now()), undefined, 'it ends by itself')
  },
)

/** Without a daemon: what it kept, and what it would do with messages. */
async function lonely(clock: ManualClock, kept: KeptThings, tell: (type: string, data: string) => void = () => {}) {
  return alone(clock, kept, { tell })
}

interface Alone {
  readonly tell?: (type: string, data: string) => void
  readonly profile?: object
  readonly settings?: Partial<OtpSettings>
  readonly sandbox?: boolean
  readonly render?: OtpTemplates['render']
  /** Of the door, for one message. */
  readonly refuse?: (m: Message) => Fault | undefined
  /** One message of what the account may send a second. */
  readonly admit?: () => Fault | undefined
}

async function alone(
  clock: ManualClock,
  kept: KeptThings,
  {
    tell = () => {},
    profile = {},
    settings = {},
    sandbox = false,
    render = () => Promise.reject(new Error('none')),
    refuse = () => undefined,
    admit = () => undefined,
  }: Alone,
) {
  const peppers = await Peppers.open(join(temporaryDirectory(), 'otp.peppers'), clock)
  const hooks = [{ of: 1, disabled: null, events: [] }]
  const account = { id: 1, otp: readOtpProfile(profile), hooks } as unknown as Account
  const learned: CodeOutcome[] = []
  const notices: string[] = []
  const used: string[] = []
  const messages: Message[] = []
  const take = (m: Message): Fault | undefined => {
    const fault = refuse(m)
    if (fault !== undefined) return fault
    m.id = messages.push(m)
    return undefined
  }
  const otp = new Otp({
    spool: Object.assign(kept, {
      cancel: () => false,
      converted: () => true,
      synced: async () => {},
      event: (_: unknown, { type, data }: { type: string; data: string }) => {
        tell(type, data)
        return true
      },
      find: () => undefined,
    }),
    door: {
      admit,
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
      limits: { cooldownMs: 60_000, perHour: 5, perDay: 10, perDayInAll: 0, perAddressHour: 10 },
      guard: { percent: 35, from: 50, graceMs: 180_000, blockMs: 12 * HOUR_MS },
      ...settings,
    },
    ...{ clock, peppers, sandbox, postmaster: 'a@b.example', hostname: 'b.example' },
    templates: { render, used: id => void used.push(id) },
    account: () => account,
    notice: (_, type) => void notices.push(type),
    learned: outcome => void learned.push(outcome),
    fault: error => t.fail(String(error)),
  })
  return { otp, account, learned, notices, used, messages, asker: { account, isTest: false } }
}

const wantedFor = (phone: string, purpose = 'verification') => ({
  ...{ phone, email: '', purpose, payee: '', amount: '', custom: '', template: null, metadata: null },
  workflow: [{ channel: 'sms' as const, timeoutMs: 30_000 }],
})

t.test(
  'a code that nobody enters expires once, over a restart too, and speaks against its carrier now and then',
  async t => {
    const clock = new ManualClock(START_MS)
    const kept = new KeptThings(clock)
    const before = await lonely(clock, kept)
    for (let n = 0; n < 8; n++) {
      const made = await before.otp.generate({ account: before.account, isTest: false }, wantedFor(`491511234567${n}`))
      if (isRefusal(made)) return t.fail(made.text)
      const m = Object.assign(new Message(), { id: n + 1, account: 1, carrier: 3 })
      m.extras = extrasOfWeb({ otp: made.session.id, sms_type: 'otp' }, [])
      before.otp.course.ended(m, { state: state.DELIVERED, error: '', doneMs: clock.now() })
    }
    const told: string[] = []
    let all = (): void => {}
    const eight = new Promise<void>(resolve => {
      all = resolve
    })
    const after = await lonely(clock, kept, (type, data) => {
      told.push(`${type} ${JSON.parse(data).session_id}`)
      if (told.length === 8) setImmediate(all)
    })
    // Its clock that looks at timers keeps no process.
    const alive = setInterval(() => {}, 1_000)
    after.otp.course.start()
    t.teardown(() => {
      clearInterval(alive)
      after.otp.course.stop()
    })
    clock.advance(300_001)
    await eight
    t.equal(new Set(told).size, 8)
    t.ok(
      told.every(one => one.startsWith('otp.expired ')),
      'each',
    )
    t.match(after.learned, [
      { carrier: 3, isUnused: true },
      { carrier: 3, isUnused: true },
    ])
    t.equal(after.learned.length, 2, 'two of eight')
    const [, id = ''] = (told[0] as string).split(' ')
    t.match(after.otp.show({ account: after.account, isTest: false }, id), { status: 'expired', sealed: '' })
  },
)

const over = (phone: string, email: string, channels: readonly Channel[], more: object = {}) => ({
  ...wantedFor(phone),
  email,
  workflow: channels.map(channel => ({ channel, timeoutMs: 30_000 })),
  ...more,
})
const FEW = { percent: 35, from: 5, graceMs: 0, blockMs: 12 * HOUR_MS }
const MANY = { cooldownMs: 60_000, perHour: 1_000, perDay: 10_000, perDayInAll: 0, perAddressHour: 0 }
const NO_WAIT = { ...MANY, cooldownMs: 0 }
const number = (n: number, prefix = '4915112'): string => `${prefix}${String(n).padStart(6, '0')}`
const codeOf = (m: Message | undefined): string => /\d{6}/.exec(String(m?.body))?.[0] as string
const made = (t: Test, answer: object): Session => {
  if (isRefusal(answer)) t.fail(answer.text)
  return (answer as { session: Session }).session
}

t.test('no later channel and no second message is a way around what keeps the first one back', async t => {
  const clock = new ManualClock(START_MS)
  const at = await alone(clock, new KeptThings(clock), {
    profile: { countries: ['DE'], perHour: 20 },
    settings: { guard: FEW },
  })
  const { otp, asker } = at
  t.match(
    await otp.generate(asker, over('33612345678', 'a@b.example', ['email', 'sms'])),
    { code: 'otp_country_refused' },
    'a country of a later channel',
  )
  const early = made(t, await otp.generate(asker, over(number(100), 'e@b.example', ['sms'])))
  const first = made(t, await otp.generate(asker, over(number(101), 'f@b.example', ['email', 'sms'])))
  for (let n = 0; n < 4; n++) made(t, await otp.generate(asker, wantedFor(number(n))))
  t.match(at.notices, ['otp.prefix_blocked'])
  t.match(await otp.next(asker, first.id), { code: 'otp_prefix_blocked' }, 'a prefix, with the next channel')
  clock.advance(60_000)
  t.match(await otp.resend(asker, early.id), { code: 'otp_prefix_blocked' }, 'and once more')

  for (let n = 0; n < 5; n++) {
    const one = made(t, await otp.generate(asker, over(number(n, '4917312'), 'all@b.example', ['sms', 'email'])))
    t.match(await otp.next(asker, one.id), { step: 1 })
  }
  const sixth = made(t, await otp.generate(asker, over(number(6, '4917412'), 'all@b.example', ['sms', 'email'])))
  t.match(await otp.next(asker, sixth.id), { code: 'otp_limited', more: { limit: 'hour' } }, 'mails are counted')
  t.match(await otp.resend(asker, sixth.id), { code: 'otp_limited', more: { limit: 'cooldown' } }, 'by SMS too soon')
  t.equal(at.messages.length, 17)
  clock.advance(60_000)
  t.match(await otp.resend(asker, sixth.id, { channel: 'email' }), { code: 'otp_limited', more: { limit: 'hour' } })
  made(t, await otp.resend(asker, sixth.id))
  t.equal(at.messages.at(-1)?.destination_addr, sixth.destination)
})

t.test('once more a code goes over the channel that it went last, or over the one that is named', async t => {
  const clock = new ManualClock(START_MS)
  const noRoute = fault('no_route', 'no route to this destination', false)
  let isMailGone = true
  const { otp, asker, messages } = await alone(clock, new KeptThings(clock), {
    refuse: m => (m.destination_addr.includes('@') && isMailGone ? noRoute : undefined),
  })
  const one = made(t, await otp.generate(asker, over(number(1), 'a@b.example', ['sms', 'email'])))
  t.match(await otp.next(asker, one.id), { code: 'no_route' })
  clock.advance(60_000)
  const again = made(t, await otp.resend(asker, one.id))
  t.match(again, { step: 1, nextMs: 0, tries: [{ channel: 'sms' }, { status: 'failed' }, { channel: 'sms' }] })
  t.equal(messages.at(-1)?.destination_addr, number(1))
  t.match(await otp.next(asker, one.id), { code: 'otp_no_step' }, 'what has failed is not begun anew')
  t.match(await otp.resend(asker, one.id, { channel: 'voice' }), { code: 'otp_channel_missing' })
  t.match(await otp.resend(asker, one.id, { channel: 'email' }), { code: 'no_route' })
  isMailGone = false
  made(t, await otp.resend(asker, one.id, { channel: 'email' }))
  t.equal(messages.at(-1)?.destination_addr, 'a@b.example')
  clock.advance(60_000)
  made(t, await otp.resend(asker, one.id))
  t.equal(messages.at(-1)?.destination_addr, 'a@b.example', 'where it went last')

  const two = made(t, await otp.generate(asker, over(number(2), 'c@b.example', ['sms', 'email'])))
  const { nextMs } = made(t, await otp.resend(asker, two.id, { channel: 'email' }))
  t.equal(nextMs, 0, 'a channel that was named early does not go again by itself')
})

t.test('whoever verifies may name any destination of the session, and none besides', async t => {
  const clock = new ManualClock(START_MS)
  const { otp, asker, messages } = await alone(clock, new KeptThings(clock), { settings: { limits: NO_WAIT } })
  let n = 0
  const begin = async (): Promise<{ id: string; phone: string; code: string }> => {
    const phone = number(n++)
    const { id } = made(t, await otp.generate(asker, over(phone, 'a@b.example', ['sms', 'email'])))
    return { id, phone, code: codeOf(messages.at(-1)) }
  }
  for (const destinations of [['a@b.example'], ['phone'], ['phone', 'a@b.example'], []]) {
    const { id, phone, code } = await begin()
    const named = destinations.map(one => (one === 'phone' ? phone : one))
    t.match(made(t, await otp.checks.verify(asker, id, code, { destinations: named })), { status: 'verified' })
  }
  const { id, phone, code } = await begin()
  for (const destinations of [['x@b.example'], [phone, 'x@b.example']]) {
    t.match(await otp.checks.verify(asker, id, code, { destinations }), { code: 'otp_invalid' })
  }
  t.match(otp.show(asker, id), { failed: 2 })
  t.match(await otp.checks.verify(asker, id, code, { destinations: [phone.slice(0, -1)] }), { code: 'otp_invalid' })
  t.match(otp.show(asker, id), { status: 'blocked' })
})

t.test('a channel whose turn could not come while the code is good is refused at once', async t => {
  const clock = new ManualClock(START_MS)
  const { otp, asker } = await alone(clock, new KeptThings(clock), { settings: { limits: NO_WAIT } })
  const begin = (seconds: readonly number[], more: object = {}): ReturnType<Otp['generate']> => {
    const workflow = [...seconds, 300].map((s, i) => ({
      channel: i === 0 ? ('sms' as const) : ('email' as const),
      timeoutMs: s * 1_000,
    }))
    return otp.generate(asker, { ...over(number(1), 'a@b.example', []), workflow, ...more })
  }
  const tooLong = { code: 'otp_workflow_too_long', more: { begins_after_s: 300, good_for_s: 300 } }
  t.match(await begin([300]), tooLong)
  t.match(await begin([60], { expiryMinutes: 1 }), { code: 'otp_workflow_too_long' })
  t.match(await begin([150, 145]), { text: /email/ })
  t.match(await begin([295]), { code: 'otp_workflow_too_long' }, 'nobody reads a mail in five seconds')
  made(t, await begin([]))
  made(t, await begin([280]))
  made(t, await begin([140, 140]))
  made(t, await begin([300, 200], { expiryMinutes: 10 }))
})

t.test('of the minutes that a message names none is over', async t => {
  const clock = new ManualClock(START_MS)
  const { otp, asker, messages } = await alone(clock, new KeptThings(clock), { settings: { limits: NO_WAIT } })
  const one = made(t, await otp.generate(asker, wantedFor(number(1))))
  const said = (): string => /Valid (\d+) min/.exec(String(messages.at(-1)?.body))?.[1] as string
  t.equal(said(), '5')
  for (const [ms, minutes] of [
    [60_000, '4'],
    [90_000, '2'],
    [60_000, '1'],
    [60_000, '1'],
  ] as const) {
    clock.advance(ms)
    made(t, await otp.resend(asker, one.id))
    t.equal(said(), minutes)
  }
})

t.test('a clock that is set back makes no code good for longer', async t => {
  const clock = new ManualClock(START_MS)
  const { otp, asker, messages } = await alone(clock, new KeptThings(clock), { settings: { limits: NO_WAIT } })
  const one = made(t, await otp.generate(asker, wantedFor(number(1))))
  const code = codeOf(messages.at(-1))
  clock.advance(299_000)
  clock.setWall(START_MS - HOUR_MS)
  t.match(await otp.checks.verify(asker, one.id, code, {}), { code: 'otp_invalid' })
  t.match(await otp.resend(asker, one.id), { code: 'otp_over' })
  t.match(await otp.next(asker, one.id), { code: 'otp_over' })
  t.match(otp.show(asker, one.id), { failed: 0 })
  clock.setWall(START_MS - 1_000)
  const right = await otp.checks.verify(asker, one.id, code, {})
  t.match(right, { session: { status: 'verified' } }, 'a second is what nodes and time servers differ by')
  clock.setWall(START_MS - HOUR_MS)
  const { token } = right as { token: string }
  t.match(await otp.checks.redeem(asker, token, 'verification'), { code: 'otp_token_invalid' })
})

t.test('a code under a pepper that was replaced is never sent: its session is over', async t => {
  const clock = new ManualClock(START_MS)
  const kept = new KeptThings(clock)
  const before = await alone(clock, kept, {})
  const one = made(t, await before.otp.generate(before.asker, over(number(1), 'a@b.example', ['sms', 'email'])))
  // Another secret, of the same number.
  const { otp, asker, messages } = await alone(clock, kept, {})
  clock.advance(60_000)
  t.match(await otp.resend(asker, one.id), { code: 'otp_over' })
  t.match(await otp.next(asker, one.id), { code: 'otp_over' })
  t.same(messages, [])
})

t.test('each message of a session is of the version of its template that the first one was', async t => {
  const clock = new ManualClock(START_MS)
  const asked: unknown[] = []
  let newest = 3
  const { otp, asker } = await alone(clock, new KeptThings(clock), {
    settings: { limits: NO_WAIT },
    render: async (_, id, { otp = '' }, version = newest) => {
      asked.push([id, version])
      return { text: `${otp}!`, templateId: '7', version }
    },
  })
  const template = { id: 'login', variables: {} }
  const one = made(t, await otp.generate(asker, over(number(1), 'a@b.example', ['sms', 'email'], { template })))
  newest = 4
  made(t, await otp.resend(asker, one.id))
  t.match(await otp.next(asker, one.id), { step: 1 })
  made(t, await otp.generate(asker, over(number(2), '', ['sms'], { template })))
  t.same(asked, [
    ['login', 3],
    ['7', 3],
    ['7', 3],
    ['login', 4],
  ])
  t.same(template, { id: 'login', variables: {} }, 'what was asked for is nobody’s to change')
})

t.test('a message that its owner called back is not made up for by the next channel', async t => {
  const clock = new ManualClock(START_MS)
  const kept = new KeptThings(clock)
  const { otp, asker, messages } = await alone(clock, kept, {})
  for (const [n, ending, isNext] of [
    [1, state.DELETED, false],
    [2, state.UNDELIVERABLE, true],
  ] as const) {
    const one = made(t, await otp.generate(asker, over(number(n), 'a@b.example', ['sms', 'email'])))
    const m = Object.assign(new Message(), { id: messages.at(-1)?.id, account: 1, carrier: 0 })
    m.extras = extrasOfWeb({ otp: one.id, sms_type: 'otp' }, [])
    otp.course.ended(m, { state: ending, error: '', doneMs: clock.now() })
    t.match(otp.show(asker, one.id), {
      status: 'pending',
      nextMs: isNext ? clock.now() : 0,
      tries: [{ status: 'failed' }],
    })
    t.match(await otp.next(asker, one.id), { step: 1 }, 'whoever wants it asks')
  }
})

t.test('webhooks hear that a code was called off, and that another took its place', async t => {
  const clock = new ManualClock(START_MS)
  const types: string[] = []
  const { otp, asker } = await alone(clock, new KeptThings(clock), {
    settings: { limits: NO_WAIT },
    tell: type => void types.push(type),
  })
  made(t, await otp.generate(asker, wantedFor(number(1))))
  const two = made(t, await otp.generate(asker, wantedFor(number(1))))
  await otp.cancel(asker, two.id)
  t.same(types, ['otp.sent', 'otp.superseded', 'otp.sent', 'otp.canceled'])
})

t.test('who is paid, and how much, is one line without marks that nobody sees', async t => {
  const body = (payee: string, amount = '9.90 EUR') => generateBody.safeParse({ email: 'a@b.example', payee, amount })
  t.ok(body('Shop & Söhne, المتجر').success)
  for (const mark of ['\u202e', '\u2066', '\u200b', '\u2028', '\u2029', '\ufeff', '\n']) {
    t.notOk(body(`Sh${mark}op`).success, encodeURIComponent(mark))
    t.notOk(body('Shop', `9${mark}.90 EUR`).success)
  }
})

t.test('of an account’s hour each message is one, whichever channel it takes', async t => {
  const clock = new ManualClock(START_MS)
  const { otp, asker } = await alone(clock, new KeptThings(clock), { profile: { perHour: 3 } })
  const one = made(t, await otp.generate(asker, over(number(1), 'a@b.example', ['sms', 'sms', 'email'])))
  clock.advance(60_000)
  made(t, await otp.resend(asker, one.id))
  t.match(await otp.next(asker, one.id), { step: 1 })
  t.match(await otp.next(asker, one.id), { code: 'otp_limited', more: { limit: 'account' }, retryable: false })
  t.match(await otp.generate(asker, wantedFor(number(2))), { code: 'otp_limited', more: { limit: 'account' } })
})

t.test('a code that was read in a mail speaks for no prefix, and one that was sent thrice for all three', async t => {
  const clock = new ManualClock(START_MS)
  const at = await alone(clock, new KeptThings(clock), { settings: { guard: FEW, limits: MANY } })
  const { otp, asker, messages } = at
  const ended = (m: Message | undefined, session: Session): void => {
    const done = Object.assign(new Message(), { id: m?.id, account: 1, carrier: 3 })
    done.extras = extrasOfWeb({ otp: session.id, sms_type: 'otp' }, [])
    otp.course.ended(done, { state: state.DELIVERED, error: '', doneMs: clock.now() })
  }
  for (let n = 0; n < 5; n++) {
    const one = made(t, await otp.generate(asker, over(number(n), 'a@b.example', ['sms', 'email'])))
    const code = codeOf(messages.at(-1))
    await otp.next(asker, one.id)
    ended(messages.at(-1), one)
    const right = await otp.checks.verify(asker, one.id, code, {})
    t.match(carriedBy(made(t, right)), [
      { channel: 'sms', to: number(n), status: 'sent' },
      { channel: 'email', to: 'a@b.example', status: 'delivered' },
    ])
  }
  t.match(await otp.generate(asker, wantedFor(number(9))), { code: 'otp_prefix_blocked' })
  for (let n = 0; n < 9; n++) {
    const one = made(t, await otp.generate(asker, wantedFor(number(n, '4917999'))))
    for (let again = 0; n < 8 && again < 2; again++) {
      clock.advance(60_000)
      made(t, await otp.resend(asker, one.id))
    }
    made(t, await otp.checks.verify(asker, one.id, codeOf(messages.at(-1)), {}))
  }
})

t.test('of the sandbox is what goes to its numbers alone, or is asked for with a test key', async t => {
  const clock = new ManualClock(START_MS)
  const { otp, asker } = await alone(clock, new KeptThings(clock), { sandbox: true })
  const magic = '999000000100'
  t.match(made(t, await otp.generate(asker, wantedFor(magic))), { isSandboxed: true })
  t.match(await otp.generate(asker, over(magic, 'a@b.example', ['sms', 'email'])), { code: 'otp_sandbox_mixed' })
  t.match(
    made(t, await otp.generate(asker, over(magic, 'a@b.example', ['email']))),
    { isSandboxed: false },
    'a number that nothing goes to lifts no limit',
  )
  const test = { ...asker, isTest: true }
  t.match(made(t, await otp.generate(test, over(magic, 'a@b.example', ['sms', 'email']))), { isSandboxed: true })
})

t.test('a template is filled in the language with payee and amount, and counted once its message is taken', async t => {
  const clock = new ManualClock(START_MS)
  const rendered: unknown[] = []
  let isFull = true
  const noRoute = fault('no_route', 'no route to this destination', false)
  const { otp, asker, used } = await alone(clock, new KeptThings(clock), {
    refuse: () => (isFull ? noRoute : undefined),
    render: async (_, id, variables, version, locale) => {
      const { otp, ...others } = variables
      rendered.push([id, others, version, locale])
      return { text: `${otp} ${id === 'whole' ? Object.values(others).join(' ') : ''}`, templateId: '7', version: 1 }
    },
  })
  const paid = { payee: 'Shop', amount: '9.90 EUR', language: 'de', template: { id: 'whole', variables: { x: 'y' } } }
  t.match(await otp.generate(asker, over(number(1), '', ['sms'], paid)), { code: 'no_route' })
  t.same(rendered, [['whole', { x: 'y', expiry: '5', payee: 'Shop', amount: '9.90 EUR' }, undefined, 'de']])
  t.same(used, [])
  isFull = false
  made(t, await otp.generate(asker, over(number(1), '', ['sms'], paid)))
  t.same(used, ['7'])
  for (const mute of [
    { template: { id: 'mute', variables: {} } },
    { template: null, custom: 'Pay {payee} with {otp}' },
  ]) {
    const refused = await otp.generate(asker, over(number(2), '', ['sms'], { ...paid, ...mute }))
    t.match(refused, { code: 'otp_text_invalid' }, 'who pays must read what')
  }
  const said = { ...paid, template: null, custom: '{amount} to {payee}: {otp}' }
  made(t, await otp.generate(asker, over(number(3), '', ['sms'], said)))
})

t.test('a crash between a channel that failed and the next one leaves a moment for the next', async t => {
  const clock = new ManualClock(START_MS)
  const kept = new KeptThings(clock)
  const noRoute = fault('no_route', 'no route to this destination', false)
  const { otp, asker } = await alone(clock, kept, {
    refuse: m => (m.destination_addr.includes('@') ? noRoute : undefined),
  })
  const one = made(t, await otp.generate(asker, over(number(1), 'a@b.example', ['sms', 'email', 'sms'])))
  clock.advance(1_000)
  const seen: Session[] = []
  const keep = kept.keep.bind(kept)
  kept.keep = (key, octets, untilMs) => {
    if (key.startsWith('otp s ')) seen.push(JSON.parse(octets.toString()))
    return keep(key, octets, untilMs)
  }
  t.match(await otp.next(asker, one.id), { step: 2 })
  t.match(seen, [
    { step: 1, nextMs: clock.now(), tries: [{}, { error: 'no_route' }] },
    { step: 2, nextMs: 0 },
  ])
  t.ok([...kept.things.keys()].some(key => key.startsWith(`otp t ${clock.now() + 5_000} `)))
})

t.test('after a hundred wrong codes in a row nothing is right for a destination until it is released', async t => {
  const clock = new ManualClock(START_MS)
  const kept = new KeptThings(clock)
  const at = await alone(clock, kept, { profile: { guard: false }, settings: { limits: NO_WAIT } })
  const { otp, asker, messages } = at
  const begin = async (purpose: string): Promise<Session> =>
    made(t, await otp.generate(asker, wantedFor(number(1), purpose)))
  const wrong = async ({ id, purpose }: Session, count: number): Promise<void> => {
    for (let n = 0; n < count; n++) await otp.checks.verify(asker, id, 'nothing', { purpose })
  }
  for (let n = 0; n < 33; n++) await wrong(await begin(`p${n}`), 3)
  const good = await begin('good')
  t.ok(made(t, await otp.checks.verify(asker, good.id, codeOf(messages.at(-1)), { purpose: 'good' })))
  for (let n = 0; n < 33; n++) await wrong(await begin(`q${n}`), 3)
  t.same(at.notices, [], 'a right one began anew')
  const other = await begin('other')
  const code = codeOf(messages.at(-1))
  await wrong(await begin('last'), 3)
  t.same(at.notices, ['otp.destination_blocked'])
  t.match(await otp.checks.verify(asker, other.id, code, { purpose: 'other' }), { code: 'otp_invalid' })
  t.match(await otp.generate(asker, wantedFor(number(1), 'new')), { code: 'otp_destination_blocked' })
  t.match(await otp.resend(asker, other.id), { code: 'otp_destination_blocked' })
  t.match(otp.blockedDestinations(), [{ account: 1, destination: number(1) }])
  t.equal(await otp.releaseDestination(1, number(2)), false)
  t.equal(await otp.releaseDestination(1, number(1)), true)
  t.same(otp.blockedDestinations(), [])
  t.ok(made(t, await otp.checks.verify(asker, other.id, code, { purpose: 'other' })))
})

t.test('fewer digits than six an account must have said that it wants', async t => {
  const clock = new ManualClock(START_MS)
  for (const [length, shortCodes, isGood] of [
    [5, false, false],
    [4, false, false],
    [4, true, true],
    [5, true, true],
  ]) {
    const { otp, asker } = await alone(clock, new KeptThings(clock), { profile: { shortCodes } })
    const answer = await otp.generate(asker, { ...wantedFor(number(1)), length: length as number })
    t.equal(!isRefusal(answer), isGood, `${length} ${shortCodes}`)
  }
})

t.test('old rows are cleaned away a slice at a time until none is left', async t => {
  const clock = new ManualClock(START_MS)
  const cleaned = [20_000, 20_000, 7, 99]
  let asked = 0
  const store = { ready: true, query: async () => ({ rowCount: cleaned[asked++], rows: [] }) }
  const told = new Told({
    ...{ clock, store, log: silent, settings: { keepDays: 90 } },
  } as unknown as ConstructorParameters<typeof Told>[0])
  for (let n = 0; n < 10; n++) await told.flush()
  t.equal(asked, 3)
  clock.advance(HOUR_MS)
  await told.flush()
  t.equal(asked, 4)
})

t.test('of a message with a code nothing of its text stays once a carrier has it', async t => {
  const m = new Message()
  m.isText = true
  m.body = Buffer.from('042917 is your code.')
  m.extras = extrasOfWeb({ otp: SESSION.id, sms_type: 'otp' }, [])
  t.ok(isOfOtp(m))
  const record = (): string => {
    const octets = Buffer.alloc(recordSize(m))
    return octets.subarray(0, writeRecord(m, octets, 0)).toString('latin1')
  }
  t.match(record(), /042917/, 'while it waits')
  m.standing = 'sent'
  t.notMatch(record(), /042917/)
  t.equal(excerpt(m).length, 0, 'and no receipt quotes it')
})

t.test(
  'whoever guesses for a day, as often as may be, has thirty guesses at a number and fifteen in an hour',
  async t => {
    const clock = new ManualClock(START_MS)
    const { otp, account } = await lonely(clock, new KeptThings(clock))
    const asker = { account, isTest: false }
    const guessed: number[] = []
    const open = new Set<string>()
    for (let minute = 0; minute < 24 * 60; minute++) {
      // One purpose would take fewer: what was wrong is carried on.
      const made = await otp.generate(asker, wantedFor('4915112345678', `p${minute}`))
      if (!isRefusal(made)) open.add(made.session.id)
      for (const session of open) {
        for (let n = 0; n < 10; n++) {
          const shown = otp.show(asker, session)
          if (isRefusal(shown) || shown.status !== 'pending') break
          await otp.checks.verify(asker, session, 'nothing', { purpose: shown.purpose })
          guessed.push(clock.now())
        }
        open.delete(session)
      }
      clock.advance(60_000)
    }
    const inHour = Math.max(...guessed.map(from => guessed.filter(at => at >= from && at < from + HOUR_MS).length))
    t.comment(`guesses in a day: ${guessed.length}, in an hour at most: ${inHour}; of 1,000,000 codes`)
    t.equal(guessed.length, 30)
    t.equal(inHour, 15)
  },
)

t.test('an account’s wishes are kept as far as they differ, and nonsense is refused', async t => {
  const given = otpProfile.parse({ brand: 'Acme', countries: ['DE'], shortCodes: true })
  t.same(storedOtpProfile(given), { brand: 'Acme', countries: ['DE'], shortCodes: true })
  t.same(readOtpProfile(storedOtpProfile(given)), given)
  for (const wrong of [
    { expiryMinutes: 11 },
    { countries: ['de'] },
    { appHash: 'short' },
    { domain: 'Shop' },
    { pin: 1 },
    { language: 'sv' },
  ]) {
    t.notOk(otpProfile.safeParse(wrong).success, JSON.stringify(wrong))
  }
  t.match(otpProfile.safeParse({ language: 'sv' }).error?.message, /en.*de.*zh/s, 'those that there are are named')
  t.equal(readOtpProfile({ language: 'sv' }).language, 'en', 'what was stored before is what it was')
  t.equal(masked('4915112345678'), '49********678')
  t.equal(masked('bob@shop.example'), 'b***@shop.example')
})

t.test('a code that waits for credit, once or often, takes its place in the pace of its account once', async t => {
  const clock = new ManualClock(Date.UTC(2026, 10, 20))
  let admitted = 0
  let waits = 0
  const rate = fault('rate_exceeded', 'too many messages a second', true)
  const { otp, asker, messages } = await alone(clock, new KeptThings(clock), {
    refuse: () => (waits-- > 0 ? creditPending : undefined),
    admit: () => (++admitted > 1 ? rate : undefined),
  })
  waits = 3
  const one = made(t, await otp.generate(asker, over(number(1), 'a@b.example', ['sms', 'sms'])))
  t.same([admitted, messages.length], [1, 1])
  clock.advance(61_000)
  admitted = 0
  waits = 2
  made(t, await otp.resend(asker, one.id))
  t.same([admitted, messages.length], [1, 2])
  clock.advance(61_000)
  admitted = 0
  waits = 2
  t.match(await otp.next(asker, one.id), { step: 1 })
  t.same([admitted, messages.length], [1, 3])
})
