// What a carrier's deliver_sm is taken for, what its command_status means, and parts of a message put together: the
// pure parts of the way back, by tables. PDUs seen in the field come from the folder that VECTORS names.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { buildConcatUdh } from '../protocols/gsm/udh.js'
import { messageState } from '../protocols/smpp/receipt.js'
import { readSm, Sm } from '../protocols/smpp/sm.js'
import { status } from '../protocols/smpp/status.js'
import type { Part } from '../src/carriers/driver.js'
import { type InboundRules, readReceipt, readReply, replyFault } from '../src/carriers/inbound.js'
import { fillSubmit, type OutboundRules } from '../src/carriers/outbound.js'
import { outcomeOf, ownMeanings } from '../src/carriers/outcomes.js'
import { otherRefs, type RefRule, refOfAnswer, refOfReceipt } from '../src/carriers/refs.js'
import { Message } from '../src/model/message.js'
import type { Receipt, Reply } from '../src/model/outcome.js'
import { Joined, Rejoiner } from '../src/returns/rejoin.js'
import { type Report, way } from '../src/spool/contract.js'

const VECTORS = process.env.VECTORS
const NOW = Date.UTC(2026, 10, 20, 12)
const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')
const ASIS = { source: [], destination: [], replySource: [], replyDestination: [] }
const PLAIN: InboundRules = { refs: 'same', textReceipts: false }
const { ENROUTE, DELIVERED, EXPIRED, UNDELIVERABLE, ACCEPTED, UNKNOWN, REJECTED } = messageState

const words = (id: string, stat = 'DELIVRD', err = '000'): Buffer =>
  Buffer.from(`id:${id} sub:001 dlvrd:001 submit date:2611201150 done date:2611201155 stat:${stat} err:${err} text:hi`)

function sm(fields: Partial<Sm>): Sm {
  return Object.assign(new Sm(), { source_addr: '12025550123', destination_addr: '1000', esm_class: 4 }, fields)
}

const read = (fields: Partial<Sm>, rules: Partial<InboundRules> = {}) =>
  readReceipt(sm(fields), { ...PLAIN, ...rules }, NOW)

const id = (ref: string): Buffer => {
  const octets = Buffer.from(ref)
  return Buffer.concat([hex('001e'), Buffer.from([0, octets.length + 1]), octets, hex('00')])
}
const tlvs = (...all: (Buffer | string)[]): Buffer =>
  Buffer.concat(all.map(one => (typeof one === 'string' ? hex(one) : one)))

t.test('a receipt is known by its bits, by its TLVs, and by its words where the carrier is known for it', async t => {
  for (const esm_class of [0x04, 0x24, 0x44, 0x64, 0x07, 0x84]) {
    t.match(
      read({ esm_class, short_message: words('A1') }),
      { ref: 'A1', state: DELIVERED },
      `0x${esm_class.toString(16)}`,
    )
  }
  t.match(read({ esm_class: 0, short_message: words('A1') }), undefined, 'its words alone are anybody’s')
  t.match(read({ esm_class: 0, short_message: words('A1') }, { textReceipts: true }), { ref: 'A1', state: DELIVERED })
  t.equal(read({ esm_class: 0, short_message: Buffer.from('id: please') }, { textReceipts: true }), undefined)
  t.match(read({ esm_class: 0, tlvs: tlvs(id('A1'), '0427 0001 05') }), { ref: 'A1', state: UNDELIVERABLE })
  t.match(read({ esm_class: 0x08, short_message: words('A1') }), { ref: 'A1' }, 'a receipt as an SME’s acknowledgement')
  t.equal(read({ esm_class: 0x08, short_message: Buffer.from('I have read it') }), undefined, 'an acknowledgement')
  t.equal(read({ esm_class: 0x08, tlvs: tlvs('0204 0002 0001') }), undefined)
  t.equal(read({ esm_class: 0x10, tlvs: id('A1'), short_message: Buffer.from('yes') }), undefined, 'a user’s answer')
  t.equal(read({ esm_class: 0x0d, short_message: Buffer.from('hello') }), undefined, 'a kind that there is not')
  t.equal(read({ esm_class: 0, short_message: Buffer.from('hello'), tlvs: tlvs('0204 0002 0001') }), undefined)
  for (const short_message of [Buffer.alloc(0), Buffer.from('x'), Buffer.from('stat:DELIVRD err:000')]) {
    t.equal(read({ short_message }), null, 'a receipt that names nothing')
    t.equal(read({ short_message, tlvs: tlvs('001e 0000', '0427 0001 02') }), null)
  }
})

t.test('the words of a receipt are read wherever and in whatever octets they stand', async t => {
  const body = words('a1-7', 'UNDELIV', '013')
  const wide = Buffer.from(body.toString(), 'utf16le')
  const cases: [string, Partial<Sm>][] = [
    ['message_payload', { tlvs: tlvs('0424', Buffer.from([0, body.length]), body) }],
    ['UCS-2', { data_coding: 8, short_message: Buffer.from(wide).swap16() }],
    ['UCS-2 that says it is not', { data_coding: 0, short_message: Buffer.from(wide).swap16() }],
    ['UCS-2 the wrong way round', { data_coding: 8, short_message: wide }],
    ['a byte order mark', { data_coding: 8, short_message: Buffer.concat([hex('feff'), Buffer.from(wide).swap16()]) }],
    ['text under the name of UCS-2', { data_coding: 8, short_message: body }],
    ['behind a UDH', { esm_class: 0x44, short_message: Buffer.concat([hex('0500030a0101'), body]) }],
    ['the UDH bit without a UDH', { esm_class: 0x44, short_message: body }],
    ['a NUL at its end', { short_message: Buffer.concat([body, hex('00')]) }],
  ]
  for (const [title, fields] of cases) {
    t.match(
      read(fields),
      { ref: 'A1-7', state: UNDELIVERABLE, err: '013', doneMs: Date.UTC(2026, 10, 20, 11, 55) },
      title,
    )
  }
})

t.test('an id is compared in one form, whatever its base, zeros, case, length and end', async t => {
  const cases: [RefRule, answer: string, receipt: string][] = [
    ['same', '0001a2B3', '1A2B3'],
    ['same', '74e02ee1-4e2f-4a6e', '74E02EE1-4E2F-4A6E'],
    ['same', '000', '0'],
    ['same', '12345678901234567890', '012345678901234567890'],
    ['hex-dec', '0001a2B3', '107187'],
    ['hex-dec', '1A2B3', '0000107187'],
    ['hex-dec', 'fffffffffffffffffff', '75557863725914323419135'],
    ['dec-hex', '489708364', '1d305b4c'],
    ['dec-hex', '0489708364', '001D305B4C'],
    ['hex-dec', 'x-17', 'X-17'],
  ]
  for (const [rule, answer, receipt] of cases) {
    t.equal(refOfAnswer(rule, answer), refOfReceipt(rule, receipt), `${rule}: ${answer} is ${receipt}`)
  }
  t.same(otherRefs('107187'), ['1A2B3', '1077639'])
  t.same(otherRefs('1d305b4c'), ['489708364'])
  t.same(otherRefs('x-17'), [])
  t.same(otherRefs('0007'), [])
  for (const value of ['4131 00', '4131', '4131 0000', '2041 3120', '4131 00ff']) {
    const octets = hex(value)
    t.match(read({ tlvs: tlvs('001e', Buffer.from([0, octets.length]), octets) }), { ref: 'A1' }, value)
  }
  t.match(read({ tlvs: hex('001e 0041 41'), short_message: words('B2') }), { ref: 'B2' }, 'a length past the end')
  t.equal((read({ short_message: words('9'.repeat(200)) }) as Receipt).ref.length, 128)
})

t.test('where TLV and text name the message differently both are tried, the TLV first', async t => {
  const both = { tlvs: id('1d305b4c'), short_message: words('0489708364') }
  t.match(read(both), { ref: '1D305B4C', others: ['489708364'] })
  t.match(read(both, { refs: 'dec-hex' }), { ref: '489708364' }, 'each in the carrier’s own form')
  t.match(read(both, { refs: 'hex-dec' }), { ref: '1D305B4C', others: ['489708364'] })
  t.match(read({ ...both, tlvs: id('489708364') }), { others: null }, 'but for zeros')
  t.match(read({ short_message: words('107187') }, { refs: 'either' }), { ref: '107187', others: ['1A2B3', '1077639'] })
  t.same((read(both, { refs: 'either' }) as Receipt).others, ['489708364', String(0x489708364)])
  t.match(read({ short_message: words('x-17') }, { refs: 'either' }), { ref: 'X-17', others: [] })
})

t.test('of two states the TLV’s holds, but one that is the end is believed against one that is not', async t => {
  const cases: [told: number | null, stat: string, state: number][] = [
    [null, 'ENROUTE', ENROUTE],
    [null, 'ACCEPTD', ACCEPTED],
    [null, 'BADSTAT', UNKNOWN],
    [2, 'DELIVRD', DELIVERED],
    [2, 'UNDELIV', DELIVERED],
    [5, 'DELIVRD', UNDELIVERABLE],
    [5, 'ACCEPTD', UNDELIVERABLE],
    [1, 'DELIVRD', DELIVERED],
    [6, 'EXPIRED', EXPIRED],
    [6, 'ENROUTE', ACCEPTED],
    [6, 'WHATEVER', ACCEPTED],
    [7, 'REJECTD', REJECTED],
    [7, 'WHATEVER', UNKNOWN],
    [10, 'DELIVRD', DELIVERED],
  ]
  for (const [told, stat, state] of cases) {
    const state_tlv = told === null ? [] : ['0427 0001', Buffer.from([told])]
    t.match(read({ short_message: words('A1', stat), tlvs: tlvs(...state_tlv) }), { state }, `${told} and ${stat}`)
  }
  t.match(read({ tlvs: tlvs(id('A1')) }), { state: UNKNOWN }, 'neither')
  const notice = (stat: string) => read({ esm_class: 0x20, short_message: words('A1', stat) })
  t.match(notice('UNDELIV'), { state: ENROUTE }, 'a try that failed is not the end')
  t.match(notice('ACCEPTD'), { state: ACCEPTED })
  t.match(notice('DELIVRD'), { state: DELIVERED }, 'but what is delivered is')
})

t.test('a network’s error code is read as octets, as digits, and as the code alone', async t => {
  const cases: [tlv: string, network: number, err: string][] = [
    ['0423 0003 030022', 0x030022, '034'],
    ['0423 0003 08012f', 0x08012f, '303'],
    ['0423 0003 303334', 0x030022, '034'],
    ['0423 0002 0022', 0x030022, '034'],
    ['0423 0000', 0, '000'],
    ['0423 0006 303030303334', 0, '000'],
  ]
  for (const [octets, network, err] of cases) {
    t.match(read({ short_message: words('A1', 'UNDELIV'), tlvs: hex(octets) }), { network, err }, octets)
  }
  const own = { short_message: words('A1', 'UNDELIV', '21b'), tlvs: hex('0423 0003 030022') }
  t.match(read(own), { network: 0x030022, err: '21b' }, 'the text’s own err stays')
})

const pdus = VECTORS
  ? (JSON.parse(readFileSync(join(VECTORS, 'pdu-hex.json'), 'utf8')) as { src: string; line: number; hex: string }[])
  : []

t.test(
  'receipts seen in the field are receipts, and nothing else is',
  VECTORS ? {} : { skip: 'VECTORS names no folder' },
  async t => {
    let receipts = 0
    for (const { src, line, hex: octets } of pdus) {
      const buf = hex(octets)
      if (buf.length < 16 || (buf.readUInt32BE(4) !== 5 && buf.readUInt32BE(4) !== 0x103)) continue
      const pdu = new Sm()
      if (readSm(buf, 0, buf.length, pdu) !== 0) continue
      const receipt = readReceipt(pdu, PLAIN, NOW)
      const where = `${src}:${line}`
      const spoken = /stat:/.test(readReply(pdu, 1, ASIS).body.toString('latin1'))
      const named = pdu.tlvs.includes(hex('001e'))
      t.equal(receipt != null, spoken || (pdu.esm_class === 4 && named), where)
      if (receipt == null) continue
      receipts++
      t.ok(receipt.ref !== '' && receipt.state >= 1 && receipt.state <= 8, where)
      // Where the two names differ, they are one number in two bases.
      for (const other of receipt.others ?? []) t.equal(BigInt(`0x${receipt.ref}`).toString(), other, where)
    }
    t.ok(receipts > 15, `${receipts} receipts`)
  },
)

t.test('every command_status has a meaning, and the carrier’s own settings come first', async t => {
  const kinds = (codes: readonly number[]) => new Set(codes.map(code => outcomeOf(code).kind))
  t.same(kinds([status.ESME_RTHROTTLED, status.ESME_RMSGQFUL]), new Set(['throttled']))
  t.same(kinds([status.ESME_RSYSERR, status.ESME_RX_T_APPN, status.ESME_RSERTYPUNAVAIL]), new Set(['deferred']))
  t.same(kinds([0x22, 0x400, 0x4ff, 0xff, 0x7fffffff]), new Set(['deferred']), 'codes that nobody knows')
  t.same(
    kinds([status.ESME_RINVDSTADR, status.ESME_RINVMSGLEN, status.ESME_RPROHIBITED, status.ESME_RINVDCS, 0xc3]),
    new Set(['refused']),
  )
  t.same(outcomeOf(0x22), { kind: 'deferred', code: '0x00000022', reason: '0x00000022' })
  const own = ownMeanings({ '0x400': 'refused', '0x4A1': 'throttled', '0x0b': 'deferred' })
  t.equal(outcomeOf(0x400, own).kind, 'refused')
  t.same(outcomeOf(0x4a1, own), { kind: 'throttled', code: '0x000004a1' })
  t.equal(outcomeOf(status.ESME_RINVDSTADR, own).kind, 'deferred')
  t.equal(outcomeOf(0x401, own).kind, 'deferred')
})

t.test('a submit_sm says what the customer gave as its carrier takes it', async t => {
  const rules: OutboundRules = {
    rewrite: ASIS,
    interfaceVersion: 0x34,
    serviceType: null,
    sourceTon: null,
    sourceNpi: null,
    destTon: null,
    destNpi: null,
    registeredDelivery: 0x1f,
    validity: 'relative',
  }
  const message = Object.assign(new Message(), { service_type: 'WAP', source_addr_ton: 5, source_addr: 'Acme' })
  const submit = (more: Partial<OutboundRules>, part: Partial<Part> = {}): Sm | undefined => {
    const whole: Part = {
      message,
      index: 0,
      esm_class: 0,
      data_coding: 0,
      short_message: Buffer.from('hi'),
      payload: false,
      registered_delivery: 0xfd,
      tlvs: hex('0204 0002 0001'),
      sentMs: 0,
      ...part,
    }
    const filled = new Sm()
    return fillSubmit(filled, whole, { ...rules, ...more }, NOW) ? filled : undefined
  }
  const told = (days: number, more: Partial<OutboundRules> = {}) => {
    message.validUntilMs = NOW + days * 86_400_000
    return submit(more)?.validity_period
  }
  t.equal(told(7), '', 'our own default is not told')
  message.validityGiven = true
  t.equal(told(7), '000007000000000R')
  t.equal(told(40.5), '000040120000000R')
  t.equal(told(0), '000000000001000R', 'never nothing')
  t.equal(told(7, { validity: 'absolute' }), '261127120000000+')
  t.equal(told(7, { validity: 'never' }), '')
  t.match(submit({}), { service_type: 'WAP', source_addr_ton: 5, registered_delivery: 0x1d }, 'marks of ours stay here')
  t.match(submit({ serviceType: '', sourceTon: 1, registeredDelivery: 4 }), {
    service_type: '',
    source_addr_ton: 1,
    registered_delivery: 5,
  })
  for (const [address, ton, npi] of [
    ['Acme', 5, 0],
    ['1-800-FLOWERS', 5, 0],
    ['74000', 3, 0],
    ['123456', 3, 0],
    ['1234567', 1, 1],
    ['12025550123', 1, 1],
    ['+1202', 1, 1],
    ['', 0, 0],
  ] as const) {
    message.source_addr = address
    t.match(submit({ sourceTon: 'auto' }), { source_addr: address, source_addr_ton: ton, source_addr_npi: npi })
    t.match(
      submit({ sourceTon: 'auto', sourceNpi: 9 }),
      { source_addr_ton: ton, source_addr_npi: 9 },
      'a plan of its own',
    )
  }
  t.same(submit({})?.tlvs, hex('0204 0002 0001'))
  t.same(submit({ interfaceVersion: 0x33 })?.tlvs.length, 0)
  for (const long of [{ payload: true }, { short_message: Buffer.alloc(255) }]) {
    const { length } = long.short_message ?? Buffer.from('hi')
    t.same([submit({}, long)?.short_message.length, submit({}, long)?.tlvs.length], [0, 6 + 4 + length])
    t.equal(submit({ interfaceVersion: 0x33 }, long), undefined)
  }
})

t.test('a message from a phone is a copy: it keeps nothing of what was read', async t => {
  const chunk = Buffer.alloc(65_536, 0x61)
  tlvs('0424 0003 616263', '1403 0001 07').copy(chunk, 200)
  const of = (short_message: Buffer, from: number, to: number) =>
    readReply(sm({ short_message, tlvs: chunk.subarray(from, to) }), 3, ASIS)
  const both = of(chunk.subarray(0, 160), 207, 212)
  const payload = of(Buffer.alloc(0), 200, 212)
  const text = of(chunk.subarray(0, 9), 0, 0)
  t.match(both, { carrier: 3, body: Buffer.alloc(160, 0x61), tlvs: hex('1403 0001 07') })
  t.match(payload, { body: Buffer.from('abc'), tlvs: hex('1403 0001 07') })
  t.match(text, { body: Buffer.alloc(9, 0x61), tlvs: Buffer.alloc(0) })
  chunk.fill(0)
  for (const { body, tlvs } of [both, payload, text]) {
    t.ok(body.length > 0 && !body.includes(0), 'the text stays')
    for (const one of [body, tlvs]) t.ok(one.buffer.byteLength <= 165, 'and holds no memory but its own')
  }
})

t.test('a message from a phone has the addresses that its carrier’s settings make of them', async t => {
  const rules = {
    ...ASIS,
    replySource: [{ prefix: '0', replace: '49', ton: 1, npi: 1 }],
    replyDestination: [{ map: { '70': '4930123' } }],
  }
  const written = readReply(sm({ source_addr: '015112345678', source_addr_ton: 2, destination_addr: '70' }), 3, rules)
  t.match(written, {
    source_addr: '4915112345678',
    source_addr_ton: 1,
    source_addr_npi: 1,
    destination_addr: '4930123',
  })
  const other = readReply(sm({ source_addr: '12025550123', source_addr_ton: 2, destination_addr: '71' }), 3, rules)
  t.match(other, { source_addr: '12025550123', source_addr_ton: 2, destination_addr: '71' })
})

t.test('a message from a phone is refused where its addresses have no room in a deliver_sm', async t => {
  t.equal(replyFault(sm({ source_addr: '1'.repeat(20), destination_addr: '2'.repeat(20) })), 0)
  t.equal(replyFault(sm({ source_addr: '1'.repeat(21) })), status.ESME_RINVSRCADR)
  t.equal(replyFault(sm({ destination_addr: '2'.repeat(64) })), status.ESME_RINVDSTADR)
})

// -- parts of messages from phones ---------------------------------------------

let seq = 0
function part(body: Buffer, fields: Partial<Reply> = {}, atMs = NOW): Report {
  const { source_addr, destination_addr } = sm({})
  const reply = { ...readReply(sm({ source_addr, destination_addr, esm_class: 0x40 }), 1, ASIS), body, ...fields }
  return { seq: ++seq, way: way.bind, account: 1, kind: 'reply', atMs, reply }
}
const udh = (ref: number, total: number, n: number, text: string, bits: 8 | 16 = 8): Buffer =>
  Buffer.concat([buildConcatUdh(ref, total, n, bits), Buffer.from(text)])
const sar = (ref: number, total: number, n: number, text: string): Report => {
  const numbers = [ref >> 8, ref & 255].map(x => x.toString(16).padStart(2, '0')).join('')
  const two = (n: number): string => n.toString(16).padStart(2, '0')
  const stream = hex(`020c 0002 ${numbers} 020e 0001 ${two(total)} 020f 0001 ${two(n)} 1403 0001 07`)
  return part(Buffer.from(text), { esm_class: 0, tlvs: stream })
}

function rejoiner(limits = {}) {
  const released: Report[] = []
  const one = new Rejoiner(
    { ms: 1_000, parts: 10, octets: 10_000, ...limits },
    { release: report => released.push(report), newest: () => seq, isPacked: () => false },
  )
  return { one, released }
}

t.test('parts come in any order, by either header or by sar, and leave as one', async t => {
  for (const bits of [8, 16] as const) {
    const { one } = rejoiner()
    const parts = [2, 3, 1].map(n => part(udh(bits === 8 ? 7 : 0x1234, 3, n, `text ${n} `, bits)))
    t.equal(one.take(parts[0] as Report, NOW), 'held')
    t.equal(one.take(parts[1] as Report, NOW), 'held')
    t.equal(one.held, 2)
    const whole = one.take(parts[2] as Report, NOW)
    t.ok(whole instanceof Joined)
    t.match((whole as Joined).reply, { esm_class: 0, body: Buffer.from('text 1 text 2 text 3 ') })
    t.same(
      (whole as Joined).parts.map(one => one.seq),
      [parts[2]?.seq, parts[0]?.seq, parts[1]?.seq],
    )
    t.same([one.held, one.octets], [0, 0])
  }
  const { one } = rejoiner()
  t.equal(one.take(sar(300, 2, 2, 'world'), NOW), 'held')
  const whole = one.take(sar(300, 2, 1, 'hello '), NOW) as Joined
  t.match(whole.reply, { esm_class: 0, body: Buffer.from('hello world'), tlvs: hex('1403 0001 07') })
})

t.test('what is no part, or belongs to another message, is nobody’s missing piece', async t => {
  const { one, released } = rejoiner()
  for (const single of [
    part(Buffer.from('hello'), { esm_class: 0 }),
    part(udh(1, 1, 1, 'one of one')),
    part(hex('050003010003 61')),
    sar(5, 2, 3, 'third of two'),
    part(hex('0605040b8423f0 61')),
  ]) {
    t.equal(one.take(single, NOW), single)
  }
  t.equal(one.take(part(udh(1, 2, 1, 'a')), NOW), 'held')
  for (const other of [
    part(udh(2, 2, 2, 'b')),
    part(udh(1, 3, 2, 'b')),
    part(udh(1, 2, 2, 'b', 16)),
    part(udh(1, 2, 2, 'b'), { source_addr: '447700900123' }),
    part(udh(1, 2, 2, 'b'), { destination_addr: '2000' }),
    part(udh(1, 2, 2, 'b'), { data_coding: 8 }),
    sar(1, 2, 2, 'b'),
    { ...part(udh(1, 2, 2, 'b')), account: 2 },
  ]) {
    t.equal(one.take(other, NOW), 'held')
  }
  t.same(released, [])
})

t.test('a part that comes twice is done with the whole, and one that comes after the whole is dropped', async t => {
  const { one } = rejoiner()
  const [first, again, second] = [part(udh(1, 2, 1, 'a')), part(udh(1, 2, 1, 'a')), part(udh(1, 2, 2, 'b'))]
  for (const held of [first, again]) t.equal(one.take(held, NOW), 'held')
  const whole = one.take(second, NOW) as Joined
  t.equal(whole.reply.body.toString(), 'ab')
  t.same(whole.parts, [first, second, again])
  // Given back, not delivered: it is put together once more.
  for (const held of [first, again]) t.equal(one.take(held, NOW), 'held')
  one.done(one.take(second, NOW) as Joined, NOW)
  t.equal(one.take(part(udh(1, 2, 2, 'b')), NOW + 999), 'again')
  t.equal(one.take(part(udh(1, 2, 1, 'another text')), NOW + 999), 'held')
  t.ok(one.take(part(udh(1, 2, 2, 'b')), NOW + 1_000) instanceof Joined, 'after a while it is a message of its own')
})

t.test(
  'what stays incomplete goes as it came: after its time, before too much is held, when it does not fit',
  async t => {
    const { one, released } = rejoiner()
    const [first, late, third] = [
      part(udh(1, 3, 1, 'a')),
      part(udh(1, 3, 2, 'b'), {}, NOW + 1),
      part(udh(1, 3, 3, 'c')),
    ]
    for (const held of [first, third]) one.take(held, NOW)
    t.equal(one.tick(NOW + 999), 0)
    t.equal(one.tick(NOW + 1_000), 1)
    t.same(released, [third, first], 'the newest first, for it belongs last')
    for (const back of released) t.equal(one.take(back, NOW + 1_000), back, 'it does not wait again')
    t.equal(one.take(late, NOW + 1_000), late)
    t.equal(one.take(part(udh(1, 3, 2, 'b'), {}, NOW + 2_000), NOW + 2_000), 'held', 'another message of that number')

    for (const limits of [{ parts: 2 }, { octets: 20 }]) {
      const { one, released } = rejoiner(limits)
      const all = [1, 2, 3].map(ref => part(udh(ref, 2, 1, 'abc')))
      for (const held of all) t.equal(one.take(held, NOW), 'held')
      t.same(released, all.slice(0, 1), 'the oldest makes room')
      t.equal(one.held, 2)
    }

    const clash = rejoiner()
    const old = part(udh(1, 2, 1, 'old'))
    clash.one.take(old, NOW)
    t.equal(clash.one.take(part(udh(1, 2, 1, 'new'), {}, NOW + 5), NOW + 5), 'held')
    t.same(clash.released, [old])
    const whole = clash.one.take(part(udh(1, 2, 2, '!'), {}, NOW + 6), NOW + 6) as Joined
    t.equal(whole.reply.body.toString(), 'new!')
    clash.one.apart(whole)
    t.equal(clash.released.length, 3)
  },
)

t.test('what else the headers say is said once by the whole, unless the parts say different things', async t => {
  const { one, released } = rejoiner()
  const turkish = (n: number, table = 1) =>
    part(Buffer.concat([hex(`08 000307020${n} 24010${table}`), Buffer.from('x')]))
  one.take(turkish(1), NOW)
  t.match((one.take(turkish(2), NOW) as Joined).reply, { esm_class: 0x40, body: hex('03 240101 7878') })
  const odd = [turkish(1), turkish(2, 2)] as const
  t.equal(one.take(odd[0], NOW), 'held')
  t.equal(one.take(odd[1], NOW), 'held')
  t.same(released, [odd[1], odd[0]])
  t.equal(one.take(odd[0], NOW), odd[0])
})
