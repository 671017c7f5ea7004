// How one of a route's carriers is chosen, and what is learned of them: simulated carriers whose true rates nobody tells.
import t from 'tap'
import { buildConcatUdh } from '../protocols/gsm/udh.js'
import { Message } from '../src/model/message.js'
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
