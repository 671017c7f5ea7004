// One ESME's connection: its bind, its submit_sm on their way to submit(), and the
// deliver_sm that we send it. Answers a submit_sm once the spool has synced and not
// before. Knows one session; which accounts, limits and routes there are, others know.

import { command, responseTo } from '../../../protocols/smpp/commands.js'
import { decodePdu, encodePdu } from '../../../protocols/smpp/pdu.js'
import type { CloseReason, Session, SessionOwner } from '../../../protocols/smpp/session.js'
import { readSm, Sm, smSize, writeHeader, writeSm } from '../../../protocols/smpp/sm.js'
import { status, statusName } from '../../../protocols/smpp/status.js'
import { tlv, writeTlvUint } from '../../../protocols/smpp/tlv.js'
import type { Account } from '../../accounts/account.js'
import type { Clock } from '../../base/clock.js'
import type { Log } from '../../base/log.js'
import { EMPTY, Message } from '../../model/message.js'
import type { Report } from '../../spool/contract.js'
import type { Door } from '../submit.js'
import type { Admission } from './admission.js'
import type { Binds } from './binds.js'
import { deliverSm } from './deliver.js'
import { fillMessage } from './fields.js'
import { statusOf } from './status.js'

/** What a bind needs of the house around it. */
export interface BindHost {
  readonly door: Door
  readonly binds: Binds
  readonly clock: Clock
  readonly log: Log
  /** Our name in bind responses. */
  readonly systemId: string
  /** Requests of a peer held unanswered before its socket is not read. */
  readonly peerWindow: number
  readonly admission: Admission
  account(id: number): Account | undefined
  /** No new binds: the service is stopping. */
  readonly stopping: boolean
  /** A refused bind, for counters: the reason is one of few words. */
  refused(bind: Bind, why: string): void
  bound(bind: Bind): void
  closed(bind: Bind, reason: CloseReason): void
  /** The account's binds have room for reports. */
  room(account: number): void
  /** The ESME answered a deliver_sm, or will not (status undefined). */
  answered(report: Report, status: number | undefined): void
  fault(error: unknown): void
}

// One for all binds: a PDU is read, judged and copied into a Message before the next.
const sm = new Sm()
const ID_DIGITS = 16

export class Bind implements SessionOwner<Report> {
  session!: Session<Report>
  systemId = ''
  accountId = 0
  interfaceVersion = 0
  readonly sinceMs: number
  submitted = 0
  delivered = 0
  private readonly host: BindHost
  /** What was accepted and waits for the sync: sequence and id in turn, one list per commit, oldest first. */
  private readonly unsynced: number[][] = []
  private gathering = 0
  private list: number[] = []
  private account: Account | undefined

  private gone: () => void = () => {}

  constructor(host: BindHost) {
    this.host = host
    this.sinceMs = host.clock.now()
  }

  /** Called once, when the connection is gone. */
  onGone(then: () => void): void {
    this.gone = then
  }

  /** True when it may be sent deliver_sm. */
  get receives(): boolean {
    const { state } = this.session
    return state === 'bound_trx' || state === 'bound_rx'
  }

  request(session: Session<Report>, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    switch (id) {
      case command.submit_sm:
        this.submit(sequence, buf, start, end)
        break
      case command.bind_transceiver:
      case command.bind_transmitter:
      case command.bind_receiver:
        this.bind(id, sequence, buf, start, end)
        break
      default:
        // A PDU of the standard that this service does not offer: SMPP v3.4 §4.3, as for one we do not know.
        session.respondHeader(command.generic_nack, status.ESME_RINVCMDID, sequence)
    }
  }

  private bind(id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    const pdu = decodePdu(buf, start, end)
    if (!pdu.ok) {
      this.refuse(id, sequence, pdu.status, 'malformed')
      return
    }
    if (
      pdu.command !== command.bind_transceiver &&
      pdu.command !== command.bind_transmitter &&
      pdu.command !== command.bind_receiver
    )
      return
    const { host } = this
    const { system_id, password, interface_version } = pdu.fields
    this.systemId = system_id
    if (host.stopping) {
      this.refuse(id, sequence, status.ESME_RSYSERR, 'stopping')
      return
    }
    const admitted = host.admission.judge(system_id, password, host.binds)
    if (!admitted.ok) {
      this.refuse(id, sequence, admitted.status, admitted.why)
      return
    }
    const { account } = admitted
    this.account = account
    this.accountId = account.id
    this.interfaceVersion = interface_version
    let tlvs = EMPTY
    // sc_interface_version is for peers that know TLVs (SMPP v3.4 §4.1.2).
    if (interface_version >= 0x34) {
      tlvs = Buffer.allocUnsafe(5)
      writeTlvUint(tlvs, 0, tlv.sc_interface_version, 0x34, 1)
    }
    const fields = { system_id: host.systemId }
    this.session.acceptBind(encodePdu(bindResp(pdu.command), status.ESME_ROK, sequence, fields, tlvs))
    host.binds.join(this, account.id)
    host.bound(this)
    if (this.receives) host.room(account.id)
  }

  private refuse(id: number, sequence: number, code: number, why: string): void {
    this.session.respondHeader(responseTo(id), code, sequence)
    this.host.refused(this, `${why} (${statusName(code)})`)
  }

  private submit(sequence: number, buf: Buffer, start: number, end: number): void {
    const { session, host } = this
    const m = new Message()
    let code = readSm(buf, start, end, sm)
    if (code === 0) code = fillMessage(sm, m, host.clock.now())
    if (code === 0) {
      // Asked for each time: a suspension or a new limit is a new object in the directory.
      const account = host.account(this.accountId) ?? this.account
      const fault = host.door.submit(m, account as Account)
      if (fault !== undefined) code = statusOf(fault)
    }
    if (code !== 0) {
      session.respondHeader(command.submit_sm_resp, code, sequence)
      return
    }
    this.submitted++
    const { spool } = host.door
    if (this.gathering !== spool.gathering) {
      this.gathering = spool.gathering
      this.list = []
      this.unsynced.push(this.list)
      spool.afterSync(this.answer)
    }
    this.list.push(sequence, m.id)
    if (session.owed >= host.peerWindow) session.pause()
  }

  /** The oldest list is on disk: its submit_sm are answered. */
  private readonly answer = (): void => {
    const list = this.unsynced.shift() as number[]
    const { session } = this
    if (session.state === 'closed') return
    for (let i = 0; i < list.length; i += 2) {
      const buf = session.reserve(17 + ID_DIGITS)
      session.commit(writeIdResp(buf, session.offset, list[i] as number, list[i + 1] as number))
    }
    if (!session.reading && session.owed < this.host.peerWindow / 2) session.resume()
  }

  /** Sends a report as deliver_sm; the caller has seen that there is room. */
  deliver(report: Report): void {
    const { session } = this
    const fields = deliverSm(report, this.interfaceVersion >= 0x34)
    const sequence = session.nextSequence()
    const buf = session.reserve(smSize(fields))
    const at = session.offset
    const end = writeSm(buf, at, command.deliver_sm, sequence, fields)
    session.commit(end)
    session.sent(sequence, report, end - at)
    this.delivered++
  }

  response(_session: Session<Report>, report: Report, _id: number, code: number): void {
    this.host.answered(report, code)
  }

  expired(_session: Session<Report>, report: Report): void {
    this.host.answered(report, undefined)
  }

  late(): void {
    // The report was given back when its time was up; it has been or will be sent again.
  }

  turn(): void {
    if (this.receives) this.host.room(this.accountId)
  }

  room(): void {
    this.host.room(this.accountId)
  }

  closed(_session: Session<Report>, reason: CloseReason, unanswered: Report[]): void {
    const { host } = this
    if (this.accountId !== 0) host.binds.leave(this, this.accountId)
    this.gone()
    host.closed(this, reason)
    for (let i = unanswered.length - 1; i >= 0; i--) host.answered(unanswered[i] as Report, undefined)
    // Another bind of the account may take them now.
    if (unanswered.length > 0) host.room(this.accountId)
  }

  onFault(_session: Session<Report>, error: unknown): void {
    this.host.fault(error)
  }
}

const bindResp = (
  id: typeof command.bind_transceiver | typeof command.bind_transmitter | typeof command.bind_receiver,
) =>
  id === command.bind_transceiver
    ? command.bind_transceiver_resp
    : id === command.bind_transmitter
      ? command.bind_transmitter_resp
      : command.bind_receiver_resp

/** A submit_sm_resp with one of our ids: always 16 digits, written without making a string. */
function writeIdResp(buf: Buffer, off: number, sequence: number, id: number): number {
  writeHeader(buf, off, 17 + ID_DIGITS, command.submit_sm_resp, 0, sequence)
  const high = Math.floor(id / 1e8)
  let at = off + 16 + ID_DIGITS
  buf[at--] = 0
  let rest = id - high * 1e8
  for (let i = 0; i < 8; i++) {
    buf[at--] = 48 + (rest % 10)
    rest = (rest / 10) | 0
  }
  rest = high
  for (let i = 0; i < 8; i++) {
    buf[at--] = 48 + (rest % 10)
    rest = (rest / 10) | 0
  }
  return off + 17 + ID_DIGITS
}
