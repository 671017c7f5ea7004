// What leaves by mail, without a daemon: an outbox in memory, a door that says what it is told to say, and a clock by hand.
// Who is told much, a door that has no room, carriers that are gone, and notes of an earlier release.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t, { type Test } from 'tap'
import { ManualClock } from '../src/base/clock.js'
import { Forwarding } from '../src/intake/mail/forwarding.js'
import { Message, state } from '../src/model/message.js'
import type { Reply } from '../src/model/outcome.js'
import { MailReturns, type MailReturnsHost } from '../src/returns/mail.js'
import { MAIL_LANE } from '../src/routing/mail.js'
import { type Report, way } from '../src/spool/contract.js'
import { LmdbSpool } from '../src/spool/lmdb/spool.js'
import { temporaryDirectory } from './support/postgres.js'

type Told = { code: string; retryable: boolean; text: string } | undefined

const NOW = 1_790_000_000_000
const FIRST_ID = 7_000_000_000_000_000

class Rig {
  readonly queue: Report[] = []
  readonly counts: Record<string, number> = {}
  readonly mails: string[] = []
  readonly toBinds: Reply[] = []
  readonly clock = new ManualClock(NOW)
  readonly returns: MailReturns
  done = 0
  carriesMail = true
  says: Told
  private seq = 0
  private ids = FIRST_ID
  private written = 0

  constructor(t: Test) {
    const rig = this
    this.returns = new MailReturns({
      spool: {
        newestReport: 1e9,
        takeIds: () => [rig.ids++],
        claimReports: (_: number, n: number) => rig.queue.splice(0, n),
        giveBackReport: (report: Report) => {
          rig.queue.unshift(report)
        },
        reportDone: () => {
          rig.done++
        },
        reportAccounts: () => [1],
        reply: (_: number, reply: Reply) => {
          rig.toBinds.push(reply)
          return true
        },
      },
      door: {
        get carriesMail() {
          return rig.carriesMail
        },
        submitMail: (m: Message) => {
          rig.written++
          if (!rig.carriesMail) return { code: 'no_route', retryable: false, text: 'no carrier takes mails' }
          if (rig.says === undefined) rig.mails.push(m.body.toString())
          return rig.says
        },
      },
      clock: this.clock,
      counts: { add: (name: string, by = 1) => Object.assign(rig.counts, { [name]: (rig.counts[name] ?? 0) + by }) },
      log: { warn: () => {}, debug: () => {} },
      hostname: 'mx.example.com',
      from: 'postmaster@mx.example.com',
      smsDomains: new Set(['sms.example.com']),
      conversations: {
        find: () => ({ to: 'alice@example.com', at: 'sms.example.com', id: 'm1@x', subject: 'hi' }),
      },
      account: (id: number) => ({ id }),
      textOf: (reply: Reply) => reply.body.subarray((reply.esm_class & 0x40) === 0 ? 0 : 6).toString(),
      isPacked: () => false,
      fault: (error: unknown) => t.fail(String(error)),
    } as unknown as MailReturnsHost)
    t.teardown(() => this.returns.stop())
  }

  fails(n: number, extras: (n: number) => string): void {
    for (let i = 0; i < n; i++) {
      const message = { clientRef: `m${i}@x`, extras: extras(i), segments: 1, priceMicros: 0, carrier: 1 }
      const about = { destination_addr: `49151${i}`, more: { notice: false, network: 0, part: 0, message } }
      const receipt = { id: 7_500_000_000_000_000 + i, state: state.UNDELIVERABLE, err: '001', doneMs: NOW, ...about }
      this.put('receipt', { receipt })
    }
  }

  answers(text: string, part = 0): void {
    const udh = part === 0 ? [] : [5, 0, 3, 9, 2, part]
    const body = Buffer.concat([Buffer.from(udh), Buffer.from(text)])
    const fields = { source_addr: '49151', destination_addr: '4930', esm_class: part === 0 ? 0 : 0x40, data_coding: 0 }
    this.put('reply', { reply: { ...fields, body, tlvs: Buffer.alloc(0) } })
  }

  private put(kind: Report['kind'], what: object): void {
    this.queue.push({ seq: ++this.seq, way: way.mail, account: 1, kind, atMs: NOW, ...what } as Report)
  }

  /** Time goes on, while no mail is being written, until it is so; false: it is not, after so long. */
  async until(isSo: () => boolean, mostMs = 60_000): Promise<boolean> {
    const endMs = this.clock.mono() + mostMs
    for (; !isSo(); await new Promise(setImmediate)) {
      if (this.ids - FIRST_ID > this.written + (this.counts.mail_returns_lost_fault ?? 0)) continue
      if (this.clock.mono() >= endMs) return false
      this.clock.advance(250)
      ;(this.returns as unknown as { tick(): void }).tick()
    }
    return true
  }
}

const noteOf = (from: string, to: string): string => JSON.stringify({ mail: { from, to } })
const textsOf = (mails: readonly string[], what: RegExp): number => mails.filter(mail => what.test(mail)).length

t.test('a note that an earlier release has written, without its recipient, is told by the number', async t => {
  const rig = new Rig(t)
  rig.fails(1, () => '{"mail":{"from":"bob@example.org"}}')
  rig.returns.pump(1)
  t.equal(await rig.until(() => rig.mails.length === 1), true)
  t.match(rig.mails[0], /^Final-Recipient: rfc822; 491510\r\n/m)
  t.equal(rig.done, 1)
  // What nobody can read is counted, and the next one is told.
  rig.fails(2, n => (n === 0 ? '{"mail":{"from":7}}' : noteOf('bob@example.org', '1@sms.example.com')))
  rig.returns.pump(1)
  t.equal(await rig.until(() => rig.mails.length === 2 && rig.done === 3), true)
  t.equal(rig.counts.mail_returns_lost_no_sender, 1)
})

t.test('a mail that cannot be written is counted as lost, and the others leave', async t => {
  const rig = new Rig(t)
  const faults: unknown[] = []
  Object.assign((rig.returns as unknown as { host: object }).host, { fault: (error: unknown) => faults.push(error) })
  rig.fails(3, n => JSON.stringify({ mail: { from: `b${n}@example.org`, to: 't', subject: n === 1 ? 7 : 'x' } }))
  rig.returns.pump(1)
  t.equal(await rig.until(() => rig.done === 3), true)
  t.equal(rig.mails.length, 2)
  t.equal(rig.counts.mail_returns_lost_fault, 1)
  t.equal(faults.length, 1)
})

t.test('the parts of a reply for whose mail there is no room make a mail when there is', async t => {
  const rig = new Rig(t)
  rig.says = { code: 'queue_full', retryable: true, text: 'full' }
  rig.answers('hello ', 1)
  rig.answers('world', 2)
  rig.returns.pump(1)
  t.equal(await rig.until(() => rig.counts.mail_returns_deferred === 1), true)
  t.same([rig.done, rig.queue.length], [0, 2])
  rig.says = undefined
  // Its pause, in a moment.
  ;(rig.returns as unknown as { paused: Set<number> }).paused.clear()
  rig.returns.pump(1)
  t.equal(await rig.until(() => rig.mails.length === 1), true)
  t.match(rig.mails[0], /hello world/)
  t.same([rig.done, rig.queue.length], [2, 0])
  // Whoever sends them again has missed an answer.
  rig.answers('hello ', 1)
  rig.answers('world', 2)
  rig.returns.pump(1)
  t.equal(await rig.until(() => rig.done === 4), true)
  t.equal(rig.mails.length, 1)
})

t.test('one sender’s thousands of failures hold up nobody else, and all of them are told', async t => {
  const rig = new Rig(t)
  rig.fails(3_000, n => noteOf('app@example.org', `49151${n}@sms.example.com`))
  rig.answers('yes please')
  rig.fails(1, () => noteOf('carol@example.org', '1@sms.example.com'))
  rig.returns.pump(1)
  t.equal(await rig.until(() => textsOf(rig.mails, /yes please/) === 1, 10_000), true, 'the reply leaves')
  t.equal(await rig.until(() => textsOf(rig.mails, /^To: carol@/m) === 1, 10_000), true, 'so does another’s notice')
  t.ok(rig.mails.length < 25, `${rig.mails.length} mails in the first minute`)
  t.equal(await rig.until(() => rig.done === 3_002, 300_000), true, 'the rest is told within five minutes')
  t.ok(rig.mails.length < 150, `${rig.mails.length} mails in all`)
  const told = new Set(rig.mails.flatMap(mail => mail.match(/^Final-Recipient: rfc822; 49151\d+@/gm) ?? []))
  t.equal(told.size, 3_000)
  const many = rig.mails.find(mail => /^Subject: Not delivered: 100 messages\r$/m.test(mail)) ?? ''
  t.match(many, /Your mail <m\d+@x>/)
  t.notMatch(many, /^Original-Envelope-Id|^In-Reply-To|rfc822-headers/m)
})

t.test('without a carrier of mail replies go to the binds, and notices wait for one', async t => {
  const rig = new Rig(t)
  rig.carriesMail = false
  rig.fails(200, n => noteOf('app@example.org', `49151${n}@sms.example.com`))
  rig.answers('yes please')
  rig.returns.pump(1)
  t.equal(await rig.until(() => rig.toBinds.length === 1), true)
  await rig.until(() => false, 150_000)
  t.same([rig.mails.length, rig.done, rig.counts.mail_returns_lost], [0, 1, undefined])
  rig.carriesMail = true
  t.equal(await rig.until(() => rig.done === 201, 120_000), true)
  // Refused while they are being written.
  rig.answers('and again')
  rig.returns.pump(1)
  rig.carriesMail = false
  t.equal(await rig.until(() => rig.toBinds.length === 2), true)
  t.equal(rig.counts.mail_returns_lost, undefined)
})

t.test('mails that wait take no memory, however large they are', async t => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  /** MB; freed buffers go a while after they were found. */
  const buffers = async (most: number): Promise<number> => {
    for (let round = 1; ; round++, await new Promise(setImmediate)) {
      gc()
      const mb = process.memoryUsage().arrayBuffers / 2 ** 20
      if (mb <= most || round === 10) return mb
    }
  }
  const clock = new ManualClock(NOW)
  const most = { maxWaiting: 1_000, maxWaitingPerAccount: 1_000, keepReportsPerAccount: 1_000 }
  const times = { keepReportsMs: 3_600_000, receiptGraceMs: 3_600_000 }
  const spool = await LmdbSpool.open({
    ...{ path: temporaryDirectory(), node: 1, clock, mapGb: 0.25, reserveMb: 1, ...most, ...times, limits: {} },
  })
  t.teardown(() => spool.close())
  const before = await buffers(0)
  const N = 60
  for (let n = 0; n < N; n++) {
    const m = new Message()
    m.id = spool.takeIds(1)[0] as number
    m.account = 1
    m.isMail = true
    m.lane = MAIL_LANE
    m.validUntilMs = NOW + 3_600_000
    m.destination_addr = `to${n}@example.org`
    // Small ones among them.
    m.body = Buffer.alloc(n % 10 === 0 ? 100 : 2 ** 20, n)
    spool.commit(m)
    if (n % 7 === 0) await spool.synced()
  }
  await spool.synced()
  const waiting = await buffers(before + 8)
  t.ok(waiting <= before + 8, `${waiting - before} MB of ${N}`)
  const claimer = spool.claimer('relay', [MAIL_LANE], () => 1)
  let peak = 0
  for (let n = 0; n < N; ) {
    for (const m of claimer.claim(2)) {
      if (m.destination_addr !== `to${n}@example.org` || m.body.at(-1) !== n) t.fail(`${m.destination_addr} as ${n}`)
      spool.end(m, { state: state.ACCEPTED, error: '', doneMs: NOW })
      n++
    }
    await spool.synced()
    if (n % 10 === 0) peak = Math.max(peak, await buffers(before + 8))
  }
  t.ok(peak <= before + 8, `${peak - before} MB while they were claimed`)
})

t.test('what mails hold that come at one time is bounded, and given back when they are over', async t => {
  const all = { octets: 0 }
  const one = [{ to: 'bob@example.org' }] as never
  const chunk = Buffer.alloc(2 ** 20)
  const coming = Array.from({ length: 12 }, () => new Forwarding(one, all))
  for (let mb = 0; mb < 12; mb++) for (const mail of coming) mail.add(chunk)
  t.ok(all.octets <= 128 * 2 ** 20)
  const refusals = coming.map(({ refusal }) => refusal)
  t.ok(refusals.some(refusal => refusal?.code === 452))
  t.ok(
    refusals.some(refusal => refusal === undefined),
    'not all of them are refused',
  )
  for (const mail of coming) mail.over()
  t.equal(all.octets, 0)
  const large = new Forwarding(one, all)
  for (let mb = 0; mb < 33; mb++) large.add(chunk)
  t.match(large.refusal, { code: 552 })
  t.equal(all.octets, 0)
})
