// Both ends of a message in one process and on one clock: a message centre that notes when each serial number arrives, and
// an ESME that notes when it submitted it. For figures that ask how long a message was under way. Knows no figure.

import { command } from '../../protocols/smpp/commands.js'
import { PduCounts } from '../../protocols/smpp/counts.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import { defaultLimits, Session, type SessionOwner } from '../../protocols/smpp/session.js'
import { SessionClock } from '../../protocols/smpp/session-clock.js'
import { HEADER, Sm, smSize, writeSm } from '../../protocols/smpp/sm.js'
import { status } from '../../protocols/smpp/status.js'
import { connectTo } from '../../src/cli/connect.js'
import { Latencies } from '../../src/cli/esme/latency.js'
import { SERIAL_DIGITS, SERIAL_DIGITS_AT, SERIAL_TEXT, writeDigits } from '../../src/cli/serial.js'
import { Smsc } from '../../src/cli/smsc.js'
import { PASSWORD } from './tools.js'

const WINDOW = 1_000
const BIND = -1
const TICK_MS = 1
const DIGITS = 9

/** A carrier at a port of its own. */
export class Centre {
  /** Told of each message that comes, with its serial number and when it came. */
  onArrival: (serial: number, atMs: number) => void = () => {}
  arrived = 0
  port = 0
  private readonly smsc: Smsc

  constructor(responseDelayMs = 0) {
    this.smsc = new Smsc({ port: 0, responseDelayMs })
    const { arrivals } = this.smsc
    arrivals.note = serial => {
      this.arrived++
      this.onArrival(serial, performance.now())
    }
  }

  async open(): Promise<this> {
    this.port = await this.smsc.listen()
    return this
  }

  close(): Promise<void> {
    return this.smsc.stop()
  }
}

export interface Offer {
  readonly from: number
  readonly count: number
  /** A second; 0: as fast as its window allows. */
  readonly rate: number
  readonly to: string
  /** SMPP time by serial number; '' = at once. All of an offer are of one length. */
  readonly schedule?: (index: number) => string
}

/** One bind of an account. */
export class Sender implements SessionOwner<number> {
  /** When each was submitted, by serial number less the offer's first. */
  sentAt = new Float64Array(0)
  readonly answerMs = new Latencies()
  refused = 0
  private session!: Session<number>
  private offer: Offer | null = null
  private next = 0
  private answered = 0
  private startedAt = 0
  private pdu: Buffer = Buffer.alloc(0)
  private scheduleAt = 0
  private resolve: () => void = () => {}
  private reject: (error: Error) => void = () => {}
  private timer: NodeJS.Timeout | undefined

  static async bind(port: number, systemId: string): Promise<Sender> {
    const sender = new Sender()
    const limits = {
      ...defaultLimits,
      windowRequests: WINDOW,
      windowBytes: Number.MAX_SAFE_INTEGER,
      responseMs: Number.POSITIVE_INFINITY,
    }
    const clock = new SessionClock(() => performance.now(), 50)
    const socket = await connectTo('127.0.0.1', port)
    const session = new Session<number>(socket, 'esme', sender, limits, clock, new PduCounts())
    sender.session = session
    await sender.until(() => {
      session.bind(
        encodePdu(command.bind_transceiver, 0, session.nextSequence(), {
          system_id: systemId,
          password: PASSWORD,
          interface_version: 0x34,
        }),
        BIND,
      )
    })
    return sender
  }

  /** Submits them all, without asking for receipts; resolves when all are answered. */
  async submit(offer: Offer): Promise<void> {
    this.pdu = this.template(offer)
    this.sentAt = new Float64Array(offer.count)
    this.offer = offer
    this.next = this.answered = 0
    this.startedAt = performance.now()
    await this.until(() => {
      this.timer = setInterval(() => this.pump(), TICK_MS)
      this.pump()
    })
    clearInterval(this.timer)
    this.offer = null
  }

  close(): void {
    clearInterval(this.timer)
    this.session.destroy('unbound by us')
  }

  private until(begin: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
      begin()
    })
  }

  private template({ to, schedule }: Offer): Buffer {
    const sm = new Sm()
    Object.assign(sm, { source_addr: '12345', dest_addr_ton: 1, dest_addr_npi: 1, validity_period: '' })
    sm.destination_addr = to + '0'.repeat(DIGITS)
    sm.schedule_delivery_time = schedule?.(0) ?? ''
    sm.short_message = Buffer.from(`${SERIAL_TEXT} a text like others`)
    const pdu = Buffer.alloc(smSize(sm))
    const end = writeSm(pdu, 0, command.submit_sm, 0, sm)
    // esm_class, protocol_id and priority_flag stand before it.
    this.scheduleAt = HEADER + 1 + 2 + sm.source_addr.length + 1 + 2 + sm.destination_addr.length + 1 + 3
    return pdu.subarray(0, end)
  }

  private pump(): void {
    const { offer, session, pdu } = this
    if (offer === null) return
    const now = performance.now()
    const due = offer.rate === 0 ? offer.count : Math.floor(((now - this.startedAt) * offer.rate) / 1000) + 1
    const most = Math.min(due, offer.count)
    let room = session.room()
    const destinationAt = HEADER + 1 + 2 + 5 + 1 + 2 + offer.to.length
    const serialAt = pdu.length - `${SERIAL_TEXT} a text like others`.length + SERIAL_DIGITS_AT
    while (this.next < most && room-- > 0) {
      const index = this.next++
      const sequence = session.nextSequence()
      const buf = session.reserve(pdu.length)
      const at = session.offset
      buf.set(pdu, at)
      buf.writeUInt32BE(sequence, at + 12)
      writeDigits(buf, at + destinationAt, DIGITS, 1, index)
      writeDigits(buf, at + serialAt, SERIAL_DIGITS, 1, offer.from + index)
      if (offer.schedule !== undefined) buf.latin1Write(offer.schedule(index), at + this.scheduleAt)
      session.commit(at + pdu.length)
      session.sent(sequence, index, pdu.length)
      this.sentAt[index] = now
    }
  }

  request(): void {
    // It asks for no receipts.
  }

  response(_session: Session<number>, index: number, _id: number, code: number): void {
    if (index === BIND) {
      if (code === status.ESME_ROK) this.resolve()
      else this.reject(new Error(`the bind was refused: ${code}`))
      return
    }
    if (code !== status.ESME_ROK) this.refused++
    this.answerMs.add(performance.now() - (this.sentAt[index] as number))
    if (++this.answered === this.offer?.count) this.resolve()
  }

  expired(): void {}
  late(): void {}
  turn(): void {
    if (this.offer?.rate === 0) this.pump()
  }
  room(): void {
    this.turn()
  }
  closed(): void {
    this.reject(new Error('the connection is gone'))
  }
  onFault(_session: Session<number>, error: unknown): void {
    this.reject(error instanceof Error ? error : new Error(String(error)))
  }
}
