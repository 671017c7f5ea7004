// What a carrier sends over one link: receipts and messages from phones, handed over and answered once they are on disk.
// Knows one connection's deliver_sm and data_sm; what becomes of them, and whose they are, others decide.

import { command, responseTo } from '../../protocols/smpp/commands.js'
import type { Session } from '../../protocols/smpp/session.js'
import { readSm, Sm, writeSmResp } from '../../protocols/smpp/sm.js'
import { status } from '../../protocols/smpp/status.js'
import type { Clock } from '../base/clock.js'
import type { Log } from '../base/log.js'
import { Quiet } from '../base/quiet.js'
import { EMPTY } from '../model/message.js'
import type { DriverEvents, Part } from './driver.js'
import { type InboundRules, readReceipt, readReply, replyFault } from './inbound.js'
import type { OutboundRules } from './outbound.js'

/** What a stored reply has room for. */
const MAX_REPLY_TLVS = 0xffff
/** Of a deliver_sm_resp with an empty message_id. */
const RESP_OCTETS = 17

const sm = new Sm()

export type ArrivalRules = InboundRules & Pick<OutboundRules, 'rewrite'>

export interface ArrivalsHost {
  readonly carrier: number
  readonly name: string
  readonly events: DriverEvents
  readonly clock: Clock
  readonly log: Log
}

export class Arrivals {
  count = 0
  rules: ArrivalRules
  private readonly host: ArrivalsHost
  /** Lines about what the carrier does wrong: one of a kind a minute. */
  private readonly quiet: Quiet
  /** What waits for the sync: response command and sequence in turn, one list per commit. */
  private readonly unsynced: number[][] = []
  private gathering = 0
  private list: number[] = []

  constructor(host: ArrivalsHost, rules: ArrivalRules) {
    this.host = host
    this.rules = rules
    this.quiet = new Quiet(1, Number.POSITIVE_INFINITY, host.clock.mono)
  }

  request(session: Session<Part | null>, id: number, sequence: number, buf: Buffer, start: number, end: number): void {
    if (id === command.deliver_sm || id === command.data_sm) {
      this.count++
      let code = readSm(buf, start, end, sm)
      if (code === 0) code = this.deliver()
      if (code === 0) this.acknowledge(session, responseTo(id), sequence)
      else session.respondHeader(responseTo(id), code, sequence)
    } else if (id === command.alert_notification || id === command.outbind) this.host.events.count('ignored_pdu')
    else session.respondHeader(command.generic_nack, status.ESME_RINVCMDID, sequence)
  }

  /** A receipt or a message from a phone; the command_status to refuse it with, 0: it will be stored. */
  private deliver(): number {
    const { events, clock, log, name, carrier } = this.host
    const receipt = readReceipt(sm, this.rules, clock.now())
    if (receipt === undefined) {
      const fault = replyFault(sm)
      if (fault !== 0) {
        events.count('reply_address_too_long')
        this.quiet.warn(log, 'address', { carrier: name }, 'reply with too long an address: refused')
        return fault
      }
      const reply = readReply(sm, carrier, this.rules.rewrite)
      if (reply.tlvs.length > MAX_REPLY_TLVS) {
        reply.tlvs = EMPTY
        events.count('reply_tlvs_dropped')
      }
      return events.reply(reply) ? 0 : status.ESME_RX_T_APPN
    }
    if (receipt !== null) return events.receipt(receipt) ? 0 : status.ESME_RX_T_APPN
    events.count('receipt_unreadable')
    const told = { carrier: name, octets: sm.short_message.length }
    this.quiet.warn(log, 'id', told, 'receipt without an id: dropped')
    return 0
  }

  /** Answers once what was just handed over is on disk. */
  private acknowledge(session: Session<Part | null>, id: number, sequence: number): void {
    const { events } = this.host
    const gathering = events.gathering()
    if (this.gathering !== gathering) {
      this.gathering = gathering
      this.list = []
      this.unsynced.push(this.list)
      events.afterSync(() => this.acknowledged(session))
    }
    this.list.push(id, sequence)
  }

  private acknowledged(session: Session<Part | null>): void {
    const list = this.unsynced.shift() as number[]
    // A lost link's receipts are stored, but their answers have nowhere to go: the carrier sends them again.
    if (session.state === 'closed') return
    for (let i = 0; i < list.length; i += 2) {
      const buf = session.reserve(RESP_OCTETS)
      session.commit(writeSmResp(buf, session.offset, list[i] as number, 0, list[i + 1] as number, ''))
    }
  }

  /** The connection is over: what another brings is not of the same commit's list. */
  closed(): void {
    this.gathering = 0
  }
}
