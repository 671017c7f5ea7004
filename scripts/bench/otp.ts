// Figure 12: one-time passwords over HTTP, asked for and entered, as fast as it goes, over connections that stay open. The
// codes come the whole way: this process is the carrier too, reads them out of submit_sm, and reports each delivered. At
// the end each code must have been good once.

import { connect, createServer, type Server, type Socket } from 'node:net'
import { command } from '../../protocols/smpp/commands.js'
import { Framer } from '../../protocols/smpp/framer.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import { formatReceipt, messageState } from '../../protocols/smpp/receipt.js'
import { HEADER, readSm, Sm } from '../../protocols/smpp/sm.js'
import { count as grouped } from '../../src/cli/print.js'
import type { Profiled } from './flow.js'
import type { Gateway } from './gateway.js'
import { monotonicMicros, type Span } from './profile.js'
import type { Measure } from './report.js'
import type { Run } from './run.js'

const PAIRS = 30_000
const WARM_UP = 6_000
const CLIENTS = 64
const KEY = 'tl_bench_0123456789abcdef0123456789abcdef'
const MAX_PDU = 70_000
const RECEIPT = 0x04
const PATIENCE_MS = 20_000

/** Figure 12. Without `profiled` no profile is made. */
export async function oneTime(run: Run, profiled?: Profiled): Promise<Measure[]> {
  const pairs = run.count(PAIRS)
  let span: Span = { from: 0, to: 0 }
  return run.inGateway(
    { profile: profiled !== undefined },
    async gateway => {
      const carrier = new Carrier()
      await carrier.open(gateway.carrierPort)
      try {
        await gateway.apply(gatewayOf(gateway.carrierPort))
        await gateway.carrierBound()
        run.say('warming up')
        await take(gateway, carrier, 0, WARM_UP)
        const before = gateway.cpuMicros()
        const from = monotonicMicros()
        run.say(`${grouped(pairs)} codes, asked for and entered`)
        const { seconds, faults, p50, p99 } = await take(gateway, carrier, WARM_UP, pairs)
        span = { from, to: monotonicMicros() }
        for (const fault of faults) run.fault(fault)
        await gateway.settled()
        const after = gateway.cpuMicros()
        const cpu = before === null || after === null ? null : (after - before) / pairs
        return [
          { what: 'OTP generate + verify over HTTP', unit: 'pairs/s', least: 2_000, value: pairs / seconds },
          { what: 'the same: processor time of the daemon a pair', unit: 'µs', value: cpu },
          { what: 'the same: generate until the phone has the code, p50', unit: 'ms', value: p50 },
          { what: 'the same: p99', unit: 'ms', value: p99 },
        ]
      } finally {
        await carrier.close()
      }
    },
    gateway => profiled?.(gateway.profile(), span),
  )
}

interface Taken {
  readonly seconds: number
  readonly faults: readonly string[]
  readonly p50: number
  readonly p99: number
}

async function take(gateway: Gateway, carrier: Carrier, first: number, count: number): Promise<Taken> {
  let next = first
  const faults: string[] = []
  const waits: number[] = []
  const client = async (): Promise<void> => {
    const http = await Http.open(gateway.adminPort)
    while (next < first + count && faults.length < 10) {
      const number = `4915${(next++).toString().padStart(8, '0')}`
      const from = performance.now()
      const code = carrier.code(number)
      const made = await http.post('/api/v1/otp/generate', `{"phone_number":"+${number}"}`)
      const session_id = (JSON.parse(made.body) as { session_id?: string }).session_id
      if (session_id === undefined) {
        faults.push(`a code was not sent: ${made.body}`)
        break
      }
      const otp_code = await code
      waits.push(performance.now() - from)
      const said = await http.post('/api/v1/otp/verify', JSON.stringify({ session_id, otp_code }))
      if (said.status !== 200) faults.push(`a code was not good: ${said.body}`)
    }
    http.close()
  }
  const from = performance.now()
  await Promise.all(Array.from({ length: CLIENTS }, client))
  const seconds = (performance.now() - from) / 1_000
  waits.sort((a, b) => a - b)
  const at = (share: number): number => waits[Math.floor(waits.length * share)] ?? 0
  return { seconds, faults, p50: at(0.5), p99: at(0.99) }
}

/** Answers each submit_sm, reports it delivered, and knows the code in it. */
class Carrier {
  private readonly server: Server = createServer(socket => this.bound(socket))
  private readonly sockets = new Set<Socket>()
  private readonly wanted = new Map<string, (code: string) => void>()
  private readonly sm = new Sm()
  private serial = 0

  open(port: number): Promise<void> {
    return new Promise(resolve => void this.server.listen(port, '127.0.0.1', resolve))
  }

  close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy()
    return new Promise(resolve => void this.server.close(() => resolve()))
  }

  /** Of the message to this number that comes next. */
  code(number: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no code came to ${number}`)), PATIENCE_MS)
      this.wanted.set(number, code => {
        clearTimeout(late)
        resolve(code)
      })
    })
  }

  private bound(socket: Socket): void {
    this.sockets.add(socket)
    const framer = new Framer(MAX_PDU)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('data', chunk => {
      socket.cork()
      framer.push(chunk, {
        frame: (buf, start, end) => {
          this.pdu(socket, buf, start, end)
          return true
        },
        broken: () => socket.destroy(),
      })
      socket.uncork()
    })
  }

  private pdu(socket: Socket, buf: Buffer, start: number, end: number): void {
    const id = buf.readUInt32BE(start + 4)
    const sequence = buf.readUInt32BE(start + 12)
    if (id === command.bind_transceiver) {
      socket.write(encodePdu(command.bind_transceiver_resp, 0, sequence, { system_id: 'up' }))
    } else if (id === command.enquire_link) socket.write(encodePdu(command.enquire_link_resp, 0, sequence))
    else if (id === command.unbind) socket.end(encodePdu(command.unbind_resp, 0, sequence))
    else if (id === command.submit_sm && end - start > HEADER) this.submit(socket, sequence, buf, start, end)
  }

  private submit(socket: Socket, sequence: number, buf: Buffer, start: number, end: number): void {
    const { sm } = this
    readSm(buf, start, end, sm)
    const message_id = `C${++this.serial}`
    socket.write(encodePdu(command.submit_sm_resp, 0, sequence, { message_id }))
    const now = Date.now()
    const state = messageState.DELIVERED
    const words = { id: message_id, sub: 1, dlvrd: 1, submitMs: now, doneMs: now, state, err: '000', text: '' }
    const receipt = {
      source_addr: sm.destination_addr,
      destination_addr: sm.source_addr,
      esm_class: RECEIPT,
      short_message: formatReceipt(words),
    }
    socket.write(encodePdu(command.deliver_sm, 0, this.serial, receipt))
    const [code] = /\d{6}/.exec(sm.short_message.latin1Slice()) ?? []
    if (code !== undefined) this.wanted.get(sm.destination_addr)?.(code)
    this.wanted.delete(sm.destination_addr)
  }
}

interface Said {
  readonly status: number
  readonly body: string
}

/** One connection, one request at a time. */
class Http {
  private readonly socket: Socket
  private text = ''
  private taken: ((said: Said) => void) | undefined

  static open(port: number): Promise<Http> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(new Http(socket)))
      socket.once('error', reject)
    })
  }

  private constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true).setEncoding('latin1')
    socket.on('data', (piece: string) => {
      this.text += piece
      const head = this.text.indexOf('\r\n\r\n')
      const length = head < 0 ? undefined : /content-length: (\d+)/i.exec(this.text)?.[1]
      const whole = head + 4 + Number(length)
      if (length === undefined || this.text.length < whole) return
      const said = { status: Number(this.text.slice(9, 12)), body: this.text.slice(head + 4, whole) }
      this.text = this.text.slice(whole)
      this.taken?.(said)
    })
  }

  post(path: string, body: string): Promise<Said> {
    return new Promise(resolve => {
      this.taken = resolve
      const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${KEY}\r\ncontent-type: application/json`
      this.socket.write(`${head}\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
    })
  }

  close(): void {
    this.socket.destroy()
  }
}

const gatewayOf = (port: number): object => ({
  accounts: [{ systemId: 'bench', password: 'bench', apiKey: KEY, otp: { brand: 'Bench' } }],
  carriers: [
    {
      name: 'up',
      kind: 'smpp',
      host: '127.0.0.1',
      port,
      systemId: 'up',
      password: 'up',
      links: 2,
      window: 200,
      throughput: 0,
    },
  ],
  routes: [{ match: {}, to: ['up'] }],
})
