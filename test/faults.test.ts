// What a carrier may do wrong, one fault a carrier: what it had is not lost, what it may have got twice is counted, and
// who has another carrier feels nothing. And what becomes of a message that was sent and never answered, as its carrier
// wants it.

import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { encodePdu } from '../protocols/smpp/pdu.js'
import { status } from '../protocols/smpp/status.js'
import { tlv, writeTlvBytes } from '../protocols/smpp/tlv.js'
import { type Esme, esme, worker } from './support/esme.js'
import { type House, type HouseOptions, house, story } from './support/house.js'
import type { Script, Smsc, Submitted } from './support/smsc.js'
import { smsc } from './support/smsc.js'

t.jobs = 3

const numbers = (count: number): number[] => Array.from({ length: count }, (_, n) => n)
const texts = (all: readonly Submitted[]): number[] => all.map(sm => Number(sm.text)).sort((a, b) => a - b)
/** Texts that came more than once. */
const doubled = (all: readonly Submitted[]): number => all.length - new Set(texts(all)).size
const deliver = (sm: Submitted): void => sm.deliver()
const silent = (): void => {}

/** Receipts by the ids of their messages; each must come once. */
async function receiptsOf(t: Test, shop: Esme, count: number, ms?: number): Promise<Map<string, string>> {
  const stats = new Map<string, string>()
  for (let n = 0; n < count; n++) {
    const { id, stat } = (await shop.next(ms)).receipt
    if (stats.has(id)) t.fail(`${id} is reported twice`)
    stats.set(id, stat)
  }
  return stats
}

const tally = (stats: Iterable<string>): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const stat of stats) counts[stat] = (counts[stat] ?? 0) + 1
  return counts
}

const outcomes = (daemon: House, carrier: string, kind: string): Promise<number> =>
  daemon.metric('trunkline_carrier_outcomes_total', { carrier, kind })

const WINDOW = 10

story(
  'where `unsure` is `wait`, what was sent and not answered is never sent again, over a stop, a lost link and a kill',
  async t => {
    const once = await smsc(t, { submit: silent })
    const again = await smsc(t, { submit: silent })
    const settings = { window: WINDOW, responseMs: 60_000 }
    const daemon = await house(t, {
      carriers: { once: { at: once, ...settings, unsure: 'wait' }, again: { at: again, ...settings } },
      routes: [
        { match: { destination: '1' }, to: ['once'] },
        { match: { destination: '2' }, to: ['again'] },
      ],
      config: { stop: { drainMs: 100 } },
    })
    const shop = await esme(t, daemon.smpp)
    // Those that will be on their way in the three windows have an end to wait for.
    const send = (destination_addr: string, n: number) =>
      shop.submit({
        destination_addr,
        short_message: Buffer.from(String(n)),
        ...(destination_addr.startsWith('1') && n < 3 * WINDOW ? { validity_period: '000000000016000R' } : {}),
      })
    const ids = await Promise.all(
      ['12025550123', '22025550123'].map(async to =>
        (await Promise.all(numbers(60).map(n => send(to, n)))).map(({ message_id }) => message_id),
      ),
    )
    const windows = (count: number) =>
      Promise.all(
        [once, again].map(carrier => carrier.until(() => carrier.submitted.length >= count, `${count} submit_sm`)),
      )
    await windows(WINDOW)
    t.equal(await daemon.metric('trunkline_carrier_in_flight', { carrier: 'once' }), WINDOW, 'the window is kept to')
    await daemon.restart()
    await windows(2 * WINDOW)
    for (const carrier of [once, again]) carrier.link.drop()
    await windows(3 * WINDOW)
    t.equal(await daemon.metric('trunkline_carrier_events_total', { carrier: 'once', name: 'unsure_waits' }), WINDOW)
    t.equal(await outcomes(daemon, 'again', 'unsure'), WINDOW)
    await daemon.kill9()
    once.script.submit = deliver
    again.script.submit = deliver
    await daemon.start()
    const back = await esme(t, daemon.smpp)
    const stats = await receiptsOf(t, back, 120, 40_000)
    t.equal(doubled(once.submitted), 0)
    t.same(texts(once.submitted), numbers(60), 'each was sent, and none twice')
    t.same(tally((ids[0] as string[]).map(id => stats.get(id) ?? '')), {
      UNKNOWN: 3 * WINDOW,
      DELIVRD: 60 - 3 * WINDOW,
    })
    t.same(tally((ids[1] as string[]).map(id => stats.get(id) ?? '')), { DELIVRD: 60 })
    t.equal(doubled(again.submitted), 3 * WINDOW, 'at the other carrier each window was sent again')
    t.equal(await daemon.metric('trunkline_resent_after_crash_total'), WINDOW)
    t.equal(await daemon.metric('trunkline_events_total', { name: 'unsure_after_crash' }), WINDOW)
    const rows = await daemon.history(240)
    const ends = rows.filter(({ kind }) => kind === 'e')
    t.equal(ends.length, 120)
    const unsure = ends.filter(({ state, error }) => state === 7 && error === 'unsure')
    t.equal(unsure.length, 3 * WINDOW)
    t.ok(
      unsure.every(({ carrier }) => carrier !== 0),
      'the row names the carrier that may have it',
    )
    for (const left of ['waiting_messages', 'claimed_messages', 'sent_messages', 'due_messages'])
      t.equal(await daemon.metric(`trunkline_${left}`), 0, left)
  },
)

story(
  'what such a carrier does answer counts, late too, and what it has not taken goes again, part by part',
  async t => {
    const carrier = await smsc(t)
    const settings = { responseMs: 300, unsureMs: 60_000, enquireLinkMs: 60_000, longMessages: 'udh16' }
    const daemon = await house(t, {
      carriers: { up: { at: carrier, ...settings, unsure: 'wait' } },
      config: { retry: { transactional: { firstMs: 100, capMs: 200 } } },
    })
    const shop = await esme(t, daemon.smpp)
    await carrier.bound()
    const once = (fault: (sm: Submitted) => void): ((sm: Submitted) => void) => {
      let isFirst = true
      return sm => {
        if (!isFirst) return sm.deliver()
        isFirst = false
        fault(sm)
      }
    }
    const settled = async (stat: string): Promise<void> => {
      const { message_id } = await shop.submit()
      t.match((await shop.next()).receipt, { id: message_id, stat })
    }
    for (const fault of [status.ESME_RTHROTTLED, status.ESME_RSYSERR]) {
      const from = carrier.submitted.length
      carrier.script.submit = once(sm => sm.refuse(fault))
      await settled('DELIVRD')
      t.equal(carrier.submitted.length - from, 2)
    }
    carrier.script.submit = sm => sm.refuse(status.ESME_RINVDSTADR)
    await settled('REJECTD')
    let from = carrier.submitted.length
    carrier.script.submit = once(sm => sm.later(700, () => sm.deliver()))
    await settled('DELIVRD')
    t.equal(carrier.submitted.length - from, 1, 'late is not never')

    // Of three parts one is taken, one throttled, one never answered.
    from = carrier.submitted.length
    const seqOf = (sm: Submitted): number => sm.fields.short_message[6] as number
    carrier.script.submit = sm => {
      if (seqOf(sm) === 1) sm.deliver()
      else if (seqOf(sm) === 2) sm.refuse(status.ESME_RTHROTTLED)
    }
    const payload = Buffer.alloc(4 + 400, 'x')
    writeTlvBytes(payload, 0, tlv.message_payload, Buffer.alloc(400, 'x'))
    const { message_id } = await shop.submit(
      { short_message: Buffer.alloc(0), validity_period: '000000000008000R' },
      payload,
    )
    await carrier.until(() => carrier.submitted.length === from + 3, 'three parts')
    // What was answered must have been read when the connection goes.
    while ((await outcomes(daemon, 'up', 'throttled')) < 2);
    carrier.script.submit = deliver
    carrier.link.drop()
    await carrier.until(() => carrier.submitted.length === from + 4, 'the part that was not taken')
    t.match((await shop.next(30_000)).receipt, { id: message_id, stat: 'UNKNOWN', sub: '003', dlvrd: '002' })
    t.same(carrier.submitted.slice(from).map(seqOf), [1, 2, 3, 2])
    await settled('DELIVRD')
    t.equal(await daemon.metric('trunkline_sent_messages'), 0)
  },
)

/** A fault, and what becomes of the messages of its carrier. */
interface Fault {
  script: (carrier: Smsc) => Script
  settings?: object
  /** How all messages end; DELIVRD if not given. */
  stat?: string
  /** Messages that the carrier got twice, at least; none if not given. */
  twice?: true
  /** A counter of the daemon's that tells of it, at least once. */
  tells?: { metric?: string; name: string }
}

const COUNT = 30

/** Does it with the `nth` submit_sm only; what came before is answered after a moment, so that a window is open. */
const atOnce = (nth: number, fault: (sm: Submitted) => void) => (carrier: Smsc) => ({
  submit: (sm: Submitted) => {
    if (carrier.submitted.length === nth) fault(sm)
    else sm.later(10, deliver.bind(null, sm))
  },
})

const receiptOf = (sm: Submitted, text: string): Promise<unknown> =>
  sm.link
    .request(command.deliver_sm, {
      source_addr: sm.fields.destination_addr,
      destination_addr: sm.fields.source_addr,
      esm_class: 0x04,
      short_message: Buffer.from(text),
    })
    .catch(() => {})

const faults: Record<string, Fault> = {
  'drops the connection in the middle of a window': {
    script: atOnce(COUNT / 2, sm => sm.link.drop()),
    twice: true,
    tells: { name: 'link_closed' },
  },
  'stops reading in the middle of a window': {
    script: atOnce(COUNT / 2, sm => sm.link.stall()),
    settings: { enquireLinkMs: 200, responseMs: 700 },
    twice: true,
    tells: { name: 'link_closed' },
  },
  'answers after its time': {
    script: () => ({ submit: sm => sm.later(1_000, () => sm.deliver()) }),
    settings: { responseMs: 700, window: COUNT },
    tells: { name: 'answer_late' },
  },
  'takes long for each answer, and has them in time': {
    script: () => ({ submit: sm => sm.later(2_000, () => sm.deliver()) }),
    settings: { window: COUNT },
  },
  'answers under the numbers of other requests': {
    script: carrier => ({
      submit: sm => {
        if (carrier.submitted.length > COUNT) sm.deliver()
        else sm.link.write(encodePdu(command.submit_sm_resp, 0, sm.pdu.sequence + 1_000, { message_id: sm.ref }))
      },
    }),
    settings: { responseMs: 300, unsureMs: 1_000, window: COUNT },
    twice: true,
    tells: { metric: 'trunkline_carrier_responses_unmatched_total', name: '' },
  },
  'reports by ids that it never gave': {
    script: () => ({
      submit: sm => {
        sm.accept()
        void sm.receipt({ id: `not-${sm.ref}` }).catch(() => {})
      },
    }),
    stat: 'UNKNOWN',
    tells: { name: 'receipts_parked' },
  },
  'gives no message an id': { script: () => ({ submit: sm => sm.accept('') }), stat: 'ACCEPTD' },
  'reports before it answers': {
    script: () => ({
      submit: sm => {
        void sm.receipt().catch(() => {})
        sm.later(20, () => sm.accept())
      },
    }),
    tells: { name: 'receipts_parked' },
  },
  'reports twice': {
    script: () => ({
      submit: sm => {
        sm.deliver()
        void sm.receipt({ stat: 'UNDELIV' }).catch(() => {})
      },
    }),
    tells: { name: 'receipts_parked' },
  },
  'never reports': { script: () => ({ submit: sm => sm.accept() }), stat: 'UNKNOWN' },
  'reports in words that nobody knows': {
    script: () => ({
      submit: sm => {
        sm.accept()
        void receiptOf(sm, `<status message="${sm.ref}">arrived</status>`)
      },
    }),
    stat: 'UNKNOWN',
    tells: { name: 'receipt_unreadable' },
  },
  'throttles whatever comes in its first second': {
    script: () => {
      const from = performance.now()
      return { submit: sm => (performance.now() - from < 1_000 ? sm.refuse(status.ESME_RTHROTTLED) : sm.deliver()) }
    },
  },
}

story(
  'whatever one carrier does wrong, each message ends once, doubles are counted, and nobody else waits',
  async t => {
    const carriers: NonNullable<HouseOptions['carriers']> = { well: await smsc(t) }
    const routes: object[] = []
    const all: { name: string; what: string; fault: Fault; carrier: Smsc; to: string }[] = []
    for (const [what, fault] of Object.entries(faults)) {
      const name = `c${all.length}`
      const to = `3${String(all.length).padStart(2, '0')}`
      const carrier = await smsc(t)
      carriers[name] = { at: carrier, window: WINDOW, ...fault.settings }
      routes.push({ match: { destination: to }, to: [name] })
      all.push({ name, what, fault, carrier, to })
    }
    const daemon = await house(t, {
      accounts: { shop: {}, neighbour: {} },
      carriers,
      routes: [...routes, { to: ['well'] }],
      config: { spool: { receiptGraceMs: 500 } },
    })
    await Promise.all(all.map(({ carrier }) => carrier.bound()))
    const busy = await worker(t, daemon.smpp)
    const done = await Promise.all(
      all.map(async ({ fault, carrier, to }) => {
        carrier.script = fault.script(carrier)
        const shop = await esme(t, daemon.smpp, { systemId: 'neighbour', bind: 'transmitter' })
        const validity = fault.stat === 'UNKNOWN' ? { validity_period: '000000000003000R' } : {}
        return shop.submitAll(COUNT, { destination_addr: `${to}5550123`, ...validity })
      }),
    )
    const receiver = await esme(t, daemon.smpp, { systemId: 'neighbour', bind: 'receiver' })
    const stats = await receiptsOf(t, receiver, all.length * COUNT, 30_000)
    const { slowestMs } = await busy.stop()
    // A few milliseconds where nothing else is at work; what waited for another's carrier would take many seconds.
    const others = `the slowest of ${busy.ids.length} over another carrier took ${Math.round(slowestMs)} ms`
    t.ok(slowestMs < 4_000, others)

    for (const [n, { name, what, fault, carrier }] of all.entries()) {
      await t.test(`a carrier that ${what}`, async t => {
        const ids = (done[n] ?? []).map(({ message_id }) => message_id)
        t.same(tally(ids.map(id => stats.get(id) ?? 'none')), { [fault.stat ?? 'DELIVRD']: COUNT })
        t.same([...new Set(texts(carrier.submitted))], numbers(COUNT), 'it got each')
        const [unsure, throttled] = [await outcomes(daemon, name, 'unsure'), await outcomes(daemon, name, 'throttled')]
        const more = doubled(carrier.submitted)
        if (fault.twice) t.ok(unsure >= 1 && more >= 1, `${unsure} unsure, ${more} doubled`)
        else t.equal(unsure, 0, 'nothing is unsure')
        // What was on its way to it when the connection went it never got.
        t.ok(more <= unsure + throttled, `${more} came more than once, ${unsure} + ${throttled} are counted`)
        const sent = await daemon.metric('trunkline_carrier_sent_total', { carrier: name })
        const answers = await daemon.metric('trunkline_carrier_outcomes_total', { carrier: name })
        t.equal(answers, sent, 'each send has one outcome')
        if (fault.tells === undefined) return
        const { metric, name: event } = fault.tells
        const count =
          metric === undefined
            ? await daemon.metric('trunkline_events_total', { name: event })
            : await daemon.metric(metric, { carrier: name })
        t.ok(count > 0, `${metric ?? event} is counted`)
      })
    }
    const rows = await daemon.history(2 * (all.length * COUNT + busy.ids.length))
    t.equal(new Set(rows.map(({ id, kind }) => `${id}${kind}`)).size, rows.length)
    for (const left of ['waiting_messages', 'claimed_messages', 'sent_messages', 'due_messages', 'outbox_reports'])
      t.equal(await daemon.metric(`trunkline_${left}`), 0, left)
  },
)
