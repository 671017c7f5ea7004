// Both ends of an SMPP connection for tests: a raw peer that does nothing by itself, and an owner that records every call
// of the session and answers ESME_ROK unless told otherwise. The raw peer cuts PDUs in its own way, not with our framer.
import { once } from 'node:events'
import net from 'node:net'
import { command, commandName, responseTo } from '../../protocols/smpp/commands.js'
import { PduCounts } from '../../protocols/smpp/counts.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import {
  type CloseReason,
  defaultLimits,
  Session,
  type SessionLimits,
  type SessionOwner,
} from '../../protocols/smpp/session.js'
import { SessionClock } from '../../protocols/smpp/session-clock.js'
import type { Side } from '../../protocols/smpp/states.js'

/** What a test registers its cleaning with. */
export interface Cleaner {
  teardown(clean: () => unknown): unknown
}

export function pdu(id: number, code: number, sequence: number, body = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(16)
  header.writeUInt32BE(16 + body.length, 0)
  header.writeUInt32BE(id, 4)
  header.writeUInt32BE(code, 8)
  header.writeUInt32BE(sequence, 12)
  return Buffer.concat([header, body])
}

/** `submit_sm 0 5`, with its length where it has a body: what tests compare. */
export function line(octets: Buffer): string {
  const bytes = octets.readUInt32BE(0)
  const text = `${commandName(octets.readUInt32BE(4))} ${octets.readUInt32BE(8)} ${octets.readUInt32BE(12)}`
  return bytes === 16 ? text : `${text} +${bytes - 16}`
}

/** Cuts whole PDUs off `octets`; throws if the sender broke the framing. */
export function lines(octets: Buffer): string[] {
  const found: string[] = []
  let at = 0
  while (at < octets.length) {
    const bytes = octets.readUInt32BE(at)
    if (bytes < 16 || at + bytes > octets.length)
      throw new Error(`not framed: ${octets.subarray(at, at + 32).toString('hex')}`)
    found.push(line(octets.subarray(at, at + bytes)))
    at += bytes
  }
  return found
}

/** The raw end of a connection. */
export class Wire {
  readonly socket: net.Socket
  /** Resolves when the connection is gone, in whatever way. */
  readonly closed: Promise<void>
  /** Everything that came. */
  received: Buffer = Buffer.alloc(0)
  private taken = 0
  private gone = false
  private wake = () => {}

  constructor(socket: net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('data', chunk => {
      this.received = Buffer.concat([this.received, chunk])
      this.wake()
    })
    this.closed = new Promise(resolve => {
      socket.on('close', () => {
        this.gone = true
        this.wake()
        resolve()
      })
    })
  }

  send(...octets: Buffer[]): void {
    this.socket.write(Buffer.concat(octets))
  }

  /** The next PDU, as `line` writes it; 'closed' when none will come. */
  async next(): Promise<string> {
    for (;;) {
      const rest = this.received.subarray(this.taken)
      if (rest.length >= 4 && rest.length >= rest.readUInt32BE(0)) {
        this.taken += rest.readUInt32BE(0)
        return line(rest)
      }
      if (this.gone) return 'closed'
      await new Promise<void>(resolve => {
        this.wake = resolve
      })
    }
  }

  async take(count: number): Promise<string[]> {
    const found: string[] = []
    while (found.length < count) found.push(await this.next())
    return found
  }
}

/** The raw end of a connection to that port. */
export async function dial(t: Cleaner, port: number): Promise<Wire> {
  const socket = net.connect(port, '127.0.0.1')
  const wire = new Wire(socket)
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  return wire
}

type Request = (session: Session<number>, id: number, sequence: number, octets: Buffer) => void

/** Answers at once: binds are accepted, everything else is ESME_ROK. */
export const answerAtOnce: Request = (session, id, sequence) => {
  const bind = id === command.bind_transceiver || id === command.bind_transmitter || id === command.bind_receiver
  if (bind && session.side === 'smsc') {
    session.acceptBind(
      encodePdu(responseTo(id) as typeof command.bind_transceiver_resp, 0, sequence, { system_id: 'mc' }),
    )
  } else if (id !== command.outbind && id !== command.alert_notification)
    session.respondHeader(responseTo(id), 0, sequence)
}

/** Records calls as lines: `request submit_sm 5`, `response 7 submit_sm_resp 0`, `expired 7`, `closed link silent [1,2]`. */
export class Recorder implements SessionOwner<number> {
  calls: string[] = []
  faults: unknown[] = []
  closes: { reason: CloseReason; unanswered: number[] }[] = []
  onRequest: Request = answerAtOnce
  onResponse: (session: Session<number>, token: number) => void = () => {}
  onTurn: (session: Session<number>) => void = () => {}
  onRoom: (session: Session<number>) => void = () => {}
  private waiting: (() => void)[] = []

  request(session: Session<number>, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    this.note(`request ${commandName(id)} ${sequence}`)
    this.onRequest(session, id, sequence, Buffer.from(buf.subarray(start, end)))
  }
  response(session: Session<number>, token: number, id: number, code: number): void {
    this.note(`response ${token} ${commandName(id)} ${code}`)
    this.onResponse(session, token)
  }
  expired(_: Session<number>, token: number): void {
    this.note(`expired ${token}`)
  }
  late(_: Session<number>, token: number, id: number, code: number): void {
    this.note(`late ${token} ${commandName(id)} ${code}`)
  }
  turn(session: Session<number>): void {
    if (session.state === 'closed') this.note('turn after closed')
    this.onTurn(session)
    this.wake()
  }
  room(session: Session<number>): void {
    this.note('room')
    this.onRoom(session)
  }
  closed(_: Session<number>, reason: CloseReason, unanswered: number[]): void {
    this.closes.push({ reason, unanswered })
    this.note(`closed ${reason} ${JSON.stringify(unanswered)}`)
  }
  onFault(_: Session<number>, error: unknown): void {
    this.faults.push(error)
    this.note('fault')
  }

  /** Resolves once `condition` holds; it is looked at after each call of the session. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>(resolve => this.waiting.push(resolve))
  }

  private note(call: string): void {
    this.calls.push(call)
    this.wake()
  }
  private wake(): void {
    const waiting = this.waiting
    this.waiting = []
    for (const resolve of waiting) resolve()
  }
}

/** Milliseconds that stand still until the test moves them; the ticks are the test's as well. */
export class HandClock extends SessionClock {
  private readonly hand: { ms: number }

  constructor() {
    const hand = { ms: 1000 }
    super(() => hand.ms, 1_000_000)
    this.hand = hand
  }

  pass(ms: number): void {
    this.hand.ms += ms
    this.tick()
  }
}

/** A port at which each connection becomes a session of `side`. */
export class Station {
  readonly owner = new Recorder()
  readonly counts = new PduCounts()
  readonly clock: SessionClock
  private readonly server: net.Server
  private readonly side: Side
  private readonly limits: SessionLimits

  constructor(t: Cleaner, side: Side, limits: Partial<SessionLimits> = {}, clock: SessionClock = new HandClock()) {
    this.side = side
    this.limits = { ...defaultLimits, ...limits }
    this.clock = clock
    this.server = net.createServer()
    t.teardown(() => this.server.close())
  }

  /** A fresh connection: its raw end, our session, and the socket under it. `owner` for this session alone. */
  async connect(t: Cleaner, owner = this.owner): Promise<{ wire: Wire; session: Session<number>; socket: net.Socket }> {
    if (!this.server.listening) await once(this.server.listen(0, '127.0.0.1'), 'listening')
    const raw = net.connect((this.server.address() as net.AddressInfo).port, '127.0.0.1')
    const [[socket]] = (await Promise.all([once(this.server, 'connection'), once(raw, 'connect')])) as [
      [net.Socket],
      unknown,
    ]
    t.teardown(() => {
      raw.destroy()
      socket.destroy()
    })
    const session = new Session(socket, this.side, owner, this.limits, this.clock, this.counts)
    return { wire: new Wire(raw), session, socket }
  }

  /** The same, bound. */
  async bound(t: Cleaner, how: 'transceiver' | 'transmitter' | 'receiver' = 'transceiver', owner = this.owner) {
    const connection = await this.connect(t, owner)
    const { wire, session } = connection
    const id = command[`bind_${how}`]
    if (this.side === 'smsc') {
      wire.send(encodePdu(id, 0, 1, { system_id: 'a' }))
      await wire.next()
    } else {
      const sequence = session.nextSequence()
      session.bind(encodePdu(id, 0, sequence, { system_id: 'a' }), -1)
      await wire.next()
      const before = owner.calls.length
      wire.send(pdu(responseTo(id), 0, sequence))
      await owner.until(() => owner.calls.length > before)
    }
    owner.calls = []
    return connection
  }
}

/** Sends a header-only request, as an owner does. */
export function send(session: Session<number>, id: number, token: number, bytes = 16): number {
  const sequence = session.nextSequence()
  const octets = pdu(id, 0, sequence, Buffer.alloc(bytes - 16, token & 0xff))
  const buf = session.reserve(octets.length)
  octets.copy(buf, session.offset)
  session.commit(session.offset + octets.length)
  session.sent(sequence, token, octets.length)
  return sequence
}

/** Lets everything happen that this turn of the event loop has set going. */
export function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
