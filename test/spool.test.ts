// The LMDB spool: the contract that every engine keeps, and what only this one can suffer. A kill is a copy of the data
// file as it stands at that moment; one story kills a real process.

import { spawn } from 'node:child_process'
import { closeSync, copyFileSync, existsSync, mkdtempSync, openSync, readSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { ManualClock } from '../src/base/clock.js'
import { Message, state } from '../src/model/message.js'
import type { Reply } from '../src/model/outcome.js'
import type { HistoryRow } from '../src/spool/contract.js'
import { Log } from '../src/spool/lmdb/log.js'
import { LmdbSpool, type LmdbSpoolSettings } from '../src/spool/lmdb/spool.js'
import {
  commitAll,
  HOUR_MS,
  LANE,
  message,
  type Scope,
  type SpoolChange,
  type SpoolOptions,
  START_MS,
  settle,
  spoolContract,
  sweep,
} from './support/spool-contract.js'

// What is not about the disk stands in memory where there is such a place: hundreds of stores are made here.
const FAST = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const SMALL = {
  heads: 6,
  refill: 2,
  references: 16,
  recent: 4,
  reports: 16,
  release: 3,
  joins: 4,
  sweep: 5,
  gatherMs: 0,
}

const PHONE: Reply = {
  carrier: 1,
  service_type: '',
  source_addr_ton: 1,
  source_addr_npi: 1,
  source_addr: '4915200000002',
  dest_addr_ton: 0,
  dest_addr_npi: 1,
  destination_addr: '12345',
  esm_class: 0,
  protocol_id: 0,
  priority_flag: 0,
  data_coding: 0,
  body: Buffer.from('hello'),
  tlvs: Buffer.alloc(0),
}

interface Store {
  path: string
  spool: LmdbSpool
}

const stores = new Map<string, Store>()

function newPath(t: Scope, parent = FAST): string {
  const path = mkdtempSync(join(parent, 'trunkline-spool-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

const settingsFor = (path: string, options: SpoolOptions): LmdbSpoolSettings => ({
  path,
  node: 1,
  clock: options.clock ?? new ManualClock(START_MS),
  mapGb: 0.25,
  reserveMb: 1,
  maxWaiting: options.maxWaiting ?? 1_000_000,
  maxWaitingPerAccount: options.maxWaitingPerAccount ?? 1_000_000,
  keepReportsMs: options.keepReportsMs ?? 72 * HOUR_MS,
  keepReportsPerAccount: options.keepReportsPerAccount ?? 1_000_000,
  receiptGraceMs: HOUR_MS,
  limits: options.small ? SMALL : {},
})

/** The data file as a kill at this moment leaves it: a commit that is under way is there whole, or not at all. */
function copyAlive(from: string, to: string): void {
  // No commit begins while this copies, but one may end: then the copy may be of neither.
  for (let before = roots(from); ; ) {
    copyFileSync(from, to)
    const after = roots(from)
    if (after.equals(before)) return
    before = after
  }
}

/** LMDB's two meta pages, which say what the last commits were. */
function roots(file: string): Buffer {
  const pages = Buffer.alloc(2 * 8_192)
  const fd = openSync(file, 'r')
  readSync(fd, pages, 0, pages.length, 0)
  closeSync(fd)
  return pages
}

async function open(t: Scope, options: SpoolOptions = {}): Promise<LmdbSpool> {
  const name = options.store && `${t.fullname}/${options.store}`
  const known = name ? stores.get(name) : undefined
  let path = known?.path ?? newPath(t)
  if (known && options.killed) {
    path = newPath(t)
    copyAlive(join(known.path, 'data.mdb'), join(path, 'data.mdb'))
    await known.spool.close()
  }
  const spool = await LmdbSpool.open(settingsFor(path, options))
  if (name) stores.set(name, { path, spool })
  t.teardown(() => spool.close())
  return spool
}

t.test('the contract', t => spoolContract(t, open))

/** What a spool holds, as far as its callers can tell. */
interface Holding {
  waiting: Set<number>
  sent: Map<number, string>
  ended: Set<number>
  /** Messages whose receipt waits for the customer. */
  untold: Set<number>
}

const nothing = (): Holding => ({ waiting: new Set(), sent: new Map(), ended: new Set(), untold: new Set() })

function changed(from: Holding, change: SpoolChange): Holding {
  const to = structuredClone(from)
  for (const id of change.waiting) to.waiting.add(id)
  for (const [id, ref] of change.sent) {
    to.waiting.delete(id)
    to.sent.set(id, ref)
  }
  for (const id of change.ended) {
    to.waiting.delete(id)
    to.sent.delete(id)
    to.ended.add(id)
    to.untold.add(id)
  }
  for (const id of change.told) to.untold.delete(id)
  return to
}

/** Where `spool` differs from `wanted`; '' when nowhere. */
function difference(
  spool: LmdbSpool,
  wanted: Holding,
  reports: ReadonlySet<number>,
  rows: readonly HistoryRow[],
): string {
  const { waiting, sent, ended, untold } = wanted
  for (const id of waiting) if (spool.find(id)?.standing !== 'waiting') return `${id} does not wait`
  for (const [id, ref] of sent) {
    if (spool.find(id)?.standing !== 'sent') return `${id} is not sent`
    if (spool.findRef(1, ref)?.id !== id) return `${ref} is not found`
  }
  for (const id of ended) if (spool.find(id)) return `${id} has not ended`
  const figures = spool.figures()
  if (figures.waiting !== waiting.size || figures.sent !== sent.size) return `${figures.waiting}, ${figures.sent} there`
  const inLanes = figures.lanes.reduce((n, lane) => n + lane.waiting, 0)
  if (inLanes + figures.due !== waiting.size) return `${inLanes} in lanes, ${figures.due} due`
  if (symmetric(reports, untold) > 0 || figures.outbox !== untold.size)
    return `${reports.size} of ${untold.size} reports`
  const accepted = new Set(rows.filter(row => row.kind === 'accepted').map(row => row.id))
  const over = new Set(rows.filter(row => row.kind === 'ended').map(row => row.id))
  if (rows.length !== accepted.size + over.size) return 'a row of history stands twice'
  if (symmetric(over, ended) > 0) return `${over.size} ends in history`
  if (symmetric(accepted, new Set([...waiting, ...sent.keys(), ...ended])) > 0) return `${accepted.size} in history`
  return ''
}

function symmetric<T>(a: ReadonlySet<T>, b: ReadonlySet<T>): number {
  let n = 0
  for (const one of a) if (!b.has(one)) n++
  for (const one of b) if (!a.has(one)) n++
  return n
}

/** Lets a process work on the spool in `path` and kills it after so many commits, wherever it stands then. */
async function work(path: string, seed: number, commits: number): Promise<string[]> {
  const script = fileURLToPath(new URL('support/spool-victim.js', import.meta.url))
  const child = spawn(process.execPath, [script, path, `${seed}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  let seen = 0
  child.stdout.setEncoding('utf8')
  for await (const some of child.stdout) {
    text += some
    seen += (some as string).split('ok\n').length - 1
    if (seen >= commits) child.kill('SIGKILL')
  }
  const lines = text.split('\n')
  // The kill may have cut the last line short.
  lines.pop()
  return lines
}

t.test('a process killed between commits leaves all that was synced, and nothing half', async t => {
  const path = newPath(t, tmpdir())
  let holding = nothing()
  for (let life = 1; life <= (process.env.LONG ? 20 : 3); life++) {
    const lines = await work(path, life, 5 + ((life * 37) % 60))
    let next: Holding | null = null
    for (const line of lines) {
      if (line !== 'ok') next = changed(next ?? holding, JSON.parse(line))
      else if (next) [holding, next] = [next, null]
    }
    const spool = await LmdbSpool.open(settingsFor(path, { clock: new ManualClock(Date.now()) }))
    t.equal(spool.crashed, true)
    const rows = spool.readLog(0, Number.MAX_SAFE_INTEGER)?.rows ?? []
    const reports = new Set<number>()
    for (const account of [1, 2, 3]) {
      for (const { receipt } of spool.claimReports(account, 1_000_000)) reports.add(receipt?.id as number)
    }
    const before = difference(spool, holding, reports, rows)
    // The commit under way at the kill is there whole or not at all; nobody was told of it.
    const after = next && before !== '' ? difference(spool, next, reports, rows) : before
    if (before !== '' && after === '') holding = next as Holding
    t.equal(
      after,
      '',
      `life ${life}: ${holding.waiting.size} waiting, ${holding.sent.size} sent, ${holding.ended.size} over`,
    )
    const claimer = spool.claimer('all', [1], () => 1)
    const claimed = new Set<number>()
    for (let some = claimer.claim(100); some.length > 0; some = claimer.claim(100))
      for (const m of some) claimed.add(m.id)
    t.equal(claimed.size, holding.waiting.size - spool.figures().due, 'all that waits can be claimed')
    await spool.close()
  }
  t.ok(holding.ended.size > 0 && holding.sent.size > 0 && holding.waiting.size > 0)
})

t.test('a claim between a commit and the news of it takes nothing twice and loses nothing', async t => {
  const path = newPath(t)
  const spool = await LmdbSpool.open(settingsFor(path, { small: true }))
  t.teardown(() => spool.close())
  const texts = (some: Message[]): string => some.map(m => m.body).join(' ')
  const one = (lane: number, text: string): Message => message({ lane, body: Buffer.from(text) })
  const reply = (text: string) => ({ ...PHONE, service_type: text })
  const told = (n: number): string =>
    spool
      .claimReports(1, n)
      .map(report => report.reply?.service_type)
      .join(' ')
  /** Returns when the commit under way is on disk, in the same turn: the spool has not heard of it. */
  const writtenUnheard = async (): Promise<void> => {
    const before = roots(join(path, 'data.mdb'))
    // One turn until the spool writes, one until lmdb starts.
    for (let turn = 0; turn < 2; turn++) await new Promise(resolve => setImmediate(resolve))
    while (roots(join(path, 'data.mdb')).equals(before));
  }
  const other = spool.claimer('other', [2], () => 1)
  const claimer = spool.claimer('c', [1], () => 1)
  // Another lane, and the first reports, take all the room in memory.
  await commitAll(
    spool,
    Array.from({ length: 8 }, () => one(2, 'other')),
  )
  for (const text of ['r1', 'r2', 'r3']) spool.reply(1, reply(text))
  await commitAll(
    spool,
    ['a', 'b', 'c'].map(text => one(1, text)),
  )
  for (const text of ['r4', 'r5']) spool.reply(1, reply(text))
  await spool.synced()
  for (const text of ['d', 'e']) spool.commit(one(1, text))
  spool.reply(1, reply('r6'))
  const synced = spool.synced()
  await writtenUnheard()
  t.equal(texts(claimer.claim(9)), 'a b c')
  t.equal(told(9), 'r1 r2 r3 r4 r5 r6', 'what is on disk may be told')
  await synced
  t.equal(texts(claimer.claim(9)), 'd e')
  t.equal(told(9), '')
  t.match(spool.figures(), { claimed: 5, waiting: 13, outbox: 6 })

  // The same with room in memory at the claim, and none when the news comes.
  await commitAll(spool, [one(1, 'z')])
  await commitAll(spool, [Object.assign(one(1, 'f'), { priority_flag: 1 })])
  const others = other.claim(9)
  spool.commit(Object.assign(one(1, 'g'), { priority_flag: 1 }))
  const again = spool.synced()
  await writtenUnheard()
  t.equal(texts(claimer.claim(1)), 'f')
  for (const m of others) spool.giveBack(m)
  await again
  t.equal(texts(claimer.claim(9)), 'g z')
})

t.test('when the disk runs low new messages are refused, and when it is nearly full receipts too', async t => {
  const path = newPath(t)
  const { bavail, bsize } = statfsSync(path)
  const freeMb = (bavail * bsize) / 2 ** 20
  const spoolWith = async (reserveMb: number): Promise<LmdbSpool> => {
    const spool = await LmdbSpool.open({ ...settingsFor(path, {}), mapGb: 2_000, reserveMb })
    t.teardown(() => spool.close())
    return spool
  }
  let spool = await spoolWith(1)
  await commitAll(spool, [message()])
  t.equal(spool.refusal(1), undefined)
  await spool.close()
  spool = await spoolWith(freeMb * 2)
  t.equal(spool.refusal(1), 'disk_full')
  t.equal(spool.exhausted, false)
  const [m] = spool.claimer('c', [LANE], () => 1).claim(1)
  spool.accepted(m as Message, 0, 1, 'r', true)
  t.equal(spool.receipt(1, { ref: 'r', state: state.DELIVERED, err: '', doneMs: START_MS }), 'matched')
  await spool.synced()
  t.equal(spool.figures().outbox, 1)
  await spool.close()
  spool = await spoolWith(freeMb * 16)
  t.equal(spool.exhausted, true)
  t.equal(spool.refusal(1), 'disk_full')
  t.equal(spool.receipt(1, { ref: 'x', state: state.DELIVERED, err: '', doneMs: START_MS }), 'full')
  t.equal(spool.figures().parked, 0)
})

t.test('a map that is full refuses new messages before a commit can fail, until there is room again', async t => {
  const path = newPath(t)
  const settings = { ...settingsFor(path, {}), mapGb: 1 / 32, reserveMb: 4 }
  let spool = await LmdbSpool.open(settings)
  t.teardown(() => spool.close())
  let n = 0
  for (; spool.refusal(1) === undefined; n++) {
    spool.commit(message({ body: Buffer.alloc(2_000, 'x'), registered_delivery: 0 }))
    if (n % 50 === 0) await spool.synced()
  }
  t.equal(spool.refusal(1), 'disk_full')
  t.ok(n > 500, `${n} messages`)
  // Reopened again and again, as a supervisor would, it neither fails nor takes more.
  for (let i = 0; i < 3; i++) {
    await spool.close()
    spool = await LmdbSpool.open(settings)
    for (; spool.refusal(1) === undefined; n++) {
      spool.commit(message({ body: Buffer.alloc(2_000, 'x'), registered_delivery: 0 }))
      if (n % 50 === 0) await spool.synced()
    }
  }
  const claimer = spool.claimer('c', [LANE], () => 1)
  let claimed = 0
  for (let some = claimer.claim(50); some.length > 0; some = claimer.claim(50)) {
    for (const m of some) spool.end(m, { state: state.REJECTED, error: '', doneMs: START_MS })
    claimed += some.length
    await spool.synced()
  }
  t.equal(claimed, n)
  await spool.close()
  spool = await LmdbSpool.open(settings)
  t.equal(spool.refusal(1), undefined, 'a file does not shrink, but its pages are free again')
})

t.test('a commit that fails is told to all who wait for it, and to nobody as durable', async t => {
  const spool = await open(t)
  await commitAll(spool, [message()])
  const failures: Error[] = []
  spool.events.failed = error => failures.push(error)
  spool.commit(message())
  const before = spool.synced()
  spool.afterSync(() => t.fail('it is not durable'))
  // No disk here fails on demand: what lmdb then answers is put in its place.
  const { meta } = (spool as unknown as { tables: { meta: { put(): Promise<boolean> } } }).tables
  meta.put = () => {
    const commitError = new Promise<never>((_, reject) => setImmediate(() => reject(new Error('Input/output error'))))
    return Promise.reject(Object.assign(new Error('Commit failed (see commitError for details)'), { commitError }))
  }
  await t.rejects(before, /Input/)
  t.equal(failures.length, 1)
  t.match(failures[0], /Input/)
  t.equal(spool.refusal(1), 'stopping')
  spool.commit(message())
  await t.rejects(spool.synced(), /Input/)
  await spool.close()
})

t.test('200,000 waiting messages take no more memory than the heads of their lanes', async t => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const path = newPath(t)
  const spool = await LmdbSpool.open({ ...settingsFor(path, {}), limits: { heads: 5_000 } })
  t.teardown(() => spool.close())
  gc()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; i < 100; i++) {
    await commitAll(
      spool,
      Array.from({ length: 2_000 }, (_, n) => message({ account: 1 + (n % 20), destination_addr: `4915${i}${n}` })),
    )
  }
  gc()
  const mb = (process.memoryUsage().heapUsed - before) / 2 ** 20
  t.comment(`${mb.toFixed(1)} MB of heap`)
  t.ok(mb < 20, `${mb.toFixed(1)} MB`)
  t.equal(spool.figures().waiting, 200_000)
})

t.test('generations of references go when nothing in them is awaited any more', async t => {
  const clock = new ManualClock(START_MS)
  const spool = await open(t, { clock, small: true })
  await commitAll(
    spool,
    Array.from({ length: 200 }, () => message({ validUntilMs: START_MS + HOUR_MS })),
  )
  const claimer = spool.claimer('c', [LANE], () => 1)
  let n = 0
  for (let some = claimer.claim(5); some.length > 0; some = claimer.claim(5)) {
    for (const m of some) spool.accepted(m, 0, 1, `r${n++}`, true)
    await settle(spool)
  }
  const { refs } = (spool as unknown as { tables: { refs: { getCount(): number } } }).tables
  t.ok(refs.getCount() > 100, 'there are generations')
  clock.advance(1.5 * HOUR_MS)
  await sweep(spool, clock)
  for (let i = 0; i < n; i++) if (!spool.findRef(1, `r${i}`)) t.fail(`a receipt for r${i} may still come`)
  clock.advance(HOUR_MS)
  await sweep(spool, clock)
  await sweep(spool, clock)
  t.match(spool.figures(), { sent: 0, outbox: 200 })
  t.equal(refs.getCount(), 0)
})

t.test('rows of addresses in any octets never outgrow the chunk of a commit, wherever in it they fall', async t => {
  const wide = Object.assign(new Message(), { source_addr: 'ÿ'.repeat(20), destination_addr: 'ÿ'.repeat(20), id: 1 })
  const ending = { state: state.REJECTED, error: '11', doneMs: 0 }
  const COUNT = 2_000
  for (let shift = 0; shift < 150; shift += 2) {
    let octets = Buffer.alloc(0) as Buffer
    const table = {
      getKeys: () => [],
      put(_: number, chunk: Buffer) {
        octets = chunk
      },
    }
    const log = new Log(table as never, 0)
    log.accepted(Object.assign(new Message(), { clientRef: 'x'.repeat(shift) }), 0)
    for (let n = 0; n < COUNT; n++) log.ended(wide, ending, 0, 0, 0)
    log.write()
    const first = octets.readUInt16LE(1) + 2
    const each = octets.readUInt16LE(1 + first) + 2
    if (octets.length !== 1 + first + COUNT * each) t.fail(`moved by ${shift}: ${octets.length}`)
    const last = octets.subarray(octets.length - each + 2 + 40)
    if (last.utf8Slice(1, 41) !== wide.source_addr) t.fail(`moved by ${shift}: ${last.utf8Slice(1, 41)}`)
  }
  t.pass()
})

t.test('an end that was logged before it was known how long it took is read without that', t => {
  const chunks: { key: number; value: Buffer }[] = []
  const table = {
    getKeys: () => [],
    getRange: () => chunks,
    put: (key: number, value: Buffer) => void chunks.push({ key, value: Buffer.from(value) }),
  }
  const log = new Log(table as never, 0)
  const m = Object.assign(new Message(), { id: 1, priceMicros: 7, source_addr: 'ACME', clientRef: 'x' })
  log.ended(m, { state: state.REJECTED, error: '11', doneMs: 0 }, 5, 3, 0)
  log.write()
  const [chunk] = chunks as [(typeof chunks)[number]]
  const [now] = log.read(0, 9)?.rows ?? []
  t.match(now, { backMicros: 5, costMicros: 3, tookMs: 0 })
  const before = Buffer.from(chunk.value.subarray(0, -4))
  before.writeUInt16LE(chunk.value.readUInt16LE(1) - 4, 1)
  chunk.value = before
  t.same(log.read(0, 9)?.rows, [{ ...now, tookMs: null }])
  t.end()
})
