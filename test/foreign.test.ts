// Peers that we did not write: the npm package smpp as ESME and as SMSC, Kannel and Perl's Net::SMPP as ESMEs, each bound
// to the real daemon; and Wireshark's word on what went over the wire. What is missing on the machine is skipped by name.

import t, { type Test } from 'tap'
import { commandName } from '../protocols/smpp/commands.js'
import { house, story } from './support/house.js'
import { hasKannel, kannel } from './support/kannel.js'
import { type Lodging, lodge, lodger, lodgersOn } from './support/lodging.js'
import { minuteText } from './support/moment.js'
import { hasNetSmpp, NetSmpp } from './support/net-smpp.js'
import { type NodePdu, nodeEsme, nodeSmsc, statusOf } from './support/node-smpp.js'
import { within } from './support/peer.js'
import { smsc } from './support/smsc.js'
import { dissect, hasTshark, type Wire, wire } from './support/wire.js'

t.jobs = 3
const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')
const textOf = (pdu: NodePdu): string => (pdu.short_message as Buffer).toString('latin1')
const LOGIN = { system_id: 'shop', password: 'secret' }
const V34 = { ...LOGIN, interface_version: 0x34 }
/** Of a lodger. */
const v34 = (home: Lodging) => ({ ...V34, system_id: home.named('shop') })
const SM = { source_addr: '1000', destination_addr: '12025550123', registered_delivery: 1 }

/** What Wireshark is shown at the end: as server we are bound to, as client we bind. */
const wires: { line: Wire; weAre: 'server' | 'client' }[] = []
async function recorded(t: Test, weAre: 'server' | 'client', target: () => number): Promise<Wire> {
  const line = await wire(t, target)
  wires.push({ line, weAre })
  return line
}

/** A receipt as SMSCs write it, in the words of SMPP v3.4 appendix B. */
const receiptText = (id: string, stat = 'DELIVRD', err = '000', done = minuteText()): Buffer =>
  Buffer.from(`id:${id} sub:001 dlvrd:001 submit date:${done} done date:${done} stat:${stat} err:${err} text:hello`)

lodger(
  'the package smpp, bound as transceiver, sends a message, gets its receipt, asks for life and unbinds',
  async t => {
    const carrier = await smsc(t)
    const daemon = await lodge(t, { carriers: { up: carrier } })
    const line = await recorded(t, 'server', () => daemon.daemon.smpp)
    const node = await nodeEsme(t, line.port)

    t.equal(statusOf(await node.request('bind_transceiver', { ...v34(daemon), password: 'wrong' })), 'ESME_RBINDFAIL')
    t.match(await node.request('bind_transceiver', v34(daemon)), {
      command: 'bind_transceiver_resp',
      command_status: 0,
      system_id: 'trunkline',
      sc_interface_version: 0x34,
    })
    t.equal(statusOf(await node.request('bind_transceiver', v34(daemon))), 'ESME_RALYBND')

    const answer = await node.request('submit_sm', {
      ...SM,
      service_type: 'CMT',
      validity_period: '000001000000000R',
      short_message: hex('48656c6c6f 00 1b65'),
      user_message_reference: 0xbeef,
      source_port: 9200,
    })
    t.match(answer, { command: 'submit_sm_resp', command_status: 0, message_id: /^\d{16}$/ })
    const { fields, pdu: sent } = await carrier.next()
    t.match(fields, { service_type: 'CMT', destination_addr: '12025550123', short_message: hex('48656c6c6f001b65') })
    t.equal(sent.tlvs.toString('hex'), '02040002beef020a000223f0')

    const receipt = await node.next()
    t.match(receipt, {
      command: 'deliver_sm',
      service_type: 'CMT',
      source_addr: '12025550123',
      destination_addr: '1000',
      esm_class: 0x04,
      receipted_message_id: answer.message_id,
      message_state: 2,
      user_message_reference: 0xbeef,
    })
    t.match(
      textOf(receipt),
      new RegExp(`^id:${answer.message_id} sub:001 dlvrd:001 .* stat:DELIVRD err:000 text:Hello`),
    )

    t.match(await node.request('enquire_link'), { command: 'enquire_link_resp', command_status: 0 })
    t.match(await node.request('unbind'), { command: 'unbind_resp', command_status: 0 })
    await within(node.closed, 'the end of the connection')
    t.match(await daemon.line('unbound'), { systemId: 'shop', reason: 'unbound by peer', submitted: 1, delivered: 1 })
    t.equal(node.requests.length, 1, 'its answer to the receipt was taken')
    t.same(node.faults, [])
  },
)

lodger('long texts of the package smpp go whole in message_payload, and in parts as it cut them', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: { at: carrier, longMessages: 'sar' } } })
  const line = await recorded(t, 'server', () => daemon.daemon.smpp)
  const node = await nodeEsme(t, line.port)
  await node.request('bind_transceiver', v34(daemon))

  const text = Buffer.from('Съешь же ещё этих мягких французских булок, да выпей чаю. '.repeat(3), 'utf16le').swap16()
  const long = await node.request('submit_sm', { ...SM, data_coding: 8, message_payload: text })
  t.equal(statusOf(long), 'ESME_ROK')
  const parts = await carrier.take(3)
  t.equal(Buffer.concat(parts.map(sm => sm.fields.short_message)).toString('hex'), text.toString('hex'))
  t.same(
    parts.map(({ pdu }) => pdu.tlvs.toString('hex').replace(/^020c0002..../, '')),
    [1, 2, 3].map(n => `020e000103020f00010${n}`),
  )
  t.match(await node.next(), { receipted_message_id: long.message_id, message_state: 2 })

  const cut = [1, 2].map(n => Buffer.concat([hex(`050003a7020${n}`), Buffer.alloc(100, n)]))
  for (const short_message of cut) {
    t.equal(
      statusOf(await node.request('submit_sm', { ...SM, esm_class: 0x40, data_coding: 4, short_message })),
      'ESME_ROK',
    )
    t.match(await carrier.next(), { fields: { esm_class: 0x40, data_coding: 4, short_message } })
  }
  t.equal((await node.take(2)).length, 2)

  const both = { ...SM, short_message: Buffer.from('a'), message_payload: Buffer.from('b') }
  t.equal(statusOf(await node.request('submit_sm', both)), 'ESME_RINVMSGLEN')
  t.same(node.faults, [])
})

lodger('a receiver of the package smpp may not send, and gets the receipts of what its transmitter sent', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const line = await recorded(t, 'server', () => daemon.daemon.smpp)
  const receiver = await nodeEsme(t, line.port)
  const transmitter = await nodeEsme(t, line.port)
  t.equal(statusOf(await receiver.request('submit_sm', SM)), 'ESME_RINVBNDSTS', 'not even bound')
  t.match(await receiver.request('bind_receiver', v34(daemon)), { command: 'bind_receiver_resp', command_status: 0 })
  t.match(await transmitter.request('bind_transmitter', v34(daemon)), {
    command: 'bind_transmitter_resp',
    command_status: 0,
  })
  t.match(await receiver.request('submit_sm', SM), { command: 'submit_sm_resp', command_status: 4 })
  t.match(await receiver.request('enquire_link'), { command: 'enquire_link_resp' })

  const { message_id } = await transmitter.request('submit_sm', { ...SM, short_message: Buffer.from('hello') })
  t.match(await receiver.next(), { command: 'deliver_sm', receipted_message_id: message_id })

  // It cannot take the second now, and is offered it again.
  const answers = [{ command_status: 0x64 }, {}]
  receiver.answer = () => answers.shift()
  const second = await transmitter.request('submit_sm', { ...SM, short_message: Buffer.from('hello') })
  t.match(await receiver.take(2), Array(2).fill({ receipted_message_id: second.message_id }))
  t.equal(transmitter.requests.length, 0)
  t.equal(carrier.submitted.length, 2)
})

lodger('what the daemon does not offer is answered to the package smpp, and its session lives on', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const line = await recorded(t, 'server', () => daemon.daemon.smpp)
  const node = await nodeEsme(t, line.port)
  await node.request('bind_transceiver', v34(daemon))
  const short_message = Buffer.from('hello')
  for (const command of ['unheard_of', 'broadcast_sm', 'query_broadcast_sm', 'cancel_broadcast_sm']) {
    t.equal(statusOf(await node.request(command, {})), 'ESME_RINVCMDID', command)
  }
  const faulty: [name: string, fields: object][] = [
    ['ESME_RINVDSTADR', { destination_addr: 'nobody' }],
    ['ESME_RINVSCHED', { schedule_delivery_time: 'tomorrow at noon' }],
    ['ESME_RINVEXPIRY', { validity_period: '991332999999999+' }],
    ['ESME_RINVESMCLASS', { esm_class: 0x40, short_message: hex('ff00') }],
    ['ESME_RINVPRTFLG', { priority_flag: 9 }],
  ]
  for (const [name, fields] of faulty) {
    t.equal(statusOf(await node.request('submit_sm', { ...SM, short_message, ...fields })), name)
  }
  t.equal(statusOf(await node.request('submit_sm', { ...SM, short_message })), 'ESME_ROK')
  t.match(await node.next(), { command: 'deliver_sm', message_state: 2 })
  t.same(node.faults, [])
})

lodger('the package smpp asks for, replaces and cancels what waits, and sends one message to many', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, { carriers: { up: carrier } })
  const line = await recorded(t, 'server', () => daemon.daemon.smpp)
  const node = await nodeEsme(t, line.port)
  await node.request('bind_transceiver', v34(daemon))
  const waits = { ...SM, schedule_delivery_time: '000000010000000R', short_message: Buffer.from('hello') }
  const { message_id } = await node.request('submit_sm', waits)
  const mine = { message_id, source_addr: '1000' }
  t.match(await node.request('query_sm', { ...mine }), { command: 'query_sm_resp', command_status: 0, message_id })
  t.match(await node.request('replace_sm', { ...mine, registered_delivery: 1, short_message: Buffer.from('adieu') }), {
    command: 'replace_sm_resp',
    command_status: 0,
  })
  t.match(await node.request('cancel_sm', { ...mine, destination_addr: SM.destination_addr }), {
    command: 'cancel_sm_resp',
    command_status: 0,
  })
  t.match(await node.next(), { receipted_message_id: message_id, message_state: 4 })
  t.equal(statusOf(await node.request('query_sm', { message_id: '1', source_addr: '1000' })), 'ESME_RINVMSGID')
  t.equal(statusOf(await node.request('cancel_sm', { message_id: '1', source_addr: '1000' })), 'ESME_RINVMSGID')
  t.equal(statusOf(await node.request('data_sm', { ...SM })), 'ESME_RMISSINGTLV')

  const data = await node.request('data_sm', { ...SM, message_payload: Buffer.from('data') })
  t.match(data, { command: 'data_sm_resp', command_status: 0, message_id: /^\d{16}$/ })
  t.equal((await carrier.next()).text, 'data')
  t.match(await node.next(), { receipted_message_id: data.message_id, message_state: 2 })
  const many = await node.request('submit_multi', {
    source_addr: '1000',
    dest_address: ['12025550123', 'nobody', '12025550124'].map(destination_addr => ({ destination_addr })),
    short_message: Buffer.from('all'),
  })
  t.match(many, {
    command: 'submit_multi_resp',
    command_status: 0,
    unsuccess_sme: [{ destination_addr: 'nobody', error_status_code: 0x0b }],
  })
  t.same(
    (await carrier.take(2)).map(sm => sm.text),
    ['all', 'all'],
  )
  t.same(node.faults, [])
})

story('1,000 messages that the package smpp sends at once are each answered and reported once', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 50 } } })
  const node = await nodeEsme(t, daemon.smpp)
  await node.request('bind_transceiver', { ...LOGIN, interface_version: 0x34 })
  const asked = Array.from({ length: 1000 }, (_, n) =>
    node.request('submit_sm', { ...SM, short_message: Buffer.from(String(n)) }),
  )
  const ids = (await Promise.all(asked)).map(pdu => pdu.message_id)
  t.equal(new Set(ids).size, 1000)
  const receipts = await node.take(1000)
  t.same(
    carrier.submitted.map(sm => sm.text),
    Array.from({ length: 1000 }, (_, n) => String(n)),
  )
  t.same(new Set(receipts.map(pdu => pdu.receipted_message_id)), new Set(ids))
  t.equal(node.requests.length, 1000)
  t.same(node.faults, [])
})

story('a daemon that stops unbinds the package smpp on both sides, and ends with 0', async t => {
  const carrier = await nodeSmsc(t)
  const up = await recorded(t, 'client', () => carrier.port)
  const place = { kind: 'smpp', host: '127.0.0.1', port: up.port, systemId: 'up', password: 'up' }
  const daemon = await house(t, {
    carriers: {
      up: { ...place, links: 2 },
      out: { ...place, bind: 'transmitter', enquireLinkMs: 100 },
      in: { ...place, bind: 'receiver' },
    },
    config: { smpp: { enquireLinkMs: 1_000 } },
  })
  const line = await recorded(t, 'server', () => daemon.smpp)
  await carrier.waiting.until(() => carrier.bound.size === 4 || undefined, 'four links')
  const node = await nodeEsme(t, line.port)
  await node.request('bind_transceiver', V34)
  await node.waiting.until(() => node.enquiries[0], 'our enquire_link')
  daemon.signal('SIGTERM')
  t.match(await node.next(), { command: 'unbind' })
  await within(node.closed, 'the end of the connection')
  t.equal(await daemon.exit(), 0)
  for (const link of carrier.links) t.equal(link.requests.at(-1)?.command, 'unbind')
})

lodger('the package smpp as SMSC is bound to as its row says, takes messages and reports them in its ways', async t => {
  const carrier = await nodeSmsc(t)
  const line = await recorded(t, 'client', () => carrier.port)
  const place = { kind: 'smpp', host: '127.0.0.1', port: line.port, systemId: 'up', password: 'pass' }
  const daemon = await lodge(t, {
    carriers: { up: { ...place, systemType: 'VMA', addressRange: '^1555', window: 20, enquireLinkMs: 200 } },
  })
  const shop = await daemon.enter(t)
  const link = await carrier.link()
  t.match(link.requests[0], {
    command: 'bind_transceiver',
    system_id: 'up',
    password: 'pass',
    system_type: 'VMA',
    interface_version: 0x34,
    address_range: '^1555',
  })

  const report = async (how: (id: string) => object, command = 'deliver_sm') => {
    const { message_id } = await shop.submit()
    const { pdu } = await carrier.next()
    const id = `n-${carrier.submitted.length}`
    const from = { source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, esm_class: 4 }
    const answer = await link.request(command, { ...from, ...how(id) })
    t.equal(statusOf(answer), 'ESME_ROK')
    t.equal(answer.command, `${command}_resp`)
    const { receipt } = await shop.next()
    t.equal(receipt.id, message_id)
    return receipt
  }
  t.match(await report(id => ({ short_message: receiptText(id) })), { stat: 'DELIVRD' })
  t.match(await report(id => ({ short_message: receiptText(id, 'UNDELIV', '042') })), { stat: 'UNDELIV', err: '042' })
  t.match(await report(id => ({ message_payload: receiptText(id, 'EXPIRED') })), { stat: 'EXPIRED' })
  t.match(await report(id => ({ receipted_message_id: id, message_state: 8 })), { stat: 'REJECTD' })
  t.match(await report(id => ({ receipted_message_id: id, message_state: 2 }), 'data_sm'), { stat: 'DELIVRD' })

  t.match(await link.request('enquire_link'), { command: 'enquire_link_resp' })
  t.equal(statusOf(await link.request('unheard_of')), 'ESME_RINVCMDID')
  await link.waiting.until(() => link.enquiries.length >= 2 || undefined, 'two enquire_link of ours')
  t.same(link.faults, [])
})

lodger('messages from phones that the package smpp brings reach the owner of their number octet for octet', async t => {
  const carrier = await nodeSmsc(t)
  const line = await recorded(t, 'client', () => carrier.port)
  const daemon = await lodge(t, {
    accounts: { shop: { numbers: ['12025550100'] } },
    carriers: { up: { kind: 'smpp', host: '127.0.0.1', port: line.port, systemId: 'up', password: 'up' } },
  })
  const link = await carrier.link()
  const node = await nodeEsme(t, daemon.daemon.smpp)
  const message = { source_addr: '447700900123', destination_addr: '12025550100' }
  const brought = [
    { ...message, data_coding: 8, short_message: hex('d83dde00 0041') },
    { ...message, esm_class: 0x40, short_message: hex('050003010201 616263') },
    { ...message, message_payload: Buffer.alloc(2000, 'x') },
  ]
  for (const fields of brought) {
    t.match(await link.request('deliver_sm', { ...fields }), { command: 'deliver_sm_resp', command_status: 0 })
  }
  await node.request('bind_receiver', v34(daemon))
  t.match(await node.take(3), brought)
  t.match(await link.request('deliver_sm', { ...brought[0], destination_addr: '999' }), { command_status: 0 })
  t.equal(await daemon.metric('trunkline_unclaimed_replies'), 1)
  t.equal(node.requests.length, 3)
})

lodger(
  'the package smpp, throttling, refusing and failing for a while, gets every message in the end, once',
  async t => {
    const carrier = await nodeSmsc(t)
    const daemon = await lodge(t, {
      carriers: {
        up: { kind: 'smpp', host: '127.0.0.1', port: carrier.port, systemId: 'up', password: 'up', window: 5 },
      },
    })
    const taken: string[] = []
    const refused = new Set<string>()
    const codes = [0x58, 0x14]
    carrier.submit = pdu => {
      const text = textOf(pdu)
      // Each tenth is throttled once, and with it whatever is behind it in the window.
      if (taken.length % 10 === 9 && !refused.has(text) && refused.size < 4) {
        refused.add(text)
        return { command_status: codes[refused.size % 2] }
      }
      taken.push(text)
      return { message_id: `t-${taken.length}` }
    }
    const shop = await daemon.enter(t)
    await shop.submitAll(60, { registered_delivery: 0 })
    await carrier.waiting.until(
      () => taken.length >= 60 || undefined,
      () => `60 messages; ${taken.length} came`,
    )
    t.equal(refused.size, 4)
    t.same([...taken].sort(), Array.from({ length: 60 }, (_, n) => String(n)).sort())
  },
)

lodger('when the package smpp as SMSC unbinds or refuses a bind, we answer, and bind again', async t => {
  const carrier = await nodeSmsc(t)
  const line = await recorded(t, 'client', () => carrier.port)
  let binds = 0
  carrier.bind = () => (++binds === 2 ? { command_status: 0x0d } : { system_id: 'node-smpp' })
  const place = { kind: 'smpp', host: '127.0.0.1', port: line.port, systemId: 'up', password: 'up' }
  const daemon = await lodge(t, { carriers: { up: { ...place, reconnectMinMs: 50, reconnectMaxMs: 100 } } })
  const first = await carrier.link()
  const shop = await daemon.enter(t)
  t.equal((await shop.submit()).status, 'ESME_ROK')
  await carrier.next()
  t.match(await first.request('unbind'), { command: 'unbind_resp', command_status: 0 })
  first.session.close()
  await within(first.closed, 'the end of the connection')
  t.match(await daemon.line('carrier link closed'), { reason: 'unbound by peer' })
  t.match(await daemon.line(line => line.reason === 'refused: ESME_RBINDFAIL'), { carrier: 'up' })
  t.equal((await shop.submit()).status, 'ESME_ROK')
  const second = await carrier.next()
  t.not(second.link, first)
  t.equal(binds, 3)
})

lodgersOn('what the package smpp does on one daemon nobody else there feels')

const PERL = 'Net::SMPP as transceiver sends, asks for and cancels messages, and reads their receipts'
const PERL_TWO = 'Net::SMPP as transmitter and as receiver sends over one and gets the receipt over the other'
const noPerl = { skip: 'no Net::SMPP on this machine: perl -MNet::SMPP' }
if (!hasNetSmpp) {
  t.test(PERL, noPerl, async () => {})
  t.test(PERL_TWO, noPerl, async () => {})
} else {
  const perl = { ...LOGIN, smpp_version: 0x34, interface_version: 0x34 }
  story(PERL, async t => {
    const carrier = await smsc(t)
    const daemon = await house(t, { carriers: { up: carrier } })
    const line = await recorded(t, 'server', () => daemon.smpp)
    const one = new NetSmpp(t)
    t.match(await one.call('new_transceiver', { ...perl, port: line.port, password: 'wrong' }), { status: 0x0d })
    t.match(await one.call('new_transceiver', { ...perl, port: line.port }), {
      status: 0,
      system_id: 'trunkline',
      sc_interface_version: '\x34',
    })
    const sm = { ...SM, validity_period: '', schedule_delivery_time: '' }
    const sent = await one.call('submit_sm', { ...sm, short_message: 'hello from Perl', user_message_reference: 'ab' })
    t.match(sent, { status: 0, message_id: /^\d{16}$/ })
    const { fields, pdu } = await carrier.next()
    t.match(fields, { source_addr: '1000', short_message: Buffer.from('hello from Perl') })
    t.equal(pdu.tlvs.toString('hex'), '020400026162')
    t.match(await one.delivered(), {
      esm_class: 0x04,
      source_addr: '12025550123',
      destination_addr: '1000',
      short_message: new RegExp(`^id:${sent.message_id} .* stat:DELIVRD err:000 text:hello from Perl`),
      receipted_message_id: `${sent.message_id}\0`,
      message_state: '\x02',
      user_message_reference: 'ab',
    })

    const later = { ...sm, schedule_delivery_time: '000000010000000R', short_message: 'later' }
    const { message_id } = await one.call('submit_sm', later)
    const mine = { message_id, source_addr: '1000' }
    t.match(await one.call('query_sm', mine), { status: 0, message_id, final_date: '', error_code: 0 })
    t.match(await one.call('replace_sm', { ...mine, registered_delivery: 1, short_message: 'sooner' }), { status: 0 })
    t.match(await one.call('cancel_sm', { ...mine, destination_addr: '12025550123' }), { status: 0 })
    t.match(await one.delivered(), { receipted_message_id: `${message_id}\0`, message_state: '\x04' })
    t.match(await one.call('query_sm', mine), { status: 0, message_id, final_date: /^\d{12,16}.?$/, message_state: 4 })
    t.match(await one.call('query_sm', { message_id: 'nobody', source_addr: '1000' }), { status: 0x0c })
    t.match(await one.call('enquire_link'), { status: 0 })
    t.match(await one.call('unbind'), { status: 0 })
    t.match(await daemon.line('unbound'), { systemId: 'shop', reason: 'unbound by peer', submitted: 2, delivered: 2 })
    await one.end()
    t.equal(one.stderr, '')
  })

  story(PERL_TWO, async t => {
    const carrier = await smsc(t)
    const daemon = await house(t, { carriers: { up: carrier } })
    const line = await recorded(t, 'server', () => daemon.smpp)
    const tx = new NetSmpp(t)
    const rx = new NetSmpp(t)
    t.match(await tx.call('new_transmitter', { ...perl, port: line.port }), { status: 0 })
    t.match(await rx.call('new_receiver', { ...perl, port: line.port }), { status: 0 })
    t.match(await rx.call('submit_sm', { ...SM, short_message: 'no' }), { status: 4 })
    const sent = await tx.call('submit_sm', { ...SM, short_message: 'yes' })
    t.match(sent, { status: 0 })
    t.match(await rx.delivered(), { receipted_message_id: `${sent.message_id}\0`, message_state: '\x02' })
    t.equal(carrier.submitted.length, 1)
    for (const one of [tx, rx]) {
      t.match(await one.call('unbind'), { status: 0 })
      await one.end()
      t.equal(one.stderr, '')
    }
  })
}

const KANNEL = 'Kannel sends a message through us and gets its receipt; one from a phone reaches its service'
if (!hasKannel) t.test(KANNEL, { skip: 'no Kannel on this machine: /usr/sbin/bearerbox' }, async () => {})
else
  story(KANNEL, async t => {
    const carrier = await smsc(t)
    const daemon = await house(t, {
      accounts: { kannel: { numbers: ['12025550100'] } },
      carriers: { up: carrier },
    })
    const line = await recorded(t, 'server', () => daemon.smpp)
    const box = kannel(t)
    await box.start({ port: line.port, systemId: 'kannel', password: 'secret' })
    t.match(await daemon.line('bound'), { systemId: 'kannel', state: 'bound_trx', version: 0x34 })

    // Kannel says 3 when its box has not yet heard that its own link is up: it sends all the same.
    t.match(
      await box.sendsms({ from: '1000', to: '12025550123', text: 'Grüße €', charset: 'UTF-8' }),
      /^(0: Accepted for|3: Queued for later) delivery/,
    )
    const sm = await carrier.next()
    t.match(sm.fields, { source_addr: '1000', destination_addr: '12025550123', data_coding: 0 })
    t.equal(sm.fields.short_message.toString('hex'), '47727e1e6520' + '1b65', 'in GSM 03.38')
    const taken = await box.call('/dlr', { kind: '8' })
    const delivered = await box.call('/dlr', { kind: '1' })
    t.match(taken.get('id'), /^\d{16}$/)
    t.equal(delivered.get('id'), taken.get('id'))
    t.match(delivered.get('text'), /stat:DELIVRD err:000/)

    const long = 'All work and no play makes Jack a dull boy. '.repeat(8)
    await box.sendsms({ from: '1000', to: '12025550123', text: long })
    const parts = await carrier.take(3)
    t.equal(parts.map(part => part.fields.short_message.subarray(6).toString('latin1')).join(''), long)
    // Of a text that it cuts, Kannel asks for the receipt of the last part.
    await box.call('/dlr', { kind: '1' })

    carrier.script = {
      submit: sm => {
        sm.accept()
        void sm.receipt({ stat: 'UNDELIV', err: '017' })
      },
    }
    await box.sendsms({ from: '1000', to: '12025550199', text: 'nobody' })
    t.match((await box.call('/dlr', { kind: '2' })).get('text'), /stat:UNDELIV err:017/)

    const phone = {
      source_addr_ton: 1,
      source_addr_npi: 1,
      source_addr: '447700900123',
      destination_addr: '12025550100',
    }
    t.equal(await carrier.mobileOriginated({ ...phone, short_message: Buffer.from('STOP it') }), 0)
    const mo = await box.call('/mo')
    t.match(mo.get('from'), /447700900123$/)
    t.match([mo.get('to'), mo.get('text')], ['12025550100', 'STOP it'])
    await box.stop()
    t.match(await daemon.line('unbound'), { systemId: 'kannel', reason: 'unbound by peer', submitted: 5 })
  })

t.test(
  'Wireshark reads every PDU that we wrote to them and finds nothing wrong in any',
  { buffered: false, skip: hasTshark ? false : 'no Wireshark on this machine: /usr/bin/tshark' },
  async t => {
    const written = { server: new Set<string>(), client: new Set<string>() }
    for (const { line, weAre } of wires) {
      const seen = await dissect(line)
      t.equal(seen.length, line.pdus.length)
      const ours = line.pdus.flatMap(({ fromServer, pdu }, i) =>
        fromServer === (weAre === 'server') ? [{ wrote: pdu.readUInt32BE(4), read: seen[i] }] : [],
      )
      t.ok(ours.length > 0)
      for (const { wrote } of ours) written[weAre].add(commandName(wrote))
      t.same(
        ours.filter(({ wrote, read }) => Number(read?.command) !== wrote || read?.complaint !== ''),
        [],
      )
    }
    // Every PDU that we write as either side, but outbind and alert_notification, which we never do.
    t.same([...written.server].sort(), [
      'bind_receiver_resp',
      'bind_transceiver_resp',
      'bind_transmitter_resp',
      'cancel_sm_resp',
      'data_sm_resp',
      'deliver_sm',
      'enquire_link',
      'enquire_link_resp',
      'generic_nack',
      'query_sm_resp',
      'replace_sm_resp',
      'submit_multi_resp',
      'submit_sm_resp',
      'unbind',
      'unbind_resp',
    ])
    t.same([...written.client].sort(), [
      'bind_receiver',
      'bind_transceiver',
      'bind_transmitter',
      'data_sm_resp',
      'deliver_sm_resp',
      'enquire_link',
      'enquire_link_resp',
      'generic_nack',
      'submit_sm',
      'unbind',
      'unbind_resp',
    ])
  },
)
