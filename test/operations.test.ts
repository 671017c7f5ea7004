// What customers ask about what they have sent, and the other ways to send: query, cancel and replace, submit_multi and
// data_sm, replace_if_present_flag, schedules, predefined texts, transaction mode. Against the real daemon.

import t from 'tap'
import { type CommandName, command } from '../protocols/smpp/commands.js'
import { encodePdu, type Pdu, type PduFields } from '../protocols/smpp/pdu.js'
import { status, statusName } from '../protocols/smpp/status.js'
import { formatAbsolute, formatRelative, parseTime } from '../protocols/smpp/time.js'
import { findTlv, tlv, tlvString, tlvUint, writeTlvBytes, writeTlvUint } from '../protocols/smpp/tlv.js'
import { type Delivered, type Esme, esme } from './support/esme.js'
import { freshDatabase, house, story } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { minuteText } from './support/moment.js'
import { type Heard, within } from './support/peer.js'
import { Way } from './support/postgres.js'
import { type Smsc, smsc } from './support/smsc.js'

t.jobs = 3

/** Cancelled in one stroke. */
const MANY = process.env.LONG ? 20_000 : 8_000
const ENROUTE = 1
const DELIVERED = 2
const DELETED = 4
const FROM = '1000'
const TO = '12025550123'

/** Asks, and says how it was answered. */
async function ask<C extends Pdu>(one: Esme, id: C, fields: Partial<PduFields[C]> = {}, tlvs?: Buffer) {
  const answer = await within(one.peer.request(id, fields, tlvs), `the answer to ${id}`)
  return { name: answer.name as CommandName, status: statusName(answer.status), answer, fields: answer.fields }
}

const query = async (one: Esme, message_id: string, source_addr = FROM) => {
  const { status, fields } = await ask(one, command.query_sm, { message_id, source_addr })
  return status === 'ESME_ROK' ? { status, ...(fields as PduFields[typeof command.query_sm_resp]) } : { status }
}
const cancel = async (one: Esme, message_id: string, more: Partial<PduFields[typeof command.cancel_sm]> = {}) =>
  (await ask(one, command.cancel_sm, { message_id, source_addr: FROM, ...more })).status
const replace = async (
  one: Esme,
  message_id: string,
  text: string,
  more: Partial<PduFields[typeof command.replace_sm]> = {},
) =>
  (
    await ask(one, command.replace_sm, {
      message_id,
      source_addr: FROM,
      short_message: Buffer.from(text),
      registered_delivery: 1,
      ...more,
    })
  ).status

const address = (destination_addr: string) =>
  ({ dest_flag: 1, dest_addr_ton: 1, dest_addr_npi: 1, destination_addr }) as const

async function multi(
  one: Esme,
  dest_address: PduFields[typeof command.submit_multi]['dest_address'],
  more: Partial<PduFields[typeof command.submit_multi]> = {},
) {
  const { status, fields } = await ask(one, command.submit_multi, {
    source_addr: FROM,
    dest_address,
    registered_delivery: 1,
    short_message: Buffer.from('to all'),
    ...more,
  })
  const { message_id = '', unsuccess_sme = [] } = fields as Partial<PduFields[typeof command.submit_multi_resp]>
  const failed = unsuccess_sme.map(sme => `${sme.destination_addr} ${statusName(sme.error_status_code)}`)
  return { status, message_id, failed }
}

const payload = (text: string): Buffer => {
  const tlvs = Buffer.alloc(4 + text.length)
  writeTlvBytes(tlvs, 0, tlv.message_payload, Buffer.from(text))
  return tlvs
}

/** A carrier that nobody reaches, for now. */
async function away(t: Parameters<typeof smsc>[0]): Promise<Smsc> {
  const carrier = await smsc(t)
  await carrier.close()
  return carrier
}

story('while the database is away a query for what has ended fails, and what lives is answered', async t => {
  const url = await freshDatabase()
  const way = await Way.to(url)
  await way.open()
  t.teardown(() => way.close())
  const daemon = await house(t, { carriers: { up: await smsc(t) }, database: { url: way.url, direct: url } })
  const shop = await esme(t, daemon.smpp)
  const { message_id } = await shop.submit()
  await shop.next()
  const later = await shop.submit({ schedule_delivery_time: formatRelative(3_600_000) })
  await daemon.history(3)
  way.close()
  await daemon.line('the database went away')
  t.same(await query(shop, message_id), { status: 'ESME_RQUERYFAIL' })
  t.match(await query(shop, later.message_id), { status: 'ESME_ROK', message_state: ENROUTE })
  t.equal(await cancel(shop, message_id), 'ESME_RCANCELFAIL')
  t.equal(await cancel(shop, later.message_id), 'ESME_ROK')
  // It ended after the database went: the log knows.
  t.match(await query(shop, later.message_id), { message_state: DELETED })
  await way.open()
})

story('thousands are cancelled in one stroke, and nobody else waits for it', async t => {
  const carrier = await away(t)
  const daemon = await house(t, { carriers: { up: carrier }, accounts: { shop: {}, rival: {} } })
  const shop = await esme(t, daemon.smpp, { bind: 'transmitter' })
  const rival = await esme(t, daemon.smpp, { systemId: 'rival', bind: 'transmitter' })
  await Promise.all([
    shop.submitAll(MANY * 0.9),
    shop.submitAll(MANY * 0.1, { schedule_delivery_time: formatRelative(3_600_000) }),
    shop.submitAll(20, { destination_addr: '12025550124' }),
    shop.submitAll(30, { service_type: 'WAP' }),
    rival.submitAll(200),
  ])
  let over = false
  let count = 0
  const work = (async () => {
    while (!over) {
      // The same again and again goes round.
      const short_message = Buffer.from(`meanwhile ${count}`)
      const { status } = await rival.submit({ short_message })
      if (status !== 'ESME_ROK') t.fail(status)
      count++
    }
  })()
  t.equal(await cancel(shop, '', { service_type: 'WAP', destination_addr: TO }), 'ESME_ROK')
  const before = count
  t.equal(await cancel(shop, '', { destination_addr: TO }), 'ESME_ROK')
  const meanwhile = count - before
  over = true
  await work
  // Held up, the other would have been answered once or twice; how fast, on a machine that is busy, says nothing.
  t.ok(meanwhile >= 5, `${meanwhile} submit_sm of another were answered while ${MANY} were cancelled`)
  t.equal(await cancel(shop, '', { destination_addr: TO }), 'ESME_RCANCELFAIL')
  t.equal(await cancel(shop, ''), 'ESME_RINVDSTADR')
  await daemon.kill9()
  await carrier.open()
  await daemon.start()
  await carrier.take(20 + 200 + count)
  const { body } = await daemon.get('/api/v1/admin/status')
  t.equal(JSON.parse(body).queue.waiting, 0)
  t.equal(carrier.submitted.length, 20 + 200 + count)
})

story('a submit_multi goes to each of its addresses, and every receipt carries the id of the answer', async t => {
  const carrier = await smsc(t)
  const list = ['12025550001', '12025550002', 'nobody'].map(one => ({ address: one }))
  const many = Array.from({ length: 500 }, (_, i) => ({ address: `1202556${1000 + i}` }))
  const accounts = { shop: { smpp: { distributionLists: { friends: list, none: [], many } } } }
  const routes = [{ match: { destination: '1' }, to: ['up'] }]
  const daemon = await house(t, { carriers: { up: carrier }, accounts, routes })
  const shop = await esme(t, daemon.smpp)
  const dl = (dl_name: string) => ({ dest_flag: 2, dl_name }) as const
  const answer = await multi(shop, [
    address('4412345678'),
    address('12025550100'),
    dl('friends'),
    dl('foes'),
    dl('none'),
    address('12025550101'),
  ])
  t.match(answer, {
    status: 'ESME_ROK',
    message_id: /^\d{16}$/,
    failed: ['foes ESME_RINVDLNAME', 'none ESME_RCNTSUBDL', '4412345678 ESME_RINVDSTADR', 'friends ESME_RINVDSTADR'],
  })
  const told = await shop.take(4)
  const to = ['12025550001', '12025550002', '12025550100', '12025550101']
  t.same(
    told.map(one => `${one.receipt.id} ${one.fields.source_addr}`).sort(),
    to.map(one => `${answer.message_id} ${one}`),
  )
  t.match(await query(shop, answer.message_id), { message_state: DELIVERED })
  t.same(await multi(shop, [address('44'), dl('foes')]), {
    status: 'ESME_RSUBMITFAIL',
    message_id: '',
    failed: ['foes ESME_RINVDLNAME', '44 ESME_RINVDSTADR'],
  })
  t.match(await multi(shop, [address(TO)], { replace_if_present_flag: 1 }), { status: 'ESME_RINVREPFLAG' })
  t.match(await multi(shop, [address(TO)], { esm_class: 2 }), { status: 'ESME_RINVESMCLASS' })
  t.match(await multi(shop, [address(TO)], { priority_flag: 9 }), { status: 'ESME_RINVPRTFLG' })
  t.match(await multi(shop, []), { status: 'ESME_RINVNUMDESTS' })
  t.match(
    await multi(
      shop,
      Array.from({ length: 255 }, () => address(TO)),
    ),
    { status: 'ESME_RINVNUMDESTS' },
  )
  const sequence = shop.peer.nextSequence()
  const odd = encodePdu(command.submit_multi, 0, sequence, { dest_address: [address(TO)] })
  odd[16 + 1 + 3 + 1] = 3
  t.equal(statusName((await shop.peer.send(sequence, odd)).status), 'ESME_RINVDESTFLAG')
  const most = await multi(
    shop,
    Array.from({ length: 254 }, (_, i) => address(`1202555${1000 + i}`)),
  )
  t.same(most.failed, [])
  const reports = await shop.take(254)
  t.ok(reports.every(one => one.receipt.id === most.message_id))
  // As many as one may name; they wait, for on their way they would show no more than those before.
  const later = { schedule_delivery_time: formatRelative(3_600_000) }
  const listed = await multi(shop, [dl('many'), ...Array.from({ length: 20 }, () => dl('many'))], later)
  t.match(listed, { status: 'ESME_ROK', failed: ['many ESME_RCNTSUBDL'] })
  t.equal(await daemon.metric('trunkline_waiting_messages'), 10_000)
})

lodger('a validity of either kind that passes ends the message as EXPIRED, over a kill too', async t => {
  const carrier = await away(t)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const [a, b] = [
    await shop.submit({ validity_period: formatRelative(1_000) }),
    await shop.submit({ validity_period: formatAbsolute(Date.now() + 1_500) }),
  ]
  await shop.submit({ validity_period: formatRelative(3_600_000), short_message: Buffer.from('lives') })
  await daemon.again('kill9')
  const again = await daemon.enter(t)
  const told = await again.take(2)
  t.same(
    told.map(one => `${one.receipt.id} ${one.receipt.stat}`).sort(),
    [a, b].map(one => `${one.message_id} EXPIRED`).sort(),
  )
  await carrier.open()
  t.equal((await carrier.next()).text, 'lives')
})

story('a message in transaction mode is answered when it has ended, and not before', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  // A quarter of a window may stand open: two.
  const config = { smpp: { peerWindow: 8 } }
  const daemon = await house(t, { carriers: { up: { at: carrier, receipts: 'asked' } }, config })
  const shop = await esme(t, daemon.smpp)
  const transaction = (tell: { esm_class?: number; validity_period?: string; destination_addr?: string } = {}) => {
    let answer: Heard | undefined
    const asked = shop.peer
      .request(command.submit_sm, { source_addr: FROM, destination_addr: TO, esm_class: 2, ...tell })
      .then(pdu => {
        answer = pdu
        return pdu
      })
    return { answered: () => answer, asked }
  }
  const reason = ({ tlvs }: Heard): number => {
    const at = findTlv(tlvs, 0, tlvs.length, tlv.delivery_failure_reason)
    return at < 0 ? -1 : tlvUint(tlvs, at)
  }
  const good = transaction()
  const sm = await carrier.next()
  t.match(sm.fields, { esm_class: 0, registered_delivery: 1 })
  // Others are answered before it.
  t.equal((await shop.submit({ registered_delivery: 0 })).status, 'ESME_ROK')
  await carrier.next()
  t.equal(good.answered(), undefined)
  await sm.receipt()
  const { status: code, fields, tlvs } = await within(good.asked, 'the answer')
  t.equal(code, 0)
  t.match(fields, { message_id: /^\d{16}$/ })
  t.equal(tlvs.length, 0)
  t.match(await query(shop, (fields as { message_id: string }).message_id), { message_state: DELIVERED })

  const failing = transaction()
  await (await carrier.next()).receipt({ stat: 'UNDELIV', err: '001' })
  const failed = await within(failing.asked, 'the answer')
  t.equal(failed.status, status.ESME_RDELIVERYFAILURE)
  t.equal(reason(failed), 2)
  // It was not asked for a receipt besides.
  t.equal(shop.delivered.length, 0)

  const unheard = transaction({ validity_period: formatRelative(1_000) })
  await carrier.next()
  const silent = await within(unheard.asked, 'the answer at the end of its validity')
  t.equal(silent.status, status.ESME_RDELIVERYFAILURE)
  t.equal(reason(silent), 3)

  const refused = transaction({ destination_addr: 'nowhere' })
  t.equal((await within(refused.asked, 'the answer')).status, status.ESME_RINVDSTADR)
  const viaData = await (async () => {
    const asked = shop.peer.request(
      command.data_sm,
      { source_addr: FROM, destination_addr: TO, esm_class: 2 },
      payload('x'),
    )
    await (await carrier.next()).receipt()
    return within(asked, 'data_sm_resp')
  })()
  t.same([viaData.name, viaData.status], ['data_sm_resp', 0])

  const open = [transaction(), transaction()]
  t.equal((await within(transaction().asked, 'the answer to one too many')).status, status.ESME_RTHROTTLED)
  for (const sm of await carrier.take(2)) await sm.receipt()
  for (const { asked } of open) t.equal((await within(asked, 'the answer')).status, 0)
  t.equal((await shop.submit({ esm_class: 2, schedule_delivery_time: formatRelative(9_000) })).status, 'ESME_RINVSCHED')

  // The connection goes first: the message lives on, and its receipt follows.
  void shop.peer
    .request(command.submit_sm, { source_addr: FROM, destination_addr: TO, esm_class: 2, registered_delivery: 1 })
    .catch(() => {})
  const orphan = await carrier.next()
  shop.peer.drop()
  await shop.closed()
  const again = await esme(t, daemon.smpp)
  await orphan.receipt()
  t.equal((await again.next()).receipt.stat, 'DELIVRD')
  // Datagram mode is taken as store and forward.
  t.equal((await again.submit({ esm_class: 1 })).status, 'ESME_ROK')
  t.equal((await carrier.next()).fields.esm_class, 0)
})

// One daemon is enough for what neither stops it nor fills it: each has an account of its own.
story('one daemon answers many customers, each as it was told to', async t => {
  const silent = await smsc(t, { submit: () => {} })
  const accepting = await smsc(t, { submit: sm => sm.accept() })
  const [plain, gone] = [await smsc(t), await away(t)]
  const daemon = await house(t, {
    accounts: {
      shop: {},
      stuck: {},
      old: {},
      words: { smpp: { defaultMessages: { 1: 'your parcel is here', 254: 'Ваш заказ' } } },
      hex: { smpp: { ids: 'hex' } },
      mixed: { smpp: { ids: 'hex', receipts: { id: 'decimal' } } },
    },
    carriers: { silent, accepting, gone, plain },
    routes: [
      { match: { account: 'stuck' }, to: ['silent'] },
      { match: { account: 'old' }, to: ['gone'] },
      { match: { account: 'hex' }, to: ['accepting'] },
      { match: { account: 'mixed' }, to: ['accepting'] },
      { match: {}, to: ['plain'] },
    ],
  })
  await plain.bound()

  await t.test('what a carrier has can be neither cancelled nor replaced', async t => {
    const carrier = silent
    const shop = await esme(t, daemon.smpp, { systemId: 'stuck' })
    const { message_id } = await shop.submit()
    const sm = await carrier.next()
    t.equal(await cancel(shop, message_id), 'ESME_RCANCELFAIL')
    t.equal(await replace(shop, message_id, 'too late'), 'ESME_RREPLACEFAIL')
    sm.accept()
    await sm.receipt({ id: 'NOBODY' })
    t.equal(await cancel(shop, message_id), 'ESME_RCANCELFAIL')
    t.equal(await replace(shop, message_id, 'too late'), 'ESME_RREPLACEFAIL')
    await sm.receipt()
    await shop.next()
    t.equal(await cancel(shop, message_id), 'ESME_RCANCELFAIL')
    t.equal(await replace(shop, message_id, 'too late'), 'ESME_RREPLACEFAIL')
    t.equal(await cancel(shop, '123'), 'ESME_RINVMSGID')
    t.equal(await replace(shop, '123', 'nobody'), 'ESME_RINVMSGID')
  })

  await t.test(
    'a data_sm is taken like a submit_sm, with its text in message_payload and its time to live',
    async t => {
      const shop = await esme(t, daemon.smpp)
      const data = (fields: Partial<PduFields[typeof command.data_sm]>, tlvs?: Buffer) =>
        ask(shop, command.data_sm, { source_addr: FROM, destination_addr: TO, registered_delivery: 1, ...fields }, tlvs)
      t.equal((await data({})).status, 'ESME_RMISSINGTLV')
      t.equal((await data({ source_addr: '1'.repeat(64) }, payload('x'))).status, 'ESME_RINVSRCADR')
      t.equal((await data({ destination_addr: '1'.repeat(64) }, payload('x'))).status, 'ESME_RINVDSTADR')
      t.equal((await data({ esm_class: 0x04 }, payload('x'))).status, 'ESME_RINVESMCLASS')
      const bad = Buffer.from('0019000200000424000178', 'hex')
      t.equal((await data({}, bad)).status, 'ESME_RINVTLVLEN')
      const ttl = Buffer.alloc(8)
      writeTlvUint(ttl, 0, tlv.qos_time_to_live, 3_600, 4)
      const { name, status, fields } = await data({}, Buffer.concat([payload('data'), ttl]))
      t.same([name, status], ['data_sm_resp', 'ESME_ROK'])
      const sm = await plain.next()
      t.equal(sm.text, 'data')
      t.equal(findTlv(sm.pdu.tlvs, 0, sm.pdu.tlvs.length, tlv.qos_time_to_live), -1)
      const left = (parseTime(sm.fields.validity_period, Date.now()) as number) - Date.now()
      t.ok(left > 3_500_000 && left < 3_602_000, `${left} ms`)
      t.equal((await shop.next()).receipt.id, (fields as { message_id: string }).message_id)
    },
  )

  await t.test('a predefined text goes out for its number, and an unknown number is refused', async t => {
    const shop = await esme(t, daemon.smpp, { systemId: 'words' })
    const none = { short_message: Buffer.alloc(0) }
    t.equal((await shop.submit({ ...none, sm_default_msg_id: 1 })).status, 'ESME_ROK')
    t.equal((await shop.submit({ ...none, sm_default_msg_id: 254, data_coding: 8 })).status, 'ESME_ROK')
    t.equal((await shop.submit({ ...none, sm_default_msg_id: 2 })).status, 'ESME_RINVDFTMSGID')
    t.equal((await shop.submit({ sm_default_msg_id: 1 })).status, 'ESME_RINVDFTMSGID')
    const [latin, cyrillic] = await plain.take(2)
    t.same([latin?.text, latin?.fields.data_coding], ['your parcel is here', 0])
    t.equal(cyrillic?.fields.data_coding, 8)
    t.equal(
      Buffer.from(cyrillic?.fields.short_message ?? [])
        .swap16()
        .toString('utf16le'),
      'Ваш заказ',
    )
    await shop.take(2)
  })

  await t.test('messages have ids as their account wants them, wherever it sees one or asks by one', async t => {
    const hex = /^[0-9A-F]{14}$/
    const idTlv = ({ pdu: { tlvs } }: Delivered): string =>
      tlvString(tlvs, findTlv(tlvs, 0, tlvs.length, tlv.receipted_message_id))
    const shop = await esme(t, daemon.smpp, { systemId: 'hex' })
    const { message_id } = await shop.submit()
    t.match(message_id, hex)
    await (await accepting.next()).receipt()
    const told = await shop.next()
    t.same([told.receipt.id, idTlv(told)], [message_id, message_id])
    t.match(await query(shop, message_id), { message_id, message_state: DELIVERED })

    const mixed = await esme(t, daemon.smpp, { systemId: 'mixed' })
    const other = await mixed.submit()
    t.match(other.message_id, hex)
    await (await accepting.next()).receipt()
    const report = await mixed.next()
    t.equal(idTlv(report), other.message_id)
    t.same([Number(report.receipt.id), report.receipt.id.length], [Number.parseInt(other.message_id, 16), 16])

    const waits = { schedule_delivery_time: formatRelative(3_600_000) }
    const waiting = await shop.submit(waits)
    t.match(await query(shop, waiting.message_id.toLowerCase()), { message_state: ENROUTE })
    t.match(
      await query(shop, String(Number.parseInt(waiting.message_id, 16))),
      { message_state: ENROUTE },
      'either form',
    )
    t.equal(await replace(shop, waiting.message_id, 'another text'), 'ESME_ROK')
    t.equal(await cancel(shop, waiting.message_id), 'ESME_ROK')
    t.equal(await cancel(shop, `${waiting.message_id}0`), 'ESME_RINVMSGID')
    const several = await multi(shop, [address('12025550001'), address('12025550002')])
    t.match(several.message_id, hex)
    const data = await ask(shop, command.data_sm, { source_addr: FROM, destination_addr: TO }, payload('x'))
    t.match(data.fields, { message_id: hex })

    const old = await esme(t, daemon.smpp, { systemId: 'hex', interfaceVersion: 0x33 })
    t.match((await old.submit()).message_id, /^[0-9A-F]{8}$/, 'v3.3 has no room for more')
  })

  await t.test('a peer of v3.3 knows its messages by eight digits, and asks about them so', async t => {
    const old = await esme(t, daemon.smpp, { systemId: 'old', interfaceVersion: 0x33 })
    const { message_id } = await old.submit()
    t.match(message_id, /^[0-9A-F]{8}$/)
    t.match(await query(old, message_id), { message_id, message_state: ENROUTE })
    t.equal(await replace(old, message_id, 'old style'), 'ESME_ROK')
    const dead = await old.submit()
    t.equal(await cancel(old, dead.message_id), 'ESME_ROK')
    t.match(await query(old, dead.message_id), { message_state: DELETED })
    const several = await multi(old, [address('12025550001'), address('12025550002')])
    t.equal(await cancel(old, several.message_id, { destination_addr: '12025550002' }), 'ESME_ROK')
    await gone.open()
    t.same(
      (await gone.take(2)).map(sm => sm.text),
      ['old style', 'to all'],
    )
    t.equal(
      (await ask(old, command.data_sm, { source_addr: FROM, destination_addr: TO }, payload('x'))).status,
      'ESME_ROK',
    )
  })

  await t.test('what is asked in malformed PDUs gets the standard’s own words, and broadcasts are unknown', async t => {
    const shop = await esme(t, daemon.smpp)
    for (const id of [command.broadcast_sm, command.query_broadcast_sm, command.cancel_broadcast_sm] as const) {
      const { name, status } = await ask(shop, id)
      t.same([name, status], ['generic_nack', 'ESME_RINVCMDID'])
    }
    const cut = async (id: Pdu, octets: number): Promise<string> => {
      const sequence = shop.peer.nextSequence()
      const whole = encodePdu(id, 0, sequence)
      const pdu = whole.subarray(0, 16 + octets)
      pdu.writeUInt32BE(pdu.length, 0)
      const { name, status } = await shop.peer.send(sequence, pdu)
      return `${name} ${statusName(status)}`
    }
    t.equal(await cut(command.query_sm, 0), 'query_sm_resp ESME_RINVMSGID')
    t.equal(await cut(command.query_sm, 1), 'query_sm_resp ESME_RINVSRCTON')
    t.equal(await cut(command.cancel_sm, 0), 'cancel_sm_resp ESME_RINVSERTYP')
    t.equal(await cut(command.cancel_sm, 4), 'cancel_sm_resp ESME_RINVSRCADR')
    t.equal(await cut(command.replace_sm, 4), 'replace_sm_resp ESME_RINVSCHED')
    t.equal(await cut(command.submit_multi, 4), 'submit_multi_resp ESME_RINVNUMDESTS')
    t.equal(await cut(command.data_sm, 1), 'data_sm_resp ESME_RINVSRCTON')
    t.equal((await shop.submit()).status, 'ESME_ROK')
  })
})

lodger('a cancelled message is not sent, and its sender is told if it wanted to be', async t => {
  const carrier = await away(t)
  const daemon = await lodge(t, { carriers: { up: carrier }, accounts: { shop: {}, rival: {} } })
  const shop = await daemon.enter(t)
  const rival = await daemon.enter(t, { systemId: 'rival' })
  const [a, b, c, d] = await Promise.all([1, 0, 2, 1].map(registered_delivery => shop.submit({ registered_delivery })))
  const ids = [a, b, c].map(one => one?.message_id as string)
  t.equal(await cancel(rival, ids[0] as string), 'ESME_RINVMSGID')
  t.equal(await cancel(shop, ids[0] as string, { source_addr: '1' }), 'ESME_RINVMSGID')
  t.equal(await cancel(shop, ids[0] as string, { destination_addr: '1' }), 'ESME_RINVMSGID')
  t.equal(await cancel(shop, ids[0] as string, { destination_addr: TO }), 'ESME_ROK')
  t.equal(await cancel(shop, ids[0] as string), 'ESME_RCANCELFAIL')
  t.equal(await cancel(shop, ids[1] as string), 'ESME_ROK')
  t.equal(await cancel(shop, ids[2] as string), 'ESME_ROK')
  await daemon.again('kill9')
  await carrier.open()
  const again = await daemon.enter(t)
  const receipts = shop.delivered.map(one => `${one.receipt.id} ${one.receipt.stat}`)
  while (!receipts.some(one => one.endsWith('DELIVRD'))) {
    const { id, stat } = (await again.next()).receipt
    receipts.push(`${id} ${stat}`)
  }
  t.equal(carrier.submitted.length, 1)
  // What was told just before the kill may be told again.
  const wanted = [`${ids[0]} DELETED`, `${ids[2]} DELETED`, `${d?.message_id} DELIVRD`]
  t.same([...new Set(receipts)].sort(), wanted.sort())
})

lodger('a replaced message goes out with its new text, after a kill too', async t => {
  const carrier = await away(t)
  const defaultMessages = { 7: 'see you' }
  const accounts = { shop: { smpp: { defaultMessages, maxSegments: 2 } } }
  const daemon = await lodge(t, { carriers: { up: carrier }, accounts })
  const shop = await daemon.enter(t)
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push((await shop.submit({ short_message: Buffer.from(`old ${i}`) })).message_id)
  const [a, b, c, d, e] = ids as [string, string, string, string, string]
  t.equal(await replace(shop, a, 'new 0'), 'ESME_ROK')
  t.equal(await replace(shop, b, '', { sm_default_msg_id: 7 }), 'ESME_ROK')
  t.equal(await replace(shop, b, '', { sm_default_msg_id: 8 }), 'ESME_RINVDFTMSGID')
  t.equal(await replace(shop, b, 'both', { sm_default_msg_id: 7 }), 'ESME_RINVDFTMSGID')
  t.equal(await replace(shop, c, 'silent', { registered_delivery: 0 }), 'ESME_ROK')
  t.equal(await replace(shop, d, 'put off', { schedule_delivery_time: formatRelative(3_600_000) }), 'ESME_ROK')
  t.equal(await replace(shop, e, 'x', { schedule_delivery_time: '0'.repeat(15).concat('X') }), 'ESME_RINVSCHED')
  t.equal(await replace(shop, e, 'x', { validity_period: formatAbsolute(Date.now() - 1_000) }), 'ESME_RINVEXPIRY')
  t.equal(await replace(shop, e, 'x', { source_addr: '1' }), 'ESME_RINVMSGID')
  t.equal(await replace(shop, e, 'x', { registered_delivery: 0x80 }), 'ESME_RINVREGDLVFLG')
  const long = await ask(shop, command.replace_sm, { message_id: e, source_addr: FROM }, payload('y'.repeat(400)))
  t.equal(long.status, 'ESME_RINVMSGLEN')
  await daemon.again('kill9', () => carrier.open())
  const sent = await carrier.take(4)
  t.same(
    sent.map(sm => sm.text),
    ['new 0', 'see you', 'silent', 'old 4'],
  )
  const again = await daemon.enter(t)
  const told = await again.take(3)
  t.same(told.map(one => one.receipt.id).sort(), [a, b, e].sort())
  t.match(await query(again, d), { message_state: ENROUTE })
  // At once after all: what was put off goes when it is told to.
  t.equal(await replace(again, d, 'now', { schedule_delivery_time: formatAbsolute(Date.now() - 1_000) }), 'ESME_ROK')
  t.equal((await carrier.next()).text, 'now')
})

lodger('a submission may take the place of one that waits, where the account may ask for that', async t => {
  const carrier = await away(t)
  const daemon = await lodge(t, {
    carriers: { up: carrier },
    accounts: { shop: { smpp: { replace: true } }, rival: {} },
  })
  const rival = await daemon.enter(t, { systemId: 'rival' })
  t.equal((await rival.submit({ replace_if_present_flag: 1 })).status, 'ESME_RINVSUBREP')
  const shop = await daemon.enter(t)
  t.equal((await shop.submit({ replace_if_present_flag: 2 })).status, 'ESME_RINVREPFLAG')
  const old = await shop.submit({ short_message: Buffer.from('old') })
  const other = await shop.submit({ short_message: Buffer.from('other'), service_type: 'WAP' })
  const both = await shop.submit({ short_message: Buffer.from('beside it'), source_addr: '1001' })
  await daemon.again('kill9')
  const again = await daemon.enter(t)
  const flag = { replace_if_present_flag: 1 }
  t.same(await again.submit({ ...flag, short_message: Buffer.from('\0n\0e\0w'), data_coding: 8 }), old)
  const first = await again.submit({
    ...flag,
    short_message: Buffer.from('nothing there'),
    destination_addr: '12025550199',
  })
  t.equal(first.status, 'ESME_ROK')
  t.not(first.message_id, other.message_id)
  await carrier.open()
  const sent = await carrier.take(4)
  t.same(
    sent.map(sm => `${sm.text} ${sm.fields.data_coding}`).sort(),
    ['\0n\0e\0w 8', 'beside it 0', 'nothing there 0', 'other 0'].sort(),
  )
  const told = (await again.take(4)).map(one => one.receipt.id)
  t.same(told.sort(), [old, other, both, first].map(one => one.message_id).sort())
  // It has gone: the next one is another.
  t.not((await again.submit(flag)).message_id, old.message_id)
})

lodger(
  'a submit_multi that waits is queried, cancelled and replaced by its id and, of its addresses, by one',
  async t => {
    const carrier = await away(t)
    const daemon = await lodge(t, { carriers: { up: carrier } })
    const shop = await daemon.enter(t)
    const to = Array.from({ length: 4 }, (_, i) => `1202555000${i}`)
    const { message_id } = await multi(shop, to.map(address))
    const gone = await multi(shop, to.map(address))
    t.match(await query(shop, message_id), { message_state: ENROUTE })
    t.equal(await cancel(shop, message_id, { destination_addr: to[0] as string }), 'ESME_ROK')
    t.equal(await cancel(shop, message_id, { destination_addr: to[0] as string }), 'ESME_RINVMSGID')
    t.match(await query(shop, message_id), { message_state: ENROUTE })
    t.equal(await cancel(shop, gone.message_id), 'ESME_ROK')
    t.match(await query(shop, gone.message_id), { message_state: DELETED })
    await daemon.again('kill9')
    const again = await daemon.enter(t)
    t.equal(await replace(again, message_id, 'anew'), 'ESME_ROK')
    await carrier.open()
    const sent = await carrier.take(3)
    t.same(
      sent.map(sm => `${sm.fields.destination_addr} ${sm.text}`),
      to.slice(1).map(one => `${one} anew`),
    )
  },
)

lodgersOn('what waits outlives a SIGKILL as it was changed', { oneSource: true })

lodger('a query sees a message wait, go, arrive and be gone, and only its owner sees it', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  await carrier.close()
  const daemon = await lodge(t, { carriers: { up: carrier }, accounts: { shop: {}, rival: {} } })
  const shop = await daemon.enter(t)
  const rival = await daemon.enter(t, { systemId: 'rival' })
  const { message_id } = await shop.submit()
  const schedule_delivery_time = formatRelative(3_600_000)
  const later = (await shop.submit({ schedule_delivery_time })).message_id
  t.same(await query(shop, message_id), {
    status: 'ESME_ROK',
    message_id,
    final_date: '',
    message_state: ENROUTE,
    error_code: 0,
  })
  t.match(await query(shop, later), { message_state: ENROUTE })
  const modern = await daemon.enter(t, { interfaceVersion: 0x50 })
  t.match(await query(modern, later), { message_state: 0 })
  // Not the rival's, not from there, and NULL is an address of its own.
  t.same(await query(rival, message_id), { status: 'ESME_RINVMSGID' })
  t.same(await query(shop, message_id, '1001'), { status: 'ESME_RINVMSGID' })
  t.same(await query(shop, message_id, ''), { status: 'ESME_RINVMSGID' })
  const nameless = await shop.submit({ source_addr: '', schedule_delivery_time })
  t.match(await query(shop, nameless.message_id, ''), { status: 'ESME_ROK' })
  for (const id of ['1', '0', 'x', '9'.repeat(16), '1'.repeat(64), String(Number(message_id) + 1)]) {
    t.match(await query(shop, id), { status: 'ESME_RINVMSGID' })
  }

  await carrier.open()
  const sm = await carrier.next()
  // Its acceptance is noted before the next answer from the carrier is.
  await sm.receipt({ id: 'NOBODY' })
  t.match(await query(shop, message_id), { message_state: ENROUTE, final_date: '' })
  // An hour ago: within what clocks and zones are apart.
  const done = minuteText(Date.now() - 3_600_000)
  await sm.receipt({ done })
  await shop.next()
  const ended = await query(shop, message_id)
  // The carrier's word for the moment: `done date`.
  t.match(ended, {
    status: 'ESME_ROK',
    message_id,
    message_state: DELIVERED,
    error_code: 0,
    final_date: new RegExp(`^${done}\\d{5}\\+$`),
  })
  t.same(await query(rival, message_id), { status: 'ESME_RINVMSGID' })
  // From the database, too.
  await daemon.history(rows => rows.some(row => row.id === message_id && row.kind === 'e'))
  t.same(await query(shop, message_id), ended)

  t.equal(await cancel(shop, later), 'ESME_ROK')
  t.match(await query(shop, later), { message_state: DELETED })
  await daemon.again('stop')
  const again = await daemon.enter(t)
  t.same(await query(again, message_id), ended)
  t.match(await query(again, nameless.message_id, ''), { message_state: ENROUTE })
})

lodger('a scheduled message waits for its moment over a restart, and ends with its validity', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const at = Date.now() + 4_000
  const soon = await shop.submit({
    schedule_delivery_time: formatAbsolute(at),
    short_message: Buffer.from('absolute'),
  })
  await shop.submit({ schedule_delivery_time: formatRelative(4_000), short_message: Buffer.from('relative') })
  t.equal(
    (await shop.submit({ schedule_delivery_time: formatRelative(9_000), validity_period: formatRelative(3_000) }))
      .status,
    'ESME_RINVEXPIRY',
  )
  await daemon.again('stop')
  const again = await daemon.enter(t, { interfaceVersion: 0x50 })
  // On a slow machine its moment may have come by now.
  const early = carrier.submitted.length
  if (Date.now() < at) t.equal(early, 0)
  const seen = await query(again, soon.message_id)
  if (Date.now() < at) t.match(seen, { message_state: 0 })
  const sent = await carrier.take(2)
  t.ok(Date.now() >= at - 100, 'not before its moment')
  t.same(sent.map(sm => sm.text).sort(), ['absolute', 'relative'])
  // A carrier is not told of a moment that has come.
  t.same(
    sent.map(sm => sm.fields.schedule_delivery_time),
    ['', ''],
  )
  await again.take(2)
})

lodgersOn('what waits outlives a restart, and what has ended is known', { oneSource: true })
