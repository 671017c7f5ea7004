// Receipts and replies on their way to the customer, where a story would take too long: a clock that is set back, queues
// of ten thousand, an ESME that dies of one message. Against a reporter with binds and an outbox that stand in memory.
import t from 'tap'
import { encodeGsm, pack7 } from '../protocols/gsm/alphabet.js'
import { decodeUserData } from '../protocols/gsm/coding.js'
import { buildConcatUdh } from '../protocols/gsm/udh.js'
import { command } from '../protocols/smpp/commands.js'
import { joinParts, partOf } from '../protocols/smpp/parts.js'
import { status } from '../protocols/smpp/status.js'
import { type plainReceipts, readProfile } from '../src/accounts/smppProfile.js'
import { ManualClock } from '../src/base/clock.js'
import { Counters } from '../src/base/figures.js'
import type { Log } from '../src/base/log.js'
import type { Bind } from '../src/intake/smpp/bind.js'
import type { Binds } from '../src/intake/smpp/binds.js'
import { deliverSm } from '../src/intake/smpp/deliver.js'
import type { Reply } from '../src/model/outcome.js'
import { Reporter, type ReporterHost } from '../src/returns/report.js'
import { type ReceiptReport, type Report, type Spool, way } from '../src/spool/contract.js'
import { esme, stranger } from './support/esme.js'
import { house as daemonHouse, story } from './support/house.js'
import { smsc } from './support/smsc.js'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

const START_MS = Date.UTC(2026, 10, 20, 12)
const UDHI = 0x40
const ROK = status.ESME_ROK
/** So much may one turn of the event loop do with reports that fill no window. */
const MOST_A_TURN = 512

/** The outbox: reports by their numbers, and who holds which. */
class Outbox {
  readonly waiting: Report[] = []
  readonly held = new Set<Report>()
  newestReport = 0
  done = 0
  /** In this turn. */
  claimed = 0
  givenBack: number[] = []

  claimReports(_account: number, n: number): Report[] {
    const reports = this.waiting.splice(0, n)
    for (const report of reports) this.held.add(report)
    this.claimed += reports.length
    if (this.claimed > 100_000) throw new Error('claims without end')
    return reports
  }

  reportDone(report: Report): void {
    if (this.held.delete(report)) this.done++
  }

  giveBackReport(report: Report): void {
    if (!this.held.delete(report)) return
    this.givenBack.push(report.seq)
    const at = this.waiting.findIndex(({ seq }) => seq > report.seq)
    this.waiting.splice(at < 0 ? this.waiting.length : at, 0, report)
  }

  get left(): number {
    return this.waiting.length + this.held.size
  }
}

class FakeBind {
  readonly accountId = 1
  readonly systemId = 'shop'
  readonly interfaceVersion: number
  readonly sent = null
  receives = true
  /** Unanswered, the oldest first, each with what was sent for it. */
  readonly window: { report: Report; reply: Reply | undefined }[] = []
  /** All that it was sent. */
  readonly got: Report[] = []
  readonly session: { room(): number; readonly inFlight: number }

  constructor(interfaceVersion: number, size = 10) {
    const { window } = this
    this.interfaceVersion = interfaceVersion
    this.session = {
      room: () => (this.receives ? Math.max(0, size - window.length) : 0),
      get inFlight() {
        return window.length
      },
    }
  }

  deliver(report: Report, form: typeof plainReceipts, reply = report.reply): void {
    if (report.reply) deliverSm(report, this.interfaceVersion, 'decimal', form, reply)
    this.window.push({ report, reply })
    this.got.push(report)
  }
}

interface Setting {
  profile?: object
  binds?: FakeBind[]
  meant?: (reply: Reply) => Reply
  isPacked?: boolean
}

function house({ profile = {}, binds = [new FakeBind(0x34)], meant = reply => reply, isPacked = false }: Setting = {}) {
  const outbox = new Outbox()
  const clock = new ManualClock(START_MS)
  const counts = new Counters()
  const told: string[] = []
  const faults: unknown[] = []
  const read = readProfile(profile)
  const host: ReporterHost = {
    spool: outbox as unknown as Spool,
    binds: {
      of: () => binds,
      receiver: () => binds.find(({ session }) => session.room() > 0),
      sender: () => undefined,
    } as unknown as Binds,
    counts,
    clock,
    log: { warn: (_: unknown, text: string) => told.push(text) } as unknown as Log,
    profile: () => read,
    reply: meant,
    isPacked: () => isPacked,
    taken: () => {},
    fault: error => faults.push(error),
  }
  const reporter = new Reporter(host)
  t.teardown(() => reporter.stop())
  const add = (what: { receipt: ReceiptReport } | { reply: Reply }): Report => {
    const report = { seq: ++outbox.newestReport, way: way.bind, account: 1, atMs: clock.now(), ...what }
    const whole: Report = { ...report, kind: 'receipt' in what ? 'receipt' : 'reply' }
    outbox.waiting.push(whole)
    return whole
  }
  return {
    outbox,
    clock,
    counts,
    told,
    faults,
    reporter,
    bind: binds[0] as FakeBind,
    pump: () => reporter.pump(1),
    receipt: (to = '1000') => add({ receipt: { id: 1e15 + outbox.newestReport, source_addr: to } as ReceiptReport }),
    reply: (fields: Partial<Reply>) => add({ reply: { ...REPLY, ...fields } }),
    /** The ESME answers the oldest. */
    answer(bind = binds[0] as FakeBind, code: number = ROK): void {
      const { report } = bind.window.shift() as { report: Report }
      reporter.answered(bind as unknown as Bind, report, code, false)
      reporter.pump(1)
    },
    /** The connection goes, and the ESME binds again. */
    drop(bind = binds[0] as FakeBind, reason: 'connection lost' | 'unbound by peer' = 'connection lost'): void {
      const unanswered = bind.window.splice(0).map(({ report }) => report)
      bind.receives = false
      reporter.lost(bind as unknown as Bind, unanswered, reason)
      reporter.pump(1)
      bind.receives = true
      reporter.pump(1)
    },
    /** Turns of the event loop until nothing is left to do in them; the most that one of them claimed or gave back. */
    async settle(): Promise<number> {
      let most = 0
      for (let quiet = 0; quiet < 3; quiet++) {
        const n = Math.max(outbox.claimed, outbox.givenBack.length)
        if (n > 0) quiet = 0
        most = Math.max(most, n)
        outbox.claimed = 0
        outbox.givenBack = []
        await turn()
      }
      return most
    },
  }
}

/** Timers that are set in this test fire when it says so. */
function heldTimers(t: { teardown(then: () => void): void }): { tick(ms: number): void } {
  const { setTimeout, setInterval } = globalThis
  const set = new Set<{ atMs: number; everyMs: number; then: () => void }>()
  let nowMs = 0
  const setter = (isOnce: boolean) => (then: () => void, ms: number) => {
    set.add({ atMs: nowMs + ms, everyMs: isOnce ? 0 : ms, then })
    const handle = { unref: () => handle }
    return handle
  }
  Object.assign(globalThis, { setTimeout: setter(true), setInterval: setter(false) })
  t.teardown(() => Object.assign(globalThis, { setTimeout, setInterval }))
  return {
    tick(ms) {
      nowMs += ms
      for (const timer of [...set]) {
        if (timer.atMs > nowMs) continue
        if (timer.everyMs === 0) set.delete(timer)
        timer.atMs = nowMs + timer.everyMs
        timer.then()
      }
    },
  }
}

const REPLY: Reply = {
  carrier: 1,
  service_type: '',
  source_addr_ton: 1,
  source_addr_npi: 1,
  source_addr: '447700900123',
  dest_addr_ton: 1,
  dest_addr_npi: 1,
  destination_addr: '1000',
  esm_class: 0,
  protocol_id: 0,
  priority_flag: 0,
  data_coding: 0,
  body: Buffer.alloc(0),
  tlvs: Buffer.alloc(0),
}
const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')
const part = (ref: number, total: number, seq: number, text = 'text'): Partial<Reply> => ({
  esm_class: UDHI,
  body: Buffer.concat([buildConcatUdh(ref, total, seq, 16), Buffer.from(text)]),
})
/** By TLVs: no limit of a phone's to the length. */
const sar = (total: number, seq: number, octets: number): Partial<Reply> => ({
  body: Buffer.alloc(octets, 'a'),
  tlvs: Buffer.concat([hex('020c 0002 0007 020e 0001'), Buffer.from([total]), hex('020f 0001'), Buffer.from([seq])]),
})
const rejoin = { replies: 'rejoin' }
const seqsOf = (bind: FakeBind): number[] => bind.got.map(({ seq }) => seq)

// -- a clock that is set back ----------------------------------------------------

t.test('parts that do not fit together go as they came, once, though the clock was set back between them', async t => {
  const one = house({ profile: rejoin })
  const turkish = (seq: number, table: number) => ({
    esm_class: UDHI,
    body: hex(`08 00030702 0${seq} 24010${table} 78`),
  })
  one.reply(turkish(1, 1))
  one.pump()
  one.clock.setWall(START_MS - 600_000)
  one.reply(turkish(2, 2))
  one.pump()
  await one.settle()
  t.same(seqsOf(one.bind), [1, 2])
})

t.test('a part that waits is given up after its time on a clock that nobody sets', async t => {
  const timers = heldTimers(t)
  const one = house({ profile: rejoin })
  one.reply(part(1, 2, 1))
  one.pump()
  one.clock.setWall(START_MS + 3_600_000)
  timers.tick(1_000)
  await one.settle()
  t.same(seqsOf(one.bind), [], 'set forward: it waits')
  one.clock.setWall(START_MS - 3_600_000)
  one.clock.advance(300_000)
  timers.tick(1_000)
  await one.settle()
  t.same(seqsOf(one.bind), [1], 'set back: it goes')
})

t.test('what comes for a destination after the ESME stopped it is offered, whatever the clock says', async t => {
  const one = house()
  one.receipt()
  one.pump()
  const behind = [one.receipt(), one.receipt()]
  one.answer(one.bind, status.ESME_RX_P_APPN)
  t.equal(one.outbox.left, 0, `${behind.length} that had waited are dropped`)
  one.clock.setWall(START_MS - 600_000)
  const later = one.receipt()
  one.pump()
  t.same(
    one.bind.window.map(({ report }) => report),
    [later],
  )
})

// -- the event loop --------------------------------------------------------------

t.test('ten thousand receipts that nobody wants are dropped a slice at a turn, and all else is delivered', async t => {
  const one = house()
  one.receipt()
  one.pump()
  for (let n = 0; n < 10_000; n++) one.receipt()
  const other = one.receipt('2000')
  one.answer(one.bind, status.ESME_RX_P_APPN)
  t.ok((await one.settle()) <= MOST_A_TURN)
  t.equal(one.counts.get('reports_stopped'), 10_000)
  t.same(one.bind.got.at(-1), other)
  t.equal(one.outbox.left, 1)
})

t.test('thousands of lone parts are taken, and given up, a slice at a turn and in order', async t => {
  const timers = heldTimers(t)
  const one = house({ profile: rejoin })
  for (let n = 0; n < 2_000; n++) one.reply(part(n, 2, 1))
  one.pump()
  t.ok((await one.settle()) <= MOST_A_TURN)
  t.equal(one.outbox.held.size, 2_000)
  one.bind.receives = false
  one.clock.advance(300_000)
  timers.tick(1_000)
  t.ok(one.outbox.givenBack.length > 0)
  t.same(
    one.outbox.givenBack,
    [...one.outbox.givenBack].sort((a, b) => b - a),
    'the newest first, for it belongs last',
  )
  t.ok((await one.settle()) <= MOST_A_TURN)
  t.equal(one.outbox.waiting.length, 2_000)
  t.equal(one.counts.get('replies_not_rejoined'), 2_000)
  one.bind.receives = true
  one.pump()
  t.same(seqsOf(one.bind), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
})

// -- parts that cannot be a whole ------------------------------------------------

t.test('parts whose septets are packed are one text when put together, each with its own fill bits', async t => {
  const texts = ['This part ends in the middle of a w', 'ord, this one in seven octets of [brack', 'ets] and @']
  for (const extra of ['', '240101']) {
    const elements = hex(extra)
    const parts = texts.map((text, n) => {
      const concat = buildConcatUdh(7, 3, n + 1, 8)
      const head = Buffer.concat([concat, elements])
      head[0] = head.length - 1
      return { esm_class: UDHI, body: Buffer.concat([head, pack7(encodeGsm(text) as Buffer, head.length)]) }
    })
    const one = house({ profile: rejoin, isPacked: true })
    for (const each of parts) one.reply(each)
    one.pump()
    const { reply } = one.bind.window[0] as { reply: Reply }
    t.equal(one.bind.window.length, 1)
    t.equal(reply.esm_class, extra === '' ? 0 : UDHI)
    t.equal(decodeUserData(reply.body, extra !== '', 'gsm-packed'), texts.join(''))
  }
  const plain = texts.map((text, n) => ({ ...part(7, 3, n + 1, text), tlvs: Buffer.alloc(0) })) as Reply[]
  t.equal(partOf(plain[0] as Reply)?.total, 3)
  t.equal(joinParts(plain)?.body.toString(), texts.join(''))
})

t.test('parts that together exceed message_payload are delivered as they came', async t => {
  const one = house({ profile: rejoin })
  one.reply(sar(2, 1, 40_000))
  one.reply(sar(2, 2, 40_000))
  one.pump()
  await one.settle()
  t.same(seqsOf(one.bind), [1, 2])
  for (let n = 0; n < 2; n++) one.answer()
  t.equal(one.outbox.left, 0)
  t.same(one.faults, [])
})

t.test(
  'a text that is too long in the customer’s coding is delivered in the carrier’s, whole or in its parts',
  async t => {
    const wider = (reply: Reply): Reply => ({ ...reply, data_coding: 8, body: Buffer.alloc(reply.body.length * 2) })
    const one = house({ profile: rejoin, meant: wider })
    one.reply(sar(2, 1, 20_000))
    one.reply(sar(2, 2, 20_000))
    one.reply({ body: Buffer.alloc(40_000, 'b') })
    one.pump()
    await one.settle()
    t.same(one.bind.window.map(({ report, reply }) => [report.seq, reply?.data_coding, reply?.body.length]).sort(), [
      [1, 8, 40_000],
      [2, 8, 40_000],
      [3, 0, 40_000],
    ])
    t.same(one.faults, [])
  },
)

// -- peers of v3.3 ---------------------------------------------------------------

t.test('a long reply goes to the account’s bind of v3.4, though one of v3.3 has more room', async t => {
  const [old, fresh] = [new FakeBind(0x33), new FakeBind(0x34, 1)]
  const one = house({ binds: [old, fresh] })
  one.reply({ body: Buffer.alloc(300, 'a') })
  one.reply({ body: Buffer.alloc(300, 'b') })
  one.reply({ body: Buffer.from('short') })
  one.pump()
  t.same([seqsOf(old), seqsOf(fresh)], [[3], [1]])
  one.answer(fresh)
  t.same([seqsOf(old), seqsOf(fresh)], [[3], [1, 2]], 'it waits for room there')
  for (const bind of [old, fresh]) one.answer(bind)
  t.equal(one.outbox.left, 0)
})

t.test(
  'a bind of v3.3 gets a long reply in short messages, within its window, and is done with it when it has all',
  async t => {
    const old = new FakeBind(0x33, 2)
    const one = house({ binds: [old] })
    const text = Array.from({ length: 120 }, (_, n) => String(n).padStart(5, '.')).join('')
    one.reply({ body: Buffer.from(text) })
    one.pump()
    t.equal(old.window.length, 2)
    const pieces: Reply[] = []
    while (old.window.length > 0) {
      t.equal(one.outbox.left, 1)
      t.ok(old.window.length <= 2)
      pieces.push(old.window[0]?.reply as Reply)
      one.answer()
    }
    t.equal(one.outbox.left, 0)
    t.equal(one.counts.get('replies_delivered'), 1)
    t.same(
      pieces.map(piece => partOf(piece)).map(name => [name?.total, name?.seq]),
      [1, 2, 3, 4].map(seq => [4, seq]),
    )
    t.ok(pieces.every(({ body, esm_class }) => body.length <= 160 && esm_class === UDHI))
    t.equal(joinParts(pieces)?.body.toString(), text)

    one.reply({ body: Buffer.from(text) })
    one.pump()
    one.answer()
    one.drop()
    t.equal(one.outbox.left, 1, 'one piece was lost: all of them come again')
    for (let n = 0; n < 4; n++) one.answer()
    t.equal(one.outbox.left, 0)
    t.equal(old.window.length, 0)
  },
)

// -- an ESME that dies of a message ----------------------------------------------

t.test('a receipt on which the ESME hangs up stands aside, is offered alone, and is dropped in the end', async t => {
  const timers = heldTimers(t)
  const one = house()
  const fatal = one.receipt()
  for (let n = 0; n < 25; n++) one.receipt()
  one.pump()
  let losses = 0
  const die = () => {
    losses++
    one.drop()
  }
  /** It takes what it gets, until it gets the one it cannot take. */
  const live = () => {
    while (one.bind.window.length > 0 && one.bind.window[0]?.report !== fatal) one.answer()
  }
  for (let n = 0; n < 3; n++) {
    live()
    t.equal(one.bind.window[0]?.report, fatal)
    die()
  }
  live()
  t.equal(one.outbox.left, 1, 'all others are delivered')
  while (one.outbox.left > 0) {
    const wellBefore = one.receipt()
    one.pump()
    timers.tick(1_000)
    t.not(one.bind.window[0]?.report, fatal, 'not before the window is empty')
    t.equal(one.bind.window[0]?.report, wellBefore)
    one.answer()
    t.same(
      one.bind.window.map(({ report }) => report),
      [fatal],
    )
    const behind = one.receipt()
    one.pump()
    t.equal(one.bind.window.length, 1, 'nothing goes beside it')
    die()
    t.equal(one.bind.window[0]?.report, behind)
    one.answer()
  }
  t.equal(losses, 10)
  t.equal(one.counts.get('reports_fatal'), 1)
  t.match(one.told, [/hangs up on a receipt/])
  one.receipt()
  one.pump()
  t.equal(one.bind.window.length, 1, 'the bind is as it was')
})

t.test('a receipt that stood aside and is taken when it comes alone was not to blame', async t => {
  const timers = heldTimers(t)
  const one = house()
  const first = one.receipt()
  one.pump()
  for (let n = 0; n < 3; n++) one.drop()
  t.equal(one.bind.window.length, 0)
  timers.tick(1_000)
  t.equal(one.bind.window[0]?.report, first)
  one.answer()
  t.equal(one.outbox.left, 0)

  const calm = house()
  const again = calm.receipt()
  calm.pump()
  for (let n = 0; n < 20; n++) calm.drop(calm.bind, 'unbound by peer')
  t.equal(calm.bind.window[0]?.report, again, 'who unbinds in order has not died of anything')
})

// -- the same against the real daemon --------------------------------------------

story('an ESME that dies of one receipt gets all others, and that one when it has been mended', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  const daemon = await daemonHouse(t, { carriers: { up: { at: carrier, window: 50 } } })
  const sender = await esme(t, daemon.smpp, { bind: 'transmitter' })
  const ids = (await sender.submitAll(25)).map(one => one.message_id)
  for (const sm of await carrier.take(25)) await sm.receipt()
  let fatal = ''
  const got = new Set<string>()
  for (let lives = 1; lives <= 4; lives++) {
    const shop = await stranger(t, daemon.smpp, ({ receipt }) => {
      fatal ||= receipt.id
      if (receipt.id === fatal) shop.peer.drop()
      else got.add(receipt.id)
      return receipt.id === fatal ? undefined : ROK
    })
    t.equal(await shop.bind({ bind: 'receiver' }), 'ESME_ROK')
    await shop.closed()
  }
  t.same([...got, fatal].sort(), ids.sort(), 'after three lives the others come first')
  const mended = await esme(t, daemon.smpp, { bind: 'receiver' })
  t.equal((await mended.next()).receipt.id, fatal)
  await mended.unbind()
  t.equal(await daemon.metric('trunkline_outbox_reports'), 0)
})

story(
  'packed parts of a phone reach who wants them whole as one text, and a bind of v3.3 in short messages',
  async t => {
    const carrier = await smsc(t)
    const accounts = { shop: { numbers: ['1000'], smpp: rejoin }, old: { numbers: ['2000'] } }
    const daemon = await daemonHouse(t, { accounts, carriers: { up: { at: carrier, codings: { 0: 'gsm-packed' } } } })
    await carrier.bound()
    const shop = await esme(t, daemon.smpp)
    const from = { source_addr: '447700900123' }
    const texts = ['first part of it, ', 'and the second']
    for (const [n, text] of texts.entries()) {
      const concat = buildConcatUdh(7, 2, n + 1, 8)
      const short_message = Buffer.concat([concat, pack7(encodeGsm(text) as Buffer, concat.length)])
      const fields = { ...from, destination_addr: '1000', esm_class: UDHI, short_message }
      t.equal(await carrier.mobileOriginated(fields), ROK)
    }
    t.match((await shop.next()).fields, { esm_class: 0, short_message: encodeGsm(texts.join('')) })

    const old = await esme(t, daemon.smpp, { systemId: 'old', interfaceVersion: 0x33 })
    const long = Buffer.alloc(300, 'long ')
    const payload = Buffer.concat([hex('0424 012c'), long])
    const sent = carrier.link.request(
      command.deliver_sm,
      { ...from, destination_addr: '2000', data_coding: 3, short_message: Buffer.alloc(0) },
      payload,
    )
    t.equal((await sent).status, ROK)
    const pieces = await old.take(3)
    t.ok(pieces.every(({ pdu }) => pdu.tlvs.length === 0))
    t.same(Buffer.concat(pieces.map(({ fields }) => fields.short_message.subarray(6))), long)
  },
)
