// Transaction mode (SMPP v3.4 §2.10.3): submissions that are answered when their message has ended. In memory only: when
// the connection goes, or we do, the message lives on and its receipt tells. Knows who waits for which end.

import type { command } from '../../../protocols/smpp/commands.js'
import { encodePdu } from '../../../protocols/smpp/pdu.js'
import { status } from '../../../protocols/smpp/status.js'
import { tlv, writeTlvUint } from '../../../protocols/smpp/tlv.js'
import type { Clock } from '../../base/clock.js'
import { idText } from '../../base/ids.js'
import { EMPTY, type Message, type MessageState, state } from '../../model/message.js'
import type { Ending, Spool } from '../../spool/contract.js'
import type { Asker } from './operations.js'

/** Who gives no validity_period waits this long: that of a phone that is on, and of most peers' response timers. */
const LIFETIME_MS = 60_000
const LOOK_MS = 1_000
const V34 = 0x34

/** delivery_failure_reason, v3.4 §5.3.2.33. */
const UNAVAILABLE = 0
const ADDRESS_INVALID = 1
const PERMANENT = 2
const TEMPORARY = 3

interface Waiter {
  readonly asker: Asker
  readonly response: typeof command.submit_sm_resp | typeof command.data_sm_resp
  readonly sequence: number
  readonly untilMs: number
}

export class Transactions {
  private readonly waiting = new Map<number, Waiter>()
  private readonly spool: Spool
  private readonly clock: Clock
  private timer: NodeJS.Timeout | undefined

  constructor(spool: Spool, clock: Clock) {
    this.spool = spool
    this.clock = clock
  }

  /** Somebody waits. */
  get busy(): boolean {
    return this.waiting.size > 0
  }

  /** Before it is submitted. */
  prepare(m: Message): void {
    if (m.validUntilMs > 0) return
    m.validUntilMs = this.clock.now() + LIFETIME_MS
    m.validityGiven = true
  }

  wait(asker: Asker, response: Waiter['response'], sequence: number, m: Message): void {
    this.waiting.set(m.id, { asker, response, sequence, untilMs: m.validUntilMs })
    asker.transactions++
    this.timer ??= setInterval(() => this.look(), LOOK_MS).unref()
  }

  /** A message has ended, but not durably yet. */
  ended(id: number, ending: Ending): void {
    const waiter = this.take(id)
    if (waiter) this.spool.afterSync(() => answer(waiter, id, ending.state, reasonOf(ending)))
  }

  private take(id: number): Waiter | undefined {
    const waiter = this.waiting.get(id)
    if (!waiter) return undefined
    this.waiting.delete(id)
    waiter.asker.transactions--
    if (this.waiting.size === 0) {
      clearInterval(this.timer)
      this.timer = undefined
    }
    return waiter
  }

  /** Past its validity a message may still be reported: its receipt tells then, this answer says that nobody knows. */
  private look(): void {
    const now = this.clock.now()
    for (const [id, { untilMs }] of [...this.waiting]) {
      if (untilMs > now) continue
      const waiter = this.take(id)
      if (waiter) answer(waiter, id, state.UNKNOWN, TEMPORARY)
    }
  }

  forget(asker: Asker): void {
    for (const [id, waiter] of [...this.waiting]) if (waiter.asker === asker) this.take(id)
  }
}

function answer({ asker, response, sequence }: Waiter, id: number, how: MessageState, reason: number): void {
  const { interfaceVersion, idForm } = asker
  const arrived = how === state.DELIVERED || how === state.ACCEPTED
  if (!arrived && interfaceVersion < V34) {
    asker.answerStatus(response, status.ESME_RDELIVERYFAILURE, sequence)
    return
  }
  let tlvs = EMPTY
  if (!arrived) {
    tlvs = Buffer.alloc(5)
    writeTlvUint(tlvs, 0, tlv.delivery_failure_reason, reason, 1)
  }
  const code = arrived ? 0 : status.ESME_RDELIVERYFAILURE
  asker.answerPdu(encodePdu(response, code, sequence, { message_id: idText(id, idForm) }, tlvs))
}

function reasonOf({ state: how, error }: Ending): number {
  if (error === 'ESME_RINVDSTADR') return ADDRESS_INVALID
  if (how === state.EXPIRED) return UNAVAILABLE
  return how === state.UNKNOWN ? TEMPORARY : PERMANENT
}
