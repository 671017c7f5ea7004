// The pace of a carrier: how it narrows when the carrier throttles and widens when it does not. Time is an argument.

import t from 'tap'
import { Pace } from '../src/carriers/pace.js'

/** Sends what there is room for, every 10 ms up to `atOnce`; how much that was. */
function send(pace: Pace, fromMs: number, forMs: number, atOnce = 100): number {
  let sent = 0
  for (let now = fromMs; now < fromMs + forMs; now += 10) {
    for (let room = Math.min(pace.room(now), atOnce); room > 0; room--) {
      pace.spend()
      sent++
      pace.succeeded(now)
    }
  }
  return sent
}

t.test('a limit is kept to in every second, also after a pause, and without one nothing is held back', async t => {
  const pace = new Pace(100, 0)
  for (const from of [0, 1_000, 60_000]) {
    const sent = send(pace, from, 1_000)
    t.ok(sent >= 95 && sent <= 106, `${sent}`)
  }
  t.equal(new Pace(0, 0).room(0), Number.MAX_SAFE_INTEGER)
})

t.test(
  'a throttled answer gives the carrier a rest and then less than it had, however long it was idle before',
  async t => {
    for (const idleMs of [0, 3_600_000]) {
      const pace = new Pace(0, 0)
      const now = idleMs
      send(pace, now, 200, 10)
      pace.throttled(now + 200)
      t.equal(pace.room(now + 299), 0, 'a rest')
      const rate = pace.ratePerSecond
      t.ok(rate >= 500 && rate < 1_000, `200 in 0.2 s, then ${rate} a second`)
    }
  },
)

t.test('all throttled answers of one window narrow it once, those of the next narrow it again', async t => {
  const pace = new Pace(1_000, 0)
  send(pace, 0, 1_000)
  for (let n = 0; n < 50; n++) pace.throttled(1_000 + n)
  t.equal(pace.ratePerSecond, 700)
  pace.throttled(1_600)
  t.equal(pace.ratePerSecond, 490)
})

t.test('success widens it up to the limit and not beyond, or until nothing limits', async t => {
  const limited = new Pace(100, 0)
  send(limited, 0, 1_000)
  limited.throttled(1_000)
  t.equal(limited.ratePerSecond, 70)
  send(limited, 1_000, 10_000)
  t.equal(limited.ratePerSecond, 100)

  const free = new Pace(0, 0)
  send(free, 0, 500, 10)
  free.throttled(500)
  t.ok(free.ratePerSecond > 0)
  send(free, 500, 120_000)
  t.equal(free.ratePerSecond, 0, 'no limit')
})

t.test('it never comes to a stop', async t => {
  const pace = new Pace(10, 0)
  for (let now = 0; now < 60_000; now += 500) pace.throttled(now)
  t.equal(pace.ratePerSecond, 1)
  t.ok(send(pace, 61_000, 5_000) > 0)
})
