// Long messages that come in parts, of accounts that have them joined: what the carrier gets, and what the customer hears
// of each part. And a carrier's own TLVs on their way to the customer. Against the real daemon.

import t from 'tap'
import { command } from '../protocols/smpp/commands.js'
import type { PduFields } from '../protocols/smpp/pdu.js'
import { formatRelative } from '../protocols/smpp/time.js'
import { findTlv, tlv, tlvBytes, tlvUint, writeTlvBytes, writeTlvUint } from '../protocols/smpp/tlv.js'
import { type Delivered, type Esme, esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { within } from './support/peer.js'
import { type Smsc, type Submitted, smsc } from './support/smsc.js'

t.jobs = 3

type Fields = Partial<PduFields[typeof command.submit_sm]>

const FROM = '1000'
const UDHI = 0x40
const ENROUTE = 1
const DELIVERED = 2
const DELETED = 4
const REJOIN = { accounts: { shop: { smpp: { longMessages: 'rejoin' } } } }

/** 300 characters, in three parts of a hundred. */
const TEXT = Array.from({ length: 60 }, (_, n) => String(n).padStart(5, '.')).join('')
const piece = (seq: number): string => TEXT.slice((seq - 1) * 100, seq * 100)

interface Cut {
  ref?: number
  total?: number
  text?: string
}

/** Part `seq` with an 8-bit header. */
const udh8 = (seq: number, { ref = 7, total = 3, text = piece(seq) }: Cut = {}): Fields => ({
  esm_class: UDHI,
  short_message: Buffer.concat([Buffer.from([5, 0, 3, ref, total, seq]), Buffer.from(text)]),
})

const udh16 = (seq: number): Fields => ({
  esm_class: UDHI,
  short_message: Buffer.concat([Buffer.from([6, 8, 4, 1, 2, 3, seq]), Buffer.from(piece(seq))]),
})

function sar(seq: number): Buffer {
  const tlvs = Buffer.alloc(16)
  let at = writeTlvUint(tlvs, 0, tlv.sar_msg_ref_num, 300, 2)
  at = writeTlvUint(tlvs, at, tlv.sar_total_segments, 3, 1)
  writeTlvUint(tlvs, at, tlv.sar_segment_seqnum, seq, 1)
  return tlvs
}

const tlvOf = ({ pdu: { tlvs } }: Submitted | Delivered, tag: number): Buffer | undefined => {
  const at = findTlv(tlvs, 0, tlvs.length, tag)
  return at < 0 ? undefined : tlvBytes(tlvs, at)
}

async function taken(one: Esme, fields: Fields, tlvs?: Buffer): Promise<string> {
  const { status, message_id } = await one.submit(fields, tlvs)
  if (status !== 'ESME_ROK') throw new Error(status)
  return message_id
}

/** `id stat` of so many receipts, in the order of ids, each of one part. */
async function receipts(one: Esme, count: number): Promise<string[]> {
  const all = (await one.take(count)).map(({ receipt }) => receipt)
  for (const { sub, dlvrd, stat } of all) {
    if (sub !== '001' || dlvrd !== (stat === 'DELIVRD' ? '001' : '000')) throw new Error(`${sub} ${dlvrd} ${stat}`)
  }
  return all.map(({ id, stat }) => `${id} ${stat}`).sort()
}

const every = (ids: readonly string[], stat: string): string[] => ids.map(id => `${id} ${stat}`).sort()

async function stateOf(one: Esme, message_id: string): Promise<number> {
  const answer = await within(one.peer.request(command.query_sm, { message_id, source_addr: FROM }), 'query_sm_resp')
  return (answer.fields as PduFields[typeof command.query_sm_resp]).message_state
}

async function cancel(one: Esme, message_id: string): Promise<number> {
  return (await within(one.peer.request(command.cancel_sm, { message_id, source_addr: FROM }), 'cancel_sm_resp')).status
}

/** A carrier that is away until the test says so: what is accepted meanwhile waits. */
async function away(t: Parameters<typeof smsc>[0]): Promise<Smsc> {
  const carrier = await smsc(t)
  await carrier.close()
  return carrier
}

lodger(
  'parts from two binds, in any order and by any header, reach the carrier as one message in its own form',
  async t => {
    const [payload, sars, wide] = [await smsc(t), await smsc(t), await smsc(t)] as [Smsc, Smsc, Smsc]
    const daemon = await lodge(t, {
      ...REJOIN,
      carriers: {
        payload: { at: payload, longMessages: 'payload' },
        sars: { at: sars, longMessages: 'sar' },
        wide: { at: wide, longMessages: 'udh16' },
      },
      routes: ['payload', 'sars', 'wide'].map((name, n) => ({ match: { destination: String(n + 1) }, to: [name] })),
    })
    const one = await daemon.enter(t)
    const two = await daemon.enter(t)
    const ids = await Promise.all([
      taken(two, { ...udh8(3), destination_addr: '15550001' }),
      taken(one, { ...udh8(1), destination_addr: '15550001' }),
      taken(one, { ...udh8(2), destination_addr: '15550001' }),
    ])
    const whole = await payload.next()
    t.equal(tlvOf(whole, tlv.message_payload)?.toString(), TEXT)
    t.equal(whole.fields.esm_class & UDHI, 0)

    ids.push(await taken(two, { destination_addr: '25550001', short_message: Buffer.from(piece(2)) }, sar(2)))
    ids.push(await taken(one, { destination_addr: '25550001', short_message: Buffer.from(piece(3)) }, sar(3)))
    ids.push(await taken(one, { destination_addr: '25550001', short_message: Buffer.from(piece(1)) }, sar(1)))
    const inSar = await sars.take(2)
    t.equal(inSar.map(sm => sm.text).join(''), TEXT)
    t.same(
      inSar.map(sm => [tlv.sar_total_segments, tlv.sar_segment_seqnum].map(tag => tlvOf(sm, tag)?.[0])),
      [
        [2, 1],
        [2, 2],
      ],
    )

    for (const seq of [3, 2, 1])
      ids.push(await taken(seq === 2 ? two : one, { ...udh16(seq), destination_addr: '35550001' }))
    const inWide = await wide.take(2)
    t.equal(inWide.map(sm => sm.fields.short_message.subarray(7).toString()).join(''), TEXT)
    t.same(
      inWide.map(sm => [...sm.fields.short_message.subarray(0, 3), ...sm.fields.short_message.subarray(5, 7)]),
      [
        [6, 8, 4, 2, 1],
        [6, 8, 4, 2, 2],
      ],
    )

    // Each part's receipt, from whichever bind it comes over.
    const all: string[] = []
    while (one.delivered.length + two.delivered.length < 9) await Promise.race([one.next(), two.next()])
    for (const { receipt } of [...one.delivered, ...two.delivered]) all.push(`${receipt.id} ${receipt.stat}`)
    t.same(all.sort(), every(ids, 'DELIVRD'))
    t.equal(payload.submitted.length + sars.submitted.length + wide.submitted.length, 5)
    const rows = await daemon.history(18)
    t.same(
      rows.filter(row => row.kind === 'e').map(row => `${row.id} ${row.state} ${row.segments}`),
      ids.sort().map(id => `${id} ${DELIVERED} 1`),
    )
  },
)

lodger('each part is told only what it asked for, and the carrier is asked if any part asks', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { ...REJOIN, carriers: { up: { at: carrier, receipts: 'asked' } } })
  const shop = await daemon.enter(t)
  const tlvs = Buffer.from('020400021234', 'hex')
  await taken(shop, { ...udh8(1, { total: 2 }), registered_delivery: 0 })
  const asked = await taken(shop, { ...udh8(2, { total: 2 }), registered_delivery: 1 }, tlvs)
  const sm = await carrier.next()
  t.equal(sm.fields.registered_delivery & 3, 1)
  const told = await shop.next()
  t.equal(told.receipt.id, asked)
  t.equal(tlvOf(told, tlv.user_message_reference)?.readUInt16BE(), 0x1234)
  const rows = await daemon.history(4)
  t.equal(rows.filter(row => row.kind === 'e' && row.state === DELIVERED).length, 2)
  t.equal(shop.delivered.length, 1)
})

lodger('parts whose others never come go as they were cut, in order, while their validity lasts', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { ...REJOIN, carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const validity_period = formatRelative(6_000)
  const third = await taken(shop, { ...udh8(3), validity_period })
  const first = await taken(shop, { ...udh8(1), validity_period })
  // Others do not wait behind them.
  const alone = await taken(shop, { short_message: Buffer.from('alone') })
  t.equal((await carrier.next()).text, 'alone')
  t.equal((await shop.next()).receipt.id, alone)
  const parts = await carrier.take(2)
  t.same(
    parts.map(sm => sm.fields.short_message),
    [udh8(1).short_message, udh8(3).short_message],
  )
  t.same(await receipts(shop, 2), every([first, third], 'DELIVRD'))
  t.equal(await daemon.metric('trunkline_events_total', { name: 'parts_not_joined' }), 2)
})

story('a SIGKILL between parts, and one after the last, loses nothing and sends the whole', async t => {
  const carrier = await away(t)
  const daemon = await house(t, { ...REJOIN, carriers: { up: carrier } })
  const before = await esme(t, daemon.smpp)
  const ids = [await taken(before, udh8(2)), await taken(before, udh8(3))]
  await daemon.kill9()
  await daemon.start()
  const between = await esme(t, daemon.smpp)
  ids.push(await taken(between, udh8(1)))
  await daemon.kill9()
  await daemon.start()
  const shop = await esme(t, daemon.smpp)
  for (const id of ids) t.equal(await stateOf(shop, id), ENROUTE)
  await carrier.open()
  const parts = await carrier.take(2)
  t.equal(parts.map(sm => sm.fields.short_message.subarray(6).toString()).join(''), TEXT)
  t.same(await receipts(shop, 3), every(ids, 'DELIVRD'))
  t.equal(carrier.submitted.length, 2)
})

lodger('query, cancel and replace of a part are of the whole', async t => {
  const carrier = await away(t)
  const daemon = await lodge(t, { ...REJOIN, carriers: { up: carrier } })
  const shop = await daemon.enter(t)
  const gathering = [await taken(shop, udh8(1, { ref: 1 })), await taken(shop, udh8(2, { ref: 1 }))]
  const joined: string[] = []
  for (const seq of [1, 2, 3]) joined.push(await taken(shop, udh8(seq, { ref: 2 })))
  for (const id of [...gathering, ...joined]) t.equal(await stateOf(shop, id), ENROUTE)
  t.equal(await cancel(shop, gathering[0] as string), 0)
  t.equal(await cancel(shop, joined[2] as string), 0)
  t.same(await receipts(shop, 5), every([...gathering, ...joined], 'DELETED'))
  t.not(await cancel(shop, joined[0] as string), 0)
  t.equal(await stateOf(shop, joined[0] as string), DELETED)

  const replaced = [await taken(shop, udh8(1, { total: 2 })), await taken(shop, udh8(2, { total: 2 }))]
  const answer = await shop.peer.request(command.replace_sm, {
    message_id: replaced[1] as string,
    source_addr: FROM,
    registered_delivery: 1,
    short_message: Buffer.from('another'),
  })
  t.equal(answer.status, 0)
  carrier.script = { submit: sm => sm.accept() }
  await carrier.open()
  const sm = await carrier.next()
  t.equal(sm.text, 'another')
  // Its acceptance is noted before the next answer from the carrier is.
  await sm.receipt({ id: 'NOBODY' })
  t.equal(await stateOf(shop, replaced[0] as string), ENROUTE)
  await sm.receipt({ stat: 'UNDELIV', err: '069' })
  t.same(await receipts(shop, 2), every(replaced, 'UNDELIV'))
})

lodger(
  'parts go at once as they came with ports in their header, in transaction mode, or of an account that wants none joined',
  async t => {
    const carrier = await smsc(t)
    const daemon = await lodge(t, { accounts: { ...REJOIN.accounts, other: {} }, carriers: { up: carrier } })
    const shop = await daemon.enter(t)
    const ports = Buffer.from('0b0003070201050423f00000', 'hex')
    await taken(shop, { esm_class: UDHI, short_message: Buffer.concat([ports, Buffer.from('wap')]) })
    t.same((await carrier.next()).fields.short_message.subarray(0, 12), ports)
    await taken(shop, { ...udh8(1), esm_class: UDHI | 2 })
    t.same((await carrier.next()).fields.short_message, udh8(1).short_message)

    const other = await daemon.enter(t, { systemId: 'other' })
    for (const seq of [2, 1, 3]) await taken(other, udh8(seq))
    t.same(
      (await carrier.take(3)).map(sm => sm.fields.short_message),
      [2, 1, 3].map(seq => udh8(seq).short_message),
    )
  },
)

lodger(
  'a carrier’s own TLVs reach the customer with the receipt, bounded; none are given to a peer of v3.3',
  async t => {
    const carrier = await smsc(t, { submit: sm => sm.accept() })
    const daemon = await lodge(t, { accounts: { shop: {}, old: {} }, carriers: { up: carrier } })
    const shop = await daemon.enter(t)
    const old = await daemon.enter(t, { systemId: 'old', interfaceVersion: 0x33 })
    const vendor = Buffer.alloc(600)
    let end = writeTlvBytes(vendor, 0, 0x1403, Buffer.from('26201\0'))
    end = writeTlvUint(vendor, end, tlv.message_state, DELIVERED, 1)
    end = writeTlvBytes(vendor, end, 0x1500, Buffer.alloc(300))
    end = writeTlvBytes(vendor, end, 0x3fff, Buffer.alloc(200, 'x'))
    end = writeTlvBytes(vendor, end, 0x4000, Buffer.from('not of a vendor'))
    const id = await taken(shop, {}, Buffer.from('0204000212341401000161', 'hex'))
    await (await carrier.next()).receipt({ tlvs: vendor.subarray(0, end) })
    const told = await shop.next()
    t.equal(told.receipt.id, id)
    t.equal(tlvOf(told, 0x1403)?.toString(), '26201\0')
    t.equal(tlvOf(told, 0x3fff)?.length, 200)
    t.equal(tlvOf(told, 0x1500), undefined, 'too long')
    t.equal(tlvOf(told, 0x4000), undefined)
    t.equal(tlvOf(told, 0x1401), undefined, 'the customer’s own are the carrier’s to read')
    const { tlvs } = told.pdu
    t.equal(tlvUint(tlvs, findTlv(tlvs, 0, tlvs.length, tlv.user_message_reference)), 0x1234)

    await taken(old, {})
    await (await carrier.next()).receipt({ tlvs: vendor.subarray(0, end) })
    const plain = await old.next()
    t.equal(plain.pdu.tlvs.length, 0)
    t.equal(plain.receipt.stat, 'DELIVRD')
  },
)

lodgersOn('customers share a daemon, and no part of one joins another’s', { oneSource: true })
