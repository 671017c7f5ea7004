// Which route takes a message, and how its keys are read: by table and by property. Pure; no daemon, no carrier.
import fc from 'fast-check'
import t from 'tap'
import { digitsOf } from '../src/model/digits.js'
import { Message } from '../src/model/message.js'
import { type RewriteStep, rewriteAddress } from '../src/routing/addresses.js'
import { Blocked } from '../src/routing/blocked.js'
import { countries, countryOf, prefixesOf } from '../src/routing/countries.js'
import { Loops } from '../src/routing/loops.js'
import { common, PrefixMap } from '../src/routing/prefixes.js'
import { PriceTable } from '../src/routing/prices.js'
import { type RouteRule, RouteTable } from '../src/routing/table.js'
import { isOpen, windowOf } from '../src/routing/windows.js'

/** A Friday. */
const NOON = Date.UTC(2026, 10, 20, 12)
const HOUR_MS = 3_600_000

const rule = (id: number, more: Partial<RouteRule> = {}): RouteRule => ({
  id,
  position: id,
  name: `r${id}`,
  accounts: [],
  groups: [],
  ranks: [],
  sources: [],
  destinations: [],
  countries: [],
  networks: [],
  times: [],
  tags: [],
  carriers: [],
  by: 'order',
  named: 'listed',
  to: [{ carrier: 'up', weight: null }],
  ...more,
})

const NETWORKS = [
  { mccmnc: '26201', name: 'one', prefixes: ['4915', '491701'] },
  { mccmnc: '26202', name: 'two', prefixes: ['49152', '4917'] },
  { mccmnc: '310260', name: 'far', prefixes: ['1201555'] },
]

const shop = { systemId: 'shop', group: 'retail' }

const message = (more: Partial<Message> = {}): Message => Object.assign(new Message(), { source_addr: 'SHOP' }, more)

t.test('a rule takes exactly what each of its keys says', async t => {
  const tags = (...tags: string[]) => message({ extras: JSON.stringify({ tags }) })
  const night = { days: [], from: '22:00', to: '06:00', zone: 'Europe/Berlin' }
  const cases: [title: string, match: Partial<RouteRule>, yes: () => Asked[], no: () => Asked[]][] = [
    ['everything', {}, () => [{}, { to: '1' }], () => []],
    ['account', { accounts: ['shop', 'bank'] }, () => [{}], () => [{ by: { systemId: 'other', group: 'retail' } }]],
    ['group', { groups: ['retail'] }, () => [{}], () => [{ by: { systemId: 'shop', group: '' } }]],
    ['class', { ranks: [0, 2] }, () => [{ m: message({ rank: 0 }) }], () => [{ m: message({ rank: 1 }) }]],
    [
      'source',
      { sources: ['SH', '4'] },
      () => [{}, { m: message({ source_addr: '42' }) }],
      () => [{ m: message({ source_addr: 'sh' }) }],
    ],
    ['destination', { destinations: ['49', '43'] }, () => [{ to: '4915' }], () => [{ to: '4815' }, { to: '4' }]],
    [
      'country',
      { countries: ['DE', 'CA'] },
      () => [{ to: '4915' }, { to: '12045550100' }],
      () => [{ to: '12015550100' }, { to: '43664' }],
    ],
    [
      'country of a shared code',
      { countries: ['US'] },
      () => [{ to: '12015550100' }],
      () => [{ to: '12045550100' }, { to: '18765550100' }],
    ],
    [
      'network',
      { networks: ['26201'] },
      () => [{ to: '491511' }, { to: '4917012' }],
      () => [{ to: '491521' }, { to: '49177' }],
    ],
    [
      'mobile country',
      { networks: ['262'] },
      () => [{ to: '491511' }, { to: '49177' }],
      () => [{ to: '12015551' }, { to: '4930' }],
    ],
    ['time', { times: [night] }, () => [{ at: NOON + 10 * HOUR_MS }, { at: NOON - 8 * HOUR_MS }], () => [{ at: NOON }]],
    ['tag', { tags: ['spring'] }, () => [{ m: tags('a', 'spring') }], () => [{ m: tags('a') }, {}]],
    ['named carrier', { carriers: ['up'] }, () => [{ m: message({ carrierName: 'up' }) }], () => [{}]],
    [
      'a carrier that is not its own',
      {},
      () => [{ m: message({ carrierName: 'up' }) }],
      () => [{ m: message({ carrierName: 'down' }) }],
    ],
    ['any carrier', { named: 'any' }, () => [{ m: message({ carrierName: 'down' }) }], () => []],
    [
      'country and network',
      { countries: ['DE'], networks: ['310260'] },
      () => [],
      () => [{ to: '12015551' }, { to: '491511' }],
    ],
    [
      'destination and network',
      { destinations: ['49151', '1'], networks: ['262'] },
      () => [{ to: '491511' }],
      () => [{ to: '4917' }, { to: '12015551' }],
    ],
    ['a country that is none', { countries: ['QQ'] }, () => [], () => [{}, { to: '999999' }]],
  ]
  for (const [title, match, yes, no] of cases) {
    const table = new RouteTable([rule(1, match)], NETWORKS)
    for (const { by = shop, m = message(), to = '4915112345678', at = NOON } of yes()) {
      t.equal(table.match(by, m, to, at)?.id, 1, `${title}: ${to}`)
      t.equal(table.whyNot(0, by, m, to, at), undefined, `${title}: nothing is in its way`)
    }
    for (const { by = shop, m = message(), to = '4915112345678', at = NOON } of no()) {
      t.equal(table.match(by, m, to, at), undefined, `${title}: not ${to}`)
      t.ok(table.whyNot(0, by, m, to, at), `${title}: and it says why`)
    }
  }
})

interface Asked {
  by?: typeof shop
  m?: Message
  to?: string
  at?: number
}

t.test('the trie finds the rule that a search through all of them would find', async t => {
  const digits = fc.stringMatching(/^[1-4]{1,5}$/)
  const few = <T>(one: fc.Arbitrary<T>) => fc.oneof(fc.constant<T[]>([]), fc.uniqueArray(one, { maxLength: 3 }))
  const networks = fc.uniqueArray(fc.tuple(digits, fc.constantFrom('26201', '26202', '31026')), {
    selector: ([prefix]) => prefix,
    maxLength: 6,
  })
  const rules = fc.array(
    fc.record({
      position: fc.nat(5),
      accounts: few(fc.constantFrom('shop', 'bank')),
      groups: few(fc.constantFrom('retail', 'x')),
      ranks: few(fc.constantFrom(0 as const, 1 as const, 2 as const)),
      sources: few(fc.constantFrom('S', 'SH', 'A')),
      destinations: few(digits),
      countries: few(fc.constantFrom('US', 'CA', 'EG', 'NL', 'ES', 'RU', 'GR', 'ZZ')),
      networks: few(fc.constantFrom('26201', '262', '31026', '90101')),
      tags: few(fc.constantFrom('a', 'b')),
    }),
    { maxLength: 8 },
  )
  const asked = fc.record({
    to: fc.stringMatching(/^[1-4]{9}$/),
    account: fc.constantFrom('shop', 'bank', 'other'),
    rank: fc.constantFrom(0 as const, 1 as const, 2 as const),
    source_addr: fc.constantFrom('SHOP', 'ABC', ''),
    tags: few(fc.constantFrom('a', 'b', 'c')),
  })
  fc.assert(
    fc.property(rules, networks, fc.array(asked, { minLength: 1, maxLength: 10 }), (rows, prefixes, all) => {
      const compiled = rows.map((more, i) => rule(i + 1, more))
      const known = ['26201', '26202', '31026'].map(mccmnc => ({
        mccmnc,
        name: '',
        prefixes: prefixes.filter(([, of]) => of === mccmnc).map(([prefix]) => prefix),
      }))
      const table = new RouteTable(compiled, known)
      for (const { to, account, rank, source_addr, tags } of all) {
        const m = message({ rank, source_addr, extras: tags.length === 0 ? '' : JSON.stringify({ tags }) })
        const network = longest(prefixes, to)
        const naive = [...compiled]
          .sort((a, b) => a.position - b.position || a.id - b.id)
          .find(
            one =>
              has(one.accounts, account) &&
              has(one.groups, 'retail') &&
              has(one.ranks, rank) &&
              (one.sources.length === 0 || one.sources.some(prefix => source_addr.startsWith(prefix))) &&
              (one.destinations.length === 0 || one.destinations.some(prefix => to.startsWith(prefix))) &&
              has(one.countries, countryOf(to)) &&
              (one.networks.length === 0 ||
                one.networks.some(of => network !== '' && network.slice(0, of.length) === of)) &&
              (one.tags.length === 0 || one.tags.some(tag => (tags as string[]).includes(tag))),
          )
        const found = table.match({ systemId: account, group: 'retail' }, m, to, NOON)
        if (found?.id !== naive?.id) return false
      }
      return true
    }),
    { numRuns: 200 },
  )
  t.pass('200 tables')
})

const has = <T>(list: readonly T[], one: T): boolean => list.length === 0 || list.includes(one)

function longest(prefixes: readonly (readonly [string, string])[], digits: string): string {
  const all = prefixes.filter(([prefix]) => digits.startsWith(prefix)).sort(([a], [b]) => b.length - a.length)
  return all[0]?.[1] ?? ''
}

t.test(
  'covers of a prefix map hold each number once, and its owner’s; what sets have in common is in both',
  async t => {
    const digits = fc.stringMatching(/^[0-3]{1,4}$/)
    const entries = fc.uniqueArray(fc.tuple(digits, fc.constantFrom('a', 'b', 'c')), {
      selector: ([one]) => one,
      maxLength: 8,
    })
    fc.assert(
      fc.property(entries, fc.stringMatching(/^[0-3]{6}$/), (all, number) => {
        const map = new PrefixMap(all)
        const holding = [...map.covers()].flatMap(([owner, cover]) =>
          cover.filter(prefix => number.startsWith(prefix)).map(() => owner),
        )
        const owner = longest(all, number)
        return map.ownerOf(number) === owner && holding.join() === owner
      }),
    )
    fc.assert(
      fc.property(
        fc.array(digits, { maxLength: 5 }),
        fc.array(digits, { maxLength: 5 }),
        fc.stringMatching(/^[0-3]{6}$/),
        (a, b, number) => {
          const within = (set: readonly string[]): boolean => set.some(prefix => number.startsWith(prefix))
          return within(common(a, b)) === (within(a) && within(b))
        },
      ),
    )
    t.pass('100 of each')
  },
)

t.test('numbers are of their countries, where countries share a code too', async t => {
  const of: Record<string, string> = {
    '4915112345678': 'DE',
    '447400123456': 'GB',
    '447700900123': 'JE',
    '12025550123': 'US',
    '16045550123': 'CA',
    '18765550123': 'JM',
    '79161234567': 'RU',
    '77011234567': 'KZ',
    '390612345678': 'IT',
    '390669812345': 'VA',
    '262692123456': 'RE',
    '262639123456': 'YT',
    '38344123456': 'XK',
    '21012345678': '',
  }
  for (const [number, country] of Object.entries(of)) t.equal(countryOf(number), country, number)
  t.equal(countries.length > 230, true)
  for (const country of countries) {
    for (const prefix of prefixesOf(country))
      if (countryOf(`${prefix}00000000`) !== country) t.fail(`${country} ${prefix}`)
  }
})

t.test('a window is open by the clocks of its zone, over midnight and over their changes', async t => {
  const open = (days: string[], from: string, to: string, zone: string, at: string): boolean =>
    isOpen(windowOf({ days, from, to, zone }), Date.parse(at))
  const cases: [boolean, string[], string, string, string, string][] = [
    [true, [], '08:00', '20:00', 'UTC', '2026-11-20T08:00:00Z'],
    [false, [], '08:00', '20:00', 'UTC', '2026-11-20T20:00:00Z'],
    [true, [], '00:00', '24:00', 'UTC', '2026-11-20T23:59:59Z'],
    [true, ['fri'], '22:00', '06:00', 'UTC', '2026-11-21T05:59:59Z'],
    [false, ['fri'], '22:00', '06:00', 'UTC', '2026-11-20T05:00:00Z'],
    [true, ['sat'], '00:00', '01:00', 'Asia/Tokyo', '2026-11-20T15:30:00Z'],
    [false, ['fri'], '00:00', '01:00', 'Asia/Tokyo', '2026-11-20T15:30:00Z'],
    [true, [], '09:00', '10:00', 'Europe/Berlin', '2026-07-01T07:30:00Z'],
    [true, [], '09:00', '10:00', 'Europe/Berlin', '2026-12-01T08:30:00Z'],
    [false, [], '09:00', '10:00', 'Europe/Berlin', '2026-12-01T07:30:00Z'],
    [true, [], '05:30', '05:45', 'Asia/Kathmandu', '2026-11-19T23:46:00Z'],
  ]
  for (const [expected, days, from, to, zone, at] of cases) {
    t.equal(open(days, from, to, zone, at), expected, `${at} in ${days} ${from}-${to} ${zone}`)
  }
})

t.test('the longest prefix names the price, to the millionth', async t => {
  const prices = new PriceTable({ '49': 0.05, '4915': 0.045001, '1': 0, default: 0.1 })
  t.equal(prices.micros('4930'), 50_000)
  t.equal(prices.micros('49151'), 45_001)
  t.equal(prices.micros('1201'), 0)
  t.equal(prices.micros('33'), 100_000)
  t.equal(new PriceTable({ '49': 1 }).micros('33'), undefined)
})

t.test('steps of rewriting act in their order, and none makes an address that SMPP has no room for', async t => {
  const cases: [steps: RewriteStep[], from: string, to: string, ton?: number][] = [
    [[{ prefix: '00', strip: 2 }], '0049151', '49151'],
    [[{ prefix: '+', replace: '00' }], '+49151', '0049151'],
    [[{ prefix: '49', replace: '0', ton: 2, npi: 1 }], '49151', '0151', 2],
    [[{ prefix: '49', replace: '0', ton: 2 }], '43664', '43664'],
    [[{ kind: 'name', replace: '15550001', ton: 1 }], 'SHOP', '15550001', 1],
    [[{ kind: 'name', replace: '15550001' }], '4711', '4711'],
    [
      [
        { kind: 'short', prepend: '9' },
        { kind: 'number', prepend: '8' },
      ],
      '4711',
      '94711',
    ],
    [[{ map: { SHOP: 'STORE', constructor: 'x' } }], 'SHOP', 'STORE'],
    [[{ map: { SHOP: 'STORE' } }], 'toString', 'toString'],
    [
      [
        { strip: 1, prepend: '00' },
        { prefix: '00', replace: '+' },
      ],
      '+49',
      '+49',
    ],
    [[{ prepend: '12345678901234567890' }], '1', '1'],
    [[{ strip: 20 }], '49151', '49151'],
    [[{ ton: 1 }], '49151', '49151', 1],
    [[{ kind: 'name', replace: 'X' }], '', ''],
    [[{ replace: 'X' }], '', 'X'],
  ]
  for (const [steps, from, to, ton] of cases) {
    const { address, ton: tonNow } = rewriteAddress(steps, from)
    t.equal(address, to, JSON.stringify(steps))
    t.equal(tonNow, ton)
  }
})

t.test('a blocked prefix blocks everybody, or the account that it names', async t => {
  const blocked = new Blocked([
    { account: '', prefix: '88213', reason: 'satellite' },
    { account: 'shop', prefix: '49', reason: '' },
  ])
  t.equal(blocked.reason('bank', '882131'), 'satellite')
  t.equal(blocked.reason('shop', '4915'), '')
  t.equal(blocked.reason('bank', '4915'), undefined)
  t.equal(blocked.reason('shop', '8821'), undefined)
  t.equal(new Blocked([]).reason('shop', '49'), undefined)
})

t.test('what comes back over another account is suspected after ten times a minute, and nothing else is', async t => {
  const loops = new Loops({ returns: 10, repeats: 0 })
  const one = (account: number, body = 'hello'): Message =>
    message({ account, source_addr: '1', destination_addr: '2', body: Buffer.from(body) })
  for (let i = 0; i < 100; i++) t.notOk(loops.suspect(one(1), i), 'its own account may say it again')
  const verdicts: boolean[] = Array.from({ length: 12 }, (_, i) => loops.suspect(one(2), 200 + i))
  t.same(verdicts, [...Array(10).fill(false), true, true])
  t.notOk(loops.suspect(one(2, 'hellp'), 300), 'another text is another message')
  t.notOk(loops.suspect(one(2), 61_000), 'and a minute later it begins anew')
  const strict = new Loops({ returns: 0, repeats: 2 })
  t.same(
    [0, 1, 2, 3].map(at => strict.suspect(one(1), at)),
    [false, false, true, true],
  )
  // Far more messages than there is room for: none is taken for another.
  let suspected = 0
  for (let i = 0; i < 150_000; i++) if (loops.suspect(one(i & 1, `m${i}`), 70_000 + i / 100)) suspected++
  t.equal(suspected, 0)
})

t.test('digits are told from what is no number', async t => {
  const cases: [string, string][] = [
    ['+4915112345678', '4915112345678'],
    ['004915112345678', '4915112345678'],
    ['112', '112'],
    ['12', ''],
    ['SHOP', ''],
    ['1234567890123456', ''],
    ['+', ''],
    ['+004915112345678', '4915112345678'],
    ['00004915112345678', '4915112345678'],
    ['+00+004915112345678', '4915112345678'],
    ['015112345678', '015112345678'],
    ['00015112345678', '015112345678'],
    ['0000', ''],
    ['4+9151', ''],
  ]
  for (const [address, digits] of cases) {
    t.equal(digitsOf(address), digits, address)
    t.equal(digitsOf(digits), digits, 'and the digits are their own')
  }
})
