// Whose a message from a phone is: rules by table and against the plainest reading of them, parts of long messages, what
// belongs to nobody. With a spool that only remembers; stories over real connections are consent.test's.
import fc from 'fast-check'
import t from 'tap'
import { buildConcatUdh } from '../protocols/gsm/udh.js'
import type { Account } from '../src/accounts/account.js'
import { consentProfile } from '../src/accounts/consentProfile.js'
import { applyGateway } from '../src/accounts/gatewayApply.js'
import { exportGateway } from '../src/accounts/gatewayExport.js'
import { parseGateway } from '../src/accounts/gatewayFile.js'
import {
  fileInbound,
  type InboundRule,
  readInbound,
  type StoredInbound,
  storedInboundMatch,
  storedInboundTarget,
} from '../src/accounts/inbound.js'
import { INBOUND } from '../src/accounts/inboundRows.js'
import { firstWord, folded } from '../src/accounts/optWords.js'
import { Secrets } from '../src/accounts/secrets.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import type { Log } from '../src/base/log.js'
import type { Message } from '../src/model/message.js'
import type { Reply } from '../src/model/outcome.js'
import { InboundTable, type Inquiry } from '../src/returns/inboundTable.js'
import { queuesOf, Replies } from '../src/returns/replies.js'
import { type Report, type ReportQueue, type Spool, type Way, way } from '../src/spool/contract.js'
import { openStore } from '../src/store/postgres.js'
import { silent, someDatabases } from './support/postgres.js'

let ids = 0
/** As it comes from a gateway file. */
function rule(match: object, to: object = { account: 'shop' }, position = ++ids): InboundRule {
  const read = fileInbound.parse({ match, to })
  const stored = { match: storedInboundMatch(read.match), target: storedInboundTarget(read.to) }
  return readInbound({ id: ++ids, position, name: '', ...stored })
}

const ask = (inquiry: Partial<Inquiry>): Inquiry => ({
  called: '1234',
  source: '49171',
  carrier: 'up',
  text: '',
  ...inquiry,
})

t.test('a rule takes what it names and nothing else', async t => {
  const cases: [match: object, inquiry: Partial<Inquiry>, takes: boolean][] = [
    [{}, {}, true],
    [{ number: '1234' }, {}, true],
    [{ number: '+1234' }, {}, true],
    [{ number: '123' }, {}, false],
    [{ number: '12*' }, {}, true],
    [{ number: ['99', '*'] }, {}, true],
    [{ number: 'SHOP' }, { called: 'SHOP' }, true],
    [{ keyword: 'win' }, { text: 'WIN a car' }, true],
    [{ keyword: 'win' }, { text: '  "Win!" a car' }, true],
    [{ keyword: 'win' }, { text: 'winner' }, false],
    [{ keyword: 'win' }, { text: 'I win' }, false],
    [{ keyword: 'été' }, { text: 'ETE 2026' }, true],
    [{ keyword: 'straße' }, { text: 'STRASSE' }, true],
    [{ keyword: 'акция' }, { text: 'Акция да' }, true],
    [{ keyword: ['yes', 'no'] }, { text: 'No.' }, true],
    [{ keyword: 'win' }, { text: '' }, false],
    [{ carrier: 'up' }, {}, true],
    [{ carrier: ['a', 'b'] }, {}, false],
    [{ source: '49' }, {}, true],
    [{ source: '+49' }, {}, true],
    [{ source: '44' }, {}, false],
    [{ number: '1234', keyword: 'win', carrier: 'up', source: '49' }, { text: 'win' }, true],
    [{ number: '1234', keyword: 'win', carrier: 'up', source: '44' }, { text: 'win' }, false],
  ]
  for (const [match, inquiry, takes] of cases) {
    const table = new InboundTable([rule(match)])
    t.equal(table.match(ask(inquiry)) !== undefined, takes, `${JSON.stringify(match)} ${JSON.stringify(inquiry)}`)
  }
  for (const wrong of [
    { number: '1*2' },
    { keyword: 'two words' },
    { keyword: '!' },
    { source: 'x' },
    { colour: 'red' },
  ]) {
    t.notOk(fileInbound.safeParse({ match: wrong, to: { account: 'shop' } }).success, JSON.stringify(wrong))
  }
})

t.test('of thousands of rules the first that takes the message is found, as one by one would find it', async t => {
  const some = (values: string[]) => fc.uniqueArray(fc.constantFrom(...values), { maxLength: 2 })
  const aRule = fc.record({
    number: some(['1000', '1001', '10*', '2*', '*']),
    keyword: some(['win', 'Été', 'go']),
    carrier: some(['up', 'down']),
    source: some(['49', '4917', '44']),
  })
  const anInquiry = fc.record({
    called: fc.constantFrom('1000', '1001', '1002', '2'),
    source: fc.constantFrom('4917', '4930', '44', '1'),
    carrier: fc.constantFrom('up', 'down', 'side'),
    text: fc.constantFrom('WIN', 'ete x', 'go.', 'stay', ''),
  })
  const plainly = (rules: readonly InboundRule[], { called, source, carrier, text }: Inquiry) =>
    rules.find(
      one =>
        (one.numbers.length === 0 ||
          one.numbers.some(n => (n.endsWith('*') ? called.startsWith(n.slice(0, -1)) : n === called))) &&
        (one.keywords.length === 0 || one.keywords.includes(firstWord(text))) &&
        (one.carriers.length === 0 || one.carriers.includes(carrier)) &&
        (one.sources.length === 0 || one.sources.some(prefix => source.startsWith(prefix))),
    )
  fc.assert(
    fc.property(fc.array(aRule, { maxLength: 12 }), anInquiry, (matches, inquiry) => {
      const rules = matches.map((match, i) => rule(match, { account: 'shop' }, i))
      const shuffled = [...rules].reverse()
      return new InboundTable(shuffled).match(inquiry) === plainly(rules, inquiry)
    }),
    { numRuns: 2_000 },
  )
  t.equal(folded('Été'), 'ETE')
})

const account = (id: number, systemId: string, consent: object = {}): Account =>
  ({ id, systemId, consent: consentProfile.parse(consent) }) as unknown as Account
const shop = account(7, 'shop')
const other = account(8, 'other', { help: 'Ask us', confirm: 'Bye' })
const own = account(9, 'own', { stop: false })

const PLAIN: Reply = {
  carrier: 1,
  service_type: '',
  source_addr_ton: 1,
  source_addr_npi: 1,
  source_addr: '4917112345678',
  dest_addr_ton: 0,
  dest_addr_npi: 1,
  destination_addr: '1000',
  esm_class: 0,
  protocol_id: 0,
  priority_flag: 0,
  data_coding: 0,
  body: Buffer.from('hello'),
  tlvs: Buffer.alloc(0),
}

function house(rules: readonly InboundRule[] = [], hooks: readonly ReportQueue[] = []) {
  const stored: { of: number; by: Way; reply: Reply }[] = []
  const waiting: Report[] = []
  const noted: object[] = []
  const answers: { m: Message; account: string }[] = []
  const stops = new Set<string>()
  const asked = new Set<string>()
  const clock = new ManualClock(Date.UTC(2026, 0, 1))
  clock.advance(1)
  const counts = new Counters()
  const warned: object[] = []
  const spool = {
    exhausted: false,
    reply(of: number, reply: Reply, by: Way = way.bind) {
      stored.push({ of, by, reply })
      if (of === 0) waiting.push({ seq: waiting.length, way: by, account: 0, kind: 'reply', atMs: 1, reply })
      return true
    },
    claimReports: (_of: number, n: number) => waiting.splice(0, n),
    giveBackReport: (report: Report) => void waiting.unshift(report),
    reportDone: () => {},
  }
  const accounts = [shop, other, own]
  const numbers = new Map([
    ['1000', 7],
    ['2000', 8],
    ['3000', 9],
  ])
  const replies = new Replies({
    spool: spool as unknown as Spool,
    consent: {
      isStopped: (of, number) => stops.has(`${of} ${number}`),
      note: event => {
        noted.push(event)
        const key = `${event.account} ${event.number}`
        if (event.kind === 'stop') stops.add(key)
        else stops.delete(key)
      },
      afterWritten: then => then(),
      copy: {
        mayAnswer: (...key) => {
          const [of, number, kind] = key
          const name = `${of} ${number} ${kind}`
          if (asked.has(name)) return false
          asked.add(name)
          return true
        },
      },
    },
    clock,
    counts,
    log: { ...silent, warn: (fields: object) => void warned.push(fields) } as unknown as Log,
    rules,
    ownerOf: number => numbers.get(number),
    account: id => accounts.find(one => one.id === id),
    accountBySystemId: systemId => accounts.find(one => one.systemId === systemId),
    answersMail: (_, { body }) => body.includes('your mail'),
    waysOf: (one, by) => queuesOf(one, by, hooks),
    carrierName: () => 'up',
    textOf: ({ body, esm_class }) => body.subarray(esm_class & 0x40 ? (body[0] as number) + 1 : 0).toString('latin1'),
    answer: (m, { systemId }) => {
      answers.push({ m, account: systemId })
      return undefined
    },
  })
  const take = (fields: Partial<Reply>): { of: number; by: Way; reply: Reply }[] => {
    stored.length = 0
    t.equal(replies.reply({ ...PLAIN, ...fields }), true)
    return [...stored]
  }
  return { replies, take, noted, answers, stops, clock, counts, spool, waiting, warned }
}

t.test(
  'a message goes by rule, else to the owner of the number, else to nobody; over the ways that are named',
  async t => {
    const hooks = [
      { way: way.hook, of: 224 },
      { way: way.hook, of: 225 },
    ]
    const one = house(
      [
        rule({ keyword: 'car' }, { account: 'other', by: ['hook', 'mail'] }),
        rule({ keyword: 'bus' }, { account: 'other', by: 'bind' }),
        rule({ keyword: 'ghost' }, { account: 'nobody' }),
      ],
      hooks,
    )
    const places = (fields: Partial<Reply>) => one.take(fields).map(({ of, by }) => [of, by])
    t.same(places({}), [
      [7, way.bind],
      [224, way.hook],
      [225, way.hook],
    ])
    t.same(places({ body: Buffer.from('Car, to your mail') }), [
      [224, way.hook],
      [225, way.hook],
      [8, way.mail],
    ])
    t.same(
      places({ body: Buffer.from('Car please') }),
      [
        [224, way.hook],
        [225, way.hook],
      ],
      'what answers no mail waits for none where it goes elsewhere',
    )
    t.same(places({ body: Buffer.from('bus, to your mail') }), [[8, way.bind]], 'nor does it leave by a way not named')
    t.same(places({ body: Buffer.from('bus') }), [[8, way.bind]])
    t.same(places({ body: Buffer.from('ghost') })[0], [7, way.bind], 'a rule whose account is gone takes nothing')
    t.same(places({ destination_addr: '+1000' })[0], [7, way.bind])
    t.same(places({ destination_addr: '5555' }), [[0, way.bind]])
    const bare = house([rule({}, { account: 'shop', by: 'hook' })])
    t.same(
      bare.take({}).map(({ of, by }) => [of, by]),
      [[7, way.bind]],
      'named ways that the account does not have lose nothing',
    )
    one.spool.exhausted = true
    t.equal(one.replies.reply(PLAIN), false)
  },
)

t.test('the parts of a long message go where the first that came goes, for ten minutes', async t => {
  const one = house([rule({ keyword: 'car' }, { account: 'other' })])
  const part = (n: number, text: string, ref = 5): Partial<Reply> => ({
    esm_class: 0x40,
    body: Buffer.concat([buildConcatUdh(ref, 2, n, 8), Buffer.from(text)]),
  })
  const owner = (fields: Partial<Reply>): number | undefined => one.take(fields)[0]?.of
  t.equal(owner(part(1, 'car please')), 8)
  t.equal(owner(part(2, 'as soon as you can')), 8)
  t.equal(owner({ ...part(2, 'another phone'), source_addr: '4917100000000' }), 7)
  t.equal(owner(part(2, 'another message', 6)), 7)
  t.equal(owner(part(1, 'car', 6)), 7, 'the keyword came too late')
  one.clock.advance(600_001)
  t.equal(owner(part(2, 'much later')), 7)
  t.equal(owner(part(1, 'STOP', 9)), 7)
  t.same(one.noted, [], 'a part is no whole message')
})

t.test(
  'STOP, START and HELP act for whom the message is, are marked, and answered once a day where there is a text',
  async t => {
    const one = house()
    const say = (text: string, destination_addr: string) =>
      one.take({ body: Buffer.from(text), destination_addr })[0]?.reply
    const phone = '4917112345678'
    t.equal(say('Stop.', '1000')?.extras, '{"consent":"stopped"}')
    t.match(one.noted, [{ account: 7, number: phone, kind: 'stop', source: 'mo', called: '1000', word: 'STOP' }])
    t.same(one.answers, [], 'no text, no answer')
    t.equal(say('yes', '2000')?.extras, undefined, 'YES from somebody who has not stopped is any message')
    say('UNSUBSCRIBE', '2000')
    t.match(one.answers.at(-1), { account: 'other', m: { source_addr: '2000', destination_addr: phone, isText: true } })
    say('stop', '2000')
    t.equal(one.answers.length, 1, 'it was stopped')
    t.equal(say('Yes!', '2000')?.extras, '{"consent":"started"}')
    say('stop', '2000')
    t.equal(one.answers.length, 1, 'once a day')
    t.equal(say('help', '2000')?.extras, '{"consent":"help"}')
    say('HELP', '2000')
    t.same(
      one.answers.map(({ m }) => m.body.toString()),
      ['Bye', 'Ask us'],
    )
    t.equal(one.counts.get('consent_answers_held'), 2)
    const before = one.noted.length
    t.equal(say('STOP', '3000')?.extras, undefined, 'the customer sees to it')
    t.equal(one.noted.length, before)
    say('STOP', '5555')
    t.match(one.noted.at(-1), { account: 0, number: phone, kind: 'stop' })
    say('STOP', '1000')
    t.equal(one.take({ body: Buffer.from('STOP'), source_addr: 'SHOP' })[0]?.reply.extras, undefined, 'no number')
  },
)

t.test(
  'a STOP holds for its phone however the number is spelt; one without a country is counted and told of',
  async t => {
    const one = house()
    const stop = (source_addr: string) => one.take({ body: Buffer.from('STOP'), source_addr })
    for (const spelling of ['+491711', '00491711', '+00491711', '0000491711']) stop(spelling)
    t.strictSame(new Set(one.noted.map(event => (event as { number: string }).number)), new Set(['491711']))
    t.same([one.counts.get('consent_stop_national'), one.warned], [0, []])
    stop('01711')
    stop('0001712')
    t.match(one.noted.slice(-2), [{ number: '01711' }, { number: '01712' }])
    t.same([one.counts.get('consent_stop_national'), one.warned], [2, [{ carrier: 'up' }]], 'a line a minute')
  },
)

t.test('what belongs to nobody is shown, given and dropped, the oldest first', async t => {
  const one = house()
  for (const n of [1, 2, 3]) one.take({ destination_addr: '5555', body: Buffer.from(String(n)) })
  const texts = () => one.replies.unclaimed(10).map(({ reply }) => reply.body.toString())
  t.same(texts(), ['1', '2', '3'])
  t.same(texts(), ['1', '2', '3'], 'showing takes nothing')
  t.equal(one.replies.settle(2, other), 2)
  t.same(texts(), ['3'])
  t.equal(one.replies.settle(10, null), 1)
  t.same(texts(), [])
  t.match(
    [...one.counts.entries()],
    [
      ['replies_unclaimed', 3],
      ['replies_unclaimed_given', 2],
      ['replies_unclaimed_dropped', 1],
    ],
  )
})

t.test(
  'rules and what an account wants of STOP come from a gateway file, keep their order, and are exported as they were',
  async t => {
    const databases = await someDatabases()
    t.teardown(() => databases.close())
    const store = openStore({ url: await databases.database(), dataDir: '/nonexistent', log: silent, pool: 2 })
    t.teardown(() => store.close())
    await store.firstTry
    const secrets = new Secrets(Buffer.alloc(32, 7))
    const apply = async (text: string): Promise<unknown> => {
      const parsed = parseGateway(text)
      if (!parsed.ok) return parsed.faults
      const done = await applyGateway(store, secrets, parsed.file)
      return done.ok ? done.report : done.faults
    }
    const file = (rules: string): string => `
accounts:
  - systemId: shop
    consent: { stop: false, help: Call us, confirm: null }
  - systemId: other
inbound:
${rules}`
    const rules = `
  - { name: cars, match: { number: ['1234', '+49*'], keyword: Car }, to: { account: other, by: hook } }
  - { match: { source: '44', carrier: [up] }, to: { account: shop } }`
    const unchanged = { created: 0, updated: 0, removed: 0, unchanged: 2 }
    t.match(await apply(file(rules)), { inbound: { created: 2 } })
    t.match(await apply(file(rules)), { accounts: unchanged, inbound: unchanged })
    let text = ''
    await exportGateway(store, piece => {
      text += piece
    })
    t.match(await apply(text), { accounts: unchanged, inbound: unchanged }, 'an export changes nothing')
    t.match(text, /consent:\n +help: Call us\n +stop: false\n/)
    const swapped = rules
      .trim()
      .split('\n')
      .reverse()
      .map(line => `  ${line.trim()}`)
      .join('\n')
    t.match(await apply(file(swapped)), { inbound: { updated: 2 } })
    const { rows } = await store.query<StoredInbound>(INBOUND)
    t.match(rows.map(readInbound), [
      { position: 1, account: 'shop', sources: ['44'], carriers: ['up'], by: [] },
      { position: 2, name: 'cars', account: 'other', numbers: ['1234', '49*'], keywords: ['CAR'], by: ['hook'] },
    ])
    t.match(await apply('accounts: [{ systemId: shop }]'), [
      { path: 'inbound[1].to.account', text: 'names no account: other' },
    ])
    t.match(await apply('inbound: [{ to: { account: ghost } }]'), [
      { path: 'inbound[0].to.account', text: 'names no account: ghost' },
    ])
    t.match(await apply('inbound: [{ match: { number: 1234 }, to: { account: shop } }]'), [
      { text: /put it in quotes/ },
    ])
    t.match(await apply('inbound: [{ name: a, to: { account: shop } }, { name: a, to: { account: shop } }]'), [
      { path: 'inbound[1].name' },
    ])
    t.match(await apply('inbound: []'), { inbound: { removed: 2 } })
  },
)
