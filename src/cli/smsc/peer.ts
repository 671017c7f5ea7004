// One ESME's connection to the simulator: its bind, the answers to its submit_sm and the deliver_sm it gets. Does to it
// what the settings say: refuses, throttles, drops, stalls. Counts go to the Smsc, which knows all connections.

import { command, responseTo } from '../../../protocols/smpp/commands.js'
import { decodePdu, encodePdu } from '../../../protocols/smpp/pdu.js'
import { messageState } from '../../../protocols/smpp/receipt.js'
import type { CloseReason, Session, SessionOwner } from '../../../protocols/smpp/session.js'
import { HEADER, readSm, Sm, smSize, writeHeader, writeSm } from '../../../protocols/smpp/sm.js'
import { status } from '../../../protocols/smpp/status.js'
import { findTlv, tlv, tlvBytes, writeTlvUint } from '../../../protocols/smpp/tlv.js'
import { Fifo } from '../fifo.js'
import { readSerial } from '../serial.js'
import type { Smsc } from '../smsc.js'
import type { Client, Taken } from './client.js'
import { MOST_ID_OCTETS, writeId } from './ids.js'

const SYSTEM_ID = 'simulator'
/** SMPP v3.4 §4.1.2: it tells the ESME that TLVs are understood. */
const interfaceVersion = Buffer.alloc(5)
writeTlvUint(interfaceVersion, 0, tlv.sc_interface_version, 0x34)

/** Answers to a deliver_sm after which it is offered again; any other settles it. */
const NOT_NOW = new Set<number>([
  status.ESME_RX_T_APPN,
  status.ESME_RMSGQFUL,
  status.ESME_RTHROTTLED,
  status.ESME_RSYSERR,
])

// One of each for all peers: a PDU is read, or written, before the next.
const submitted = new Sm()
const outgoing = new Sm()

export class Peer implements SessionOwner<Taken> {
  session!: Session<Taken>
  private readonly smsc: Smsc
  private client: Client | null = null
  /** Answers held back, in order; the first decides when. */
  private readonly answers = new Fifo<Taken>()
  private stalledUntil = 0

  constructor(smsc: Smsc) {
    this.smsc = smsc
  }

  /** May be sent a deliver_sm now. */
  hasRoom(now: number): boolean {
    const { session } = this
    if (now < this.stalledUntil || (session.state !== 'bound_trx' && session.state !== 'bound_rx')) return false
    return session.room() > 0
  }

  // Requests

  request(session: Session<Taken>, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    switch (id) {
      case command.submit_sm:
        this.submit(sequence, buf, start, end)
        break
      case command.bind_transceiver:
      case command.bind_transmitter:
      case command.bind_receiver:
        this.bind(session, id, sequence, buf, start, end)
        break
      default:
        session.respondHeader(responseTo(id), status.ESME_RINVCMDID, sequence)
    }
  }

  private bind(
    session: Session<Taken>,
    id: typeof command.bind_transceiver | typeof command.bind_transmitter | typeof command.bind_receiver,
    sequence: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    const { smsc } = this
    const pdu = decodePdu(buf, start, end)
    const fields = pdu.ok ? (pdu.fields as { system_id: string; password: string }) : null
    const refusal = fields === null ? pdu.status : smsc.refusal(fields.system_id, fields.password)
    if (fields === null || refusal !== status.ESME_ROK) {
      smsc.counts.bindsRefused++
      session.respondHeader(responseTo(id), refusal, sequence)
      return
    }
    smsc.counts.binds++
    const answer = responseTo(id) as typeof command.bind_transceiver_resp
    session.acceptBind(encodePdu(answer, status.ESME_ROK, sequence, { system_id: SYSTEM_ID }, interfaceVersion))
    this.client = smsc.clientOf(fields.system_id)
    if (id === command.bind_transmitter) return
    this.client.join(this)
    this.client.pump(smsc.now())
  }

  private submit(sequence: number, buf: Buffer, start: number, end: number): void {
    const { smsc } = this
    const { settings, counts } = smsc
    const now = smsc.now()
    const number = smsc.submitted(now)
    if (settings.throttle > 0 && smsc.throttles(now)) {
      counts.throttled++
      this.refuse(sequence, status.ESME_RTHROTTLED, now)
      return
    }
    if (settings.failEvery > 0 && number % settings.failEvery === 0) {
      counts.failed++
      this.refuse(sequence, settings.failStatus, now)
      return
    }
    const code = readSm(buf, start, end, submitted)
    if (code !== 0) {
      counts.malformed++
      this.refuse(sequence, code, now)
      return
    }
    smsc.arrivals.note(readSerial(textOf(submitted), (submitted.data_coding & 0x0c) === 0x08))
    if (settings.dropEvery > 0 && number % settings.dropEvery === 0) {
      counts.dropped++
      this.session.destroy('connection lost')
      return
    }
    if (settings.stallEvery > 0 && number % settings.stallEvery === 0) this.stall(now)
    this.take(sequence, now)
    if (settings.moEvery > 0 && counts.accepted % settings.moEvery === 0) {
      this.hand(this.taken('reply', smsc.nextReply()), now, 0)
    }
  }

  /** Gives the message an id, answers, and sees to its receipt. */
  private take(sequence: number, now: number): void {
    const { smsc } = this
    const { settings, counts } = smsc
    counts.accepted++
    const serial = smsc.nextId()
    const receipt = wantsReceipt(submitted.registered_delivery, settings.receiptState)
    const held = this.held(now)
    if (receipt && settings.receiptFirst) this.report(this.taken('receipt', serial), now)
    const leadsTo = receipt && !settings.receiptFirst ? 'receipt' : 'nothing'
    if (held) this.hold(this.taken(leadsTo, serial), sequence, status.ESME_ROK, now)
    else {
      this.answer(sequence, serial)
      if (leadsTo === 'receipt') this.report(this.taken('receipt', serial), now)
    }
  }

  private taken(leadsTo: Taken['leadsTo'], serial: number): Taken {
    const taken = this.smsc.pool.pop() ?? this.smsc.another()
    taken.serial = serial
    taken.leadsTo = leadsTo
    taken.sentBefore = false
    taken.source_addr_ton = submitted.source_addr_ton
    taken.source_addr_npi = submitted.source_addr_npi
    taken.source_addr = submitted.source_addr
    taken.dest_addr_ton = submitted.dest_addr_ton
    taken.dest_addr_npi = submitted.dest_addr_npi
    taken.destination_addr = submitted.destination_addr
    return taken
  }

  // Answers

  /** Whether answers do not go out at once. */
  private held(now: number): boolean {
    return this.smsc.settings.responseDelayMs > 0 || this.answers.size > 0 || now < this.stalledUntil
  }

  private hold(taken: Taken, sequence: number, code: number, now: number): void {
    taken.sequence = sequence
    taken.status = code
    taken.dueMs = Math.max(now + this.smsc.settings.responseDelayMs, this.stalledUntil)
    this.answers.push(taken)
    this.smsc.wakeAt(taken.dueMs)
  }

  private refuse(sequence: number, code: number, now: number): void {
    if (this.held(now)) this.hold(this.taken('nothing', 0), sequence, code, now)
    else this.session.respondHeader(command.submit_sm_resp, code, sequence)
  }

  private answer(sequence: number, serial: number): void {
    const { session } = this
    const buf = session.reserve(HEADER + MOST_ID_OCTETS + 1)
    const at = session.offset
    const end = writeId(buf, at + HEADER, this.smsc.settings.idFormat, serial)
    buf[end] = 0
    writeHeader(buf, at, end + 1 - at, command.submit_sm_resp, status.ESME_ROK, sequence)
    session.commit(end + 1)
  }

  private stall(now: number): void {
    const { smsc } = this
    smsc.counts.stalled++
    this.stalledUntil = now + smsc.settings.stallMs
    this.session.pause()
    smsc.wakeAt(this.stalledUntil)
  }

  /** What has become due: the end of a stall, answers held back. */
  wake(now: number): void {
    if (this.stalledUntil > 0 && now >= this.stalledUntil) {
      this.stalledUntil = 0
      this.session.resume()
    }
    for (let first = this.answers.first(); first !== undefined && first.dueMs <= now; first = this.answers.first()) {
      this.answers.shift()
      if (first.status !== status.ESME_ROK) {
        this.session.respondHeader(command.submit_sm_resp, first.status, first.sequence)
        this.smsc.pool.push(first)
        continue
      }
      this.answer(first.sequence, first.serial)
      if (first.leadsTo === 'receipt') this.report(first, now)
      else this.smsc.pool.push(first)
    }
  }

  /** When to wake. */
  dueMs(): number {
    const answer = this.answers.first()?.dueMs ?? Number.POSITIVE_INFINITY
    return this.stalledUntil > 0 ? Math.min(answer, this.stalledUntil) : answer
  }

  // Receipts and replies

  private report(taken: Taken, now: number): void {
    const { smsc } = this
    const { settings, counts } = smsc
    const number = ++counts.receipts
    if (settings.loseReceipts > 0 && number % settings.loseReceipts === 0) {
      counts.receiptsLost++
      smsc.pool.push(taken)
      return
    }
    const delayMs = settings.receiptFirst ? 0 : settings.receiptDelayMs
    if (settings.doubleReceipts) {
      const copy = smsc.pool.pop() ?? smsc.another()
      this.hand(Object.assign(copy, taken), now, delayMs)
    }
    this.hand(taken, now, delayMs)
  }

  private hand(taken: Taken, now: number, delayMs: number): void {
    const client = this.client as Client
    if (delayMs === 0 && client.goesAtOnce(this, now)) {
      this.deliver(taken)
      return
    }
    taken.dueMs = now + delayMs
    client.push(taken)
    if (delayMs > 0) this.smsc.wakeAt(taken.dueMs)
    else client.pump(now)
  }

  /** Sends a receipt or a reply; only with room. */
  deliver(taken: Taken): void {
    const { session, smsc } = this
    const { counts } = smsc
    const sm = outgoing
    // From the phone's side: what was the destination is now the source.
    sm.source_addr_ton = taken.dest_addr_ton
    sm.source_addr_npi = taken.dest_addr_npi
    sm.source_addr = taken.destination_addr
    sm.dest_addr_ton = taken.source_addr_ton
    sm.dest_addr_npi = taken.source_addr_npi
    sm.destination_addr = taken.source_addr
    if (taken.leadsTo === 'receipt') {
      sm.esm_class = 0x04
      sm.short_message = smsc.receiptText(taken.serial)
      counts.receiptsSent++
    } else {
      sm.esm_class = 0
      sm.short_message = Buffer.from(`reply ${taken.serial}`, 'latin1')
      counts.repliesSent++
    }
    if (taken.sentBefore) counts.resent++
    taken.sentBefore = true
    const sequence = session.nextSequence()
    const buf = session.reserve(smSize(sm))
    const at = session.offset
    const end = writeSm(buf, at, command.deliver_sm, sequence, sm)
    session.commit(end)
    session.sent(sequence, taken, end - at)
  }

  response(_session: Session<Taken>, taken: Taken, id: number, code: number): void {
    const { smsc } = this
    const { counts } = smsc
    const receipt = taken.leadsTo === 'receipt'
    if (code === status.ESME_ROK && id === command.deliver_sm_resp) {
      if (receipt) counts.receiptsAcked++
      else counts.repliesAcked++
      smsc.pool.push(taken)
      return
    }
    if (receipt) counts.receiptsNacked++
    else counts.repliesNacked++
    if (!NOT_NOW.has(code)) {
      smsc.pool.push(taken)
      return
    }
    const now = smsc.now()
    const client = this.client as Client
    client.rest(now)
    taken.dueMs = now
    client.push(taken)
    smsc.wakeAt(client.dueMs(now))
  }

  expired(): void {
    // Never: a deliver_sm may take its answer any time, until the connection is lost.
  }

  late(): void {
    // Nothing expires.
  }

  turn(): void {
    const { client, smsc } = this
    if (client !== null) {
      const now = smsc.now()
      client.pump(now)
      // Nothing more may come from the peer that would have the next one sent.
      smsc.wakeAt(client.dueMs(now))
    }
    smsc.turnOver()
  }

  room(): void {
    this.turn()
  }

  closed(_session: Session<Taken>, _reason: CloseReason, unanswered: Taken[]): void {
    const { smsc, client } = this
    smsc.leave(this)
    for (let held = this.answers.shift(); held !== undefined; held = this.answers.shift()) smsc.pool.push(held)
    if (client === null) return
    client.leave(this)
    const now = smsc.now()
    for (const taken of unanswered) {
      taken.dueMs = now
      client.push(taken)
    }
    client.pump(now)
    smsc.turnOver()
  }

  onFault(_session: Session<Taken>, error: unknown): void {
    this.smsc.fault(error)
  }
}

/** short_message, or message_payload where that is used instead (SMPP v3.4 §5.3.2.32). */
function textOf(sm: Sm): Buffer {
  if (sm.short_message.length > 0 || sm.tlvs.length === 0) return sm.short_message
  const at = findTlv(sm.tlvs, 0, sm.tlvs.length, tlv.message_payload)
  return at < 0 ? sm.short_message : tlvBytes(sm.tlvs, at)
}

/** SMPP v3.4 §5.2.17, and v5.0 §4.7.21 for 3: always, only of failures, only of success. */
function wantsReceipt(registered_delivery: number, state: number): boolean {
  const wanted = registered_delivery & 3
  if (wanted <= 1) return wanted === 1
  return (state === messageState.DELIVERED) === (wanted === 3)
}
