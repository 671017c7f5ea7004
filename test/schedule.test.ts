// Messages for later, and for after the quiet hours: when each goes, what becomes of it until then, and what a clock that
// is set back or forward does to it. Door, spool and dispatch as the daemon has them, on a clock of the test's, and the
// settings against the real one; more of the wire is in operations.test and conformance-fields.test.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { standardCodings } from '../protocols/gsm/coding.js'
import { command } from '../protocols/smpp/commands.js'
import { Sm } from '../protocols/smpp/sm.js'
import { status, statusName } from '../protocols/smpp/status.js'
import type { Account } from '../src/accounts/account.js'
import { Limits } from '../src/accounts/limits.js'
import { readRoute } from '../src/accounts/route.js'
import { readProfile } from '../src/accounts/smppProfile.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import type { Driver, Part } from '../src/carriers/driver.js'
import { Dispatch } from '../src/dispatch/dispatch.js'
import type { Line } from '../src/dispatch/line.js'
import { fillMessage } from '../src/intake/smpp/fields.js'
import { Door } from '../src/intake/submit.js'
import { digitsOf } from '../src/model/digits.js'
import { Message, rankOf } from '../src/model/message.js'
import { type Quiet, readQuiet } from '../src/model/quiet.js'
import { Tally } from '../src/model/tally.js'
import { QuietHours } from '../src/routing/quietHours.js'
import { RouteTable } from '../src/routing/table.js'
import { LmdbSpool } from '../src/spool/lmdb/spool.js'
import { esme } from './support/esme.js'
import { house, story, trunkline } from './support/house.js'
import { within } from './support/peer.js'
import { smsc } from './support/smsc.js'
import { settle } from './support/spool-contract.js'
import { unguarded } from './support/unguarded.js'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS
/** Noon in Berlin, in winter. */
const NOON_MS = Date.UTC(2026, 0, 15, 11)
const GERMAN = '4915123456789'
const [OTP, BULK] = [rankOf('otp'), rankOf('bulk')]

/** A carrier that takes what there is room for. */
class Carrier implements Driver {
  readonly sent: Message[] = []
  up = true
  free = Number.MAX_SAFE_INTEGER
  private readonly way: () => { dispatch: Dispatch; line: Line }

  constructor(way: () => { dispatch: Dispatch; line: Line }) {
    this.way = way
  }

  room(): number {
    return this.free
  }

  send(part: Part): void {
    this.free--
    this.sent.push(part.message)
    const { dispatch, line } = this.way()
    dispatch.answered(line, part, { kind: 'accepted', ref: '' })
  }

  start(): void {}
  async stop(): Promise<void> {}
  figures() {
    return { up: this.up, links: [], ratePerSecond: 0, unsure: 0 }
  }

  get texts(): string[] {
    return this.sent.map(m => m.body.toString())
  }
}

const routeOf = (id: number) =>
  readRoute({
    id,
    position: 1,
    name: '',
    match: {},
    targets: [{ carrier: 'up', weight: null }],
    choose_by: '',
    named: 'listed',
  })

interface Settings {
  everywhere?: string
  own?: string
  bulkMs?: number
}

async function way(t: Test, { everywhere = 'off', own, bulkMs = 2 * DAY_MS }: Settings = {}) {
  const clock = new ManualClock(NOON_MS)
  const path = mkdtempSync(join(tmpdir(), 'schedule-'))
  const counters = new Counters()
  const open = () =>
    LmdbSpool.open({
      path,
      node: 0,
      clock,
      mapGb: 1,
      reserveMb: 1,
      maxWaiting: 1_000_000,
      maxWaitingPerAccount: 1_000_000,
      keepReportsMs: HOUR_MS,
      keepReportsPerAccount: 1_000,
      receiptGraceMs: HOUR_MS,
    })
  const routes = new RouteTable([routeOf(1)])
  const quiet = new QuietHours({ everywhere: readQuiet(everywhere) ?? null, countries: new Map() }, counters)
  const account = {
    id: 7,
    systemId: 'shop',
    suspended: null,
    senders: null,
    rank: BULK,
    serviceTypes: new Map([['code', OTP]]),
    throughput: 0,
    maxWaiting: null,
    quietHours: own === undefined ? undefined : (readQuiet(own) as Quiet),
    smpp: readProfile({}),
  } as unknown as Account
  /** The lane of what has none. */
  let other: number | undefined
  let house = furnish(await open())

  function furnish(spool: LmdbSpool) {
    const lifetimes = { otpMs: HOUR_MS, transactionalMs: DAY_MS, bulkMs }
    const door = new Door({
      spool,
      routes,
      limits: new Limits(),
      clock,
      tally: new Tally(),
      lifetimes,
      quiet,
      ...unguarded,
    })
    const retry = { firstMs: 1_000, capMs: HOUR_MS, maxAgeMs: 2 * DAY_MS }
    const dispatch = new Dispatch(
      {
        spool,
        clock,
        random: () => 0.5,
        retry: [retry, retry, retry],
        weightOf: () => 1,
        rematch: () => other,
        choose: () => undefined,
        unwanted: () => undefined,
        quietUntil: m => quiet.until(digitsOf(m.destination_addr), clock.now(), account.quietHours),
        codingsOf: () => standardCodings,
        fault: error => t.fail(String(error)),
      },
      routes,
    )
    const carrier: Carrier = new Carrier(() => ({ dispatch, line }))
    const settings = { longMessages: 'udh8', codings: standardCodings, nationalTables: [], maxOctets: 140 }
    const line: Line = dispatch.add(1, 'up', carrier, settings as never, false)
    const ended: string[] = []
    spool.events = {
      ...spool.events,
      ready: lane => dispatch.ready(lane),
      ended: (m, { state }) => ended.push(`${m.body} ${state}`),
    }
    return { spool, door, dispatch, carrier, line, ended }
  }

  t.teardown(async () => {
    await house.spool.close()
    rmSync(path, { recursive: true })
  })
  return {
    clock,
    counters,
    get house() {
      return house
    },
    /** Submits as an ESME would; the id, or the name of what it is answered. */
    async submit(text: string, fields: Partial<Sm> = {}): Promise<number | string> {
      const m = new Message()
      const given = { destination_addr: GERMAN, source_addr: '1000', short_message: Buffer.from(text), ...fields }
      const sm = Object.assign(new Sm(), { validity_period: '', schedule_delivery_time: '', service_type: '' }, given)
      sm.tlvs ??= Buffer.alloc(0)
      const code = fillMessage(sm, m, clock.now(), account.smpp, 0x34)
      if (code !== status.ESME_ROK) return statusName(code)
      const fault = house.door.submit(m, account)
      if (fault !== undefined) return fault.code
      await house.spool.synced()
      return m.id
    },
    /** The clock is at this moment, and all that is due has gone where it goes. */
    async at(ms: number): Promise<void> {
      clock.setWall(ms)
      await settle(house.spool)
      await turn()
      await settle(house.spool)
    },
    /** The route gets another number, as when it is deleted and made anew. */
    reroute(): void {
      other = 2
      house.dispatch.useRoutes(new RouteTable([routeOf(other)]))
    },
    async restart(): Promise<void> {
      await house.spool.close()
      house = furnish(await open())
    },
  }
}

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

const utc = (ms: number): string => `${new Date(ms).toISOString().slice(2, 19).replaceAll(/[-:T]/g, '')}000+`

t.test('a schedule is kept to its moment, over restarts and whatever the clock is set to', async t => {
  const one = await way(t)
  const { submit, at } = one
  const texts = () => one.house.carrier.texts
  t.type(await submit('second', { schedule_delivery_time: utc(NOON_MS + 2 * HOUR_MS) }), 'number')
  t.type(await submit('first', { schedule_delivery_time: '000000010000000R' }), 'number')
  t.type(await submit('past', { schedule_delivery_time: utc(NOON_MS - 4 * MINUTE_MS) }), 'number')
  t.equal(await submit('long past', { schedule_delivery_time: utc(NOON_MS - 6 * MINUTE_MS) }), 'ESME_RINVSCHED')
  t.equal(await submit('a year', { schedule_delivery_time: utc(NOON_MS + 367 * DAY_MS) }), 'ESME_RINVSCHED')
  await at(NOON_MS + 1)
  t.same(texts(), ['past'], 'a moment that has just passed is at once')
  t.equal(one.house.spool.figures().due, 2)

  await at(NOON_MS + HOUR_MS - 1)
  t.same(texts(), ['past'])
  await at(NOON_MS - 3 * HOUR_MS)
  t.same(texts(), ['past'], 'set back: it waits for its moment all the same')
  await one.restart()
  await at(NOON_MS + HOUR_MS)
  t.same(texts(), ['first'])
  await at(NOON_MS + 2 * HOUR_MS)
  t.same(texts(), ['first', 'second'])
})

t.test('a clock set forward brings what is due by it, earliest first, and back again takes nothing back', async t => {
  const one = await way(t)
  for (const [text, hours] of [
    ['c', 30],
    ['a', 10],
    ['b', 20],
  ] as const) {
    await one.submit(text, { schedule_delivery_time: utc(NOON_MS + hours * HOUR_MS) })
  }
  await one.at(NOON_MS + 25 * HOUR_MS)
  t.same(one.house.carrier.texts, ['a', 'b'])
  await one.at(NOON_MS)
  t.same(one.house.carrier.texts, ['a', 'b'])
  await one.restart()
  await one.at(NOON_MS + 30 * HOUR_MS)
  t.same(one.house.carrier.texts, ['c'], 'over a restart too')
  t.equal(one.house.spool.figures().due, 0)
})

t.test(
  'two digits of a year are this century’s, and a relative time is a span, whatever clocks are changed in it',
  async t => {
    const { submit, house } = await way(t)
    // 28 March 2026, 20:00 in Berlin: the clocks go forward in the night. A span of 24 h ends at 21:00 there.
    const id = (await submit('x', { schedule_delivery_time: '000072000000000R' })) as number
    t.equal(house.spool.find(id)?.scheduleMs, NOON_MS + 72 * DAY_MS)
    const other = (await submit('y', { schedule_delivery_time: '270101000000000+' })) as number
    t.equal(house.spool.find(other)?.scheduleMs, Date.UTC(2027, 0, 1))
    t.equal(await submit('z', { schedule_delivery_time: '250101000000000+' }), 'ESME_RINVSCHED', 'not 2125')
    t.equal(await submit('z', { schedule_delivery_time: '990101000000000+' }), 'ESME_RINVSCHED', 'not 1999')
  },
)

t.test('what was scheduled by a route that is gone takes another as soon as its moment comes', async t => {
  const { submit, house, at, clock, reroute } = await way(t)
  await submit('later', { schedule_delivery_time: utc(NOON_MS + HOUR_MS) })
  reroute()
  house.dispatch.tick()
  clock.advance(10_000)
  await at(NOON_MS + HOUR_MS)
  t.same(house.carrier.texts, [])
  house.dispatch.tick()
  await at(NOON_MS + HOUR_MS)
  t.same(house.carrier.texts, ['later'], 'with the next tick, a second later')
})

t.test(
  'what is scheduled can be cancelled and replaced until its moment, and its validity counts from then',
  async t => {
    const { submit, house, at } = await way(t)
    const schedule_delivery_time = utc(NOON_MS + 3 * DAY_MS)
    const [a, b, c] = [
      await submit('a', { schedule_delivery_time }),
      await submit('b', { schedule_delivery_time }),
      await submit('c', { schedule_delivery_time }),
    ] as number[]
    t.equal(house.spool.find(c as number)?.validUntilMs, NOON_MS + 5 * DAY_MS, 'two days from its moment, not from now')
    t.ok(house.spool.cancel(a as number))
    t.ok(
      house.spool.replace(b as number, m => {
        m.scheduleMs = NOON_MS + HOUR_MS
        m.body = Buffer.from('sooner')
      }),
    )
    await at(NOON_MS + HOUR_MS)
    t.same(house.carrier.texts, ['sooner'])
    await at(NOON_MS + 3 * DAY_MS)
    t.same(house.carrier.texts, ['sooner', 'c'])
    t.match(house.ended, ['a 4'])
    t.equal(
      await submit('d', {
        schedule_delivery_time: utc(NOON_MS + 4 * DAY_MS),
        validity_period: utc(NOON_MS + 4 * DAY_MS),
      }),
      'ESME_RINVEXPIRY',
    )
  },
)

t.test('bulk that comes in quiet hours is scheduled for their end, and nothing else is', async t => {
  const { submit, house, at, clock, counters } = await way(t, { everywhere: '21:00-08:00' })
  await at(NOON_MS + 12 * HOUR_MS)
  const end = NOON_MS + 20 * HOUR_MS
  const id = (await submit('bulk')) as number
  await submit('otp', { service_type: 'code' })
  await submit('asia', { destination_addr: '819012345678' })
  await at(clock.now())
  t.same(house.carrier.texts, ['otp', 'asia'], 'in Tokyo it is morning')
  t.match(house.spool.find(id), { scheduleMs: end, validUntilMs: end + 2 * DAY_MS }, 'its lifetime counts from then')
  t.equal(counters.get('held_quiet_hours'), 1)

  const inside = (await submit('in them', { schedule_delivery_time: utc(NOON_MS + 33 * HOUR_MS) })) as number
  t.equal(house.spool.find(inside)?.scheduleMs, NOON_MS + 44 * HOUR_MS, 'a schedule within them goes to their end')
  const after = (await submit('after them', { schedule_delivery_time: utc(end + HOUR_MS) })) as number
  t.equal(house.spool.find(after)?.scheduleMs, end + HOUR_MS)
  t.equal(await submit('short', { validity_period: '000000030000000R' }), 'validity_invalid', 'it could never be sent')
  t.type(await submit('long', { validity_period: '000000110000000R' }), 'number')
  t.type(await submit('short code', { validity_period: '000000003000000R', service_type: 'code' }), 'number')

  await at(end - 1)
  t.same(house.carrier.texts, ['otp', 'asia', 'short code'])
  await at(end)
  t.same(house.carrier.texts.slice(3).sort(), ['bulk', 'long'])
  await at(end + HOUR_MS)
  t.equal(house.carrier.texts.at(-1), 'after them')
})

t.test('bulk that waits when they begin waits on until they end, or until its validity does', async t => {
  const { submit, house, at, clock } = await way(t, { everywhere: '21:00-08:00' })
  house.carrier.free = 0
  const ids: number[] = []
  for (let n = 0; n < 600; n++) ids.push((await submit(`bulk ${n}`)) as number)
  await submit('short', { validity_period: '000000160000000R' })
  await submit('asia', { destination_addr: '819012345678' })
  await submit('otp', { service_type: 'code' })
  // In Tokyo they have ended, in Berlin begun.
  await at(NOON_MS + 14 * HOUR_MS)
  const otherOtp = (await submit('other otp', { service_type: 'code' })) as number
  t.ok(otherOtp > 0)
  house.carrier.free = 1_000_000
  house.dispatch.pump(house.line)
  for (let n = 0; n < 10; n++) await at(clock.now())
  t.same(house.carrier.texts, ['other otp', 'asia'], 'they stand in nobody’s way')
  t.equal(house.spool.figures().due, 601)
  t.match(
    house.spool.find(ids[0] as number),
    { scheduleMs: 0, dueMs: NOON_MS + 20 * HOUR_MS },
    'waiting, not scheduled',
  )
  clock.advance(10_000)
  await at(NOON_MS + 20 * HOUR_MS)
  for (let n = 0; n < 10; n++) await at(clock.now())
  t.equal(house.carrier.sent.length, 602)
  t.ok(house.ended.includes('short 3'), 'EXPIRED')
})

t.test('an account’s own hours go before the gateway’s, off as well', async t => {
  const off = await way(t, { everywhere: '21:00-08:00', own: 'off' })
  await off.at(NOON_MS + 11 * HOUR_MS)
  await off.submit('at night')
  await off.at(off.clock.now())
  t.same(off.house.carrier.texts, ['at night'])
  const own = await way(t, { own: '11:30-12:30' })
  const id = (await own.submit('at noon')) as number
  t.equal(own.house.spool.find(id)?.scheduleMs, NOON_MS + 30 * MINUTE_MS)
})

story(
  'hours that the settings call quiet hold bulk, an account goes before them, and the customer sees it waits',
  async t => {
    const carrier = await smsc(t, { submit: sm => sm.accept() })
    const clockAt = (hours: number): string => new Date(Date.now() + hours * HOUR_MS).toISOString().slice(11, 16)
    const quietHours = { hours: `${clockAt(-1)}-${clockAt(2)}`, countries: ['DE=off'] }
    const accounts = {
      shop: { class: 'bulk', serviceTypes: { code: 'otp' } },
      free: { class: 'bulk', quietHours: 'off' },
    }
    const daemon = await house(t, { accounts, carriers: { up: carrier }, config: { quietHours } })
    const shop = await esme(t, daemon.smpp, { interfaceVersion: 0x50 })
    const free = await esme(t, daemon.smpp, { systemId: 'free' })
    // Where no country has a number, UTC counts.
    const nowhere = { destination_addr: '9991234567', registered_delivery: 0 }
    const held = await shop.submit({ ...nowhere, short_message: Buffer.from('held') })
    t.equal(held.status, 'ESME_ROK')
    const short = await shop.submit({ ...nowhere, validity_period: '000000003000000R' })
    t.equal(short.status, 'ESME_RINVEXPIRY', 'it could never be sent')
    await shop.submit({ ...nowhere, service_type: 'code', short_message: Buffer.from('otp') })
    await shop.submit({ destination_addr: GERMAN, short_message: Buffer.from('German'), registered_delivery: 0 })
    await free.submit({ ...nowhere, short_message: Buffer.from('free') })
    t.same((await carrier.take(3)).map(sm => sm.text).sort(), ['German', 'free', 'otp'])

    const state = async (): Promise<unknown> => {
      const asked = shop.peer.request(command.query_sm, { message_id: held.message_id, source_addr: '1000' })
      return (await within(asked, 'query_sm_resp')).fields
    }
    t.match(await state(), { message_state: 0, error_code: 0 }, 'SCHEDULED')
    t.equal(await daemon.metric('trunkline_events_total', { name: 'held_quiet_hours' }), 1)
    const { stdout } = await trunkline(['export', '--config', daemon.configFile])
    t.match(stdout, 'quietHours: off')
    t.equal(stdout.split('quietHours').length, 2, 'only where it differs from the gateway’s')
  },
)
