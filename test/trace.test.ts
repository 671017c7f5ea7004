// The live trace: what may be seen of a PDU, which sessions are shown, what a slow reader costs (itself PDUs, and nobody
// else anything), and the command in front of it, whose captures Wireshark reads.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { CapturedFlow, captureHead, captureTail } from '../protocols/net/capture.js'
import { blankPdu } from '../protocols/smpp/blank.js'
import { command } from '../protocols/smpp/commands.js'
import { decodePdu, encodePdu } from '../protocols/smpp/pdu.js'
import { tlv, writeTlvBytes } from '../protocols/smpp/tlv.js'
import { createAdmin } from '../src/admin/admin.js'
import { takeDirectory } from '../src/admin/lock.js'
import type { TracedSession, TraceTap } from '../src/admin/subject.js'
import {
  ENDED_OCTETS,
  pduRecordOctets,
  sessionRecord,
  TALLY_OCTETS,
  TraceReader,
  type TraceRecord,
  writeEnded,
  writePduHead,
  writeTally,
} from '../src/admin/traceRecords.js'
import { ManualClock } from '../src/base/clock.js'
import { createLog } from '../src/base/log.js'
import { adminSocketPath } from '../src/config/adminSocket.js'
import { Trace } from '../src/daemon/trace.js'
import { Subject } from './support/admin-subject.js'
import { esme, stranger } from './support/esme.js'
import { type House, house, story, trunkline } from './support/house.js'
import { Waiting, within } from './support/peer.js'
import { smsc } from './support/smsc.js'

const CLI = fileURLToPath(new URL('../src/cli.js', import.meta.url))
const TSHARK = '/usr/bin/tshark'
const KEY = 'the-key-of-this-test'
const needTshark = existsSync(TSHARK) ? {} : { skip: 'no Wireshark on this machine: /usr/bin/tshark' }

function scratch(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'trace-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

// ---- what may be seen

const blanked = (pdu: Buffer, texts = false): Buffer => {
  const copy = Buffer.concat([Buffer.from('ab'), pdu, Buffer.from('cd')])
  blankPdu(copy, 2, copy.length - 2, texts)
  const beside = `${copy.toString('latin1', 0, 2)}${copy.toString('latin1', copy.length - 2)}`
  if (beside !== 'abcd') throw new Error(`the octets beside it have changed: ${beside}`)
  return copy.subarray(2, -2)
}
const payload = (octets: Buffer): Buffer => {
  const buf = Buffer.alloc(4 + octets.length)
  writeTlvBytes(buf, 0, tlv.message_payload, octets)
  return buf
}

t.test('octets that nobody may see', async t => {
  t.test('no password leaves, whatever is asked for, and as many asterisks stand where it was', async t => {
    for (const id of [command.bind_transceiver, command.bind_receiver, command.bind_transmitter] as const) {
      for (const texts of [true, false]) {
        const pdu = encodePdu(id, 0, 1, { system_id: 'shop', password: 'hush', interface_version: 0x34 })
        t.match(decodePdu(blanked(pdu, texts), 0, pdu.length), {
          fields: { system_id: 'shop', password: '****', interface_version: 0x34 },
        })
      }
    }
    const outbind = encodePdu(command.outbind, 0, 1, { system_id: 'x', password: 'hush' })
    t.match(decodePdu(blanked(outbind, true), 0, outbind.length), { fields: { system_id: 'x', password: '****' } })
  })

  t.test('texts stay only when they are asked for, and everything else always stays', async () => {
    const octets = fc.uint8Array({ minLength: 1, maxLength: 250 }).map(o => Buffer.from(o))
    const secret = octets.map(o => Buffer.from(o.map(octet => octet | 0x80)))
    fc.assert(
      fc.property(
        fc.constantFrom(
          command.submit_sm,
          command.deliver_sm,
          command.data_sm,
          command.submit_multi,
          command.replace_sm,
        ),
        fc.constantFrom('short', 'payload'),
        secret,
        fc.boolean(),
        (id, where, text, texts) => {
          const inShort = (where === 'short' && id !== command.data_sm) || id === command.replace_sm
          const fields = {
            source_addr: '1000',
            destination_addr: '12025550123',
            message_id: 'm',
            dest_address: [
              { dest_flag: 1 as const, dest_addr_ton: 1, dest_addr_npi: 1, destination_addr: '12025550123' },
              { dest_flag: 2 as const, dl_name: 'list' },
            ],
            short_message: inShort ? text : Buffer.alloc(0),
          }
          const layoutFields = Object.fromEntries(Object.entries(fields)) as object
          const pdu = encodePdu(id, 0, 7, layoutFields, inShort ? undefined : payload(text))
          const seen = blanked(pdu, texts)
          const was = decodePdu(pdu, 0, pdu.length) as unknown as Record<string, unknown>
          const is = decodePdu(seen, 0, seen.length) as unknown as Record<string, unknown>
          if (texts) return seen.equals(pdu)
          const without = (one: Record<string, unknown>) =>
            JSON.stringify({ ...one, tlvs: 0, fields: { ...(one.fields as object), short_message: 0 } })
          return without(was) === without(is) && !seen.some(octet => octet >= 0x80)
        },
      ),
    )
  })

  t.test('the header of a part and the words of a receipt stay, and the text that it quotes does not', async t => {
    const part = Buffer.concat([Buffer.from([5, 0, 3, 9, 2, 1]), Buffer.from('secret')])
    const sent = blanked(encodePdu(command.submit_sm, 0, 1, { esm_class: 0x40, short_message: part }))
    t.equal(sent.toString('latin1', sent.length - 12), '\x05\x00\x03\x09\x02\x01******')
    const told =
      'id:C1-1 sub:001 dlvrd:001 submit date:2611201200 done date:2611201200 stat:DELIVRD err:000 text:code 1234'
    const receipt = (text: string, esm_class = 0x04): string => {
      const pdu = encodePdu(command.deliver_sm, 0, 1, { esm_class, short_message: Buffer.from(text) })
      return blanked(pdu).toString('latin1', pdu.length - text.length)
    }
    t.equal(receipt(told), told.replace('text:code 1234', '*'.repeat(14)))
    t.equal(receipt(told, 0), '*'.repeat(told.length), 'a reply that looks like a receipt is a text')
    t.equal(receipt('your code is id-less 1234'), '*'.repeat(25))
    t.equal(receipt('text:id:1234 stat:secret'), '*'.repeat(24))
  })

  t.test('what cannot be read shows nothing from there on, and nothing throws', async t => {
    const strange = Buffer.concat([encodePdu(command.unbind, 0, 1), Buffer.from('secret')])
    strange.writeUInt32BE(0x0000abcd, 4)
    t.equal(blanked(strange).toString('latin1', 16), '******')
    const short = encodePdu(command.submit_sm, 0, 1, { short_message: Buffer.from('secret') })
    const cut = short.subarray(0, -3)
    t.notMatch(blanked(cut).toString('latin1'), 'sec')
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.constantFrom(...Object.values(command)), (body, id) => {
        const pdu = Buffer.concat([encodePdu(command.unbind, 0, 1), body])
        pdu.writeUInt32BE(id, 4)
        return blanked(pdu).length === pdu.length
      }),
    )
  })
})

// ---- captures

const capture = async (t: Test, octets: Buffer, port: number, ...fields: string[]): Promise<string[][]> => {
  const file = join(scratch(t), 'a.pcapng')
  writeFileSync(file, octets)
  return tshark(file, [port], fields)
}

async function tshark(file: string, ports: number[], fields: string[], filter = ''): Promise<string[][]> {
  const args = ['-n', '-r', file, '-o', 'tcp.check_checksum:TRUE', '-o', 'ip.check_checksum:TRUE', '-Y', filter]
  for (const port of ports) args.push('-d', `tcp.port==${port},smpp`)
  args.push('-T', 'fields', ...fields.flatMap(name => ['-e', name]))
  const { stdout } = await promisify(execFile)(TSHARK, args, { maxBuffer: 2 ** 26 })
  return stdout
    .split('\n')
    .slice(0, -1)
    .map(row => row.split('\t'))
}

const submitOf = (octets: number): Buffer =>
  encodePdu(command.submit_sm, 0, 1, { destination_addr: '12025550123' }, payload(Buffer.alloc(octets, 0x41)))

t.test(
  'Wireshark finds nothing wrong in a capture, over IPv4, IPv6 and both, in PDUs of any size',
  needTshark,
  async t => {
    const ends = [
      ['192.0.2.1', '198.51.100.7', '192.0.2.1', '198.51.100.7'],
      ['2001:db8::1', '::1', '2001:db8::1', '::1'],
      ['::ffff:192.0.2.1', '2001:db8:1:2:3:4:5:6', '::ffff:192.0.2.1', '2001:db8:1:2:3:4:5:6'],
    ] as const
    const sizes = [0, 1, 1370, 1371, 1372, 1400, 5_000, 64_000]
    const atMs = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
    const blocks = [captureHead()]
    ends.forEach(([client, server], i) => {
      const flow = new CapturedFlow({ address: client, port: 40_001 }, { address: server, port: 17_777 }, i + 1)
      blocks.push(flow.open(atMs, `flow ${i}`))
      for (const size of sizes) {
        blocks.push(flow.data('client', submitOf(size), atMs))
        blocks.push(flow.data('server', encodePdu(command.submit_sm_resp, 0, 1, { message_id: 'x' }), atMs + 1))
      }
      blocks.push(flow.close(atMs + 2))
    })
    blocks.push(captureTail(100, 7, atMs))
    const file = Buffer.concat(blocks)
    const names = ['tcp.stream', 'frame.time_epoch', 'ip.src', 'ipv6.src', 'ip.dst', 'ipv6.dst', 'frame.comment']
    const wrong = ['_ws.expert.message', 'tcp.checksum.status', 'ip.checksum.status', 'smpp.command_length']
    const rows = await capture(t, file, 17_777, ...names, ...wrong)
    for (const [i, [client, server, seenClient, seenServer]] of ends.entries()) {
      const mine = rows.filter(([stream]) => stream === String(i))
      t.ok(mine.length > 20, `${client} ${server} are one stream`)
      const [, time, ip, ipv6, toIp, toIpv6, comment] = mine[0] as string[]
      t.same([ip || ipv6, toIp || toIpv6, comment, time], [seenClient, seenServer, `flow ${i}`, '1767323045.678000000'])
      const lengths = mine.flatMap(row => (row.at(-1) || '').split(',').filter(Boolean).map(Number))
      t.same(
        lengths,
        sizes.flatMap(size => [submitOf(size).length, 18]),
        'every PDU is put together again',
      )
      const complaints = mine
        .map(row => row[7])
        .filter(message => message && !/Connection (establish|finish)/.test(message))
      t.same(complaints, [])
      t.ok(
        mine.every(row => row[8] === '1' && (row[9] === '1' || row[9] === '')),
        'checksums are right',
      )
    }
  },
)

t.test('records are read wherever their chunks are cut', async t => {
  const told = {
    serial: 3,
    kind: 'account',
    name: 'démo',
    peer: '192.0.2.1:1',
    local: '192.0.2.2:2',
    codings: { '0': 'latin1' },
  } as const
  const pdu = encodePdu(command.unbind, 0, 9)
  const buf = Buffer.alloc(TALLY_OCTETS + pduRecordOctets(pdu.length) + ENDED_OCTETS)
  let at = writeTally(buf, 0, 5)
  at = writePduHead(buf, at, pdu.length, 1234.5, 3, true)
  at = writeEnded(buf, at + pdu.copy(buf, at), 3)
  const all = Buffer.concat([sessionRecord(told), buf])
  for (const step of [1, 2, 3, 5, 64, all.length - 1, all.length]) {
    const reader = new TraceReader()
    const found: unknown[] = []
    for (let from = 0; from < all.length; from += step) {
      for (const one of reader.read(all.subarray(from, from + step))) {
        found.push(one.kind === 'pdu' ? { ...one, octets: one.octets.toString('hex') } : one)
      }
    }
    t.same(found, [
      { kind: 'session', session: told },
      { kind: 'tally', dropped: 5 },
      { kind: 'pdu', serial: 3, direction: 'sent', atMs: 1234.5, octets: pdu.toString('hex') },
      { kind: 'ended', serial: 3 },
    ])
  }
  t.throws(() => new TraceReader().read(Buffer.from('HTTP/1.1 200 OK')), RangeError)
})

// ---- which sessions

interface FakeSession {
  peer: string
  local: string
  state: 'open'
  trace: ((direction: 'received' | 'sent', buf: Buffer, start: number, end: number) => void) | null
}

const aSession = (): FakeSession => ({ peer: '192.0.2.1:5', local: '192.0.2.2:2775', state: 'open', trace: null })
const UNBIND = encodePdu(command.unbind, 0, 1)

class Seen implements TraceTap {
  readonly all: string[] = []
  private readonly names: readonly string[]

  constructor(...names: string[]) {
    this.names = names
  }

  wants({ name }: TracedSession): boolean {
    return this.names.includes('*') || this.names.includes(name)
  }

  pdu({ serial, name }: TracedSession, direction: string, atMs: number, buf: Buffer, start: number): void {
    this.all.push(`${serial} ${name} ${direction} ${atMs} ${buf.readUInt32BE(start + 12)}`)
  }

  missed(pdus: number): void {
    this.all.push(`missed ${pdus}`)
  }

  ended({ serial }: TracedSession): void {
    this.all.push(`${serial} ended`)
  }
}

t.test('which sessions are seen', async t => {
  const logged: Record<string, unknown>[] = []
  const made = () => {
    const to = { write: (line: string) => void logged.push(JSON.parse(line) as Record<string, unknown>) }
    const clock = new ManualClock(1_000)
    return { clock, trace: new Trace(createLog({ level: 'debug', pretty: false, to }), clock) }
  }

  t.test('a session that nobody wants to see is not touched, before a trace, beside it and after it', async t => {
    const { trace } = made()
    const [shop, up] = [aSession(), aSession()]
    trace.watch(shop, 'account', () => 'shop')
    trace.watch(up, 'carrier', () => 'up')
    t.equal(shop.trace, null)
    const untap = trace.tap(new Seen('shop'))
    t.type(shop.trace, 'function')
    t.equal(up.trace, null)
    untap()
    t.equal(shop.trace, null)
  })

  t.test('what came before the name was known is seen as soon as it is, each at its own time', async t => {
    const { trace, clock } = made()
    const seen = new Seen('shop')
    const other = new Seen('else')
    trace.tap(seen)
    trace.tap(other)
    let name = ''
    const session = aSession()
    const gone = trace.watch(session, 'account', () => name)
    session.trace?.('received', UNBIND, 0, 16)
    clock.advance(5)
    session.trace?.('sent', UNBIND, 0, 16)
    t.same(seen.all, [])
    name = 'shop'
    trace.renamed(session)
    clock.advance(5)
    session.trace?.('received', UNBIND, 0, 16)
    gone()
    t.same(seen.all, ['1 shop received 1000 1', '1 shop sent 1005 1', '1 shop received 1010 1', '1 ended'])
    t.same(other.all, [])
  })

  t.test('a connection that never says its name is seen by a trace of all, and no more of it than is kept', async t => {
    const { trace } = made()
    const seen = new Seen('*')
    trace.tap(seen)
    const session = aSession()
    const gone = trace.watch(session, 'account', () => '')
    for (let i = 0; i < 20; i++) session.trace?.('received', UNBIND, 0, 16)
    gone()
    t.same(seen.all.slice(15), ['1  received 1000 1', 'missed 4', '1 ended'])
  })

  t.test('the log has the PDUs of the names that the settings give, their binds included', async t => {
    const { trace } = made()
    trace.use(['shop'])
    let name = ''
    const session = aSession()
    trace.watch(session, 'account', () => name)
    const bind = encodePdu(command.bind_transceiver, 0, 1, { system_id: 'shop', password: 'hush' })
    session.trace?.('received', bind, 0, bind.length)
    name = 'shop'
    trace.renamed(session)
    t.match(logged, [{ name: 'shop', peer: '192.0.2.1:5', direction: 'received', msg: /^bind_transceiver seq=1/ }])
    t.notMatch(JSON.stringify(logged), 'hush')
    trace.use([])
    t.equal(session.trace, null)
  })
})

// ---- the stream

interface Side {
  subject: Subject
  dataDir: string
  port: number
  close(): Promise<void>
  open(query: string, over?: 'tcp', key?: string): Promise<IncomingMessage>
}

async function side(t: Test): Promise<Side> {
  const dataDir = scratch(t)
  const subject = new Subject({ dataDir, key: KEY })
  subject.addCarrier('up', { figures: () => ({ links: [] }) } as never)
  const socketPath = adminSocketPath(dataDir)
  const lock = await takeDirectory(dataDir, socketPath, process.pid)
  const admin = await createAdmin(subject, null)
  lock.serve(admin.handler)
  const port = await admin.listen({ host: '127.0.0.1', port: 0 })
  let closed: Promise<void> | undefined
  const close = (): Promise<void> => {
    closed ??= admin.close().then(() => lock.release())
    return closed
  }
  t.teardown(close)
  const open = (query: string, over?: 'tcp', key = KEY): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const path = `/api/v1/admin/trace/stream?${query}`
      const to = over === undefined ? { socketPath } : { host: '127.0.0.1', port }
      const headers = { authorization: `Bearer ${key}` }
      const asked = request({ ...to, path, headers, agent: false }, resolve)
      asked.on('error', reject)
      asked.end()
      t.teardown(() => asked.destroy())
    })
  return { subject, dataDir, port, close, open }
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

const traced = (more: Partial<TracedSession> = {}): TracedSession => ({
  serial: 1,
  kind: 'carrier',
  name: 'up',
  peer: '192.0.2.1:2775',
  local: '192.0.2.2:40000',
  ...more,
})

t.test('the stream', async t => {
  t.test('who asks for nobody, for a name that is not there, or for texts over the network, is told so', async t => {
    const { open, subject } = await side(t)
    const refusal = async (query: string, over?: 'tcp', key?: string) => {
      const response = await open(query, over, key)
      return [response.statusCode, (JSON.parse(await textOf(response)) as { detail: string }).detail]
    }
    t.same(await refusal(''), [422, 'name an account, a carrier or an id, or ask for all'])
    t.same(await refusal('account=nobody'), [422, 'no account is called nobody'])
    t.same(await refusal('carrier=up&carrier=away'), [422, 'no carrier is called away'])
    t.equal((await refusal('id=abc'))[0], 422)
    t.equal((await refusal('all=true&text=true', 'tcp'))[0], 403)
    t.equal((await refusal('all=true', 'tcp', 'another key'))[0], 401)
    t.equal((await open('carrier=up', 'tcp')).statusCode, 200)
    subject.stopping = true
    t.equal((await refusal('all=true'))[0], 503)
    subject.stopping = false
    t.equal(subject.taps.size, 1)
  })

  t.test('a reader that reads nothing costs a bounded part of memory, and is told what it missed', async t => {
    const { open, subject } = await side(t)
    const response = await open('all=true')
    const [tap] = [...subject.taps] as [TraceTap]
    const pdu = submitOf(1_000)
    const fed = 20_000
    const session = traced()
    for (let i = 0; i < fed; i++) tap.pdu(session, 'sent', i, pdu, 0, pdu.length)
    const { pdus, dropped } = tap as unknown as { pdus: number; dropped: number }
    t.equal(pdus + dropped, fed)
    const held = pdus * pduRecordOctets(pdu.length)
    t.ok(held > 900_000 && held <= 1 << 20, `${held} octets are held`)
    // It reads again: the next PDU comes after the number of those that are missing.
    const reader = new TraceReader()
    const records: TraceRecord['kind'][] = []
    let lost = 0
    let came = 0
    let isFed = false
    for await (const chunk of response) {
      for (const record of reader.read(chunk as Buffer)) {
        records.push(record.kind)
        if (record.kind === 'tally') lost = record.dropped
        if (record.kind === 'pdu') came++
      }
      if (!isFed && came === pdus) {
        isFed = true
        tap.pdu(session, 'sent', fed, pdu, 0, pdu.length)
        tap.ended(session)
      }
      if (records.at(-1) === 'ended') break
    }
    t.same([came, lost], [pdus + 1, dropped])
    t.same(records.slice(0, 3), ['tally', 'session', 'pdu'])
    t.same(records.slice(-3), ['tally', 'pdu', 'ended'])
    response.destroy()
    await within(untilGone(subject), 'the end of the trace')
    t.match(subject.logged.at(-1), { msg: 'trace ended', pdus: pdus + 1, dropped })
  })

  t.test('a trace ends with the daemon, and there are only so many at a time', async t => {
    const { open, subject, close } = await side(t)
    const all = await Promise.all(Array.from({ length: 8 }, () => open('all=true')))
    t.equal((await open('all=true')).statusCode, 503)
    await Promise.all([close(), ...all.map(one => textOf(one).catch(() => ''))])
    t.equal(subject.taps.size, 0)
  })
})

async function untilGone(subject: Subject): Promise<void> {
  while (subject.taps.size > 0 || !subject.logged.some(({ msg }) => msg === 'trace ended')) {
    await new Promise(resolve => setImmediate(resolve))
  }
}

// ---- the command

class Tracing {
  out: Buffer = Buffer.alloc(0)
  err = ''
  readonly child: ChildProcess
  private readonly waiting = new Waiting()
  private readonly exited: Promise<number | null>

  constructor(args: string[]) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TRUNKLINE_')))
    this.child = spawn(process.execPath, [CLI, 'trace', ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    this.child.stdout?.on('data', (chunk: Buffer) => {
      this.out = Buffer.concat([this.out, chunk])
      this.waiting.look()
    })
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.err += chunk.toString()
    })
    this.exited = new Promise(resolve => this.child.once('close', resolve))
  }

  /** Resolves when this has been written. */
  until(words: string): Promise<true> {
    return this.waiting.until(
      () => this.out.includes(words) || undefined,
      () => `${words} in a trace; it has\n${this.out.toString('latin1')}\n${this.err}`,
    )
  }

  exit(): Promise<number | null> {
    return within(this.exited, () => `the end of a trace: ${this.err}`)
  }

  /** As Ctrl-C does. */
  interrupt(): Promise<number | null> {
    this.child.kill('SIGINT')
    return this.exit()
  }
}

async function tracing(t: Test, daemon: House, ...args: string[]): Promise<Tracing> {
  const from = daemon.log.length
  const one = new Tracing(['--config', daemon.configFile, ...args])
  t.teardown(() => one.child.kill('SIGKILL'))
  const begun = daemon.line(line => line.action === 'trace_stream', from)
  await Promise.race([begun, one.exit().then(code => Promise.reject(new Error(`ended with ${code}: ${one.err}`)))])
  return one
}

story('a trace shows what was said, never a password, a text only when asked, and Wireshark reads it', async t => {
  const carrier = await smsc(t, {}, 'C-')
  const daemon = await house(t, { accounts: { shop: {}, other: {} }, carriers: { up: carrier } })
  await carrier.bound()
  const dir = scratch(t)
  const file = join(dir, 'all.pcapng')
  const texts = await tracing(t, daemon, '--account', 'shop', '--text', '--json')
  const lines = await tracing(t, daemon, '--carrier', 'up')
  const captured = await tracing(t, daemon, '--all', '--pcap', file)
  const open = await tracing(t, daemon, '--all', '--text', '--pcap', '-')

  const wrong = await stranger(t, daemon.smpp)
  await wrong.bind({ password: 'not-the-password' })
  wrong.peer.socket.end()
  await texts.until('"closed":true')
  const shop = await esme(t, daemon.smpp)
  const short = await shop.submit({ short_message: Buffer.from('the code is 4711') })
  t.equal((await shop.next()).receipt.id, short.message_id)
  const text = 'A long one. '.repeat(300)
  await shop.submit({ short_message: Buffer.alloc(0) }, payload(Buffer.from(text)))
  await shop.next()
  await shop.unbind()
  const other = await esme(t, daemon.smpp, { systemId: 'other' })
  await other.submit({ registered_delivery: 0 })
  // The link comes back: its bind is seen too.
  await carrier.unbind()
  await lines.until('bind_transceiver_resp')

  await texts.until('"command":"unbind_resp"')
  t.equal(await texts.interrupt(), 0)
  const objects = texts.out
    .toString()
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Record<string, unknown>)
  const said = objects.filter(one => one.name === 'shop')
  t.same(
    said.slice(0, 6).map(one => (one.closed ? 'closed' : `${one.direction} ${one.command} ${one.status}`)),
    [
      'received bind_transceiver ESME_ROK',
      'sent bind_transceiver_resp ESME_RBINDFAIL',
      'closed',
      'received bind_transceiver ESME_ROK',
      'sent bind_transceiver_resp ESME_ROK',
      'received submit_sm ESME_ROK',
    ],
  )
  t.match(
    said.find(one => one.command === 'submit_sm'),
    {
      peer: /^127\.0\.0\.1:\d+$/,
      fields: { source_addr: '1000', destination_addr: '12025550123', short_message: { length: 16 } },
      text: 'the code is 4711',
    },
  )
  t.ok(said.some(one => one.text === text))
  t.match(
    said.find(one => one.command === 'deliver_sm')?.receipt,
    new RegExp(`^id:${short.message_id} .* stat:DELIVRD`),
  )
  t.match(texts.err, /^\d+ PDUs of 2 sessions, 0 dropped\n$/)

  t.equal(await lines.interrupt(), 0)
  const shown = lines.out.toString()
  t.match(shown, /^\d\d:\d\d:\d\d\.\d{3} → up 127\.0\.0\.1:\d+ #1 submit_sm seq=\d+ .*destination_addr="12025550123"/m)
  t.match(shown, /^\S+ ← up \S+ #1 deliver_sm .* receipt="id:C-1 .*stat:DELIVRD err:000"$/m)
  t.match(shown, /^\S+ → up \S+ #\d+ bind_transceiver .*system_id="up" password=\[2\]/m)
  t.match(shown, /^-- up \S+ #1 closed$/m)

  t.equal(await captured.interrupt(), 0)
  t.match(captured.err, new RegExp(`^\\d+ PDUs of \\d sessions written to ${file}, 0 dropped\n$`))
  t.equal(await open.interrupt(), 0)
  const withTexts = join(dir, 'texts.pcapng')
  writeFileSync(withTexts, open.out)
  const everything = [texts.out, lines.out, open.out, daemon.log.map(line => JSON.stringify(line)).join('\n')]
  for (const one of everything) t.notMatch(String(one), /not-the-password|secret/)
  for (const one of [lines.out, everything[3]]) t.notMatch(String(one), /4711|A long one/)

  // Why a trace cannot be, and how it ends.
  const ran = (...args: string[]) => trunkline(['trace', '--config', daemon.configFile, ...args])
  const nobody = await ran()
  t.match([nobody.code, nobody.stderr], [2, /say whose PDUs/])
  t.match(await ran('--account', 'nobody'), { code: 1, stderr: /no account is called nobody/ })
  t.match(await ran('--all', '--json', '--pcap', 'x'), { code: 2, stderr: /not both/ })
  t.match(await ran('--all', '--seconds', '0.1'), { code: 0, stderr: /0 PDUs of 0 sessions, 0 dropped/ })
  t.match(await ran('--all', '--pcap', join(daemon.dir, 'no', 'such')), {
    code: 1,
    stderr: /cannot be written: ENOENT/,
  })
  const two = await tracing(t, daemon, '--account', 'shop', '--count', '2')
  const one = await tracing(t, daemon, '--all')
  await (await esme(t, daemon.smpp)).unbind()
  t.equal(await two.exit(), 0, 'it ends after so many PDUs')
  t.match([two.out.toString().split('\n').length, two.err], [3, /^2 PDUs of 1 sessions, 0 dropped\n$/])
  await daemon.stop()
  t.equal(await one.exit(), 1)
  t.match(one.err, /the daemon has ended the trace/)

  if ('skip' in needTshark) {
    t.pass('Wireshark', needTshark)
    return
  }
  const ports = [daemon.smpp, carrier.port]
  const fields = ['smpp.command_id', 'smpp.source_addr', 'smpp.destination_addr', 'smpp.message_id', 'smpp.password']
  const rows = await tshark(file, ports, [...fields, '_ws.malformed'], 'smpp')
  t.same(
    rows.filter(row => row.at(-1) !== ''),
    [],
    'nothing is malformed',
  )
  const passwords = new Set(rows.map(row => row[4]).filter(Boolean))
  t.same([...passwords].sort(), ['**', '******', '*'.repeat('not-the-password'.length)].sort())
  const fromShop = rows.find(([id, , to]) => id === '0x00000004' && to === '12025550123') as string[]
  t.same(fromShop.slice(1, 3), ['1000', '12025550123'])
  t.ok(rows.some(([id, , , ref]) => id === '0x80000004' && ref === short.message_id))
  t.notMatch(readFileSync(file, 'latin1'), /4711|A long/)
  t.match(readFileSync(withTexts, 'latin1'), /4711/)
  const streams = await tshark(file, ports, ['tcp.stream', 'tcp.flags.syn', 'frame.comment'], 'frame.comment')
  t.match(streams.map(([, , comment]) => comment).sort(), [
    /^account other, session \d/,
    /^account shop, session \d/,
    /^account shop, session \d/,
    'carrier up, session 1',
    /^carrier up, session \d/,
  ])
})
