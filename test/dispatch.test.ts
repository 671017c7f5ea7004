// What becomes of messages that are for one carrier and no other, while that one is slow, full, down or gone: dispatch
// over a real spool, with carriers of the test's that take what they are told to, and a clock that stands still.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { standardCodings } from '../protocols/gsm/coding.js'
import { ManualClock } from '../src/base/clock.js'
import type { Driver, Part } from '../src/carriers/driver.js'
import { plainCut } from '../src/dispatch/cut.js'
import { Dispatch, type DispatchHost } from '../src/dispatch/dispatch.js'
import type { Line } from '../src/dispatch/line.js'
import { Message } from '../src/model/message.js'
import { Chooser, type Merits } from '../src/routing/choose.js'
import { type RouteRule, RouteTable } from '../src/routing/table.js'
import { LmdbSpool } from '../src/spool/lmdb/spool.js'
import { settle } from './support/spool-contract.js'

const HOUR_MS = 3_600_000
const nextTurn = () => new Promise<void>(resolve => setImmediate(resolve))

/** Takes `free` parts and answers none before it is told to. */
class Carrier implements Driver {
  up = true
  free = 0
  readonly sent: Part[] = []
  /** Of the next part. */
  told: () => void = () => {}

  room(): number {
    return this.free
  }

  send(part: Part): void {
    this.free--
    this.sent.push(part)
    this.told()
  }

  start(): void {}
  async stop(): Promise<void> {}
  figures() {
    return { up: this.up, links: [], ratePerSecond: 0, unsure: 0 }
  }
}

const ruleOf = (given: Partial<RouteRule>): RouteRule => ({
  id: 1,
  position: 1,
  name: '',
  ...{ accounts: [], groups: [], ranks: [], sources: [], destinations: [], countries: [], networks: [] },
  ...{ times: [], tags: [], carriers: [], by: 'order', named: 'listed' },
  to: [
    { carrier: 'A', weight: null },
    { carrier: 'B', weight: null },
  ],
  ...given,
})

type Given = Partial<RouteRule> & { host?: Partial<DispatchHost>; merits?: Partial<Merits> }

/** Carriers A, B and C, of which a route has the first two. */
async function desk(t: Test, { host, merits, ...rule }: Given = {}) {
  const path = mkdtempSync(join(tmpdir(), 'dispatch-'))
  const clock = new ManualClock(Date.UTC(2026, 0, 15))
  const spool = await LmdbSpool.open({
    ...{ path, node: 0, clock, mapGb: 1, reserveMb: 1, maxWaiting: 1e6, maxWaitingPerAccount: 1e6 },
    ...{ keepReportsMs: HOUR_MS, keepReportsPerAccount: 1_000, receiptGraceMs: HOUR_MS },
  })
  const chooser = new Chooser({
    priceMicros: () => 1,
    standing: () => ({ score: 1, rate: 1, samples: 0, medianMs: null }),
    areaOf: () => 'DE',
    ...merits,
  })
  const retry = { firstMs: 1_000, capMs: HOUR_MS, maxAgeMs: HOUR_MS }
  const dispatch = new Dispatch(
    {
      ...{ spool, clock, random: () => 0.5, retry: [retry, retry, retry], weightOf: () => 1 },
      rematch: m => m.lane,
      choose: (route, m, isUp, hasPlace) => chooser.choose(route, m, isUp, clock.mono(), hasPlace),
      ...{ quietUntil: () => 0, unwanted: () => undefined, codingsOf: () => standardCodings },
      fault: error => t.fail(String(error)),
      ...host,
    },
    new RouteTable([ruleOf(rule)]),
  )
  const ended: string[] = []
  let records = 0
  spool.events = {
    ...spool.events,
    ready: lane => dispatch.ready(lane),
    ended: (m, { state, error }) => ended.push(`${m.body} ${error || state}`),
    synced: (_, n) => {
      records += n
    },
  }
  const carriers = { A: new Carrier(), B: new Carrier(), C: new Carrier() }
  const lines = {
    A: dispatch.add(1, 'A', carriers.A, plainCut, false),
    B: dispatch.add(2, 'B', carriers.B, plainCut, false),
    C: dispatch.add(3, 'C', carriers.C, plainCut, false),
  }
  t.teardown(async () => {
    dispatch.stop()
    await spool.close()
    rmSync(path, { recursive: true })
  })
  let n = 0
  const settled = async (): Promise<void> => {
    await settle(spool)
    await nextTurn()
    await settle(spool)
  }
  return {
    ...{ spool, dispatch, clock, carriers, lines, ended, settled },
    get records() {
      return records
    },
    async commit(count: number, given: Partial<Message> | ((i: number) => Partial<Message>) = {}): Promise<void> {
      for (let i = 0; i < count; i++) {
        const own = typeof given === 'function' ? given(i) : given
        const m = Object.assign(new Message(), { account: 1, lane: 1, source_addr: 'S', body: Buffer.from('x') })
        m.destination_addr = `49151${String(n++).padStart(7, '0')}`
        m.validUntilMs = clock.now() + HOUR_MS
        spool.commit(Object.assign(m, own))
      }
      await settled()
    },
    /** There is room for so many more. */
    room(name: keyof typeof carriers, free: number): void {
      carriers[name].free = free
      dispatch.pump(lines[name])
    },
    answer(name: keyof typeof carriers): number {
      const parts = carriers[name].sent.splice(0)
      for (const part of parts) dispatch.answered(lines[name], part, { kind: 'accepted', ref: '' })
      return parts.length
    },
    /** A second later. */
    async tick(ms = 1_000): Promise<void> {
      clock.advance(ms)
      dispatch.tick()
      await settled()
    },
  }
}

const handed = (line: Line): number => line.handed[0].length + line.handed[1].length + line.handed[2].length
const weighed = (A: number | null, B: number | null): Pick<RouteRule, 'by' | 'to'> => ({
  by: 'weight',
  to: [
    { carrier: 'A', weight: A },
    { carrier: 'B', weight: B },
  ],
})
const better = (carrier: string) =>
  carrier === 'A'
    ? { score: 0.98, rate: 0.98, samples: 1_000, medianMs: null }
    : { score: 0.1, rate: 0.1, samples: 1_000, medianMs: null }
const partOf = (text: number, part: number): Partial<Message> => ({
  esm_class: 0x40,
  body: Buffer.from([5, 0, 3, text & 255, 3, part, 65]),
  destination_addr: `49152${String(text).padStart(7, '0')}`,
})

t.test('messages that name a slow carrier wait on disk, in bounds, and hold up nobody', async t => {
  for (const by of ['order', 'weight'] as const) {
    const { commit, room, tick, answer, settled, spool, lines, carriers } = await desk(t, { by })
    await commit(3_000, { carrierName: 'B' })
    await commit(1, { carrierName: 'A', account: 2 })
    room('A', 1)
    t.ok(handed(lines.B) <= 512, `${by}: ${handed(lines.B)} in memory`)
    for (let n = 0; n < 8; n++) await settled()
    t.equal(carriers.A.sent.length, 1, 'what names the other goes')
    t.ok(spool.figures().claimed <= 513, `${spool.figures().claimed} claimed`)
    answer('A')

    room('A', 5)
    await tick()
    t.ok(handed(lines.B) <= 16, `of a carrier that takes nothing hardly any wait in memory: ${handed(lines.B)}`)
    let went = 0
    for (let n = 0; n < 200 && went < 3_000; n++) {
      room('B', 3_000)
      await settled()
      await tick()
      went += answer('B')
    }
    t.equal(went, 3_000, 'all of them go')
    t.equal(carriers.A.sent.length, 0, 'over none but that')
  }
})

t.test('what names a carrier that is down is seldom looked at, and goes as soon as it is up', async t => {
  const house = await desk(t, weighed(1, 1))
  const { commit, room, tick, settled, dispatch, carriers, spool } = house
  carriers.B.up = false
  dispatch.align()
  await tick(60_000)
  await commit(2_000, { carrierName: 'B' })
  room('A', 10)
  for (let n = 0; n < 20; n++) await settled()
  t.equal(spool.figures().due, 2_000)
  const before = house.records
  for (let n = 0; n < 20; n++) await tick()
  t.equal(house.records, before, 'nothing is written for twenty seconds')
  carriers.B.up = true
  carriers.B.free = 10
  dispatch.align()
  for (let n = 0; n < 5; n++) await settled()
  t.equal(carriers.B.sent.length, 10, 'and then it is there at once')
})

t.test('what names a carrier that is gone ends when it is too old to be tried', async t => {
  const { commit, room, tick, dispatch, lines, ended, settled, spool } = await desk(t)
  dispatch.remove(lines.B)
  await commit(1, { carrierName: 'B', validUntilMs: Date.UTC(2027, 0, 1), body: Buffer.from('lost') })
  room('A', 10)
  await settled()
  await tick(HOUR_MS / 2)
  t.same(ended, [], 'it may come back')
  t.equal(spool.figures().due, 1)
  await tick(HOUR_MS)
  t.same(ended, ['lost carrier_gone'])
})

t.test('what is handed over while its carrier looks for more is not forgotten', async t => {
  const { commit, room, answer, spool, carriers } = await desk(t, weighed(1, 1))
  for (let run = 0; run < 40; run++) {
    carriers.A.free = 1
    carriers.B.free = 2
    await commit(2)
    for (let n = 0; n < 4; n++) {
      // Each answer makes room for one more of the same carrier, and nobody else is told.
      for (const name of ['A', 'B'] as const) if (answer(name) > 0) room(name, 1)
      await nextTurn()
    }
    if (spool.figures().waiting > 0) break
  }
  t.equal(spool.figures().waiting, 0)
})

t.test('a full carrier changes no choice that was made for a reason', async t => {
  const cases: [string, Given, Partial<Message>][] = [
    ['a weight of 0', weighed(0, 1), {}],
    ['price', { by: 'price', merits: { priceMicros: carrier => (carrier === 'B' ? 1 : 9) } }, {}],
    [
      'quality',
      { by: 'quality', merits: { standing: carrier => better(carrier === 'B' ? 'A' : 'B') } },
      { source_addr: 'quality' },
    ],
  ]
  for (const [what, given, message] of cases) {
    const { commit, room, lines, carriers, settled, answer, spool } = await desk(t, given)
    await commit(3_000, message)
    room('A', 10_000)
    for (let n = 0; n < 10; n++) await settled()
    const explored = what === 'quality' ? 3_000 * 0.05 : 0
    t.ok(carriers.A.sent.length <= explored, `${what}: ${carriers.A.sent.length} over the other`)
    t.ok(handed(lines.B) <= 512)
    answer('A')
    room('B', 10_000)
    for (let n = 0; n < 10; n++) await settled()
    answer('A')
    answer('B')
    t.equal(spool.figures().waiting, 0, 'and all go over the one')
  }
})

t.test('equals help each other out, and never with parts of one text', async t => {
  for (const by of ['weight', 'price', 'quality'] as const) {
    const plain = await desk(t, { ...weighed(1, 1), by })
    await plain.commit(2_000)
    plain.room('A', 10_000)
    for (let n = 0; n < 5; n++) await plain.settled()
    const { length } = plain.carriers.A.sent
    t.equal(length + handed(plain.lines.B), 2_000, `${by}: ${length} of 2,000 over the one that has room`)

    const { commit, room, carriers, answer, spool, lines } = await desk(t, { ...weighed(1, 1), by })
    const who = new Map<string, Set<string>>()
    await commit(3_000, i => partOf(Math.floor(i / 3), (i % 3) + 1))
    for (let n = 0; n < 2_000 && spool.figures().waiting > 0; n++) {
      room('A', 20)
      room('B', 5)
      if (carriers.A.sent.length + carriers.B.sent.length === 0) {
        // Lines that left the lane alone come back to it.
        await new Promise<void>(resolve => {
          carriers.A.told = carriers.B.told = resolve
        })
      }
      for (const name of ['A', 'B'] as const) {
        for (const { message } of carriers[name].sent) {
          const of = who.get(message.destination_addr) ?? new Set()
          who.set(message.destination_addr, of.add(name))
        }
        answer(name)
      }
      if (n % 20 === 0) await spool.synced()
    }
    t.equal(spool.figures().waiting, 0, `${handed(lines.A)} and ${handed(lines.B)} handed over`)
    t.equal(who.size, 1_000)
    t.equal([...who.values()].filter(names => names.size > 1).length, 0, `${by}: no text goes over two carriers`)
  }
})

t.test('a line that finds nothing of its own in a lane goes on with its others, and comes back', async t => {
  const { commit, room, dispatch, carriers, settled } = await desk(t, {
    merits: { priceMicros: carrier => (carrier === 'A' ? 1 : 9) },
  })
  const own = ruleOf({ id: 2, position: 2, to: [{ carrier: 'B', weight: null }] })
  dispatch.useRoutes(new RouteTable([ruleOf({ by: 'price' }), own]))
  await commit(3_000)
  await commit(100, { lane: 2 })
  room('B', 5_000)
  for (let n = 0; n < 5; n++) await settled()
  t.same([...new Set(carriers.B.sent.map(({ message }) => message.lane))], [2])
  t.equal(carriers.B.sent.length, 100)
  carriers.A.up = false
  dispatch.align()
  for (let n = 0; n < 5; n++) await settled()
  t.equal(carriers.B.sent.length, 3_100)
})

t.test('what waits for its carrier is asked again whether it may go', async t => {
  let quiet = false
  const stopped = new Set<string>()
  const { commit, room, clock, ended, carriers, lines, settled, spool } = await desk(t, {
    by: 'price',
    merits: { priceMicros: carrier => (carrier === 'B' ? 1 : 9) },
    host: {
      quietUntil: () => (quiet ? clock.now() + HOUR_MS : 0),
      unwanted: m => (stopped.has(m.destination_addr) ? 'stopped' : undefined),
    },
  })
  await commit(1, { body: Buffer.from('short'), validUntilMs: clock.now() + 400 })
  await commit(1, { body: Buffer.from('stop'), destination_addr: '4917000000' })
  await commit(1, { body: Buffer.from('bulk'), rank: 2 })
  await commit(1, { body: Buffer.from('goes') })
  room('A', 10)
  t.equal(handed(lines.B), 4)
  quiet = true
  stopped.add('4917000000')
  clock.advance(500)
  room('B', 10)
  await settled()
  t.same(
    carriers.B.sent.map(({ message }) => message.body.toString()),
    ['goes'],
  )
  t.same(ended.sort(), ['short 3', 'stop stopped'])
  t.equal(spool.figures().due, 1, 'bulk waits for the end of quiet hours')
})

t.test('where a message may name any carrier, that one gets it though none of its route’s is up', async t => {
  const house = await desk(t, { named: 'any', to: [{ carrier: 'A', weight: null }] })
  const { commit, dispatch, carriers, tick, settled, room } = house
  carriers.A.up = false
  dispatch.align()
  carriers.C.free = 10
  await commit(300)
  await commit(1, { carrierName: 'C' })
  room('B', 10)
  for (let n = 0; n < 5; n++) await settled()
  t.same(
    carriers.C.sent.map(({ message }) => message.carrierName),
    ['C'],
  )
  t.equal(carriers.B.sent.length, 0, 'and what names none waits')
  for (let n = 0; n < 3; n++) await tick()
  carriers.A.up = true
  carriers.A.free = 1_000
  dispatch.align()
  for (let n = 0; n < 3; n++) await tick()
  t.equal(carriers.A.sent.length, 300)
})

t.test('a carrier of weight 0 serves when no other is up', async t => {
  const { commit, dispatch, carriers, settled, room } = await desk(t, weighed(0, 1))
  carriers.B.up = false
  dispatch.align()
  await commit(10)
  room('A', 100)
  await settled()
  t.equal(carriers.A.sent.length, 10)
})
