// The load tools: the simulated message centre and the load that is measured with it must agree on every count, whatever
// the one does to the other; and the three commands as processes, with their exit codes.

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { encodePdu } from '../protocols/smpp/pdu.js'
import { messageState } from '../protocols/smpp/receipt.js'
import { status } from '../protocols/smpp/status.js'
import { connectTo } from '../src/cli/connect.js'
import { Latencies } from '../src/cli/esme/latency.js'
import { Ledger } from '../src/cli/esme/ledger.js'
import type { LoadSettings } from '../src/cli/esme/settings.js'
import { Load } from '../src/cli/esme.js'
import { explained } from '../src/cli/meaning.js'
import { Sending } from '../src/cli/sending.js'
import { Arrivals, readSerial, writeDigits } from '../src/cli/serial.js'
import { ID_FORMATS, type IdFormat, MOST_ID_OCTETS, writeId } from '../src/cli/smsc/ids.js'
import { Smsc, type SmscSettings } from '../src/cli/smsc.js'
import { pdu, Wire } from './support/smpp-wire.js'

const entry = fileURLToPath(new URL('../src/cli.js', import.meta.url))

async function smscOf(t: Test, settings: Partial<SmscSettings> = {}): Promise<Smsc> {
  const smsc = new Smsc({ ...settings, port: 0 })
  await smsc.listen()
  t.teardown(() => smsc.stop())
  return smsc
}

const loadOf = (smsc: Smsc, settings: Partial<LoadSettings>) =>
  new Load({ drainMs: 5000, ...settings, port: smsc.port })

t.test('load against a message centre', async t => {
  t.test('every message is accepted, arrives and is reported once, over any binds', async t => {
    for (const settings of [
      { count: 3000, binds: 3, window: 50 },
      { count: 1000, bind: 'transmitter+receiver', binds: 2 },
      { count: 500, ucs2: true },
      { count: 500, textLength: 400 },
      { count: 300, rate: 3000, binds: 2 },
    ] as const) {
      const smsc = await smscOf(t)
      const result = await loadOf(smsc, { ...settings, serialFrom: 7 }).run()
      const { count } = settings
      t.match(result, {
        sent: count,
        accepted: count,
        refused: 0,
        unanswered: 0,
        unsent: 0,
        lost_connections: 0,
        faults: [],
      })
      t.match(result.receipts, { received: count, missing: 0, doubled: 0, unexpected: 0, states: { DELIVERED: count } })
      t.match(smsc.counts, { submits: count, accepted: count, receiptsSent: count, receiptsAcked: count, resent: 0 })
      t.match(smsc.arrivals, { unique: count, doubled: 0, unnumbered: 0 })
      t.ok(smsc.arrivals.has(7) && smsc.arrivals.has(count + 6) && !smsc.arrivals.has(6))
    }
  })
  t.test('without receipts none is sent, and none is missed', async t => {
    const smsc = await smscOf(t)
    const { receipts, faults } = await loadOf(smsc, { count: 500, receipts: false }).run()
    t.match({ receipts, faults }, { receipts: { received: 0, missing: 0 }, faults: [] })
    t.equal(smsc.counts.receiptsSent, 0)
  })
  t.test('a rate is kept and not exceeded', async t => {
    const smsc = await smscOf(t)
    const { seconds, faults } = await loadOf(smsc, { count: 301, rate: 1000 }).run()
    t.same(faults, [])
    t.ok(seconds >= 0.299, `${seconds} s`)
  })
  t.test('what is throttled is refused, or with retry sent until it is accepted', async t => {
    const smsc = await smscOf(t, { throttle: 200 })
    const once = await loadOf(smsc, { count: 300, window: 20 }).run()
    t.match(once, { accepted: 200, refused: 100, errors: { ESME_RTHROTTLED: 100 } })
    t.same(once.faults, ['100 messages were refused'])
    t.match(smsc.counts, { submits: 300, throttled: 100 })
    t.equal(smsc.arrivals.unique, 200, 'what is throttled has not arrived')
    const again = await loadOf(smsc, { count: 150, window: 20, retry: true, serialFrom: 300 }).run()
    t.match(again, { accepted: 150, refused: 0, faults: [], receipts: { received: 150, missing: 0 } })
    t.ok(again.retried > 0)
    t.equal(smsc.counts.throttled, 100 + again.retried)
    t.equal(smsc.arrivals.unique, 350)
    t.equal(smsc.arrivals.doubled, 0)
  })
  t.test('every nth message fails with the status that is set', async t => {
    const smsc = await smscOf(t, { failEvery: 10, failStatus: 0x400 })
    const result = await loadOf(smsc, { count: 105 }).run()
    t.match(result, { accepted: 95, refused: 10, errors: { '0x00000400': 10 } })
    t.equal(smsc.counts.failed, 10)
  })
  t.test('a connection that is dropped in a window loses its answers, not its receipts', async t => {
    const smsc = await smscOf(t, { dropEvery: 150 })
    const result = await loadOf(smsc, { count: 200, binds: 2, window: 10 }).run()
    t.equal(result.lost_connections, 1)
    t.equal(result.accepted + result.unanswered, 200)
    t.ok(result.unanswered >= 1 && result.unanswered <= 10, `${result.unanswered} unanswered`)
    t.match(smsc.arrivals, { unique: 200, doubled: 0 })
    // The message on which it dropped has arrived, but was not taken.
    t.match(smsc.counts, { dropped: 1, accepted: 199, receiptsAcked: 199 })
    t.equal(result.receipts.unexpected, 199 - result.accepted, 'those whose answer was lost')
    t.match(result.receipts, { missing: 0, doubled: 0, received: 199 })
    t.ok(result.faults.includes('1 connection was lost'))
  })
  t.test('receipts that nobody could take are kept, and a second run collects them', async t => {
    const smsc = await smscOf(t, { dropEvery: 50 })
    const first = await loadOf(smsc, { count: 100, window: 10 }).run()
    t.match(first, { lost_connections: 1, receipts: { missing: 0 } })
    const kept = 49 - first.receipts.received
    t.ok(kept > 0)
    t.equal(smsc.waiting, kept)
    const second = await loadOf(smsc, { count: 0, lingerMs: 50 }).run()
    t.match(second, { sent: 0, receipts: { received: kept, unexpected: kept }, faults: [] })
    t.match(smsc, { waiting: 0, counts: { receiptsAcked: 49 } })
  })
  t.test('a receipt that overtakes its answer is matched', async t => {
    const smsc = await smscOf(t, { receiptFirst: true, responseDelayMs: 30 })
    const result = await loadOf(smsc, { count: 200, window: 100 }).run()
    t.match(result, { accepted: 200, faults: [], receipts: { received: 200, missing: 0, unexpected: 0 } })
    t.ok(result.resp_ms.p50 >= 29, `answers after ${result.resp_ms.p50} ms`)
    t.ok(result.receipt_ms.p50 < result.resp_ms.p50, `receipts after ${result.receipt_ms.p50} ms`)
  })
  t.test('doubled receipts are counted, also when the first came before the answer', async t => {
    for (const receiptFirst of [false, true]) {
      const smsc = await smscOf(t, { doubleReceipts: true, receiptFirst })
      const result = await loadOf(smsc, { count: 300 }).run()
      t.match(result, { receipts: { received: 600, missing: 0, doubled: 300, unexpected: 0 } })
      t.same(result.faults, ['300 receipts came twice'])
      t.equal(smsc.counts.receiptsAcked, 600)
    }
  })
  t.test('lost receipts are missed, after so long without progress', async t => {
    const smsc = await smscOf(t, { loseReceipts: 10 })
    const result = await loadOf(smsc, { count: 105, drainMs: 300 }).run()
    t.match(result, { receipts: { received: 95, missing: 10 }, faults: ['10 receipts are missing'] })
    t.match(smsc.counts, { receiptsLost: 10, receiptsSent: 95 })
  })
  t.test('an undelivered message is reported once and still a fault', async t => {
    const smsc = await smscOf(t, { receiptState: messageState.EXPIRED })
    const result = await loadOf(smsc, { count: 20 }).run()
    t.match(result.receipts, { received: 20, missing: 0, undelivered: 20, states: { EXPIRED: 20 } })
    t.same(result.faults, ['20 messages were not delivered'])
  })
  t.test('answers and receipts keep their delays', async t => {
    const smsc = await smscOf(t, { responseDelayMs: 20, receiptDelayMs: 60 })
    const result = await loadOf(smsc, { count: 200, window: 100 }).run()
    t.same(result.faults, [])
    t.ok(result.resp_ms.p50 >= 19.9, `${result.resp_ms.p50} ms`)
    t.ok(result.receipt_ms.p50 >= 79.9, `${result.receipt_ms.p50} ms`)
  })
  t.test('more receipts than a window holds all come in time, though nothing else is sent', async t => {
    const smsc = await smscOf(t, { receiptDelayMs: 60 })
    const result = await loadOf(smsc, { count: 8_000, window: 8_000, drainMs: 2_000 }).run()
    t.same(result.faults, [])
  })
  t.test('a stalled connection answers when it goes on, and the other meanwhile', async t => {
    const smsc = await smscOf(t, { stallEvery: 150, stallMs: 200 })
    const result = await loadOf(smsc, { count: 200, binds: 2, window: 10 }).run()
    t.same(result.faults, [])
    t.equal(smsc.counts.stalled, 1)
    t.ok(result.resp_ms.max >= 199, `${result.resp_ms.max} ms`)
    t.ok(result.resp_ms.p90 < 199, `${result.resp_ms.p90} ms`)
  })
  t.test('replies are no receipts', async t => {
    const smsc = await smscOf(t, { moEvery: 10 })
    const result = await loadOf(smsc, { count: 100 }).run()
    t.match(result, { replies: 10, receipts: { received: 100, unexpected: 0 }, faults: [] })
    t.match(smsc.counts, { repliesSent: 10, repliesAcked: 10 })
  })
  t.test('an id in another form than the answer said is no receipt for it', async t => {
    const smsc = await smscOf(t, { idFormat: 'hex', receiptIdFormat: 'decimal' })
    const result = await loadOf(smsc, { count: 50, drainMs: 300 }).run()
    t.match(result.receipts, { received: 50, missing: 50, unexpected: 50 })
  })
  t.test('ids of every form come back in receipts', async t => {
    for (const format of ID_FORMATS) {
      const smsc = await smscOf(t, { idFormat: format, receiptIdFormat: format, firstId: 5e14 })
      t.same((await loadOf(smsc, { count: 50 }).run()).faults, [], format)
    }
  })
  t.test('a stop ends the run with what has come', async t => {
    const smsc = await smscOf(t)
    const load = loadOf(smsc, { count: 10_000, rate: 1000 })
    const done = load.run()
    smsc.arrivals.note = () => {
      if (load.accepted > 20) load.stop()
    }
    const result = await done
    t.ok(result.accepted > 20 && result.unsent > 9000)
    t.ok(result.faults.length > 0)
  })
  t.test('a refused bind is told with its name', async t => {
    const wrong = await smscOf(t, { systemId: 'bench', password: 'secret' })
    await t.rejects(loadOf(wrong, { password: 'x' }).run(), { exit: 1, message: /refused: ESME_RINVPASWD \(0x0e\): / })
    await t.rejects(loadOf(wrong, { systemId: 'x' }).run(), { exit: 1, message: /ESME_RINVSYSID/ })
    const busy = await smscOf(t, { maxBinds: 2 })
    await t.rejects(loadOf(busy, { binds: 3 }).run(), { exit: 1, message: /ESME_RBINDFAIL/ })
    const closed = await smscOf(t, { refuseBind: status.ESME_RALYBND })
    await t.rejects(loadOf(closed, {}).run(), { exit: 1, message: /ESME_RALYBND/ })
    t.match([wrong.counts.bindsRefused, busy.counts, closed.counts.binds], [2, { binds: 2, bindsRefused: 1 }, 0])
  })
})

t.test('what an ESME does not acknowledge', async t => {
  /** A raw ESME, bound, with one message submitted; its answer has been read. */
  const submitted = async (t: Test, smsc: Smsc): Promise<Wire> => {
    const wire = new Wire(connect(smsc.port, '127.0.0.1'))
    t.teardown(() => wire.socket.destroy())
    wire.send(encodePdu(command.bind_transceiver, 0, 1, { system_id: 'a' }))
    t.match(await wire.next(), /^bind_transceiver_resp 0 1/)
    wire.send(
      encodePdu(command.submit_sm, 0, 2, {
        destination_addr: '1',
        registered_delivery: 1,
        short_message: Buffer.from('x'),
      }),
    )
    t.match(await wire.next(), /^submit_sm_resp 0 2/)
    return wire
  }
  t.test('goes out again on the next bind of its system_id, and on no other', async t => {
    const smsc = await smscOf(t)
    const wire = await submitted(t, smsc)
    t.match(await wire.next(), /^deliver_sm 0 1/)
    wire.socket.destroy()
    await loadOf(smsc, { systemId: 'b', count: 1 }).run()
    t.equal(smsc.waiting, 1)
    const { receipts } = await loadOf(smsc, { systemId: 'a', count: 0, lingerMs: 20 }).run()
    t.equal(receipts.unexpected, 1)
    t.match(smsc, { waiting: 0, counts: { resent: 1, receiptsSent: 3, receiptsAcked: 2 } })
  })
  t.test('is offered again after "not now", and not after any other error', async t => {
    const smsc = await smscOf(t)
    const wire = await submitted(t, smsc)
    t.match(await wire.next(), /^deliver_sm 0 1/)
    wire.send(pdu(command.deliver_sm_resp, status.ESME_RX_T_APPN, 1))
    t.match(await wire.next(), /^deliver_sm 0 2/)
    wire.send(pdu(command.deliver_sm_resp, status.ESME_RX_P_APPN, 2), pdu(command.enquire_link, 0, 3))
    t.equal(await wire.next(), 'enquire_link_resp 0 3')
    t.match(smsc, { waiting: 0, counts: { resent: 1, receiptsNacked: 2, receiptsAcked: 0 } })
  })
  t.test('a malformed submit_sm is refused with its own status, an unknown PDU too', async t => {
    const smsc = await smscOf(t)
    const wire = await submitted(t, smsc)
    t.match(await wire.next(), /^deliver_sm 0 1/)
    wire.send(pdu(command.submit_sm, 0, 5, Buffer.from('no end')), encodePdu(command.query_sm, 0, 6, {}))
    t.same(await wire.take(2), [
      `submit_sm_resp ${status.ESME_RINVSERTYP} 5`,
      `query_sm_resp ${status.ESME_RINVCMDID} 6`,
    ])
    t.match(smsc.counts, { malformed: 1, accepted: 1 })
  })
})

t.test('sending one message', async t => {
  const order = {
    systemId: 'demo',
    password: 'x',
    from: 'me',
    to: '254700000001',
    text: 'hello',
    parts: false,
    receipt: true,
  }
  t.test('a receipt of somebody else is left to them', async t => {
    const smsc = await smscOf(t, { dropEvery: 10 })
    await loadOf(smsc, { systemId: 'demo', count: 10, window: 10 }).run()
    const kept = smsc.waiting
    t.ok(kept > 0)
    const fates = await new Sending(order).run(await connectTo('127.0.0.1', smsc.port), 5000)
    t.match(fates, [{ state: messageState.DELIVERED, stat: 'DELIVRD', err: '000' }])
    t.equal(smsc.waiting, kept)
    t.equal(smsc.counts.receiptsNacked, kept)
  })
  t.test('a receipt before the answer is taken for it', async t => {
    const smsc = await smscOf(t, { receiptFirst: true, responseDelayMs: 10 })
    const [fate] = await new Sending(order).run(await connectTo('127.0.0.1', smsc.port), 5000)
    t.ok(fate && fate.state === messageState.DELIVERED && (fate.receiptMs ?? 99) < fate.acceptedMs)
    t.equal(smsc.counts.receiptsAcked, 1)
  })
  t.test('a long text is one message, or with parts several that all must arrive', async t => {
    const text = `${'a'.repeat(150)}seq=000000009${'b'.repeat(200)}`
    const whole = await smscOf(t)
    t.equal((await new Sending({ ...order, text }).run(await connectTo('127.0.0.1', whole.port), 5000)).length, 1)
    t.ok(whole.arrivals.has(9), 'out of message_payload')
    const cut = await smscOf(t, { loseReceipts: 3 })
    const fates = await new Sending({ ...order, text, parts: true }).run(await connectTo('127.0.0.1', cut.port), 400)
    t.same(
      fates.map(({ state }) => state),
      [messageState.DELIVERED, messageState.DELIVERED, null],
    )
  })
})

t.test('the pieces', async t => {
  t.test('an id says its serial number, and no two serial numbers have the same id', async t => {
    const buf = Buffer.alloc(MOST_ID_OCTETS)
    const id = (format: IdFormat, serial: number) => buf.latin1Slice(0, writeId(buf, 0, format, serial))
    const serials = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
    fc.assert(
      fc.property(
        serials,
        serial =>
          id('hex', serial) === serial.toString(16).toUpperCase().padStart(8, '0') &&
          id('decimal', serial) === String(serial) &&
          id('zero-padded', serial) === String(serial).padStart(20, '0'),
      ),
    )
    const seen = new Set<string>()
    for (let serial = 2 ** 32 - 5000; serial < 2 ** 32 + 5000; serial++) {
      seen.add(id('random', serial))
      seen.add(id('uuid', serial))
    }
    t.equal(seen.size, 20_000)
    t.match(id('random', 1), /^[\da-f]{16}$/)
    t.match(id('uuid', 1), /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/)
  })
  t.test('the ledger counts as a map of ids does, in whatever order answers and receipts come', async () => {
    const event = fc.record({ id: fc.integer({ min: 0, max: 40 }), answer: fc.boolean(), delivered: fc.boolean() })
    fc.assert(
      fc.property(fc.array(event, { maxLength: 200 }), events => {
        const ledger = new Ledger(0)
        const owners = new Map<number, number>()
        const receipts = new Map<number, boolean[]>()
        let reused = 0
        for (const [message, { id, answer, delivered }] of events.entries()) {
          const octets = Buffer.from(`x${id}`)
          if (answer) {
            if (owners.has(id)) reused++
            else owners.set(id, message)
            ledger.accepted(octets, 1, octets.length, message)
            continue
          }
          const earlier = receipts.get(id) ?? []
          const first = ledger.receipt(octets, 1, octets.length, message, delivered)
          assert.equal(first, earlier.length === 0 ? (owners.get(id) ?? -1) : -1)
          receipts.set(id, [...earlier, delivered])
        }
        const ours = [...receipts].filter(([id]) => owners.has(id)).map(([, all]) => all)
        const { matched, delivered, doubled, unexpected } = ledger
        assert.deepEqual(
          { matched, delivered, doubled, unexpected, reused: ledger.reused },
          {
            matched: ours.length,
            delivered: ours.filter(([first]) => first).length,
            doubled: ours.flat().length - ours.length,
            unexpected: [...receipts.values()].flat().length - ours.flat().length,
            reused,
          },
        )
      }),
    )
  })
  t.test('the ledger grows past what it was made for', async t => {
    const ledger = new Ledger(0)
    const id = Buffer.alloc(MOST_ID_OCTETS)
    for (let message = 0; message < 50_000; message++) {
      const end = writeId(id, 0, 'decimal', message)
      const early = message % 2 === 0
      if (early) ledger.receipt(id, 0, end, message * 3, true)
      assert.equal(ledger.accepted(id, 0, end, message), early ? message * 3 : -1)
    }
    const end = writeId(id, 0, 'decimal', 1)
    t.equal(ledger.receipt(id, 0, end, 0, false), 1)
    t.match(ledger, { matched: 25_001, delivered: 25_000, doubled: 0, unexpected: 0, reused: 0 })
  })
  t.test('a quantile is within half a percent', async t => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.01, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 500 }),
        values => {
          const latencies = new Latencies()
          for (const value of values) latencies.add(value)
          const sorted = values.toSorted((a, b) => a - b)
          const { p50, p99, max } = latencies.quantiles()
          for (const [share, found] of [
            [0.5, p50],
            [0.99, p99],
          ] as const) {
            const exact = sorted[Math.ceil(share * sorted.length) - 1] as number
            assert.ok(Math.abs(found - exact) <= exact * 0.005 + 0.001, `${found} for ${exact}`)
          }
          assert.ok(Math.abs(max - (sorted.at(-1) as number)) <= 0.001)
        },
      ),
    )
    t.same(new Latencies().quantiles(), { p50: 0, p90: 0, p99: 0, p999: 0, max: 0 })
  })
  t.test('a serial number is found wherever it stands, in one octet a character or two', async t => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 999_999_999 }), fc.string({ maxLength: 20 }), (serial, before) => {
        const text = Buffer.from(`${before}seq=000000000 after`, 'utf16le').swap16()
        const digitsAt = (before.length + 4) * 2 + 1
        writeDigits(text, digitsAt, 9, 2, serial)
        assert.equal(readSerial(text, true), serial)
        const narrow = Buffer.from(text.filter((_, at) => at % 2 === 1))
        assert.equal(readSerial(narrow, false), serial)
      }),
    )
    for (const without of ['', 'seq=', 'seq=x', 'sequence 1']) t.equal(readSerial(Buffer.from(without), false), -1)
  })
  t.test('arrivals are a byte each, and a second one is no first', async t => {
    const dir = mkdtempSync(join(tmpdir(), 'tools-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    const arrivals = new Arrivals()
    for (const serial of [0, 65_535, 65_536, 200_000, 0, -1]) arrivals.note(serial)
    t.match(arrivals, { unique: 4, doubled: 1, unnumbered: 1 })
    arrivals.write(join(dir, 'dump'))
    const bytes = readFileSync(join(dir, 'dump'))
    t.equal(bytes.length, 200_001)
    t.same(
      [...bytes.entries()].filter(([, byte]) => byte === 1).map(([at]) => at),
      [0, 65_535, 65_536, 200_000],
    )
  })
  t.test('a status of the standard is explained, one of the other side’s own is shown', async t => {
    t.match(explained(status.ESME_RTHROTTLED), /^ESME_RTHROTTLED \(0x58\): /)
    t.equal(explained(0x400), '0x400, a status of its own')
  })
})

t.test('commands', async t => {
  interface Ended {
    code: number | null
    out: string
    err: string
  }
  const start = (...args: string[]): ChildProcess =>
    spawn(process.execPath, [entry, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = async (child: ChildProcess): Promise<Ended> => {
    const said = { out: '', err: '' }
    child.stdout?.on('data', data => {
      said.out += data
    })
    child.stderr?.on('data', data => {
      said.err += data
    })
    const [code] = (await once(child, 'close')) as [number | null]
    return { code, ...said }
  }
  const trunkline = (...args: string[]) => ended(start(...args))
  /** A `simulate` on a free port: `stop` resolves with how it ended. */
  const simulate = async (t: Test, ...args: string[]) => {
    const child = start('simulate', '--port', '0', '--json', ...args)
    t.teardown(() => child.kill('SIGKILL'))
    const end = ended(child)
    let said = ''
    while (!/:(\d+);/.test(said)) said += String((await once(child.stderr as NodeJS.ReadableStream, 'data'))[0])
    return {
      port: (/:(\d+);/.exec(said) as RegExpExecArray)[1] as string,
      stop: async (signal: NodeJS.Signals = 'SIGTERM') => {
        child.kill(signal)
        const { code, out } = await end
        return { code, figures: JSON.parse(out) as Record<string, number> }
      },
    }
  }

  t.test('load and simulate agree, in their JSON, their dumps and the ids', async t => {
    const dir = mkdtempSync(join(tmpdir(), 'tools-'))
    t.teardown(() => rmSync(dir, { recursive: true }))
    const file = (name: string) => join(dir, name)
    const { port, stop } = await simulate(t, '--fail-every', '10', '--dump', file('arrived'))
    const args = ['--port', port, '--count', '1000', '--ids', file('ids'), '--dump', file('answered'), '--json']
    const { code, out } = await trunkline('load', ...args)
    t.equal(code, 1)
    t.match(JSON.parse(out), { mode: 'load', accepted: 900, refused: 100, faults: ['100 messages were refused'] })
    const simulated = await stop()
    t.equal(simulated.code, 0)
    t.match(simulated.figures, { binds: 1, submits: 1000, unique: 900, failed: 100, receipts_acked: 900, resent: 0 })
    const answered = readFileSync(file('answered'))
    const arrived = readFileSync(file('arrived'))
    t.same(
      [...answered].map(byte => byte === 2),
      Array.from(answered, (_, at) => arrived[at] === 1),
    )
    const lines = readFileSync(file('ids'), 'latin1').trim().split('\n')
    const of = (letter: string) => lines.filter(line => line[0] === letter).map(line => line.slice(2))
    t.equal(new Set(of('A')).size, 900)
    t.same(of('R').sort(), of('A').sort())
  })
  t.test('load prints a table and ends with 0 when nothing failed', async t => {
    const { port, stop } = await simulate(t)
    const { code, out } = await trunkline('load', '--port', port, '--count', '1200', '--binds', '2', '--retry')
    t.equal(code, 0)
    t.match(out, /accepted +│ +1,200 │ +[\d,]+\/s/)
    t.match(out, /receipts missing +│ +0/)
    t.match(out, /submit_sm_resp +│ +[\d.]+ │/)
    t.match(await stop('SIGINT'), { code: 0, figures: { mode: 'simulate', unique: 1200, dups: 0 } })
  })
  t.test('send says what it was given and what became of it', async t => {
    const { port, stop } = await simulate(t, '--fail-every', '4', '--fail-status', 'RSUBMITFAIL')
    const sent = (...args: string[]) => trunkline('send', '--port', port, '--to', '+254700000001', ...args)
    t.match(await sent('--text', 'Hello'), {
      code: 0,
      out: /^accepted [\dA-F]+ after [\d.]+ ms\nDELIVRD after [\d.]+ ms\n$/,
    })
    const json = await sent('--text', 'Привет', '--json')
    t.match(JSON.parse(json.out), { delivered: true, state: 'DELIVERED', stat: 'DELIVRD', err: '000' })
    t.match(await sent('--text', 'x', '--no-wait'), { code: 0, out: /^accepted \S+ after \S+ ms\n$/ })
    t.match(await sent('--text', 'x'), { code: 1, out: '', err: /refused: ESME_RSUBMITFAIL \(0x45\): / })
    await stop()
  })
  t.test('send ends with 1 when the message was not delivered, or nothing was heard', async t => {
    const { port, stop } = await simulate(t, '--receipt-state', 'UNDELIV', '--lose-receipts', '2')
    const sent = (...args: string[]) => trunkline('send', '--port', port, '--to', '1', '--text', 'x', ...args)
    t.match(await sent(), { code: 1, out: /\nUNDELIV, error 001 after / })
    t.match(await sent('--timeout', '0.5'), { code: 1, out: /\nno receipt within 0.5 s\n$/ })
    await stop()
  })
  t.test('where nobody answers, the sentence says where and what to do', async t => {
    const sentence = 'no daemon answers at 127.0.0.1:1: start it with npm start\n'
    t.match(await trunkline('send', '--port', '1', '--to', '1', '--text', 'x'), { code: 1, out: '', err: sentence })
    const { code, err } = await trunkline('load', '--port', '1', '--json')
    t.equal(code, 1)
    t.match(JSON.parse(err), { error: sentence.trim() })
  })
  t.test('bad usage ends with 2', async t => {
    const wrong = await Promise.all([
      trunkline('simulate', '--receipt-first', '--receipt-delay', '5'),
      trunkline('simulate', '--id-format', 'uuid', '--receipt-id-format', 'hex', '--fail-status', 'RTHROTTLED'),
      trunkline('load', '--to', 'abc'),
    ])
    t.same(
      wrong.map(({ code }) => code),
      [2, 2, 2],
    )
  })
})
