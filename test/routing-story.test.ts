// Routes told with the real daemon: changed one at a time while messages flow, explained, learned, and what the door
// keeps out because of them.
import t, { type Test } from 'tap'
import type { Explanation } from '../src/admin/explain.js'
import type { RouteEntry } from '../src/admin/lists.js'
import { type Esme, esme } from './support/esme.js'
import { type House, house, story, trunkline } from './support/house.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

t.jobs = 3

/** A command of the CLI, which must end with `code`. */
async function run(t: Test, daemon: House, args: string[], code = 0): Promise<string> {
  const ended = await trunkline([...args, '--config', daemon.configFile])
  t.equal(ended.code, code, `trunkline ${args.join(' ')}: ${ended.stderr}${code === 0 ? '' : ended.stdout}`)
  return ended.stdout + ended.stderr
}

const json = async <T>(t: Test, daemon: House, args: string[], code = 0): Promise<T> =>
  JSON.parse(await run(t, daemon, [...args, '--json'], code)) as T

const ROUTES = '/api/v1/admin/routes'

/** What the daemon answers to such a request, which it must answer with `code`. */
async function ask(t: Test, daemon: House, code: number, method: string, path: string, body?: object) {
  const answer = await daemon.ask(method, `${ROUTES}${path}`, body)
  t.equal(answer.status, code, `${method} ${path}: ${answer.body}`)
  return JSON.parse(answer.body) as Record<string, unknown>
}

const explained = (t: Test, daemon: House, question: object): Promise<Partial<Explanation>> =>
  ask(t, daemon, 200, 'POST', '/explain', question)

const names = (routes: RouteEntry[]): string => routes.map(({ name }) => name).join(' ')

story(
  'a route that is added, moved, edited or removed acts at once, on what waits too, and explain tells why',
  async t => {
    const up = await smsc(t, {}, 'U')
    const down = await smsc(t, {}, 'D')
    await down.close()
    const daemon = await house(t, {
      accounts: { shop: { group: 'retail', senders: ['SHOP', '1000'], serviceTypes: { OTP: 'otp' } }, bank: {} },
      carriers: {
        up: {
          at: up,
          prices: { '49': 0.05, default: 0.2 },
          sourceTon: 'auto',
          rewrite: {
            source: [{ map: { SHOP: '15550001' } }],
            destination: [
              { prefix: '+', strip: 1 },
              { prefix: '49', replace: '0', ton: 2 },
            ],
          },
        },
        down: { at: down, prices: { '49': 0.04 } },
      },
      routes: [
        { name: 'night', match: { time: { from: '00:00', to: '00:01', days: [] }, tag: 'x' }, to: ['down'] },
        { name: 'rest', to: ['up'] },
      ],
      networks: [{ mccmnc: '262-01', name: 'one', prefixes: ['4915'] }],
      blocked: [
        { prefix: '88213', reason: 'satellite phones' },
        { prefix: '33', account: 'bank' },
      ],
    })
    await up.bound()
    const shop = await esme(t, daemon.smpp)
    const bank = await esme(t, daemon.smpp, { systemId: 'bank' })

    // The carrier is told other addresses than the customer gave; the customer's receipt has its own.
    await shop.submit({ source_addr: 'SHOP', destination_addr: '+4915112345678' })
    const { fields } = await up.next()
    t.match(fields, { source_addr: '15550001', source_addr_ton: 1, destination_addr: '015112345678', dest_addr_ton: 2 })
    t.match((await shop.next()).fields, { source_addr: '+4915112345678', destination_addr: 'SHOP' })

    // Blocked for everybody, and for one.
    t.equal((await shop.submit({ destination_addr: '8821312345' })).status, 'ESME_RINVDSTADR')
    t.equal((await bank.submit({ destination_addr: '33612345678' })).status, 'ESME_RINVDSTADR')
    t.equal((await shop.submit({ destination_addr: '33612345678' })).status, 'ESME_ROK')
    await up.next()

    // Added behind what takes everything it would be idle, and whoever adds it is told.
    const added = await run(t, daemon, [
      'route',
      'add',
      '--to',
      'down',
      '--network',
      '262-01',
      '--class',
      'otp',
      '--name',
      'codes',
    ])
    t.match(added, /note: rest stands before it and takes everything/)
    await run(t, daemon, ['route', 'move', 'codes', '--before', 'rest'])
    t.equal(names(await json(t, daemon, ['route', 'list'])), 'night codes rest')
    const otp = { service_type: 'OTP', destination_addr: '4915112345678' }
    t.equal((await shop.submit(otp)).status, 'ESME_ROK')
    const waits = await explained(t, daemon, {
      account: 'shop',
      to: '4915112345678',
      from: 'SHOP',
      service_type: 'OTP',
    })
    t.match(waits, {
      outcome: 'waits',
      route: 'codes',
      rules: [
        { route: 'night', takes: false, why: /^(tag must be x|time must be)/ },
        { route: 'codes', takes: true },
      ],
      candidates: [{ carrier: 'down', up: false, price: 0.04 }],
    })
    // What waits for the carrier that is down follows its route.
    await ask(t, daemon, 200, 'PATCH', '/codes', { to: ['down', 'up'] })
    t.equal((await up.next()).fields.service_type, 'OTP')

    const told = await run(t, daemon, [
      'route',
      'explain',
      '--account',
      'shop',
      '--to',
      '+4915112345678',
      '--from',
      'SHOP',
    ])
    for (const words of [
      /account +shop, of the group retail/,
      /sender +"SHOP" is one of the account's/,
      /destination +4915112345678, in DE, network 262-01 \(one\)/,
      /class +transactional, the account's/,
      /consent +nothing is known against it/,
      /not codes: class must be otp/,
      /carrier +the first that is up: up/,
      /source "SHOP" becomes "15550001"; destination "\+4915112345678" becomes "015112345678"/,
      /submit_sm +source_addr "15550001" ton 1 npi 1, destination_addr "015112345678" ton 2 npi 1/,
      /outcome +goes to up/,
    ]) {
      t.match(told, words)
    }
    const refusals: [question: object, outcome: string][] = [
      [{ account: 'shop', to: '49151', from: 'OTHER' }, 'sender_refused'],
      [{ account: 'bank', to: '33612345678' }, 'destination_blocked'],
      [{ account: 'bank', to: 'SHOP' }, 'destination_invalid'],
      [{ account: 'bank', to: '49151', carrier: 'down', class: 'bulk' }, 'no_route'],
    ]
    for (const [question, outcome] of refusals) t.match(await explained(t, daemon, question), { outcome })
    t.match(
      (await ask(t, daemon, 404, 'POST', '/explain', { account: 'nobody', to: '49151' })).detail,
      /no account nobody/,
    )

    // By price the cheaper is taken once it is there.
    await run(t, daemon, ['route', 'edit', 'rest', '--to', 'up,down', '--by', 'price', '--named', 'any'])
    await down.open()
    await down.bound()
    t.match(await explained(t, daemon, { account: 'bank', to: '4930123456' }), { outcome: 'routed', carrier: 'down' })
    await bank.submit({ destination_addr: '4930123456' })
    await down.next()
    t.match(await explained(t, daemon, { account: 'bank', to: '4415123456' }), { carrier: 'up' })

    // An export says the same again; what cannot be is refused in words.
    const exported = await run(t, daemon, ['export'])
    t.match(exported, /group: retail/)
    t.match(exported, /by: price\n +named: any/)
    t.match(exported, /mccmnc: "26201"/)
    t.match(exported, /reason: satellite phones/)
    const faults: [method: string, path: string, body: object | undefined, code: number, words: RegExp][] = [
      ['POST', '', { to: ['nowhere'] }, 422, /to names no carrier: nowhere/],
      ['POST', '', { to: ['up'], name: 'rest' }, 422, /name is taken/],
      ['POST', '', { to: ['up'], match: { country: 'Germany' } }, 422, /match.country\[0\] must be a country/],
      ['POST', '', { to: ['up'], colour: 'red' }, 422, /colour/],
      ['POST', '', { to: ['up'], before: 'none' }, 404, /no route none/],
      ['PATCH', '/none', { to: ['up'] }, 404, /no route none/],
      ['POST', '/rest/move', { before: 'rest' }, 422, /before or after itself/],
      ['POST', '/rest/move', {}, 422, /give one of/],
      ['DELETE', '/none', undefined, 404, /no route none/],
    ]
    for (const [method, path, body, code, words] of faults) {
      t.match((await ask(t, daemon, code, method, path, body)).detail, words)
    }
    t.match(await run(t, daemon, ['route', 'move', 'rest'], 2), /say where to/)
    await ask(t, daemon, 200, 'PATCH', '/codes', { match: { class: null, network: null, country: ['de', 'UK'] } })
    t.match(await json(t, daemon, ['route', 'list']), [
      {},
      { match: { class: [], network: [], country: ['DE', 'GB'] } },
    ])
    await ask(t, daemon, 200, 'DELETE', '/codes')
    t.equal(names((await ask(t, daemon, 200, 'GET', '')).routes as RouteEntry[]), 'night rest')
  },
)

story('a carrier that turns sick loses its traffic within seconds, and earns it back', async t => {
  let isSick = false
  const order: string[] = []
  const came = (name: string, report: (sm: Submitted) => void) => (sm: Submitted) => {
    order.push(name)
    report(sm)
  }
  const deliver = (sm: Submitted): void => sm.deliver()
  const fail = (sm: Submitted): void => {
    sm.accept()
    sm.receipt({ stat: 'UNDELIV', err: '001' }).catch(() => {})
  }
  const good = await smsc(t, { submit: came('good', sm => (isSick ? fail : deliver)(sm)) })
  // One in ten of its is lost.
  let nth = 0
  const spare = await smsc(t, { submit: came('spare', sm => (nth++ % 10 === 0 ? fail : deliver)(sm)) })
  const daemon = await house(t, {
    carriers: { good, spare },
    routes: [{ name: 'all', by: 'quality', to: ['good', 'spare'] }],
  })
  await Promise.all([good.bound(), spare.bound()])
  const shop = await esme(t, daemon.smpp)
  let isOver = false
  const flow = keepSubmitting(shop, () => isOver)
  const share = (): number => order.slice(-200).filter(name => name === 'good').length / 200
  const until = async (on: Smsc, done: () => boolean, what: string): Promise<number> => {
    const from = performance.now()
    await on.until(() => order.length >= 200 && done(), what, 30_000)
    return (performance.now() - from) / 1000
  }
  await until(good, () => share() > 0.85, 'the better carrier to have the traffic')
  isSick = true
  const lost = await until(spare, () => share() < 0.15, 'the sick carrier to lose it')
  t.ok(lost < 15, `it lost its traffic after ${lost.toFixed(1)} s`)
  const [first] = (await explained(t, daemon, { account: 'shop', to: '12025550123' })).candidates ?? []
  t.ok((first?.delivery_rate ?? 1) < 0.7, `explain shows its rate, ${first?.delivery_rate}`)
  t.ok((await daemon.metric('trunkline_carrier_quality', { carrier: 'good' })) < 0.7, 'and so do the metrics')
  isSick = false
  const back = await until(good, () => share() > 0.85, 'the carrier to earn it back')
  isOver = true
  t.comment(`lost after ${lost.toFixed(1)} s, back after ${back.toFixed(1)} s, ${order.length} messages`)
  await flow
})

/** To numbers of one country, some at a time. */
async function keepSubmitting(shop: Esme, isOver: () => boolean): Promise<void> {
  let n = 0
  const one = async (): Promise<void> => {
    while (!isOver()) await shop.submit({ destination_addr: `1202555${String(n++ % 10_000).padStart(4, '0')}` })
  }
  await Promise.all([one(), one()])
}

story('a message that a carrier brings back to us goes round a few times and no more', async t => {
  const accounts = { shop: {}, self: {} }
  const daemon = await house(t, {
    accounts,
    carriers: { up: { kind: 'simulator' } },
    routes: [{ match: { network: '901' }, to: ['up'] }],
    networks: [{ mccmnc: '90112', prefixes: ['44'] }],
    blocked: [{ prefix: '4477', account: 'shop' }],
  })
  const shop = await esme(t, daemon.smpp)
  const circle = { destination_addr: '447700900123', short_message: Buffer.from('round and round') }
  t.equal((await shop.submit(circle)).status, 'ESME_RINVDSTADR', 'blocked')
  // What the next file leaves out is blocked no more, and the network has other numbers.
  const ring = { kind: 'smpp', host: '127.0.0.1', port: daemon.smpp, systemId: 'self', password: 'secret' }
  await daemon.apply({
    accounts,
    carriers: { ring },
    routes: [{ match: { network: '901' }, to: ['ring'] }],
    networks: [{ mccmnc: '90112', prefixes: ['447700'] }],
  })
  await daemon.line('carrier bound')
  t.match(await explained(t, daemon, { account: 'shop', to: circle.destination_addr }), { outcome: 'routed' })
  t.match(await explained(t, daemon, { account: 'shop', to: '442071234567' }), { outcome: 'no_route' })
  const { message_id } = await shop.submit(circle)
  await daemon.line('the same message comes again and again: it goes round')
  t.match((await shop.next()).receipt, { id: message_id, stat: 'REJECTD' })
  t.equal((await daemon.history(22)).length, 22, 'it came once, and ten times again')
  t.equal(await daemon.metric('trunkline_events_total', { name: 'loop_suspected' }), 1)
})
