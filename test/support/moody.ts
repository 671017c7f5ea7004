// Both ends of a long run at little cost: a carrier whose faults change at moments that a seed draws, and an ESME that
// sends at a rate. Each message has a number for a text, and whatever happened to it is a count at that place of an array.
// Knows PDUs octet by octet, no test, and nothing of the daemon.

import { once } from 'node:events'
import net from 'node:net'
import { command } from '../../protocols/smpp/commands.js'
import { encodePdu, type Pdu, type PduFields } from '../../protocols/smpp/pdu.js'
import { status } from '../../protocols/smpp/status.js'
import { minuteText } from './moment.js'
import type { Cleaner } from './peer.js'

const RESPONSE = 0x80000000
const HEADER = 16

/** One connection: whole PDUs in, octets out at the end of each turn. */
class Wire {
  readonly socket: net.Socket
  onPdu: (id: number, code: number, sequence: number, pdu: Buffer) => void = () => {}
  private partial: Buffer = Buffer.alloc(0)
  private queue: Buffer[] = []
  private sequence = 0

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('data', chunk => this.take(chunk))
  }

  private take(chunk: Buffer): void {
    const all = this.partial.length === 0 ? chunk : Buffer.concat([this.partial, chunk])
    let at = 0
    while (all.length - at >= HEADER) {
      const length = all.readUInt32BE(at)
      if (all.length - at < length) break
      const pdu = all.subarray(at, at + length)
      at += length
      this.onPdu(pdu.readUInt32BE(4), pdu.readUInt32BE(8), pdu.readUInt32BE(12), pdu)
    }
    this.partial = all.subarray(at)
  }

  nextSequence(): number {
    this.sequence = this.sequence === 0x7fffffff ? 1 : this.sequence + 1
    return this.sequence
  }

  write(pdu: Buffer): void {
    if (this.queue.length === 0) setImmediate(() => this.flush())
    this.queue.push(pdu)
  }

  flush(): void {
    if (this.queue.length > 0 && !this.socket.destroyed) this.socket.write(Buffer.concat(this.queue))
    this.queue = []
  }

  /** A response that is a header alone. */
  header(id: number, code: number, sequence: number): void {
    const pdu = Buffer.allocUnsafe(HEADER)
    pdu.writeUInt32BE(HEADER, 0)
    pdu.writeUInt32BE(id, 4)
    pdu.writeUInt32BE(code, 8)
    pdu.writeUInt32BE(sequence, 12)
    this.write(pdu)
  }

  send<C extends Pdu>(id: C, code: number, sequence: number, fields: Partial<PduFields[C]>): void {
    this.write(encodePdu(id, code, sequence, fields))
  }
}

/** The short_message of a submit_sm or deliver_sm (SMPP v3.4 §4.4.1, §4.6.1). */
function textOf(pdu: Buffer): string {
  let at = pdu.indexOf(0, HEADER) + 3
  at = pdu.indexOf(0, at) + 3
  at = pdu.indexOf(0, at) + 4
  at = pdu.indexOf(0, at) + 1
  at = pdu.indexOf(0, at) + 1
  const length = pdu[at + 4] as number
  return pdu.latin1Slice(at + 5, at + 5 + length)
}

export const moods = [
  'well',
  'slow',
  'late',
  'throttles',
  'defers',
  'refuses',
  'silent',
  'misnumbers',
  'stalls',
  'drops',
  'down',
  'reports first',
  'reports twice',
  'reports never',
  'reports others',
  'reports nonsense',
  'reports failures',
] as const
export type Mood = (typeof moods)[number]

export interface MoodyOptions {
  /** [0, 1): when its mood changes, and to which. */
  random: () => number
  /** Messages of the run, at most. */
  most: number
  /** Begins each of its ids. */
  prefix: string
  /** What `late` is. */
  lateMs: number
}

/** What some say to every fourth message, or every second. */
const refusals: Partial<Record<Mood, number>> = {
  throttles: status.ESME_RTHROTTLED,
  defers: status.ESME_RSYSERR,
  refuses: status.ESME_RINVDSTADR,
}
const SLOW_MS = 100
/** How long a mood lasts. */
const LEAST_MS = 300
const MOST_MS = 2_500
/** How often it is well for each time that it has every other mood. */
const WELL = 10
/** Receipts that a link has not answered. */
const WINDOW = 200

export class MoodyCarrier {
  mood: Mood = 'well'
  /** submit_sm that came, by the message's number. */
  readonly came: Uint8Array
  /** Those that it took as its own, whether or not the daemon ever heard so. */
  readonly taken: Uint8Array
  /** Moods that it had. */
  readonly had = new Set<Mood>()
  private readonly links = new Map<Wire, Map<number, Buffer>>()
  private readonly sockets = new Set<net.Socket>()
  private readonly server = net.createServer(socket => this.connected(socket))
  private readonly options: MoodyOptions
  private toCome: Mood[] = []
  private serial = 0
  /** Receipts that no link has taken yet. */
  private owed: Buffer[] = []
  /** Those before it in `owed` are on their way. */
  private owedAt = 0
  private timer: NodeJS.Timeout | undefined

  constructor(options: MoodyOptions) {
    this.options = options
    this.came = new Uint8Array(options.most)
    this.taken = new Uint8Array(options.most)
  }

  static async open(t: Cleaner, options: MoodyOptions): Promise<MoodyCarrier> {
    const carrier = new MoodyCarrier(options)
    await once(carrier.server.listen(0, '127.0.0.1'), 'listening')
    t.teardown(() => carrier.close())
    return carrier
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port
  }

  close(): void {
    this.rest()
    this.server.close()
    for (const socket of this.sockets) socket.destroy()
  }

  /** From now on its mood changes: it has each of them before it has one again. */
  start(): void {
    const { random } = this.options
    if (this.toCome.length === 0) this.toCome = [...moods, ...new Array<Mood>(WELL - 1).fill('well')]
    const [mood] = this.toCome.splice(Math.floor(random() * this.toCome.length), 1)
    this.become(mood as Mood)
    this.timer = setTimeout(() => this.start(), LEAST_MS + random() * (MOST_MS - LEAST_MS))
  }

  /** Well for good. */
  rest(): void {
    clearTimeout(this.timer)
    this.become('well')
  }

  private become(mood: Mood): void {
    if (this.mood === 'stalls') for (const { socket } of this.links.keys()) socket.resume()
    this.mood = mood
    this.had.add(mood)
    if (mood === 'stalls') for (const { socket } of this.links.keys()) socket.pause()
    if (mood === 'down') for (const { socket } of this.links.keys()) socket.resetAndDestroy()
    this.report()
  }

  private connected(socket: net.Socket): void {
    if (this.mood === 'down') {
      socket.destroy()
      return
    }
    const link = new Wire(socket)
    this.sockets.add(socket)
    socket.on('close', () => {
      this.sockets.delete(socket)
      const unanswered = this.links.get(link)
      this.links.delete(link)
      if (unanswered) this.owed.push(...unanswered.values())
      this.report()
    })
    link.onPdu = (id, code, sequence, pdu) => this.heard(link, id, code, sequence, pdu)
  }

  private heard(link: Wire, id: number, code: number, sequence: number, pdu: Buffer): void {
    if (id === command.submit_sm) this.submitted(link, sequence, Number(textOf(pdu)))
    else if (id === command.deliver_sm_resp) {
      const unanswered = this.links.get(link)
      const receipt = unanswered?.get(sequence)
      unanswered?.delete(sequence)
      if (receipt !== undefined && code !== 0) this.owed.push(receipt)
      this.report()
    } else if (id === command.bind_transceiver) {
      link.send(command.bind_transceiver_resp, 0, sequence, { system_id: 'moody' })
      this.links.set(link, new Map())
      this.report()
    } else if (id === command.unbind) {
      link.header(command.unbind_resp, 0, sequence)
      link.flush()
      link.socket.end()
    } else if (id < RESPONSE) link.header((id | RESPONSE) >>> 0, 0, sequence)
  }

  private submitted(link: Wire, sequence: number, n: number): void {
    this.came[n] = (this.came[n] as number) + 1
    const { mood } = this
    const refusal = n % (mood === 'throttles' ? 2 : 4) === 0 ? refusals[mood] : undefined
    if (refusal !== undefined) link.header(command.submit_sm_resp, refusal, sequence)
    else if (mood === 'slow') setTimeout(() => this.take(link, sequence, n), SLOW_MS)
    else if (mood === 'late') setTimeout(() => this.take(link, sequence, n), this.options.lateMs)
    else if (mood === 'misnumbers' && n % 4 === 0) this.take(link, sequence + 1_000_000, n)
    // Whether such a one has it nobody will ever know.
    else if (mood === 'silent') this.taken[n] = (this.taken[n] as number) + (n % 2)
    else {
      this.take(link, sequence, n)
      if (mood === 'drops' && n % 30 === 0) link.socket.resetAndDestroy()
    }
  }

  private take(link: Wire, sequence: number, n: number): void {
    const { mood } = this
    this.taken[n] = (this.taken[n] as number) + 1
    const id = `${this.options.prefix}${++this.serial}`
    if (mood === 'reports first') this.owe(id, n)
    link.send(command.submit_sm_resp, 0, sequence, { message_id: id })
    if (mood === 'reports others') this.owe(`not-${id}`, n)
    else if (mood === 'reports nonsense') this.owe('', n)
    else if (mood !== 'reports first' && mood !== 'reports never') this.owe(id, n)
    if (mood === 'reports twice') this.owe(id, n)
  }

  private owe(id: string, n: number): void {
    const stat = this.mood === 'reports failures' ? 'UNDELIV' : 'DELIVRD'
    const named = id === '' ? 'done' : `id:${id}`
    const done = minuteText()
    const text = `${named} sub:001 dlvrd:001 submit date:${done} done date:${done} stat:${stat} err:000 text:${n}`
    const fields = { source_addr: '1', destination_addr: '1000', esm_class: 0x04, short_message: Buffer.from(text) }
    this.owed.push(encodePdu(command.deliver_sm, 0, 0, fields))
    this.report()
  }

  private report(): void {
    const { owed } = this
    if (this.mood === 'stalls') return
    for (const [link, unanswered] of this.links) {
      while (this.owedAt < owed.length && unanswered.size < WINDOW) {
        const receipt = owed[this.owedAt++] as Buffer
        const sequence = link.nextSequence()
        const pdu = Buffer.from(receipt)
        pdu.writeUInt32BE(sequence, 12)
        unanswered.set(sequence, receipt)
        link.write(pdu)
      }
    }
    if (this.owedAt < owed.length && this.owedAt < 10_000) return
    this.owed = owed.slice(this.owedAt)
    this.owedAt = 0
  }
}

/** Milliseconds between two strokes of a sender. */
const STROKE_MS = 50

export class SteadyEsme {
  /** By the message's number: the id that it was answered, 0 = none. */
  readonly ids: Float64Array
  /** By the message's number: receipts that came. */
  readonly reported: Uint8Array
  /** The stat of the last one, as a place in {@link stats}. */
  readonly stat: Uint8Array
  readonly stats: string[] = ['']
  sent = 0
  accepted = 0
  refused = 0
  receipts = 0
  isClosed = false
  onReceipt: () => void = () => {}
  private readonly wire: Wire
  private readonly asked = new Map<number, number>()
  private bound: (code: number) => void = () => {}

  constructor(socket: net.Socket, most: number) {
    this.wire = new Wire(socket)
    this.ids = new Float64Array(most)
    this.reported = new Uint8Array(most)
    this.stat = new Uint8Array(most)
    socket.on('close', () => {
      this.isClosed = true
    })
    this.wire.onPdu = (id, code, sequence, pdu) => this.heard(id, code, sequence, pdu)
  }

  static async bind(t: Cleaner, port: number, most: number): Promise<SteadyEsme> {
    const socket = net.connect(port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    const one = new SteadyEsme(socket, most)
    const code = await new Promise<number>(resolve => {
      one.bound = resolve
      const who = { system_id: 'shop', password: 'secret', interface_version: 0x34 }
      one.wire.send(command.bind_transceiver, 0, one.wire.nextSequence(), who)
    })
    if (code !== 0) throw new Error(`bind refused: ${code}`)
    return one
  }

  private heard(id: number, code: number, sequence: number, pdu: Buffer): void {
    if (id === command.submit_sm_resp) {
      const n = this.asked.get(sequence) as number
      this.asked.delete(sequence)
      if (code === 0) {
        this.accepted++
        this.ids[n] = Number(pdu.latin1Slice(HEADER, pdu.indexOf(0, HEADER)))
      } else this.refused++
    } else if (id === command.deliver_sm) {
      this.wire.send(command.deliver_sm_resp, 0, sequence, { message_id: '' })
      this.receipt(textOf(pdu))
    } else if (id === command.bind_transceiver_resp) this.bound(code)
    else if (id < RESPONSE) this.wire.header((id | RESPONSE) >>> 0, 0, sequence)
  }

  private receipt(text: string): void {
    const [, stat = '', number] = /stat:(\S+) .*text:(\d+)$/.exec(text) ?? []
    const n = Number(number)
    this.receipts++
    this.reported[n] = (this.reported[n] as number) + 1
    let place = this.stats.indexOf(stat)
    if (place < 0) place = this.stats.push(stat) - 1
    this.stat[n] = place
    this.onReceipt()
  }

  /** The stat of its last receipt; '' when none came here. */
  statOf(n: number): string {
    return this.stats[this.stat[n] as number] as string
  }

  /** Sends messages of the numbers that `next` gives, so many a second for so long; to where `destination` says. */
  async send(perSecond: number, ms: number, next: () => number, fields: (n: number) => object): Promise<void> {
    const from = performance.now()
    let sent = 0
    await new Promise<void>(resolve => {
      const timer = setInterval(() => {
        const now = performance.now() - from
        for (const due = (Math.min(now, ms) * perSecond) / 1_000; sent < due; sent++) this.submit(next(), fields)
        if (now < ms && !this.isClosed) return
        clearInterval(timer)
        resolve()
      }, STROKE_MS)
    })
  }

  private submit(n: number, fields: (n: number) => object): void {
    const sequence = this.wire.nextSequence()
    this.asked.set(sequence, n)
    this.sent++
    const text = Buffer.from(String(n))
    this.wire.send(command.submit_sm, 0, sequence, { registered_delivery: 1, short_message: text, ...fields(n) })
  }

  get unanswered(): number {
    return this.asked.size
  }
}
