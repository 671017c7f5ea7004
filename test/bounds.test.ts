// What one customer may cost the others: lists, pipelined requests, guessed passwords, ids without end. Units with a real
// spool; who holds the event loop is told by the work done in one turn of it, not by a clock.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { decodePdu, encodePdu, type Pdu, type PduFields } from '../protocols/smpp/pdu.js'
import type { Session } from '../protocols/smpp/session.js'
import { statusName } from '../protocols/smpp/status.js'
import { tlv, writeTlvBytes, writeTlvUint } from '../protocols/smpp/tlv.js'
import type { Account } from '../src/accounts/account.js'
import { Limits } from '../src/accounts/limits.js'
import { readProfile } from '../src/accounts/smppProfile.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import { Admission } from '../src/intake/smpp/admission.js'
import { Bind, type BindHost } from '../src/intake/smpp/bind.js'
import { Binds } from '../src/intake/smpp/binds.js'
import { FailedBinds } from '../src/intake/smpp/failures.js'
import { type Asker, Operations } from '../src/intake/smpp/operations.js'
import { Sent } from '../src/intake/smpp/sent.js'
import { Door } from '../src/intake/submit.js'
import { Message } from '../src/model/message.js'
import { Tally } from '../src/model/tally.js'
import { Lookup } from '../src/returns/lookup.js'
import { Loops } from '../src/routing/loops.js'
import { QuietHours } from '../src/routing/quietHours.js'
import type { RouteTable } from '../src/routing/table.js'
import type { Report, Spool } from '../src/spool/contract.js'
import { Present } from '../src/spool/lmdb/present.js'
import { LmdbSpool } from '../src/spool/lmdb/spool.js'
import type { Store } from '../src/store/postgres.js'
import { unguarded } from './support/unguarded.js'

const START_MS = Date.UTC(2026, 0, 5, 9)
const ENROUTE = 1
const FROM = '1000'
const LANE = 1

const nextTurn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

async function openSpool(t: Test, clock: ManualClock): Promise<LmdbSpool> {
  const path = mkdtempSync(join(tmpdir(), 'bounds-'))
  const spool = await LmdbSpool.open({
    path,
    node: 0,
    clock,
    mapGb: 1,
    reserveMb: 1,
    maxWaiting: 1_000_000,
    maxWaitingPerAccount: 1_000_000,
    keepReportsMs: 3_600_000,
    keepReportsPerAccount: 1_000_000,
    receiptGraceMs: 3_600_000,
  })
  t.teardown(async () => {
    await spool.close()
    rmSync(path, { recursive: true })
  })
  return spool
}

type Answer = { code: string; fields: Record<string, unknown> }

/** A house of one account without a wire: what is asked of operations, and what it answers. */
async function rooms(
  t: Test,
  more: Partial<Account> = {},
  profile: Record<string, unknown> = {},
  loops = unguarded.loops,
) {
  const clock = new ManualClock(START_MS)
  const spool = await openSpool(t, clock)
  const all = Array.from({ length: 10_000 }, (_, i) => ({ address: `1202${String(5_550_000 + i)}` }))
  const lists = {
    all,
    thousand: all.slice(0, 1_000),
    three: all.slice(0, 3_000),
    bad: [...all.slice(0, 3), ...Array.from({ length: 300 }, (_, i) => ({ address: `44${i}` }))],
  }
  const account = {
    id: 7,
    systemId: 'shop',
    suspended: null,
    senders: null,
    rank: 1,
    serviceTypes: new Map(),
    throughput: 0,
    maxWaiting: null,
    smpp: readProfile({ distributionLists: lists, ...profile }),
    ...more,
  } as unknown as Account
  const routes = {
    match: (_sender: unknown, _m: unknown, digits: string) => (digits.startsWith('44') ? undefined : { id: LANE }),
  } as unknown as RouteTable
  const lifetimes = { otpMs: 3_600_000, transactionalMs: 86_400_000, bulkMs: 86_400_000 }
  const quiet = new QuietHours({ everywhere: null, countries: new Map() }, new Counters())
  const door = new Door({
    spool,
    routes,
    limits: new Limits(),
    clock,
    tally: new Tally(),
    lifetimes,
    quiet,
    ...unguarded,
    loops,
  })
  const faults: unknown[] = []
  const operations = new Operations({
    door,
    clock,
    counters: new Counters(),
    node: 0,
    aliasMs: 1,
    peerWindow: 1_000,
    ended: async () => undefined,
    fault: error => faults.push(error),
  })
  let sequence = 0
  const answers = new Map<number, (answer: Answer) => void>()
  const asker: Asker = {
    session: undefined as unknown as Session<Report>,
    accountId: account.id,
    interfaceVersion: 0x34,
    idForm: 'decimal',
    account,
    transactions: 0,
    awaitsCredit: false,
    awaitCredit: () => faults.push('nothing costs anything'),
    took() {},
    answerStatus: (_id, code, n) => answers.get(n)?.({ code: statusName(code), fields: {} }),
    answerPdu(pdu) {
      const read = decodePdu(pdu, 0, pdu.length)
      if (!read.ok) throw new Error('an answer that cannot be read')
      const code = statusName(pdu.readUInt32BE(8))
      answers.get(pdu.readUInt32BE(12))?.({ code, fields: read.fields as unknown as Record<string, unknown> })
    },
  }
  const ask = <C extends Pdu>(id: C, fields: Partial<PduFields[C]>, tlvs?: Buffer): Promise<Answer> => {
    const n = ++sequence
    const pdu = encodePdu(id, 0, n, fields, tlvs)
    return new Promise(resolve => {
      answers.set(n, resolve)
      operations.request(asker, id, n, pdu, 0, pdu.length)
    })
  }
  const toList = (...names: string[]): Promise<Answer> =>
    ask(command.submit_multi, {
      source_addr: FROM,
      dest_address: names.map(dl_name => ({ dest_flag: 2, dl_name })),
      short_message: Buffer.from('to all'),
    })
  return { clock, spool, account, door, faults, ask, toList, waiting: () => spool.figures().waiting }
}

const failedOf = ({ fields }: Answer): string[] =>
  (fields.unsuccess_sme as PduFields[typeof command.submit_multi_resp]['unsuccess_sme']).map(
    one => `${one.destination_addr} ${statusName(one.error_status_code)}`,
  )

function message(fields: Partial<Message> = {}): Message {
  const m = new Message()
  m.source_addr = FROM
  m.destination_addr = '12025550123'
  m.body = Buffer.from('text')
  return Object.assign(m, fields)
}

type Counted = 'commit' | 'cancel' | 'replace'

interface Most {
  /** Calls of one verb, or slices of one walk, in one turn of the event loop. */
  inTurn: number
  /** Records of one commit. */
  inCommit: number
}

/** While `work` goes on. */
async function mostPerTurn(spool: Spool, verb: Counted | 'multi', work: () => Promise<unknown>): Promise<Most> {
  let n = 0
  const most: Most = { inTurn: 0, inCommit: 0 }
  let isOver = false
  const turn = (): void => {
    most.inTurn = Math.max(most.inTurn, n)
    n = 0
    if (!isOver) setImmediate(turn)
  }
  const own = spool as unknown as Record<string, (...args: unknown[]) => unknown>
  const before = own[verb] as (...args: unknown[]) => unknown
  own[verb] = (...args) => {
    const result = before.apply(spool, args)
    if (verb === 'multi') return counted(result as AsyncIterable<Message[]>)
    n++
    return result
  }
  async function* counted(slices: AsyncIterable<Message[]>) {
    for await (const slice of slices) {
      n++
      yield slice
    }
  }
  const { synced } = spool.events
  spool.events.synced = (_ms, records) => {
    most.inCommit = Math.max(most.inCommit, records)
  }
  setImmediate(turn)
  await work()
  await nextTurn()
  isOver = true
  own[verb] = before
  spool.events.synced = synced
  return most
}

t.test(
  'a submit_multi that is over the pace is refused whole, and a list longer than a second is paid back',
  async t => {
    const { clock, account, door, toList, waiting } = await rooms(t, { throughput: 100 })
    t.equal(door.submit(message(), account), undefined)
    t.match(await toList('all'), { code: 'ESME_RTHROTTLED' })
    t.equal(waiting(), 1, 'none of it was taken')
    clock.advance(1_000)
    const whole = await toList('all')
    t.equal(whole.code, 'ESME_ROK')
    t.same(failedOf(whole), [])
    t.equal(waiting(), 10_001)
    clock.advance(99_000)
    t.match(door.submit(message(), account), { code: 'rate_exceeded' })
    clock.advance(2_000)
    t.equal(door.submit(message(), account), undefined)
  },
)

t.test('what the pace or a fault holds back goes round no loop', async t => {
  const loops = new Loops({ returns: 0, repeats: 3 })
  const { clock, account, door } = await rooms(t, { throughput: 1 }, {}, loops)
  t.equal(door.submit(message(), account), undefined)
  // It tries again, as it was told to.
  for (let i = 0; i < 10; i++) t.match(door.submit(message(), account), { code: 'rate_exceeded' })
  clock.advance(1_000)
  t.equal(door.submit(message(), account), undefined)
  const nowhere = message({ destination_addr: '447700900123' })
  for (let i = 0; i < 5; i++) t.match(door.submitAll([message(), nowhere], account), { code: 'no_route' })
  t.equal(door.submitAll([message()], account), undefined)
  t.match(door.submitAll([message()], account), { code: 'loop_suspected' })
})

t.test('a submit_multi for which there is no room is refused whole, whatever comes in beside it', async t => {
  const { account, door, toList, waiting } = await rooms(t, { maxWaiting: 5_000 })
  t.match(await toList('all'), { code: 'ESME_RMSGQFUL' })
  t.equal(waiting(), 0)
  const both = Promise.all([toList('three'), toList('three')])
  // While the list is being taken, others of the account take what room there is.
  while (waiting() < 300) await nextTurn()
  let beside = 0
  while (door.submit(message(), account) === undefined) beside++
  const answers = await both
  t.same(answers.map(one => one.code).sort(), ['ESME_RMSGQFUL', 'ESME_ROK'])
  for (const one of answers.filter(one => one.code === 'ESME_ROK')) t.same(failedOf(one), [])
  t.equal(waiting(), 3_000 + beside)
})

t.test('what fails of a list stands in the answer under the name of the list, once', async t => {
  const { toList, waiting } = await rooms(t)
  const answer = await toList('bad', 'nobody', 'thousand')
  t.equal(answer.code, 'ESME_ROK')
  t.same(failedOf(answer).sort(), ['bad ESME_RINVDSTADR', 'nobody ESME_RINVDLNAME'])
  t.equal(waiting(), 1_003)
})

t.test('twenty submit_multi in one stroke share the turns of the event loop that one would have', async t => {
  const { spool, toList, waiting } = await rooms(t)
  const most = await mostPerTurn(spool, 'commit', () =>
    Promise.all(Array.from({ length: 20 }, () => toList('thousand'))),
  )
  t.equal(waiting(), 20_000)
  t.ok(most.inTurn <= 200, `${most.inTurn} messages in one turn`)
  t.ok(most.inCommit <= 1_000, `${most.inCommit} messages in one commit`)
})

t.test('a cancel or replace of a submit_multi works in slices, and twenty of them share the turns', async t => {
  const { spool, ask, toList, waiting } = await rooms(t)
  const message_id = (await toList('all')).fields.message_id as string
  const named = { message_id, source_addr: FROM }
  const replaced = await mostPerTurn(spool, 'replace', async () => {
    t.match(await ask(command.replace_sm, { ...named, short_message: Buffer.from('anew') }), { code: 'ESME_ROK' })
  })
  t.ok(replaced.inTurn > 0 && replaced.inTurn <= 200, `${replaced.inTurn} replaced in one turn`)
  t.ok(replaced.inCommit <= 1_000, `${replaced.inCommit} replaced in one commit`)
  const slices = await mostPerTurn(spool, 'multi', () =>
    Promise.all(Array.from({ length: 20 }, () => ask(command.cancel_sm, { ...named, destination_addr: '1' }))),
  )
  t.ok(slices.inTurn > 0 && slices.inTurn <= 2, `${slices.inTurn} slices read in one turn`)
  const cancelled = await mostPerTurn(spool, 'cancel', async () => {
    t.match(await ask(command.cancel_sm, named), { code: 'ESME_ROK' })
  })
  t.ok(cancelled.inTurn > 0 && cancelled.inTurn <= 200, `${cancelled.inTurn} cancelled in one turn`)
  t.ok(cancelled.inCommit <= 1_000, `${cancelled.inCommit} cancelled in one commit`)
  t.equal(waiting(), 0)
})

t.test('a bind remembers its newest 50,000 messages at least and twice as many at most', async t => {
  const sent = new Sent()
  for (let id = 1; id <= 1_000_000; id++) sent.add(id)
  t.ok(sent.size <= 100_000, `${sent.size}`)
  t.ok(sent.has(1_000_000) && sent.has(950_001))
  t.notOk(sent.has(800_000))
})

t.test('a bind remembers what will be reported, and forgets it with the answer to its last receipt', async t => {
  const account = () => ({ smpp: readProfile({ receipts: { to: 'sender' } }) })
  const host = { clock: new ManualClock(START_MS), account, answered() {} } as unknown as BindHost
  const bind = new Bind(host, { address: '192.0.2.1', port: 1 } as never)
  bind.took(message({ id: 9 }))
  t.equal(bind.sent, null)
  bind.took(message({ id: 9, registered_delivery: 1 }))
  t.ok(bind.sent?.has(9))
  bind.sent = new Sent()
  const report = (id: number, more?: object) =>
    ({ kind: 'receipt', receipt: { id, parts: 1, more } }) as unknown as Report
  const session = undefined as unknown as Session<Report>
  const { deliver_sm_resp, generic_nack } = command
  for (const id of [1, 2, 3, 4, 4]) bind.sent.add(id)
  bind.response(session, report(1), deliver_sm_resp, 0)
  bind.response(session, report(2, { notice: true, network: 0, part: 0 }), deliver_sm_resp, 0)
  bind.response(session, report(3), generic_nack, 0)
  bind.response(session, report(3), deliver_sm_resp, 8)
  bind.response(session, report(4), deliver_sm_resp, 0)
  t.same(
    [1, 2, 3, 4].filter(id => bind.sent?.has(id)),
    [2, 3, 4],
    'a notice is not the last one; two addresses of a submit_multi have one each',
  )
  bind.response(session, report(4), deliver_sm_resp, 0)
  t.equal(bind.sent.size, 2)
})

t.test('whoever has an account of his own is barred like others for guessing at another', async t => {
  const failures = new FailedBinds({ delayMs: 1_000, barredAfter: 10, barredMs: 60_000 }, () => 0)
  const host = {
    accountBySystemId: (systemId: string) => ({ id: 1, systemId, suspended: null, maxBinds: 0, smpp: readProfile({}) }),
    verify: (_account: unknown, password: string) => password === 'right',
  }
  const admission = new Admission(host as never, failures, false)
  const judge = (systemId: string, password: string, from = '192.0.2.1') =>
    admission.judge(systemId, password, from, new Binds())
  const delays: number[] = []
  for (let i = 0; i < 10; i++) {
    const guess = judge('victim', `guess ${i}`)
    if (!guess.ok) delays.push(guess.delayMs)
    if (i < 9) t.ok(judge('own', 'right').ok)
  }
  t.same(delays.slice(0, 5), [0, 0, 125, 250, 500])
  t.match(judge('victim', 'right'), { why: 'barred' })
  t.match(judge('own', 'right'), { why: 'barred' })
  // Who mistypes his own and then gets it right is forgiven that, and no more.
  for (let i = 0; i < 9; i++) judge('own', 'wrong', '192.0.2.2')
  for (let i = 0; i < 3; i++) judge('victim', 'wrong', '192.0.2.2')
  t.match(judge('own', 'right', '192.0.2.2'), { why: 'barred' })
  for (let i = 0; i < 9; i++) judge('own', 'wrong', '192.0.2.3')
  t.ok(judge('own', 'right', '192.0.2.3').ok)
  for (let i = 0; i < 2; i++) t.match(judge('victim', 'wrong', '192.0.2.3'), { delayMs: 0 })
  t.match(judge('victim', 'wrong', '192.0.2.3'), { delayMs: 125 })
})

t.test('a network that guesses at names without end is remembered in little room', async t => {
  const failures = new FailedBinds({ delayMs: 0, barredAfter: 0, barredMs: 0 }, () => 0)
  for (let i = 0; i < 1_000; i++) failures.add('192.0.2.0', `name ${i}`)
  for (let i = 0; i < 20_000; i++) failures.add(`network ${i}`, 'one')
  t.equal(failures.size, 10_000)
})

t.test('a data_sm may live for a year and no longer', async t => {
  const { ask, waiting } = await rooms(t)
  const data = (seconds: number) => {
    const tlvs = Buffer.alloc(5 + 8)
    const end = writeTlvBytes(tlvs, 0, tlv.message_payload, Buffer.from('x'))
    writeTlvUint(tlvs, end, tlv.qos_time_to_live, seconds, 4)
    return ask(command.data_sm, { source_addr: FROM, destination_addr: '12025550123' }, tlvs)
  }
  t.match(await data(0xffffffff), { code: 'ESME_RINVEXPIRY' })
  t.match(await data(367 * 86_400), { code: 'ESME_RINVEXPIRY' })
  t.equal(waiting(), 0)
  t.match(await data(366 * 86_400), { code: 'ESME_ROK' })
})

t.test('a message that a carrier has is on its way: ACCEPTED is one that was read for its addressee', async t => {
  const { spool, account, door, ask } = await rooms(t)
  const m = message({ registered_delivery: 1 })
  door.submit(m, account)
  await spool.synced()
  const claimer = spool.claimer('test', [LANE], () => 1)
  const [claimed] = claimer.claim(1)
  spool.accepted(claimed as Message, 0, 1, 'REF', true)
  const { code, fields } = await ask(command.query_sm, { message_id: String(m.id), source_addr: FROM })
  t.same([code, fields.message_state], ['ESME_ROK', ENROUTE])
})

t.test('what takes the place of a message of a submit_multi is answered with the id of its receipt', async t => {
  const { spool, account, door, ask } = await rooms(t, {}, { replace: true })
  const to = ['12025550001', '12025550002']
  const multi = await ask(command.submit_multi, {
    source_addr: FROM,
    dest_address: to.map(destination_addr => ({ dest_flag: 1, dest_addr_ton: 0, dest_addr_npi: 0, destination_addr })),
    registered_delivery: 1,
    short_message: Buffer.from('old'),
  })
  const m = message({ destination_addr: to[1] as string, registered_delivery: 1, body: Buffer.from('new') })
  t.equal(door.submit(m, account, true), undefined)
  t.equal(String(m.id), multi.fields.message_id)
  t.match(
    await ask(command.cancel_sm, { message_id: String(m.id), source_addr: FROM, destination_addr: to[1] as string }),
    {
      code: 'ESME_ROK',
    },
  )
  await spool.synced()
  t.same(
    spool.claimReports(account.id, 9).map(one => one.receipt?.id),
    [m.id],
  )
})

t.test('messages of one key in any number are found and forgotten one at a time', async t => {
  const index = new Present()
  const all = Array.from({ length: 100_000 }, (_, i) => message({ id: i + 1, account: 1 }))
  const one = message({ account: 1 })
  for (const m of all) {
    index.add(m)
    if (index.like(one)[0] !== m.id) t.fail(`${m.id} is not the newest`)
  }
  t.same(index.like(one).slice(0, 3), [100_000, 99_999, 99_998])
  // Oldest, newest and whatever is in the middle.
  for (const m of all.slice(0, 30_000)) index.remove(m)
  for (const m of all.slice(70_000).reverse()) index.remove(m)
  t.same(index.like(one).slice(0, 2), [70_000, 69_999])
  for (let i = 30_000; i < 70_000; i += 2) index.remove(all[i] as Message)
  t.same(index.like(one).slice(0, 2), [70_000, 69_998])
  index.remove(all[0] as Message)
  t.equal(index.size, 20_000, 'what is not there changes nothing')
  for (let i = 30_001; i < 70_000; i += 2) index.remove(all[i] as Message)
  t.same([index.size, index.like(one).length], [0, 0])
})

t.test('a query for an id that nobody knows reads a bounded piece of the log, whatever stands in it', async t => {
  const { spool, account, door } = await rooms(t)
  for (let i = 0; i < 60_000; i++) {
    door.submit(message(), account)
    if (i % 500 === 499) await spool.synced()
  }
  let rows = 0
  const watched = new Proxy(spool, {
    get(target, name) {
      const value = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        const result = value.apply(target, args)
        if (name === 'readLog' || name === 'endings') rows += args[1] as number
        return result
      }
    },
  })
  const store = { query: async () => ({ rows: [] }) } as unknown as Store
  await t.rejects(new Lookup(watched, store).ended(1), { message: 'history is behind' })
  t.ok(rows <= 45_000, `${rows} rows`)
})

t.test('a mass cancel in progress ends with the spool, and nobody is blamed', async t => {
  const { spool, account, door, faults, ask, toList } = await rooms(t)
  for (let i = 0; i < 3_000; i++) door.submit(message(), account)
  await toList('thousand')
  let slices = 0
  const { waitingOf } = spool
  spool.waitingOf = async function* (...args: Parameters<typeof waitingOf>) {
    for await (const slice of waitingOf.apply(spool, args)) {
      slices++
      if (slices === 2) void spool.close()
      yield slice
    }
  }
  void ask(command.cancel_sm, { source_addr: '1', destination_addr: '12025550123' })
  while (slices < 2) await nextTurn()
  await spool.close()
  for (let i = 0; i < 100; i++) await nextTurn()
  t.equal(slices, 2)
  t.same(faults, [])
})
