// The gate: who may bind and what is answered to whom, and what hostile or broken peers get, while a customer beside
// them works undisturbed.

import { readFileSync } from 'node:fs'
import t from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { type Esme, esme, stranger, worker } from './support/esme.js'
import { type House, house, story } from './support/house.js'
import { lodge, lodger, lodgersOn } from './support/lodging.js'
import { Peer, within } from './support/peer.js'
import { type Smsc, smsc } from './support/smsc.js'

t.jobs = 3

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')

lodger('a wrong password, an unknown name and a suspended account are refused with one and the same code', async t => {
  const daemon = await lodge(t, { accounts: { shop: {}, late: { suspended: 'unpaid' } } })
  const systemId = daemon.named('shop')
  const wrongs = [
    { systemId, password: 'wrong' },
    { systemId: daemon.named('nobody') },
    { systemId: daemon.named('late') },
  ]
  for (const options of wrongs) {
    const one = await stranger(t, daemon.daemon.smpp)
    t.equal(await one.bind(options), 'ESME_RBINDFAIL')
    t.equal(await one.bind({ systemId }), 'ESME_ROK', 'it may try again')
    await one.unbind()
  }
  await daemon.line(() => daemon.lines('bind refused').length >= wrongs.length)
  t.match(
    daemon.lines('bind refused').map(line => line.why),
    [/^password /, /^unknown account /, /^suspended /],
  )
  t.notMatch(JSON.stringify(daemon.log), /wrong|"secret"/)
})

lodger('an account has so many binds and not one more, and one that goes makes room', async t => {
  const daemon = await lodge(t, { accounts: { shop: { maxBinds: 2 } } })
  const systemId = daemon.named('shop')
  const first = await daemon.enter(t)
  await daemon.enter(t, { bind: 'receiver' })
  const third = await stranger(t, daemon.daemon.smpp)
  t.equal(await third.bind({ systemId }), 'ESME_RBINDFAIL')
  await first.unbind()
  await daemon.line('unbound')
  t.equal(await third.bind({ systemId }), 'ESME_ROK')
})

lodger('an account suspended by `apply` is unbound within a second of it, and may not come back', async t => {
  const carrier = await smsc(t)
  const gateway = { accounts: { shop: {}, other: {} }, carriers: { up: carrier } }
  const daemon = await lodge(t, gateway)
  const { smpp } = daemon.daemon
  const systemId = daemon.named('shop')
  const shop = await daemon.enter(t)
  const other = await daemon.enter(t, { systemId: 'other' })
  await daemon.apply({ ...gateway, accounts: { shop: { suspended: 'unpaid' }, other: {} } })
  const from = performance.now()
  await shop.unbound
  await shop.closed()
  t.ok(performance.now() - from < 1_000)
  t.match(await daemon.line('unbound'), { systemId: 'shop', reason: 'account suspended' })
  t.equal(await (await stranger(t, smpp)).bind({ systemId }), 'ESME_RBINDFAIL')
  t.equal((await other.submit()).status, 'ESME_ROK')

  await daemon.apply({ ...gateway, accounts: { shop: { suspended: null }, other: {} } })
  await daemon.line(() => true)
  const again = await stranger(t, smpp)
  while ((await again.bind({ systemId })) !== 'ESME_ROK') t.ok(performance.now() - from < 10_000)
})

lodger('what is over the throughput, for nowhere, or no number at all is refused by its own code', async t => {
  const carrier = await smsc(t)
  const daemon = await lodge(t, {
    accounts: { shop: {}, slow: { throughput: 5 }, named: { senders: ['Acme'] } },
    carriers: { up: carrier },
    routes: [{ match: { destination: ['1202', '44'] }, to: ['up'] }],
  })
  const shop = await daemon.enter(t)
  t.equal((await shop.submit({ destination_addr: '4930123456' })).status, 'ESME_RINVDSTADR')
  t.equal((await shop.submit({ destination_addr: '+447700900123' })).status, 'ESME_ROK')
  t.equal((await shop.submit({ destination_addr: '00447700900123' })).status, 'ESME_ROK')
  for (const destination_addr of ['', '12', 'Acme', '1202555012345678']) {
    t.equal((await shop.submit({ destination_addr })).status, 'ESME_RINVDSTADR', `"${destination_addr}"`)
  }
  t.equal((await shop.submit({ data_coding: 8, short_message: Buffer.from('odd') })).status, 'ESME_RINVMSGLEN')
  t.equal((await shop.submit({ esm_class: 0x40, short_message: hex('09 00') })).status, 'ESME_RINVESMCLASS')
  t.equal((await shop.submit({ esm_class: 0x04 })).status, 'ESME_RINVESMCLASS', 'a receipt')
  t.equal((await shop.submit({ sm_default_msg_id: 1 })).status, 'ESME_RINVDFTMSGID')
  t.equal((await shop.submit({ priority_flag: 5 })).status, 'ESME_RINVPRTFLG')
  t.equal((await shop.submit({ validity_period: '991332000000000+' })).status, 'ESME_RINVEXPIRY')
  t.equal((await shop.submit({ validity_period: '200101000000000+' })).status, 'ESME_RINVEXPIRY')

  const slow = await daemon.enter(t, { systemId: 'slow' })
  const statuses = (await slow.submitAll(10)).map(one => one.status)
  t.same(statuses, [...Array(5).fill('ESME_ROK'), ...Array(5).fill('ESME_RTHROTTLED')])
  t.equal((await shop.submit()).status, 'ESME_ROK', 'another account is not slowed')

  const named = await daemon.enter(t, { systemId: 'named' })
  t.equal((await named.submit({ source_addr: 'Other' })).status, 'ESME_RINVSRCADR')
  t.equal((await named.submit({ source_addr: 'Acme' })).status, 'ESME_ROK')
})

lodgersOn('who is refused is refused alone')

story('a full queue, of the account or of all, is refused as full, and takes again what it has room for', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: { maxWaiting: 5 }, other: {} },
    carriers: { up: carrier },
    config: { spool: { maxWaiting: 20 } },
  })
  await carrier.bound()
  await carrier.close()
  await daemon.line('carrier link closed')
  const shop = await esme(t, daemon.smpp)
  const other = await esme(t, daemon.smpp, { systemId: 'other' })
  const statuses = async (one: Esme, count: number) => (await one.submitAll(count)).map(({ status }) => status)
  t.same(await statuses(shop, 7), [...Array(5).fill('ESME_ROK'), ...Array(2).fill('ESME_RMSGQFUL')])
  t.same(await statuses(other, 17), [...Array(15).fill('ESME_ROK'), ...Array(2).fill('ESME_RMSGQFUL')])
  await carrier.open()
  await other.take(15)
  await shop.take(5)
  t.equal((await shop.submit()).status, 'ESME_ROK')
})

/** Anonymous memory of the daemon, octets. */
function memory(daemon: House): number {
  const found = /RssAnon:\s+(\d+) kB/.exec(readFileSync(`/proc/${daemon.pid}/status`, 'utf8'))
  return Number(found?.[1]) * 1024
}

const NACK_CMDLEN = '00000010 80000000 00000002'.replaceAll(' ', '')

story('garbage is answered as the standard says or hung up on, with a reason, and nobody else feels it', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    carriers: { up: carrier },
    config: { smpp: { sessionInitMs: 1_000 }, log: { level: 'debug' } },
  })
  const busy = await worker(t, daemon.smpp)
  const before = memory(daemon)

  const octets = async (peer: Peer): Promise<string> => {
    const all: Buffer[] = []
    peer.socket.removeAllListeners('data')
    peer.socket.on('data', chunk => all.push(chunk))
    await within(peer.closed, 'the end of a hostile connection')
    return Buffer.concat(all).toString('hex')
  }
  // First octets of what scans ports: HTTP, TLS, SSH, RDP, AMQP; and lengths that cannot be.
  const impossible = {
    HTTP: Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
    TLS: hex('16030100 f1010000 ed0303'),
    SSH: Buffer.from('SSH-2.0-OpenSSH_9.6\r\n'),
    RDP: hex('0300002f 2ae00000 00000043 6f6f6b69 653a20'),
    AMQP: Buffer.from('AMQP\0\0\t\x01'),
    'length 15': hex('0000000f 00000015 00000000 00000007'),
    'length 0': hex('00000000 00000000 00000000 00000000'),
    'length 4 GiB': hex('ffffffff 00000004 00000000 00000009'),
    'four octets of a great length': hex('00ffffff'),
  }
  const seen = await Promise.all(
    Object.entries(impossible).map(async ([name, first]) => {
      const peer = await Peer.connect(t, daemon.smpp)
      peer.write(first)
      return [name, await octets(peer)] as const
    }),
  )
  for (const [name, answer] of seen) t.match(answer, new RegExp(`^${NACK_CMDLEN}[0-9a-f]{8}$`), name)
  t.equal(daemon.log.filter(line => line.reason === 'bad frame').length, seen.length)

  // Half of something, or nothing: given up when the time to bind is over, without a word.
  const halves = ['', '0000', '00000020 00000009', '0000002f 00000009 00000000 00000001 6162'].map(async half => {
    const peer = await Peer.connect(t, daemon.smpp)
    peer.write(half)
    return octets(peer)
  })
  t.same(await Promise.all(halves), ['', '', '', ''])
  t.equal(daemon.log.filter(line => line.reason === 'never bound').length, 4)

  // A whole PDU that is nothing we know, or not now: answered, and the session lives.
  const odd = await stranger(t, daemon.smpp)
  const ask = async (octets: string, sequence: number) => {
    const { name, status } = await within(odd.peer.send(sequence, hex(octets)), octets)
    return `${name} ${status}`
  }
  t.equal(await ask('00000014 0000beef 00000000 00000101 00000000', 0x101), 'generic_nack 3')
  t.equal(await ask('00000010 00000004 00000000 00000102', 0x102), 'submit_sm_resp 4')
  t.equal(await ask('00000010 00000015 00000000 80000103', 0x80000103), 'enquire_link_resp 0')
  t.equal(await ask('00000011 00000009 00000000 00000104 61', 0x104), 'bind_transceiver_resp 15')
  t.equal(await odd.bind({}), 'ESME_ROK')
  t.equal(await ask('00000010 00000009 00000000 00000105', 0x105), 'bind_transceiver_resp 5')
  t.equal(await ask('00000010 00000004 00000000 00000106', 0x106), 'submit_sm_resp 21')
  // Responses to nothing are never answered.
  odd.peer.write('00000010 80000004 00000000 00000107')
  odd.peer.write('00000010 8000beef 00000003 00000108')
  odd.peer.write('00000010 80000000 00000003 00000000')
  t.equal(await ask('00000010 00000015 00000000 00000109', 0x109), 'enquire_link_resp 0')
  t.equal(odd.peer.stray.length, 0)

  const { slowestMs } = await busy.stop()
  t.ok(slowestMs < 8_000, `the customer beside them waited ${Math.round(slowestMs)} ms at most`)
  t.ok(memory(daemon) - before < 64 * 2 ** 20)
})

story('whoever floods is answered to the last request, and costs the others little and no memory', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { carriers: { up: { at: carrier, window: 100 } } })
  const busy = await worker(t, daemon.smpp)
  const before = memory(daemon)
  const flood = await esme(t, daemon.smpp)
  const enquiry = hex('00000010 00000015 00000000 00000001')
  const count = 100_000
  const lot = Buffer.concat(Array(1_000).fill(enquiry))
  const from = flood.peer.bytes
  const all = new Promise<void>(resolve => {
    flood.peer.socket.on('data', () => {
      if (flood.peer.bytes - from === count * 16) resolve()
    })
  })
  for (let n = 0; n < count / 1_000; n++) flood.peer.socket.write(lot)
  await within(all, 'the answers to 100,000 enquiries', 30_000)

  // Many small writes, byte by byte.
  for (const octet of enquiry) flood.peer.socket.write(Buffer.of(octet))
  await within(flood.peer.request(command.enquire_link), 'an answer after the flood')
  const { slowestMs } = await busy.stop()
  t.ok(slowestMs < 8_000, `the customer beside it waited ${Math.round(slowestMs)} ms at most`)
  t.ok(memory(daemon) - before < 64 * 2 ** 20)
})

story('whoever does not read is closed with that reason; its receipts wait for its next connection', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, {
    accounts: { shop: {}, deaf: {} },
    carriers: { up: { at: carrier, window: 500 } },
    config: { smpp: { stallMs: 700, sendBytes: 65_536, window: 100_000, peerWindow: 100_000 } },
  })
  const busy = await worker(t, daemon.smpp)
  const before = memory(daemon)
  const deaf = await esme(t, daemon.smpp, { systemId: 'deaf' })
  deaf.peer.stall()
  const count = 30_000
  const submitted = sendBlindly(deaf, count)
  await within(
    daemon.line(line => line.msg === 'unbound' && line.systemId === 'deaf', 0, 30_000),
    'its end',
    30_000,
  )
  t.match(daemon.lines('unbound'), [{ systemId: 'deaf', reason: 'too slow to read' }])
  const { slowestMs } = await busy.stop()
  t.ok(slowestMs < 8_000, `the customer beside it waited ${Math.round(slowestMs)} ms at most`)
  t.ok(memory(daemon) - before < 96 * 2 ** 20)
  const sent = await submitted
  await arrived(carrier, daemon)
  const taken = carrier.submitted.filter(sm => sm.text === 'blind').length
  t.ok(taken > 0 && taken <= sent, `${taken} of ${sent} were taken`)
  const again = await esme(t, daemon.smpp, { systemId: 'deaf' })
  await again.take(taken)
  t.equal(new Set(again.delivered.map(one => one.receipt.id)).size, taken)
})

/** Submits without reading an answer, until all is sent or the connection is gone. How many were sent. */
async function sendBlindly(one: Esme, count: number): Promise<number> {
  const { peer } = one
  for (let sent = 0; sent < count; sent += 100) {
    if (peer.isClosed) return sent
    for (let n = 0; n < 100; n++) {
      peer
        .request(command.submit_sm, {
          source_addr: '1000',
          destination_addr: '12025550123',
          registered_delivery: 1,
          short_message: Buffer.from('blind'),
        })
        .catch(() => {})
    }
    peer.flush()
    if (peer.socket.writableNeedDrain) {
      await Promise.race([new Promise(resolve => peer.socket.once('drain', resolve)), peer.closed])
    }
  }
  return count
}

/** Resolves when history holds the end of every message that it holds the beginning of, and the carrier has had them all. */
async function arrived(carrier: Smsc, daemon: House): Promise<void> {
  await daemon.history(rows => {
    const begun = rows.filter(row => row.kind === 'a').length
    return begun > 0 && begun === rows.length / 2 && begun === carrier.submitted.length
  })
}
