// The pace of a carrier, in virtual time: a simulated carrier throttles by a rule of its own, everything waits to be sent,
// and what it took and what it threw back is counted.

import t from 'tap'
import { Pace } from '../src/carriers/pace.js'

/** Takes what comes at this moment, or throttles it. */
type Rule = (nowMs: number) => boolean

/** So many a second and no more, a tenth of a second's worth at once. */
function atMost(perSecond: number): Rule {
  const depth = Math.max(2, perSecond / 10)
  let tokens = depth
  let atMs = 0
  return nowMs => {
    tokens = Math.min(depth, tokens + ((nowMs - atMs) * perSecond) / 1000)
    atMs = nowMs
    if (tokens < 1) return false
    tokens--
    return true
  }
}

/** So many in each second by the clock. */
function eachSecond(count: number): Rule {
  let second = 0
  let taken = 0
  return nowMs => {
    if (Math.floor(nowMs / 1000) !== second) {
      second = Math.floor(nowMs / 1000)
      taken = 0
    }
    return ++taken <= count
  }
}

/** By chance, the same each time. */
function chance(share: number, seed = 1): Rule {
  let state = seed
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32 >= share
  }
}

interface Run {
  offered?: number
  window?: number
  latencyMs?: number
}

interface Sums {
  sent: number
  taken: number
  throttled: number
}

/** A link of a carrier, a millisecond at a time. Everything that is offered waits until it is taken. */
class World {
  nowMs = 0
  waiting = 0
  readonly pace: Pace
  private readonly rule: Rule
  private readonly run: Required<Run>
  private flight: { sentMs: number; isTaken: boolean }[] = []
  private due = 0
  sums: Sums = { sent: 0, taken: 0, throttled: 0 }
  /** What left in each ms. */
  readonly left: number[] = []

  constructor(pace: Pace, rule: Rule, run: Run = {}) {
    this.pace = pace
    this.rule = rule
    this.run = { offered: Number.POSITIVE_INFINITY, window: 200, latencyMs: 5, ...run }
  }

  private step(): void {
    const { run, pace } = this
    this.nowMs++
    const now = this.nowMs
    this.due = Math.min(this.due + run.offered / 1000, 1e9)
    this.waiting += Math.floor(this.due)
    this.due -= Math.floor(this.due)
    let answered = 0
    while (answered < this.flight.length && (this.flight[answered]?.sentMs ?? 0) + run.latencyMs <= now) {
      const { sentMs, isTaken } = this.flight[answered++] as { sentMs: number; isTaken: boolean }
      if (isTaken) {
        this.sums.taken++
        pace.succeeded(sentMs)
      } else {
        this.sums.throttled++
        this.waiting++
        pace.throttled(sentMs, now)
      }
    }
    this.flight = this.flight.slice(answered)
    // Room is asked for after answers and at each tick.
    let left = 0
    if (answered > 0 || now % 10 === 0) {
      while (this.waiting > 0 && this.flight.length < run.window && pace.room(now) > 0) {
        pace.spend()
        this.waiting--
        this.sums.sent++
        left++
        this.flight.push({ sentMs: now, isTaken: this.rule(now + run.latencyMs / 2) })
      }
    }
    this.left.push(left)
  }

  /** What happened in that time. */
  pass(ms: number): Sums {
    this.sums = { sent: 0, taken: 0, throttled: 0 }
    for (let n = 0; n < ms; n++) this.step()
    return this.sums
  }
}

t.test('a limit is kept to evenly, also after a pause, and without one nothing is held back', async t => {
  for (const rate of [5, 50, 100, 730, 5_000, 40_000]) {
    const world = new World(new Pace(rate, 0), () => true, { window: 10_000 })
    for (const pauseMs of [0, 60_000]) {
      world.nowMs += pauseMs
      const from = world.left.length
      const { sent } = world.pass(10_000)
      t.ok(sent >= rate * 9.7 && sent <= rate * 10 + 2 + rate * 0.02, `${sent} in 10 s at ${rate}/s`)
      const most = Math.max(...world.left.slice(from))
      t.ok(most <= 2 + rate * 0.02, `${most} at once at ${rate}/s`)
    }
  }
  t.equal(new Pace(0, 0).room(0), Number.MAX_SAFE_INTEGER)
})

for (const limit of [5, 20, 100, 1_000, 5_000]) {
  for (const latencyMs of [2, 50, 300]) {
    t.test(`a carrier that takes ${limit}/s and answers in ${latencyMs} ms is sent that and little more`, async t => {
      for (const [rule, contract] of [
        [atMost, 0],
        [atMost, limit * 3],
        [eachSecond, 0],
      ] as const) {
        const world = new World(new Pace(contract, 0), rule(limit), { latencyMs, window: Math.max(10, limit * 2) })
        world.pass(30_000)
        const { sent, taken, throttled } = world.pass(60_000)
        const share = throttled / sent
        t.ok(taken / 60 >= limit * 0.9, `${taken / 60} a second`)
        // Of twenty a second, one too many is five per cent.
        t.ok(share < (limit > 20 ? 0.05 : 0.1), `${throttled} of ${sent} throttled`)
      }
    })
  }
}

for (const offered of [100, 1_000, 10_000]) {
  t.test(`a carrier that throttles 3 % whatever the rate is sent all of ${offered}/s`, async t => {
    for (const seed of [1, 2, 3]) {
      for (const contract of [0, offered]) {
        const world = new World(new Pace(contract, 0), chance(0.03, seed), { offered, latencyMs: 20, window: 1_000 })
        world.pass(20_000)
        const { taken } = world.pass(60_000)
        t.ok(taken / 60 >= offered * 0.85, `${taken / 60} a second, contract ${contract}`)
      }
    }
  })
}

t.test('a carrier that stops altogether is asked now and then, and has its pace back within seconds', async t => {
  for (const rate of [50, 1_000, 10_000]) {
    for (const contract of [0, rate]) {
      let isStopped = false
      const steady = atMost(rate)
      const world = new World(new Pace(contract, 0), now => !isStopped && steady(now), { window: 2_000, offered: rate })
      world.pass(20_000)
      isStopped = true
      world.pass(3_000)
      const { sent } = world.pass(10_000)
      t.ok(sent <= 20, `${sent} sends in 10 s while it takes nothing`)
      isStopped = false
      world.pass(6_000)
      const { taken } = world.pass(2_000)
      t.ok(taken / 2 >= rate * 0.75, `${taken / 2} a second 6 s later, of ${rate}`)
    }
  }
})

t.test('a carrier that takes more than before is sent more before long', async t => {
  let rule = atMost(100)
  const world = new World(new Pace(0, 0), now => rule(now))
  world.pass(20_000)
  rule = atMost(1_000)
  world.pass(25_000)
  const { taken } = world.pass(5_000)
  t.ok(taken / 5 >= 850, `${taken / 5} a second`)
})

t.test('one throttled answer after an idle hour holds nothing back', async t => {
  const pace = new Pace(0, 0)
  const world = new World(pace, () => true, { offered: 1 })
  world.pass(10_000)
  world.nowMs += 3_600_000
  pace.room(world.nowMs)
  pace.throttled(world.nowMs, world.nowMs + 5)
  t.equal(pace.ratePerSecond, 0)
})

t.test('a window of throttled answers is one reason to slow down, not many', async t => {
  const pace = new Pace(1_000, 0)
  const world = new World(pace, () => true)
  world.pass(10_000)
  let rests = 0
  for (let n = 0; n < 500; n++) if (pace.throttled(world.nowMs, world.nowMs + n / 10)) rests++
  t.equal(rests, 1)
  t.ok(pace.resting(world.nowMs + 50), 'a rest')
  t.ok(pace.ratePerSecond >= 100, `${pace.ratePerSecond}`)
})

t.test('one carrier that throttles slows no other, and a new contract holds at once', async t => {
  const slow = new World(new Pace(0, 0), atMost(10))
  const quick = new World(new Pace(500, 0), () => true)
  slow.pass(10_000)
  t.equal(quick.pass(10_000).throttled, 0)
  t.equal(quick.pace.ratePerSecond, 500)
  quick.pace.limitTo(200, quick.nowMs)
  const { sent } = quick.pass(5_000)
  t.ok(sent >= 970 && sent <= 1_010, `${sent}`)
  quick.pace.limitTo(0, quick.nowMs)
  t.equal(quick.pace.room(quick.nowMs), Number.MAX_SAFE_INTEGER)
  quick.pace.limitTo(100, quick.nowMs)
  t.ok(quick.pace.room(quick.nowMs) <= 3)
})

t.test('it never comes to a stop', async t => {
  const pace = new Pace(10, 0)
  for (let now = 0; now < 60_000; now += 500) {
    pace.room(now)
    pace.throttled(now, now)
  }
  t.ok(pace.ratePerSecond >= 1)
  const world = new World(pace, () => true)
  world.nowMs = 61_000
  t.ok(world.pass(10_000).taken >= 40)
})
