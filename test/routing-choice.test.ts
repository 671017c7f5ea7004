// How one of a route's carriers is chosen, and what is learned of them: simulated carriers whose true rates nobody tells.
import t from 'tap'
import { buildConcatUdh } from '../protocols/gsm/udh.js'
import { ManualClock } from '../src/base/clock.js'
import { IdMaker } from '../src/base/ids.js'
import type { Part } from '../src/carriers/driver.js'
import { Routing, type RoutingHost } from '../src/daemon/routing.js'
import { Message, type MessageState, state } from '../src/model/message.js'
import type { Outcome } from '../src/model/outcome.js'
import { Chooser, type Merits } from '../src/routing/choose.js'
import { Quality } from '../src/routing/quality.js'
import type { RouteRule } from '../src/routing/table.js'

const route = (by: RouteRule['by'], carriers: readonly string[]): RouteRule =>
  ({ id: 1, by, to: carriers.map(carrier => ({ carrier, weight: null })) }) as unknown as RouteRule

const message = (n: number, more: Partial<Message> = {}): Message =>
  Object.assign(new Message(), { account: 1, source_addr: 'SHOP', destination_addr: `4915${1e7 + n}` }, more)

const always = (): boolean => true

/** A die that falls the same each time. */
function die(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

interface Simulated {
  /** Delivered of what is sent at that moment; negative: and of the rest nothing is heard. */
  rate(nowMs: number): number
  receiptMs(): number
}

/** Messages at a pace through a chooser that learns; what became of them. */
class World {
  readonly quality = new Quality()
  private readonly chooser: Chooser
  private readonly rule: RouteRule
  private readonly carriers: Readonly<Record<string, Simulated>>
  private readonly random: () => number
  private readonly due: { atMs: number; carrier: string; ok: boolean; afterMs: number }[] = []
  nowMs = 0
  sent = 0
  private reportMs = 0

  constructor(carriers: Readonly<Record<string, Simulated>>, seed = 7) {
    this.carriers = carriers
    this.random = die(seed)
    this.rule = route('quality', Object.keys(carriers))
    const { quality } = this
    const merits: Merits = {
      priceMicros: () => undefined,
      areaOf: () => 'DE',
      standing: (carrier, area, nowMs) => quality.standing(carrier, area, nowMs),
    }
    this.chooser = new Chooser(merits)
  }

  /** Shares of the carriers, and the share that was delivered. */
  run(ms: number, perSecond: number): { shares: Record<string, number>; delivered: number; best: number } {
    const counts: Record<string, number> = {}
    let delivered = 0
    let best = 0
    const messages = Math.round((ms / 1000) * perSecond)
    for (let i = 0; i < messages; i++) {
      this.nowMs += 1000 / perSecond
      this.report()
      const carrier = this.chooser.choose(this.rule, message(this.sent++), always, this.nowMs) as string
      counts[carrier] = (counts[carrier] ?? 0) + 1
      best += Math.max(...Object.values(this.carriers).map(one => Math.abs(one.rate(this.nowMs))))
      if (this.send(carrier)) delivered++
    }
    const shares = Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, count / messages]))
    return { shares, delivered, best }
  }

  private send(carrier: string): boolean {
    const { rate, receiptMs } = this.carriers[carrier] as Simulated
    const now = rate(this.nowMs)
    const ok = this.random() < Math.abs(now)
    this.quality.observe(carrier, 'DE', { kind: 'sent' }, this.nowMs)
    if (ok || now > 0) {
      const afterMs = receiptMs()
      this.due.push({ atMs: this.nowMs + afterMs, carrier, ok, afterMs })
    }
    return ok
  }

  private report(): void {
    if (this.nowMs < this.reportMs) return
    this.reportMs = this.nowMs + 200
    for (let i = this.due.length - 1; i >= 0; i--) {
      const { atMs, carrier, ok, afterMs } = this.due[i] as (typeof this.due)[number]
      if (atMs > this.nowMs) continue
      this.due.splice(i, 1)
      this.quality.observe(carrier, 'DE', { kind: ok ? 'delivered' : 'failed', afterMs }, this.nowMs)
    }
  }
}

const steady = (rate: number, from: number, to: number, random: () => number): Simulated => ({
  rate: () => rate,
  receiptMs: () => from + random() * (to - from),
})

t.test('learning costs less than a tenth of what the best of three carriers would deliver', async t => {
  const cases: [rates: number[], perSecond: number, ms: number][] = [
    [[0.97, 0.9, 0.6], 50, 300_000],
    [[0.3, 0.5, 0.95], 50, 300_000],
    [[0.8, 0.78, 0.4], 10, 600_000],
    [[0.2, 0.9, 0.1], 3, 1_200_000],
    [[0.99, 0.99, 0.99], 50, 120_000],
  ]
  for (const [rates, perSecond, ms] of cases) {
    for (const seed of [1, 2]) {
      const random = die(seed * 31)
      const world = new World(
        Object.fromEntries(
          rates.map((rate, i) => [`c${i}`, steady(rate, 1_000 + i * 1_000, 4_000 + i * 1_000, random)]),
        ),
        seed,
      )
      const { delivered, best } = world.run(ms, perSecond)
      const regret = 1 - delivered / best
      t.ok(regret < 0.1, `${rates} at ${perSecond}/s: ${(regret * 100).toFixed(1)} %`)
    }
  }
})

t.test('a carrier that turns sick loses its traffic within seconds and earns it back when it is well', async t => {
  for (const silent of [false, true]) {
    const random = die(99)
    const isSick = (ms: number): boolean => ms >= 60_000 && ms < 120_000
    const well = steady(0.98, 500, 1_500, random)
    const world = new World({
      good: { rate: ms => (isSick(ms) ? (silent ? -0.0001 : 0.02) : 0.98), receiptMs: well.receiptMs },
      spare: steady(0.9, 500, 1_500, random),
    })
    world.run(55_000, 50)
    t.ok((world.run(5_000, 50).shares.good ?? 0) > 0.9, 'the better carrier has the traffic')
    world.run(8_000, 50)
    const sick = world.run(10_000, 50)
    t.ok(
      (sick.shares.good ?? 0) < 0.1,
      `eight seconds later it has ${sick.shares.good} of it${silent ? ', silent' : ''}`,
    )
    t.ok((sick.shares.good ?? 0) > 0, 'and a little is still tried')
    world.run(120_000 - world.nowMs, 50)
    world.run(45_000, 50)
    const back = world.run(10_000, 50)
    t.ok((back.shares.good ?? 0) > 0.9, `and it has earned ${back.shares.good} back${silent ? ', silent' : ''}`)
  }
})

t.test('receipts that are not due yet are held against nobody', async t => {
  const quality = new Quality()
  for (let ms = 0; ms < 100_000; ms += 100) {
    quality.observe('slow', 'DE', { kind: 'sent' }, ms)
    if (ms >= 30_000) quality.observe('slow', 'DE', { kind: 'delivered', afterMs: 30_000 }, ms)
    if (ms >= 36_000 && ms % 1_000 === 0) {
      t.ok(quality.standing('slow', 'DE', ms).rate > 0.9, `${ms} ms: ${quality.standing('slow', 'DE', ms).rate}`)
    }
  }
})

t.test('of carriers that deliver alike the one with the quicker receipts is the better', async t => {
  const random = die(5)
  const world = new World({ slow: steady(0.95, 25_000, 30_000, random), quick: steady(0.95, 500, 1_000, random) })
  world.run(120_000, 20)
  t.ok((world.run(60_000, 20).shares.quick ?? 0) > 0.85)
})

t.test('what nobody has tried yet is tried a little, not with all', async t => {
  const random = die(3)
  const world = new World({ known: steady(0.7, 500, 1_000, random), fresh: steady(0.99, 60_000, 70_000, random) })
  // Until its first receipts can have come.
  world.run(20_000, 50)
  const { shares } = world.run(5_000, 50)
  t.ok((shares.fresh ?? 0) > 0.005 && (shares.fresh ?? 0) < 0.6, `${shares.fresh}`)
})

t.test('parts of one text keep their carrier, whatever is learned in between', async t => {
  let score = 0.9
  const merits: Merits = {
    priceMicros: () => undefined,
    areaOf: () => '',
    standing: carrier => ({ score: carrier === 'a' ? score : 0.8, rate: 0, samples: 100, medianMs: null }),
  }
  const chooser = new Chooser(merits)
  const rule = route('quality', ['a', 'b'])
  const part = (n: number, seq: number): Message =>
    message(n, { esm_class: 0x40, body: buildConcatUdh(n & 0xff, 3, seq, 8) })
  let moved = 0
  for (let n = 0; n < 200; n++) {
    score = 0.9
    const first = chooser.choose(rule, part(n, 1), always, n)
    score = 0.1
    const others = [2, 3].map(seq => chooser.choose(rule, part(n, seq), always, n + 6_000 * seq))
    t.same(others, [first, first])
    if (chooser.choose(rule, message(n), always, n) !== first) moved++
    t.equal(
      chooser.choose(rule, part(n, 3), name => name !== first, n),
      first === 'a' ? 'b' : 'a',
      'but not when it is down',
    )
  }
  t.ok(moved > 150, 'while other messages follow what is learned')
})

t.test('exploration takes a few percent, another few at another time, and no die', async t => {
  const merits: Merits = {
    priceMicros: () => undefined,
    areaOf: () => '',
    standing: carrier => ({ score: carrier === 'a' ? 0.95 : 0.5, rate: 0, samples: 100, medianMs: null }),
  }
  const chooser = new Chooser(merits)
  const rule = route('quality', ['a', 'b', 'c'])
  const at = (nowMs: number): Set<number> =>
    new Set(
      Array.from({ length: 10_000 }, (_, n) => n).filter(n => chooser.choose(rule, message(n), always, nowMs) !== 'a'),
    )
  const now = at(1_000)
  t.ok(now.size > 200 && now.size < 600, `${now.size} of 10,000`)
  t.same(at(1_000), now)
  const later = at(1_000_000)
  const both = [...later].filter(n => now.has(n))
  t.ok(both.length < later.size / 4, `${both.length} of ${later.size} are explored with again`)
})

t.test('by price the cheapest that is up is taken, the first of equals, what has no price last', async t => {
  const prices: Record<string, number | undefined> = { a: 500, b: 300, c: undefined, d: 300 }
  const chooser = new Chooser({
    priceMicros: (carrier, digits) => (digits.startsWith('49') ? prices[carrier] : undefined),
    areaOf: () => '',
    standing: () => ({ score: 0, rate: 0, samples: 0, medianMs: null }),
  })
  const rule = route('price', ['c', 'a', 'b', 'd'])
  const but = (...down: string[]) => chooser.choose(rule, message(1), name => !down.includes(name), 0)
  t.equal(but(), 'b')
  t.equal(but('b'), 'd')
  t.equal(but('b', 'd'), 'a')
  t.equal(but('b', 'd', 'a'), 'c')
  t.equal(but('a', 'b', 'c', 'd'), undefined)
  t.equal(
    chooser.choose(rule, message(1, { destination_addr: '33612345678' }), always, 0),
    'c',
    'without prices, by order',
  )
})

t.test('memory stays within its bounds however many areas there are', async t => {
  const quality = new Quality()
  for (let n = 0; n < 8_000; n++) quality.observe(`c${n % 3}`, `a${n}`, { kind: 'refused' }, n)
  const known = Array.from({ length: 8_000 }, (_, n) => n).filter(
    n => quality.standing(`c${n % 3}`, `a${n}`, 8_000).samples > 0,
  )
  t.ok(known.length <= 4_096, `${known.length} are remembered`)
  t.equal(known.at(-1), 7_999, 'the newest among them')
  t.ok(quality.standing('c0', '', 8_000).samples > 0, 'and the carriers as wholes')
})

const DENIED: Outcome = { kind: 'refused', code: 'ESME_RINVDSTADR', reason: '' }
const BROKEN: Outcome = { kind: 'deferred', code: 'ESME_RSYSERR', reason: '' }

/** What carriers answer and report, as the daemon hears it, and what it has learned of A and of B. */
function school() {
  const clock = new ManualClock(Date.UTC(2026, 10, 20))
  clock.advance(1_000_000)
  const ids = new IdMaker(clock, 0)
  const keys = ['accounts', 'groups', 'ranks', 'sources', 'destinations', 'countries', 'networks', 'times', 'tags']
  const rule = { ...route('quality', ['A', 'B']), ...Object.fromEntries(keys.map(key => [key, []])), carriers: [] }
  const routing = new Routing({
    directory: { routes: () => [rule], networks: () => [], blocked: () => [], carriers: () => [] },
    clock,
    limits: { returns: 0, repeats: 0 },
  } as unknown as RoutingHost)
  const sent = (account = 1, more: Partial<Message> = {}): Message => message(0, { id: ids.next(), account, ...more })
  return {
    clock,
    sent,
    answer: (carrier: string, m: Message, outcome: Outcome, registered_delivery = 1): void =>
      routing.answered(carrier, { message: m, index: 0, registered_delivery } as Part, outcome),
    end: (carrier: string, m: Message, ending: MessageState) => routing.ended(carrier, m, ending),
    /** Taken and reported on. */
    deliver(carrier: string, account: number, ok: boolean) {
      const m = sent(account)
      this.answer(carrier, m, { kind: 'accepted', ref: 'x' })
      m.ref = 'x'
      this.end(carrier, m, ok ? state.DELIVERED : state.UNDELIVERABLE)
    },
    of(carrier: string) {
      clock.advance(300)
      return routing.standing(carrier, 'DE')
    },
    shareOfA(): number {
      clock.advance(300)
      let n = 0
      for (let i = 0; i < 2_000; i++) {
        if (routing.choose(rule, message(i, { source_addr: `s${i}` }), always) === 'A') n++
      }
      return n / 2_000
    },
  }
}

t.test('what a carrier says of a message does not speak against the carrier', async t => {
  const { answer, end, of, sent, clock } = school()
  for (let i = 0; i < 50; i++) {
    clock.advance(100)
    answer('A', sent(), DENIED)
    const long = sent(1, { parts: [{ ref: '' }, { ref: '' }] as unknown as Message['parts'] })
    answer('A', long, DENIED)
    end('A', long, state.REJECTED)
    answer('A', sent(), { kind: 'unsure', code: 'link_lost' })
    answer('A', sent(), BROKEN, 0)
    end('A', sent(), state.EXPIRED)
    answer('A', sent(1, { attempts: 3 }), BROKEN)
  }
  t.equal(of('A').samples, 0)
  for (let i = 0; i < 50; i++) answer('A', sent(), i & 1 ? BROKEN : { kind: 'unsure', code: 'no_answer' })
  t.match(of('A'), { samples: 50 })
  t.ok(of('A').rate < 0.2)
  const long = sent(1, { parts: [{ ref: 'x' }, { ref: '' }] as unknown as Message['parts'] })
  end('B', long, state.UNDELIVERABLE)
  t.equal(of('B').samples, 1, 'what ends of which it took a part does')
})

t.test('one sender whose numbers nobody has takes no traffic from a carrier that delivers for others', async t => {
  const s = school()
  const all = (rounds: number, bad: (i: number) => void) => {
    for (let i = 0; i < rounds; i++) {
      s.clock.advance(20)
      for (const account of [1, 2]) {
        s.deliver('A', account, i % 50 !== 0)
        s.deliver('B', account, i % 20 >= 3)
      }
      bad(i)
    }
  }
  all(3_000, () => {})
  t.ok(s.shareOfA() > 0.9, 'A is better')
  all(500, () => s.deliver('A', 9, false))
  t.ok(s.shareOfA() > 0.9, 'and stays so, though a third of what it takes is for nobody')
  all(500, i => s.answer('A', s.sent(9), i & 1 ? BROKEN : DENIED))
  t.ok(s.shareOfA() > 0.9)
  // Whoever is alone is believed, and so is everybody at once.
  const alone = school()
  for (let i = 0; i < 1_000; i++) {
    alone.deliver('A', 9, i < 500)
    alone.clock.advance(20)
  }
  t.ok(alone.of('A').rate < 0.1)
  for (let i = 0; i < 1_000; i++) {
    s.clock.advance(20)
    for (const account of [1, 2, 9]) s.deliver('A', account, false)
    for (const account of [1, 2]) s.deliver('B', account, i % 20 >= 3)
  }
  t.ok(s.shareOfA() < 0.1)
})
