// What a message costs: money as people write it, the price that counts for a number, class and moment, and margins.

import fc from 'fast-check'
import t from 'tap'
import type { Account } from '../src/accounts/account.js'
import { parseGateway } from '../src/accounts/gatewayFile.js'
import {
  type GivesBack,
  readTariff,
  type StoredPrice,
  storedTariffSettings,
  tariffSettings,
} from '../src/accounts/tariffs.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { Billing, type BillingHost } from '../src/daemon/billing.js'
import { Routing, type RoutingHost } from '../src/daemon/routing.js'
import { Message, type MessageState, state } from '../src/model/message.js'
import { microsOf, unitsText } from '../src/model/money.js'
import type { RouteRule } from '../src/routing/table.js'
import { type TariffMargin, TariffTable, withMargin } from '../src/routing/tariffTable.js'
import { silent } from './support/postgres.js'

const NOW = Date.UTC(2026, 10, 20)
const DAY_MS = 86_400_000

t.test('an amount is read and written to the micro, and what is no exact amount is none', async t => {
  const good: [string | number, number][] = [
    ['12.5', 12_500_000],
    ['-0.000001', -1],
    ['+3', 3_000_000],
    [' 0.05 ', 50_000],
    [0.1, 100_000],
    [1e-6, 1],
    ['9007199254.740991', Number.MAX_SAFE_INTEGER],
    ['-0', 0],
  ]
  for (const [text, micros] of good) t.equal(microsOf(text), micros, String(text))
  const bad = ['', '-', '.5', '5.', '1e3', '0.0000001', '1,5', '9007199254.740992', '99999999999', '0x10', '1 2']
  for (const text of bad) t.equal(microsOf(text), undefined, text)
  for (const number of [1e-7, 1e21, Number.NaN, Number.POSITIVE_INFINITY])
    t.equal(microsOf(number), undefined, String(number))
  fc.assert(fc.property(fc.maxSafeInteger(), micros => microsOf(unitsText(micros)) === micros))
  t.same([12_500_000, -1, 0, 1_000_000].map(unitsText), ['12.5', '-0.000001', '0', '1'])
})

/** The price by the words of the rule, row by row. */
function naive(prices: readonly StoredPrice[], digits: string, rank: number, nowMs: number): number | undefined {
  for (let length = digits.length; length >= 0; length--) {
    for (const of of [rank, -1]) {
      const newest = prices
        .filter(([prefix, one, from]) => prefix === digits.slice(0, length) && one === of && (from ?? 0) <= nowMs)
        .sort((a, b) => (b[2] ?? 0) - (a[2] ?? 0))[0]
      if (newest && newest[3] !== null) return newest[3]
    }
  }
  return undefined
}

t.test('the longest prefix decides, its own class before every class, the newest that has begun', async t => {
  const prefix = fc.stringMatching(/^[1-3]{0,4}$/)
  const price = fc.tuple(
    prefix,
    fc.integer({ min: -1, max: 2 }),
    fc.option(fc.integer({ min: 1, max: 9 })),
    fc.option(fc.integer({ min: 0, max: 1e12 })),
  )
  const prices = fc.uniqueArray(price, { maxLength: 40, selector: ([a, b, c]) => `${a} ${b} ${c}` })
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        prices,
        fc.stringMatching(/^[1-4]{1,18}$/),
        fc.integer({ min: 0, max: 2 }),
        fc.nat(10),
        (all, to, rank, at) => {
          const table = new TariffTable().add(all)
          return table.priceMicros(to, rank as 0 | 1 | 2, at) === naive(all, to, rank, at)
        },
      ),
      { numRuns: 2_000 },
    ),
  )
})

t.test('a price of the future counts from its moment on, and one that ends leaves the shorter prefix', async t => {
  const table = new TariffTable().add([
    ['', -1, null, 90],
    ['49', -1, null, 10],
    ['49', -1, NOW + DAY_MS, 12],
    ['49', -1, NOW + 2 * DAY_MS, null],
    ['49', 0, null, 11],
  ])
  t.equal(table.priceMicros('4915', 1, NOW), 10)
  t.equal(table.priceMicros('4915', 1, NOW + DAY_MS - 1), 10)
  t.equal(table.priceMicros('4915', 1, NOW + DAY_MS), 12)
  t.equal(table.priceMicros('4915', 0, NOW + DAY_MS), 11)
  t.equal(table.priceMicros('4915', 1, NOW + 2 * DAY_MS), 90)
  t.equal(table.priceMicros('1', 1, NOW), 90)
})

t.test('a margin is exact at any cost, and the first that matches counts', async t => {
  const none = { hundredths: 0, fixedMicros: 0, minimumMicros: 0 }
  t.equal(withMargin(10_000, { ...none, hundredths: 1_250 }), 11_250)
  t.equal(withMargin(10_000, { ...none, hundredths: 1_250, fixedMicros: 500 }), 11_750)
  t.equal(withMargin(1, { ...none, minimumMicros: 5_000 }), 5_000)
  t.equal(withMargin(100, { ...none, hundredths: -10_000, fixedMicros: 0 }), 0)
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e12 }), fc.integer({ min: -10_000, max: 100_000 }), (cost, hundredths) => {
      const exact = BigInt(cost) * BigInt(10_000 + hundredths)
      const off = exact - BigInt(withMargin(cost, { ...none, hundredths })) * 10_000n
      return off <= 5_000n && off >= -5_000n
    }),
  )
  const { margins, givesBack } = readTariff({
    id: 1,
    name: 'retail',
    settings: {
      margins: [
        { prefix: '4930', percent: 1 },
        { country: 'DE', class: 'otp', percent: 2 },
        { country: 'de', percent: 3.25 },
      ],
      givesBack: ['unknown'],
    },
  })
  const table = new TariffTable(margins)
  t.equal(table.marginOf('493012', 1)?.hundredths, 100)
  t.equal(table.marginOf('4915', 0)?.hundredths, 200)
  t.equal(table.marginOf('4915', 1)?.hundredths, 325)
  t.equal(table.marginOf('4315', 1), undefined)
  t.same(givesBack, { after: new Set([state.UNKNOWN]), isTakenToo: true })
})

t.test('a tariff in a gateway file is read in both forms, and all that is wrong with it is said at once', async t => {
  const read = parseGateway(`
tariffs:
  - name: short
    prices: {"49": 0.05, default: 0.1}
  - name: long
    givesBack: [undeliverable]
    margins: [{prefix: "+33", percent: 10, minimum: "0.02"}]
    prices:
      - {prefix: "49", price: 0.05}
      - {prefix: "49", class: otp, from: 2030-01-01T00:00:00Z, price: null}
accounts: [{systemId: a, tariff: long}]
`)
  if (!read.ok) throw new Error(JSON.stringify(read.faults))
  t.same(
    read.file.tariffs?.map(({ prices }) => prices),
    [
      [
        ['49', -1, null, 50_000],
        ['', -1, null, 100_000],
      ],
      [
        ['49', -1, null, 50_000],
        ['49', 0, Date.UTC(2030, 0, 1), null],
      ],
    ],
  )
  const long = read.file.tariffs?.[1]
  const stored = storedTariffSettings(tariffSettings.parse({ margins: [{ prefix: '33', percent: 10, minimum: 0.02 }] }))
  t.same(long && storedTariffSettings(long), { ...stored, givesBack: ['undeliverable'] })
  t.same(stored, { margins: [{ prefix: '33', percent: 10, minimum: 0.02 }] }, 'what is default is not stored')

  const wrong = parseGateway(`
tariffs:
  - {name: a, prices: {x: 1}}
  - {name: a, prices: [{prefix: "4", price: 0.0000001}]}
  - {name: b, prices: [{prefix: "4", price: 1}, {prefix: "+4", price: 2}]}
  - {name: c, prices: [{prefix: "4", from: "9999-12-31T23:59:59-14:00", price: 1}]}
accounts: [{systemId: a, tariff: nobody}]
`)
  t.equal(wrong.ok, false)
  const again = parseGateway(`
tariffs:
  - {name: b, prices: [{prefix: "4", price: 1}, {prefix: "+4", price: 2}]}
accounts: [{systemId: a, tariff: nobody}]
`)
  t.match(!again.ok && again.faults.map(({ path, text }) => `${path} ${text}`), [
    'tariffs[0].prices[1] is a second price of its prefix, class and moment',
    'accounts[0].tariff names no tariff: nobody',
  ])
})

/** Of carriers `cheap` and `dear`, and the tariff 1 of these prices. */
function billing(pages: StoredPrice[][], margins: readonly TariffMargin[], givesBack?: GivesBack) {
  const known = new Set<number>()
  const costs: Record<string, number> = { cheap: 10_000, dear: 40_000, third: 90_000 }
  return {
    known,
    money: new Billing({
      directory: {
        tariffs: () => [],
        carriers: () => Object.keys(costs).map((name, i) => ({ id: i + 1, name })),
        account: () => ({ tariff: 1 }),
        tariff: (id: number) =>
          known.has(id) || givesBack ? { id, name: `tariff ${id}`, margins, givesBack } : undefined,
        pricesOf: () => pages,
      },
      ...{ spool: { identity: 'x' }, store: {}, node: 1, log: silent, clock: new ManualClock(0) },
      ...{ counters: new Counters(), priceMicros: (carrier: string) => costs[carrier] },
      costMicros: (carrier: string) => costs[carrier],
    } as unknown as BillingHost),
  }
}

const anywhere = { prefix: '', country: '', rank: -1, hundredths: 1_000, fixedMicros: 0, minimumMicros: 0 }
const rule = { to: [{ carrier: 'cheap' }, { carrier: 'dear' }], named: 'any' } as unknown as RouteRule

t.test('a margin is on the carrier that a message names, though its route does not, else on the dearest', async t => {
  const { money, known } = billing([], [anywhere])
  known.add(1)
  money.tariffsChanged([1])
  await money.priced()
  const price = (carrierName: string) => money.segmentMicros(1, { rank: 1, carrierName }, '4915', rule, NOW)
  t.equal(price(''), 44_000)
  t.equal(price('cheap'), 11_000)
  t.equal(price('third'), 99_000)
  t.equal(price('nobody'), undefined)
})

t.test('a tariff that has just come is waited for while it is read in pieces, and by nobody twice', async t => {
  const pages = Array.from({ length: 50 }, (_, i): StoredPrice[] => [[`49${i}`, -1, null, i]])
  const { money, known } = billing(pages, [])
  const account = (tariff: number) => ({ id: 1, tariff }) as Account
  const price = () => money.segmentMicros(1, { rank: 1, carrierName: '' }, '4949', undefined, NOW)
  t.equal(price(), undefined, 'there is none')
  known.add(1)
  t.equal(price(), 'wait')
  let turns = 0
  let isOver = false
  const turn = (): void => {
    turns++
    if (!isOver) setImmediate(turn)
  }
  turn()
  const ready = Promise.all(Array.from({ length: 20 }, () => money.ready(account(1))))
  money.tariffsChanged([1])
  t.same(new Set(await ready), new Set([true]))
  isOver = true
  t.ok(turns >= 50 && turns < 200, `${turns} turns`)
  t.equal(price(), 49)
})

t.test('a part whose text went in another message costs nothing more of its carrier', async t => {
  const { money } = billing([], [])
  const ending = { state: state.ACCEPTED, error: '', doneMs: NOW }
  const part = Object.assign(new Message(), { destination_addr: '4915', carrier: 1 })
  t.equal(money.settles(part, ending).costMicros, 10_000)
  part.joined = { waits: false, of: 0, ids: [7] }
  t.equal(money.settles(part, ending).costMicros, 10_000)
  part.joined = { waits: false, of: 8, ids: [] }
  t.equal(money.settles(part, ending).costMicros, 0)
})

t.test('what a carrier that is gone had taken costs what it did, and nothing new is priced by it', async t => {
  let carriers = [{ name: 'up', settings: { prices: { 49: 0.02 } } }]
  const routing = new Routing({
    directory: { routes: () => [], networks: () => [], blocked: () => [], carriers: () => carriers },
    ...{ clock: new ManualClock(0), limits: { returns: 0, repeats: 0 } },
  } as unknown as RoutingHost)
  carriers = []
  routing.follow('carriers')
  t.same([routing.priceMicros('up', '4915'), routing.costMicros('up', '4915')], [undefined, 20_000])
  carriers = [{ name: 'up', settings: { prices: { 49: 0.03 } } }]
  routing.follow('carriers')
  t.same([routing.priceMicros('up', '4915'), routing.costMicros('up', '4915')], [30_000, 30_000])
})

t.test('what no carrier has taken is given back, and of what one took no more than the tariff says', async t => {
  const usual = readTariff({ id: 1, name: 'usual', settings: {} }).givesBack
  const all = { givesBack: ['rejected', 'expired', 'deleted', 'undeliverable', 'unknown'] }
  const explicit = readTariff({ id: 1, name: 'explicit', settings: all }).givesBack
  t.same(storedTariffSettings(tariffSettings.parse({ givesBack: null })), {}, 'null is the default')
  const words = ['rejected', 'expired', 'deleted']
  t.same(storedTariffSettings(tariffSettings.parse({ givesBack: words })), { givesBack: words }, 'its own words stay')
  const back = (givesBack: GivesBack, how: MessageState, price: number, taken: number, of: number): number => {
    const { money } = billing([], [], givesBack)
    const m = Object.assign(new Message(), { destination_addr: '4915', carrier: 1, priceMicros: price })
    if (of === 1) m.ref = taken === 1 ? 'a' : ''
    else {
      const part = { ref: '', unsure: false, state: state.ENROUTE, err: '' }
      m.parts = Array.from({ length: of }, (_, i) => ({ ...part, answered: i < taken }))
    }
    return price - money.settles(m, { state: how, error: '', doneMs: NOW }).priceMicros
  }
  for (const how of [state.REJECTED, state.EXPIRED, state.DELETED]) {
    t.equal(back(usual, how, 100, 0, 1), 100, 'nobody took it')
    t.equal(back(usual, how, 100, 1, 1), 0, 'a carrier took it and then said so')
    t.equal(back(explicit, how, 100, 1, 1), 100, 'the tariff gives that back too')
    t.equal(back(usual, how, 100, 1, 2), 50)
    t.equal(back(explicit, how, 100, 1, 2), 50, 'what is on its way is not called back')
    t.equal(back(usual, how, 100_001, 2, 3), 33_333, 'rounded down')
  }
  t.same([back(usual, state.UNDELIVERABLE, 100, 0, 1), back(usual, state.UNKNOWN, 100, 1, 1)], [0, 0])
  t.same([back(explicit, state.UNDELIVERABLE, 100, 1, 2), back(explicit, state.UNKNOWN, 100, 1, 1)], [50, 100])
  t.equal(back(explicit, state.DELIVERED, 100, 2, 2), 0)
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e15 }), fc.nat(254), fc.integer({ min: 1, max: 255 }), (price, n, of) => {
      const taken = n % of
      if (of === 1) return true
      const exact = (BigInt(price) * BigInt(of - taken)) / BigInt(of)
      return BigInt(back(usual, state.DELETED, price, taken, of)) === exact
    }),
  )
  const { money } = billing([], [], usual)
  const part = Object.assign(new Message(), { priceMicros: 100, joined: { waits: false, of: 8, ids: [] } })
  const whole = Object.assign(new Message(), { ref: 'a' })
  const ending = { state: state.EXPIRED, error: '', doneMs: NOW }
  t.equal(money.settles(part, ending, whole).priceMicros, 100, 'its text was taken with another message')
})

t.test('among 200,000 prices the right one is found', async t => {
  const table = new TariffTable()
  for (let i = 0; i < 200_000; i++) table.add([[String(1_000_000 + i * 37), -1, null, i]])
  const numbers = Array.from({ length: 1_000 }, (_, i) => `${1_000_000 + i * 200 * 37}12345`)
  const once = (): number => {
    const from = performance.now()
    for (const to of numbers) table.priceMicros(to, 1, NOW)
    return ((performance.now() - from) * 1e6) / numbers.length
  }
  for (let i = 0; i < 50; i++) once()
  const best = Math.min(...Array.from({ length: 20 }, once))
  t.comment(`${best.toFixed(0)} ns a look-up`)
  t.equal(table.priceMicros('1007400', 1, NOW), 200)
})
