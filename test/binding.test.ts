// The door of the real daemon: from where one may come, over what, as what version of SMPP, and what becomes of those who
// may not, or try too often.

import { once } from 'node:events'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import tls from 'node:tls'
import t, { type Test } from 'tap'
import { command } from '../protocols/smpp/commands.js'
import { statusName } from '../protocols/smpp/status.js'
import { findTlv, tlv, tlvUint } from '../protocols/smpp/tlv.js'
import type { Account } from '../src/accounts/account.js'
import { Congestion } from '../src/intake/smpp/congestion.js'
import { statusOf } from '../src/intake/smpp/status.js'
import { type FaultCode, fault } from '../src/model/fault.js'
import type { Spool } from '../src/spool/contract.js'
import { certificate } from './support/certificates.js'
import { Esme, esme, stranger } from './support/esme.js'
import { emptyHouse, type House, house, story, trunkline } from './support/house.js'
import { type Heard, Peer, within } from './support/peer.js'
import { smsc } from './support/smsc.js'

t.jobs = 3

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')

/** An ESME over a connection made in its own way. */
function over(t: Test, socket: net.Socket): Esme {
  t.teardown(() => socket.destroy())
  return new Esme(new Peer(socket))
}

/** From another address of this machine. */
const from = (t: Test, daemon: House, localAddress: string): Esme =>
  over(t, net.connect({ port: daemon.smpp, host: '127.0.0.1', localAddress }))

const events = (daemon: House, name: string): Promise<number> => daemon.metric('trunkline_events_total', { name })

story(
  'a certificate renewed by SIGHUP is shown to who comes next, and no bind notices; a bad one changes nothing',
  async t => {
    const carrier = await smsc(t)
    const daemon = await emptyHouse(t, {
      carriers: { up: carrier },
      config: { smpp: { tls: { listen: '127.0.0.1:0', cert: 'set below', key: 'set below' } } },
      env: {},
      expected: /^settings not reloaded/,
    })
    const [first, second] = ['first', 'second'].map(name => certificate(daemon.dir, name)) as [Files, Files]
    const [cert, key] = [join(daemon.dir, 'server.crt'), join(daemon.dir, 'server.key')]
    const use = (one: Files): void => {
      copyFileSync(one.cert, cert)
      copyFileSync(one.key, key)
    }
    use(first)
    rewrite(daemon, { tls: { listen: '127.0.0.1:0', cert, key } })
    await daemon.start()
    const port = (await daemon.line('ready')).smppTls as number
    const connect = (): tls.TLSSocket => tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    const bound = async () => {
      const socket = connect()
      const one = over(t, socket)
      t.equal(await one.bind({}), 'ESME_ROK')
      return { one, name: socket.getPeerX509Certificate()?.subject }
    }
    const old = await bound()
    t.equal(old.name, 'CN=first')
    const { message_id } = await old.one.submit()
    t.equal((await old.one.next()).receipt.id, message_id)
    const many = await old.one.submitAll(2_000)
    t.ok(many.every(({ status }) => status === 'ESME_ROK'))
    const receipts = await old.one.take(many.length)
    t.equal(new Set(receipts.map(({ receipt }) => receipt.id)).size, many.length)

    use(second)
    daemon.signal('SIGHUP')
    await daemon.line('settings reloaded')
    const next = await bound()
    t.equal(next.name, 'CN=second')
    t.equal((await old.one.submit()).status, 'ESME_ROK')

    copyFileSync(first.key, key)
    daemon.signal('SIGHUP')
    const line = await daemon.line('settings not reloaded: they are faulty')
    t.match(line.faults, [{ path: 'smpp.tls.key', message: /is not the key of the certificate$/ }])
    t.equal((await bound()).name, 'CN=second')
    t.equal((await old.one.submit()).status, 'ESME_ROK')
    await old.one.unbind()
  },
)

type Files = ReturnType<typeof certificate>

/** Other smpp settings for a daemon that has not started. */
function rewrite(daemon: House, smpp: object): void {
  const settings = JSON.parse(readFileSync(daemon.configFile, 'utf8')) as { smpp: object }
  writeFileSync(daemon.configFile, JSON.stringify({ ...settings, smpp: { ...settings.smpp, ...smpp } }))
}

story('with clientCert: require only a bearer of a certificate of ours may speak at all', async t => {
  const daemon = await emptyHouse(t)
  const [own, ca] = ['own', 'ca'].map(name => certificate(daemon.dir, name)) as [Files, Files]
  const shop = certificate(daemon.dir, 'shop', ca)
  const secure = { listen: '127.0.0.1:0', cert: own.cert, key: own.key, clientCa: ca.cert, clientCert: 'require' }
  rewrite(daemon, { tls: { ...secure, key: ca.key, clientCa: join(daemon.dir, 'nothing') } })
  const check = await trunkline(['check', '--config', daemon.configFile])
  t.equal(check.code, 2)
  t.match(check.stderr, /smpp\.tls\.clientCa .*nothing cannot be read: ENOENT/)
  t.match(check.stderr, /smpp\.tls\.key .* is not the key of the certificate/)
  rewrite(daemon, { tls: secure })
  await daemon.start()
  const port = (await daemon.line('ready')).smppTls as number
  const connect = (pem: object): Esme =>
    over(t, tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...pem }))
  t.equal(await connect(shop.pem).bind({}), 'ESME_ROK')
  t.match(await daemon.line('bound'), { tls: true, clientSubject: 'CN=shop' })
  await connect({}).closed()
  await connect(own.pem).closed()
  await daemon.line(line => line.why === 'bad client certificate')
  t.match(
    daemon.lines('connection refused').map(line => line.why),
    ['no client certificate', 'bad client certificate'],
  )
  t.equal(await events(daemon, 'connections_refused_no_client_certificate'), 1)
  t.equal(await events(daemon, 'connections_refused_bad_client_certificate'), 1)
})

story(
  'behind a proxy an account is known by the address that the header names, and only trusted proxies are heard',
  async t => {
    const daemon = await house(t, {
      accounts: { shop: { smpp: { allowFrom: ['203.0.113.0/24', '2001:db8::/32'] } } },
      config: { smpp: { proxy: ['127.0.0.1'] } },
    })
    const through = async (header: Buffer, localAddress = '127.0.0.1') => {
      const one = from(t, daemon, localAddress)
      for (const octet of header) {
        one.peer.write(Buffer.of(octet))
        one.peer.flush()
      }
      return one
    }
    const v1 = (address: string, family = 'TCP4') =>
      Buffer.from(`PROXY ${family} ${address} ${family === 'TCP4' ? '192.0.2.1' : '::1'} 4711 2775\r\n`)
    const v2 = hex('0d0a0d0a 000d0a51 5549540a 21 11 000c cb007107 c0000201 1267 0ad7')
    t.equal(await (await through(v1('203.0.113.7'))).bind({}), 'ESME_ROK')
    t.equal(await (await through(v2)).bind({}), 'ESME_ROK')
    t.equal(await (await through(v1('2001:db8::5', 'TCP6'))).bind({}), 'ESME_ROK')
    // The answer to a bind is quicker than its line.
    await daemon.line(({ msg, peer }) => msg === 'bound' && peer === '[2001:db8::5]:4711')
    t.match(
      daemon.lines('bound').map(line => line.peer),
      ['203.0.113.7:4711', '203.0.113.7:4711', '[2001:db8::5]:4711'],
    )
    t.equal(await (await through(v1('198.51.100.1'))).bind({}), 'ESME_RBINDFAIL')
    t.match(await daemon.line('bind refused'), { peer: '198.51.100.1:4711', why: /^address not allowed / })

    const liar = await through(v1('203.0.113.7'), '127.0.0.2')
    await liar.closed()
    t.equal(liar.peer.bytes, 0)
    await (await through(Buffer.from('GET / HTTP/1.1\r\n'))).closed()
    t.equal(await events(daemon, 'connections_refused_no_trusted_proxy'), 1)
    t.equal(await events(daemon, 'connections_refused_bad_proxy_header'), 1)
  },
)

story(
  'an account binds from its own addresses only: IPv4, IPv6 and ranges, on a listener of both families',
  async t => {
    const daemon = await house(t, {
      accounts: {
        any: {},
        four: { smpp: { allowFrom: ['127.0.0.0/30'] } },
        six: { smpp: { allowFrom: ['::1/128'] } },
        far: { smpp: { allowFrom: ['192.0.2.1', '2001:db8::/32'] } },
      },
      config: { smpp: { listen: '[::]:0' } },
    })
    const bind = async (systemId: string, host: string, localAddress: string): Promise<string> => {
      const one = over(t, net.connect({ port: daemon.smpp, host, localAddress }))
      return one.bind({ systemId })
    }
    t.equal(await bind('four', '127.0.0.1', '127.0.0.1'), 'ESME_ROK')
    t.equal(await bind('four', '127.0.0.1', '127.0.0.3'), 'ESME_ROK')
    t.equal(await bind('four', '127.0.0.1', '127.0.0.4'), 'ESME_RBINDFAIL')
    t.equal(await bind('four', '::1', '::1'), 'ESME_RBINDFAIL')
    t.equal(await bind('six', '::1', '::1'), 'ESME_ROK')
    t.equal(await bind('six', '127.0.0.1', '127.0.0.1'), 'ESME_RBINDFAIL')
    t.equal(await bind('far', '::1', '::1'), 'ESME_RBINDFAIL')
    t.equal(await bind('any', '::1', '::1'), 'ESME_ROK')
    t.equal(await bind('any', '127.0.0.1', '127.0.0.9'), 'ESME_ROK')
    t.equal(await events(daemon, 'binds_refused_address_not_allowed'), 4)
    await daemon.line(({ msg, peer }) => msg === 'bound' && String(peer).startsWith('127.0.0.3:'))

    await daemon.apply({ accounts: { any: {}, four: { smpp: { allowFrom: ['127.0.0.4'] } }, six: {}, far: {} } })
    for (let tries = 0; (await bind('four', '127.0.0.1', '127.0.0.4')) !== 'ESME_ROK'; tries++) t.ok(tries < 20)
  },
)

story(
  'who fails to bind again and again waits longer and longer; others at other addresses wait for nothing',
  async t => {
    const daemon = await house(t, { config: { smpp: { failedBindDelayMs: 600 } } })
    const guesser = await stranger(t, daemon.smpp)
    const took: number[] = []
    for (let n = 0; n < 6; n++) {
      const at = performance.now()
      t.equal(await guesser.bind({ password: `wrong${n}` }), 'ESME_RBINDFAIL')
      took.push(performance.now() - at)
    }
    const slowed = [0, 0, 125, 250, 500, 600]
    t.ok(
      took.every((ms, n) => ms >= (slowed[n] as number) - 10),
      took.map(Math.round).join(' '),
    )
    // While its answer waits it gets no second try, and another address is answered at once.
    const other = from(t, daemon, '127.0.0.2')
    await once(other.peer.socket, 'connect')
    const waiting = guesser.bind({ password: 'wrong' })
    t.equal(await guesser.bind({ password: 'secret' }), 'ESME_RALYBND')
    const isFirst = await Promise.race([other.bind({}).then(name => name === 'ESME_ROK'), waiting.then(() => false)])
    t.ok(isFirst)
    t.equal(await waiting, 'ESME_RBINDFAIL')
    t.equal(await guesser.bind({}), 'ESME_ROK', 'the right password is taken')
    const again = await stranger(t, daemon.smpp)
    const at = performance.now()
    t.equal(await again.bind({ password: 'wrong' }), 'ESME_RBINDFAIL')
    t.ok(performance.now() - at < Math.max(500, 4 * (took[0] as number)), 'and what was before it is forgotten')
    t.equal(await events(daemon, 'binds_refused_password'), 8)
  },
)

story(
  'a delayed answer holds no connection: neither one that hangs up, nor one whose time to bind is over',
  async t => {
    const daemon = await house(t, {
      config: { smpp: { failedBindDelayMs: 60_000, sessionInitMs: 3_000 }, log: { level: 'debug' } },
    })
    const fail = async (one: Esme) => one.bind({ systemId: 'nobody' }).catch((error: Error) => error.message)
    // 0, 0, 125, 250, 500, 1000, 2000, and then 4000 ms: longer than the time to bind.
    const first = await Promise.all(Array.from({ length: 7 }, () => stranger(t, daemon.smpp)))
    const answers = first.map(fail)
    for (let n = 0; n < 7; n++)
      await daemon.line(line => line.peer === endOf(first[n] as Esme) && line.why !== undefined)
    const late = await stranger(t, daemon.smpp)
    const lateEnd = endOf(late)
    t.match(await fail(late), /^closed before the answer/)
    t.equal(late.peer.bytes, 0)
    t.same(await Promise.all(answers), Array(7).fill('ESME_RBINDFAIL'))
    await daemon.line(line => line.reason === 'never bound' && line.peer === lateEnd)
    const gone = await stranger(t, daemon.smpp)
    const goneEnd = endOf(gone)
    const failed = fail(gone)
    gone.peer.flush()
    gone.peer.socket.end()
    await failed
    await daemon.line(line => line.reason === 'peer closed' && line.peer === goneEnd)
  },
)

const endOf = ({ peer: { socket } }: Esme): string => `127.0.0.1:${socket.localPort}`

story('too many failed binds bar their address for a while, and the log does not grow with every try', async t => {
  const daemon = await house(t, { config: { smpp: { failedBindDelayMs: 0, failedBinds: 30, barredMs: 1_500 } } })
  const guesser = await stranger(t, daemon.smpp)
  const early = await stranger(t, daemon.smpp)
  for (let n = 0; n < 30; n++) t.equal(await guesser.bind({ systemId: `nobody${n}` }), 'ESME_RBINDFAIL')
  t.equal(await early.bind({}), 'ESME_RBINDFAIL', 'a connection that was there before has no try left either')
  const barred = new Peer(net.connect(daemon.smpp, '127.0.0.1'))
  await within(barred.closed, 'the end of a barred connection')
  t.equal(barred.bytes, 0)
  t.equal(await from(t, daemon, '127.0.0.2').bind({}), 'ESME_ROK')
  t.equal(await events(daemon, 'binds_refused'), 31)
  await daemon.line(() => daemon.lines('bind refused').length >= 20)
  t.equal(daemon.lines('bind refused').length, 20)
  t.equal(await events(daemon, 'binds_refused_barred'), 1)
  t.equal(await events(daemon, 'connections_refused_barred'), 1)
  for (;;) {
    const one = over(t, net.connect(daemon.smpp, '127.0.0.1'))
    const answer = await one.bind({}).catch(() => 'closed')
    if (answer === 'ESME_ROK') break
    if (answer !== 'closed') throw new Error(answer)
  }
  t.ok(daemon.lines('connection refused').length <= 3)
})

story(
  'with legacyBindCodes an unknown name and a wrong password have codes of their own, as fields too long always do',
  async t => {
    const password = 'a password of many more than eight'
    const daemon = await house(t, {
      accounts: {
        shop: { password },
        late: { suspended: 'unpaid' },
        far: { smpp: { allowFrom: ['192.0.2.1'] } },
        one: { maxBinds: 1 },
      },
      config: { smpp: { legacyBindCodes: true, failedBindDelayMs: 0 } },
    })
    await esme(t, daemon.smpp, { systemId: 'one' })
    const guesser = await stranger(t, daemon.smpp)
    t.equal(await guesser.bind({ systemId: 'nobody' }), 'ESME_RINVSYSID')
    t.equal(await guesser.bind({ password: 'wrong' }), 'ESME_RINVPASWD')
    t.equal(await guesser.bind({ systemId: 'late' }), 'ESME_RBINDFAIL')
    t.equal(await guesser.bind({ systemId: 'far' }), 'ESME_RBINDFAIL')
    t.equal(await guesser.bind({ systemId: 'far', password: 'wrong' }), 'ESME_RINVPASWD')
    t.equal(await guesser.bind({ systemId: 'one' }), 'ESME_RBINDFAIL')

    // A field that is too long for any has its own code; long names and passwords are in daily use (Q25).
    const bind = async (fields: object, body?: string) => {
      const header = (length: number) => hex(`${length.toString(16).padStart(8, '0')}000000020000000000000063`)
      const octets = Buffer.from(body ?? '', 'latin1')
      const answer =
        body === undefined
          ? guesser.peer.request(command.bind_transmitter, fields)
          : guesser.peer.send(0x63, Buffer.concat([header(16 + octets.length), octets]))
      return statusName((await within(answer, 'bind_transmitter_resp')).status)
    }
    const tail = '\x34\0\0\0'
    t.equal(await bind({}, `${'s'.repeat(65)}\0pw\0\0${tail}`), 'ESME_RINVSYSID')
    t.equal(await bind({}, `shop\0${'p'.repeat(65)}\0\0${tail}`), 'ESME_RINVPASWD')
    t.equal(await bind({}, `shop\0pw\0thirteen char\0${tail}`), 'ESME_RINVSYSTYP')
    t.equal(await bind({}, `shop\0pw\0\0\x34\0\0${'9'.repeat(41)}\0`), 'ESME_RINVSRCADR')
    t.equal(await bind({}, 'shop'), 'ESME_RINVSYSID', 'no end')
    t.equal(await bind({ system_id: 's'.repeat(64), password }), 'ESME_RINVSYSID', 'not too long, but nobody')
    t.equal(await bind({ system_id: 'shop', password, system_type: 'VMA', address_range: '9'.repeat(40) }), 'ESME_ROK')
  },
)

story('each version of SMPP gets what it knows, and a version that there is not is no reason to refuse', async t => {
  const carrier = await smsc(t)
  const daemon = await house(t, { carriers: { up: carrier } })
  for (const [version, tlvs, id] of [
    [0x00, '', /^[0-9A-F]{8}$/],
    [0x22, '', /^[0-9A-F]{8}$/],
    [0x33, '', /^[0-9A-F]{8}$/],
    [0x34, '0210000134', /^\d{16}$/],
    [0x35, '0210000134', /^\d{16}$/],
    [0x50, '0210000150', /^\d{16}$/],
    [0xff, '0210000150', /^\d{16}$/],
  ] as const) {
    const one = await stranger(t, daemon.smpp)
    const fields = { system_id: 'shop', password: 'secret', interface_version: version }
    const answer = await within(one.peer.request(command.bind_transceiver, fields), 'bind_transceiver_resp')
    const name = `version 0x${version.toString(16)}`
    t.match(answer, { status: 0, fields: { system_id: 'trunkline' } }, name)
    t.equal(answer.tlvs.toString('hex'), tlvs, name)
    const sent = { source_addr: '1', destination_addr: '12025550123', registered_delivery: 1 }
    const taken = await within(one.peer.request(command.submit_sm, sent), 'submit_sm_resp')
    t.match(taken, { status: 0, fields: { message_id: id } }, name)
    t.equal(taken.tlvs.length, 0, 'nobody is told congestion_state unless the settings say so')
    const receipt = await one.next()
    t.equal(receipt.pdu.tlvs.length > 0, version >= 0x34, name)
    // A refused bind has no body, whatever the version (S-g).
    const refused = await stranger(t, daemon.smpp)
    const no = await within(refused.peer.request(command.bind_transceiver, { ...fields, system_id: 'x' }), 'a refusal')
    t.equal(no.octets.length, 16, name)
    await one.unbind()
  }
})

story('with congestion: true, answers tell a peer of v5.0, and no other, how full its queue is', async t => {
  const daemon = await house(t, {
    accounts: { shop: { maxWaiting: 10 }, old: { maxWaiting: 10 } },
    carriers: { up: await smsc(t) },
    config: { smpp: { congestion: true } },
  })
  const told = ({ tlvs }: Heard): number => {
    const at = findTlv(tlvs, 0, tlvs.length, tlv.congestion_state)
    return at < 0 ? -1 : tlvUint(tlvs, at)
  }
  const later = { source_addr: '1', destination_addr: '12025550123', schedule_delivery_time: '000001000000000R' }
  const submit = (one: Esme): Promise<Heard> => within(one.peer.request(command.submit_sm, later), 'submit_sm_resp')
  const shop = await esme(t, daemon.smpp, { interfaceVersion: 0x50 })
  let message_id = ''
  for (let n = 1; n <= 10; n++) {
    const answer = await submit(shop)
    message_id = (answer.fields as { message_id: string }).message_id
    t.equal(answer.status, 0)
    t.match(message_id, /^\d{16}$/)
    // A slow commit is congestion too.
    t.ok(told(answer) >= n * 10 && told(answer) <= 100, `${told(answer)} with ${n} of 10`)
  }
  const full = await submit(shop)
  t.same([statusName(full.status), full.octets.length], ['ESME_RMSGQFUL', 16], 'what is refused has no body')
  const query = await within(shop.peer.request(command.query_sm, { message_id, source_addr: '1' }), 'query_sm_resp')
  t.equal(told(query), 100)
  const old = await esme(t, daemon.smpp, { systemId: 'old' })
  t.equal(told(await submit(old)), -1)
})

t.test('congestion_state is what of the queue is full, or of a second the last commit took', async t => {
  let full = 0
  const congestion = new Congestion({ fullness: () => full } as unknown as Spool)
  const account = { id: 1, maxWaiting: null } as Account
  t.equal(congestion.of(account), 0)
  full = 0.299
  congestion.synced(120)
  t.equal(congestion.of(account), 29)
  congestion.synced(850)
  t.equal(congestion.of(account), 85)
  congestion.synced(20_000)
  t.equal(congestion.of(account), 100)
  congestion.synced(1)
  full = 1
  t.equal(congestion.of(account), 100)
})

t.test('what is refused has the code of the standard, and of v5.0 where the peer knows that', async t => {
  const code = (name: FaultCode, version: number): string => statusName(statusOf(fault(name, '', false), version))
  for (const version of [0x33, 0x34, 0x4f]) {
    t.equal(code('account_suspended', version), 'ESME_RSUBMITFAIL')
    t.equal(code('coding_unsupported', version), 'ESME_RSUBMITFAIL')
  }
  t.equal(code('account_suspended', 0x50), 'ESME_RPROHIBITED')
  t.equal(code('coding_unsupported', 0x50), 'ESME_RINVDCS')
  t.equal(code('credit_exhausted', 0x50), 'ESME_RSUBMITFAIL')
  t.equal(code('queue_full', 0x50), 'ESME_RMSGQFUL')
})

story(
  'the timers of a bind: asked when silent, closed when it does not answer or stops inside a PDU, or is idle',
  async t => {
    const daemon = await house(t, { config: { smpp: { enquireLinkMs: 200, responseMs: 1_200, inactivityMs: 2_000 } } })
    const bound = () => esme(t, daemon.smpp)
    const [deaf, half, idle] = [await bound(), await bound(), await bound()]
    const ends = [deaf, half, idle].map(endOf)
    let asked = 0
    deaf.peer.answersEnquiries = false
    deaf.peer.onRequest = () => asked++
    half.peer.write(hex('00000040 00000004 00000000'))
    await Promise.all([deaf.closed(), half.closed()])
    t.equal(asked, 1)
    await idle.unbound
    await idle.closed()
    const reasons = ends.map(end => daemon.line(line => line.msg === 'unbound' && line.peer === end))
    t.match(await Promise.all(reasons), [{ reason: 'link silent' }, { reason: 'link silent' }, { reason: 'inactive' }])
  },
)

story('connections have limits, in all, of one address and a second', async t => {
  const daemon = await house(t, {
    config: { smpp: { maxConnections: 4, maxConnectionsPerAddress: 2, connectionsPerSecond: 3 } },
  })
  const first = await esme(t, daemon.smpp)
  await esme(t, daemon.smpp)
  await from(t, daemon, '127.0.0.1').closed()
  t.equal(await events(daemon, 'connections_refused_too_many_of_one_address'), 1)
  await first.unbind()
  for (const address of ['127.0.0.2', '127.0.0.3', '127.0.0.4'])
    t.equal(await from(t, daemon, address).bind({}), 'ESME_ROK')
  await from(t, daemon, '127.0.0.5').closed()
  t.equal(await events(daemon, 'connections_refused_too_many_connections'), 1)
})
