// Whole stories, the way out and the way back: the real daemon between a scripted customer and a scripted carrier.

import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { parseReceipt } from '../protocols/smpp/receipt.js'
import { status } from '../protocols/smpp/status.js'
import { findTlv, tlv, tlvString, tlvUint, writeTlvBytes } from '../protocols/smpp/tlv.js'
import { type Delivered, type Esme, type EsmeOptions, esme } from './support/esme.js'
import { type HistoryRow, house, story } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { minuteText } from './support/moment.js'
import type { Peer } from './support/peer.js'
import { type Script, type Smsc, type Submitted, smsc, submitSmResp } from './support/smsc.js'

// Most of their time is waiting.
t.jobs = 4

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')
const texts = (all: readonly Submitted[]): string[] => all.map(sm => sm.text)
const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n))

/** A submit_sm with that body, header included. */
function submitSm(sequence: number, body: Buffer): Buffer {
  const header = Buffer.alloc(16)
  header.writeUInt32BE(16 + body.length, 0)
  header.writeUInt32BE(command.submit_sm, 4)
  header.writeUInt32BE(sequence, 12)
  return Buffer.concat([header, body])
}

function payload(octets: Buffer): Buffer {
  const stream = Buffer.alloc(4 + octets.length)
  writeTlvBytes(stream, 0, tlv.message_payload, octets)
  return stream
}

/** Where a tale is told: one customer and one carrier of a daemon that others have theirs on. */
interface Room {
  readonly carrier: Smsc
  enter(t: Test, options?: EsmeOptions): Promise<Esme>
  /** The rows of those messages, once there are so many. */
  history(ids: readonly string[], enough: number): Promise<HistoryRow[]>
}

/** A {@link lodger} with one carrier; `settings` are the carrier's. */
function tale(title: string, script: Script, tell: (t: Test, room: Room) => Promise<void>, settings = {}): void {
  lodger(title, async t => {
    const carrier = await smsc(t, script)
    const home = await lodge(t, { carriers: { up: { at: carrier, ...settings } } })
    await tell(t, {
      carrier,
      enter: (t, options) => home.enter(t, options),
      history: async (ids, enough) => {
        const mine = (rows: HistoryRow[]) => rows.filter(row => ids.includes(row.id))
        return mine(await home.history(rows => mine(rows).length >= enough))
      },
    })
  })
}

tale(
  'a message that nobody took in its time is reported EXPIRED and never sent',
  {},
  async (t, { carrier, enter, history }) => {
    await carrier.bound()
    await carrier.close()
    const shop = await enter(t)
    const { message_id } = await shop.submit({ validity_period: '000000000001000R' })
    t.match((await shop.next()).receipt, { id: message_id, stat: 'EXPIRED', dlvrd: '000' })
    t.match((await history([message_id], 2))[1], { kind: 'e', state: 3, carrier: 0 })
    await carrier.open()
    const later = await shop.submit({ short_message: Buffer.from('later') })
    t.equal((await shop.next()).receipt.id, later.message_id)
    t.same(texts(carrier.submitted), ['later'])
  },
)

lodger('a message that the carrier cannot take now is tried again, and its customer hears only the end', async t => {
  let tries = 0
  const carrier = await smsc(t, {
    submit: sm => (tries++ === 0 ? sm.refuse(status.ESME_RSYSERR) : sm.deliver()),
  })
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const { message_id } = await shop.submit()
  t.match((await shop.next()).receipt, { id: message_id, stat: 'DELIVRD' })
  t.equal(tries, 2)
  t.equal((await daemon.history(2)).length, 2)
})

lodger('every field and TLV of a message reaches the carrier octet for octet, and its receipt names it', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const body = hex(`
    434d5400
    05 00 41636d6500
    01 01 34343737303039303031323300
    43 41 02
    00 00
    11 00 08 00
    16 050003aa0301 041f04400438043204350442 d83dde00
    0204 0002 beef
    020a 0002 1f90
    1400 0003 aabbcc
    1400 0000
    2fff 0001 00`)

  const { status: code, fields } = await shop.peer.send(7, submitSm(7, body))
  t.equal(code, 0)
  const { message_id } = fields as { message_id: string }
  t.match(message_id, /^\d{16}$/)
  const [sm] = await carrier.take(1)
  t.equal(sm?.pdu.octets.subarray(16).toString('hex'), body.toString('hex'))

  const [notice, report] = (await shop.take(2)) as [Delivered, Delivered]
  t.equal(notice.fields.esm_class, 0x20, 'it asked for intermediate notifications too')
  t.match(report.fields, {
    service_type: 'CMT',
    source_addr_ton: 1,
    source_addr_npi: 1,
    source_addr: '447700900123',
    dest_addr_ton: 5,
    dest_addr_npi: 0,
    destination_addr: 'Acme',
    esm_class: 0x04,
    data_coding: 0,
    registered_delivery: 0,
  })
  t.match(report.receipt, { id: message_id, sub: '001', dlvrd: '001', stat: 'DELIVRD', err: '000', text: '????????' })
  const { tlvs } = report.pdu
  const value = (tag: number): number => findTlv(tlvs, 0, tlvs.length, tag)
  t.equal(tlvString(tlvs, value(tlv.receipted_message_id)), message_id)
  t.equal(tlvUint(tlvs, value(tlv.message_state)), 2)
  t.equal(tlvUint(tlvs, value(tlv.user_message_reference)), 0xbeef)

  const rows = await daemon.history(2)
  t.match(rows, [
    { id: message_id, kind: 'a', state: 1, source: 'Acme', destination: '447700900123', error: '' },
    { id: message_id, kind: 'e', state: 2, source: 'Acme', destination: '447700900123', error: '000' },
  ])
})

lodger('each of 500 messages stands in history once when it is accepted and once when it has ended', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: { at: carrier, window: 100 } } })
  const shop = await daemon.enter(t)
  const ids = (await shop.submitAll(500)).map(one => one.message_id)
  await shop.take(500)
  const rows = await daemon.history(1000)
  t.equal(rows.length, 1000)
  t.same(
    rows.map(row => `${row.id} ${row.kind}`),
    [...ids].sort().flatMap(id => [`${id} a`, `${id} e`]),
  )
})

tale(
  'a long text is cut for the carrier and its customer gets one receipt, after the last of its parts',
  { submit: sm => sm.accept() },
  async (t, { carrier, enter, history }) => {
    const shop = await enter(t)
    const text = 'abcdefghij'.repeat(40)
    const { message_id } = await shop.submit({ short_message: Buffer.alloc(0) }, payload(Buffer.from(text)))

    const parts = await carrier.take(3)
    const heads = parts.map(part => part.fields.short_message.subarray(0, 6).toString('hex'))
    const reference = heads[0]?.slice(6, 8)
    t.same(
      heads,
      [1, 2, 3].map(n => `050003${reference}030${n}`),
    )
    t.equal(parts.map(part => part.fields.short_message.subarray(6).toString()).join(''), text)
    t.same(
      parts.map(part => part.fields.esm_class),
      [0x40, 0x40, 0x40],
    )

    const [first, second, third] = parts as [Submitted, Submitted, Submitted]
    t.equal(await third.receipt(), 0)
    t.equal(await first.receipt(), 0)
    const short = await shop.submit()
    t.equal(await (await carrier.next()).receipt(), 0)
    t.equal((await shop.next()).receipt.id, short.message_id, 'a short message is reported before it')
    t.equal(await second.receipt(), 0)
    t.match((await shop.next()).receipt, {
      id: message_id,
      sub: '003',
      dlvrd: '003',
      stat: 'DELIVRD',
      text: text.slice(0, 20),
    })
    t.equal((await history([message_id, short.message_id], 4)).length, 4)
  },
)

tale(
  'a long text of which one part fails is reported as failed, once, with the parts that arrived',
  { submit: sm => sm.accept() },
  async (t, { carrier, enter, history }) => {
    const shop = await enter(t)
    const { message_id } = await shop.submit({ short_message: Buffer.alloc(0) }, payload(Buffer.alloc(300, 'a')))
    const [first, second] = (await carrier.take(2)) as [Submitted, Submitted]
    await second.receipt()
    await first.receipt({ stat: 'UNDELIV', err: '042' })
    t.match((await shop.next()).receipt, { sub: '002', dlvrd: '001', stat: 'UNDELIV', err: '042' })
    const rows = await history([message_id], 2)
    t.match(rows[1], { kind: 'e', state: 5, segments: 2 })

    // The other way round, the part that arrived has the last word but not the decisive one.
    await shop.submit({ short_message: Buffer.alloc(0) }, payload(Buffer.alloc(300, 'b')))
    const [third, fourth] = (await carrier.take(2)) as [Submitted, Submitted]
    await third.receipt({ stat: 'UNDELIV', err: '043' })
    await fourth.receipt()
    t.match((await shop.next()).receipt, { stat: 'UNDELIV', err: '043' })
  },
)

lodger('a long text whose parts no carrier has taken is cut anew for the next carrier of its route', async t => {
  const first = await smsc(t, {
    submit: () => {
      if (first.submitted.length === 3) void first.close()
    },
  })
  const second = await smsc(t)
  const daemon = await lodge(t, {
    carriers: { first: { at: first, longMessages: 'udh16' }, second: { at: second, longMessages: 'payload' } },
  })
  await Promise.all([first.bound(), second.bound()])
  const shop = await daemon.enter(t)
  const text = 'abcdefghij'.repeat(40)
  const { message_id } = await shop.submit({ short_message: Buffer.alloc(0) }, payload(Buffer.from(text)))
  t.match((await shop.next()).receipt, { id: message_id, sub: '001', dlvrd: '001' })
  const whole = second.submitted.map(sm => [texts([sm])[0], sm.pdu.tlvs.toString('hex')])
  t.same(whole, [['', payload(Buffer.from(text)).toString('hex')]])
})

lodger('a long text of which a part was taken stays with its carrier, and only the other parts come again', async t => {
  const first = await smsc(t, {
    submit: sm => {
      if (first.connections > 1) sm.deliver()
      else if (first.submitted.length === 1) sm.accept()
      else if (first.submitted.length === 3) sm.link.drop()
    },
  })
  const second = await smsc(t)
  const daemon = await lodge(t, { carriers: { first, second } })
  await Promise.all([first.bound(), second.bound()])
  const shop = await daemon.enter(t)
  await shop.submit({ short_message: Buffer.alloc(0) }, payload(Buffer.alloc(400, 'a')))
  const three = await first.take(3)
  const again = await first.take(2)
  const heads = (all: Submitted[]) => all.map(sm => sm.fields.short_message.subarray(0, 6).toString('hex'))
  t.same(heads(again), heads(three).slice(1))
  t.equal(await (three[0] as Submitted).receipt({}, first.link), 0)
  t.match((await shop.next()).receipt, { sub: '003', dlvrd: '003', stat: 'DELIVRD' })
  t.equal(second.submitted.length, 0)
})

tale(
  'receipts that overtake their submit_sm_resp, by one write or by long, reach the customer once',
  {
    submit: sm => {
      if (Number(sm.text) % 2 === 0) {
        void sm.receipt()
        sm.link.write(submitSmResp(sm))
      } else void sm.receipt().then(() => sm.accept())
    },
  },
  async (t, { enter, history }) => {
    const shop = await enter(t)
    const ids = (await shop.submitAll(40)).map(one => one.message_id)
    const reported = (await shop.take(40)).map(one => one.receipt.id)
    t.same([...reported].sort(), [...ids].sort())
    t.equal((await history(ids, 80)).length, 80)
  },
  { window: 20 },
)

tale(
  'a receipt that comes twice is delivered once, and one that names no message of ours is taken',
  { submit: sm => sm.accept() },
  async (t, { carrier, enter }) => {
    const shop = await enter(t)
    const { message_id } = await shop.submit()
    const sm = await carrier.next()
    t.equal(await sm.receipt({ id: 'NOBODY' }), 0)
    t.equal(await sm.receipt(), 0)
    t.equal(await sm.receipt(), 0)
    const second = await shop.submit()
    await (await carrier.next()).receipt()
    t.same(
      (await shop.take(2)).map(one => one.receipt.id),
      [message_id, second.message_id],
    )
  },
)

tale(
  'a carrier that answers with hexadecimal ids and reports decimal ones is understood',
  { submit: sm => sm.accept('0001a2B3') },
  async (t, { carrier, enter }) => {
    const shop = await enter(t)
    const { message_id } = await shop.submit()
    const sm = await carrier.next()
    t.equal(await sm.receipt({ id: String(0x1a2b3) }), 0)
    t.match((await shop.next()).receipt, { id: message_id, stat: 'DELIVRD' })
  },
  { refs: 'hex-dec' },
)

tale(
  'a carrier may name a message in receipted_message_id and message_state alone',
  { submit: sm => sm.accept('ab-7') },
  async (t, { carrier, enter }) => {
    const shop = await enter(t)
    await shop.submit()
    const sm = await carrier.next()
    const tlvs = hex('001e 0005 61622d3700  0427 0001 05')
    await sm.link.request(command.deliver_sm, { source_addr: '1', destination_addr: '2', esm_class: 4 }, tlvs)
    t.match((await shop.next()).receipt, { stat: 'UNDELIV' })
  },
)

tale(
  'a receipt with a senseless message_state or an endless err is read by its text, and harms nobody',
  { submit: sm => sm.accept() },
  async (t, { carrier, enter }) => {
    const shop = await enter(t)
    for (const message_state of ['0427 0000', '0427 0002 0102', '0427 0001 63', '0427 0005 0102030405']) {
      const { message_id } = await shop.submit()
      const sm = await carrier.next()
      t.equal(await sm.receipt({ tlvs: hex(message_state), err: 'x'.repeat(100) }), 0)
      t.match((await shop.next()).receipt, { id: message_id, stat: 'DELIVRD' })
    }
  },
)

tale(
  'an intermediate notification is not the end of a message, whatever it says',
  { submit: sm => sm.accept() },
  async (t, { carrier, enter }) => {
    const shop = await enter(t)
    const { message_id } = await shop.submit()
    const sm = await carrier.next()
    const notice = { ...receiptOf(sm.ref, 'UNDELIV'), esm_class: 0x20 }
    t.equal((await sm.link.request(command.deliver_sm, notice)).status, 0)
    t.equal(await sm.receipt(), 0)
    t.match((await shop.next()).receipt, { id: message_id, stat: 'DELIVRD' })
  },
)

/** Fields of a receipt for `id`. */
function receiptOf(id: string, stat = 'DELIVRD') {
  const done = minuteText()
  const text = `id:${id} sub:001 dlvrd:001 submit date:${done} done date:${done} stat:${stat} err:000 text:`
  return { source_addr: '1', destination_addr: '2', esm_class: 4, short_message: Buffer.from(text) }
}

story('under a throttling carrier nothing is lost or doubled, and the other one does not wait', async t => {
  // It takes twenty, throttles all that is in flight, and goes on when the first of those comes again.
  const taken: string[] = []
  let held: string | undefined
  let throttled = 0
  const slow = await smsc(t, {
    submit: sm => {
      if (held === undefined && taken.length % 20 === 19 && !taken.includes(`tried ${sm.text}`)) held = sm.text
      if (held === sm.text && taken.includes(`tried ${held}`)) held = undefined
      if (held === undefined) {
        taken.push(sm.text)
        sm.deliver()
      } else {
        if (held === sm.text) taken.push(`tried ${held}`)
        throttled++
        sm.refuse(status.ESME_RTHROTTLED)
      }
    },
  })
  const quick = await smsc(t)
  const daemon = await house(t, {
    carriers: { slow: { at: slow, window: 8 }, quick: { at: quick, window: 8 } },
    routes: [
      { match: { destination: '44' }, to: ['slow'] },
      { match: {}, to: ['quick'] },
    ],
  })
  const shop = await esme(t, daemon.smpp)
  const count = 120
  const toSlow = shop.submitAll(count, { destination_addr: '447700900123' })
  await toSlow
  await slow.until(() => throttled > 0, 'a throttled answer')
  const before = taken.length
  await shop.submitAll(200)
  await quick.until(() => quick.submitted.length === 200, 'all messages for the quick carrier')
  t.ok(taken.length < count, `the slow one has taken ${before}, then ${taken.length}`)
  const reports = await shop.take(count + 200)
  t.same(
    taken.filter(text => !text.startsWith('tried')).sort((a, b) => Number(a) - Number(b)),
    numbers(count),
    // What was first sent between two refusals of one window may overtake the second.
    'each of them once',
  )
  t.equal(new Set(reports.map(one => one.receipt.id)).size, count + 200)
  t.ok(throttled >= 5, `${throttled} throttled answers`)
})

tale(
  'a message that the carrier refuses is reported REJECTD with its code, and not tried again',
  { submit: sm => sm.refuse(status.ESME_RINVDSTADR) },
  async (t, { carrier, enter, history }) => {
    const shop = await enter(t)
    const { message_id } = await shop.submit()
    t.match((await shop.next()).receipt, { id: message_id, stat: 'REJECTD', err: '011', sub: '001', dlvrd: '000' })
    t.match((await history([message_id], 2))[1], { kind: 'e', state: 8, error: 'ESME_RINVDSTADR' })
    t.equal(carrier.submitted.length, 1)
  },
)

lodger('messages in flight when a link is lost are sent again, the others once, and each is reported once', async t => {
  const carrier = await smsc(t, {
    submit: sm => {
      // The twentieth of the first link takes the link with it, all of its window unanswered.
      if (carrier.connections > 1 || carrier.submitted.length <= 10) sm.deliver()
      else if (carrier.submitted.length === 20) sm.link.drop()
    },
  })
  const daemon = await lodge(t, { carriers: { up: { at: carrier, window: 10 } } })
  const shop = await daemon.enter(t)
  const ids = (await shop.submitAll(50)).map(one => one.message_id)
  const reports = await shop.take(50)
  t.same(reports.map(one => one.receipt.id).sort(), [...ids].sort())
  t.same([...new Set(texts(carrier.submitted))], numbers(50), 'in order')
  t.equal(carrier.submitted.length, 60, 'ten were in flight, and ten came twice')
  t.equal((await daemon.history(100)).length, 100)
})

story('an answer that comes too late counts, and only one that never comes makes the message go again', async t => {
  const carrier = await smsc(t, {
    submit: sm => {
      if (sm.text === 'late') sm.later(2_000, () => sm.deliver())
      else if (carrier.submitted.filter(other => other.text === 'never').length === 2) sm.deliver()
    },
  })
  const daemon = await house(t, { carriers: { up: { at: carrier, responseMs: 1_000, unsureMs: 3_000 } } })
  const shop = await esme(t, daemon.smpp)
  await carrier.bound()
  const late = await shop.submit({ short_message: Buffer.from('late') })
  t.equal((await shop.next()).receipt.id, late.message_id)
  const never = await shop.submit({ short_message: Buffer.from('never') })
  t.equal((await shop.next()).receipt.id, never.message_id)
  t.same(texts(carrier.submitted), ['late', 'never', 'never'])
  t.equal(await daemon.metric('trunkline_events_total', { name: 'answer_late' }), 2)
  t.same(daemon.lines('carrier link closed'), [])
})

tale(
  'messages wait in order while their carrier is down and go when it comes back',
  {},
  async (t, { carrier, enter }) => {
    await carrier.bound()
    await carrier.close()
    const shop = await enter(t)
    await shop.submitAll(30)
    t.equal(carrier.submitted.length, 0)
    await carrier.open()
    t.equal((await shop.take(30)).length, 30)
    t.same(texts(carrier.submitted), numbers(30))
  },
  { window: 5 },
)

lodger('a carrier that unbinds is left in order and bound again, without a message sent twice', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: { at: carrier, window: 5 } } })
  await carrier.bound()
  const shop = await daemon.enter(t)
  const all = shop.submitAll(100)
  await carrier.until(() => carrier.submitted.length >= 20, 'some messages')
  await carrier.unbind()
  await all
  await shop.take(100)
  t.same(texts(carrier.submitted), numbers(100))
  t.ok(carrier.connections > 1)
  t.match(await daemon.line('carrier link closed'), { reason: 'unbound by peer' })
})

lodger('a carrier that falls silent is given up, and what it held is sent again', async t => {
  let silent: Peer | undefined
  const carrier = await smsc(t, {
    submit: sm => {
      silent ??= sm.link
      if (sm.link === silent) silent.stall()
      else sm.deliver()
    },
  })
  const settings = { enquireLinkMs: 200, responseMs: 700, unsureMs: 60_000 }
  const daemon = await lodge(t, { carriers: { up: { at: carrier, ...settings } } })
  const shop = await daemon.enter(t)
  await shop.submitAll(3)
  t.equal((await shop.take(3)).length, 3)
  t.match(await daemon.line('carrier link closed'), { reason: 'link silent' })
})

story('a carrier that refuses our password is left alone, one that refuses the bind is tried again', async t => {
  const strict = await smsc(t, { bind: ({ password }) => (password === 'up' ? status.ESME_RINVPASWD : 0) })
  const busy = await smsc(t, { bind: () => (busy.connections < 4 ? status.ESME_RBINDFAIL : 0) })
  const daemon = await house(t, {
    carriers: { strict, busy },
    expected: /credentials/,
  })
  await busy.bound()
  t.equal(busy.connections, 4)
  const line = await daemon.line('carrier refuses our credentials')
  t.match(line, { carrier: 'strict', reason: 'refused: ESME_RINVPASWD' })
  t.ok((line.retryMs as number) >= 60_000)
  t.equal(strict.connections, 1)
})

lodger('the second carrier of a route serves only while the first is down', async t => {
  const first = await smsc(t)
  const second = await smsc(t)
  const daemon = await lodge(t, { carriers: { first, second } })
  await Promise.all([first.bound(), second.bound()])
  const shop = await daemon.enter(t)
  await shop.submitAll(10)
  await shop.take(10)
  t.same([first.submitted.length, second.submitted.length], [10, 0])

  let from = daemon.log.length
  await first.close()
  await daemon.line('carrier link closed', from)
  await shop.submitAll(10)
  await shop.take(10)
  t.same([first.submitted.length, second.submitted.length], [10, 10])

  from = daemon.log.length
  await first.open()
  await daemon.line('carrier bound', from)
  await shop.submitAll(10)
  await shop.take(10)
  t.same([first.submitted.length, second.submitted.length], [20, 10])
})

lodger('weights share out a route, parts of a text stay together, and who is up serves for who is down', async t => {
  const [heavy, light] = [await smsc(t), await smsc(t)]
  const daemon = await lodge(t, {
    carriers: { heavy: { at: heavy, window: 50 }, light: { at: light, window: 50 } },
    routes: [
      {
        to: [
          { carrier: 'heavy', weight: 3 },
          { carrier: 'light', weight: 1 },
        ],
      },
    ],
  })
  await Promise.all([heavy.bound(), light.bound()])
  const shop = await daemon.enter(t)
  const to = (n: number): string => `1202555${String(n).padStart(4, '0')}`
  const send = (count: number) =>
    Promise.all(Array.from({ length: count }, (_, n) => shop.submit({ destination_addr: to(n) })))
  await send(400)
  await shop.take(400)
  const share = light.submitted.length / 400
  t.ok(share > 0.18 && share < 0.32, `the light one has ${share}`)

  const mark = light.submitted.length
  const concatenated = numbers(60).flatMap(n =>
    [1, 2, 3].map(part => ({
      destination_addr: to(5_000),
      esm_class: 0x40,
      short_message: hex(`050003${Number(n).toString(16).padStart(2, '0')}030${part}61`),
    })),
  )
  await Promise.all(concatenated.map(fields => shop.submit(fields)))
  await shop.take(180)
  const references = new Map<number, number>()
  for (const sm of light.submitted.slice(mark)) {
    const reference = sm.fields.short_message[3] as number
    references.set(reference, (references.get(reference) ?? 0) + 1)
  }
  t.ok(references.size > 0 && references.size < 60, `${references.size} of 60 texts over the light one`)
  t.ok([...references.values()].every(count => count === 3))

  const [before, from] = [heavy.submitted.length, daemon.log.length]
  await light.close()
  await daemon.line('carrier link closed', from)
  await send(100)
  await shop.take(100)
  t.equal(heavy.submitted.length - before, 100)
})

lodger('a receipt that the customer cannot take now comes again; one it rejects does not, and is counted', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const answers = [status.ESME_RX_T_APPN, status.ESME_RX_R_APPN]
  const shop = await daemon.enter(t, { answer: () => answers.shift() ?? status.ESME_ROK })
  const first = await shop.submit()
  t.same(
    (await shop.take(2)).map(one => one.receipt.id),
    [first.message_id, first.message_id],
  )
  const second = await shop.submit()
  t.equal((await shop.next()).receipt.id, second.message_id)
  await shop.unbind()
  const again = await daemon.enter(t)
  t.same([shop.delivered.length, again.delivered.length], [3, 0])
  t.equal(await daemon.metric('trunkline_events_total', { name: 'reports_refused' }), 1)
})

tale(
  'a receipt that was not answered when the connection went comes again over the next one',
  {},
  async (t, { enter }) => {
    const shop = await enter(t, { answer: () => undefined })
    const { message_id } = await shop.submit()
    await shop.next()
    shop.peer.drop()
    const again = await enter(t)
    t.equal((await again.next()).receipt.id, message_id)
  },
)

story('receipts that one bind has not answered when it goes come at once over another bind of the account', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 50 } }, config: { smpp: { window: 50 } } })
  const silent = await esme(t, daemon.smpp, { answer: () => undefined })
  const ids = (await silent.submitAll(40)).map(one => one.message_id)
  for (const sm of await carrier.take(40)) await sm.receipt()
  await silent.take(40)
  const other = await esme(t, daemon.smpp)
  silent.peer.drop()
  t.same(
    (await other.take(40)).map(one => one.receipt.id),
    ids,
  )
})

lodger('a message from a phone reaches the owner of its number octet for octet, else the unclaimed queue', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, {
    accounts: { shop: { numbers: ['12025550100'] }, other: {} },
    carriers: { up: carrier },
  })
  await carrier.bound()
  const shop = await daemon.enter(t)
  const other = await daemon.enter(t, { systemId: 'other' })
  const fields = {
    service_type: 'CMT',
    source_addr_ton: 1,
    source_addr_npi: 1,
    source_addr: '447700900123',
    dest_addr_ton: 2,
    dest_addr_npi: 8,
    destination_addr: '12025550100',
    esm_class: 0x40,
    protocol_id: 0x2a,
    priority_flag: 1,
    data_coding: 8,
    short_message: hex('050003010101 0041d83dde00'),
  }
  const tlvs = hex('0204 0002 1234  1400 0002 cafe')
  t.equal(await carrier.mobileOriginated(fields, tlvs), 0)
  const { fields: got, pdu } = await shop.next()
  t.match(got, fields)
  t.equal(pdu.tlvs.toString('hex'), tlvs.toString('hex'))

  const long = Buffer.alloc(400, 'x')
  t.equal(await carrier.mobileOriginated({ source_addr: '1', destination_addr: '+12025550100' }, payload(long)), 0)
  const second = await shop.next()
  t.equal(second.pdu.tlvs.toString('hex'), payload(long).toString('hex'))

  t.equal(await carrier.mobileOriginated({ ...fields, destination_addr: '12025550199' }), 0)
  t.equal(await daemon.metric('trunkline_unclaimed_replies'), 1)
  t.same([shop.delivered.length, other.delivered.length], [2, 0])
})

tale(
  'a peer that binds as version 3.3 is sent no TLVs, and is told of messages all the same',
  {},
  async (t, { carrier, enter }) => {
    const shop = await enter(t, { interfaceVersion: 0x33 })
    const { message_id } = await shop.submit()
    const { receipt, pdu } = await shop.next()
    t.equal(receipt.id, message_id)
    t.equal(pdu.tlvs.length, 0)
    t.match(parseReceipt((await carrier.next()).fields.short_message), undefined)
  },
)

lodgersOn('customers with carriers of their own are on one daemon as if each were alone')

lodger('a scheduled message waits for its time, over a restart, and lets others pass', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const from = performance.now()
  await shop.submit({ schedule_delivery_time: '000000000004000R', short_message: Buffer.from('later') })
  await shop.submit({ short_message: Buffer.from('now') })
  await shop.next()
  await daemon.again('stop')
  const sm = (await carrier.take(2))[1] as Submitted
  const waited = performance.now() - from
  t.equal(sm.text, 'later')
  t.ok(waited >= 3_900, `it came after ${Math.round(waited)} ms`)
})

lodger('receipts wait while the customer is away and come in order to whatever receiver binds next', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  const daemon = await lodge(t, { carriers: { up: { at: carrier, window: 50 } } })
  const sender = await daemon.enter(t, { bind: 'transmitter' })
  const ids = (await sender.submitAll(40)).map(one => one.message_id)
  const messages = await carrier.take(40)
  for (const sm of messages.slice(0, 20)) t.equal(await sm.receipt(), 0)
  t.equal(sender.delivered.length, 0, 'a transmitter gets none')
  await sender.unbind()
  await daemon.again('stop')
  await carrier.bound()
  for (const sm of messages.slice(20)) t.equal(await sm.receipt({}, carrier.link), 0)
  const receiver = await daemon.enter(t, { bind: 'receiver' })
  t.same(
    (await receiver.take(40)).map(one => one.receipt.id),
    ids,
  )
})

lodgersOn('what waits, to go or to be told of, outlives a restart')
