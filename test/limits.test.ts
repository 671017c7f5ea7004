// What is too long, too large or too much, from either side: it is refused by the standard's own name, nobody else is
// harmed, and the daemon lives. Against the real daemon.

import t from 'tap'
import { encodeUcs2 } from '../protocols/gsm/alphabet.js'
import { command } from '../protocols/smpp/commands.js'
import { status } from '../protocols/smpp/status.js'
import { tlv, writeTlvBytes, writeTlvUint } from '../protocols/smpp/tlv.js'
import { esme } from './support/esme.js'
import { house, story } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { minuteText } from './support/moment.js'
import { within } from './support/peer.js'
import { smsc } from './support/smsc.js'

t.jobs = 3

const FROM = '1000'
const UDHI = 0x40
const NO_TEXT = Buffer.alloc(0)

function payload(text: Buffer): Buffer {
  const tlvs = Buffer.alloc(4 + text.length)
  writeTlvBytes(tlvs, 0, tlv.message_payload, text)
  return tlvs
}

function sar(ref: number, total: number, seq: number): Buffer {
  const tlvs = Buffer.alloc(16)
  let at = writeTlvUint(tlvs, 0, tlv.sar_msg_ref_num, ref, 2)
  at = writeTlvUint(tlvs, at, tlv.sar_total_segments, total, 1)
  writeTlvUint(tlvs, at, tlv.sar_segment_seqnum, seq, 1)
  return tlvs
}

lodger('a text that plain characters make longer than can be kept is refused, and the daemon goes on', async t => {
  const carrier = await smsc(t, { submit: sm => sm.accept() })
  await carrier.close()
  const daemon = await lodge(t, { accounts: { shop: { smpp: { smartReplace: true } } }, carriers: { a: carrier } })
  const shop = await daemon.enter(t, { interfaceVersion: 0x50 })
  const long = payload(encodeUcs2('Δ'.repeat(32_600) + '…'.repeat(160)))
  const refused = await shop.submit({ data_coding: 8, short_message: NO_TEXT }, long)
  t.equal(refused.status, 'ESME_RINVMSGLEN')

  const { status: taken, message_id } = await shop.submit({ data_coding: 8, short_message: encodeUcs2('Δ') })
  t.equal(taken, 'ESME_ROK')
  const replaced = await within(
    shop.peer.request(command.replace_sm, { message_id, source_addr: FROM, short_message: NO_TEXT }, long),
    'replace_sm_resp',
  )
  t.equal(replaced.status, status.ESME_RINVMSGLEN, 'in a replace_sm too')
  await carrier.open()
  t.same((await carrier.next()).fields.short_message, encodeUcs2('Δ'), 'what waited is as it was')
})

lodger('octets with a header that one message does not hold are refused, whatever the header says', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { accounts: { shop: { smpp: { maxSegments: 3 } } }, carriers: { a: carrier } })
  const shop = await daemon.enter(t)
  for (const header of ['03240101', '050003010201', '0605040b8423f0']) {
    const octets = (count: number) => Buffer.concat([Buffer.from(header, 'hex'), Buffer.alloc(count, 0x61)])
    const submit = (text: Buffer) => shop.submit({ esm_class: UDHI, short_message: NO_TEXT }, payload(text))
    t.equal((await submit(octets(60_000))).status, 'ESME_RINVMSGLEN', header)
    t.equal((await submit(octets(157))).status, 'ESME_RINVMSGLEN', header)
    t.equal((await submit(octets(152))).status, 'ESME_ROK', header)
    t.equal((await carrier.next()).fields.short_message.length, header.length / 2 + 152)
  }
})

lodger('a carrier of v3.3 gets the numbers of parts by sar_* in a header', async t => {
  const old = await smsc(t)
  const daemon = await lodge(t, { carriers: { old: { at: old, interfaceVersion: 0x33 } } })
  const shop = await daemon.enter(t)
  for (const seq of [1, 2]) {
    const text = Buffer.from(String(seq).repeat(153))
    t.equal((await shop.submit({ short_message: text }, sar(0x1234, 2, seq))).status, 'ESME_ROK')
    const { fields, pdu } = await old.next()
    t.equal(fields.short_message.toString('latin1'), `\x05\x00\x03\x34\x02${String.fromCharCode(seq)}${text}`)
    t.same([fields.esm_class & UDHI, pdu.tlvs.length], [UDHI, 0])
  }
  const most = await shop.submit({ short_message: Buffer.alloc(154, 0x61) }, sar(1, 2, 1))
  t.equal(most.status, 'ESME_ROK')
  const [, , ended] = await shop.take(3)
  t.match(ended?.receipt, { id: most.message_id, stat: 'REJECTD' }, 'what has no room for it is not sent without')
  t.equal(old.submitted.length, 2)
})

story(
  'a carrier’s data_sm with an address that no deliver_sm holds is refused, but its receipts are taken',
  async t => {
    const carrier = await smsc(t, { submit: sm => sm.accept() })
    const daemon = await house(t, { accounts: { shop: { numbers: ['2000'] } }, carriers: { a: carrier } })
    const shop = await esme(t, daemon.smpp)
    await carrier.bound()
    const data = async (source_addr: string, destination_addr: string, esm_class: number, tlvs: Buffer) => {
      const fields = { source_addr, destination_addr, esm_class }
      return (await within(carrier.link.request(command.data_sm, fields, tlvs), 'data_sm_resp')).status
    }
    const text = payload(Buffer.from('hi'))
    t.equal(await data('1'.repeat(21), '2000', 0, text), status.ESME_RINVSRCADR)
    t.equal(await data('1'.repeat(64), '2000', 0, text), status.ESME_RINVSRCADR)
    t.equal(await data('1', '2'.repeat(21), 0, text), status.ESME_RINVDSTADR)
    t.equal(await data('1'.repeat(20), '2000', 0, text), 0)
    t.match((await shop.next()).fields, { source_addr: '1'.repeat(20), destination_addr: '2000' })
    t.equal(await daemon.metric('trunkline_events_total', { name: 'reply_address_too_long' }), 3)
    t.equal(daemon.lines('reply with too long an address: refused').length, 1)

    const { message_id } = await shop.submit()
    const { ref } = await carrier.next()
    const done = minuteText()
    const words = `id:${ref} sub:001 dlvrd:001 submit date:${done} done date:${done} stat:DELIVRD err:000 text:`
    t.equal(await data('1'.repeat(64), FROM, 4, payload(Buffer.from(words))), 0)
    t.match((await shop.next()).receipt, { id: message_id, stat: 'DELIVRD' })
  },
)

story('receipts that name no message are counted each, and told of once', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { carriers: { a: carrier } })
  await carrier.bound()
  const statuses = await Promise.all(
    Array.from({ length: 200 }, () =>
      carrier.mobileOriginated({ source_addr: '1', esm_class: 4, short_message: Buffer.from('stat:DELIVRD') }),
    ),
  )
  t.same(new Set(statuses), new Set([0]))
  t.equal(await daemon.metric('trunkline_events_total', { name: 'receipt_unreadable' }), 200)
  t.equal(daemon.lines('receipt without an id: dropped').length, 1)
})

lodgersOn('at the limits nobody else on the daemon is harmed')
