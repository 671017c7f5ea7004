// What its customer hears of a message: the receipts that registered_delivery asks for (SMPP v3.4 §5.2.17), one for the
// whole or one for each part, and intermediate notifications. Knows what was asked; the outbox keeps it.

import { isFinal, isOfMail, type Message, type MessageState, mark, state } from '../../model/message.js'
import { isOfWeb } from '../../model/webExtras.js'
import type { Ending, ReportQueue } from '../contract.js'
import type { Outbox } from './outbox.js'

/** Bit 4 of registered_delivery: intermediate notification requested. */
const NOTICES = 0x10

/** registered_delivery bits 1-0: 1 = every outcome, 2 = failures only, 3 = success only (v5.0). */
function wantsReceipt(registered_delivery: number, s: MessageState): boolean {
  const asked = registered_delivery & 3
  // A carrier that gives no name for a message never reports it: ACCEPTED is the last the customer can hear.
  if (asked === 1) return true
  if (asked === 2) return s !== state.DELIVERED && s !== state.ACCEPTED
  return asked === 3 && s === state.DELIVERED
}

/** The message is over; `others` are told besides the binds of its account. */
export function tellEnd(
  outbox: Outbox,
  m: Message,
  ending: Ending,
  others: readonly ReportQueue[] | null,
  nowMs: number,
): void {
  if (others !== null) for (const { of, way } of others) outbox.addEnd(of, way, m, ending, nowMs)
  // What came by mail or over HTTP is told there; no bind of the account asked for it.
  if (isOfMail(m) || isOfWeb(m)) return
  if (m.registered_delivery & mark.perPart && m.parts?.some(part => part.answered)) {
    // Each part that has reported was told then; what never will ends as the whole does.
    for (const [index, part] of m.parts.entries()) if (!isFinal(part.state)) tellPart(outbox, m, index, ending, nowMs)
  } else if (wantsReceipt(m.registered_delivery, ending.state)) outbox.addReceipt(m, ending, nowMs)
}

/** One part is over. */
export function tellPart(outbox: Outbox, m: Message, index: number, ending: Ending, nowMs: number): void {
  if (!isOfMail(m) && !isOfWeb(m) && wantsReceipt(m.registered_delivery, ending.state))
    outbox.addReceipt(m, ending, nowMs, false, index + 1)
}

/** A state that is not the end, for those who asked. Each is told once, and none after a later one; true when it was told now. */
export function tellNotice(outbox: Outbox, m: Message, ending: Ending, nowMs: number): boolean {
  const told = ending.state === state.ACCEPTED ? mark.toldAccepted : mark.toldEnroute
  if ((m.registered_delivery & NOTICES) === 0 || (m.registered_delivery & (told | mark.toldAccepted)) !== 0)
    return false
  m.registered_delivery |= told
  outbox.addReceipt(m, ending, nowMs, true)
  return true
}
