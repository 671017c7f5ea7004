// Guessing: how much of it there can be in an hour, and that who is unknown costs and takes what who is wrong does. The
// figures, with real clocks and a real daemon, are printed by the long run.

import t from 'tap'
import { People } from '../src/accounts/people.js'
import { PeoplePasswords } from '../src/accounts/peoplePasswords.js'
import { Secrets } from '../src/accounts/secrets.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { FailedBinds, type FailureLimits } from '../src/intake/smpp/failures.js'
import { api, KEY } from './support/api.js'
import { stranger } from './support/esme.js'
import { house, story } from './support/house.js'
import { MailClient, plain } from './support/mailClient.js'
import { silent } from './support/postgres.js'

const HOUR_MS = 3_600_000
const SAMPLES = 1_000

/** Guesses that are looked at within an hour of one who knows the rules, by how long it rests after each bar. */
function guessesAnHour(limits: FailureLimits, restMs: number): number {
  const clock = new ManualClock(0)
  const failures = new FailedBinds(limits, () => clock.mono())
  let guesses = 0
  const endMs = clock.mono() + HOUR_MS
  while (clock.mono() < endMs) {
    if (failures.isBarred('192.0.2.1')) {
      clock.advance(restMs)
      continue
    }
    // All at once: nobody waits for an answer to guess again.
    failures.add('192.0.2.1', '')
    guesses++
  }
  return guesses
}

t.test('an hour of guessing has no more guesses than this, however they are made', async t => {
  const most = (limits: FailureLimits): number =>
    Math.max(...[1_000, limits.barredMs, 600_000, 601_000].map(restMs => guessesAnHour(limits, restMs)))
  // As in admin/access and admin/api/caller, auth.ts, and the defaults of smpp.
  const rows: [what: string, limits: FailureLimits, most: number][] = [
    ['keys, of one network', { delayMs: 2_000, barredAfter: 20, barredMs: 300_000 }, 120],
    ['logins, of one network', { delayMs: 2_000, barredAfter: 30, barredMs: 300_000 }, 180],
    ['logins at one user, of all networks', { delayMs: 2_000, barredAfter: 10, barredMs: 300_000 }, 60],
    ['binds and SMTP AUTH, of one network', { delayMs: 4_000, barredAfter: 100, barredMs: 60_000 }, 600],
  ]
  for (const [what, limits, wanted] of rows) {
    const found = most(limits)
    t.ok(found <= wanted, `${what}: ${found} guesses an hour`)
    t.comment(`${what}: ${found} guesses an hour`)
  }
})

t.test('a good password makes up for its own failures alone, and what was never judged counts for nothing', async t => {
  const failures = new FailedBinds({ delayMs: 0, barredAfter: 3, barredMs: 1_000 }, () => 0)
  failures.add('n', 'theirs')
  failures.add('n', 'theirs')
  failures.add('n', 'mine')
  t.equal(failures.isBarred('n'), true)
  failures.forgive('n', 'mine')
  t.equal(failures.isBarred('n'), false, 'whoever was right has barred nobody')
  failures.add('n', 'mine')
  t.equal(failures.isBarred('n'), true)
  failures.undo('n', 'mine')
  t.equal(failures.isBarred('n'), false)
  failures.undo('n', 'nobody')
  failures.add('n', 'theirs')
  t.equal(failures.isBarred('n'), true)
  failures.forgive('n', 'nobody')
  t.equal(failures.isBarred('n'), true, 'an account of one’s own is no help')
})

/** SQL that knows one user, and notes what it is asked. */
function sql(known: string, password: string) {
  const asked: string[] = []
  const query = async (text: string, values: unknown[] = []) => {
    asked.push(text.replace(/\s+/g, ' ').trim())
    if (/^\s*select[\s\S]* from users u/.test(text) && values[0] === known) {
      return { rows: [{ id: 1, email: known, password, suspended: null }], rowCount: 1 }
    }
    if (/insert into users/.test(text)) return { rows: values[0] === known ? [] : [{ id: 2 }], rowCount: 1 }
    if (/from gateway/.test(text)) return { rows: [{ key_check: new Secrets(Buffer.alloc(32, 1)).check }], rowCount: 1 }
    if (/select id from organisations/.test(text)) return { rows: [{ id: 3 }], rowCount: 1 }
    return { rows: [], rowCount: 0 }
  }
  const store = { query, transaction: (work: (client: unknown) => unknown) => work({ query }), ready: true }
  return { asked, store }
}

t.test('who is unknown is the same work as who is wrong: argon2, statements and hashes', async t => {
  const passwords = new PeoplePasswords()
  const { asked, store } = sql('ann@acme.example', await passwords.hash('correct horse battery'))
  let verified = 0
  const { verify } = PeoplePasswords.prototype
  PeoplePasswords.prototype.verify = function (password, hash) {
    verified++
    return verify.call(this, password, hash)
  }
  t.teardown(() => {
    PeoplePasswords.prototype.verify = verify
  })
  const people = new People({
    ...{ store: store as never, secrets: new Secrets(Buffer.alloc(32, 1)), clock: new ManualClock(0) },
    ...{ counters: new Counters(), log: silent, isOpen: true, tell: () => {} },
  })
  const workOf = async (work: () => Promise<unknown>): Promise<{ verified: number; asked: string[] }> => {
    verified = 0
    asked.length = 0
    await work()
    return { verified, asked: [...asked] }
  }
  const login = (email: string) => workOf(() => people.login(email, 'a wrong password'))
  const wrong = await login('ann@acme.example')
  t.same(await login('nobody@acme.example'), wrong)
  t.same([wrong.verified, wrong.asked.length], [1, 1])
  const register = (email: string) => workOf(() => people.register(email, 'a long password', 'Ann', 'Acme'))
  const again = await register('ann@acme.example')
  const first = await register('bob@acme.example')
  const end = (one: { asked: string[] }) => one.asked.map(text => text.replace(/^(release|rollback to) /, ''))
  t.same(end(first), end(again))
  t.ok(first.asked.length >= 8, `${first.asked.length} statements`)
  const confirm = (token: string) => workOf(() => people.confirmReset(token, 'a long password'))
  t.same(await confirm('tlp_nobody’s'), await confirm(`tlp_${'x'.repeat(32)}`))

  // Machines: one HMAC, whether or not there is a hash to compare with.
  const secrets = new Secrets(Buffer.alloc(32, 1))
  let hashed = 0
  const { passwordHash } = secrets
  secrets.passwordHash = (...given) => {
    hashed++
    return passwordHash.apply(secrets, given)
  }
  t.equal(secrets.verifyPassword('shop', 'x', passwordHash.call(secrets, 'shop', 'y')), false)
  t.equal(hashed, 1)
  t.equal(secrets.verifyPassword('', 'x', null), false)
  t.equal(hashed, 2)
})

const median = (all: readonly number[]): number => [...all].sort((a, b) => a - b)[all.length >> 1] as number

if (process.env.LONG) {
  story('the time of an answer tells nobody whether it was unknown or wrong', async t => {
    const daemon = await house(t, {
      accounts: { shop: { apiKey: KEY } },
      config: {
        admin: { listen: '127.0.0.1:0', trustedProxies: ['127.0.0.1'] },
        smtp: { listen: '127.0.0.1:0' },
        smpp: { failedBindDelayMs: 0, failedBinds: 0 },
      },
    })
    const ask = api(daemon.admin)
    const { smtp } = await daemon.line('ready')
    // Of each user no more guesses than are answered at once.
    const hash = await new PeoplePasswords().hash('correct horse battery')
    await daemon.query(
      `insert into users (email, password) select 'u' || n || '@acme.example', '${hash}' from generate_series(1, ${SAMPLES}) n`,
    )
    let client = 0
    const post = (path: string, body: object) => {
      client++
      const headers = { 'x-forwarded-for': `10.${client >> 16}.${(client >> 8) & 255}.${client & 255}` }
      return ask('POST', `/api/v1/auth/${path}`, { key: null, body, headers })
    }
    const get = (key: string) => {
      client++
      const headers = { 'x-forwarded-for': `10.${client >> 16}.${(client >> 8) & 255}.${client & 255}` }
      return ask('GET', '/api/v1/sms', { key, headers })
    }
    const auth = async (user: string): Promise<void> => {
      const one = await MailClient.ready(t, smtp as number, null)
      await one.say(`AUTH PLAIN ${plain(user, 'wrong')}`)
      one.socket.destroy()
    }
    const bind = async (systemId: string): Promise<void> => {
      const one = await stranger(t, daemon.smpp)
      await one.bind({ systemId, password: 'wrong' })
      one.peer.socket.destroy()
    }
    const ways: [what: string, unknown: (n: number) => Promise<unknown>, wrong: (n: number) => Promise<unknown>][] = [
      [
        'login',
        n => post('login', { email: `x${n}@acme.example`, password: 'wrong' }),
        n => post('login', { email: `u${n}@acme.example`, password: 'wrong' }),
      ],
      [
        'password-reset/request',
        n => post('password-reset/request', { email: `x${n}@acme.example` }),
        n => post('password-reset/request', { email: `u${n}@acme.example` }),
      ],
      [
        'API key',
        n => get(`tl_nobody_${String(n).padStart(32, '0')}`),
        n => get(`tl_shop_${String(n).padStart(32, '0')}`),
      ],
      ['SMPP bind', n => bind(`n${n}`), () => bind('shop')],
      ['SMTP AUTH', n => auth(`n${n}`), () => auth('shop')],
    ]
    for (const [what, unknown, wrong] of ways) {
      const times: [number[], number[]] = [[], []]
      for (let n = 1; n <= SAMPLES; n++) {
        // One, then the other, in turn first.
        for (const i of n % 2 === 0 ? [0, 1] : [1, 0]) {
          const from = performance.now()
          await (i === 0 ? unknown : wrong)(n)
          times[i]?.push(performance.now() - from)
        }
      }
      const [a, b] = [median(times[0]), median(times[1])]
      const noise = median(times[1].map(one => Math.abs(one - b)))
      t.comment(
        `${what}: unknown ${a.toFixed(3)} ms, wrong ${b.toFixed(3)} ms, noise ±${noise.toFixed(3)} ms, ${SAMPLES} each`,
      )
      t.ok(Math.abs(a - b) < Math.max(noise, 0.05 * b), `${what}: ${(a - b).toFixed(3)} ms apart`)
    }
  })
}
