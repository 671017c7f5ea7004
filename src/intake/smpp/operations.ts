// What an ESME asks besides submit_sm: data_sm, and query, cancel and replace of what it has submitted. All act on the
// spool, and are answered when what they did is durable. Knows whose message is whose and the words of the standard; the
// connection is the Bind's, submit_multi and transaction mode have files of their own.

import { command, responseTo } from '../../../protocols/smpp/commands.js'
import { decodePdu, encodePdu, type PduFields } from '../../../protocols/smpp/pdu.js'
import type { Session } from '../../../protocols/smpp/session.js'
import { readSm, Sm } from '../../../protocols/smpp/sm.js'
import { status } from '../../../protocols/smpp/status.js'
import { formatAbsolute } from '../../../protocols/smpp/time.js'
import { checkTlvLengths, findTlv, tlv, tlvUint, withoutTlvs } from '../../../protocols/smpp/tlv.js'
import type { Account } from '../../accounts/account.js'
import type { Clock } from '../../base/clock.js'
import type { Counters } from '../../base/figures.js'
import { type IdForm, idOf, idsOfAlias, idText } from '../../base/ids.js'
import { Message, type MessageState, state } from '../../model/message.js'
import type { Report } from '../../spool/contract.js'
import { creditPending, type Door } from '../submit.js'
import { FAR_MS, fillMessage } from './fields.js'
import { cancelAll } from './operationsCancel.js'
import { MultiSubmits } from './operationsMulti.js'
import { Transactions } from './operationsTransaction.js'
import { statusOf } from './status.js'
import { Turns } from './turns.js'

/** A message that has ended, as history has it. */
export interface EndedMessage {
  readonly account: number
  readonly source: string
  readonly state: MessageState
  /** The carrier's or our code for the failure, '' when none. */
  readonly error: string
  readonly doneMs: number
}

/** Whoever asks: a bind. */
export interface Asker {
  readonly session: Session<Report>
  readonly accountId: number
  readonly interfaceVersion: number
  /** How it knows messages: by its version of SMPP and by what its account wants. */
  readonly idForm: IdForm
  /** The account as the directory has it now. */
  readonly account: Account
  /** Something of its waits for credit: what comes now must {@link awaitCredit} too. */
  readonly awaitsCredit: boolean
  /**
   * Calls `again` in its turn once there is an answer whether the account has credit, until it says true: it is answered.
   * Of the last time it must be.
   */
  awaitCredit(again: (isLast: boolean) => boolean): void
  /** It has submitted this one. */
  took(m: Message): void
  /** Messages in transaction mode that are not answered yet. */
  transactions: number
  /** Answers by a header alone; nothing when the connection is gone. */
  answerStatus(id: number, code: number, sequence: number): void
  /** Answers by a whole PDU; nothing when the connection is gone. */
  answerPdu(pdu: Buffer): void
}

export interface OperationsHost {
  readonly door: Door
  readonly clock: Clock
  readonly counters: Counters
  /** This node's number: part of the ids it gives. */
  readonly node: number
  /** How far back an alias of v3.3 may reach: as long as history is kept. */
  readonly aliasMs: number
  /** Requests of a peer held unanswered before its socket is not read. */
  readonly peerWindow: number
  /** A message in history that ended; undefined when there is none such. Throws while nobody can say. */
  ended(id: number): Promise<EndedMessage | undefined>
  fault(error: unknown): void
}

type SubmitResp = typeof command.submit_sm_resp | typeof command.data_sm_resp

/** What a submit_sm may carry to a carrier. */
const MAX_ADDRESS = 20
const MODE = 0x03
const TRANSACTION = 0x02
const UDHI = 0x40
const V50 = 0x50
/** Messages in a slice of the spool's. */
const SPOOL_SLICE = 100

// One for all: a PDU is read, judged and copied into a Message before the next.
const sm = new Sm()

export class Operations {
  readonly host: OperationsHost
  readonly transactions: Transactions
  private readonly turns: Turns
  private readonly multi: MultiSubmits
  /** The mass cancel of each account that goes on: the next one waits for it. */
  private readonly masses = new Map<number, Promise<void>>()

  constructor(host: OperationsHost) {
    this.host = host
    this.transactions = new Transactions(host.door.spool, host.clock)
    this.turns = new Turns(() => host.door.spool.synced())
    this.multi = new MultiSubmits(host, this.turns)
  }

  /** A request that the session has let through. */
  request(asker: Asker, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    if (id === command.data_sm) {
      this.data(asker, sequence, buf, start, end)
      return
    }
    const pdu = decodePdu(buf, start, end)
    if (!pdu.ok) {
      asker.answerStatus(responseTo(id), pdu.status, sequence)
      return
    }
    switch (pdu.command) {
      case command.query_sm:
        this.async(asker, id, sequence, this.query(asker, sequence, pdu.fields))
        break
      case command.cancel_sm:
        this.async(asker, id, sequence, this.cancel(asker, sequence, pdu.fields))
        break
      case command.replace_sm:
        this.async(asker, id, sequence, this.replace(asker, sequence, pdu.fields, pdu.tlvs))
        break
      case command.submit_multi:
        this.async(asker, id, sequence, this.multi.submit(asker, sequence, pdu.fields, pdu.tlvs))
        break
      default:
        // A PDU of the standard that this service does not offer: SMPP v3.4 §4.3, as for one we do not know.
        asker.answerStatus(command.generic_nack, status.ESME_RINVCMDID, sequence)
    }
  }

  private async(asker: Asker, id: number, sequence: number, work: Promise<void>): void {
    work.catch(error => {
      // The spool's own failure ends the process; whatever else it is, the peer is owed an answer.
      asker.answerStatus(responseTo(id), status.ESME_RSYSERR, sequence)
      this.host.fault(error)
    })
  }

  /** The connection is gone. */
  gone(asker: Asker): void {
    if (asker.transactions > 0) this.transactions.forget(asker)
  }

  // -- data_sm ---------------------------------------------------------------

  /** SMPP v3.4 §4.7: a submit_sm by another name, its text in message_payload. */
  private data(asker: Asker, sequence: number, buf: Buffer, start: number, end: number): void {
    const { account, interfaceVersion } = asker
    const m = new Message()
    const now = this.host.clock.now()
    let code = readSm(buf, start, end, sm)
    if (code === 0) code = checkTlvLengths(sm.tlvs)
    if (code === 0 && findTlv(sm.tlvs, 0, sm.tlvs.length, tlv.message_payload) < 0) code = status.ESME_RMISSINGTLV
    // Longer ones are data_sm's own, and no carrier takes them in a submit_sm.
    if (code === 0 && sm.source_addr.length > MAX_ADDRESS) code = status.ESME_RINVSRCADR
    if (code === 0 && sm.destination_addr.length > MAX_ADDRESS) code = status.ESME_RINVDSTADR
    if (code === 0) code = fillMessage(sm, m, now, account.smpp, interfaceVersion)
    if (code !== 0) {
      asker.answerStatus(command.data_sm_resp, code, sequence)
      return
    }
    if (!takeTimeToLive(m, now)) {
      asker.answerStatus(command.data_sm_resp, status.ESME_RINVEXPIRY, sequence)
      return
    }
    if ((m.esm_class & MODE) === TRANSACTION) {
      this.transact(asker, command.data_sm_resp, sequence, m)
      return
    }
    this.take(asker, command.data_sm_resp, sequence, m, () => {
      const fields = { message_id: idText(m.id, asker.idForm) }
      this.host.door.spool.afterSync(() => asker.answerPdu(encodePdu(command.data_sm_resp, 0, sequence, fields)))
    })
  }

  /** Submits it, in its turn where something waits for credit; `taken` answers, a refusal is answered with `id`. */
  private take(asker: Asker, id: SubmitResp, sequence: number, m: Message, taken: () => void): void {
    const again = (isLast: boolean): boolean => {
      const fault = this.host.door.submit(m, asker.account)
      if (fault === creditPending && !isLast) return false
      if (fault !== undefined) asker.answerStatus(id, statusOf(fault, asker.interfaceVersion), sequence)
      else {
        asker.took(m)
        taken()
      }
      return true
    }
    if (asker.awaitsCredit || !again(false)) asker.awaitCredit(again)
  }

  /** A message that is answered when it has ended; `id` is that of the response. */
  transact(asker: Asker, id: SubmitResp, sequence: number, m: Message): void {
    // Each is an answer we owe, and whoever is owed a whole window is not read.
    if (asker.transactions >= this.host.peerWindow / 4) {
      asker.answerStatus(id, status.ESME_RTHROTTLED, sequence)
      return
    }
    if (m.scheduleMs > 0) {
      asker.answerStatus(id, status.ESME_RINVSCHED, sequence)
      return
    }
    this.transactions.prepare(m)
    this.take(asker, id, sequence, m, () => this.transactions.wait(asker, id, sequence, m))
  }

  // -- query, cancel, replace ------------------------------------------------

  /** The ids that a peer may mean by what it wrote, likeliest first. */
  private idsOf(asker: Asker, text: string): number[] {
    const { node, clock, aliasMs } = this.host
    const aliased = asker.idForm === 'alias' ? idsOfAlias(text, node, clock.now(), aliasMs) : []
    if (aliased.length > 0) return aliased
    const id = idOf(text)
    return id > 0 ? [id] : []
  }

  /**
   * The account's living messages that `text` names: one, or all of a submit_multi, a slice at a time. The source address
   * must be the one that they were submitted with, NULL for NULL (SMPP v3.4 §4.8.1): none are found otherwise.
   */
  private async *living(asker: Asker, ids: readonly number[], source: string): AsyncGenerator<Message[]> {
    const { spool } = this.host.door
    const own = (m: Message): boolean => m.account === asker.accountId && m.source_addr === source
    const turn = (): Promise<void> => this.turns.take(SPOOL_SLICE)
    for (const id of ids) {
      const m = spool.find(id)
      if (m && m.multiId !== id) {
        if (!own(m)) continue
        yield [m]
        return
      }
      let isFound = false
      for await (const slice of spool.multi(id, turn)) {
        const found = slice.filter(own)
        if (found.length === 0) continue
        isFound = true
        yield found
      }
      if (isFound) return
    }
  }

  /** Of those that have ended. Throws while history cannot say. */
  private async ended(asker: Asker, ids: readonly number[], source: string): Promise<EndedMessage | undefined> {
    const found = await Promise.all(ids.map(id => this.host.ended(id)))
    return found.find(m => m?.account === asker.accountId && m.source === source)
  }

  /** True when it has ended, or when nobody can say: then it is at least not waiting. */
  private hasEnded(asker: Asker, ids: readonly number[], source: string): Promise<boolean> {
    return this.ended(asker, ids, source).then(
      m => m !== undefined,
      () => true,
    )
  }

  private async query(
    asker: Asker,
    sequence: number,
    { message_id, source_addr }: PduFields[typeof command.query_sm],
  ): Promise<void> {
    const ids = this.idsOf(asker, message_id)
    const message_state = await this.stateOf(this.living(asker, ids, source_addr), asker.interfaceVersion)
    let answer: Partial<PduFields[typeof command.query_sm_resp]>
    if (message_state !== undefined) answer = { message_state }
    else {
      let m: EndedMessage | undefined
      try {
        m = await this.ended(asker, ids, source_addr)
      } catch {
        asker.answerStatus(command.query_sm_resp, status.ESME_RQUERYFAIL, sequence)
        return
      }
      if (m === undefined) {
        asker.answerStatus(command.query_sm_resp, status.ESME_RINVMSGID, sequence)
        return
      }
      answer = { message_state: m.state, final_date: formatAbsolute(m.doneMs), error_code: octetOf(m.error) }
    }
    asker.answerPdu(encodePdu(command.query_sm_resp, 0, sequence, { message_id, ...answer }))
  }

  /**
   * Of several, of the one that has come least far; undefined when there is none. What a carrier has is on its way too.
   * SCHEDULED is v5.0's (§4.7.15).
   */
  private async stateOf(slices: AsyncIterable<Message[]>, version: number): Promise<MessageState | undefined> {
    const now = this.host.clock.now()
    let found: MessageState | undefined
    for await (const slice of slices) {
      if (version < V50) return state.ENROUTE
      if (slice.some(m => m.standing === 'waiting' && m.scheduleMs > now)) return state.SCHEDULED
      found = state.ENROUTE
    }
    return found
  }

  private async cancel(asker: Asker, sequence: number, fields: PduFields[typeof command.cancel_sm]): Promise<void> {
    const { spool } = this.host.door
    const { message_id, source_addr, destination_addr } = fields
    if (message_id === '') {
      await this.cancelMany(asker, sequence, fields)
      return
    }
    const ids = this.idsOf(asker, message_id)
    let isThere = false
    let isMeant = false
    let count = 0
    for await (const slice of this.living(asker, ids, source_addr)) {
      isThere = true
      for (const m of slice) {
        if (destination_addr !== '' && m.destination_addr !== destination_addr) continue
        isMeant = true
        if (!spool.exhausted && spool.cancel(m.id)) count++
      }
    }
    let code: number = status.ESME_RCANCELFAIL
    if (isMeant) {
      if (count > 0) code = 0
      this.host.counters.add('messages_cancelled', count)
    } else if (isThere || !(await this.hasEnded(asker, ids, source_addr))) code = status.ESME_RINVMSGID
    if (code === 0) await spool.synced()
    asker.answerStatus(command.cancel_sm_resp, code, sequence)
  }

  /** SMPP v3.4 §4.9.1: without an id, all that wait with these addresses and, if given, this service_type. */
  private async cancelMany(
    asker: Asker,
    sequence: number,
    { service_type, source_addr, destination_addr }: PduFields[typeof command.cancel_sm],
  ): Promise<void> {
    if (destination_addr === '') {
      asker.answerStatus(command.cancel_sm_resp, status.ESME_RINVDSTADR, sequence)
      return
    }
    const { accountId } = asker
    const { spool } = this.host.door
    const before = this.masses.get(accountId) ?? Promise.resolve()
    const mass = before.then(() => cancelAll(spool, accountId, service_type, source_addr, destination_addr))
    const over = mass.then(
      () => {},
      () => {},
    )
    this.masses.set(accountId, over)
    try {
      const count = await mass
      this.host.counters.add('messages_cancelled', count)
      asker.answerStatus(command.cancel_sm_resp, count > 0 ? 0 : status.ESME_RCANCELFAIL, sequence)
    } finally {
      if (this.masses.get(accountId) === over) this.masses.delete(accountId)
    }
  }

  private async replace(
    asker: Asker,
    sequence: number,
    fields: PduFields[typeof command.replace_sm],
    tlvs: Buffer,
  ): Promise<void> {
    const { account, interfaceVersion } = asker
    const { door, clock } = this.host
    const ids = this.idsOf(asker, fields.message_id)
    let code: number = status.ESME_RREPLACEFAIL
    let isThere = false
    all: for await (const slice of this.living(asker, ids, fields.source_addr)) {
      isThere = true
      for (const m of slice) {
        const by = new Message()
        const wrong = fillMessage(replacing(m, fields, tlvs), by, clock.now(), account.smpp, interfaceVersion)
        if (wrong !== 0) {
          code = wrong
          break all
        }
        const fault = door.replace(m, by, fields.schedule_delivery_time === '', account.smpp)
        if (fault === undefined) {
          code = 0
          this.host.counters.add('messages_replaced')
        } else if (code !== 0) code = statusOf(fault, interfaceVersion)
      }
    }
    if (!isThere && !(await this.hasEnded(asker, ids, fields.source_addr))) code = status.ESME_RINVMSGID
    if (code === 0) await door.spool.synced()
    asker.answerStatus(command.replace_sm_resp, code, sequence)
  }
}

/** What a replace_sm makes of a message, as a submission that is judged like any other. */
function replacing(m: Message, fields: PduFields[typeof command.replace_sm], tlvs: Buffer): Sm {
  const one = new Sm()
  one.service_type = m.service_type
  one.source_addr = m.source_addr
  one.destination_addr = m.destination_addr
  // A text without a header of its own cannot follow one that had it.
  one.esm_class = m.esm_class & UDHI
  one.data_coding = m.data_coding
  one.schedule_delivery_time = fields.schedule_delivery_time
  one.validity_period = fields.validity_period
  one.registered_delivery = fields.registered_delivery
  one.sm_default_msg_id = fields.sm_default_msg_id
  one.short_message = fields.short_message
  one.tlvs = tlvs
  return one
}

/**
 * v3.4 §5.3.2.61 qos_time_to_live: data_sm has no validity_period, but seconds to live in a TLV. No submit_sm has it.
 * False: longer than any validity may be.
 */
function takeTimeToLive(m: Message, now: number): boolean {
  const at = m.tlvs.length > 0 ? findTlv(m.tlvs, 0, m.tlvs.length, tlv.qos_time_to_live) : -1
  if (at < 0) return true
  const seconds = tlvUint(m.tlvs, at)
  m.tlvs = withoutTlvs(m.tlvs, [tlv.qos_time_to_live])
  if (seconds <= 0) return true
  m.validUntilMs = now + seconds * 1000
  m.validityGiven = true
  return seconds * 1000 <= FAR_MS
}

/** error_code has one octet: a network's code that is larger, or no number, has no place in it. */
function octetOf(error: string): number {
  const code = /^\d{1,3}$/.test(error) ? Number(error) : 0
  return code <= 255 ? code : 0
}
