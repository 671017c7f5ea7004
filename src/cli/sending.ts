// One message over one bind: binds, submits it in one or several submit_sm, and waits for the receipts. What else the
// account is sent meanwhile is not ours to take: it stays unanswered until we leave, and is then refused as "not now", so
// that the server keeps it for the application.

import type { Socket } from 'node:net'
import { chooseCoding, encodeText } from '../../protocols/gsm/coding.js'
import { type Segment, segment } from '../../protocols/gsm/segment.js'
import { command, responseTo } from '../../protocols/smpp/commands.js'
import { PduCounts } from '../../protocols/smpp/counts.js'
import { encodePdu } from '../../protocols/smpp/pdu.js'
import { messageState, parseReceipt } from '../../protocols/smpp/receipt.js'
import { type CloseReason, defaultLimits, Session, type SessionOwner } from '../../protocols/smpp/session.js'
import { SessionClock } from '../../protocols/smpp/session-clock.js'
import { readMessageId, readSm, Sm } from '../../protocols/smpp/sm.js'
import { status } from '../../protocols/smpp/status.js'
import { findTlv, tlv, tlvBytes, tlvString, tlvUint, writeTlvBytes } from '../../protocols/smpp/tlv.js'
import { addressType } from './address.js'
import { CommandError, EXIT } from './exit.js'
import { explained } from './meaning.js'

export interface Order {
  readonly systemId: string
  readonly password: string
  readonly from: string
  readonly to: string
  readonly text: string
  /** Cut a long text with a user data header; otherwise it goes as message_payload. */
  readonly parts: boolean
  readonly receipt: boolean
}

/** What became of one submit_sm. Milliseconds since it was sent. */
export interface Fate {
  id: string
  acceptedMs: number
  /** message_state of the receipt; null: none has come. */
  state: number | null
  /** As written in the receipt. */
  stat: string
  err: string
  receiptMs: number | null
}

/** esm_class: a user data header stands in the message (SMPP v3.4 §5.2.12). */
const UDHI = 0x40
const KIND_MASK = 0x3c
const KIND_RECEIPT = 0x04
const MOST_SHORT_MESSAGE = 254
const BIND = -1
const TICK_MS = 20
const GOODBYE_MS = 2000

interface Report {
  readonly id: string
  readonly state: number
  readonly stat: string
  readonly err: string
  readonly atMs: number
}

export class Sending implements SessionOwner<number> {
  onAccepted: (fate: Fate) => void = () => {}
  onReceipt: (fate: Fate) => void = () => {}
  private readonly order: Order
  private readonly segments: readonly Segment[]
  private readonly data_coding: number
  private readonly fates: (Fate | undefined)[]
  private readonly clock = new SessionClock(() => performance.now(), TICK_MS)
  /** What no answer has named (yet), and the command_id and sequence_number of the response that is owed for it. */
  private readonly kept: { id: number; sequence: number; report: Report | null }[] = []
  private sentAt = 0
  private ending = false
  private finish: () => void = () => {}
  private fail: (error: Error) => void = () => {}
  private gone: () => void = () => {}

  /** Throws a CommandError for a text that is too long. */
  constructor(order: Order) {
    this.order = order
    const { data_coding, coding } = chooseCoding(order.text)
    this.data_coding = data_coding
    const body = encodeText(order.text, coding) as Buffer
    const segments = segment(body, coding, order.parts ? 'udh8' : 'payload', Math.floor(Math.random() * 256))
    if (segments === undefined) throw new CommandError(EXIT.usage, '--text is longer than 255 parts')
    this.segments = segments
    this.fates = segments.map(() => undefined)
  }

  /**
   * One Fate a submit_sm. Rejects with a CommandError when the bind or a part is refused, or the connection is lost
   * before everything is accepted.
   */
  async run(socket: Socket, timeoutMs: number): Promise<Fate[]> {
    const session = new Session<number>(
      socket,
      'esme',
      this,
      { ...defaultLimits, windowRequests: this.segments.length },
      this.clock,
      new PduCounts(),
    )
    const closed = new Promise<void>(resolve => {
      this.gone = resolve
    })
    let timer: NodeJS.Timeout | undefined
    try {
      await new Promise<void>((resolve, reject) => {
        this.finish = resolve
        this.fail = reject
        const { systemId, password } = this.order
        const fields = { system_id: systemId, password, interface_version: 0x34 }
        // A transmitter is sent nothing: what waits for the account stays where it is.
        const kind = this.order.receipt ? command.bind_transceiver : command.bind_transmitter
        session.bind(encodePdu(kind, 0, session.nextSequence(), fields), BIND)
        timer = setTimeout(() => this.timeout(), timeoutMs)
      })
    } finally {
      clearTimeout(timer)
      this.ending = true
      for (const { id, sequence } of this.kept) session.respondHeader(id, status.ESME_RX_T_APPN, sequence)
      session.limits = { ...session.limits, responseMs: GOODBYE_MS }
      session.unbind('unbound by us')
      await closed
    }
    return this.fates as Fate[]
  }

  private timeout(): void {
    if (this.fates.every(fate => fate !== undefined)) this.finish()
    else this.fail(new CommandError(EXIT.failed, 'the server took the message and did not answer in time'))
  }

  private submit(session: Session<number>): void {
    this.sentAt = performance.now()
    const { order } = this
    const source = addressType(order.from)
    for (const [part, { octets, udhi, payload }] of this.segments.entries()) {
      const inTlv = payload === true || octets.length > MOST_SHORT_MESSAGE
      const tlvs = Buffer.alloc(inTlv ? 4 + octets.length : 0)
      if (inTlv) writeTlvBytes(tlvs, 0, tlv.message_payload, octets)
      const sequence = session.nextSequence()
      const pdu = encodePdu(
        command.submit_sm,
        0,
        sequence,
        {
          source_addr_ton: source.ton,
          source_addr_npi: source.npi,
          source_addr: order.from,
          dest_addr_ton: 1,
          dest_addr_npi: 1,
          destination_addr: order.to,
          esm_class: udhi ? UDHI : 0,
          registered_delivery: order.receipt ? 1 : 0,
          data_coding: this.data_coding,
          ...(inTlv ? {} : { short_message: octets }),
        },
        tlvs,
      )
      const buf = session.reserve(pdu.length)
      pdu.copy(buf, session.offset)
      session.commit(session.offset + pdu.length)
      session.sent(sequence, part, pdu.length)
    }
  }

  private sinceSent(): number {
    return Math.round((performance.now() - this.sentAt) * 10) / 10
  }

  // The session's calls

  response(
    session: Session<number>,
    part: number,
    id: number,
    code: number,
    buf: Buffer,
    start: number,
    end: number,
  ): void {
    if (part === BIND) {
      if (code === status.ESME_ROK) this.submit(session)
      else this.fail(new CommandError(EXIT.failed, `the bind was refused: ${explained(code)}`))
      return
    }
    if (code !== status.ESME_ROK || id !== command.submit_sm_resp) {
      this.fail(new CommandError(EXIT.failed, `the message was refused: ${explained(code)}`))
      return
    }
    const fate: Fate = {
      id: readMessageId(buf, start, end),
      acceptedMs: this.sinceSent(),
      state: null,
      stat: '',
      err: '',
      receiptMs: null,
    }
    this.fates[part] = fate
    this.onAccepted(fate)
    const at = this.kept.findIndex(({ report }) => report?.id === fate.id)
    if (at >= 0) {
      const [early] = this.kept.splice(at, 1)
      if (early !== undefined) {
        session.respondHeader(early.id, status.ESME_ROK, early.sequence)
        this.report(fate, early.report as Report)
      }
    }
    this.judge()
  }

  request(session: Session<number>, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    if (id === command.alert_notification || id === command.outbind) return
    if (id !== command.deliver_sm && id !== command.data_sm) {
      session.respondHeader(responseTo(id), status.ESME_RINVCMDID, sequence)
      return
    }
    if (this.ending) {
      session.respondHeader(responseTo(id), status.ESME_RX_T_APPN, sequence)
      return
    }
    const report = this.reportOf(buf, start, end)
    const fate = this.fates.find(one => one !== undefined && one.id === report?.id)
    if (report === null || fate === undefined || fate.state !== null) {
      this.kept.push({ id: responseTo(id), sequence, report })
      return
    }
    session.respondHeader(responseTo(id), status.ESME_ROK, sequence)
    this.report(fate, report)
    this.judge()
  }

  /** Null: it is no receipt. */
  private reportOf(buf: Buffer, start: number, end: number): Report | null {
    const sm = new Sm()
    if (readSm(buf, start, end, sm) !== 0 || (sm.esm_class & KIND_MASK) !== KIND_RECEIPT) return null
    const { tlvs } = sm
    const payload = findTlv(tlvs, 0, tlvs.length, tlv.message_payload)
    const text = parseReceipt(payload >= 0 ? tlvBytes(tlvs, payload) : sm.short_message)
    const id = findTlv(tlvs, 0, tlvs.length, tlv.receipted_message_id)
    const state = findTlv(tlvs, 0, tlvs.length, tlv.message_state)
    return {
      id: id >= 0 ? tlvString(tlvs, id) : (text?.id ?? ''),
      state: state >= 0 ? tlvUint(tlvs, state) : (text?.state ?? messageState.UNKNOWN),
      stat: text?.stat ?? '',
      err: text?.err ?? '',
      atMs: this.sinceSent(),
    }
  }

  private report(fate: Fate, report: Report): void {
    fate.state = report.state
    fate.stat = report.stat
    fate.err = report.err
    fate.receiptMs = report.atMs
    this.onReceipt(fate)
  }

  private judge(): void {
    const { order, fates } = this
    if (fates.every(fate => fate !== undefined && (!order.receipt || fate.state !== null))) this.finish()
  }

  expired(): void {
    this.timeout()
  }

  late(): void {
    // It ended with `expired`.
  }

  turn(): void {
    // Everything was sent when the bind was answered.
  }

  room(): void {
    this.turn()
  }

  closed(_session: Session<number>, reason: CloseReason): void {
    if (this.fates.every(fate => fate !== undefined)) this.finish()
    else this.fail(new CommandError(EXIT.failed, `the server ended the connection before it answered (${reason})`))
    this.gone()
  }

  onFault(_session: Session<number>, error: unknown): void {
    this.fail(error instanceof Error ? error : new Error(String(error)))
  }
}
