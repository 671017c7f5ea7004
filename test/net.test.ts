// What stands before a listener: addresses, PROXY headers in any number of pieces, limits, certificates and TLS; over real
// sockets where sockets matter.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tls from 'node:tls'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { endpoint, isListed, isRange, listOf, networkOf, plainAddress } from '../protocols/net/address.js'
import { isFaulty, readTls, type TlsFiles, type TlsMaterial } from '../protocols/net/certificate.js'
import { Crowd, type CrowdLimits } from '../protocols/net/crowd.js'
import { Listener, type ListenerOptions, type Origin } from '../protocols/net/listener.js'
import { readProxyHeader } from '../protocols/net/proxy.js'
import { ManualClock } from '../src/base/clock.js'
import { aliasOf, firstIdAt, IdMaker, idsOfAlias } from '../src/base/ids.js'
import { Quiet } from '../src/base/quiet.js'
import { faultLine, loadConfig } from '../src/config/loading.js'
import { FailedBinds } from '../src/intake/smpp/failures.js'
import { certificate } from './support/certificates.js'
import { Waiting, within } from './support/peer.js'

const V2 = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')
const v2 = (versionCommand: number, family: number, body: Buffer): Buffer =>
  Buffer.concat([V2, Buffer.of(versionCommand, family, body.length >> 8, body.length & 255), body])
const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ''), 'hex')

const V1_TCP4 = Buffer.from('PROXY TCP4 203.0.113.7 192.0.2.1 56324 2775\r\n')
const V2_TCP4 = v2(0x21, 0x11, hex('cb007107 c0000201 dc04 0ad7'))
const V2_TCP6 = v2(0x21, 0x21, hex('20010db8 00000000 00000000 00000007 20010db8 00000000 00000000 00000001 dc04 0ad7'))
/** PP2_TYPE_NOOP and PP2_TYPE_AUTHORITY, and an odd end. */
const V2_TLVS = v2(0x21, 0x11, hex('cb007107 c0000201 dc04 0ad7 04 0003 000000 02 0004 61626364 ff'))

t.test('addresses', async t => {
  t.equal(plainAddress('::ffff:192.0.2.1'), '192.0.2.1')
  t.equal(plainAddress('::FFFF:192.0.2.1'), '192.0.2.1')
  t.equal(plainAddress('fe80::1%eth0'), 'fe80::1')
  t.equal(plainAddress('192.0.2.1'), '192.0.2.1')
  t.equal(endpoint('192.0.2.1', 1), '192.0.2.1:1')
  t.equal(endpoint('::1', 1), '[::1]:1')
  for (const [address, network] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['2001:db8::6:5:4:3', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['2001:0db8:0001::', '2001:db8:1:0::/64'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['0:0:0:0:0:FFFF:cb00:7101', '203.0.113.1'],
    ['::ffff:0:c000:201', '0:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '192.0.2.1'],
    ['64:ff9b::c000:201', '192.0.2.1'],
    ['0064:ff9b:0::cb00:7101', '203.0.113.1'],
    ['64:ff9b:1::c000:201', '64:ff9b:1:0::/64'],
    ['1:2:3::192.0.2.1', '1:2:3:0::/64'],
    ['1:2:3:4:5:6:192.0.2.1', '1:2:3:4::/64'],
    ['1::4:5:6:7:8', '1:0:0:4::/64'],
    ['', ''],
  ] as const) {
    t.equal(networkOf(address), network, address)
  }
  const list = listOf(['192.0.2.0/24', '198.51.100.7', '2001:db8::/32', '::ffff:203.0.113.0/120'])
  for (const address of [
    '192.0.2.255',
    '::ffff:192.0.2.9',
    '198.51.100.7',
    '2001:db8:ffff::1',
    '203.0.113.9',
    '2001:db8::1%eth0',
  ]) {
    t.ok(isListed(list, address), address)
  }
  for (const address of ['192.0.3.0', '198.51.100.8', '2001:db9::1', '::1', '', 'localhost', '203.0.114.1']) {
    t.notOk(isListed(list, address), address)
  }
  t.ok(isListed(listOf(['0.0.0.0/0']), '::ffff:1.2.3.4'))
  for (const wrong of ['', 'x', '1.2.3.4/33', '::/129', '1.2.3.4/', '1.2.3.4/8/8', '1.2.3', 'localhost']) {
    t.notOk(isRange(wrong), wrong)
  }
})

t.test('PROXY headers', async t => {
  const named = (address: string, port: number) => ({ source: { address, port } })
  const whole: [name: string, octets: Buffer, means: object][] = [
    ['v1 TCP4', V1_TCP4, named('203.0.113.7', 56324)],
    ['v1 TCP6', Buffer.from('PROXY TCP6 2001:db8::7 ::1 1 65535\r\n'), named('2001:db8::7', 1)],
    ['v1 UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), { source: undefined }],
    ['v1 UNKNOWN with words', Buffer.from('PROXY UNKNOWN ffff::1 x 1 2\r\n'), { source: undefined }],
    ['v2 TCP4', V2_TCP4, named('203.0.113.7', 56324)],
    ['v2 TCP6', V2_TCP6, named('2001:db8::7', 56324)],
    ['v2 with TLVs', V2_TLVS, named('203.0.113.7', 56324)],
    ['v2 LOCAL', v2(0x20, 0x00, Buffer.alloc(0)), { source: undefined }],
    ['v2 LOCAL with an address', v2(0x20, 0x11, hex('cb007107 c0000201 dc04 0ad7')), { source: undefined }],
    ['v2 UNSPEC', v2(0x21, 0x00, Buffer.alloc(3)), { source: undefined }],
    ['v2 UDP', v2(0x21, 0x12, Buffer.alloc(12)), { source: undefined }],
    ['v2 unix', v2(0x21, 0x31, Buffer.alloc(216)), { source: undefined }],
    [
      'v2 mapped',
      v2(0x21, 0x21, hex(`${'0'.repeat(20)}ffffcb007107 ${'0'.repeat(32)} 0001 0002`)),
      named('::ffff:203.0.113.7', 1),
    ],
    ['v2 ::', v2(0x21, 0x21, Buffer.alloc(36)), named('::', 0)],
  ]
  for (const [name, octets, means] of whole) {
    const behind = Buffer.concat([octets, Buffer.from('PROXY ')])
    t.match(readProxyHeader(behind), { length: octets.length, ...means }, name)
    for (let cut = 0; cut < octets.length; cut++) {
      if (readProxyHeader(octets.subarray(0, cut)) !== 'more') t.fail(`${name} at ${cut}`)
    }
  }
  const bad: [name: string, octets: Buffer][] = [
    ['another protocol', Buffer.from('GET / HTTP/1.1\r\n')],
    ['one wrong octet', Buffer.from('PROXX')],
    ['an SMPP bind', hex('0000002f 00000009')],
    ['a wrong family', Buffer.from('PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n')],
    ['a family that is not the address', Buffer.from('PROXY TCP4 ::1 ::1 1 2\r\n')],
    ['no port', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n')],
    ['a port too many', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n')],
    ['a port too high', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n')],
    ['a port with a sign', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n')],
    ['two blanks', Buffer.from('PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n')],
    ['a line without an end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(200)}`)],
    ['a line of 108 octets', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
    ['version 1 in binary', v2(0x11, 0x11, Buffer.alloc(12))],
    ['an unknown command', v2(0x22, 0x11, Buffer.alloc(12))],
    ['addresses cut short', v2(0x21, 0x11, Buffer.alloc(11))],
    ['a length past our limit', Buffer.concat([V2, hex('21 11 ffff')])],
  ]
  for (const [name, octets] of bad) t.equal(readProxyHeader(octets), 'bad', name)
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.constantFrom(V1_TCP4, V2_TLVS, V2_TCP6), fc.nat(60), fc.nat(255), (header, at, value) => {
        const mutant = Buffer.from(header)
        mutant[at % mutant.length] = value
        const read = readProxyHeader(mutant)
        return typeof read === 'string' || (read.length > 0 && read.length <= mutant.length)
      }),
      { numRuns: 2_000 },
    ),
  )
})

t.test('a crowd counts what is there and how fast more come, by network', async t => {
  const clock = new ManualClock(0)
  const crowd = new Crowd({ all: 10, perNetwork: 3, perSecond: 5 }, () => clock.mono())
  for (let n = 0; n < 3; n++) t.equal(crowd.enter('a'), undefined)
  t.equal(crowd.enter('a'), 'too many of one address')
  t.equal(crowd.enter('b'), undefined)
  crowd.leave('a')
  t.equal(crowd.enter('a'), undefined)
  for (let n = 0; n < 3; n++) crowd.leave('a')
  t.equal(crowd.enter('a'), undefined, 'the fifth within a second')
  t.equal(crowd.enter('a'), 'too fast')
  clock.advance(199)
  t.equal(crowd.enter('a'), 'too fast')
  clock.advance(2)
  t.equal(crowd.enter('a'), undefined)
  const open = new Crowd({ all: 10, perNetwork: 0, perSecond: 0 }, () => 0)
  for (let n = 0; n < 100; n++) t.equal(open.enter('a'), undefined)
})

t.test('failed binds wait longer and longer, bar their network, and are forgotten', async t => {
  const clock = new ManualClock(0)
  const failures = new FailedBinds({ delayMs: 1_000, barredAfter: 8, barredMs: 5_000 }, () => clock.mono())
  t.same(
    Array.from({ length: 7 }, () => failures.add('a', 'shop')),
    [0, 0, 125, 250, 500, 1_000, 1_000],
  )
  t.notOk(failures.isBarred('a'))
  t.equal(failures.add('b', 'shop'), 0, 'another network pays nothing')
  failures.add('a', 'shop')
  t.ok(failures.isBarred('a'))
  t.notOk(failures.isBarred('b'))
  clock.advance(5_000)
  t.notOk(failures.isBarred('a'))
  failures.add('a', 'shop')
  t.ok(failures.isBarred('a'), 'the next failure bars it again')
  failures.forgive('a', 'shop')
  t.notOk(failures.isBarred('a'))
  t.equal(failures.add('a', 'shop'), 0, 'a good bind has cleared it')
  for (let n = 0; n < 5; n++) failures.add('a', 'shop')
  clock.advance(600_000)
  t.equal(failures.add('a', 'shop'), 0, 'what is old is forgotten')
  for (let n = 0; n < 20_000; n++) failures.add(`n${n}`, 'shop')
  t.equal(failures.size, 10_000)
  t.equal(new FailedBinds({ delayMs: 0, barredAfter: 0, barredMs: 1 }, () => 0).add('a', 'shop'), 0)

  const quiet = new Quiet(2, 4, () => clock.mono())
  t.same(
    ['a', 'a', 'a', 'a', 'b', 'b', 'c'].map(key => quiet.take(key)),
    [0, 0, undefined, undefined, 2, 0, undefined],
    'two of each, four of all, and how many were left out',
  )
  clock.advance(60_000)
  t.equal(quiet.take('a'), 1)
})

t.test('an id is found again by its 8 hexadecimal digits', async t => {
  const clock = new ManualClock(Date.UTC(2026, 5, 1))
  const maker = new IdMaker(clock, 5)
  const id = maker.next()
  const alias = aliasOf(id)
  t.match(alias, /^[0-9A-F]{8}$/)
  const day = 86_400_000
  const found = (nowMs: number, text = alias, backMs = 2 * day) => idsOfAlias(text, 5, nowMs, backMs)
  t.equal(found(clock.now())[0], id, 'the newest of them')
  const later = found(clock.now() + day)
  t.ok(later.includes(id) && later[0] !== id)
  t.same(
    later,
    [...later].sort((a, b) => b - a),
    'newest first',
  )
  t.ok(later.every(one => aliasOf(one) === alias))
  t.equal(found(clock.now(), alias.toLowerCase())[0], id)
  t.equal(found(clock.now(), `00${alias}`)[0], id)
  t.notOk(found(clock.now() + 3 * day).includes(id), 'too long ago')
  t.notOk(idsOfAlias(alias, 6, clock.now(), day).includes(id), 'another node')
  for (const wrong of ['', 'xyz', '123456789', ' 1', '0x12', String(id)]) t.same(found(clock.now(), wrong), [], wrong)
  t.equal(aliasOf(firstIdAt(Date.UTC(2020, 0, 1))), '00000000')
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 40 - 1 }),
        fc.nat(63),
        fc.nat(127),
        fc.nat(3 * day),
        fc.nat(3_600_000),
        (ms, node, sequence, age, ahead) => {
          const any = ms * 8192 + node * 128 + sequence
          const madeMs = ms + Date.UTC(2020, 0, 1)
          return (
            idsOfAlias(aliasOf(any), node, madeMs + age, 3 * day).includes(any) &&
            idsOfAlias(aliasOf(any), node, madeMs - ahead, day).includes(any)
          )
        },
      ),
    ),
  )
  const many = Array.from({ length: 100_000 }, () => aliasOf(maker.next()))
  t.equal(new Set(many).size, many.length, 'no two of a burst share one')
})

// ---- over sockets

const folder = (t: Test): string => {
  const dir = mkdtempSync(join(tmpdir(), 'net-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** A listener that greets each connection with the origin it was given, and echoes. */
class Doorstep {
  port = 0
  readonly crowd: Crowd
  readonly refusals: string[] = []
  readonly barred = new Set<string>()
  readonly listener: Listener
  private readonly waiting = new Waiting()

  constructor(options: { tls?: TlsMaterial; proxies?: string[]; limits?: Partial<CrowdLimits>; patienceMs?: number }) {
    this.crowd = new Crowd({ all: 100, perNetwork: 0, perSecond: 0, ...options.limits }, () => performance.now())
    const given: ListenerOptions = {
      tls: options.tls ?? null,
      proxies: options.proxies ? listOf(options.proxies) : null,
      crowd: this.crowd,
      patienceMs: options.patienceMs ?? 10_000,
      isBarred: address => this.barred.has(address),
      connected: (socket, origin) => this.greet(socket, origin),
      refused: (why, address) => {
        this.refusals.push(`${why} ${address}`)
        this.waiting.look()
      },
      failed: error => this.refusals.push(error.message),
    }
    this.listener = new Listener(given)
  }

  private greet(socket: net.Socket, { address, port, isSecure, clientSubject }: Origin): void {
    socket.on('error', () => {})
    socket.write(`${address} ${port} ${isSecure ? 'tls' : 'plain'} ${clientSubject ?? '-'}\n`)
    socket.on('data', chunk => socket.write(chunk))
  }

  async open(t: Test, host = '127.0.0.1'): Promise<this> {
    this.port = await this.listener.listen({ host, port: 0 })
    t.teardown(() => this.listener.close())
    return this
  }

  refused(count: number): Promise<string[]> {
    return this.waiting.until(() => (this.refusals.length >= count ? this.refusals : undefined), 'refusals')
  }
}

/** Sends all pieces, one after the other in writes of their own; what came back until `lines` lines are there or it is closed. */
async function talk(t: Test, socket: net.Socket, pieces: readonly Buffer[], lines: number): Promise<string> {
  let heard = ''
  t.teardown(() => socket.destroy())
  socket.setNoDelay(true)
  socket.on('error', () => {})
  const done = new Promise<void>(resolve => {
    socket.on('close', () => resolve())
    socket.on('data', chunk => {
      heard += chunk.toString()
      if (heard.split('\n').length > lines) resolve()
    })
  })
  for (const piece of pieces) await new Promise(resolve => socket.write(piece, resolve))
  await within(done, `${lines} lines; there are ${JSON.stringify(heard)}`)
  return heard
}

const octetByOctet = (octets: Buffer): Buffer[] => [...octets].map(octet => Buffer.of(octet))
const say = (text: string): Buffer => Buffer.from(text)

t.test('behind a proxy, the peer is whom the header names, in however many pieces it comes', async t => {
  const door = await new Doorstep({ proxies: ['127.0.0.0/8'], limits: { perNetwork: 50 } }).open(t)
  const ask = (pieces: Buffer[], lines = 2) => talk(t, net.connect(door.port, '127.0.0.1'), pieces, lines)
  for (const header of [V1_TCP4, V2_TCP4, V2_TLVS]) {
    t.equal(await ask([header, say('hello\n')]), '203.0.113.7 56324 plain -\nhello\n')
    t.equal(await ask([Buffer.concat([header, say('hello\n')])]), '203.0.113.7 56324 plain -\nhello\n', 'in one piece')
    t.equal(await ask(octetByOctet(Buffer.concat([header, say('hello\n')]))), '203.0.113.7 56324 plain -\nhello\n')
  }
  t.equal(await ask([V2_TCP6], 1), '2001:db8::7 56324 plain -\n')
  t.match(await ask([say('PROXY UNKNOWN\r\n')], 1), /^127\.0\.0\.1 \d+ plain -\n$/)
  t.same(door.refusals, [])
  t.equal(await ask([say('hello, no header here')], 1), '')
  t.same(door.refusals, ['bad proxy header 127.0.0.1'])
  door.barred.add('203.0.113.7')
  t.equal(await ask([V1_TCP4], 1), '')
  t.same(door.refusals[1], 'barred 203.0.113.7')
  // A probe connects and goes.
  const probe = net.connect(door.port, '127.0.0.1')
  probe.end()
  await once(probe.resume(), 'close')
  t.equal(door.refusals.length, 2)
})

t.test('who is no trusted proxy is hung up on, header or none; a header that does not come ends the wait', async t => {
  const liar = await new Doorstep({ proxies: ['192.0.2.1', '2001:db8::/32'] }).open(t)
  t.equal(await talk(t, net.connect(liar.port, '127.0.0.1'), [V1_TCP4], 1), '')
  t.equal(await talk(t, net.connect(liar.port, '127.0.0.1'), [], 1), '')
  t.same(liar.refusals, ['no trusted proxy 127.0.0.1', 'no trusted proxy 127.0.0.1'])
  const late = await new Doorstep({ proxies: ['127.0.0.1'], patienceMs: 100 }).open(t)
  t.equal(await talk(t, net.connect(late.port, '127.0.0.1'), [V1_TCP4.subarray(0, 20)], 1), '')
  t.same(late.refusals, ['proxy header late 127.0.0.1'])
})

t.test('connections in all, of one address and per second have limits, each with its name', async t => {
  const connect = async (door: Doorstep) => {
    const socket = net.connect(door.port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    return { socket, gone: once(socket.resume(), 'close') }
  }
  const greeted = async (door: Doorstep) => {
    const { socket } = await connect(door)
    await once(socket, 'data')
    return socket
  }
  const all = await new Doorstep({ limits: { all: 2 } }).open(t)
  const first = await greeted(all)
  await greeted(all)
  await (await connect(all)).gone
  t.same(all.refusals, ['too many connections 127.0.0.1'])
  first.destroy()
  while (all.crowd.count === 2) await new Promise(resolve => setImmediate(resolve))
  await greeted(all)

  const each = await new Doorstep({ limits: { perNetwork: 1 } }).open(t)
  await greeted(each)
  await (await connect(each)).gone
  t.same(each.refusals, ['too many of one address 127.0.0.1'])

  const fast = await new Doorstep({ limits: { perSecond: 1 } }).open(t)
  await greeted(fast)
  await (await connect(fast)).gone
  t.same(fast.refusals, ['too fast 127.0.0.1'])
})

const material = (files: Partial<TlsFiles>): TlsMaterial => {
  const read = readTls({ cert: null, key: null, clientCa: null, clientCert: 'none', ...files })
  if (read === null || isFaulty(read)) throw new Error(JSON.stringify(read))
  return read
}

t.test('TLS', async t => {
  const dir = folder(t)
  const first = certificate(dir, 'first')
  const second = certificate(dir, 'second')
  const ca = certificate(dir, 'ca')
  const good = certificate(dir, 'shop', ca)
  const foreign = certificate(dir, 'foreign')
  const secure = (door: Doorstep, more: tls.ConnectionOptions = {}) =>
    tls.connect({ port: door.port, host: '127.0.0.1', rejectUnauthorized: false, ...more })
  const shown = (socket: tls.TLSSocket) => socket.getPeerX509Certificate()?.subject

  await t.test('a new certificate is for those who come; those who are there notice nothing', async t => {
    const door = await new Doorstep({ tls: material(first) }).open(t)
    const old = secure(door)
    t.match(await talk(t, old, [say('one\n')], 2), /^127\.0\.0\.1 \d+ tls -\none\n$/)
    t.equal(shown(old), 'CN=first')
    door.listener.useCertificate(material(second))
    const next = secure(door)
    await talk(t, next, [], 1)
    t.equal(shown(next), 'CN=second')
    t.match(await talk(t, old, [say('two\n')], 1), 'two\n')
    t.same(door.refusals, [])
    t.equal(door.crowd.count, 2)
    old.end()
    next.destroy()
    while (door.crowd.count > 0) await new Promise(resolve => setImmediate(resolve))
  })

  await t.test('a PROXY header comes before the handshake', async t => {
    const door = await new Doorstep({ tls: material(first), proxies: ['127.0.0.1'] }).open(t)
    for (const pieces of [[V2_TLVS], octetByOctet(V1_TCP4)]) {
      const raw = net.connect(door.port, '127.0.0.1')
      raw.setNoDelay(true)
      await once(raw, 'connect')
      for (const piece of pieces) await new Promise(resolve => raw.write(piece, resolve))
      const socket = tls.connect({ socket: raw, rejectUnauthorized: false })
      t.equal(await talk(t, socket, [say('hello\n')], 2), '203.0.113.7 56324 tls -\nhello\n')
    }
    // Header and ClientHello in one piece.
    const raw = net.connect(door.port, '127.0.0.1')
    const send = raw.write.bind(raw)
    let isFirst = true
    const relay = new (await import('node:stream')).Duplex({
      read() {},
      write(chunk: Buffer, _encoding, done) {
        send(isFirst ? Buffer.concat([V2_TCP4, chunk]) : chunk)
        isFirst = false
        done()
      },
    })
    raw.on('data', chunk => relay.push(chunk))
    const socket = tls.connect({ socket: relay, rejectUnauthorized: false })
    t.equal(await talk(t, socket, [say('hello\n')], 2), '203.0.113.7 56324 tls -\nhello\n')
    raw.destroy()
    t.same(door.refusals, [])
  })

  await t.test('a client certificate is not asked for, may be shown, or must be', async t => {
    const open = (clientCert: TlsFiles['clientCert']) =>
      new Doorstep({ tls: material({ ...first, clientCa: ca.cert, clientCert }) }).open(t)
    const none = await open('none')
    t.match(await talk(t, secure(none, good.pem), [], 1), /tls -\n/)
    const ask = await open('ask')
    t.match(await talk(t, secure(ask), [], 1), /tls -\n/)
    t.match(await talk(t, secure(ask, good.pem), [], 1), /tls CN=shop\n/)
    t.equal(await talk(t, secure(ask, foreign.pem), [], 1), '')
    const must = await open('require')
    t.match(await talk(t, secure(must, good.pem), [], 1), /tls CN=shop\n/)
    t.equal(await talk(t, secure(must), [], 1), '')
    t.equal(await talk(t, secure(must, foreign.pem), [], 1), '')
    t.same(ask.refusals, ['bad client certificate 127.0.0.1'])
    t.same(must.refusals, ['no client certificate 127.0.0.1', 'bad client certificate 127.0.0.1'])
    // TLS 1.2 resumes sessions too: a session is no way round a certificate.
    const old = secure(must, { ...good.pem, maxVersion: 'TLSv1.2' })
    t.match(await talk(t, old, [], 1), /tls CN=shop\n/)
    const session = old.getSession() as Buffer
    t.match(await talk(t, secure(must, { session, maxVersion: 'TLSv1.2' }), [], 1), /^$|tls CN=shop\n/)
  })

  await t.test('what is no handshake, stops in it, or goes, is refused by its name and holds nothing', async t => {
    const door = await new Doorstep({ tls: material(first), patienceMs: 150 }).open(t)
    await talk(t, net.connect(door.port, '127.0.0.1'), [hex('0000002f 00000009 00000000 00000001')], 9)
    await door.refused(1)
    await talk(t, net.connect(door.port, '127.0.0.1'), [hex('16030100 f1010000')], 9)
    await door.refused(2)
    const gone = net.connect(door.port, '127.0.0.1')
    gone.end(hex('16030100 f1010000'))
    await door.refused(3)
    // A probe that says nothing is nothing to tell.
    for (const leave of ['destroy', 'resetAndDestroy'] as const) {
      const probe = net.connect(door.port, '127.0.0.1')
      await once(probe, 'connect')
      probe[leave]()
    }
    t.same(door.refusals, ['tls handshake 127.0.0.1', 'tls handshake late 127.0.0.1', 'tls handshake 127.0.0.1'])
    while (door.crowd.count > 0) await new Promise(resolve => setImmediate(resolve))
    const old = secure(door, { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' })
    t.equal(await talk(t, old, [], 1), '', 'TLS 1.1 is refused')
  })

  await t.test('every fault of the files has a sentence, all at once', async t => {
    const faults = (files: Partial<TlsFiles>) => {
      const read = readTls({ cert: null, key: null, clientCa: null, clientCert: 'none', ...files })
      return isFaulty(read) ? read.map(({ setting, message }) => `${setting} ${message.replaceAll(dir, 'DIR')}`) : read
    }
    const text = join(dir, 'text.pem')
    writeFileSync(text, 'no certificate')
    t.equal(faults({}), null)
    t.same(faults({ cert: first.cert }), ['key must be given where there is a certificate'])
    t.same(faults({ key: first.key }), ['cert must be given where there is a key'])
    t.same(faults({ cert: join(dir, 'none'), key: text, clientCa: text, clientCert: 'ask' }), [
      'cert DIR/none cannot be read: ENOENT',
      'clientCa DIR/text.pem holds no certificate in PEM',
    ])
    t.same(faults({ cert: first.cert, key: second.key, clientCert: 'require' }), [
      'clientCa must be given where client certificates are to be checked (clientCert require)',
      'key DIR/second.key is not the key of the certificate',
    ])
    // As settings: with the line of the file, or the variable; and looked into only where the files are to be used.
    const file = join(dir, 'trunkline.yaml')
    writeFileSync(file, `smpp:\n  window: 0\n  tls:\n    cert: ${text}\n`)
    const env = { TRUNKLINE_SMPP_TLS_KEY: join(dir, 'none') }
    const loaded = loadConfig({ file, env, files: true })
    t.same(loaded.ok ? [] : loaded.faults.map(fault => faultLine(fault).replaceAll(dir, 'DIR')), [
      'DIR/trunkline.yaml:2: smpp.window must be a whole number from 1 to 100000, not 0',
      'DIR/trunkline.yaml:4: smpp.tls.cert DIR/text.pem holds no certificate in PEM',
      'smpp.tls.key DIR/none cannot be read: ENOENT (from TRUNKLINE_SMPP_TLS_KEY)',
    ])
    writeFileSync(file, `smpp:\n  tls:\n    # all commented out\n`)
    t.match(loadConfig({ file, env }), {
      ok: true,
      config: { smpp: { tls: { cert: null, key: env.TRUNKLINE_SMPP_TLS_KEY } } },
    })
    t.match(faults({ cert: first.cert, key: text }), [/^key DIR\/text\.pem and the certificate cannot be used: /])
  })
})
