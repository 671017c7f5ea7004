// What every engine of the spool must keep, told as stories through the contract's verbs
// alone, with a clock that stands still. Refuses to know where and how an engine stores;
// spool-model.ts holds the property that mixes all of it.

import type { Test } from 'tap'
import { ManualClock } from '../../src/base/clock.js'
import { type ClassRank, Message, state } from '../../src/model/message.js'
import type { Reply } from '../../src/model/outcome.js'
import {
  type Claimer,
  type Ending,
  type HistoryRow,
  type QueueFilter,
  type Report,
  type Spool,
  way,
} from '../../src/spool/contract.js'
import { spoolProperty } from './spool-model.js'

export interface SpoolOptions {
  /** The same name is the same store, opened again; without one the store is new. */
  store?: string
  /** Whoever has the store open is forsaken, as a SIGKILL would leave it. Without this it must have closed it. */
  killed?: boolean
  clock?: ManualClock
  maxWaiting?: number
  maxWaitingPerAccount?: number
  keepReportsMs?: number
  keepReportsPerAccount?: number
  /** Memory windows of a few messages, so that everything overflows. */
  small?: boolean
}

/** What a store belongs to, and is done away with by. A test is one. */
export interface Scope {
  readonly fullname: string
  teardown(clean: () => unknown): unknown
}

export type OpenSpool = (t: Scope, options?: SpoolOptions) => Promise<Spool>

/** What one commit changes: a line of a process that is to be killed. */
export interface SpoolChange {
  /** Ids of messages taken in. */
  waiting: number[]
  sent: [id: number, ref: string][]
  ended: number[]
  /** Ids of messages whose receipt was delivered. */
  told: number[]
}

export const START_MS = Date.UTC(2026, 0, 5, 9)
export const MINUTE_MS = 60_000
export const HOUR_MS = 60 * MINUTE_MS
export const LANE = 1
export const CARRIER = 7

export function message(fields: Partial<Message> = {}): Message {
  const m = new Message()
  m.account = 1
  m.lane = LANE
  m.source_addr = '4915100000001'
  m.destination_addr = '4915200000002'
  m.registered_delivery = 1
  m.validUntilMs = START_MS + 24 * HOUR_MS
  m.body = Buffer.from('text')
  return Object.assign(m, fields)
}

/** Ticks until nothing is left to do at once, each time to the disk. */
export async function settle(spool: Spool): Promise<void> {
  for (;;) {
    const more = spool.tick()
    await spool.synced()
    if (!more) return
  }
}

/** Lets the time pass that sweeps take to see everything; moves the clock by a few minutes. */
export async function sweep(spool: Spool, clock: ManualClock): Promise<void> {
  for (let i = 0; i < 40; i++) {
    clock.advance(11_000)
    await settle(spool)
  }
}

const weightOne = () => 1
const claimerOf = (spool: Spool, ...lanes: number[]): Claimer =>
  spool.claimer('test', lanes.length > 0 ? lanes : [LANE], weightOne)
const texts = (messages: readonly Message[]): string[] => messages.map(m => m.body.toString())
const ids = (messages: readonly Message[]): number[] => messages.map(m => m.id)

export async function commitAll(spool: Spool, messages: readonly Message[]): Promise<void> {
  for (const m of messages) spool.commit(m)
  await spool.synced()
}

/** Claims, a few at a time, until there is nothing left; ends each as refused. */
function drain(claimer: Claimer, spool: Spool, n = 7): Message[] {
  const all: Message[] = []
  for (let some = claimer.claim(n); some.length > 0; some = claimer.claim(n)) {
    for (const m of some) spool.end(m, { state: state.REJECTED, error: '11', doneMs: spool.clock.now() })
    all.push(...some)
  }
  return all
}

function claimOne(claimer: Claimer): Message {
  const [m] = claimer.claim(1)
  if (!m) throw new Error('nothing to claim')
  return m
}

interface Heard {
  ended: { id: number; ending: Ending }[]
  ready: number[]
  reports: number[]
  unmatched: string[]
  dropped: number
  apart: number
}

function listen(spool: Spool): Heard {
  const heard: Heard = { ended: [], ready: [], reports: [], unmatched: [], dropped: 0, apart: 0 }
  spool.events = {
    ready: lane => heard.ready.push(lane),
    report: account => heard.reports.push(account),
    logged() {},
    ended: (m, ending) => heard.ended.push({ id: m.id, ending }),
    unmatched: (_carrier, receipt) => heard.unmatched.push(receipt.ref),
    apart(parts) {
      heard.apart += parts
    },
    reportsDropped(count) {
      heard.dropped += count
    },
    synced() {},
    failed(error) {
      throw error
    },
  }
  return heard
}

const delivered = (ref: string, doneMs = START_MS) => ({ ref, state: state.DELIVERED, err: '000', doneMs })
const failed = (ref: string, doneMs = START_MS) => ({ ref, state: state.UNDELIVERABLE, err: '069', doneMs })

/** All history rows from `after` on; `take` is told each position. */
function rowsOf(spool: Spool, after = 0, take: (position: number) => void = () => {}): HistoryRow[] {
  const rows: HistoryRow[] = []
  let position = after
  for (let slice = spool.readLog(position, 3); slice; slice = spool.readLog(position, 3)) {
    rows.push(...slice.rows)
    position = slice.position
    take(position)
  }
  return rows
}

const reply = (text: string): Reply => ({
  carrier: CARRIER,
  service_type: 'CMT',
  source_addr_ton: 1,
  source_addr_npi: 1,
  source_addr: '4915200000002',
  dest_addr_ton: 0,
  dest_addr_npi: 1,
  destination_addr: '12345',
  esm_class: 0x40,
  protocol_id: 3,
  priority_flag: 1,
  data_coding: 8,
  body: Buffer.from(text, 'utf16le').swap16(),
  tlvs: Buffer.from('02040002abcd', 'hex'),
})

const textOf = (report: Report): string =>
  Buffer.from((report.reply as Reply).body)
    .swap16()
    .toString('utf16le')

export function spoolContract(t: Test, open: OpenSpool): void {
  t.test('taking in', t => takingIn(t, open))
  t.test('whose turn it is', t => turns(t, open))
  t.test('more than memory holds', t => overflow(t, open))
  t.test('time', t => time(t, open))
  t.test('receipts', t => receipts(t, open))
  t.test('parts', t => parts(t, open))
  t.test('what may have been sent', t => unsure(t, open))
  t.test('parts to be joined', t => joins(t, open))
  t.test('reports', t => reports(t, open))
  t.test('history', t => history(t, open))
  t.test('finding and changing', t => changing(t, open))
  t.test('many at once', t => many(t, open))
  t.test('stopping and starting', t => restarts(t, open))
  t.test('all of it in any order', t => spoolProperty(t, open))
  t.end()
}

function takingIn(t: Test, open: OpenSpool): void {
  t.test('a message can be claimed once it is durable, and not before', async t => {
    const spool = await open(t)
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    spool.commit(message())
    t.equal(claimer.waiting, false)
    t.same(claimer.claim(1), [])
    t.same(heard.ready, [])
    await spool.synced()
    t.equal(claimer.waiting, true)
    t.equal(claimer.first, 1)
    t.same(heard.ready, [LANE])
    t.equal(claimer.claim(2).length, 1)
    t.equal(claimer.waiting, false)
    t.same(claimer.claim(1), [])
  })

  t.test('all who ask in one turn are told of one commit, in the order of asking', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool)
    const order: string[] = []
    const gathering = spool.gathering
    spool.commit(message())
    spool.afterSync(() => order.push(`first, ${claimer.claim(9).length} to claim`))
    const synced = spool.synced()
    spool.commit(message())
    spool.afterSync(() => order.push('second'))
    t.equal(spool.synced(), synced)
    t.equal(spool.gathering, gathering)
    await synced
    t.not(spool.gathering, gathering)
    t.same(order, ['first, 2 to claim', 'second'])
  })

  t.test('with nothing to write, synced() resolves all the same', async t => {
    const spool = await open(t)
    await spool.synced()
    let told = false
    spool.afterSync(() => {
      told = true
    })
    await spool.synced()
    t.equal(told, true)
  })

  t.test('ids grow and are 16 digits, whatever the clock does', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { clock, store: 'ids' })
    const made: number[] = []
    const make = async (): Promise<void> => {
      // More than a millisecond has room for.
      const some = Array.from({ length: 300 }, () => message())
      await commitAll(spool, some)
      made.push(...ids(some))
    }
    await make()
    clock.setWall(START_MS - HOUR_MS)
    await make()
    // Nothing that is left tells of the ids that were.
    drain(claimerOf(spool), spool)
    await spool.close()
    spool = await open(t, { clock, store: 'ids' })
    await make()
    drain(claimerOf(spool), spool)
    await spool.synced()
    spool = await open(t, { clock, store: 'ids', killed: true })
    await make()
    for (let i = 1; i < made.length; i++) {
      if ((made[i] as number) <= (made[i - 1] as number)) t.fail(`${made[i]} came after ${made[i - 1]}`)
    }
    t.match(String(made[0]), /^\d{16}$/)
  })

  t.test('everything that a message carries comes back from the disk', async t => {
    const clock = new ManualClock(START_MS)
    const before = await open(t, { store: 'whole', clock })
    const m = message({
      account: 4_000_000_000,
      rank: 2,
      service_type: 'CMT',
      source_addr_ton: 5,
      source_addr_npi: 1,
      source_addr: 'Señor',
      dest_addr_ton: 1,
      dest_addr_npi: 9,
      esm_class: 0x43,
      protocol_id: 0x7f,
      priority_flag: 3,
      registered_delivery: 0x11,
      data_coding: 0xf5,
      body: Buffer.from('060504000000ffff00ff', 'hex'),
      tlvs: Buffer.from('0204000212340000', 'hex'),
      validUntilMs: START_MS + 7 * 24 * HOUR_MS,
      carrierName: 'north',
      segments: 3,
      priceMicros: 123_456_789_012,
      clientRef: 'заказ 7',
      extras: '{"callback":"https://example.org/ü"}',
    })
    const text = message({ isText: true, body: Buffer.from('Привет, 👋'), lane: 9 })
    await commitAll(before, [m, text])
    await before.close()
    const after = await open(t, { store: 'whole', clock })
    const carried = (one: Message) => {
      const { hold, block, ready, ...rest } = one
      return rest
    }
    t.same(after.claimer('a', [LANE], weightOne).claim(9).map(carried), [carried(m)])
    t.same(after.claimer('b', [9], weightOne).claim(9).map(carried), [carried(text)])
  })

  t.test('an account, and all together, may have so many waiting and no more', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, maxWaiting: 6, maxWaitingPerAccount: 3 })
    const claimer = claimerOf(spool)
    await commitAll(spool, [message(), message({ scheduleMs: START_MS + HOUR_MS }), message()])
    t.equal(spool.refusal(1), 'account_full')
    t.equal(spool.refusal(1, null), 'account_full')
    t.equal(spool.refusal(1, 4), undefined, 'an account may have a limit of its own')
    t.equal(spool.refusal(2), undefined)
    const claimed = claimer.claim(2)
    t.equal(spool.refusal(1), 'account_full', 'what is claimed is still ours')
    spool.accepted(claimed[0] as Message, 0, CARRIER, 'a', true)
    t.equal(spool.refusal(1), undefined)
    await commitAll(spool, [
      message({ account: 2 }),
      message({ account: 2 }),
      message({ account: 3 }),
      message({ account: 3 }),
    ])
    t.equal(spool.refusal(4), 'queue_full')
    spool.end(claimed[1] as Message, { state: state.REJECTED, error: '', doneMs: START_MS })
    t.equal(spool.refusal(4), undefined)
    t.equal(spool.refusal(1), undefined)
    spool.stop()
    t.equal(spool.refusal(4), 'stopping')
  })
  t.end()
}

function turns(t: Test, open: OpenSpool): void {
  t.test('priority goes first, then the moment of readiness', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool)
    await commitAll(
      spool,
      [0, 3, 1].map(priority_flag => message({ priority_flag, body: Buffer.from(`a${priority_flag}`) })),
    )
    await commitAll(
      spool,
      [1, 0, 3, 4].map(priority_flag => message({ priority_flag, body: Buffer.from(`b${priority_flag}`) })),
    )
    t.same(texts(claimer.claim(3)), ['b4', 'a3', 'b3'])
    await commitAll(spool, [message({ priority_flag: 2, body: Buffer.from('c2') })])
    t.same(texts(claimer.claim(9)), ['c2', 'a1', 'b1', 'a0', 'b0'])
  })

  t.test('accounts take turns by their weight', async t => {
    const spool = await open(t)
    const claimer = spool.claimer('test', [LANE], account => (account === 2 ? 3 : 1))
    const all: Message[] = []
    for (const account of [1, 2, 3]) for (let i = 0; i < 300; i++) all.push(message({ account }))
    await commitAll(spool, all)
    const share = [0, 0, 0, 0]
    for (let i = 0; i < 40; i++) for (const m of claimer.claim(10)) (share[m.account] as number) += 1
    t.same(share, [0, 80, 240, 80])
    let others = 0
    while (others < 220 && claimer.waiting) others += claimer.claim(10).filter(m => m.account !== 2).length
    t.equal(others, 220)
    t.ok(claimer.waiting, 'the heavier account does not shut the others out')
  })

  t.test('one who comes late to a busy lane waits for a turn, not for the others to be done', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool)
    await commitAll(
      spool,
      Array.from({ length: 500 }, (_, i) => message({ account: 10 + (i % 5) })),
    )
    claimer.claim(100)
    await commitAll(spool, [message({ account: 1 })])
    t.ok(claimer.claim(6).some(m => m.account === 1))
  })

  t.test('class goes first, but each lower one keeps a twentieth', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool)
    const all: Message[] = []
    for (const rank of [2, 1, 0] as const) {
      for (let i = 0; i < 1_200; i++) all.push(message({ rank, account: 1 + rank }))
    }
    await commitAll(spool, all)
    const share = [0, 0, 0]
    for (let i = 0; i < 100; i++) for (const m of claimer.claim(10)) (share[m.rank] as number) += 1
    t.ok((share[1] as number) >= 49 && (share[2] as number) >= 49, `a lower class has 50 of 1,000: ${share}`)
    t.ok((share[0] as number) >= 890, `the highest has what is left: ${share}`)
    while (claimer.claim(10).some(m => m.rank === 0));
    const rest = [0, 0, 0]
    for (let i = 0; i < 20; i++) for (const m of claimer.claim(10)) (rest[m.rank] as number) += 1
    t.equal(rest[0], 0)
    t.ok((rest[1] as number) >= 180 && (rest[2] as number) >= 10, `then the next goes first: ${rest}`)
  })

  t.test('an account in several lanes of a carrier has one turn, and its messages keep their order', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool, 1, 2, 3)
    for (let i = 0; i < 6; i++) {
      await commitAll(spool, [
        message({ lane: 1 + (i % 3), body: Buffer.from(`m${i}`) }),
        message({ account: 2, lane: 1 }),
      ])
    }
    const claimed = claimer.claim(12)
    t.same(texts(claimed.filter(m => m.account === 1)), ['m0', 'm1', 'm2', 'm3', 'm4', 'm5'])
    t.equal(claimed.slice(0, 6).filter(m => m.account === 1).length, 3)
  })

  t.test('what two carriers may send goes to one of them', async t => {
    const spool = await open(t)
    const one = spool.claimer('one', [1, 2], weightOne)
    const two = spool.claimer('two', [2, 3], weightOne)
    const all = Array.from({ length: 90 }, (_, i) => message({ lane: 1 + (i % 3) }))
    await commitAll(spool, all)
    const byOne: Message[] = []
    const byTwo: Message[] = []
    while (one.waiting || two.waiting) {
      byOne.push(...one.claim(3))
      byTwo.push(...two.claim(4))
    }
    t.same(ids([...byOne, ...byTwo]).sort(), ids(all).sort())
    t.ok(byOne.every(m => m.lane < 3) && byTwo.every(m => m.lane > 1))
  })

  t.test('a carrier serves other lanes when told so, and none when closed', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool, 1)
    await commitAll(
      spool,
      [1, 1, 2, 2].map(lane => message({ lane })),
    )
    t.same(
      claimer.claim(1).map(m => m.lane),
      [1],
    )
    claimer.serve([2])
    t.same(
      claimer.claim(9).map(m => m.lane),
      [2, 2],
    )
    t.equal(claimer.waiting, false)
    claimer.serve([1, 2])
    t.equal(claimer.waiting, true)
    claimer.close()
    t.equal(claimer.waiting, false)
    await commitAll(spool, [message()])
    t.same(claimer.claim(9), [])
    t.equal(claimerOf(spool, 1).claim(9).length, 2)
  })

  t.test('what is given back stands at the head again, in its old order', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool)
    for (let i = 0; i < 8; i++) await commitAll(spool, [message({ body: Buffer.from(`m${i}`) })])
    const claimed = claimer.claim(5)
    for (const i of [3, 0, 4, 1]) spool.giveBack(claimed[i] as Message)
    t.equal(spool.figures().claimed, 1)
    t.same(texts(claimer.claim(3)), ['m0', 'm1', 'm3'])
    spool.giveBack(claimed[2] as Message)
    t.same(texts(claimer.claim(9)), ['m2', 'm4', 'm5', 'm6', 'm7'])
    spool.giveBack(claimed[0] as Message)
    spool.giveBack(claimed[0] as Message)
    t.same(texts(claimer.claim(9)), ['m0'], 'giving back twice is giving back once')
  })

  t.test('lanes that were deleted are matched again', async t => {
    const spool = await open(t, { small: true })
    const old = claimerOf(spool, 1)
    const all = Array.from({ length: 40 }, (_, i) => message({ lane: 1, account: 1 + (i % 3) }))
    await commitAll(spool, all)
    const [held] = old.claim(1)
    t.ok(spool.cancel((all[20] as Message).id))
    for (let more = true; more; ) {
      more = spool.rematch(1, m => (m.account === 1 ? 5 : 6))
      await spool.synced()
    }
    t.same(old.claim(9), [])
    const moved = [...drain(claimerOf(spool, 5), spool), ...drain(claimerOf(spool, 6), spool)]
    t.same(ids(moved).sort(), ids(all.filter(m => m !== held && m !== all[20])).sort())
    t.ok(moved.every(m => m.lane === (m.account === 1 ? 5 : 6)))
    spool.giveBack(held as Message)
    t.same(old.claim(9), [held])
  })
  t.end()
}

function overflow(t: Test, open: OpenSpool): void {
  t.test('what overflows to the disk is claimed once each, in order, while more comes in', async t => {
    const spool = await open(t, { small: true })
    const claimer = claimerOf(spool)
    const expected: number[] = []
    const claimed: Message[] = []
    for (let i = 0; i < 120; i++) {
      const some = Array.from({ length: 1 + ((i * 7) % 13) }, () => message())
      await commitAll(spool, some)
      expected.push(...ids(some))
      const got = claimer.claim((i * 5) % 9)
      // Every third is given back, and comes again before all others.
      got.forEach((m, at) => {
        if (at % 3 === 2) spool.giveBack(m)
        else claimed.push(m)
      })
    }
    claimed.push(...drain(claimer, spool))
    t.equal(claimed.length, expected.length)
    t.same(ids(claimed).sort(), expected)
  })

  t.test('waiting messages are found and claimed in order after a restart', async t => {
    const clock = new ManualClock(START_MS)
    const before = await open(t, { store: 'many', clock, small: true })
    const all: Message[] = []
    for (let i = 0; i < 30; i++) {
      const some = Array.from({ length: 10 }, (_, n) => message({ account: 1 + (n % 2), priority_flag: i % 2 }))
      await commitAll(before, some)
      all.push(...some)
    }
    const taken = claimerOf(before).claim(50)
    for (const m of taken.slice(0, 20)) before.accepted(m, 0, CARRIER, `r${m.id}`, false)
    await before.close()
    const spool = await open(t, { store: 'many', clock, small: true })
    const figures = spool.figures()
    t.equal(figures.waiting, 280)
    t.equal(
      figures.lanes.reduce((n, lane) => n + lane.waiting, 0),
      280,
    )
    const sent = new Set(ids(taken.slice(0, 20)))
    const rest = drain(claimerOf(spool), spool)
    t.same(
      ids(rest).sort(),
      ids(all).filter(id => !sent.has(id)),
    )
    for (const account of [1, 2]) {
      const own = rest.filter(m => m.account === account)
      const sorted = [...own].sort((a, b) => b.priority_flag - a.priority_flag || a.id - b.id)
      t.same(ids(own), ids(sorted))
    }
  })
  t.end()
}

function time(t: Test, open: OpenSpool): void {
  t.test('a scheduled message waits for its moment, over a restart too', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'due', clock, small: true })
    const all = Array.from({ length: 2_000 }, (_, i) => message({ scheduleMs: START_MS + 1_000 * (1 + (i % 10)) }))
    await commitAll(spool, all)
    t.equal(spool.figures().due, 2_000)
    await settle(spool)
    t.same(claimerOf(spool).claim(9), [])
    clock.advance(3_000)
    await settle(spool)
    t.equal(spool.figures().due, 1_400)
    t.equal(drain(claimerOf(spool), spool).length, 600)
    await spool.close()
    spool = await open(t, { store: 'due', clock, small: true })
    t.equal(spool.figures().due, 1_400)
    clock.advance(999)
    await settle(spool)
    t.same(claimerOf(spool).claim(9), [])
    clock.advance(6_001)
    await settle(spool)
    const rest = drain(claimerOf(spool), spool)
    t.equal(rest.length, 1_400)
    const moments = rest.map(m => m.scheduleMs)
    t.same(
      moments,
      [...moments].sort((a, b) => a - b),
    )
  })

  t.test('a deferred message comes back behind what has become ready since', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const claimer = claimerOf(spool)
    await commitAll(
      spool,
      ['a', 'b', 'c'].map(text => message({ body: Buffer.from(text) })),
    )
    const a = claimOne(claimer)
    a.attempts++
    spool.defer(a, START_MS + 500)
    await spool.synced()
    t.same(texts(claimer.claim(9)), ['b', 'c'])
    clock.advance(499)
    await settle(spool)
    t.equal(claimer.waiting, false)
    await commitAll(spool, [message({ body: Buffer.from('d') })])
    clock.advance(1)
    await settle(spool)
    const [d, again] = claimer.claim(9) as [Message, Message]
    t.same(texts([d, again]), ['d', 'a'])
    t.equal(again.attempts, 1)
  })

  t.test('many who are due at once come back without a tick that has no end', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const claimer = claimerOf(spool)
    await commitAll(
      spool,
      Array.from({ length: 100 }, () => message({ scheduleMs: START_MS + 1 })),
    )
    clock.advance(1)
    // Without a commit between them, each tick must still come further.
    let ticks = 0
    while (spool.tick() && ticks < 200) ticks++
    t.ok(ticks < 200, 'ticks end')
    await spool.synced()
    t.equal(drain(claimer, spool).length, 100)
  })

  t.test('a claim does not hand out what is past its validity; its sender is told', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    const brief = message({ validUntilMs: START_MS + 1_000 })
    const held = message({ validUntilMs: START_MS + 1_000 })
    await commitAll(spool, [held, brief, message()])
    t.same(claimer.claim(1), [held])
    clock.advance(1_000)
    t.equal(claimer.claim(9).length, 1)
    t.same(heard.ended, [{ id: brief.id, ending: { state: state.EXPIRED, error: '', doneMs: START_MS + 1_000 } }])
    await spool.synced()
    const [report] = spool.claimReports(1, 9)
    t.equal(report?.receipt?.state, state.EXPIRED)
    spool.accepted(held, 0, CARRIER, 'late', true)
    t.equal(spool.figures().sent, 1, 'what is in flight is not expired')
  })

  t.test('what nobody claims expires too, wherever it waits', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const heard = listen(spool)
    const validUntilMs = START_MS + HOUR_MS
    const claimer = claimerOf(spool)
    await commitAll(
      spool,
      Array.from({ length: 60 }, () => message({ validUntilMs })),
    )
    await commitAll(
      spool,
      Array.from({ length: 20 }, () => message({ validUntilMs, scheduleMs: validUntilMs + 1 })),
    )
    await commitAll(spool, [message(), message({ lane: 3, validUntilMs })])
    spool.defer(claimOne(claimer), validUntilMs + HOUR_MS)
    const held = claimOne(claimer)
    clock.advance(HOUR_MS)
    await sweep(spool, clock)
    t.equal(heard.ended.length, 80)
    t.ok(heard.ended.every(({ ending }) => ending.state === state.EXPIRED && ending.doneMs === validUntilMs))
    const figures = spool.figures()
    t.match(figures, { waiting: 2, claimed: 1, due: 0, outbox: 80 })
    t.equal(claimer.claim(9).length, 1)
    t.equal(spool.find(held.id), held)
  })

  t.test('a claim that meets very many expired messages still returns and loses nothing', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    await commitAll(
      spool,
      Array.from({ length: 3_000 }, () => message({ validUntilMs: START_MS + 1 })),
    )
    await commitAll(spool, [message()])
    clock.advance(1)
    const claimed: Message[] = []
    const pump = (): void => {
      for (let some = claimer.claim(5); some.length > 0; some = claimer.claim(5)) claimed.push(...some)
    }
    // As dispatch does: an empty claim ends it, and the lane is heard of again while it has more.
    spool.events.ready = pump
    pump()
    for (let turn = 0; claimer.waiting && turn < 100; turn++) await spool.synced()
    t.equal(claimed.length, 1)
    t.equal(heard.ended.length, 3_000)
  })

  t.test('what a carrier took and never reported ends as UNKNOWN, a while after its validity', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const heard = listen(spool)
    await commitAll(spool, [message({ validUntilMs: START_MS + HOUR_MS })])
    const m = claimOne(claimerOf(spool))
    spool.accepted(m, 0, CARRIER, 'silent', true)
    clock.advance(HOUR_MS + 30 * MINUTE_MS)
    await sweep(spool, clock)
    t.same(heard.ended, [])
    t.equal(spool.findRef(CARRIER, 'silent')?.id, m.id, 'its receipt may still come')
    clock.advance(HOUR_MS)
    await sweep(spool, clock)
    t.match(heard.ended, [{ id: m.id, ending: { state: state.UNKNOWN } }])
    t.equal(spool.figures().sent, 0)
    t.equal(spool.claimReports(1, 1)[0]?.receipt?.state, state.UNKNOWN)
  })

  t.test('a clock set back stops neither what is due nor the sweep', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const heard = listen(spool)
    await sweep(spool, clock)
    clock.setWall(START_MS - 24 * HOUR_MS)
    await commitAll(spool, [message({ validUntilMs: START_MS - 24 * HOUR_MS + 1_000 })])
    await sweep(spool, clock)
    t.match(heard.ended, [{ ending: { state: state.EXPIRED } }])
  })
  t.end()
}

/** Commits, claims and hands over as many messages as there are references, in their order. */
async function send(spool: Spool, refs: readonly string[], fields: Partial<Message> = {}): Promise<Message[]> {
  await commitAll(
    spool,
    refs.map(() => message(fields)),
  )
  const claimed = claimerOf(spool, fields.lane ?? LANE).claim(refs.length)
  claimed.forEach((m, i) => {
    spool.accepted(m, 0, CARRIER, refs[i] as string, true)
  })
  return claimed
}

function receipts(t: Test, open: OpenSpool): void {
  t.test('a receipt ends the message that its carrier named so', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    await commitAll(spool, [message(), message(), message()])
    const [a, b, c] = claimer.claim(3) as [Message, Message, Message]
    // Two carriers may use the same name.
    spool.accepted(a, 0, 1, 'same', true)
    spool.accepted(b, 0, 2, 'same', true)
    spool.accepted(c, 0, 1, 'other', true)
    t.match(spool.figures(), { waiting: 0, claimed: 0, sent: 3 })
    t.equal(spool.findRef(1, 'same')?.id, a.id)
    t.equal(spool.findRef(2, 'same')?.id, b.id)
    t.equal(spool.findRef(3, 'same'), undefined)
    t.equal(spool.receipt(2, { ...failed('same'), doneMs: START_MS + 5 }), 'matched')
    t.same(heard.ended, [{ id: b.id, ending: { state: state.UNDELIVERABLE, error: '069', doneMs: START_MS + 5 } }])
    t.equal(spool.receipt(1, { ...delivered('same'), state: state.ENROUTE }), 'matched')
    t.equal(spool.find(a.id)?.standing, 'sent', 'ENROUTE is not the last word')
    t.equal(spool.receipt(1, { ...delivered('other'), state: state.ACCEPTED }), 'matched')
    t.equal(spool.find(c.id)?.standing, 'sent', 'nor is ACCEPTED')
    t.equal(spool.receipt(1, delivered('same')), 'matched')
    t.equal(spool.find(a.id), undefined)
    t.equal(spool.findRef(1, 'same'), undefined)
    t.equal(spool.figures().sent, 1)
  })

  t.test('a second receipt, or one for nobody, changes nothing and is given up after ten minutes', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    const heard = listen(spool)
    await send(spool, ['r'])
    t.equal(spool.receipt(CARRIER, delivered('r')), 'matched')
    t.equal(spool.receipt(CARRIER, failed('r')), 'parked')
    t.equal(spool.receipt(CARRIER, delivered('nobody')), 'parked')
    t.equal(spool.figures().parked, 2)
    t.equal(heard.ended.length, 1)
    clock.advance(10 * MINUTE_MS - 1)
    await settle(spool)
    t.same(heard.unmatched, [])
    clock.advance(1)
    await settle(spool)
    t.same(heard.unmatched, ['r', 'nobody'])
    t.equal(spool.figures().parked, 0)
    t.equal(spool.claimReports(1, 9).length, 1)
  })

  t.test('a receipt that overtakes the answer waits for it, over a restart and a kill too', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'early', clock })
    await commitAll(spool, [message(), message(), message()])
    t.equal(spool.receipt(CARRIER, { ...delivered('e1'), state: state.ENROUTE }), 'parked')
    t.equal(spool.receipt(CARRIER, delivered('e1')), 'parked')
    t.equal(spool.receipt(CARRIER, failed('e2')), 'parked')
    t.equal(spool.receipt(CARRIER, { ...delivered('e2'), state: state.ENROUTE }), 'parked')
    spool.accepted(claimOne(claimerOf(spool)), 0, CARRIER, 'e1', true)
    await spool.synced()
    t.match(spool.figures(), { sent: 0, parked: 1, outbox: 1 })
    spool = await open(t, { store: 'early', clock, killed: true })
    t.match(spool.figures(), { parked: 1, waiting: 2, outbox: 1 })
    const heard = listen(spool)
    spool.accepted(claimOne(claimerOf(spool)), 0, CARRIER + 1, 'e2', true)
    t.equal(spool.figures().parked, 1, 'another carrier’s name is another name')
    spool.accepted(claimOne(claimerOf(spool)), 0, CARRIER, 'e2', true)
    t.match(heard.ended, [{ ending: { state: state.UNDELIVERABLE, error: '069' } }])
    await spool.close()
    spool = await open(t, { store: 'early', clock })
    t.match(spool.figures(), { parked: 0, sent: 1, outbox: 2 })
  })

  t.test('a name that a carrier gives again means the newest message', async t => {
    const spool = await open(t)
    const heard = listen(spool)
    const [first, second] = await send(spool, ['again', 'again'])
    t.equal(spool.findRef(CARRIER, 'again')?.id, second?.id)
    spool.end(first as Message, { state: state.UNKNOWN, error: '', doneMs: START_MS })
    t.equal(spool.findRef(CARRIER, 'again')?.id, second?.id, 'the end of the older one does not take the name away')
    t.equal(spool.receipt(CARRIER, delivered('again')), 'matched')
    t.same(
      heard.ended.map(({ id }) => id),
      [first?.id, second?.id],
    )
  })

  t.test('a message whose receipt nobody awaits ends with its acceptance, and tells nobody', async t => {
    const spool = await open(t)
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    await commitAll(spool, [message({ registered_delivery: 0 }), message({ registered_delivery: 0 })])
    spool.accepted(claimOne(claimer), 0, CARRIER, 'x', false)
    spool.accepted(claimOne(claimer), 0, CARRIER, '', true)
    await spool.synced()
    t.match(heard.ended, [{ ending: { state: state.ACCEPTED } }, { ending: { state: state.ACCEPTED } }])
    t.match(spool.figures(), { waiting: 0, sent: 0, outbox: 0 })
  })

  t.test('registered_delivery says which ends are reported', async t => {
    const spool = await open(t)
    const all = [0, 1, 2, 3].flatMap(registered_delivery => [
      message({ registered_delivery }),
      message({ registered_delivery }),
    ])
    await commitAll(spool, all)
    const claimed = claimerOf(spool).claim(9)
    claimed.forEach((m, i) => {
      spool.end(m, { state: i % 2 ? state.UNDELIVERABLE : state.DELIVERED, error: '', doneMs: START_MS })
    })
    await spool.synced()
    const told = spool.claimReports(1, 9).map(({ receipt }) => [receipt?.registered_delivery, receipt?.state])
    t.same(told, [
      [1, state.DELIVERED],
      [1, state.UNDELIVERABLE],
      [2, state.UNDELIVERABLE],
      [3, state.DELIVERED],
    ])
  })

  t.test('very many references are found again, whatever was restarted or killed in between', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'refs', clock, small: true })
    const open_ = new Map<string, number>()
    const name = (i: number): string => `${(i * 7919) % 1_000_003}`.padStart(10, 'F')
    let made = 0
    const more = async (n: number): Promise<void> => {
      const refs = Array.from({ length: n }, () => name(made++))
      const sent = await send(spool, refs)
      sent.forEach((m, i) => {
        open_.set(refs[i] as string, m.id)
      })
      await settle(spool)
    }
    const check = async (every: number): Promise<void> => {
      let i = 0
      for (const [ref, id] of open_) {
        if (spool.findRef(CARRIER, ref)?.id !== id) throw new Error(`${ref} of ${id} was not found`)
        if (i++ % every !== 0) continue
        t.equal(spool.receipt(CARRIER, delivered(ref)), 'matched')
        open_.delete(ref)
      }
      await settle(spool)
      t.equal(spool.figures().sent, open_.size)
    }
    for (let i = 0; i < 25; i++) await more(1 + ((i * 11) % 30))
    await check(7)
    await spool.close()
    spool = await open(t, { store: 'refs', clock, small: true })
    await check(5)
    for (let i = 0; i < 15; i++) await more(1 + ((i * 5) % 19))
    spool = await open(t, { store: 'refs', clock, small: true, killed: true })
    await check(3)
    await more(20)
    // Everything ends, the store is opened empty, and names given after that must outlive the next start.
    await check(1)
    t.equal(open_.size, 0)
    await spool.close()
    spool = await open(t, { store: 'refs', clock, small: true })
    for (const n of [5, 60]) {
      await more(n)
      await spool.close()
      spool = await open(t, { store: 'refs', clock, small: true })
      await check(2)
    }
    await check(1)
    t.match(spool.figures(), { sent: 0, waiting: 0 })
  })
  t.end()
}

function parts(t: Test, open: OpenSpool): void {
  const answeredParts = (m: Message) => m.parts?.map(part => part.answered)

  t.test('only the parts that no carrier took are left, over a restart too', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'parts', clock })
    await commitAll(spool, [message()])
    const m = claimOne(claimerOf(spool))
    spool.cut(m, CARRIER, 3, 77)
    t.same(answeredParts(m), [false, false, false])
    spool.accepted(m, 1, CARRIER, 'p1', true)
    t.match(spool.figures(), { waiting: 1, claimed: 1, sent: 0 })
    spool.defer(m, START_MS + 1_000)
    await spool.close()
    spool = await open(t, { store: 'parts', clock })
    t.equal(spool.findRef(CARRIER, 'p1')?.id, m.id, 'while it waits, its parts may report')
    t.equal(spool.receipt(CARRIER, delivered('p1')), 'matched')
    clock.advance(1_000)
    await settle(spool)
    spool = await open(t, { store: 'parts', clock, killed: true })
    const again = claimOne(claimerOf(spool))
    t.match(again, { id: m.id, carrier: CARRIER, concatRef: 77 })
    t.same(answeredParts(again), [false, true, false])
    t.equal(again.parts?.[1]?.state, state.DELIVERED)
    spool.accepted(again, 0, CARRIER, 'p0', true)
    spool.giveBack(again)
    t.same(answeredParts(claimOne(claimerOf(spool))), [true, true, false])
    spool.accepted(again, 2, CARRIER, 'p2', true)
    t.match(spool.figures(), { waiting: 0, claimed: 0, sent: 1 })
    t.equal(spool.receipt(CARRIER, delivered('p2', START_MS + 10)), 'matched')
    t.equal(spool.figures().sent, 1)
    t.equal(spool.receipt(CARRIER, delivered('p2')), 'matched', 'the same part may report twice')
    t.equal(spool.receipt(CARRIER, delivered('p0', START_MS + 20)), 'matched')
    await spool.synced()
    const [report, ...others] = spool.claimReports(1, 9)
    t.same(others, [])
    t.match(report?.receipt, { id: m.id, state: state.DELIVERED, parts: 3, delivered: 3, doneMs: START_MS + 20 })
  })

  t.test('one part that failed makes the message fail, once all have reported', async t => {
    const spool = await open(t)
    const heard = listen(spool)
    await commitAll(spool, [message()])
    const m = claimOne(claimerOf(spool))
    spool.cut(m, CARRIER, 3, 1)
    // The receipt for a part may overtake its answer, or come while the others are still on their way.
    t.equal(spool.receipt(CARRIER, failed('p0')), 'parked')
    for (const part of [0, 1]) spool.accepted(m, part, CARRIER, `p${part}`, true)
    t.equal(spool.receipt(CARRIER, delivered('p1')), 'matched')
    t.same(heard.ended, [])
    spool.accepted(m, 2, CARRIER, 'p2', true)
    t.same(heard.ended, [])
    t.equal(spool.receipt(CARRIER, delivered('p2')), 'matched')
    t.match(heard.ended, [{ id: m.id, ending: { state: state.UNDELIVERABLE } }])
    await spool.synced()
    t.match(spool.claimReports(1, 9), [{ receipt: { parts: 3, delivered: 2 } }])
    for (const part of [0, 1, 2]) t.equal(spool.findRef(CARRIER, `p${part}`), undefined)
  })

  t.test('a part that the carrier gave no name is not waited for', async t => {
    const spool = await open(t)
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    await commitAll(spool, [message(), message(), message()])
    const [a, b, c] = claimer.claim(3) as [Message, Message, Message]
    for (const m of [a, b, c]) spool.cut(m, CARRIER, 2, 1)
    spool.accepted(a, 0, CARRIER, '', true)
    spool.accepted(a, 1, CARRIER, 'a1', true)
    t.equal(spool.receipt(CARRIER, delivered('a1')), 'matched')
    spool.accepted(b, 0, CARRIER, 'b0', true)
    t.equal(spool.receipt(CARRIER, delivered('b0')), 'matched')
    spool.accepted(b, 1, CARRIER, '', true)
    for (const part of [0, 1]) spool.accepted(c, part, CARRIER, '', true)
    t.match(heard.ended, [
      { id: a.id, ending: { state: state.DELIVERED } },
      { id: b.id, ending: { state: state.DELIVERED } },
      { id: c.id, ending: { state: state.ACCEPTED } },
    ])
    t.match(spool.figures(), { waiting: 0, sent: 0 })
  })

  t.test('an answer that comes after the message was put off still counts', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    await commitAll(spool, [message(), message(), message()])
    const [due, ready, over] = claimer.claim(3) as [Message, Message, Message]
    for (const m of [due, ready, over]) spool.defer(m, START_MS + (m === due ? HOUR_MS : 1_000))
    await spool.synced()
    clock.advance(1_000)
    await settle(spool)
    spool.accepted(due, 0, CARRIER, 'due', true)
    spool.accepted(ready, 0, CARRIER, 'ready', true)
    spool.end(over, { state: state.REJECTED, error: '', doneMs: START_MS })
    spool.accepted(over, 0, CARRIER, 'over', true)
    await spool.synced()
    t.same(claimer.claim(9), [])
    t.match(spool.figures(), { waiting: 0, due: 0, claimed: 0, sent: 2, lanes: [] })
    clock.advance(HOUR_MS)
    await settle(spool)
    t.same(claimer.claim(9), [])
    for (const ref of ['due', 'ready']) t.equal(spool.receipt(CARRIER, delivered(ref)), 'matched')
    t.same(
      heard.ended.map(({ id }) => id),
      [over.id, due.id, ready.id],
    )
    spool.end(over, { state: state.REJECTED, error: '', doneMs: START_MS })
    spool.defer(due, START_MS)
    await settle(spool)
    t.equal(heard.ended.length, 3)
  })
  t.end()
}

function unsure(t: Test, open: OpenSpool): void {
  t.test('what was being sent at a kill goes into no lane, and ends as UNKNOWN with its validity', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'sending', clock, small: true })
    const all = Array.from({ length: 8 }, (_, i) => message({ body: Buffer.from(`m${i}`), replaceable: true }))
    await commitAll(spool, all)
    const [m0, m1, m2, m3, m4] = claimerOf(spool).claim(5) as [Message, Message, Message, Message, Message]
    for (const m of [m0, m1, m2, m3]) spool.sending(m, 0, CARRIER)
    await spool.synced()
    t.match(spool.figures(), { waiting: 8, claimed: 5, sent: 0 })
    spool.unsent(m1, 0)
    spool.accepted(m2, 0, CARRIER, 'r2', true)
    await spool.synced()
    spool.sending(m4, 0, CARRIER)
    for (let kills = 0; kills < 2; kills++) {
      spool = await open(t, { store: 'sending', clock, small: true, killed: true })
      t.equal(spool.unsureAfterCrash, kills === 0 ? 2 : 0)
      t.match(spool.figures(), { waiting: 5, claimed: 0, sent: 3 })
      t.match(spool.find(m0.id), { standing: 'sent', carrier: CARRIER })
      t.equal(spool.cancel(m0.id), false)
      t.equal(spool.present(m0).length, 5)
      await spool.synced()
    }
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    t.same(texts(drain(claimer, spool)), ['m1', 'm4', 'm5', 'm6', 'm7'], 'no mark, or none that was durable')
    t.equal(spool.receipt(CARRIER, delivered('r2')), 'matched')
    heard.ended = []
    clock.advance(24 * HOUR_MS)
    await sweep(spool, clock)
    t.match(heard.ended, [
      { id: m0.id, ending: { state: state.UNKNOWN, error: 'unsure' } },
      { id: m3.id, ending: { state: state.UNKNOWN, error: 'unsure' } },
    ])
    t.same(claimer.claim(9), [])
    t.match(spool.figures(), { waiting: 0, sent: 0 })
    const told = spool.claimReports(1, 99).filter(one => one.receipt?.state === state.UNKNOWN)
    t.match(told, [{ receipt: { id: m0.id, err: 'unsure' } }, { receipt: { id: m3.id } }])
  })

  t.test('of a message in parts, those are sent again that the carrier has not, and no others', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'parts', clock })
    await commitAll(spool, [message()])
    const m = claimOne(claimerOf(spool))
    spool.cut(m, CARRIER, 3, 77)
    for (const part of [0, 1, 2]) spool.sending(m, part, CARRIER)
    await spool.synced()
    spool.accepted(m, 0, CARRIER, 'p0', true)
    spool.unsent(m, 1)
    await spool.synced()
    spool = await open(t, { store: 'parts', clock, killed: true })
    const heard = listen(spool)
    t.equal(spool.unsureAfterCrash, 0)
    const again = claimOne(claimerOf(spool))
    t.match(again, {
      id: m.id,
      unsure: true,
      carrier: CARRIER,
      concatRef: 77,
      parts: [
        { answered: true, unsure: false },
        { answered: false, unsure: false },
        { answered: false, unsure: true },
      ],
    })
    t.equal(
      spool.replace(m.id, () => {}),
      false,
    )
    spool.sending(again, 1, CARRIER)
    spool.accepted(again, 1, CARRIER, 'p1', true)
    t.match(spool.figures(), { waiting: 1, claimed: 1, sent: 0 })
    spool.unsure(again)
    t.match(spool.figures(), { waiting: 0, claimed: 0, sent: 1 })
    for (const ref of ['p0', 'p1']) t.equal(spool.receipt(CARRIER, delivered(ref)), 'matched')
    t.same(heard.ended, [])
    clock.advance(24 * HOUR_MS)
    await sweep(spool, clock)
    t.match(heard.ended, [{ id: m.id, ending: { state: state.UNKNOWN, error: 'unsure' } }])
  })
  t.end()
}

/** Part `seq` of `total` of text `ref`, by an 8-bit header. */
function partOf(ref: number, total: number, seq: number, text: string, fields: Partial<Message> = {}): Message {
  const body = Buffer.concat([Buffer.from([5, 0, 3, ref, total, seq]), Buffer.from(text)])
  return message({ esm_class: 0x40, body, joined: { waits: false, of: 0, ids: [] }, ...fields })
}

const receiptsOf = (spool: Spool): string[] =>
  spool
    .claimReports(1, 20)
    .map(({ receipt }) => `${receipt?.id} ${receipt?.state} ${receipt?.delivered}/${receipt?.parts}`)

function joins(t: Test, open: OpenSpool): void {
  t.test(
    'parts become one message in whatever order they come, over a kill too, and each has an end of its own',
    async t => {
      const options = { store: t.fullname }
      let spool = await open(t, options)
      const third = partOf(9, 3, 3, 'three')
      const first = partOf(9, 3, 1, 'one ', { clientRef: 'a', registered_delivery: 0 })
      const other = partOf(8, 3, 2, 'not of it')
      await commitAll(spool, [third, first, other])
      t.same(ids(claimerOf(spool).claim(9)), [], 'they wait')
      t.match(spool.figures(), { waiting: 3, due: 3, sent: 0 })

      spool = await open(t, { ...options, killed: true })
      const second = partOf(9, 3, 2, 'two ')
      await commitAll(spool, [second])
      t.match(spool.figures(), { waiting: 2, due: 1, sent: 2 })
      spool = await open(t, { ...options, killed: true })
      const heard = listen(spool)
      const whole = claimOne(claimerOf(spool))
      t.equal(whole.id, second.id, 'the first of them that asks for a receipt')
      t.match(whole, { esm_class: 0, segments: 1 })
      t.same(texts([whole]), ['one two three'])
      for (const { id } of [first, second, third]) t.equal(spool.find(id)?.id, whole.id)

      const settled: [number, number][] = []
      spool.settles = ({ id, priceMicros }, _, sent) => {
        settled.push([id, sent.id])
        return { priceMicros, costMicros: 0 }
      }
      spool.cut(whole, CARRIER, 2, 9)
      spool.accepted(whole, 0, CARRIER, 'A', true)
      spool.accepted(whole, 1, CARRIER, 'B', true)
      t.equal(spool.receipt(CARRIER, delivered('A')), 'matched')
      await spool.synced()
      t.same(heard.ended, [])
      spool.receipt(CARRIER, delivered('B'))
      await spool.synced()
      t.same(new Set(heard.ended.map(({ id }) => id)), new Set([first.id, second.id, third.id]))
      const all = [second, first, third]
      t.same(
        settled,
        all.map(({ id }) => [id, second.id]),
        'each is settled by what became of the one that was sent',
      )
      t.same(receiptsOf(spool), [`${second.id} 2 1/1`, `${third.id} 2 1/1`])
      t.same(
        rowsOf(spool)
          .filter(({ kind }) => kind === 'ended')
          .map(({ id, state, carrier, segments, clientRef }) => [id, state, carrier, segments, clientRef]),
        [
          [second.id, state.DELIVERED, CARRIER, 1, ''],
          [first.id, state.DELIVERED, CARRIER, 1, 'a'],
          [third.id, state.DELIVERED, CARRIER, 1, ''],
        ],
      )
      t.match(spool.figures(), { waiting: 1, due: 1, sent: 0 })
    },
  )

  t.test('what is there after five minutes, or half of its validity, goes as it came, in order', async t => {
    const clock = new ManualClock(START_MS)
    const options = { store: t.fullname, clock }
    let spool = await open(t, options)
    const parts = [
      partOf(1, 3, 3, 'c'),
      partOf(1, 3, 1, 'a'),
      partOf(2, 2, 2, 'brief', { validUntilMs: START_MS + 4 * MINUTE_MS }),
      partOf(3, 2, 1, 'scheduled', { scheduleMs: START_MS + HOUR_MS }),
    ]
    await commitAll(spool, parts)
    spool = await open(t, { ...options, killed: true })
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    clock.advance(2 * MINUTE_MS)
    await settle(spool)
    t.same(ids(claimer.claim(9)), [parts[2]?.id])
    clock.advance(3 * MINUTE_MS)
    await settle(spool)
    t.same(ids(claimer.claim(9)), [parts[1]?.id, parts[0]?.id])
    t.equal(heard.apart, 3)
    clock.advance(HOUR_MS)
    await settle(spool)
    const [last] = claimer.claim(9)
    t.equal(last?.id, parts[3]?.id)
    t.match(last, { esm_class: 0x40, joined: null })
    await commitAll(spool, [partOf(1, 3, 2, 'late')])
    t.same(ids(claimer.claim(9)), [], 'it waits for others of its name')
  })

  t.test(
    'a part that is sent again goes once and is told twice; another text of its name sends the first as it came',
    async t => {
      const spool = await open(t)
      const heard = listen(spool)
      const claimer = claimerOf(spool)
      const one = partOf(1, 2, 1, 'one ')
      const again = partOf(1, 2, 1, 'one ')
      await commitAll(spool, [one, again])
      const two = partOf(1, 2, 2, 'two')
      await commitAll(spool, [two])
      const whole = claimOne(claimer)
      t.same(texts([whole]), ['one two'])
      spool.end(whole, { state: state.REJECTED, error: '11', doneMs: START_MS })
      await spool.synced()
      t.same(new Set(receiptsOf(spool)), new Set([one, again, two].map(({ id }) => `${id} 8 0/1`)))
      t.match(spool.figures(), { waiting: 0, sent: 0, due: 0 })

      const lost = partOf(1, 2, 1, 'of another')
      await commitAll(spool, [lost, partOf(1, 2, 1, 'new ')])
      t.equal(heard.apart, 1)
      await commitAll(spool, [partOf(1, 2, 2, 'text')])
      const words = claimer.claim(9).map(({ esm_class, body }) => body.toString('latin1', esm_class === 0 ? 0 : 6))
      t.same(words, ['of another', 'new text'])
    },
  )

  t.test('a part that was sent again is settled by what became of the whole', async t => {
    const spool = await open(t)
    const settled: [number, number][] = []
    spool.settles = ({ id, priceMicros }, _, sent) => {
      settled.push([id, sent.id])
      return { priceMicros, costMicros: 0 }
    }
    const one = partOf(1, 2, 1, 'one ', { registered_delivery: 0 })
    const again = partOf(1, 2, 1, 'one ', { registered_delivery: 0 })
    const two = partOf(1, 2, 2, 'two')
    await commitAll(spool, [one, again, two])
    const whole = claimOne(claimerOf(spool))
    t.equal(whole.id, two.id)
    spool.end(whole, { state: state.REJECTED, error: '11', doneMs: START_MS })
    const all = [two, one, again]
    t.same(
      settled,
      all.map(({ id }) => [id, two.id]),
    )
  })

  t.test('what is asked of one part is done to the whole', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool)
    const gathering = [partOf(1, 3, 1, 'a'), partOf(1, 3, 2, 'b')]
    await commitAll(spool, gathering)
    t.equal(spool.cancel(gathering[1]?.id as number), true)
    t.equal(spool.cancel(gathering[0]?.id as number), false)
    const joined = [partOf(2, 2, 1, 'a'), partOf(2, 2, 2, 'b')]
    await commitAll(spool, joined)
    t.equal(
      spool.replace(joined[1]?.id as number, m => {
        m.body = Buffer.from('new')
      }),
      true,
    )
    await spool.synced()
    const other = [partOf(3, 2, 1, 'a'), partOf(3, 2, 2, 'b')]
    await commitAll(spool, other)
    t.equal(spool.cancel(other[1]?.id as number), true)
    await spool.synced()
    const claimed = claimer.claim(9)
    t.same(texts(claimed), ['new'])
    t.equal(spool.cancel(joined[1]?.id as number), false)
    for (const m of claimed) spool.end(m, { state: state.DELIVERED, error: '', doneMs: START_MS })
    await spool.synced()
    t.same(
      receiptsOf(spool).sort(),
      [...[...gathering, ...other].map(({ id }) => `${id} 4 0/1`), ...joined.map(({ id }) => `${id} 2 1/1`)].sort(),
    )
  })

  t.test('a new text for a part that waits takes its place among them, or goes when it is no part', async t => {
    const spool = await open(t)
    const claimer = claimerOf(spool)
    const [one, two] = [partOf(1, 2, 1, 'one '), partOf(1, 2, 2, 'two')]
    await commitAll(spool, [one])
    const { body } = partOf(1, 2, 1, 'eins ')
    t.ok(
      spool.replace(one.id, m => {
        m.body = body
      }),
    )
    await commitAll(spool, [two])
    t.same(texts(claimer.claim(9)), ['eins two'])
    const three = partOf(2, 2, 1, 'three')
    await commitAll(spool, [three])
    t.ok(
      spool.replace(three.id, m => {
        m.esm_class = 0
        m.body = Buffer.from('alone')
      }),
    )
    await spool.synced()
    t.same(texts(claimer.claim(9)), ['alone'])
  })

  t.test('a whole that expires, or is never reported, ends all of its parts', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    const heard = listen(spool)
    const validUntilMs = START_MS + HOUR_MS
    const waiting = [partOf(1, 2, 1, 'a', { validUntilMs }), partOf(1, 2, 2, 'b', { validUntilMs })]
    await commitAll(spool, waiting)
    const claimer = claimerOf(spool)
    const whole = claimOne(claimer)
    spool.accepted(whole, 0, CARRIER, 'R', true)
    const unsent = [partOf(2, 2, 1, 'a', { validUntilMs }), partOf(2, 2, 2, 'b', { validUntilMs })]
    await commitAll(spool, unsent)
    clock.advance(2 * HOUR_MS + MINUTE_MS)
    await sweep(spool, clock)
    const endings = (parts: Message[]) =>
      parts.map(({ id }) => heard.ended.filter(one => one.id === id).map(({ ending }) => ending.state))
    t.same(endings(waiting), [[state.UNKNOWN], [state.UNKNOWN]])
    t.same(endings(unsent), [[state.EXPIRED], [state.EXPIRED]])
    t.match(spool.figures(), { waiting: 0, sent: 0, due: 0 })
  })

  t.test('texts beyond those that memory holds go as they came, and what is waited for is not disturbed', async t => {
    const spool = await open(t, { small: true })
    const heard = listen(spool)
    const parts = Array.from({ length: 6 }, (_, ref) => partOf(ref, 2, 1, 'x'))
    await commitAll(spool, parts)
    t.equal(heard.apart, 2)
    const claimer = claimerOf(spool)
    t.same(ids(claimer.claim(9)), [parts[4]?.id, parts[5]?.id])
    await commitAll(spool, [partOf(0, 2, 2, 'y')])
    t.same(texts(claimer.claim(9)), ['xy'])

    const many = Array.from({ length: 15 }, (_, n) => partOf(9, 99, n + 1, 'z'))
    await commitAll(spool, many)
    t.equal(heard.apart, 4)
    t.same(ids(claimer.claim(99)), [many[13]?.id, many[14]?.id])
  })

  t.test(
    'parts that are together longer than a message can be go as they came, as soon as the last is there',
    async t => {
      const spool = await open(t)
      const heard = listen(spool)
      const long = [partOf(1, 2, 2, 'b'.repeat(20_000)), partOf(1, 2, 1, 'a'.repeat(20_000))]
      await commitAll(spool, long)
      t.same(ids(claimerOf(spool).claim(9)), [long[1]?.id, long[0]?.id])
      t.equal(heard.apart, 2)
      t.match(spool.figures(), { waiting: 2, due: 0, sent: 0 })
    },
  )

  t.test('those who asked hear of every part on its way', async t => {
    const spool = await open(t)
    const parts = [
      partOf(1, 2, 1, 'a', { registered_delivery: 1 }),
      partOf(1, 2, 2, 'b', { registered_delivery: 0x11 }),
    ]
    await commitAll(spool, parts)
    const whole = claimOne(claimerOf(spool))
    spool.accepted(whole, 0, CARRIER, 'R', true)
    await spool.synced()
    t.same(receiptsOf(spool), [`${parts[1]?.id} 1 0/1`])
  })
  t.end()
}

function reports(t: Test, open: OpenSpool): void {
  t.test('a receipt carries what the customer gave and what the carrier said', async t => {
    const clock = new ManualClock(START_MS)
    const store = 'receipt'
    let spool = await open(t, { store, clock })
    const fields: Partial<Message> = {
      service_type: 'CMT',
      source_addr_ton: 5,
      source_addr_npi: 0,
      source_addr: 'Trunkline',
      dest_addr_ton: 1,
      dest_addr_npi: 1,
      data_coding: 3,
      registered_delivery: 0x11,
      body: Buffer.from('Thirty-three characters, or so: é', 'latin1'),
      tlvs: Buffer.from('0204000212340000', 'hex'),
    }
    const [m] = (await send(spool, ['r'], fields)) as [Message]
    await spool.close()
    spool = await open(t, { store, clock })
    t.equal(spool.receipt(CARRIER, { ref: 'r', state: state.EXPIRED, err: '0A1', doneMs: START_MS + 7 }), 'matched')
    await spool.close()
    clock.advance(1_000)
    spool = await open(t, { store, clock })
    // It asked for intermediate notifications too.
    const [notice, report] = spool.claimReports(1, 9)
    t.match(notice?.receipt, {
      state: state.ENROUTE,
      registered_delivery: 0x11,
      more: { notice: true, part: 0, network: 0 },
    })
    t.match(report, { account: 1, kind: 'receipt', atMs: START_MS })
    t.equal(report?.reply, undefined)
    const { body, ...same } = fields
    t.same(report?.receipt, {
      ...same,
      id: m.id,
      state: state.EXPIRED,
      err: '0A1',
      doneMs: START_MS + 7,
      parts: 1,
      delivered: 0,
      destination_addr: m.destination_addr,
      text: Buffer.from('Thirty-three charact', 'latin1'),
    })
  })

  t.test('a carrier’s own TLVs come with the receipt, over kills and though it overtook the answer', async t => {
    const store = 'vendor'
    let spool = await open(t, { store })
    const vendor = Buffer.from('1403000532363230311502000101', 'hex')
    spool.receipt(CARRIER, { ...delivered('early'), vendor })
    await spool.synced()
    spool = await open(t, { store, killed: true })
    await send(spool, ['early', 'plain'])
    spool.receipt(CARRIER, { ...delivered('plain'), network: 5 })
    await spool.synced()
    spool = await open(t, { store, killed: true })
    t.same(
      spool.claimReports(1, 9).map(({ receipt }) => receipt?.more),
      [
        { notice: false, part: 0, network: 0, vendor },
        { notice: false, part: 0, network: 5 },
      ],
    )
  })

  t.test('a reply from a phone reaches its account octet by octet', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'reply', clock })
    const heard = listen(spool)
    t.equal(spool.reply(5, reply('да')), true)
    t.equal(spool.reply(0, reply('whose?')), true)
    t.same(spool.claimReports(5, 9), [], 'not before it is durable')
    await spool.synced()
    t.same(heard.reports.sort(), [0, 5])
    const [report] = spool.claimReports(5, 9)
    t.same(report?.reply, reply('да'))
    await spool.close()
    spool = await open(t, { store: 'reply', clock })
    t.match(spool.figures(), { outbox: 2, unclaimed: 1 })
    t.same([...spool.reportAccounts()].sort(), [0, 5])
    t.same(spool.claimReports(5, 9)[0]?.reply, reply('да'))
    t.match(spool.claimReports(0, 9), [{ kind: 'reply', account: 0 }])
  })

  t.test('what leaves by other ways stands in queues of its own, with what is known of its message', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'ways', clock })
    const heard: [number, number][] = []
    spool.events.report = (of, by) => heard.push([of, by])
    spool.tells = m =>
      m.extras === ''
        ? null
        : [
            { way: way.hook, of: 1 },
            { way: way.callback, of: 1 },
          ]
    const claimer = spool.claimer('one', [LANE], () => 1)
    const extras = '{"web":{"callback":"https://shop.example/ü"},"tags":["a"]}'
    const m = message({ registered_delivery: 0, extras, clientRef: 'order № 7', priceMicros: 65_000 })
    for (const one of [m, message()]) spool.commit(one)
    await spool.synced()
    for (const one of claimer.claim(2)) spool.end(one, { state: state.REJECTED, error: 'no', doneMs: clock.now() })
    t.equal(spool.reply(1, { ...reply('hi'), extras: '{"to":"ü"}' }, way.mail), true)
    t.equal(spool.event({ way: way.hook, of: 2 }, { id: 'e1', type: 'account.test', atMs: 7, data: '{"n":"é"}' }), true)
    await spool.synced()
    const queues = [
      [1, way.bind],
      [1, way.hook],
      [1, way.callback],
      [1, way.mail],
      [2, way.hook],
    ]
    t.same(heard.sort(), queues.sort(), 'each queue is told of')
    await spool.close()
    spool = await open(t, { store: 'ways', clock })
    t.match(spool.figures(), { outbox: 5, unclaimed: 0 })
    t.same([[...spool.reportAccounts()], [...spool.reportAccounts(way.hook)].sort()], [[1], [1, 2]])
    const [ofBind, ...more] = spool.claimReports(1, 9)
    t.same(more, [])
    t.not(ofBind?.receipt?.id, m.id, 'binds get what binds asked for')
    for (const by of [way.hook, way.callback]) {
      const [told] = spool.claimReports(1, 9, by)
      t.match(told, { way: by, account: 1, kind: 'receipt', receipt: { id: m.id, state: state.REJECTED, err: 'no' } })
      const message = { clientRef: 'order № 7', extras, segments: 1, priceMicros: 65_000, carrier: 0 }
      t.same(told?.receipt?.more?.message, message)
      spool.reportDone(told as Report)
    }
    t.same(spool.claimReports(1, 9, way.mail)[0]?.reply, { ...reply('hi'), extras: '{"to":"ü"}' })
    t.match(spool.claimReports(2, 9, way.hook), [
      { kind: 'event', event: { id: 'e1', type: 'account.test', atMs: 7, data: '{"n":"é"}' } },
    ])
    await spool.synced()
    t.same([...spool.reportAccounts(way.callback)], [])
  })

  t.test('what a service keeps is there until its moment, and after a crash if it was durable', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'kept', clock })
    t.equal(spool.kept('otp 1'), undefined)
    for (let i = 0; i < 600; i++) spool.keep(`otp ${i}`, Buffer.from(`code ${i}`), START_MS + MINUTE_MS)
    spool.keep('answer', Buffer.from('200'), START_MS + HOUR_MS)
    t.equal(spool.kept('otp 7')?.toString(), 'code 7', 'seen at once')
    t.same(spool.keptAfter('otp ', '', 9), [], 'listed once it is durable')
    await spool.synced()
    t.equal(spool.kept('otp 7')?.toString(), 'code 7')
    const listed = spool.keptAfter('otp ', 'otp 10', 2).map(([key, octets]) => `${key}: ${octets}`)
    t.same(listed, ['otp 100: code 100', 'otp 101: code 101'])
    t.equal(spool.keptAfter('otp ', '', 1000).length, 600)
    spool.keep('otp 7', Buffer.from('longer'), START_MS + HOUR_MS)
    spool.dropKept('otp 8')
    t.equal(spool.kept('otp 8'), undefined)
    await spool.synced()
    spool.keep('lost', Buffer.from('x'), START_MS + HOUR_MS)
    spool = await open(t, { store: 'kept', clock, killed: true })
    t.same([spool.kept('lost'), spool.kept('otp 8')], [undefined, undefined])
    t.equal(spool.kept('otp 599')?.toString(), 'code 599')
    clock.advance(MINUTE_MS)
    t.equal(spool.kept('otp 599'), undefined, 'its moment has come')
    await settle(spool)
    t.equal(spool.kept('otp 7')?.toString(), 'longer', 'it was put again')
    spool.keep('otp 599', Buffer.from('anew'), START_MS + HOUR_MS)
    await settle(spool)
    t.equal(spool.kept('otp 599')?.toString(), 'anew')
    await spool.close()
    spool = await open(t, { store: 'kept', clock })
    t.same(
      ['answer', 'otp 7', 'otp 599', 'otp 1'].map(key => spool.kept(key)?.toString()),
      ['200', 'longer', 'anew', undefined],
    )
  })

  t.test('a mail of any size comes back as it was', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'mail', clock })
    const body = Buffer.alloc(300_000, 'Subject: x\r\n')
    const mail = { isMail: true, rank: 0, source_addr: '', destination_addr: `a@${'b'.repeat(250)}`, body } as const
    spool.commit(message(mail))
    await spool.synced()
    await spool.close()
    spool = await open(t, { store: 'mail', clock })
    t.match(spool.claimer('one', [LANE], () => 1).claim(1), [mail])
  })

  t.test('an account’s reports come in order, each to one caller, until they are done', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'outbox', clock, small: true })
    const expected: string[] = []
    for (let i = 0; i < 200; i++) {
      spool.reply(1, reply(`m${i}`))
      spool.reply(2 + (i % 3), reply('another account'))
      expected.push(`m${i}`)
      if (i % 7 === 0) await spool.synced()
    }
    await spool.synced()
    const first = spool.claimReports(1, 10)
    t.same(first.map(textOf), expected.slice(0, 10))
    const seqs = first.map(({ seq }) => seq)
    t.same(
      seqs,
      [...new Set(seqs)].sort((a, b) => a - b),
    )
    for (const i of [7, 2, 5, 4]) spool.giveBackReport(first[i] as Report)
    t.same(spool.claimReports(1, 3).map(textOf), ['m2', 'm4', 'm5'])
    t.same(spool.claimReports(1, 2).map(textOf), ['m7', 'm10'])
    t.equal(spool.figures().outbox, 400, 'what is held is not done')
    for (const report of first.slice(0, 5)) spool.reportDone(report)
    spool.reportDone(first[0] as Report)
    spool.giveBackReport(first[1] as Report)
    t.equal(spool.figures().outbox, 395)
    await spool.synced()
    // Some of a commit's reports are done, the others not: a kill keeps them apart.
    spool = await open(t, { store: 'outbox', clock, small: true, killed: true })
    t.equal(spool.figures().outbox, 395)
    const rest: string[] = []
    for (let some = spool.claimReports(1, 9); some.length > 0; some = spool.claimReports(1, 9)) {
      rest.push(...some.map(textOf))
      for (const report of some) spool.reportDone(report)
      if (rest.length % 4 === 0) await spool.synced()
    }
    t.same(rest, expected.slice(5))
    await spool.close()
    spool = await open(t, { store: 'outbox', clock, small: true })
    t.equal(spool.figures().outbox, 200)
    t.notOk([...spool.reportAccounts()].includes(1))
    t.same(spool.claimReports(1, 1), [])
  })

  t.test('an account’s queue that was emptied does not see the old reports again', async t => {
    const spool = await open(t, { small: true })
    const seen: string[] = []
    let made = 0
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < 1 + (round % 20); i++) spool.reply(1, reply(`${made++}`))
      if (round % 3 === 0) await spool.synced()
      for (const report of spool.claimReports(1, 50)) {
        seen.push(textOf(report))
        spool.reportDone(report)
      }
      await new Promise(resolve => setImmediate(resolve))
    }
    await spool.synced()
    for (let some = spool.claimReports(1, 50); some.length > 0; some = spool.claimReports(1, 50)) {
      seen.push(...some.map(textOf))
      for (const report of some) spool.reportDone(report)
    }
    t.same(
      seen,
      Array.from({ length: made }, (_, i) => `${i}`),
    )
    t.equal(spool.figures().outbox, 0)
  })

  t.test('past its cap an account loses what comes, and nobody else does', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, keepReportsPerAccount: 5 })
    const heard = listen(spool)
    for (let i = 0; i < 8; i++) spool.reply(1, reply(`m${i}`))
    spool.reply(2, reply('other'))
    await settle(spool)
    t.equal(heard.dropped, 3)
    t.match(spool.figures(), { outbox: 6 })
    const [first] = spool.claimReports(1, 1)
    spool.reply(1, reply('m8'))
    spool.reportDone(first as Report)
    spool.reply(1, reply('m9'))
    await settle(spool)
    t.equal(heard.dropped, 4)
    t.same(spool.claimReports(1, 9).map(textOf), ['m1', 'm2', 'm3', 'm4', 'm9'])
  })

  t.test('reports that nobody takes in time are dropped, the oldest first', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'old', clock, keepReportsMs: HOUR_MS, small: true })
    for (const account of [1, 2]) for (let i = 0; i < 30; i++) spool.reply(account, reply(`m${i}`))
    await spool.synced()
    const [held] = spool.claimReports(2, 1)
    clock.advance(30 * MINUTE_MS)
    spool.reply(1, reply('newer'))
    await spool.synced()
    spool = await open(t, { store: 'old', clock, keepReportsMs: HOUR_MS, small: true, killed: true })
    const heard = listen(spool)
    clock.advance(31 * MINUTE_MS)
    await sweep(spool, clock)
    t.equal(heard.dropped, 60)
    t.equal(spool.figures().outbox, 1)
    t.same(spool.claimReports(1, 9).map(textOf), ['newer'])
    t.equal(textOf(held as Report), 'm0')
  })
  t.end()
}

function history(t: Test, open: OpenSpool): void {
  t.test('the log holds a row for each acceptance and each end, in their order', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    const claimer = claimerOf(spool, 3)
    const one = message({ lane: 3, rank: 2, segments: 2, priceMicros: 75_000, clientRef: 'заказ', account: 9 })
    one.isHeld = true
    spool.settles = ({ priceMicros }, { state: ending }) =>
      ending === state.UNDELIVERABLE ? { priceMicros: 25_000, costMicros: 9_000 } : { priceMicros, costMicros: 0 }
    const two = message({ lane: 3 })
    await commitAll(spool, [one])
    clock.advance(10)
    spool.commit(two)
    spool.accepted(claimOne(claimer), 0, CARRIER, 'r', true)
    await spool.synced()
    clock.advance(20)
    spool.receipt(CARRIER, failed('r', START_MS + 20))
    await spool.synced()
    const [a, b, c, ...others] = rowsOf(spool)
    t.same(others, [])
    const same = {
      isHeld: true,
      backMicros: 0,
      costMicros: 0,
      tookMs: null,
      source: one.source_addr,
      destination: one.destination_addr,
      route: 3,
      segments: 2,
      priceMicros: 75_000,
    }
    t.same(a, {
      ...same,
      kind: 'accepted',
      atMs: START_MS,
      id: one.id,
      account: 9,
      rank: 2,
      state: state.ENROUTE,
      carrier: 0,
      error: '',
      clientRef: 'заказ',
    })
    t.match(b, { kind: 'accepted', id: two.id, atMs: START_MS + 10, isHeld: false })
    t.same(c, {
      ...a,
      isHeld: false,
      priceMicros: 25_000,
      backMicros: 50_000,
      costMicros: 9_000,
      tookMs: 30,
      kind: 'ended',
      atMs: START_MS + 20,
      state: state.UNDELIVERABLE,
      carrier: CARRIER,
      error: '069',
    })
    t.ok(spool.converted({ ...one, lane: 3, rank: 2, carrier: CARRIER }))
    await spool.synced()
    const counted = { kind: 'converted', id: one.id, account: 9, carrier: CARRIER, priceMicros: 0, atMs: START_MS + 30 }
    t.match(rowsOf(spool)[3], counted)
    const endings = spool.endings(0, 100)
    t.same(endings.rows, [c])
    const ofOne = spool.readLog(0, 100, { id: two.id })
    t.same(ofOne?.rows, [b])
    t.same(spool.readLog(0, 100, { account: 4_711 }), { position: ofOne?.position, rows: [] })
    t.same(spool.endings(endings.position, 100), { position: endings.position, rows: [] })
  })

  t.test('an end stands in history between the acceptance and now, whatever a carrier says', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    const claimer = claimerOf(spool)
    for (const [ref, doneMs, atMs] of [
      ['old', Date.UTC(2000, 0), START_MS],
      ['new', Date.UTC(2070, 0), START_MS + 50],
    ] as const) {
      const m = message()
      await commitAll(spool, [m])
      spool.accepted(claimOne(claimer), 0, CARRIER, ref, true)
      await spool.synced()
      clock.advance(25)
      spool.receipt(CARRIER, failed(ref, doneMs))
      await spool.synced()
      const end = rowsOf(spool).at(-1)
      t.equal(end?.id, m.id)
      t.ok(end !== undefined && end.atMs >= START_MS && end.atMs <= atMs + 25, `${ref}: ${end?.atMs}`)
    }
  })

  t.test('how long it took is by our clock, from when it could go, whatever a carrier says', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    const claimer = claimerOf(spool)
    for (const [ref, scheduleMs, doneMs] of [
      ['east', 0, HOUR_MS],
      ['west', 0, -5 * HOUR_MS],
      ['later', HOUR_MS, -5 * HOUR_MS],
    ] as const) {
      const now = clock.now()
      await commitAll(spool, [message({ scheduleMs: scheduleMs && now + scheduleMs })])
      clock.advance(scheduleMs)
      await settle(spool)
      clock.advance(20)
      spool.accepted(claimOne(claimer), 0, CARRIER, ref, true)
      await spool.synced()
      clock.advance(1_500)
      spool.receipt(CARRIER, delivered(ref, clock.now() + doneMs))
      await spool.synced()
      const end = rowsOf(spool).at(-1)
      t.match(end, { kind: 'ended', tookMs: 1_520 }, ref)
    }
    const unsent = message({ scheduleMs: clock.now() + HOUR_MS })
    await commitAll(spool, [unsent])
    spool.end(unsent, { state: state.DELIVERED, error: '', doneMs: clock.now() })
    await spool.synced()
    t.equal(rowsOf(spool).at(-1)?.tookMs, 0, 'never below nothing')
  })

  t.test('positions never go back, over a restart with an empty log neither', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'log', clock })
    const identity = spool.identity
    let position = 0
    const pass = (expected: number): void => {
      const rows = rowsOf(spool, position, next => {
        t.ok(next > position)
        position = next
      })
      t.equal(rows.length, expected)
      spool.dropLog(position)
      t.equal(spool.figures().logRows, 0)
    }
    await commitAll(spool, [message(), message()])
    t.equal(spool.figures().logRows, 2)
    pass(2)
    await spool.close()
    for (const killed of [false, true, true]) {
      spool = await open(t, { store: 'log', clock, killed })
      t.equal(spool.identity, identity)
      t.equal(spool.readLog(position, 10), undefined)
      t.equal(spool.figures().logRows, 0)
      await commitAll(spool, [message()])
      t.equal(spool.figures().logRows, 1)
      pass(1)
      await settle(spool)
      if (!killed) await spool.synced()
    }
    await spool.close()
    t.equal((await open(t, { store: 'log', clock })).identity, identity)
    t.not((await open(t, { clock })).identity, identity)
  })

  t.test('what was read and not dropped is read again after a kill', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'again', clock })
    for (let i = 0; i < 10; i++) await commitAll(spool, [message()])
    const positions: number[] = []
    const rows = rowsOf(spool, 0, position => positions.push(position))
    spool.dropLog(positions[1] as number)
    await commitAll(spool, [message()])
    spool = await open(t, { store: 'again', clock, killed: true })
    const again = rowsOf(spool, positions[1])
    t.same(again.slice(0, -1), rows.slice(rows.length - again.length + 1))
    t.equal(again.length, 11 - (rows.length - again.length + 1))
    t.equal(spool.figures().logRows, again.length)
  })
  t.end()
}

function changing(t: Test, open: OpenSpool): void {
  t.test('a message is found from its acceptance to its end', async t => {
    const spool = await open(t, { small: true })
    const all = Array.from({ length: 30 }, () => message())
    for (const m of all) spool.commit(m)
    t.equal(spool.find((all[0] as Message).id), all[0])
    await spool.synced()
    for (const m of all) t.equal(spool.find(m.id)?.standing, 'waiting')
    t.equal(spool.find((all.at(-1)?.id as number) + 1), undefined)
    const [m] = claimerOf(spool).claim(1) as [Message]
    spool.accepted(m, 0, CARRIER, 'r', true)
    t.equal(spool.find(m.id)?.standing, 'sent')
    await spool.synced()
    t.equal(spool.find(m.id)?.standing, 'sent')
    spool.receipt(CARRIER, delivered('r'))
    t.equal(spool.find(m.id), undefined)
    await spool.synced()
    t.equal(spool.find(m.id), undefined)
  })

  t.test('a waiting message can be cancelled, wherever it waits; a claimed or sent one cannot', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const heard = listen(spool)
    const claimer = claimerOf(spool)
    const all = Array.from({ length: 40 }, () => message())
    await commitAll(spool, all)
    const later = message({ scheduleMs: START_MS + HOUR_MS })
    spool.commit(later)
    const fresh = message()
    spool.commit(fresh)
    const [claimed, sent] = claimer.claim(2) as [Message, Message]
    spool.accepted(sent, 0, CARRIER, 'r', true)
    const head = all[2] as Message
    const behind = all[35] as Message
    for (const m of [later, fresh, head, behind]) t.equal(spool.cancel(m.id), true)
    for (const m of [later, fresh, head, behind, claimed, sent]) t.equal(spool.cancel(m.id), false)
    t.equal(heard.ended.length, 4)
    t.ok(heard.ended.every(({ ending }) => ending.state === state.DELETED && ending.doneMs === START_MS))
    await spool.synced()
    t.match(spool.figures(), { waiting: 37, due: 0, claimed: 1, sent: 1, outbox: 4 })
    t.equal(drain(claimer, spool).length, 36)
  })

  t.test('a lane whose messages were all cancelled is empty', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { store: 'gone', clock, small: true })
    const claimer = claimerOf(spool)
    const all = Array.from({ length: 50 }, () => message())
    for (const m of all) await commitAll(spool, [m])
    for (const m of all) t.equal(spool.cancel(m.id), true)
    await spool.synced()
    t.equal(claimer.waiting, false)
    t.same(claimer.claim(9), [])
    clock.advance(11 * MINUTE_MS)
    await sweep(spool, clock)
    await commitAll(spool, [message()])
    t.equal(claimer.claim(9).length, 1)
  })

  t.test('a message that moves to another lane is served there and only there, wherever it waits', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'move', clock, small: true })
    const all = Array.from({ length: 30 }, (_, i) => message({ body: Buffer.from(`m${i}`) }))
    await commitAll(spool, all)
    const later = message({ scheduleMs: START_MS + HOUR_MS, body: Buffer.from('later') })
    await commitAll(spool, [later])
    const [first] = claimerOf(spool).claim(1)
    const fresh = message({ body: Buffer.from('fresh') })
    spool.commit(fresh)
    t.equal(spool.move(first?.id as number, 2), false, 'not out of a carrier’s hands')
    t.equal(spool.move(all[3]?.id as number, LANE), false, 'it stands there')
    t.equal(spool.move(7, 2), false, 'there is no such message')
    for (const m of [all[1], all[2], all[28], later, fresh]) t.equal(spool.move(m?.id as number, 2), true)
    // Back again: it stands once, and at the end.
    t.equal(spool.move(all[2]?.id as number, LANE), true)
    await settle(spool)
    await settle(spool)
    t.same(
      spool.figures().lanes.map(({ lane, waiting }) => [lane, waiting]),
      [
        [LANE, 27],
        [2, 3],
      ],
    )
    spool = await open(t, { store: 'move', clock, small: true, killed: true })
    t.same(texts(claimerOf(spool, 2).claim(9)).sort(), ['fresh', 'm1', 'm28'])
    const here = texts(drain(claimerOf(spool), spool))
    t.equal(here.length, 28, 'with the one that was claimed')
    t.equal(here.at(-1), 'm2')
    clock.advance(HOUR_MS)
    await settle(spool)
    t.same(texts(claimerOf(spool, 2).claim(9)), ['later'])
  })

  t.test('what waits to be tried again goes when an operator says so, what waits for its hour does not', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    const later = message({ scheduleMs: START_MS + HOUR_MS })
    await commitAll(spool, [message(), message(), later])
    const claimer = claimerOf(spool)
    const [a, b] = claimer.claim(2) as [Message, Message]
    spool.defer(a, START_MS + 2 * HOUR_MS)
    t.equal(spool.retry(b.id), false, 'it is in a carrier’s hands')
    t.equal(spool.inHand(b), true)
    t.equal(spool.retry(a.id), true)
    t.equal(spool.retry(a.id), false, 'it does not wait for that any more')
    t.equal(spool.retry(later.id), false)
    await settle(spool)
    t.same(ids(claimer.claim(9)), [a.id])
    t.equal(spool.figures().due, 1)
  })

  t.test('a walk finds all that has not ended, by account, class, lane and standing, from any id on', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const all = Array.from({ length: 700 }, (_, i) =>
      message({ account: 1 + (i % 2), rank: (i % 3) as ClassRank, lane: 1 + (i % 5 === 0 ? 1 : 0) }),
    )
    await commitAll(spool, all)
    const [sent, gone] = claimerOf(spool).claim(2) as [Message, Message]
    spool.accepted(sent, 0, CARRIER, 'r1', true)
    spool.end(gone, { state: state.REJECTED, error: '11', doneMs: START_MS })
    const walked = async (filter: QueueFilter, after = 0): Promise<number[]> => {
      const found: number[] = []
      for await (const slice of spool.walk(filter, after)) {
        found.push(...ids(slice.messages))
        t.ok(slice.messages.every(({ id }) => id <= slice.after))
      }
      return found
    }
    const left = all.filter(m => m.id !== gone.id)
    t.same(await walked({}), ids(left))
    t.same(await walked({ account: 2 }), ids(left.filter(m => m.account === 2)))
    t.same(await walked({ rank: 0, lanes: new Set([2]) }), ids(left.filter(m => m.rank === 0 && m.lane === 2)))
    t.same(await walked({ standing: 'sent' }), [sent.id])
    t.same(await walked({ standing: 'waiting' }, all[650]?.id), ids(left.slice(-49)))
    t.same(await walked({ account: 9 }), [])
  })

  t.test('whether a receipt waits for its customer is known until it was taken', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const all = Array.from({ length: 600 }, () => message())
    await commitAll(spool, all)
    t.equal(await spool.receiptWaits(1, all[0]?.id as number), false, 'it has not ended')
    drain(claimerOf(spool), spool)
    const last = all[599]?.id as number
    t.equal(await spool.receiptWaits(1, last), true)
    t.equal(await spool.receiptWaits(2, last), false, 'another account’s')
    const reports = spool.claimReports(1, 600)
    const mine = reports.find(({ receipt }) => receipt?.id === last) as Report
    t.equal(await spool.receiptWaits(1, last), true, 'in a bind’s hands')
    spool.reportDone(mine)
    t.equal(await spool.receiptWaits(1, last), false)
    t.equal(await spool.receiptWaits(1, all[0]?.id as number), true, 'of the same block')
  })

  t.test('a waiting message can get another text, wherever it waits, and keeps its place', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'replace', clock, small: true })
    const all = Array.from({ length: 30 }, (_, i) => message({ body: Buffer.from(`m${i}`) }))
    await commitAll(spool, all)
    const later = message({ scheduleMs: START_MS + HOUR_MS })
    await commitAll(spool, [later])
    const change = (id: number | undefined, text: string): boolean =>
      spool.replace(id as number, m => {
        m.body = Buffer.from(text)
        m.validUntilMs = START_MS + 2 * HOUR_MS
      })
    const fresh = message()
    spool.commit(fresh)
    t.equal(change(fresh.id, 'f'), true)
    t.equal(change(all[1]?.id, 'x1'), true)
    t.equal(change(all[28]?.id, 'x28'), true)
    t.equal(change(later.id, 'xl'), true)
    const [first] = claimerOf(spool).claim(1)
    t.equal(change(first?.id, 'too late'), false)
    await spool.synced()
    spool = await open(t, { store: 'replace', clock, small: true, killed: true })
    clock.advance(HOUR_MS)
    await settle(spool)
    const rest = texts(claimerOf(spool).claim(99))
    t.equal(rest.length, 32)
    t.same([rest[1], rest[28], rest[30], rest[31]], ['x1', 'x28', 'f', 'xl'])
    clock.advance(HOUR_MS)
  })

  t.test('a text of which a part is on its way cannot be replaced', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock })
    await commitAll(spool, [message(), message()])
    const [a, b] = claimerOf(spool).claim(2) as [Message, Message]
    for (const m of [a, b]) spool.cut(m, CARRIER, 2, 5)
    spool.accepted(a, 0, CARRIER, 'r', true)
    for (const m of [a, b]) spool.giveBack(m)
    t.equal(
      spool.replace(a.id, () => t.fail('must not be changed')),
      false,
    )
    t.equal(
      spool.replace(b.id, m => {
        m.body = Buffer.from('short')
      }),
      true,
    )
    const [again] = claimerOf(spool).claim(9).slice(1)
    t.match(again, { id: b.id, parts: null, concatRef: 0 })
  })
  t.end()
}

/** All slices, one after the other. */
async function walked(slices: AsyncIterable<Message[]>): Promise<Message[]> {
  const all: Message[] = []
  for await (const slice of slices) all.push(...slice)
  return all
}

async function many(t: Test, open: OpenSpool): Promise<void> {
  t.test('all that waits of an account is walked over, wherever it waits, and nothing else', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const mine: Message[] = []
    for (let round = 0; round < 12; round++) {
      const fresh = [
        message({ account: 2, priority_flag: round % 4 }),
        message({ account: 2, lane: 3, rank: 2 }),
        message({ account: 2, scheduleMs: START_MS + HOUR_MS + round }),
        message({ account: 2 }),
      ]
      for (let i = 0; i < 30; i++)
        spool.commit(message({ account: 1 + 2 * (i & 1), scheduleMs: i % 5 === 0 ? START_MS + HOUR_MS : 0 }))
      mine.push(...fresh)
      await commitAll(spool, fresh)
    }
    const claimer = claimerOf(spool, LANE, 3)
    const taken = claimer.claim(30)
    const held = new Set(ids(taken))
    const unsynced = message({ account: 2 })
    spool.commit(unsynced)
    const found: Message[] = []
    let slices = 0
    for await (const slice of spool.waitingOf(2)) {
      if (slices++ === 0) spool.commit(message({ account: 2 }))
      found.push(...slice)
    }
    const wanted = [...mine, unsynced].map(m => m.id).filter(id => !held.has(id))
    t.same([...new Set(ids(found))].sort(), wanted.sort())
    t.same(await walked(spool.waitingOf(9)), [])
  })

  t.test('whoever is cancelled while the walk goes on is out of it, and others have their turns meanwhile', async t => {
    const spool = await open(t)
    const all = Array.from({ length: 3_000 }, (_, i) =>
      message({ account: 2, scheduleMs: i % 3 === 0 ? START_MS + HOUR_MS : 0, validUntilMs: Date.now() + HOUR_MS }),
    )
    await commitAll(spool, all)
    let turns = 0
    let over = false
    const count = (): void => {
      turns++
      if (!over) setImmediate(count)
    }
    count()
    let cancelled = 0
    for await (const slice of spool.waitingOf(2)) for (const m of slice) if (spool.cancel(m.id)) cancelled++
    over = true
    t.equal(cancelled, 3_000)
    t.ok(turns >= 10, `${turns} turns`)
    t.match(spool.figures(), { waiting: 0, due: 0 })
    t.same(await walked(spool.waitingOf(2)), [])
  })

  t.test('the messages of one submission are found by its id until the last has ended, after a kill too', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'multi', clock, small: true })
    await commitAll(spool, [message()])
    const given = spool.takeIds(6)
    const [multiId] = given as [number]
    const stranger = message()
    spool.commit(stranger)
    t.ok(stranger.id > (given.at(-1) as number))
    // The fourth was never committed.
    const all = given.filter((_, i) => i !== 3).map(id => message({ id, multiId }))
    await commitAll(spool, all)
    t.same(ids(await walked(spool.multi(multiId))), ids(all))
    spool = await open(t, { store: 'multi', clock, small: true, killed: true })
    const [first, ...rest] = await walked(spool.multi(multiId))
    t.same([first?.multiId, ...ids(rest)], [multiId, ...ids(all.slice(1))])
    for (const m of all.slice(0, 4)) t.equal(spool.cancel(m.id), true)
    await spool.synced()
    t.same(await walked(spool.multi(stranger.id)), [])
    // The first has no record left that would say so.
    t.same(ids(await walked(spool.multi(multiId))), ids(all.slice(4)))
    t.equal(spool.cancel(all[4]?.id as number), true)
    t.same(await walked(spool.multi(multiId)), [])
    const [told] = spool.claimReports(1, 1)
    t.equal(told?.receipt?.id, multiId)
    for (const report of spool.claimReports(1, 9)) t.equal(report.receipt?.id, multiId)
    t.ok((spool.takeIds(1)[0] as number) > stranger.id)
  })

  t.test('a replaceable message is known by whom it goes from and to while it waits, after a kill too', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'present', clock, small: true })
    const one = (fields: Partial<Message> = {}): Message => message({ replaceable: true, ...fields })
    const [a, b, later] = [one(), one(), one({ scheduleMs: START_MS + HOUR_MS })]
    await commitAll(spool, [
      a,
      message(),
      one({ account: 2 }),
      one({ source_addr: '1' }),
      one({ destination_addr: '1' }),
      one({ service_type: 'WAP' }),
      b,
      later,
    ])
    t.same(spool.present(one()), [later.id, b.id, a.id])
    t.same(spool.present(one({ account: 3 })), [])
    t.equal(spool.figures().replaceable, 7)
    spool = await open(t, { store: 'present', clock, small: true, killed: true })
    t.same([...spool.present(one())].sort(), [a.id, b.id, later.id])
    const claimer = claimerOf(spool)
    const claimed = claimer.claim(1)[0] as Message
    t.equal(claimed.id, a.id)
    spool.accepted(claimed, 0, CARRIER, 'r', true)
    t.equal(spool.cancel(b.id), true)
    t.same(spool.present(one()), [later.id])
    t.equal(spool.cancel(later.id), true)
    t.same(spool.present(one()), [])
    t.equal(spool.figures().replaceable, 4)
  })

  t.test(
    'what was put off comes after what it stood before, were it due before that is known to be on disk',
    async t => {
      const clock = new ManualClock(START_MS)
      const spool = await open(t, { clock, small: true })
      const claimer = claimerOf(spool)
      const orders = new Set<string>()
      // When its end is told is the store's: in some of so many it is due in between.
      for (let round = 0; round < 60; round++) {
        const [a, b, c] = ['a', 'b', 'c'].map(text => message({ body: Buffer.from(text) })) as [
          Message,
          Message,
          Message,
        ]
        for (const m of [a, b, c]) spool.commit(m)
        await spool.synced()
        spool.replace(b.id, m => {
          m.scheduleMs = clock.now() + 1_000
        })
        const synced = spool.synced()
        for (let turn = 0; turn < round % 4; turn++) await new Promise(resolve => setImmediate(resolve))
        clock.advance(1_001)
        spool.tick()
        await synced
        await settle(spool)
        await settle(spool)
        orders.add(texts(drain(claimer, spool)).join())
      }
      t.same([...orders], ['a,c,b'])
      t.match(spool.figures(), { waiting: 0, due: 0 })
    },
  )

  t.test('a replaced message may be put off, or go at once', async t => {
    const clock = new ManualClock(START_MS)
    const spool = await open(t, { clock, small: true })
    const all = Array.from({ length: 20 }, (_, i) =>
      message({ body: Buffer.from(`m${i}`), scheduleMs: i >= 10 ? START_MS + HOUR_MS : 0 }),
    )
    const put = (i: number, scheduleMs: number): void => {
      const done = spool.replace(all[i]?.id as number, m => {
        m.scheduleMs = scheduleMs
        m.body = Buffer.from(`x${i}`)
      })
      t.equal(done, true)
    }
    for (const m of all) spool.commit(m)
    // Before it has a place at all, to and fro.
    put(0, START_MS + HOUR_MS)
    put(1, START_MS + HOUR_MS)
    put(1, 0)
    put(11, 0)
    const synced = spool.synced()
    await new Promise(resolve => setImmediate(resolve))
    // While its first place is being written.
    put(2, START_MS + HOUR_MS)
    put(3, START_MS + HOUR_MS)
    put(3, 0)
    await synced
    put(4, START_MS + HOUR_MS)
    put(9, START_MS + HOUR_MS)
    put(5, START_MS + HOUR_MS)
    put(5, 0)
    put(12, 0)
    clock.advance(2)
    // The first tick does not see yet what only the commit that follows it writes.
    await settle(spool)
    await settle(spool)
    const now = texts(drain(claimerOf(spool), spool))
    t.same([...now].sort(), ['m6', 'm7', 'm8', 'x1', 'x11', 'x12', 'x3', 'x5'])
    t.match(spool.figures(), { waiting: 12, due: 12 })
    clock.advance(HOUR_MS)
    await settle(spool)
    const then = texts(drain(claimerOf(spool), spool))
    t.same([...then].sort(), ['m10', 'm13', 'm14', 'm15', 'm16', 'm17', 'm18', 'm19', 'x0', 'x2', 'x4', 'x9'])
    t.match(spool.figures(), { waiting: 0, due: 0, lanes: [] })
  })
  t.end()
}

function restarts(t: Test, open: OpenSpool): void {
  t.test('what was asked for before close() is durable after it', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'close', clock })
    t.equal(spool.crashed, false)
    spool.commit(message())
    spool.reply(1, reply('r'))
    await spool.close()
    spool = await open(t, { store: 'close', clock })
    t.equal(spool.crashed, false)
    t.match(spool.figures(), { waiting: 1, outbox: 1, logRows: 1 })
    spool = await open(t, { store: 'close', clock, killed: true })
    t.equal(spool.crashed, true)
    t.match(spool.figures(), { waiting: 1, outbox: 1, logRows: 1 })
    await spool.close()
    t.equal((await open(t, { store: 'close', clock })).crashed, false)
  })

  t.test('after a kill, what was claimed waits again in its place, and what was not synced never was', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'kill', clock, small: true })
    const all = Array.from({ length: 20 }, (_, i) => message({ body: Buffer.from(`m${i}`) }))
    await commitAll(spool, all)
    const claimed = claimerOf(spool).claim(9)
    spool.accepted(claimed[4] as Message, 0, CARRIER, 'r', true)
    await spool.synced()
    spool.commit(message())
    spool.end(claimed[2] as Message, { state: state.REJECTED, error: '', doneMs: START_MS })
    spool = await open(t, { store: 'kill', clock, small: true, killed: true })
    t.match(spool.figures(), { waiting: 19, claimed: 0, sent: 1 })
    t.same(texts(claimerOf(spool).claim(99)), texts(all.filter((_, i) => i !== 4)))
    t.equal(spool.findRef(CARRIER, 'r')?.id, claimed[4]?.id)
  })

  t.test('figures say what stands where', async t => {
    const clock = new ManualClock(START_MS)
    let spool = await open(t, { store: 'figures', clock })
    const ranks: ClassRank[] = [0, 1, 1, 2]
    await commitAll(
      spool,
      ranks.map(rank => message({ rank, lane: 1 + (rank % 2) })),
    )
    clock.advance(10 * MINUTE_MS)
    await commitAll(spool, [message(), message({ scheduleMs: START_MS + HOUR_MS })])
    const sorted = () => [...spool.figures().lanes].sort((a, b) => a.lane - b.lane || a.rank - b.rank)
    const lanes = [
      { lane: 1, rank: 0, waiting: 1, oldestMs: START_MS },
      { lane: 1, rank: 1, waiting: 1, oldestMs: START_MS + 10 * MINUTE_MS },
      { lane: 1, rank: 2, waiting: 1, oldestMs: START_MS },
      { lane: 2, rank: 1, waiting: 2, oldestMs: START_MS },
    ]
    t.same(sorted(), lanes)
    await spool.close()
    spool = await open(t, { store: 'figures', clock })
    t.same(sorted(), lanes)
    claimerOf(spool, 2).claim(1)
    t.same(spool.figures(), {
      ...spool.figures(),
      waiting: 6,
      claimed: 1,
      sent: 0,
      due: 1,
      outbox: 0,
      unclaimed: 0,
      parked: 0,
      logRows: 6,
    })
    t.equal(
      spool.figures().lanes.reduce((n, lane) => n + lane.waiting, 0),
      4,
    )
  })
  t.end()
}
