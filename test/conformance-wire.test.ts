// Headers, sequence numbers and generic_nack (ids H), the rules of a session (ids S-a to S-g) and flow control, against
// the running daemon: octets in, octets out. Timers (ids T) are in binding.test.ts, the state table in conformance.test.ts.
import t from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { encodePdu } from '../protocols/smpp/pdu.js'
import { status } from '../protocols/smpp/status.js'
import { esme, stranger } from './support/esme.js'
import { house, story } from './support/house.js'
import { type Heard, PATIENCE_MS, Waiting, within } from './support/peer.js'
import { dial, pdu, type Wire } from './support/smpp-wire.js'
import { type Submitted, smsc } from './support/smsc.js'

t.jobs = 3
const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')
const text = { source_addr: '1000', destination_addr: '12025550123', short_message: Buffer.from('hello') }
const login = { system_id: 'shop', password: 'secret', interface_version: 0x34 }
const bind = (sequence: number) => encodePdu(command.bind_transceiver, 0, sequence, login)
const submit = (sequence: number) => encodePdu(command.submit_sm, 0, sequence, text)
const enquire = (sequence: number) => pdu(command.enquire_link, 0, sequence)
const next = (wire: Wire) => within(wire.next(), 'an answer')
const take = (wire: Wire, count: number) => within(wire.take(count), `${count} answers`)
const MANY = { shop: { maxBinds: 0 } }
/** A submit_sm_resp of ESME_ROK has one of our ids: 16 digits and their NUL. */
const accepted = (sequence: number) => `submit_sm_resp 0 ${sequence} +17`

story('H: what stands in a header is taken, mirrored or refused as the standard has it', async t => {
  const carrier = await smsc(t)
  const accounts = { ...MANY, own: { numbers: ['12025550100'] } }
  const daemon = await house(t, { accounts, carriers: { up: carrier } })
  const bound = async (): Promise<Wire> => {
    const wire = await dial(t, daemon.smpp)
    wire.send(bind(1))
    t.match(await next(wire), /^bind_transceiver_resp 0 1 /)
    return wire
  }

  await t.test('H1: a command_length below 16 is nacked with RINVCMDLEN, and the stream is given up', async t => {
    for (const length of [0, 1, 4, 15]) {
      const wire = await bound()
      const head = enquire(7)
      head.writeUInt32BE(length, 0)
      wire.send(head)
      t.equal(await next(wire), 'generic_nack 2 7')
      t.equal(await next(wire), 'closed')
    }
  })

  await t.test('H2: a command_length above the limit is nacked at once, and one at the limit is read', async t => {
    for (const first of [
      'f0000010 00000015 00000000 0a342ee7',
      '0300002f',
      '48545450',
      '47455420',
      '16030100',
      '414d5150',
      '5353482d',
      '00011171',
    ]) {
      const wire = await dial(t, daemon.smpp)
      wire.send(hex(first))
      t.equal(await next(wire), first.length > 8 ? `generic_nack 2 ${0x0a342ee7}` : 'generic_nack 2 0')
      t.equal(await next(wire), 'closed')
    }
    const wire = await bound()
    wire.send(pdu(0x42, 0, 9, Buffer.alloc(70_000 - 16)), enquire(10))
    t.same(await take(wire, 2), ['generic_nack 3 9', 'enquire_link_resp 0 10'])
  })

  await t.test('H3: an unknown request is nacked and its body skipped, an unknown response never answered', async t => {
    const wire = await bound()
    for (const id of [0x0000000a, 0x000001ff, 0x00010200, 0x000102ff, 0x7fffffff]) {
      wire.send(pdu(id, 0, id, Buffer.alloc(40, 0x11)))
      t.equal(await next(wire), `generic_nack 3 ${id}`)
    }
    for (const id of [0x8000000a, 0x80010200, 0x800102ff, 0xffffffff]) wire.send(pdu(id, 3, id, Buffer.alloc(5)))
    wire.send(enquire(8))
    t.equal(await next(wire), 'enquire_link_resp 0 8')
  })

  await t.test('H4: a request with a command_status is taken as if it had none', async t => {
    const wire = await bound()
    const octets = submit(2)
    octets.writeUInt32BE(0xdeadbeef, 8)
    wire.send(octets)
    t.equal(await next(wire), accepted(2))
  })

  await t.test('H5: numbers outside 1 to 0x7fffffff are mirrored bit for bit', async t => {
    const wire = await bound()
    for (const sequence of [0, 0x7fffffff, 0x80000000, 0x806a179b, 0xffffffff]) {
      wire.send(enquire(sequence), submit(sequence))
      t.same(await take(wire, 2), [`enquire_link_resp 0 ${sequence}`, accepted(sequence)])
    }
  })

  await t.test('H5: our own numbers run from 1, whatever those of the peer', async t => {
    const shop = await esme(t, daemon.smpp, { systemId: 'own' })
    shop.peer.nextSequence()
    for (let n = 1; n <= 3; n++) {
      await carrier.mobileOriginated({ source_addr: '4477', destination_addr: '12025550100' })
      t.equal((await shop.next()).pdu.sequence, n)
    }
    await shop.unbind()
  })

  await t.test('H6: two requests in flight with one number are both carried out and both answered', async t => {
    const wire = await bound()
    wire.send(submit(5), submit(5))
    t.same(await take(wire, 2), [accepted(5), accepted(5)])
    const ids = wire.received.toString('latin1').match(/\d{16}/g)
    t.equal(new Set(ids).size, 2)
  })

  await t.test('H8: PDUs cut octet by octet, and a hundred in one segment, are answered alike', async t => {
    const wire = await dial(t, daemon.smpp)
    for (const octet of Buffer.concat([bind(1), submit(2), enquire(3)])) {
      wire.socket.write(Buffer.of(octet))
      await new Promise(setImmediate)
    }
    t.match(await take(wire, 3), [/^bind_transceiver_resp 0 1 /, /^(submit_sm_resp 0 2|enquire)/, /resp 0 [23]/])
    wire.send(...Array.from({ length: 100 }, (_, n) => submit(100 + n)))
    t.same(
      await take(wire, 100),
      Array.from({ length: 100 }, (_, n) => accepted(100 + n)),
    )
  })

  await t.test('H9: whatever we refuse is refused by a header alone', async t => {
    const wire = await dial(t, daemon.smpp)
    wire.send(encodePdu(command.bind_transceiver, 0, 1, { ...login, password: 'no' }), submit(2))
    t.match((await take(wire, 2)).sort(), ['bind_transceiver_resp 13 1', 'submit_sm_resp 4 2'])
    const other = await bound()
    other.send(encodePdu(command.submit_sm, 0, 3, { ...text, destination_addr: 'x' }), bind(4))
    t.same(await take(other, 2), [`submit_sm_resp ${status.ESME_RINVDSTADR} 3`, 'bind_transceiver_resp 5 4'])
  })
})

/** The octets of a carrier's answer, as they are. */
const raw = (sm: Submitted, octets: string) => {
  const answer = hex(octets)
  answer.writeUInt32BE(sm.pdu.sequence, 12)
  sm.link.write(answer)
}

story('H: answers of a carrier are understood in any order and with any body, and a nack of ours as one', async t => {
  const carrier = await smsc(t, { submit: () => {} })
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 10 } } })
  const shop = await esme(t, daemon.smpp)

  await t.test('H7: a carrier may answer in any order', async t => {
    const asked = await shop.submitAll(5)
    const parts = await carrier.take(5)
    for (const sm of [...parts].reverse()) sm.accept(`ref-${sm.text}`)
    for (const sm of parts) void sm.receipt({ stat: sm.text === '3' ? 'UNDELIV' : 'DELIVRD' })
    const ended = new Map((await shop.take(5)).map(({ receipt }) => [receipt.id, receipt.stat]))
    t.same(
      asked.map(({ message_id }) => ended.get(message_id)),
      ['DELIVRD', 'DELIVRD', 'DELIVRD', 'UNDELIV', 'DELIVRD'],
    )
  })

  await t.test(
    'H9: a carrier’s refusal is understood without a body, with an empty id and with a whole one',
    async t => {
      for (const answer of [
        '00000010 80000004 0000000b 00000000',
        '00000011 80000004 0000000b 00000000 00',
        '00000019 80000004 0000000b 00000000 3030303030303030 00',
        '00000013 80000004 0000000b 00000000 303132',
      ]) {
        const { message_id } = await shop.submit()
        raw(await carrier.next(), answer)
        t.match((await shop.next()).receipt, { id: message_id, stat: 'REJECTD' }, answer)
      }
    },
  )

  await t.test('H9: an acceptance without an id is an acceptance', async t => {
    const { message_id } = await shop.submit({ registered_delivery: 0 })
    raw(await carrier.next(), '00000010 80000004 00000000 00000000')
    t.match(message_id, /^\d{16}$/)
    t.equal((await shop.submit({ registered_delivery: 0 })).status, 'ESME_ROK')
    ;(await carrier.next()).accept()
  })

  await t.test('H10: a generic_nack with our number fails that message, for good or for now', async t => {
    const { message_id } = await shop.submit()
    raw(await carrier.next(), '00000010 80000000 00000003 00000000')
    t.match((await shop.next()).receipt, { id: message_id, stat: 'REJECTD' }, 'RINVCMDID')
    const again = await shop.submit()
    raw(await carrier.next(), '00000010 80000000 00000058 00000000')
    ;(await carrier.next()).deliver()
    t.match((await shop.next()).receipt, { id: again.message_id, stat: 'DELIVRD' }, 'RTHROTTLED')
  })

  await t.test('H10: a generic_nack with number 0 or one that we never gave is counted, and fails nothing', async t => {
    const { message_id } = await shop.submit()
    const sm = await carrier.next()
    sm.link.write('00000010 80000000 00000003 00000000 00000010 80000000 00000003 7fff0000')
    sm.accept()
    t.equal(await sm.receipt(), 0)
    t.match((await shop.next()).receipt, { id: message_id, stat: 'DELIVRD' })
  })

  await t.test('E: outbind and alert_notification of a carrier are noted, counted and not answered', async t => {
    const before = await daemon.metric('trunkline_events_total', { name: 'ignored_pdu' }).catch(() => 0)
    const { link } = carrier
    link.write(encodePdu(command.alert_notification, 0, 77, { source_addr: '4477', esme_addr: '1000' }))
    t.equal((await within(link.request(command.enquire_link), 'enquire_link_resp')).status, 0)
    t.equal(link.stray.length, 0)
    t.equal(await daemon.metric('trunkline_events_total', { name: 'ignored_pdu' }), before + 1)
  })
})

story('S: sessions stand apart, and end in order', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { accounts: MANY, carriers: { up: carrier }, config: { stop: { drainMs: 500 } } })

  await t.test('S-a: what a lost session was owed is not sent on the next', async t => {
    const first = await dial(t, daemon.smpp)
    first.send(bind(1))
    await next(first)
    first.send(...Array.from({ length: 200 }, (_, n) => submit(1000 + n)))
    first.socket.destroy()
    const second = await dial(t, daemon.smpp)
    second.send(bind(1), submit(2))
    t.match(await take(second, 2), [/^bind_transceiver_resp 0 1 /, accepted(2)])
    second.send(pdu(command.unbind, 0, 3))
    t.same(await take(second, 2), ['unbind_resp 0 3', 'closed'])
  })

  await t.test(
    'S-b and S-d: before unbind_resp comes the answer of each request before the unbind, behind it nothing',
    async t => {
      const wire = await dial(t, daemon.smpp)
      wire.send(bind(1))
      await next(wire)
      wire.send(...[2, 3, 4].map(submit), pdu(command.unbind, 0, 5), submit(6), enquire(7))
      t.same(await take(wire, 7), [
        'submit_sm_resp 4 6',
        'enquire_link_resp 0 7',
        ...[2, 3, 4].map(accepted),
        'unbind_resp 0 5',
        'closed',
      ])
    },
  )

  await t.test('S-e and S-f: any interface_version is bound; who knows TLVs is told ours', async t => {
    for (const version of [0, 3, 0x33, 0x34, 0x35, 0x50, 0x51, 0xff]) {
      const one = await stranger(t, daemon.smpp)
      const answer: Heard = await within(
        one.peer.request(command.bind_transmitter, { ...login, interface_version: version }),
        'bind_transmitter_resp',
      )
      t.match([answer.name, answer.status, answer.fields], ['bind_transmitter_resp', 0, { system_id: 'trunkline' }])
      t.match(answer.tlvs.toString('hex'), version < 0x34 ? /^$/ : /^02100001(34|50)$/, `version ${version}`)
      await one.unbind()
    }
  })

  await t.test('S-g: a refused bind is answered by a header alone, and may be tried again', async t => {
    const one = await stranger(t, daemon.smpp)
    const refused = await within(
      one.peer.request(command.bind_transceiver, { ...login, password: 'wrong' }),
      'bind_transceiver_resp',
    )
    t.equal(refused.octets.length, 16)
    t.equal(await one.bind({}), 'ESME_ROK')
    await one.unbind()
  })

  await t.test(
    'S-c: who does not answer our unbind is sent nothing more, and is hung up on when the time is over',
    async t => {
      const one = await stranger(t, daemon.smpp)
      await one.bind({})
      const heard: string[] = []
      const waiting = new Waiting()
      one.peer.onRequest = request => {
        heard.push(request.name)
        waiting.look()
      }
      daemon.signal('SIGTERM')
      await waiting.until(() => heard[0], 'unbind')
      // Still answered: it has not unbound itself.
      t.equal((await within(one.peer.request(command.enquire_link), 'enquire_link_resp')).status, 0)
      await one.closed()
      t.same(heard, ['unbind'])
      t.equal(await daemon.exit(), 0)
      await daemon.start()
    },
  )
})

story('Q6: a carrier that counts enquire_link alone is asked whatever else goes to and fro', async t => {
  const carrier = await smsc(t)
  const other = await smsc(t)
  const daemon = await house(t, {
    carriers: {
      up: { at: carrier, enquireLinkMs: 300, enquire: 'always' },
      other: { at: other, enquireLinkMs: 300 },
    },
    routes: [
      { match: { destination: '1' }, to: ['up'] },
      { match: { destination: '2' }, to: ['other'] },
    ],
  })
  await carrier.bound()
  await other.bound()
  const asked = { up: 0, other: 0 }
  for (const [name, { link }] of [
    ['up', carrier],
    ['other', other],
  ] as const) {
    link.answersEnquiries = false
    const { onRequest } = link
    link.onRequest = request => {
      if (request.name !== 'enquire_link') return onRequest(request)
      asked[name]++
      link.respond(request)
    }
  }
  const shop = await esme(t, daemon.smpp)
  const both = (): Promise<unknown> => Promise.all([shop.submit(), shop.submit({ destination_addr: '24477' })])
  // Until now there was silence, which may have been asked about.
  await both()
  await shop.take(2)
  asked.other = 0
  const from = performance.now()
  // Never so long without a word that silence would be asked about.
  let longest = 0
  for (let last = from; asked.up < 3; ) {
    await both()
    await shop.take(2)
    longest = Math.max(longest, performance.now() - last)
    last = performance.now()
    if (last - from > PATIENCE_MS) throw new Error(`asked ${asked.up} times`)
  }
  if (longest < 200) t.equal(asked.other, 0, 'traffic is life to the other')
})

story('2.12: what is owed or waits for room holds up no enquire_link, and no other session', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: { numbers: ['12025550100'] }, other: {} },
    carriers: { up: { at: carrier, window: 50 } },
    config: { smpp: { window: 2, peerWindow: 20 } },
  })
  await t.test('2.12: enquire_link is answered before the messages that came ahead of it', async t => {
    const wire = await dial(t, daemon.smpp)
    wire.send(bind(1))
    await next(wire)
    wire.send(...[2, 3, 4, 5].map(submit), enquire(6))
    t.same(await take(wire, 5), ['enquire_link_resp 0 6', ...[2, 3, 4, 5].map(accepted)])
    wire.socket.destroy()
  })

  await t.test('2.12: a peer far beyond its window is held back by TCP and answered to the last, in order', async t => {
    const wire = await dial(t, daemon.smpp)
    wire.send(bind(1))
    await next(wire)
    const count = 5_000
    for (let n = 0; n < count; n += 500) wire.send(...Array.from({ length: 500 }, (_, m) => submit(10 + n + m)))
    wire.send(enquire(2))
    const other = await esme(t, daemon.smpp, { systemId: 'other' })
    t.equal((await other.submit()).status, 'ESME_ROK')
    const lines = await within(wire.take(count + 1), `${count} answers`, 2 * PATIENCE_MS)
    const answers = lines.filter(line => line !== 'enquire_link_resp 0 2')
    t.equal(answers.length, count)
    t.same(
      answers,
      Array.from({ length: count }, (_, n) => accepted(10 + n)),
    )
    wire.socket.destroy()
  })

  await t.test('2.12: our enquire_link and answers pass a window that the peer leaves full', async t => {
    const shop = await esme(t, daemon.smpp, { answer: () => undefined })
    for (let n = 0; n < 4; n++) {
      t.equal(await carrier.mobileOriginated({ source_addr: '4477', destination_addr: '12025550100' }), 0)
    }
    await shop.take(2)
    t.equal((await shop.submit({ registered_delivery: 0 })).status, 'ESME_ROK')
    t.equal((await within(shop.peer.request(command.enquire_link), 'enquire_link_resp')).status, 0)
    t.equal(shop.delivered.length, 2, 'no more than the window at one time')
  })
})
