// The way back, told against the real daemon: receipts as carriers send them, receipts as customers want them, what an
// ESME may answer to them, and messages from phones in parts.

import t from 'tap'
import { buildConcatUdh } from '../protocols/gsm/udh.js'
import { command } from '../protocols/smpp/commands.js'
import { encodePdu } from '../protocols/smpp/pdu.js'
import { status } from '../protocols/smpp/status.js'
import { findTlv, tlv, tlvBytes, tlvString, tlvUint, writeTlvBytes } from '../protocols/smpp/tlv.js'
import { type Delivered, type Esme, esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { minuteText } from './support/moment.js'
import { type Submitted, smsc } from './support/smsc.js'

t.jobs = 4

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')

function tlvOf(tag: number, value: Buffer): Buffer {
  const stream = Buffer.alloc(4 + value.length)
  writeTlvBytes(stream, 0, tag, value)
  return stream
}
const named = (id: string): Buffer => tlvOf(tlv.receipted_message_id, Buffer.from(`${id}\0`))
const words = (id: string, stat = 'DELIVRD', err = '000', done = minuteText()): Buffer =>
  Buffer.from(`id:${id} sub:001 dlvrd:001 submit date:${done} done date:${done} stat:${stat} err:${err} text:`)
const textOf = ({ fields }: Delivered): string => fields.short_message.toString('latin1')
const fieldOf = (one: Delivered, key: string): string => new RegExp(`\\b${key}:(\\S*)`).exec(textOf(one))?.[1] ?? ''
const valueAt = ({ pdu: { tlvs } }: Delivered, tag: number): number => findTlv(tlvs, 0, tlvs.length, tag)
const accepting = { submit: (sm: Submitted) => sm.accept() }
/** A text of so many parts, as message_payload. */
const long = (parts: number): Buffer => tlvOf(tlv.message_payload, Buffer.alloc(153 * parts, 'a'))
const longText = { short_message: Buffer.alloc(0) }

lodger('a carrier’s receipt is understood in whatever PDU, bits, octets and base it comes', async t => {
  const carrier = await smsc(t, accepting)
  const daemon = await lodge(t, {
    carriers: { up: { at: carrier, textReceipts: true, refs: 'either' } },
    accounts: { shop: { numbers: ['1000'] } },
  })
  const shop = await daemon.enter(t)
  let serial = 0x1d305b4c
  const send = async (
    how: (sm: Submitted) => { esm_class: number; short_message?: Buffer; tlvs?: Buffer; data?: true },
  ) => {
    const { message_id } = await shop.submit()
    const sm = await carrier.next()
    const { tlvs, data, ...fields } = how(sm)
    const from = { source_addr: '12025550123', destination_addr: '1000' }
    const answer = await (data
      ? sm.link.request(command.data_sm, { ...from, esm_class: fields.esm_class }, tlvs)
      : sm.link.request(command.deliver_sm, { ...from, ...fields }, tlvs))
    t.equal(answer.status, 0)
    t.match((await shop.next()).receipt, { id: message_id, stat: 'UNDELIV', err: '011' })
  }
  carrier.script.submit = sm => sm.accept((++serial).toString(16))
  const body = ({ ref }: Submitted): Buffer => words(ref, 'UNDELIV', '011')
  const payload = (sm: Submitted): Buffer => tlvOf(tlv.message_payload, body(sm))
  const wide = (sm: Submitted): Buffer => Buffer.from(body(sm).toString(), 'utf16le').swap16()
  const decimal = ({ ref }: Submitted): Buffer => words(`0${Number.parseInt(ref, 16)}`, 'UNDELIV', '011')
  await send(sm => ({ esm_class: 0x04, tlvs: payload(sm) }))
  await send(sm => ({ esm_class: 0x04, data: true, tlvs: payload(sm) }))
  await send(sm => ({ esm_class: 0x24, short_message: body(sm) }))
  await send(sm => ({ esm_class: 0x44, short_message: Buffer.concat([hex('0500030a0101'), body(sm)]) }))
  await send(sm => ({ esm_class: 0x00, short_message: body(sm) }))
  await send(sm => ({ esm_class: 0x04, data_coding: 8, short_message: wide(sm) }))
  await send(sm => ({ esm_class: 0x04, short_message: decimal(sm) }))
  await send(sm => ({ esm_class: 0x04, short_message: body(sm), tlvs: named('NOBODY') }))
  await send(sm => ({ esm_class: 0x04, short_message: words('NOBODY', 'UNDELIV', '011'), tlvs: named(sm.ref) }))
  t.equal(await daemon.metric('trunkline_events_total', { name: 'receipts_by_other_id' }), 2)

  // Before the answer, under another name than the answer has.
  carrier.script.submit = sm => {
    sm.ref = (++serial).toString(16)
    const fields = { source_addr: '1', destination_addr: '2', esm_class: 4, short_message: decimal(sm) }
    void sm.link.request(command.deliver_sm, fields).then(() => sm.accept(sm.ref))
  }
  const { message_id } = await shop.submit()
  t.match((await shop.next()).receipt, { id: message_id, stat: 'UNDELIV' })
})

lodger('a network’s own error code reaches the customer, in err and in network_error_code', async t => {
  const carrier = await smsc(t, accepting)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const cases = [
    ['08012f', '000', '303', '08012f'],
    ['303334', '000', '034', '030022'],
    ['030022', '21b', '21b', '030022'],
  ] as const
  for (const [octets, err, told, sent] of cases) {
    const { message_id } = await shop.submit({}, hex('0204 0002 beef'))
    const sm = await carrier.next()
    await sm.receipt({ stat: 'UNDELIV', err, tlvs: tlvOf(tlv.network_error_code, hex(octets)) })
    const report = await shop.next()
    t.match(report.receipt, { id: message_id, stat: 'UNDELIV', err: told })
    const { tlvs } = report.pdu
    t.equal(tlvBytes(tlvs, valueAt(report, tlv.network_error_code)).toString('hex'), sent)
    t.equal(tlvString(tlvs, valueAt(report, tlv.receipted_message_id)), message_id)
    t.equal(tlvs[valueAt(report, tlv.receipted_message_id) + 16], 0, 'with its NUL')
    t.equal(tlvUint(tlvs, valueAt(report, tlv.message_state)), 5)
    t.equal(tlvUint(tlvs, valueAt(report, tlv.user_message_reference)), 0xbeef)
  }
})

lodger('a carrier’s odd answers are read: an id beside an error, codes of its own, a generic_nack', async t => {
  const carrier = await smsc(t, {
    submit: sm => {
      const header = (id: number, code: number, body = '') => {
        const pdu = Buffer.concat([encodePdu(id as 0x80000004, code, sm.pdu.sequence, {}).subarray(0, 16), hex(body)])
        pdu.writeUInt32BE(pdu.length, 0)
        sm.link.write(pdu)
      }
      const again = carrier.submitted.filter(({ text }) => text === sm.text).length > 1
      if (sm.text === 'id') header(command.submit_sm_resp, status.ESME_RINVDSTADR, '4f4b3100')
      else if (sm.text === 'own') header(command.submit_sm_resp, 0x400)
      else if (sm.text === 'nack') header(command.generic_nack, status.ESME_RINVCMDID)
      else if (again) sm.deliver()
      else if (sm.text === 'unknown') header(command.submit_sm_resp, 0x22, '00')
      else if (sm.text === 'slow') header(command.generic_nack, status.ESME_RTHROTTLED)
    },
  })
  const daemon = await lodge(t, { carriers: { up: { at: carrier, statuses: { '0x400': 'refused' } } } })
  const shop = await daemon.enter(t)
  const ends = new Map<string, string>()
  for (const text of ['id', 'own', 'nack', 'unknown', 'slow']) {
    const { message_id } = await shop.submit({ short_message: Buffer.from(text) })
    ends.set(message_id, text)
  }
  const told = (await shop.take(5)).map(({ receipt }) => `${ends.get(receipt.id)} ${receipt.stat} ${receipt.err}`)
  t.same(told.sort(), [
    'id REJECTD 011',
    'nack REJECTD 003',
    'own REJECTD 1024',
    'slow DELIVRD 000',
    'unknown DELIVRD 000',
  ])
  t.same(daemon.lines('carrier link closed'), [])
})

lodger('each carrier is told validity, service_type and wishes as it takes them, and no TLV before v3.4', async t => {
  const [plain, absolute, old] = [await smsc(t), await smsc(t), await smsc(t)]
  const daemon = await lodge(t, {
    carriers: {
      plain: { at: plain },
      absolute: { at: absolute, validity: 'absolute', serviceType: 'GW', registeredDelivery: 0 },
      old: { at: old, validity: 'never', interfaceVersion: 0x33, longMessages: 'payload' },
    },
    routes: [
      { match: { destination: '1' }, to: ['plain'] },
      { match: { destination: '2' }, to: ['absolute'] },
      { match: { destination: '3' }, to: ['old'] },
    ],
  })
  const shop = await daemon.enter(t)
  const fields = { service_type: 'WAP', validity_period: '000007000000000R', registered_delivery: 0x1d }
  const send = async (to: string, more = {}) => {
    t.equal((await shop.submit({ ...fields, destination_addr: to, ...more }, hex('0204 0002 0001'))).status, 'ESME_ROK')
  }
  const before = Date.now()
  await send('1202555')
  const first = await plain.next()
  t.match(first.fields, { service_type: 'WAP', registered_delivery: 0x1d })
  t.match(first.fields.validity_period, /^0000(07000000|06235959|06235958)000R$/, 'days stand in their own field')
  await send('1202555', { validity_period: '' })
  t.equal((await plain.next()).fields.validity_period, '', 'our own default is nobody’s business')
  await send('2202555')
  const second = await absolute.next()
  t.match(second.fields, { service_type: 'GW', registered_delivery: 1 })
  const [, yy, mm, dd] = /^(\d\d)(\d\d)(\d\d)\d{6}\d00\+$/.exec(second.fields.validity_period) ?? []
  t.ok(Math.abs(Date.UTC(2000 + Number(yy), Number(mm) - 1, Number(dd)) - before - 6.5 * 86_400_000) < 86_400_000)
  await send('3202555')
  const third = await old.next()
  t.match(third.fields, { service_type: 'WAP', validity_period: '' })
  t.equal(third.pdu.tlvs.length, 0)
  await shop.submit({ ...longText, destination_addr: '3202555' }, long(2))
  const parts = await old.take(2)
  t.same(
    parts.map(sm => [sm.fields.esm_class, sm.pdu.tlvs.length]),
    [
      [0x40, 0],
      [0x40, 0],
    ],
  )
})

lodger('a carrier that wants transmitter and receiver apart reports over the one what came over the other', async t => {
  const carrier = await smsc(t, accepting)
  const daemon = await lodge(t, { carriers: { up: { at: carrier, bind: 'pair' } } })
  await carrier.bound(2)
  const shop = await daemon.enter(t)
  for (let n = 0; n < 3; n++) {
    const { message_id } = await shop.submit()
    const sm = await carrier.next()
    const [receiver, ...more] = [...carrier.links].filter(link => link !== sm.link)
    t.equal(more.length, 0)
    t.equal(await sm.receipt({}, receiver), 0)
    t.match((await shop.next()).receipt, { id: message_id, stat: 'DELIVRD' })
  }
  t.equal(new Set(carrier.submitted.map(sm => sm.link)).size, 1)
})

lodger('a carrier where our lost bind still stands is not asked again before its time', async t => {
  const at: number[] = []
  const carrier = await smsc(t, {
    bind: () => {
      at.push(performance.now())
      return at.length === 2 ? status.ESME_RALYBND : at.length === 3 ? status.ESME_RBINDFAIL : 0
    },
  })
  const daemon = await lodge(t, { carriers: { up: { at: carrier, reconnectMinMs: 10, staleBindMs: 1_500 } } })
  await carrier.bound()
  carrier.link.drop()
  await carrier.unbound()
  await carrier.bound()
  const waits = at.slice(1).map((ms, n) => ms - (at[n] as number))
  t.ok(
    waits.slice(1).every(ms => ms >= 1_480),
    `${waits.map(Math.round)}`,
  )
  const [first] = daemon.lines('carrier link comes back')
  t.ok((first?.retryMs as number) < 100, 'a link that was lost is tried at once')
  t.equal(await daemon.metric('trunkline_events_total', { name: 'bind_still_stands' }), 2)
})

lodger('an account has its receipts in the form that it wants, and a v3.3 bind knows messages by 8 digits', async t => {
  const carrier = await smsc(t, {
    submit: sm => {
      sm.accept()
      void sm.receipt({ stat: 'UNDELIV' })
    },
  })
  const receipts = { id: 'hex', dateDigits: 14, states: { UNDELIVERABLE: 'FAILED' } }
  const daemon = await lodge(t, {
    accounts: { shop: { smpp: { receipts } }, old: {} },
    carriers: { up: carrier },
  })
  const shop = await daemon.enter(t)
  const { message_id } = await shop.submit({ data_coding: 8, short_message: hex('0047 00fc d83dde00 0416') })
  const report = await shop.next()
  t.match(
    textOf(report),
    /^id:[0-9A-F]+ sub:001 dlvrd:000 submit date:\d{14} done date:\d{14} stat:FAILED err:000 text:G\?\?\?\?$/,
  )
  t.equal(Number.parseInt(fieldOf(report, 'id'), 16), Number(message_id))
  t.equal(report.fields.data_coding, 0)
  t.equal(tlvString(report.pdu.tlvs, valueAt(report, tlv.receipted_message_id)), message_id)
  await shop.submit({ data_coding: 4, short_message: hex('00ff41') })
  t.match(textOf(await shop.next()), / text:$/, 'what is no text is not quoted')

  const old = await daemon.enter(t, { systemId: 'old', interfaceVersion: 0x33 })
  const { message_id: alias } = await old.submit()
  t.match(alias, /^[0-9A-F]{8}$/)
  const { receipt, pdu } = await old.next()
  t.equal(receipt.id, alias)
  t.equal(pdu.tlvs.length, 0)
})

lodger('what a carrier took and never reported ends as UNKNOWN when its validity and the grace are over', async t => {
  const carrier = await smsc(t, accepting)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const from = Date.now()
  const { message_id } = await shop.submit({ validity_period: '000000000002000R' })
  const other = await shop.submit()
  const late = (await carrier.take(2)).find(sm => sm.fields.validity_period === '') as Submitted
  // Once in ten seconds we look for such.
  t.match((await shop.next(60_000)).receipt, { id: message_id, stat: 'UNKNOWN', dlvrd: '000' })
  t.ok(Date.now() - from >= 3_000)
  await late.receipt()
  t.match((await shop.next()).receipt, { id: other.message_id, stat: 'DELIVRD' }, 'one that has time is awaited')
})

story('receipts go back to the bind that sent the message while it lives, if the account wants it so', async t => {
  const carrier = await smsc(t, accepting)
  const daemon = await house(t, {
    accounts: { shop: { smpp: { receipts: { to: 'sender' } } } },
    carriers: { up: { at: carrier, window: 50 } },
    config: { smpp: { window: 2 } },
  })
  const [one, two] = [await esme(t, daemon.smpp), await esme(t, daemon.smpp)]
  const ids = (await one.submitAll(10)).map(({ message_id }) => message_id)
  const others = (await two.submitAll(10)).map(({ message_id }) => message_id)
  const all = await carrier.take(20)
  for (const sm of all.slice(0, 5)) await sm.receipt()
  for (const sm of all.slice(10)) await sm.receipt()
  t.same(
    (await two.take(10)).map(({ receipt }) => receipt.id),
    others,
  )
  t.same(
    (await one.take(5)).map(({ receipt }) => receipt.id),
    ids.slice(0, 5),
  )
  await one.unbind()
  for (const sm of all.slice(5, 10)) await sm.receipt()
  t.same(
    (await two.take(5)).map(({ receipt }) => receipt.id),
    ids.slice(5),
    'when it is gone, to another',
  )
})

lodger(
  'a bind that cannot take receipts rests, longer each time, and its account’s other bind takes them all',
  async t => {
    const carrier = await smsc(t)
    const daemon = await lodge(t, { carriers: { up: { at: carrier, window: 50 } } })
    const at: number[] = []
    const codes = [status.ESME_RMSGQFUL, status.ESME_RTHROTTLED]
    const full = await daemon.enter(t, {
      answer: () => {
        at.push(performance.now())
        return codes.shift() ?? 0
      },
    })
    const { message_id } = await full.submit()
    t.same(new Set((await full.take(3)).map(({ receipt }) => receipt.id)), new Set([message_id]))
    const waits = at.slice(1).map((ms, n) => ms - (at[n] as number))
    t.ok((waits[0] as number) > 980 && (waits[1] as number) > 1_980, `${waits.map(Math.round)}`)

    full.answer = () => status.ESME_RSYSERR
    const well = await daemon.enter(t)
    const ids = [...(await full.submitAll(10)), ...(await well.submitAll(20))].map(one => one.message_id)
    t.same((await well.take(30)).map(({ receipt }) => receipt.id).sort(), ids.sort())
  },
)

story('an ESME that wants nothing more for a destination gets none of what waits for it, but all else', async t => {
  const carrier = await smsc(t, accepting)
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 50 } } })
  const sender = await esme(t, daemon.smpp, { bind: 'transmitter' })
  await sender.submitAll(20, { source_addr: '1000' })
  const other = await sender.submit({ source_addr: '2000' })
  for (const sm of await carrier.take(21)) await sm.receipt()
  const shop = await esme(t, daemon.smpp, {
    bind: 'receiver',
    answer: ({ fields }) => (fields.destination_addr === '1000' ? status.ESME_RX_P_APPN : 0),
  })
  await until(shop, other.message_id)
  const events = (name: string) => daemon.metric('trunkline_events_total', { name })
  t.equal((await events('reports_refused')) + (await events('reports_stopped')), 20)
  t.equal(await daemon.metric('trunkline_outbox_reports'), 0)
  t.match(await daemon.line('a customer refuses receipts or replies: dropped'), {
    systemId: 'shop',
    status: 'ESME_RX_P_APPN',
  })
  // What comes later is offered again.
  shop.answer = () => 0
  const later = await sender.submit({ source_addr: '1000' })
  await (await carrier.take(1))[0]?.receipt()
  t.ok(await until(shop, later.message_id))
})

lodger(
  'a receipt that is answered with generic_nack is offered a few times and no more, and holds up no other',
  async t => {
    const carrier = await smsc(t)
    const daemon = await lodge(t, { carriers: { up: carrier } })
    let nacked = ''
    const shop = await daemon.enter(t, {
      answer: ({ pdu, receipt }) => {
        if (nacked !== '' && receipt.id !== nacked) return 0
        nacked = receipt.id
        shop.peer.write(encodePdu(command.generic_nack, status.ESME_RUNKNOWNERR, pdu.sequence, {}))
        return undefined
      },
    })
    await shop.submit()
    await shop.next()
    const ids = (await shop.submitAll(5)).map(one => one.message_id)
    for (const id of ids) await until(shop, id)
    await daemon.line('a customer refuses receipts or replies: dropped')
    t.equal(await daemon.metric('trunkline_events_total', { name: 'reports_nacked' }), 1)
    t.equal(shop.delivered.filter(one => one.receipt.id === nacked).length, 5)
  },
)

story('a message from a phone in parts, in any order and over a crash, reaches who wants it so as one', async t => {
  const carrier = await smsc(t)
  const accounts = {
    shop: { numbers: ['1000'], smpp: { replies: 'rejoin' } },
    other: { numbers: ['2000'] },
  }
  const daemon = await house(t, { accounts, carriers: { up: carrier } })
  await carrier.bound()
  const shop = await esme(t, daemon.smpp)
  const text = (n: number): Buffer => Buffer.alloc(100, String(n))
  const part = (n: number, destination_addr = '1000', ref = 7) => ({
    source_addr: '447700900123',
    destination_addr,
    esm_class: 0x40,
    short_message: Buffer.concat([buildConcatUdh(ref, 3, n, 8), text(n)]),
  })
  for (const n of [3, 1, 3]) t.equal(await carrier.mobileOriginated(part(n)), 0)
  t.equal(await carrier.mobileOriginated({ ...part(2), esm_class: 0, short_message: Buffer.from('single') }), 0)
  t.equal(textOf(await shop.next()), 'single', 'the parts wait')
  await daemon.kill9()
  await daemon.start()
  await carrier.bound()
  t.equal(await carrier.mobileOriginated(part(2)), 0)
  const again = await esme(t, daemon.smpp)
  let whole = await again.next()
  // What was not known to be delivered when it was killed comes again.
  if (textOf(whole) === 'single') whole = await again.next()
  t.match(whole.fields, { source_addr: '447700900123', destination_addr: '1000', esm_class: 0 })
  t.equal(whole.fields.short_message.length, 0)
  t.same(tlvBytes(whole.pdu.tlvs, valueAt(whole, tlv.message_payload)), Buffer.concat([1, 2, 3].map(text)))
  t.equal(await carrier.mobileOriginated(part(3)), 0, 'once more: our answer was lost')
  t.equal(await carrier.mobileOriginated({ ...part(1), esm_class: 0, short_message: Buffer.from('last') }), 0)
  t.equal(textOf(await again.next()), 'last')
  t.equal(again.delivered.at(-2), whole, 'nothing came between')
  t.equal(await daemon.metric('trunkline_events_total', { name: 'replies_parts_again' }), 1)

  const asCut = await esme(t, daemon.smpp, { systemId: 'other' })
  for (const n of [2, 1]) t.equal(await carrier.mobileOriginated(part(n, '2000')), 0)
  t.same(
    (await asCut.take(2)).map(({ fields }) => fields.short_message[5]),
    [2, 1],
  )
})

// The grace is for one who waits for its end.
lodgersOn('customers share a daemon, and each has its receipts as if it were alone', {
  config: { spool: { receiptGraceMs: 1_000 } },
})

/** Takes deliver_sm until the receipt of that message. */
async function until(shop: Esme, id: string): Promise<true> {
  for (;;) if (fieldOf(await shop.next(), 'id') === id) return true
}

lodger(
  'who asks hears of each state on the way once, over a restart too, and no later word takes back the last',
  async t => {
    const carrier = await smsc(t, accepting)
    const daemon = await lodge(t, { carriers: { up: carrier } })
    const sender = await daemon.enter(t, { bind: 'transmitter' })
    const { message_id } = await sender.submit({ registered_delivery: 0x11 })
    const silent = await sender.submit({ registered_delivery: 0x01 })
    const only = await sender.submit({ registered_delivery: 0x10 })
    const [sm, other, third] = (await carrier.take(3)) as [Submitted, Submitted, Submitted]
    t.equal(sm.fields.registered_delivery, 0x11)
    const tell = async (stat: string, one = sm) => t.equal(await one.receipt({ stat }, carrier.link), 0)
    await tell('ENROUTE')
    await tell('ACCEPTD')
    await tell('ACCEPTD', other)
    await daemon.again('stop')
    await carrier.bound()
    for (const stat of ['ACCEPTD', 'ENROUTE', 'DELIVRD', 'UNDELIV', 'ENROUTE']) await tell(stat)
    await tell('UNDELIV', other)
    await tell('DELIVRD', third)
    const shop = await daemon.enter(t)
    const heard = (await shop.take(5)).map(
      one => `${fieldOf(one, 'id')} ${one.fields.esm_class} ${fieldOf(one, 'stat')}`,
    )
    t.same(
      heard.filter(one => one.startsWith(message_id)),
      [`${message_id} 32 ENROUTE`, `${message_id} 32 ACCEPTD`, `${message_id} 4 DELIVRD`],
    )
    t.same(
      heard.filter(one => !one.startsWith(message_id)).sort(),
      [`${silent.message_id} 4 UNDELIV`, `${only.message_id} 32 ENROUTE`].sort(),
    )
    await shop.submit()
    await tell('DELIVRD', await carrier.next())
    t.equal(fieldOf(await shop.next(), 'stat'), 'DELIVRD')
    t.equal(shop.delivered.length, 6, 'nothing else came')
  },
)

lodger(
  'an account that wants a receipt for each part hears of each part when it is known, and of none twice',
  async t => {
    const carrier = await smsc(t, accepting)
    const daemon = await lodge(t, {
      accounts: { shop: { smpp: { receipts: { of: 'part' } } } },
      carriers: { up: carrier },
    })
    const shop = await daemon.enter(t)
    const { message_id } = await shop.submit(longText, long(3))
    const [first, second, third] = (await carrier.take(3)) as [Submitted, Submitted, Submitted]
    await second.receipt()
    await daemon.again('stop')
    await carrier.bound()
    const again = await daemon.enter(t)
    await first.receipt({ stat: 'UNDELIV', err: '042' }, carrier.link)
    await first.receipt({}, carrier.link)
    await third.receipt({}, carrier.link)
    const reports = [...shop.delivered, ...(await again.take(3 - shop.delivered.length))]
    t.same(
      reports.map(one => {
        const { id, sub, dlvrd, stat, err } = one.receipt
        const [total, seq] = [tlv.sar_total_segments, tlv.sar_segment_seqnum].map(tag =>
          tlvUint(one.pdu.tlvs, valueAt(one, tag)),
        )
        return [id, sub, dlvrd, stat, err, total, seq]
      }),
      [
        [message_id, '001', '001', 'DELIVRD', '000', 3, 2],
        [message_id, '001', '000', 'UNDELIV', '042', 3, 1],
        [message_id, '001', '001', 'DELIVRD', '000', 3, 3],
      ],
    )
    await again.submit()
    await (await carrier.next()).receipt({}, carrier.link)
    t.equal(valueAt(await again.next(), tlv.sar_segment_seqnum), -1, 'of a short message there are no parts')
    t.match(
      (await daemon.history(4)).filter(row => row.id === message_id && row.kind === 'e'),
      [{ state: 5, error: '042' }],
    )
  },
)

lodgersOn('what was told outlives a restart, and is not told twice')
