// Every field of a submit_sm at its limits, and the command_status of each fault, on live sessions of v3.4 and v5.0; then
// what carriers get of TLVs and texts. The PDUs are written here octet by octet, not by our encoder, which refuses them.
import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { statusName } from '../protocols/smpp/status.js'
import { formatAbsolute } from '../protocols/smpp/time.js'
import { type Esme, esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { within } from './support/peer.js'
import { type Smsc, smsc } from './support/smsc.js'

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')

/** The fields of a submit_sm in their order: text with its NUL, a number as one octet, octets as they are. */
const plain = {
  service_type: '',
  source_addr_ton: 0,
  source_addr_npi: 0,
  source_addr: '1000',
  dest_addr_ton: 1,
  dest_addr_npi: 1,
  destination_addr: '12025550123',
  esm_class: 0,
  protocol_id: 0,
  priority_flag: 0,
  schedule_delivery_time: '',
  validity_period: '',
  registered_delivery: 0,
  replace_if_present_flag: 0,
  data_coding: 0,
  sm_default_msg_id: 0,
  short_message: 'hello' as string | Buffer,
  /** If not the length of short_message. */
  sm_length: -1,
  tlvs: '',
}
type Fields = Partial<typeof plain>

function bodyOf(given: Fields): Buffer {
  const { short_message, sm_length, tlvs, ...fields } = { ...plain, ...given }
  const text = Buffer.from(short_message as string)
  const octets = Object.values(fields).map(value =>
    typeof value === 'number' ? Buffer.of(value) : Buffer.from(`${value}\0`, 'latin1'),
  )
  return Buffer.concat([...octets, Buffer.of(sm_length < 0 ? text.length : sm_length), text, hex(tlvs)])
}

/** The answer's status; throws when it is not a submit_sm_resp, or a refusal with a body. */
async function ask(one: Esme, body: Buffer): Promise<string> {
  const sequence = one.peer.nextSequence()
  const head = Buffer.alloc(16)
  head.writeUInt32BE(16 + body.length, 0)
  head.writeUInt32BE(command.submit_sm, 4)
  head.writeUInt32BE(sequence, 12)
  const answer = await within(one.peer.send(sequence, Buffer.concat([head, body])), 'submit_sm_resp')
  if (answer.name !== 'submit_sm_resp') throw new Error(`answered by ${answer.name}`)
  if (answer.status !== 0 && answer.octets.length !== 16) throw new Error('a refusal has no body')
  return statusName(answer.status)
}

const soon = (ms: number) => formatAbsolute(Date.now() + ms)
const HOUR = 3_600_000
const DAY = 24 * HOUR
const payload = (octets: number) => `0424 ${octets.toString(16).padStart(4, '0')} ${'00'.repeat(octets)}`
const tlv = (tag: string, octets: number) =>
  `${tag} ${octets.toString(16).padStart(4, '0')} ${'01'.repeat(Math.max(octets, 0))}`

type Case = [title: string, fields: Fields, v34: string, v50?: string]
/** A status for v5.0 is given where it is another. */
const cases: Case[] = [
  // §2.5, what fits
  ['service_type of 5', { service_type: 'ABCDE' }, 'ROK'],
  ['service_type of 6', { service_type: 'ABCDEF' }, 'RINVSERTYP'],
  ['source_addr of 20', { source_addr: '1'.repeat(20) }, 'ROK'],
  ['source_addr of 21', { source_addr: '1'.repeat(21) }, 'RINVSRCADR'],
  ['an empty source_addr', { source_addr: '' }, 'ROK'],
  ['destination_addr of 15', { destination_addr: '120255501234567' }, 'ROK'],
  ['destination_addr of 21', { destination_addr: '1'.repeat(21) }, 'RINVDSTADR'],
  ['an empty destination_addr', { destination_addr: '' }, 'RINVDSTADR'],
  ['a destination_addr of letters', { destination_addr: 'nobody' }, 'RINVDSTADR'],
  ['schedule_delivery_time of 15', { schedule_delivery_time: '00000200000000R' }, 'RINVSCHED'],
  ['schedule_delivery_time of 17', { schedule_delivery_time: '0000020000000000R' }, 'RINVSCHED'],
  ['schedule_delivery_time of 20', { schedule_delivery_time: '00000200000000000000' }, 'RINVSCHED'],
  ['validity_period of 15', { validity_period: '00000200000000R' }, 'RINVEXPIRY'],
  ['validity_period of 17', { validity_period: '0000020000000000R' }, 'RINVEXPIRY'],
  ['short_message of 254', { short_message: 'x'.repeat(254) }, 'ROK'],
  ['short_message of 255', { short_message: 'x'.repeat(255) }, 'RINVMSGLEN', 'ROK'],
  ['message_payload of 34,170', { short_message: '', data_coding: 4, tlvs: payload(34_170) }, 'ROK'],
  [
    'message_payload of more than 255 parts',
    { short_message: '', data_coding: 4, tlvs: payload(34_171) },
    'RINVMSGLEN',
  ],
  ['message_payload of 65,535', { short_message: '', tlvs: payload(65_535) }, 'RINVMSGLEN'],
  ['callback_num of 4', { tlvs: tlv('0381', 4) }, 'ROK'],
  ['callback_num of 3', { tlvs: tlv('0381', 3) }, 'RINVTLVLEN'],
  ['callback_num of 20', { tlvs: tlv('0381', 20) }, 'RINVTLVLEN'],
  ['callback_num_atag of 65', { tlvs: tlv('0303', 65) }, 'ROK'],
  ['callback_num_atag of 66', { tlvs: tlv('0303', 66) }, 'RINVTLVLEN'],
  ['dest_subaddress of 1', { tlvs: tlv('0203', 1) }, 'RINVTLVLEN'],
  ['dest_subaddress of 24', { tlvs: tlv('0203', 24) }, 'RINVTLVLEN'],
  ['its_session_info of 1', { tlvs: tlv('1383', 1) }, 'RINVTLVLEN'],
  ['user_message_reference of 1', { tlvs: tlv('0204', 1) }, 'RINVTLVLEN'],
  ['billing_identification of 1024', { tlvs: tlv('060b', 1024) }, 'ROK'],
  ['billing_identification of 1025', { tlvs: tlv('060b', 1025) }, 'RINVTLVLEN'],
  ['network_id of 66', { tlvs: tlv('060d', 66) }, 'RINVTLVLEN'],
  ['node_id of 5', { tlvs: tlv('060f', 5) }, 'RINVTLVLEN'],

  // §2.6, what is allowed
  ['esm_class 0x01, datagram mode', { esm_class: 1 }, 'ROK'],
  ['esm_class 0x03, store and forward', { esm_class: 3 }, 'ROK'],
  ['esm_class 0x04, a receipt', { esm_class: 0x04 }, 'RINVESMCLASS'],
  ['esm_class 0x08, a delivery acknowledgement', { esm_class: 0x08 }, 'ROK'],
  ['esm_class 0x0c', { esm_class: 0x0c }, 'RINVESMCLASS'],
  ['esm_class 0x10, a user acknowledgement', { esm_class: 0x10 }, 'ROK'],
  ['esm_class 0x18, conversation abort', { esm_class: 0x18 }, 'RINVESMCLASS'],
  ['esm_class 0x20, an intermediate notification', { esm_class: 0x20 }, 'RINVESMCLASS'],
  ['esm_class 0x80, reply path', { esm_class: 0x80 }, 'ROK'],
  ['UDHI without a text', { esm_class: 0x40, short_message: '' }, 'RINVESMCLASS'],
  ['UDHL past the text', { esm_class: 0x40, short_message: hex('05 0003 01') }, 'RINVESMCLASS'],
  ['an element past its UDH', { esm_class: 0x40, short_message: hex('03 0005 01 61') }, 'RINVESMCLASS'],
  ['a sound UDH', { esm_class: 0x40, short_message: hex('05 0003 010201 61') }, 'ROK'],
  ['sm_length past the PDU', { sm_length: 6 }, 'RINVMSGLEN'],
  ['sm_length one short, a NUL behind', { short_message: 'hello\0', sm_length: 5 }, 'ROK'],
  ['sm_length two short', { sm_length: 3 }, 'RINVTLVSTREAM'],
  ['short_message and message_payload', { tlvs: payload(3) }, 'RINVMSGLEN'],
  ['short_message and an empty message_payload', { tlvs: payload(0) }, 'ROK'],
  ['an empty message', { short_message: '' }, 'ROK'],
  ['UCS-2 of an odd number of octets', { data_coding: 8, short_message: 'abc' }, 'RINVMSGLEN'],
  ['data_coding 0x0b, reserved', { data_coding: 0x0b }, 'ROK'],
  ['data_coding 0x84, reserved', { data_coding: 0x84 }, 'ROK'],
  ['data_coding 0xf0, flash', { data_coding: 0xf0 }, 'ROK'],
  ['registered_delivery 0x1e', { registered_delivery: 0x1e }, 'ROK'],
  ['registered_delivery 0x03, success only', { registered_delivery: 3 }, 'RINVREGDLVFLG', 'ROK'],
  ['registered_delivery 0x20, reserved', { registered_delivery: 0x20 }, 'RINVREGDLVFLG'],
  ['registered_delivery 0x81, reserved', { registered_delivery: 0x81 }, 'RINVREGDLVFLG'],
  ['priority_flag 3', { priority_flag: 3 }, 'ROK'],
  ['priority_flag 4', { priority_flag: 4 }, 'RINVPRTFLG', 'ROK'],
  ['priority_flag 5', { priority_flag: 5 }, 'RINVPRTFLG'],
  ['replace_if_present_flag 2', { replace_if_present_flag: 2 }, 'RINVREPFLAG'],
  ['replace_if_present_flag of an account without an index', { replace_if_present_flag: 1 }, 'RINVSUBREP'],
  ['sm_default_msg_id that nobody knows', { short_message: '', sm_default_msg_id: 9 }, 'RINVDFTMSGID'],
  ['source_addr_ton 6', { source_addr_ton: 6 }, 'ROK'],
  ['source_addr_ton 7', { source_addr_ton: 7 }, 'RINVSRCTON'],
  ['source_addr_npi 18', { source_addr_npi: 18 }, 'ROK'],
  ['source_addr_npi 19', { source_addr_npi: 19 }, 'RINVSRCNPI'],
  ['an alphanumeric source_addr of 11', { source_addr_ton: 5, source_addr: 'Trunkline24' }, 'ROK'],
  ['an alphanumeric source_addr of 12', { source_addr_ton: 5, source_addr: 'Trunkline247' }, 'RINVSRCADR'],
  ['dest_addr_ton 7', { dest_addr_ton: 7 }, 'RINVDSTTON'],
  ['dest_addr_npi 19', { dest_addr_npi: 19 }, 'RINVDSTNPI'],
  ['an alphanumeric destination_addr', { dest_addr_ton: 5, destination_addr: 'Trunkline' }, 'RINVDSTADR'],
  ['one octet behind the message', { tlvs: '01' }, 'RINVTLVSTREAM'],
  ['a TLV past the PDU', { tlvs: '0204 0003 0001' }, 'RINVTLVSTREAM'],
  ['three NULs behind the message', { tlvs: '000000' }, 'ROK'],
  ['an unknown TLV', { tlvs: '3fff 0003 010203' }, 'ROK'],
  ['set_dpf 2', { tlvs: '0421 0001 02' }, 'RINVTLVVAL'],
  ['more_messages_to_send 2', { tlvs: '0426 0001 02' }, 'RINVTLVVAL'],
  ['privacy_indicator 4', { tlvs: '0201 0001 04' }, 'RINVTLVVAL'],
  ['dest_addr_subunit 5', { tlvs: '0005 0001 05' }, 'RINVTLVVAL'],
  ['sar_segment_seqnum over its total', { tlvs: '020c 0002 0001 020e 0001 02 020f 0001 03' }, 'ROK'],

  // §2.8, times
  ['a relative schedule', { schedule_delivery_time: '000002000000000R' }, 'ROK'],
  ['an absolute schedule in UTC', { schedule_delivery_time: soon(HOUR) }, 'ROK'],
  ['the schedule 000000000000000R, at once', { schedule_delivery_time: '000000000000000R' }, 'ROK'],
  ['a schedule a minute ago', { schedule_delivery_time: soon(-60_000) }, 'ROK'],
  ['a schedule an hour ago', { schedule_delivery_time: soon(-HOUR) }, 'RINVSCHED'],
  ['a schedule in two years', { schedule_delivery_time: soon(730 * DAY) }, 'RINVSCHED'],
  ['a schedule in month 13', { schedule_delivery_time: '991301000000000+' }, 'RINVSCHED'],
  ['a schedule with a small r', { schedule_delivery_time: '000002000000000r' }, 'RINVSCHED'],
  ['a schedule 49 quarters from UTC', { schedule_delivery_time: `${soon(DAY).slice(0, 13)}49+` }, 'RINVSCHED'],
  ['seven days of validity', { validity_period: '000007000000000R' }, 'ROK'],
  ['a validity that ends now', { validity_period: '000000000000000R' }, 'RINVEXPIRY'],
  ['a validity that has ended', { validity_period: soon(-1000) }, 'RINVEXPIRY'],
  ['a validity of two years', { validity_period: '020000000000000R' }, 'RINVEXPIRY'],
  ['a validity of no date', { validity_period: '990230000000000+' }, 'RINVEXPIRY'],
  [
    'a validity that ends before the schedule',
    { schedule_delivery_time: '000002000000000R', validity_period: '000001000000000R' },
    'RINVEXPIRY',
  ],
  [
    'a validity that ends after the schedule',
    { schedule_delivery_time: '000001000000000R', validity_period: '000002000000000R' },
    'ROK',
  ],
]

story('F: every field at its limits has its own answer, and the session lives', async t => {
  const accounts = {
    shop: {},
    slow: { throughput: 1 },
    strict: { smpp: { emptyMessages: false, maxSegments: 2 } },
  }
  const daemon = await house(t, { accounts, carriers: { up: await smsc(t) } })
  const v34 = await esme(t, daemon.smpp)
  const v50 = await esme(t, daemon.smpp, { interfaceVersion: 0x50 })
  for (const [title, fields, expected, ofV5 = expected] of cases) {
    await t.test(`F: ${title}`, async t => {
      const body = bodyOf(fields)
      t.same(await Promise.all([ask(v34, body), ask(v50, body)]), [`ESME_${expected}`, `ESME_${ofV5}`])
    })
  }
  await t.test('F: a PDU that ends within a field has that field’s answer', async t => {
    const whole = bodyOf({ service_type: 'CMT', short_message: 'hello' })
    const expected: [end: number, status: string][] = [
      [0, 'RINVSERTYP'],
      [3, 'RINVSERTYP'],
      [4, 'RINVSRCTON'],
      [5, 'RINVSRCNPI'],
      [8, 'RINVSRCADR'],
      [11, 'RINVDSTTON'],
      [12, 'RINVDSTNPI'],
      [20, 'RINVDSTADR'],
      [25, 'RINVESMCLASS'],
      [26, 'RINVCMDLEN'],
      [27, 'RINVPRTFLG'],
      [28, 'RINVSCHED'],
      [29, 'RINVEXPIRY'],
      [30, 'RINVREGDLVFLG'],
      [31, 'RINVREPFLAG'],
      [32, 'RINVCMDLEN'],
      [33, 'RINVDFTMSGID'],
      [34, 'RINVMSGLEN'],
      [38, 'RINVMSGLEN'],
      [whole.length, 'ROK'],
    ]
    for (const [end, status] of expected) t.equal(await ask(v34, whole.subarray(0, end)), `ESME_${status}`, `${end}`)
  })
  await t.test('F: the account’s own limits have their answers', async t => {
    const slow = await esme(t, daemon.smpp, { systemId: 'slow' })
    const many = await Promise.all([1, 2, 3, 4].map(() => ask(slow, bodyOf({}))))
    t.ok(many.includes('ESME_RTHROTTLED'), 'in submit_sm_resp')
    const strict = await esme(t, daemon.smpp, { systemId: 'strict' })
    t.equal(await ask(strict, bodyOf({ short_message: '' })), 'ESME_RINVMSGLEN')
  })
  await t.test('F: more segments than the account may have', async t => {
    const strict = await esme(t, daemon.smpp, { systemId: 'strict' })
    const parts = (octets: number): Fields => ({ short_message: '', data_coding: 4, tlvs: payload(octets) })
    t.equal(await ask(strict, bodyOf(parts(268))), 'ESME_ROK', 'two')
    t.equal(await ask(strict, bodyOf(parts(269))), 'ESME_RINVMSGLEN', 'three')
  })
  t.equal((await within(v34.peer.request(command.enquire_link), 'enquire_link_resp')).status, 0)
  t.equal((await within(v50.peer.request(command.enquire_link), 'enquire_link_resp')).status, 0)
})

/** A customer and its carrier, on a daemon that they share with others. */
async function furnished(t: Test, smpp: object = {}): Promise<{ shop: Esme; carrier: Smsc }> {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { accounts: { shop: { smpp } }, carriers: { up: carrier } })
  return { shop: await daemon.enter(t), carrier }
}

lodger('F: TLVs go to the carrier as they came, but for sar_* that name no part', async t => {
  const { shop, carrier } = await furnished(t)
  const ref = '020c00020007'
  const part = `${ref}020e000102020f000101`
  const concat = hex('050003070201 61')
  const sent: [title: string, fields: Fields, arrives: string][] = [
    ['vendor and reserved TLVs', { tlvs: '1400000101 00090002ffff 3fff0000' }, '1400000101 00090002ffff 3fff0000'],
    ['one that comes twice', { tlvs: '1400000101 1400000102' }, '1400000101 1400000102'],
    ['a part', { tlvs: part }, part],
    ['seqnum over total', { tlvs: `${ref}020e000102020f000103 1400000101` }, '1400000101'],
    ['seqnum 0', { tlvs: `${ref}020e000102020f000100` }, ''],
    ['total 0', { tlvs: `${ref}020e000100020f000101` }, ''],
    ['no reference', { tlvs: '020e000102020f000101 02040002beef' }, '02040002beef'],
    ['a part by UDH and by sar', { tlvs: part, esm_class: 0x40, short_message: concat }, ''],
    ['a port in the UDH beside sar', { tlvs: part, esm_class: 0x40, short_message: hex('06050423f00000 61') }, part],
    ['NULs between', { tlvs: `000000${part}` }, part],
  ]
  for (const [title, fields, arrives] of sent) {
    t.equal(await ask(shop, bodyOf(fields)), 'ESME_ROK', title)
    t.equal((await carrier.next()).pdu.tlvs.toString('hex'), arrives.replace(/\s/g, ''), title)
  }
})

lodger('F: message_payload is the text, of one octet or many, and does not go on as a TLV beside it', async t => {
  const { shop, carrier } = await furnished(t)
  for (const text of ['61', '6162', '61'.repeat(140)]) {
    const octets = (text.length / 2).toString(16).padStart(4, '0')
    const tlvs = `02040002beef 0424${octets}${text} 1400000101`
    t.equal(await ask(shop, bodyOf({ short_message: '', tlvs })), 'ESME_ROK')
    const { fields, pdu } = await carrier.next()
    t.equal(fields.short_message.toString('hex'), text)
    t.equal(pdu.tlvs.toString('hex'), '02040002beef1400000101')
  }
})

lodger('F: a text that sm_default_msg_id names goes out as that text', async t => {
  const { shop, carrier } = await furnished(t, { defaultMessages: { 1: 'Ваш заказ готов', 254: 'Closed {today}' } })
  t.equal(await ask(shop, bodyOf({ short_message: '', sm_default_msg_id: 254 })), 'ESME_ROK')
  t.match((await carrier.next()).fields, { data_coding: 0, short_message: hex('436c6f736564201b28746f6461791b29') })
  t.equal(await ask(shop, bodyOf({ short_message: '', sm_default_msg_id: 1 })), 'ESME_ROK')
  const { fields } = await carrier.next()
  t.equal(Buffer.from(fields.short_message).swap16().toString('utf16le'), 'Ваш заказ готов')
  t.equal(fields.data_coding, 8)
  t.equal(await ask(shop, bodyOf({ sm_default_msg_id: 1 })), 'ESME_RINVDFTMSGID', 'with a text of its own')
  t.equal(await ask(shop, bodyOf({ short_message: '', sm_default_msg_id: 2 })), 'ESME_RINVDFTMSGID')
  t.equal(await ask(shop, bodyOf({ short_message: '', sm_default_msg_id: 255 })), 'ESME_RINVDFTMSGID')
})

lodgersOn('F: what carriers get of TLVs and texts is each customer’s own')

t.jobs = 2
