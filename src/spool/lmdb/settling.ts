// What becomes of a message that was handed out: cut into parts, sent, taken by a carrier, put off, reported, over. Ending
// one and telling of it is one commit. Knows outcomes and receipts; who carries, cuts or is told is others'.

import { assert } from '../../base/assert.js'
import type { Clock } from '../../base/clock.js'
import { isFinal, type Message, type MessageState, mark, state } from '../../model/message.js'
import type { Receipt } from '../../model/outcome.js'
import type { Ending, ReceiptMatch, Spool } from '../contract.js'
import type { Joins } from './joins.js'
import { RECENT } from './live.js'
import type { Log } from './log.js'
import type { Outbox } from './outbox.js'
import type { Parked } from './parked.js'
import type { Refs } from './refs.js'
import type { Standing } from './standing.js'
import type { Sweep } from './sweep.js'
import { tellEnd, tellNotice, tellPart } from './telling.js'

/** Characters of a part's err that are kept; the standard has three. */
const MAX_ERR = 16

export interface SettlingHost {
  readonly clock: Clock
  readonly standing: Standing
  readonly refs: Refs
  readonly outbox: Outbox
  readonly log: Log
  readonly parked: Parked
  readonly joins: Joins
  readonly sweep: Sweep
  /** Whose hooks are asked and told when a message ends: they may be replaced while it runs. */
  readonly spool: Pick<Spool, 'tells' | 'settles' | 'events'>
  /** Something changes with the next commit that is no record. */
  note(): void
}

export class Settling {
  private readonly host: SettlingHost
  private readonly standing: Standing

  constructor(host: SettlingHost) {
    this.host = host
    this.standing = host.standing
  }

  cut(m: Message, carrier: number, count: number, concatRef: number): void {
    m.carrier = carrier
    m.concatRef = concatRef
    m.parts = Array.from({ length: count }, () => ({
      ref: '',
      answered: false,
      unsure: false,
      state: state.ENROUTE,
      err: '',
    }))
  }

  private waiting(message: Message): Message | undefined {
    const m = this.standing.current(message)
    return m?.standing === 'waiting' ? m : undefined
  }

  sending(message: Message, part: number, carrier: number): void {
    const m = this.waiting(message)
    if (m === undefined) return
    this.standing.touch(m)
    m.carrier = carrier
    m.unsure = true
    const one = m.parts?.[part]
    if (one !== undefined) one.unsure = true
  }

  unsent(message: Message, part: number): void {
    const m = this.waiting(message)
    if (m === undefined) return
    this.standing.touch(m)
    if (m.parts === null) m.carrier = 0
    unmark(m, part)
  }

  unsure(message: Message): void {
    const m = this.waiting(message)
    if (m === undefined) return
    assert(m.unsure, 'what is unsure was marked before')
    this.standing.touch(m)
    this.standing.withdraw(m)
    this.standing.becomeSent(m)
  }

  accepted(message: Message, part: number, carrier: number, ref: string, awaitReceipt: boolean): void {
    const m = this.waiting(message)
    if (m === undefined) return
    const { clock, refs, parked, sweep } = this.host
    m.carrier = carrier
    if (m.unsure) unmark(m, part)
    let whole = true
    let named = ref !== ''
    if (m.parts) {
      const one = m.parts[part]
      assert(one !== undefined, 'an answer names a part of its message')
      one.answered = true
      one.ref = ref
      for (const other of m.parts) {
        if (!other.answered) whole = false
        if (other.ref !== '') named = true
      }
    } else m.ref = ref
    if (whole && (m.registered_delivery & 0x10 || m.joined !== null)) this.notice(m, state.ENROUTE, clock.now())
    if (whole && !(awaitReceipt && named)) {
      this.finish(m, { state: state.ACCEPTED, error: '', doneMs: clock.now() })
      return
    }
    this.standing.touch(m)
    if (whole) {
      this.standing.withdraw(m)
      this.standing.becomeSent(m)
    }
    if (awaitReceipt && ref !== '') {
      m.hold += RECENT
      refs.add(carrier, ref, m, sweep.lastMsOf('sent', m.validUntilMs))
      const early = parked.size > 0 ? parked.take(carrier, ref) : undefined
      if (early) {
        this.apply(m, early)
        return
      }
    }
    // The last part may have come without a name, when all the others have reported.
    if (whole && m.parts) this.endIfReported(m, clock.now())
  }

  defer(message: Message, dueMs: number): void {
    const m = this.waiting(message)
    if (m === undefined) return
    m.attempts = message.attempts
    this.standing.touch(m)
    this.standing.withdraw(m)
    this.standing.due.add(m, dueMs)
  }

  end(message: Message, ending: Ending): void {
    const m = this.standing.current(message)
    if (m) this.finish(m, ending)
  }

  /** @param sent the message in which its text went */
  finish(m: Message, ending: Ending, sent = m): void {
    if (m.standing === 'ended') return
    const { refs, spool, log, outbox, joins, clock } = this.host
    this.standing.becomeEnded(m)
    if (m.ref !== '') refs.remove(m.carrier, m.ref, m)
    if (m.parts) for (const part of m.parts) if (part.ref !== '') refs.remove(m.carrier, part.ref, m)
    const { priceMicros, costMicros } = spool.settles(m, ending, sent)
    const backMicros = m.priceMicros - priceMicros
    m.priceMicros = priceMicros
    const now = clock.now()
    log.ended(m, ending, backMicros, costMicros, now)
    tellEnd(outbox, m, ending, spool.tells(m, ending), now)
    spool.events.ended(m, ending)
    if (m.joined !== null) {
      joins.leave(m)
      for (const part of this.partsIn(m)) {
        part.carrier = m.carrier
        this.finish(part, ending, sent)
      }
    }
  }

  /** Messages whose text went in this one, which has not ended, or ends at this moment. */
  private partsIn(m: Message): Message[] {
    const parts: Message[] = []
    for (const id of m.joined?.ids ?? []) {
      const part = this.standing.live.message(id)
      if (part?.standing === 'sent' && part.joined?.of === m.id) parts.push(part)
    }
    return parts
  }

  /** It was not delivered in time, or its receipt did not come. */
  expire(m: Message, now: number): void {
    if (m.standing === 'sent') {
      this.finish(m, { state: state.UNKNOWN, error: m.unsure ? 'unsure' : 'no_receipt', doneMs: now })
    } else this.finish(m, { state: state.EXPIRED, error: '', doneMs: m.validUntilMs })
  }

  // -- receipts --------------------------------------------------------------

  receipt(carrier: number, receipt: Receipt): ReceiptMatch {
    const m = this.host.refs.find(carrier, receipt.ref)
    if (!m || m.standing === 'ended') {
      this.host.parked.add(carrier, receipt, this.host.clock.now())
      this.host.note()
      return 'parked'
    }
    this.apply(m, receipt)
    return 'matched'
  }

  private apply(m: Message, receipt: Receipt): void {
    const { vendor } = receipt
    if (!isFinal(receipt.state)) {
      if (m.registered_delivery & 0x10 || m.joined !== null) this.notice(m, receipt.state, receipt.doneMs, receipt)
      return
    }
    const network = receipt.network ?? 0
    if (!m.parts) {
      if (m.standing === 'sent') this.finish(m, endingOf(receipt.state, receipt.err, receipt.doneMs, network, vendor))
      return
    }
    this.standing.touch(m)
    for (const [index, part] of m.parts.entries()) {
      if (part.ref !== receipt.ref || isFinal(part.state)) continue
      part.state = receipt.state
      part.err = receipt.err.slice(0, MAX_ERR)
      if (network !== 0) part.network = network
      if (m.registered_delivery & mark.perPart) {
        const ending = endingOf(part.state, part.err, receipt.doneMs, network, vendor)
        tellPart(this.host.outbox, m, index, ending, this.host.clock.now())
      }
    }
    this.endIfReported(m, receipt.doneMs, vendor)
  }

  /** It is on its way, and whoever asked hears of it. */
  private notice(m: Message, s: MessageState, doneMs: number, receipt: Partial<Receipt> = {}): void {
    const { outbox, clock } = this.host
    const { err = '', network = 0, vendor } = receipt
    if (tellNotice(outbox, m, endingOf(s, err, doneMs, network, vendor), clock.now())) this.standing.touch(m)
    if (m.joined !== null) for (const part of this.partsIn(m)) this.notice(part, s, doneMs, receipt)
  }

  /** Ends a message of parts once every part that has a name has reported; `vendor` is of the last that did. */
  private endIfReported(m: Message, doneMs: number, vendor?: Buffer): void {
    let whole: MessageState = state.DELIVERED
    let error = ''
    let network = 0
    for (const part of m.parts ?? []) {
      if (!part.answered || (part.ref !== '' && !isFinal(part.state))) return
      if (!isFinal(part.state) || whole !== state.DELIVERED) continue
      // The first part that failed is what the customer must hear of.
      whole = part.state
      error = part.err
      network = part.network ?? 0
    }
    this.finish(m, endingOf(whole, error, doneMs, network, vendor))
  }
}

function unmark(m: Message, part: number): void {
  const one = m.parts?.[part]
  if (one !== undefined) one.unsure = false
  m.unsure = m.parts?.some(other => other.unsure) ?? false
}

function endingOf(s: MessageState, error: string, doneMs: number, network: number, vendor?: Buffer): Ending {
  if (vendor !== undefined) return { state: s, error, doneMs, network, vendor }
  return network === 0 ? { state: s, error, doneMs } : { state: s, error, doneMs, network }
}
