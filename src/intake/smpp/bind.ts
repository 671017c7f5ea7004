// One ESME's connection: its bind, its submit_sm on their way to submit(), and the
// deliver_sm that we send it. Answers a submit_sm once the spool has synced and not
// before. Knows one session; which accounts, limits and routes there are, others know.

import type { Origin } from '../../../protocols/net/listener.js'
import { command, responseTo } from '../../../protocols/smpp/commands.js'
import { decodePdu, encodePdu } from '../../../protocols/smpp/pdu.js'
import type { CloseReason, Session, SessionOwner } from '../../../protocols/smpp/session.js'
import { readSm, Sm, smSize, writeHeader, writeSm } from '../../../protocols/smpp/sm.js'
import { status } from '../../../protocols/smpp/status.js'
import { tlv, writeTlvUint } from '../../../protocols/smpp/tlv.js'
import type { Account } from '../../accounts/account.js'
import type { SmppProfile } from '../../accounts/smppProfile.js'
import type { Clock } from '../../base/clock.js'
import { type IdForm, idText } from '../../base/ids.js'
import type { Log } from '../../base/log.js'
import { EMPTY, Message } from '../../model/message.js'
import type { Report } from '../../spool/contract.js'
import { creditPending, type Door } from '../submit.js'
import type { Admission } from './admission.js'
import type { Binds } from './binds.js'
import type { Congestion } from './congestion.js'
import { deliverSm } from './deliver.js'
import { fillMessage } from './fields.js'
import type { Asker, Operations } from './operations.js'
import { Sent } from './sent.js'
import { statusOf } from './status.js'
import { SLICE } from './turns.js'

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
  readonly operations: Operations
  /** null: nobody is told how busy we are. */
  readonly congestion: Congestion | null
  account(id: number): Account | undefined
  /** No new binds: the service is stopping. */
  readonly stopping: boolean
  /** A refused bind, for counters: the reason is one of few words. */
  refused(bind: Bind, why: string, code: number): void
  bound(bind: Bind): void
  closed(bind: Bind, reason: CloseReason): void
  /** The account's binds have room for reports. */
  room(account: number): void
  /** The ESME answered a deliver_sm, with a generic_nack or properly, or will not (status undefined). */
  answered(bind: Bind, report: Report, status: number | undefined, isNack: boolean): void
  /** The connection is gone, and deliver_sm were unanswered; the oldest comes first. */
  lost(bind: Bind, unanswered: readonly Report[], reason: CloseReason): void
  fault(error: unknown): void
}

// One for all binds: a PDU is read, judged and copied into a Message before the next.
const sm = new Sm()
const ID_DIGITS = 16
/** TLVs came with v3.4, congestion_state with v5.0. */
const V34 = 0x34
const V50 = 0x50
const CONGESTION_OCTETS = 5
/** esm_class, SMPP v3.4 §5.2.12: its message mode, of which transaction asks for an answer at the message's end. */
const MODE = 0x03
const TRANSACTION = 0x02
/** registered_delivery, §5.2.17: any receipt or intermediate notification is asked for. */
const REPORTED = 0x13

/** Submits once more. False: it must wait on; of a `last` time it is answered in any case. */
type Unpaid = (isLast: boolean) => boolean

export class Bind implements SessionOwner<Report>, Asker {
  session!: Session<Report>
  systemId = ''
  accountId = 0
  interfaceVersion = 0
  idForm: IdForm = 'decimal'
  readonly sinceMs: number
  readonly origin: Origin
  submitted = 0
  delivered = 0
  /** Its messages, where the account wants their receipts here; null where it does not. */
  sent: Sent | null = null
  transactions = 0
  private readonly host: BindHost
  /** What was accepted and waits for the sync: sequence and id in turn, one list per commit, oldest first. */
  private readonly unsynced: number[][] = []
  private gathering = 0
  private list: number[] = []
  private boundAs: Account | undefined
  /** What waits for the account's credit, oldest first, of whatever command; null: nothing does. */
  private unpaid: Unpaid[] | null = null

  private gone: () => void = () => {}
  /** The answer to a failed bind, while it waits. */
  private delayed: NodeJS.Timeout | undefined

  constructor(host: BindHost, origin: Origin) {
    this.host = host
    this.origin = origin
    this.sinceMs = host.clock.now()
  }

  /** Called once, when the connection is gone. */
  onGone(then: () => void): void {
    this.gone = then
  }

  /** Asked for each time: a suspension or a new limit is a new object in the directory. */
  get account(): Account {
    return (this.host.account(this.accountId) ?? this.boundAs) as Account
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
        this.host.operations.request(this, id, sequence, buf, start, end)
        if (session.owed >= this.host.peerWindow) session.pause()
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
    const admitted = host.admission.judge(system_id, password, this.origin.address, host.binds)
    if (!admitted.ok) {
      this.refuse(id, sequence, admitted.status, admitted.why, admitted.delayMs)
      return
    }
    const { account } = admitted
    this.boundAs = account
    this.accountId = account.id
    this.interfaceVersion = interface_version
    this.idForm = interface_version < V34 ? 'alias' : account.smpp.ids
    let tlvs = EMPTY
    // sc_interface_version is for peers that know TLVs (SMPP v3.4 §4.1.2).
    if (interface_version >= V34) {
      tlvs = Buffer.allocUnsafe(5)
      writeTlvUint(tlvs, 0, tlv.sc_interface_version, interface_version >= V50 ? V50 : V34, 1)
    }
    const fields = { system_id: host.systemId }
    this.session.acceptBind(encodePdu(bindResp(pdu.command), status.ESME_ROK, sequence, fields, tlvs))
    host.binds.join(this, account.id)
    host.bound(this)
    if (this.receives) host.room(account.id)
  }

  /** Until it is answered, another bind on this connection is ESME_RALYBND; the session-init timer goes on. */
  private refuse(id: number, sequence: number, code: number, why: string, delayMs = 0): void {
    const answer = (): void => this.session.respondHeader(responseTo(id), code, sequence)
    if (delayMs === 0) answer()
    else this.delayed = setTimeout(answer, delayMs)
    this.host.refused(this, why, code)
  }

  private submit(sequence: number, buf: Buffer, start: number, end: number): void {
    const { session, host } = this
    const m = new Message()
    let code = readSm(buf, start, end, sm)
    const { account } = this
    if (code === 0) code = fillMessage(sm, m, host.clock.now(), account.smpp, this.interfaceVersion)
    if (code === 0 && (m.esm_class & MODE) === TRANSACTION) {
      // Two would wait for the end of one message.
      if (sm.replace_if_present_flag !== 0) {
        session.respondHeader(command.submit_sm_resp, status.ESME_RINVREPFLAG, sequence)
        return
      }
      host.operations.transact(this, command.submit_sm_resp, sequence, m)
      return
    }
    if (code === 0) {
      const replace = sm.replace_if_present_flag !== 0
      const fault = this.awaitsCredit ? creditPending : host.door.submit(m, account, replace)
      if (fault === creditPending) {
        this.awaitCredit(isLast => this.submitAgain(sequence, m, replace, isLast))
        return
      }
      if (fault !== undefined) code = statusOf(fault, this.interfaceVersion)
    }
    if (code !== 0) {
      session.respondHeader(command.submit_sm_resp, code, sequence)
      return
    }
    this.accepted(sequence, m, account)
  }

  /** What came before waits for credit: nothing goes first. */
  get awaitsCredit(): boolean {
    return this.unpaid !== null
  }

  /** Whether there is credit for it is being found out: meanwhile it counts as unanswered, of which so many are read. */
  awaitCredit(again: Unpaid): void {
    const { session, host } = this
    if (this.unpaid === null) {
      this.unpaid = []
      this.askCredit()
    }
    this.unpaid.push(again)
    if (session.owed >= host.peerWindow) session.pause()
  }

  private askCredit(): void {
    this.host.door
      .creditKnown(this.account)
      .then(isKnown => this.submitUnpaid(isKnown))
      .catch(error => this.host.fault(error))
  }

  private submitUnpaid(isKnown: boolean): void {
    const unpaid = this.unpaid as Unpaid[]
    if (this.session.state === 'closed') return
    for (const [i, again] of unpaid.entries()) {
      if (i === SLICE) {
        this.unpaid = unpaid.slice(i)
        setImmediate(() => this.submitUnpaid(isKnown))
        return
      }
      if (!again(!isKnown)) {
        this.unpaid = unpaid.slice(i)
        this.askCredit()
        return
      }
    }
    this.unpaid = null
    this.readAgain()
  }

  private submitAgain(sequence: number, m: Message, replace: boolean, isLast: boolean): boolean {
    const { account, host, session } = this
    const fault = host.door.submit(m, account, replace)
    if (fault === creditPending && !isLast) return false
    if (fault === undefined) this.accepted(sequence, m, account)
    else session.respondHeader(command.submit_sm_resp, statusOf(fault, this.interfaceVersion), sequence)
    return true
  }

  private accepted(sequence: number, m: Message, account: Account): void {
    const { session, host } = this
    this.submitted++
    const { spool } = host.door
    if (this.gathering !== spool.gathering) {
      this.gathering = spool.gathering
      this.list = []
      this.unsynced.push(this.list)
      spool.afterSync(this.answer)
    }
    this.list.push(sequence, m.id)
    if (account.smpp.receipts.to === 'sender') this.remember(m, m.id)
    if (session.owed >= host.peerWindow) session.pause()
  }

  took(m: Message): void {
    this.submitted++
    // A receipt carries the id that was answered.
    if (this.account.smpp.receipts.to === 'sender') this.remember(m, m.multiId || m.id)
  }

  private remember(m: Message, id: number): void {
    if ((m.registered_delivery & REPORTED) === 0) return
    this.sent ??= new Sent()
    this.sent.add(id)
  }

  /** The oldest list is on disk: its submit_sm are answered. */
  private readonly answer = (): void => {
    const list = this.unsynced.shift() as number[]
    const { session } = this
    if (session.state === 'closed') return
    if (this.idForm !== 'decimal' || this.tellsCongestion) this.answerOtherwise(list)
    else {
      for (let i = 0; i < list.length; i += 2) {
        const buf = session.reserve(17 + ID_DIGITS)
        session.commit(writeIdResp(buf, session.offset, list[i] as number, list[i + 1] as number))
      }
    }
    this.readAgain()
  }

  /** The same with ids of another form, or with more than an id. */
  private answerOtherwise(list: readonly number[]): void {
    for (let i = 0; i < list.length; i += 2) {
      const fields = { message_id: idText(list[i + 1] as number, this.idForm) }
      this.write(encodePdu(command.submit_sm_resp, 0, list[i] as number, fields))
    }
  }

  private get tellsCongestion(): boolean {
    return this.host.congestion !== null && this.interfaceVersion >= V50
  }

  /** Writes an answer's PDU; peers of v5.0 are told congestion_state with it where the settings say so. */
  private write(pdu: Buffer): void {
    const { session } = this
    const { congestion } = this.host
    const room = session.reserve(pdu.length + CONGESTION_OCTETS)
    const start = session.offset
    let end = start + pdu.copy(room, start)
    if (congestion !== null && this.interfaceVersion >= V50) {
      end = writeTlvUint(room, end, tlv.congestion_state, congestion.of(this.account), 1)
      room.writeUInt32BE(end - start, start)
    }
    session.commit(end)
  }

  private readAgain(): void {
    const { session } = this
    if (!session.reading && session.owed < this.host.peerWindow / 2) session.resume()
  }

  answerStatus(id: number, code: number, sequence: number): void {
    if (this.session.state === 'closed') return
    this.session.respondHeader(id, code, sequence)
    this.readAgain()
  }

  answerPdu(pdu: Buffer): void {
    const { session } = this
    if (session.state === 'closed') return
    this.write(pdu)
    this.readAgain()
  }

  /** Sends a report as deliver_sm, a reply as `reply`; the caller has seen that there is room. */
  deliver(report: Report, form: SmppProfile['receipts'], reply = report.reply): void {
    const { session } = this
    const fields = deliverSm(report, this.interfaceVersion, this.idForm, form, reply)
    const sequence = session.nextSequence()
    const buf = session.reserve(smSize(fields))
    const at = session.offset
    const end = writeSm(buf, at, command.deliver_sm, sequence, fields)
    session.commit(end)
    session.sent(sequence, report, end - at)
    this.delivered++
  }

  response(_session: Session<Report>, report: Report, id: number, code: number): void {
    if (this.sent !== null && code === 0 && id !== command.generic_nack) this.forget(this.sent, report)
    this.host.answered(this, report, code, id === command.generic_nack)
  }

  /** Parts that report each for itself come in any order: none of them is known to be the last. */
  private forget(sent: Sent, { receipt }: Report): void {
    if (receipt && !(receipt.more && (receipt.more.notice || receipt.more.part !== 0))) sent.forget(receipt.id)
  }

  expired(_session: Session<Report>, report: Report): void {
    this.host.answered(this, report, undefined, false)
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
    clearTimeout(this.delayed)
    this.gone()
    host.operations.gone(this)
    host.closed(this, reason)
    if (unanswered.length > 0) host.lost(this, unanswered, reason)
    // Another bind of the account may take them now.
    if (this.accountId !== 0) host.room(this.accountId)
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
